/* AVX-VNNI: unsigned bytes, vpdpbusd on 256 bits, for processors without AVX-512. 256 bits hold 8 sums, or 32 values of a row. */

#if defined(HS_VNNI_BY_AVX512)
#define HS_DOT(sum, values, weights) _mm256_dpbusd_epi32(sum, values, weights) /* the same sums, as AVX-512 encodes it: to test this file there */
#else
#define HS_DOT(sum, values, weights) _mm256_dpbusd_avx_epi32(sum, values, weights)
#endif
#define HS_LOAD(pointer) _mm256_loadu_si256((const __m256i *)(const void *)(pointer))

HS_INLINE __m256i hs_rounded(__m256i sum, __m256 scale)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale));
}
/* Four vectors of 8 sums each -> 32 bytes: lane l holds values 4l..4l+3 of each of the four. */
HS_INLINE __m256i hs_narrowed(__m256i a, __m256i b, __m256i c, __m256i d, __m256i zero)
{
    const __m256i low = _mm256_packs_epi32(a, b), high = _mm256_packs_epi32(c, d);
    return _mm256_packus_epi16(_mm256_adds_epi16(low, zero), _mm256_adds_epi16(high, zero));
}

/* Six pixels, 16 outputs: 12 sums, two vectors of weights and one of values fill the registers. */
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t block, ptrdiff_t x, const int sums)
{
    const int32_t groups = (job->length + HS_GROUP - 1) / HS_GROUP;
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 64;
    const __m256i b0 = HS_LOAD(job->bias + block * 16), b1 = HS_LOAD(job->bias + block * 16 + 8);
    __m256i low[6], high[6];
#pragma GCC unroll 6
    for (int p = 0; p < 6; p++) { low[p] = b0; high[p] = b1; }
    for (int32_t r = 0; r < job->runs; r++) {
        const hs_act *s = job->run[r] + x * job->step;
        for (int32_t k = 0; k < groups; k++, w += 64, s += 4) {
            const __m256i w0 = HS_LOAD(w), w1 = HS_LOAD(w + 32);
#pragma GCC unroll 6
            for (int p = 0; p < 6; p++) {
                int32_t four;
                memcpy(&four, s + p * (ptrdiff_t)job->step, 4);
                const __m256i v = _mm256_set1_epi32(four);
                low[p] = HS_DOT(low[p], v, w0);
                high[p] = HS_DOT(high[p], v, w1);
                HS_KEEP(low[p]);
                HS_KEEP(high[p]);
            }
        }
    }
    if (sums) {
#pragma GCC unroll 6
        for (int p = 0; p < 6; p++) {
            int32_t *q = (int32_t *)(void *)job->out + (x + p) * job->out_step + block * 16;
            _mm256_storeu_si256((__m256i *)(void *)q, low[p]);
            _mm256_storeu_si256((__m256i *)(void *)(q + 8), high[p]);
        }
        return;
    }
    const __m256 s0 = _mm256_loadu_ps(job->scale + block * 16), s1 = _mm256_loadu_ps(job->scale + block * 16 + 8);
    const __m256i zero = _mm256_set1_epi16((short)job->zero), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
#pragma GCC unroll 3
    for (int p = 0; p < 6; p += 2) {
        const __m256i bytes = hs_narrowed(hs_rounded(low[p], s0), hs_rounded(high[p], s1), hs_rounded(low[p + 1], s0), hs_rounded(high[p + 1], s1), zero);
        const __m256i both = _mm256_permutevar8x32_epi32(bytes, order);
        hs_act *q = job->out + (x + p) * job->out_step + block * 16;
        _mm_storeu_si128((__m128i *)(void *)q, _mm256_castsi256_si128(both));
        _mm_storeu_si128((__m128i *)(void *)(q + job->out_step), _mm256_extracti128_si256(both, 1));
    }
}

HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, const int sums)
{
    for (int32_t block = 0; block < job->blocks; block++)
        for (int32_t x = 0; x < n; x += 6) {
            if (block == 0) hs_fetch(job, x, 6);
            hs_dense_tile(job, block, x + 6 <= n || n < 6 ? x : n - 6, sums);
        }
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

/* Four values of each of 32 channels, of four taps, side by side: 8 channels a vector, in the order in which hs_narrowed undoes it. */
typedef struct { __m256i part[4]; } hs_quad;
HS_INLINE hs_quad hs_interleaved(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpacklo_epi8(c, d);
    const __m256i ef = _mm256_unpackhi_epi8(a, b), gh = _mm256_unpackhi_epi8(c, d);
    hs_quad q = {{_mm256_unpacklo_epi16(ab, cd), _mm256_unpackhi_epi16(ab, cd), _mm256_unpacklo_epi16(ef, gh), _mm256_unpackhi_epi16(ef, gh)}};
    return q;
}

/* 3 x 3: a quad is a column of three taps. Twelve vectors of weights do not fit into registers: they are loaded where they are used. */
HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t end, int32_t period, int32_t phase, const int step)
{
    const int8_t *w = (const int8_t *)job->weights + (ptrdiff_t)phase * 384;
    const int32_t *bias = job->bias + phase * 32;
    const float *scale = job->scale + phase * 32;
    const __m256i none = _mm256_setzero_si256(), zero = _mm256_set1_epi16((short)job->zero);
    const ptrdiff_t pixel = job->stride;
#define HS_COLUMN(q) hs_interleaved(HS_LOAD(job->tap[0] + at + (q) * pixel), HS_LOAD(job->tap[3] + at + (q) * pixel), HS_LOAD(job->tap[6] + at + (q) * pixel), none)
    ptrdiff_t at = (ptrdiff_t)phase * 32;
    hs_quad c0 = HS_COLUMN(0), c1 = HS_COLUMN(1), c2;
    for (; at < end; at += (ptrdiff_t)period * 32) {
        if (step > 1) c1 = HS_COLUMN(1);
        c2 = HS_COLUMN(2);
        __m256i sum[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            sum[i] = HS_DOT(HS_LOAD(bias + 8 * i), c0.part[i], HS_LOAD(w + 32 * i));
            sum[i] = HS_DOT(sum[i], c1.part[i], HS_LOAD(w + 128 + 32 * i));
            sum[i] = hs_rounded(HS_DOT(sum[i], c2.part[i], HS_LOAD(w + 256 + 32 * i)), _mm256_loadu_ps(scale + 8 * i));
        }
        _mm256_storeu_si256((__m256i *)(void *)(job->out + at), hs_narrowed(sum[0], sum[1], sum[2], sum[3], zero));
        if (step == 1) { c0 = c1; c1 = c2; }
        else c0 = c2;
    }
#undef HS_COLUMN
}

/* Any taps, four at a time; `job->tap` has as many pointers as fill the last four. */
HS_INLINE void hs_depthwise_any(const hs_depthwise_job *job, int32_t end, int32_t period, int32_t phase)
{
    const int32_t quads = (job->taps + 3) / 4;
    const int8_t *w = (const int8_t *)job->weights + (ptrdiff_t)phase * quads * 128;
    const __m256i zero = _mm256_set1_epi16((short)job->zero);
    for (ptrdiff_t at = (ptrdiff_t)phase * 32; at < end; at += (ptrdiff_t)period * 32) {
        __m256i sum[4];
        for (int i = 0; i < 4; i++) sum[i] = HS_LOAD(job->bias + phase * 32 + 8 * i);
        for (int32_t q = 0; q < quads; q++) {
            const hs_act *const *t = job->tap + 4 * q;
            const hs_quad v = hs_interleaved(HS_LOAD(t[0] + at), HS_LOAD(t[1] + at), HS_LOAD(t[2] + at), HS_LOAD(t[3] + at));
            for (int i = 0; i < 4; i++) sum[i] = HS_DOT(sum[i], v.part[i], HS_LOAD(w + 128 * q + 32 * i));
        }
        for (int i = 0; i < 4; i++) sum[i] = hs_rounded(sum[i], _mm256_loadu_ps(job->scale + phase * 32 + 8 * i));
        _mm256_storeu_si256((__m256i *)(void *)(job->out + at), hs_narrowed(sum[0], sum[1], sum[2], sum[3], zero));
    }
}

/* Channels of neighbouring pixels lie side by side, so a row is cut into vectors wherever they end; `period` of them are one or two
   whole pixels, since pixels take a multiple of 16 bytes. */
static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int32_t end = n * job->stride, step = job->stride % 32 ? 2 : 1, period = step * job->stride / 32;
    for (int32_t phase = 0; phase < period && phase * 32 < end; phase++) {
        if (job->taps != 9 || !job->is_3x3) hs_depthwise_any(job, end, period, phase);
        else if (step == 1) hs_depthwise_3x3(job, end, period, phase, 1);
        else hs_depthwise_3x3(job, end, period, phase, 2);
    }
}

HS_INLINE void hs_store_steps(hs_act *out, __m256i v)
{
    v = _mm256_permute4x64_epi64(_mm256_packus_epi16(v, v), 8);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(v));
}

#ifndef HS_EXPORTED
/* The peak that dense kernels are measured against: vpdpbusd alone. */
static double hs_peak(long rounds)
{
    __m256i sum[12], a = _mm256_set1_epi32(0x01020304), b = _mm256_set1_epi32(0x01010101);
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sum[i] = a;
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) { sum[i] = HS_DOT(sum[i], a, b); HS_KEEP(sum[i]); }
    return 12.0 * 32.0 * (double)rounds;
}
#endif
#undef HS_LOAD

/* AVX-512 with VNNI: unsigned bytes, vpdpbusd. 512 bits hold 16 sums, or 64 values of a row. */

/* Four vectors of 16 sums each -> 64 bytes: lane l holds values 4l..4l+3 of each of the four. Sums that saturate are computed where
   products are: without a zero point there are none. */
HS_INLINE __m512i hs_narrowed(__m512i a, __m512i b, __m512i c, __m512i d, __m512i zero, const int shifted)
{
    __m512i low = _mm512_packs_epi32(a, b), high = _mm512_packs_epi32(c, d);
    if (!shifted) return _mm512_packus_epi16(low, high);
    return _mm512_packus_epi16(_mm512_adds_epi16(low, zero), _mm512_adds_epi16(high, zero));
}
HS_INLINE __m512i hs_rounded(__m512i sum, __m512 scale)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
}

/* P pixels, 12, 8 or 4, and one or `two` blocks of 16 outputs. Sums have names, for gcc keeps arrays of them in memory; addresses are
   one of four pointers and one of two steps, for there are not enough registers for twelve. */
#define HS_EACH(do) do(0, 0) do(1, 0) do(2, 0) do(3, 1) do(4, 1) do(5, 1) do(6, 2) do(7, 2) do(8, 2) do(9, 3) do(10, 3) do(11, 3)
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t block, ptrdiff_t x, const int P, const int two, const int sums, const int shifted)
{
    const int32_t groups = (job->length + HS_GROUP - 1) / HS_GROUP;
    const ptrdiff_t second = (ptrdiff_t)job->runs * groups * 64, step = job->step;
    const int8_t *w = job->weights + block * second;
    const __m512i bias_a = _mm512_loadu_si512(job->bias + block * 16), bias_b = _mm512_loadu_si512(job->bias + (block + two) * 16);
#define HS_BEGIN(p, q) __m512i a##p = bias_a, b##p = bias_b;
    HS_EACH(HS_BEGIN)
#undef HS_BEGIN
    const hs_act *s0 = NULL, *s1 = NULL, *s2 = NULL, *s3 = NULL;
#define HS_STEP(p, q) \
    if (P > p) { \
        int32_t four; \
        memcpy(&four, s##q + (p % 3) * step, 4); \
        const __m512i v = _mm512_set1_epi32(four); \
        a##p = _mm512_dpbusd_epi32(a##p, v, wa); \
        HS_KEEP_WIDE(a##p); \
        if (two) { b##p = _mm512_dpbusd_epi32(b##p, v, wb); HS_KEEP_WIDE(b##p); } \
    }
    for (int32_t r = 0; r < job->runs; r++) {
        const int32_t most = groups - (r + 1 == job->runs); /* the last of all comes below */
        s0 = job->run[r] + x * step, s1 = s0 + 3 * step, s2 = s1 + 3 * step, s3 = s2 + 3 * step;
        for (int32_t k = 0; k < most; k++, w += 64, s0 += 4, s1 += 4, s2 += 4, s3 += 4) {
            const __m512i wa = _mm512_loadu_si512(w), wb = two ? _mm512_loadu_si512(w + second) : wa;
            HS_EACH(HS_STEP)
        }
    }
    const __m512i wa = _mm512_loadu_si512(w), wb = two ? _mm512_loadu_si512(w + second) : wa;
    if (sums) {
        HS_EACH(HS_STEP)
        int32_t *out = (int32_t *)(void *)job->out + x * job->out_step + block * 16;
#define HS_STORE(p, q) \
    if (P > p) { \
        _mm512_storeu_si512(out + p * (ptrdiff_t)job->out_step, a##p); \
        if (two) _mm512_storeu_si512(out + p * (ptrdiff_t)job->out_step + 16, b##p); \
    }
        HS_EACH(HS_STORE)
#undef HS_STORE
        return;
    }
    const __m512 scale_a = _mm512_loadu_ps(job->scale + block * 16), scale_b = _mm512_loadu_ps(job->scale + (block + two) * 16);
    const __m512i zero = _mm512_set1_epi16((short)job->zero);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    hs_act *out = job->out + x * job->out_step + block * 16;
    const ptrdiff_t next = job->out_step;
    if (two) {
#define HS_STORE(p, q, i, j) \
    if (P > p) { \
        HS_STEP(p, i) \
        HS_STEP(q, j) \
        const __m512i bytes = hs_narrowed(hs_rounded(a##p, scale_a), hs_rounded(b##p, scale_b), hs_rounded(a##q, scale_a), hs_rounded(b##q, scale_b), zero, shifted); \
        const __m512i both = _mm512_permutexvar_epi32(order, bytes); \
        if (next == 32) _mm512_storeu_si512(out + p * 32, both); \
        else { \
            _mm256_storeu_si256((__m256i *)(void *)(out + p * next), _mm512_castsi512_si256(both)); \
            _mm256_storeu_si256((__m256i *)(void *)(out + q * next), _mm512_extracti64x4_epi64(both, 1)); \
        } \
    }
        HS_STORE(0, 1, 0, 0) HS_STORE(2, 3, 0, 1) HS_STORE(4, 5, 1, 1) HS_STORE(6, 7, 2, 2) HS_STORE(8, 9, 2, 3) HS_STORE(10, 11, 3, 3)
#undef HS_STORE
        return;
    }
#define HS_STORE(p, q, u, t, i, j, k, l) \
    if (P > p) { \
        HS_STEP(p, i) \
        HS_STEP(q, j) \
        HS_STEP(u, k) \
        HS_STEP(t, l) \
        const __m512i bytes = hs_narrowed(hs_rounded(a##p, scale_a), hs_rounded(a##q, scale_a), hs_rounded(a##u, scale_a), hs_rounded(a##t, scale_a), zero, shifted); \
        const __m512i four = _mm512_permutexvar_epi32(order, bytes); \
        if (next == 16) _mm512_storeu_si512(out + p * 16, four); \
        else { \
            _mm_storeu_si128((__m128i *)(void *)(out + p * next), _mm512_castsi512_si128(four)); \
            _mm_storeu_si128((__m128i *)(void *)(out + q * next), _mm512_extracti32x4_epi32(four, 1)); \
            _mm_storeu_si128((__m128i *)(void *)(out + u * next), _mm512_extracti32x4_epi32(four, 2)); \
            _mm_storeu_si128((__m128i *)(void *)(out + t * next), _mm512_extracti32x4_epi32(four, 3)); \
        } \
    }
    HS_STORE(0, 1, 2, 3, 0, 0, 0, 1) HS_STORE(4, 5, 6, 7, 1, 1, 2, 2) HS_STORE(8, 9, 10, 11, 2, 3, 3, 3)
#undef HS_STORE
#undef HS_STEP
}

/* What is left of a row is a tile that overlaps the one before, of twelve pixels where four would not do twice. */
HS_INLINE void hs_dense_block(const hs_dense_job *job, int32_t block, int32_t n, const int two, const int sums, const int shifted)
{
    int32_t x = 0;
    for (; x + 8 < n && n >= 12; x += 12) {
        if (block == 0) hs_fetch(job, x, 12);
        hs_dense_tile(job, block, x + 12 <= n ? x : n - 12, 12, two, sums, shifted);
    }
    for (; x < n; x += 4) hs_dense_tile(job, block, x + 4 <= n || n < 4 ? x : n - 4, 4, two, sums, shifted);
}
HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, const int sums, const int shifted)
{
    int32_t block = 0;
    for (; block + 1 < job->blocks; block += 2) hs_dense_block(job, block, n, 1, sums, shifted);
    if (block < job->blocks) hs_dense_block(job, block, n, 0, sums, shifted);
}
static void hs_dense(const hs_dense_job *job, int32_t n)
{
    if (job->zero) hs_dense_all(job, n, 0, 1);
    else hs_dense_all(job, n, 0, 0);
}
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1, 0); }

/* Four values of each of 64 channels, of four taps, side by side: 16 channels a vector, in the order in which hs_narrowed undoes it. */
typedef struct { __m512i part[4]; } hs_quad;
HS_INLINE hs_quad hs_interleaved(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
    const __m512i ef = _mm512_unpackhi_epi8(a, b), gh = _mm512_unpackhi_epi8(c, d);
    hs_quad q = {{_mm512_unpacklo_epi16(ab, cd), _mm512_unpackhi_epi16(ab, cd), _mm512_unpacklo_epi16(ef, gh), _mm512_unpackhi_epi16(ef, gh)}};
    return q;
}

/* 3 x 3: a quad is a column of three taps. A vector holds `pixels` whole pixels, 1, 2 or 4, or parts of some (0). The columns beside
   those of a vector lie in it and in the next one, which is interleaved only once. */
HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t end, int32_t period, int32_t phase, const int pixels)
{
    const int8_t *w = (const int8_t *)job->weights + (ptrdiff_t)phase * 768;
    const int32_t *bias = job->bias + phase * 64;
    const float *scale = job->scale + phase * 64;
    const hs_act *t0 = job->tap[0] + phase * 64, *t1 = job->tap[3] + phase * 64, *t2 = job->tap[6] + phase * 64;
    hs_act *out = job->out + phase * 64, *const last = job->out + end;
    const __m512i none = _mm512_setzero_si512(), zero = _mm512_set1_epi16((short)job->zero);
    __m512i weight[3][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 3
        for (int q = 0; q < 3; q++) weight[q][i] = _mm512_loadu_si512(w + 256 * q + 64 * i);
    const ptrdiff_t pixel = job->stride, step = (ptrdiff_t)period * 64;
#define HS_COLUMN(offset) hs_interleaved(_mm512_loadu_si512(t0 + (offset)), _mm512_loadu_si512(t1 + (offset)), _mm512_loadu_si512(t2 + (offset)), none)
    hs_quad c0 = HS_COLUMN(0), c1 = c0, next;
    if (pixels == 1) c1 = HS_COLUMN(pixel);
    for (; out < last; t0 += step, t1 += step, t2 += step, out += step) {
        if (pixels == 0) { c0 = HS_COLUMN(0); c1 = HS_COLUMN(pixel); }
        next = HS_COLUMN(pixels == 1 || pixels == 0 ? 2 * pixel : 64);
        __m512i sum[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const __m512i middle = pixels == 2 ? _mm512_shuffle_i64x2(c0.part[i], next.part[i], 0x4E) : pixels == 4 ? _mm512_alignr_epi64(next.part[i], c0.part[i], 2) : c1.part[i];
            const __m512i right = pixels == 4 ? _mm512_shuffle_i64x2(c0.part[i], next.part[i], 0x4E) : next.part[i];
            sum[i] = _mm512_dpbusd_epi32(_mm512_loadu_si512(bias + 16 * i), c0.part[i], weight[0][i]);
            sum[i] = _mm512_dpbusd_epi32(sum[i], middle, weight[1][i]);
            sum[i] = hs_rounded(_mm512_dpbusd_epi32(sum[i], right, weight[2][i]), _mm512_loadu_ps(scale + 16 * i));
        }
        _mm512_storeu_si512(out, hs_narrowed(sum[0], sum[1], sum[2], sum[3], zero, 1));
        if (pixels == 1) { c0 = c1; c1 = next; }
        if (pixels > 1) c0 = next;
    }
#undef HS_COLUMN
}

/* Any taps, four at a time; `job->tap` has as many pointers as fill the last four. */
HS_INLINE void hs_depthwise_any(const hs_depthwise_job *job, int32_t end, int32_t period, int32_t phase)
{
    const int32_t quads = (job->taps + 3) / 4;
    const int8_t *w = (const int8_t *)job->weights + (ptrdiff_t)phase * quads * 256;
    const __m512i zero = _mm512_set1_epi16((short)job->zero);
    for (ptrdiff_t at = (ptrdiff_t)phase * 64; at < end; at += (ptrdiff_t)period * 64) {
        __m512i sum[4];
        for (int i = 0; i < 4; i++) sum[i] = _mm512_loadu_si512(job->bias + phase * 64 + 16 * i);
        for (int32_t q = 0; q < quads; q++) {
            const hs_act *const *t = job->tap + 4 * q;
            const hs_quad v = hs_interleaved(_mm512_loadu_si512(t[0] + at), _mm512_loadu_si512(t[1] + at), _mm512_loadu_si512(t[2] + at), _mm512_loadu_si512(t[3] + at));
            for (int i = 0; i < 4; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], v.part[i], _mm512_loadu_si512(w + 256 * q + 64 * i));
        }
        for (int i = 0; i < 4; i++) sum[i] = hs_rounded(sum[i], _mm512_loadu_ps(job->scale + phase * 64 + 16 * i));
        _mm512_storeu_si512(job->out + at, hs_narrowed(sum[0], sum[1], sum[2], sum[3], zero, 1));
    }
}

/* Channels of neighbouring pixels lie side by side, so a row is cut into vectors wherever they end; `period` of them are whole pixels. */
static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int32_t end = n * job->stride;
    int32_t period = 1;
    while (period * 64 % job->stride) period++;
    for (int32_t phase = 0; phase < period && phase * 64 < end; phase++) {
        if (job->taps != 9 || !job->is_3x3) hs_depthwise_any(job, end, period, phase);
        else if (job->stride == 16) hs_depthwise_3x3(job, end, period, phase, 4);
        else if (job->stride == 32) hs_depthwise_3x3(job, end, period, phase, 2);
        else if (job->stride % 64 == 0) hs_depthwise_3x3(job, end, period, phase, 1);
        else hs_depthwise_3x3(job, end, period, phase, 0);
    }
}

/* Table activations, 64 acts at a time: a shuffle looks up sixteen values by the lower half of an act; one of each two is chosen by its
   bit 4 meanwhile, of those by bits 5, 6 and 7. */
#define HS_OWN_TABLE
static void hs_look_up(const uint8_t *table, const hs_act *a, hs_act *out, ptrdiff_t count)
{
    __m512i part[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) part[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i)));
    for (ptrdiff_t i = 0; i < count; i += 64) {
        const __m512i v = _mm512_loadu_si512(a + i), lower = _mm512_and_si512(v, _mm512_set1_epi8(15));
        const __mmask64 by4 = _mm512_movepi8_mask(_mm512_slli_epi16(v, 3)), by5 = _mm512_movepi8_mask(_mm512_slli_epi16(v, 2));
        const __mmask64 by6 = _mm512_movepi8_mask(_mm512_slli_epi16(v, 1)), by7 = _mm512_movepi8_mask(v);
        __m512i chosen[8];
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) chosen[k] = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(part[2 * k], lower), by4, part[2 * k + 1], lower);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) chosen[k] = _mm512_mask_mov_epi8(chosen[2 * k], by5, chosen[2 * k + 1]);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) chosen[k] = _mm512_mask_mov_epi8(chosen[2 * k], by6, chosen[2 * k + 1]);
        const __m512i values = _mm512_mask_mov_epi8(chosen[0], by7, chosen[1]);
        hs_act last[64];
        _mm512_storeu_si512(count - i < 64 ? last : out + i, values);
        if (count - i < 64) memcpy(out + i, last, (size_t)(count - i));
    }
}

/* Numbers of the input step for 32 bands, and what it makes of their counts: what is above `high` is cut by a sum that saturates, what
   is below `first` by a difference. */
typedef struct { __m512i above, below, factor; } hs_bands;
HS_INLINE hs_bands hs_bands_at(const hs_affine *f, int32_t b, __mmask32 some)
{
    const __m512i above = _mm512_sub_epi16(_mm512_set1_epi16(-1), _mm512_maskz_loadu_epi16(some, f->high + b));
    const hs_bands v = {above, _mm512_add_epi16(above, _mm512_maskz_loadu_epi16(some, f->first + b)), _mm512_maskz_loadu_epi16(some, f->factor + b)};
    return v;
}
HS_INLINE __m512i hs_stepped(const hs_bands *of, __m512i counts)
{
    const __m512i v = _mm512_subs_epu16(_mm512_adds_epu16(counts, of->above), of->below);
    return _mm512_srli_epi16(_mm512_mullo_epi16(v, of->factor), 8);
}

/* Counts of 16 bits to integers, of `pixels` at a time, 64 bands each. The next ones are fetched meanwhile: rows come from memory, and
   the processor does not foresee several streams of it. */
HS_INLINE void hs_steps_of(const hs_affine *f, const uint16_t *x, int32_t bands, hs_act *out, int32_t step, const int pixels)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    int32_t b = 0;
    for (; b + 64 <= bands; b += 64) {
        const hs_bands lower = hs_bands_at(f, b, ~0u), upper = hs_bands_at(f, b + 32, ~0u);
#pragma GCC unroll 8
        for (int i = 0; i < pixels; i++) {
            const uint16_t *from = x + i * (ptrdiff_t)bands + b;
            _mm_prefetch((const char *)(from + pixels * (ptrdiff_t)bands), _MM_HINT_T0);
            _mm_prefetch((const char *)(from + pixels * (ptrdiff_t)bands + 32), _MM_HINT_T0);
            const __m512i v = _mm512_packus_epi16(hs_stepped(&lower, _mm512_loadu_si512(from)), hs_stepped(&upper, _mm512_loadu_si512(from + 32)));
            _mm512_storeu_si512(out + i * (ptrdiff_t)step + b, _mm512_permutexvar_epi64(order, v));
        }
    }
    for (; b < bands; b += 32) {
        const __mmask32 some = bands - b < 32 ? (1u << (bands - b)) - 1 : ~0u;
        const hs_bands of = hs_bands_at(f, b, some);
        for (int32_t i = 0; i < pixels; i++)
            _mm256_mask_storeu_epi8(out + i * (ptrdiff_t)step + b, some, _mm512_cvtepi16_epi8(hs_stepped(&of, _mm512_maskz_loadu_epi16(some, x + i * (ptrdiff_t)bands + b))));
    }
}
#define HS_OWN_STEPS
static void hs_steps_u16(const hs_affine *f, const uint16_t *x, int32_t n, int32_t bands, hs_act *out, int32_t step)
{
    int32_t p = 0;
    for (; p + 8 <= n; p += 8) hs_steps_of(f, x + p * (ptrdiff_t)bands, bands, out + p * (ptrdiff_t)step, step, 8);
    for (; p < n; p++) hs_steps_of(f, x + p * (ptrdiff_t)bands, bands, out + p * (ptrdiff_t)step, step, 1);
}

#ifndef HS_EXPORTED
/* The peak that dense kernels are measured against: vpdpbusd alone. */
static double hs_peak(long rounds)
{
    __m512i sum[12], a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x01010101);
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sum[i] = a;
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) { sum[i] = _mm512_dpbusd_epi32(sum[i], a, b); HS_KEEP_WIDE(sum[i]); }
    return 12.0 * 64.0 * (double)rounds;
}
#endif

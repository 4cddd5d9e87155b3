/* AVX2: values in 16 bits, vpmaddwd. Two products of 9 x 8 bits are added in 32 bits: exact, and as fast as the saturating bytes. */

HS_INLINE __m256i hs_sixteen(__m256i a, __m256i b, __m256 s0, __m256 s1)
{ /* of a: outputs 0-7, of b: 8-15 */
    const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(a), s0));
    const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(b), s1));
    return _mm256_packs_epi32(low, high);
}
HS_INLINE __m256i hs_cut(__m256i values, __m256i zero)
{
    values = _mm256_max_epi16(_mm256_adds_epi16(values, zero), _mm256_setzero_si256());
    return _mm256_min_epi16(values, _mm256_set1_epi16(255));
}

HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t block, ptrdiff_t x, const int P, const int sums)
{
    const int32_t groups = (job->length + HS_GROUP - 1) / HS_GROUP;
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 32;
    const __m256i b0 = _mm256_loadu_si256((const __m256i *)(const void *)(job->bias + block * 16));
    const __m256i b1 = _mm256_loadu_si256((const __m256i *)(const void *)(job->bias + block * 16 + 8));
    __m256i low[6], high[6];
#pragma GCC unroll 6
    for (int p = 0; p < P; p++) { low[p] = b0; high[p] = b1; }
    for (int32_t r = 0; r < job->runs; r++) {
        const hs_act *s = job->run[r] + x * job->step;
        for (int32_t k = 0; k < groups; k++, w += 32, s += 2) {
            const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
            const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(w + 16)));
#pragma GCC unroll 6
            for (int p = 0; p < P; p++) {
                int32_t two;
                memcpy(&two, s + p * (ptrdiff_t)job->step, 4);
                const __m256i v = _mm256_set1_epi32(two);
                low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(v, w0));
                high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(v, w1));
                HS_KEEP(low[p]);
                HS_KEEP(high[p]);
            }
        }
    }
    if (sums) {
#pragma GCC unroll 6
        for (int p = 0; p < P; p++) {
            int32_t *q = (int32_t *)(void *)job->out + (x + p) * job->out_step + block * 16;
            _mm256_storeu_si256((__m256i *)(void *)q, low[p]);
            _mm256_storeu_si256((__m256i *)(void *)(q + 8), high[p]);
        }
        return;
    }
    const __m256 s0 = _mm256_loadu_ps(job->scale + block * 16), s1 = _mm256_loadu_ps(job->scale + block * 16 + 8);
    const __m256i zero = _mm256_set1_epi16((short)job->zero);
#pragma GCC unroll 6
    for (int p = 0; p < P; p++) {
        const __m256i q = _mm256_permute4x64_epi64(hs_sixteen(low[p], high[p], s0, s1), 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(job->out + (x + p) * job->out_step + block * 16), hs_cut(q, zero));
    }
}

HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, const int sums)
{
    for (int32_t block = 0; block < job->blocks; block++)
        for (int32_t x = 0; x < n; x += 6) {
#ifdef HS_FETCH /* not in exported C */
            if (block == 0) hs_fetch(job, x, 6);
#endif
            hs_dense_tile(job, block, x + 6 <= n || n < 6 ? x : n - 6, 6, sums);
        }
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

#define HS_LOAD(pointer) _mm256_loadu_si256((const __m256i *)(const void *)(pointer))
/* One vector of 16 channels: sums of channels 0-3 and 8-11 (low), 4-7 and 12-15 (high), as vpunpck leaves them. */
HS_INLINE void hs_add_pair(__m256i *low, __m256i *high, __m256i a, __m256i b, const int16_t *w)
{
    *low = _mm256_add_epi32(*low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), HS_LOAD(w)));
    *high = _mm256_add_epi32(*high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), HS_LOAD(w + 16)));
}

/* weights: int16 [stride / 16][pairs of taps][low 16, high 16]; bias and scale in the order of the sums. Pairs of 3 x 3 taps are those
   of a column, so that what a pixel shares with the next one is interleaved once. */
HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t n, int32_t c, const int16_t *w, __m256i b0, __m256i b1, __m256 s0, __m256 s1)
{
    const __m256i zero = _mm256_set1_epi16((short)job->zero), none = _mm256_setzero_si256();
    const hs_act *top = job->tap[0] + c, *middle = job->tap[3] + c, *bottom = job->tap[6] + c;
    const ptrdiff_t step = job->stride;
    __m256i u = HS_LOAD(top), v = HS_LOAD(middle), t0 = HS_LOAD(bottom), t1 = HS_LOAD(bottom + step);
    __m256i l0 = _mm256_unpacklo_epi16(u, v), h0 = _mm256_unpackhi_epi16(u, v);
    u = HS_LOAD(top + step);
    v = HS_LOAD(middle + step);
    __m256i l1 = _mm256_unpacklo_epi16(u, v), h1 = _mm256_unpackhi_epi16(u, v);
    for (int32_t x = 0; x < n; x++) {
        const ptrdiff_t at = (x + 2) * step;
        u = HS_LOAD(top + at);
        v = HS_LOAD(middle + at);
        const __m256i t2 = HS_LOAD(bottom + at), l2 = _mm256_unpacklo_epi16(u, v), h2 = _mm256_unpackhi_epi16(u, v);
        __m256i low = _mm256_add_epi32(b0, _mm256_madd_epi16(l0, HS_LOAD(w))), high = _mm256_add_epi32(b1, _mm256_madd_epi16(h0, HS_LOAD(w + 16)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(l1, HS_LOAD(w + 32)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(h1, HS_LOAD(w + 48)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(l2, HS_LOAD(w + 64)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(h2, HS_LOAD(w + 80)));
        hs_add_pair(&low, &high, t0, t1, w + 96);
        hs_add_pair(&low, &high, t2, none, w + 128);
        _mm256_storeu_si256((__m256i *)(void *)(job->out + x * step + c), hs_cut(hs_sixteen(low, high, s0, s1), zero));
        l0 = l1; h0 = h1; l1 = l2; h1 = h2; t0 = t1; t1 = t2;
    }
}

static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int32_t pairs = (job->taps + 1) / 2;
    const int16_t *w = job->weights;
    const __m256i zero = _mm256_set1_epi16((short)job->zero);
    for (int32_t c = 0; c < job->stride; c += 16, w += pairs * 32) {
        const __m256i b0 = HS_LOAD(job->bias + c), b1 = HS_LOAD(job->bias + c + 8);
        const __m256 s0 = _mm256_loadu_ps(job->scale + c), s1 = _mm256_loadu_ps(job->scale + c + 8);
        if (job->is_3x3) {
            hs_depthwise_3x3(job, n, c, w, b0, b1, s0, s1);
            continue;
        }
        for (int32_t x = 0; x < n; x++) {
            const ptrdiff_t at = (ptrdiff_t)x * job->stride + c;
            __m256i low = b0, high = b1;
            for (int32_t i = 0; i < pairs; i++) hs_add_pair(&low, &high, HS_LOAD(job->tap[2 * i] + at), HS_LOAD(job->tap[2 * i + 1] + at), w + 32 * i);
            _mm256_storeu_si256((__m256i *)(void *)(job->out + at), hs_cut(hs_sixteen(low, high, s0, s1), zero));
        }
    }
}

HS_INLINE void hs_store_steps(hs_act *out, __m256i v) { _mm256_storeu_si256((__m256i *)(void *)out, v); }
#undef HS_LOAD

#ifndef HS_EXPORTED
/* The peak that dense kernels are measured against: vpmaddwd and vpaddd alone. */
static double hs_peak(long rounds)
{
    __m256i sum[12], a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(1);
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sum[i] = a;
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) {
            HS_KEEP(a);
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(a, b));
            HS_KEEP(sum[i]);
        }
    return 12.0 * 16.0 * (double)rounds;
}
#endif

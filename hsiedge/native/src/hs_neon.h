/* NEON, with the dot product (sdot) or without; values are bytes less 128. */

HS_INLINE int32x4_t hs_rounded(int32x4_t sum, float32x4_t scale) { return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sum), scale)); }
HS_INLINE int8x16_t hs_sixteen(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d, const float *scale, int16x8_t zero)
{
    a = hs_rounded(a, vld1q_f32(scale));
    b = hs_rounded(b, vld1q_f32(scale + 4));
    c = hs_rounded(c, vld1q_f32(scale + 8));
    d = hs_rounded(d, vld1q_f32(scale + 12));
    const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), zero), high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), zero);
    return vqmovn_high_s16(vqmovn_s16(low), high);
}

#if defined(HS_SET_DOT)
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t block, ptrdiff_t x, const int P, const int sums)
{
    const int32_t groups = (job->length + HS_GROUP - 1) / HS_GROUP;
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 64;
    int32x4_t sum[5][4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        const int32x4_t b = vld1q_s32(job->bias + block * 16 + q * 4);
#pragma GCC unroll 5
        for (int p = 0; p < P; p++) sum[p][q] = b;
    }
    for (int32_t r = 0; r < job->runs; r++) {
        const hs_act *s = job->run[r] + x * job->step;
        int8x16_t v[5];
/* four groups of a pixel lie in one vector: lane l is what the instruction broadcasts */
#define HS_LANE(lane) \
    { \
        const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16), w2 = vld1q_s8(w + 32), w3 = vld1q_s8(w + 48); \
        w += 64; \
        _Pragma("GCC unroll 5") for (int p = 0; p < P; p++) \
        { \
            sum[p][0] = vdotq_laneq_s32(sum[p][0], w0, v[p], lane); \
            sum[p][1] = vdotq_laneq_s32(sum[p][1], w1, v[p], lane); \
            sum[p][2] = vdotq_laneq_s32(sum[p][2], w2, v[p], lane); \
            sum[p][3] = vdotq_laneq_s32(sum[p][3], w3, v[p], lane); \
            HS_KEEP(sum[p][0]); HS_KEEP(sum[p][1]); HS_KEEP(sum[p][2]); HS_KEEP(sum[p][3]); \
        } \
    }
#define HS_VECTORS _Pragma("GCC unroll 5") for (int p = 0; p < P; p++) v[p] = vld1q_s8(s + p * (ptrdiff_t)job->step)
        int32_t k = 0;
        for (; k + 4 <= groups; k += 4, s += 16) {
            HS_VECTORS;
            HS_LANE(0) HS_LANE(1) HS_LANE(2) HS_LANE(3)
        }
        if (k < groups) {
            HS_VECTORS;
            HS_LANE(0)
            if (groups - k > 1) HS_LANE(1)
            if (groups - k > 2) HS_LANE(2)
        }
#undef HS_LANE
#undef HS_VECTORS
    }
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
#pragma GCC unroll 5
    for (int p = 0; p < P; p++) {
        if (sums) {
            int32_t *q = (int32_t *)(void *)job->out + (x + p) * job->out_step + block * 16;
            vst1q_s32(q, sum[p][0]); vst1q_s32(q + 4, sum[p][1]); vst1q_s32(q + 8, sum[p][2]); vst1q_s32(q + 12, sum[p][3]);
        } else {
            vst1q_s8(job->out + (x + p) * job->out_step + block * 16, hs_sixteen(sum[p][0], sum[p][1], sum[p][2], sum[p][3], job->scale + block * 16, zero));
        }
    }
}
#else
/* Without it: products of 16 values and their weights, added in pairs in 16 bits (no weight is -128), then in 32. */
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t block, ptrdiff_t x, const int P, const int sums)
{
    const int32_t groups = (job->length + HS_GROUP - 1) / HS_GROUP;
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 64;
    int32x4_t sum[4][4];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) sum[p][q] = vdupq_n_s32(0);
    for (int32_t r = 0; r < job->runs; r++) {
        const hs_act *s = job->run[r] + x * job->step;
        for (int32_t k = 0; k < groups; k++, w += 64, s += 16) {
            const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16), w2 = vld1q_s8(w + 32), w3 = vld1q_s8(w + 48);
#define HS_ADD_PAIR(p, q) sum[p][q] = vpadalq_s16(sum[p][q], vmlal_high_s8(vmull_s8(vget_low_s8(v), vget_low_s8(w##q)), v, w##q))
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) {
                const int8x16_t v = vld1q_s8(s + p * (ptrdiff_t)job->step);
                HS_ADD_PAIR(p, 0); HS_ADD_PAIR(p, 1); HS_ADD_PAIR(p, 2); HS_ADD_PAIR(p, 3);
                HS_KEEP(sum[p][0]); HS_KEEP(sum[p][1]); HS_KEEP(sum[p][2]); HS_KEEP(sum[p][3]);
            }
#undef HS_ADD_PAIR
        }
    }
    const int32x4_t bias = vld1q_s32(job->bias + block * 4);
    const float32x4_t scale = sums ? vdupq_n_f32(0) : vld1q_f32(job->scale + block * 4);
    const int16x4_t zero = vdup_n_s16((int16_t)(job->zero - HS_OFF));
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
        const int32x4_t all = vaddq_s32(bias, vpaddq_s32(vpaddq_s32(sum[p][0], sum[p][1]), vpaddq_s32(sum[p][2], sum[p][3])));
        if (sums) {
            vst1q_s32((int32_t *)(void *)job->out + (x + p) * job->out_step + block * 4, all);
        } else {
            const int16x4_t h = vqadd_s16(vqmovn_s32(hs_rounded(all, scale)), zero);
            const int8x8_t y = vqmovn_s16(vcombine_s16(h, h));
            memcpy(job->out + (x + p) * job->out_step + block * 4, &y, 4);
        }
    }
}
#endif

HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, const int sums)
{
    for (int32_t block = 0; block < job->blocks; block++)
        for (int32_t x = 0; x < n; x += HS_PIXELS) hs_dense_tile(job, block, x + HS_PIXELS <= n || n < HS_PIXELS ? x : n - HS_PIXELS, HS_PIXELS, sums);
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

/* Two products of bytes fit 16 bits; weights: int8 [taps][stride]. */
typedef struct { int32x4_t a, b, c, d; } hs_sums;
HS_INLINE void hs_add_pair(hs_sums *sum, int8x16_t p, int8x16_t v, int8x16_t q, int8x16_t w)
{
    const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(p), vget_low_s8(v)), vget_low_s8(q), vget_low_s8(w));
    const int16x8_t high = vmlal_high_s8(vmull_high_s8(p, v), q, w);
    sum->a = vaddw_s16(sum->a, vget_low_s16(low));
    sum->b = vaddw_high_s16(sum->b, low);
    sum->c = vaddw_s16(sum->c, vget_low_s16(high));
    sum->d = vaddw_high_s16(sum->d, high);
}

HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t n, int32_t c)
{
    const int8_t *weights = (const int8_t *)job->weights + c;
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
    const hs_act *top = job->tap[0] + c, *middle = job->tap[3] + c, *bottom = job->tap[6] + c;
    const ptrdiff_t step = job->stride;
    int8x16_t w[9];
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++) w[t] = vld1q_s8(weights + t * step);
    const hs_sums bias = {vld1q_s32(job->bias + c), vld1q_s32(job->bias + c + 4), vld1q_s32(job->bias + c + 8), vld1q_s32(job->bias + c + 12)};
    int8x16_t p0 = vld1q_s8(top), p1 = vld1q_s8(top + step), p3 = vld1q_s8(middle), p4 = vld1q_s8(middle + step), p6 = vld1q_s8(bottom), p7 = vld1q_s8(bottom + step);
    for (int32_t x = 0; x < n; x++) {
        const ptrdiff_t at = (x + 2) * step;
        const int8x16_t p2 = vld1q_s8(top + at), p5 = vld1q_s8(middle + at), p8 = vld1q_s8(bottom + at);
        hs_sums sum = bias;
        hs_add_pair(&sum, p0, w[0], p1, w[1]);
        hs_add_pair(&sum, p2, w[2], p3, w[3]);
        hs_add_pair(&sum, p4, w[4], p5, w[5]);
        hs_add_pair(&sum, p6, w[6], p7, w[7]);
        const int16x8_t low = vmull_s8(vget_low_s8(p8), vget_low_s8(w[8])), high = vmull_high_s8(p8, w[8]);
        sum.a = vaddw_s16(sum.a, vget_low_s16(low));
        sum.b = vaddw_high_s16(sum.b, low);
        sum.c = vaddw_s16(sum.c, vget_low_s16(high));
        sum.d = vaddw_high_s16(sum.d, high);
        vst1q_s8(job->out + x * step + c, hs_sixteen(sum.a, sum.b, sum.c, sum.d, job->scale + c, zero));
        p0 = p1; p1 = p2; p3 = p4; p4 = p5; p6 = p7; p7 = p8;
    }
}

static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
    for (int32_t c = 0; c < job->stride; c += 16) {
        if (job->is_3x3) {
            hs_depthwise_3x3(job, n, c);
            continue;
        }
        const int8_t *w = (const int8_t *)job->weights + c;
        for (int32_t x = 0; x < n; x++) {
            const ptrdiff_t at = (ptrdiff_t)x * job->stride + c;
            hs_sums sum = {vld1q_s32(job->bias + c), vld1q_s32(job->bias + c + 4), vld1q_s32(job->bias + c + 8), vld1q_s32(job->bias + c + 12)};
            for (int32_t t = 0; t < job->taps; t += 2) /* the weight of a tap behind the last is 0 */
                hs_add_pair(&sum, vld1q_s8(job->tap[t] + at), vld1q_s8(w + t * job->stride), vld1q_s8(job->tap[t + 1] + at), vld1q_s8(w + (t + 1) * job->stride));
            vst1q_s8(job->out + at, hs_sixteen(sum.a, sum.b, sum.c, sum.d, job->scale + c, zero));
        }
    }
}

/* Counts of 16 bits to integers, 16 bands at a time: their numbers stay in registers for all pixels. */
#define HS_OWN_STEPS
static void hs_steps_u16(const hs_affine *f, const uint16_t *x, int32_t n, int32_t bands, hs_act *out, int32_t step)
{
    int32_t b = 0;
    for (; b + 16 <= bands; b += 16) {
        const uint16x8_t low0 = vld1q_u16(f->low + b), low1 = vld1q_u16(f->low + b + 8), high0 = vld1q_u16(f->high + b), high1 = vld1q_u16(f->high + b + 8);
        const uint16x8_t factor0 = vld1q_u16(f->factor + b), factor1 = vld1q_u16(f->factor + b + 8);
        const uint16x8_t begin0 = vmulq_u16(vsubq_u16(vdupq_n_u16(0), vld1q_u16(f->first + b)), factor0);
        const uint16x8_t begin1 = vmulq_u16(vsubq_u16(vdupq_n_u16(0), vld1q_u16(f->first + b + 8)), factor1);
        for (int32_t p = 0; p < n; p++) {
            const uint16_t *from = x + (ptrdiff_t)p * bands + b;
            const uint16x8_t v = vmlaq_u16(begin0, vminq_u16(vmaxq_u16(vld1q_u16(from), low0), high0), factor0);
            const uint16x8_t w = vmlaq_u16(begin1, vminq_u16(vmaxq_u16(vld1q_u16(from + 8), low1), high1), factor1);
            const uint8x16_t bytes = vuzp2q_u8(vreinterpretq_u8_u16(v), vreinterpretq_u8_u16(w)); /* the upper byte of each */
            vst1q_s8(out + (ptrdiff_t)p * step + b, vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))));
        }
    }
    for (; b < bands; b++)
        for (int32_t p = 0; p < n; p++) out[(ptrdiff_t)p * step + b] = hs_step(f, x[(ptrdiff_t)p * bands + b], b);
}

/* The peak that dense kernels are measured against: their multiply-adds alone. */
static double hs_peak(long rounds)
{
    int32x4_t sum[12];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(1);
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sum[i] = vdupq_n_s32(i);
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) {
            HS_KEEP(a);
#if defined(HS_SET_DOT)
            sum[i] = vdotq_s32(sum[i], a, b);
#else
            sum[i] = vpadalq_s16(sum[i], vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b));
#endif
            HS_KEEP(sum[i]);
        }
    return 12.0 * 16.0 * (double)rounds;
}

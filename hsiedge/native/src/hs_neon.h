/* NEON, with the dot product (sdot) or without; values are bytes less 128. */

/* Compilers rather add to a pointer at each use than keep it: three instructions where a load with its own step takes one. */
#define HS_KEEP_POINTER(p) __asm__("" : "+r"(p))

#define HS_SCALES(scale) vld1q_f32(scale), vld1q_f32((scale) + 4), vld1q_f32((scale) + 8), vld1q_f32((scale) + 12)
HS_INLINE int32x4_t hs_rounded(int32x4_t sum, float32x4_t scale) { return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sum), scale)); }
HS_INLINE int8x16_t hs_sixteen(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d, float32x4_t s0, float32x4_t s1, float32x4_t s2,
                                float32x4_t s3, int16x8_t zero)
{
    a = hs_rounded(a, s0);
    b = hs_rounded(b, s1);
    c = hs_rounded(c, s2);
    d = hs_rounded(d, s3);
    const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), zero), high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), zero);
    return vqmovn_high_s16(vqmovn_s16(low), high);
}

/* Where run r begins, for each of the pixels from x. */
HS_INLINE void hs_begin_run(const hs_act **s, const hs_dense_job *job, int32_t r, ptrdiff_t x)
{
    s[0] = job->run[r] + x * job->step;
#pragma GCC unroll 5
    for (int p = 1; p < HS_PIXELS; p++) s[p] = s[p - 1] + job->step;
}

#if defined(HS_SET_DOT)
/* One of the four groups of inputs that lie in a vector of each pixel: `lane` is what the instruction broadcasts. */
#define HS_LANE(lane) \
    { \
        const int8x16x4_t four = vld1q_s8_x4(w); \
        w += 64; \
        HS_KEEP_POINTER(w); \
        _Pragma("GCC unroll 5") for (int p = 0; p < HS_PIXELS; p++) \
        { \
            sum[p][0] = vdotq_laneq_s32(sum[p][0], four.val[0], v[p], lane); \
            sum[p][1] = vdotq_laneq_s32(sum[p][1], four.val[1], v[p], lane); \
            sum[p][2] = vdotq_laneq_s32(sum[p][2], four.val[2], v[p], lane); \
            sum[p][3] = vdotq_laneq_s32(sum[p][3], four.val[3], v[p], lane); \
            HS_KEEP(sum[p][0]); HS_KEEP(sum[p][1]); HS_KEEP(sum[p][2]); HS_KEEP(sum[p][3]); \
        } \
    }
#define HS_VECTORS _Pragma("GCC unroll 5") for (int p = 0; p < HS_PIXELS; p++) { v[p] = vld1q_s8(s[p]); s[p] += 16; HS_KEEP_POINTER(s[p]); }
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t groups, int32_t block, ptrdiff_t x, const int sums)
{
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 64;
    int32x4_t sum[HS_PIXELS][4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        const int32x4_t b = vld1q_s32(job->bias + block * 16 + q * 4);
#pragma GCC unroll 5
        for (int p = 0; p < HS_PIXELS; p++) sum[p][q] = b;
    }
    for (int32_t r = 0; r < job->runs; r++) {
        const hs_act *s[HS_PIXELS];
        int8x16_t v[HS_PIXELS];
        hs_begin_run(s, job, r, x);
        for (int32_t k = groups >> 2; k > 0; k--) {
            HS_VECTORS
            HS_LANE(0) HS_LANE(1) HS_LANE(2) HS_LANE(3)
        }
        if (groups & 3) {
            HS_VECTORS
            HS_LANE(0)
            if (groups & 2) HS_LANE(1)
            if ((groups & 3) == 3) HS_LANE(2)
        }
    }
    if (sums) {
        int32_t *q = (int32_t *)(void *)job->out + x * job->out_step + block * 16;
#pragma GCC unroll 5
        for (int p = 0; p < HS_PIXELS; p++, q += job->out_step) {
            vst1q_s32(q, sum[p][0]); vst1q_s32(q + 4, sum[p][1]); vst1q_s32(q + 8, sum[p][2]); vst1q_s32(q + 12, sum[p][3]);
        }
        return;
    }
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
    const float *scale = job->scale + block * 16;
    const float32x4_t s0 = vld1q_f32(scale), s1 = vld1q_f32(scale + 4), s2 = vld1q_f32(scale + 8), s3 = vld1q_f32(scale + 12);
    hs_act *out = job->out + x * job->out_step + block * 16;
#pragma GCC unroll 5
    for (int p = 0; p < HS_PIXELS; p++, out += job->out_step) vst1q_s8(out, hs_sixteen(sum[p][0], sum[p][1], sum[p][2], sum[p][3], s0, s1, s2, s3, zero));
}
#undef HS_LANE
#undef HS_VECTORS
#else
/* Without it: products of 16 values and their weights, added in pairs in 16 bits (no weight is -128), then in 32. */
HS_INLINE void hs_add_group(int32x4_t sum[HS_PIXELS][4], const hs_act **s, const int8_t *w, const int first)
{
    const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16), w2 = vld1q_s8(w + 32), w3 = vld1q_s8(w + 48);
#pragma GCC unroll 4
    for (int p = 0; p < HS_PIXELS; p++) {
        const int8x16_t v = vld1q_s8(s[p]);
        s[p] += 16;
        HS_KEEP_POINTER(s[p]);
#define HS_ADD_PAIR(q) \
    { \
        const int16x8_t pairs = vmlal_high_s8(vmull_s8(vget_low_s8(v), vget_low_s8(w##q)), v, w##q); \
        sum[p][q] = first ? vpaddlq_s16(pairs) : vpadalq_s16(sum[p][q], pairs); \
    }
        HS_ADD_PAIR(0) HS_ADD_PAIR(1) HS_ADD_PAIR(2) HS_ADD_PAIR(3)
#undef HS_ADD_PAIR
        HS_KEEP(sum[p][0]); HS_KEEP(sum[p][1]); HS_KEEP(sum[p][2]); HS_KEEP(sum[p][3]);
    }
}
HS_INLINE void hs_dense_tile(const hs_dense_job *job, int32_t groups, int32_t block, ptrdiff_t x, const int sums)
{
    const int8_t *w = job->weights + (ptrdiff_t)block * job->runs * groups * 64;
    int32x4_t sum[HS_PIXELS][4];
    const hs_act *s[HS_PIXELS];
    hs_begin_run(s, job, 0, x);
    hs_add_group(sum, s, w, 1); /* so that no sum begins with zeros */
    w += 64;
    for (int32_t r = 0, k = groups - 1;; k = groups) {
        for (; k > 0; k--, w += 64) hs_add_group(sum, s, w, 0);
        if (++r >= job->runs) break;
        hs_begin_run(s, job, r, x);
    }
    const int32x4_t bias = vld1q_s32(job->bias + block * 4);
    int32x4_t all[HS_PIXELS];
#pragma GCC unroll 4
    for (int p = 0; p < HS_PIXELS; p++) all[p] = vaddq_s32(bias, vpaddq_s32(vpaddq_s32(sum[p][0], sum[p][1]), vpaddq_s32(sum[p][2], sum[p][3])));
    if (sums) {
        int32_t *q = (int32_t *)(void *)job->out + x * job->out_step + block * 4;
#pragma GCC unroll 4
        for (int p = 0; p < HS_PIXELS; p++, q += job->out_step) vst1q_s32(q, all[p]);
        return;
    }
    const float32x4_t scale = vld1q_f32(job->scale + block * 4);
    const int32x4_t bytes = vreinterpretq_s32_s8(hs_sixteen(all[0], all[1], all[2], all[3], scale, scale, scale, scale, vdupq_n_s16((int16_t)(job->zero - HS_OFF))));
    hs_act *out = job->out + x * job->out_step + block * 4;
#define HS_FOUR(p) { const int32_t four = vgetq_lane_s32(bytes, p); memcpy(out + p * job->out_step, &four, 4); }
    HS_FOUR(0) HS_FOUR(1) HS_FOUR(2) HS_FOUR(3)
#undef HS_FOUR
}
#endif

HS_INLINE void hs_dense_all(const hs_dense_job *given, int32_t n, const int sums)
{
    const hs_dense_job job = *given; /* a copy, which bytes that are stored cannot change: it stays in registers */
    const int32_t groups = (job.length + HS_GROUP - 1) / HS_GROUP;
    for (int32_t block = 0; block < job.blocks; block++)
        for (int32_t x = 0; x < n; x += HS_PIXELS) hs_dense_tile(&job, groups, block, x + HS_PIXELS <= n || n < HS_PIXELS ? x : n - HS_PIXELS, sums);
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

/* Two products of bytes fit 16 bits; weights: int8 [taps][stride]. */
typedef struct { int32x4_t a, b, c, d; } hs_sums;
HS_INLINE void hs_add(hs_sums *sum, int16x8_t low, int16x8_t high)
{
    sum->a = vaddw_s16(sum->a, vget_low_s16(low));
    sum->b = vaddw_high_s16(sum->b, low);
    sum->c = vaddw_s16(sum->c, vget_low_s16(high));
    sum->d = vaddw_high_s16(sum->d, high);
    HS_KEEP(sum->a); HS_KEEP(sum->b); HS_KEEP(sum->c); HS_KEEP(sum->d);
}
HS_INLINE void hs_add_pair(hs_sums *sum, int8x16_t p, int8x16_t v, int8x16_t q, int8x16_t w)
{
    hs_add(sum, vmlal_s8(vmull_s8(vget_low_s8(p), vget_low_s8(v)), vget_low_s8(q), vget_low_s8(w)), vmlal_high_s8(vmull_high_s8(p, v), q, w));
}

#if defined(HS_SET_DOT)
/* Taps of a column of 3 x 3, channel by channel: top, middle, bottom, and one whose weight is 0. */
typedef struct { int8x16_t q[4]; } hs_quads;
HS_INLINE hs_quads hs_column(int8x16_t top, int8x16_t middle, int8x16_t bottom, int8x16_t none)
{
    const int16x8_t a = vreinterpretq_s16_s8(vzip1q_s8(top, middle)), b = vreinterpretq_s16_s8(vzip1q_s8(bottom, none));
    const int16x8_t c = vreinterpretq_s16_s8(vzip2q_s8(top, middle)), d = vreinterpretq_s16_s8(vzip2q_s8(bottom, none));
    return (hs_quads){{vreinterpretq_s8_s16(vzip1q_s16(a, b)), vreinterpretq_s8_s16(vzip2q_s16(a, b)),
                       vreinterpretq_s8_s16(vzip1q_s16(c, d)), vreinterpretq_s8_s16(vzip2q_s16(c, d))}};
}

HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t n, int32_t c)
{
    const int8_t *weights = (const int8_t *)job->weights + c;
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
    const hs_act *top = job->tap[0] + c, *middle = job->tap[3] + c, *bottom = job->tap[6] + c;
    const ptrdiff_t step = job->stride;
    const int32_t *bias = job->bias + c;
    const float *scale = job->scale + c;
    hs_act *out = job->out + c;
    hs_quads w[3], v[3];
#pragma GCC unroll 3
    for (int t = 0; t < 3; t++) w[t] = hs_column(vld1q_s8(weights + t * step), vld1q_s8(weights + (t + 3) * step), vld1q_s8(weights + (t + 6) * step), vdupq_n_s8(0));
#define HS_COLUMN(t) \
    { \
        const int8x16_t last = vld1q_s8(bottom); \
        v[t] = hs_column(vld1q_s8(top), vld1q_s8(middle), last, last); \
        top += step; middle += step; bottom += step; \
    }
#define HS_PIXEL(first, second, third) \
    { \
        int32x4_t sum[4]; \
        HS_COLUMN(third) \
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) \
        { \
            sum[i] = vdotq_s32(vld1q_s32(bias + 4 * i), v[first].q[i], w[0].q[i]); \
            sum[i] = vdotq_s32(vdotq_s32(sum[i], v[second].q[i], w[1].q[i]), v[third].q[i], w[2].q[i]); \
        } \
        vst1q_s8(out, hs_sixteen(sum[0], sum[1], sum[2], sum[3], HS_SCALES(scale), zero)); \
        out += step; \
    }
    HS_COLUMN(0)
    HS_COLUMN(1)
    for (; n >= 3; n -= 3) { /* columns keep their registers */
        HS_PIXEL(0, 1, 2)
        HS_PIXEL(1, 2, 0)
        HS_PIXEL(2, 0, 1)
    }
    if (n > 0) HS_PIXEL(0, 1, 2)
    if (n > 1) HS_PIXEL(1, 2, 0)
#undef HS_PIXEL
#undef HS_COLUMN
}
#else
HS_INLINE void hs_depthwise_3x3(const hs_depthwise_job *job, int32_t n, int32_t c)
{
    const int8_t *weights = (const int8_t *)job->weights + c;
    const int16x8_t zero = vdupq_n_s16((int16_t)(job->zero - HS_OFF));
    const hs_act *top = job->tap[0] + c, *middle = job->tap[3] + c, *bottom = job->tap[6] + c;
    const ptrdiff_t step = job->stride;
    const int32_t *bias = job->bias + c;
    const float *scale = job->scale + c;
    hs_act *out = job->out + c;
    int8x16_t w[9], t[3], m[3], b[3];
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) w[i] = vld1q_s8(weights + i * step);
#define HS_COLUMN(i) \
    { \
        t[i] = vld1q_s8(top); m[i] = vld1q_s8(middle); b[i] = vld1q_s8(bottom); \
        top += step; middle += step; bottom += step; \
    }
#define HS_PIXEL(i, j, k) \
    { \
        HS_COLUMN(k) \
        hs_sums sum = {vld1q_s32(bias), vld1q_s32(bias + 4), vld1q_s32(bias + 8), vld1q_s32(bias + 12)}; \
        hs_add_pair(&sum, t[i], w[0], t[j], w[1]); \
        hs_add_pair(&sum, t[k], w[2], m[i], w[3]); \
        hs_add_pair(&sum, m[j], w[4], m[k], w[5]); \
        hs_add_pair(&sum, b[i], w[6], b[j], w[7]); \
        hs_add(&sum, vmull_s8(vget_low_s8(b[k]), vget_low_s8(w[8])), vmull_high_s8(b[k], w[8])); \
        vst1q_s8(out, hs_sixteen(sum.a, sum.b, sum.c, sum.d, HS_SCALES(scale), zero)); \
        out += step; \
    }
    HS_COLUMN(0)
    HS_COLUMN(1)
    for (; n >= 3; n -= 3) { /* columns keep their registers */
        HS_PIXEL(0, 1, 2)
        HS_PIXEL(1, 2, 0)
        HS_PIXEL(2, 0, 1)
    }
    if (n > 0) HS_PIXEL(0, 1, 2)
    if (n > 1) HS_PIXEL(1, 2, 0)
#undef HS_PIXEL
#undef HS_COLUMN
}
#endif

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
            vst1q_s8(job->out + at, hs_sixteen(sum.a, sum.b, sum.c, sum.d, HS_SCALES(job->scale + c), zero));
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
    for (; b + 8 <= bands; b += 8) {
        const uint16x8_t low = vld1q_u16(f->low + b), high = vld1q_u16(f->high + b), factor = vld1q_u16(f->factor + b);
        const uint16x8_t begin = vmulq_u16(vsubq_u16(vdupq_n_u16(0), vld1q_u16(f->first + b)), factor);
        for (int32_t p = 0; p < n; p++) {
            const uint16x8_t v = vmlaq_u16(begin, vminq_u16(vmaxq_u16(vld1q_u16(x + (ptrdiff_t)p * bands + b), low), high), factor);
            vst1_s8(out + (ptrdiff_t)p * step + b, vreinterpret_s8_u8(veor_u8(vshrn_n_u16(v, 8), vdup_n_u8(128))));
        }
    }
    for (; b < bands; b++)
        for (int32_t p = 0; p < n; p++) out[(ptrdiff_t)p * step + b] = hs_step(f, x[(ptrdiff_t)p * bands + b], b);
}

/* Table activations, 16 at a time: of four shuffles over 64 values each, the one that a value lies in says something. */
#define HS_OWN_TABLE
static void hs_look_up(const uint8_t *table, const hs_act *a, hs_act *out, ptrdiff_t count)
{
    const uint8x16_t off = vdupq_n_u8(HS_OFF), quarter = vdupq_n_u8(64);
    const uint8x16x4_t t0 = vld1q_u8_x4(table), t1 = vld1q_u8_x4(table + 64), t2 = vld1q_u8_x4(table + 128), t3 = vld1q_u8_x4(table + 192);
    for (ptrdiff_t i = 0; i < count; i += 16) {
        uint8x16_t v = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(a + i)), off), found = vqtbl4q_u8(t0, v);
        v = vsubq_u8(v, quarter);
        found = vqtbx4q_u8(found, t1, v);
        v = vsubq_u8(v, quarter);
        found = vqtbx4q_u8(found, t2, v);
        v = vsubq_u8(v, quarter);
        found = vqtbx4q_u8(found, t3, v);
        vst1q_s8(out + i, vreinterpretq_s8_u8(veorq_u8(found, off)));
    }
}

#ifndef HS_EXPORTED
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
#endif

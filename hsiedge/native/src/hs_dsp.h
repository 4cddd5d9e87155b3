/* Kernels for ARM's 32-bit SIMD (Cortex-M4, M7, A9): two 16-bit multiply-adds an instruction. */

/* Bytes 0 and 2, and 1 and 3, of four, as 16 bits; ACLE has no rotation within the instruction. */
HS_INLINE uint32_t hs_even(uint32_t four) { uint32_t r; __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(four)); return r; }
HS_INLINE uint32_t hs_odd(uint32_t four) { uint32_t r; __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(four)); return r; }
HS_INLINE int32_t hs_smlad(uint32_t a, uint32_t b, int32_t sum) { int32_t r; __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum)); return r; }
HS_INLINE int32_t hs_low(uint32_t a, uint32_t b, int32_t sum) { int32_t r; __asm__("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum)); return r; }
HS_INLINE int32_t hs_high(uint32_t a, uint32_t b, int32_t sum) { int32_t r; __asm__("smlatt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum)); return r; }
HS_INLINE uint32_t hs_four(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }

HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, int sums)
{ /* two pixels, two outputs; weights as plain C has them */
    const int32_t wide = HS_UP(job->length, HS_GROUP), all = job->runs * wide;
    const int8_t *weights = job->weights;
    for (int32_t o = 0; o < job->blocks; o += 2, weights += 2 * all)
        for (int32_t i = 0; i < n; i += 2) {
            const int32_t x = i + 2 <= n || n < 2 ? i : n - 2;
            const int8_t *w = weights;
            int32_t a0 = job->bias[o], a1 = job->bias[o + 1], b0 = a0, b1 = a1;
            for (int32_t r = 0; r < job->runs; r++) {
                const hs_act *s = job->run[r] + (ptrdiff_t)x * job->step, *t = s + job->step;
                for (const int8_t *end = w + wide; w < end; w += 4, s += 4, t += 4) {
                    const uint32_t u = hs_four(w), v = hs_four(w + all), p = hs_four(s), q = hs_four(t);
                    const uint32_t ue = hs_even(u), ve = hs_even(v), pe = hs_even(p), qe = hs_even(q);
                    const uint32_t uo = hs_odd(u), vo = hs_odd(v), po = hs_odd(p), qo = hs_odd(q);
                    a0 = hs_smlad(po, uo, hs_smlad(pe, ue, a0));
                    a1 = hs_smlad(po, vo, hs_smlad(pe, ve, a1));
                    b0 = hs_smlad(qo, uo, hs_smlad(qe, ue, b0));
                    b1 = hs_smlad(qo, vo, hs_smlad(qe, ve, b1));
                }
            }
            if (sums) {
                int32_t *q = (int32_t *)(void *)job->out + (ptrdiff_t)x * job->out_step + o;
                q[0] = a0; q[1] = a1; q[job->out_step] = b0; q[job->out_step + 1] = b1;
                continue;
            }
            hs_act *q = job->out + (ptrdiff_t)x * job->out_step + o;
            const float s0 = job->scale[o], s1 = job->scale[o + 1];
            q[0] = hs_requantized(a0, s0, job->zero); q[1] = hs_requantized(a1, s1, job->zero);
            q[job->out_step] = hs_requantized(b0, s0, job->zero); q[job->out_step + 1] = hs_requantized(b1, s1, job->zero);
        }
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

/* weights: int8 [taps][stride]; four channels at a time */
static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int8_t *weights = job->weights;
    for (int32_t x = 0; x < n; x++)
        for (int32_t c = 0; c < job->stride; c += 4) {
            const ptrdiff_t at = (ptrdiff_t)x * job->stride + c;
            const int8_t *w = weights + c;
            int32_t a = job->bias[c], b = job->bias[c + 1], d = job->bias[c + 2], e = job->bias[c + 3];
            for (int32_t t = 0; t < job->taps; t++, w += job->stride) {
                const uint32_t p = hs_four(job->tap[t] + at), u = hs_four(w);
                const uint32_t pe = hs_even(p), ue = hs_even(u), po = hs_odd(p), uo = hs_odd(u);
                a = hs_low(pe, ue, a);
                b = hs_low(po, uo, b);
                d = hs_high(pe, ue, d);
                e = hs_high(po, uo, e);
            }
            const float *s = job->scale + c;
            hs_act *q = job->out + at;
            q[0] = hs_requantized(a, s[0], job->zero); q[1] = hs_requantized(b, s[1], job->zero);
            q[2] = hs_requantized(d, s[2], job->zero); q[3] = hs_requantized(e, s[3], job->zero);
        }
}

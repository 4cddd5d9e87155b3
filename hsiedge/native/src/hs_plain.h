/* Kernels in plain C: for processors without a set of their own, and the oracle of those with one. */

HS_INLINE void hs_dense_block(const hs_dense_job *job, int32_t o, int32_t x, int sums)
{ /* two pixels, four outputs */
    const int32_t wide = HS_UP(job->length, HS_GROUP), all = job->runs * wide;
    const int8_t *w = job->weights + (ptrdiff_t)o * all;
    const int32_t *b = job->bias + o;
    int32_t a0 = b[0], a1 = b[1], a2 = b[2], a3 = b[3], b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    for (int32_t r = 0; r < job->runs; r++, w += wide) {
        const hs_act *s = job->run[r] + (ptrdiff_t)x * job->step, *t = s + job->step;
        for (int32_t k = 0; k < job->length; k++) {
            const int32_t i = s[k], j = t[k], w0 = w[k], w1 = w[all + k], w2 = w[2 * all + k], w3 = w[3 * all + k];
            a0 += i * w0; a1 += i * w1; a2 += i * w2; a3 += i * w3;
            b0 += j * w0; b1 += j * w1; b2 += j * w2; b3 += j * w3;
        }
    }
    if (sums) {
        int32_t *q = (int32_t *)(void *)job->out + (ptrdiff_t)x * job->out_step + o;
        q[0] = a0; q[1] = a1; q[2] = a2; q[3] = a3;
        q += job->out_step;
        q[0] = b0; q[1] = b1; q[2] = b2; q[3] = b3;
        return;
    }
    const float *s = job->scale + o;
    hs_act *q = job->out + (ptrdiff_t)x * job->out_step + o;
    q[0] = hs_requantized(a0, s[0], job->zero); q[1] = hs_requantized(a1, s[1], job->zero);
    q[2] = hs_requantized(a2, s[2], job->zero); q[3] = hs_requantized(a3, s[3], job->zero);
    q += job->out_step;
    q[0] = hs_requantized(b0, s[0], job->zero); q[1] = hs_requantized(b1, s[1], job->zero);
    q[2] = hs_requantized(b2, s[2], job->zero); q[3] = hs_requantized(b3, s[3], job->zero);
}

HS_INLINE void hs_dense_all(const hs_dense_job *job, int32_t n, int sums)
{
    for (int32_t o = 0; o < job->blocks; o += 4)
        for (int32_t x = 0; x < n; x += 2) hs_dense_block(job, o, x + 2 <= n || n < 2 ? x : n - 2, sums);
}
static void hs_dense(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 0); }
static void hs_dense_sums(const hs_dense_job *job, int32_t n) { hs_dense_all(job, n, 1); }

/* weights: int8 [taps][stride] */
static void hs_depthwise(const hs_depthwise_job *job, int32_t n)
{
    const int8_t *w = job->weights;
    for (int32_t x = 0; x < n; x++)
        for (int32_t c = 0; c < job->stride; c++) {
            const ptrdiff_t at = (ptrdiff_t)x * job->stride + c;
            int32_t sum = job->bias[c];
            for (int32_t t = 0; t < job->taps; t++) sum += job->tap[t][at] * w[t * job->stride + c];
            job->out[at] = hs_requantized(sum, job->scale[c], job->zero);
        }
}

#ifndef HS_EXPORTED
/* Plain C has no peak of its own: what the compiler makes of it differs. */
static double hs_peak(long rounds)
{
    (void)rounds;
    return 0;
}
#endif

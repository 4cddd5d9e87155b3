/* A net of LiuNet's shape in float, as one writes it by hand: counts in, labels out, pixel by pixel. weights.h has BANDS, CLASSES, KERNEL, the
   widths W1 to W4, the lengths L1 to L4 behind each pool, and the weights, outputs last, so that the inner loop runs over neighbours. */
#include <stddef.h>
#include <stdint.h>
#include "weights.h"

enum { WIDEST = W4 };

static inline void conv_relu_pool(const float *in, int inputs, int outputs, int pooled, const float *weights, const float *bias, float *out)
{
    for (int place = 0; place < pooled; place++) {
        float best[WIDEST] = {0}; /* the ReLU */
        for (int half = 0; half < 2; half++) {
            const float *window = in + (2 * place + half) * inputs;
            float sums[WIDEST];
            for (int o = 0; o < outputs; o++) sums[o] = bias[o];
            for (int tap = 0; tap < KERNEL * inputs; tap++)
                for (int o = 0; o < outputs; o++) sums[o] += window[tap] * weights[tap * outputs + o];
            for (int o = 0; o < outputs; o++) best[o] = sums[o] > best[o] ? sums[o] : best[o];
        }
        for (int o = 0; o < outputs; o++) out[place * outputs + o] = best[o];
    }
}

static uint16_t label_of(const uint16_t *counts)
{
    float x[BANDS], a[L1 * W1], b[L2 * W2], c[L3 * W3], d[L4 * W4], logits[CLASSES];
    int best = 0;
    for (int band = 0; band < BANDS; band++) x[band] = ((float)counts[band] - offset[band]) * scale[band];
    conv_relu_pool(x, 1, W1, L1, weights1, bias1, a);
    conv_relu_pool(a, W1, W2, L2, weights2, bias2, b);
    conv_relu_pool(b, W2, W3, L3, weights3, bias3, c);
    conv_relu_pool(c, W3, W4, L4, weights4, bias4, d);
    for (int o = 0; o < CLASSES; o++) logits[o] = bias5[o];
    for (int i = 0; i < L4 * W4; i++)
        for (int o = 0; o < CLASSES; o++) logits[o] += d[i] * weights5[i * CLASSES + o];
    for (int o = 1; o < CLASSES; o++) best = logits[o] > logits[best] ? o : best;
    return ids[best];
}

size_t c_bytes(int width);
int c_start(void *memory, size_t bytes, int width);
int c_push(const uint16_t *rows, int count, int width, uint16_t *labels);

size_t c_bytes(int width) { return (size_t)width; }
int c_start(void *memory, size_t bytes, int width) { return memory == NULL || bytes < (size_t)width; }
int c_push(const uint16_t *rows, int count, int width, uint16_t *labels)
{
    for (int i = 0; i < count * width; i++) labels[i] = label_of(rows + (size_t)i * BANDS);
    return count;
}

/* Kernels on rows of 8-bit integers, one instruction set a translation unit.

   A dense kernel computes 16 outputs of some pixels at a time. Weights are packed so that one load brings, for each of the 16, the
   HS_GROUP values that one multiply-add instruction takes; the same HS_GROUP activations of a pixel are broadcast:

       sums[pixel][0..15] += weights[0..15][k..k+3] * activations[pixel][k..k+3]        (vpdpbusd, sdot)

   Sums are exact in 32 bits on every set. Then rint(float32(sum) * scale), to the nearest even, plus the zero point, cut to 8 bits:
   what onnxruntime computes (MlasRequantizeOutput). */
#ifndef HS_KERNELS_H
#define HS_KERNELS_H
#include <string.h>

#include "hs_net.h"

#if defined(HS_SET_AVX512VNNI) || defined(HS_SET_AVXVNNI) || defined(HS_SET_AVX2)
#include <immintrin.h>
#define HS_FETCH /* dense kernels fetch the row that comes next */
#elif defined(HS_SET_DOT) || defined(HS_SET_NEON)
#include <arm_neon.h>
#endif

#define HS_INLINE static inline __attribute__((always_inline))

/* HS_OUTPUTS x HS_GROUP: outputs and inputs that lie together in packed weights. HS_PIXELS: most pixels of a dense kernel's block. */
#if defined(HS_SET_AVX512VNNI)
typedef uint8_t hs_act;
enum { HS_OFF = 0, HS_GROUP = 4, HS_OUTPUTS = 16, HS_PAD = 16, HS_PIXELS = 12 };
#elif defined(HS_SET_AVXVNNI)
typedef uint8_t hs_act;
enum { HS_OFF = 0, HS_GROUP = 4, HS_OUTPUTS = 16, HS_PAD = 16, HS_PIXELS = 6 };
#elif defined(HS_SET_AVX2)
typedef int16_t hs_act;
enum { HS_OFF = 0, HS_GROUP = 2, HS_OUTPUTS = 16, HS_PAD = 16, HS_PIXELS = 6 };
#elif defined(HS_SET_DOT)
typedef int8_t hs_act;
enum { HS_OFF = 128, HS_GROUP = 4, HS_OUTPUTS = 16, HS_PAD = 16, HS_PIXELS = 5 };
#elif defined(HS_SET_NEON)
typedef int8_t hs_act;
enum { HS_OFF = 128, HS_GROUP = 16, HS_OUTPUTS = 4, HS_PAD = 16, HS_PIXELS = 4 };
#else
typedef int8_t hs_act;
enum { HS_OFF = 128, HS_GROUP = 4, HS_OUTPUTS = 1, HS_PAD = 4, HS_PIXELS = 2 };
#endif

/* Without vectors, memory is what is scarce: rows lie in circles (hs_stream.h). */
#if defined(HS_SET_AVX512VNNI) || defined(HS_SET_AVXVNNI) || defined(HS_SET_AVX2) || defined(HS_SET_DOT) || defined(HS_SET_NEON)
#define HS_LEAN 0
#else
#define HS_LEAN 1
#endif

#define HS_UP(n, m) (((n) + (m) - 1) / (m) * (m))
HS_INLINE int32_t hs_stride(int32_t channels) { return channels == 1 ? 1 : HS_UP(channels, HS_PAD); } /* acts of one position */

HS_INLINE hs_act hs_clip(int32_t value)
{
    return (hs_act)((value < 0 ? 0 : value > 255 ? 255 : value) - HS_OFF);
}

/* To the nearest even, as the float unit rounds. */
#if defined(__ARM_ARCH) && __ARM_ARCH >= 7 && !defined(__aarch64__) && defined(__ARM_FP) && !defined(__ARM_FEATURE_DIRECTED_ROUNDING)
HS_INLINE int32_t hs_rint(float v) { int32_t i; float r; __asm__("vcvtr.s32.f32 %0, %1" : "=t"(r) : "t"(v)); memcpy(&i, &r, 4); return i; }
#elif defined(__ARM_FP) && defined(__ARM_FEATURE_DIRECTED_ROUNDING) && !defined(__aarch64__)
HS_INLINE int32_t hs_rint(float v) { int32_t i; float r; __asm__("vcvtn.s32.f32 %0, %1" : "=t"(r) : "t"(v)); memcpy(&i, &r, 4); return i; }
#elif defined(__riscv_flen)
HS_INLINE int32_t hs_rint(float v) { int32_t r; __asm__("fcvt.w.s %0, %1, rne" : "=r"(r) : "f"(v)); return r; }
#else
HS_INLINE int32_t hs_rint(float v)
{ /* adding 1.5 * 2^23 leaves no bits for a fraction; what lies beyond 2^16 is cut off anyway */
    volatile float t = (v < -65536.0f ? -65536.0f : v > 65536.0f ? 65536.0f : v) + 12582912.0f;
    return (int32_t)(t - 12582912.0f);
}
#endif
HS_INLINE hs_act hs_requantized(int32_t sum, float scale, int32_t zero) { return hs_clip(hs_rint((float)sum * scale) + zero); }

#if !HS_LEAN
/* Integer of a count of band b, in 16-bit steps. */
HS_INLINE hs_act hs_step(const hs_affine *f, uint16_t count, int32_t b)
{
    const uint16_t low = count > f->low[b] ? count : f->low[b], v = low < f->high[b] ? low : f->high[b];
    const uint32_t steps = (uint32_t)(uint16_t)(v - f->first[b]) * f->factor[b];
    return (hs_act)((int32_t)((steps >> 8) & 255) - HS_OFF);
}
#endif

/* What a dense kernel reads and writes. Output o of pixel x: sum over runs r and i < length of
   run[r][x * step + i] * weights[o][r][i]; `blocks` blocks of HS_OUTPUTS outputs. Pixels are computed HS_PIXELS at a time: there is
   room for as many in rows, even if fewer are asked for. */
typedef struct {
    const hs_act *const *run;
    int32_t runs, length, step;
    const int8_t *weights;
    const int32_t *bias;
    const float *scale;
    int32_t blocks, zero;
    hs_act *out; /* of hs_dense_sums: int32_t */
    int32_t out_step;
#ifdef HS_FETCH
    const char *fetch; /* what is to be fetched meanwhile, or NULL; */
    int32_t share;     /* its bytes a pixel */
#endif
} hs_dense_job;
#ifdef HS_FETCH
/* Lines of the row that comes next, a few each time some pixels are computed: for all at once, the processor would wait. */
HS_INLINE void hs_fetch(const hs_dense_job *job, int32_t x, int32_t pixels)
{
    if (job->fetch == NULL) return;
    for (int32_t k = x * job->share; k < (x + pixels) * job->share; k += 64) _mm_prefetch(job->fetch + k, _MM_HINT_T1);
}
#endif

/* Depthwise: `taps` pointers to pixel 0, row by row, and four more behind the last that may be read; `stride` acts a pixel. */
typedef struct {
    const hs_act *const *tap;
    int32_t taps, stride, is_3x3; /* 3 x 3 neighbouring pixels */
    const void *weights;
    const int32_t *bias;
    const float *scale;
    int32_t zero;
    hs_act *out;
} hs_depthwise_job;

/* gcc hoists loads and spills sums unless their order is kept. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && !defined(HS_KEEP)
#if defined(__x86_64__)
#define HS_KEEP(a) __asm__ volatile("" : "+x"(a))
#define HS_KEEP_WIDE(a) __asm__ volatile("" : "+v"(a))
#else
#define HS_KEEP(a) __asm__ volatile("" : "+w"(a))
#endif
#endif

/* Index of the largest of unsigned values, the first of several. */
#if defined(HS_SET_AVX512VNNI) || defined(HS_SET_AVXVNNI) || defined(HS_SET_AVX2)
HS_INLINE int32_t hs_largest(const uint16_t *values, int32_t count)
{ /* phminposuw finds the least of eight, and where it is first; beyond `count` lie channels that do not count */
    int32_t best = 0, least = 1 << 16;
    __m128i ones = _mm_set1_epi16(-1);
    HS_KEEP(ones); /* else gcc makes a NOT of it that waits for the result before */
    for (int32_t i = 0; i < count; i += 8) {
        __m128i v = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(values + i)), ones);
        if (count - i < 8) v = _mm_or_si128(v, _mm_cmpgt_epi16(_mm_setr_epi16(1, 2, 3, 4, 5, 6, 7, 8), _mm_set1_epi16((short)(count - i))));
        const int32_t found = _mm_cvtsi128_si32(_mm_minpos_epu16(v)), value = found & 0xFFFF, is_less = value < least;
        best = is_less ? i + (found >> 16) : best;
        least = is_less ? value : least;
    }
    return best;
}
#elif defined(HS_SET_DOT) || defined(HS_SET_NEON)
HS_INLINE int32_t hs_largest(const uint16_t *values, int32_t count)
{ /* beyond `count` lie channels that do not count */
    static const uint16_t order[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint16x8_t lane = vld1q_u16(order);
    uint16x8_t most = vdupq_n_u16(0);
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) most = vmaxq_u16(most, vld1q_u16(values + i));
    if (i < count) most = vmaxq_u16(most, vandq_u16(vld1q_u16(values + i), vcltq_u16(lane, vdupq_n_u16((uint16_t)(count - i)))));
    most = vdupq_n_u16(vmaxvq_u16(most));
    for (i = 0;; i += 8) {
        const int32_t first = vminvq_u16(vornq_u16(lane, vceqq_u16(vld1q_u16(values + i), most)));
        if (first < 8) return i + first;
    }
}
#else
HS_INLINE int32_t hs_largest(const uint16_t *values, int32_t count)
{
    int32_t best = 0;
    for (int32_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}
#endif

#if defined(HS_SET_AVX512VNNI)
#include "hs_avx512vnni.h"
#elif defined(HS_SET_AVXVNNI)
#include "hs_avxvnni.h"
#elif defined(HS_SET_AVX2)
#include "hs_avx2.h"
#elif defined(HS_SET_DOT) || defined(HS_SET_NEON)
#include "hs_neon.h"
#elif defined(HS_SET_DSP)
#include "hs_dsp.h"
#else
#include "hs_plain.h"
#endif

#if defined(HS_SET_AVXVNNI) || defined(HS_SET_AVX2)
/* Table activations of 32 bytes: a shuffle looks up sixteen values by the lower half of a byte; of each two, one is chosen by bits 4 to 7. */
#define HS_OWN_TABLE
HS_INLINE __m256i hs_looked_up_32(const uint8_t *table, __m256i v)
{
    const __m256i lower = _mm256_and_si256(v, _mm256_set1_epi8(15));
    const __m256i by4 = _mm256_slli_epi16(v, 3), by5 = _mm256_slli_epi16(v, 2), by6 = _mm256_slli_epi16(v, 1);
    __m256i eighth[2], quarter[2], half[2];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        const __m256i even = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(table + 32 * k)));
        const __m256i odd = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(table + 32 * k + 16)));
        eighth[k & 1] = _mm256_blendv_epi8(_mm256_shuffle_epi8(even, lower), _mm256_shuffle_epi8(odd, lower), by4);
        if (k & 1) quarter[k >> 1 & 1] = _mm256_blendv_epi8(eighth[0], eighth[1], by5);
        if ((k & 3) == 3) half[k >> 2] = _mm256_blendv_epi8(quarter[0], quarter[1], by6);
    }
    return _mm256_blendv_epi8(half[0], half[1], v);
}
HS_INLINE void hs_look_up_32(const uint8_t *table, const hs_act *a, hs_act *out)
{
    const __m256i *from = (const __m256i *)(const void *)a;
    __m256i *into = (__m256i *)(void *)out;
#if defined(HS_SET_AVX2)
    const __m256i v = hs_looked_up_32(table, _mm256_packus_epi16(_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)));
    _mm256_storeu_si256(into, _mm256_unpacklo_epi8(v, _mm256_setzero_si256()));
    _mm256_storeu_si256(into + 1, _mm256_unpackhi_epi8(v, _mm256_setzero_si256()));
#else
    _mm256_storeu_si256(into, hs_looked_up_32(table, _mm256_loadu_si256(from)));
#endif
}
/* `count` is a multiple of 16: every pixel has HS_PAD channels, or a multiple. */
static void hs_look_up(const uint8_t *table, const hs_act *a, hs_act *out, ptrdiff_t count)
{
    ptrdiff_t i = 0;
    for (; i + 32 <= count; i += 32) hs_look_up_32(table, a + i, out + i);
    if (i == count) return;
    hs_act last[32] = {0};
    memcpy(last, a + i, HS_PAD * sizeof(hs_act));
    hs_look_up_32(table, last, last);
    memcpy(out + i, last, HS_PAD * sizeof(hs_act));
}

/* Counts of 16 bits to integers, 16 bands at a time: their numbers stay in registers for all pixels. What is above `high` is cut by a
   sum that saturates, what is below `first` by a difference: `low` is the first count that is not less. */
#define HS_OWN_STEPS
static void hs_steps_u16(const hs_affine *f, const uint16_t *x, int32_t n, int32_t bands, hs_act *out, int32_t step)
{
#define HS_LOAD(pointer) _mm256_loadu_si256((const __m256i *)(const void *)(pointer))
    int32_t b = 0;
    for (; b + 16 <= bands; b += 16) {
        const __m256i above = _mm256_sub_epi16(_mm256_set1_epi16(-1), HS_LOAD(f->high + b)), below = _mm256_add_epi16(above, HS_LOAD(f->first + b)), factor = HS_LOAD(f->factor + b);
        for (int32_t p = 0; p < n; p++) {
            const __m256i v = _mm256_subs_epu16(_mm256_adds_epu16(HS_LOAD(x + (ptrdiff_t)p * bands + b), above), below);
            hs_store_steps(out + (ptrdiff_t)p * step + b, _mm256_srli_epi16(_mm256_mullo_epi16(v, factor), 8));
        }
    }
    for (; b < bands; b++)
        for (int32_t p = 0; p < n; p++) out[(ptrdiff_t)p * step + b] = hs_step(f, x[(ptrdiff_t)p * bands + b], b);
#undef HS_LOAD
}
#endif
#endif

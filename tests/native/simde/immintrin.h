/* Instructions of x86 as plain C, by SIMDe, in place of the compiler's own header: for targets that have none of them, and tests
   alone. At the end stand those that SIMDe 0.8.2 lacks, by Intel's description of what they do. */
#ifndef HS_TEST_IMMINTRIN_H
#define HS_TEST_IMMINTRIN_H
#if defined(__SSE3__)
#error "this target has what is to be emulated"
#endif
#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#define HS_KEEP(a) (void)(a) /* no register holds these vectors */
#define HS_KEEP_WIDE(a) (void)(a)

/* VPDPBUSD in the encoding of AVX-VNNI: the sums of that of AVX-512. */
#define _mm256_dpbusd_avx_epi32(sum, values, weights) simde_mm256_dpbusd_epi32(sum, values, weights)

/* VMOVDQU8: bytes whose bit is set are stored, memory of the others is not touched. */
static inline void hs_mask_storeu_epi8(void *memory, simde__mmask32 mask, simde__m256i a)
{
    const simde__m256i_private bytes = simde__m256i_to_private(a);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) ((int8_t *)memory)[i] = bytes.i8[i];
}
#define _mm256_mask_storeu_epi8(memory, mask, a) hs_mask_storeu_epi8(memory, mask, a)

/* VALIGNQ: of b, and a behind it, the eight words of 64 bits from the imm8-th on. */
static inline simde__m512i hs_alignr_epi64(simde__m512i a, simde__m512i b, const int imm8)
{
    const simde__m512i_private upper = simde__m512i_to_private(a), lower = simde__m512i_to_private(b);
    simde__m512i_private words;
    for (int i = 0; i < 8; i++) {
        const int at = i + (imm8 & 7);
        words.i64[i] = at < 8 ? lower.i64[at] : upper.i64[at - 8];
    }
    return simde__m512i_from_private(words);
}
#define _mm512_alignr_epi64(a, b, imm8) hs_alignr_epi64(a, b, imm8)
#endif

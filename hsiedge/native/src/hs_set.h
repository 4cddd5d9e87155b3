/* A kernel set, as the library sees it: one translation unit each, compiled for its instruction set. */
#ifndef HS_SET_H
#define HS_SET_H
#include "hs_net.h"

/* Where rows go, and what they are; hs_sink. */
typedef struct { uint16_t *labels; int32_t *values; const char *next; const hs_reference *reference; const uint8_t *empty; } hs_rows;

typedef struct {
    const char *name;
    int32_t outputs, group, pad, offset; /* of packed weights, and of stored values: HS_OUTPUTS, HS_GROUP, HS_PAD, HS_OFF */
    int32_t depthwise;                   /* how those of depthwise convolutions are packed: hs_packing */
    int32_t vector;                      /* bytes that HS_QUADS takes at a time */
    size_t (*bytes)(const hs_net *net, int32_t columns);
    void *(*start)(const hs_net *net, void *memory, size_t bytes, int32_t columns, int32_t left, int32_t right, int32_t above);
    int (*push_row)(void *state, const void *counts, int dtype, hs_rows *rows);
    int (*finish_row)(void *state, hs_rows *rows);
    int (*input)(const hs_affine *affine, const hs_reference *reference, const void *counts, int dtype, int32_t pixels, int32_t bands, const uint8_t *empty, uint8_t *out);
    int (*reflect)(const hs_reference *reference, const void *counts, int dtype, int32_t pixels, const uint8_t *empty, uint16_t *out);
    double (*peak)(long rounds);         /* multiply-adds of bytes done, by the instruction that dense kernels are made of */
} hs_set;
enum hs_packing {
    HS_TAPS,  /* int8 [taps][channels] */
    HS_PAIRS, /* int16 [channels / 16][pairs of taps][channels of a sum's low half, of its high half][2] */
    HS_QUADS  /* int8 [vectors][quads of taps][channels as they are interleaved][4] */
};
#endif

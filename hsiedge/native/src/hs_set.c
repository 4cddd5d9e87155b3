/* One kernel set: compiled once for each instruction set, with -DHS_SET_... and -DHS_NAME=... */
#include "hs_set.h"
#include "hs_stream.h"

static void *start(const hs_net *net, void *memory, size_t bytes, int32_t columns, int32_t left, int32_t right, int32_t above)
{
    return hs_start(net, memory, bytes, columns, left, right, above);
}
static int push_row(void *state, const void *counts, int dtype, hs_rows *rows)
{
    hs_sink sink = {rows->labels, rows->values, rows->next, rows->reference, rows->empty};
    const int done = hs_push_row(state, counts, dtype, &sink);
    rows->labels = sink.labels;
    rows->values = sink.values;
    return done;
}
static int finish_row(void *state, hs_rows *rows)
{
    hs_sink sink = {rows->labels, rows->values, rows->next, rows->reference, rows->empty};
    const int done = hs_finish_row(state, &sink);
    rows->labels = sink.labels;
    rows->values = sink.values;
    return done;
}
/* Integers of a row as bytes, for engines other than ours. */
static int input(const hs_affine *affine, const hs_reference *reference, const void *counts, int dtype, int32_t pixels, int32_t bands, const uint8_t *empty, uint8_t *out)
{
    hs_act piece[HS_MOST_CHANNELS];
    if (dtype < HS_U8 || dtype > HS_I64 || bands < 1 || bands > HS_MOST_CHANNELS) return HS_BAD;
    const int32_t most = HS_MOST_CHANNELS / bands, flip = affine->is_signed ? 128 : 0;
    const size_t pixel = (size_t)(reference == NULL ? bands : reference->bands) * (size_t)hs_sizes[dtype];
    for (int32_t x = 0; x < pixels; x += most) {
        const int32_t n = x + most < pixels ? most : pixels - x;
        const char *from = (const char *)counts + (size_t)x * pixel;
        const int code = reference == NULL ? hs_input(affine, from, dtype, n, bands, piece, bands)
                                           : hs_input_reflected(affine, reference, from, dtype, x, n, empty == NULL ? NULL : empty + x, piece, bands);
        if (code != HS_OK) return HS_BAD;
        for (int32_t i = 0; i < n * bands; i++) out[(size_t)x * (size_t)bands + (size_t)i] = (uint8_t)((piece[i] + HS_OFF) ^ flip);
    }
    return HS_OK;
}
/* Reflectance of a row, as it is stored. */
static int reflect(const hs_reference *reference, const void *counts, int dtype, int32_t pixels, const uint8_t *empty, uint16_t *out)
{
    uint16_t all[HS_MOST_CHANNELS];
    if (dtype < HS_U8 || dtype > HS_I64) return HS_BAD;
    const int32_t most = HS_MOST_CHANNELS / reference->bands;
    if (reference->is_whole && empty == NULL) {
        hs_reflect(reference, counts, dtype, 0, pixels, out);
        return HS_OK;
    }
    for (int32_t x = 0; x < pixels; x += most) {
        const int32_t n = x + most < pixels ? most : pixels - x;
        const char *from = (const char *)counts + (size_t)x * (size_t)reference->bands * (size_t)hs_sizes[dtype];
        hs_reflected(reference, from, dtype, x, n, empty == NULL ? NULL : empty + x, all, out + (size_t)x * (size_t)reference->taken);
    }
    return HS_OK;
}

#define HS_TEXT_(name) #name
#define HS_TEXT(name) HS_TEXT_(name)
#define HS_JOINED_(a, b) a##b
#define HS_JOINED(a, b) HS_JOINED_(a, b)
#if defined(HS_SET_AVX512VNNI)
enum { PACKING = HS_QUADS, VECTOR = 64 };
#elif defined(HS_SET_AVXVNNI)
enum { PACKING = HS_QUADS, VECTOR = 32 };
#elif defined(HS_SET_AVX2)
enum { PACKING = HS_PAIRS, VECTOR = 32 };
#else
enum { PACKING = HS_TAPS, VECTOR = 16 };
#endif

const hs_set HS_JOINED(hs_set_, HS_NAME) = {HS_TEXT(HS_NAME), HS_OUTPUTS, HS_GROUP, HS_PAD, HS_OFF, PACKING, VECTOR,
                                            hs_bytes, start, push_row, finish_row, input, reflect, hs_peak};

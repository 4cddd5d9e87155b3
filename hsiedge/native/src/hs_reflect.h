/* Dark and white references: raw counts of a push-broom camera become reflectance, in steps of 0.0001, some pixels at a time on their
   way to the network. What hsiedge/scenes/references.py computes with numpy, to the bit: each operation is one of float32. */

#define HS_REFLECT_OF(name, type) \
    static void name(const float *restrict dark, const float *restrict gain, const type *restrict x, ptrdiff_t n, uint16_t *restrict out) \
    { \
        for (ptrdiff_t i = 0; i < n; i++) { \
            float v = ((float)x[i] - dark[i]) * gain[i] + 0.5f; \
            v = v > 0.0f ? v : 0.0f; /* no number is 0 */ \
            out[i] = (uint16_t)(int32_t)(v < 32767.0f ? v : 32767.0f); \
        } \
    }
HS_REFLECT_OF(hs_reflect_u8, uint8_t)
HS_REFLECT_OF(hs_reflect_i8, int8_t)
HS_REFLECT_OF(hs_reflect_u16, uint16_t)
HS_REFLECT_OF(hs_reflect_i16, int16_t)
HS_REFLECT_OF(hs_reflect_u32, uint32_t)
HS_REFLECT_OF(hs_reflect_i32, int32_t)
HS_REFLECT_OF(hs_reflect_f32, float)
HS_REFLECT_OF(hs_reflect_f64, double)
HS_REFLECT_OF(hs_reflect_u64, uint64_t)
HS_REFLECT_OF(hs_reflect_i64, int64_t)
#undef HS_REFLECT_OF

/* `n` pixels of a row, from a column on: all bands of the counts. */
static void hs_reflect(const hs_reference *r, const void *x, int dtype, int32_t column, int32_t n, uint16_t *out)
{
    const ptrdiff_t first = (ptrdiff_t)column * r->bands, count = (ptrdiff_t)n * r->bands;
    const float *dark = r->dark + first, *gain = r->gain + first;
    switch (dtype) {
    case HS_U8: hs_reflect_u8(dark, gain, x, count, out); break;
    case HS_I8: hs_reflect_i8(dark, gain, x, count, out); break;
    case HS_U16: hs_reflect_u16(dark, gain, x, count, out); break;
    case HS_I16: hs_reflect_i16(dark, gain, x, count, out); break;
    case HS_U32: hs_reflect_u32(dark, gain, x, count, out); break;
    case HS_I32: hs_reflect_i32(dark, gain, x, count, out); break;
    case HS_F32: hs_reflect_f32(dark, gain, x, count, out); break;
    case HS_F64: hs_reflect_f64(dark, gain, x, count, out); break;
    case HS_U64: hs_reflect_u64(dark, gain, x, count, out); break;
    default: hs_reflect_i64(dark, gain, x, count, out); break;
    }
    for (int32_t k = r->dead[column]; k < r->dead[column + n]; k++) {
        const int32_t *e = r->element + 4 * (ptrdiff_t)k;
        const float *w = r->weight + 2 * (ptrdiff_t)k;
        uint16_t *pixel = out + (ptrdiff_t)(e[0] - r->begin - column) * r->bands;
        pixel[e[1]] = (uint16_t)(int32_t)((float)pixel[e[2]] * w[0] + (float)pixel[e[3]] * w[1] + 0.5f);
    }
}
/* Reflectance in the bands that are taken, of `n` pixels from a column on; `empty` ones, where there are some, get the fill. Written to
   `out`, if there is one; else it may be what lies in `all`, room for all bands. */
static const uint16_t *hs_reflected(const hs_reference *r, const void *x, int dtype, int32_t column, int32_t n, const uint8_t *empty, uint16_t *all, uint16_t *out)
{
    hs_reflect(r, x, dtype, column, n, all);
    for (int32_t p = 0; p < n; p++, out += r->taken) {
        if (empty != NULL && empty[p]) {
            memcpy(out, r->fill, (size_t)r->taken * sizeof(uint16_t));
            continue;
        }
        uint16_t *to = out;
        for (int32_t k = 0; k < r->runs; to += r->run[2 * k + 1], k++) memcpy(to, all + (ptrdiff_t)p * r->bands + r->run[2 * k], (size_t)r->run[2 * k + 1] * sizeof(uint16_t));
    }
    return out - (ptrdiff_t)n * r->taken;
}
/* The network's integers of `n` pixels of raw counts. */
static int hs_input_reflected(const hs_affine *f, const hs_reference *r, const void *x, int dtype, int32_t column, int32_t n, const uint8_t *empty, hs_act *out, int32_t step)
{
    uint16_t all[HS_MOST_CHANNELS], some[HS_MOST_CHANNELS];
    const int32_t most = HS_MOST_CHANNELS / r->bands;
    for (int32_t p = 0; p < n; p += most) {
        const int32_t m = p + most < n ? most : n - p;
        const char *from = (const char *)x + (size_t)p * (size_t)r->bands * (size_t)hs_sizes[dtype];
        const uint16_t *values = all;
        if (r->is_whole && empty == NULL) hs_reflect(r, from, dtype, column + p, m, all);
        else values = hs_reflected(r, from, dtype, column + p, m, empty == NULL ? NULL : empty + p, all, some);
        if (hs_input(f, values, HS_U16, m, r->taken, out + (ptrdiff_t)p * step, step) != HS_OK) return HS_BAD;
    }
    return HS_OK;
}

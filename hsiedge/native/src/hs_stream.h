/* A network over rows as they come, in memory that the caller gives.

   A row of counts is made integers and taken through the pointwise ops some pixels at a time, so that what lies between them stays in
   the cache. Their last tensor is held by rows of the scene: `radius` + 1 of them at least, since at the scene's edges rows are
   reflected. Of a scene of 5 rows 0 1 2 3 4 and radius 2 the other ops see 2 1 0 1 2 3 4 3 2: "rows of the halo" below. Each gives one
   row of every tensor whose inputs are there, and at the end a row of labels, `radius` rows after its own came.

   HS_LEAN: all these rows come together, a few columns at a time. A tensor is a circle of pixels, in which the newest take the place
   of the oldest as soon as its readers have passed those: 3 rows are kept in the room of 2 and some pixels. */
#ifndef HS_STREAM_H
#define HS_STREAM_H
#include "hs_kernels.h"

enum { HS_PIECE = HS_LEAN ? 4 : HS_PIXELS * (HS_PIXELS > 8 ? 2 : 4), HS_SPARE = HS_LEAN ? 4 : 64, HS_ALIGN = HS_LEAN ? 8 : 64 };

typedef struct {
    const hs_net *net;
    int32_t columns;             /* that are labelled */
    int32_t left, right, above;  /* columns beside them that come, too, 0 to radius; rows above the first that are reflected */
    int32_t received, taken;     /* rows that came; rows of the halo that were taken */
    int32_t ended;               /* rows that were reflected after the last */
    int32_t piece;               /* first column of the pixels that the pointwise ops are at */
    hs_act *base[HS_MOST_TENSORS];
    int32_t pixel[HS_MOST_TENSORS]; /* acts of a pixel, */
    size_t row[HS_MOST_TENSORS];    /* and of a row */
    const hs_act *run[HS_MOST_RUNS + 4];
#if HS_LEAN
    int32_t step;                  /* pieces of the rows that are there */
    int32_t head[HS_MOST_TENSORS]; /* place in the circle, of the next pixel that comes */
#endif
    uint16_t *sums, *running;    /* of `pool` rows of logits, by column; of `pool` columns of them, and those columns */
#ifdef HS_FETCH
    const char *next;            /* what was not fetched yet of the row that comes next; NULL where none is there */
    int32_t share;               /* its bytes that a dense op fetches a pixel */
#endif
} hs_state;

/* Where rows of the map go: labels, or for each pixel the sums that its logits are made of. */
typedef struct {
    uint16_t *labels;
    int32_t *values;
    const char *next; /* the row that comes next, or NULL */
#ifndef HS_EXPORTED
    const hs_reference *reference; /* NULL where rows are what the network takes */
    const uint8_t *empty;          /* pixels without data, or NULL */
#endif
} hs_sink;

HS_INLINE int32_t hs_is_sums(const hs_net *net, int32_t tensor)
{
    return tensor == net->output && net->ops[net->n_ops - 1].kind == HS_DENSE_SUMS;
}
/* Acts of a pixel. Sums are int32, in blocks of 16. */
HS_INLINE int32_t hs_pixel(const hs_net *net, int32_t tensor)
{
    const hs_tensor *t = &net->tensors[tensor];
    if (hs_is_sums(net, tensor)) return HS_UP(t->channels, 16) * (int32_t)(sizeof(int32_t) / sizeof(hs_act));
    return t->positions == 1 ? HS_UP(t->channels, HS_PAD) : HS_UP(t->positions * hs_stride(t->channels), HS_PAD);
}
HS_INLINE int32_t hs_columns(const hs_net *net, const hs_tensor *t, int32_t columns)
{
    return t->place == HS_CHUNK ? HS_PIECE : columns + 2 * net->radius - t->shrink;
}
/* Acts of a row: some more than its pixels, since kernels compute HS_PIXELS at a time and load whole vectors. */
HS_INLINE size_t hs_row_acts(const hs_net *net, int32_t tensor, int32_t columns)
{
    return HS_UP((size_t)(hs_columns(net, &net->tensors[tensor], columns) + HS_PIXELS) * (size_t)hs_pixel(net, tensor) + HS_SPARE, HS_ALIGN);
}


/* Pixels of a circle: whole rows but the newest, and as many of that as its readers come behind. */
HS_INLINE int32_t hs_window(const hs_tensor *t) { return HS_PIECE + HS_PIXELS + t->behind; }
HS_INLINE int32_t hs_circle(const hs_net *net, const hs_tensor *t, int32_t columns)
{
    return (t->ring - 1) * hs_columns(net, t, columns) + hs_window(t);
}
HS_INLINE int hs_is_circle(const hs_net *net, int32_t tensor) { return HS_LEAN && net->tensors[tensor].place == HS_ROWS && tensor != net->output; }
/* Bytes of a tensor; a circle's first pixels lie behind its end, too, so that what a kernel reads is in one piece. */
HS_INLINE size_t hs_tensor_bytes(const hs_net *net, int32_t tensor, int32_t columns)
{
    const hs_tensor *t = &net->tensors[tensor];
    const size_t circle = HS_UP((size_t)(hs_circle(net, t, columns) + hs_window(t)) * (size_t)hs_pixel(net, tensor) + HS_SPARE, HS_ALIGN);
    return (hs_is_circle(net, tensor) ? circle : hs_row_acts(net, tensor, columns) * (size_t)t->ring) * sizeof(hs_act);
}

/* Bytes of the sums of a row's columns of logits, of the window that is summed, and of the columns in it. */
HS_INLINE size_t hs_sums_bytes(const hs_net *net, int32_t columns)
{
    if (net->pool == 1) return 0;
    return HS_UP((size_t)(HS_LEAN ? 1 : hs_columns(net, &net->tensors[net->output], columns) + 1 + net->pool) * (size_t)hs_pixel(net, net->output) * sizeof(uint16_t), HS_ALIGN);
}

/* Bytes that a stream of so many columns takes. */
static size_t hs_bytes(const hs_net *net, int32_t columns)
{
    size_t bytes = HS_UP(sizeof(hs_state), HS_ALIGN) + 2 * HS_ALIGN;
    for (int32_t i = 0; i < net->n_tensors; i++) bytes += hs_tensor_bytes(net, i, columns);
    return bytes + hs_sums_bytes(net, columns);
}

/* Begins a stream in `memory`; NULL where that is too little, or the arguments do not fit. */
static hs_state *hs_start(const hs_net *net, void *memory, size_t bytes, int32_t columns, int32_t left, int32_t right, int32_t above)
{
    if (columns < 1 || columns > 1 << 20 || left < 0 || right < 0 || above < 0 || left > net->radius || right > net->radius || above > net->radius) return NULL;
    if (columns + left + right <= net->radius || bytes < hs_bytes(net, columns)) return NULL;
    hs_state *s = (hs_state *)(void *)(((uintptr_t)memory + HS_ALIGN - 1) & ~(uintptr_t)(HS_ALIGN - 1));
    memset(s, 0, hs_bytes(net, columns) - HS_ALIGN);
    s->net = net;
    s->columns = columns;
    s->left = left;
    s->right = right;
    s->above = above;
    char *at = (char *)s + HS_UP(sizeof(hs_state), HS_ALIGN);
    for (int32_t i = 0; i < net->n_tensors; i++) {
        s->base[i] = (hs_act *)(void *)at;
        s->pixel[i] = hs_pixel(net, i);
        s->row[i] = hs_row_acts(net, i, columns);
        at += hs_tensor_bytes(net, i, columns);
    }
    s->sums = (uint16_t *)(void *)at;
    s->running = HS_LEAN ? s->sums : s->sums + (size_t)hs_columns(net, &net->tensors[net->output], columns) * (size_t)s->pixel[net->output];
    return s;
}

/* Row of the scene that row `halo` of the halo shows; it came before, or is the one that comes. */
HS_INLINE int32_t hs_scene_row(const hs_state *s, int32_t halo)
{
    const int32_t row = halo < s->above ? s->above - halo : halo - s->above;
    return s->ended && row >= s->received ? 2 * (s->received - 1) - row : row;
}
#if HS_LEAN
/* Columns of a tensor's newest row that are there after so many pieces. */
HS_INLINE int32_t hs_reached(const hs_state *s, const hs_tensor *t, int32_t step)
{
    const int32_t x = step * HS_PIECE - t->delay, all = hs_columns(s->net, t, s->columns);
    return x < 0 ? 0 : x < all ? x : all;
}
HS_INLINE hs_act *hs_at_circle(const hs_state *s, int32_t tensor, int32_t row, int32_t x)
{
    const hs_tensor *t = &s->net->tensors[tensor];
    const int32_t length = hs_circle(s->net, t, s->columns), rows = s->taken - 1 - t->lag - row; /* before the newest */
    int32_t at = s->head[tensor] + x - hs_reached(s, t, s->step) - rows * hs_columns(s->net, t, s->columns);
    at += at < 0 ? length : 0;
    return s->base[tensor] + (ptrdiff_t)(at < length ? at : at - length) * s->pixel[tensor];
}
#endif
/* Pixel `x` of a tensor's row. */
HS_INLINE hs_act *hs_at(const hs_state *s, int32_t tensor, int32_t row, int32_t x)
{
    const hs_tensor *t = &s->net->tensors[tensor];
    if (t->place == HS_CHUNK) return s->base[tensor] + (ptrdiff_t)(x - s->piece) * s->pixel[tensor];
#if HS_LEAN
    if (hs_is_circle(s->net, tensor)) return hs_at_circle(s, tensor, row, x);
#endif
    if (t->place == HS_HELD) row = hs_scene_row(s, row);
    return s->base[tensor] + (size_t)(row % t->ring) * s->row[tensor] + (ptrdiff_t)x * s->pixel[tensor];
}

/* Pointers to where the runs of an op's kernel begin, for pixel `x` of `row` of its output; how many there are. */
HS_INLINE int32_t hs_runs(hs_state *s, const hs_op *op, int32_t input, int32_t row, int32_t x, int one_a_pixel)
{
    const ptrdiff_t pixel = s->pixel[op->in[input]];
    int32_t runs = 0;
    for (int32_t i = 0; i < op->kernel[0]; i++) {
        const hs_act *first = hs_at(s, op->in[input], row + op->row[input] + i * op->dilation[0], x + op->column[input]);
        for (int32_t j = 0; j < (one_a_pixel ? op->kernel[1] : 1); j++) s->run[runs++] = first + j * op->dilation[1] * pixel;
    }
    return runs;
}
/* Whether the pixels of a kernel's row lie side by side, and are one run. */
HS_INLINE int hs_is_merged(const hs_op *op, const hs_tensor *in) { return in->positions == 1 && op->dilation[1] == 1; }

HS_INLINE void hs_do_dense(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    const hs_tensor *in = &s->net->tensors[op->in[0]], *to = &s->net->tensors[op->out];
    const int32_t merged = hs_is_merged(op, in), pixel = s->pixel[op->in[0]], stride = in->positions == 1 ? pixel : hs_stride(in->channels);
    const int32_t places = (merged ? op->kernel[1] : 1) * op->kernel[2], sums = op->kind == HS_DENSE_SUMS;
    hs_dense_job job;
    job.run = s->run;
    job.runs = hs_runs(s, op, 0, row, x, !merged);
    job.length = (places - 1) * stride + in->channels;
    job.weights = op->weights;
    job.bias = op->bias;
    job.scale = op->scale;
    job.blocks = HS_UP(op->channels, HS_OUTPUTS > 4 ? HS_OUTPUTS : 4) / HS_OUTPUTS;
    job.zero = op->zero;
    job.out = out + op->channel;
    job.out_step = sums ? HS_UP(op->channels, 16) : to->positions == 1 ? s->pixel[op->out] : hs_stride(to->channels);
    if (to->positions > 1) { /* along the spectrum, pixel by pixel */
        job.step = op->stride * stride;
#ifdef HS_FETCH
        job.fetch = NULL;
#endif
        for (int32_t i = 0; i < n; i++, job.out += s->pixel[op->out]) {
            hs_dense(&job, to->positions);
            for (int32_t r = 0; r < job.runs; r++) s->run[r] += pixel;
        }
        return;
    }
    job.step = pixel;
#ifdef HS_FETCH
    job.fetch = s->next;
    job.share = s->share;
    if (s->next != NULL) s->next += (ptrdiff_t)n * s->share;
#endif
    if (HS_USES(HS_DENSE_SUMS) && sums) hs_dense_sums(&job, n);
    else hs_dense(&job, n);
}

HS_INLINE void hs_do_depthwise(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    hs_depthwise_job job;
    job.tap = s->run;
    job.taps = hs_runs(s, op, 0, row, x, 1);
    for (int32_t i = 0; i < 4; i++) s->run[job.taps + i] = s->run[0]; /* their weights are 0 */
    job.stride = s->pixel[op->out];
    job.is_3x3 = op->kernel[0] == 3 && op->kernel[1] == 3 && op->dilation[1] == 1;
    job.weights = op->weights;
    job.bias = op->bias;
    job.scale = op->scale;
    job.zero = op->zero;
    job.out = out;
    hs_depthwise(&job, n);
}

HS_INLINE hs_act hs_looked_up(const uint8_t *table, hs_act value) { return (hs_act)((int32_t)table[(int32_t)value + HS_OFF] - HS_OFF); }
#ifndef HS_OWN_TABLE
HS_INLINE void hs_look_up(const uint8_t *table, const hs_act *a, hs_act *out, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++) out[i] = hs_looked_up(table, a[i]);
}
#endif
HS_INLINE void hs_do_table(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    const hs_tensor *in = &s->net->tensors[op->in[0]], *to = &s->net->tensors[op->out];
    const ptrdiff_t step = s->pixel[op->in[0]], out_step = s->pixel[op->out], from = hs_stride(in->channels), into = hs_stride(to->channels);
    hs_runs(s, op, 0, row, x, 0);
    const hs_act *a = s->run[0];
    if (in->channels == to->channels) { /* as wide: all at once */
        hs_look_up(op->table, a, out, n * step);
        return;
    }
    out += op->channel;
    for (int32_t i = 0; i < n; i++, a += step, out += out_step)
        for (int32_t p = 0; p < in->positions; p++)
            for (int32_t c = 0; c < op->channels; c++) out[p * into + c] = hs_looked_up(op->table, a[p * from + c]);
}

HS_INLINE void hs_do_max(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    const hs_tensor *in = &s->net->tensors[op->in[0]], *to = &s->net->tensors[op->out];
    const ptrdiff_t step = s->pixel[op->in[0]], out_step = s->pixel[op->out];
    const int32_t width = hs_stride(to->channels), stride = hs_stride(in->channels), runs = hs_runs(s, op, 0, row, x, 1);
    for (int32_t i = 0; i < n; i++, out += out_step)
        for (int32_t p = 0; p < to->positions; p++) {
            hs_act *restrict largest = out + (ptrdiff_t)p * width;
            const ptrdiff_t at = i * step + (ptrdiff_t)p * op->stride * stride;
            memcpy(largest, s->run[0] + at, (size_t)width * sizeof(hs_act));
            for (int32_t r = 0; r < runs; r++)
                for (int32_t k = 0; k < op->kernel[2]; k++) {
                    const hs_act *other = s->run[r] + at + (ptrdiff_t)k * op->dilation[2] * stride;
                    for (int32_t c = 0; c < width; c++) largest[c] = other[c] > largest[c] ? other[c] : largest[c];
                }
        }
}

HS_INLINE void hs_do_extend(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    const hs_tensor *in = &s->net->tensors[op->in[0]], *to = &s->net->tensors[op->out];
    const ptrdiff_t stride = hs_stride(to->channels), begin = op->position * stride, all = to->positions * stride;
    const int is_view = in->positions == 1 && to->channels == 1; /* channels lie as positions do */
    const ptrdiff_t end = begin + (is_view ? in->channels : in->positions * stride);
    hs_runs(s, op, 0, row, x, 0);
    const hs_act *a = s->run[0], zero = hs_clip(op->zero);
    for (int32_t i = 0; i < n; i++, a += s->pixel[op->in[0]], out += s->pixel[op->out]) {
        for (ptrdiff_t k = 0; k < begin; k++) out[k] = zero;
        memcpy(out + begin, a, (size_t)(end - begin) * sizeof(hs_act));
        for (ptrdiff_t k = end; k < all; k++) out[k] = zero;
    }
}

HS_INLINE void hs_do_add(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n, hs_act *out)
{
    const ptrdiff_t count = (ptrdiff_t)n * s->pixel[op->out];
    hs_runs(s, op, 0, row, x, 0);
    const hs_act *a = s->run[0];
    hs_runs(s, op, 1, row, x, 0);
    const hs_act *b = s->run[0];
    const float first = op->scale[0], second = op->scale[1], fixed = op->scale[2];
    for (ptrdiff_t i = 0; i < count; i++) {
        const float part = fixed + (float)((int32_t)a[i] + HS_OFF) * first;
        out[i] = hs_clip(hs_rint(part + (float)((int32_t)b[i] + HS_OFF) * second));
    }
}

/* Pixels x to x + n of a row of an op's output. */
static void hs_do(hs_state *s, const hs_op *op, int32_t row, int32_t x, int32_t n)
{
    hs_act *out = hs_at(s, op->out, row, x);
    switch (op->kind) {
    case HS_DENSE:
    case HS_DENSE_SUMS: hs_do_dense(s, op, row, x, n, out); break;
    case HS_DEPTHWISE:
        if (HS_USES(HS_DEPTHWISE)) hs_do_depthwise(s, op, row, x, n, out);
        break;
    case HS_TABLE:
        if (HS_USES(HS_TABLE)) hs_do_table(s, op, row, x, n, out);
        break;
    case HS_MAX:
        if (HS_USES(HS_MAX)) hs_do_max(s, op, row, x, n, out);
        break;
    case HS_EXTEND:
        if (HS_USES(HS_EXTEND)) hs_do_extend(s, op, row, x, n, out);
        break;
    default:
        if (HS_USES(HS_ADD)) hs_do_add(s, op, row, x, n, out);
        break;
    }
#ifdef HS_TRACE
    HS_TRACE(s, op, row, x, n, out);
#endif
}

/* ---- counts to integers ---- */
HS_INLINE hs_act hs_stored(uint8_t value) { return (hs_act)((int32_t)value - HS_OFF); }

#define HS_STEPS_OF(name, type, flip) \
    static void name(const hs_affine *f, const type *restrict x, int32_t n, int32_t bands, hs_act *restrict out, int32_t step) \
    { \
        const type *restrict low = (const type *)(const void *)f->low, *restrict high = (const type *)(const void *)f->high; \
        const uint16_t *restrict first = f->first, *restrict factor = f->factor; \
        for (int32_t p = 0; p < n; p++, x += bands, out += step) \
            for (int32_t b = 0; b < bands; b++) { \
                type v = x[b] > low[b] ? x[b] : low[b]; \
                v = v < high[b] ? v : high[b]; \
                const uint32_t steps = (uint32_t)(uint16_t)((uint16_t)v - first[b]) * factor[b]; \
                out[b] = hs_stored((uint8_t)((uint8_t)((uint16_t)steps >> 8) ^ (flip))); \
            } \
    }
#ifndef HS_OWN_STEPS
HS_STEPS_OF(hs_steps_u16, uint16_t, 0)
#endif
HS_STEPS_OF(hs_steps_i16, int16_t, 0)
HS_STEPS_OF(hs_steps_u16_signed, uint16_t, 128)
HS_STEPS_OF(hs_steps_i16_signed, int16_t, 128)
#undef HS_STEPS_OF

#define HS_FLOATS_OF(name, type) \
    static void name(const hs_affine *f, const type *restrict x, int32_t n, int32_t bands, hs_act *restrict out, int32_t step) \
    { \
        const float *restrict offset = f->offset, *restrict rate = f->rate; \
        for (int32_t p = 0; p < n; p++, x += bands, out += step) \
            for (int32_t b = 0; b < bands; b++) { \
                float v = ((float)x[b] - offset[b]) * rate[b] + f->middle; \
                v = v > 255.0f ? 255.0f : v; \
                v = v == v ? v : f->middle; /* no number is the zero point */ \
                out[b] = hs_stored((uint8_t)(int32_t)(v < 0.0f ? 0.0f : v)); \
            } \
    }
HS_FLOATS_OF(hs_floats_u8, uint8_t)
HS_FLOATS_OF(hs_floats_i8, int8_t)
HS_FLOATS_OF(hs_floats_u16, uint16_t)
HS_FLOATS_OF(hs_floats_i16, int16_t)
HS_FLOATS_OF(hs_floats_u32, uint32_t)
HS_FLOATS_OF(hs_floats_i32, int32_t)
HS_FLOATS_OF(hs_floats_f32, float)
HS_FLOATS_OF(hs_floats_f64, double)
HS_FLOATS_OF(hs_floats_u64, uint64_t)
HS_FLOATS_OF(hs_floats_i64, int64_t)
#undef HS_FLOATS_OF

static const int32_t hs_sizes[] = {0, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8}; /* bytes of each dtype */

/* Makes `n` pixels of counts integers; HS_BAD where the network does not take the dtype. */
static int hs_input(const hs_affine *f, const void *x, int dtype, int32_t n, int32_t bands, hs_act *out, int32_t step)
{
    if (HS_READS(HS_INTEGERS) && f->kind == HS_INTEGERS) {
        const uint8_t flip = f->is_signed ? 128 : 0, *restrict counts = x;
        if (dtype != (f->is_signed ? HS_I8 : HS_U8)) return HS_BAD;
        for (int32_t p = 0; p < n; p++, counts += bands, out += step)
            for (int32_t b = 0; b < bands; b++) out[b] = hs_stored((uint8_t)(counts[b] ^ flip));
        return HS_OK;
    }
    if (HS_READS(HS_STEPS) && f->kind == HS_STEPS) {
        if (HS_TAKES(HS_U16) && dtype == HS_U16 && !f->is_signed) hs_steps_u16(f, x, n, bands, out, step);
        else if (HS_TAKES(HS_I16) && dtype == HS_I16 && !f->is_signed) hs_steps_i16(f, x, n, bands, out, step);
        else if (HS_TAKES(HS_U16) && dtype == HS_U16) hs_steps_u16_signed(f, x, n, bands, out, step);
        else if (HS_TAKES(HS_I16) && dtype == HS_I16) hs_steps_i16_signed(f, x, n, bands, out, step);
        else return HS_BAD;
        return HS_OK;
    }
    if (!HS_READS(HS_FLOATS)) return HS_BAD;
    switch (dtype) {
    case HS_U8:
        if (HS_TAKES(HS_U8)) hs_floats_u8(f, x, n, bands, out, step);
        break;
    case HS_I8:
        if (HS_TAKES(HS_I8)) hs_floats_i8(f, x, n, bands, out, step);
        break;
    case HS_U16:
        if (HS_TAKES(HS_U16)) hs_floats_u16(f, x, n, bands, out, step);
        break;
    case HS_I16:
        if (HS_TAKES(HS_I16)) hs_floats_i16(f, x, n, bands, out, step);
        break;
    case HS_U32:
        if (HS_TAKES(HS_U32)) hs_floats_u32(f, x, n, bands, out, step);
        break;
    case HS_I32:
        if (HS_TAKES(HS_I32)) hs_floats_i32(f, x, n, bands, out, step);
        break;
    case HS_F32:
        if (HS_TAKES(HS_F32)) hs_floats_f32(f, x, n, bands, out, step);
        break;
    case HS_F64:
        if (HS_TAKES(HS_F64)) hs_floats_f64(f, x, n, bands, out, step);
        break;
    case HS_U64:
        if (HS_TAKES(HS_U64)) hs_floats_u64(f, x, n, bands, out, step);
        break;
    case HS_I64:
        if (HS_TAKES(HS_I64)) hs_floats_i64(f, x, n, bands, out, step);
        break;
    default: return HS_BAD;
    }
    return HS_OK;
}

#ifndef HS_EXPORTED
#include "hs_reflect.h"
#endif
/* Integers of `n` pixels of a row of counts, from column x on. */
HS_INLINE int hs_columns_in(hs_state *s, const char *counts, int dtype, const hs_sink *sink, int32_t x, int32_t n)
{
    const hs_net *net = s->net;
    const int32_t step = s->pixel[0];
    hs_act *out = hs_at(s, 0, s->received + s->above, s->piece);
    const size_t size = (size_t)x * (size_t)hs_sizes[dtype];
#ifndef HS_EXPORTED
    const hs_reference *r = sink->reference;
    if (r != NULL) return hs_input_reflected(&net->affine, r, counts + size * (size_t)r->bands, dtype, x, n, sink->empty == NULL ? NULL : sink->empty + x, out, step);
#endif
    (void)sink;
    return hs_input(&net->affine, counts + size * (size_t)net->bands, dtype, n, net->bands, out, step);
}

/* The pointwise ops over one row of counts, and the columns that are reflected beside it. */
static int hs_pointwise(hs_state *s, const char *counts, int dtype, const hs_sink *sink)
{
    const hs_net *net = s->net;
    const int32_t width = s->columns + s->left + s->right, begin = net->radius - s->left, row = s->received + s->above;
    for (int32_t x = 0, n; x < width; x += n) {
        n = width - x < HS_PIECE + HS_PIXELS ? width - x : HS_PIECE; /* a few that are left come with those before */
        s->piece = begin + x;
        if (hs_columns_in(s, counts, dtype, sink, x, n) != HS_OK) return HS_BAD;
        for (int32_t i = 0; i < net->n_pointwise; i++) hs_do(s, &net->ops[i], row, begin + x, n);
    }
    for (int32_t i = 0; i < net->n_tensors; i++) {
        if (net->tensors[i].place != HS_HELD) continue;
        hs_act *const first = hs_at(s, i, row, begin), *const last = hs_at(s, i, row, begin + width - 1);
        const ptrdiff_t step = s->pixel[i];
        for (int32_t j = 1; j <= net->radius - s->left; j++) memcpy(first - j * step, first + j * step, (size_t)step * sizeof(hs_act));
        for (int32_t j = 1; j <= net->radius - s->right; j++) memcpy(last + j * step, last - j * step, (size_t)step * sizeof(hs_act));
    }
    return HS_OK;
}

/* ---- logits to labels ---- */

#if HS_LEAN
/* Adds, or takes away, `pool` pixels of a column: those of the newest row and of the rows before it. */
HS_INLINE void hs_add_column(const hs_state *s, int32_t row, int32_t x, int32_t sign)
{
    for (int32_t r = 0; r < s->net->pool; r++) {
        const hs_act *in = hs_at(s, s->net->output, row - r, x);
        for (int32_t c = 0; c < s->net->classes; c++) s->running[c] = (uint16_t)(s->running[c] + sign * (in[c] + HS_OFF));
    }
}
/* Sums of `pool` x `pool` pixels, and what they say. */
static void hs_pooled(hs_state *s, int32_t row, hs_sink *sink)
{
    const hs_net *net = s->net;
    if (row + 1 < net->pool) return;
    memset(s->running, 0, (size_t)net->classes * sizeof(uint16_t));
    for (int32_t x = 0; x < s->columns + net->pool - 1; x++) {
        hs_add_column(s, row, x, 1);
        if (x >= net->pool) hs_add_column(s, row, x - net->pool, -1);
        if (x < net->pool - 1) continue;
        if (sink->values == NULL) *sink->labels++ = net->ids[hs_largest(s->running, net->classes)];
        for (int32_t c = 0; sink->values != NULL && c < net->classes; c++) *sink->values++ = s->running[c];
    }
}
#else
/* Sums of 16 channels, in one vector or two. */
typedef uint16_t hs_sums16 __attribute__((vector_size(32)));
typedef hs_act hs_acts16 __attribute__((vector_size(16 * sizeof(hs_act))));
HS_INLINE hs_sums16 hs_sums_at(const uint16_t *sums) { hs_sums16 v; memcpy(&v, sums, sizeof v); return v; }
#if defined(HS_SET_AVX512VNNI) || defined(HS_SET_AVXVNNI)
HS_INLINE hs_sums16 hs_widened(const hs_act *acts) { return (hs_sums16)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)acts)); }
#else
HS_INLINE hs_sums16 hs_widened(const hs_act *acts)
{
    hs_acts16 v;
    memcpy(&v, acts, sizeof v);
    return __builtin_convertvector(v, hs_sums16) + HS_OFF;
}
#endif
HS_INLINE void hs_keep_sums(uint16_t *at, hs_sums16 v) { memcpy(at, &v, sizeof v); }
/* The largest of 16 sums, the first of several; `beyond` has ones where there is no class. */
HS_INLINE int32_t hs_largest_of_16(hs_sums16 sums, hs_sums16 beyond)
{
#ifdef HS_FETCH /* on x86 */
    const __m256i v = (__m256i)(~sums | beyond);
    const int32_t low = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm256_castsi256_si128(v))), high = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm256_extracti128_si256(v, 1)));
    return (high & 0xFFFF) < (low & 0xFFFF) ? 8 + (high >> 16) : low >> 16;
#else
    uint16_t values[16];
    hs_keep_sums(values, sums & ~beyond);
    return hs_largest(values, 16);
#endif
}
/* Sums of `pool` columns of the columns' sums, pixel by pixel: as they are, or the label that they say. `one`: labels of up to 16 classes,
   whose sums stay in a register. A column's sum is whole with the newest row; then the oldest is taken away, for the next row. */
HS_INLINE void hs_pool_columns(const hs_state *s, const hs_act *newest, const hs_act *oldest, uint16_t *labels, int32_t *values, const int one)
{
    const hs_net *net = s->net;
    const ptrdiff_t step = one ? 16 : s->pixel[net->output];
    const int32_t pool = net->pool, classes = net->classes;
    uint16_t *const window = s->running, *const ring = window + step, *const last = ring + (pool - 1) * step; /* the last `pool` columns */
    uint16_t *sums = s->sums, *column = ring;
    const uint16_t *const ids = net->ids;
    const hs_sums16 order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, beyond = (hs_sums16)(order >= (uint16_t)classes);
    hs_sums16 total = {0};
    memset(window, 0, (size_t)(pool + 1) * (size_t)step * sizeof(uint16_t));
    for (int32_t x = 1 - pool; x < s->columns; x++, sums += step, newest += step, oldest += step) {
        for (ptrdiff_t c = 0; c < step; c += 16) {
            const hs_sums16 whole = hs_sums_at(sums + c) + hs_widened(newest + c);
            if (!one) total = hs_sums_at(window + c);
            total += whole - hs_sums_at(column + c);
            if (!one) hs_keep_sums(window + c, total);
            hs_keep_sums(column + c, whole);
            hs_keep_sums(sums + c, whole - hs_widened(oldest + c));
        }
        column = column == last ? ring : column + step;
        if (x < 0) continue;
        if (values == NULL) labels[x] = ids[one ? hs_largest_of_16(total, beyond) : hs_largest(window, classes)];
        for (int32_t c = 0; values != NULL && c < classes; c++) *values++ = window[c];
    }
}
static void hs_pooled(hs_state *s, int32_t row, hs_sink *sink)
{
    const hs_net *net = s->net;
    const hs_act *newest = hs_at(s, net->output, row, 0);
    const ptrdiff_t step = s->pixel[net->output], count = (s->columns + net->pool - 1) * step;
    if (row + 1 < net->pool) {
        for (ptrdiff_t i = 0; i < count; i += 16) hs_keep_sums(s->sums + i, hs_sums_at(s->sums + i) + hs_widened(newest + i));
        return;
    }
    const hs_act *oldest = hs_at(s, net->output, row + 1 - net->pool, 0);
    if (sink->values != NULL) hs_pool_columns(s, newest, oldest, NULL, sink->values, 0);
    else if (step == 16) hs_pool_columns(s, newest, oldest, sink->labels, NULL, 1);
    else hs_pool_columns(s, newest, oldest, sink->labels, NULL, 0);
    if (sink->values != NULL) sink->values += (ptrdiff_t)s->columns * net->classes;
    else sink->labels += s->columns;
}
#endif

/* One row of logits that are not pooled. */
static void hs_direct(hs_state *s, const hs_act *row, hs_sink *sink)
{
    const hs_net *net = s->net;
    const hs_tensor *t = &net->tensors[net->output];
    const ptrdiff_t step = s->pixel[net->output];
    const int32_t is_sums = hs_is_sums(net, net->output), stride = hs_stride(t->channels);
    const float *scale = net->ops[net->n_ops - 1].scale;
    for (int32_t x = 0; x < s->columns; x++, row += step) {
        const int32_t *sums = (const int32_t *)(const void *)row;
        int32_t best = 0;
        if (sink->values != NULL) {
            for (int32_t p = 0; p < t->positions; p++)
                for (int32_t c = 0; c < t->channels; c++) *sink->values++ = is_sums ? sums[c] : (int32_t)row[p * stride + c] + HS_OFF;
            continue;
        }
        for (int32_t c = 1; c < net->classes; c++) {
            const int higher = is_sums ? (float)sums[c] * scale[c] > (float)sums[best] * scale[best] : row[c] > row[best];
            if (higher) best = c;
        }
        *sink->labels++ = net->ids[best];
    }
}

/* ---- rows ---- */

#if HS_LEAN
/* Pixels that were written to the end of a circle, or its beginning, to the other. */
HS_INLINE void hs_close(const hs_state *s, int32_t tensor, int32_t n)
{
    const hs_tensor *t = &s->net->tensors[tensor];
    const int32_t window = hs_window(t), length = hs_circle(s->net, t, s->columns), first = s->head[tensor], over = first + n - length;
    const size_t pixel = (size_t)s->pixel[tensor];
    hs_act *const base = s->base[tensor], *const end = base + (size_t)length * pixel;
    if (over > 0) memcpy(base, end, (size_t)over * pixel * sizeof(hs_act));
    if (first < window) memcpy(end + (size_t)first * pixel, base + (size_t)first * pixel, (size_t)(first + n < window ? n : window - first) * pixel * sizeof(hs_act));
}
/* One row more of each tensor that has its inputs. */
HS_INLINE void hs_advance(hs_state *s, int32_t now)
{
    const hs_net *net = s->net;
    int32_t left = 1;
    for (s->step = 0; left > 0; s->step++) {
        left = 0;
        for (int32_t i = net->n_pointwise; i < net->n_ops; i++) {
            const hs_op *op = &net->ops[i];
            const hs_tensor *t = &net->tensors[op->out];
            if (now < t->lag) continue;
            const int32_t x = hs_reached(s, t, s->step), n = hs_reached(s, t, s->step + 1) - x;
            left += hs_columns(net, t, s->columns) - x - n;
            if (n <= 0) continue;
            hs_do(s, op, now - t->lag, x, n);
            if (hs_is_circle(net, op->out)) hs_close(s, op->out, n);
        }
        for (int32_t i = 0; i < net->n_tensors; i++) {
            const hs_tensor *t = &net->tensors[i];
            if (!hs_is_circle(net, i) || now < t->lag) continue;
            const int32_t length = hs_circle(net, t, s->columns), head = s->head[i] + hs_reached(s, t, s->step + 1) - hs_reached(s, t, s->step);
            s->head[i] = head < length ? head : head - length;
        }
    }
}
#else
HS_INLINE void hs_advance(hs_state *s, int32_t now)
{
    for (int32_t i = s->net->n_pointwise; i < s->net->n_ops; i++) {
        const hs_op *op = &s->net->ops[i];
        const hs_tensor *t = &s->net->tensors[op->out];
        if (now >= t->lag) hs_do(s, op, now - t->lag, 0, hs_columns(s->net, t, s->columns));
    }
}
#endif
/* The next row of the halo: one row more of each tensor that has its inputs; 1 where it ends in a row of labels. */
static int hs_take(hs_state *s, hs_sink *sink)
{
    const hs_net *net = s->net;
    const int32_t now = s->taken++;
    hs_advance(s, now);
    const int32_t row = now - net->tensors[net->output].lag;
    if (row < 0) return 0;
    if (net->pool == 1) {
        hs_direct(s, hs_at(s, net->output, row, 0), sink);
        return 1;
    }
    hs_pooled(s, row, sink);
    return row + 1 >= net->pool;
}

#ifdef HS_FETCH
/* Dense ops, at least 1. */
HS_INLINE int32_t hs_dense_ops(const hs_net *net)
{
    int32_t count = 0;
    for (int32_t i = 0; i < net->n_ops; i++) count += net->ops[i].kind == HS_DENSE;
    return count ? count : 1;
}
#endif
/* Takes one row of counts; the number of rows that were written to the sink, or an hs_code. */
static int hs_push_row(hs_state *s, const void *counts, int dtype, hs_sink *sink)
{
    if (s->ended) return HS_ENDED;
    if (s->received >= INT32_MAX / 2 || dtype < HS_U8 || dtype > HS_I64) return HS_BAD;
#ifdef HS_FETCH
    s->next = sink->next;
    s->share = s->net->bands * hs_sizes[dtype] / hs_dense_ops(s->net) + 1;
#endif
    if (hs_pointwise(s, counts, dtype, sink) != HS_OK) return HS_BAD;
    s->received++;
    if (s->received <= s->above) return 0;
    int rows = 0;
    while (s->taken < s->received + s->above) rows += hs_take(s, sink); /* the first time those above, too */
#ifdef HS_FETCH
    s->next = NULL;
#endif
    return rows;
}

/* After the last row: the next of the rows that were held back; 0 where there is none any more. */
static int hs_finish_row(hs_state *s, hs_sink *sink)
{
    if (s->received <= s->net->radius) return HS_BAD;
    int rows = 0;
    while (rows == 0 && s->ended < s->net->radius) {
        s->ended++;
        rows = hs_take(s, sink);
    }
    return rows;
}
#endif

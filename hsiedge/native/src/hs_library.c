/* The library: checks a program of layers, packs its weights for the processor at hand, and streams rows through it.

   A program is little-endian 32-bit words: a header, the tensors, the ops, then the bytes that ops point into. It comes from a file
   that anybody may have written, so nothing in it is believed: each number is checked against what it stands for before memory is
   taken, and hs_check proves that no kernel reads or writes beyond its rows (tests/native fuzzes both under ASan). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "hs_set.h"
#include <string.h>

#define HS_API __attribute__((visibility("default")))

enum { HS_MAGIC = 0x314E5348, HS_VERSION = 1, HS_HEADER = 16, HS_TENSOR_WORDS = 3, HS_OP_WORDS = 24 };
enum { HS_MOST_BYTES = 1 << 28 };

extern const hs_set hs_set_plain;
#if defined(HS_EVERY_SET) /* of tests, which compile x86's sets for other processors than these ask for */
#define HS_X86
#define HS_HAS(feature) 1
#elif defined(__x86_64__)
#define HS_X86
#define HS_HAS(feature) __builtin_cpu_supports(feature)
#include <cpuid.h>
#endif
#if defined(HS_X86)
extern const hs_set hs_set_avx2, hs_set_avx512vnni;
#if defined(HS_WITH_AVXVNNI)
extern const hs_set hs_set_avxvnni;
/* Asked of the processor itself: compilers learned the name of this set later than the set. */
static int has_avxvnni(void)
{
#if defined(HS_EVERY_SET)
    return 1;
#else
    unsigned a, b, c, d;
    return HS_HAS("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
#endif
}
#endif
#elif defined(__aarch64__)
extern const hs_set hs_set_neon, hs_set_dot;
#include <sys/auxv.h>
#endif

/* ---- processors ---- */

/* Kernel sets that this processor runs, the best first; NULL behind the last. */
static const hs_set *const *sets_here(void)
{
    static const hs_set *sets[5];
    int n = 0;
#if defined(HS_X86)
    if (HS_HAS("avx512vnni") && HS_HAS("avx512bw") && HS_HAS("avx512vl")) sets[n++] = &hs_set_avx512vnni;
#if defined(HS_WITH_AVXVNNI)
    if (has_avxvnni()) sets[n++] = &hs_set_avxvnni;
#endif
    if (HS_HAS("avx2")) sets[n++] = &hs_set_avx2;
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & (1 << 20)) sets[n++] = &hs_set_dot; /* HWCAP_ASIMDDP */
    sets[n++] = &hs_set_neon;
#endif
    sets[n++] = &hs_set_plain;
    sets[n] = NULL;
    return sets;
}

/* Name of kernel set `i`, the best first; NULL behind the last. */
HS_API const char *hs_set_name(int i)
{
    const hs_set *const *sets = sets_here();
    for (int k = 0; sets[k] != NULL; k++)
        if (k == i) return sets[k]->name;
    return NULL;
}
static const hs_set *find_set(const char *name)
{
    const hs_set *const *sets = sets_here();
    if (name == NULL || name[0] == 0) return sets[0];
    for (; *sets != NULL; sets++)
        if (strcmp((*sets)->name, name) == 0) return *sets;
    return NULL;
}

/* ---- reading a program ---- */

typedef struct {
    const unsigned char *bytes;
    size_t size, data; /* of the program; where its data begin */
    char *message;
    size_t room;
} reader;

static int fail(const reader *r, const char *what, long number)
{
    snprintf(r->message, r->room, "%s (%ld)", what, number);
    return HS_BAD;
}
static int32_t word(const reader *r, size_t index)
{
    const unsigned char *b = r->bytes + 4 * index;
    return (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}
/* `count` elements of `each` bytes at `offset` of the data; NULL where they are not there. */
static const void *at(const reader *r, int32_t offset, size_t count, size_t each)
{
    const size_t there = r->size - r->data;
    if (offset < 0 || offset % 4 || (size_t)offset > there || count > (there - (size_t)offset) / each) return NULL;
    return r->bytes + r->data + offset;
}
static int within(int32_t value, int32_t least, int32_t most) { return value >= least && value <= most; }

typedef struct {
    hs_net net;
    const hs_set *set;
    hs_set other;  /* of hs_pack: no more than a layout */
    struct { void *memory; size_t bytes; } owned[HS_MOST_OPS * 4 + 16];
    int n_owned;
} model;

static void *room_for(model *m, size_t bytes)
{
    void *memory = bytes > HS_MOST_BYTES ? NULL : calloc(1, bytes + 64);
    if (memory != NULL) {
        m->owned[m->n_owned].memory = memory;
        m->owned[m->n_owned++].bytes = bytes;
    }
    return memory;
}

static int32_t rounded_up(int32_t n, int32_t m) { return (n + m - 1) / m * m; }
static int32_t stride_of(const hs_set *set, int32_t channels) { return channels == 1 ? 1 : rounded_up(channels, set->pad); }

/* Sum of weights, their bias, and the scale of one output, as kernels take them. */
typedef struct { const int8_t *weights; const int32_t *bias; const float *scale; int32_t each, input_zero; } filters;

/* The bias with which a kernel begins: b - zero point * sum of weights, and what storing values less `offset` takes away. */
static int begin_of(const reader *r, const hs_set *set, const filters *f, int32_t output, int32_t *begin)
{
    int64_t sum = 0, reach = 0;
    for (int32_t i = 0; i < f->each; i++) {
        const int32_t w = f->weights[(size_t)output * (size_t)f->each + (size_t)i];
        if (w == -128) return fail(r, "a weight of -128", output);
        sum += w;
        reach += w < 0 ? -w : w;
    }
    const int64_t bias = f->bias[output] - f->input_zero * sum;
    const int64_t most = (bias < 0 ? -bias : bias) + 255 * reach + 128 * reach;
    if (most >= INT32_MAX) return fail(r, "sums beyond 32 bits", output);
    if (f->scale != NULL && !(f->scale[output] > 0 && (double)most * f->scale[output] < 1e9)) return fail(r, "a scale out of range", output);
    *begin = (int32_t)(bias + set->offset * sum);
    return HS_OK;
}

/* Packs a convolution: [blocks of outputs][runs][groups of a run][outputs][group]. */
static int pack_dense(const reader *r, model *m, hs_op *op, const filters *f)
{
    const hs_set *set = m->set;
    const hs_tensor *in = &m->net.tensors[op->in[0]];
    const int32_t merged = in->positions == 1 && op->dilation[1] == 1;
    const int32_t stride = in->positions == 1 ? rounded_up(in->channels, set->pad) : stride_of(set, in->channels);
    const int32_t runs = op->kernel[0] * (merged ? 1 : op->kernel[1]), places = (merged ? op->kernel[1] : 1) * op->kernel[2];
    const int32_t length = (places - 1) * stride + in->channels, groups = (length + set->group - 1) / set->group;
    const int32_t wide = rounded_up(op->channels, set->outputs > 4 ? set->outputs : 4);
    int8_t *packed = room_for(m, (size_t)wide * (size_t)runs * (size_t)groups * (size_t)set->group);
    int32_t *bias = room_for(m, (size_t)(wide + 16) * 4);
    float *scale = room_for(m, (size_t)(wide + 16) * 4);
    if (packed == NULL || bias == NULL || scale == NULL) return fail(r, "too many weights", op->channels);
    for (int32_t o = 0; o < op->channels; o++) {
        if (begin_of(r, set, f, o, &bias[o]) != HS_OK) return HS_BAD;
        scale[o] = f->scale[o];
        const int8_t *w = f->weights + (size_t)o * (size_t)f->each; /* rows, columns, positions, channels */
        for (int32_t run = 0; run < runs; run++)
            for (int32_t place = 0; place < places; place++)
                for (int32_t c = 0; c < in->channels; c++) {
                    const int32_t k = place * stride + c, block = o / set->outputs;
                    const size_t group = ((size_t)block * (size_t)runs + (size_t)run) * (size_t)groups + (size_t)(k / set->group);
                    packed[(group * (size_t)set->outputs + (size_t)(o % set->outputs)) * (size_t)set->group + (size_t)(k % set->group)] = *w++;
                }
    }
    op->weights = packed;
    op->bias = bias;
    op->scale = scale;
    return HS_OK;
}

/* Taps in the order in which the kernel takes them; -1 where one takes none. */
static int32_t tap_of(const hs_set *set, const hs_op *op, int32_t place)
{
    static const int32_t pairs[] = {0, 3, 1, 4, 2, 5, 6, 7, 8, -1};
    const int32_t taps = op->kernel[0] * op->kernel[1], is_3x3 = op->kernel[0] == 3 && op->kernel[1] == 3 && op->dilation[1] == 1;
    if (is_3x3 && set->depthwise == HS_PAIRS) return pairs[place];
    if (is_3x3 && set->depthwise == HS_QUADS) return place % 4 == 3 ? -1 : place % 4 * 3 + place / 4;
    return place < taps ? place : -1;
}

static int pack_depthwise(const reader *r, model *m, hs_op *op, const filters *f)
{
    const hs_set *set = m->set;
    const int32_t stride = rounded_up(op->channels, set->pad), taps = op->kernel[0] * op->kernel[1];
    const int32_t is_3x3 = op->kernel[0] == 3 && op->kernel[1] == 3 && op->dilation[1] == 1;
    int32_t together = set->depthwise == HS_PAIRS ? 2 : set->depthwise == HS_QUADS ? 4 : 1;
    int32_t groups = (taps + together - 1) / together, wide = stride;
    if (is_3x3 && together > 1) groups = together == 2 ? 5 : 3;
    if (set->depthwise == HS_TAPS) groups = taps + taps % 2; /* NEON takes them in pairs */
    if (set->depthwise == HS_QUADS)
        for (wide = set->vector; wide % stride; wide += set->vector) continue;
    const size_t size = (size_t)wide * (size_t)groups * (size_t)together;
    int8_t *bytes = room_for(m, size * (set->depthwise == HS_PAIRS ? 2 : 1));
    int16_t *words = (int16_t *)(void *)bytes;
    int32_t *bias = room_for(m, (size_t)(wide + 16) * 4), *begin = room_for(m, (size_t)(stride + 16) * 4);
    float *scale = room_for(m, (size_t)(wide + 16) * 4);
    if (bytes == NULL || bias == NULL || begin == NULL || scale == NULL) return fail(r, "too many weights", op->channels);
    for (int32_t c = 0; c < op->channels; c++)
        if (begin_of(r, set, f, c, &begin[c]) != HS_OK) return HS_BAD;
    for (int32_t i = 0; i < wide; i++) {
        int32_t c = i, vector = 0, lane = i, lanes = stride; /* channel i of the sums is channel c of the row */
        if (set->depthwise == HS_QUADS) {
            vector = i / set->vector, lane = i % set->vector, lanes = set->vector;
            /* sums of 4 bytes, from each 16 of the vector, lie together: part 0 of all 16s, part 1 ... */
            const int32_t part = lane / (lanes / 4), sixteen = lane % (lanes / 4) / 4;
            c = (vector * lanes + 16 * sixteen + 4 * part + lane % 4) % stride;
        } else if (set->depthwise == HS_PAIRS) {
            static const int32_t order[] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
            vector = i / 16, lane = i % 16, lanes = 16;
            c = vector * 16 + order[lane];
        }
        const int known = c < op->channels;
        bias[i] = known ? begin[c] : 0;
        scale[i] = known ? f->scale[c] : 0;
        for (int32_t g = 0; known && g < groups; g++)
            for (int32_t k = 0; k < together; k++) {
                const int32_t tap = tap_of(set, op, g * together + k);
                if (tap < 0) continue;
                const size_t place = (((size_t)vector * (size_t)groups + (size_t)g) * (size_t)lanes + (size_t)lane) * (size_t)together + (size_t)k;
                const int8_t w = f->weights[(size_t)c * (size_t)taps + (size_t)tap];
                if (set->depthwise == HS_PAIRS) words[place] = w;
                else bytes[place] = w;
            }
    }
    op->weights = bytes;
    op->bias = bias;
    op->scale = scale;
    return HS_OK;
}

/* Whether an op makes channels positions. */
static int is_view(const hs_net *net, const hs_op *op)
{
    return op->kind == HS_EXTEND && net->tensors[op->in[0]].positions == 1 && net->tensors[op->out].channels == 1;
}

/* Checks that an op's shapes fit, and works out when its output is there, and how far back it looks. */
static int check_op(const reader *r, hs_net *net, hs_op *op, int32_t index, const char *made, char *read)
{
    if (!within(op->kind, HS_DENSE, HS_ADD) || !within(op->out, 1, net->n_tensors - 1) || !within(op->in[0], 0, net->n_tensors - 1)) return fail(r, "an op of no kind, or of no tensor", index);
    const int inputs = op->kind == HS_ADD ? 2 : 1;
    hs_tensor *out = &net->tensors[op->out];
    for (int i = 0; i < 3; i++)
        if (!within(op->kernel[i], 1, 4096) || !within(op->dilation[i], 1, 4096)) return fail(r, "a kernel out of range", index);
    if (op->kernel[0] > HS_MOST_RUNS || op->kernel[1] > HS_MOST_RUNS || op->kernel[0] * op->kernel[1] > HS_MOST_RUNS) return fail(r, "a kernel out of range", index);
    if (!within(op->stride, 1, 4096) || !within(op->zero, 0, 255) || !within(op->channels, 1, out->channels) || !within(op->channel, 0, out->channels - op->channels)) return fail(r, "channels out of range", index);
    int32_t lag = 0;
    for (int i = 0; i < inputs; i++) {
        if (!within(op->in[i], 0, net->n_tensors - 1) || op->in[i] == op->out || !made[op->in[i]]) return fail(r, "an op before its input", index);
        const hs_tensor *in = &net->tensors[op->in[i]];
        if (!within(op->row[i], 0, 4096) || !within(op->column[i], 0, 4096)) return fail(r, "an offset out of range", index);
        const int32_t rows = op->row[i] + (op->kernel[0] - 1) * op->dilation[0], columns = op->column[i] + (op->kernel[1] - 1) * op->dilation[1];
        if (out->shrink < in->shrink + columns) return fail(r, "an op that reads beyond its input", index);
        if (in->lag + rows > lag) lag = in->lag + rows;
        const int32_t places = (op->kernel[2] - 1) * op->dilation[2] + 1;
        const int32_t filled = is_view(net, op) ? in->channels : in->positions;
        if (op->kind == HS_EXTEND ? !within(op->position, 0, out->positions - filled) : in->positions < (out->positions - 1) * op->stride + places) return fail(r, "an op that reads beyond its positions", index);
        if (op->kind >= HS_TABLE && in->channels != op->channels && !is_view(net, op)) return fail(r, "channels that differ", index);
    }
    if (lag > 2 * net->radius) return fail(r, "an op that looks back beyond the halo", index);
    const hs_tensor *in = &net->tensors[op->in[0]];
    const int plain = op->kernel[0] * op->kernel[1] * op->kernel[2] == 1;
    if (op->kind <= HS_DENSE_SUMS && (op->dilation[2] != 1 || op->channel || op->channels != out->channels)) return fail(r, "a convolution of no kind that there is", index);
    if (op->kind == HS_DENSE_SUMS && (op->out != net->output || index != net->n_ops - 1 || out->positions != 1 || net->pool != 1)) return fail(r, "sums inside", index);
    if (op->kind == HS_DEPTHWISE && (in->positions != 1 || out->positions != 1 || op->kernel[2] != 1 || in->channels != op->channels || out->channels != op->channels || op->channels == 1)) return fail(r, "a depthwise convolution that is none", index);
    if ((op->kind == HS_MAX || op->kind == HS_EXTEND) && out->channels != op->channels) return fail(r, "a maximum of part of the channels", index);
    if (op->kind >= HS_TABLE && op->kind != HS_MAX && (!plain || op->stride != 1)) return fail(r, "a kernel where none can be", index);
    if ((op->kind == HS_TABLE || op->kind == HS_ADD) && in->positions != out->positions) return fail(r, "a kernel where none can be", index);
    if (op->kind == HS_ADD && (out->channels != op->channels || net->tensors[op->in[1]].positions != out->positions)) return fail(r, "a sum of part of the channels", index);
    if (index < net->n_pointwise && (lag || out->shrink || op->kernel[0] * op->kernel[1] > 1 || op->column[0] || op->column[1])) return fail(r, "an op of several pixels among those of one", index);
    if (made[op->out] == 1 + (index >= net->n_pointwise)) return fail(r, "a tensor of both kinds of ops", index);
    if (read[op->out]) return fail(r, "a tensor that is read before it is whole", index);
    for (int i = 0; i < inputs; i++) read[op->in[i]] = 1;
    if (lag > out->lag) out->lag = lag; /* of the part that comes last */
    return HS_OK;
}

/* How many columns a tensor comes behind the first op's, and its readers behind it, where rows come a few columns at a time. */
static int check_delays(const reader *r, hs_net *net)
{
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = net->n_pointwise; i < net->n_ops; i++)
            for (int k = 0; k < (net->ops[i].kind == HS_ADD ? 2 : 1); k++) {
                const hs_op *op = &net->ops[i];
                hs_tensor *out = &net->tensors[op->out], *in = &net->tensors[op->in[k]];
                if (in->place != HS_ROWS) continue;
                const int32_t needed = in->delay + op->column[k] + (op->kernel[1] - 1) * op->dilation[1], behind = out->delay - in->delay - op->column[k];
                if (pass && out->delay < needed) return fail(r, "an op before its input", i);
                if (out->delay < needed) out->delay = needed;
                if (pass && behind > in->behind) in->behind = behind;
            }
    return HS_OK;
}

/* Where each tensor lives, and the rows that it keeps. */
static int check_tensors(const reader *r, hs_net *net)
{
    for (int32_t i = 0; i < net->n_tensors; i++) net->tensors[i].place = i == 0 && net->n_pointwise == 0 ? HS_HELD : HS_CHUNK;
    for (int32_t i = net->n_pointwise; i < net->n_ops; i++) net->tensors[net->ops[i].out].place = HS_ROWS;
    for (int32_t i = net->n_pointwise; i < net->n_ops; i++)
        for (int k = 0; k < (net->ops[i].kind == HS_ADD ? 2 : 1); k++) {
            hs_tensor *in = &net->tensors[net->ops[i].in[k]];
            if (in->place == HS_CHUNK) in->place = HS_HELD;
        }
    hs_tensor *last = &net->tensors[net->output];
    if (last->place == HS_CHUNK) last->place = HS_HELD;
    const int32_t due = 2 * net->radius - (net->pool - 1); /* rows that each pixel of the logits sees, but for itself */
    if (last->lag > due || last->shrink != due) return fail(r, "a net that does not see its halo", last->lag);
    last->lag = due;
    for (int32_t i = 0; i < net->n_tensors; i++) net->tensors[i].ring = net->tensors[i].place == HS_HELD ? net->radius + 1 : 1;
    for (int32_t i = net->n_pointwise; i < net->n_ops; i++) {
        const hs_op *op = &net->ops[i];
        for (int k = 0; k < (op->kind == HS_ADD ? 2 : 1); k++) {
            hs_tensor *in = &net->tensors[op->in[k]];
            const int32_t rows = net->tensors[op->out].lag - in->lag - op->row[k] + 1;
            if (rows > in->ring) in->ring = rows;
        }
    }
    if (net->pool > last->ring) last->ring = net->pool;
    if (check_delays(r, net) != HS_OK) return HS_BAD;
    return HS_OK;
}

static int read_affine(const reader *r, model *m, const int32_t *words)
{
    hs_affine *a = &m->net.affine;
    const size_t bands = (size_t)m->net.bands;
    a->kind = words[0];
    a->is_signed = words[1] != 0;
    if (!within(a->kind, HS_INTEGERS, HS_FLOATS)) return fail(r, "an input of no kind", a->kind);
    if (a->kind == HS_STEPS) {
        const char *from = at(r, words[2], bands * 4, 2);
        char *copy = room_for(m, bands * 8);
        if (from == NULL || copy == NULL) return fail(r, "an input that is cut short", words[2]);
        memcpy(copy, from, bands * 8);
        const uint16_t *numbers = (const uint16_t *)(const void *)copy;
        a->low = numbers, a->high = numbers + bands, a->first = numbers + 2 * bands, a->factor = numbers + 3 * bands;
    } else if (a->kind == HS_FLOATS) {
        const char *from = at(r, words[2], bands * 2 + 1, 4);
        char *copy = room_for(m, bands * 8 + 4);
        if (from == NULL || copy == NULL) return fail(r, "an input that is cut short", words[2]);
        memcpy(copy, from, bands * 8 + 4);
        const float *numbers = (const float *)(const void *)copy;
        for (size_t i = 0; i < 2 * bands + 1; i++)
            if (!isfinite(numbers[i])) return fail(r, "an input scaled by no number", (long)i);
        a->offset = numbers, a->rate = numbers + bands, a->middle = numbers[2 * bands];
    }
    return HS_OK;
}

static int read_op(const reader *r, model *m, int32_t index, size_t first, const char *made, char *read)
{
    hs_net *net = &m->net;
    hs_op *op = &net->ops[index];
    int32_t w[HS_OP_WORDS];
    for (int i = 0; i < HS_OP_WORDS; i++) w[i] = word(r, first + (size_t)i);
    op->kind = w[0], op->out = w[1], op->in[0] = w[2], op->in[1] = w[3];
    for (int i = 0; i < 3; i++) op->kernel[i] = w[4 + i], op->dilation[i] = w[7 + i];
    op->stride = w[10], op->row[0] = w[11], op->row[1] = w[12], op->column[0] = w[13], op->column[1] = w[14];
    op->zero = w[15], op->channel = w[16], op->channels = w[17], op->position = w[22];
    if (check_op(r, net, op, index, made, read) != HS_OK) return HS_BAD;
    if (op->kind == HS_TABLE) {
        const void *from = at(r, w[18], 256, 1);
        void *table = room_for(m, 256);
        if (from == NULL || table == NULL) return fail(r, "a table that is cut short", index);
        op->table = memcpy(table, from, 256);
        return HS_OK;
    }
    if (op->kind == HS_ADD) {
        const void *from = at(r, w[18], 3, 4);
        float *scale = room_for(m, 12);
        if (from == NULL || scale == NULL) return fail(r, "a sum that is cut short", index);
        memcpy(scale, from, 12);
        for (int i = 0; i < 3; i++)
            if (!(fabsf(scale[i]) < 1e6f)) return fail(r, "a scale out of range", index);
        op->scale = scale;
        return HS_OK;
    }
    if (op->kind == HS_MAX || op->kind == HS_EXTEND) return HS_OK;
    const int32_t inputs = op->kind == HS_DEPTHWISE ? 1 : net->tensors[op->in[0]].channels;
    const int64_t each = (int64_t)op->kernel[0] * op->kernel[1] * op->kernel[2] * inputs;
    if (each * op->channels > HS_MOST_BYTES) return fail(r, "too many weights", index);
    const size_t outputs = (size_t)op->channels;
    if (!within(w[21], 0, 255)) return fail(r, "a zero point out of range", index);
    filters f = {at(r, w[18], outputs * (size_t)each, 1), NULL, NULL, (int32_t)each, w[21]};
    int32_t *bias = malloc(outputs * 4);
    float *scale = malloc(outputs * 4);
    const void *from[2] = {at(r, w[19], outputs, 4), at(r, w[20], outputs, 4)};
    int code = HS_BAD;
    if (f.weights == NULL || from[0] == NULL || from[1] == NULL || bias == NULL || scale == NULL) {
        fail(r, "weights that are cut short", index);
    } else {
        memcpy(bias, from[0], outputs * 4);
        memcpy(scale, from[1], outputs * 4);
        f.bias = bias, f.scale = scale;
        code = op->kind == HS_DEPTHWISE ? pack_depthwise(r, m, op, &f) : pack_dense(r, m, op, &f);
    }
    free(bias);
    free(scale);
    return code;
}

static int read_net(const reader *whole, model *m)
{
    reader bounded = *whole, *r = &bounded;
    hs_net *net = &m->net;
    if (r->size < 4 * HS_HEADER || r->size > HS_MOST_BYTES || word(r, 0) != HS_MAGIC || word(r, 1) != HS_VERSION) return fail(r, "not a program of this version", (long)r->size);
    net->n_tensors = word(r, 2), net->n_ops = word(r, 3), net->n_pointwise = word(r, 4), net->bands = word(r, 5);
    net->radius = word(r, 6), net->output = word(r, 7), net->pool = word(r, 8), net->classes = word(r, 9);
    if (!within(net->n_tensors, 2, HS_MOST_TENSORS) || !within(net->n_ops, 1, HS_MOST_OPS) || !within(net->n_pointwise, 0, net->n_ops)) return fail(r, "too many ops", net->n_ops);
    if (!within(net->bands, 1, HS_MOST_CHANNELS) || !within(net->radius, 0, 512) || !within(net->output, 1, net->n_tensors - 1) || !within(net->pool, 1, 16) || !within(net->classes, 1, HS_MOST_CLASSES)) return fail(r, "a header out of range", net->bands);
    r->data = 4 * (HS_HEADER + (size_t)net->n_tensors * HS_TENSOR_WORDS + (size_t)net->n_ops * HS_OP_WORDS);
    if (r->data > r->size) return fail(r, "a program that is cut short", (long)r->size);
    for (int32_t i = 0; i < net->n_tensors; i++) {
        hs_tensor *t = &net->tensors[i];
        const size_t first = HS_HEADER + (size_t)i * HS_TENSOR_WORDS;
        t->positions = word(r, first), t->channels = word(r, first + 1), t->shrink = word(r, first + 2);
        if (!within(t->positions, 1, 4096) || !within(t->channels, 1, HS_MOST_CHANNELS) || !within(t->shrink, 0, 2 * net->radius) || (int64_t)t->positions * t->channels > 1 << 20) return fail(r, "a tensor out of range", i);
    }
    const hs_tensor *first = &net->tensors[0];
    if (first->positions * first->channels != net->bands || (first->positions > 1 && first->channels > 1) || first->shrink) return fail(r, "an input of other bands", first->positions);
    char made[HS_MOST_TENSORS] = {1}, read[HS_MOST_TENSORS] = {0};
    for (int32_t i = 0; i < net->n_ops; i++) {
        const size_t begin = HS_HEADER + (size_t)net->n_tensors * HS_TENSOR_WORDS + (size_t)i * HS_OP_WORDS;
        if (read_op(r, m, i, begin, made, read) != HS_OK) return HS_BAD;
        made[net->ops[i].out] = (char)(1 + (i < net->n_pointwise));
    }
    for (int32_t i = 0; i < net->n_tensors; i++)
        if (!made[i]) return fail(r, "a tensor that no op gives", i);
    const int32_t affine[3] = {word(r, 10), word(r, 11), word(r, 12)};
    if (check_tensors(r, net) != HS_OK || read_affine(r, m, affine) != HS_OK) return HS_BAD;
    const hs_tensor *last = &net->tensors[net->output];
    if (net->pool > 1 && last->positions != 1) return fail(r, "logits that cannot be added", net->pool);
    if (last->positions * last->channels != net->classes) return fail(r, "other classes than logits", net->classes);
    const void *from = at(r, word(r, 13), (size_t)net->classes, 2);
    uint16_t *ids = room_for(m, (size_t)net->classes * 2);
    if (from == NULL || ids == NULL) return fail(r, "labels that are cut short", net->classes);
    net->ids = memcpy(ids, from, (size_t)net->classes * 2);
    return HS_OK;
}

/* ---- what Python calls ---- */

HS_API void hs_free(void *net)
{
    model *m = net;
    if (m == NULL) return;
    for (int i = 0; i < m->n_owned; i++) free(m->owned[i].memory);
    free(m);
}

/* Reads and packs a program for a kernel set ("" for the best); NULL, and why in `message`, where it is none. */
HS_API void *hs_load(const void *program, size_t size, const char *set, char *message, size_t room)
{
    const reader r = {program, size, 0, message, room};
    model *m = calloc(1, sizeof(model));
    if (m == NULL) {
        fail(&r, "no memory", (long)sizeof(model));
        return NULL;
    }
    m->set = find_set(set);
    if (m->set == NULL) fail(&r, "no such kernel set here", 0);
    else if (read_net(&r, m) == HS_OK) return m;
    hs_free(m);
    return NULL;
}

/* Packs a program for a processor elsewhere, to be read back and not run: `layout` is outputs, group, pad, offset, hs_packing, vector. */
HS_API void *hs_pack(const void *program, size_t size, const int32_t *layout, char *message, size_t room)
{
    const reader r = {program, size, 0, message, room};
    model *m = calloc(1, sizeof(model));
    if (m == NULL) {
        fail(&r, "no memory", (long)sizeof(model));
        return NULL;
    }
    m->other.outputs = layout[0], m->other.group = layout[1], m->other.pad = layout[2];
    m->other.offset = layout[3], m->other.depthwise = layout[4], m->other.vector = layout[5];
    m->set = &m->other;
    if (read_net(&r, m) == HS_OK) return m;
    hs_free(m);
    return NULL;
}
/* What hs_check worked out of a tensor: lag, ring, delay, behind, place. */
HS_API void hs_packed_tensor(const void *net, int32_t index, int32_t *numbers)
{
    const hs_tensor *t = &((const model *)net)->net.tensors[index];
    numbers[0] = t->lag, numbers[1] = t->ring, numbers[2] = t->delay, numbers[3] = t->behind, numbers[4] = t->place;
}
/* An op's weights (0), bias (1) or scale (2), and their bytes; NULL where it has none. */
HS_API const void *hs_packed_array(const void *net, int32_t index, int which, size_t *bytes)
{
    const model *m = net;
    const hs_op *op = &m->net.ops[index];
    const void *const array = which == 0 ? op->weights : which == 1 ? (const void *)op->bias : (const void *)op->scale;
    for (int i = 0; i < m->n_owned && array != NULL; i++)
        if (m->owned[i].memory == array) *bytes = m->owned[i].bytes;
    return array;
}

typedef struct { model *m; void *state; } stream;

/* Whether a size_t holds the bytes of a stream, by an upper bound: of 32 bits, it does not hold those of any net and width. */
static int is_countable(const hs_net *net, int32_t columns)
{
    double bytes = 0;
    for (int32_t i = 0; i < net->n_tensors; i++) {
        const hs_tensor *t = &net->tensors[i];
        bytes += 4.0 * ((double)t->positions * (t->channels + 64.0) + 64.0) * (columns + 2.0 * net->radius + 256.0) * (t->ring + 1.0);
    }
    return bytes < (double)(SIZE_MAX / 2);
}

/* Bytes of a stream of so many columns; 0 where they are none, or too many. */
HS_API size_t hs_stream_bytes(const void *net, int32_t columns)
{
    const model *m = net;
    return columns < 1 || columns > 1 << 20 || !is_countable(&m->net, columns) ? 0 : m->set->bytes(&m->net, columns);
}
/* A stream in memory of its own; NULL where there is none, or columns do not fit. The net must outlive it. */
HS_API void *hs_stream_new(void *net, int32_t columns, int32_t left, int32_t right, int32_t above)
{
    model *m = net;
    const size_t bytes = hs_stream_bytes(net, columns);
    stream *s = bytes ? calloc(1, sizeof(stream) + bytes) : NULL;
    if (s == NULL) return NULL;
    s->m = m;
    s->state = m->set->start(&m->net, s + 1, bytes, columns, left, right, above);
    if (s->state == NULL) {
        free(s);
        return NULL;
    }
    return s;
}
HS_API void hs_stream_free(void *state) { free(state); }

/* Takes `n` rows that lie `step` bytes apart, raw where there are references; hs_stream_push. */
static int push_rows(stream *s, const hs_rows *what, ptrdiff_t empty_step, const char *counts, int dtype, int32_t n, ptrdiff_t step, ptrdiff_t out_step)
{
    int rows = 0;
    for (int32_t i = 0; i < n; i++) {
        hs_rows sink = {what->labels == NULL ? NULL : what->labels + rows * out_step, what->values == NULL ? NULL : what->values + rows * out_step,
                        i + 1 < n ? counts + (i + 1) * step : NULL, what->reference, what->empty == NULL ? NULL : what->empty + i * empty_step};
        const int done = s->m->set->push_row(s->state, counts + i * step, dtype, &sink);
        if (done < 0) return done;
        rows += done;
    }
    return rows;
}
/* Takes `n` rows that lie `step` bytes apart, and writes those that are due, `out_step` elements apart; how many, or an hs_code. */
HS_API int hs_stream_push(void *state, const void *counts, int dtype, int32_t n, ptrdiff_t step, uint16_t *labels, int32_t *values, ptrdiff_t out_step)
{
    const hs_rows what = {labels, values, NULL, NULL, NULL};
    return push_rows(state, &what, 0, counts, dtype, n, step, out_step);
}
/* Takes rows of raw counts; `empty` tells which pixels hold no data, or is NULL. */
HS_API int hs_stream_push_raw(void *state, const void *counts, int dtype, int32_t n, ptrdiff_t step, uint16_t *labels, int32_t *values, ptrdiff_t out_step,
                              const hs_reference *reference, const uint8_t *empty, ptrdiff_t empty_step)
{
    const hs_rows what = {labels, values, NULL, reference, empty};
    return push_rows(state, &what, empty_step, counts, dtype, n, step, out_step);
}
/* The rows that are held back, reflected at the scene's end; how many, or an hs_code. */
HS_API int hs_stream_finish(void *state, uint16_t *labels, int32_t *values, ptrdiff_t out_step)
{
    stream *s = state;
    for (int rows = 0;;) {
        hs_rows sink = {labels == NULL ? NULL : labels + rows * out_step, values == NULL ? NULL : values + rows * out_step, NULL, NULL, NULL};
        const int done = s->m->set->finish_row(s->state, &sink);
        if (done < 0) return done;
        if (done == 0) return rows;
        rows += done;
    }
}

/* Rows of pixels that lie `step` bytes apart, and their pixels without data (or NULL); `dtype` is that of the counts. */
typedef struct { const char *counts; ptrdiff_t step; const uint8_t *empty; ptrdiff_t empty_step; int32_t dtype, rows, pixels; } hs_raw;

/* Integers of rows of counts as bytes, `out_step` apart: the input step of other engines. Raw ones where there are references. */
HS_API int hs_integers(const char *set, const hs_affine *a, const hs_reference *reference, const hs_raw *raw, int32_t bands, uint8_t *out, ptrdiff_t out_step)
{
    const hs_set *found = find_set(set);
    if (found == NULL || !within(a->kind, HS_STEPS, HS_FLOATS)) return HS_BAD;
    for (int32_t i = 0; i < raw->rows; i++)
        if (found->input(a, reference, raw->counts + i * raw->step, raw->dtype, raw->pixels, bands, raw->empty == NULL ? NULL : raw->empty + i * raw->empty_step, out + i * out_step) != HS_OK) return HS_BAD;
    return HS_OK;
}
/* Reflectance of rows of raw counts, as it is stored; `out_step` elements apart. */
HS_API int hs_reflectance(const char *set, const hs_reference *reference, const hs_raw *raw, uint16_t *out, ptrdiff_t out_step)
{
    const hs_set *found = find_set(set);
    if (found == NULL) return HS_BAD;
    for (int32_t i = 0; i < raw->rows; i++)
        if (found->reflect(reference, raw->counts + i * raw->step, raw->dtype, raw->pixels, raw->empty == NULL ? NULL : raw->empty + i * raw->empty_step, out + i * out_step) != HS_OK) return HS_BAD;
    return HS_OK;
}

/* Multiply-adds of bytes that `rounds` rounds of a set's own instruction do, nothing else: time it, and it is the processor's peak. */
HS_API double hs_peak_macs(const char *set, long rounds)
{
    const hs_set *found = find_set(set);
    return found == NULL ? 0 : found->peak(rounds);
}

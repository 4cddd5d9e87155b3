/* What a network is, for the kernels, the stream and the loader.

   A network reads a scene row by row and labels each pixel. Its tensors are rows, too: of `columns` pixels, each of `positions`
   places along the spectrum with `channels` values. A convolution over 3 x 3 pixels needs three rows of its input, so a tensor
   keeps its newest rows in a ring, no more of them than its readers look back:

       counts -> [1 x 1, 200 -> 16] -> ring of 7 rows -> [3 x 3] -> ring of 3 rows -> [3 x 3] -> ... -> sums of 5 x 5 -> label

   Values are 8-bit integers. A kernel set stores them as it computes best: unsigned bytes, bytes less 128, or 16 bits (`hs_act`,
   HS_OFF). Everything is data; nothing here allocates memory. */
#ifndef HS_NET_H
#define HS_NET_H
#include <stddef.h>
#include <stdint.h>

#ifndef HS_EXPORTED /* an exported file has limits of its own */
enum { HS_MOST_TENSORS = 96, HS_MOST_OPS = 96, HS_MOST_RUNS = 64, HS_MOST_CHANNELS = 4096, HS_MOST_CLASSES = 1024 };
#define HS_USES(kind) 1   /* whether there are ops, */
#define HS_READS(kind) 1  /* inputs */
#define HS_TAKES(dtype) 1 /* and rows of it */
#endif

enum hs_kind {
    HS_DENSE = 1,     /* convolution, requantized: rint(sum * scale) + zero, cut to 8 bits */
    HS_DENSE_SUMS,    /* convolution whose sums (int32) are the logits, but for a scale a class */
    HS_DEPTHWISE,     /* convolution of each channel by itself, requantized */
    HS_TABLE,         /* any function of one value: a table of 256 */
    HS_MAX,           /* largest of the kernel's values */
    HS_EXTEND,        /* more positions: those of the input, or its channels, and zero points before and behind them */
    HS_ADD            /* sum of two tensors: rint(a * scale[0] + (scale[2] + b * scale[1])), cut to 8 bits */
};

typedef struct {
    int32_t positions, channels;
    int32_t shrink;  /* columns that are lost between the input with its halo, and this */
    /* worked out by hs_check: */
    int32_t lag;     /* row r is there once row r + lag of the input is */
    int32_t ring;    /* rows that are kept */
    int32_t delay;   /* HS_LEAN: columns that it comes behind the first op's; */
    int32_t behind;  /* columns that its readers come behind it */
    int32_t place;   /* HS_CHUNK: lives for some pixels only; HS_HELD: by rows as they come; HS_ROWS: by rows of the halo, too */
} hs_tensor;
enum { HS_CHUNK, HS_HELD, HS_ROWS };

typedef struct {
    int32_t kind, out, in[2];
    int32_t kernel[3], dilation[3], stride; /* rows, columns, positions; the stride is one of positions */
    int32_t row[2], column[2];              /* of `in`, at which row 0 and column 0 of `out` begin */
    int32_t zero;                           /* zero point of the output */
    int32_t channel;                        /* of the output, at which this one's begin: concatenation */
    int32_t channels;                       /* that it computes */
    int32_t position;                       /* HS_EXTEND: of the output, at which the input's begin */
    const void *weights;                    /* as the kernel set packs them */
    const int32_t *bias;
    const float *scale;
    const uint8_t *table;                   /* 256 values as stored by the kernel set, less HS_OFF */
} hs_op;

/* stored counts -> integers of the network */
typedef struct {
    int32_t kind;                 /* HS_INTEGERS: rows are the network's integers already; HS_STEPS: 16-bit arithmetic; HS_FLOATS */
    int32_t is_signed;            /* whether the network's integers, or counts in HS_STEPS, are */
    const uint16_t *low, *high, *first, *factor; /* HS_STEPS: ((clip(x, low, high) - first) * factor) >> 8 */
    const float *offset, *rate;   /* HS_FLOATS: floor((x - offset) * rate + middle), cut to 0..255 */
    float middle;
} hs_affine;
enum { HS_INTEGERS, HS_STEPS, HS_FLOATS };

typedef struct {
    hs_tensor tensors[HS_MOST_TENSORS]; /* 0 is the input */
    hs_op ops[HS_MOST_OPS];
    int32_t n_tensors, n_ops, n_pointwise; /* ops before n_pointwise look at one pixel, and are done as it comes */
    int32_t bands, radius, output, pool, classes;
    const uint16_t *ids;                /* label of each class */
    hs_affine affine;
} hs_net;

#ifndef HS_EXPORTED
/* Dark and white references of a row of raw counts; hs_reflect.h. */
typedef struct {
    int32_t begin;          /* first column of the row, among those of the references */
    int32_t bands, taken;   /* of a raw pixel; of those, the network's */
    int32_t runs, is_whole; /* of bands that are taken; whether that is all of them */
    const int32_t *run;     /* first and count of each */
    const float *dark, *gain; /* (x - dark) * gain, by column and band */
    const int32_t *dead;    /* of each column, the first dead element of the detector, and their number behind the last */
    const int32_t *element; /* of each: its column and band, and the live bands on both sides */
    const float *weight;    /* of these two */
    const uint16_t *fill;   /* a pixel without data */
} hs_reference;
#endif

/* dtypes of rows */
enum hs_dtype { HS_U8 = 1, HS_I8, HS_U16, HS_I16, HS_U32, HS_I32, HS_F32, HS_F64, HS_U64, HS_I64 };

enum hs_code {
    HS_OK = 0,
    HS_BAD = -1,     /* a program that is none, or arguments that do not fit it */
    HS_SMALL = -2,   /* too little memory was given */
    HS_ENDED = -3    /* rows after the end */
};
#endif

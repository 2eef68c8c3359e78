/* SPDX-License-Identifier: Apache-2.0 */
/* A transformer as two tables: tensors (grouped in units, the arrays that are fetched together) and
 * operations (embed, then attention and MLP of every block, then head), each with forward and
 * backward. It knows no ranks and no tiers: whoever runs an operation brings its units' weights to
 * the device and hands over buffers.
 *
 * The residual stream x [B*T, C] flows through the operations: embed writes it, attention and MLP
 * read one and write the next, head turns it into a loss. Weights and x have the compute type;
 * gradients of weights are fp32.
 *
 * Tiles (memory-centric tiling, Rajbhandari et al. 2021, section 5.1.3): a layer (embedding, the
 * attention or MLP of a block, head) may be cut into tiles, each with a unit and an operation of
 * its own, so that neither a whole layer's weights nor its whole inner activation ever exist. The
 * tiles of a layer share its input and its output:
 *
 * - forward, tiles 0 .. n-1: tile 0 writes the output, the others add to it. The head's tiles make
 *   the loss: each adds to the statistics (running maximum and sum, target's logit) in `carry`, the
 *   last adds the loss.
 * - backward, tiles n-1 .. 0: each adds its share to the gradient of the layer's normalised input,
 *   in `carry`; tile 0 then passes it through the norm into the stream's gradient, which until then
 *   is that of the layer's output. The head's tiles read the statistics of forward.
 *
 * A norm, biases of the output and the position table, which all tiles of a layer share, are units
 * of their own where n > 1; their gradient is made by tile 0 alone. With one tile everything is as
 * if there were no tiles, and carry is not used.
 *
 * All sizes hold for any B <= the B asked for, so that a rank with fewer sequences runs the same
 * program; B = 0 works. */
#ifndef ZI_MODEL_MODEL_H
#define ZI_MODEL_MODEL_H

#include "deck/deck.h"
#include "device/operations.h"

#define MODEL_MAX_UNITS 3

enum model_op_kind { MODEL_EMBED, MODEL_ATTENTION, MODEL_MLP, MODEL_HEAD };
enum model_tensor_kind { MODEL_MATRIX, MODEL_EMBEDDING, MODEL_NORM, MODEL_BIAS };
enum model_init { MODEL_INIT_ZERO, MODEL_INIT_ONE, MODEL_INIT_NORMAL };

struct model_tensor {
    char name[80];    /* "blocks.3.attention.query.weight" */
    int dimensions;   /* 1 or 2 */
    int64_t shape[2]; /* matrices are [outputs, inputs], row-major */
    int64_t elements;
    int first_piece, piece_count, piece_step; /* piece k, of tile k, is first_piece + k *
                                                 piece_step; a whole tensor is one piece */
    enum model_tensor_kind kind;
    enum model_init init;
    float deviation; /* of MODEL_INIT_NORMAL */
    /* Training changes it. */
    bool trainable;
};

/* Where a part of a tensor lies in a unit: `rows` runs of `row` elements, `stride` apart in the
 * tensor and behind each other in the unit. Rows of a matrix are one run, columns one per row. */
struct model_piece {
    int tensor, unit;
    int64_t first; /* element of the tensor at which the first run starts */
    int64_t rows, row, stride;
    int64_t offset; /* elements from the start of the unit; the layout is the same in every type */
};

struct model_unit {
    char name[64]; /* "blocks.3.attention", "blocks.3.mlp.tile.2", "embedding.token", "head" */
    int first_piece, piece_count;
    int64_t elements; /* from the first piece to the end of the last, a multiple of 64; gaps hold
                         zeros */
    /* One of its tensors is; then all of it has gradients and optimizer states. */
    bool trainable;
};

struct model_op {
    char name[64]; /* "blocks.3.attention", "blocks.3.attention.tile.1" */
    enum model_op_kind kind;
    int block;       /* -1 for embed and head */
    int layer;       /* place in the chain of layers: embed 0, ... head layer_count - 1 */
    int tile, tiles; /* which of how many of its layer */
    int unit_count, units[MODEL_MAX_UNITS];
    unsigned differentiates; /* bit i: backward makes the gradient of units[i] */
};

struct model {
    struct settings_model settings; /* auto resolved */
    enum zi_dtype type;             /* of weights and activations */
    struct settings_tiling tiling;  /* auto resolved to 1 or more */
    int tensor_count, piece_count, unit_count, op_count, layer_count;
    struct model_tensor *tensors;
    struct model_piece *pieces; /* in the order of the units */
    struct model_unit *units;
    struct model_op *ops; /* in forward order, tiles 0 .. n-1 of a layer in a row */
    int64_t parameters;   /* elements of all tensors, a tied one counted once */
};

/* Local. Adds to the deck's complaints whatever is wrong with its model section (heads that do not
 * divide hidden, ...) and resolves its `auto` values in place. */
void model_check(struct deck *deck);

/* Local. The most tiles that the layers of a model can be cut into. */
struct settings_tiling model_most_tiles(const struct settings_model *settings);

/* Local. Builds the tables for checked settings; tile counts of `tiling` that are auto mean 1, and
 * need not divide anything: tiles differ by at most one key head, or one group of 64 columns or
 * rows. The tables are the same for every device. */
enum zi_status model_create(const struct settings_model *settings,
                            const struct settings_tiling *tiling, enum zi_dtype type,
                            struct model **model);
void model_destroy(struct model *model);

/* Local. Units and operations follow their tensors' `trainable`: a unit without trainable tensors
 * is not, and no operation makes its gradient. */
void model_settle_trainable(struct model *model);

/* Local. Initial values of elements [first, first+count) of a tensor, fp32, from (seed, tensor
 * name, element index). */
void model_initialize(const struct model_tensor *tensor, uint64_t seed, int64_t first,
                      int64_t count, float *values);

/* Bytes of the buffers of an operation for B sequences of T tokens. */
struct model_sizes {
    size_t stream;  /* x, and its gradient */
    size_t saved;   /* what backward needs beside the operation's input x */
    size_t scratch; /* gone when the call is over; the same buffer serves forward and backward */
    size_t carry;   /* from tile to tile of a layer, one per micro-batch; 0 without tiles */
};
void model_op_sizes(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_sizes *sizes);

/* Floating-point operations: 2 per multiply-add of matrix products and of the causal half of
 * attention. Backward without recomputation; recompute is what MODEL_RECOMPUTE costs. */
struct model_flops {
    double forward, backward, recompute;
};
void model_op_flops(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_flops *flops);

/* FLOPs of one token of training as the field counts them: 6 N + 12 L C T (Chowdhery et al. 2022,
 * without recompute); N is all parameters, embeddings counted once. */
double model_flops_per_token(const struct model *model, int64_t tokens);

enum model_mode {
    MODEL_INFER,    /* output only; `saved` is used as scratch and may be reused at once */
    MODEL_TRAIN,    /* output, and saved for backward */
    MODEL_RECOMPUTE /* saved for backward from the kept input; no output */
};

/* What one call works on. Device buffers belong to the caller and are used on `stream` until the
 * call's work is done. */
struct model_pass {
    const struct device_operations *operations; /* of the stream's device */
    struct device_stream *stream;
    int64_t sequences, tokens;                    /* B, T */
    struct device_ptr weights[MODEL_MAX_UNITS];   /* compute type, units of the op in its order */
    struct device_ptr gradients[MODEL_MAX_UNITS]; /* fp32, backward only */
    bool accumulate[MODEL_MAX_UNITS]; /* add to the gradient; otherwise overwrite all of the unit
                                         (gaps with zero) */
    struct device_ptr input, output;  /* x [B*T, C]; embed has no input, head no output */
    struct device_ptr
        gradient; /* dx [B*T, C], in place: that of the output before, of the input after */
    struct device_ptr saved, scratch, carry;
    struct device_ptr token_ids, targets; /* int32 [B*T]; embed, head */
    struct device_ptr loss;               /* head: double, sum of -log p is added */
    float loss_scale; /* head: gradients are those of loss_scale * sum of -log p */
};

/* Local. Enqueues the forward pass of an operation. For head: the loss only. */
enum zi_status model_forward(const struct model *model, int op, enum model_mode mode,
                             const struct model_pass *pass);

/* Local. Enqueues the backward pass: gradients of the units and of the input. For head: the loss as
 * well (there is no forward before it), and `gradient` is output only. */
enum zi_status model_backward(const struct model *model, int op, const struct model_pass *pass);

/* Local. Head only: fp32 logits [B, V] of the last of T tokens of each sequence, for generation; a
 * tile writes its columns. */
enum zi_status model_logits(const struct model *model, int op, const struct model_pass *pass,
                            struct device_ptr logits);

#endif

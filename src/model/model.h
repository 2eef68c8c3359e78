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
 * Frozen matrices that are kept in 8 or 4 bits are units of their own, and the rest of their layer is
 * what tiles share, also of one.
 *
 * A norm, biases of the output and the position table, which all tiles of a layer share, are units
 * of their own where n > 1; their gradient is made by tile 0 alone. With one tile everything is as
 * if there were no tiles, and carry is not used.
 *
 * Adapters (LoRA, Hu et al. 2022): beside a matrix W may be two of a small rank, A and B, and then
 * y = x W^T + s (d(x) A^T) B^T, where d may be dropout. Those of a layer are one unit of their own
 * ("blocks.3.attention.adapter"), which all its tiles use whole, each its rows of B or columns of A;
 * each adds to its gradient, as the two uses of a tied table do.
 *
 * All sizes hold for any B <= the B asked for, so that a rank with fewer sequences runs the same
 * program; B = 0 works. */
#ifndef ZI_MODEL_MODEL_H
#define ZI_MODEL_MODEL_H

#include "deck/deck.h"
#include "device/operations.h"

#define MODEL_MAX_UNITS 4

enum model_op_kind { MODEL_EMBED, MODEL_ATTENTION, MODEL_MLP, MODEL_HEAD };
enum model_tensor_kind { MODEL_MATRIX, MODEL_EMBEDDING, MODEL_NORM, MODEL_BIAS };
enum model_init { MODEL_INIT_ZERO, MODEL_INIT_ONE, MODEL_INIT_NORMAL, MODEL_INIT_UNIFORM };

struct model_tensor {
    /* "blocks.3.attention.query.weight". */
    char name[80];
    /* 1 or 2. */
    int dimensions;
    /* Matrices are [outputs, inputs], row-major. */
    int64_t shape[2];
    int64_t elements;
    /* Piece k, of tile k, is first_piece + k * piece_step; a whole tensor is one piece. */
    int first_piece, piece_count, piece_step;
    enum model_tensor_kind kind;
    enum model_init init;
    /* Of MODEL_INIT_NORMAL; of MODEL_INIT_UNIFORM the bound: values lie in [-deviation, deviation). */
    float deviation;
    /* Training changes it. */
    bool trainable;
    /* It is of an adapter: query.lora_a [rank, inputs], or query.lora_b [outputs, rank]. */
    bool adapts;
    /* Of a matrix with an adapter: the tensor of its lora_a, behind which is that of lora_b; -1: it
     * has none. */
    int adapter;
};

/* Where a part of a tensor lies in a unit: `rows` runs of `row` elements, `stride` apart in the
 * tensor and behind each other in the unit. Rows of a matrix are one run, columns one per row. */
struct model_piece {
    int tensor, unit;
    /* Element of the tensor at which the first run starts. */
    int64_t first;
    int64_t rows, row, stride;
    /* Elements from the start of the unit; the layout is the same in every type. */
    int64_t offset;
};

struct model_unit {
    /* "blocks.3.attention", "blocks.3.mlp.tile.2", "embedding.token", "head". */
    char name[64];
    int first_piece, piece_count;
    /* From the first piece to the end of the last, a multiple of 64; gaps hold zeros. */
    int64_t elements;
    /* One of its tensors is; then all of it has gradients and optimizer states, and gradients of
     * those that are not are zero. */
    bool trainable;
    /* The adapters of a layer; never in tiles. */
    bool adapts;
    /* Frozen matrices, and nothing else, that are kept in 8 or 4 bits (model.frozen): every 64 elements
     * are a block of their tensor. */
    bool packed;
};

struct model_op {
    /* "blocks.3.attention", "blocks.3.attention.tile.1". */
    char name[64];
    enum model_op_kind kind;
    /* -1 for embed and head. */
    int block;
    /* Place in the chain of layers: embed 0, ... head layer_count - 1. */
    int layer;
    /* Which of how many of its layer. */
    int tile, tiles;
    int unit_count, units[MODEL_MAX_UNITS];
    /* Bit i: backward makes the gradient of units[i]. */
    unsigned differentiates;
};

struct model {
    /* Auto resolved. */
    struct settings_model settings;
    /* Of weights and activations. */
    enum zi_dtype type;
    /* Auto resolved to 1 or more. */
    struct settings_tiling tiling;
    int tensor_count, piece_count, unit_count, op_count, layer_count;
    struct model_tensor *tensors;
    /* In the order of the units. */
    struct model_piece *pieces;
    struct model_unit *units;
    /* In forward order, tiles 0 .. n-1 of a layer in a row. */
    struct model_op *ops;
    /* Elements of all tensors, a tied one counted once. */
    int64_t parameters;
};

/* Local. Adds to the deck's complaints whatever is wrong with its model section (heads that do not
 * divide hidden, ...) and resolves its `auto` values in place. */
void model_check(struct deck *deck);

/* Local. The most tiles that the layers of a model can be cut into: attention and MLP with a norm
 * behind them into one, since the norm takes the sum of all tiles. */
struct settings_tiling model_most_tiles(const struct settings_model *settings);

/* Local. Builds the tables for checked settings; tile counts of `tiling` that are auto mean 1, and
 * need not divide anything: tiles differ by at most one key head, or one group of 64 columns or
 * rows. The tables are the same for every device. */
enum zi_status model_create(const struct settings_model *settings,
                            const struct settings_tiling *tiling, enum zi_dtype type,
                            struct model **model);

/* Local. Nothing for NULL. */
void model_destroy(struct model *model);

/* Local. Units and operations follow their tensors' `trainable`: a unit without trainable tensors
 * is not, and no operation makes its gradient. */
void model_settle_trainable(struct model *model);

/* Local. The first operation of the lowest layer that makes a gradient, op_count where none does: what
 * lies below needs no backward pass. */
int model_lowest_trainable(const struct model *model);

/* Local. Initial values of elements [first, first+count) of a tensor, fp32, from (seed, tensor
 * name, element index). */
void model_initialize(const struct model_tensor *tensor, uint64_t seed, int64_t first,
                      int64_t count, float *values);

/* Local. What the product of an adapter is multiplied with. */
float model_adapter_scale(const struct settings_model *settings);

/* Bytes of the buffers of an operation for B sequences of T tokens. */
struct model_sizes {
    /* x, and its gradient. */
    size_t stream;
    /* What backward needs beside the operation's input x. */
    size_t saved;
    /* Gone when the call is over; the same buffer serves forward and backward. */
    size_t scratch;
    /* From tile to tile of a layer, one per micro-batch; 0 without tiles. */
    size_t carry;
};

/* Local. The bytes of operation `op`. */
void model_op_sizes(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_sizes *sizes);

/* Local. Bytes of the keys and values that an operation of attention caches of so many sequences of up
 * to `capacity` tokens; 0 for other operations. */
size_t model_cache_bytes(const struct model *model, int op, int64_t sequences, int64_t capacity);

/* Floating-point operations: 2 per multiply-add of matrix products and of the causal half of
 * attention. Backward without recomputation; recompute is what MODEL_RECOMPUTE costs. `weights` are
 * those of backward that make gradients of matrices. `dropout`: bytes that it reads and writes. */
struct model_flops {
    double forward, backward, recompute, weights;
    struct {
        double forward, backward, recompute;
    } dropout;
};

/* Local. What operation `op` costs for all of the sequences. */
void model_op_flops(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_flops *flops);

/* Local. FLOPs that one token of training cannot do without: those of the forward pass, and twice
 * as many of backward less what frozen tensors spare, no recompute. That is 6 per weight of a product
 * (4 where it is frozen) and 6 (T + 1) per layer and column of attention's heads. The usual 6 N +
 * 12 L C T (Chowdhery et al. 2022) also counts tables that are looked up and pairs that causality
 * leaves out, so its share of a peak may pass 100 %. */
double model_flops_per_token(const struct model *model, int64_t tokens);

enum model_mode {
    /* Output only; `saved` is used as scratch and may be reused at once. */
    MODEL_INFER,
    /* Output, and saved for backward. */
    MODEL_TRAIN,
    /* Saved for backward from the kept input; no output. */
    MODEL_RECOMPUTE
};

/* What one call works on. Device buffers belong to the caller and are used on `stream` until the
 * call's work is done. */
struct model_pass {
    /* Of the stream's device. */
    const struct device_operations *operations;
    struct device_stream *stream;
    /* B, T. */
    int64_t sequences, tokens;
    /* Compute type, units of the op in its order. */
    struct device_ptr weights[MODEL_MAX_UNITS];
    /* fp32, backward only. */
    struct device_ptr gradients[MODEL_MAX_UNITS];
    /* Add to the gradient; otherwise overwrite all of the unit (gaps with zero). */
    bool accumulate[MODEL_MAX_UNITS];
    /* x [B*T, C]; embed has no input, head no output. */
    struct device_ptr input, output;
    /* dx [B*T, C], in place: that of the output before, of the input after. */
    struct device_ptr gradient;
    struct device_ptr saved, scratch, carry;
    /* Scratch of adapters: the model sets it, callers leave it null. */
    struct device_ptr adapter;
    /* Training with adapter.dropout: what is dropped is a function of `seed`, which is the step's, of the
     * adapter, and of places in the global batch, of which `first` is the call's first sequence. */
    bool drops;
    uint64_t seed;
    int64_t first;
    /* int32 [B*T]; embed, head. */
    struct device_ptr token_ids, targets;
    /* int32 [B*T]: of each token, how far it is into its text; embed, attention. Null: t. */
    struct device_ptr positions;
    /* Generation: what an operation of attention caches (device_attention_cached), of sequences of up
     * to `capacity` tokens; null: tokens see those of the call. With it all have positions. */
    struct device_ptr cache;
    int64_t capacity;
    /* Head: double, sum of -log p is added; with `each` to a double per sequence. */
    struct device_ptr loss;
    bool each;
    /* model_logits: [B], the token of each sequence whose logits are wanted; NULL: the last. */
    const int32_t *ends;
    /* Head: gradients are those of loss_scale * sum of -log p. */
    float loss_scale;
};

/* Local. Enqueues the forward pass of an operation. For head: the loss only. */
enum zi_status model_forward(const struct model *model, int op, enum model_mode mode,
                             const struct model_pass *pass);

/* Local. Enqueues the backward pass: gradients of the units and of the input. For head: the loss as
 * well (there is no forward before it), and `gradient` is output only. */
enum zi_status model_backward(const struct model *model, int op, const struct model_pass *pass);

/* Local. Head only: fp32 logits [B, V] of a token of each sequence, for generation; a tile writes its
 * columns. */
enum zi_status model_logits(const struct model *model, int op, const struct model_pass *pass,
                            struct device_ptr logits);

#endif

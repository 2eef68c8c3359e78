/* SPDX-License-Identifier: Apache-2.0 */
/* The tensor operations of a device: one table of functions per device, each enqueued on a stream.
 *
 * Shapes are row-major. R = rows (tokens of all sequences), C = hidden width, V = vocabulary, B =
 * sequences, T = tokens per sequence, H = query heads, G = key/value heads, D = width of a head.
 * `type` is the activation type, fp32, bf16 or fp16 (sums inside an operation are fp32 or wider; results
 * round to nearest even); weights of norms and biases have the activation type too; gradients of
 * weights are fp32 and are added to (+=) unless said otherwise. Rows or counts of 0 do nothing.
 * Buffers are at least 64-byte aligned at the start of a tensor, rows need not be. Operations may
 * be called with input and output the same where marked [in place].
 *
 * Errors: ZI_ERROR_DEVICE for a shape or type that the device cannot do; asked once, when a program
 * is compiled. */
#ifndef ZI_DEVICE_OPERATIONS_H
#define ZI_DEVICE_OPERATIONS_H

#include "device/device.h"

/* What is done with a product before it is stored. */
enum device_end {
    DEVICE_END_PLAIN,
    /* c gets gelu of the product, `inner` the product itself. */
    DEVICE_END_GELU,
    /* c gets the product times gelu'(inner). */
    DEVICE_END_GELU_BACKWARD
};

/* C[m,n] (+)= op(A)[m,k] op(B)[k,n] (+ bias[n]) (+ residual[m,n]). op transposes where asked: A is
 * stored [k,m] when transpose_a, B is stored [n,k] when transpose_b. Leading dimensions in
 * elements. a and b have `type`; c is fp32 or `type`; bias has `type`, residual has c's type and
 * leading dimension and may be c, which then is the same as accumulate. */
struct device_matmul {
    enum zi_dtype type, type_c;
    int64_t m, n, k, lda, ldb, ldc;
    /* accumulate: add to what c holds. */
    bool transpose_a, transpose_b, accumulate;
    /* Of the product, of which nothing else is made then (no bias, residual, accumulate nor end), and
     * whose c has `type`; 0: 1. */
    float scale;
    /* Of products of generation: where there are few rows, b is read once, as it is stored. The sums
     * are then in another order than those of more rows; without it the bits of a row do not depend on
     * how many there are. Needs transpose_b. */
    bool once;
    /* bias and residual may be null. */
    struct device_ptr a, b, c, bias, residual;
    /* Other than plain only where c has `type`, ldc is n and nothing is added but a bias; inner [m,n]
     * has c's type. The result is that of a product and of gelu or gelu_backward behind it, with one
     * rounding less where the device does both at once. */
    enum device_end end;
    struct device_ptr inner;
};

/* x [R,C], y [R,C], weight [C], bias [C] or null (RMSNorm: no mean, no bias); statistics fp32 [R]
 * mean and [R] reciprocal deviation (RMSNorm: mean unused and may be null).
 *
 * With groups > 1 a row is so many vectors of C behind each other, each normalised by itself, all
 * with the same weight: x is [R,groups,C], statistics are [R,groups]. Leading dimensions in elements
 * (0: groups C) are those of rows. */
struct device_norm {
    enum zi_dtype type;
    bool rms;
    int64_t rows, columns;
    /* 0: 1. */
    int64_t groups;
    /* Of x; of y, dy and dx. */
    int64_t ld, ld_y;
    float epsilon;
    /* Added to every weight; 0 for most models, 1 where weights are differences from 1. */
    float offset;
    struct device_ptr x, weight, bias, y, mean, rstd;
    /* backward only: dy as y; dx as y (type) gets the gradient ADDED to what it holds (the
     * residual's branch), or with `replace` instead of it, and may then be dy; dweight, dbias fp32
     * [C], added to; scratch as device_norm_backward_scratch of R groups */
    bool replace;
    struct device_ptr dy, dx, dweight, dbias, scratch;
};

/* Rotates in place the heads of width D in rows of leading dimension ld: pairs (i, i + D/2) by the
 * angle t frequencies[i], t = positions[row] or row % T (Su et al. 2021, the half-split form of Llama), backwards with
 * `reverse`, and multiplies with `scale`. D is even, at most 2 DEVICE_ROPE_PAIRS. */
enum { DEVICE_ROPE_PAIRS = 128 };
struct device_rope {
    enum zi_dtype type;
    int64_t sequences, tokens, heads, width, ld;
    double frequencies[DEVICE_ROPE_PAIRS];
    float scale;
    bool reverse;
    /* positions int32 [B*T] or null. */
    struct device_ptr x, positions;
};

/* Causal attention in blocks, memory linear in T (Dao et al. 2022, online softmax): o = softmax(q
 * k^T / sqrt(D)) v. q, k, v are slices of rows: element (b,t,h,d) of q is at q[(b*T+t)*ld + h*D +
 * d], of k and v with h / (H/G) for h; o likewise with ld_o. logsumexp fp32 [B,H,T]. */
struct device_attention {
    enum zi_dtype type;
    int64_t sequences, tokens, heads, key_heads, width, ld, ld_o;
    /* Leading dimension of q and k where it is another; 0: ld. */
    int64_t ld_qk;
    /* Query t sees keys t - window + 1 .. t, and the time is linear in T and window; 0: all to t. */
    int64_t window;
    /* Of the products of queries and keys; 0: 1 / sqrt(D). */
    float scale;
    /* Scores s are cap tanh(s / cap) (Gemma Team 2024); 0: they are s. */
    float cap;
    struct device_ptr q, k, v, o, logsumexp;
    /* int32 [B*T], or null: query t sees no key before t - positions[b*T+t], the start of its text.
     * They count up from 0 in each text, so what is not seen is a triangle less per text. */
    struct device_ptr positions;
    /* backward only: d_o as o; dq, dk, dv with leading dimension ld, overwritten; scratch as
     * device_attention_backward_scratch */
    struct device_ptr d_o, dq, dk, dv, scratch;
};

/* Attention of new tokens in sequences of which a cache has keys and values, for generation. First
 * k and v of each row (b,t), slices as in device_attention, go into the cache of sequence b at p =
 * positions[b*T+t], below `capacity`; then the row's query sees what the cache has at p - window + 1
 * .. p (window 0: at 0 .. p). Rows of a sequence whose positions are equal are one row's to be seen:
 * which is not said. cache [B, 2, G, capacity, D]: keys, then values. */
struct device_attention_cached {
    enum zi_dtype type;
    int64_t sequences, tokens, heads, key_heads, width, ld, ld_o;
    /* As in device_attention. */
    int64_t ld_qk, window, capacity;
    float scale, cap;
    /* positions int32 [B*T]. */
    struct device_ptr q, k, v, o, cache, positions;
};

/* For checksums: element i of a contiguous piece of memory is element first + (i / row) * stride +
 * i % row, row > 0, of the tensor whose name gave the seed. A piece of one run has row >= count. */
struct device_place {
    uint64_t seed, first;
    int64_t row, stride;
};

/* What an update makes of a gradient g = scale * gradient. */
enum device_rule {
    /* Loshchilov and Hutter 2019, decoupled decay: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w = w -
     * lr (m/c1 / (sqrt(v/c2) + eps) + decay w), c_i = 1 - b_i^step. */
    DEVICE_ADAMW,
    /* Chen et al. 2023: w = w - lr (sign(b1 m + (1-b1) g) + decay w); m = b2 m + (1-b2) g. */
    DEVICE_LION,
    /* Momentum b1, which may be 0, and decay as a part of the gradient: m = b1 m + g + decay w;
     * w = w - lr m. Without momentum there is no m. */
    DEVICE_SGD
};

/* A piece of what an update goes through whose elements follow each other in a tensor. */
struct device_piece {
    /* In the arrays of the update. */
    int64_t first, count;
    /* The decay is for it. */
    bool decays;
    struct device_place place;
};

/* One fused step of an optimizer on `count` elements. Gradient of any type of arithmetic. With type
 * fp32 w is in `parameter` and remainder is null. Otherwise it is split: parameter is w rounded half
 * away from zero to `type`, and remainder int16; (parameter << 16) + remainder are the bits of w with
 * bf16, and zi_fp16_master_bits of it with fp16 (base/half.h). *checksum (a uint64_t on the
 * device), unless null, gets that of the new w at `place` added, see below.
 *
 * Moments are fp32, or, where `pieces` are given, in blocks of 8-bit numbers (base/blocks.h), m with a
 * sign, v without; `count` is then a multiple of ZI_BLOCK, and what is updated are the pieces, in
 * order, with the place of each in place of `place`; the moments of what is in none stay 0. Devices
 * whose memory is apart have DEVICE_ADAMW with fp32 moments alone. */
struct device_adam {
    int64_t count;
    enum device_rule rule;
    /* type: of the parameter. */
    enum zi_dtype type, gradient_type;
    float learning_rate, beta1, beta2, epsilon, decay, scale, correction1, correction2;
    struct device_place place;
    /* Of the host; or NULL. */
    const struct device_piece *pieces;
    int piece_count;
    struct device_ptr parameter, remainder, gradient, checksum;
    /* m and v; null where the rule has none. */
    struct device_ptr states[2];
};

/* Rows of the token table [ids, C] that holds ids first .. first + ids - 1; token_ids int32 [B*T].
 * Forward: y[r] = scale table[id] + position[p], p = positions[r] (int32 [B*T]) or, where they are
 * null, r % T, or with `add` y[r] += scale table[id]; ids of other
 * tables and a null position count as zeros. Backward: adds dy, which is y here, times scale to rows
 * of the fp32 table, and dy to those of position unless null, in token order. */
struct device_embedding {
    enum zi_dtype type;
    /* B, T, C. */
    int64_t sequences, tokens, columns;
    int64_t first, ids;
    bool add;
    /* 0: 1. */
    float scale;
    struct device_ptr y, token_ids, table, position, positions;
};

/* Cross-entropy when only columns first .. first + columns - 1 of the logits exist at a time, fp32
 * rows of stride ld. For every row there are three fp32 statistics: the maximum so far, the sum of
 * exp(logit - maximum), the logit of the target. Targets as in cross_entropy, of all columns.
 *
 * cross_entropy has all columns at once: first, begin and statistics are not used. */
struct device_softmax {
    int64_t rows, first, columns, ld;
    /* These are the first columns: what the statistics hold does not count. */
    bool begin;
    enum zi_dtype gradient_type;
    float scale;
    /* Logits are what operation cap made of others, and gradients are those of these; 0: no. */
    float cap;
    struct device_ptr logits, targets, statistics;
};

/* A gated linear unit (Shazeer 2020): gate_up [R,2F], a row is gate[F], up[F]; y [R,F] = f(gate) up
 * with f = silu, or the tanh form of gelu. Backward overwrites d_gate_up [R,2F], which may be gate_up,
 * and reads dy [R,F]. */
struct device_glu {
    enum zi_dtype type;
    bool gelu;
    int64_t rows, inner;
    struct device_ptr gate_up, y, dy, d_gate_up;
};

/* Dropout (Srivastava et al. 2014) with what is kept divided by the share that is kept: to[r,c] = from[r,c]
 * / (1 - share), or 0 where element first + r * stride + c of the numbers of `seed` says so; with `add`
 * that is added. Both [rows, columns], contiguous. The same elements are dropped however a tensor is cut,
 * and on every device. */
struct device_dropout {
    enum zi_dtype type;
    int64_t rows, columns;
    uint64_t seed;
    int64_t first, stride;
    /* In [0, 1). */
    double share;
    bool add;
    struct device_ptr from, to;
};

/* What a set of gradients adds to the global norm: on the device, zeroed by the caller. */
struct device_norm_sums {
    /* Sum of squares of the finite elements, in a fixed order of partial sums. */
    double squares;
    /* Number of infinities and NaNs. */
    uint64_t nonfinite;
};

struct device_operations {
    enum zi_status (*matmul)(struct device_stream *, const struct device_matmul *);
    enum zi_status (*fill)(struct device_stream *, struct device_ptr to, size_t bytes, int byte);
    /* to[i] = from[i], rounded to nearest even where it narrows; in place only for equal types */
    enum zi_status (*convert)(struct device_stream *, enum zi_dtype to_type, struct device_ptr to,
                              enum zi_dtype from_type, struct device_ptr from, int64_t count);
    /* to[i] += from[i]; the sum is fp32 and rounded to to_type */
    enum zi_status (*add)(struct device_stream *, enum zi_dtype to_type, struct device_ptr to,
                          enum zi_dtype from_type, struct device_ptr from, int64_t count);
    /* Rows of tables for ids, see device_embedding */
    enum zi_status (*embed)(struct device_stream *, const struct device_embedding *);
    enum zi_status (*embed_backward)(struct device_stream *, const struct device_embedding *);
    enum zi_status (*norm)(struct device_stream *, const struct device_norm *);
    enum zi_status (*norm_backward)(struct device_stream *, const struct device_norm *);
    /* y = gelu(x), tanh form (Hendrycks and Gimpel 2016), count elements; dx = dy gelu'(x) [dx may
     * be dy or x] */
    enum zi_status (*gelu)(struct device_stream *, enum zi_dtype, struct device_ptr y,
                           struct device_ptr x, int64_t count);
    enum zi_status (*gelu_backward)(struct device_stream *, enum zi_dtype, struct device_ptr dx,
                                    struct device_ptr dy, struct device_ptr x, int64_t count);
    /* SwiGLU or GeGLU, see device_glu */
    enum zi_status (*glu)(struct device_stream *, const struct device_glu *);
    enum zi_status (*glu_backward)(struct device_stream *, const struct device_glu *);
    /* See device_dropout [in place] */
    enum zi_status (*dropout)(struct device_stream *, const struct device_dropout *);
    enum zi_status (*rope)(struct device_stream *, const struct device_rope *);
    enum zi_status (*attention)(struct device_stream *, const struct device_attention *);
    enum zi_status (*attention_backward)(struct device_stream *, const struct device_attention *);
    enum zi_status (*attention_cached)(struct device_stream *,
                                       const struct device_attention_cached *);
    /* dbias[n] (+)= column sums of dy [R,N], leading dimension ld */
    enum zi_status (*bias_backward)(struct device_stream *, enum zi_dtype, struct device_ptr dbias,
                                    struct device_ptr dy, int64_t rows, int64_t columns, int64_t ld,
                                    bool accumulate);
    /* logits = cap tanh(logits / cap) (Gemma Team 2024), fp32 [R,V], row stride ld [in place] */
    enum zi_status (*cap)(struct device_stream *, struct device_ptr logits, int64_t rows,
                          int64_t columns, int64_t ld, float cap);
    /* Cross-entropy of fp32 logits [R,V], row stride ld elements, against int32 targets [R]
     * (negative = not counted): adds the sum of -log p to *loss (double, fixed order). With
     * gradient_type of arithmetic the logits are replaced, in place, by scale * (softmax - onehot):
     * row r starts where its logits started (stride ld fp32 elements in bytes for all types).
     * ZI_INT32 as gradient_type: loss only, logits stay. */
    enum zi_status (*cross_entropy)(struct device_stream *, const struct device_softmax *,
                                    struct device_ptr loss);
    /* The same in parts: statistics of all columns, then the loss of all rows (the description is
     * that of the last columns), and the gradients of any columns in the place of their logits. */
    enum zi_status (*softmax_statistics)(struct device_stream *, const struct device_softmax *);
    enum zi_status (*softmax_loss)(struct device_stream *, const struct device_softmax *,
                                   struct device_ptr loss);
    enum zi_status (*softmax_gradient)(struct device_stream *, const struct device_softmax *);
    /* adds to *sums (struct device_norm_sums on the device) */
    enum zi_status (*gradient_norm)(struct device_stream *, enum zi_dtype,
                                    struct device_ptr gradient, int64_t count,
                                    struct device_ptr sums);
    /* gradient[i] = from[i], fp32, rounded as convert does; then gradient_norm of it: both in one pass
     * where the device can */
    enum zi_status (*gradient_round)(struct device_stream *, enum zi_dtype,
                                     struct device_ptr gradient, struct device_ptr from,
                                     int64_t count, struct device_ptr sums);
    enum zi_status (*adam)(struct device_stream *, const struct device_adam *);
    /* *sum (uint64_t) += sum of bits(w[i]) * f(seed, index of i in the tensor) mod 2^64, f(s, j) =
     * ((j + s) * 0x9e3779b1 mod 2^32) | 1: the same however a tensor is cut; w fp32 */
    enum zi_status (*checksum)(struct device_stream *, struct device_ptr w, int64_t count,
                               const struct device_place *place, struct device_ptr sum);
    /* to[i] of a type of arithmetic = what frozen weights in blocks say (base/packed.h), rounded to
     * nearest even; count is a multiple of ZI_PACK. NULL where a device lacks it. */
    enum zi_status (*unpack)(struct device_stream *, enum zi_dtype type, struct device_ptr to,
                             enum zi_dtype packed, struct device_ptr from, int64_t count);
};

/* What scratch is cut into, on every device: rows whose sums a norm takes together, queries that
 * attention takes together, and the fp32 numbers of which its rows are whole multiples. */
enum { DEVICE_NORM_ROWS = 64, DEVICE_ATTENTION_QUERIES = 32, DEVICE_ATTENTION_LANES = 16 };

/* Local. Bytes of scratch that norm_backward is given. No device or instruction set has sizes of
 * its own, so that a program has the same slots wherever it is compiled. */
size_t device_norm_backward_scratch(int64_t rows, int64_t columns);

/* Local. The same of attention_backward. */
size_t device_attention_backward_scratch(const struct device_attention *desc);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: a family of architectures as rows of tensors and a few switches. A new family
 * of the same layer kinds is one file of rows; a new layer kind is one layer_*.c. */
#ifndef ZI_MODEL_FAMILY_H
#define ZI_MODEL_FAMILY_H

#include "model/model.h"

/* Sizes of tensors in terms of the deck. QUERY = heads * width, KEY = key_heads * width, HEAD = that
 * width. */
enum family_size {
    SIZE_NONE,
    SIZE_HIDDEN,
    SIZE_QUERY,
    SIZE_KEY,
    SIZE_HEAD,
    SIZE_INNER,
    SIZE_VOCABULARY,
    SIZE_CONTEXT,
    /* Of an adapter. */
    SIZE_RANK
};

/* A tensor of a unit. */
struct family_row {
    /* Within the unit; NULL ends the rows. */
    const char *name;
    enum family_size rows, columns;
    enum model_tensor_kind kind;
    enum model_init init;
    /* Deviation divided by sqrt(2 layers): projections that end a branch of the residual stream. */
    bool scaled;
    /* Directly behind the tensor before it, so that one product serves both. */
    bool joined;
    /* Not 0: it is there only where the deck asks for the trait. */
    unsigned only;
};

/* What only some families know, bits of `knows`: a deck that asks another for it is refused. */
enum family_trait {
    /* window, window_from, full_every. */
    FAMILY_WINDOW = 1,
    /* unrotated_every. */
    FAMILY_UNROTATED = 2,
    /* rope_window_base. */
    FAMILY_TWO_BASES = 4,
    /* attention_cap; logit_cap; score_width. */
    FAMILY_ATTENTION_CAP = 8,
    FAMILY_LOGIT_CAP = 16,
    FAMILY_SCORE_WIDTH = 32,
    /* attention_bias: query, key, value and output; mlp_bias: all of the MLP. */
    FAMILY_ATTENTION_BIAS = 64,
    FAMILY_MLP_BIAS = 128
};

/* A family; `position` may be NULL. Layers add the biases that they have. */
struct family {
    const char *name;
    /* RMSNorm, otherwise LayerNorm. */
    bool rms;
    /* Rotary positions, otherwise a table. */
    bool rotary;
    /* A gated linear unit, otherwise GELU; its gate is GELU, otherwise SiLU. */
    bool gated, gated_by_gelu;
    /* Heads of query and key are normalised (query_norm.weight, key_norm.weight), each by itself or,
     * `across`, all as one vector. */
    bool head_norms, across;
    /* Attention and MLP have no norm before them; they have one behind, before their result is added
     * to the stream (post_norm.weight). */
    bool bare, behind;
    /* Norms multiply with 1 + weight. */
    bool offset;
    /* Rows of the token table are multiplied with sqrt(hidden) before they go into the stream. */
    bool widened;
    /* What model.tied is when the deck says auto. */
    bool tied;
    /* enum family_trait. */
    unsigned knows;
    const struct family_row *token, *position, *attention, *mlp, *norm, *head;
};

/* Of the files of families/. */
extern const struct family family_gpt2, family_llama, family_mistral, family_qwen2, family_qwen3,
    family_smollm3, family_olmo2, family_gemma2, family_gemma3;

/* Rows of llama that other families have too, of families/llama.c. */
extern const struct family_row llama_token[], llama_attention[], llama_mlp[], llama_norm[],
    llama_head[];

/* The same of gemma2, of families/gemma2.c. */
extern const struct family_row gemma_mlp[], gemma_norm[];

/* Local. The family of that number (enum model_family). */
const struct family *family_numbered(int family);

/* Local. The family that the deck names. */
const struct family *family_of(const struct settings_model *settings);

/* Local. Whether a deck's model has a row: any does, or this deck asks its family for it. */
bool family_has_row(const struct settings_model *settings, const struct family_row *row);

/* Local. Width of a head, auto resolved. */
int64_t family_head_width(const struct settings_model *settings);

/* Local. Tokens that a query of a block sees, itself included; 0: all before it. */
int64_t family_window(const struct settings_model *settings, int block);

/* How a block rotates queries and keys. */
struct family_rope {
    /* Radians per token of pair i of a head. */
    double frequencies[DEVICE_ROPE_PAIRS];
    /* Of the rotated vectors. */
    float scale;
};

/* Local. Whether a block rotates; if so, how it does in sequences of `tokens`. */
bool family_rotates(const struct settings_model *settings, int block, int64_t tokens,
                    struct family_rope *rope);

/* Local. What is added to the weights of norms. */
float family_norm_offset(const struct settings_model *settings);

/* Local. What rows of the token table are multiplied with in a model of that type, to which it is
 * rounded. */
float family_embedding_scale(const struct settings_model *settings, enum zi_dtype type);

/* Local. What products of queries and keys are multiplied with, 1 / sqrt(score_width); 0 where that is
 * the width of a head. */
float family_score_scale(const struct settings_model *settings);

/* Local. Width inside the MLP when the deck says auto. */
int64_t family_inner(const struct settings_model *settings);

/* What of a size belongs to a tile: `count` from `first` on. Query, key and value are cut between
 * key heads, the inner width and the vocabulary between groups of FAMILY_GROUP; other sizes are
 * whole in every tile. */
#define FAMILY_GROUP 64
struct family_cut {
    int64_t first, count;
    bool whole;
};

/* Local. Elements of a size in the whole tensor. */
int64_t family_size(const struct settings_model *settings, enum family_size size);

/* Local. The part of a size that tile `tile` of `tiles` has. */
struct family_cut family_cut(const struct settings_model *settings, enum family_size size,
                             int64_t tile, int64_t tiles);

#endif

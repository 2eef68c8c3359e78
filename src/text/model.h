/* SPDX-License-Identifier: Apache-2.0 */
/* The model of a tokenizer.json: the ids of a word. Private to the room; all are Local. */
#ifndef ZI_TEXT_MODEL_H
#define ZI_TEXT_MODEL_H

#include "json/json.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* Bytes of one word, at most: what a model keeps of each takes some tens of bytes. */
#define WORD_MOST ((size_t)64 << 20)

enum model_kind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL };

/* Two tokens that become one; those of lower rank do first. */
struct merge {
    /* Left and right; UINT64_MAX: free. */
    uint64_t pair;
    uint32_t rank;
    int32_t id;
};

/* Pairs of characters that stand side by side in some token; no merge joins others. */
struct pairs {
    uint64_t *slots;
    int slot_bits;
    size_t count;
    /* Of ASCII, a bit each; and which characters of ASCII are tokens. */
    uint64_t ascii[128][2];
    bool known[128];
};

struct model {
    enum model_kind kind;
    struct vocabulary vocabulary;
    /* -1: none. */
    int32_t unknown;
    bool fuse_unknown, byte_fallback, ignore_merges;
    /* Of BPE: words are bytes, and each has the token of its printable character. */
    bool of_bytes;
    /* Before tokens that do not begin a word, behind one that ends it; "" for none. */
    char *prefix, *suffix;
    /* Of bytes: the token of each; of byte fallback: <0x00> to <0xFF>; -1: none. */
    int32_t byte_ids[256];
    struct merge *merges;
    int merge_bits;
    /* NULL where words may not be cut further. */
    struct pairs *pairs;
    /* Of Unigram. */
    struct trie trie;
    double *scores, unknown_score;
    /* Of WordPiece: longer words are unknown. */
    int64_t most_characters;
};

/* Memory of one caller; begins as all zero. */
struct model_work {
    struct symbol *symbols;
    uint64_t *heap;
    struct path_node *path;
    size_t symbol_capacity, heap_capacity, path_capacity;
    struct buffer text;
};

/* Reads the object `model` of a file. ZI_ERROR_USAGE naming what is wrong or not done. */
enum zi_status model_read(const struct zi_json_place *place, const json_t *object,
                          struct model *model);

/* Tells a BPE model that words come as bytes. */
void model_take_bytes(struct model *model);

/* Frees what it has. */
void model_free(struct model *model);

/* Frees what it has. */
void model_work_free(struct model_work *work);

/* Appends the ids of a word (bytes > 0). ZI_ERROR_USAGE when it is too long, or has no token and
 * the model none for what is unknown; ZI_ERROR_DEVICE. */
enum zi_status model_encode(const struct model *model, struct model_work *work, const char *word,
                            size_t bytes, struct tokenizer_ids *out);

/* Bytes of the first part of a word that can be encoded by itself: all of it for most models. */
size_t model_part(const struct model *model, const char *word, size_t bytes);

#endif

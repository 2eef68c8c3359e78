/* SPDX-License-Identifier: Apache-2.0 */
/* What the kinds of models give model.c, and what it gives them. Private to the room; all are Local.
 * Errors are those of model_read and model_encode. */
#ifndef ZI_TEXT_MODEL_KINDS_H
#define ZI_TEXT_MODEL_KINDS_H

#include "text/model.h"

/* Reads what only BPE has; the vocabulary is there. */
enum zi_status bpe_read(const struct zi_json_place *place, const json_t *object,
                        struct model *model);

/* Frees that. */
void bpe_free(struct model *model);

/* Appends the ids of a word. */
enum zi_status bpe_encode(const struct model *model, struct model_work *work, const char *word,
                          size_t bytes, struct tokenizer_ids *out);

/* Reads a Unigram model, with its vocabulary. */
enum zi_status unigram_read(const struct zi_json_place *place, const json_t *object,
                            struct model *model);

/* Frees what only that has. */
void unigram_free(struct model *model);

/* Appends the ids of a word. */
enum zi_status unigram_encode(const struct model *model, struct model_work *work, const char *word,
                              size_t bytes, struct tokenizer_ids *out);

/* Appends an id. ZI_ERROR_DEVICE. */
enum zi_status ids_add(struct tokenizer_ids *ids, int32_t id);

/* Appends the tokens of byte fallback, or none and *done false where one is missing. */
enum zi_status ids_add_bytes(const struct model *model, const char *text, size_t bytes,
                             struct tokenizer_ids *ids, bool *done);

/* Finds <0x00> to <0xFF>. */
void model_find_bytes(struct model *model);

/* Adds a token, with the file's errors. */
enum zi_status model_add(const struct zi_json_place *place, struct model *model, const char *text,
                         int64_t id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A .model file of SentencePiece, by its library. Private to the room; all are Local. */
#ifndef ZI_TEXT_SENTENCEPIECE_H
#define ZI_TEXT_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct spm;

/* Opens a model. ZI_ERROR_USAGE when the library does not take it, or zinf was built without it. */
enum zi_status sentencepiece_open(const char *path, struct spm **model);

/* NULL does nothing. */
void sentencepiece_close(struct spm *model);

/* Number of pieces. */
int32_t sentencepiece_count(const struct spm *model);

/* The id that begins a text; -1: none. */
int32_t sentencepiece_begin(const struct spm *model);

/* The id that ends a text; -1: none. */
int32_t sentencepiece_end(const struct spm *model);

/* The id of a piece; -1: none. */
int32_t sentencepiece_find(const struct spm *model, const char *piece);

/* The ids of a text, to be freed with free(). ZI_ERROR_DEVICE. */
enum zi_status sentencepiece_encode(const struct spm *model, const char *text, size_t bytes,
                                    int32_t **ids, size_t *count);

/* The text of ids, ended by a zero that does not count, to be freed with free(). ZI_ERROR_DEVICE. */
enum zi_status sentencepiece_decode(const struct spm *model, const int32_t *ids, size_t count,
                                    char **text, size_t *bytes);

/* Whether an id is a control piece, as the begin and the end of a text. */
bool sentencepiece_is_special(const struct spm *model, int32_t id);

#ifdef __cplusplus
}
#endif

#endif

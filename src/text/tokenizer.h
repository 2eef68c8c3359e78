/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers that other programs have made: tokenizer.json of the tokenizers package (byte-level
 * BPE, BPE with byte fallback, Unigram, WordPiece, WordLevel) with its normalizers, pre-tokenizers,
 * added tokens, post-processors and decoders, and .model files of SentencePiece where zinf was built
 * with its library. The ids are those that the tokenizers package gives. What a file asks for that
 * is not done here is refused by name when it is opened.
 *
 * A tokenizer does not change once it is open: threads share it, each with a work area of its own.
 * Texts are UTF-8; what is none becomes U+FFFD on the way in, one for each longest broken piece, as
 * Python's errors="replace" does. A text of 0 bytes may be NULL. All are Local. */
#ifndef ZI_TEXT_TOKENIZER_H
#define ZI_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tokenizer;

/* What encoding needs of memory beside the tokenizer: buffers, and words seen before. One thread at
 * a time uses it. */
struct tokenizer_work;

/* Gives the text of ids that come one after the other. */
struct tokenizer_stream;

/* A growing list of ids; begins as all zero. */
struct tokenizer_ids {
    int32_t *ids;
    size_t count, capacity;
};

/* Opens a tokenizer.json, a .model of SentencePiece, or a folder that has one of them
 * (tokenizer.json is taken before tokenizer.model). The end-of-text token is that of
 * tokenizer_config.json beside it. Padding and truncation of the file are not applied, as
 * transformers does, which is said. ZI_ERROR_USAGE naming file, place and remedy; ZI_ERROR_IO. */
enum zi_status tokenizer_open(const char *path, struct tokenizer **tokenizer);

/* Whether a folder has a file that tokenizer_open takes. */
bool tokenizer_exists(const char *folder);

/* NULL does nothing. */
void tokenizer_close(struct tokenizer *tokenizer);

/* The largest id + 1, added tokens included: ids are below it. */
int64_t tokenizer_vocabulary(const struct tokenizer *tokenizer);

/* What a token file says of the tokenizer: "BPE 50257 0123456789abcdef", the kind, the vocabulary
 * and a hash of the file that was opened. The tokenizer's own. */
const char *tokenizer_identity(const struct tokenizer *tokenizer);

/* The id of the token that is written so in the file; -1: none. */
int32_t tokenizer_token_id(const struct tokenizer *tokenizer, const char *token);

/* The id that begins a text, whether or not the tokenizer puts it there; -1 as of tokenizer_end. */
int32_t tokenizer_begin(const struct tokenizer *tokenizer);

/* The id that ends a text; -1 where nothing beside the file says which. */
int32_t tokenizer_end(const struct tokenizer *tokenizer);

/* Makes a work area for a tokenizer, which has to outlive it. ZI_ERROR_DEVICE. */
enum zi_status tokenizer_work_create(const struct tokenizer *tokenizer,
                                     struct tokenizer_work **work);

/* NULL does nothing. */
void tokenizer_work_free(struct tokenizer_work *work);

/* Appends the ids of a text to `out`. `special` adds what the post-processor puts around a text, as
 * bos and eos (of a .model: bos, where it has one). ZI_ERROR_USAGE when a pattern passes its match
 * limit on this text, or a word its length; ZI_ERROR_DEVICE without memory. `out` is the caller's
 * in any case. */
enum zi_status tokenizer_encode(struct tokenizer_work *work, const char *text, size_t bytes,
                                bool special, struct tokenizer_ids *out);

/* Frees the list, which is empty again. */
void tokenizer_ids_free(struct tokenizer_ids *ids);

/* The text of ids, ended by a zero that does not count, to be freed with free(). `skip_special`
 * leaves out tokens that the file calls special; ids that have no text give none. The bytes need
 * not be UTF-8 where byte-level ids are cut within a character. ZI_ERROR_DEVICE. */
enum zi_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                                bool skip_special, char **text, size_t *bytes);

/* Begins a text. ZI_ERROR_DEVICE. */
enum zi_status tokenizer_stream_create(const struct tokenizer *tokenizer, bool skip_special,
                                       struct tokenizer_stream **stream);

/* Takes the next id and gives what is now sure of the text and was not given before: a character
 * that is not whole yet is held back, so a piece may have 0 bytes. The text is the stream's own
 * until its next call. ZI_ERROR_DEVICE. */
enum zi_status tokenizer_stream_next(struct tokenizer_stream *stream, int32_t id, const char **text,
                                     size_t *bytes);

/* Gives what was held back, at the end. */
enum zi_status tokenizer_stream_rest(struct tokenizer_stream *stream, const char **text,
                                     size_t *bytes);

/* NULL does nothing. */
void tokenizer_stream_free(struct tokenizer_stream *stream);

#endif

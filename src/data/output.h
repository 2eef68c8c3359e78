/* SPDX-License-Identifier: Apache-2.0 */
/* An HDF5 token file in the making, under a temporary name. Tokens are appended in order; `finish`
 * records the largest, closes, syncs and renames to the final name; `discard` removes what was
 * written. Both free it. Private to the room; all are Local, from the main thread. ZI_ERROR_USAGE
 * when something stands at the name that is no regular file; ZI_ERROR_IO. */
#ifndef ZI_DATA_OUTPUT_H
#define ZI_DATA_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct token_output;

/* What the file says of its tokens. */
struct token_output_meta {
    /* Chooses the element: uint8 to 256, uint16 to 65536, otherwise uint32 */
    int64_t vocabulary;
    const char *tokenizer, *source;
    /* Documents that are told apart, 0 for none; whether each token has a mask */
    int64_t documents;
    bool masked;
};

/* Local. A file of `count` tokens under a temporary name, with its space claimed. ZI_ERROR_IO. */
enum zi_status token_output_create(const char *path, int64_t count,
                                   const struct token_output_meta *meta,
                                   struct token_output **output);

/* Local. The next `count` tokens, of a vocabulary of at most 256. ZI_ERROR_IO. */
enum zi_status token_output_append_bytes(struct token_output *output, const uint8_t *tokens,
                                         int64_t count);

/* Local. The next `count` tokens, each below the vocabulary. ZI_ERROR_DEVICE, ZI_ERROR_IO. */
enum zi_status token_output_append_ids(struct token_output *output, const int32_t *ids,
                                       int64_t count);

/* Local. The mask of the next `count` tokens. ZI_ERROR_IO. */
enum zi_status token_output_append_mask(struct token_output *output, const uint8_t *mask,
                                        int64_t count);

/* Local. The first tokens of the next `count` documents. ZI_ERROR_IO. */
enum zi_status token_output_append_documents(struct token_output *output, const int64_t *starts,
                                             int64_t count);

/* Local. Once all tokens are there: makes the file durable and gives it its name. Frees `output` in
 * any case. ZI_ERROR_IO. */
enum zi_status token_output_finish(struct token_output *output);

/* Local. Removes the temporary file and frees `output`. NULL does nothing. */
void token_output_discard(struct token_output *output);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Letting an encoder make the tokens of all inputs. Private to the room. */
#ifndef ZI_DATA_ENCODE_H
#define ZI_DATA_ENCODE_H

#include "base/file.h"
#include "data/inputs.h"

#include <stdbool.h>

/* What was made of the inputs. */
struct encoded {
    int64_t tokens, documents;
    /* Some token is no target that counts. */
    bool masked;
};

/* In the spool: a document begins here. Negative numbers besides are ~id of what is masked. */
#define ENCODED_DOCUMENT INT32_MIN

/* Local, from the main thread. Encodes the inputs of a list in order into a file beside the output
 * of its writer, as int32, with ENCODED_DOCUMENT before each document of lines. The spool is read
 * by its `file` and ended by zi_output_discard, in any case. ZI_ERROR_USAGE when nothing comes out;
 * errors of the encoder; ZI_ERROR_IO; ZI_STOPPED. */
enum zi_status inputs_encode(const struct input_list *list, struct zi_output *spool,
                             struct encoded *made);

/* The ids of a text. */
struct encoded_text {
    int32_t *ids;
    size_t count;
};

/* Local. Encodes item `item` of a batch with what a thread has; from any thread. */
typedef enum zi_status encode_item(void *context, void *worker, int item);

/* Local. Does so for items 0 .. count-1, in a team of threads, until one fails: its error. */
enum zi_status encode_items(const struct tokens_encoder *encoder, int count, encode_item *item,
                            void *context);

/* lines.c */
/* Local, from the main thread. Encodes an open input line by line, and adds up what was made. */
enum zi_status input_encode_lines(const struct tokens_encoder *encoder,
                                  const struct input_file *input, int file, struct zi_output *spool,
                                  struct encoded *made);

#endif

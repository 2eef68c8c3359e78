/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: turns of a chat that a model is to answer: the messages, their tokens, and the ids
 * that end an answer. */
#ifndef ZI_APP_TURNS_H
#define ZI_APP_TURNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/tokenizer.h"

struct chat_template;
struct json_t;

/* Most ids that end an answer. */
enum { TURNS_ENDS = 16 };

struct turns_ends {
    int64_t ids[TURNS_ENDS];
    int count;
};

/* Local. Messages as a text of JSON, which the caller frees with free(). ZI_ERROR_DEVICE. */
enum zi_status turns_write(const struct json_t *messages, char **text);

/* Local. The same of one message of the user. ZI_ERROR_USAGE where it is not UTF-8; ZI_ERROR_DEVICE. */
enum zi_status turns_of_user(const char *words, size_t bytes, char **text);

/* Local. Appends the ids of messages in a text of JSON, up to where the assistant's next turn begins. The
 * text that the template makes of them has its own marks, and gets no bos or eos beside them. Errors of
 * chat_render and tokenizer_encode. */
enum zi_status turns_encode(const struct chat_template *chat, struct tokenizer_work *work,
                            const char *messages, struct tokenizer_ids *ids);

/* Local. The ids of eos_token_id of generation_config.json in a folder, one or a list: models end an answer
 * by another token than a text. None where there is no such file. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status turns_read_ends(const char *folder, struct turns_ends *ends);

#endif

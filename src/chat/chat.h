/* SPDX-License-Identifier: Apache-2.0 */
/* Chat messages as the text that a model was trained on: rendered by the chat template of a Hugging Face
 * folder, in the subset of Jinja that doc/chat.md lists, character for character as transformers does.
 * What a template uses beyond it is refused by name, with the line of the template.
 *
 * Rendering is a pure function of template and request. A template is not trusted: its size, depth,
 * memory, steps and output are bounded. A template does not change once it is open: threads share it.
 * Texts are UTF-8 and counted in bytes. JSON values are jansson's json_t. All are Local. */
#ifndef ZI_CHAT_CHAT_H
#define ZI_CHAT_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/status.h"

struct chat_template;
struct json_t;

/* Opens the template of a model folder: chat_template.jinja, else `chat_template` of
 * tokenizer_config.json (of several, the one named default). Special tokens of tokenizer_config.json
 * (bos_token, eos_token, ...) are variables of it. ZI_ERROR_USAGE naming file, line and remedy, also
 * where there is no template; ZI_ERROR_IO. */
enum zi_status chat_template_open(const char *folder, struct chat_template **chat);

/* Makes a template of a text. `name` is what messages call it; `variables` is an object whose values
 * the template sees under their keys, or NULL. All are copied. ZI_ERROR_USAGE, ZI_ERROR_DEVICE. */
enum zi_status chat_template_parse(const char *name, const char *text, size_t bytes,
                                   const struct json_t *variables, struct chat_template **chat);

/* NULL does nothing. */
void chat_template_close(struct chat_template *chat);

/* What is to be rendered; all borrowed. */
struct chat_request {
    /* List of objects, most often of strings `role` and `content`. */
    const struct json_t *messages;
    /* Further variables, as enable_thinking: an object, or NULL. They hide special tokens. */
    const struct json_t *variables;
    /* What strftime_now says, all fields set. NULL: the template has no such function; those that ask
     * whether it is defined then write a date of their own. */
    const struct tm *now;
    /* Ends with the beginning of a turn of the assistant. */
    bool add_generation_prompt;
    /* Find the ranges that are the assistant's. */
    bool mark_assistant;
};

/* Bytes [first, end) of a text. */
struct chat_range {
    size_t first, end;
};

/* A rendered text, ended by a zero that does not count; begins as all zero. */
struct chat_text {
    char *text;
    size_t bytes;
    /* What the assistant wrote, in order and apart from each other, where it was asked for. */
    struct chat_range *assistant;
    size_t ranges;
};

/* Renders messages. Ranges are what stands in {% generation %} where the template has it. Else the
 * messages up to each turn of the assistant are rendered: the range of turn i begins where
 * messages[:i] with a generation prompt ends, and ends where messages[:i+1] ends. A template that says
 * less of an earlier turn than of the last one (Qwen3's, without its thinking) leaves of that text an
 * end with the message's words in it, and that is the range; where there is none it is an error, and a
 * template with {% generation %} is the remedy. ZI_ERROR_USAGE naming template and line, or the
 * message that raise_exception was given; ZI_ERROR_DEVICE. *text is the caller's to free in any
 * case. */
enum zi_status chat_render(const struct chat_template *chat, const struct chat_request *request,
                           struct chat_text *text);

/* Renders one turn of the user, behind a text of the system (NULL: none), up to where the assistant's
 * begins. Errors as chat_render. */
enum zi_status chat_render_prompt(const struct chat_template *chat, const char *system,
                                  const char *user, const struct tm *now, struct chat_text *text);

/* Frees the text, which is empty again. */
void chat_text_free(struct chat_text *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that others wrote (config.json, tokenizer.json, heads of safetensors, lines of chats), by jansson
 * within limits, with errors that name file and place. A value is jansson's json_t: borrowed from the
 * document that it belongs to, which is freed by json_decref.
 *
 * Of a text are refused: more bytes than the caller allows, depth over 2048, keys given twice in one
 * object, invalid UTF-8, anything behind the value. All are Local. */
#ifndef ZI_JSON_JSON_H
#define ZI_JSON_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Where a value stands, and who reads it, for messages; all borrowed. */
struct zi_json_place {
    /* Room that speaks. */
    const char *room;
    const char *file;
    /* Line of a file that has a text per line; 0: the text is the whole file. */
    int64_t line;
    /* Object in it ("model", "rope_scaling"); NULL: the outermost. */
    const char *object;
};

/* Reads place->file, of at most `most_bytes`. ZI_ERROR_USAGE naming file, line and column;
 * ZI_ERROR_IO. */
enum zi_status zi_json_read(const struct zi_json_place *place, size_t most_bytes,
                            json_t **document);

/* As zi_json_read; but where an integer is beyond 64 bits, which that refuses, all integers of the file
 * become reals. Such is model_max_length of tokenizer_config.json where transformers knows no length. */
enum zi_status zi_json_read_large(const struct zi_json_place *place, size_t most_bytes,
                                  json_t **document);

/* Parses a text in memory, which need not end in a zero. ZI_ERROR_USAGE. */
enum zi_status zi_json_parse(const struct zi_json_place *place, const char *text, size_t bytes,
                             json_t **document);

/* Values of an object under a key. Missing or null leaves *value as it was, so that a caller sets the
 * default first; another type is ZI_ERROR_USAGE naming place, key, what stands there and what should.
 * Strings, objects and arrays are borrowed. */

/* true or false. */
enum zi_status zi_json_get_bool(const struct zi_json_place *place, const json_t *object,
                                const char *key, bool *value);

/* An integer, also written 2.0. */
enum zi_status zi_json_get_integer(const struct zi_json_place *place, const json_t *object,
                                   const char *key, int64_t *value);

/* A number. */
enum zi_status zi_json_get_number(const struct zi_json_place *place, const json_t *object,
                                  const char *key, double *value);

/* Local. ZI_ERROR_USAGE for a string with a character \\u0000 in it, which would end it in C. */
enum zi_status zi_json_whole_string(const struct zi_json_place *place, const struct json_t *string);

/* A string without \\u0000. */
enum zi_status zi_json_get_string(const struct zi_json_place *place, const json_t *object,
                                  const char *key, const char **value);

/* An object. */
enum zi_status zi_json_get_object(const struct zi_json_place *place, const json_t *object,
                                  const char *key, const json_t **value);

/* An array. */
enum zi_status zi_json_get_array(const struct zi_json_place *place, const json_t *object,
                                 const char *key, const json_t **value);

/* ZI_ERROR_USAGE unless the object has the key with a value other than null. */
enum zi_status zi_json_require(const struct zi_json_place *place, const json_t *object,
                               const char *key);

#endif

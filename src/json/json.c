/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

struct json_text {
    const char *at;
    size_t bytes;
};

/* "config.json", "config.json, rope_scaling", "chats.jsonl line 7". */
static const char *name_of(const struct zi_json_place *place, char text[300])
{
    int used = snprintf(text, 300, "%s", place->file);
    if (place->line > 0 && used < 300)
        used += snprintf(text + used, 300 - (size_t)used, " line %" PRId64, place->line);
    if (place->object && used < 300)
        snprintf(text + used, 300 - (size_t)used, ", %s", place->object);
    return text;
}

/* With `takes_large` integers become reals where one of them is beyond 64 bits. */
static enum zi_status parse(const struct zi_json_place *place, const struct json_text *text,
                            bool takes_large, json_t **document)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t error;
    char name[300];
    *document = json_loadb(text->at, text->bytes, flags, &error);
    if (!*document && takes_large && json_error_code(&error) == json_error_numeric_overflow)
        *document = json_loadb(text->at, text->bytes, flags | JSON_DECODE_INT_AS_REAL, &error);
    if (*document) return ZI_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return zi_fail(ZI_ERROR_DEVICE, place->room, "no memory for %s", name_of(place, name));
    if (place->line > 0) /* a text of one line, whose number is in its name */
        return zi_fail(ZI_ERROR_USAGE, place->room,
                       "%s is no JSON that can be read: %s (column %d)", name_of(place, name),
                       error.text, error.column);
    return zi_fail(ZI_ERROR_USAGE, place->room,
                   "%s is no JSON that can be read: %s (line %d, column %d)", name_of(place, name),
                   error.text, error.line, error.column);
}

enum zi_status zi_json_parse(const struct zi_json_place *place, const char *text, size_t bytes,
                             json_t **document)
{
    return parse(place, &(struct json_text){text, bytes}, false, document);
}

/* All bytes of an open file. */
static enum zi_status read_bytes(const struct zi_json_place *place, int file, char *text,
                                 size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t count = read(file, text + done, bytes - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            return zi_fail(ZI_ERROR_IO, place->room, "cannot read %s: %s", place->file,
                           strerror(errno));
        if (count == 0)
            return zi_fail(ZI_ERROR_IO, place->room, "%s became shorter while it was read",
                           place->file);
        done += (size_t)count;
    }
    return ZI_OK;
}

static enum zi_status read_document(const struct zi_json_place *place, size_t most_bytes,
                                    bool takes_large, json_t **document)
{
    enum zi_status status = ZI_OK;
    int file = -1;
    int64_t bytes = 0;
    char *text = NULL;
    *document = NULL;
    ZI_TRY(zi_file_open_input(place->room, place->file, &file, &bytes));
    if ((uint64_t)bytes > most_bytes) {
        status = zi_fail(ZI_ERROR_USAGE, place->room,
                         "%s has %" PRId64 " bytes; more than %zu are not read as JSON",
                         place->file, bytes, most_bytes);
        goto done;
    }
    text = malloc((size_t)bytes + 1);
    if (!text) {
        status = zi_fail(ZI_ERROR_DEVICE, place->room, "no memory for %s", place->file);
        goto done;
    }
    ZI_TRY_GOTO(read_bytes(place, file, text, (size_t)bytes), done);
    status = parse(place, &(struct json_text){text, (size_t)bytes}, takes_large, document);
done:
    free(text);
    close(file);
    return status;
}

enum zi_status zi_json_read(const struct zi_json_place *place, size_t most_bytes, json_t **document)
{
    return read_document(place, most_bytes, false, document);
}

enum zi_status zi_json_read_large(const struct zi_json_place *place, size_t most_bytes,
                                  json_t **document)
{
    return read_document(place, most_bytes, true, document);
}

static const char *type_of(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

static enum zi_status wrong_type(const struct zi_json_place *place, const char *key,
                                 const json_t *value, const char *wanted)
{
    char name[300];
    return zi_fail(ZI_ERROR_USAGE, place->room, "%s: %s is %s and should be %s",
                   name_of(place, name), key, type_of(value), wanted);
}

/* NULL: there is none, or null. */
static const json_t *value_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

enum zi_status zi_json_get_bool(const struct zi_json_place *place, const json_t *object,
                                const char *key, bool *value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (!json_is_boolean(found)) return wrong_type(place, key, found, "true or false");
    *value = json_is_true(found);
    return ZI_OK;
}

enum zi_status zi_json_get_integer(const struct zi_json_place *place, const json_t *object,
                                   const char *key, int64_t *value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (json_is_integer(found)) {
        *value = json_integer_value(found);
        return ZI_OK;
    }
    double real = json_is_real(found) ? json_real_value(found) : NAN;
    if (!(fabs(real) < 0x1p53) || real != floor(real))
        return wrong_type(place, key, found, "an integer");
    *value = (int64_t)real;
    return ZI_OK;
}

enum zi_status zi_json_get_number(const struct zi_json_place *place, const json_t *object,
                                  const char *key, double *value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (!json_is_number(found)) return wrong_type(place, key, found, "a number");
    *value = json_number_value(found);
    return ZI_OK;
}

enum zi_status zi_json_whole_string(const struct zi_json_place *place, const json_t *string)
{
    char name[300];
    if (strlen(json_string_value(string)) == json_string_length(string)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, place->room,
                   "%s: a text has the character \\u0000, which ends texts here; take it out",
                   name_of(place, name));
}

enum zi_status zi_json_get_string(const struct zi_json_place *place, const json_t *object,
                                  const char *key, const char **value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (!json_is_string(found)) return wrong_type(place, key, found, "a string");
    ZI_TRY(zi_json_whole_string(place, found));
    *value = json_string_value(found);
    return ZI_OK;
}

enum zi_status zi_json_get_object(const struct zi_json_place *place, const json_t *object,
                                  const char *key, const json_t **value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (!json_is_object(found)) return wrong_type(place, key, found, "an object");
    *value = found;
    return ZI_OK;
}

enum zi_status zi_json_get_array(const struct zi_json_place *place, const json_t *object,
                                 const char *key, const json_t **value)
{
    const json_t *found = value_of(object, key);
    if (!found) return ZI_OK;
    if (!json_is_array(found)) return wrong_type(place, key, found, "a list");
    *value = found;
    return ZI_OK;
}

enum zi_status zi_json_require(const struct zi_json_place *place, const json_t *object,
                               const char *key)
{
    char name[300];
    if (value_of(object, key)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, place->room, "%s has no %s", name_of(place, name), key);
}

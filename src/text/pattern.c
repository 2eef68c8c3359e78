/* SPDX-License-Identifier: Apache-2.0 */
#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "text/buffer.h"

enum zi_status text_copy(const char *text, char **copy)
{
    *copy = strdup(text);
    return *copy ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a tokenizer");
}

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
    return false;
}

enum zi_status text_check_keys(const struct zi_json_place *place, const json_t *object,
                               const char *keys)
{
    const char *key, *type = json_string_value(json_object_get(object, "type"));
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, "type") == 0 || json_is_null(value) || (*key && has_word(keys, key)))
            continue;
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: %s asks for %.60s, which is not done",
                       place->file,
                       type            ? type
                       : place->object ? place->object
                                       : "the file",
                       key);
    }
    return ZI_OK;
}

enum zi_status text_character(const struct zi_json_place *place, const json_t *object,
                              const char *key, uint32_t *character)
{
    const char *text = NULL;
    ZI_TRY(zi_json_get_string(place, object, key, &text));
    if (!text) return ZI_OK;
    if (!*text || text[utf8_length(*text)])
        return zi_fail(ZI_ERROR_USAGE, "text", "%s, %s: %s is no single character", place->file,
                       key, text);
    *character = utf8_at(text);
    return ZI_OK;
}

enum zi_status pattern_compile(const struct zi_json_place *place, const char *expression,
                               struct pattern *pattern)
{
    ZI_TRY(scanner_create(expression, &pattern->scanner));
    return pattern->scanner ? ZI_OK : regex_compile(place, expression, &pattern->regex);
}

enum zi_status pattern_read(const struct zi_json_place *place, const json_t *object,
                            struct pattern *pattern)
{
    const json_t *found = NULL;
    const char *literal = NULL, *expression = NULL;
    ZI_TRY(zi_json_get_object(place, object, "pattern", &found));
    ZI_TRY(zi_json_get_string(place, found, "String", &literal));
    ZI_TRY(zi_json_get_string(place, found, "Regex", &expression));
    if (expression) return pattern_compile(place, expression, pattern);
    if (!literal || !*literal)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: a pattern is neither {\"String\": ...}, which is not empty, nor "
                       "{\"Regex\": ...}",
                       place->file);
    pattern->literal_bytes = strlen(literal);
    return text_copy(literal, &pattern->literal);
}

void pattern_free(struct pattern *pattern)
{
    free(pattern->literal);
    regex_free(pattern->regex);
    scanner_free(pattern->scanner);
}

enum zi_status pattern_next(struct pattern_walk *walk, struct text_range *found, bool *is_found)
{
    const struct pattern *p = walk->pattern;
    struct regex_walk *w = &walk->walk;
    size_t left = w->bytes - w->from;
    if (p->regex) {
        w->regex = p->regex;
        return regex_next(w, found, is_found);
    }
    const char *at = left == 0 ? NULL : w->text + w->from, *end;
    if (p->scanner) {
        end = at ? at + scanner_next(p->scanner, at, left) : NULL;
    } else {
        at = at ? memmem(at, left, p->literal, p->literal_bytes) : NULL;
        end = at ? at + p->literal_bytes : NULL;
    }
    *is_found = at;
    if (!at) return ZI_OK;
    found->begin = (size_t)(at - w->text);
    found->end = w->from = (size_t)(end - w->text);
    return ZI_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "text/post.h"

#include <inttypes.h>

#include "base/log.h"
#include "text/model_kinds.h"
#include "text/pattern.h"

/* Puts ids in front of a list. */
static enum zi_status prepend(struct tokenizer_ids *ids, const struct tokenizer_ids *front)
{
    size_t count = ids->count;
    for (size_t i = 0; i < front->count; i++)
        ZI_TRY(ids_add(ids, 0));
    if (count) memmove(ids->ids + front->count, ids->ids, count * sizeof *ids->ids);
    if (front->count) memcpy(ids->ids, front->ids, front->count * sizeof *ids->ids);
    return ZI_OK;
}

static enum zi_status add_checked(const struct zi_json_place *place, const json_t *value,
                                  struct tokenizer_ids *ids)
{
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= VOCABULARY_MOST)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: the post-processor has a token without an id",
                       place->file);
    return ids_add(ids, (int32_t)id);
}

/* {"SpecialToken": {"id": NAME}}: the ids of that name. */
static enum zi_status read_special(const struct zi_json_place *place, const json_t *specials,
                                   const json_t *piece, struct tokenizer_ids *ids)
{
    const char *name = NULL;
    const json_t *entry = NULL, *list = NULL;
    ZI_TRY(zi_json_get_string(place, piece, "id", &name));
    if (name) ZI_TRY(zi_json_get_object(place, specials, name, &entry));
    ZI_TRY(zi_json_get_array(place, entry, "ids", &list));
    if (!list)
        return zi_fail(
            ZI_ERROR_USAGE, "text",
            "%s: the template of the post-processor has token %s, and its special_tokens "
            "do not say what that is",
            place->file, name ? name : "without a name");
    for (size_t i = 0; i < json_array_size(list); i++)
        ZI_TRY(add_checked(place, json_array_get(list, i), ids));
    return ZI_OK;
}

static enum zi_status read_template(const struct zi_json_place *place, const json_t *object,
                                    struct post *own)
{
    const json_t *pieces = NULL, *specials = NULL;
    bool seen = false;
    ZI_TRY(zi_json_require(place, object, "single"));
    ZI_TRY(zi_json_get_array(place, object, "single", &pieces));
    ZI_TRY(zi_json_get_object(place, object, "special_tokens", &specials));
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        if (special) {
            ZI_TRY(read_special(place, specials, special, seen ? &own->after : &own->before));
            continue;
        }
        if (seen || !json_object_get(piece, "Sequence"))
            return zi_fail(ZI_ERROR_USAGE, "text",
                           "%s: a template of the post-processor that has a text not once is not "
                           "done",
                           place->file);
        seen = true;
    }
    if (seen) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: the template of the post-processor has no text",
                   place->file);
}

/* [TOKEN, id] before and behind the text. */
static enum zi_status read_bert(const struct zi_json_place *place, const json_t *object,
                                struct post *own)
{
    const json_t *cls = NULL, *sep = NULL;
    ZI_TRY(zi_json_get_array(place, object, "cls", &cls));
    ZI_TRY(zi_json_get_array(place, object, "sep", &sep));
    ZI_TRY(add_checked(place, json_array_get(cls, 1), &own->before));
    return add_checked(place, json_array_get(sep, 1), &own->after);
}

static enum zi_status read_nothing(const struct zi_json_place *place, const json_t *object,
                                   struct post *own)
{
    (void)place, (void)object, (void)own;
    return ZI_OK;
}

static enum zi_status read_step(const struct zi_json_place *place, const json_t *object,
                                const char *type, struct post *own)
{
    static const struct {
        const char *type, *keys;
        enum zi_status (*read)(const struct zi_json_place *place, const json_t *object,
                               struct post *own);
    } types[] = {
        {"TemplateProcessing", "single pair special_tokens", read_template},
        {"BertProcessing", "sep cls", read_bert},
        {"RobertaProcessing", "sep cls trim_offsets add_prefix_space", read_bert},
        /* trims places in the text, which nobody asks for here */
        {"ByteLevel", "add_prefix_space trim_offsets use_regex", read_nothing},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type) != 0) continue;
        ZI_TRY(text_check_keys(place, object, types[i].keys));
        return types[i].read(place, object, own);
    }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: post-processor %s is not done", place->file, type);
}

static enum zi_status read_list(const struct zi_json_place *place, const json_t *object,
                                struct post *post)
{
    const json_t *list = NULL;
    ZI_TRY(zi_json_require(place, object, "processors"));
    ZI_TRY(zi_json_get_array(place, object, "processors", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i)))
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: a post-processor is no object",
                           place->file);
        ZI_TRY(post_read(place, json_array_get(list, i), post));
    }
    return ZI_OK;
}

enum zi_status post_read(const struct zi_json_place *place, const json_t *object, struct post *post)
{
    struct post own = {.before = {.ids = NULL}};
    const char *type = NULL;
    if (!object) return ZI_OK;
    ZI_TRY(zi_json_require(place, object, "type"));
    ZI_TRY(zi_json_get_string(place, object, "type", &type));
    if (strcmp(type, "Sequence") == 0) return read_list(place, object, post);
    enum zi_status status = read_step(place, object, type, &own);
    if (status >= 0) status = prepend(&post->before, &own.before);
    for (size_t i = 0; i < own.after.count && status >= 0; i++)
        status = ids_add(&post->after, own.after.ids[i]);
    post_free(&own);
    return status;
}

void post_free(struct post *post)
{
    tokenizer_ids_free(&post->before);
    tokenizer_ids_free(&post->after);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Reading config.json by the rows of its architecture.
 *
 * Values that must be what zinf does are looked at before all others, so that what is said of a file
 * that asks for more is what it asks for, and not the first of the keys that come with that. Null
 * asks for nothing, and a missing key is what transformers takes for it. A field may have two keys
 * (rope_theta of versions 4 and 5): they have to agree. */
#include "hf/config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deck/table.h"
#include "hf/architecture.h"
#include "hf/config_private.h"
#include "hf/layers.h"
#include "json/json.h"

enum { SEEN = 128 };

struct reading {
    const char *path;
    struct hf_config *config;
    struct hf_lists lists;
    /* Rows of fields that have been given. */
    const struct hf_key *seen[SEEN];
    int seen_count;
    /* Keys of drop-outs above 0. */
    char dropouts[256];
};

static enum zi_status fail_value(const struct reading *r, const char *key, const char *text,
                                 const char *values)
{
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s: %s is %.100s, which zinf does not do: of %s it does %s", r->path, key, text,
                   hf_config_class(r->config), values);
}

static const struct hf_key *find_among(const struct hf_key *keys, const char *key)
{
    for (; keys->key; keys++)
        if (strcmp(keys->key, key) == 0) return keys;
    return NULL;
}

static const struct hf_key *find_key(const struct hf_architecture *architecture, const char *key)
{
    const struct hf_key *row = find_among(architecture->keys, key);
    return row ? row : find_among(hf_common_keys, key);
}

/* Whether rows are in the object of that key. */
static bool has_inner(const struct hf_architecture *architecture, const char *key)
{
    size_t length = strlen(key);
    for (const struct hf_key *row = architecture->keys; row->key; row++)
        if (strncmp(row->key, key, length) == 0 && row->key[length] == '.') return true;
    return false;
}

int hf_value_number(const char *text, const char *values)
{
    size_t length = strlen(text);
    for (int number = 0; *values; number++) {
        size_t one = strcspn(values, "|");
        if (one == length && strncmp(values, text, one) == 0) return number;
        values += one + (values[one] == '|');
    }
    return -1;
}

const char *hf_value_at(const char *values, int number)
{
    for (; number > 0 && *values; number--) {
        values += strcspn(values, "|");
        values += *values == '|';
    }
    return *values ? values : NULL;
}

/* The number of a value in its row; one that is not there is refused. */
static enum zi_status number_value(const struct reading *r, const struct hf_key *row,
                                   const json_t *value, int *number)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for a value of %s", r->path);
    *number = hf_value_number(text, row->values);
    enum zi_status status = *number >= 0 ? ZI_OK : fail_value(r, row->key, text, row->values);
    free(text);
    return status;
}

/* What a row gives a field, for messages. */
static const char *text_of(const struct hf_key *row, double value, char text[64])
{
    const char *word = row->use == HF_WORD ? hf_value_at(row->values, (int)value) : NULL;
    if (word)
        snprintf(text, 64, "%.*s", (int)strcspn(word, "|"), word);
    else
        snprintf(text, 64, "%.17g", value);
    return text;
}

/* Whether another key has given the field another value. */
static enum zi_status note_seen(struct reading *r, const struct hf_key *row, double before,
                                double now)
{
    char left[64], right[64];
    for (int i = 0; i < r->seen_count; i++) {
        if (r->seen[i]->offset != row->offset || before == now) continue;
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: %s is %s and %s is %s; make them equal, or remove one", r->path,
                       r->seen[i]->key, text_of(row, before, left), row->key,
                       text_of(row, now, right));
    }
    ZI_REQUIRE(r->seen_count < SEEN);
    r->seen[r->seen_count++] = row;
    return ZI_OK;
}

static void note_dropout(struct reading *r, const char *key)
{
    size_t used = strlen(r->dropouts);
    snprintf(r->dropouts + used, sizeof r->dropouts - used, "%s%s", used ? ", " : "", key);
}

/* A field that is a number in some way. */
static enum zi_status take_number(struct reading *r, const struct hf_key *row, const json_t *object,
                                  const char *key)
{
    const struct zi_json_place place = {"hf", r->path, 0, NULL};
    void *field = (char *)&r->config->model + row->offset;
    if (hf_is_integer(row)) {
        int64_t value = 0;
        ZI_TRY(zi_json_get_integer(&place, object, key, &value));
        if (value < (row->use == HF_WINDOW || row->use == HF_UNROTATED))
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s is %" PRId64 ", which is no size", r->path,
                           row->key, value);
        ZI_TRY(note_seen(r, row, (double)*(int64_t *)field, (double)value));
        *(int64_t *)field = value;
    } else if (hf_is_real(row)) {
        double value = 0;
        ZI_TRY(zi_json_get_number(&place, object, key, &value));
        ZI_TRY(note_seen(r, row, *(double *)field, value));
        *(double *)field = value;
    } else if (row->use == HF_FLAG) {
        bool value = false;
        ZI_TRY(zi_json_get_bool(&place, object, key, &value));
        ZI_TRY(note_seen(r, row, *(bool *)field, value));
        *(bool *)field = value;
    } else {
        int value;
        ZI_TRY(number_value(r, row, json_object_get(object, key), &value));
        ZI_TRY(note_seen(r, row, *(int *)field, value));
        *(int *)field = value;
    }
    return ZI_OK;
}

/* Takes `object`'s `key`, which is `row`. */
static enum zi_status take_value(struct reading *r, const struct hf_key *row, const json_t *object,
                                 const char *key)
{
    const struct zi_json_place place = {"hf", r->path, 0, NULL};
    double probability = 0;
    bool tied = false;
    switch (row->use) {
    case HF_TIED:
        ZI_TRY(zi_json_get_bool(&place, object, key, &tied));
        r->config->model.tied = tied;
        return ZI_OK;
    case HF_DROPOUT:
        ZI_TRY(zi_json_get_number(&place, object, key, &probability));
        if (probability > 0) note_dropout(r, row->key);
        return ZI_OK;
    case HF_WINDOWED:
        return zi_json_get_bool(&place, object, key, &r->lists.windowed);
    case HF_WINDOWS:
        return zi_json_get_array(&place, object, key, &r->lists.windows);
    case HF_ROTATED:
        return zi_json_get_array(&place, object, key, &r->lists.rotated);
    case HF_MUST:
    case HF_IDLE:
        return ZI_OK;
    default:
        return take_number(r, row, object, key);
    }
}

/* Null asks for nothing, but for these. */
static void take_null(struct reading *r, const struct hf_key *row)
{
    if (row && row->use == HF_WINDOW) r->config->model.window = 0;
    if (row && row->use == HF_CAP) *(double *)(void *)((char *)&r->config->model + row->offset) = 0;
    if (row && row->use == HF_INTEGER && row->offset == HF_FIELD(key_heads))
        r->config->model.key_heads = ZI_AUTO;
}

/* One pass over an object whose keys begin with `prefix`: first for what must be, then for the rest.
 */
static enum zi_status walk(struct reading *r, const json_t *object, const char *prefix, bool must)
{
    const struct hf_architecture *architecture = r->config->architecture;
    const char *key;
    json_t *value;
    int number;
    json_object_foreach((json_t *)object, key, value)
    {
        char name[HF_NAME];
        snprintf(name, sizeof name, "%s%s", prefix, key);
        const struct hf_key *row = find_key(architecture, name);
        if (json_is_null(value)) {
            if (!must) take_null(r, row);
            continue;
        }
        if (row && must && row->values) ZI_TRY(number_value(r, row, value, &number));
        if (row && !must) ZI_TRY(take_value(r, row, object, key));
        if (row) continue;
        if (json_is_object(value) && has_inner(architecture, name)) {
            char inner[HF_NAME + 1];
            snprintf(inner, sizeof inner, "%s.", name);
            ZI_TRY(walk(r, value, inner, must));
        } else if (!must) {
            return zi_fail(
                ZI_ERROR_USAGE, "hf",
                "%s: zinf does not know what %.200s does in %s, and ignores nothing; where "
                "it changes no number, remove it there",
                r->path, name, hf_config_class(r->config));
        }
    }
    return ZI_OK;
}

/* The key that has given the field of a row, where one has. */
static const char *key_given(const struct reading *r, const struct hf_key *row)
{
    for (int i = 0; i < r->seen_count; i++)
        if (r->seen[i]->offset == row->offset) return r->seen[i]->key;
    return row->key;
}

/* Sizes are within those of a deck. */
static enum zi_status check_ranges(const struct reading *r)
{
    const struct settings_model *model = &r->config->model;
    for (const struct hf_key *row = r->config->architecture->keys; row->key; row++) {
        if (!hf_is_integer(row) && !hf_is_real(row)) continue;
        const void *field = (const char *)model + row->offset;
        double value = hf_is_real(row) ? *(const double *)field : (double)*(const int64_t *)field;
        int count;
        const struct deck_row *rows = deck_rows(&count);
        for (int i = 0; i < count; i++) {
            if (rows[i].offset != offsetof(struct settings, model) + row->offset) continue;
            if (value >= rows[i].minimum && value <= rows[i].maximum) continue;
            if (rows[i].may_be_auto && value == ZI_AUTO) continue;
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s is %g, and must be from %g to %g", r->path,
                           key_given(r, row), value, rows[i].minimum, rows[i].maximum);
        }
    }
    return ZI_OK;
}

/* Keys that have been given mean something: those of other ways to stretch a context do not. Of
 * `dynamic`, transformers takes max_position_embeddings whatever the original context is. */
static enum zi_status check_meant(const struct reading *r)
{
    const struct settings_model *model = &r->config->model;
    for (int i = 0; i < r->seen_count; i++) {
        const struct hf_key *row = r->seen[i];
        bool same = model->rope_scaling == ROPE_DYNAMIC && row->offset == HF_FIELD(rope_original) &&
                    model->rope_original == model->context;
        if ((row->use == HF_POSITIVE || row->use == HF_CAP) &&
            *(const double *)(const void *)((const char *)model + row->offset) <= 0)
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s has to be above 0", r->path, row->key);
        if (row->use == HF_WORD || row->written == HF_NEVER || same) continue;
        if (row->written >> model->rope_scaling & 1) continue;
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: %s means nothing for this rope_type of %s; remove it there", r->path,
                       row->key, hf_config_class(r->config));
    }
    return ZI_OK;
}

/* What the config leaves to the others. */
static enum zi_status settle(struct reading *r)
{
    struct settings_model *model = &r->config->model;
    if (model->key_heads == ZI_AUTO) model->key_heads = model->heads;
    if (model->inner == ZI_AUTO) model->inner = 4 * model->hidden;
    ZI_TRY(check_ranges(r));
    if (model->rope_original == ZI_AUTO) model->rope_original = model->context;
    /* Otherwise the check of a model says what is wrong. */
    if (model->head_width == ZI_AUTO && model->hidden % model->heads == 0)
        model->head_width = model->hidden / model->heads;
    if (model->score_width == ZI_AUTO) model->score_width = model->head_width;
    ZI_TRY(check_meant(r));
    return hf_lists_read(r->path, &r->lists, model);
}

/* The first of the names of classes; NULL where there are none. */
static const char *class_of(const json_t *document)
{
    return json_string_value(json_array_get(json_object_get(document, "architectures"), 0));
}

static enum zi_status find_architecture(const char *path, const json_t *document,
                                        struct hf_config *config)
{
    const char *type = json_string_value(json_object_get(document, "model_type"));
    const char *class = class_of(document);
    char known[256] = "";
    for (int i = 0; hf_architectures[i]; i++) {
        const struct hf_architecture *a = hf_architectures[i];
        bool same_class = class && (strcmp(a->causal, class) == 0 || strcmp(a->bare, class) == 0);
        if (type ? strcmp(a->model_type, type) == 0 && (!class || same_class) : same_class)
            config->architecture = a;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 a->causal);
    }
    if (config->architecture) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s is of a %.100s%s%.100s; zinf has %s", path,
                   class ? class : "model", type ? " of type " : " of no known type",
                   type ? type : "", known);
}

static enum zi_status take_document(struct reading *r, const json_t *document)
{
    if (!json_is_object(document))
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s holds no JSON object", r->path);
    ZI_TRY(find_architecture(r->path, document, r->config));
    r->config->model = r->config->architecture->fallback;
    r->lists.windowed = !hf_key_of(r->config->architecture, HF_WINDOWED);
    r->lists.unrotated_have = hf_key_of(r->config->architecture, HF_ROTATED);
    ZI_TRY(walk(r, document, "", true));
    ZI_TRY(walk(r, document, "", false));
    return settle(r);
}

enum zi_status hf_config_read(const char *path, bool says, struct hf_config *config)
{
    const struct zi_json_place place = {"hf", path, 0, NULL};
    struct reading reading = {.path = path, .config = config};
    json_t *document;
    memset(config, 0, sizeof *config);
    ZI_TRY(zi_json_read(&place, HF_CONFIG_BYTES, &document));
    enum zi_status status = take_document(&reading, document);
    json_decref(document);
    if (status >= 0 && says && reading.dropouts[0])
        zi_log(ZI_LOG_NOTE, "hf", "%s: zinf drops nothing while it trains, whatever %s say", path,
               reading.dropouts);
    return status;
}

const char *hf_config_class(const struct hf_config *config)
{
    return config->architecture->causal;
}

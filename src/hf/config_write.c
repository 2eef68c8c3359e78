/* SPDX-License-Identifier: Apache-2.0 */
/* Writing config.json: the keys of the rows have the values of the model, whatever an original has;
 * its other keys are kept. Both the keys of transformers 4 and those of 5 are written. */
#include "hf/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "hf/architecture.h"
#include "hf/config_private.h"
#include "hf/layers.h"
#include "json/json.h"

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for a config.json");
}

/* The object that holds a key, which becomes the part behind its last point. */
static json_t *holder_of(json_t *document, const char **key)
{
    json_t *holder = document;
    const char *point;
    while (holder && (point = strchr(*key, '.'))) {
        char name[HF_NAME];
        snprintf(name, sizeof name, "%.*s", (int)(point - *key), *key);
        *key = point + 1;
        json_t *object = json_object_get(holder, name);
        if (!json_is_object(object)) {
            object = json_object();
            /* What was set is the holder's. */
            if (json_object_set_new(holder, name, object) != 0) object = NULL;
        }
        holder = object;
    }
    return holder;
}

/* One of the values of a row. */
static json_t *value_at(const struct hf_key *row, int number)
{
    const char *text = hf_value_at(row->values, number);
    return text ? json_loadb(text, strcspn(text, "|"), JSON_DECODE_ANY, NULL) : NULL;
}

/* Whether an original has a value that the row takes; then it stays. */
static bool is_taken(const struct hf_key *row, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    bool taken = text && hf_value_number(text, row->values) >= 0;
    free(text);
    return taken;
}

/* Width of a head, which the settings may leave to hidden and heads. */
static int64_t width_of(const struct settings_model *model)
{
    return model->head_width > 0 ? model->head_width : model->hidden / model->heads;
}

static double real_of(const struct hf_key *row, const struct settings_model *model)
{
    return *(const double *)(const void *)((const char *)model + row->offset);
}

/* The digits with which all numbers of the model stay what they are: 15 are those that people write.
 */
static int digits_of(const struct hf_architecture *architecture, const struct settings_model *model)
{
    char text[32];
    for (const struct hf_key *row = architecture->keys; row->key; row++) {
        if (!hf_is_real(row)) continue;
        snprintf(text, sizeof text, "%.15g", real_of(row, model));
        if (strtod(text, NULL) != real_of(row, model)) return 17;
    }
    return 15;
}

/* A class of which some blocks have the window wants one even where none has. */
static json_t *window_of(const struct hf_architecture *architecture,
                         const struct settings_model *model)
{
    if (model->window > 0) return json_integer(model->window);
    return architecture->fallback.full_every > 0 ? json_integer(architecture->fallback.window)
                                                 : json_null();
}

static json_t *value_of(const struct hf_architecture *architecture, const struct hf_key *row,
                        const struct settings_model *model)
{
    const void *field = (const char *)model + row->offset;
    switch (row->use) {
    case HF_INTEGER:
    case HF_WINDOW_FROM:
    case HF_UNROTATED:
        return json_integer(*(const int64_t *)field);
    case HF_WINDOW:
        return window_of(architecture, model);
    case HF_WINDOWED:
        return json_boolean(model->window > 0);
    case HF_WINDOWS:
        return hf_lists_windows(model);
    case HF_ROTATED:
        return hf_lists_rotated(model);
    case HF_FLAG:
        return json_boolean(*(const bool *)field);
    case HF_WORD:
        return value_at(row, *(const int *)field);
    case HF_REAL:
    case HF_POSITIVE:
        return json_real(real_of(row, model));
    case HF_CAP:
        return real_of(row, model) > 0 ? json_real(real_of(row, model)) : json_null();
    case HF_TIED:
        return json_boolean(model->tied);
    case HF_WIDTH:
        return json_integer(width_of(model));
    case HF_SCORE_WIDTH:
        return json_integer(model->score_width > 0 ? model->score_width : width_of(model));
    case HF_DROPOUT:
        return json_real(0);
    default:
        return value_at(row, 0);
    }
}

/* Whether what the document has of a row, or NULL, stays. */
static bool stays(const struct hf_architecture *architecture, const struct hf_key *row,
                  const json_t *present, const struct settings_model *model)
{
    switch (row->use) {
    case HF_DROPOUT:
        return present;
    case HF_MUST:
        return is_taken(row, present);
    case HF_POSITIVE:
    case HF_REAL:
    case HF_CAP:
        return (row->use == HF_POSITIVE && real_of(row, model) == 0) ||
               (json_is_number(present) && json_number_value(present) == real_of(row, model));
    case HF_WINDOW:
        return model->window == 0 && present && hf_key_of(architecture, HF_WINDOWED);
    case HF_WINDOW_FROM:
        /* The list of HF_WINDOWS is what counts. */
        return model->window == 0 || json_is_integer(present);
    case HF_WINDOWS:
        /* A class whose own blocks differ has to be told that these do not. */
        return model->window == 0 && !json_is_array(present) &&
               architecture->fallback.full_every == 0;
    case HF_UNROTATED:
        return model->unrotated_every == 0;
    default:
        return false;
    }
}

/* Nothing where the row is not to be written, or an original has what stays. */
static enum zi_status write_key(json_t *document, const struct hf_architecture *architecture,
                                const struct hf_key *row, const struct settings_model *model)
{
    const char *key = row->key;
    if (row->use == HF_IDLE || !(row->written >> model->rope_scaling & 1)) return ZI_OK;
    json_t *holder = holder_of(document, &key);
    if (!holder) return no_memory();
    if (stays(architecture, row, json_object_get(holder, key), model)) return ZI_OK;
    return json_object_set_new(holder, key, value_of(architecture, row, model)) == 0 ? ZI_OK
                                                                                     : no_memory();
}

static enum zi_status write_text(json_t *document, const char *key, const char *text)
{
    return json_object_set_new(document, key, json_string(text)) == 0 ? ZI_OK : no_memory();
}

/* Of a model that was drawn here: those that a class takes where there are none are of its published
 * model, and may lie outside the vocabulary, which some classes do not load. */
static enum zi_status write_no_tokens(json_t *document)
{
    static const char *const ids[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (json_object_set_new(document, ids[i], json_null()) != 0) return no_memory();
    return ZI_OK;
}

static enum zi_status fill(json_t *document, const struct hf_architecture *architecture,
                           const struct hf_description *d)
{
    const char *type = d->type == ZI_FP32 ? "float32" : d->type == ZI_BF16 ? "bfloat16" : "float16";
    json_t *classes = json_array();
    if (!classes || json_array_append_new(classes, json_string(architecture->causal)) != 0 ||
        json_object_set_new(document, "architectures", classes) != 0)
        return no_memory();
    ZI_TRY(write_text(document, "model_type", architecture->model_type));
    ZI_TRY(write_text(document, "dtype", type));
    ZI_TRY(write_text(document, "torch_dtype", type));
    if (!d->original) ZI_TRY(write_no_tokens(document));
    for (const struct hf_key *row = architecture->keys; row->key; row++)
        ZI_TRY(write_key(document, architecture, row, d->model));
    return ZI_OK;
}

static enum zi_status store(const json_t *document, int digits, const char *path)
{
    size_t flags = JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION((size_t)digits);
    char *text = json_dumps(document, flags), *lines = NULL;
    if (!text || asprintf(&lines, "%s\n", text) < 0) lines = NULL;
    free(text);
    if (!lines) return no_memory();
    enum zi_status status = zi_output_text("hf", path, lines);
    free(lines);
    return status;
}

const struct hf_architecture *hf_architecture_of(const struct hf_description *d)
{
    if (d->architecture) return d->architecture;
    for (int i = 0; hf_architectures[i]; i++)
        if (hf_architectures[i]->fallback.family == d->model->family) return hf_architectures[i];
    return NULL;
}

/* Whether some but not all blocks have a window. */
static bool has_some_windows(const struct settings_model *model)
{
    int64_t count = 0;
    for (int64_t i = 0; i < model->layers; i++)
        count += hf_has_window(model, i);
    return model->window > 0 && count < model->layers;
}

/* Whether a row is of that field. */
static bool has_field(const struct hf_architecture *architecture, size_t offset)
{
    for (const struct hf_key *row = architecture->keys; row->key; row++)
        if (row->use == HF_REAL && row->offset == offset) return true;
    return false;
}

enum zi_status hf_config_check(const struct hf_description *description)
{
    const struct hf_architecture *architecture = hf_architecture_of(description);
    const struct settings_model *model = description->model;
    ZI_REQUIRE(architecture);
    /* Those of rotary positions have it, and key heads. */
    const struct hf_key *scaling = hf_key_of(architecture, HF_WORD);
    const char *what = NULL;
    if (!hf_key_of(architecture, HF_WIDTH) && width_of(model) * model->heads != model->hidden)
        what = "model.head_width other than hidden / heads";
    if (!scaling && model->key_heads > 0 && model->key_heads != model->heads)
        what = "model.key_heads other than model.heads";
    if (!hf_key_of(architecture, HF_WINDOWS) && has_some_windows(model))
        what = "a model.window of some of the blocks";
    if (scaling && !hf_value_at(scaling->values, model->rope_scaling))
        what = "this model.rope_scaling";
    if (scaling && model->rope_scaling == ROPE_DYNAMIC && model->rope_original > 0 &&
        model->rope_original != model->context)
        what = "a model.rope_original of dynamic other than model.context";
    if (has_field(architecture, HF_FIELD(rope_window_base)) && model->rope_window_base == 0)
        what = "a model.rope_window_base of 0; 10000 is that of published models";
    if (!what) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s of transformers has no place for %s",
                   architecture->causal, what);
}

enum zi_status hf_config_write(const struct hf_description *description, const char *path)
{
    const struct zi_json_place place = {"hf", description->original, 0, NULL};
    const struct hf_architecture *architecture = hf_architecture_of(description);
    json_t *document;
    ZI_TRY(hf_config_check(description));
    if (description->original)
        ZI_TRY(zi_json_read(&place, HF_CONFIG_BYTES, &document));
    else
        document = json_object();
    enum zi_status status =
        json_is_object(document) ? fill(document, architecture, description) : no_memory();
    if (status >= 0) status = store(document, digits_of(architecture, description->model), path);
    json_decref(document);
    return status;
}

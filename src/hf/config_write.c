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
#include "json/json.h"

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for a config.json");
}

/* The object that holds a key, which becomes the part behind its point. */
static json_t *holder_of(json_t *document, const char **key)
{
    char name[HF_NAME];
    const char *point = strchr(*key, '.');
    if (!point) return document;
    snprintf(name, sizeof name, "%.*s", (int)(point - *key), *key);
    *key = point + 1;
    json_t *object = json_object_get(document, name);
    if (json_is_object(object)) return object;
    object = json_object();
    /* What was set is the document's. */
    return json_object_set_new(document, name, object) == 0 ? object : NULL;
}

/* The first of the values of a row. */
static json_t *first_value(const struct hf_key *row)
{
    return json_loadb(row->values, strcspn(row->values, "|"), JSON_DECODE_ANY, NULL);
}

/* Whether an original has a value that the row takes; then it stays. */
static bool is_taken(const struct hf_key *row, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    bool taken = text && hf_value_among(text, row->values);
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
        if (row->use != HF_REAL) continue;
        snprintf(text, sizeof text, "%.15g", real_of(row, model));
        if (strtod(text, NULL) != real_of(row, model)) return 17;
    }
    return 15;
}

static json_t *value_of(const struct hf_key *row, const struct settings_model *model)
{
    const void *field = (const char *)model + row->offset;
    switch (row->use) {
    case HF_INTEGER:
        return json_integer(*(const int64_t *)field);
    case HF_REAL:
        return json_real(real_of(row, model));
    case HF_TIED:
        return json_boolean(model->tied);
    case HF_WIDTH:
        return json_integer(width_of(model));
    case HF_DROPOUT:
        return json_real(0);
    default:
        return first_value(row);
    }
}

/* Nothing where the row is not to be written, or an original has what stays. */
static enum zi_status write_key(json_t *document, const struct hf_key *row,
                                const struct settings_model *model)
{
    const char *key = row->key;
    if (row->read_only || row->use == HF_IDLE) return ZI_OK;
    json_t *holder = holder_of(document, &key);
    if (!holder) return no_memory();
    const json_t *present = json_object_get(holder, key);
    if (row->use == HF_DROPOUT && present) return ZI_OK;
    if (row->use == HF_MUST && is_taken(row, present)) return ZI_OK;
    if (row->use == HF_REAL && json_is_number(present) &&
        json_number_value(present) == real_of(row, model))
        return ZI_OK;
    return json_object_set_new(holder, key, value_of(row, model)) == 0 ? ZI_OK : no_memory();
}

static enum zi_status write_text(json_t *document, const char *key, const char *text)
{
    return json_object_set_new(document, key, json_string(text)) == 0 ? ZI_OK : no_memory();
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
    for (const struct hf_key *row = architecture->keys; row->key; row++)
        ZI_TRY(write_key(document, row, d->model));
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

enum zi_status hf_config_write(const struct hf_description *description, const char *path)
{
    const struct zi_json_place place = {"hf", description->original, 0, NULL};
    const struct hf_architecture *architecture = hf_architecture_of(description);
    json_t *document;
    ZI_REQUIRE(architecture);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the tables of a model from its family's rows.
 *
 * Units are laid out tensor after tensor: joined tensors directly behind each other, all others at
 * multiples of 64 elements, which keeps rows aligned in every element type and lets one layout
 * serve parameters, gradients and optimizer states. Tables are built by walking the rows twice with
 * the same function: once to count, once to fill. */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "model/family.h"

#define ALIGNMENT 64

const struct family *family_of(const struct settings_model *settings)
{
    return settings->family == MODEL_LLAMA ? &family_llama : &family_gpt2;
}

static int64_t size_of(const struct settings_model *s, enum family_size size)
{
    int64_t width = s->hidden / s->heads;
    switch (size) {
    case SIZE_NONE:
        return 1;
    case SIZE_HIDDEN:
        return s->hidden;
    case SIZE_QUERY:
        return s->heads * width;
    case SIZE_KEY:
        return s->key_heads * width;
    case SIZE_INNER:
        return s->inner;
    case SIZE_VOCABULARY:
        return s->vocabulary;
    case SIZE_CONTEXT:
        return s->context;
    }
    return 0;
}

static void fill_tensor(struct model *m, const struct family_row *row, int64_t *end)
{
    const struct settings_model *s = &m->settings;
    struct model_unit *unit = &m->units[m->unit_count];
    struct model_tensor *t = &m->tensors[m->tensor_count];
    snprintf(t->name, sizeof t->name, "%s.%s", unit->name, row->name);
    t->dimensions = row->columns == SIZE_NONE ? 1 : 2;
    t->shape[0] = size_of(s, row->rows);
    t->shape[1] = size_of(s, row->columns);
    t->elements = t->shape[0] * t->shape[1];
    t->unit = m->unit_count;
    t->offset = row->joined ? *end : (*end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    t->kind = row->kind;
    t->init = row->init;
    t->deviation = (float)s->init_deviation;
    if (row->scaled) t->deviation /= sqrtf(2.0f * (float)s->layers);
    *end = t->offset + t->elements;
    m->parameters += t->elements;
}

/* Appends a unit; gives its number. Without tables it only counts. */
static int add_unit(struct model *m, const char *name, const struct family_row *rows)
{
    int64_t end = 0;
    struct model_unit *unit = m->units ? &m->units[m->unit_count] : NULL;
    if (unit) {
        snprintf(unit->name, sizeof unit->name, "%s", name);
        unit->first_tensor = m->tensor_count;
    }
    for (; rows->name; rows++) {
        if (unit) fill_tensor(m, rows, &end);
        m->tensor_count++;
    }
    if (unit) {
        unit->tensor_count = m->tensor_count - unit->first_tensor;
        unit->elements = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return m->unit_count++;
}

static void add_op(struct model *m, enum model_op_kind kind, int block, const char *name,
                   const int units[2])
{
    if (m->ops) {
        struct model_op *op = &m->ops[m->op_count];
        snprintf(op->name, sizeof op->name, "%s", name);
        op->kind = kind;
        op->block = block;
        op->unit_count = units[1] < 0 ? 1 : 2;
        op->units[0] = units[0];
        op->units[1] = units[1];
        op->units[2] = -1;
    }
    m->op_count++;
}

static void add_all(struct model *m)
{
    const struct family *family = family_of(&m->settings);
    char name[48];
    m->tensor_count = m->unit_count = m->op_count = 0;
    m->parameters = 0;
    int token = add_unit(m, "embedding.token", family->token), position = -1;
    if (family->position) position = add_unit(m, "embedding.position", family->position);
    add_op(m, MODEL_EMBED, -1, "embedding", (int[]){token, position});
    for (int b = 0; b < m->settings.layers; b++) {
        snprintf(name, sizeof name, "blocks.%d.attention", b);
        add_op(m, MODEL_ATTENTION, b, name, (int[]){add_unit(m, name, family->attention), -1});
        snprintf(name, sizeof name, "blocks.%d.mlp", b);
        add_op(m, MODEL_MLP, b, name, (int[]){add_unit(m, name, family->mlp), -1});
    }
    int norm = add_unit(m, "norm", family->norm);
    int table = m->settings.tied ? token : add_unit(m, "head", family->head);
    add_op(m, MODEL_HEAD, -1, "head", (int[]){norm, table});
}

enum zi_status model_create(const struct settings_model *settings, enum zi_dtype type,
                            const struct device *device, struct model **model)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) return zi_fail(ZI_ERROR_DEVICE, "model", "no memory for the model's tables");
    m->settings = *settings;
    m->type = type;
    m->operations = device_get_operations(device);
    add_all(m);
    m->tensors = calloc((size_t)m->tensor_count, sizeof *m->tensors);
    m->units = calloc((size_t)m->unit_count, sizeof *m->units);
    m->ops = calloc((size_t)m->op_count, sizeof *m->ops);
    if (!m->tensors || !m->units || !m->ops) {
        int tensors = m->tensor_count;
        model_destroy(m);
        return zi_fail(ZI_ERROR_DEVICE, "model", "no memory for tables of %d tensors", tensors);
    }
    add_all(m);
    *model = m;
    return ZI_OK;
}

void model_destroy(struct model *model)
{
    if (!model) return;
    free(model->tensors);
    free(model->units);
    free(model->ops);
    free(model);
}

void model_initialize(const struct model_tensor *tensor, uint64_t seed, int64_t first,
                      int64_t count, float *values)
{
    if (tensor->init == MODEL_INIT_NORMAL) {
        zi_random_normal(seed, zi_random_stream(tensor->name), first, count, tensor->deviation,
                         values);
        return;
    }
    float value = tensor->init == MODEL_INIT_ONE ? 1.0f : 0.0f;
    for (int64_t i = 0; i < count; i++) {
        values[i] = value;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the model room share: a model on the cpu device with all of its buffers, each
 * of exactly the size that the model asks for and with a guard behind it; a whole forward and
 * backward; gradients by tensor, summed over the uses of a unit. The cpu device's memory is host
 * memory, so buffers are read and written in place. */
#ifndef ZI_REGRESSION_MODEL_FIXTURE_H
#define ZI_REGRESSION_MODEL_FIXTURE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "base/random.h"
#include "model/model.h"
#include "regression/unit/test.h"

static int64_t fixture_isa = ZI_AUTO; /* enum device_isa of the devices that are opened */
static struct settings_tiling fixture_tiling = {1, 1, 1}; /* of the models that are made */

#define FIXTURE_GUARD 64 /* bytes of 0xa5 behind every buffer */

struct fixture_buffer {
    struct device_ptr at;
    size_t bytes;
};

struct fixture {
    struct device *device;
    struct device_stream *stream;
    struct model *model;
    /* That the buffers are for. */
    int64_t sequences, tokens;
    /* One per unit, compute type. */
    struct fixture_buffer *weights;
    /* fp32, one per operation and unit: op * MODEL_MAX_UNITS + i. */
    struct fixture_buffer *gradients;
    /* One per operation. */
    struct fixture_buffer *saved, *scratch;
    /* One per layer. */
    struct fixture_buffer *outputs, *carries;
    struct fixture_buffer gradient, inputs, targets, loss;
};

/* Memory of the device with a guard behind it. */
static inline struct fixture_buffer fixture_allocate(struct fixture *f, size_t bytes)
{
    struct fixture_buffer b = {.bytes = bytes};
    enum zi_status status =
        device_allocate(f->device, ZI_TIER_DEVICE, bytes + FIXTURE_GUARD, "test", &b.at);
    ZI_REQUIRE(status == ZI_OK);
    memset((char *)b.at.address + bytes, 0xa5, FIXTURE_GUARD);
    return b;
}

/* Checks the guard and frees; nothing where there is no buffer. */
static inline void fixture_free(struct fixture *f, struct fixture_buffer *b)
{
    if (device_is_null(b->at)) return;
    int overwritten = 0;
    for (size_t i = 0; i < FIXTURE_GUARD; i++) {
        overwritten += ((unsigned char *)b->at.address)[b->bytes + i] != 0xa5;
    }
    CHECK_INT(overwritten, 0);
    device_free(f->device, ZI_TIER_DEVICE, b->at);
}

/* Zeros of the host, freed with free(). */
static inline void *fixture_zeros(size_t count, size_t bytes)
{
    void *memory = calloc(count + 1, bytes);
    ZI_REQUIRE(memory);
    return memory;
}

/* Opens the device and makes the model and all buffers. */
static inline void fixture_open(struct fixture *f, const struct settings_model *settings,
                                enum zi_dtype type, const int64_t shape[2] /* B, T */)
{
    struct settings_device device = {.type = DEVICE_CPU, .threads = 2, .isa = fixture_isa};
    memset(f, 0, sizeof *f);
    f->sequences = shape[0];
    f->tokens = shape[1];
    ZI_REQUIRE(device_open(&device, DEVICE_ALONE, &f->device) == ZI_OK);
    ZI_REQUIRE(device_stream_create(f->device, 2, &f->stream) == ZI_OK);
    ZI_REQUIRE(model_create(settings, &fixture_tiling, type, &f->model) == ZI_OK);
    const struct model *m = f->model;
    size_t ids = (size_t)(shape[0] * shape[1]) * 4;
    f->weights = fixture_zeros((size_t)m->unit_count, sizeof *f->weights);
    f->outputs = fixture_zeros((size_t)m->layer_count, sizeof *f->outputs);
    f->carries = fixture_zeros((size_t)m->layer_count, sizeof *f->carries);
    f->saved = fixture_zeros((size_t)m->op_count, sizeof *f->saved);
    f->scratch = fixture_zeros((size_t)m->op_count, sizeof *f->scratch);
    f->gradients = fixture_zeros((size_t)m->op_count * MODEL_MAX_UNITS, sizeof *f->gradients);
    for (int u = 0; u < m->unit_count; u++) {
        f->weights[u] = fixture_allocate(f, (size_t)m->units[u].elements * zi_dtype_bytes(type));
    }
    for (int op = 0; op < m->op_count; op++) {
        struct model_sizes sizes;
        model_op_sizes(m, op, shape[0], shape[1], &sizes);
        if (m->ops[op].tile == 0) {
            f->outputs[m->ops[op].layer] = fixture_allocate(f, sizes.stream);
            f->carries[m->ops[op].layer] = fixture_allocate(f, sizes.carry);
        }
        f->saved[op] = fixture_allocate(f, sizes.saved);
        f->scratch[op] = fixture_allocate(f, sizes.scratch);
        for (int i = 0; i < m->ops[op].unit_count; i++) {
            if (!(m->ops[op].differentiates >> i & 1)) continue;
            size_t elements = (size_t)m->units[m->ops[op].units[i]].elements;
            f->gradients[op * MODEL_MAX_UNITS + i] = fixture_allocate(f, elements * 4);
        }
    }
    f->gradient = fixture_allocate(f, f->outputs[0].bytes);
    f->inputs = fixture_allocate(f, ids);
    f->targets = fixture_allocate(f, ids);
    f->loss = fixture_allocate(f, sizeof(double));
}

/* Frees all, guards checked. */
static inline void fixture_close(struct fixture *f)
{
    const struct model *m = f->model;
    for (int u = 0; u < m->unit_count; u++) {
        fixture_free(f, &f->weights[u]);
    }
    for (int op = 0; op < m->op_count; op++) {
        if (m->ops[op].tile == 0) {
            fixture_free(f, &f->outputs[m->ops[op].layer]);
            fixture_free(f, &f->carries[m->ops[op].layer]);
        }
        fixture_free(f, &f->saved[op]);
        fixture_free(f, &f->scratch[op]);
        for (int i = 0; i < MODEL_MAX_UNITS; i++) {
            fixture_free(f, &f->gradients[op * MODEL_MAX_UNITS + i]);
        }
    }
    struct fixture_buffer *single[] = {&f->gradient, &f->inputs, &f->targets, &f->loss};
    for (int i = 0; i < 4; i++) {
        fixture_free(f, single[i]);
    }
    free(f->weights);
    free(f->gradients);
    free(f->outputs);
    free(f->carries);
    free(f->saved);
    free(f->scratch);
    model_destroy(f->model);
    device_stream_destroy(f->stream);
    device_close(f->device);
}

/* Where element i of a tensor lies. */
struct fixture_place {
    int unit;
    int64_t offset;
};

/* The place of element i of a tensor. */
static inline struct fixture_place fixture_find(const struct model *m, int tensor, int64_t i)
{
    const struct model_tensor *t = &m->tensors[tensor];
    for (int k = 0; k < t->piece_count; k++) {
        const struct model_piece *p = &m->pieces[t->first_piece + k * t->piece_step];
        int64_t run = (i - p->first) / p->stride, at = (i - p->first) % p->stride;
        if (i < p->first || run >= p->rows || at >= p->row) continue;
        return (struct fixture_place){p->unit, p->offset + run * p->row + at};
    }
    ZI_REQUIRE(!"element in a piece");
    return (struct fixture_place){0, 0};
}

/* One value of a tensor in the model's type. */
static inline double fixture_get_weight(const struct fixture *f, int tensor, int64_t i)
{
    struct fixture_place place = fixture_find(f->model, tensor, i);
    const void *unit = (void *)f->weights[place.unit].at.address;
    if (f->model->type == ZI_FP32) return (double)((const float *)unit)[place.offset];
    return (double)zi_bf16_to_fp32(((const uint16_t *)unit)[place.offset]);
}

/* Sets one value of a tensor, rounded to the model's type. */
static inline void fixture_set_weight(struct fixture *f, int tensor, int64_t i, float value)
{
    struct fixture_place place = fixture_find(f->model, tensor, i);
    void *unit = (void *)f->weights[place.unit].at.address;
    if (f->model->type == ZI_FP32)
        ((float *)unit)[place.offset] = value;
    else
        ((uint16_t *)unit)[place.offset] = zi_bf16_round_even(value);
}

/* Values of a size at which every tensor matters; random ids, some targets not counted. */
__attribute__((unused)) static void fixture_randomize(struct fixture *f, uint64_t seed)
{
    const struct model *m = f->model;
    for (int t = 0; t < m->tensor_count; t++) {
        const struct model_tensor *tensor = &m->tensors[t];
        float *values = fixture_zeros((size_t)tensor->elements, sizeof *values);
        float deviation = tensor->dimensions < 2 ? 0.2f : 1 / sqrtf((float)tensor->shape[1]);
        if (tensor->kind == MODEL_EMBEDDING) deviation = 0.5f;
        zi_random_normal(seed, zi_random_stream(tensor->name), 0, tensor->elements, deviation,
                         values);
        for (int64_t i = 0; i < tensor->elements; i++) {
            fixture_set_weight(f, t, i, values[i] + (tensor->init == MODEL_INIT_ONE ? 1 : 0));
        }
        free(values);
    }
    int32_t *inputs = (int32_t *)f->inputs.at.address, *targets = (int32_t *)f->targets.at.address;
    for (int64_t i = 0; i < f->sequences * f->tokens; i++) {
        uint64_t v = (uint64_t)m->settings.vocabulary;
        inputs[i] = (int32_t)(zi_random_bits(seed, 1, (uint64_t)i) % v);
        targets[i] = i % 7 == 3 ? -1 : (int32_t)(zi_random_bits(seed, 2, (uint64_t)i) % v);
    }
}

/* Of sequences first .. first + count - 1 of the inputs, which start at the front of buffers. */
static inline struct model_pass fixture_pass(const struct fixture *f, int op, int64_t first,
                                             int64_t count)
{
    size_t skip = (size_t)(first * f->tokens) * 4;
    int layer = f->model->ops[op].layer;
    struct model_pass pass = {
        .operations = device_get_operations(f->device),
        .stream = f->stream,
        .sequences = count,
        .tokens = f->tokens,
        .input = layer > 0 ? f->outputs[layer - 1].at : (struct device_ptr){0},
        .output = f->outputs[layer].at,
        .gradient = f->gradient.at,
        .saved = f->saved[op].at,
        .scratch = f->scratch[op].at,
        .carry = f->carries[layer].at,
        .token_ids = device_at(f->inputs.at, skip),
        .targets = device_at(f->targets.at, skip),
        .loss = f->loss.at,
        .loss_scale = 1.0f,
        .drops = f->model->settings.adapter.dropout > 0,
        .seed = 77,
        .first = first,
    };
    for (int i = 0; i < f->model->ops[op].unit_count; i++) {
        pass.weights[i] = f->weights[f->model->ops[op].units[i]].at;
        pass.gradients[i] = f->gradients[op * MODEL_MAX_UNITS + i].at;
    }
    return pass;
}

/* The first operation of the head. */
static inline int fixture_head(const struct fixture *f)
{
    return f->model->op_count - f->model->ops[f->model->op_count - 1].tiles;
}

/* Forward of all operations but the head's. */
static inline void fixture_forward(struct fixture *f, enum model_mode mode, int64_t first,
                                   int64_t count)
{
    for (int op = 0; op < fixture_head(f); op++) {
        struct model_pass pass = fixture_pass(f, op, first, count);
        CHECK(model_forward(f->model, op, mode, &pass) == ZI_OK);
    }
}

/* Forward of the head, which adds to the loss; gives the loss. */
static inline double fixture_forward_head(struct fixture *f, enum model_mode mode, int64_t first,
                                          int64_t count)
{
    for (int op = fixture_head(f); op < f->model->op_count; op++) {
        struct model_pass pass = fixture_pass(f, op, first, count);
        memset((void *)f->scratch[op].at.address, 0xff, f->scratch[op].bytes);
        CHECK(model_forward(f->model, op, mode, &pass) == ZI_OK);
    }
    return *(double *)f->loss.at.address;
}

/* Sum of -log p. */
__attribute__((unused)) static double fixture_loss(struct fixture *f)
{
    fixture_forward(f, MODEL_INFER, 0, f->sequences);
    *(double *)f->loss.at.address = 0;
    return fixture_forward_head(f, MODEL_INFER, 0, f->sequences);
}

/* How a whole backward is run. */
struct fixture_way {
    /* Sequences. */
    int64_t first, count;
    /* What backward needs is made again from the kept inputs. */
    bool recompute;
    bool accumulate;
    float scale;
};

/* Forward and backward of everything; gives the sum of -log p. Buffers hold NaNs before a call that
 * may not use what they hold. */
static inline double fixture_differentiate(struct fixture *f, const struct fixture_way *way)
{
    const struct model *m = f->model;
    fixture_forward(f, way->recompute ? MODEL_INFER : MODEL_TRAIN, way->first, way->count);
    *(double *)f->loss.at.address = 0;
    if (fixture_head(f) < m->op_count - 1)
        fixture_forward_head(f, MODEL_TRAIN, way->first, way->count);
    for (int op = m->op_count - 1; op >= 0; op--) {
        const struct model_op *o = &m->ops[op];
        struct model_pass pass = fixture_pass(f, op, way->first, way->count);
        pass.loss_scale = way->scale;
        for (int i = 0; i < MODEL_MAX_UNITS; i++) {
            pass.accumulate[i] = way->accumulate;
        }
        memset((void *)f->scratch[op].at.address, 0xff, f->scratch[op].bytes);
        if (o->kind != MODEL_HEAD && o->tile == o->tiles - 1)
            memset((void *)pass.carry.address, 0xff, f->carries[o->layer].bytes);
        if (way->recompute && (o->kind == MODEL_ATTENTION || o->kind == MODEL_MLP)) {
            memset((void *)f->saved[op].at.address, 0xff, f->saved[op].bytes);
            pass.output = (struct device_ptr){0};
            CHECK(model_forward(m, op, MODEL_RECOMPUTE, &pass) == ZI_OK);
            memset((void *)f->scratch[op].at.address, 0xff, f->scratch[op].bytes);
        }
        CHECK(model_backward(m, op, &pass) == ZI_OK);
    }
    return *(double *)f->loss.at.address;
}

/* Gradient of a unit, summed over its uses; the caller frees it. */
static inline float *fixture_unit_gradient(const struct fixture *f, int unit)
{
    const struct model *m = f->model;
    int64_t elements = m->units[unit].elements;
    float *sum = fixture_zeros((size_t)elements, sizeof *sum);
    for (int op = 0; op < m->op_count; op++) {
        for (int u = 0; u < m->ops[op].unit_count; u++) {
            if (m->ops[op].units[u] != unit || !(m->ops[op].differentiates >> u & 1)) continue;
            const float *use = (float *)f->gradients[op * MODEL_MAX_UNITS + u].at.address;
            for (int64_t i = 0; i < elements; i++) {
                sum[i] += use[i];
            }
        }
    }
    return sum;
}

/* Gradient of one tensor, summed over the uses of its units; the caller frees it. */
static inline float *fixture_gradient(const struct fixture *f, int tensor)
{
    const struct model *m = f->model;
    const struct model_tensor *t = &m->tensors[tensor];
    float *whole = fixture_zeros((size_t)t->elements, sizeof *whole);
    for (int k = 0; k < t->piece_count; k++) {
        const struct model_piece *p = &m->pieces[t->first_piece + k * t->piece_step];
        float *sum = fixture_unit_gradient(f, p->unit);
        for (int64_t run = 0; run < p->rows; run++) {
            memcpy(whole + p->first + run * p->stride, sum + p->offset + run * p->row,
                   (size_t)p->row * sizeof *sum);
        }
        free(sum);
    }
    return whole;
}

#endif

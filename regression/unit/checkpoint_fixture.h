/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the checkpoint room share: a small model with values that depend on (version,
 * state, tensor, index) alone, so that any rank can check any element. */
#ifndef ZI_TEST_CHECKPOINT_FIXTURE_H
#define ZI_TEST_CHECKPOINT_FIXTURE_H

#include "base/half.h"
#include "checkpoint/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSOR_COUNT = 6 };

/* Smaller and larger than a page, one and two dimensions, one element, sizes that divide nothing.
 */
static const struct checkpoint_tensor tensors[TENSOR_COUNT] = {
    {"embedding.token.weight", 2, {257, 31}, false},
    {"blocks.0.attention.query.weight", 2, {31, 31}, false},
    {"blocks.0.attention.query.bias", 1, {31, 0}, false},
    {"blocks.0.mlp.up.weight", 2, {301, 1003}, false},
    {"norm.weight", 1, {1, 0}, false},
    {"head.weight", 2, {3, 5000}, false},
};

/* Elements of a tensor. */
static inline int64_t tensor_elements(int tensor)
{
    const struct checkpoint_tensor *t = &tensors[tensor];
    return t->dimensions == 2 ? t->shape[0] * t->shape[1] : t->shape[0];
}

/* Bytes of an element of a state. */
static inline size_t state_bytes(enum tier_kind state, enum zi_dtype type)
{
    return state == TIER_PARAMETER ? zi_dtype_bytes(type) : 4;
}

/* A finite fp32 with all mantissa bits in use. */
static inline float value_at(int version, enum tier_kind state, int tensor, int64_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)(tensor * 4 + (int)state) * 0x9e3779b9u +
                 (uint32_t)version * 0x85ebca6bu;
    x ^= x >> 15;
    x *= 0x2c1b3c6du;
    x ^= x >> 12;
    return (float)((double)x / 4294967296.0 - 0.5);
}

/* Elements [first, first+count) of a state of a tensor, as a file of this type holds them. */
static inline void values_fill(int version, enum tier_kind state, enum zi_dtype type, int tensor,
                               int64_t first, int64_t count, void *values)
{
    /* fp32: one dataset is both */
    if (type == ZI_FP32 && state == TIER_MASTER) state = TIER_PARAMETER;
    for (int64_t i = 0; i < count; i++) {
        float value = value_at(version, state, tensor, first + i);
        if (state == TIER_PARAMETER && type != ZI_FP32)
            ((uint16_t *)values)[i] = zi_half_parameter(type, value);
        else
            ((float *)values)[i] = value;
    }
}

/* Memory that is there, freed with free(). */
static inline void *test_allocate(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (!memory) exit(1);
    return memory;
}

/* The header of a version's file. */
static inline struct checkpoint_header header_of(int version, enum zi_dtype type)
{
    return (struct checkpoint_header){
        .step = 100 * version,
        .updates = 100 * version - 1,
        .tokens = ((int64_t)1 << 39) * version,
        .seed = 1337,
        .loss_scale = type == ZI_FP16 ? 1024 << version : 1,
        .loss_scale_steps = type == ZI_FP16 ? 15 + version : 0,
        .deck = "run: {name: test}\nmodel: {family: gpt2}\n",
        .type = type,
        .model_text = "{family: gpt2, layers: 1, hidden: 31}",
    };
}

/* Writes elements [first, end) of every tensor and stored state in two pieces. */
static inline void write_states(struct checkpoint *checkpoint, int version, enum zi_dtype type,
                                int ranks, int rank)
{
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!tier_kind_row(s)->saved || (type == ZI_FP32 && s == TIER_MASTER)) continue;
        for (int t = 0; t < TENSOR_COUNT; t++) {
            /* cut at places that fall inside rows; one element lies on the last rank, others have
             * none of it */
            int64_t elements = tensor_elements(t);
            int64_t first = elements * rank / ranks, end = elements * (rank + 1) / ranks;
            int64_t middle = first + (end - first) / 3;
            char *values = test_allocate((size_t)(end - first) * 4);
            size_t size = state_bytes(s, type);
            values_fill(version, s, type, t, first, end - first, values);
            checkpoint_write(checkpoint, s, t, middle, end - middle,
                             values + (size_t)(middle - first) * size);
            checkpoint_write(checkpoint, s, t, first, middle - first, values);
            free(values);
        }
    }
}

/* Elements of [first, first+count) that differ from what was written, or -1 when reading fails. */
static inline int64_t count_wrong(struct checkpoint *checkpoint, int version, enum tier_kind state,
                                  int tensor, int64_t first, int64_t count)
{
    enum zi_dtype type = checkpoint_get_header(checkpoint)->type;
    size_t bytes = (size_t)count * state_bytes(state, type);
    char *found = test_allocate(bytes), *expected = test_allocate(bytes);
    int64_t wrong = 0;
    values_fill(version, state, type, tensor, first, count, expected);
    if (checkpoint_read(checkpoint, state, tensors[tensor].name, tensor_elements(tensor), first,
                        count, found) < 0)
        wrong = -1;
    else if (memcmp(found, expected, bytes) != 0)
        wrong = 1;
    free(found);
    free(expected);
    return wrong;
}

/* Tensors of saved states that are not what was written, each read in one piece. */
static inline int64_t count_wrong_everywhere(struct checkpoint *checkpoint, int version)
{
    int64_t wrong = 0;
    for (int s = 0; s < TIER_KIND_COUNT; s++)
        for (int t = 0; t < TENSOR_COUNT && tier_kind_row(s)->saved; t++)
            wrong += count_wrong(checkpoint, version, s, t, 0, tensor_elements(t)) != 0;
    return wrong;
}

/* A folder of the test's own, below TMPDIR or where the test runs. */
static inline void folder_make(char *folder, size_t size)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, size, "%s/checkpoint-test-XXXXXX", parent ? parent : ".");
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
}

/* Removes the folder with all that is in it. */
static inline void folder_remove(const char *folder)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) fprintf(stderr, "%s: not removed\n", folder);
}

#endif

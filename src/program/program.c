/* SPDX-License-Identifier: Apache-2.0 */
/* The step program as a data structure: its slots, lists of operations, and what can be asked of
 * them. */
#include "program/program.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"

#define NAME(constant, name) [constant] = name,
static const char *const program_names[PROGRAM_COUNT] = {PROGRAMS(NAME)};
#undef NAME

static const struct program_row program_rows[PROGRAM_COUNT] = {
    [PROGRAM_TRAIN] = {.help = "a step: forward, backward, and the update unless it is deferred",
                       .trains = true,
                       .losses = true},
    [PROGRAM_TRAIN_UPDATE] = {.help = "the update of the step before, then a step",
                              .trains = true,
                              .losses = true,
                              .updates = true},
    [PROGRAM_TRAIN_SPECULATE] = {.help = "a step, with the update of the last units in its "
                                         "backward pass, before its norm is known",
                                 .trains = true,
                                 .losses = true,
                                 .speculates = true},
    [PROGRAM_TRAIN_UPDATE_SPECULATE] = {.help = "the update of the step before, then such a step",
                                        .trains = true,
                                        .losses = true,
                                        .updates = true,
                                        .speculates = true},
    [PROGRAM_TRAIN_REST_SPECULATE] = {.help = "what such a step has left of its update, then such "
                                              "a step",
                                      .trains = true,
                                      .losses = true,
                                      .updates = true,
                                      .rest = true,
                                      .speculates = true},
    [PROGRAM_TRAIN_SAVE] = {.help = "a step, and all states from before it to a checkpoint",
                            .trains = true,
                            .losses = true,
                            .exports = true},
    [PROGRAM_TRAIN_UPDATE_SAVE] = {.help = "the update of the step before, all states to a "
                                           "checkpoint, and a step",
                                   .trains = true,
                                   .losses = true,
                                   .updates = true,
                                   .exports = true},
    [PROGRAM_VALIDATE] = {.help = "forward, for the loss", .losses = true},
    [PROGRAM_VALIDATE_UPDATE] = {.help = "the update of the step before, then forward",
                                 .losses = true,
                                 .updates = true},
    [PROGRAM_VALIDATE_REST] = {.help = "what a step that speculates has left of its update, then "
                                       "forward",
                               .losses = true,
                               .updates = true,
                               .rest = true},
    [PROGRAM_GENERATE] = {.help = "forward, for the logits of the last token", .logits = true},
    [PROGRAM_PREFILL] = {.help =
                             "generation: forward of a part of each prompt, whose keys and values "
                             "go into the cache",
                         .logits = true,
                         .caches = true},
    [PROGRAM_DECODE] = {.help = "generation: the same of one token of each sequence",
                        .logits = true,
                        .caches = true},
    [PROGRAM_EVALUATE] = {.help = "forward, for the loss of each sequence",
                          .losses = true,
                          .each = true},
    [PROGRAM_FLUSH_UPDATE] = {.help = "nothing but the update of the step before",
                              .updates = true,
                              .flushes = true},
    [PROGRAM_FLUSH_REST] = {.help =
                                "nothing but what a step that speculates has left of its update",
                            .updates = true,
                            .rest = true,
                            .flushes = true},
    [PROGRAM_FLUSH_SAVE] = {.help = "the update of the step before, and all states to a checkpoint",
                            .updates = true,
                            .flushes = true,
                            .exports = true},
    [PROGRAM_INITIALIZE] = {.help = "initial values of all states", .states = true},
    [PROGRAM_SAVE] = {.help = "all states to a checkpoint", .states = true},
    [PROGRAM_LOAD] = {.help = "all states from a checkpoint", .states = true},
};

static const char *const purpose_names[PURPOSE_COUNT] = {
    "parameters", "gradients", "optimizer", "activations", "fetch", "reduce", "work",
};

const struct program_row *program_row(enum program_name name)
{
    return &program_rows[name];
}

bool program_exists(const struct zero_config *config, enum program_name name)
{
    const struct program_row *row = &program_rows[name];
    if (row->rest || row->speculates) return config->training && config->speculates;
    if (row->updates) return config->training && config->deferred;
    if (row->caches) return config->cache > 0;
    if (row->each) return !config->training;
    return config->training || !(row->losses || name == PROGRAM_SAVE);
}

const char *program_name_text(enum program_name name)
{
    return program_names[name];
}

const char *program_purpose_name(enum program_purpose purpose)
{
    return purpose_names[purpose];
}

void program_destroy(struct program *program)
{
    if (!program) return;
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        free(program->lists[name].ops);
    }
    free(program->slots);
    free(program->arrays);
    free(program->homes);
    free(program);
}

size_t program_excess(const struct program *program, enum zi_tier tier)
{
    size_t bytes = program->pool_bytes[tier];
    size_t more = zero_disk_memory(&program->config, program->pool_bytes[ZI_TIER_NVME]);
    if (tier == ZI_TIER_HOST) bytes += more;
    if (program->config.shared_budget) {
        if (tier == ZI_TIER_HOST) return 0;
        if (tier == ZI_TIER_DEVICE) bytes += program->pool_bytes[ZI_TIER_HOST] + more;
    }
    return bytes > program->config.budget[tier] ? bytes - program->config.budget[tier] : 0;
}

size_t program_traffic(const struct program_list *list, enum program_lane lane)
{
    size_t bytes = 0;
    for (int i = 0; i < list->count; i++) {
        if (list->ops[i].lane == lane) bytes += list->ops[i].bytes;
    }
    return bytes;
}

size_t program_bytes(const struct program *program, enum zi_tier tier, enum program_purpose purpose)
{
    size_t bytes = 0;
    for (int s = 0; s < program->slot_count; s++) {
        const struct program_slot *slot = &program->slots[s];
        if (slot->tier == tier && slot->purpose == purpose) bytes += slot->bytes;
    }
    return bytes;
}

enum tier_kind program_weights(const struct program *program, int unit)
{
    return program->model->units[unit].packed ? TIER_PACKED : TIER_PARAMETER;
}

int64_t program_elements(const struct program *program, int unit, enum tier_kind kind)
{
    const struct partition_unit *part = &program->partition->units[unit];
    return zero_is_sharded(&program->config, kind) ? part->shard : part->padded;
}

size_t program_state_bytes(const struct program *program, enum tier_kind kind, int64_t count)
{
    return zi_dtype_size(zero_type(&program->config, kind), count);
}

const char *program_op_subject(const struct program *program, const struct program_op *op)
{
    if (op->op >= 0) return program->model->ops[op->op].name;
    if (op->unit >= 0) return program->model->units[op->unit].name;
    return "";
}

uint64_t program_hash(const struct program *program)
{
    uint64_t hash = 0;
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        const struct program_list *list = &program->lists[name];
        for (int i = 0; i < list->count; i++) {
            const struct program_op *op = &list->ops[i];
            uint64_t what = (uint64_t)op->kind << 56 ^ (uint64_t)op->lane << 48 ^
                            (uint64_t)(op->unit + 1) << 24 ^ (uint64_t)(op->op + 1);
            hash =
                zi_random_bits(hash, what, (uint64_t)op->bytes ^ (uint64_t)(op->micro + 1) << 40);
        }
    }
    return hash;
}

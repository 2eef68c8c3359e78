/* SPDX-License-Identifier: Apache-2.0 */
/* The step program as a data structure: slots, operations, and the dependencies between them.
 *
 * Dependencies are not written by hand: an operation names the slots that it reads and writes, and
 * builder_emit finds, among the operations before it, the last writer of what it reads (true
 * dependence), and the last writer and readers of what it writes (output and anti-dependence). As
 * lanes run in order, the latest such operation of each other lane is all it has to wait for. Disk
 * lanes have several operations in flight, so there those of the own lane count too. With prefetch
 * 0 an operation waits for the one before it, whatever its lane. */
#include "zero/program.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "zero/compile.h"

static const char *const kind_names[OP_KIND_COUNT] = {
    [OP_PUSH] = "push",         [OP_GATHER] = "gather", [OP_FORWARD] = "forward",
    [OP_KEEP] = "keep",         [OP_RECALL] = "recall", [OP_RECOMPUTE] = "recompute",
    [OP_BACKWARD] = "backward", [OP_REDUCE] = "reduce", [OP_PULL] = "pull",
    [OP_ADD] = "add",           [OP_NORM] = "norm",     [OP_ADAM] = "adam",
    [OP_PUBLISH] = "publish",   [OP_FINISH] = "finish", [OP_LOGITS] = "logits",
    [OP_READ] = "read",         [OP_LOAD] = "load",     [OP_STORE] = "store",
};
static const char *const program_names[PROGRAM_COUNT] = {
    "train", "train-update", "validate", "validate-update", "generate", "flush-update",
};
static const char *const lane_names[LANE_COUNT] = {
    "compute", "comm", "link_in", "link_out", "disk_read", "disk_write", "host",
};
static const char *const purpose_names[PURPOSE_COUNT] = {
    "parameters", "gradients", "optimizer", "activations", "fetch", "reduce", "work",
};

const char *program_name_text(enum program_name name)
{
    return program_names[name];
}

const char *program_kind_name(enum program_kind kind)
{
    return kind_names[kind];
}

const char *program_lane_name(enum program_lane lane)
{
    return lane_names[lane];
}

const char *program_purpose_name(enum program_purpose purpose)
{
    return purpose_names[purpose];
}

static size_t whole_blocks(size_t bytes)
{
    return (bytes + TIER_STORE_BLOCK - 1) / TIER_STORE_BLOCK * TIER_STORE_BLOCK;
}

static struct program_slot *add_slot(struct builder *b)
{
    struct program *p = b->program;
    if (b->status < 0) return NULL;
    if (p->slot_count == p->slot_capacity) {
        int capacity = p->slot_capacity ? 2 * p->slot_capacity : 256;
        struct program_slot *grown = realloc(p->slots, (size_t)capacity * sizeof *grown);
        if (!grown) {
            b->status = zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for %d slots", capacity);
            return NULL;
        }
        p->slots = grown;
        p->slot_capacity = capacity;
    }
    struct program_slot *slot = &p->slots[p->slot_count++];
    memset(slot, 0, sizeof *slot);
    slot->array = -1;
    return slot;
}

int builder_slot(struct builder *b, enum zi_tier tier, enum program_purpose purpose, size_t bytes,
                 const char *format, ...)
{
    struct program *p = b->program;
    struct program_slot *slot = add_slot(b);
    if (!slot) return -1;
    ZI_REQUIRE(tier != ZI_TIER_NVME);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(slot->name, sizeof slot->name, format, arguments);
    va_end(arguments);
    slot->tier = tier;
    slot->purpose = purpose;
    slot->bytes = bytes;
    slot->lasting = purpose == PURPOSE_PARAMETER || purpose == PURPOSE_OPTIMIZER;
    /* Any slot can take part in direct I/O, and successive ones start at different offsets within a
     * page: streams that are a power of two apart halve the speed of the optimizer. */
    size_t start = whole_blocks(p->pool_bytes[tier]);
    start += (size_t)(p->slot_count % 7) * TIER_STORE_ALIGNMENT;
    slot->offset = start;
    p->pool_bytes[tier] = start + whole_blocks(bytes);
    return p->slot_count - 1;
}

static struct tier_array *add_array(struct builder *b)
{
    struct program *p = b->program;
    if (b->status < 0) return NULL;
    if (p->array_count == p->array_capacity) {
        int capacity = p->array_capacity ? 2 * p->array_capacity : 256;
        struct tier_array *grown = realloc(p->arrays, (size_t)capacity * sizeof *grown);
        if (!grown) {
            b->status = zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for %d arrays", capacity);
            return NULL;
        }
        p->arrays = grown;
        p->array_capacity = capacity;
    }
    struct tier_array *array = &p->arrays[p->array_count++];
    memset(array, 0, sizeof *array);
    return array;
}

int builder_array(struct builder *b, const struct builder_array *array)
{
    struct program *p = b->program;
    struct tier_array *made = add_array(b);
    if (!made) return -1;
    snprintf(made->name, sizeof made->name, "%s/%s", array->kind, array->name);
    made->type = array->type;
    made->bytes = array->bytes;
    int first = p->slot_count;
    for (size_t at = 0; at < array->bytes; at += array->slice) {
        struct program_slot *slot = add_slot(b);
        if (!slot) return -1;
        size_t rest = array->bytes - at;
        snprintf(slot->name, sizeof slot->name, "%s %s", array->kind, array->name);
        slot->tier = ZI_TIER_NVME;
        slot->purpose = array->purpose;
        slot->bytes = rest < array->slice ? rest : array->slice;
        slot->lasting = array->purpose != PURPOSE_ACTIVATION;
        slot->array = p->array_count - 1;
        slot->offset = at;
        p->pool_bytes[ZI_TIER_NVME] += whole_blocks(slot->bytes);
    }
    return first;
}

struct program_op builder_op(enum program_kind kind, enum program_lane lane)
{
    struct program_op op = {.kind = kind, .lane = lane, .op = -1, .unit = -1, .micro = -1};
    for (int role = 0; role < ROLE_COUNT; role++) {
        op.slots[role] = -1;
    }
    for (int l = 0; l < LANE_COUNT; l++) {
        op.after[l] = -1;
    }
    return op;
}

void op_reads(struct program_op *op, int role, int slot)
{
    op->slots[role] = slot;
    if (slot >= 0) op->reads |= 1u << role;
}

void op_writes(struct program_op *op, int role, int slot)
{
    op->slots[role] = slot;
    if (slot >= 0) op->writes |= 1u << role;
}

void builder_begin(struct builder *b, enum program_name name)
{
    if (b->status < 0) return;
    size_t slots = (size_t)b->program->slot_count;
    b->list = &b->program->lists[name];
    free(b->last_write);
    free(b->last_read);
    b->last_write = malloc(slots * sizeof *b->last_write);
    b->last_read = malloc(slots * sizeof *b->last_read);
    if (!b->last_write || !b->last_read) {
        b->status = zi_fail(ZI_ERROR_DEVICE, "zero", "no memory to compile a program");
        return;
    }
    memset(b->last_write, 0xff, slots * sizeof *b->last_write);
    memset(b->last_read, 0xff, slots * sizeof *b->last_read);
    b->name = name;
}

bool program_lane_is_disk(enum program_lane lane)
{
    return lane == LANE_DISK_READ || lane == LANE_DISK_WRITE;
}

static void wait_for(const struct program_list *list, struct program_op *op, int earlier)
{
    if (earlier < 0) return;
    enum program_lane lane = list->ops[earlier].lane;
    if (lane == op->lane && !program_lane_is_disk(lane)) return;
    if (op->after[lane] < earlier) op->after[lane] = earlier;
}

/* Finds what the operation has to wait for from the slots that it touches. */
static void find_dependencies(const struct builder *b, struct program_op *op)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        int slot = op->slots[role];
        if (slot < 0) continue;
        wait_for(b->list, op, b->last_write[slot]);
        if (!(op->writes >> role & 1u)) continue;
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            wait_for(b->list, op, b->last_read[slot][lane]);
        }
    }
    if (b->config->prefetch == 0) wait_for(b->list, op, b->list->count - 1);
}

void builder_emit(struct builder *b, const struct program_op *op)
{
    if (b->status < 0) return;
    struct program_list *list = b->list;
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 256;
        struct program_op *grown = realloc(list->ops, (size_t)capacity * sizeof *grown);
        if (!grown) {
            b->status = zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for %d operations", capacity);
            return;
        }
        list->ops = grown;
        list->capacity = capacity;
    }
    int index = list->count;
    list->ops[index] = *op;
    find_dependencies(b, &list->ops[index]);
    list->count++;
    for (int role = 0; role < ROLE_COUNT; role++) {
        int slot = op->slots[role];
        if (slot < 0) continue;
        if (op->writes >> role & 1u) {
            b->last_write[slot] = index;
            for (int lane = 0; lane < LANE_COUNT; lane++) {
                b->last_read[slot][lane] = -1;
            }
        } else {
            b->last_read[slot][op->lane] = index;
        }
    }
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

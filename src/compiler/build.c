/* SPDX-License-Identifier: Apache-2.0 */
/* What programs are written with: slots, operations, and the dependencies between them.
 *
 * Dependencies are not written by hand: an operation names the slots that it reads and writes, and
 * builder_emit finds, among the operations before it, the last writer of what it reads (true
 * dependence), and the last writer and readers of what it writes (output and anti-dependence). As
 * lanes run in order, the latest such operation of each other lane is all it has to wait for. Disk
 * lanes have several operations in flight, so there those of the own lane count too. With prefetch
 * 0 an operation waits for the one before it, whatever its lane. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compiler/compile.h"

static size_t whole_blocks(size_t bytes)
{
    return (bytes + TIER_STORE_BLOCK - 1) / TIER_STORE_BLOCK * TIER_STORE_BLOCK;
}

/* What builder_memory has given, behind the link to what it gave before. */
struct builder_block {
    struct builder_block *next;
    max_align_t bytes[];
};

void *builder_memory(struct builder *b, size_t count, size_t size)
{
    if (b->status < 0) return NULL;
    struct builder_block *block = calloc(1, sizeof *block + count * size);
    if (!block) {
        b->status = zi_fail(ZI_ERROR_DEVICE, "compiler",
                            "no memory to compile a program of %d operations", b->model->op_count);
        return NULL;
    }
    block->next = b->blocks;
    b->blocks = block;
    return block->bytes;
}

int *builder_numbers(struct builder *b, int count)
{
    int *all = builder_memory(b, (size_t)count, sizeof *all);
    if (all) memset(all, 0xff, (size_t)count * sizeof *all);
    return all;
}

void builder_free(struct builder *b)
{
    while (b->blocks) {
        struct builder_block *next = b->blocks->next;
        free(b->blocks);
        b->blocks = next;
    }
    free(b->writer.last_write);
    free(b->writer.last_read);
}

static struct program_slot *add_slot(struct builder *b)
{
    struct program *p = b->program;
    if (b->status < 0) return NULL;
    if (p->slot_count == p->slot_capacity) {
        int capacity = p->slot_capacity ? 2 * p->slot_capacity : 256;
        struct program_slot *grown = realloc(p->slots, (size_t)capacity * sizeof *grown);
        if (!grown) {
            b->status = zi_fail(ZI_ERROR_DEVICE, "compiler", "no memory for %d slots", capacity);
            return NULL;
        }
        p->slots = grown;
        p->slot_capacity = capacity;
    }
    struct program_slot *slot = &p->slots[p->slot_count++];
    memset(slot, 0, sizeof *slot);
    slot->array = slot->twin = -1;
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
            b->status = zi_fail(ZI_ERROR_DEVICE, "compiler", "no memory for %d arrays", capacity);
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

bool slot_is_on_disk(const struct builder *b, int slot)
{
    return slot >= 0 && b->program->slots[slot].tier == ZI_TIER_NVME;
}

struct program_op builder_op(enum program_kind kind)
{
    struct program_op op = {.kind = kind, .op = -1, .unit = -1, .micro = -1};
    for (int operand = 0; operand < OPERAND_COUNT; operand++) {
        op.slots[operand] = -1;
    }
    for (int l = 0; l < LANE_COUNT; l++) {
        op.after[l] = -1;
    }
    return op;
}

void op_reads(struct program_op *op, int operand, int slot)
{
    op->slots[operand] = slot;
    if (slot >= 0) op->reads |= UINT64_C(1) << operand;
}

void op_writes(struct program_op *op, int operand, int slot)
{
    op->slots[operand] = slot;
    if (slot >= 0) op->writes |= UINT64_C(1) << operand;
}

void op_changes(struct program_op *op, int operand, int slot)
{
    op_reads(op, operand, slot);
    op_writes(op, operand, slot);
}

void builder_begin(struct builder *b, enum program_name name)
{
    if (b->status < 0) return;
    size_t slots = (size_t)b->program->slot_count;
    b->writer.list = &b->program->lists[name];
    free(b->writer.last_write);
    free(b->writer.last_read);
    b->writer.last_write = malloc(slots * sizeof *b->writer.last_write);
    b->writer.last_read = malloc(slots * sizeof *b->writer.last_read);
    if (!b->writer.last_write || !b->writer.last_read) {
        b->status = zi_fail(ZI_ERROR_DEVICE, "compiler", "no memory to compile a program");
        return;
    }
    memset(b->writer.last_write, 0xff, slots * sizeof *b->writer.last_write);
    memset(b->writer.last_read, 0xff, slots * sizeof *b->writer.last_read);
    b->writer.name = name;
}

bool list_is_training(const struct builder *b)
{
    return program_row(b->writer.name)->trains;
}

/* Number of the lowest bit that is set. */
static int first_bit(uint64_t bits)
{
    return __builtin_ctzll(bits);
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
    for (uint64_t left = op->reads | op->writes; left; left &= left - 1) {
        int operand = first_bit(left), slot = op->slots[operand];
        wait_for(b->writer.list, op, b->writer.last_write[slot]);
        if (!(op->writes >> operand & 1u)) continue;
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            wait_for(b->writer.list, op, b->writer.last_read[slot][lane]);
        }
    }
    if (b->config->prefetch == 0) wait_for(b->writer.list, op, b->writer.list->count - 1);
}

void builder_emit(struct builder *b, const struct program_op *op)
{
    if (b->status < 0) return;
    struct program_list *list = b->writer.list;
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 256;
        struct program_op *grown = realloc(list->ops, (size_t)capacity * sizeof *grown);
        if (!grown) {
            b->status =
                zi_fail(ZI_ERROR_DEVICE, "compiler", "no memory for %d operations", capacity);
            return;
        }
        list->ops = grown;
        list->capacity = capacity;
    }
    int index = list->count;
    list->ops[index] = *op;
    list->ops[index].speculative = b->writer.speculates;
    op = &list->ops[index];
    program_op_complete(b->program, &list->ops[index]);
    find_dependencies(b, &list->ops[index]);
    list->count++;
    for (uint64_t left = op->reads | op->writes; left; left &= left - 1) {
        int operand = first_bit(left), slot = op->slots[operand];
        if (op->writes >> operand & 1u) {
            b->writer.last_write[slot] = index;
            for (int lane = 0; lane < LANE_COUNT; lane++) {
                b->writer.last_read[slot][lane] = -1;
            }
        } else {
            b->writer.last_read[slot][op->lane] = index;
        }
    }
}

void builder_move(struct builder *b, struct program_op *op, const struct slice *from,
                  const struct slice *to)
{
    if (b->status < 0) return;
    op->length = from->bytes < to->bytes ? from->bytes : to->bytes;
    op_reads(op, OPERAND_FROM, from->slot);
    op_writes(op, OPERAND_TO, to->slot);
    op->offsets[OPERAND_FROM] = from->offset;
    op->offsets[OPERAND_TO] = to->offset;
    op->per_rank[OPERAND_FROM] = from->per_rank;
    op->per_rank[OPERAND_TO] = to->per_rank;
    builder_emit(b, op);
}

void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to)
{
    struct program_op op = builder_op(kind);
    op.unit = unit;
    builder_move(b, &op, from, to);
}

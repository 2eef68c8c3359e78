/* SPDX-License-Identifier: Apache-2.0 */
/* Proves a program sound without running it, and without using how it was compiled.
 *
 * Each operation gets a vector clock: how many operations of each lane are certainly done when it
 * starts. A lane runs in order, so an operation knows what its predecessor in the lane knew, the
 * predecessor itself, and the same of every operation that it waits for. Two operations that
 * conflict over a slot (one of them writes it) must be ordered by these clocks. Because lanes are
 * in order it is enough to look at the latest conflicting operation of each lane. A disk lane
 * starts its operations in order and tells their ends in order, but has several in flight: an
 * operation knows what its predecessor knew when that started, not that it is done.
 *
 * Before that, each operation is held to the row of its kind (operands.c). */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "program/program.h"

struct clock {
    /* Index + 1 of the latest operation of the lane that is done. */
    int done[LANE_COUNT];
};

struct access {
    /* Last writer, or -1. */
    int write;
    /* Latest reader of each lane since then, or -1. */
    int reads[LANE_COUNT];
    bool filled;
};

struct checker {
    const struct program *program;
    const struct program_list *list;
    enum program_name name;
    struct clock *clocks;
    /* Per slot. */
    struct access *accesses;
};

static enum zi_status unordered(const struct checker *c, int earlier, int later, int slot)
{
    const struct program_op *a = &c->list->ops[earlier], *b = &c->list->ops[later];
    return zi_fail(ZI_ERROR_BUG, "program",
                   "program %d: operation %d (%s, lane %s) may run before %d (%s, lane %s) is done "
                   "with slot %s",
                   (int)c->name, later, program_kind_name(b->kind), program_lane_name(b->lane),
                   earlier, program_kind_name(a->kind), program_lane_name(a->lane),
                   c->program->slots[slot].name);
}

static bool is_done(const struct checker *c, int earlier, int later)
{
    return earlier < 0 || c->clocks[later].done[c->list->ops[earlier].lane] > earlier;
}

static enum zi_status advance_clock(struct checker *c, int index, int latest[LANE_COUNT])
{
    const struct program_op *op = &c->list->ops[index];
    struct clock *clock = &c->clocks[index];
    memset(clock, 0, sizeof *clock);
    bool disk = program_lane_is_disk(op->lane);
    if (disk && latest[op->lane] >= 0) *clock = c->clocks[latest[op->lane]];
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        int before = lane == (int)op->lane && !disk ? latest[lane] : op->after[lane];
        if (before < 0) continue;
        if (before >= index || (int)c->list->ops[before].lane != lane) {
            return zi_fail(ZI_ERROR_BUG, "program",
                           "program %d: operation %d (%s) waits for %d, which is not an earlier "
                           "one of lane %s",
                           (int)c->name, index, program_kind_name(op->kind), before,
                           program_lane_name((enum program_lane)lane));
        }
        for (int l = 0; l < LANE_COUNT; l++) {
            if (clock->done[l] < c->clocks[before].done[l])
                clock->done[l] = c->clocks[before].done[l];
        }
        if (clock->done[lane] < before + 1) clock->done[lane] = before + 1;
    }
    latest[op->lane] = index;
    return ZI_OK;
}

static enum zi_status check_slot(struct checker *c, int index, int operand)
{
    const struct program_op *op = &c->list->ops[index];
    int slot = op->slots[operand];
    bool writes = op->writes >> operand & 1u, reads = op->reads >> operand & 1u;
    if (slot >= c->program->slot_count || (!reads && !writes)) {
        return zi_fail(ZI_ERROR_BUG, "program",
                       "program %d: operation %d (%s) names slot %d for nothing", (int)c->name,
                       index, program_kind_name(op->kind), slot);
    }
    struct access *access = &c->accesses[slot];
    if (reads && !access->filled) {
        return zi_fail(ZI_ERROR_BUG, "program",
                       "program %d: operation %d (%s) reads slot %s, which nothing has filled",
                       (int)c->name, index, program_kind_name(op->kind),
                       c->program->slots[slot].name);
    }
    if (!is_done(c, access->write, index)) return unordered(c, access->write, index, slot);
    for (int lane = 0; writes && lane < LANE_COUNT; lane++) {
        int reader = access->reads[lane];
        if (reader != index && !is_done(c, reader, index)) return unordered(c, reader, index, slot);
    }
    return ZI_OK;
}

static void note_access(struct checker *c, int index, int operand)
{
    const struct program_op *op = &c->list->ops[index];
    struct access *access = &c->accesses[op->slots[operand]];
    if (op->writes >> operand & 1u) {
        access->write = index;
        access->filled = true;
        memset(access->reads, 0xff, sizeof access->reads);
    } else {
        access->reads[op->lane] = index;
    }
}

static enum zi_status check_list(struct checker *c)
{
    int latest[LANE_COUNT];
    memset(latest, 0xff, sizeof latest);
    for (int s = 0; s < c->program->slot_count; s++) {
        c->accesses[s].write = -1;
        memset(c->accesses[s].reads, 0xff, sizeof c->accesses[s].reads);
        c->accesses[s].filled = c->program->slots[s].lasting;
    }
    for (int i = 0; i < c->list->count; i++) {
        ZI_TRY(advance_clock(c, i, latest));
        ZI_TRY(program_op_check(c->program, &c->list->ops[i], i));
        for (int operand = 0; operand < OPERAND_COUNT; operand++) {
            if (c->list->ops[i].slots[operand] >= 0) ZI_TRY(check_slot(c, i, operand));
        }
        for (int operand = 0; operand < OPERAND_COUNT; operand++) {
            if (c->list->ops[i].slots[operand] >= 0) note_access(c, i, operand);
        }
    }
    return ZI_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct program_slot *a = *(const struct program_slot *const *)left;
    const struct program_slot *b = *(const struct program_slot *const *)right;
    if (a->tier != b->tier) return a->tier < b->tier ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

static enum zi_status check_places(const struct program *program)
{
    size_t count = 0;
    const struct program_slot **sorted = malloc(((size_t)program->slot_count + 1) * sizeof *sorted);
    if (!sorted)
        return zi_fail(ZI_ERROR_DEVICE, "program", "no memory to check %d slots",
                       program->slot_count);
    for (int s = 0; s < program->slot_count; s++) {
        if (program->slots[s].tier != ZI_TIER_NVME) sorted[count++] = &program->slots[s];
    }
    qsort(sorted, count, sizeof *sorted, by_place);
    enum zi_status status = ZI_OK;
    for (size_t s = 0; s < count && status >= 0; s++) {
        const struct program_slot *a = sorted[s], *next = s + 1 < count ? sorted[s + 1] : NULL;
        size_t limit = next && next->tier == a->tier ? next->offset : program->pool_bytes[a->tier];
        if (a->offset + a->bytes > limit) {
            status =
                zi_fail(ZI_ERROR_BUG, "program", "slot %s reaches into what follows it", a->name);
        }
    }
    free(sorted);
    return status;
}

enum zi_status program_check(const struct program *program)
{
    ZI_TRY(check_places(program));
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        size_t excess = program_excess(program, (enum zi_tier)tier);
        if (excess > 0) {
            return zi_fail(ZI_ERROR_FIT, "program",
                           "the program needs %zu bytes more than the %s budget", excess,
                           zi_tier_name((enum zi_tier)tier));
        }
    }
    struct checker c = {.program = program};
    c.accesses = malloc((size_t)(program->slot_count + 1) * sizeof *c.accesses);
    enum zi_status status = ZI_OK;
    for (int name = 0; name < PROGRAM_COUNT && status >= 0; name++) {
        c.name = (enum program_name)name;
        c.list = &program->lists[name];
        c.clocks = malloc((size_t)(c.list->count + 1) * sizeof *c.clocks);
        if (!c.clocks || !c.accesses) {
            status = zi_fail(ZI_ERROR_DEVICE, "program",
                             "no memory to check a program of %d operations", c.list->count);
        } else {
            status = check_list(&c);
        }
        free(c.clocks);
    }
    free(c.accesses);
    return status;
}

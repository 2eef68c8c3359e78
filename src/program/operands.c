/* SPDX-License-Identifier: Apache-2.0 */
/* Holds an operation to the row of its kind: it has the operands that the row names and no others,
 * does with each what the row says, finds each in a tier that the row allows and as large as the
 * row says, runs in the row's lane and costs what the row says. */
#include "base/log.h"
#include "program/row.h"

static enum zi_status differs(const struct program_op *op, int index, const struct operand_row *row,
                              const char *what)
{
    return zi_fail(ZI_ERROR_BUG, "program", "operation %d (%s): operand %s %s", index,
                   program_kind_name(op->kind), program_operand_name(row->operand), what);
}

static size_t type_bytes(const struct program *p, const struct operand_row *row, int number,
                         int unit, int64_t count)
{
    switch (row->type) {
    case TYPE_COMPUTE:
        return zi_dtype_size(p->config.compute, count);
    case TYPE_STATE:
        return program_state_bytes(p, (enum tier_kind)(row->operand - OPERAND_STATE + number),
                                   count);
    case TYPE_WEIGHTS:
        return program_state_bytes(p, program_weights(p, unit), count);
    case TYPE_FP32:
    case TYPE_INT32:
        return (size_t)count * sizeof(float);
    default:
        return (size_t)count;
    }
}

/* Bytes of an operand; `number` is which of several. 0 where the row does not say. */
static size_t extent_bytes(const struct program *p, const struct program_op *op,
                           const struct operand_row *row, int number)
{
    const struct partition_unit *units = p->partition->units;
    int unit = op->op >= 0 ? p->model->ops[op->op].units[number] : op->unit;
    switch (row->extent) {
    case EXTENT_MOVED:
        return op->length;
    case EXTENT_GROUP:
        return type_bytes(p, row, number, unit, op->count);
    case EXTENT_SHARD:
        return type_bytes(p, row, number, unit, units[unit].shard);
    case EXTENT_UNIT:
        return type_bytes(p, row, number, unit, units[unit].padded);
    case EXTENT_OWN:
        return type_bytes(p, row, number, unit, program_elements(p, unit, TIER_GRADIENT));
    case EXTENT_SUMMED:
        return type_bytes(p, row, number, unit, program_elements(p, unit, TIER_SUM));
    default:
        return 0;
    }
}

static bool tier_is_right(const struct program *p, const struct program_op *op, unsigned tiers,
                          enum zi_tier tier)
{
    unsigned bit = tier == ZI_TIER_DEVICE ? IN_DEVICE : tier == ZI_TIER_HOST ? IN_HOST : IN_STORE;
    if (!(tiers & IN_REACH)) return tiers & bit;
    if (tier == ZI_TIER_NVME) return false;
    if (p->config.unified) return true;
    return (tier == ZI_TIER_HOST) == program_lane_is_hosts(op->lane);
}

static bool access_is_right(unsigned access, bool reads, bool writes)
{
    switch (access & ACCESS_MASK) {
    case ACCESS_READ:
        return reads && !writes;
    case ACCESS_WRITE:
        return writes && !reads;
    case ACCESS_CHANGE:
        return reads && writes;
    case ACCESS_ADD:
        return writes;
    default:
        return reads || writes;
    }
}

/* Operand `number` of a row; gives whether the operation has it. */
static enum zi_status check_operand(const struct program *p, const struct program_op *op, int index,
                                    const struct operand_row *row, int number)
{
    int operand = (int)row->operand + number, place = op->slots[operand];
    if (place < 0 || place >= p->slot_count) {
        bool needed = !(row->access & (OPTIONAL | SEVERAL));
        if (row->access & STATES)
            needed =
                !(row->access & OPTIONAL) && zero_has(&p->config, (enum tier_kind)number, true);
        return place >= 0 || needed ? differs(op, index, row, "is missing") : ZI_OK;
    }
    const struct program_slot *slot = &p->slots[place];
    bool reads = op->reads >> operand & 1u, writes = op->writes >> operand & 1u;
    if (!access_is_right(row->access, reads, writes))
        return differs(op, index, row, "is not read and written as its row says");
    if (!tier_is_right(p, op, row->tiers, slot->tier))
        return differs(op, index, row, "is in a tier that its row does not allow");
    size_t last = (size_t)(p->config.ranks - 1) * op->per_rank[operand];
    if (op->offsets[operand] + last + extent_bytes(p, op, row, number) > slot->bytes)
        return differs(op, index, row, "reaches beyond its slot");
    return ZI_OK;
}

/* A speculative update leaves everything as it is but the next generation, which nothing else writes
 * and nothing reads: the update that is made when it does not hold finds all states of the step. */
static enum zi_status check_generation(const struct program *p, const struct program_op *op,
                                       int index, int operand)
{
    const struct program_slot *slot = &p->slots[op->slots[operand]];
    bool home = slot->purpose == PURPOSE_PARAMETER || slot->purpose == PURPOSE_OPTIMIZER;
    bool reads = op->reads >> operand & 1u, writes = op->writes >> operand & 1u;
    const char *name = program_operand_name((enum program_operand)operand);
    if (slot->next && (reads || !op->speculative))
        return zi_fail(ZI_ERROR_BUG, "program",
                       "operation %d (%s): operand %s is in the next generation of %s, which is "
                       "written by speculative updates and by nothing else",
                       index, program_kind_name(op->kind), name, slot->name);
    if (op->speculative && writes && home && !slot->next)
        return zi_fail(ZI_ERROR_BUG, "program",
                       "operation %d (%s): operand %s of a speculative update writes %s in place",
                       index, program_kind_name(op->kind), name, slot->name);
    return ZI_OK;
}

static int row_count(const struct program *p, const struct program_op *op,
                     const struct operand_row *row)
{
    if (row->access & STATES) return TIER_KIND_COUNT;
    if (!(row->access & SEVERAL)) return 1;
    return op->op >= 0 ? p->model->ops[op->op].unit_count : 0;
}

static enum zi_status check_rule(const struct program *p, const struct program_op *op, int index)
{
    struct program_op again = *op;
    program_op_complete(p, &again);
    if (again.lane != op->lane)
        return zi_fail(ZI_ERROR_BUG, "program", "operation %d (%s) is in lane %s; its row says %s",
                       index, program_kind_name(op->kind), program_lane_name(op->lane),
                       program_lane_name(again.lane));
    if (again.bytes != op->bytes || again.flops != op->flops)
        return zi_fail(ZI_ERROR_BUG, "program",
                       "operation %d (%s) costs %zu bytes and %.0f FLOPs; its row says %zu and "
                       "%.0f",
                       index, program_kind_name(op->kind), op->bytes, op->flops, again.bytes,
                       again.flops);
    return ZI_OK;
}

enum zi_status program_op_check(const struct program *program, const struct program_op *op,
                                int index)
{
    const struct kind_row *kind = program_kind_row(op->kind);
    uint64_t known = 0;
    for (int i = 0; i < ROW_OPERANDS && kind->operands[i].access; i++) {
        const struct operand_row *row = &kind->operands[i];
        int count = row_count(program, op, row);
        for (int number = 0; number < count; number++) {
            if (row->access & STATES && !row_has_state((enum tier_kind)number)) continue;
            known |= UINT64_C(1) << ((int)row->operand + number);
            ZI_TRY(check_operand(program, op, index, row, number));
        }
    }
    for (int operand = 0; operand < OPERAND_COUNT; operand++) {
        bool named = op->slots[operand] >= 0 || (op->reads | op->writes) >> operand & 1u;
        if (op->slots[operand] >= 0) ZI_TRY(check_generation(program, op, index, operand));
        if (!named || known >> operand & 1u) continue;
        return zi_fail(ZI_ERROR_BUG, "program", "operation %d (%s) has no operand %s in its row",
                       index, program_kind_name(op->kind),
                       program_operand_name((enum program_operand)operand));
    }
    return check_rule(program, op, index);
}

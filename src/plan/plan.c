/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over a program, and the balance of arithmetic and I/O.
 *
 * A run counts the bytes of each operation that it executes, so the traffic of a step is known
 * before: it is the sum over the list. Nothing is estimated here.
 *
 * The balance needs to know what of a step grows with its tokens. The program says it best: with
 * twice the sequences in each micro-batch it has the same operations on larger slots, so these are
 * laid out, each operation is costed again, and whatever has changed grows. That the larger slots
 * may not fit does not matter, as they are only looked at. */
#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compiler/compiler.h"

enum program_name plan_step(const struct program *program)
{
    if (program->config.speculates) return PROGRAM_TRAIN_REST_SPECULATE;
    return program->config.deferred ? PROGRAM_TRAIN_UPDATE : PROGRAM_TRAIN;
}

enum program_name plan_save_step(const struct program *program)
{
    return program->config.deferred ? PROGRAM_TRAIN_UPDATE_SAVE : PROGRAM_TRAIN_SAVE;
}

void plan_traffic_sum(const struct program_list *list,
                      struct plan_traffic sums[LANE_COUNT][OP_KIND_COUNT])
{
    memset(sums, 0, LANE_COUNT * sizeof *sums);
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        struct plan_traffic *sum = &sums[op->lane][op->kind];
        sum->count++;
        sum->bytes += op->bytes;
        sum->flops += op->flops;
    }
}

/* Tokens at which two straight lines meet, of which the values at `tokens` and twice as many are
 * given; 0 when arithmetic is the longer at any number, INFINITY when I/O grows as fast. */
static double meet(const struct plan_load *once, const struct plan_load *twice, int lane,
                   double tokens)
{
    double io = once->lanes_s[lane], io_more = twice->lanes_s[lane] - io;
    double more = twice->arithmetic_s - once->arithmetic_s;
    double ahead = (io - io_more) - (once->arithmetic_s - more);
    if (io <= 0) return 0;
    return more <= io_more ? INFINITY : ahead <= 0 ? 0 : ahead / (more - io_more) * tokens;
}

/* Bytes of a slot that a move takes, from or to. */
static size_t move_bytes(const struct program *program, const struct program_op *op)
{
    size_t from = program->slots[op->slots[OPERAND_FROM]].bytes;
    size_t to = program->slots[op->slots[OPERAND_TO]].bytes;
    return from < to ? from : to;
}

/* The operation as part of a program whose slots are the same but for their sizes. */
static void cost_again(const struct program *program, const struct program *other,
                       struct program_op *op)
{
    bool moves = op->length > 0;
    if (moves && op->length == move_bytes(program, op)) op->length = move_bytes(other, op);
    program_op_complete(other, op);
}

/* Load of the program's step with twice the sequences. */
static enum zi_status load_of_twice(const struct program *program,
                                    const struct plan_machine *machine, struct plan_load *load)
{
    const struct program_list *list = &program->lists[plan_step(program)];
    struct zero_config config = program->config;
    struct program *twice;
    config.micro *= 2;
    config.global *= 2;
    ZI_TRY(program_measure(program->model, program->partition, &config, &twice));
    struct program_list again = {.count = list->count, .capacity = list->count};
    again.ops = malloc(((size_t)list->count + 1) * sizeof *again.ops);
    if (!again.ops) {
        program_destroy(twice);
        return zi_fail(ZI_ERROR_DEVICE, "plan", "no memory for %d operations", list->count);
    }
    for (int i = 0; i < list->count; i++) {
        again.ops[i] = list->ops[i];
        cost_again(program, twice, &again.ops[i]);
    }
    plan_load_of(&again, machine, load);
    free(again.ops);
    program_destroy(twice);
    return ZI_OK;
}

enum zi_status plan_balance_of(const struct program *program, const struct plan_machine *machine,
                               struct plan_balance *balance)
{
    double tokens = (double)(program->config.global * program->config.tokens);
    struct plan_load load;
    ZI_TRY(load_of_twice(program, machine, &load));
    plan_load_of(&program->lists[plan_step(program)], machine, &balance->load);
    balance->arithmetic_per_token = (load.arithmetic_s - balance->load.arithmetic_s) / tokens;
    balance->io_per_token = (load.io_s - balance->load.io_s) / tokens;
    balance->tokens = 0;
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        double met = meet(&balance->load, &load, lane, tokens);
        if (met > balance->tokens) balance->tokens = met;
    }
    return ZI_OK;
}

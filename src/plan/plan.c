/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over a program, and the balance of arithmetic and I/O.
 *
 * A run counts the bytes of each operation that it executes, so the traffic of a step is known
 * before: it is the sum over the list. Nothing is estimated here.
 *
 * The balance needs to know what of a step grows with its tokens. The program says it best: it is
 * compiled once more with twice the sequences in each micro-batch, and whatever has changed
 * grows. That the second program may not fit does not matter, as it is only looked at. */
#include "plan/plan.h"

#include <math.h>
#include <string.h>

enum program_name plan_step(const struct program *program)
{
    return program->config.deferred ? PROGRAM_TRAIN_UPDATE : PROGRAM_TRAIN;
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

enum zi_status plan_balance_of(const struct program *program, const struct plan_machine *machine,
                               struct plan_balance *balance)
{
    struct zero_config config = program->config;
    double tokens = (double)(config.global * config.tokens);
    struct program *twice;
    struct plan_load load;
    config.micro *= 2;
    config.global *= 2;
    ZI_TRY(program_compile(program->model, program->partition, &config, &twice));
    plan_load_of(&twice->lists[plan_step(twice)], machine, &load);
    program_destroy(twice);
    plan_load_of(&program->lists[plan_step(program)], machine, &balance->load);
    double arithmetic = balance->load.arithmetic_s, io = balance->load.io_s;
    balance->arithmetic_per_token = (load.arithmetic_s - arithmetic) / tokens;
    balance->io_per_token = (load.io_s - io) / tokens;
    /* a + b t of both, equal at t. */
    double ahead = (2 * io - load.io_s) - (2 * arithmetic - load.arithmetic_s);
    double faster = balance->arithmetic_per_token - balance->io_per_token;
    balance->tokens = faster <= 0 ? INFINITY : ahead <= 0 ? 0 : ahead / faster;
    return ZI_OK;
}

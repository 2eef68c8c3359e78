/* SPDX-License-Identifier: Apache-2.0 */
/* A program in virtual time on a described machine.
 *
 * The model is small on purpose. A lane runs its operations in order, one at a time; an operation
 * starts when its lane is free and all that it waits for (after[]) is done, as in the executor. It
 * lasts FLOPs / flops rate + bytes / rate of its lane (on the comm lane, of its collective). Lanes
 * do not slow each other, but for the
 * two of the disk: while both are busy, each has its part of the mixed rate (plan/machine.h), and
 * its own rate while the other is idle. There are no latencies, and no time to start an operation;
 * the rates that were measured contain what there is of both. Several requests in flight of one
 * disk lane share its rate, so they take as long as one after the other. */
#ifndef ZI_PLAN_SIMULATE_H
#define ZI_PLAN_SIMULATE_H

#include "plan/machine.h"

/* Of one operation; seconds from the start of the program. */
struct plan_span {
    /* Its lane is free; it starts; it is done */
    double ready_s, start_s, end_s;
};

struct plan_result {
    double seconds;
    double busy_s[LANE_COUNT];
    /* As engine_result.wait_s: the compute lane waits for that one */
    double wait_s[LANE_COUNT];
};

/* Local. Simulates a list; spans[0 .. list->count) is the caller's. ZI_ERROR_BUG when operations
 * wait for each other for ever. */
enum zi_status plan_simulate(const struct program_list *list, const struct plan_machine *machine,
                             struct plan_span *spans, struct plan_result *result);

/* What a list keeps busy when nothing waits. */
struct plan_load {
    /* Of the compute lane. */
    double arithmetic_s;
    /* Of the slowest of disk, links and comm, and which that is: LANE_DISK_READ for the disk,
     * LANE_COMPUTE for none. */
    double io_s;
    enum program_lane io_lane;
    /* Of each of them; 0 for the others. */
    double lanes_s[LANE_COUNT];
};

/* Local. The load of a list on a machine. */
void plan_load_of(const struct program_list *list, const struct plan_machine *machine,
                  struct plan_load *load);

#endif

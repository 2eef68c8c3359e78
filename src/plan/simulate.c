/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator: lanes as queues, time going from one end of an operation to the next.
 *
 * Most operations have a length that is known when they start, so their end is fixed then. Those of
 * the disk lanes do not: their rate changes when the other disk lane becomes busy or idle. They are
 * kept as bytes that are left, and go down at the present rate from event to event.
 *
 * Invariants: `now` never falls; an operation has an end (end_s >= 0) only when it is done; every
 * turn of the loop starts or ends an operation, so a turn that can do neither has found operations
 * that wait for each other. */
#include "plan/simulate.h"

#include <math.h>
#include <string.h>

#include "base/log.h"

struct lane_state {
    /* Operation that runs, or is the next to run; list->count = none */
    int next;
    bool busy;
    /* When the last one ended */
    double free_at;
    /* Of the running one; disk lanes: not known */
    double end;
    /* Disk lanes: bytes */
    double left;
};

struct simulation {
    const struct program_list *list;
    const struct plan_machine *machine;
    struct plan_span *spans;
    struct lane_state lanes[LANE_COUNT];
    double now;
};

static int next_of(const struct program_list *list, int lane, int from)
{
    while (from < list->count && (int)list->ops[from].lane != lane)
        from++;
    return from;
}

static double seconds_of(const struct program_op *op, const struct plan_machine *machine)
{
    double rate = machine->bytes_per_s[op->lane];
    if (op->kind == OP_REDUCE) rate = machine->reduce_bytes_per_s;
    return op->flops / machine->flops_per_s + (double)op->bytes / rate;
}

static bool can_start(const struct simulation *s, int index)
{
    const struct program_op *op = &s->list->ops[index];
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (op->after[lane] >= 0 && s->spans[op->after[lane]].end_s < 0) return false;
    }
    return true;
}

/* Starts what can start now; says whether anything did. */
static bool start_all(struct simulation *s)
{
    bool started = false;
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane_state *lane = &s->lanes[l];
        if (lane->busy || lane->next == s->list->count || !can_start(s, lane->next)) continue;
        const struct program_op *op = &s->list->ops[lane->next];
        s->spans[lane->next].ready_s = lane->free_at;
        s->spans[lane->next].start_s = s->now;
        lane->busy = started = true;
        lane->left = (double)op->bytes;
        lane->end = s->now + seconds_of(op, s->machine);
    }
    return started;
}

static double disk_rate(const struct simulation *s, int lane)
{
    bool both = s->lanes[LANE_DISK_READ].busy && s->lanes[LANE_DISK_WRITE].busy;
    return both ? plan_machine_mixed(s->machine, (enum program_lane)lane)
                : s->machine->bytes_per_s[lane];
}

static double end_of(const struct simulation *s, int lane)
{
    const struct lane_state *state = &s->lanes[lane];
    if (!state->busy) return INFINITY;
    return program_lane_is_disk((enum program_lane)lane) ? s->now + state->left / disk_rate(s, lane)
                                                         : state->end;
}

/* Goes to the next end of an operation; false when none is running. */
static bool advance(struct simulation *s)
{
    double ends[LANE_COUNT], then = INFINITY;
    for (int l = 0; l < LANE_COUNT; l++) {
        ends[l] = end_of(s, l);
        if (ends[l] < then) then = ends[l];
    }
    if (isinf(then)) return false;
    double rates[LANE_COUNT] = {0};
    rates[LANE_DISK_READ] = disk_rate(s, LANE_DISK_READ);
    rates[LANE_DISK_WRITE] = disk_rate(s, LANE_DISK_WRITE);
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane_state *lane = &s->lanes[l];
        if (!lane->busy) continue;
        if (ends[l] > then) {
            lane->left -= (then - s->now) * rates[l];
            if (lane->left < 0) lane->left = 0;
            continue;
        }
        s->spans[lane->next].end_s = lane->free_at = then;
        lane->busy = false;
        lane->next = next_of(s->list, l, lane->next + 1);
    }
    s->now = then;
    return true;
}

/* The executor asks lane after lane, so of several lanes the later ones are waited for only after
 * the earlier ones are done; and so does this. */
static void wait_for(double *at, int lane, double end, struct plan_result *result)
{
    if (end <= *at) return;
    result->wait_s[lane] += end - *at;
    *at = end;
}

static void sum_up(const struct simulation *s, struct plan_result *result)
{
    double at = 0;
    memset(result, 0, sizeof *result);
    for (int i = 0; i < s->list->count; i++) {
        const struct program_op *op = &s->list->ops[i];
        result->busy_s[op->lane] += s->spans[i].end_s - s->spans[i].start_s;
        if (op->lane != LANE_COMPUTE) continue;
        at = s->spans[i].ready_s;
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            if (op->after[lane] >= 0) wait_for(&at, lane, s->spans[op->after[lane]].end_s, result);
        }
        at = s->spans[i].end_s;
    }
    for (int lane = 0; lane < LANE_COUNT; lane++)
        wait_for(&at, lane, s->lanes[lane].free_at, result);
    result->seconds = at;
}

enum zi_status plan_simulate(const struct program_list *list, const struct plan_machine *machine,
                             struct plan_span *spans, struct plan_result *result)
{
    struct simulation s = {.list = list, .machine = machine, .spans = spans};
    for (int i = 0; i < list->count; i++)
        spans[i] = (struct plan_span){0, 0, -1};
    for (int l = 0; l < LANE_COUNT; l++)
        s.lanes[l].next = next_of(list, l, 0);
    bool moves = true;
    while (moves) {
        moves = start_all(&s);
        moves = advance(&s) || moves;
    }
    for (int l = 0; l < LANE_COUNT; l++) {
        int stuck = s.lanes[l].next;
        if (stuck < list->count)
            return zi_fail(ZI_ERROR_BUG, "plan", "operation %d (%s) of the program never starts",
                           stuck, program_kind_name(list->ops[stuck].kind));
    }
    sum_up(&s, result);
    return ZI_OK;
}

/* Both directions of the disk from the start, and the rest of the longer one alone. */
static double disk_seconds(const double bytes[LANE_COUNT], const struct plan_machine *machine)
{
    double read = bytes[LANE_DISK_READ] / plan_machine_mixed(machine, LANE_DISK_READ);
    double write = bytes[LANE_DISK_WRITE] / plan_machine_mixed(machine, LANE_DISK_WRITE);
    enum program_lane longer = read > write ? LANE_DISK_READ : LANE_DISK_WRITE;
    double both = read < write ? read : write;
    double left = bytes[longer] - both * plan_machine_mixed(machine, longer);
    return both + (left > 0 ? left / machine->bytes_per_s[longer] : 0);
}

void plan_load_of(const struct program_list *list, const struct plan_machine *machine,
                  struct plan_load *load)
{
    double bytes[LANE_COUNT] = {0}, seconds[LANE_COUNT] = {0};
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        bytes[op->lane] += (double)op->bytes;
        seconds[op->lane] += seconds_of(op, machine);
    }
    seconds[LANE_DISK_READ] = disk_seconds(bytes, machine);
    *load = (struct plan_load){.arithmetic_s = seconds[LANE_COMPUTE], .io_lane = LANE_COMPUTE};
    seconds[LANE_DISK_WRITE] = 0;
    for (int l = 0; l < LANE_COUNT; l++) {
        enum program_lane lane = (enum program_lane)l;
        enum program_medium medium = program_lane_row(lane)->medium;
        if (medium == MEDIUM_DEVICE || medium == MEDIUM_MEMORY) continue;
        load->lanes_s[l] = seconds[l];
        if (seconds[l] <= load->io_s) continue;
        load->io_s = seconds[l];
        load->io_lane = lane;
    }
}

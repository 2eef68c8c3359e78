/* SPDX-License-Identifier: Apache-2.0 */
/* What a run would need and how long it would take, from its compiled program alone: nothing is
 * run, and none of the memory of the model is allocated. */
#ifndef ZI_PLAN_PLAN_H
#define ZI_PLAN_PLAN_H

#include <stdio.h>

#include "plan/simulate.h"

struct plan_traffic {
    /* Operations */
    int64_t count;
    size_t bytes;
    double flops;
};

/* Local. The list of a training step in the steady state: with a pending update where updates are
 * deferred. */
enum program_name plan_step(const struct program *program);

/* Local. The same step with a checkpoint laid over it. */
enum program_name plan_save_step(const struct program *program);

/* Local. Sums of a list per lane and kind: exactly what a run of it counts. */
void plan_traffic_sum(const struct program_list *list,
                      struct plan_traffic sums[LANE_COUNT][OP_KIND_COUNT]);

/* When arithmetic is as long as I/O. Both are a + b * tokens per step: b comes from the sequences
 * (arithmetic; kept inputs that move), a from what is done once a step (parameters, gradients,
 * optimizer). */
struct plan_balance {
    /* Of the step as it is */
    struct plan_load load;
    /* b, seconds */
    double arithmetic_per_token, io_per_token;
    /* b*: arithmetic is longer above it; 0 when it is at any number; INFINITY when I/O grows with
     * tokens as fast as arithmetic */
    double tokens;
};

/* Local. Compares the program with itself at twice the sequences per micro-batch. */
enum zi_status plan_balance_of(const struct program *program, const struct plan_machine *machine,
                               struct plan_balance *balance);

/* What the search needs to compile other sizes of a deck's model. */
struct plan_deck {
    const char *text, *name;
    size_t bytes;
    /* "section.key=value" */
    const char *const *sets;
    int set_count;
    const struct device_properties *device;
    /* Resolved, with the budgets */
    const struct zero_config *config;
    /* The deck as it is */
    bool fits;
};

enum plan_growth {
    PLAN_DEEPER, /* more layers of this width */
    PLAN_WIDER   /* so many layers, wider by heads of 64 */
};

struct plan_largest {
    int64_t layers, hidden, heads;
    /* 0: not even this smallest one fits */
    int64_t parameters;
    /* The next larger one does not fit; else the search ended at what a deck may say */
    bool bounded;
};

/* Local. The largest model of the deck's shape that a run would fit into the budgets of device,
 * host and nvme, `auto` choosing tiers and tiles as it does for a run; found by measuring
 * candidates. */
enum zi_status plan_largest(const struct plan_deck *deck, enum plan_growth growth,
                            struct plan_largest *largest);

/* Local. The parts of `zinf plan`'s output: first, what memory it takes of each budget. */
void plan_print_fit(const struct program *program, FILE *out);

/* Local. What the ranks of a node take together, and what the node has as far as it is described;
 * nothing for one rank of a node that is not. */
void plan_print_node(const struct program *program, const struct plan_node *node, FILE *out);

/* Local. What a step moves and computes, per lane. */
void plan_print_traffic(const struct program *program, FILE *out);

/* Local. How long a step takes on the machine, and what it waits for. */
void plan_print_time(const struct program *program, const struct plan_machine *machine,
                     const struct plan_result *result, FILE *out);

/* Local. What a checkpoint is, what share of the disk its rate is, where the node's rates of both are
 * known, and how long it makes the step over which it is laid: `over` instead of `result`. */
void plan_print_save(const struct program *program, const struct plan_node *node,
                     const struct plan_result *result, const struct plan_result *over, FILE *out);

/* Local. The tokens per step at which arithmetic is as long as I/O. */
void plan_print_balance(const struct program *program, const struct plan_balance *balance,
                        FILE *out);

/* Local. A picture (SVG) of a list on the assumed machine. ZI_ERROR_IO when `out` cannot be
 * written. */
enum zi_status plan_draw(const struct program *program, enum program_name name, FILE *out);

/* Local. The simulated operations of a list as Chrome trace events, in the rows that
 * program/trace.h gives a real run. ZI_ERROR_IO when `out` cannot be written. */
enum zi_status plan_trace(const struct program *program, enum program_name name,
                          const struct plan_span *spans, FILE *out);

#endif

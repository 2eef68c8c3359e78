/* SPDX-License-Identifier: Apache-2.0 */
/* A trace: when each operation of some steps ran, in which lane, and what it waited for. Written as
 * Chrome trace events, one process per rank, one row per lane (opens in Perfetto). The simulator
 * writes the same rows in virtual time. */
#ifndef ZI_PROGRAM_TRACE_H
#define ZI_PROGRAM_TRACE_H

#include <stdio.h>

#include "program/program.h"

struct trace;

/* The first step (counted from 0) that a run traces: those before it warm up. */
enum { TRACE_FIRST_STEP = 2 };

struct trace_event {
    enum program_name program;
    /* Index in the program's list. */
    int op;
    /* Asked for, started (after waiting), done; one clock. */
    double ready_s, start_s, end_s;
    /* From 0. */
    int64_t step;
};

/* Local. A trace of `steps` (0 or more) steps of a program, which outlives it; all memory that
 * trace_note needs is allocated here. ZI_ERROR_DEVICE when there is none. */
enum zi_status trace_create(const struct program *program, int64_t steps, struct trace **trace);

/* Local. NULL is nothing to destroy. */
void trace_destroy(struct trace *trace);

/* Local. Whether a step of a run belongs into its trace: TRACE_FIRST_STEP and those that follow, as
 * many as were asked for. False without a trace (NULL). */
bool trace_covers(const struct trace *trace, int64_t step);

/* Local. Whether a run of a program that moves states belongs into the trace: the first one of its
 * kind, where steps are traced. */
bool trace_takes(struct trace *trace, enum program_name name);

/* Local; each lane from one thread at a time. Drops events past what was allocated for, and counts
 * them; trace_write says how many. */
void trace_note(struct trace *trace, enum program_lane lane, const struct trace_event *event);

/* Local. When the first event was asked for; infinite when there is no event. */
double trace_start_s(const struct trace *trace);

/* Local. Writes the members "lanes" (in the order of their rows) and "kinds" of a JSON object:
 * names and colours, for who draws a trace. They belong into its otherData. */
void trace_write_tables(FILE *out);

/* Local; while no lane runs. Writes this rank's events as JSON objects separated by commas, times
 * from `zero_s` (of the events' clock) on, in microseconds; the caller writes the brackets around
 * those of all ranks and commas between them. There is always at least one object. */
enum zi_status trace_write(const struct trace *trace, int rank, double zero_s, FILE *out);

#endif

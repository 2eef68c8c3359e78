/* SPDX-License-Identifier: Apache-2.0 */
/* A trace: when each operation of some steps ran, in which lane, and what it waited for. Written as
 * Chrome trace events, one process per rank, one row per lane (opens in Perfetto). The simulator
 * writes the same rows in virtual time. */
#ifndef ZI_ZERO_TRACE_H
#define ZI_ZERO_TRACE_H

#include <stdio.h>

#include "zero/program.h"

struct trace;

struct trace_event {
    enum program_name program;
    int op;                           /* index in the program's list */
    double ready_s, start_s, end_s;   /* asked for, started (after waiting), done; seconds of one clock */
    int64_t step;
};

/* Local. A trace of `steps` steps of a program; all memory is allocated here. */
enum zi_status trace_create(const struct program *program, int64_t steps, struct trace **trace);
void trace_destroy(struct trace *trace);

/* Local; each lane from its own thread. Drops events past what was allocated for. */
void trace_note(struct trace *trace, enum program_lane lane, const struct trace_event *event);

/* Local. Appends this rank's events as JSON objects separated by commas; the caller writes the
 * brackets around those of all ranks. */
enum zi_status trace_write(const struct trace *trace, int rank, FILE *out);

#endif

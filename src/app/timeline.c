/* SPDX-License-Identifier: Apache-2.0 */
/* trace.json: the traces of all ranks in one file, on one clock.
 *
 * Every rank has a clock with a zero of its own. Rank 0 sends its time a few times, each time after
 * all ranks have met, so that all of them are waiting for it; what a rank then finds between its
 * clock and the time it was sent is the difference of the clocks and how long the message took. The
 * smallest difference is the one with the least delay in it, which on a node is tens of
 * microseconds. It is done when the trace is written: trace short runs, for clocks of different
 * machines run apart, by some milliseconds in ten minutes.
 *
 * Ranks then append to the file in turn, which needs no memory for the text of others. It has a
 * temporary name until the last of them is done, so that trace.json is whole or not there. */
#include "app/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/version.h"

enum { CLOCK_MESSAGES = 16 };

/* Collective. What to subtract from this rank's time to have rank 0's. */
static enum zi_status measure_clock(struct comm *comm, double *ahead_s)
{
    *ahead_s = comm_rank(comm) == 0 ? 0 : INFINITY;
    if (comm_size(comm) == 1) return ZI_OK;
    for (int i = 0; i < CLOCK_MESSAGES; i++) {
        ZI_TRY(comm_barrier(comm));
        double sent = zi_time_s();
        ZI_TRY(comm_broadcast(comm, &sent, (int64_t)sizeof sent, 0));
        double difference = zi_time_s() - sent;
        if (comm_rank(comm) != 0 && difference < *ahead_s) *ahead_s = difference;
    }
    return ZI_OK;
}

/* Collective. The earliest event of all ranks, on rank 0's clock; 0 when there is none. */
static enum zi_status find_start(const struct trace *trace, struct comm *comm, double ahead_s,
                                 double *start_s)
{
    int ranks = comm_size(comm);
    double *starts = calloc((size_t)ranks, sizeof *starts);
    enum zi_status status =
        starts ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a number per rank");
    status = comm_agree(comm, status);
    *start_s = INFINITY;
    if (status >= 0) {
        starts[comm_rank(comm)] = trace_start_s(trace) - ahead_s;
        status = comm_sum_doubles(comm, starts, ranks);
        for (int r = 0; r < ranks; r++)
            if (starts[r] < *start_s) *start_s = starts[r];
    }
    if (isinf(*start_s)) *start_s = 0;
    free(starts);
    return status;
}

static enum zi_status cannot_write(const char *path)
{
    return zi_fail(ZI_ERROR_IO, "app", "cannot write %s: %s", path, strerror(errno));
}

static void write_heading(FILE *file)
{
    fprintf(file,
            "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"version\":\"%s\",\"revision\":\"%s\",",
            zi_version(), zi_version_revision());
    trace_write_tables(file);
    fprintf(file, "},\"traceEvents\":[\n");
}

/* This rank's turn: appends its events to the file. */
static enum zi_status append(const char *path, const struct trace *trace, double zero_s,
                             struct comm *comm)
{
    int rank = comm_rank(comm);
    int opened = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    FILE *file = opened < 0 ? NULL : fdopen(opened, "a");
    if (!file) {
        enum zi_status status = cannot_write(path);
        if (opened >= 0) close(opened);
        return status;
    }
    if (rank == 0)
        write_heading(file);
    else
        fputs(",\n", file);
    enum zi_status status = trace_write(trace, rank, zero_s, file);
    if (rank == comm_size(comm) - 1) fputs("\n]}\n", file);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) return status < 0 ? status : cannot_write(path);
    return status;
}

/* Collective. Rank 0 makes the file; all hear its temporary name. */
static enum zi_status begin(const char *directory, struct comm *comm, struct zi_output *output,
                            char temporary[PATH_MAX])
{
    char path[PATH_MAX];
    enum zi_status status = report_path(directory, "trace.json", path);
    memset(temporary, 0, PATH_MAX);
    if (status >= 0 && comm_rank(comm) == 0) status = zi_output_begin("app", path, 0666, output);
    if (status >= 0 && output->temporary) snprintf(temporary, PATH_MAX, "%s", output->temporary);
    ZI_TRY(comm_agree(comm, status));
    return comm_broadcast(comm, temporary, PATH_MAX, 0);
}

enum zi_status report_trace(const char *directory, const struct trace *trace, struct comm *comm)
{
    double ahead_s, start_s;
    char temporary[PATH_MAX];
    struct zi_output output = {.file = -1};
    enum zi_status status = begin(directory, comm, &output, temporary);
    if (status >= 0) status = measure_clock(comm, &ahead_s);
    if (status >= 0) status = find_start(trace, comm, ahead_s, &start_s);
    for (int rank = 0; rank < comm_size(comm) && status >= 0; rank++) {
        if (rank == comm_rank(comm)) status = append(temporary, trace, start_s + ahead_s, comm);
        status = comm_agree(comm, status);
    }
    if (status >= 0 && comm_rank(comm) == 0) status = zi_output_commit(&output);
    zi_output_discard(&output);
    return comm_agree(comm, status);
}

struct report_bytes report_kernel_bytes(void)
{
    struct report_bytes bytes = {.read = -1, .written = -1};
    char line[128];
    FILE *file = fopen("/proc/self/io", "r");
    if (!file) return bytes;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "read_bytes: %" SCNd64, &bytes.read);
        sscanf(line, "write_bytes: %" SCNd64, &bytes.written);
    }
    fclose(file);
    return bytes;
}

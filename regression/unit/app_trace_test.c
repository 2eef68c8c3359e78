/* SPDX-License-Identifier: Apache-2.0 */
/* trace.json of three ranks whose clocks start 0.4 s apart: what they note at the same time is at
 * the same time in the file, which is whole; a folder that is not there is an error on all ranks.
 * The bytes that the kernel counts for this process are those that the shell reads of it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/report.h"
#include "base/timing.h"
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

enum { APART_US = 400000 };

/* One operation of 2 ms, asked for 1 ms before it starts, right after all ranks have met. */
static void note_now(struct trace *trace, struct comm *comm)
{
    CHECK_INT(comm_barrier(comm), ZI_OK);
    double now = zi_time_s();
    trace_note(trace, LANE_COMPUTE,
               &(struct trace_event){PROGRAM_TRAIN, 0, now, now + 1e-3, now + 3e-3, 2});
}

static char *read_file(const char *path)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "r");
    if (!file) exit(99);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

static double step_start_us(const char *text, int rank)
{
    char what[64];
    snprintf(what, sizeof what,
             "{\"cat\":\"step\",\"ph\":\"X\",\"pid\":%d,\"tid\":0,\"ts\":", rank);
    const char *found = strstr(text, what);
    return found ? strtod(found + strlen(what), NULL) : NAN;
}

static void check_file(const char *path, int ranks)
{
    char *text = read_file(path);
    double first = INFINITY;
    for (int rank = 0; rank < ranks; rank++) {
        double start = step_start_us(text, rank);
        if (start < first) first = start;
        /* what a barrier leaves ranks apart, on a busy machine; without one clock it is APART_US */
        CHECK_NEAR(start, step_start_us(text, 0), APART_US / 2);
    }
    CHECK_NEAR(first, 0, 1e-3); /* rounded to the nanosecond */
    size_t length = strlen(text);
    CHECK(strncmp(text, "{\"displayTimeUnit\":\"ms\",", 24) == 0);
    CHECK(length > 4 && strcmp(text + length - 4, "\n]}\n") == 0);
    int objects = 0, commas = 0;
    for (const char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        objects += *line == '{';
        commas += strchr(line, '\n')[-1] == ',';
    }
    /* a name of the process, two rows with name and order, step, operation */
    CHECK_INT(objects, 7 * ranks);
    CHECK_INT(commas, objects - 1);
}

static void test_trace(struct comm *comm)
{
    struct step_fixture f;
    struct trace *trace = NULL;
    const char *const sets[] = {"zero.prefetch=0", NULL};
    char folder[] = "app_trace_XXXXXX", path[64];
    int rank = comm_rank(comm);
    CHECK(step_fixture_open(&f, step_fixture_gpt2, sets, 1, 0) == ZI_OK);
    CHECK_INT(trace_create(f.program, 1, &trace), ZI_OK);
    if (!trace) exit(99);
    note_now(trace, comm);
    if (rank == 0 && !mkdtemp(folder)) exit(99);
    CHECK_INT(comm_broadcast(comm, folder, (int64_t)sizeof folder, 0), ZI_OK);
    snprintf(path, sizeof path, "%s/trace.json", folder);
    CHECK_INT(report_trace(folder, trace, comm), ZI_OK);
    if (rank == 0) {
        check_file(path, comm_size(comm));
        CHECK(unlink(path) == 0 && rmdir(folder) == 0);
        if (!freopen("/dev/null", "w", stderr)) exit(99); /* the message of what follows */
    }
    CHECK_INT(comm_barrier(comm), ZI_OK);
    CHECK_INT(report_trace(folder, trace, comm), ZI_ERROR_IO);
    trace_destroy(trace);
    step_fixture_close(&f);
}

static int64_t shell_reads(const char *name)
{
    char command[128];
    long long bytes = -1;
    snprintf(command, sizeof command, "sed -n 's/^%s: //p' /proc/%d/io", name, (int)getpid());
    FILE *pipe = popen(command, "r");
    if (!pipe) exit(99);
    if (fscanf(pipe, "%lld", &bytes) != 1) bytes = -1;
    pclose(pipe);
    return bytes;
}

static void test_kernel_bytes(void)
{
    static char block[1 << 20];
    char path[] = "app_bytes_XXXXXX";
    int file = mkstemp(path);
    if (file < 0) exit(99);
    CHECK(write(file, block, sizeof block) == sizeof block);
    CHECK(fsync(file) == 0 && close(file) == 0);
    struct report_bytes bytes = report_kernel_bytes();
    CHECK_INT(bytes.read, shell_reads("read_bytes"));
    CHECK_INT(bytes.written, shell_reads("write_bytes"));
    CHECK(unlink(path) == 0);
}

int main(int argc, char **argv)
{
    struct comm *comm;
    if (comm_start(&argc, &argv, &comm) < 0) return 1;
    usleep((useconds_t)(comm_rank(comm) * APART_US)); /* a clock is zero when it is first asked */
    zi_time_s();
    test_kernel_bytes();
    test_trace(comm);
    comm_finish(comm);
    return test_finish("app_trace");
}

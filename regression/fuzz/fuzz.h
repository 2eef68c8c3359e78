/* SPDX-License-Identifier: Apache-2.0 */
/* What the harnesses of libFuzzer share: a folder for the files that an input becomes, in memory
 * where FUZZ_FOLDER says so. Built by regression/checks/fuzz_parsers.sh. */
#ifndef ZI_FUZZ_FUZZ_H
#define ZI_FUZZ_FUZZ_H

#include "judge.h"

#include "checkpoint/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when what is no fuzzed file's doing goes wrong. */
static inline void fuzz_must(bool condition, const char *what)
{
    if (condition) return;
    perror(what);
    abort();
}

/* A path in a folder of this process. */
static inline const char *fuzz_path(const char *name)
{
    static char folder[2000], paths[4][2100];
    static int next;
    if (!folder[0]) {
        const char *parent = getenv("FUZZ_FOLDER");
        snprintf(folder, sizeof folder, "%s/fuzz-XXXXXX", parent ? parent : ".");
        fuzz_must(mkdtemp(folder), folder);
    }
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

/* Makes a file of that many bytes. */
static inline void fuzz_put(const char *name, const void *data, size_t size)
{
    int file = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_must(file >= 0 && write(file, data, size) == (ssize_t)size && close(file) == 0, name);
}

/* Seconds of processor time, since the machine may be busy; bytes as -malloc_limit_mb says. */
enum { FUZZ_REPORT_BYTES = 1 << 16, FUZZ_SECONDS = 2, FUZZ_DEMAND_BYTES = 1 << 30 };
enum fuzz_end { FUZZ_BORNE = 0, FUZZ_REPORTED = 40, FUZZ_BUSY = 41, FUZZ_GREEDY = 42 };

static bool fuzz_is_child;

static inline void fuzz_out_of_time(int number)
{
    (void)number;
    fputs("Sanitizer: no end\n", stderr);
    __sanitizer_print_stack_trace();
    _exit(FUZZ_BUSY);
}

/* Called by the sanitizer after each allocation. In a child it comes before libFuzzer's limit, which
 * would say its words where messages of the parent go (-close_fd_mask), not in the report, and keep
 * an input that may be borne. */
void __sanitizer_malloc_hook(const volatile void *memory, size_t size)
{
    (void)memory;
    if (!fuzz_is_child || size < FUZZ_DEMAND_BYTES) return;
    fprintf(stderr, "Sanitizer: a demand for %zu bytes\n", size);
    __sanitizer_print_stack_trace();
    _exit(FUZZ_GREEDY);
}

/* The child: a fault is written to `report`; that libFuzzer keeps the input is the parent's to say.
 */
static inline void fuzz_child(const char *path, const char *report)
{
    const struct rlimit seconds = {FUZZ_SECONDS, 2 * FUZZ_SECONDS};
    const char *reason;
    __sanitizer_set_death_callback(NULL);
    signal(SIGXCPU, fuzz_out_of_time);
    setrlimit(RLIMIT_CPU, &seconds);
    int file = open(report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || dup2(file, STDERR_FILENO) < 0) _exit(1);
    __sanitizer_set_report_fd((void *)STDERR_FILENO);
    fuzz_is_child = true;
    _exit(checkpoint_probe(path, &reason) < 0 || reason ? FUZZ_REPORTED : FUZZ_BORNE);
}

/* How a child that tries a file ends. */
static inline int fuzz_try(const char *path, const char *report)
{
    int end = 0;
    pid_t child = fork();
    if (child == 0) fuzz_child(path, report);
    fuzz_must(child > 0, "fork");
    while (waitpid(child, &end, 0) < 0) /* libFuzzer has a timer */
        fuzz_must(errno == EINTR, "wait");
    return end;
}

/* Whether HDF5 comes through with a file: a child finds out, as in the program (base/probe.h). What
 * it does not bear is no concern of a harness, which must bear the rest; a child that ended by a
 * fault that is not HDF5's fails the input. Want of time or memory has to come twice: HDF5 may give a
 * size that it read from memory that is not its own (doc/libraries.md), another one each time. */
static inline int fuzz_bears(const char *path)
{
    static char text[FUZZ_REPORT_BYTES], report[2100];
    snprintf(report, sizeof report, "%s", fuzz_path("report"));
    for (bool again = false;; again = true) {
        int end = fuzz_try(path, report), code = WIFEXITED(end) ? WEXITSTATUS(end) : -1;
        if (code == FUZZ_BORNE) return 1;
        if (code == FUZZ_REPORTED) return 0;
        FILE *file = fopen(report, "rb");
        fuzz_must(file, report);
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        bool asked = code == FUZZ_BUSY || code == FUZZ_GREEDY;
        if (asked ? judge_in_hdf5(text) : judge_is_hdf5(text)) return 0;
        if (asked && !again) continue;
        fprintf(stderr, "%s\na child ended with %#x\n", text, (unsigned)end);
        abort();
    }
}

#endif

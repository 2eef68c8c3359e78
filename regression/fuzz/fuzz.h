/* SPDX-License-Identifier: Apache-2.0 */
/* What the harnesses of libFuzzer share: a folder for the files that an input becomes, in memory
 * where FUZZ_FOLDER says so. Built by regression/checks/fuzz_parsers.sh. */
#ifndef ZI_FUZZ_FUZZ_H
#define ZI_FUZZ_FUZZ_H

#include "checkpoint/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Whether HDF5 comes through with a file: a child finds out, as in the program (base/probe.h). What
 * it does not bear is no concern of a harness, which must bear the rest. */
static inline int fuzz_bears(const char *path)
{
    int end = 0;
    pid_t child = fork();
    if (child == 0) {
        const char *reason;
        for (int number = 1; number < 32; number++)
            signal(number, SIG_DFL);
        alarm(2);
        close(2);
        _exit(checkpoint_probe(path, &reason) < 0 || reason ? 1 : 0);
    }
    fuzz_must(child > 0, "fork");
    while (waitpid(child, &end, 0) < 0) /* libFuzzer has a timer */
        fuzz_must(errno == EINTR, "wait");
    return WIFEXITED(end) && WEXITSTATUS(end) == 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the harnesses of libFuzzer share: a folder for the files that an input becomes, in memory
 * where FUZZ_FOLDER says so. Built by regression/checks/fuzz_parsers.sh. */
#ifndef ZI_FUZZ_FUZZ_H
#define ZI_FUZZ_FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when what is no fuzzed file's doing goes wrong. */
static inline void fuzz_must(int condition, const char *what)
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
        fuzz_must(mkdtemp(folder) != NULL, folder);
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

#endif

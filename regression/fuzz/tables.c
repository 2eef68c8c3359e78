/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the files of a run directory, which `zinf report` and `zinf watch` read: the text is
 * cut at bytes 0x01, one part a file. The page is written, and read a second time from files that have
 * grown, as of a run in progress. */
#include "fuzz.h"

#include "app/history.h"
#include "app/page.h"

#include <string.h>

static const char *const names[] = {"steps.csv", "timings.csv", "memory.csv",
                                    "end.yaml",  "used.yaml",   "starts.csv"};
enum { FILES = (int)(sizeof names / sizeof *names) };

/* Of each part the first `share` of 2 halves. */
static void put_files(const uint8_t *data, size_t size, size_t share)
{
    for (int i = 0; i < FILES; i++) {
        const uint8_t *end = size ? memchr(data, 1, size) : NULL;
        size_t part = end ? (size_t)(end - data) : size;
        fuzz_put(names[i], data, part * share / 2);
        data += part + (end ? 1 : 0);
        size -= part + (end ? 1 : 0);
    }
}

static void write_page(const struct history *history)
{
    static FILE *nowhere;
    if (!nowhere) nowhere = fopen("/dev/null", "w");
    fuzz_must(nowhere, "/dev/null");
    page_write(history, nowhere);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct history *history;
    put_files(data, size, 1);
    if (history_open(fuzz_path(""), &history) < 0) return 0;
    write_page(history);
    put_files(data, size, 2);
    if (history_update(history) >= 0) write_page(history);
    history_close(history);
    return 0;
}

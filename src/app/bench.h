/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the disk half of `zinf bench`. */
#ifndef ZI_APP_BENCH_H
#define ZI_APP_BENCH_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"
#include "deck/settings.h"

/* Bytes per second, the median of the turns. */
struct bench_rates {
    /* Alone. */
    double read, write;
    /* At the same time. */
    double mixed_read, mixed_write;
};

struct bench_disk {
    const struct settings_nvme *nvme;
    /* Of the file on each path. */
    int64_t bytes;
    int turns;
    /* Also print all block sizes and depths. */
    bool sweep;
    /* What comes out, per path. */
    struct bench_rates rates[DECK_LIST_MAX];
};

/* Local. Measures the folders of nvme.paths, all at once as a run uses them, with nvme's block,
 * depth and engine, and prints a table. Nothing is left there; with nvme.keep the files are, under
 * names that are said. ZI_ERROR_IO; ZI_STOPPED when a stop is asked for meanwhile. */
enum zi_status bench_disk_measure(struct bench_disk *bench, FILE *out);

#endif

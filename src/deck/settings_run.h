/* SPDX-License-Identifier: Apache-2.0 */
/* How long a run is, and what it writes and keeps. Included through deck/settings.h. */
#ifndef ZI_DECK_SETTINGS_RUN_H
#define ZI_DECK_SETTINGS_RUN_H

#include <stdbool.h>
#include <stdint.h>

enum checkpoint_mode { CHECKPOINT_OWNER, CHECKPOINT_GROUP, CHECKPOINT_ALL };

struct settings_run {
    /* What the run is called in its outputs. */
    char *name;
    /* Where outputs go; made if absent. */
    char *directory;
    /* Optimizer steps. */
    int64_t steps;
    /* Of initial values and of the sampler. */
    int64_t seed;
    /* Steps between progress lines. */
    int64_t report_every;
    /* So many skipped steps in a row end the run (exit 7). */
    int64_t nonfinite_limit;
    /* Steps whose operations go to trace.json; 0 = none. */
    int64_t trace;
};

struct settings_checkpoint {
    /* Steps; 0 = never but at the end. */
    int64_t every;
    /* Newest checkpoints kept; 0 = all. */
    int64_t keep;
    /* Those of steps that are multiples of it are kept besides; 0 = none. */
    int64_t keep_every;
    /* Write one when the run ends. */
    bool final;
    /* enum checkpoint_mode: who may read the files. */
    int mode;
    /* Folder on a disk of each node for local checkpoints; empty = none are written. */
    char *local;
    /* Steps between them. */
    int64_t local_every;
};

#endif

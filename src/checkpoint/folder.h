/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a folder of checkpoints: names, and which of them stay. */
#ifndef ZI_CHECKPOINT_FOLDER_H
#define ZI_CHECKPOINT_FOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Which checkpoints of a folder stay. */
struct checkpoint_retention {
    /* So many of the newest; 0: all. */
    int64_t newest;
    /* And, besides them, those whose step is a multiple of it; 0: none. */
    int64_t every;
};

/* Local. The step of a name that is step-NNNNNNNN.h5 and `ending`, exactly as zinf writes it; else
 * -1. */
int64_t checkpoint_step_of(const char *name, const char *ending);

/* Local. What zinf makes under this name in a folder of checkpoints: S_IFREG for step-NNNNNNNN.h5
 * and the same with .tmp behind it, S_IFLNK for latest and latest.tmp, 0 for every other name.
 * *temporary, NULL when that is not wanted: whether .tmp is behind it, and it is not whole yet. */
mode_t checkpoint_kind_of(const char *name, bool *temporary);

/* Local; for one rank. Removes from a folder the checkpoints that `keep` does not name, never that of
 * step `newest`. What cannot be removed is a warning. */
void checkpoint_prune(const char *directory, int64_t newest, struct checkpoint_retention keep);

/* Local; for one rank that knows that no other job writes there. Removes what a killed one has left
 * of a checkpoint that it was writing. What cannot be removed is a warning. */
void checkpoint_clear(const char *directory);

#endif

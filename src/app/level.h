/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the local level of a run's checkpoints (checkpoint.local): frequent ones on a disk
 * of each node, beside the shared ones of save.c. */
#ifndef ZI_APP_LEVEL_H
#define ZI_APP_LEVEL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct run;
struct local_checkpoint;

/* All zero at first, but `held` and `step`. */
struct level {
    /* Of the run on this node; "": there is no local level */
    char folder[PATH_MAX];
    /* A descriptor that marks it as in use; -1: none does */
    int held;
    /* Of the site (checkpoint/local.h) */
    uint64_t identity, layout;
    /* That the run goes on from, until its states are there; or NULL */
    struct local_checkpoint *from;
    /* Of the last that all ranks have; -1: none */
    int64_t step;
    /* One waits for a step that is not skipped */
    bool due;
    /* By this job: how many, bytes of this rank in each, seconds in all */
    int64_t count, bytes;
    double seconds;
};

/* Collective; the program is compiled, so it is known what each rank has. Opens the newest local
 * checkpoint of the run that run.directory is of, as run->level.from, if all ranks have one. Says
 * why they are of no use. */
enum zi_status level_find(struct run *run);

/* Collective. Makes run->level.from ready to be loaded on all ranks. ZI_ERROR_IO, after a warning,
 * when a disk does not take what other ranks have: it is closed then. */
enum zi_status level_take(struct run *run);

/* Local. Closes run->level.from; NULL does nothing. */
void level_leave(struct run *run);

/* Local. Closes whatever is open. */
void level_cleanup(struct run *run);

/* Collective. Loads the states of run->level.from and closes it. */
enum zi_status level_load(struct run *run);

/* Local (rank 0), before the outputs of an earlier job are cut. Removes local.yaml unless the run
 * goes on from a local checkpoint: all that are there are worthless then. ZI_ERROR_IO. */
enum zi_status level_forget(const struct run *run);

/* Collective, before the first step, when what an earlier run left has gone. Makes the folders and
 * writes local.yaml into the run directory; local checkpoints on its nodes that are worthless are
 * removed. ZI_ERROR_IO. */
enum zi_status level_begin(struct run *run);

/* Collective. After a step: writes the local checkpoint that is due, as save_when_due does. */
enum zi_status level_save(struct run *run, bool skipped);

/* Local. The identity of the local checkpoints with which a run directory can go on; false when it
 * is known of none. */
bool level_identity(const char *directory, uint64_t *identity);

/* Collective. The end of a run that leaves with a status: local checkpoints that nobody will want
 * again are removed. */
enum zi_status level_end(struct run *run, enum zi_status left);

#endif

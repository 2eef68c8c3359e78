/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a checkpoint on its way, from the states to a file that has its name. It is laid
 * over the next training step, or waited for; one at a time. */
#ifndef ZI_APP_SAVING_H
#define ZI_APP_SAVING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "checkpoint/folder.h"

struct run;
struct checkpoint;
struct report;

struct saving {
    /* NULL: none is on its way. */
    struct checkpoint *checkpoint;
    /* That it is of. */
    int64_t step;
    /* The states have been taken; what is left is to make them durable. */
    bool taken;
    /* Rank 0: the file `checkpoint` of the run directory has asked for it. */
    bool asked;
    char place[96];
    /* Made durable with it; NULL: there is none. The run's. */
    struct report *report;
    /* Which stay when it is whole. */
    struct checkpoint_retention keep;
    /* What a file of it takes at most. */
    int64_t bytes;
    /* When it began, on the clock of zi_time_s. */
    double begun_s;
    /* So long training stood still for it so far. */
    double still_s;
    /* The step that it was laid over, and the one before; 0: it was laid over none. */
    double over_s, before_s;
    /* In calls that write. */
    double busy_s;
};

/* Collective. Begins a checkpoint of step run->good, which the next training step takes on the way;
 * one that is on its way comes to its end first. ZI_ERROR_IO when it cannot be made. */
enum zi_status saving_lay(struct run *run);

/* Local. A training step has taken `seconds`: it was the one over which a checkpoint was laid, if
 * there is one. */
void saving_note_step(struct run *run, double seconds);

/* Collective. Goes on with the checkpoint that is on its way, as far as it goes without waiting, or,
 * where it `waits`, to the end; one whose states have not been taken yet is dropped then. Its end is
 * noted in the run, and an error of it given back: ZI_ERROR_IO, ZI_ERROR_NUMERICS. */
enum zi_status saving_advance(struct run *run, bool waits);

/* Collective. A checkpoint of step run->good from begin to end. The same errors. */
enum zi_status saving_whole(struct run *run);

/* Local. The most bytes that a checkpoint of the run takes. */
enum zi_status saving_bytes(const struct run *run, int64_t *bytes);

/* Local. Its folder, of PATH_MAX. */
enum zi_status saving_folder(const struct run *run, char *path);

#endif

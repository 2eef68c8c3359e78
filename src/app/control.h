/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: how a running job is told to stop or to write a checkpoint, other than by its
 * deck: signals (base/stop.h), files in the run directory, the end of the job's time. */
#ifndef ZI_APP_CONTROL_H
#define ZI_APP_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct run;

/* Of rank 0, but for what a signal asks; all zero at first. */
struct control {
    /* Why the run is to end, for people; empty while nothing but a signal asks for that */
    char reason[256];
    /* The file `checkpoint` was seen: it goes when a checkpoint is written */
    bool save_asked;
    /* It could not be removed, and is no request any more */
    bool save_deaf;
    /* When the files were looked for last, on the clock of zi_time_s */
    double looked_s;
    /* When the last step, or batch of a validation, began; 0: none has */
    double begun_s;
    /* Of it, in checkpoints */
    double saved_s;
    /* The longest of them without its checkpoints */
    double longest_s;
    /* A checkpoint: an estimate until one is written, then the longest */
    double save_s;
    bool save_measured;
    /* The batch system ends the job then, in seconds since 1970; 0: not known */
    int64_t end;
};

/* Local; rank 0, which has the lock of the directory. Removes the files `stop` and `checkpoint`
 * that were left to an earlier run. ZI_ERROR_IO. */
enum zi_status control_clear(const char *directory);

/* Local; rank 0, before the first step. Takes the end of the job's time from the environment and
 * estimates a checkpoint of `bytes`; says both where they matter. */
void control_start(struct control *control, int64_t bytes);

/* Local. ZI_STOPPED when this rank knows of a reason to end the run; rank 0 looks at its files, at
 * most once a second, and at the time. To be called before each step and each batch of a
 * validation; ranks agree afterwards. ZI_ERROR_IO when the directory is another run's by now. */
enum zi_status control_check(struct run *run);

/* Collective. As comm_agree, before a step. When rank 0 was asked for a checkpoint, one is due at
 * the end of the step. */
enum zi_status control_agree(struct run *run, enum zi_status status);

/* Local; rank 0. For a checkpoint training stood still for `still_s`, and would for `whole_s` were it
 * waited for. */
void control_saved(struct control *control, double still_s, double whole_s);

/* Local. So much of the present step went into something that is no part of a step. */
void control_paused(struct control *control, double seconds);

/* Local. Whether the file has asked for a checkpoint, which begins now: it is asked for no more. */
bool control_take_request(struct control *control);

/* Local; rank 0. The checkpoint that the file asked for is there: the request is answered. */
void control_answer(struct run *run);

/* Local. Why a run ended with ZI_STOPPED, as this rank knows it. */
const char *control_reason(const struct control *control);

#endif

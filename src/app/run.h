/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a training job in progress, shared by run.c (getting ready), scan.c (the tokens),
 * train.c (the loop), validate.c and save.c (checkpoints). */
#ifndef ZI_APP_RUN_H
#define ZI_APP_RUN_H

#include "app/control.h"
#include "app/level.h"
#include "app/options.h"
#include "app/progress.h"
#include "app/saving.h"
#include "app/setup.h"
#include "app/source.h"
#include "comm/comm.h"
#include "data/sampler.h"

struct run {
    /* All ranks; not owned. */
    struct comm *comm;
    const struct options *options;
    struct setup setup;
    /* As read by rank 0, the same on all ranks. */
    char *deck_text;
    int64_t deck_bytes;
    /* The used deck. */
    char *used_text;
    /* All token files; `validation_corpus`: NULL for none. */
    struct corpus *train_corpus, *validation_corpus;
    /* `validation`: NULL for none. */
    struct sampler *train, *validation;
    /* Some of their targets count for nothing. */
    bool masked;
    struct engine *engine;
    /* What ends it early. */
    struct control control;
    /* Of the run directory; rank 0, else NULL. */
    struct lock *lock;
    /* Rank 0, else NULL. */
    struct report *report;
    /* Its last rows have been written. */
    bool report_ended;
    /* Rank 0: of the last row that was reported. */
    enum zi_status reported;
    /* Rank 0 only. */
    struct progress progress;
    /* Rank 0: by --machine, and how many there are. */
    struct plan_node node;
    int nodes;
    /* When the run began; parts of its start. */
    double begun_s, layout_s, initial_s;
    /* Rank 0: the run directory is this run's, its end is written there. */
    bool ends;
    /* It goes on with a run of the directory, if there is one. */
    bool resumes;
    /* That it goes on from, until its states are there; or NULL. */
    struct checkpoint *from;
    /* Where the weights of a run come from that begins with those of another, until its states are
     * there; or NULL. */
    struct source *source;
    /* Rank 0: the folder of its tokenizer and config, "" for none. */
    char source_files[PATH_MAX];
    /* The step after which this job begins, and the file that it goes on from, "" without one. */
    int64_t begins;
    char from_path[PATH_MAX];
    /* Steps done. */
    int64_t done;
    /* The last step that was not skipped: the states are those after it. */
    int64_t good;
    /* What the step after that one begins with: a job that goes on there repeats what was skipped. */
    struct optimizer_scaling scaling;
    /* Step of the last checkpoint, -1 before the first. */
    int64_t saved;
    /* Step of the last checkpoint with whose parameters a step has found a finite loss. */
    int64_t proven;
    /* A checkpoint waits for a step that is not skipped. */
    bool due;
    /* Of all its checkpoints; NULL before the first. */
    struct checkpoint_form *form;
    struct saving saving;
    /* Of the last training step. */
    double step_s;
    /* Of local checkpoints. */
    struct level level;
};

/* Collective. Steps run->done .. steps-1, with validation, reports and checkpoints. ZI_STOPPED when
 * it was asked to stop between two steps (control.h); ZI_ERROR_NUMERICS. */
enum zi_status train_loop(struct run *run);

/* Local. Puts this rank's sequences of a step where the engine reads them. */
enum zi_status run_read_batch(struct run *run, struct sampler *sampler, int64_t step);

/* Collective. Mean loss over the targets of run->validation. ZI_STOPPED when a stop was asked for:
 * *loss stays as it was. */
enum zi_status validate(struct run *run, double *loss);

/* Collective. Looks for tokens outside the vocabulary in the files whose largest token is not
 * known, once a file: what was found is kept in data.scan of the run directory. ZI_ERROR_USAGE
 * naming file, place and remedy; ZI_STOPPED. */
enum zi_status scan_data(struct run *run);

/* Local. Says how much of its files a run uses. */
void print_data(const struct run *run);

/* Collective. Brings the checkpoint that is on its way to its end. Its errors are those of
 * save_checkpoint. */
enum zi_status save_finish(struct run *run);

/* Collective. Brings the checkpoint that is on its way to its end, and writes that of step run->good
 * into <run.directory>/checkpoints unless it is there. ZI_ERROR_NUMERICS, with a warning, when the
 * parameters are not finite: the last one
 * stands. */
enum zi_status save_checkpoint(struct run *run);

/* Collective. After a step: lays the checkpoint that is due by checkpoint.every over the next one
 * (there is none after the last: then it is waited for), or lets it wait when the step was skipped;
 * and goes on with the one that is on its way. Parameters that are not finite are no error here
 * (steps tell), nor is a disk that takes none: that is said, and training goes on. Removes the one
 * before the last when this step has shown that the last is good, and one is to be kept. */
enum zi_status save_when_due(struct run *run, bool skipped);

/* Local. How many checkpoints a run of the deck writes when nothing stops it. */
int64_t save_count(const struct settings *settings);

/* Local. Compares the space of the run's checkpoints with what is free: ZI_ERROR_IO when there is
 * none for one; where there is too little for those that will stand together a warning, if `warn`.
 */
enum zi_status save_room(const struct run *run, bool warn);

/* Local. Says that `in_a_row` steps were not finite, and what of this deck may help. */
void advise_numerics(const struct run *run, int64_t in_a_row);

/* Local. Rank 0, once, when outputs are open: the last rows of timings.csv, and memory.csv. */
enum zi_status run_end_report(struct run *run);

/* Ends the job when a call failed on this rank alone, perhaps: the others may be waiting inside the
 * same call. One rank gives the status back. */
enum zi_status run_guard(struct run *run, enum zi_status status);

#endif

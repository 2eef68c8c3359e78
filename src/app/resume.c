/* SPDX-License-Identifier: Apache-2.0 */
/* Going on with a run.
 *
 * A checkpoint has all that the next step depends on: parameters, moments, how many updates they
 * have seen, the loss scale, and the step. Batches and learning rates are functions of the step, so
 * a run that goes on takes the steps that it would have taken, to the bit where its ranks are as
 * many. The deck may change in everything that has no meaning for the states (placement, ranks,
 * schedule): the table of the deck says which keys those are (`changeable`).
 *
 * The newest checkpoint whose checksums hold is taken, and only one that holds: a damaged one is
 * named and the one before it used, because a run of weeks should lose the least that it can. The
 * local level (level.c) is looked at first, since a shared checkpoint that is older need not be
 * read then. */
#include "app/resume.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/local.h"
#include "deck/table.h"

enum zi_status resume_asked(const struct options *options, bool *asked)
{
    const char *what = options_text(options, "--resume", NULL);
    *asked = what;
    if (what && strcmp(what, "auto") != 0)
        return zi_fail(ZI_ERROR_USAGE, "app", "--resume %s: expected auto", what);
    if (what && options_given(options, "--overwrite"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--resume goes on with a run, --overwrite removes it; give one of them");
    return ZI_OK;
}

/* The value of a key as text, which the caller frees. */
static enum zi_status value_text(const struct deck_row *row, const struct settings *settings,
                                 char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (out) deck_value_write(row, settings, out);
    if (out && fclose(out) == 0 && *text) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to compare decks");
}

/* Compares one key; *fixed counts those that must not differ and do. */
static enum zi_status compare_key(const struct deck_row *row, const struct settings *old,
                                  const struct settings *new, int *fixed)
{
    char *before, *now = NULL;
    enum zi_status status = value_text(row, old, &before);
    if (status >= 0) status = value_text(row, new, &now);
    if (status >= 0 && strcmp(before, now) != 0) {
        if (row->changeable)
            zi_log(ZI_LOG_NOTE, "app", "%s.%s: %s -> %s", row->section, row->key, before, now);
        else
            zi_log(ZI_LOG_ERROR, "app", "%s.%s is %s, and was %s in the run that goes on",
                   row->section, row->key, now, before);
        *fixed += !row->changeable;
    }
    free(before);
    free(now);
    return status;
}

/* Rank 0. The deck that the checkpoint was written with against this one. */
static enum zi_status compare_decks(const struct run *run, const struct checkpoint_header *header)
{
    struct deck *old;
    int count, fixed = 0;
    const struct deck_row *rows = deck_rows(&count);
    enum zi_status status =
        deck_parse(header->deck, strlen(header->deck), "the checkpoint's deck", NULL, 0, &old);
    if (status < 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the deck in the checkpoint cannot be read by this version of zinf; go on "
                       "with the version that has written it");
    for (int i = 0; i < count && status >= 0; i++)
        status = compare_key(&rows[i], deck_settings(old), run->setup.settings, &fixed);
    deck_destroy(old);
    ZI_TRY(status);
    if (fixed == 0) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "%d key%s of the deck must stay as %s; take the value%s back, or begin a new run "
        "in another run.directory",
        fixed, fixed > 1 ? "s" : "", fixed > 1 ? "they were" : "it was", fixed > 1 ? "s" : "");
}

/* Collective. Opens the newest of the two levels, at most one of run->from and run->level.from; a
 * local one wins where both are of one step. *shared: of the newest shared one by its name, -1:
 * none. */
static enum zi_status open_newest(struct run *run, const char *folder, int64_t *shared)
{
    struct level *level = &run->level;
    *shared = checkpoint_newest_step(folder);
    ZI_TRY(comm_broadcast(run->comm, shared, sizeof *shared, 0));
    ZI_TRY(level_find(run));
    int64_t local = level->from ? local_header(level->from)->step : -1;
    if (*shared > local) ZI_TRY(checkpoint_open_newest(run->comm, folder, &run->from));
    if (run->from && checkpoint_get_header(run->from)->step > local) level_leave(run);
    enum zi_status status = level->from ? level_take(run) : ZI_OK;
    if (status == ZI_ERROR_IO && !run->from)
        return checkpoint_open_newest(run->comm, folder, &run->from);
    if (level->from && run->from) {
        checkpoint_close(run->from);
        run->from = NULL;
    }
    return status == ZI_ERROR_IO ? ZI_OK : status;
}

/* The run takes the step of the checkpoint that it goes on from for its own. Of the shared level it
 * is not known then whether its newest is good: it stays. */
static void take_step(struct run *run, const struct checkpoint_header *header, int64_t shared)
{
    run->begins = run->done = run->good = header->step;
    run->saved = run->level.from ? shared : header->step;
    if (!run->level.from) return;
    run->proven = run->saved;
    run->level.step = header->step;
}

/* There is nothing to go on from. Where there are checkpoints, and none of them can be used, to begin
 * would write over what may still be mended, or be read by another version. */
static enum zi_status begin_anew(const struct run *run, const char *folder, int64_t shared)
{
    if (comm_rank(run->comm) != 0) return ZI_OK;
    if (shared >= 0)
        return zi_fail(ZI_ERROR_IO, "app",
                       "none of the checkpoints in %s can be used, for the reasons above: the run "
                       "does not begin anew over them; move them away, or give --overwrite instead "
                       "of --resume",
                       folder);
    zi_log(ZI_LOG_NOTE, "app", "%s has no checkpoint to go on from: the run begins", folder);
    return ZI_OK;
}

enum zi_status resume_open(struct run *run)
{
    char folder[PATH_MAX];
    int64_t shared;
    bool first = comm_rank(run->comm) == 0;
    if (!run->resumes) return ZI_OK;
    enum zi_status status = saving_folder(run, folder);
    ZI_TRY(comm_agree(run->comm, status));
    ZI_TRY(open_newest(run, folder, &shared));
    if (!run->from && !run->level.from)
        return comm_agree(run->comm, begin_anew(run, folder, shared));
    const struct checkpoint_header *header =
        run->from ? checkpoint_get_header(run->from) : local_header(run->level.from);
    ZI_TRY(comm_agree(run->comm, first ? compare_decks(run, header) : ZI_OK));
    take_step(run, header, shared);
    snprintf(run->from_path, sizeof run->from_path, "%s",
             run->from ? header->path : "local checkpoints");
    if (first)
        printf("goes on after step %" PRId64 " of %" PRId64 "%s\n", run->done,
               run->setup.settings->run.steps,
               run->level.from ? ", from the local checkpoints" : "");
    return ZI_OK;
}

/* Reads a run of a tensor from the checkpoint. */
static enum zi_status read_run(void *context, enum tier_kind kind, int tensor, int64_t first,
                               int64_t count, void *values)
{
    const struct run *run = context;
    const struct model_tensor *t = &run->setup.model->tensors[tensor];
    return checkpoint_read(run->from, kind, t->name, t->elements, first, count, values);
}

/* How often the states were updated, and the scale of the next step. */
static void take_counts(struct run *run, const struct checkpoint_header *header)
{
    const struct optimizer_scaling scaling = {header->loss_scale, header->loss_scale_steps};
    engine_set_updates(run->engine, header->updates);
    run->scaling = optimizer_scaling_resume(&run->setup.settings->precision, scaling);
    engine_set_scaling(run->engine, run->scaling);
}

enum zi_status resume_states(struct run *run)
{
    run->scaling = engine_scaling(run->engine);
    if (run->level.from) {
        take_counts(run, local_header(run->level.from));
        return level_load(run);
    }
    if (!run->from && run->source) {
        ZI_TRY(engine_load(run->engine, source_visit, run->source));
        source_close(run->source);
        run->source = NULL;
        return ZI_OK;
    }
    if (!run->from) return engine_initialize(run->engine);
    take_counts(run, checkpoint_get_header(run->from));
    ZI_TRY(engine_load(run->engine, read_run, run));
    checkpoint_close(run->from);
    run->from = NULL;
    return ZI_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* When checkpoints of a run are made, and what room they need (saving.c makes them).
 *
 * A checkpoint never takes the place of a better one. A skipped step changes nothing, so the states
 * at hand are those after the last step that was not skipped, and a checkpoint is of that step. One
 * that is due at a skipped step waits, and the checkpoint room refuses parameters that are not
 * finite, as the update of a finite step may leave them. Whether finite parameters are good ones
 * only the next step tells: until it has, the checkpoint before stays, though one be kept. (Before
 * that one there was such a step: the one that the newer checkpoint is of.)
 *
 * The space is asked for before the first step: what all checkpoints that stand together take, the
 * one that is being written included, against what is free, with what --overwrite will remove. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "app/lock.h"
#include "app/report.h"
#include "app/run.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"

/* Whether a step has had a finite loss with the parameters of the last checkpoint: one that was not
 * skipped has come after it. */
static void note_proven(struct run *run)
{
    const struct settings *s = run->setup.settings;
    char directory[PATH_MAX];
    if (run->saved < 0 || run->proven == run->saved || run->good <= run->saved) return;
    run->proven = run->saved;
    if (comm_rank(run->comm) == 0 && s->checkpoint.keep == 1 && saving_folder(run, directory) >= 0)
        checkpoint_prune(directory, run->proven,
                         (struct checkpoint_retention){1, s->checkpoint.keep_every});
}

enum zi_status save_finish(struct run *run)
{
    enum zi_status status = saving_advance(run, true);
    note_proven(run);
    return status;
}

enum zi_status save_checkpoint(struct run *run)
{
    enum zi_status status = save_finish(run);
    if (run->saved != run->good) status = saving_whole(run);
    return status;
}

/* A checkpoint that could not be written is no reason to throw away what is computed: the one before
 * stands, and space may have been made when the next is due. */
static void say_unwritten(const struct run *run)
{
    char stands[64] = "there is none yet";
    if (comm_rank(run->comm) != 0) return;
    if (run->saved >= 0)
        snprintf(stands, sizeof stands, "that of step %" PRId64 " stands", run->saved);
    zi_log(ZI_LOG_WARN, "app",
           "the checkpoint of step %" PRId64 " could not be written: training goes on, %s, and the "
           "next is tried when it is due",
           run->saving.step, stands);
}

/* What is said of a checkpoint that was not written, which is no error of the run. */
static enum zi_status take_status(const struct run *run, enum zi_status status)
{
    if (status == ZI_ERROR_IO) say_unwritten(run);
    return status == ZI_ERROR_NUMERICS || status == ZI_ERROR_IO ? ZI_OK : status;
}

enum zi_status save_when_due(struct run *run, bool skipped)
{
    const struct settings *s = run->setup.settings;
    ZI_TRY(take_status(run, saving_advance(run, false)));
    note_proven(run);
    if (s->checkpoint.every > 0 && run->done % s->checkpoint.every == 0) run->due = true;
    if (!run->due || skipped) return ZI_OK;
    run->due = false;
    /* A run directory that is no longer this run's ends it; so do tables that are gone, with the
     * next step, when there is a checkpoint. */
    ZI_TRY(comm_agree(run->comm, run->lock ? lock_check(run->lock) : ZI_OK));
    if (run->report && run->reported >= 0) run->reported = report_check(run->report);
    bool last = run->done == s->run.steps;
    enum zi_status status = last ? save_checkpoint(run) : saving_lay(run);
    note_proven(run); /* it may have brought the one before to its end */
    return take_status(run, status);
}

int64_t save_count(const struct settings *settings)
{
    int64_t every = settings->checkpoint.every, steps = settings->run.steps;
    int64_t count = every > 0 ? steps / every : 0;
    return count + (settings->checkpoint.final && (every == 0 || steps % every != 0));
}

enum zi_status save_room(const struct run *run, bool warn)
{
    const struct settings *s = run->setup.settings;
    char folder[PATH_MAX];
    const char *where = folder;
    struct statvfs system;
    struct stat is;
    int64_t written = save_count(s), keep = s->checkpoint.keep;
    int64_t forever = s->checkpoint.keep_every > 0 ? s->run.steps / s->checkpoint.keep_every : 0;
    int64_t standing = keep > 0 && keep + forever < written ? keep + forever + 1 : written;
    int64_t most;
    ZI_TRY(saving_bytes(run, &most));
    ZI_TRY(saving_folder(run, folder));
    if (stat(where, &is) != 0) where = s->run.directory;
    if (stat(where, &is) != 0 || statvfs(where, &system) != 0)
        return zi_fail(ZI_ERROR_IO, "app", "cannot examine %s: %s", where, strerror(errno));
    if (system.f_blocks == 0) return ZI_OK; /* it does not say */
    double free_bytes = (double)system.f_bavail * (double)system.f_frsize +
                        (double)report_old_bytes(s->run.directory, is.st_dev);
    double bytes = (double)most;
    char one[32], there[32];
    zi_memory_text((size_t)bytes, one, sizeof one);
    zi_memory_text((size_t)free_bytes, there, sizeof there);
    if (bytes > free_bytes && written > 0)
        return zi_fail(ZI_ERROR_IO, "app",
                       "a checkpoint takes %s, and %s are free in %s; make room, choose another "
                       "run.directory, or make %s a link to a folder on a larger disk",
                       one, there, where, folder);
    if (warn && bytes > free_bytes)
        zi_log(ZI_LOG_WARN, "app",
               "no checkpoint is due, but a stop would write one: it takes %s, and %s are free in "
               "%s",
               one, there, where);
    else if (warn && (double)standing * bytes > free_bytes)
        zi_log(ZI_LOG_WARN, "app",
               "a checkpoint takes %s, and up to %" PRId64 " stand at once (checkpoint.keep and "
               "the one being written), but %s are free in %s: make room, or lower checkpoint.keep",
               one, standing, there, where);
    return ZI_OK;
}

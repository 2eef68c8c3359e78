/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of a run.
 *
 * The engine walks this rank's states and hands over each range with the address of its values; the
 * checkpoint room writes the range to its place under the tensor's name. Both know tensors and
 * element numbers, so no rank needs to know what others write, and the file does not depend on how
 * many ranks there are. The model travels in the header as a line of YAML.
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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "app/lock.h"
#include "app/report.h"
#include "app/run.h"
#include "base/log.h"
#include "base/timing.h"
#include "checkpoint/checkpoint.h"

static enum zi_status save_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    return checkpoint_write(context, kind, tensor, first, count, values);
}

static enum zi_status save_states(struct run *run, const char *directory,
                                  const struct checkpoint_header *header,
                                  const struct checkpoint_tensor *tensors)
{
    struct checkpoint *checkpoint;
    const struct settings *s = run->setup.settings;
    ZI_TRY(checkpoint_create(run->comm, directory, header, tensors, run->setup.model->tensor_count,
                             &checkpoint));
    enum zi_status status = engine_save(run->engine, save_range, checkpoint);
    status = comm_agree(run->comm, status);
    struct checkpoint_retention keep = {s->checkpoint.keep == 1 ? 2 : s->checkpoint.keep,
                                        s->checkpoint.keep_every};
    if (status >= 0) status = checkpoint_commit(checkpoint, keep);
    checkpoint_close(checkpoint);
    return status;
}

static void list_tensors(const struct model *model, struct checkpoint_tensor *tensors)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        tensors[i] = (struct checkpoint_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}};
    }
}

/* What the header and the folder of a checkpoint are made of; freed with plan_cleanup. */
struct save_plan {
    char directory[PATH_MAX];
    char *model_text;
    struct checkpoint_tensor *tensors;
    struct checkpoint_header header;
};

static enum zi_status plan_make(const struct run *run, struct save_plan *plan)
{
    static const unsigned modes[] = {
        [CHECKPOINT_OWNER] = 0600, [CHECKPOINT_GROUP] = 0640, [CHECKPOINT_ALL] = 0644};
    const struct settings *s = run->setup.settings;
    const struct zero_config *c = &run->setup.config;
    const struct model *model = run->setup.model;
    plan->model_text = NULL;
    plan->tensors = calloc((size_t)model->tensor_count, sizeof *plan->tensors);
    if (!plan->tensors) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a list of tensors");
    ZI_TRY(report_path(s->run.directory, "checkpoints", plan->directory));
    list_tensors(model, plan->tensors);
    ZI_TRY(setup_model_text(s, &plan->model_text));
    plan->header = (struct checkpoint_header){
        .step = run->good,
        .updates = run->engine ? engine_updates(run->engine) : 0,
        .loss_scale = run->scaling.scale,
        .loss_scale_steps = run->scaling.steps,
        .tokens = run->good * c->global * c->tokens,
        .seed = s->run.seed,
        .deck = run->used_text,
        .type = model->type,
        .model_text = plan->model_text,
        .mode = modes[s->checkpoint.mode],
    };
    return ZI_OK;
}

static void plan_cleanup(struct save_plan *plan)
{
    free(plan->model_text);
    free(plan->tensors);
}

static enum zi_status write_checkpoint(struct run *run)
{
    struct save_plan plan;
    double start = zi_time_s();
    enum zi_status status = plan_make(run, &plan);
    if (status >= 0 && run->lock) status = lock_check(run->lock);
    status = comm_agree(run->comm, status);
    if (status >= 0) status = save_states(run, plan.directory, &plan.header, plan.tensors);
    if (status >= 0) run->saved = run->good;
    plan_cleanup(&plan);
    double seconds = zi_time_s() - start;
    run->progress.checkpoint_s += seconds;
    if (run->lock && status >= 0) control_saved(&run->control, seconds);
    return status;
}

enum zi_status save_checkpoint(struct run *run)
{
    enum zi_status status = run->saved == run->good ? ZI_OK : write_checkpoint(run);
    if (run->lock && status >= 0) control_answer(run);
    return status;
}

/* A step has had a finite loss with the parameters of the last checkpoint. */
static void note_proven(struct run *run)
{
    const struct settings *s = run->setup.settings;
    char directory[PATH_MAX];
    if (run->saved < 0 || run->proven == run->saved) return;
    run->proven = run->saved;
    if (comm_rank(run->comm) == 0 && s->checkpoint.keep == 1 &&
        report_path(s->run.directory, "checkpoints", directory) >= 0)
        checkpoint_prune(directory, run->proven,
                         (struct checkpoint_retention){1, s->checkpoint.keep_every});
}

/* A checkpoint that could not be written is no reason to throw away what is computed: the one before
 * stands, and space may have been made when the next is due. */
static void say_unwritten(const struct run *run)
{
    const struct settings *s = run->setup.settings;
    char stands[64] = "there is none yet";
    if (comm_rank(run->comm) != 0) return;
    if (run->saved >= 0)
        snprintf(stands, sizeof stands, "that of step %" PRId64 " stands", run->saved);
    zi_log(ZI_LOG_WARN, "app",
           "the checkpoint of step %" PRId64 " could not be written: training goes on, %s, and the "
           "next is tried when it is due; make room in %s/checkpoints",
           run->good, stands, s->run.directory);
}

enum zi_status save_when_due(struct run *run, bool skipped)
{
    const struct settings_checkpoint *s = &run->setup.settings->checkpoint;
    if (!skipped) note_proven(run);
    if (s->every > 0 && run->done % s->every == 0) run->due = true;
    if (!run->due || skipped) return ZI_OK;
    run->due = false;
    /* A run directory that is no longer this run's ends it. */
    ZI_TRY(comm_agree(run->comm, run->lock ? lock_check(run->lock) : ZI_OK));
    enum zi_status status = save_checkpoint(run);
    if (status == ZI_ERROR_IO) say_unwritten(run);
    return status == ZI_ERROR_NUMERICS || status == ZI_ERROR_IO ? ZI_OK : status;
}

int64_t save_count(const struct settings *settings)
{
    int64_t every = settings->checkpoint.every, steps = settings->run.steps;
    int64_t count = every > 0 ? steps / every : 0;
    return count + (settings->checkpoint.final && (every == 0 || steps % every != 0));
}

static int64_t plan_bytes(const struct run *run, const struct save_plan *plan)
{
    return checkpoint_bytes(&plan->header, plan->tensors, run->setup.model->tensor_count);
}

enum zi_status save_bytes(const struct run *run, int64_t *bytes)
{
    struct save_plan plan;
    enum zi_status status = plan_make(run, &plan);
    if (status >= 0) *bytes = plan_bytes(run, &plan);
    plan_cleanup(&plan);
    return status;
}

static enum zi_status compare_room(const struct run *run, const struct save_plan *plan, bool warn)
{
    const struct settings *s = run->setup.settings;
    const char *where = plan->directory;
    struct statvfs system;
    struct stat is;
    int64_t written = save_count(s), keep = s->checkpoint.keep;
    int64_t forever = s->checkpoint.keep_every > 0 ? s->run.steps / s->checkpoint.keep_every : 0;
    int64_t standing = keep > 0 && keep + forever < written ? keep + forever + 1 : written;
    if (stat(where, &is) != 0) where = s->run.directory;
    if (stat(where, &is) != 0 || statvfs(where, &system) != 0)
        return zi_fail(ZI_ERROR_IO, "app", "cannot examine %s: %s", where, strerror(errno));
    if (system.f_blocks == 0) return ZI_OK; /* it does not say */
    double free_bytes = (double)system.f_bavail * (double)system.f_frsize +
                        (double)report_old_bytes(s->run.directory, is.st_dev);
    double bytes = (double)plan_bytes(run, plan);
    char one[32], there[32];
    zi_memory_text((size_t)bytes, one, sizeof one);
    zi_memory_text((size_t)free_bytes, there, sizeof there);
    if (bytes > free_bytes && written > 0)
        return zi_fail(ZI_ERROR_IO, "app",
                       "a checkpoint takes %s, and %s are free in %s; make room, choose another "
                       "run.directory, or make %s a link to a folder on a larger disk",
                       one, there, where, plan->directory);
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

enum zi_status save_room(const struct run *run, bool warn)
{
    struct save_plan plan;
    enum zi_status status = plan_make(run, &plan);
    if (status >= 0) status = compare_room(run, &plan, warn);
    plan_cleanup(&plan);
    return status;
}

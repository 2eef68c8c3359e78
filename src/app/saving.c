/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint on its way.
 *
 * The engine walks this rank's states and hands over each range with the address of its values; the
 * checkpoint room writes the range to its place under the tensor's name. Both know tensors and
 * element numbers, so no rank needs to know what others write, and the file does not depend on how
 * many ranks there are. The model travels in the header as a line of YAML.
 *
 * Training stands still while the file is laid out, and, some steps later, while rank 0 stores the
 * header. In between the next training step takes the states on the way (train-save): where they
 * pass through host memory anyway they are written to both places from there, and the step's own
 * update waits for what of them is still at home. After it threads make the file durable, and each
 * step that follows asks whether all ranks' have. The last checkpoint of a run is waited for. */
#include "app/save_plan.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/lock.h"
#include "app/report.h"
#include "base/log.h"
#include "base/timing.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/form.h"

static enum zi_status save_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    struct saving *saving = context;
    double start = zi_time_s();
    enum zi_status status =
        checkpoint_write(saving->checkpoint, kind, tensor, first, count, values);
    saving->busy_s += zi_time_s() - start;
    return status;
}

enum zi_status saving_folder(const struct run *run, char *path)
{
    return report_path(run->setup.settings->run.directory, "checkpoints", path);
}

enum zi_status save_plan_make(const struct run *run, struct save_plan *plan)
{
    static const unsigned modes[] = {
        [CHECKPOINT_OWNER] = 0600, [CHECKPOINT_GROUP] = 0640, [CHECKPOINT_ALL] = 0644};
    const struct settings *s = run->setup.settings;
    const struct zero_config *c = &run->setup.config;
    const struct model *model = run->setup.model;
    plan->model_text = NULL;
    plan->tensors = setup_list_tensors(model);
    if (!plan->tensors) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a list of tensors");
    ZI_TRY(saving_folder(run, plan->directory));
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
        .lacks = TIER_MOMENTS - c->states,
        .model_text = plan->model_text,
        .mode = modes[s->checkpoint.mode],
    };
    return ZI_OK;
}

void save_plan_cleanup(struct save_plan *plan)
{
    free(plan->model_text);
    free(plan->tensors);
}

static int64_t plan_bytes(const struct run *run, const struct save_plan *plan)
{
    return checkpoint_bytes(&plan->header, plan->tensors, run->setup.model->tensor_count);
}

enum zi_status saving_bytes(const struct run *run, int64_t *bytes)
{
    struct save_plan plan;
    enum zi_status status = save_plan_make(run, &plan);
    if (status >= 0) *bytes = plan_bytes(run, &plan);
    save_plan_cleanup(&plan);
    return status;
}

/* Collective. The file, laid out. */
static enum zi_status begin(struct run *run)
{
    struct save_plan plan;
    struct saving *saving = &run->saving;
    const struct settings_checkpoint *s = &run->setup.settings->checkpoint;
    *saving = (struct saving){
        .step = run->good,
        .keep = {s->keep == 1 ? 2 : s->keep, s->keep_every},
        .begun_s = zi_time_s(),
        .before_s = run->step_s,
        .report = run->reported >= 0 ? run->report : NULL,
    };
    enum zi_status status = save_plan_make(run, &plan);
    if (status >= 0 && run->lock) status = lock_check(run->lock);
    status = comm_agree(run->comm, status);
    if (status >= 0 && !run->form)
        status = checkpoint_form_create(run->comm, plan.directory, &plan.header, plan.tensors,
                                        run->setup.model->tensor_count, &run->form);
    if (status >= 0) status = checkpoint_begin(run->form, &plan.header, &saving->checkpoint);
    if (status >= 0) {
        saving->bytes = plan_bytes(run, &plan);
        snprintf(saving->place, sizeof saving->place, "%s",
                 checkpoint_get_writing(saving->checkpoint).place);
    }
    save_plan_cleanup(&plan);
    saving->asked = control_take_request(&run->control);
    saving->still_s = zi_time_s() - saving->begun_s;
    return status;
}

/* All states of this rank are written: what is left is to make them durable. In the engine's thread,
 * while the step goes on and nothing is reported. A run that goes on from the checkpoint needs the
 * rows up to it, a power cut or not. */
static void seal(void *context)
{
    struct saving *saving = context;
    if (saving->report) (void)report_sync(saving->report);
    checkpoint_seal(saving->checkpoint, saving->keep);
}

/* Rank 0. A checkpoint is there: what it took. A row that cannot be written ends the run like one of
 * a step. */
static void note(struct run *run, struct checkpoint_writing writing)
{
    const struct saving *saving = &run->saving;
    struct report_checkpoint row = {
        .step = saving->step,
        .place = saving->place,
        .bytes = saving->bytes,
        .seconds = writing.end_s - saving->begun_s,
        .written_s = saving->busy_s + writing.seconds,
        .still_s = saving->still_s,
        .over_s = saving->over_s,
        .before_s = saving->before_s,
    };
    row.can_key = plan_node_file_rate(&run->node, run->nodes, &row.can_bytes_per_s);
    control_saved(&run->control, saving->still_s, row.written_s);
    if (saving->asked) control_answer(run);
    progress_checkpoint(&row, stdout);
    if (run->report && run->reported >= 0) run->reported = report_checkpoint(run->report, &row);
}

/* Collective. The end of a checkpoint, as it came out. */
static enum zi_status conclude(struct run *run, enum zi_status status)
{
    struct saving *saving = &run->saving;
    struct checkpoint_writing writing = {0};
    if (status >= 0) writing = checkpoint_get_writing(saving->checkpoint);
    checkpoint_close(saving->checkpoint);
    saving->checkpoint = NULL;
    run->progress.checkpoint_s += saving->still_s;
    if (status < 0) return status;
    run->saved = saving->step;
    if (run->lock) note(run, writing);
    return ZI_OK;
}

void saving_note_step(struct run *run, double seconds)
{
    struct saving *saving = &run->saving;
    run->step_s = seconds;
    if (!saving->checkpoint || saving->taken) return;
    saving->over_s = seconds;
    saving->taken = true;
}

enum zi_status saving_advance(struct run *run, bool waits)
{
    struct saving *saving = &run->saving;
    bool done = false;
    double start = zi_time_s();
    if (!saving->checkpoint) return ZI_OK;
    if (!saving->taken) {
        if (!waits) return ZI_OK;
        checkpoint_close(saving->checkpoint);
        saving->checkpoint = NULL;
        return ZI_OK;
    }
    enum zi_status status = checkpoint_advance(saving->checkpoint, waits, &done);
    saving->still_s += zi_time_s() - start;
    return done ? conclude(run, status) : ZI_OK;
}

enum zi_status saving_lay(struct run *run)
{
    enum zi_status before = saving_advance(run, true);
    if (before < 0 && before != ZI_ERROR_IO && before != ZI_ERROR_NUMERICS) return before;
    ZI_TRY(begin(run));
    engine_save_over(run->engine, save_range, seal, &run->saving);
    return ZI_OK;
}

enum zi_status saving_whole(struct run *run)
{
    struct saving *saving = &run->saving;
    ZI_TRY(begin(run));
    double start = zi_time_s();
    enum zi_status status = engine_save(run->engine, save_range, saving);
    status = comm_agree(run->comm, status);
    saving->still_s += zi_time_s() - start;
    if (status >= 0) {
        seal(saving);
        saving->taken = true;
        return saving_advance(run, true);
    }
    return conclude(run, status);
}

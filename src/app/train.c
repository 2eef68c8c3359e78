/* SPDX-License-Identifier: Apache-2.0 */
/* The training loop.
 *
 * All ranks go through it together and must leave it together, so everything that one rank alone
 * may find (a token out of vocabulary in its part of a batch, a full disk under rank 0's record, a
 * signal) is put into one agreement at the start of each step: the worst status of all ranks
 * decides for all. Inside a step ranks wait for each other in collectives; an error there cannot be
 * agreed upon and ends the job.
 *
 * A request to stop (control.h) is looked at between steps: the step at hand is finished, and the
 * run ends with a checkpoint as if it had been the last. A validation ends at its next batch; its
 * step has no validation loss then. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "app/lock.h"
#include "app/run.h"
#include "base/log.h"
#include "base/timing.h"

static bool is_due(int64_t every, int64_t done, int64_t steps)
{
    return every > 0 && (done % every == 0 || done == steps);
}

/* Rank 0. Files first, then the line, so that what was said is also there; with each line is looked
 * whether the run directory is. */
static enum zi_status report_all(struct run *run, const struct report_row *row,
                                 const struct engine_result *result)
{
    const struct settings_run *s = &run->setup.settings->run;
    ZI_TRY(report_step(run->report, row));
    if (row->step % s->report_every == 0 || row->step == s->steps) {
        ZI_TRY(report_timings(run->report, row->step, run->engine));
        ZI_TRY(lock_check(run->lock));
        ZI_TRY(report_check(run->report));
    }
    progress_step(&run->progress, row, result, stdout);
    return ZI_OK;
}

/* Rank 0. A step that could not teach anything. */
static void note_masked(const struct run *run, const struct engine_result *result)
{
    if (result->targets == 0 && comm_rank(run->comm) == 0)
        zi_log(ZI_LOG_WARN, "app",
               "no target of step %" PRId64
               " counts, by the masks of data.train: its loss and its gradient are 0",
               run->done + 1);
}

/* Collective. The step numbered run->done. */
static enum zi_status train_step(struct run *run, struct engine_result *result)
{
    const struct settings *s = run->setup.settings;
    const struct zero_config *c = &run->setup.config;
    double start = zi_time_s();
    enum zi_status status = run->reported;
    if (status >= 0) status = run_read_batch(run, run->train, run->done);
    if (status >= 0) status = control_check(run);
    ZI_TRY(control_agree(run, status));
    struct report_bytes before = report_kernel_bytes();
    ZI_TRY(run_guard(run, engine_train(run->engine, run->done, result)));
    saving_note_step(run, result->seconds);
    note_masked(run, result);
    struct report_bytes after = report_kernel_bytes();
    double seconds = zi_time_s() - start, tokens = (double)(c->global * c->tokens);
    run->done++;
    if (!result->skipped) {
        run->good = run->done;
        run->scaling = engine_scaling(run->engine);
    }
    struct report_row row = {
        .step = run->done,
        .tokens = run->done * c->global * c->tokens,
        .loss = result->loss,
        .gradient_norm = result->norm,
        .learning_rate = result->learning_rate,
        .seconds = seconds,
        .tokens_per_s = tokens / seconds,
        .loss_scale = result->loss_scale,
        .targets = result->targets,
        .skipped = result->overflowed ? REPORT_LOWERED
                   : result->skipped  ? REPORT_NOT_FINITE
                                      : REPORT_KEPT,
        .speculated = (int)result->guess,
        .checksum = result->checksum,
        .validation_loss = NAN,
        .disk_busy_s = result->disk_busy_s,
        .disk_read_bytes = (int64_t)result->read_bytes,
        .disk_written_bytes = (int64_t)result->written_bytes,
        .io_read_bytes = after.read < 0 ? -1 : after.read - before.read,
        .io_written_bytes = after.written < 0 ? -1 : after.written - before.written,
    };
    memcpy(row.wait_s, result->wait_s, sizeof row.wait_s);
    if (run->validation && is_due(s->data.validation_every, run->done, s->run.steps))
        status = validate(run, &row.validation_loss);
    if (status < 0 && status != ZI_STOPPED) return status;
    if (run->report) run->reported = report_all(run, &row, result);
    return status < 0 ? comm_agree(run->comm, run->reported < 0 ? run->reported : status) : ZI_OK;
}

/* All ranks see the same results, so they decide alike. */
static enum zi_status give_up(const struct run *run, int64_t in_a_row)
{
    if (comm_rank(run->comm) == 0) advise_numerics(run, in_a_row);
    return ZI_ERROR_NUMERICS;
}

enum zi_status train_loop(struct run *run)
{
    const struct settings *s = run->setup.settings;
    struct engine_result result;
    int64_t in_a_row = 0;
    while (run->done < s->run.steps) {
        ZI_TRY(train_step(run, &result));
        if (!result.overflowed) in_a_row = result.skipped ? in_a_row + 1 : 0;
        if (in_a_row >= s->run.nonfinite_limit) return give_up(run, in_a_row);
        ZI_TRY(level_save(run, result.skipped));
        ZI_TRY(save_when_due(run, result.skipped));
    }
    return comm_agree(run->comm, run->reported);
}

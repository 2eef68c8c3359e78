/* SPDX-License-Identifier: Apache-2.0 */
/* Validation, and how batches get to the engine.
 *
 * A validation is the mean loss over all targets of the chosen windows of a file. The engine takes
 * batches of batch.global sequences and gives their mean over all places; places beyond the last
 * window have targets that count for nothing (data/sampler.h). So its means are turned back into
 * sums, and the sum of all batches is divided by the number of targets that count: the value is the
 * same whatever the batch, the micro-batch and the ranks, up to the order of sums.
 *
 * A validation may take long. Between batches all ranks agree anyway, on whether the data could be
 * read, and so they agree on whether to stop. */
#include <inttypes.h>

#include "app/run.h"
#include "base/timing.h"

enum zi_status run_read_batch(struct run *run, struct sampler *sampler, int64_t step)
{
    const struct zero_config *c = &run->setup.config;
    int32_t *inputs = engine_inputs(run->engine), *targets = engine_targets(run->engine);
    for (int micro = 0; micro < c->micro_batches; micro++) {
        int64_t first, count = zero_sequences(c, comm_rank(run->comm), micro, &first);
        if (count == 0) break;
        ZI_TRY(sampler_read(sampler, step, first, count, inputs, targets));
        inputs += count * c->tokens;
        targets += count * c->tokens;
    }
    return ZI_OK;
}

static enum zi_status add_batch(struct run *run, int64_t step, double *sum)
{
    const struct zero_config *c = &run->setup.config;
    struct engine_result result;
    enum zi_status status = run_read_batch(run, run->validation, step);
    if (status >= 0) status = control_check(run);
    ZI_TRY(comm_agree(run->comm, status));
    ZI_TRY(run_guard(run, engine_validate(run->engine, &result)));
    *sum += result.loss * (double)(c->global * c->tokens);
    return ZI_OK;
}

enum zi_status validate(struct run *run, double *loss)
{
    double sum = 0, start = zi_time_s();
    int64_t steps = sampler_steps(run->validation);
    enum zi_status status = ZI_OK;
    for (int64_t step = 0; step < steps && status >= 0; step++)
        status = add_batch(run, step, &sum);
    if (status >= 0) *loss = sum / (double)sampler_targets(run->validation);
    run->progress.validation_s += zi_time_s() - start;
    return status;
}

static void print_training(const struct run *run)
{
    int64_t windows = sampler_windows(run->train), global = run->setup.settings->batch.global;
    double epochs = (double)run->setup.settings->run.steps * (double)global / (double)windows;
    printf("training on %" PRId64 " sequence%s of %s, %.3g times\n", windows,
           windows == 1 ? "" : "s", tokens_path(run->train_tokens), epochs);
    if (windows < global)
        printf("a step takes %" PRId64
               " sequences (batch.global), so they repeat within each step\n",
               global);
}

void print_data(const struct run *run)
{
    print_training(run);
    if (run->validation && run->setup.settings->data.validation_every > 0) {
        int64_t windows = sampler_windows(run->validation);
        int64_t chosen = sampler_chosen(run->validation);
        printf("validation on %" PRId64 " of %" PRId64 " sequence%s of %s%s: %" PRId64
               " tokens, each once\n",
               chosen, windows, windows == 1 ? "" : "s", tokens_path(run->validation_tokens),
               chosen < windows ? ", evenly spread (data.validation_sequences)" : "",
               sampler_targets(run->validation));
    }
    printf("\n");
}

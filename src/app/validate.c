/* SPDX-License-Identifier: Apache-2.0 */
/* Validation, and how batches get to the engine.
 *
 * A validation is the mean loss over all targets of the chosen windows of a file. The engine takes
 * batches of batch.global sequences and gives their mean over all places, or over the targets that
 * count where data have masks; places beyond the last window have targets that count for nothing
 * (data/sampler.h). So its means are turned back into sums, and the sum of all batches is divided by
 * the number of targets that count: the value is the same whatever the batch, the micro-batch and
 * the ranks, up to the order of sums.
 *
 * A validation may take long. Between batches all ranks agree anyway, on whether the data could be
 * read, and so they agree on whether to stop. */
#include <inttypes.h>
#include <stdio.h>

#include "app/run.h"
#include "base/log.h"
#include "base/timing.h"

enum { REPEATS_MOST = 4 }; /* epochs of a source of a mixture, without a warning */

enum zi_status run_read_batch(struct run *run, struct sampler *sampler, int64_t step)
{
    const struct zero_config *c = &run->setup.config;
    int32_t *inputs = engine_inputs(run->engine), *targets = engine_targets(run->engine);
    int32_t *positions = engine_positions(run->engine);
    for (int micro = 0; micro < c->micro_batches; micro++) {
        int64_t first, count = zero_sequences(c, comm_rank(run->comm), micro, &first);
        if (count == 0) break;
        ZI_TRY(sampler_read(sampler, step, first, count, inputs, targets));
        if (positions) {
            sampler_positions(sampler, step, first, count, positions);
            positions += count * c->tokens;
        }
        inputs += count * c->tokens;
        targets += count * c->tokens;
    }
    return ZI_OK;
}

/* Losses of all targets that count, and their number where some do not. */
struct sums {
    double loss;
    int64_t targets;
};

static enum zi_status add_batch(struct run *run, int64_t step, struct sums *sums)
{
    struct engine_result result;
    enum zi_status status = run_read_batch(run, run->validation, step);
    if (status >= 0) status = control_check(run);
    ZI_TRY(comm_agree(run->comm, status));
    ZI_TRY(run_guard(run, engine_validate(run->engine, &result)));
    sums->loss += result.loss * (double)result.targets;
    sums->targets += result.targets;
    return ZI_OK;
}

enum zi_status validate(struct run *run, double *loss)
{
    struct sums sums = {0};
    double start = zi_time_s();
    int64_t steps = sampler_steps(run->validation);
    enum zi_status status = ZI_OK;
    for (int64_t step = 0; step < steps && status >= 0; step++)
        status = add_batch(run, step, &sums);
    if (!run->masked) sums.targets = sampler_targets(run->validation);
    if (status >= 0) *loss = sums.loss / (double)sums.targets;
    run->progress.validation_s += zi_time_s() - start;
    return status;
}

/* " in 12 files", where there are several. */
static const char *files_text(int files, char text[32])
{
    text[0] = 0;
    if (files > 1) snprintf(text, 32, " in %d files", files);
    return text;
}

/* What a run takes of a source, of its `sequences` in all. */
static void print_source(const struct run *run, int number, double sequences)
{
    const struct corpus_source *source = corpus_source(run->train_corpus, number);
    struct sampler_part part = sampler_part(run->train, number);
    double share = (double)part.slots / SAMPLER_BLOCK;
    double epochs = sequences * share / (double)part.windows;
    char files[32];
    printf("  %.3g %% of the sequences of a run, %.3g times the %" PRId64 " of %s%s\n", 100 * share,
           epochs, part.windows, source->name, files_text(source->count, files));
    if (epochs > REPEATS_MOST)
        zi_log(ZI_LOG_WARN, "app",
               "%s is gone through %.3g times, of which those after about the %dth teach less and "
               "less: use more text of its kind, fewer steps, or a lower weight in data.train",
               source->name, epochs, (int)REPEATS_MOST);
}

/* How full the sequences are that documents of a source were packed into. */
static void print_packed(const struct corpus *corpus, const struct sampler *sampler, int64_t length)
{
    struct sampler_part all = {0};
    for (int i = 0; i < corpus_source_count(corpus); i++) {
        struct sampler_part part = sampler_part(sampler, i);
        all.documents += part.documents;
        all.packed += part.packed;
        all.places += part.places;
    }
    if (all.documents > 0)
        printf("%" PRId64 " document%s packed into %" PRId64 " sequence%s, of which %.3g %% is "
               "taken\n",
               all.documents, all.documents == 1 ? "" : "s", all.packed, all.packed == 1 ? "" : "s",
               100 * (double)all.places / ((double)all.packed * (double)length));
}

static void print_passed(const struct corpus *corpus, const struct sampler *sampler)
{
    int passed = 0;
    for (int i = 0; i < corpus_source_count(corpus); i++)
        passed += sampler_part(sampler, i).passed;
    if (passed > 0)
        printf("%d of %d files are too short for a sequence, and passed over\n", passed,
               corpus_shard_count(corpus));
}

static void print_training(const struct run *run)
{
    const struct corpus *corpus = run->train_corpus;
    int64_t windows = sampler_windows(run->train), global = run->setup.settings->batch.global;
    double sequences = (double)run->setup.settings->run.steps * (double)global;
    int sources = corpus_source_count(corpus);
    const char *name = sources > 1 ? "data.train" : corpus_source(corpus, 0)->name;
    char files[32];
    if (corpus_shard_count(corpus) == 1) name = corpus_name(corpus);
    printf("training on %" PRId64 " sequence%s of %s%s", windows, windows == 1 ? "" : "s", name,
           files_text(corpus_shard_count(corpus), files));
    if (sources == 1) printf(", %.3g times", sequences / (double)windows);
    printf("\n");
    for (int i = 0; i < sources && sources > 1; i++)
        print_source(run, i, sequences);
    print_packed(corpus, run->train, run->setup.config.tokens);
    print_passed(corpus, run->train);
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
        char files[32];
        printf("validation on %" PRId64 " of %" PRId64 " sequence%s of %s%s%s: %" PRId64
               " tokens, each once\n",
               chosen, windows, windows == 1 ? "" : "s", corpus_name(run->validation_corpus),
               files_text(corpus_shard_count(run->validation_corpus), files),
               chosen < windows ? ", evenly spread (data.validation_sequences)" : "",
               sampler_targets(run->validation));
        print_packed(run->validation_corpus, run->validation, run->setup.config.tokens);
        print_passed(run->validation_corpus, run->validation);
    }
    printf("\n");
}

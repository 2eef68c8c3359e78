/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf run`: from a deck to a trained model.
 *
 * The stages are in an order in which mistakes are found early and cheaply: deck, data files, run
 * directory, device, program (does it fit?), tokens, room for checkpoints, and only then memory and
 * the first output. Each stage ends in an agreement of all ranks. Where all ranks would find the
 * same mistake, rank 0 looks first and the others only when it found nothing, so that it is said
 * once.
 *
 * Rank 0 reads the deck and sends its bytes to the others: one read of a shared file system, and
 * all ranks certainly see the same text. The run directory must be the same for all of them, too,
 * which its lock tells.
 *
 * Whatever ends a run after its outputs were opened, memory.csv and the last rows of timings.csv
 * are written, and where a checkpoint is due neither a trace nor a report that fails keeps it from
 * being written. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/tokenized.h"
#include "app/output.h"
#include "app/resume.h"
#include "app/run.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/version.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/form.h"
#include "compiler/placement.h"
#include "hf/model.h"
#include "program/trace.h"

#define PEAK_SECONDS 0.15

enum { SHARED_TRIES = 50, SHARED_WAIT_US = 100000 };

static bool is_first(const struct run *run)
{
    return comm_rank(run->comm) == 0;
}

/* Collective. A stage that may fail on all ranks alike. */
static enum zi_status first_alone(struct run *run, enum zi_status (*stage)(struct run *run))
{
    enum zi_status status = is_first(run) ? stage(run) : ZI_OK;
    ZI_TRY(comm_agree(run->comm, status));
    if (!is_first(run)) status = stage(run);
    return comm_agree(run->comm, status);
}

/* Rank 0. The last file of the run, with the status that all ranks leave with. */
static enum zi_status write_end(const struct run *run, enum zi_status status)
{
    if (!run->ends) return ZI_OK; /* there may be no settings either */
    const struct settings_run *s = &run->setup.settings->run;
    ZI_TRY(lock_check(run->lock));
    return report_end(s->directory, &(struct report_end){status, run->done, s->steps, run->saved,
                                                         control_reason(&run->control)});
}

enum zi_status run_guard(struct run *run, enum zi_status status)
{
    bool agreed = status == ZI_STOPPED; /* a stop never is one rank's alone */
    if (status >= 0 || agreed || comm_size(run->comm) == 1) return status;
    (void)run_end_report(run);
    (void)write_end(run, status);
    comm_abort(run->comm, status);
}

/* Collective. Rank 0's text, of `*bytes` and a 0 behind it, to all; the others' own is freed. */
static enum zi_status share_text(struct run *run, char **text, int64_t *bytes)
{
    enum zi_status status = ZI_OK;
    ZI_TRY(comm_broadcast(run->comm, bytes, (int64_t)sizeof *bytes, 0));
    if (!is_first(run)) {
        free(*text);
        *text = calloc((size_t)*bytes + 1, 1);
        if (!*text) status = zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the deck");
    }
    ZI_TRY(comm_agree(run->comm, status));
    return comm_broadcast(run->comm, *text, *bytes, 0);
}

static enum zi_status share_deck(struct run *run)
{
    enum zi_status status = ZI_OK;
    if (is_first(run))
        status = setup_read_file(run->options->words[0], &run->deck_text, &run->deck_bytes);
    ZI_TRY(comm_agree(run->comm, status));
    return share_text(run, &run->deck_text, &run->deck_bytes);
}

/* Collective. Variables in paths may differ between ranks. That is right for disks of nodes; the
 * used deck is rank 0's, and the directory must be one. */
static enum zi_status share_used(struct run *run)
{
    const char *own = run->setup.settings->run.directory;
    char *first = strdup(own);
    enum zi_status status = ZI_OK;
    if (!first) status = zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the deck");
    ZI_TRY(comm_agree(run->comm, status));
    int64_t bytes = (int64_t)strlen(first);
    status = share_text(run, &first, &bytes);
    if (status >= 0 && strcmp(first, own) != 0)
        status =
            zi_fail(ZI_ERROR_USAGE, "app",
                    "run.directory is %s on this rank and %s on rank 0, but must be one folder "
                    "for all; give all ranks the same variables, or write the path out",
                    own, first);
    free(first);
    ZI_TRY(comm_agree(run->comm, status));
    bytes = (int64_t)strlen(run->used_text);
    return share_text(run, &run->used_text, &bytes);
}

static enum zi_status stage_deck(struct run *run)
{
    int count;
    const char *const *given = options_all(run->options, "--set", &count);
    const char **sets = calloc((size_t)count + 1, sizeof *sets);
    if (!sets) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the options");
    for (int i = 0; i < count; i++)
        sets[i] = given[i];
    if (options_given(run->options, "--reclaim")) sets[count++] = "nvme.reclaim=yes";
    enum zi_status status = setup_parse(&run->setup, run->deck_text, run->deck_bytes,
                                        run->options->words[0], sets, count, comm_size(run->comm));
    free(sets);
    ZI_TRY(status);
    if (is_first(run))
        ZI_TRY(setup_read_machine(options_text(run->options, "--machine", NULL), &run->node));
    if (is_first(run)) deck_warn(run->setup.deck);
    return deck_echo(run->setup.deck, &run->used_text);
}

/* A validation has a target that counts, which masks may leave out; found before the first step. */
static enum zi_status check_validation(const struct run *run, int64_t length)
{
    int64_t places = run->setup.settings->batch.global * length;
    int32_t *ids = malloc(2 * (size_t)places * sizeof *ids);
    enum zi_status status = ZI_OK;
    bool found = false;
    if (!ids) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a batch of data.validation");
    for (int64_t step = 0; step < sampler_steps(run->validation) && !found && status >= 0; step++) {
        status = sampler_read(run->validation, step, 0, run->setup.settings->batch.global, ids,
                              ids + places);
        for (int64_t i = 0; i < places && !found && status >= 0; i++)
            found = ids[places + i] >= 0;
    }
    free(ids);
    if (status < 0 || found) return status;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "no target of the %" PRId64
                   " sequences of data.validation counts, by the masks of its files: name others, "
                   "or set data.validation_every to never",
                   sampler_chosen(run->validation));
}

static enum zi_status open_data(struct run *run, const struct corpus_lines *lines)
{
    enum { SEQUENCES = 1024 }; /* of a validation, where the deck says auto */
    const struct settings *s = run->setup.settings;
    const struct settings_data *data = &s->data;
    int64_t length = s->batch.tokens == ZI_AUTO ? s->model.context : s->batch.tokens;
    int64_t most = data->validation_sequences == ZI_AUTO ? SEQUENCES : data->validation_sequences;
    struct corpus_wanted wanted = {.key = "data.train",
                                   .sources = &data->train,
                                   .format = data->format,
                                   .type = data->type,
                                   .vocabulary = s->model.vocabulary,
                                   .packing = data->packing,
                                   .lines = lines};
    ZI_TRY(corpus_open(&wanted, &run->train_corpus));
    ZI_TRY(sampler_create(run->train_corpus, (uint64_t)s->run.seed, s->batch.global, length, 1,
                          &run->train));
    if (data->validation.count == 0) return ZI_OK;
    wanted.key = "data.validation";
    wanted.sources = &data->validation;
    ZI_TRY(corpus_open(&wanted, &run->validation_corpus));
    ZI_TRY(sampler_create_once(run->validation_corpus, most, s->batch.global, length,
                               &run->validation));
    return sampler_masks(run->validation) ? check_validation(run, length) : ZI_OK;
}

static enum zi_status stage_data(struct run *run)
{
    struct tokenized tokenized = {.settings = run->setup.settings, .makes = is_first(run)};
    const struct corpus_lines found = {tokenized_find, &tokenized};
    enum zi_status status = open_data(run, &found);
    tokenized_close(&tokenized);
    return status;
}

/* Whether this rank sees the lock that rank 0 has taken. A network file system may be slow to tell.
 */
static enum zi_status see_lock(const char *directory, const char *text, bool needed)
{
    for (int i = 0; i < SHARED_TRIES; i++) {
        if (lock_seen(directory, text)) return ZI_OK;
        usleep(SHARED_WAIT_US);
    }
    if (needed)
        return zi_fail(ZI_ERROR_IO, "app",
                       "run.directory %s is not the folder that rank 0 sees; choose one on a file "
                       "system that all nodes share",
                       directory);
    zi_log(
        ZI_LOG_WARN, "app",
        "run.directory %s is not the folder that rank 0 sees: a stop could not save a checkpoint",
        directory);
    return ZI_OK;
}

/* Rank 0. Removes what a killed job has left of a checkpoint, before room is looked for. */
static enum zi_status clear_checkpoints(const struct run *run)
{
    char folder[PATH_MAX];
    ZI_TRY(saving_folder(run, folder));
    checkpoint_clear(folder);
    return ZI_OK;
}

/* Collective. From here on the end of the run is written into its directory. That of an earlier run
 * goes first, also while its outputs still stand: who reads end.yaml asks for the run that he has
 * started, which may be killed at any moment. */
static enum zi_status begin_end(struct run *run)
{
    enum zi_status status = ZI_OK;
    run->ends = is_first(run);
    if (run->ends) status = report_end_remove(run->setup.settings->run.directory);
    if (run->ends && status >= 0) status = control_clear(run->setup.settings->run.directory);
    if (run->ends && status >= 0 && run->resumes) status = clear_checkpoints(run);
    return comm_agree(run->comm, status);
}

/* Collective. */
static enum zi_status stage_directory(struct run *run)
{
    const struct settings *s = run->setup.settings;
    const char *directory = s->run.directory;
    bool needed = save_count(s) > 0 || s->run.trace > 0;
    char text[LOCK_TEXT] = "";
    enum zi_status status = ZI_OK;
    enum report_existing existing = run->resumes                                 ? REPORT_CONTINUE
                                    : options_given(run->options, "--overwrite") ? REPORT_REPLACE
                                                                                 : REPORT_REFUSE;
    if (is_first(run)) status = report_prepare(directory, existing, &run->lock);
    if (status >= 0 && run->lock) snprintf(text, sizeof text, "%s", lock_text(run->lock));
    ZI_TRY(comm_agree(run->comm, status));
    ZI_TRY(begin_end(run));
    ZI_TRY(comm_broadcast(run->comm, text, sizeof text, 0));
    return comm_agree(run->comm, is_first(run) ? ZI_OK : see_lock(directory, text, needed));
}

static enum zi_status stage_device(struct run *run)
{
    struct device_share share = {comm_node_size(run->comm), comm_node_rank(run->comm)};
    return setup_open(&run->setup, share);
}

/* Collective. Says what runs, where. */
static enum zi_status print_banner(struct run *run)
{
    const struct device_properties *properties = &run->setup.description;
    const struct settings *s = run->setup.settings;
    const struct model *model = run->setup.model;
    uint64_t nodes = comm_node_rank(run->comm) == 0;
    char stamp[32], memory[32];
    ZI_TRY(comm_sum_uint64(run->comm, &nodes, 1));
    run->nodes = (int)nodes;
    if (!is_first(run)) return ZI_OK;
    printf("zinf %s (%s), %s\n", zi_version(), zi_version_revision(), zi_version_compiler());
    printf("%s: deck %s, %s\n", s->run.name, run->options->words[0],
           zi_time_stamp(stamp, sizeof stamp));
    printf("%d rank%s on %" PRIu64 " node%s, %d thread%s each, %s, %s free\n", comm_size(run->comm),
           comm_size(run->comm) == 1 ? "" : "s", nodes, nodes == 1 ? "" : "s", properties->threads,
           properties->threads == 1 ? "" : "s", properties->name,
           zi_memory_text(zi_memory_node_available(), memory, sizeof memory));
    printf("model: %" PRId64 " parameters in %d tensors, %s\n\n", model->parameters,
           model->tensor_count, zi_dtype_name(model->type));
    return ZI_OK;
}

static enum zi_status stage_program(struct run *run)
{
    struct setup *setup = &run->setup;
    setup->config.training = true;
    setup->config.packed =
        sampler_packs(run->train) || (run->validation && sampler_packs(run->validation));
    ZI_TRY(zero_resolve_all(setup->settings, &setup->description, run->comm, &setup->config));
    ZI_TRY(comm_agree(run->comm, setup_compile(setup)));
    if (!is_first(run)) return ZI_OK;
    program_print_memory(setup->program, stdout);
    zero_explain(setup->settings, &setup->config, stdout);
    printf("\n");
    print_data(run);
    fflush(stdout);
    return ZI_OK;
}

/* Collective. The peak of all ranks together, measured on all at once, as they will run. */
static enum zi_status measure_peak(struct run *run, struct device_peak *peak)
{
    ZI_TRY(comm_barrier(run->comm));
    ZI_TRY(comm_agree(run->comm, device_measure_peak(engine_stream(run->engine),
                                                     run->setup.model->type, PEAK_SECONDS, peak)));
    return comm_sum_doubles(run->comm, &peak->flops_per_s, 1);
}

/* The weights of model.from, for a run that begins. */
static enum zi_status stage_source(struct run *run)
{
    const char *from = run->setup.settings->model.from;
    if (!*from || run->from || run->level.from) return ZI_OK;
    ZI_TRY(source_open(from, is_first(run), &run->source));
    if (is_first(run)) printf("begins with the weights of %s\n", from);
    const char *adapters = run->setup.settings->model.adapter.from;
    if (*adapters) ZI_TRY(source_add_adapter(run->source, adapters));
    if (*adapters && is_first(run)) printf("and with the adapters of %s\n", adapters);
    if (is_first(run)) ZI_TRY(source_files(run->source, run->source_files));
    return source_match(run->source, run->setup.model, (uint64_t)run->setup.settings->run.seed);
}

static enum zi_status stage_engine(struct run *run)
{
    struct setup *setup = &run->setup;
    double start = zi_time_s();
    /* It has agreed on every step, and must end on all ranks: stores are removed on the way. */
    ZI_TRY(engine_create(setup->program, setup->device, run->comm, setup->settings, &run->engine));
    run->masked = sampler_masks(run->train) || (run->validation && sampler_masks(run->validation));
    if (run->masked) engine_mask(run->engine);
    run->layout_s = zi_time_s() - start;
    const struct settings_run *s = &setup->settings->run;
    int64_t rest = s->steps - run->begins;
    int64_t most = rest > TRACE_FIRST_STEP ? rest - TRACE_FIRST_STEP : 0;
    enum zi_status status = ZI_OK;
    if (s->trace > 0)
        status = engine_trace(run->engine, run->begins, s->trace < most ? s->trace : most);
    ZI_TRY(comm_agree(run->comm, status));
    start = zi_time_s();
    status = run_guard(run, resume_states(run));
    run->initial_s = zi_time_s() - start;
    return status;
}

/* Rank 0. What an export of the run's checkpoints puts back beside the weights. */
static enum zi_status keep_files(const struct run *run)
{
    char folder[PATH_MAX], files[PATH_MAX];
    ZI_TRY(saving_folder(run, folder));
    ZI_TRY(report_path(folder, "model.files", files));
    if (!run->source_files[0]) {
        hf_files_remove(files);
        return ZI_OK;
    }
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return zi_fail(ZI_ERROR_IO, "app", "cannot make the folder %s: %s", folder,
                       strerror(errno));
    return hf_files_copy(run->source_files, files, true);
}

/* Rank 0. The first outputs; those of an earlier run go now, when nothing else can go wrong. */
static enum zi_status open_outputs(struct run *run)
{
    const char *directory = run->setup.settings->run.directory;
    int64_t bytes;
    if (!is_first(run)) return ZI_OK;
    ZI_TRY(save_room(run, true)); /* once more: stores may have taken it */
    ZI_TRY(saving_bytes(run, &bytes));
    control_start(&run->control, bytes);
    /* Before rows are cut: a job that is killed in between leaves nothing newer than they are. */
    ZI_TRY(level_forget(run));
    if (run->begins == 0) ZI_TRY(report_clear(directory));
    if (run->begins == 0) ZI_TRY(keep_files(run));
    ZI_TRY(report_text(directory, "used.yaml", run->used_text));
    const struct report_start start = {run->begins, comm_size(run->comm), run->from_path};
    ZI_TRY(report_started(directory, &start));
    return report_open(directory, run->used_text, run->begins, &run->report);
}

/* Local. The clock of the steps starts. */
static void start_progress(struct run *run, double peak)
{
    const struct settings_run *s = &run->setup.settings->run;
    progress_start(&run->progress, s->steps, s->report_every);
    run->progress.begins = run->begins;
    run->progress.scales = run->setup.model->type == ZI_FP16;
    run->progress.total_steps = run->begins;
    run->progress.begun_s = run->begun_s;
    run->progress.layout_s = run->layout_s;
    run->progress.initial_s = run->initial_s;
    run->progress.peak = peak;
    run->progress.flops_per_token =
        model_flops_per_token(run->setup.model, run->setup.config.tokens);
}

static enum zi_status prepare(struct run *run)
{
    ZI_TRY(resume_asked(run->options, &run->resumes));
    ZI_TRY(share_deck(run));
    ZI_TRY(first_alone(run, stage_deck));
    ZI_TRY(share_used(run));
    enum zi_status status = first_alone(run, stage_data);
    if (status == ZI_STOPPED) ZI_TRY(stage_directory(run)); /* where the end is written */
    ZI_TRY(status);
    ZI_TRY(stage_directory(run));
    ZI_TRY(first_alone(run, stage_device));
    ZI_TRY(comm_use_device(run->comm, run->setup.device,
                           (enum sum_order)run->setup.settings->precision.order));
    ZI_TRY(print_banner(run));
    ZI_TRY(stage_program(run));
    ZI_TRY(resume_open(run));
    ZI_TRY(first_alone(run, stage_source));
    ZI_TRY(scan_data(run));
    ZI_TRY(comm_agree(run->comm, is_first(run) ? save_room(run, false) : ZI_OK));
    ZI_TRY(stage_engine(run));
    struct device_peak peak;
    ZI_TRY(measure_peak(run, &peak));
    ZI_TRY(comm_agree(run->comm, open_outputs(run)));
    ZI_TRY(level_begin(run));
    start_progress(run, peak.flops_per_s);
    if (is_first(run)) {
        printf("peak %.1f GF/s of %s measured; %.4g GF a token\n\n", peak.flops_per_s * 1e-9,
               peak.instructions, run->progress.flops_per_token * 1e-9);
        fflush(stdout);
    }
    return ZI_OK;
}

/* Collective. Peak resident memory of every rank, beside what the deck allows one. */
static enum zi_status print_memory(struct run *run)
{
    int ranks = comm_size(run->comm);
    const struct zero_config *c = &run->setup.config;
    char own[32], most[32], budget[32];
    uint64_t *peaks = calloc((size_t)ranks, sizeof *peaks), largest = 0;
    enum zi_status status =
        peaks ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a number per rank");
    status = comm_agree(run->comm, status);
    if (status >= 0) {
        peaks[comm_rank(run->comm)] = zi_memory_resident_peak();
        status = comm_sum_uint64(run->comm, peaks, ranks);
    }
    if (status >= 0 && is_first(run)) {
        for (int r = 0; r < ranks; r++)
            if (peaks[r] > largest) largest = peaks[r];
        size_t allowed = c->budget[ZI_TIER_DEVICE];
        if (!c->shared_budget) allowed += c->budget[ZI_TIER_HOST];
        printf("\npeak resident memory: %s on rank 0, %s at most; budget of a rank %s\n",
               zi_memory_text(peaks[0], own, sizeof own),
               zi_memory_text(largest, most, sizeof most),
               zi_memory_text(allowed, budget, sizeof budget));
    }
    free(peaks);
    return status;
}

enum zi_status run_end_report(struct run *run)
{
    if (!run->report || run->report_ended) return ZI_OK;
    run->report_ended = true;
    enum zi_status timings = report_timings(run->report, run->done, run->engine);
    enum zi_status rest = lock_check(run->lock);
    if (rest >= 0) rest = report_memory(run->setup.settings->run.directory);
    if (rest >= 0 && run->reported >= 0) rest = report_check(run->report);
    return timings < 0 ? timings : rest;
}

/* Rank 0. Which checkpoint there is, and why it may be an older one. */
static void print_end(const struct run *run, enum zi_status left)
{
    const struct settings *s = run->setup.settings;
    int64_t skipped = run->done - run->good;
    if (skipped > 0)
        printf("%" PRId64 " step%s skipped at the end: the states are those of step %" PRId64 "\n",
               skipped, skipped > 1 ? "s" : "", run->good);
    if (run->saved >= 0)
        printf("checkpoint of step %" PRId64 " in %s/checkpoints\n", run->saved, s->run.directory);
    if (skipped > 0 && run->saved == run->good && run->proven >= 0)
        printf("with its parameters no loss was finite; with those of step %" PRId64 " one was\n",
               run->proven);
    if (left == ZI_STOPPED)
        printf("stopped after step %" PRId64 " of %" PRId64 ": %s\n", run->done, s->run.steps,
               control_reason(&run->control));
}

/* Collective. The checkpoint that the end of the run wants. States that are not finite end a run
 * that was well so far. */
static enum zi_status save_last(struct run *run, enum zi_status left)
{
    const struct settings *s = run->setup.settings;
    bool wanted = left == ZI_STOPPED || (left >= 0 && s->checkpoint.final) ||
                  (left == ZI_ERROR_IO && save_count(s) > 0);
    enum zi_status status = wanted ? save_checkpoint(run) : save_finish(run);
    if (status == ZI_ERROR_NUMERICS && is_first(run))
        zi_log(ZI_LOG_ERROR, "app",
               "the parameters after step %" PRId64 " are not finite and were not saved; %s; try "
               "a lower optimizer.learning_rate",
               run->good,
               run->saved >= 0 ? "the last checkpoint stands" : "there is no checkpoint");
    if (status == ZI_ERROR_IO && is_first(run))
        zi_log(ZI_LOG_WARN, "app",
               "the checkpoint of step %" PRId64 " at the end of the run could not be written; %s",
               run->saving.step, run->saved >= 0 ? "the last one stands" : "there is none");
    return status;
}

/* Collective. Whether rank 0 could not report a step: its record is not whole, but the states are,
 * and what was computed since the last checkpoint is not to be lost. All ranks have this status. */
static bool is_unreported(struct run *run, enum zi_status left)
{
    int32_t unreported = run->reported < 0;
    return left == ZI_ERROR_IO &&
           comm_broadcast(run->comm, &unreported, sizeof unreported, 0) >= 0 && unreported;
}

/* Collective. What is due at the end of a loop that all ranks left alike with `left`; the first
 * error of this decides, after all of it was tried. */
static enum zi_status finish(struct run *run, enum zi_status left)
{
    const struct settings *s = run->setup.settings;
    enum zi_status saved = save_last(run, left), traced = ZI_OK, ended = ZI_OK;
    if (engine_get_trace(run->engine))
        traced = comm_agree(run->comm, is_first(run) ? lock_check(run->lock) : ZI_OK);
    if (engine_get_trace(run->engine) && traced >= 0)
        traced = report_trace(s->run.directory, engine_get_trace(run->engine), run->comm);
    if (is_first(run)) {
        ended = run_end_report(run);
        progress_summary(&run->progress, run->engine, stdout);
    }
    ended = comm_agree(run->comm, ended);
    ZI_TRY(level_end(run, saved < 0 ? saved : left));
    ZI_TRY(print_memory(run));
    if (is_first(run)) print_end(run, saved < 0 ? saved : left);
    ZI_TRY(saved);
    ZI_TRY(traced);
    ZI_TRY(ended);
    return left;
}

static void cleanup(struct run *run)
{
    engine_destroy(run->engine);
    checkpoint_close(run->saving.checkpoint);
    checkpoint_form_destroy(run->form);
    if (run->from) checkpoint_close(run->from);
    source_close(run->source);
    level_cleanup(run);
    if (run->train) sampler_destroy(run->train);
    if (run->validation) sampler_destroy(run->validation);
    corpus_close(run->train_corpus);
    corpus_close(run->validation_corpus);
    free(run->deck_text);
    free(run->used_text);
    (void)comm_use_device(run->comm, NULL, SUM_ORDERED);
    setup_cleanup(&run->setup);
    lock_release(run->lock);
}

enum zi_status run_command(struct comm *world, const struct options *options)
{
    struct run run = {.comm = world,
                      .options = options,
                      .saved = -1,
                      .proven = -1,
                      .begun_s = zi_time_s(),
                      .level = {.held = -1, .step = -1}};
    enum zi_status status = prepare(&run);
    if (status >= 0) {
        status = train_loop(&run);
        if (status >= 0 || status == ZI_STOPPED || status == ZI_ERROR_NUMERICS ||
            is_unreported(&run, status))
            status = finish(&run, status);
        else
            (void)save_finish(&run); /* what was begun is whole */
    }
    enum zi_status ended = run_end_report(&run), closed = report_close(run.report);
    if (status >= 0) status = ended;
    if (status >= 0) status = closed;
    if (status >= 0) status = output_standard_check();
    fflush(stdout);
    status = comm_agree(world, status);
    enum zi_status written = write_end(&run, status);
    if (status >= 0) status = written;
    cleanup(&run);
    return comm_agree(world, status);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of program, compiler and engine: a small model, a configuration made from a
 * deck, and a run of a few steps on tokens that depend on the step and the sequence alone. */
#ifndef ZI_REGRESSION_STEP_FIXTURE_H
#define ZI_REGRESSION_STEP_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "compiler/compiler.h"
#include "compiler/placement.h"
#include "device/apart/apart.h"
#include "engine/engine.h"

/* A deck of odd sizes; `extra` adds or changes sections through sets. */
__attribute__((unused)) static const char step_fixture_gpt2[] =
    "run: {steps: 20, seed: 3}\n"
    "model: {family: gpt2, layers: 3, hidden: 24, heads: 3, context: 19, vocabulary: 67}\n"
    "data: {train: none}\n"
    "batch: {global: 8, micro: 2, tokens: 17}\n"
    "optimizer: {learning_rate: 1e-2, clip: 0.5, schedule: constant, weight_decay: 0.1}\n";
__attribute__((unused)) static const char step_fixture_llama[] =
    "run: {steps: 20, seed: 3}\n"
    "model: {family: llama, layers: 3, hidden: 24, heads: 6, key_heads: 2, inner: 40, context: 19, "
    "vocabulary: 67}\n"
    "data: {train: none}\n"
    "batch: {global: 8, micro: 2, tokens: 17}\n"
    "optimizer: {learning_rate: 1e-2, clip: 0.5, schedule: constant, weight_decay: 0.1}\n";

/* Llama's kinds besides: heads of their own width, their norms, windows. */
__attribute__((unused)) static const char step_fixture_qwen3[] =
    "run: {steps: 20, seed: 3}\n"
    "model: {family: qwen3, layers: 3, hidden: 24, heads: 6, key_heads: 2, head_width: 6, inner: "
    "40, "
    "context: 19, vocabulary: 67, window: 5, full_every: 3}\n"
    "data: {train: none}\n"
    "batch: {global: 8, micro: 2, tokens: 17}\n"
    "optimizer: {learning_rate: 1e-2, clip: 0.5, schedule: constant, weight_decay: 0.1}\n";

#define STEP_FIXTURE_STEPS 3

/* What only a lack of memory chooses: fp32 sums of gradients that are on nvme are there too. */
__attribute__((unused)) static bool step_fixture_sums_on_disk;

/* And so few groups of the optimizer in memory; 0: as resolved, which is all of a small model. */
__attribute__((unused)) static int step_fixture_groups;

/* Sequences may have several texts. */
__attribute__((unused)) static bool step_fixture_packed;
/* For generation, with a cache of so many tokens; 0: for training. The cache is on the host. */
__attribute__((unused)) static int64_t step_fixture_cache;
__attribute__((unused)) static bool step_fixture_cache_on_host;

/* When the apart device, which is what device.type: cuda opens here, does its work. */
__attribute__((unused)) static enum apart_schedule step_fixture_schedule;
__attribute__((unused)) static uint64_t step_fixture_seed;

/* device.type: cuda opens the module of CUDA devices, emulated or not, and not the apart device. */
__attribute__((unused)) static bool step_fixture_cuda;

/* Changes an opened device, whose table of functions may be exchanged; or NULL. */
__attribute__((unused)) static void (*step_fixture_device)(struct device *device);

/* Changes the group of ranks once the engine is ready; or NULL. */
__attribute__((unused)) static void (*step_fixture_comm)(struct comm *comm);

/* Changes a checked program before it is run, for faults that must be seen; or NULL. */
__attribute__((unused)) static void (*step_fixture_plant)(struct program *program);

struct step_fixture_run {
    enum zi_status status;
    double loss[STEP_FIXTURE_STEPS], norm[STEP_FIXTURE_STEPS], validation;
    /* Before each step, after the last. */
    uint64_t checksum[STEP_FIXTURE_STEPS], last;
    bool skipped[STEP_FIXTURE_STEPS];
    float logits[130];
};

/* What a run is made of, opened by step_fixture_open and closed by step_fixture_close. */
struct step_fixture {
    struct deck *deck;
    struct device *device;
    struct model *model;
    struct partition *partition;
    struct program *program;
    struct zero_config config;
    int rank;
};

/* Collective. Goes into a new folder of the test's own under the current one, so that tests with
 * states on disk can run beside each other. */
static inline void step_fixture_enter(struct comm *comm, char name[32])
{
    strcpy(name, "step-test-XXXXXX");
    bool made = comm_rank(comm) != 0 || mkdtemp(name);
    if (!made || comm_broadcast(comm, name, 32, 0) < 0 || chdir(name) != 0) {
        perror(name);
        exit(1);
    }
}

/* Collective. The ranks of a test, in a new folder of its own; ends the program when there are none. */
static inline struct comm *step_fixture_start(int *argc, char ***argv, char name[32])
{
    struct comm *world;
    if (comm_start(argc, argv, &world) < 0) exit(99);
    zi_log_identify(comm_rank(world), comm_size(world));
    zi_log_set_level(ZI_LOG_WARN);
    step_fixture_enter(world, name);
    return world;
}

/* Collective. Leaves the folder; when no rank has anything in it any more, rank 0 removes it and the
 * folder `store` in it (NULL: none). */
static inline bool step_fixture_leave(struct comm *comm, const char *name, const char *store)
{
    if (comm_barrier(comm) < 0) return false;
    bool gone = !store || comm_rank(comm) != 0 || rmdir(store) == 0;
    if (chdir("..") != 0 || comm_barrier(comm) < 0) return false;
    return comm_rank(comm) != 0 || (rmdir(name) == 0 && gone);
}

/* Frees what has been made, all of it or a part. */
static inline void step_fixture_close(struct step_fixture *f)
{
    program_destroy(f->program);
    partition_destroy(f->partition);
    model_destroy(f->model);
    if (f->device) device_close(f->device);
    if (f->deck) deck_destroy(f->deck);
    memset(f, 0, sizeof *f);
}

/* Makes a checked program of a deck. `sets` is a list "section.key=value" ending in NULL. */
static inline enum zi_status step_fixture_open(struct step_fixture *f, const char *deck,
                                               const char *const *sets, int ranks, int rank)
{
    int count = 0;
    while (sets[count]) {
        count++;
    }
    memset(f, 0, sizeof *f);
    if (!step_fixture_cuda) apart_device_use(step_fixture_schedule, step_fixture_seed);
    ZI_TRY(deck_parse(deck, strlen(deck), "fixture", sets, count, &f->deck));
    struct settings *s = deck_settings(f->deck);
    s->device.threads = s->device.threads == ZI_AUTO ? 1 : s->device.threads;
    model_check(f->deck);
    optimizer_check(f->deck);
    zero_check(f->deck, ranks);
    ZI_TRY(deck_check(f->deck));
    ZI_TRY(device_open(&s->device, (struct device_share){ranks, rank}, &f->device));
    if (step_fixture_device) step_fixture_device(f->device);
    f->config.training = step_fixture_cache == 0;
    f->config.cache = step_fixture_cache;
    f->config.packed = step_fixture_packed;
    f->rank = rank;
    const struct zero_node node = {.ranks = 1};
    ZI_TRY(zero_resolve(s, device_get_properties(f->device), ranks, &node, &f->config));
    f->config.sums_on_disk = step_fixture_sums_on_disk;
    if (step_fixture_cache_on_host) f->config.cache_tier = ZI_TIER_HOST;
    if (step_fixture_groups > 0) f->config.groups = step_fixture_groups;
    ZI_TRY(model_create(&s->model, &f->config.tiling, f->config.compute, &f->model));
    ZI_TRY(partition_create(f->model, &s->optimizer, ranks, &f->partition));
    ZI_TRY(program_compile(f->model, f->partition, &f->config, &f->program));
    return program_check(f->program);
}

/* Token t of sequence j of a step. */
static inline int32_t step_fixture_token(int64_t step, int64_t sequence, int64_t t,
                                         int64_t vocabulary)
{
    uint64_t bits = zi_random_bits(11, (uint64_t)(step * 64 + sequence), (uint64_t)t);
    return (int32_t)(bits % (uint64_t)vocabulary);
}

/* Puts this rank's sequences of a step into the engine. */
static inline void step_fixture_fill(const struct step_fixture *f, struct engine *engine,
                                     int64_t step)
{
    int64_t tokens = f->config.tokens, row = 0;
    for (int m = 0; m < f->config.micro_batches; m++) {
        int64_t first, count = zero_sequences(&f->config, f->rank, m, &first);
        for (int64_t j = 0; j < count; j++, row++) {
            for (int64_t t = 0; t < tokens; t++) {
                int64_t v = f->model->settings.vocabulary;
                engine_inputs(engine)[row * tokens + t] = step_fixture_token(step, first + j, t, v);
                engine_targets(engine)[row * tokens + t] =
                    step_fixture_token(step, first + j, t + 1, v);
            }
        }
    }
}

/* Collective. Trains STEP_FIXTURE_STEPS steps of a deck, validates, and asks for logits. */
static inline struct step_fixture_run step_fixture_train(const char *deck, const char *const *sets,
                                                         struct comm *comm)
{
    struct step_fixture f;
    struct step_fixture_run run = {0};
    struct engine *engine = NULL;
    run.status = step_fixture_open(&f, deck, sets, comm_size(comm), comm_rank(comm));
    if (run.status >= 0 && step_fixture_plant) step_fixture_plant(f.program);
    if (run.status >= 0) run.status = comm_use_device(comm, f.device, SUM_ORDERED);
    if (run.status >= 0)
        run.status = engine_create(f.program, f.device, comm, deck_settings(f.deck), &engine);
    if (run.status >= 0) run.status = engine_initialize(engine);
    if (run.status >= 0 && step_fixture_comm) step_fixture_comm(comm);
    struct engine_result result;
    for (int step = 0; step < STEP_FIXTURE_STEPS && run.status >= 0; step++) {
        step_fixture_fill(&f, engine, step);
        run.status = engine_train(engine, step, &result);
        run.loss[step] = result.loss;
        run.norm[step] = result.norm;
        run.checksum[step] = result.checksum;
        run.skipped[step] = result.skipped;
    }
    if (run.status >= 0) {
        step_fixture_fill(&f, engine, 7);
        run.status = engine_validate(engine, &result);
        run.validation = result.loss;
    }
    if (run.status >= 0) run.status = engine_flush(engine);
    if (run.status >= 0) run.last = engine_checksum(engine);
    if (run.status >= 0) {
        int32_t ids[5] = {3, 1, 4, 1, 5};
        run.status = engine_logits(engine, ids, 5, run.logits);
    }
    engine_destroy(engine);
    (void)comm_use_device(comm, NULL, SUM_ORDERED);
    step_fixture_close(&f);
    return run;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Speculative updates change no bit. Beside a run with states in memory, whose updates are immediate:
 * - losses, norms and checksums of every step, and the parameters at the end, are the same, when
 *   guesses hold, when the step is clipped and they are dropped, and when an overflow in fp16 skips it;
 * - so they are with a validation, a save, a save laid over a step and a flush in between, whatever the
 *   guess before them was, and what is saved are the states of that step;
 * - how many guesses were tried, held and were dropped is what the norms say, and tries die out where
 *   most are dropped;
 * - an update in place of the next generation's, and a program that reads what is only guessed, are
 *   seen by the checker of programs.
 * Run under 1, 2 and 4 ranks. */
#include <math.h>

#include "engine/speculation.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { STEPS = 12, SETS_MOST = 12, VALIDATES = 3, SAVES = 5, SAVES_OVER = 7, FLUSHES = 9 };

#define STORED                                                                                     \
    "placement.parameters=nvme", "placement.optimizer=nvme", "nvme.paths=engine-speculate-store",  \
        "zero.group=4096"
static const char *const ways[][SETS_MOST] = {
    {STORED},
    {STORED, "placement.gradients=nvme", "placement.activations=nvme"},
    {STORED, "zero.stage=1", "zero.prefetch=0"},
    {STORED, "zero.stage=0", "activations.recompute=never"},
    {STORED, "zero.stage=1", "zero.order=micro-major"},
    {STORED, "zero.prefetch=4", "activations.recompute=always", "activations.interval=1"},
    {STORED, "device.type=cuda", "placement.gradients=host"},
    {STORED, "device.type=cuda", "placement.gradients=host", "zero.stage=2"},
    {STORED, "device.type=cuda", "zero.update_on=device"},
    {STORED, "device.type=cuda", "zero.update_on=device", "zero.stage=1", "zero.prefetch=1"},
};
enum { WAYS = (int)(sizeof ways / sizeof *ways) };

/* What a run has given. */
struct run {
    struct engine_result steps[STEPS];
    double validation;
    /* Sums over the ranks, of what was saved between steps and over a step. */
    struct saved {
        size_t parameter_bytes;
        uint64_t sum;
    } saved, saved_over;
    uint64_t last;
};

/* Sums bits of all that is saved, whatever rank has it. */
static enum zi_status sum_up(void *context, enum tier_kind kind, int tensor, int64_t first,
                             int64_t count, void *values)
{
    struct saved *saved = context;
    const unsigned char *bytes = values;
    size_t element = kind == TIER_PARAMETER ? saved->parameter_bytes : sizeof(float);
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, bytes + (size_t)i * element, element);
        saved->sum +=
            zi_random_bits((uint64_t)kind, (uint64_t)tensor, (uint64_t)(first + i)) * bits;
    }
    return ZI_OK;
}

static void no_more(void *context)
{
    (void)context;
}

/* Whether all targets of a step are one token, which makes for a large gradient. */
static bool is_loud(int step)
{
    return step == 2 || step == 5 || step == 6 || step == 10;
}

static void fill(const struct step_fixture *f, struct engine *engine, int step)
{
    int64_t count = f->config.micro_batches * f->config.micro * f->config.tokens;
    step_fixture_fill(f, engine, step);
    for (int64_t i = 0; is_loud(step) && i < count; i++)
        engine_targets(engine)[i] = step;
}

/* What comes between two steps. */
static void between(struct step_fixture *f, struct engine *engine, int step, struct run *run)
{
    struct engine_result result;
    if (step == VALIDATES) {
        step_fixture_fill(f, engine, 77);
        CHECK_INT(engine_validate(engine, &result), ZI_OK);
        run->validation = result.loss;
    }
    if (step == SAVES) CHECK_INT(engine_save(engine, sum_up, &run->saved), ZI_OK);
    if (step == SAVES_OVER) engine_save_over(engine, sum_up, no_more, &run->saved_over);
    if (step == FLUSHES) CHECK_INT(engine_flush(engine), ZI_OK);
}

static struct run train(const char *deck, const char *const *common, const char *const *way,
                        struct comm *comm)
{
    const char *sets[2 * SETS_MOST];
    struct step_fixture f;
    struct engine *engine;
    struct run run = {.validation = 0};
    int count = 0;
    for (int i = 0; i < SETS_MOST && common[i]; i++)
        sets[count++] = common[i];
    for (int i = 0; way && i < SETS_MOST && way[i]; i++)
        sets[count++] = way[i];
    sets[count] = NULL;
    ZI_REQUIRE(step_fixture_open(&f, deck, sets, comm_size(comm), comm_rank(comm)) == ZI_OK);
    ZI_REQUIRE(f.config.speculates == (way ? true : false));
    run.saved.parameter_bytes = run.saved_over.parameter_bytes = zi_dtype_bytes(f.config.compute);
    ZI_REQUIRE(comm_use_device(comm, f.device, SUM_ORDERED) == ZI_OK);
    ZI_REQUIRE(engine_create(f.program, f.device, comm, deck_settings(f.deck), &engine) == ZI_OK);
    ZI_REQUIRE(engine_initialize(engine) == ZI_OK);
    for (int step = 0; step < STEPS; step++) {
        between(&f, engine, step, &run);
        fill(&f, engine, step);
        CHECK_INT(engine_train(engine, step, &run.steps[step]), ZI_OK);
    }
    CHECK_INT(engine_flush(engine), ZI_OK);
    run.last = engine_checksum(engine);
    CHECK_INT(comm_sum_uint64(comm, &run.saved.sum, 1), ZI_OK);
    CHECK_INT(comm_sum_uint64(comm, &run.saved_over.sum, 1), ZI_OK);
    engine_destroy(engine);
    (void)comm_use_device(comm, NULL, SUM_ORDERED);
    step_fixture_close(&f);
    return run;
}

/* Whether a step is neither clipped nor skipped. */
static bool is_plain(const struct engine_result *result, double clip)
{
    return !result->skipped && (clip == 0 || result->norm <= clip);
}

/* A step is guessed at when as many before it were plain as the guesses that failed ask for, unless a
 * save is laid over it; the guess holds when it is plain itself. Gives a bit for each end that a
 * guess has had. */
static unsigned check_guesses(const struct run *run, double clip)
{
    unsigned seen = 0;
    int needed = 1, plain_before = 0;
    for (int step = 0; step < STEPS; step++) {
        bool plain = is_plain(&run->steps[step], clip);
        enum engine_guess right = GUESS_NONE;
        if (step != SAVES_OVER && plain_before >= needed)
            right = plain ? GUESS_KEPT : GUESS_DROPPED;
        CHECK_INT(run->steps[step].guess, right);
        seen |= 1u << right;
        if (right == GUESS_DROPPED) needed *= 2;
        if (right == GUESS_KEPT && needed > 1) needed /= 2;
        plain_before = plain ? plain_before + 1 : 0;
    }
    return seen;
}

/* Which steps of a row are tried: in `steps` 'p' is a plain one and 'c' a clipped one; in `tried` 't'
 * is tried. */
static void check_tries(const char *steps, const char *tried)
{
    struct speculation speculation;
    speculation_start(&speculation);
    for (int i = 0; steps[i]; i++) {
        bool tries = speculation_tries(&speculation);
        CHECK_INT(tries, tried[i] == 't');
        speculation_learn(&speculation, tries, steps[i] == 'p');
    }
}

static void test_patience(void)
{
    struct speculation speculation;
    check_tries("pppppppp", ".ttttttt");
    check_tries("cccccccc", "........");
    /* every second one: one guess, and no other */
    check_tries("pcpcpcpcpcpc", ".t..........");
    /* two of three: the guesses that failed ask for four in a row at the end */
    check_tries("ppcppcppcppcppppp", ".tt..t..........t");
    /* one among many costs the step after it, and one more */
    check_tries("ppppcppppppcpppp", ".tttt..ttttt..tt");
    /* failed, held, failed: patience is 2 again, not 4 */
    check_tries("pcpppcpppp", ".t..tt..tt");
    /* what was not tried teaches nothing: 2 plain steps are enough yet */
    check_tries("pccccppp", ".t.....t");
    /* it ends at SPECULATION_PATIENCE, and so many plain steps are always enough */
    speculation_start(&speculation);
    for (int round = 0; round < 10; round++) {
        int wait = 0;
        for (; !speculation_tries(&speculation); wait++)
            speculation_learn(&speculation, false, true);
        CHECK_INT(wait, 1 << round < SPECULATION_PATIENCE ? 1 << round : SPECULATION_PATIENCE);
        speculation_learn(&speculation, true, false);
    }
}

static void check_equal(const struct run *run, const struct run *right)
{
    for (int step = 0; step < STEPS; step++) {
        const struct engine_result *a = &run->steps[step], *b = &right->steps[step];
        CHECK(a->loss == b->loss && a->checksum == b->checksum);
        CHECK(a->norm == b->norm || (isnan(a->norm) && isnan(b->norm)));
        CHECK(a->skipped == b->skipped && a->loss_scale == b->loss_scale);
    }
    CHECK(run->validation == right->validation);
    CHECK(run->saved.sum == right->saved.sum && run->saved_over.sum == right->saved_over.sum);
    CHECK(run->last == right->last);
}

/* All ways beside a run in memory; `wanted` are the ends that guesses must have. */
static void test_ways(const char *deck, const char *const *common, double clip, unsigned wanted,
                      struct comm *comm)
{
    struct run right = train(deck, common, NULL, comm);
    for (int w = 0; w < WAYS; w++) {
        long before = test_failures();
        step_fixture_schedule = (enum apart_schedule)(w % 3);
        step_fixture_seed = (uint64_t)(w * 100 + comm_rank(comm));
        step_fixture_groups = w % 2 ? 3 : 0;
        struct run run = train(deck, common, ways[w], comm);
        check_equal(&run, &right);
        CHECK_INT(check_guesses(&run, clip), wanted);
        if (test_failures() > before) fprintf(stderr, "  way %d, %s\n", w, common[0]);
    }
}

/* With a limit that loud steps are above, and others are not. */
static void test_clipped(const char *deck, struct comm *comm)
{
    const char *common[] = {"optimizer.clip=0", "precision.compute=bf16", NULL};
    char clip[48];
    double quiet = 0, loud = INFINITY;
    struct run free = train(deck, common, NULL, comm);
    for (int step = 0; step < STEPS; step++) {
        double norm = free.steps[step].norm;
        if (is_loud(step) && norm < loud) loud = norm;
        if (!is_loud(step) && norm > quiet) quiet = norm;
    }
    CHECK(loud > 1.5 * quiet);
    snprintf(clip, sizeof clip, "optimizer.clip=%.4f", sqrt(loud * quiet));
    common[0] = clip;
    test_ways(deck, common, strtod(strchr(clip, '=') + 1, NULL),
              1u << GUESS_NONE | 1u << GUESS_KEPT | 1u << GUESS_DROPPED, comm);
}

/* An operation of a program, changed so that it breaks a rule of generations. */
enum plant { PLANT_IN_PLACE, PLANT_READ, PLANT_COUNT };

static struct program_op *find(struct program_list *list, enum program_kind kind, bool speculative)
{
    for (int i = 0; i < list->count; i++) {
        struct program_op *op = &list->ops[i];
        if (op->kind == kind && op->speculative == speculative) return op;
    }
    return NULL;
}

static void test_checker(void)
{
    static const char *const sets[] = {STORED, "optimizer.clip=0", NULL};
    for (int plant = 0; plant < PLANT_COUNT; plant++) {
        struct step_fixture f;
        ZI_REQUIRE(step_fixture_open(&f, step_fixture_gpt2, sets, 1, 0) == ZI_OK);
        struct program_list *list = &f.program->lists[PROGRAM_TRAIN_REST_SPECULATE];
        bool reads = plant == PLANT_READ;
        struct program_op *op = find(list, reads ? OP_LOAD : OP_STORE, true);
        ZI_REQUIRE(op);
        int *slot = &op->slots[reads ? OPERAND_FROM : OPERAND_TO];
        *slot = f.program->slots[*slot].twin;
        static struct capture capture;
        capture_begin(&capture, stderr);
        enum zi_status status = program_check(f.program);
        const char *text = capture_end(&capture);
        CHECK_INT(status, ZI_ERROR_BUG);
        CHECK(strstr(text, reads ? "is in the next generation of" : "in place"));
        step_fixture_close(&f);
    }
}

/* Bytes of the store of a deck. */
static size_t stored_bytes(const char *speculate)
{
    const char *const sets[] = {STORED, speculate, NULL};
    struct step_fixture f;
    ZI_REQUIRE(step_fixture_open(&f, step_fixture_gpt2, sets, 1, 0) == ZI_OK);
    size_t bytes = f.program->pool_bytes[ZI_TIER_NVME];
    step_fixture_close(&f);
    return bytes;
}

/* Resolves a deck for a node with disks of so many bytes. */
static enum zi_status resolve(const char *const *sets, size_t disk_bytes, bool *speculates)
{
    const struct zero_node node = {.ranks = 1, .disk_bytes = disk_bytes};
    struct zero_config config = {.training = true};
    struct step_fixture f;
    ZI_REQUIRE(step_fixture_open(&f, step_fixture_gpt2, (const char *const[]){NULL}, 1, 0) ==
               ZI_OK);
    int count = 0;
    while (sets[count])
        count++;
    deck_destroy(f.deck);
    ZI_REQUIRE(deck_parse(step_fixture_gpt2, strlen(step_fixture_gpt2), "fixture", sets, count,
                          &f.deck) == ZI_OK);
    struct settings *s = deck_settings(f.deck);
    model_check(f.deck);
    optimizer_check(f.deck);
    zero_check(f.deck, 1);
    ZI_REQUIRE(deck_check(f.deck) == ZI_OK);
    enum zi_status status = zero_resolve(s, device_get_properties(f.device), 1, &node, &config);
    *speculates = config.speculates;
    step_fixture_close(&f);
    return status;
}

/* Auto takes the second generation where the disks have room for it; on asks for it. */
static void test_choice(void)
{
    static const char *const chosen[] = {STORED, NULL};
    static const char *const asked[] = {STORED, "zero.speculate=on", NULL};
    static const char *const nowhere[] = {"zero.speculate=on", NULL};
    static struct capture capture;
    size_t once = stored_bytes("zero.speculate=off"), twice = stored_bytes("zero.speculate=on");
    bool speculates;
    CHECK(once < twice && twice < 2 * once);
    CHECK_INT(resolve(chosen, twice, &speculates), ZI_OK);
    CHECK(speculates);
    CHECK_INT(resolve(chosen, twice - 1, &speculates), ZI_OK);
    CHECK(!speculates);
    capture_begin(&capture, stderr);
    enum zi_status full = resolve(asked, twice - 1, &speculates);
    enum zi_status memory = resolve(nowhere, 0, &speculates);
    const char *text = capture_end(&capture);
    CHECK_INT(full, ZI_ERROR_FIT);
    CHECK_INT(memory, ZI_ERROR_USAGE);
    CHECK(strstr(text, "zero.speculate: auto"));
    CHECK(strstr(text, "zero.speculate: on needs a deferred update"));
}

int main(int argc, char **argv)
{
    static const char *const tiled[] = {
        "optimizer.clip=0",    "precision.compute=fp32", "tiling.attention=2",   "tiling.mlp=2",
        "tiling.vocabulary=2", "model.inner=160",        "model.vocabulary=130", NULL};
    static const char *const adapted[] = {"optimizer.clip=0",
                                          "precision.compute=bf16",
                                          "adapter.rank=3",
                                          "adapter.targets=all",
                                          "model.trainable=norm.*,blocks.1.mlp.norm.*",
                                          NULL};
    static const char *const scaled[] = {"optimizer.clip=0",
                                         "precision.compute=fp16",
                                         "precision.loss_scale_initial=65536",
                                         "precision.loss_scale_growth=2",
                                         "run.nonfinite_limit=100",
                                         NULL};
    const unsigned kept = 1u << GUESS_NONE | 1u << GUESS_KEPT, all = kept | 1u << GUESS_DROPPED;
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    test_ways(step_fixture_gpt2, tiled, 0, kept, world);
    if (comm_size(world) > 1) test_ways(step_fixture_llama, adapted, 0, kept, world);
    test_ways(step_fixture_gpt2, scaled, 0, all, world);
    test_clipped(step_fixture_llama, world);
    if (comm_size(world) == 1) test_patience();
    if (comm_size(world) == 1) test_checker();
    if (comm_size(world) == 1) test_choice();
    CHECK(step_fixture_leave(world, folder, "engine-speculate-store"));
    int status = test_finish("engine_speculate_test");
    comm_finish(world);
    return status;
}

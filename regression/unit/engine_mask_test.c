/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that count for nothing:
 * - the loss of a batch is the mean of the losses of its targets that count, each of which is found
 *   by itself here;
 * - its gradient is that of this mean: sequences without a target that counts change nothing, so a
 *   batch is as one without them;
 * - ranks, micro-batches, tiles and stages change neither;
 * - a batch without any has the loss 0 and the gradient 0, and is no error;
 * - where all targets count, no bit changes.
 * Run under 1 and 2 ranks. */
#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { TOKENS = 17, GLOBAL = 8 };

/* Of the first step with is_uneven, as one rank finds them. */
#define RIGHT_LOSS 4.21421737
#define RIGHT_NORM 0.798342436

struct instance {
    struct step_fixture f;
    struct engine *engine;
};

static void instance_open(struct instance *i, const char *const *sets, struct comm *comm)
{
    ZI_REQUIRE(step_fixture_open(&i->f, step_fixture_llama, sets, comm_size(comm),
                                 comm_rank(comm)) == ZI_OK);
    ZI_REQUIRE(engine_create(i->f.program, i->f.device, comm, deck_settings(i->f.deck),
                             &i->engine) == ZI_OK);
    ZI_REQUIRE(engine_initialize(i->engine) == ZI_OK);
}

static void instance_close(struct instance *i)
{
    engine_destroy(i->engine);
    step_fixture_close(&i->f);
}

/* Whether target t of a sequence counts. */
typedef bool counts(int64_t sequence, int64_t t);

static bool is_uneven(int64_t sequence, int64_t t)
{
    return sequence != 5 && t % 7 >= sequence % 4;
}

static bool is_first_half(int64_t sequence, int64_t t)
{
    (void)t;
    return sequence < GLOBAL / 2;
}

static bool is_none(int64_t sequence, int64_t t)
{
    (void)sequence;
    (void)t;
    return false;
}

static struct {
    int64_t sequence, t;
} single;
static bool is_single(int64_t sequence, int64_t t)
{
    return sequence == single.sequence && t == single.t;
}

/* The sequences of a step, with the targets alone that count. */
static void fill(struct instance *i, int64_t step, counts *of)
{
    const struct zero_config *c = &i->f.config;
    int32_t *targets = engine_targets(i->engine);
    step_fixture_fill(&i->f, i->engine, step);
    for (int m = 0; m < c->micro_batches; m++) {
        int64_t first, count = zero_sequences(c, i->f.rank, m, &first);
        for (int64_t j = 0; j < count * TOKENS; j++, targets++)
            if (!of(first + j / TOKENS, j % TOKENS)) *targets = -1;
    }
}

static struct engine_result train(struct instance *i, counts *of)
{
    struct engine_result result = {0};
    fill(i, 0, of);
    CHECK_INT(engine_train(i->engine, 0, &result), ZI_OK);
    CHECK(!result.skipped);
    return result;
}

static double validate(struct instance *i, counts *of, int64_t targets)
{
    struct engine_result result = {0};
    fill(i, 0, of);
    CHECK_INT(engine_validate(i->engine, &result), ZI_OK);
    CHECK_INT(result.targets, targets);
    return result.loss;
}

static void test_mean(const char *const *sets, struct comm *comm)
{
    struct instance i;
    double sum = 0;
    int64_t count = 0;
    instance_open(&i, sets, comm);
    engine_mask(i.engine);
    for (single.sequence = 0; single.sequence < GLOBAL; single.sequence++) {
        for (single.t = 0; single.t < TOKENS; single.t++) {
            if (!is_uneven(single.sequence, single.t)) continue;
            sum += validate(&i, is_single, 1);
            count++;
        }
    }
    double mean = sum / (double)count;
    CHECK_NEAR(validate(&i, is_uneven, count), mean, 1e-6 * mean);
    struct engine_result result = train(&i, is_uneven);
    CHECK_NEAR(result.loss, mean, 1e-6 * mean);
    CHECK_INT(result.targets, count);
    instance_close(&i);
}

/* A batch of the first half of the sequences, and one in which only they count. */
static void test_gradient(struct comm *comm)
{
    struct instance all, half;
    struct engine_result masked, right;
    instance_open(&all, (const char *const[]){NULL}, comm);
    instance_open(&half, (const char *const[]){"batch.global=4", NULL}, comm);
    engine_mask(all.engine);
    masked = train(&all, is_first_half);
    right = train(&half, is_first_half);
    CHECK_INT(masked.targets, GLOBAL / 2 * TOKENS);
    CHECK_INT(right.targets, masked.targets);
    CHECK_NEAR(masked.loss, right.loss, 1e-6 * right.loss);
    CHECK_NEAR(masked.norm, right.norm, 1e-5 * right.norm);
    double after = validate(&all, is_first_half, masked.targets);
    CHECK_NEAR(after, validate(&half, is_first_half, masked.targets), 1e-5 * after);
    CHECK(after < masked.loss);
    instance_close(&all);
    instance_close(&half);
}

static void test_shapes(struct comm *comm)
{
    static const char *const shapes[][6] = {
        {"batch.micro=1"},
        {"batch.micro=4", "zero.stage=1", "zero.update=deferred"},
        {"tiling.attention=2", "tiling.vocabulary=2", "model.vocabulary=130"},
        {"model.vocabulary=130", "batch.micro=8"},
    };
    struct engine_result right[2];
    for (int s = 0; s < (int)(sizeof shapes / sizeof *shapes); s++) {
        struct instance i;
        instance_open(&i, shapes[s], comm);
        engine_mask(i.engine);
        struct engine_result result = train(&i, is_uneven);
        if (s % 2 == 0) right[s / 2] = result;
        CHECK_NEAR(result.loss, right[s / 2].loss, 2e-5 * right[s / 2].loss);
        CHECK_NEAR(result.norm, right[s / 2].norm, 2e-5 * right[s / 2].norm);
        CHECK_INT(result.targets, right[s / 2].targets);
        instance_close(&i);
    }
    /* of one rank; the same on any number */
    CHECK_NEAR(right[0].loss, RIGHT_LOSS, 2e-5 * RIGHT_LOSS);
    CHECK_NEAR(right[0].norm, RIGHT_NORM, 2e-5 * RIGHT_NORM);
}

static void test_none(const char *const *sets, struct comm *comm)
{
    struct instance i;
    instance_open(&i, sets, comm);
    engine_mask(i.engine);
    struct engine_result result = train(&i, is_none);
    CHECK(result.loss == 0 && result.norm == 0 && !result.overflowed);
    CHECK_INT(result.targets, 0);
    CHECK_INT(engine_updates(i.engine), 1);
    CHECK(validate(&i, is_none, 0) == 0);
    CHECK(isfinite(train(&i, is_uneven).norm));
    instance_close(&i);
}

/* Steps of the fixture, whose targets all count, with and without asking. */
static void test_unmasked(struct comm *comm)
{
    struct instance asked, plain;
    instance_open(&asked, (const char *const[]){NULL}, comm);
    instance_open(&plain, (const char *const[]){NULL}, comm);
    engine_mask(asked.engine);
    for (int step = 0; step < STEP_FIXTURE_STEPS; step++) {
        struct engine_result a, b;
        step_fixture_fill(&asked.f, asked.engine, step);
        step_fixture_fill(&plain.f, plain.engine, step);
        CHECK_INT(engine_train(asked.engine, step, &a), ZI_OK);
        CHECK_INT(engine_train(plain.engine, step, &b), ZI_OK);
        CHECK(a.loss == b.loss && a.norm == b.norm && a.checksum == b.checksum);
        CHECK_INT(a.targets, GLOBAL * TOKENS);
        CHECK_INT(b.targets, GLOBAL * TOKENS);
    }
    instance_close(&asked);
    instance_close(&plain);
}

int main(int argc, char **argv)
{
    char name[32];
    struct comm *world = step_fixture_start(&argc, &argv, name);
    test_mean((const char *const[]){NULL}, world);
    test_mean((const char *const[]){"tiling.vocabulary=2", "model.vocabulary=130", NULL}, world);
    test_gradient(world);
    test_shapes(world);
    test_none((const char *const[]){NULL}, world);
    test_none((const char *const[]){"precision.compute=fp16", "zero.update=deferred", NULL}, world);
    test_unmasked(world);
    CHECK(step_fixture_leave(world, name, NULL));
    int status = test_finish("engine_mask_test");
    comm_finish(world);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Loss scaling in training:
 * - a gradient that overflows halves the scale, and the step leaves every state as it was: a run that
 *   finds its scale has the bits of one that was given it, update for update;
 * - after as many finite steps as the deck says the scale is doubled, and a run may meet its limit
 *   again and again;
 * - all ranks have the same scale;
 * - small gradients vanish without a scale and do not with one.
 * Updates at once and deferred, states in memory and on disk. Run under 1 and 2 ranks. */
#include <math.h>

#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { SETS_MOST = 8, UPDATES = 4 };

static const char *const ways[][SETS_MOST] = {
    {"zero.update=immediate"},
    {"zero.update=deferred"},
    {"precision.gradient=fp32", "precision.reduce=fp16"},
    {"placement.optimizer=nvme", "placement.gradients=nvme", "placement.parameters=nvme",
     "nvme.paths=engine-scaling-store", "zero.group=4096"},
};
enum { WAYS = (int)(sizeof ways / sizeof *ways) };

struct instance {
    struct step_fixture f;
    struct engine *engine;
};

static void instance_open(struct instance *i, const char *const *way, const char *const *more,
                          struct comm *comm)
{
    const char *sets[2 * SETS_MOST] = {"precision.compute=fp16"};
    int count = 1;
    for (int s = 0; s < SETS_MOST && way[s]; s++)
        sets[count++] = way[s];
    for (int s = 0; more[s]; s++)
        sets[count++] = more[s];
    ZI_REQUIRE(step_fixture_open(&i->f, step_fixture_gpt2, sets, comm_size(comm),
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

/* One step on the batch of the next update: one that was skipped is tried again. */
static struct engine_result train(struct instance *i, struct comm *comm)
{
    struct engine_result result = {0};
    step_fixture_fill(&i->f, i->engine, engine_updates(i->engine));
    CHECK_INT(engine_train(i->engine, 0, &result), ZI_OK);
    uint64_t scale = (uint64_t)engine_scaling(i->engine).scale, sum = scale;
    CHECK_INT(comm_sum_uint64(comm, &sum, 1), ZI_OK);
    CHECK(sum == scale * (uint64_t)comm_size(comm));
    return result;
}

/* From the largest scale down to one that works, then as a run that was given that. */
static void test_found(const char *const *way, struct comm *comm)
{
    static const char *const high[] = {"precision.loss_scale_initial=16777216", NULL};
    struct instance finds, given;
    struct engine_result result, right;
    char text[64];
    int64_t scale = 1 << 24, skipped = 0;
    instance_open(&finds, way, high, comm);
    uint64_t begin = engine_checksum(finds.engine);
    for (;;) {
        result = train(&finds, comm);
        CHECK_INT(result.loss_scale, scale);
        if (!result.skipped) break;
        CHECK(result.overflowed && isnan(result.norm) && isfinite(result.loss));
        CHECK_INT(engine_updates(finds.engine), 0);
        CHECK(result.checksum == begin && engine_checksum(finds.engine) == begin);
        scale /= 2;
        skipped++;
        CHECK_INT(engine_scaling(finds.engine).scale, scale);
        ZI_REQUIRE(scale >= 1);
    }
    CHECK(skipped >= 1);
    snprintf(text, sizeof text, "precision.loss_scale=%lld", (long long)scale);
    instance_open(&given, way, (const char *const[]){text, NULL}, comm);
    right = train(&given, comm);
    for (int update = 1;; update++) {
        CHECK(!result.skipped && !result.overflowed && !right.skipped);
        CHECK(result.loss == right.loss && result.norm == right.norm);
        CHECK(result.checksum == right.checksum);
        if (update == UPDATES) break;
        result = train(&finds, comm);
        right = train(&given, comm);
    }
    CHECK_INT(engine_updates(finds.engine), UPDATES);
    CHECK_INT(engine_flush(finds.engine), ZI_OK);
    CHECK_INT(engine_flush(given.engine), ZI_OK);
    CHECK(engine_checksum(finds.engine) == engine_checksum(given.engine));
    CHECK(engine_checksum(finds.engine) != begin);
    instance_close(&finds);
    instance_close(&given);
}

/* Doubled after two finite steps, until a gradient overflows, and so on. */
static void test_grows(const char *const *way, struct comm *comm)
{
    static const char *const sets[] = {"precision.loss_scale_initial=32768",
                                       "precision.loss_scale_growth=2", NULL};
    enum { STEPS = 40 };
    struct instance i;
    int64_t scale = 32768, steps = 0, lowered = 0, doubled = 0;
    instance_open(&i, way, sets, comm);
    for (int step = 0; step < STEPS; step++) {
        struct engine_result result = train(&i, comm);
        CHECK_INT(result.loss_scale, scale);
        CHECK(result.skipped == result.overflowed);
        steps = result.skipped ? 0 : steps + 1;
        if (result.skipped) scale /= 2;
        if (steps == 2) {
            scale *= 2;
            steps = 0;
            doubled++;
        }
        lowered += result.skipped;
        CHECK_INT(engine_scaling(i.engine).scale, scale);
        CHECK_INT(engine_scaling(i.engine).steps, steps);
    }
    CHECK(lowered >= 2 && doubled >= 2);
    CHECK_INT(engine_updates(i.engine), STEPS - lowered);
    instance_close(&i);
}

/* Elements of all first moments, and how many of them are zero. */
struct zeros {
    uint64_t all, zero;
};

static enum zi_status count_zeros(void *context, enum tier_kind kind, int tensor, int64_t first,
                                  int64_t count, void *values)
{
    struct zeros *zeros = context;
    (void)tensor;
    (void)first;
    for (int64_t i = 0; i < count && kind == TIER_MOMENT1; i++) {
        zeros->all++;
        zeros->zero += ((const float *)values)[i] == 0;
    }
    return ZI_OK;
}

/* The part of the gradient's elements that are zero, of the first step with these settings. */
static double zero_share(const char *const *sets, struct comm *comm)
{
    static const char *const nothing[] = {NULL};
    struct instance i;
    struct zeros zeros = {0};
    instance_open(&i, sets, nothing, comm);
    CHECK(!train(&i, comm).skipped);
    CHECK_INT(engine_save(i.engine, count_zeros, &zeros), ZI_OK);
    uint64_t sums[2] = {zeros.all, zeros.zero};
    CHECK_INT(comm_sum_uint64(comm, sums, 2), ZI_OK);
    instance_close(&i);
    return (double)sums[1] / (double)sums[0];
}

/* Small weights make small gradients. Those of positions and tokens that do not occur are zero in
 * any arithmetic. */
static void test_underflow(struct comm *comm)
{
#define SMALL "model.init_deviation=0.001", "optimizer.clip=0"
    static const char *const wide[SETS_MOST] = {SMALL, "precision.compute=fp32"};
    static const char *const bare[SETS_MOST] = {SMALL, "precision.loss_scale=1"};
    static const char *const scaled[SETS_MOST] = {SMALL, "precision.loss_scale=65536"};
    double right = zero_share(wide, comm), lost = zero_share(bare, comm);
    double kept = zero_share(scaled, comm);
    if (comm_rank(comm) == 0)
        printf("zero gradients: %.4f in fp32, %.4f in fp16, %.4f scaled\n", right, lost, kept);
    CHECK(lost - right > 0.1);
    CHECK(kept - right < 0.01);
}

int main(int argc, char **argv)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    for (int way = 0; way < WAYS; way++) {
        test_found(ways[way], world);
        test_grows(ways[way], world);
    }
    test_underflow(world);
    CHECK(step_fixture_leave(world, folder, "engine-scaling-store"));
    int status = test_finish("engine_scaling_test");
    comm_finish(world);
    return status;
}

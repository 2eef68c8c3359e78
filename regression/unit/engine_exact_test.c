/* SPDX-License-Identifier: Apache-2.0 */
/* The exactness contract on a small model (doc/design.md, "Exactness"): placement, prefetch,
 * recomputation, a device whose memory and time are its own, the disk, when the update is made,
 * ZeRO stage and repetition change no bit; on one rank the order does not either. Between rank
 * counts, and between orders on several ranks, sums change places, so losses agree within a
 * tolerance. Run under 1, 2, 3, 4 and 7 ranks. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

/* Sets of one variant; all variants of a group must give the bits of its first. */
#define SETS_MAX 16
struct variant {
    const char *sets[SETS_MAX];
};

/* States on nvme, in a folder of the test's own, in groups that are smaller than a unit. */
#define DISK "nvme.paths=zero-exact-store", "zero.group=4096"
#define ALL_NVME                                                                                   \
    "placement.parameters=nvme", "placement.gradients=nvme", "placement.optimizer=nvme",           \
        "placement.activations=nvme"

/* What is not on the device streams through it for its update. */
#define ON_DEVICE "device.type=cuda", "zero.update_on=device"

static const struct variant exact[] = {
    {{"zero.stage=3"}},
    {{"zero.stage=3"}}, /* again: two identical runs */
    {{"zero.stage=0"}},
    {{"zero.stage=1"}},
    {{"zero.stage=2"}},
    {{"zero.stage=3", "zero.prefetch=0"}},
    {{"zero.stage=2", "zero.prefetch=0"}},
    {{"zero.stage=3", "zero.prefetch=4"}},
    {{"activations.recompute=always", "activations.interval=1"}},
    {{"activations.recompute=always", "activations.interval=2"}},
    {{"activations.recompute=always", "activations.interval=4", "zero.prefetch=1"}},
    {{"activations.recompute=never"}},
    {{"activations.recompute=attention"}},
    {{"activations.recompute=mlp", "zero.prefetch=0"}},
    {{"placement.parameters=host", "placement.optimizer=host"}},
    {{"placement.gradients=host", "placement.activations=host", "memory.device=1 GiB",
      "memory.host=1 GiB"}},
    {{"device.type=cuda"}},
    {{"device.type=cuda", "placement.parameters=host", "zero.prefetch=0"}},
    {{"device.type=cuda", "placement.parameters=host", "zero.stage=2"}},
    {{"device.type=cuda", "placement.gradients=host"}},
    {{"device.type=cuda", "placement.gradients=host", "zero.stage=0"}},
    {{"device.type=cuda", "placement.optimizer=host"}},
    {{"device.type=cuda", "placement.optimizer=host", "zero.stage=1"}},
    {{"device.type=cuda", "placement.activations=host", "activations.recompute=never"}},
    {{"device.type=cuda", "placement.activations=host", "activations.recompute=always"}},
    {{"device.type=cuda", "placement.activations=host", "activations.recompute=mlp"}},
    {{"device.type=cuda", "activations.offload=all"}},
    {{"device.type=cuda", "activations.offload=mlp", "zero.prefetch=0"}},
    {{"device.type=cuda", "activations.offload=attention", "activations.recompute=mlp",
      "placement.activations=host", "placement.parameters=host"}},
    {{"device.type=cuda", "placement.parameters=host", "placement.gradients=host",
      "placement.optimizer=host", "placement.activations=host", "zero.stage=3"}},
    {{"device.type=cuda", "placement.parameters=host", "placement.gradients=host",
      "placement.optimizer=host", "placement.activations=host", "zero.stage=1"}},
    {{"zero.update=deferred"}},
    {{"zero.update=deferred", "zero.stage=1", "device.type=cuda", "placement.optimizer=host"}},
    {{"zero.update=deferred", "zero.stage=0", "zero.prefetch=0"}},
    {{DISK, "placement.optimizer=nvme"}},
    {{DISK, "placement.optimizer=nvme", "zero.update=immediate"}},
    {{DISK, "placement.optimizer=nvme", "zero.stage=1", "placement.gradients=nvme"}},
    {{DISK, "placement.parameters=nvme"}},
    {{DISK, "placement.parameters=nvme", "zero.stage=2", "zero.update=deferred"}},
    {{DISK, "placement.gradients=nvme", "zero.update=deferred", "zero.prefetch=4"}},
    {{DISK, "placement.activations=nvme", "activations.recompute=always"}},
    {{DISK, "placement.activations=nvme", "activations.recompute=attention"}},
    {{DISK, ALL_NVME}},
    {{DISK, ALL_NVME, "zero.update=immediate"}},
    {{DISK, ALL_NVME, "zero.prefetch=0"}},
    {{DISK, ALL_NVME, "zero.prefetch=1", "zero.stage=1", "nvme.engine=threads"}},
    {{DISK, ALL_NVME, "zero.stage=0", "zero.update=immediate"}},
    {{DISK, ALL_NVME, "device.type=cuda"}},
    {{DISK, ALL_NVME, "device.type=cuda", "activations.offload=all", "zero.prefetch=1"}},
    {{DISK, ALL_NVME, "device.type=cuda", "zero.update=immediate", "zero.stage=2"}},
    {{DISK, "device.type=cuda", "placement.parameters=nvme", "placement.gradients=host"}},
    {{DISK, "device.type=cuda", "placement.gradients=nvme", "placement.optimizer=host",
      "zero.update=deferred"}},
    {{DISK, "device.type=cuda", "placement.parameters=host", "placement.optimizer=nvme"}},
    {{ON_DEVICE, "placement.optimizer=host"}},
    {{ON_DEVICE, "placement.optimizer=host", "zero.update=deferred", "zero.stage=1"}},
    {{ON_DEVICE, DISK, "placement.parameters=host", "placement.gradients=host",
      "placement.optimizer=host", "zero.update=deferred"}},
    {{ON_DEVICE, DISK, "placement.optimizer=nvme", "zero.update=immediate", "zero.stage=2"}},
    {{ON_DEVICE, DISK, "placement.parameters=host", "placement.optimizer=nvme"}},
    {{ON_DEVICE, DISK, ALL_NVME}},
    {{ON_DEVICE, DISK, ALL_NVME, "zero.update=immediate", "zero.prefetch=0", "zero.stage=0"}},
};
#define EXACT_COUNT ((int)(sizeof exact / sizeof *exact))

/* With the same tiles: each a group of its own, exact within, and near the untiled one. */
#define TILED                                                                                      \
    "tiling.attention=2", "tiling.mlp=2", "tiling.vocabulary=2", "model.inner=160",                \
        "model.vocabulary=130"
static const struct variant tiled[] = {
    {{TILED, "zero.stage=3"}},
    {{TILED, "zero.stage=1", "zero.prefetch=0"}},
    {{TILED, "zero.stage=0", "activations.recompute=never"}},
    {{TILED, "activations.recompute=attention"}},
    {{TILED, "activations.recompute=mlp", "zero.stage=1"}},
    {{TILED, "device.type=cuda", "activations.offload=all"}},
    {{TILED, DISK, ALL_NVME}},
    {{TILED, DISK, "device.type=cuda", "placement.parameters=nvme", "placement.optimizer=nvme",
      "placement.activations=host", "zero.update=immediate"}},
    {{TILED, DISK, ON_DEVICE, "placement.parameters=nvme", "placement.optimizer=host",
      "zero.update=deferred"}},
};
#define TILED_COUNT ((int)(sizeof tiled / sizeof *tiled))
/* With adapters, of whose inputs some are dropped, and with another few tensors trained: their units are
 * used by all tiles. */
#define ADAPTED                                                                                    \
    TILED, "adapter.rank=3", "adapter.targets=all", "adapter.dropout=0.2",                         \
        "model.trainable=norm.*,blocks.1.mlp.norm.*"
static const struct variant adapted[] = {
    {{ADAPTED, "zero.stage=3"}},
    {{ADAPTED, "zero.stage=1", "zero.prefetch=0"}},
    {{ADAPTED, "zero.stage=0", "activations.recompute=never"}},
    {{ADAPTED, "zero.update=deferred", "activations.recompute=attention"}},
    {{ADAPTED, "device.type=cuda", "activations.offload=all"}},
    {{ADAPTED, DISK, ALL_NVME}},
    {{ADAPTED, DISK, "device.type=cuda", "placement.parameters=nvme", "placement.optimizer=host"}},
};
#define ADAPTED_COUNT ((int)(sizeof adapted / sizeof *adapted))
#define ADAPTED_WHOLE                                                                              \
    "tiling.attention=1", "tiling.mlp=1", "tiling.vocabulary=1", "model.inner=160",                \
        "model.vocabulary=130", "adapter.rank=3", "adapter.targets=all", "adapter.dropout=0.2",    \
        "model.trainable=norm.*,blocks.1.mlp.norm.*"
static const struct variant adapted_whole = {{ADAPTED_WHOLE}};
static const struct variant adapted_micro[] = {{{ADAPTED_WHOLE, "batch.micro=1"}},
                                               {{ADAPTED_WHOLE, "batch.micro=4"}}};
static const struct variant adapted_kept = {{ADAPTED_WHOLE, "adapter.dropout=0"}};

static const struct variant whole = {{"tiling.attention=1", "tiling.mlp=1", "tiling.vocabulary=1",
                                      "model.inner=160", "model.vocabulary=130"}};

/* With fp16 a loss scale that changes at every step: a deferred update divides by that of its own.
 * Losses and norms of sums in another order are within `near` of each other: fp32 sums of 8 x 17
 * terms have relative errors near 1e-6, amplified by three steps of Adam, whose first steps are
 * sign-like in elements with tiny gradients. bf16 rounds gradients and activations at 2^-9, fp16 at
 * 2^-12, so a changed last bit shows at that size in single terms, less in means. */
static const struct precision {
    const char *sets[4];
    double near;
} precisions[] = {
    {{"precision.compute=fp32"}, 2e-5},
    {{"precision.compute=bf16"}, 4e-3},
    {{"precision.compute=bf16", "precision.gradient=fp32"}, 4e-3},
    {{"precision.compute=fp16", "precision.loss_scale_initial=1024",
      "precision.loss_scale_growth=1"},
     5e-4},
};
#define PRECISION_COUNT ((int)(sizeof precisions / sizeof *precisions))

static struct step_fixture_run run_with(const char *deck, const struct variant *variant,
                                        const struct precision *precision, struct comm *comm)
{
    const char *sets[2 * SETS_MAX];
    int count = 0;
    for (int i = 0; i < SETS_MAX && variant->sets[i]; i++) {
        sets[count++] = variant->sets[i];
    }
    for (int i = 0; precision->sets[i]; i++) {
        sets[count++] = precision->sets[i];
    }
    sets[count] = NULL;
    return step_fixture_train(deck, sets, comm);
}

static void check_equal(const struct step_fixture_run *a, const struct step_fixture_run *b)
{
    CHECK(a->status == ZI_OK && b->status == ZI_OK);
    for (int s = 0; s < STEP_FIXTURE_STEPS; s++) {
        CHECK(a->checksum[s] == b->checksum[s]);
        CHECK(a->loss[s] == b->loss[s]);
        CHECK(a->norm[s] == b->norm[s]);
    }
    CHECK(a->validation == b->validation);
    CHECK(a->last == b->last);
    CHECK(memcmp(a->logits, b->logits, sizeof a->logits) == 0);
}

static void check_near(const struct step_fixture_run *a, const struct step_fixture_run *b,
                       double tolerance)
{
    CHECK(a->status == ZI_OK && b->status == ZI_OK);
    for (int s = 0; s < STEP_FIXTURE_STEPS; s++) {
        CHECK(fabs(a->loss[s] - b->loss[s]) <= tolerance * fabs(b->loss[s]));
        CHECK(fabs(a->norm[s] - b->norm[s]) <= 5 * tolerance * fabs(b->norm[s]));
        CHECK(isfinite(a->loss[s]) && a->loss[s] > 0 && !a->skipped[s]);
    }
    CHECK(fabs(a->validation - b->validation) <= tolerance * fabs(b->validation));
}

static bool is_apart(const struct variant *variant)
{
    for (int i = 0; i < SETS_MAX && variant->sets[i]; i++) {
        if (strcmp(variant->sets[i], "device.type=cuda") == 0) return true;
    }
    return false;
}

/* Variants 1 and on give the bits of variant 0; on the apart device whenever it does its work. One
 * precision of each deck goes through all schedules, the others take them in turn. */
static void check_variants(const char *deck, const struct precision *precision,
                           const struct variant *variants, int count,
                           const struct step_fixture_run *first, struct comm *world)
{
    static const char *const names[] = {"eager", "random", "late"};
    bool thorough = precision == &precisions[deck == step_fixture_llama];
    for (int v = 1; v < count; v++) {
        int schedules = thorough && is_apart(&variants[v]) ? 3 : 1;
        for (int s = 0; s < schedules; s++) {
            int schedule = (v + s) % 3;
            step_fixture_schedule = (enum apart_schedule)schedule;
            step_fixture_seed = (uint64_t)(v * 100 + comm_rank(world));
            struct step_fixture_run other = run_with(deck, &variants[v], precision, world);
            long before = test_failures();
            check_equal(&other, first);
            if (test_failures() > before)
                fprintf(stderr, "  in variant %d of %d, %s\n", v, count, names[schedule]);
        }
    }
}

/* Variants with tiles, beside what they are without. */
static void test_tiles(const char *deck, const struct precision *precision,
                       const struct variant *untiled, const struct variant *variants, int count,
                       struct comm *world)
{
    struct step_fixture_run plain = run_with(deck, untiled, precision, world);
    struct step_fixture_run first = run_with(deck, &variants[0], precision, world);
    check_near(&plain, &first, precision->near);
    CHECK(plain.last != first.last);
    check_variants(deck, precision, variants, count, &first, world);
}

/* What is dropped depends neither on the number of ranks nor on micro-batches, and changes what is
 * trained. */
static void test_dropped(const char *deck, const struct precision *precision, struct comm *world,
                         struct comm *self)
{
    struct step_fixture_run dropped = run_with(deck, &adapted_whole, precision, world);
    struct step_fixture_run alone = run_with(deck, &adapted_whole, precision, self);
    check_near(&dropped, &alone, precision->near);
    for (int v = 0; v < 2; v++) {
        struct step_fixture_run other = run_with(deck, &adapted_micro[v], precision, world);
        check_near(&other, &alone, precision->near);
    }
    struct step_fixture_run undropped = run_with(deck, &adapted_kept, precision, world);
    CHECK(dropped.norm[0] != undropped.norm[0]);
}

static void test_deck(const char *deck, const struct precision *precision, struct comm *world,
                      struct comm *self)
{
    static const struct variant micro = {{"zero.order=micro-major"}};
    static const struct variant micro_kept = {
        {"zero.order=micro-major", "zero.stage=1", "activations.recompute=never"}};
    struct step_fixture_run first = run_with(deck, &exact[0], precision, world);
    check_variants(deck, precision, exact, EXACT_COUNT, &first, world);
    struct step_fixture_run alone = run_with(deck, &exact[0], precision, self);
    check_near(&first, &alone, precision->near);
    struct step_fixture_run minor = run_with(deck, &micro, precision, world);
    struct step_fixture_run kept = run_with(deck, &micro_kept, precision, world);
    if (comm_size(world) == 1) {
        check_equal(&minor, &first);
        check_equal(&kept, &first);
    } else {
        check_near(&minor, &first, precision->near);
        check_equal(&kept, &first); /* stages 0 and 1 accumulate locally in either order */
    }
    test_tiles(deck, precision, &whole, tiled, TILED_COUNT, world);
    test_tiles(deck, precision, &adapted_whole, adapted, ADAPTED_COUNT, world);
    test_dropped(deck, precision, world, self);
    first = run_with(deck, &exact[0], precision, world);
    /* The bits do depend on what they should depend on. */
    static const struct variant seed = {{"run.seed=4"}};
    struct step_fixture_run other = run_with(deck, &seed, precision, world);
    CHECK(other.checksum[0] != first.checksum[0]);
    CHECK(first.checksum[1] != first.checksum[0]);
}

/* Whether the program is one of the full suite, which tries every family in every precision; the fast one
 * tries each family and each type of arithmetic once. */
static bool is_full(const char *program)
{
    const char *dot = strrchr(program, '.');
    return dot && strcmp(dot, ".full") == 0;
}

int main(int argc, char **argv)
{
    struct comm *world, *self;
    if (comm_start(&argc, &argv, &world) < 0 || comm_self(&self) < 0) return 99;
    zi_log_identify(comm_rank(world), comm_size(world));
    zi_log_set_level(ZI_LOG_WARN);
    char folder[32];
    step_fixture_enter(world, folder);
    bool full = is_full(argv[0]);
    for (int p = 0; p < PRECISION_COUNT; p++) {
        if (full || p == 0 || p == 3) test_deck(step_fixture_gpt2, &precisions[p], world, self);
        if (full || p == 1) test_deck(step_fixture_llama, &precisions[p], world, self);
        if (p == 0) test_deck(step_fixture_qwen3, &precisions[p], world, self);
    }
    comm_destroy(self);
    CHECK(step_fixture_leave(world, folder, "zero-exact-store"));
    int status = test_finish("engine_exact_test");
    comm_finish(world);
    return status;
}

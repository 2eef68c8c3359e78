/* SPDX-License-Identifier: Apache-2.0 */
/* Other optimizers than AdamW with fp32 moments: moments in blocks of 8-bit numbers, Lion, SGD with and
 * without momentum. Where states live, the stage, groups, and when the update is made change no bit, in
 * units whose tensors share blocks, with tiles, and with frozen tensors between trained ones; losses
 * of blocks stay near those of fp32 moments. A device apart refuses. Run under 1 to 3 ranks. */
#include <math.h>

#include "regression/unit/test.h"
#include "regression/unit/step_variants.h"

#define DISK     "nvme.paths=engine-moments-store", "zero.group=4096"
#define ALL_NVME "placement.parameters=nvme", "placement.gradients=nvme", "placement.optimizer=nvme"

static const struct variant variants[] = {
    {{"zero.stage=3"}},
    {{"zero.stage=0"}},
    {{"zero.stage=1", "zero.prefetch=0"}},
    {{"zero.update=deferred", "zero.stage=2"}},
    {{DISK, "placement.optimizer=nvme"}},
    {{DISK, ALL_NVME, "zero.stage=1", "zero.update=immediate"}},
    {{DISK, ALL_NVME, "device.type=cuda", "zero.update_on=host"}},
    {{"device.type=cuda", "placement.optimizer=host"}},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static const struct variant optimizers[] = {
    {{"optimizer.type=adamw"}},
    {{"optimizer.moments=8-bit"}},
    {{"optimizer.type=lion", "optimizer.learning_rate=1e-3"}},
    {{"optimizer.type=lion", "optimizer.learning_rate=1e-3", "optimizer.moments=8-bit"}},
    {{"optimizer.type=sgd", "optimizer.moments=8-bit"}},
    {{"optimizer.type=sgd", "optimizer.beta1=0"}},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static const struct variant shapes[] = {
    {{"precision.compute=bf16"}},
    {{"precision.compute=fp32", "tiling.attention=3", "tiling.mlp=2", "tiling.vocabulary=2",
      "model.inner=160", "model.vocabulary=130"}},
    {{"precision.compute=bf16", "model.trainable=norm.*,blocks.1.attention.query.*"}},
};

static void test_optimizer(const struct variant *shape, const struct variant *optimizer,
                           double plain, struct comm *world)
{
    struct step_fixture_run first =
        variants_train(step_fixture_gpt2, shape, optimizer, &variants[0], world);
    CHECK_INT(first.status, ZI_OK);
    CHECK(first.last != first.checksum[0]);
    if (optimizer == &optimizers[1]) CHECK(fabs(first.validation - plain) < 0.01 * plain);
    for (int v = 1; v < VARIANTS; v++) {
        struct step_fixture_run other =
            variants_train(step_fixture_gpt2, shape, optimizer, &variants[v], world);
        variants_check_equal(&other, &first, v);
    }
}

static void test_refused(struct comm *world)
{
    static const struct variant refused[] = {
        {{"device.type=cuda"}},
        {{"device.type=cuda", "placement.optimizer=device"}},
        {{"device.type=cuda", "placement.optimizer=host", "zero.update_on=device"}},
    };
    for (int i = 0; i < 3; i++)
        for (int o = 1; o < 3; o++)
            CHECK(variants_train(step_fixture_gpt2, &shapes[0], &optimizers[o], &refused[i], world)
                      .status < 0);
}

int main(int argc, char **argv)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    for (int s = 0; s < 3; s++) {
        struct step_fixture_run plain =
            variants_train(step_fixture_gpt2, &shapes[s], &optimizers[0], &variants[0], world);
        for (int o = 1; o < OPTIMIZERS; o += s == 0 ? 1 : 2)
            test_optimizer(&shapes[s], &optimizers[o], plain.validation, world);
    }
    test_refused(world);
    CHECK(step_fixture_leave(world, folder, "engine-moments-store"));
    int status = test_finish("engine_moments_test");
    comm_finish(world);
    return status;
}

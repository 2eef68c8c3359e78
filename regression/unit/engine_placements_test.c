/* SPDX-License-Identifier: Apache-2.0 */
/* Every placement gives the same bits: parameters, gradients, optimizer states and activations,
 * each on device, host or nvme, all 81 combinations; the device with its memory in one with the
 * host's and apart, updates deferred and immediate, on the host and on the device, few groups and
 * all in memory, tiled and whole, sums of gradients in memory and on nvme, in turns. */
#include <unistd.h>

#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

#define STORE "zero-placements-store"

static const char *const keys[4] = {"placement.parameters", "placement.gradients",
                                    "placement.optimizer", "placement.activations"};
static const char *const tiers[3] = {"device", "host", "nvme"};

/* What all runs of one group share. */
static const char *const groups[][7] = {
    {"precision.compute=bf16", NULL},
    {"precision.compute=fp32", "activations.recompute=always", NULL},
    {"precision.compute=bf16", "tiling.attention=2", "tiling.vocabulary=2",
     "zero.order=micro-major", NULL},
    {"precision.compute=fp16", "tiling.vocabulary=2", "precision.loss_scale_initial=1024",
     "precision.loss_scale_growth=1", NULL},
};
#define GROUP_COUNT ((int)(sizeof groups / sizeof *groups))

static struct step_fixture_run run_placement(int placement, int group, struct comm *comm)
{
    char texts[4][48];
    const char *sets[20] = {"nvme.paths=" STORE, "zero.group=4096"};
    int count = 2, rest = placement;
    for (int i = 0; i < 4; i++, rest /= 3) {
        snprintf(texts[i], sizeof texts[i], "%s=%s", keys[i], tiers[rest % 3]);
        sets[count++] = texts[i];
    }
    /* Every placement meets each of these with either value in one of the groups. */
    int turn = placement + group;
    sets[count++] = turn & 1 ? "device.type=cuda" : "device.type=cpu";
    sets[count++] = turn & 2 ? "zero.update=immediate" : "zero.update=deferred";
    /* With the device apart, which it is in two groups, a placement meets both. */
    sets[count++] =
        (placement / 2 + turn / 2) & 1 ? "zero.update_on=device" : "zero.update_on=host";
    sets[count++] = turn % 3 ? "zero.prefetch=auto" : "zero.prefetch=0";
    for (int i = 0; groups[group][i]; i++) {
        sets[count++] = groups[group][i];
    }
    sets[count] = NULL;
    step_fixture_sums_on_disk = placement / 3 % 3 == 2 && group > 0; /* gradients on nvme */
    step_fixture_groups = turn % 5 < 2 ? 2 + turn % 5 : 0;
    return step_fixture_train(placement & 1 ? step_fixture_llama : step_fixture_gpt2, sets, comm);
}

static void check_same(const struct step_fixture_run *a, const struct step_fixture_run *b)
{
    CHECK(a->status == ZI_OK && b->status == ZI_OK);
    for (int s = 0; s < STEP_FIXTURE_STEPS; s++) {
        CHECK(a->checksum[s] == b->checksum[s]);
        CHECK(a->loss[s] == b->loss[s]);
        CHECK(a->norm[s] == b->norm[s]);
    }
    CHECK(a->last == b->last && a->last != a->checksum[0]);
    CHECK(a->validation == b->validation);
}

int main(int argc, char **argv)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    for (int group = 0; group < GROUP_COUNT; group++) {
        struct step_fixture_run first[2];
        for (int placement = 0; placement < 81; placement++) {
            struct step_fixture_run run = run_placement(placement, group, world);
            long before = test_failures();
            if (placement < 2) first[placement] = run;
            check_same(&run, &first[placement & 1]);
            if (test_failures() > before)
                fprintf(stderr, "  with placement %d of group %d\n", placement, group);
        }
    }
    CHECK(step_fixture_leave(world, folder, STORE));
    int status = test_finish("engine_placements_test");
    comm_finish(world);
    return status;
}

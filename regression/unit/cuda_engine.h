/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by cuda_engine_test and its versions of several ranks: small models of each family are
 * trained on a CUDA device. Every placement gives the same bits; losses are those of the cpu. */
#ifndef ZI_REGRESSION_CUDA_ENGINE_H
#define ZI_REGRESSION_CUDA_ENGINE_H

#include <math.h>
#include <sys/stat.h>

#include "comm/comm.h"
#include "regression/unit/cuda_fixture.h"
#include "regression/unit/step_fixture.h"

#define CUDA "device.type=cuda", "memory.device=48 MiB", "memory.host=64 MiB"

/* Everything in device memory; each state on each tier that it can have; all away. */
static const char *const cuda_placements[][12] = {
    {CUDA},
    {CUDA, "placement.optimizer=host"},
    {CUDA, "placement.optimizer=host", "zero.update_on=device"},
    {CUDA, "placement.parameters=host", "placement.optimizer=nvme", "nvme.paths=store",
     "zero.update_on=device"},
    {CUDA, "placement.optimizer=host", "placement.gradients=host", "placement.parameters=host"},
    {CUDA, "placement.activations=host", "activations.recompute=always"},
    {CUDA, "activations.recompute=never", "activations.offload=all"},
    {CUDA, "placement.parameters=host", "placement.gradients=host", "placement.optimizer=host",
     "placement.activations=host", "zero.update=deferred"},
    {CUDA, "placement.parameters=nvme", "placement.gradients=nvme", "placement.optimizer=nvme",
     "placement.activations=nvme", "nvme.paths=store"},
    {CUDA, "placement.parameters=nvme", "placement.gradients=host", "placement.optimizer=nvme",
     "nvme.paths=store", "zero.update=deferred", "zero.stage=2"},
};
enum { CUDA_PLACEMENTS = sizeof cuda_placements / sizeof cuda_placements[0] };

/* Trains with a type of arithmetic added to the deck's changes. */
static inline struct step_fixture_run cuda_train(const char *deck, const char *const *sets,
                                                 const char *precision, struct comm *world)
{
    const char *all[16] = {precision};
    int count = 1;
    for (int i = 0; sets[i]; i++) {
        all[count++] = sets[i];
    }
    return step_fixture_train(deck, all, world);
}

/* Whether two runs came to the same bits. */
static inline bool cuda_equal(const struct step_fixture_run *a, const struct step_fixture_run *b)
{
    return a->status == ZI_OK && b->status == ZI_OK && a->last == b->last &&
           memcmp(a->loss, b->loss, sizeof a->loss) == 0 &&
           memcmp(a->norm, b->norm, sizeof a->norm) == 0 &&
           memcmp(a->logits, b->logits, sizeof a->logits) == 0;
}

/* Losses of a few steps: products and sums of a few hundred terms are rounded in another order, and
 * weights differ from the second step on by the rounding of their updates. */
static inline void cuda_near(const struct step_fixture_run *cuda,
                             const struct step_fixture_run *cpu, double tolerance)
{
    for (int i = 0; i < STEP_FIXTURE_STEPS; i++) {
        double off = fabs(cuda->loss[i] - cpu->loss[i]) / cpu->loss[i];
        if (!(off <= tolerance))
            fprintf(stderr, "step %d: loss %.9g on the device, %.9g on the cpu\n", i, cuda->loss[i],
                    cpu->loss[i]);
        CHECK(off <= tolerance);
    }
}

/* Collective. One family in one type of arithmetic; `few`: only some placements, which are enough
 * to see that the type is handled. */
static inline void cuda_family(const char *deck, const char *precision, double tolerance, bool few,
                               struct comm *world)
{
    static const char *const on_cpu[] = {"device.type=cpu", NULL};
    struct step_fixture_run cpu = cuda_train(deck, on_cpu, precision, world);
    struct step_fixture_run first = cuda_train(deck, cuda_placements[0], precision, world);
    CHECK_INT(cpu.status, ZI_OK);
    CHECK_INT(first.status, ZI_OK);
    cuda_near(&first, &cpu, tolerance);
    for (int i = 1; i < CUDA_PLACEMENTS; i += few ? 4 : 1) {
        struct step_fixture_run run = cuda_train(deck, cuda_placements[i], precision, world);
        if (!cuda_equal(&run, &first))
            fprintf(
                stderr,
                "%s, placement %d: status %d, loss %.9g not %.9g, checksums %016llx not %016llx\n",
                precision, i, run.status, run.loss[2], first.loss[2], (unsigned long long)run.last,
                (unsigned long long)first.last);
        CHECK(cuda_equal(&run, &first));
    }
}

/* Collective. The test, on all ranks. */
static inline int cuda_engine_main(int argc, char **argv, const char *name, bool thorough)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    struct device_share share = {comm_node_size(world), comm_node_rank(world)};
    cuda_fixture_need(share);
    step_fixture_cuda = true;
    if (comm_rank(world) == 0 && mkdir("store", 0700) != 0) return 1;
    if (comm_barrier(world) < 0) return 1;
    cuda_family(step_fixture_gpt2, "precision.compute=fp32", 1e-5, false, world);
    cuda_family(step_fixture_llama, "precision.compute=bf16", 2e-2, !thorough, world);
    if (thorough) cuda_family(step_fixture_gpt2, "precision.compute=fp16", 4e-3, true, world);
    CHECK(step_fixture_leave(world, folder, "store"));
    comm_finish(world);
    return test_finish(name);
}

#endif

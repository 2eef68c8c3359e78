/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen matrices in 8 or 4 bits (model.frozen): where states live, the stage, prefetch and recomputation
 * change no bit, of a model in tiles neither; losses stay near those of the compute type; a quarter or
 * half of the bytes of matrices is read from nvme. Run under 1 to 3 ranks. */
#include <math.h>

#include "regression/unit/test.h"
#include "regression/unit/step_variants.h"

static const char gpt2[] =
    "run: {steps: 20, seed: 3}\n"
    "model: {family: gpt2, layers: 3, hidden: 64, heads: 4, context: 19, vocabulary: 67}\n"
    "adapter: {rank: 4, targets: all}\n"
    "data: {train: none}\n"
    "batch: {global: 6, micro: 2, tokens: 17}\n"
    "optimizer: {learning_rate: 1e-2, clip: 0.5, schedule: constant, weight_decay: 0.1}\n";
static const char llama[] =
    "run: {steps: 20, seed: 3}\n"
    "model: {family: llama, layers: 3, hidden: 64, heads: 4, key_heads: 2, head_width: 32, inner: "
    "192, context: 19, vocabulary: 67}\n"
    "adapter: {rank: 4, targets: all}\n"
    "data: {train: none}\n"
    "batch: {global: 6, micro: 2, tokens: 17}\n"
    "optimizer: {learning_rate: 1e-2, clip: 0.5, schedule: constant, weight_decay: 0.1}\n";

#define DISK     "nvme.paths=engine-frozen-store", "zero.group=4096"
#define ALL_NVME "placement.parameters=nvme", "placement.gradients=nvme", "placement.optimizer=nvme"

static const struct variant variants[] = {
    {{"zero.stage=3"}},
    {{"zero.stage=0", "zero.prefetch=0"}},
    {{"zero.update=deferred", "zero.stage=2"}},
    {{DISK, ALL_NVME, "zero.stage=3"}},
    {{DISK, ALL_NVME, "zero.stage=1", "zero.prefetch=2", "activations.recompute=never"}},
    {{"device.type=cuda", "zero.stage=3"}},
    {{"device.type=cuda", "placement.parameters=host", "zero.stage=0"}},
    {{DISK, ALL_NVME, "device.type=cuda", "zero.update_on=host", "zero.stage=3"}},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static const struct variant kinds[] = {
    {{"model.frozen=compute"}},
    {{"model.frozen=8-bit"}},
    {{"model.frozen=nf4"}},
};

/* Only the first two suit GPT-2: layers with biases of their inner width are not cut. */
static const struct variant shapes[] = {
    {{"precision.compute=bf16"}},
    {{"precision.compute=fp32", "model.trainable=norm.*,blocks.1.attention.query.*,*.norm.weight"}},
    {{"precision.compute=fp16", "tiling.attention=2", "tiling.mlp=3"}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_kind(const char *deck, const struct variant *shape, int kind, double plain,
                      struct comm *world)
{
    static const double near[] = {0, 1e-3, 2e-2};
    struct step_fixture_run first = variants_train(deck, shape, &kinds[kind], &variants[0], world);
    CHECK_INT(first.status, ZI_OK);
    CHECK(first.validation != plain && fabs(first.validation - plain) < near[kind] * plain);
    for (int v = 1; v < VARIANTS; v++) {
        struct step_fixture_run other =
            variants_train(deck, shape, &kinds[kind], &variants[v], world);
        variants_check_equal(&other, &first, v);
    }
}

/* Frozen matrices are read, as often as without model.frozen, and are as small as their blocks. */
static void test_bytes(int ranks)
{
    static const double shares[] = {1, 0.53125, 0.28125};
    double read[3] = {0};
    for (int kind = 0; kind < 3; kind++) {
        const char *const sets[] = {kinds[kind].sets[0],      DISK, ALL_NVME, "zero.stage=3",
                                    "precision.compute=bf16", NULL};
        struct step_fixture f;
        CHECK(step_fixture_open(&f, gpt2, sets, ranks, 0) >= 0);
        const struct program_list *list = &f.program->lists[PROGRAM_TRAIN];
        for (int i = 0; i < list->count; i++) {
            const struct program_op *op = &list->ops[i];
            bool matrices = op->unit >= 0 && kind > 0 && f.model->units[op->unit].packed;
            if (op->kind == OP_READ && matrices) read[kind] += (double)op->length;
        }
        for (int i = 0; i < list->count && kind == 1; i++) { /* the same elements, of 2 bytes */
            const struct program_op *op = &list->ops[i];
            if (op->kind == OP_READ && f.model->units[op->unit].packed)
                read[0] += 2 * (double)f.partition->units[op->unit].shard;
        }
        step_fixture_close(&f);
    }
    for (int kind = 0; kind < 3; kind++)
        CHECK(read[kind] > 0 && fabs(read[kind] - shares[kind] * read[0]) < 1e-9 * read[0]);
}

int main(int argc, char **argv)
{
    static const char *const decks[] = {gpt2, llama};
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    for (int d = 0; d < 2; d++)
        for (int s = 0; s < (decks[d] == gpt2 ? 2 : SHAPES); s++) {
            double plain =
                variants_train(decks[d], &shapes[s], &kinds[0], &variants[0], world).validation;
            for (int kind = 1; kind < 3; kind++)
                test_kind(decks[d], &shapes[s], kind, plain, world);
        }
    test_bytes(comm_size(world));
    CHECK(step_fixture_leave(world, folder, "engine-frozen-store"));
    int status = test_finish("engine_frozen_test");
    comm_finish(world);
    return status;
}

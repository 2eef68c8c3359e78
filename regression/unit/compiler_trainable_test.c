/* SPDX-License-Identifier: Apache-2.0 */
/* Units without trainable tensors: they have parameters and nothing else, no operation makes their
 * gradient or updates them, and training leaves their bits alone while the others change. */
#include <unistd.h>

#include "comm/comm.h"
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

enum { TENSORS_MAX = 64 };

/* A deck, what is set, which tensors are frozen (by the start of their names), and how many units
 * that makes. */
static const struct variant {
    const char *deck, *sets[8], *frozen[3];
    int units;
} variants[] = {
    {step_fixture_gpt2, {"precision.compute=fp32"}, {"blocks.1.", "embedding.position"}, 3},
    {step_fixture_gpt2,
     {"precision.compute=bf16", "device.type=cuda", "placement.optimizer=host",
      "placement.parameters=host", "placement.gradients=host"},
     {"blocks.1.", "embedding.position"},
     3},
    {step_fixture_gpt2,
     {"precision.compute=bf16", "nvme.paths=zero-trainable-store", "zero.group=4096",
      "placement.parameters=nvme", "placement.gradients=nvme", "placement.optimizer=nvme"},
     {"blocks.0.mlp", "embedding.token"},
     2},
    /* in units of which other tensors are trained */
    {step_fixture_gpt2,
     {"precision.compute=bf16"},
     {"blocks.0.attention.key", "blocks.2.mlp.norm", "embedding"},
     2},
    /* below the lowest trained one there is no backward pass */
    {step_fixture_llama,
     {"precision.compute=bf16", "nvme.paths=zero-trainable-store", "zero.group=4096",
      "placement.parameters=nvme", "placement.activations=nvme"},
     {"blocks.0", "blocks.1", "embedding."},
     5},
    {step_fixture_llama, {"precision.compute=fp32"}, {"blocks.", "embedding."}, 7},
    {step_fixture_llama, {"precision.compute=bf16"}, {"embedding.", "head.", "norm."}, 3},
};
static const struct variant *variant;

static bool is_frozen(const struct model_tensor *tensor)
{
    for (int i = 0; i < 3 && variant->frozen[i]; i++) {
        const char *start = variant->frozen[i];
        if (strncmp(tensor->name, start, strlen(start)) == 0) return true;
    }
    return false;
}

/* Freezes tensors of an open fixture and compiles it again. */
static void freeze(struct step_fixture *f)
{
    for (int t = 0; t < f->model->tensor_count; t++)
        f->model->tensors[t].trainable = !is_frozen(&f->model->tensors[t]);
    model_settle_trainable(f->model);
    program_destroy(f->program);
    CHECK_INT(program_compile(f->model, f->partition, &f->config, &f->program), ZI_OK);
    CHECK_INT(program_check(f->program), ZI_OK);
}

static void check_program(const struct step_fixture *f)
{
    int frozen = 0;
    for (int u = 0; u < f->model->unit_count; u++) {
        bool trainable = f->model->units[u].trainable;
        frozen += !trainable;
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            bool exists = zero_has(&f->config, (enum tier_kind)k, trainable);
            CHECK((f->program->homes[u].slots[k] >= 0) == exists);
            CHECK(trainable || k == TIER_PARAMETER || !exists);
        }
    }
    CHECK_INT(frozen, variant->units);
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        const struct program_list *list = &f->program->lists[name];
        if (program_row((enum program_name)name)->states) continue; /* parameters of all units */
        for (int i = 0; i < list->count; i++) {
            enum program_kind kind = list->ops[i].kind;
            int unit = list->ops[i].unit;
            bool training = kind == OP_ADD || kind == OP_ADAM || kind == OP_STORE;
            CHECK(!training || unit < 0 || f->model->units[unit].trainable);
        }
    }
}

struct sums {
    const struct model *model;
    uint64_t of[TENSORS_MAX];
};

/* Visitor that adds up the bits of parameters. */
static enum zi_status add_bits(void *context, enum tier_kind kind, int tensor, int64_t first,
                               int64_t count, void *values)
{
    struct sums *sums = context;
    bool half = sums->model->type == ZI_BF16;
    if (kind != TIER_PARAMETER) {
        CHECK(!is_frozen(&sums->model->tensors[tensor]));
        return ZI_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = half ? ((const uint16_t *)values)[i] : ((const uint32_t *)values)[i];
        sums->of[tensor] += bits * (uint64_t)(2 * (first + i) + 1);
    }
    return ZI_OK;
}

static void train(struct step_fixture *f, struct comm *self)
{
    static struct sums before, after;
    struct engine *engine;
    struct engine_result result;
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    before.model = after.model = f->model;
    CHECK(f->model->tensor_count <= TENSORS_MAX);
    CHECK_INT(engine_create(f->program, f->device, self, deck_settings(f->deck), &engine), ZI_OK);
    CHECK_INT(engine_initialize(engine), ZI_OK);
    CHECK_INT(engine_save(engine, add_bits, &before), ZI_OK);
    for (int step = 0; step < 2; step++) {
        step_fixture_fill(f, engine, step);
        CHECK_INT(engine_train(engine, step, &result), ZI_OK);
        CHECK(!result.skipped && result.norm > 0);
    }
    CHECK_INT(engine_flush(engine), ZI_OK);
    CHECK_INT(engine_save(engine, add_bits, &after), ZI_OK);
    for (int t = 0; t < f->model->tensor_count; t++) {
        bool same = before.of[t] == after.of[t];
        CHECK(same == is_frozen(&f->model->tensors[t]));
    }
    engine_destroy(engine);
}

int main(void)
{
    struct comm *self;
    zi_log_set_level(ZI_LOG_ERROR);
    if (comm_self(&self) < 0) return 99;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        struct step_fixture f;
        variant = &variants[i];
        CHECK_INT(step_fixture_open(&f, variant->deck, variant->sets, 1, 0), ZI_OK);
        freeze(&f);
        check_program(&f);
        train(&f, self);
        step_fixture_close(&f);
    }
    comm_destroy(self);
    rmdir("zero-trainable-store");
    return test_finish("compiler_trainable_test");
}

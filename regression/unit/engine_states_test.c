/* SPDX-License-Identifier: Apache-2.0 */
/* Saves and loads of states, in memory: whatever the stage, the tiers and the ranks,
 * - every element of every saved state is handed out once by one rank, and all save the same bits;
 * - states that were loaded into another shape are those that were saved, with their checksum;
 * - training goes on with them to the same bits as training that was not interrupted. */
#include <stdlib.h>
#include <unistd.h>

#include "comm/comm.h"
#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { TENSORS_MOST = 64, BEFORE = 2, STEPS = 4, SHAPES = 8 };

/* All saved states of a model, a number per element: its bits, and how often it was visited. */
struct saved {
    const struct model *model;
    uint64_t *bits[TIER_KIND_COUNT][TENSORS_MOST], *visits[TIER_KIND_COUNT][TENSORS_MOST];
    bool loads;
};

static const char *const disk[] = {"placement.parameters=nvme", "placement.gradients=nvme",
                                   "placement.optimizer=nvme", "nvme.paths=engine-states-store",
                                   "zero.group=4096"};
static const char *const host[] = {"device.type=cuda", "placement.parameters=host",
                                   "placement.gradients=host", "placement.optimizer=host"};
static const char *const apart[] = {"device.type=cuda"};

/* A shape: the stage, and what else is set. */
static const struct shape {
    const char *stage, *const *sets;
    int set_count;
} shapes[SHAPES] = {
    {"zero.stage=0", NULL, 0},  {"zero.stage=1", apart, 1}, {"zero.stage=2", disk, 5},
    {"zero.stage=3", host, 4},  {"zero.stage=3", disk, 5},  {"zero.stage=0", disk, 5},
    {"zero.stage=3", apart, 1}, {"zero.stage=2", host, 4},
};

static size_t saved_bytes(const struct model *model, enum tier_kind kind)
{
    return zi_dtype_bytes(tier_type_of(tier_kind_row(kind)->saved_type, model->type, model->type));
}

static void saved_create(struct saved *s, const struct model *model)
{
    memset(s, 0, sizeof *s);
    s->model = model;
    ZI_REQUIRE(model->tensor_count <= TENSORS_MOST);
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        for (int t = 0; t < model->tensor_count; t++) {
            size_t count = (size_t)model->tensors[t].elements;
            s->bits[k][t] = calloc(count, sizeof(uint64_t));
            s->visits[k][t] = calloc(count, sizeof(uint64_t));
            ZI_REQUIRE(s->bits[k][t] && s->visits[k][t]);
        }
    }
}

static void saved_destroy(struct saved *s)
{
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        for (int t = 0; t < TENSORS_MOST; t++) {
            free(s->bits[k][t]);
            free(s->visits[k][t]);
        }
    }
}

static enum zi_status visit(void *context, enum tier_kind kind, int tensor, int64_t first,
                            int64_t count, void *values)
{
    struct saved *s = context;
    size_t element = saved_bytes(s->model, kind);
    CHECK(first >= 0 && count > 0 && first + count <= s->model->tensors[tensor].elements);
    for (int64_t i = 0; i < count; i++) {
        char *at = (char *)values + (size_t)i * element;
        uint64_t *bits = &s->bits[kind][tensor][first + i];
        s->visits[kind][tensor][first + i]++;
        if (s->loads)
            memcpy(at, bits, element);
        else
            memcpy(bits, at, element);
    }
    return ZI_OK;
}

/* Collective. What all ranks have saved; each element by one of them. */
static void saved_join(struct saved *s, struct comm *comm)
{
    bool master = s->model->type != ZI_FP32;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        bool exists = tier_kind_row(kind)->saved && (kind != TIER_MASTER || master);
        int64_t wrong = 0;
        for (int t = 0; t < s->model->tensor_count; t++) {
            int64_t count = s->model->tensors[t].elements;
            CHECK_INT(comm_sum_uint64(comm, s->bits[k][t], (int)count), ZI_OK);
            CHECK_INT(comm_sum_uint64(comm, s->visits[k][t], (int)count), ZI_OK);
            for (int64_t i = 0; i < count; i++) {
                wrong += s->visits[k][t][i] != exists;
            }
        }
        CHECK_INT(wrong, 0);
    }
}

static void compare(const struct saved *a, const struct saved *b)
{
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        for (int t = 0; t < a->model->tensor_count; t++) {
            size_t bytes = (size_t)a->model->tensors[t].elements * sizeof(uint64_t);
            CHECK(memcmp(a->bits[k][t], b->bits[k][t], bytes) == 0);
        }
    }
}

struct instance {
    struct step_fixture f;
    struct engine *engine;
};

static void instance_open(struct instance *i, const char *type, const struct shape *shape,
                          struct comm *comm)
{
    const char *sets[16] = {type, shape->stage};
    for (int s = 0; s < shape->set_count; s++) {
        sets[2 + s] = shape->sets[s];
    }
    ZI_REQUIRE(step_fixture_open(&i->f, step_fixture_gpt2, sets, comm_size(comm),
                                 comm_rank(comm)) == ZI_OK);
    ZI_REQUIRE(engine_create(i->f.program, i->f.device, comm, deck_settings(i->f.deck),
                             &i->engine) == ZI_OK);
}

static void instance_close(struct instance *i)
{
    engine_destroy(i->engine);
    step_fixture_close(&i->f);
}

/* An update of the last step may be left pending. */
static void train(struct instance *i, int first, int end)
{
    struct engine_result result;
    for (int step = first; step < end; step++) {
        step_fixture_fill(&i->f, i->engine, step);
        CHECK_INT(engine_train(i->engine, step, &result), ZI_OK);
        CHECK(!result.skipped);
    }
}

/* Trains in one shape, goes on in another; what both have after the same steps is equal. */
static void check_pair(const char *type, const struct shape *from, const struct shape *to,
                       struct comm *comm)
{
    struct instance one, other;
    struct saved saved, again;
    instance_open(&one, type, from, comm);
    saved_create(&saved, one.f.model);
    CHECK_INT(engine_initialize(one.engine), ZI_OK);
    train(&one, 0, BEFORE);
    CHECK_INT(engine_save(one.engine, visit, &saved), ZI_OK);
    saved_join(&saved, comm);
    uint64_t checksum = engine_checksum(one.engine);
    struct optimizer_scaling scaling = engine_scaling(one.engine);
    train(&one, BEFORE, STEPS);
    CHECK_INT(engine_flush(one.engine), ZI_OK);
    uint64_t last = engine_checksum(one.engine);
    CHECK(last != checksum);

    instance_open(&other, type, to, comm);
    saved_create(&again, other.f.model);
    saved.loads = true;
    CHECK_INT(engine_load(other.engine, visit, &saved), ZI_OK);
    CHECK(engine_checksum(other.engine) == checksum);
    engine_set_updates(other.engine, BEFORE);
    engine_set_scaling(other.engine, scaling);
    CHECK_INT(engine_save(other.engine, visit, &again), ZI_OK);
    saved_join(&again, comm);
    compare(&saved, &again);
    train(&other, BEFORE, STEPS);
    CHECK_INT(engine_flush(other.engine), ZI_OK);
    CHECK(engine_checksum(other.engine) == last);
    saved_destroy(&saved);
    saved_destroy(&again);
    instance_close(&one);
    instance_close(&other);
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"precision.compute=fp32", "precision.compute=bf16",
                                        "precision.compute=fp16"};
    struct comm *world;
    if (comm_start(&argc, &argv, &world) < 0) return 99;
    zi_log_identify(comm_rank(world), comm_size(world));
    zi_log_set_level(ZI_LOG_WARN);
    char folder[32];
    step_fixture_enter(world, folder);
    for (int t = 0; t < 3; t++) {
        for (int s = 0; s < SHAPES; s++) {
            check_pair(types[t], &shapes[s], &shapes[(s + 3) % SHAPES], world);
        }
    }
    CHECK(step_fixture_leave(world, folder, "engine-states-store"));
    int status = test_finish("engine_states_test");
    comm_finish(world);
    return status;
}

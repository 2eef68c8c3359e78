/* SPDX-License-Identifier: Apache-2.0 */
/* Saves and loads of states, in memory: whatever the stage, the tiers and the ranks,
 * - every element of every saved state is handed out once by one rank, and all save the same bits;
 * - states that were loaded into another shape are those that were saved, with their checksum;
 * - a save that is laid over a training step takes the states from before that step, whether their
 *   update was pending or not, and the step is the same;
 * - training goes on with them to the same bits as training that was not interrupted;
 * - were an update not to wait for the save that is laid over it, both this test and the checker of
 *   programs would see it. */
#include <stdlib.h>
#include <unistd.h>

#include "comm/comm.h"
#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { TENSORS_MOST = 64, BEFORE = 2, STEPS = 4, SHAPES = 16 };

/* All saved states of a model, a number per element: its bits, and how often it was visited. */
struct saved {
    const struct model *model;
    uint64_t *bits[TIER_KIND_COUNT][TENSORS_MOST], *visits[TIER_KIND_COUNT][TENSORS_MOST];
    bool loads;
    /* All ranges have been visited. */
    bool visited;
    /* Microseconds that each visit takes first. */
    useconds_t pause;
};

static const char *const disk[] = {"placement.parameters=nvme", "placement.gradients=nvme",
                                   "placement.optimizer=nvme", "nvme.paths=engine-states-store",
                                   "zero.group=4096"};
static const char *const host[] = {"device.type=cuda", "placement.parameters=host",
                                   "placement.gradients=host", "placement.optimizer=host"};
static const char *const disk_at_once[] = {
    "placement.parameters=nvme", "placement.gradients=nvme",       "placement.optimizer=nvme",
    "zero.update=immediate",     "nvme.paths=engine-states-store", "zero.group=4096"};
static const char *const host_later[] = {"device.type=cuda", "placement.parameters=host",
                                         "placement.gradients=host", "placement.optimizer=host",
                                         "zero.update=deferred"};
static const char *const host_streamed[] = {"device.type=cuda", "placement.optimizer=host",
                                            "zero.update_on=device"};
static const char *const all_streamed[] = {"device.type=cuda",         "placement.parameters=host",
                                           "placement.gradients=host", "placement.optimizer=host",
                                           "zero.update_on=device",    "zero.update=deferred",
                                           "zero.group=4096"};
static const char *const disk_streamed[] = {
    "device.type=cuda",      "placement.parameters=nvme",      "placement.optimizer=nvme",
    "zero.update_on=device", "nvme.paths=engine-states-store", "zero.group=4096"};
static const char *const deferred[] = {"zero.update=deferred"};
static const char *const apart[] = {"device.type=cuda"};

/* A shape: the stage, and what else is set. */
static const struct shape {
    const char *stage, *const *sets;
    int set_count;
} shapes[SHAPES] = {
    {"zero.stage=0", NULL, 0},          {"zero.stage=1", apart, 1},
    {"zero.stage=2", disk, 5},          {"zero.stage=3", host, 4},
    {"zero.stage=3", disk, 5},          {"zero.stage=0", disk, 5},
    {"zero.stage=3", apart, 1},         {"zero.stage=2", host, 4},
    {"zero.stage=3", disk_at_once, 6},  {"zero.stage=1", deferred, 1},
    {"zero.stage=1", disk_at_once, 6},  {"zero.stage=3", host_later, 5},
    {"zero.stage=2", host_streamed, 3}, {"zero.stage=3", disk_streamed, 6},
    {"zero.stage=1", all_streamed, 7},  {"zero.stage=3", all_streamed, 7},
};

/* Moments in blocks are saved as fp32 numbers, of which the same blocks are made again. */
static const char *const blocks[] = {"optimizer.moments=8-bit", "device.type=cuda",
                                     "placement.optimizer=host", "zero.update=deferred"};
static const char *const blocks_on_disk[] = {
    "optimizer.moments=8-bit",  "placement.parameters=nvme", "placement.gradients=nvme",
    "placement.optimizer=nvme", "zero.update=immediate",     "nvme.paths=engine-states-store",
    "zero.group=4096"};
static const struct shape block_shapes[] = {
    {"zero.stage=3", blocks, 1},
    {"zero.stage=1", blocks_on_disk, 7},
    {"zero.stage=2", blocks, 4},
    {"zero.stage=3", blocks_on_disk, 7},
};

static size_t saved_bytes(const struct model *model, enum tier_kind kind)
{
    const struct tier_types types = {.compute = model->type, .gradient = model->type};
    return zi_dtype_bytes(tier_type_of(tier_kind_row(kind)->saved_type, &types));
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
    if (s->pause > 0) usleep(s->pause);
    CHECK(!s->visited);
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

static void note_visited(void *context)
{
    struct saved *s = context;
    s->visited = true;
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

static bool is_same(const struct saved *a, const struct saved *b)
{
    bool same = true;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        for (int t = 0; t < a->model->tensor_count; t++) {
            size_t bytes = (size_t)a->model->tensors[t].elements * sizeof(uint64_t);
            same = same && memcmp(a->bits[k][t], b->bits[k][t], bytes) == 0;
        }
    }
    return same;
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

/* A training step over which the states from before it are saved. */
static void train_over(struct instance *i, int step, struct saved *saved, struct comm *comm)
{
    saved_create(saved, i->f.model);
    engine_save_over(i->engine, visit, note_visited, saved);
    train(i, step, step + 1);
    CHECK(saved->visited);
    saved_join(saved, comm);
}

/* Trains in one shape, goes on in another; what both have after the same steps is equal. */
static void check_pair(const char *type, const struct shape *from, const struct shape *to,
                       struct comm *comm)
{
    struct instance one, other;
    struct saved saved, later, again, over;
    instance_open(&one, type, from, comm);
    saved_create(&saved, one.f.model);
    CHECK_INT(engine_initialize(one.engine), ZI_OK);
    train(&one, 0, BEFORE);
    CHECK_INT(engine_save(one.engine, visit, &saved), ZI_OK);
    saved_join(&saved, comm);
    uint64_t checksum = engine_checksum(one.engine);
    struct optimizer_scaling scaling = engine_scaling(one.engine);
    train(&one, BEFORE, BEFORE + 1);
    saved_create(&later, one.f.model);
    CHECK_INT(engine_save(one.engine, visit, &later), ZI_OK);
    saved_join(&later, comm);
    train(&one, BEFORE + 1, STEPS);
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
    CHECK(is_same(&saved, &again));
    train_over(&other, BEFORE, &over, comm);
    CHECK(is_same(&saved, &over));
    saved_destroy(&over);
    train_over(&other, BEFORE + 1, &over, comm);
    CHECK(is_same(&later, &over));
    saved_destroy(&over);
    train(&other, BEFORE + 2, STEPS);
    CHECK_INT(engine_flush(other.engine), ZI_OK);
    CHECK(engine_checksum(other.engine) == last);
    saved_destroy(&saved);
    saved_destroy(&later);
    saved_destroy(&again);
    instance_close(&one);
    instance_close(&other);
}

/* Takes from a list that updates after it has exported all waits for what is exported. */
static void forget_waits(struct program *program)
{
    struct program_list *list = &program->lists[PROGRAM_TRAIN_SAVE];
    for (int i = 0; i < list->count; i++) {
        list->ops[i].after[LANE_FILE] = -1;
    }
}

/* Updates that write while a slow save still reads; of one rank, which waits for no other. */
static void check_late_writes(struct comm *comm, bool forgets)
{
    struct instance i;
    struct saved before, over;
    const char *sets[] = {"precision.compute=fp32", "zero.stage=0", NULL};
    ZI_REQUIRE(step_fixture_open(&i.f, step_fixture_gpt2, sets, 1, 0) == ZI_OK);
    if (forgets) forget_waits(i.f.program);
    CHECK_INT(program_check(i.f.program), forgets ? ZI_ERROR_BUG : ZI_OK);
    ZI_REQUIRE(engine_create(i.f.program, i.f.device, comm, deck_settings(i.f.deck), &i.engine) ==
               ZI_OK);
    CHECK_INT(engine_initialize(i.engine), ZI_OK);
    saved_create(&before, i.f.model);
    CHECK_INT(engine_save(i.engine, visit, &before), ZI_OK);
    saved_create(&over, i.f.model);
    over.pause = 2000;
    engine_save_over(i.engine, visit, note_visited, &over);
    train(&i, 0, 1);
    CHECK(is_same(&before, &over) != forgets);
    saved_destroy(&before);
    saved_destroy(&over);
    instance_close(&i);
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"precision.compute=fp32", "precision.compute=bf16",
                                        "precision.compute=fp16"};
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    for (int t = 0; t < 3; t++) {
        step_fixture_groups = t > 0 ? t + 1 : 0;
        for (int s = 0; s < SHAPES; s++) {
            check_pair(types[t], &shapes[s], &shapes[(s + 3) % SHAPES], world);
        }
    }
    for (int s = 0; s < 8; s++)
        check_pair(types[s % 2], &block_shapes[s % 4], &block_shapes[(s + 1) % 4], world);
    if (comm_size(world) == 1) {
        check_late_writes(world, false);
        check_late_writes(world, true);
    }
    CHECK(step_fixture_leave(world, folder, "engine-states-store"));
    int status = test_finish("engine_states_test");
    comm_finish(world);
    return status;
}

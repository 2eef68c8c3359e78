/* SPDX-License-Identifier: Apache-2.0 */
/* The program checker on generated decks: every combination compiles to a program that it accepts,
 * and it refuses programs that were broken on purpose. */
#include "regression/unit/test.h"
#include "regression/unit/zero_fixture.h"

static const char *const stages[] = {"zero.stage=0", "zero.stage=1", "zero.stage=2",
                                     "zero.stage=3"};
static const char *const orders[] = {"zero.order=layer-major", "zero.order=micro-major"};
static const char *const prefetches[] = {"zero.prefetch=0", "zero.prefetch=1", "zero.prefetch=auto",
                                         "zero.prefetch=5"};
static const char *const recomputes[] = {
    "activations.recompute=always", "activations.recompute=never", "activations.recompute=auto"};
static const char *const intervals[] = {"activations.interval=1", "activations.interval=2",
                                        "activations.interval=4", "activations.interval=32"};
static const char *const tiers[2][4] = {{"placement.parameters=host", "placement.gradients=host",
                                         "placement.optimizer=host", "placement.activations=host"},
                                        {"placement.parameters=nvme", "placement.gradients=nvme",
                                         "placement.optimizer=nvme", "placement.activations=nvme"}};
static const char *const updates[] = {"zero.update=auto", "zero.update=auto",
                                      "zero.update=immediate", "zero.update=deferred"};
static const char *const precisions[] = {"precision.compute=fp32", "precision.compute=bf16"};

/* Draws one deck of the generated family: number `draw` picks a value for each key. */
static int draw_sets(uint64_t draw, const char **sets)
{
    int count = 0;
    uint64_t bits = zi_random_bits(1, 2, draw);
    sets[count++] = stages[bits & 3];
    sets[count++] = orders[bits >> 2 & 1];
    sets[count++] = prefetches[bits >> 3 & 3];
    sets[count++] = recomputes[(bits >> 5 & 15) % 3];
    sets[count++] = intervals[bits >> 9 & 3];
    sets[count++] = precisions[bits >> 11 & 1];
    if (bits >> 12 & 1) sets[count++] = "device.separate=yes";
    for (int i = 0; i < 4; i++) {
        if (bits >> (13 + i) & 1) sets[count++] = tiers[bits >> (20 + i) & 1][i];
    }
    sets[count++] = updates[bits >> 24 & 3];
    if (bits >> 26 & 1) sets[count++] = "zero.group=4096";
    if ((bits >> 27 & 3) == 0 && !strcmp(sets[4], intervals[0])) {
        sets[count++] = "tiling.attention=2";
        if (!(draw & 1)) sets[count++] = "tiling.mlp=2"; /* the llama's is too narrow */
    }
    if ((bits >> 29 & 3) == 0) sets[count++] = "tiling.vocabulary=2";
    if (bits >> 17 & 1) sets[count++] = "precision.gradient=fp32";
    if (bits >> 18 & 1) sets[count++] = "batch.micro=1";
    sets[count] = NULL;
    return count;
}

/* Breaks program `p` in way `way`; false when the program has nothing to break in that way. */
static bool break_program(struct program *p, int way)
{
    struct program_list *list = &p->lists[PROGRAM_TRAIN];
    for (int i = list->count - 1; i > 0; i--) {
        struct program_op *op = &list->ops[i];
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            if (way == 0 && op->after[lane] > 0) {
                op->after[lane] = -1; /* a dependency forgotten */
                return true;
            }
            if (way == 1 && op->after[lane] >= 0) {
                op->after[lane] = i + 1; /* waits for a later operation */
                return true;
            }
        }
        if (way == 2 && op->kind == OP_BACKWARD && op->slots[ROLE_SAVED] >= 0) {
            op->slots[ROLE_SAVED] = p->logits_slot; /* reads what nothing has filled */
            return true;
        }
    }
    if (way == 3) {
        p->slots[1].offset = p->slots[0].offset; /* two slots in one place */
        p->slots[1].tier = p->slots[0].tier;
        return true;
    }
    if (way == 4) {
        p->config.budget[ZI_TIER_DEVICE] = 1000;
        return true;
    }
    return false;
}

/* Clearing one dependency at a time: every single one that remains unordered must be found. */
static void test_each_dependency_matters(struct zero_fixture *f)
{
    struct program_list *list = &f->program->lists[PROGRAM_TRAIN];
    int found = 0, cleared = 0;
    for (int i = 0; i < list->count; i++) {
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            int kept = list->ops[i].after[lane];
            if (kept < 0) continue;
            list->ops[i].after[lane] = -1;
            cleared++;
            found += program_check(f->program) == ZI_ERROR_BUG;
            list->ops[i].after[lane] = kept;
        }
    }
    /* Some dependencies follow from others (a gather that waits for the same reduction as its
     * neighbour), but most carry the order alone. */
    CHECK(cleared > 20);
    CHECK(found * 2 > cleared);
    CHECK(program_check(f->program) == ZI_OK);
}

/* States on nvme that lie in memory count in the host's budget, or in the one of both. */
static void test_disk_memory(struct zero_fixture *f)
{
    struct zero_config *c = &f->program->config;
    const size_t *pool = f->program->pool_bytes;
    size_t disk = pool[ZI_TIER_NVME], host = pool[ZI_TIER_HOST], device = pool[ZI_TIER_DEVICE];
    CHECK(disk > 4096 && host > 0 && device > 0);
    c->shared_budget = false;
    c->budget[ZI_TIER_HOST] = host;
    c->budget[ZI_TIER_DEVICE] = device;
    c->disk_memory = 0;
    CHECK(program_excess(f->program, ZI_TIER_HOST) == 0);
    c->disk_memory = 4096;
    CHECK_INT(program_excess(f->program, ZI_TIER_HOST), 4096);
    c->disk_memory = 2 * disk;
    CHECK_INT(program_excess(f->program, ZI_TIER_HOST), disk);
    CHECK(program_excess(f->program, ZI_TIER_DEVICE) == 0);
    c->shared_budget = true;
    c->budget[ZI_TIER_DEVICE] = device + host;
    CHECK_INT(program_excess(f->program, ZI_TIER_DEVICE), disk);
    CHECK(program_excess(f->program, ZI_TIER_HOST) == 0);
    c->budget[ZI_TIER_DEVICE] += disk;
    CHECK(program_excess(f->program, ZI_TIER_DEVICE) == 0);
}

int main(void)
{
    struct zero_fixture f;
    const char *sets[20];
    zi_log_set_level(ZI_LOG_ERROR);
    for (uint64_t draw = 0; draw < 400; draw++) {
        static const int rank_counts[] = {1, 2, 3, 4, 7};
        int ranks = rank_counts[draw % 5];
        draw_sets(draw, sets);
        zero_fixture_sums_on_disk = draw / 7 & 1;
        enum zi_status status = zero_fixture_open(
            &f, draw & 1 ? zero_fixture_llama : zero_fixture_gpt2, sets, ranks, ranks / 2);
        CHECK(status == ZI_OK);
        zero_fixture_close(&f);
    }
    /* What follows is refused on purpose: hundreds of error lines that nobody wants to read. */
    if (!freopen("/dev/null", "w", stderr)) return 99;
    for (int way = 0; way < 5; way++) {
        const char *const plain[] = {"zero.stage=3", "precision.compute=bf16", NULL};
        CHECK(zero_fixture_open(&f, zero_fixture_gpt2, plain, 3, 1) == ZI_OK);
        CHECK(break_program(f.program, way));
        CHECK(program_check(f.program) < 0);
        zero_fixture_close(&f);
    }
    const char *const plain[] = {"zero.stage=2", "device.separate=yes", "placement.gradients=host",
                                 NULL};
    CHECK(zero_fixture_open(&f, zero_fixture_gpt2, plain, 2, 0) == ZI_OK);
    test_each_dependency_matters(&f);
    zero_fixture_close(&f);
    const char *const disk[] = {"placement.optimizer=nvme", "placement.gradients=host",
                                "precision.compute=bf16", NULL};
    CHECK(zero_fixture_open(&f, zero_fixture_gpt2, disk, 1, 0) == ZI_OK);
    test_disk_memory(&f);
    zero_fixture_close(&f);
    return test_finish("zero_program");
}

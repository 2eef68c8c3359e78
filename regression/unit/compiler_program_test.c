/* SPDX-License-Identifier: Apache-2.0 */
/* The program checker on generated decks: every combination compiles to a program that it accepts,
 * and it refuses programs that were broken on purpose. */
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

static const char *const stages[] = {"zero.stage=0", "zero.stage=1", "zero.stage=2",
                                     "zero.stage=3"};
static const char *const orders[] = {"zero.order=layer-major", "zero.order=micro-major"};
static const char *const prefetches[] = {"zero.prefetch=0", "zero.prefetch=1", "zero.prefetch=auto",
                                         "zero.prefetch=5"};
static const char *const recomputes[] = {
    "activations.recompute=always", "activations.recompute=never", "activations.recompute=auto",
    "activations.recompute=attention", "activations.recompute=mlp"};
static const char *const offloads[] = {"activations.offload=none", "activations.offload=all",
                                       "activations.offload=none", "activations.offload=all"};
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
    int recompute = (int)(bits >> 5 & 15) % 5;
    sets[count++] = recomputes[recompute];
    sets[count++] = intervals[recompute < 3 ? bits >> 9 & 3 : 0];
    sets[count++] = precisions[bits >> 11 & 1];
    if (bits >> 12 & 1) sets[count++] = "device.type=cuda";
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
    if (bits >> 31 & 1) sets[count++] = "zero.update_on=device";
    sets[count++] = offloads[zi_random_bits(1, 3, draw) & 3];
    sets[count] = NULL;
    return count;
}

/* What a search measures is what is compiled, to the byte, without operations. */
static void check_measured(const struct step_fixture *f)
{
    const struct program *p = f->program;
    struct program *measured;
    CHECK(program_measure(f->model, f->partition, &f->config, &measured) == ZI_OK);
    CHECK(memcmp(measured->pool_bytes, p->pool_bytes, sizeof p->pool_bytes) == 0);
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        CHECK_INT(measured->segment_count[kind], p->segment_count[kind]);
        CHECK_INT(measured->kept_layers[kind], p->kept_layers[kind]);
    }
    CHECK_INT(measured->array_count, p->array_count);
    CHECK_INT(measured->slot_count, p->slot_count);
    for (int s = 0; s < p->slot_count && s < measured->slot_count; s++) {
        const struct program_slot *a = &measured->slots[s], *b = &p->slots[s];
        CHECK(a->bytes == b->bytes && a->offset == b->offset && a->tier == b->tier);
    }
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        CHECK_INT(measured->lists[name].count, 0);
    }
    program_destroy(measured);
}

static void op_set(struct program_op *op, enum program_operand operand, int slot)
{
    op->slots[operand] = slot;
    op->reads |= 1u << operand;
}

/* Makes an operation differ from the row of its kind; false when it cannot. */
static bool break_row(struct program *p, struct program_op *op, int way)
{
    bool adam = op->kind == OP_ADAM;
    switch (way) {
    case 0: /* an operand that the row has not */
        if (adam) op_set(op, OPERAND_CARRY, p->outside.logits);
        return adam;
    case 1: /* one too few */
        if (adam) op->slots[OPERAND_STATE + TIER_MOMENT1] = -1;
        return adam;
    case 2: /* written where the row only reads */
        if (adam) op->writes |= 1u << OPERAND_GRADIENT;
        return adam;
    case 3: /* another lane than that of the rule */
        if (adam) op->lane = LANE_HOST;
        return adam;
    case 4: /* another cost */
        op->bytes += op->kind == OP_GATHER;
        return op->kind == OP_GATHER;
    case 5:
        op->flops *= op->kind == OP_BACKWARD ? 2 : 1;
        return op->kind == OP_BACKWARD;
    case 6: /* more than its slot holds */
        if (adam)
            op->offsets[OPERAND_STATE + TIER_MOMENT2] =
                p->slots[op->slots[OPERAND_STATE + TIER_MOMENT2]].bytes;
        return adam;
    case 7: /* in a tier where the lane does not reach it */
        if (op->kind == OP_FORWARD) p->slots[op->slots[OPERAND_SCRATCH]].tier = ZI_TIER_NVME;
        return op->kind == OP_FORWARD;
    default:
        return false;
    }
}

static void test_rows(void)
{
    for (int way = 0; way < 8; way++) {
        struct step_fixture f;
        const char *const plain[] = {"zero.stage=3", "precision.compute=bf16", NULL};
        bool broken = false;
        CHECK(step_fixture_open(&f, step_fixture_gpt2, plain, 3, 1) == ZI_OK);
        struct program_list *list = &f.program->lists[PROGRAM_TRAIN];
        for (int i = 0; i < list->count && !broken; i++) {
            broken = break_row(f.program, &list->ops[i], way);
            if (!broken) continue;
            CHECK(program_op_check(f.program, &list->ops[i], i) == ZI_ERROR_BUG);
        }
        CHECK(broken);
        CHECK(program_check(f.program) == ZI_ERROR_BUG);
        step_fixture_close(&f);
    }
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
        if (way == 2 && op->kind == OP_BACKWARD && op->slots[OPERAND_SAVED] >= 0) {
            op->slots[OPERAND_SAVED] = p->outside.logits; /* reads what nothing has filled */
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
static void test_each_dependency_matters(struct step_fixture *f)
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
static void test_disk_memory(struct step_fixture *f)
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
    struct step_fixture f;
    const char *sets[20];
    zi_log_set_level(ZI_LOG_ERROR);
    for (uint64_t draw = 0; draw < 400; draw++) {
        static const int rank_counts[] = {1, 2, 3, 4, 7};
        int ranks = rank_counts[draw % 5];
        draw_sets(draw, sets);
        step_fixture_sums_on_disk = draw / 7 & 1;
        enum zi_status status = step_fixture_open(
            &f, draw & 1 ? step_fixture_llama : step_fixture_gpt2, sets, ranks, ranks / 2);
        CHECK(status == ZI_OK);
        if (status == ZI_OK) check_measured(&f);
        step_fixture_close(&f);
    }
    /* What follows is refused on purpose: hundreds of error lines that nobody wants to read. */
    if (!freopen("/dev/null", "w", stderr)) return 99;
    for (int way = 0; way < 5; way++) {
        const char *const plain[] = {"zero.stage=3", "precision.compute=bf16", NULL};
        CHECK(step_fixture_open(&f, step_fixture_gpt2, plain, 3, 1) == ZI_OK);
        CHECK(break_program(f.program, way));
        CHECK(program_check(f.program) < 0);
        step_fixture_close(&f);
    }
    test_rows();
    const char *const plain[] = {"zero.stage=2", "device.type=cuda", "placement.gradients=host",
                                 NULL};
    CHECK(step_fixture_open(&f, step_fixture_gpt2, plain, 2, 0) == ZI_OK);
    test_each_dependency_matters(&f);
    step_fixture_close(&f);
    const char *const streamed[] = {
        "zero.stage=2",          "device.type=cuda", "placement.optimizer=host",
        "zero.update_on=device", "zero.group=4096",  NULL};
    CHECK(step_fixture_open(&f, step_fixture_gpt2, streamed, 2, 0) == ZI_OK);
    test_each_dependency_matters(&f);
    step_fixture_close(&f);
    const char *const disk[] = {"placement.optimizer=nvme", "placement.gradients=host",
                                "precision.compute=bf16", NULL};
    CHECK(step_fixture_open(&f, step_fixture_gpt2, disk, 1, 0) == ZI_OK);
    test_disk_memory(&f);
    step_fixture_close(&f);
    return test_finish("compiler_program_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A plan against the program that it is of, and against a run of it: traffic is the sum over the
 * operations, and what the executor counts, to the byte; b* is where arithmetic and I/O of compiled
 * programs cross; the largest model fits and the next one does not, as zero_resolve has it; and layers
 * are cut into more tiles rather than a program made serial. */
#include "plan/plan.h"

#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

static struct capture messages;

#define OFFLOADED                                                                                  \
    "device.type=cuda", "placement.parameters=host", "placement.gradients=host",                   \
        "placement.optimizer=host"

#define ON_DEVICE                                                                                  \
    "placement.parameters=device", "placement.gradients=device", "placement.optimizer=device",     \
        "placement.activations=device"

static const char *const everything_on_host[] = {OFFLOADED, "placement.activations=host",
                                                 "precision.compute=bf16", NULL};
static const char *const inside_on_host[] = {"device.type=cuda", "activations.offload=all", NULL};
static const char *const in_memory[] = {"zero.stage=3", NULL};
static const char *const states_on_host[] = {OFFLOADED, NULL};
static const char *const streamed[] = {OFFLOADED, "zero.update_on=device", NULL};
static const char *const on_disk[] = {"placement.parameters=nvme", "placement.gradients=nvme",
                                      "placement.optimizer=nvme",  "nvme.paths=plan-program-store",
                                      "zero.group=4096",           "precision.compute=bf16",
                                      "optimizer.clip=0",          NULL};

/* The table against sums made in another way: one lane and kind at a time. */
static void check_sums(const struct program_list *list)
{
    static struct plan_traffic sums[LANE_COUNT][OP_KIND_COUNT];
    plan_traffic_sum(list, sums);
    CHECK(list->count > 0);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
            struct plan_traffic own = {0};
            for (int i = list->count - 1; i >= 0; i--) {
                const struct program_op *op = &list->ops[i];
                if ((int)op->lane != lane || (int)op->kind != kind) continue;
                own.count++;
                own.bytes += op->bytes;
                own.flops += op->flops;
            }
            CHECK_INT(sums[lane][kind].count, own.count);
            CHECK_INT(sums[lane][kind].bytes, own.bytes);
            CHECK_NEAR(sums[lane][kind].flops, own.flops, 1e-9 * own.flops);
        }
    }
}

/* What the executor has counted since its timings were cleared is what the list says. */
static void check_counts(struct engine *engine, const struct program_list *list, int least)
{
    static struct plan_traffic sums[LANE_COUNT][OP_KIND_COUNT];
    int count, kinds = 0;
    plan_traffic_sum(list, sums);
    const struct engine_timing *timings = engine_timings(engine, &count);
    for (int i = 0; i < count; i++) {
        const struct plan_traffic *sum = &sums[timings[i].lane][timings[i].kind];
        CHECK_INT(timings[i].count, sum->count);
        CHECK_NEAR(timings[i].bytes, (double)sum->bytes, 0);
        CHECK_NEAR(timings[i].flops, sum->flops, 1e-9 * sum->flops);
    }
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        for (int kind = 0; kind < OP_KIND_COUNT; kind++)
            kinds += sums[lane][kind].count > 0;
    }
    CHECK_INT(count, kinds);
    CHECK(kinds >= least);
    engine_timings_clear(engine);
}

/* A visitor that does nothing. */
static enum zi_status pass_by(void *context, enum tier_kind kind, int tensor, int64_t first,
                              int64_t count, void *values)
{
    (void)kind, (void)tensor, (void)first, (void)values;
    *(int64_t *)context += count;
    return ZI_OK;
}

/* A step with a pending update, or the rest of one, if any, and the programs that move states. */
static void check_run(struct step_fixture *f, struct comm *self)
{
    struct engine *engine;
    struct engine_result result;
    int64_t saved = 0, loaded = 0;
    const struct program_list *lists = f->program->lists;
    CHECK_INT(engine_create(f->program, f->device, self, deck_settings(f->deck), &engine), ZI_OK);
    CHECK_INT(engine_initialize(engine), ZI_OK);
    check_counts(engine, &lists[PROGRAM_INITIALIZE], 2);
    int steps = f->config.speculates ? 3 : 2;
    for (int step = 0; step < steps; step++) {
        step_fixture_fill(f, engine, step);
        engine_timings_clear(engine);
        CHECK_INT(engine_train(engine, step, &result), ZI_OK);
    }
    check_counts(engine, &lists[plan_step(f->program)], 5);
    if (f->config.speculates) {
        CHECK_INT(engine_flush(engine), ZI_OK);
        check_counts(engine, &lists[PROGRAM_FLUSH_REST], 4);
    } else if (f->config.deferred) {
        CHECK_INT(engine_save(engine, pass_by, &saved), ZI_OK);
        check_counts(engine, &lists[PROGRAM_FLUSH_SAVE], 4);
        saved = 0;
    }
    CHECK_INT(engine_save(engine, pass_by, &saved), ZI_OK);
    check_counts(engine, &lists[PROGRAM_SAVE], 1);
    CHECK_INT(engine_load(engine, pass_by, &loaded), ZI_OK);
    check_counts(engine, &lists[PROGRAM_LOAD], 2);
    CHECK(loaded > 0 && loaded <= saved);
    engine_destroy(engine);
}

static void test_traffic(struct comm *self)
{
    const char *const *const variants[] = {in_memory, states_on_host, everything_on_host,
                                           on_disk,   streamed,       inside_on_host};
    struct step_fixture f;
    for (int i = 0; i < 6; i++) {
        for (int ranks = 1; ranks <= 3; ranks += 2) {
            CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, variants[i], ranks, ranks / 2),
                      ZI_OK);
            for (int name = 0; name < PROGRAM_COUNT; name++) {
                if (f.program->lists[name].count > 0) check_sums(&f.program->lists[name]);
            }
            if (ranks == 1) check_run(&f, self);
            step_fixture_close(&f);
        }
    }
}

/* Bytes of the link, in and out, that a step has on top of one with all states on the device. */
static void link_bytes(const char *const *sets, const char *update_on, size_t bytes[2])
{
    static const enum program_lane lanes[] = {LANE_LINK_IN, LANE_LINK_OUT};
    const char *all[12] = {"device.type=cuda", "precision.compute=bf16", "zero.group=4096"};
    struct step_fixture f;
    int count = 3;
    if (update_on) all[count++] = update_on;
    for (int i = 0; update_on && sets[i]; i++)
        all[count++] = sets[i];
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, all, 1, 0), ZI_OK);
    for (int i = 0; i < 2; i++)
        bytes[i] = program_traffic(&f.program->lists[plan_step(f.program)], lanes[i]);
    if (update_on) {
        struct zero_way way;
        zero_update_way(&f.config, zero_optimizer_tier(&f.config), &way);
        int64_t elements = 0;
        for (int u = 0; u < f.model->unit_count; u++)
            elements += program_elements(f.program, u, TIER_MOMENT1);
        bytes[0] -= (size_t)elements * way.in;
        bytes[1] -= (size_t)elements * way.out;
    }
    step_fixture_close(&f);
}

/* What a way of updating moves over the link is what the program moves for it, to the byte: what is
 * left is the same, and with parameters on the device that of a step with all states there. */
static void test_ways(void)
{
    const char *const variants[][5] = {
        {"placement.optimizer=host"},
        {"placement.optimizer=host", "zero.update=deferred"},
        {"placement.optimizer=nvme", "nvme.paths=plan-program-store", "zero.update=immediate"},
        {"placement.optimizer=host", "placement.gradients=host", "placement.parameters=host",
         "zero.update=deferred"},
    };
    size_t none[2], host[2], device[2];
    link_bytes(NULL, NULL, none);
    for (int i = 0; i < 4; i++) {
        link_bytes(variants[i], "zero.update_on=host", host);
        link_bytes(variants[i], "zero.update_on=device", device);
        CHECK_INT(device[0], host[0]);
        CHECK_INT(device[1], host[1] + 64); /* the checksum, which the host looks at */
        CHECK(i == 3 || (device[0] == none[0] && device[1] == none[1]));
    }
}

/* Arithmetic less I/O of the step with so many times the sequences. */
static double lead_of(const struct step_fixture *f, const struct plan_machine *machine,
                      int64_t times)
{
    struct zero_config config = f->config;
    struct program *program;
    struct plan_load load;
    config.micro *= times;
    config.global *= times;
    CHECK_INT(program_compile(f->model, f->partition, &config, &program), ZI_OK);
    plan_load_of(&program->lists[plan_step(program)], machine, &load);
    program_destroy(program);
    return load.arithmetic_s - load.io_s;
}

/* b* on links of several rates is where the lead changes sides; the number of those where it is
 * more tokens than the deck has. */
static int check_crossing(const char *const *sets, struct plan_machine machine)
{
    struct step_fixture f;
    struct plan_balance balance;
    int found = 0;
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, sets, 1, 0), ZI_OK);
    double step = (double)(f.config.global * f.config.tokens);
    for (double rate = 1e6; rate < 1e11; rate *= 1.25) {
        machine.bytes_per_s[LANE_LINK_IN] = machine.bytes_per_s[LANE_LINK_OUT] = rate;
        CHECK_INT(plan_balance_of(f.program, &machine, &balance), ZI_OK);
        CHECK(balance.load.io_lane == LANE_LINK_IN || balance.load.io_lane == LANE_LINK_OUT);
        CHECK(balance.tokens >= 0);
        double twice = balance.load.arithmetic_s - balance.load.io_s +
                       step * (balance.arithmetic_per_token - balance.io_per_token);
        CHECK_NEAR(twice, lead_of(&f, &machine, 2), 1e-9 * balance.load.arithmetic_s);
        int64_t times = isinf(balance.tokens) ? 0 : (int64_t)(balance.tokens / step);
        if (times < 1) continue;
        CHECK(lead_of(&f, &machine, times) <= 0);
        CHECK(lead_of(&f, &machine, times + 1) > 0);
        found++;
    }
    step_fixture_close(&f);
    return found;
}

static void test_balance(void)
{
    struct step_fixture f;
    struct plan_node node;
    struct plan_machine machine;
    struct plan_balance balance;
    plan_node_assume(&node);
    const struct zero_config one = {.compute = ZI_FP32, .ranks = 1, .node = {.ranks = 1}};
    plan_machine_of(&node, &one, SUM_ORDERED, &machine);
    CHECK(check_crossing(states_on_host, machine) > 8);
    CHECK(check_crossing(everything_on_host, machine) > 2);

    /* Kept inputs on a link too slow for them: no number of tokens helps. */
    const char *const activations[] = {"device.type=cuda", "placement.activations=host",
                                       "activations.recompute=never", NULL};
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, activations, 1, 0), ZI_OK);
    machine.bytes_per_s[LANE_LINK_IN] = machine.bytes_per_s[LANE_LINK_OUT] = 1e3;
    CHECK_INT(plan_balance_of(f.program, &machine, &balance), ZI_OK);
    CHECK(isinf(balance.tokens));
    machine.bytes_per_s[LANE_LINK_IN] = machine.bytes_per_s[LANE_LINK_OUT] = 1e15;
    CHECK_INT(plan_balance_of(f.program, &machine, &balance), ZI_OK);
    CHECK(balance.tokens == 0);
    step_fixture_close(&f);
}

/* Whether the deck with these overrides more would run. */
static bool runs(const char *deck, const char *const *sets, const char *const more[4])
{
    const char *all[20];
    struct step_fixture f;
    int count = 0;
    while (sets[count]) {
        all[count] = sets[count];
        count++;
    }
    for (int i = 0; i < 4 && more[i][0]; i++)
        all[count++] = more[i];
    all[count] = NULL;
    enum zi_status status = step_fixture_open(&f, deck, all, 1, 0);
    step_fixture_close(&f);
    if (status != ZI_ERROR_FIT) CHECK_INT(status, ZI_OK);
    return status == ZI_OK;
}

static void check_largest(const char *deck, const char *const *sets, enum plan_growth growth)
{
    static const int64_t group = 3; /* of the llama deck: query heads of a key head */
    struct step_fixture f;
    struct plan_largest largest;
    char text[4][64] = {"", "", "", ""};
    const char *const more[4] = {text[0], text[1], text[2], text[3]};
    int count = 0;
    bool llama = deck == step_fixture_llama;
    while (sets[count])
        count++;
    CHECK_INT(step_fixture_open(&f, deck, sets, 1, 0), ZI_OK);
    struct plan_deck request = {deck,      "fixture", strlen(deck),
                                sets,      count,     device_get_properties(f.device),
                                &f.config, true};
    CHECK_INT(plan_largest(&request, growth, &largest), ZI_OK);
    step_fixture_close(&f);
    CHECK(largest.layers > 0 && largest.parameters > 0 && largest.bounded);
    for (int next = 0; next < 2; next++) {
        int64_t hidden = largest.hidden + next * (llama ? 64 * group : 64);
        if (growth == PLAN_DEEPER) {
            snprintf(text[0], 64, "model.layers=%" PRId64, largest.layers + next);
        } else {
            snprintf(text[0], 64, "model.hidden=%" PRId64, hidden);
            snprintf(text[1], 64, "model.heads=%" PRId64, hidden / 64);
            if (llama) {
                snprintf(text[2], 64, "model.key_heads=%" PRId64, hidden / 64 / group);
                snprintf(text[3], 64, "model.inner=%" PRId64, (hidden * 40 / 24 + 63) / 64 * 64);
            }
        }
        CHECK_INT(runs(deck, sets, more), !next);
    }
}

static void test_largest(void)
{
    const char *const budgets[][8] = {
        {"memory.device=4 MiB", "memory.host=8 MiB", "activations.recompute=always", ON_DEVICE},
        {"memory.device=24 MiB", "memory.host=8 MiB", "zero.prefetch=1", ON_DEVICE},
        {"memory.device=2 MiB", "memory.host=16 MiB", "placement.activations=device", OFFLOADED},
    };
    long failed = test_failures();
    capture_begin(&messages, stderr); /* refusals are logged on purpose */
    for (int i = 0; i < 3; i++) {
        const char *sets[9] = {0};
        int count = 0;
        while (count < 8 && budgets[i][count]) {
            sets[count] = budgets[i][count];
            count++;
        }
        check_largest(step_fixture_gpt2, sets, PLAN_DEEPER);
        check_largest(step_fixture_gpt2, sets, PLAN_WIDER);
        if (i == 1) check_largest(step_fixture_llama, sets, PLAN_DEEPER);
        if (i == 1) check_largest(step_fixture_llama, sets, PLAN_WIDER);
    }
    capture_end(&messages);
    if (test_failures() > failed) fputs(messages.text, stderr);
}

static int64_t tiles_of(const struct zero_config *config)
{
    return config->tiling.attention * config->tiling.mlp * config->tiling.vocabulary;
}

/* The configuration of a model whose layers do not fit into a device's budget. */
static bool resolves(const char *budget, const char *prefetch, struct zero_config *config)
{
    const char *const sets[] = {OFFLOADED, "placement.activations=host", "model.hidden=96",
                                budget,    "memory.host=64 MiB",         prefetch,
                                NULL};
    struct step_fixture f;
    enum zi_status status = step_fixture_open(&f, step_fixture_gpt2, sets, 1, 0);
    if (status == ZI_OK) *config = f.config;
    step_fixture_close(&f);
    return status == ZI_OK;
}

/* Where any number of tiles leaves room to fetch ahead, so many are taken, also where fewer would do
 * for a program that does not; where none does, that is what is taken. */
static void test_overlap(void)
{
    int more = 0, serial = 0;
    capture_begin(&messages, stderr);
    for (int kib = 900; kib <= 1040; kib += 20) {
        char budget[48];
        struct zero_config free = {0}, least = {0}, ahead = {0};
        snprintf(budget, sizeof budget, "memory.device=%d KiB", kib);
        CHECK(resolves(budget, "zero.prefetch=auto", &free) && tiles_of(&free) > 1);
        CHECK(resolves(budget, "zero.prefetch=0", &least));
        if (resolves(budget, "zero.prefetch=1", &ahead)) {
            CHECK(free.prefetch >= 1 && tiles_of(&free) == tiles_of(&ahead));
            CHECK(tiles_of(&free) >= tiles_of(&least));
            more += tiles_of(&free) > tiles_of(&least);
        } else {
            CHECK(free.prefetch == 0 && tiles_of(&free) == tiles_of(&least));
            serial++;
        }
    }
    capture_end(&messages);
    CHECK(more > 0 && serial > 0);
}

/* Not even one layer fits; and a budget that nothing reaches ends the search. */
static void test_largest_ends(void)
{
    const char *const sets[] = {ON_DEVICE};
    struct step_fixture f;
    struct plan_largest largest;
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, in_memory, 1, 0), ZI_OK);
    struct zero_config config = f.config;
    config.shared_budget = false;
    config.budget[ZI_TIER_DEVICE] = 1000;
    struct plan_deck request = {step_fixture_gpt2,
                                "fixture",
                                strlen(step_fixture_gpt2),
                                sets,
                                4,
                                device_get_properties(f.device),
                                &config,
                                false};
    CHECK_INT(plan_largest(&request, PLAN_DEEPER, &largest), ZI_OK);
    CHECK_INT(largest.parameters, 0);
    CHECK_INT(largest.layers, 1);
    config.budget[ZI_TIER_DEVICE] = (size_t)1000 << 30;
    CHECK_INT(plan_largest(&request, PLAN_DEEPER, &largest), ZI_OK);
    CHECK(largest.layers > 1000 && !largest.bounded);
    config.micro_batches = 1 << 14; /* of so long a step programs of fewer layers are tried */
    CHECK_INT(plan_largest(&request, PLAN_DEEPER, &largest), ZI_OK);
    CHECK_INT(largest.layers, 8);
    CHECK(!largest.bounded);
    step_fixture_close(&f);
}

int main(int argc, char **argv)
{
    struct comm *world, *self;
    if (comm_start(&argc, &argv, &world) < 0 || comm_self(&self) < 0) return 99;
    zi_log_set_level(ZI_LOG_ERROR);
    test_traffic(self);
    test_ways();
    test_balance();
    test_largest();
    test_largest_ends();
    test_overlap();
    comm_destroy(self);
    int result = test_finish("plan_program");
    comm_finish(world);
    return result;
}

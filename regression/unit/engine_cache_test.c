/* SPDX-License-Identifier: Apache-2.0 */
/* Generation with a cache against passes without one: prompts of different lengths that go in part by
 * part, then token by token, in batches and alone, for every family's kind of attention, with tiles,
 * in every tier, on the cpu and on a device apart, whose cache may be on the host. And evaluation: the
 * loss of each sequence against the logits of its prefixes. */
#include "regression/unit/step_fixture.h"

#include <math.h>

#include "engine/batch.h"
#include "regression/unit/test.h"

enum { SEQUENCES = 3, LENGTH = 19, PART = 5, VOCABULARY = 67, DECODED = 4, EXTRA = 6 };

/* Of each sequence. */
static const int64_t prompts[SEQUENCES] = {13, 4, 9};

static struct engine *engine;

static int32_t id_of(int64_t sequence, int64_t t)
{
    return step_fixture_token(5, sequence, t, VOCABULARY);
}

/* Logits of the last of `count` tokens of a sequence, without a cache. */
static void plain(int64_t sequence, int64_t count, float *logits)
{
    int32_t ids[LENGTH];
    for (int64_t t = 0; t < count; t++)
        ids[t] = id_of(sequence, t);
    CHECK_INT(engine_logits(engine, ids, count, logits), ZI_OK);
}

/* Sums have other orders, and 16 bits are rounded at other places. */
static void check_near(const float *found, int64_t sequence, int64_t count, double tolerance)
{
    float expected[VOCABULARY];
    double largest = 0, worst = 0;
    plain(sequence, count, expected);
    for (int i = 0; i < VOCABULARY; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        worst = fmax(worst, fabs((double)expected[i] - (double)found[i]));
    }
    CHECK(worst <= tolerance * largest);
    CHECK(largest > 0.1);
    if (!(worst <= tolerance * largest))
        fprintf(stderr, "sequence %d, %d tokens: off by %g of %g\n", (int)sequence, (int)count,
                worst, largest);
}

/* Tokens [first, first + count) of all sequences; `wanted`: logits are those of the sequences whose
 * prompt ends there. */
static void extend(int64_t first, int64_t count, float kept[SEQUENCES][VOCABULARY])
{
    int32_t ids[SEQUENCES * PART], positions[SEQUENCES * PART], ends[SEQUENCES];
    const float *logits;
    for (int64_t b = 0; b < SEQUENCES; b++) {
        for (int64_t t = 0; t < count; t++) {
            ids[b * count + t] = first + t < prompts[b] ? id_of(b, first + t) : 0;
            positions[b * count + t] = (int32_t)(first + t);
        }
        int64_t end = prompts[b] - 1 - first;
        ends[b] = (int32_t)(end >= 0 && end < count ? end : 0);
    }
    const struct engine_batch batch = {SEQUENCES, count, ids, positions, ends, NULL};
    CHECK_INT(engine_extend(engine, &batch, &logits), ZI_OK);
    for (int64_t b = 0; b < SEQUENCES; b++) {
        int64_t end = prompts[b] - 1 - first;
        if (end >= 0 && end < count) memcpy(kept[b], logits + b * VOCABULARY, sizeof kept[b]);
    }
}

static void check_generation(double tolerance)
{
    float kept[SEQUENCES][VOCABULARY];
    for (int64_t first = 0; first < 13; first += PART)
        extend(first, first + PART < 13 ? PART : 13 - first, kept);
    for (int64_t b = 0; b < SEQUENCES; b++)
        check_near(kept[b], b, prompts[b], tolerance);
    for (int64_t step = 0; step < DECODED; step++) {
        int32_t ids[SEQUENCES], positions[SEQUENCES];
        const float *logits;
        for (int64_t b = 0; b < SEQUENCES; b++) {
            ids[b] = id_of(b, prompts[b] + step);
            positions[b] = (int32_t)(prompts[b] + step);
        }
        const struct engine_batch batch = {SEQUENCES, 1, ids, positions, NULL, NULL};
        CHECK_INT(engine_extend(engine, &batch, &logits), ZI_OK);
        memcpy(kept, logits, sizeof kept);
        for (int64_t b = 0; b < SEQUENCES; b++)
            check_near(kept[b], b, prompts[b] + step + 1, tolerance);
    }
}

/* A text of one sequence begins anew over what the others have left. */
static void check_alone(double tolerance)
{
    float kept[VOCABULARY];
    for (int32_t t = 0; t < 3; t++) {
        const float *logits;
        const int32_t id = id_of(0, t), end = 0;
        CHECK_INT(engine_extend(engine, &(struct engine_batch){1, 1, &id, &t, &end, NULL}, &logits),
                  ZI_OK);
        memcpy(kept, logits, sizeof kept);
        check_near(kept, 0, t + 1, tolerance);
    }
}

/* Every third token does not count. */
static void check_evaluation(double tolerance)
{
    enum { TOKENS = 7 };
    int32_t ids[2 * TOKENS], targets[2 * TOKENS];
    const double *losses;
    double found[2], expected[2] = {0, 0};
    for (int64_t i = 0; i < 2 * TOKENS; i++) {
        ids[i] = id_of(i / TOKENS, i % TOKENS);
        targets[i] = i % 3 ? id_of(i / TOKENS, i % TOKENS + 1) : -1;
    }
    const struct engine_batch batch = {2, TOKENS, ids, NULL, NULL, targets};
    CHECK_INT(engine_evaluate(engine, &batch, &losses), ZI_OK);
    memcpy(found, losses, sizeof found);
    for (int64_t i = 0; i < 2 * TOKENS; i++) {
        float logits[VOCABULARY];
        double sum = 0;
        plain(i / TOKENS, i % TOKENS + 1, logits);
        for (int v = 0; v < VOCABULARY; v++)
            sum += exp((double)logits[v]);
        if (targets[i] >= 0) expected[i / TOKENS] += log(sum) - (double)logits[targets[i]];
    }
    CHECK(fabs(found[0] - expected[0]) <= tolerance * expected[0]);
    CHECK(fabs(found[1] - expected[1]) <= tolerance * expected[1]);
}

static void run(const char *deck, const char *const extra[EXTRA], struct comm *comm)
{
    const char *sets[EXTRA + 5] = {"batch.global=3", "batch.micro=3", "model.init_deviation=0.3"};
    bool half = false;
    int count = 3;
    for (int i = 0; i < EXTRA && extra[i]; i++) {
        sets[count++] = extra[i];
        half = half || strstr(extra[i], "bf16");
    }
    struct step_fixture f;
    sets[count] = NULL;
    CHECK_INT(step_fixture_open(&f, deck, sets, 1, 0), ZI_OK);
    CHECK_INT(comm_use_device(comm, f.device, SUM_ORDERED), ZI_OK);
    CHECK_INT(engine_create(f.program, f.device, comm, deck_settings(f.deck), &engine), ZI_OK);
    CHECK_INT(engine_initialize(engine), ZI_OK);
    long before = test_failures();
    double tolerance = half ? 4e-2 : 1e-5;
    check_generation(tolerance);
    check_alone(tolerance);
    check_evaluation(half ? 1e-2 : 1e-5);
    if (test_failures() > before)
        for (int i = 0; sets[i]; i++)
            fprintf(stderr, "  with %s\n", sets[i]);
    engine_destroy(engine);
    CHECK_INT(comm_use_device(comm, NULL, SUM_ORDERED), ZI_OK);
    step_fixture_close(&f);
}

/* Tiles, tiers and types. */
static const char *const variants[][EXTRA] = {
    {NULL},
    {"precision.compute=bf16"},
    {"tiling.attention=2", "tiling.vocabulary=2"},
    {"placement.parameters=nvme", "nvme.paths=[.]", "tiling.attention=2"},
    {"placement.parameters=host", "zero.prefetch=0"},
};

int main(int argc, char **argv)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    const char *const decks[] = {step_fixture_gpt2, step_fixture_llama, step_fixture_qwen3};
    step_fixture_cache = LENGTH;
    for (size_t d = 0; d < 3; d++)
        for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++)
            run(decks[d], variants[v], world);
    for (int host = 0; host < 2; host++) {
        step_fixture_cache_on_host = host;
        run(step_fixture_qwen3, (const char *const[EXTRA]){"device.type=cuda"}, world);
        run(step_fixture_gpt2,
            (const char *const[EXTRA]){"device.type=cuda", "placement.parameters=host"}, world);
    }
    CHECK(step_fixture_leave(world, folder, NULL));
    int status = test_finish("engine_cache_test");
    comm_finish(world);
    return status;
}

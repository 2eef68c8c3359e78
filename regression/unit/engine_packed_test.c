/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that are packed into sequences, against the same texts each in a sequence of its own, which
 * is filled up with targets that count for nothing: losses, norms of gradients and losses after an
 * update agree to fp32 rounding, of sums in another order. Families that learn positions and that
 * rotate, windows, tiles, recomputation, a device of its own memory; micro-batches and placements
 * change no bit, as everywhere. Logits of a program for packed sequences are those of another.
 * Run under 1 and 2 ranks. */
#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

enum { TOKENS = 17, TEXTS = 8, SETS_MOST = 6 };

/* Inputs of the texts, and in which sequence of a packed batch each is. */
static const struct {
    int64_t count, sequence;
} texts[TEXTS] = {{5, 0}, {9, 0}, {3, 0}, {17, 1}, {1, 2}, {2, 2}, {13, 2}, {6, 3}};
enum { SEQUENCES = 4 };

struct instance {
    struct step_fixture f;
    struct engine *engine;
    bool packed;
};

static void instance_open(struct instance *i, bool packed, const char *deck,
                          const char *const *sets, struct comm *comm)
{
    const char *all[SETS_MOST + 2] = {packed ? "batch.global=4" : "batch.global=8"};
    for (int s = 0; s < SETS_MOST && sets[s]; s++)
        all[s + 1] = sets[s];
    step_fixture_packed = i->packed = packed;
    ZI_REQUIRE(step_fixture_open(&i->f, deck, all, comm_size(comm), comm_rank(comm)) == ZI_OK);
    step_fixture_packed = false;
    ZI_REQUIRE(engine_create(i->f.program, i->f.device, comm, deck_settings(i->f.deck),
                             &i->engine) == ZI_OK);
    CHECK(!engine_positions(i->engine) == !packed);
    engine_mask(i->engine);
    ZI_REQUIRE(engine_initialize(i->engine) == ZI_OK);
}

static void instance_close(struct instance *i)
{
    engine_destroy(i->engine);
    step_fixture_close(&i->f);
}

/* Sequence q of the batch: inputs, targets, positions. */
static void fill_sequence(const struct instance *i, int64_t q, int32_t *to[3])
{
    int64_t place = 0, vocabulary = i->f.model->settings.vocabulary;
    for (int64_t n = 0; n < TEXTS; n++) {
        if (i->packed ? texts[n].sequence != q : n != q) continue;
        for (int64_t t = 0; t < texts[n].count; t++, place++) {
            to[0][place] = step_fixture_token(5, n, t, vocabulary);
            to[1][place] = step_fixture_token(5, n, t + 1, vocabulary);
            if (to[2]) to[2][place] = (int32_t)t;
        }
    }
    for (int64_t t = 0; place < TOKENS; t++, place++) {
        to[0][place] = (int32_t)(q + t);
        to[1][place] = -1;
        if (to[2]) to[2][place] = (int32_t)t;
    }
}

static void fill(struct instance *i)
{
    const struct zero_config *c = &i->f.config;
    int32_t *to[3] = {engine_inputs(i->engine), engine_targets(i->engine),
                      engine_positions(i->engine)};
    for (int m = 0; m < c->micro_batches; m++) {
        int64_t first, count = zero_sequences(c, i->f.rank, m, &first);
        for (int64_t q = first; q < first + count; q++) {
            fill_sequence(i, q, to);
            for (int v = 0; v < 3; v++)
                if (to[v]) to[v] += TOKENS;
        }
    }
}

struct found {
    double loss, norm, after;
    uint64_t checksum;
    float logits[130];
};

static struct found run(bool packed, const char *deck, const char *const *sets, struct comm *comm)
{
    static const int32_t ids[4] = {3, 1, 4, 1};
    struct instance i;
    struct engine_result result = {0};
    struct found found = {0};
    instance_open(&i, packed, deck, sets, comm);
    fill(&i);
    CHECK_INT(engine_train(i.engine, 0, &result), ZI_OK);
    CHECK_INT(result.targets, 5 + 9 + 3 + 17 + 1 + 2 + 13 + 6);
    found.loss = result.loss;
    found.norm = result.norm;
    fill(&i);
    CHECK_INT(engine_validate(i.engine, &result), ZI_OK);
    found.after = result.loss;
    CHECK_INT(engine_flush(i.engine), ZI_OK);
    found.checksum = engine_checksum(i.engine);
    CHECK_INT(engine_logits(i.engine, ids, 4, found.logits), ZI_OK);
    instance_close(&i);
    return found;
}

static void compare(const char *deck, const char *const *sets, double near, struct comm *comm)
{
    struct found alone = run(false, deck, sets, comm), packed = run(true, deck, sets, comm);
    CHECK_NEAR(packed.loss, alone.loss, near * alone.loss);
    CHECK_NEAR(packed.norm, alone.norm, 10 * near * alone.norm);
    CHECK_NEAR(packed.after, alone.after, 10 * near * alone.after);
    CHECK(fabs(alone.after - alone.loss) > 0.01);
    double apart = 0;
    for (int i = 0; i < 67; i++)
        apart = fmax(apart, fabs((double)packed.logits[i] - (double)alone.logits[i]));
    CHECK(apart < (near > 1e-5 ? 0.1 : 1e-3)); /* Adam's first step is the sign of a gradient */
}

/* The same bits in all of them. */
static void test_exact(struct comm *comm)
{
    static const char *const ways[][SETS_MOST + 1] = {
        {NULL},
        {"activations.recompute=always", "activations.interval=2"},
        {"activations.recompute=attention", "zero.stage=1"},
        {"device.type=cuda", "placement.parameters=host", "zero.prefetch=1"},
        {"device.type=cuda", "activations.offload=all", "zero.update=deferred"},
    };
    struct found first = run(true, step_fixture_gpt2, ways[0], comm);
    for (int w = 1; w < (int)(sizeof ways / sizeof *ways); w++) {
        struct found found = run(true, step_fixture_gpt2, ways[w], comm);
        CHECK(found.loss == first.loss && found.norm == first.norm);
        CHECK(found.after == first.after && found.checksum == first.checksum);
    }
}

int main(int argc, char **argv)
{
    char name[32];
    struct comm *world = step_fixture_start(&argc, &argv, name);
    compare(step_fixture_gpt2, (const char *const[]){NULL}, 1e-6, world);
    compare(step_fixture_llama, (const char *const[]){"batch.micro=1", NULL}, 1e-6, world);
    compare(step_fixture_qwen3, (const char *const[]){NULL}, 1e-6, world);
    compare(step_fixture_gpt2,
            (const char *const[]){"tiling.attention=3", "tiling.mlp=2", "model.inner=160", NULL},
            1e-6, world);
    compare(step_fixture_gpt2, (const char *const[]){"device.type=cuda", NULL}, 1e-6, world);
    compare(step_fixture_gpt2, (const char *const[]){"precision.compute=bf16", NULL}, 2e-3, world);
    test_exact(world);
    CHECK(step_fixture_leave(world, name, NULL));
    int status = test_finish("engine_packed_test");
    comm_finish(world);
    return status;
}

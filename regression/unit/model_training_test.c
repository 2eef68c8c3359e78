/* SPDX-License-Identifier: Apache-2.0 */
/* Training against PyTorch: ten steps of the engine, from a deck, with the parameters and tokens of
 * a golden. Beyond model_golden_test this covers how a deck becomes a run: which tensors decay,
 * micro-batches and the scale of the loss, accumulation and rounding of gradients, the norm over
 * all units, clipping, master weights, and states that are loaded. Three sequences a step are dealt
 * to one rank in micro-batches of two and one, or to two ranks in micro-batches of one, of which
 * one rank has two and the other one and an empty one.
 *
 * That placement, stage and prefetch change no bit is shown elsewhere (engine_exact_test), so one
 * variant of a deck is enough here. */
#include "regression/unit/golden_fixture.h"
#include "regression/unit/step_fixture.h"

#define STEPS     10
#define SEQUENCES 3
#define TOKENS    37

/* How the engine computes, and the golden that it is compared with. PyTorch has no values of fp16:
 * those of fp32 count, and a quarter of what is allowed to bf16, as fp16 has three bits more. */
struct precision {
    enum zi_dtype golden;
    const char *sets[3];
};

static const struct precision precisions[] = {
    {ZI_FP32, {"precision.compute=fp32"}},
    {ZI_BF16, {"precision.compute=bf16", "precision.gradient=bf16"}},
    {ZI_BF16, {"precision.compute=bf16", "precision.gradient=fp32"}},
    {ZI_FP32, {"precision.compute=fp16"}},
};

/* Keys that only some models have. */
static void write_kinds(const struct settings_model *m, FILE *out)
{
    fprintf(out, "window: %d, window_from: %d, ", (int)m->window, (int)m->window_from);
    fprintf(out, "unrotated_every: %d, ", (int)m->unrotated_every);
    if (m->head_width > 0) fprintf(out, "head_width: %d, ", (int)m->head_width);
    if (m->full_every > 0) fprintf(out, "full_every: %d, ", (int)m->full_every);
    if (m->rope_window_base > 0) fprintf(out, "rope_window_base: %.9g, ", m->rope_window_base);
    if (m->score_width > 0) fprintf(out, "score_width: %d, ", (int)m->score_width);
    if (m->attention_cap > 0) fprintf(out, "attention_cap: %.9g, ", m->attention_cap);
    if (m->logit_cap > 0) fprintf(out, "logit_cap: %.9g, ", m->logit_cap);
    if (m->rope_scaling == ROPE_PLAIN) return;
    fprintf(out, "rope_scaling: %s, rope_factor: %.9g, ", golden_scalings[m->rope_scaling],
            m->rope_factor);
    if (m->rope_original > 0) fprintf(out, "rope_original: %d, ", (int)m->rope_original);
    if (m->rope_scaling == ROPE_LLAMA3)
        fprintf(out, "rope_low: %.9g, rope_high: %.9g, ", m->rope_low, m->rope_high);
    if (m->rope_scaling == ROPE_YARN)
        fprintf(out, "rope_fast: %.9g, rope_slow: %.9g, ", m->rope_fast, m->rope_slow);
}

/* The golden's settings as a deck. */
static void write_deck(const struct golden *g, int micro, char *text, size_t bytes)
{
    const struct settings_model *m = &g->settings;
    const struct settings_optimizer *o = &g->optimizer;
    FILE *out = fmemopen(text, bytes, "w");
    ZI_REQUIRE(out);
    fprintf(out, "run: {steps: %d}\nmodel: {", STEPS);
    write_kinds(m, out);
    fprintf(out,
            "family: %s, layers: %d, hidden: %d, heads: %d, key_heads: %d, inner: %d, "
            "context: %d, vocabulary: %d, tied: %s, norm_epsilon: %.9g, rope_base: %.9g}\n",
            golden_families[m->family], (int)m->layers, (int)m->hidden, (int)m->heads,
            (int)m->key_heads, (int)m->inner, (int)m->context, (int)m->vocabulary,
            m->tied ? "yes" : "no", m->norm_epsilon, m->rope_base);
    fprintf(out,
            "data: {train: none}\n"
            "batch: {global: %d, micro: %d, tokens: %d}\n"
            "optimizer: {learning_rate: %.9g, beta1: %.9g, beta2: %.9g, epsilon: %.9g, "
            "weight_decay: %.9g, clip: %.9g, schedule: constant, warmup: 0}\n",
            SEQUENCES, micro, TOKENS, o->learning_rate, o->beta1, o->beta2, o->epsilon,
            o->weight_decay, o->clip);
    ZI_REQUIRE(ftell(out) < (long)bytes && fclose(out) == 0);
}

/* For the visitor that loads parameters. */
struct load {
    const struct golden *golden;
    const struct model *model;
    /* Given so far, except moments. */
    int64_t values;
};

static enum zi_status load_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    struct load *load = context;
    char name[96];
    if (kind == TIER_MOMENT1 || kind == TIER_MOMENT2) {
        memset(values, 0, (size_t)count * 4);
        return ZI_OK;
    }
    snprintf(name, sizeof name, "parameter/%s", load->model->tensors[tensor].name);
    struct golden_array a = golden_read(load->golden, name, NULL);
    CHECK(first >= 0 && first + count <= a.count);
    for (int64_t i = 0; i < count && first + i < a.count; i++) {
        float value = (float)a.values[first + i];
        if (kind == TIER_PARAMETER && load->model->type != ZI_FP32)
            ((uint16_t *)values)[i] = zi_half_parameter(load->model->type, value);
        else
            ((float *)values)[i] = value;
    }
    load->values += count;
    free(a.values);
    return ZI_OK;
}

/* This rank's sequences of a batch, in the order of its micro-batches. */
static void fill_batch(const struct golden *g, const struct step_fixture *f, struct engine *engine,
                       int batch)
{
    struct golden_array inputs = golden_read(g, "inputs", NULL);
    struct golden_array targets = golden_read(g, "next", NULL);
    int64_t to = 0;
    ZI_REQUIRE(inputs.count == 2 * SEQUENCES * TOKENS && targets.count == inputs.count);
    for (int m = 0; m < f->config.micro_batches; m++) {
        int64_t first, count = zero_sequences(&f->config, f->rank, m, &first);
        int64_t from = (batch * SEQUENCES + first) * TOKENS;
        for (int64_t i = 0; i < count * TOKENS; i++, from++, to++) {
            engine_inputs(engine)[to] = (int32_t)inputs.values[from];
            engine_targets(engine)[to] = (int32_t)targets.values[from];
        }
    }
    free(inputs.values);
    free(targets.values);
}

/* Losses or norms of all steps. */
static void compare_results(struct golden *g, enum zi_dtype compute, const char *what,
                            const double *found)
{
    char name[64];
    snprintf(name, sizeof name, "engine/%s/%s", zi_dtype_name(g->type), what);
    struct golden_array expected = golden_read(g, name, "deviation");
    ZI_REQUIRE(expected.count == STEPS);
    if (compute == ZI_FP16) {
        snprintf(name, sizeof name, "engine/bf16/%s", what);
        struct golden_array coarse = golden_read(g, name, "deviation");
        expected.tolerance = coarse.tolerance / 4;
        free(coarse.values);
    }
    golden_compare(g, &expected, found);
    free(expected.values);
}

static void check_case(const char *name, const struct precision *precision, struct comm *comm)
{
    char deck[1024];
    double losses[STEPS] = {0}, norms[STEPS] = {0};
    struct golden g;
    struct step_fixture f;
    struct engine *engine = NULL;
    struct engine_result result;
    golden_open(&g, name, precision->golden);
    write_deck(&g, comm_size(comm) == 1 ? 2 : 1, deck, sizeof deck);
    ZI_REQUIRE(step_fixture_open(&f, deck, precision->sets, comm_size(comm), comm_rank(comm)) ==
               ZI_OK);
    CHECK_INT(f.config.micro_batches, 2);
    ZI_REQUIRE(engine_create(f.program, f.device, comm, deck_settings(f.deck), &engine) == ZI_OK);
    struct load load = {.golden = &g, .model = f.model};
    CHECK(engine_load(engine, load_range, &load) == ZI_OK);
    /* once: masters bring the parameters with them */
    if (comm_size(comm) == 1) CHECK_INT(load.values, f.model->parameters);
    for (int step = 0; step < STEPS; step++) {
        fill_batch(&g, &f, engine, step % 2);
        CHECK(engine_train(engine, step, &result) == ZI_OK);
        CHECK(!result.skipped);
        losses[step] = result.loss;
        norms[step] = result.norm;
    }
    CHECK_INT(engine_updates(engine), STEPS);
    compare_results(&g, f.config.compute, "loss", losses);
    compare_results(&g, f.config.compute, "norm", norms);
    if (comm_rank(comm) == 0) {
        printf("%s, compute %s, gradients %s: at most %.2f of a tolerance (%s)\n", g.label,
               zi_dtype_name(f.config.compute), zi_dtype_name(f.config.gradient), g.worst,
               g.worst_name);
    }
    engine_destroy(engine);
    step_fixture_close(&f);
    golden_close(&g);
}

int main(int argc, char **argv)
{
    struct comm *world;
    if (comm_start(&argc, &argv, &world) < 0) return 99;
    zi_log_identify(comm_rank(world), comm_size(world));
    zi_log_set_level(ZI_LOG_WARN);
    for (int c = 0; c < GOLDEN_CASES; c++) {
        for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
            check_case(golden_cases[c], &precisions[p], world);
        }
    }
    int status = test_finish("model_training_test");
    comm_finish(world);
    return status;
}

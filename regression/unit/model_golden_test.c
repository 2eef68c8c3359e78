/* SPDX-License-Identifier: Apache-2.0 */
/* Models against PyTorch: logits, loss, every gradient, and ten losses of training, of the files
 * that regression/goldens/make_goldens.py makes, in fp32 and bf16, whole and tiled. Operations are
 * called one by one here; model_training_test lets the engine call them. */
#include "regression/unit/golden_fixture.h"
#include "regression/unit/model_fixture.h"

#include "optimizer/optimizer.h"

#define STEPS 10

static void load_parameters(const struct golden *g, struct fixture *f)
{
    for (int t = 0; t < f->model->tensor_count; t++) {
        char name[96];
        snprintf(name, sizeof name, "parameter/%s", f->model->tensors[t].name);
        struct golden_array a = golden_read(g, name, NULL);
        CHECK_INT(a.count, f->model->tensors[t].elements);
        for (int64_t i = 0; i < a.count; i++) {
            fixture_set_weight(f, t, i, (float)a.values[i]);
        }
        free(a.values);
    }
}

/* Inputs and targets of a batch; gives the number of counted targets. */
static int64_t load_batch(const struct golden *g, struct fixture *f, int batch)
{
    int64_t size = f->sequences * f->tokens, counted = 0;
    struct golden_array inputs = golden_read(g, "inputs", NULL),
                        targets = golden_read(g, "targets", NULL);
    ZI_REQUIRE(inputs.count == 2 * size && targets.count == 2 * size);
    for (int64_t i = 0; i < size; i++) {
        ((int32_t *)f->inputs.at.address)[i] = (int32_t)inputs.values[batch * size + i];
        ((int32_t *)f->targets.at.address)[i] = (int32_t)targets.values[batch * size + i];
        counted += targets.values[batch * size + i] >= 0;
    }
    free(inputs.values);
    free(targets.values);
    return counted;
}

/* Logits of the last of `tokens` tokens of each sequence, tile after tile. */
static void make_logits(struct fixture *f, const int64_t shape[2] /* sequences, tokens */,
                        struct fixture_buffer *logits)
{
    memset((void *)logits->at.address, 0xff, logits->bytes);
    for (int op = fixture_head(f); op < f->model->op_count; op++) {
        struct model_sizes sizes;
        struct model_pass pass = fixture_pass(f, op, 0, f->sequences);
        model_op_sizes(f->model, op, shape[0], shape[1], &sizes);
        struct fixture_buffer scratch = fixture_allocate(f, sizes.scratch);
        pass.sequences = shape[0];
        pass.tokens = shape[1];
        pass.scratch = scratch.at;
        pass.carry = (struct device_ptr){0};
        CHECK(model_logits(f->model, op, &pass, logits->at) == ZI_OK);
        fixture_free(f, &scratch);
    }
}

/* Logits of all positions: for the head, every token is a sequence of its own of one token. */
static void check_logits(struct golden *g, struct fixture *f)
{
    struct golden_array a =
        golden_read(g, "logits", g->type == ZI_FP32 ? "deviation_fp32" : "deviation_bf16");
    struct fixture_buffer logits = fixture_allocate(f, (size_t)a.count * 4);
    fixture_forward(f, MODEL_INFER, 0, f->sequences);
    make_logits(f, (int64_t[]){f->sequences * f->tokens, 1}, &logits);
    double *found = fixture_zeros((size_t)a.count, sizeof *found);
    for (int64_t i = 0; i < a.count; i++) {
        found[i] = (double)((float *)logits.at.address)[i];
    }
    golden_compare(g, &a, found);
    /* as generation asks: the last token of each sequence */
    make_logits(f, (int64_t[]){f->sequences, f->tokens}, &logits);
    int64_t v = g->settings.vocabulary;
    for (int64_t b = 0; b < f->sequences; b++) {
        struct golden_array row = {.count = v, .tolerance = a.tolerance};
        int64_t from = ((b + 1) * f->tokens - 1) * v;
        snprintf(row.name, sizeof row.name, "logits of the last token");
        row.values = a.values + from;
        for (int64_t i = 0; i < v; i++) {
            found[i] = (double)((float *)logits.at.address)[b * v + i];
        }
        golden_compare(g, &row, found);
    }
    fixture_free(f, &logits);
    free(found);
    free(a.values);
}

static void check_gradients(struct golden *g, struct fixture *f, bool recompute)
{
    const char *deviation = g->type == ZI_FP32 ? "deviation_fp32" : "deviation_bf16";
    int64_t counted = load_batch(g, f, 0);
    struct fixture_way way = {0, f->sequences, recompute, false, 1.0f / (float)counted};
    struct golden_array loss = golden_read(g, "loss", deviation);
    double found = fixture_differentiate(f, &way) / (double)counted;
    golden_compare(g, &loss, &found);
    found = fixture_loss(f) / (double)counted;
    golden_compare(g, &loss, &found);
    free(loss.values);
    for (int t = 0; t < f->model->tensor_count; t++) {
        char name[96];
        snprintf(name, sizeof name, "gradient/%s", f->model->tensors[t].name);
        struct golden_array a = golden_read(g, name, deviation);
        ZI_REQUIRE(a.count == f->model->tensors[t].elements);
        float *sum = fixture_gradient(f, t);
        double *values = fixture_zeros((size_t)a.count, sizeof *values);
        for (int64_t i = 0; i < a.count; i++) {
            values[i] = (double)sum[i];
        }
        golden_compare(g, &a, values);
        free(values);
        free(sum);
        free(a.values);
    }
}

/* Optimizer states of all pieces, one behind the other. Weights start as numbers of the model's
 * type, so what a split weight has beyond bf16 starts as zero. */
struct states {
    int16_t *remainder;
    float *moment1, *moment2, *gradient;
    int64_t updates;
};

static struct device_ptr pointer(const void *to)
{
    return (struct device_ptr){(uintptr_t)to};
}

static void states_create(const struct fixture *f, struct states *s)
{
    size_t count = (size_t)f->model->parameters;
    memset(s, 0, sizeof *s);
    s->remainder = fixture_zeros(count, sizeof *s->remainder);
    s->moment1 = fixture_zeros(count, 4);
    s->moment2 = fixture_zeros(count, 4);
    s->gradient = fixture_zeros(count, 4);
}

static void states_destroy(struct states *s)
{
    free(s->remainder);
    free(s->moment1);
    free(s->moment2);
    free(s->gradient);
}

static int64_t piece_elements(const struct model_piece *piece)
{
    return piece->rows * piece->row;
}

/* Gradients of all pieces to their places in the states. */
static void gather_gradients(const struct fixture *f, struct states *s)
{
    const struct model *m = f->model;
    float *to = s->gradient;
    for (int p = 0; p < m->piece_count; p++) {
        int64_t count = piece_elements(&m->pieces[p]);
        float *unit = fixture_unit_gradient(f, m->pieces[p].unit);
        memcpy(to, unit + m->pieces[p].offset, (size_t)count * sizeof *to);
        free(unit);
        to += count;
    }
    CHECK_INT(to - s->gradient, m->parameters);
}

/* The update after a backward pass; gives the gradient norm. */
static double update(const struct golden *g, struct fixture *f, struct states *s, double loss)
{
    const struct model *m = f->model;
    struct device_norm_sums sums = {0};
    struct optimizer_step step = {
        .number = s->updates++, .learning_rate = g->optimizer.learning_rate, .loss_scale = 1.0};
    gather_gradients(f, s);
    const struct device_operations *operations = device_get_operations(f->device);
    CHECK(operations->gradient_norm(f->stream, ZI_FP32, pointer(s->gradient), m->parameters,
                                    pointer(&sums)) == ZI_OK);
    optimizer_decide(&g->optimizer, sums.squares, sums.nonfinite, loss, &step);
    CHECK(!step.skip);
    for (int64_t p = 0, first = 0; p < m->piece_count; first += piece_elements(&m->pieces[p++])) {
        const struct model_piece *piece = &m->pieces[p];
        struct optimizer_range range = {
            .count = piece_elements(piece),
            .decay = m->tensors[piece->tensor].kind == MODEL_MATRIX,
            .type = m->type,
            .gradient_type = ZI_FP32,
            .parameter = device_at(f->weights[piece->unit].at,
                                   (size_t)piece->offset * zi_dtype_bytes(m->type)),
            .states = {pointer(s->moment1 + first), pointer(s->moment2 + first)},
            .gradient = pointer(s->gradient + first),
        };
        if (m->type == ZI_BF16) range.remainder = pointer(s->remainder + first);
        CHECK(optimizer_update(&g->optimizer, f->device, f->stream, &step, &range) == ZI_OK);
    }
    return step.norm;
}

static void check_training(struct golden *g, struct fixture *f)
{
    struct states states;
    char name[64];
    double losses[STEPS], norms[STEPS];
    states_create(f, &states);
    for (int step = 0; step < STEPS; step++) {
        int64_t counted = load_batch(g, f, step % 2);
        struct fixture_way way = {0, f->sequences, step % 3 == 1, false, 1.0f / (float)counted};
        losses[step] = fixture_differentiate(f, &way) / (double)counted;
        norms[step] = update(g, f, &states, losses[step]);
    }
    snprintf(name, sizeof name, "training/%s/loss", zi_dtype_name(g->type));
    struct golden_array loss = golden_read(g, name, "deviation");
    snprintf(name, sizeof name, "training/%s/norm", zi_dtype_name(g->type));
    struct golden_array norm = golden_read(g, name, "deviation");
    ZI_REQUIRE(loss.count == STEPS && norm.count == STEPS);
    golden_compare(g, &loss, losses);
    golden_compare(g, &norm, norms);
    CHECK(losses[STEPS - 1] < losses[0] - 0.5); /* it learns */
    free(loss.values);
    free(norm.values);
    states_destroy(&states);
}

/* Tiled: in as many tiles as there can be. */
static void check_case(const char *name, enum zi_dtype type, bool tiled)
{
    struct golden g;
    struct fixture f;
    golden_open(&g, name, type);
    fixture_tiling = (struct settings_tiling){1, 1, 1};
    if (tiled) fixture_tiling = model_most_tiles(&g.settings);
    fixture_open(&f, &g.settings, g.type, (int64_t[]){3, 37});
    load_parameters(&g, &f);
    load_batch(&g, &f, 0);
    check_logits(&g, &f);
    check_gradients(&g, &f, false);
    check_gradients(&g, &f, true);
    check_training(&g, &f);
    printf("%s, %s%s: at most %.2f of a tolerance (%s)\n", g.label,
           fixture_isa == ISA_GENERIC ? "generic" : "best instructions", tiled ? ", tiled" : "",
           g.worst, g.worst_name);
    fixture_close(&f);
    golden_close(&g);
}

int main(void)
{
    for (int i = 0; i < 8 * GOLDEN_CASES; i++) {
        fixture_isa = i < 4 * GOLDEN_CASES ? ZI_AUTO : ISA_GENERIC;
        check_case(golden_cases[i / 4 % GOLDEN_CASES], i % 2 ? ZI_BF16 : ZI_FP32, i / 2 % 2);
    }
    return test_finish("model_golden_test");
}

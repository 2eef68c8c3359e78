/* SPDX-License-Identifier: Apache-2.0 */
/* Models against PyTorch: logits, loss, every gradient, and ten losses of training, of the files
 * that regression/goldens/make_goldens.py makes, in fp32 and bf16.
 *
 * Tolerances come from the files: the deviation of PyTorch's own fp32 or bf16 run from float64,
 * times FACTOR. Deviations of two programs are two draws of the same kind of rounding errors, but
 * zinf adds them up in another order, and the largest of thousands of differences spreads by a
 * small factor between draws. FACTOR is 4; the largest share of a tolerance that was seen is
 * printed.
 *
 * A comparison that accepts everything would pass too. So after each one, a value of every array of
 * the golden is moved by ten tolerances, and the comparison must reject exactly that one. */
#include "regression/unit/model_fixture.h"

#include <hdf5.h>

#include "optimizer/optimizer.h"

#define FACTOR 4.0
#define STEPS  10

static const char *const cases[] = {"gpt2", "gpt2_untied", "llama", "llama_tied"};

/* An open golden and where it is compared. */
struct golden {
    hid_t file;
    char label[64];
    struct settings_model settings;
    struct settings_optimizer optimizer;
    enum zi_dtype type;
    double worst; /* largest share of a tolerance */
    char worst_name[96];
};

/* One array of a golden. */
struct array {
    char name[96];
    int64_t count;
    double *values;
    double tolerance;
};

static double attribute(hid_t object, const char *name)
{
    double value = 0;
    hid_t a = H5Aopen(object, name, H5P_DEFAULT);
    ZI_REQUIRE(a >= 0 && H5Aread(a, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(a);
    return value;
}

static int64_t whole(hid_t object, const char *name)
{
    return (int64_t)attribute(object, name);
}

/* Reads a dataset; `deviation` names the attribute of its tolerance. */
static struct array array_read(const struct golden *g, const char *name, const char *deviation)
{
    struct array a = {.count = 0};
    snprintf(a.name, sizeof a.name, "%s", name);
    hid_t set = H5Dopen2(g->file, name, H5P_DEFAULT);
    if (set < 0) fprintf(stderr, "%s: no dataset %s\n", g->label, name);
    ZI_REQUIRE(set >= 0);
    hid_t space = H5Dget_space(set);
    a.count = H5Sget_simple_extent_npoints(space);
    a.values = fixture_zeros((size_t)a.count, sizeof *a.values);
    ZI_REQUIRE(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, a.values) >= 0);
    if (deviation) a.tolerance = FACTOR * attribute(set, deviation);
    H5Sclose(space);
    H5Dclose(set);
    return a;
}

static void golden_open(struct golden *g, const char *name, enum zi_dtype type)
{
    const char *top = getenv("abs_top_srcdir");
    char path[4096];
    snprintf(path, sizeof path, "%s/regression/goldens/golden_%s.h5", top ? top : ".", name);
    memset(g, 0, sizeof *g);
    g->type = type;
    snprintf(g->label, sizeof g->label, "%s %s", name, zi_dtype_name(type));
    g->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (g->file < 0) fprintf(stderr, "cannot open %s\n", path);
    ZI_REQUIRE(g->file >= 0);
    g->settings = (struct settings_model){
        .family = strncmp(name, "llama", 5) == 0 ? MODEL_LLAMA : MODEL_GPT2,
        .layers = whole(g->file, "layers"),
        .hidden = whole(g->file, "hidden"),
        .heads = whole(g->file, "heads"),
        .key_heads = whole(g->file, "key_heads"),
        .inner = whole(g->file, "inner"),
        .context = whole(g->file, "context"),
        .vocabulary = whole(g->file, "vocabulary"),
        .tied = whole(g->file, "tied"),
        .norm_epsilon = attribute(g->file, "norm_epsilon"),
        .rope_base = attribute(g->file, "rope_base"),
    };
    g->optimizer = (struct settings_optimizer){
        .learning_rate = attribute(g->file, "learning_rate"),
        .beta1 = attribute(g->file, "beta1"),
        .beta2 = attribute(g->file, "beta2"),
        .epsilon = attribute(g->file, "epsilon"),
        .weight_decay = attribute(g->file, "weight_decay"),
        .clip = attribute(g->file, "clip"),
    };
}

/* Number of values further from the golden than the tolerance, NaN included. */
static int64_t outside(const struct array *golden, const double *found, double *worst)
{
    int64_t count = 0;
    for (int64_t i = 0; i < golden->count; i++) {
        double share = fabs(found[i] - golden->values[i]) / golden->tolerance;
        if (!(share <= 1)) count++;
        if (!(share <= *worst)) *worst = share;
    }
    return count;
}

/* Compares, then shows that the comparison can fail. */
static void compare(struct golden *g, struct array *golden, const double *found)
{
    double worst = 0, ignored = 0;
    int64_t wrong = outside(golden, found, &worst);
    if (wrong > 0) {
        fprintf(stderr, "%s: %s: %lld of %lld values off by up to %.3g tolerances of %.3g\n",
                g->label, golden->name, (long long)wrong, (long long)golden->count, worst,
                golden->tolerance);
    }
    CHECK_INT(wrong, 0);
    int64_t at = golden->count * 2 / 3;
    golden->values[at] += 10 * golden->tolerance;
    CHECK_INT(outside(golden, found, &ignored), wrong + 1);
    golden->values[at] -= 10 * golden->tolerance;
    if (worst > g->worst) {
        g->worst = worst;
        snprintf(g->worst_name, sizeof g->worst_name, "%s", golden->name);
    }
}

static void load_parameters(const struct golden *g, struct fixture *f)
{
    for (int t = 0; t < f->model->tensor_count; t++) {
        char name[96];
        snprintf(name, sizeof name, "parameter/%s", f->model->tensors[t].name);
        struct array a = array_read(g, name, NULL);
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
    struct array inputs = array_read(g, "inputs", NULL), targets = array_read(g, "targets", NULL);
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

/* Logits of all positions: for the head, every token is a sequence of its own of one token. */
static void check_logits(struct golden *g, struct fixture *f)
{
    int head = f->model->op_count - 1;
    struct array a =
        array_read(g, "logits", g->type == ZI_FP32 ? "deviation_fp32" : "deviation_bf16");
    struct fixture_buffer logits = fixture_allocate(f, (size_t)a.count * 4);
    struct model_sizes sizes;
    fixture_forward(f, MODEL_INFER, 0, f->sequences);
    struct model_pass pass = fixture_pass(f, head, 0, f->sequences);
    pass.sequences = f->sequences * f->tokens;
    pass.tokens = 1;
    model_op_sizes(f->model, head, pass.sequences, 1, &sizes);
    struct fixture_buffer scratch = fixture_allocate(f, sizes.scratch);
    pass.scratch = scratch.at;
    CHECK(model_logits(f->model, &pass, logits.at) == ZI_OK);
    double *found = fixture_zeros((size_t)a.count, sizeof *found);
    for (int64_t i = 0; i < a.count; i++) {
        found[i] = (double)((float *)logits.at.address)[i];
    }
    compare(g, &a, found);
    /* as generation asks: the last token of each sequence */
    struct model_pass last = fixture_pass(f, head, 0, f->sequences);
    int64_t v = g->settings.vocabulary;
    CHECK(model_logits(f->model, &last, logits.at) == ZI_OK);
    for (int64_t b = 0; b < f->sequences; b++) {
        struct array row = {.count = v, .tolerance = a.tolerance};
        int64_t from = ((b + 1) * f->tokens - 1) * v;
        snprintf(row.name, sizeof row.name, "logits of the last token");
        row.values = a.values + from;
        for (int64_t i = 0; i < v; i++) {
            found[i] = (double)((float *)logits.at.address)[b * v + i];
        }
        compare(g, &row, found);
    }
    fixture_free(f, &scratch);
    fixture_free(f, &logits);
    free(found);
    free(a.values);
}

static void check_gradients(struct golden *g, struct fixture *f, bool recompute)
{
    const char *deviation = g->type == ZI_FP32 ? "deviation_fp32" : "deviation_bf16";
    int64_t counted = load_batch(g, f, 0);
    struct fixture_way way = {0, f->sequences, recompute, false, 1.0f / (float)counted};
    struct array loss = array_read(g, "loss", deviation);
    double found = fixture_differentiate(f, &way) / (double)counted;
    compare(g, &loss, &found);
    found = fixture_loss(f) / (double)counted;
    compare(g, &loss, &found);
    free(loss.values);
    for (int t = 0; t < f->model->tensor_count; t++) {
        char name[96];
        snprintf(name, sizeof name, "gradient/%s", f->model->tensors[t].name);
        struct array a = array_read(g, name, deviation);
        ZI_REQUIRE(a.count == f->model->tensors[t].elements);
        float *sum = fixture_gradient(f, t);
        double *values = fixture_zeros((size_t)a.count, sizeof *values);
        for (int64_t i = 0; i < a.count; i++) {
            values[i] = (double)sum[i];
        }
        compare(g, &a, values);
        free(values);
        free(sum);
        free(a.values);
    }
}

/* Optimizer states of all tensors, one behind the other. */
struct states {
    float *master, *moment1, *moment2, *gradient;
    uint64_t checksum;
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
    s->master = fixture_zeros(count, 4);
    s->moment1 = fixture_zeros(count, 4);
    s->moment2 = fixture_zeros(count, 4);
    s->gradient = fixture_zeros(count, 4);
    float *to = s->master;
    for (int t = 0; t < f->model->tensor_count; t++) {
        for (int64_t i = 0; i < f->model->tensors[t].elements; i++) {
            *to++ = (float)fixture_get_weight(f, t, i);
        }
    }
}

static void states_destroy(struct states *s)
{
    free(s->master);
    free(s->moment1);
    free(s->moment2);
    free(s->gradient);
}

/* The update after a backward pass; gives the gradient norm. */
static double update(const struct golden *g, struct fixture *f, struct states *s, double loss)
{
    const struct model *m = f->model;
    struct device_norm_sums sums = {0};
    struct optimizer_step step = {.number = s->updates++,
                                  .learning_rate = g->optimizer.learning_rate};
    for (int64_t t = 0, first = 0; t < m->tensor_count; first += m->tensors[t++].elements) {
        float *gradient = fixture_gradient(f, (int)t);
        memcpy(s->gradient + first, gradient, (size_t)m->tensors[t].elements * 4);
        free(gradient);
    }
    CHECK(m->operations->gradient_norm(f->stream, ZI_FP32, pointer(s->gradient), m->parameters,
                                       pointer(&sums)) == ZI_OK);
    optimizer_decide(&g->optimizer, sums.squares, sums.nonfinite, loss, &step);
    CHECK(!step.skip);
    for (int64_t t = 0, first = 0; t < m->tensor_count; first += m->tensors[t++].elements) {
        const struct model_tensor *tensor = &m->tensors[t];
        struct device_ptr parameter = device_at(f->weights[tensor->unit].at,
                                                (size_t)tensor->offset * zi_dtype_bytes(m->type));
        struct optimizer_range range = {
            .count = tensor->elements,
            .decay = tensor->kind == MODEL_MATRIX,
            .gradient_type = ZI_FP32,
            .master = pointer(s->master + first),
            .moment1 = pointer(s->moment1 + first),
            .moment2 = pointer(s->moment2 + first),
            .gradient = pointer(s->gradient + first),
            .parameter = m->type == ZI_BF16 ? parameter : (struct device_ptr){0},
            .checksum = pointer(&s->checksum),
        };
        CHECK(optimizer_update(&g->optimizer, f->device, f->stream, &step, &range) == ZI_OK);
        if (m->type == ZI_BF16) continue;
        memcpy((void *)parameter.address, s->master + first, (size_t)tensor->elements * 4);
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
    struct array loss = array_read(g, name, "deviation");
    snprintf(name, sizeof name, "training/%s/norm", zi_dtype_name(g->type));
    struct array norm = array_read(g, name, "deviation");
    ZI_REQUIRE(loss.count == STEPS && norm.count == STEPS);
    compare(g, &loss, losses);
    compare(g, &norm, norms);
    CHECK(losses[STEPS - 1] < losses[0] - 0.5); /* it learns */
    free(loss.values);
    free(norm.values);
    states_destroy(&states);
}

static void check_case(const char *name, enum zi_dtype type)
{
    struct golden g;
    struct fixture f;
    golden_open(&g, name, type);
    fixture_open(&f, &g.settings, g.type, (int64_t[]){3, 37});
    load_parameters(&g, &f);
    load_batch(&g, &f, 0);
    check_logits(&g, &f);
    check_gradients(&g, &f, false);
    check_gradients(&g, &f, true);
    check_training(&g, &f);
    printf("%s, %s: at most %.2f of a tolerance (%s)\n", g.label,
           fixture_isa == ISA_GENERIC ? "generic" : "best instructions", g.worst, g.worst_name);
    fixture_close(&f);
    H5Fclose(g.file);
}

int main(void)
{
    for (int i = 0; i < 16; i++) {
        fixture_isa = i < 8 ? ZI_AUTO : ISA_GENERIC;
        check_case(cases[i / 2 % 4], i % 2 ? ZI_BF16 : ZI_FP32);
    }
    return test_finish("model_golden_test");
}

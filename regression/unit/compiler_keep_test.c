/* SPDX-License-Identifier: Apache-2.0 */
/* Which inner activations are kept, and where: those of the kind of layer that the deck names, or,
 * where it is auto, as many as the budget holds, first of the kind that spares more recomputing per
 * byte; on the device, or on the host. */
#include "regression/unit/test.h"
#include "regression/unit/capture_fixture.h"
#include "compiler/inner.h"
#include "compiler/resolve.h"
#include "regression/unit/step_fixture.h"

#define MICROS 4
#define ROWS   (64 * 17) /* of a micro-batch: sequences and tokens */

/* Memory of its own for the device; all states there; buffers that the padding between them, less
 * than 28 KiB, does not matter to. */
static const char *const common[] = {"placement.parameters=device",
                                     "placement.gradients=device",
                                     "placement.optimizer=device",
                                     "placement.activations=device",
                                     "zero.prefetch=1",
                                     "memory.host=1 GiB",
                                     "batch.global=256",
                                     "batch.micro=64",
                                     NULL};

/* Per row of the stream, by hand: FLOPs of recomputing a layer, and columns of fp32 that it saves. */
static const struct shape {
    const char *deck;
    const char *sets[5];
    double flops[LAYER_KIND_COUNT];
    int columns[LAYER_KIND_COUNT];
} shapes[] = {
    /* Attention first. 24 x 72, and 24 columns of (17 + 1) / 2 pairs for scores and again for their
     * use; 24 x 96. Saved: the normed row and two numbers of its norm; then q, k, v, their mix and a
     * sum for each of 3 heads; then the inner row before and after GELU. */
    {step_fixture_gpt2,
     {NULL},
     {2 * 24 * 72 + 2 * 24 * 18, 2 * 24 * 96},
     {26 + 72 + 24 + 3, 26 + 2 * 96}},
    /* MLP first: few key heads, a wide MLP, short sequences. 6 heads and 2 of keys and of values, of
     * 16 columns; 96 x 2 * 160, of which one half gates the other. */
    {step_fixture_llama,
     {"model.hidden=96", "model.inner=160"},
     {2 * 96 * 160 + 2 * 96 * 18, 2 * 96 * 320},
     {98 + 160 + 96 + 6, 98 + 3 * 160}},
};

static enum zi_status open_with(struct step_fixture *f, const struct shape *shape,
                                const char *const *more)
{
    const char *sets[20];
    const char *const *lists[] = {common, shape->sets, more};
    int count = 0;
    for (int i = 0; i < 3; i++) {
        for (const char *const *set = lists[i]; *set; set++)
            sets[count++] = *set;
    }
    sets[count] = NULL;
    return step_fixture_open(f, shape->deck, sets, 1, 0);
}

/* Operations that are recomputed, and their FLOPs, are those of the kind that the deck names. */
static void test_named(void)
{
    static const char *const named[] = {"activations.recompute=attention",
                                        "activations.recompute=mlp"};
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        enum model_op_kind recomputed = kind == LAYER_MLP ? MODEL_MLP : MODEL_ATTENTION;
        const char *const sets[] = {named[kind], NULL};
        struct step_fixture f;
        int found = 0;
        CHECK_INT(open_with(&f, &shapes[0], sets), ZI_OK);
        const struct program *p = f.program;
        CHECK_INT(p->config.interval, 1);
        CHECK_INT(p->kept_layers[kind], 0);
        CHECK_INT(p->kept_layers[1 - kind], 3);
        for (int o = 0; o < p->lists[PROGRAM_TRAIN].count; o++) {
            const struct program_op *op = &p->lists[PROGRAM_TRAIN].ops[o];
            if (op->kind != OP_RECOMPUTE) continue;
            CHECK_INT(f.model->ops[op->op].kind, recomputed);
            CHECK_NEAR(op->flops, ROWS * shapes[0].flops[kind], 0.5);
            found++;
        }
        CHECK_INT(found, 3 * MICROS);
        step_fixture_close(&f);
    }
}

/* Longer segments are of one kind where they have an even number of layers, and take turns else. */
static void test_segments(void)
{
    static const struct segments {
        const char *interval;
        int attention, mlp;
    } segments[] = {
        {"activations.interval=1", 3, 3}, /* A M A M A M */
        {"activations.interval=2", 3, 0}, /* AM AM AM */
        {"activations.interval=3", 1, 1}, /* AMA MAM */
        {"activations.interval=5", 1, 1}, /* AMAMA M */
        {"activations.interval=32", 1, 0},
    };
    for (int i = 0; i < 5; i++) {
        struct step_fixture f;
        const char *const sets[] = {segments[i].interval, NULL};
        CHECK_INT(open_with(&f, &shapes[0], sets), ZI_OK);
        CHECK_INT(f.program->segment_count[LAYER_ATTENTION], segments[i].attention);
        CHECK_INT(f.program->segment_count[LAYER_MLP], segments[i].mlp);
        CHECK_INT(f.program->kept_layers[LAYER_ATTENTION], 3);
        CHECK_INT(f.program->kept_layers[LAYER_MLP], 3);
        step_fixture_close(&f);
    }
}

static void test_worth(void)
{
    const char *const sets[] = {"activations.interval=1", NULL};
    for (int i = 0; i < 2; i++) {
        struct step_fixture f;
        const struct shape *s = &shapes[i];
        CHECK_INT(open_with(&f, s, sets), ZI_OK);
        for (int kind = 0; kind < LAYER_KIND_COUNT; kind++)
            CHECK_NEAR(resolve_keeping_worth(f.model, &f.config, (enum layer_kind)kind),
                       s->flops[kind] / (4.0 * s->columns[kind]), 1e-9);
        f.config.interval = 2;
        CHECK_NEAR(resolve_keeping_worth(f.model, &f.config, LAYER_MLP), 0, 0);
        step_fixture_close(&f);
    }
}

static void check_printed(const struct program *program, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    if (!out) return;
    program_print_memory(program, out);
    fclose(out);
    const char *found = strstr(text, "\ninner activations: ");
    CHECK(found && !strcmp(found + strlen("\ninner activations: "), expected));
    free(text);
}

/* Whether so many bytes beyond those without kept inner activations keep so many layers. */
static void check_kept(const struct shape *shape, size_t bytes, int attention, int mlp)
{
    struct step_fixture f;
    char memory[64], expected[160];
    const char *const none[] = {"activations.recompute=always", "activations.interval=1", NULL};
    CHECK_INT(open_with(&f, shape, none), ZI_OK);
    snprintf(memory, sizeof memory, "memory.device=%zu B",
             f.program->pool_bytes[ZI_TIER_DEVICE] + bytes);
    step_fixture_close(&f);
    const char *const sets[] = {memory, "activations.interval=1", NULL};
    CHECK_INT(open_with(&f, shape, sets), ZI_OK);
    CHECK_INT(f.program->kept_layers[LAYER_ATTENTION], attention);
    CHECK_INT(f.program->kept_layers[LAYER_MLP], mlp);
    snprintf(expected, sizeof expected,
             "attention kept in %d, recomputed in %d; mlp kept in %d, "
             "recomputed in %d\n",
             attention, 3 - attention, mlp, 3 - mlp);
    check_printed(f.program, expected);
    step_fixture_close(&f);
}

static void test_budgets(void)
{
    size_t row = MICROS * ROWS * sizeof(float);
    const int *columns = shapes[0].columns;
    size_t a = row * (size_t)columns[LAYER_ATTENTION], m = row * (size_t)columns[LAYER_MLP];
    check_kept(&shapes[0], 0, 0, 0);
    check_kept(&shapes[0], a - 1, 0, 0);
    check_kept(&shapes[0], 2 * a + a / 4, 2, 0); /* not an MLP's */
    check_kept(&shapes[0], 3 * a + m - 1, 3, 0);
    check_kept(&shapes[0], 3 * a + m + a / 4, 3, 1);
    check_kept(&shapes[0], 3 * a + 3 * m - 1, 3, 2);
    check_kept(&shapes[0], 3 * a + 3 * m + a / 2, 3, 3);
    columns = shapes[1].columns;
    a = row * (size_t)columns[LAYER_ATTENTION], m = row * (size_t)columns[LAYER_MLP];
    check_kept(&shapes[1], m + a / 4, 0, 1);
    check_kept(&shapes[1], 2 * m + a / 4, 0, 2);
    check_kept(&shapes[1], 2 * m + a + a / 4, 1, 2); /* the rest is too small for an MLP's */
    check_kept(&shapes[1], 3 * m + 2 * a + a / 4, 2, 3);
}

/* In columns as above, for 3 layers: with an interval of 2 a layer's operations are kept together,
 * 125 + 218 and the 24 of the MLP's input, or recomputed, 4320 + 4608 FLOPs and 2 * 24 * 24 of the
 * output projection. An interval of 1 needs the MLPs' inputs in any case, 3 * 24 columns, but not
 * the second operation's place and input while a segment is recomputed, 218 + 24 of one micro-batch
 * of 4: 11.5 columns more. */
static void test_interval(void)
{
    static const struct interval {
        /* More than those without any kept with an interval of 2. */
        int columns;
        int interval, attention, mlp;
    } intervals[] = {
        {0, 2, 0, 0},            /* not room for the inputs */
        {40, 1, 0, 0},           /* 26784 FLOPs to 30240 */
        {367 + 40, 1, 3, 0},     /* 13824 to 20160 */
        {2 * 367 + 40, 1, 3, 1}, /* 9216 to 10080 */
        {3 * 367 + 40, 2, 3, 3}, /* none to none */
    };
    const char *const none[] = {"activations.recompute=always", "activations.interval=2", NULL};
    struct step_fixture f;
    CHECK_INT(open_with(&f, &shapes[0], none), ZI_OK);
    size_t bytes = f.program->pool_bytes[ZI_TIER_DEVICE];
    step_fixture_close(&f);
    for (int i = 0; i < 5; i++) {
        char memory[64];
        size_t more = MICROS * ROWS * sizeof(float) * (size_t)intervals[i].columns;
        snprintf(memory, sizeof memory, "memory.device=%zu B", bytes + more);
        CHECK_INT(open_with(&f, &shapes[0], (const char *const[]){memory, NULL}), ZI_OK);
        CHECK_INT(f.config.interval, intervals[i].interval);
        CHECK_INT(f.program->kept_layers[LAYER_ATTENTION], intervals[i].attention);
        CHECK_INT(f.program->kept_layers[LAYER_MLP], intervals[i].mlp);
        step_fixture_close(&f);
        const char *const away[] = {memory, "device.type=cuda", "placement.activations=host", NULL};
        CHECK_INT(open_with(&f, &shapes[0], away), ZI_OK);
        CHECK_INT(f.config.interval, 2); /* kept inputs would be moved */
        step_fixture_close(&f);
    }
}

/* Inner activations of MLPs leave for the host in forward and are back in backward, each once; those
 * of attention stay. With all of them away there is room on the device for what forward writes next
 * and backward reads next. */
static void test_offloaded(void)
{
    const char *const sets[] = {"device.type=cuda", "activations.offload=mlp",
                                "activations.recompute=never", NULL};
    struct step_fixture f;
    size_t mlp = sizeof(float) * ROWS * (size_t)shapes[0].columns[LAYER_MLP], bytes[2] = {0, 0};
    CHECK_INT(open_with(&f, &shapes[0], sets), ZI_OK);
    const struct program *p = f.program;
    const struct program_list *list = &p->lists[PROGRAM_TRAIN];
    CHECK_INT(program_bytes(p, ZI_TIER_HOST, PURPOSE_ACTIVATION), 3 * MICROS * mlp);
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        if (op->kind != OP_KEEP && op->kind != OP_RECALL) continue;
        bool back = op->kind == OP_RECALL;
        CHECK_INT(op->lane, back ? LANE_LINK_IN : LANE_LINK_OUT);
        CHECK_INT(f.model->ops[op->op].kind, MODEL_MLP);
        CHECK_INT(op->bytes, mlp);
        bytes[back] += op->bytes;
    }
    CHECK_INT(bytes[0], 3 * MICROS * mlp);
    CHECK_INT(bytes[1], 3 * MICROS * mlp);
    check_printed(p,
                  "attention kept in 3, recomputed in 0; mlp kept in 3 (on the host), recomputed "
                  "in 0\n");
    step_fixture_close(&f);
}

/* The kind that goes to the host is first, since it takes none of the device's memory but what the
 * moves pass: two buffers each way. */
static void test_offloaded_first(void)
{
    const char *const none[] = {"device.type=cuda", "activations.recompute=always",
                                "activations.interval=1", NULL};
    struct step_fixture f;
    size_t a = sizeof(float) * ROWS * (size_t)shapes[0].columns[LAYER_ATTENTION];
    size_t m = sizeof(float) * ROWS * (size_t)shapes[0].columns[LAYER_MLP];
    char memory[64];
    CHECK_INT(open_with(&f, &shapes[0], none), ZI_OK);
    snprintf(memory, sizeof memory, "memory.device=%zu B",
             f.program->pool_bytes[ZI_TIER_DEVICE] + 4 * m + MICROS * a + a / 2);
    step_fixture_close(&f);
    const char *const sets[] = {"device.type=cuda", "activations.offload=mlp",
                                "activations.interval=1", memory, NULL};
    CHECK_INT(open_with(&f, &shapes[0], sets), ZI_OK);
    check_printed(f.program, "attention kept in 1, recomputed in 2; mlp kept in 3 (on the host), "
                             "recomputed in 0\n");
    step_fixture_close(&f);
}

static void test_refused(void)
{
    struct step_fixture f;
    struct capture messages;
    static const struct refused {
        const char *sets[3], *message;
    } refused[] = {
        {{"activations.recompute=mlp", "activations.interval=2"},
         "activations.recompute: mlp keeps every second one; use 1 or auto"},
        {{"activations.recompute=attention", "activations.offload=attention"},
         "attention has nothing to move, as activations.recompute: attention keeps only the other"},
    };
    for (int i = 0; i < 2; i++) {
        capture_begin(&messages, stderr);
        enum zi_status status = open_with(&f, &shapes[0], refused[i].sets);
        capture_end(&messages);
        CHECK_INT(status, ZI_ERROR_USAGE);
        CHECK(strstr(messages.text, refused[i].message));
        step_fixture_close(&f);
    }
}

int main(void)
{
    zi_log_set_level(ZI_LOG_ERROR);
    test_named();
    test_segments();
    test_worth();
    test_budgets();
    test_interval();
    test_offloaded();
    test_offloaded_first();
    test_refused();
    return test_finish("compiler_keep_test");
}

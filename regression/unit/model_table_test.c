/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of models: parameters of published models, names, layout of units, operations, initial
 * values, and what a deck's model section is told. */
#include "regression/unit/model_fixture.h"

#include "regression/unit/deck_fixture.h"

static struct model *create(const struct settings_model *settings)
{
    struct model *model = NULL;
    CHECK(model_create(settings, &fixture_tiling, ZI_BF16, &model) == ZI_OK);
    ZI_REQUIRE(model);
    return model;
}

/* Counts of the published checkpoints, and the weights of their matrix products: without positions,
 * norms and biases, and without a token table that is not the head's too. */
static const struct {
    struct settings_model settings;
    int64_t parameters, multiplied;
} known[] = {
    {{.layers = 12,
      .hidden = 768,
      .heads = 12,
      .key_heads = 12,
      .inner = 3072,
      .context = 1024,
      .vocabulary = 50257,
      .tied = 1},
     124439808,
     123532032}, /* GPT-2 */
    {{.layers = 48,
      .hidden = 1600,
      .heads = 25,
      .key_heads = 25,
      .inner = 6400,
      .context = 1024,
      .vocabulary = 50257,
      .tied = 1},
     1557611200,
     1554971200}, /* GPT-2 XL */
    {{.family = MODEL_LLAMA,
      .layers = 32,
      .hidden = 4096,
      .heads = 32,
      .key_heads = 32,
      .inner = 11008,
      .context = 4096,
      .vocabulary = 32000},
     6738415616,
     6607077376}, /* Llama 2 7B */
    {{.family = MODEL_LLAMA,
      .layers = 32,
      .hidden = 4096,
      .heads = 32,
      .key_heads = 8,
      .inner = 14336,
      .context = 8192,
      .vocabulary = 128256},
     8030261248,
     7504658432}, /* Llama 3 8B */
    {{.family = MODEL_LLAMA,
      .layers = 16,
      .hidden = 2048,
      .heads = 32,
      .key_heads = 8,
      .inner = 8192,
      .context = 8192,
      .vocabulary = 128256,
      .tied = 1},
     1235814400,
     1235746816}, /* Llama 3.2 1B */
    {{.family = MODEL_MISTRAL,
      .layers = 32,
      .hidden = 4096,
      .heads = 32,
      .key_heads = 8,
      .inner = 14336,
      .context = 32768,
      .vocabulary = 32000,
      .window = 4096},
     7241732096,
     7110393856}, /* Mistral 7B v0.1 */
    {{.family = MODEL_QWEN2,
      .layers = 24,
      .hidden = 896,
      .heads = 14,
      .key_heads = 2,
      .inner = 4864,
      .context = 32768,
      .vocabulary = 151936,
      .tied = 1},
     494032768,
     493961216}, /* Qwen 2.5 0.5B */
    {{.family = MODEL_QWEN3,
      .layers = 28,
      .hidden = 1024,
      .heads = 16,
      .key_heads = 8,
      .head_width = 128,
      .inner = 3072,
      .context = 40960,
      .vocabulary = 151936,
      .tied = 1},
     596049920,
     595984384}, /* Qwen 3 0.6B */
    {{.family = MODEL_SMOLLM3,
      .layers = 36,
      .hidden = 2048,
      .heads = 16,
      .key_heads = 4,
      .inner = 11008,
      .context = 65536,
      .vocabulary = 128256,
      .tied = 1},
     3075098624,
     3074949120}, /* SmolLM3 3B */
    {{.family = MODEL_OLMO2,
      .layers = 32,
      .hidden = 4096,
      .heads = 32,
      .key_heads = 32,
      .inner = 11008,
      .context = 4096,
      .vocabulary = 100352},
     7298617344,
     6887047168}, /* OLMo 2 7B */
    {{.family = MODEL_GEMMA2,
      .layers = 26,
      .hidden = 2304,
      .heads = 8,
      .key_heads = 4,
      .head_width = 256,
      .inner = 9216,
      .context = 8192,
      .vocabulary = 256000,
      .tied = 1},
     2614341888,
     2614099968}, /* Gemma 2 2B */
    {{.family = MODEL_GEMMA3,
      .layers = 26,
      .hidden = 1152,
      .heads = 4,
      .key_heads = 1,
      .head_width = 256,
      .inner = 6912,
      .context = 32768,
      .vocabulary = 262144,
      .tied = 1},
     999885952,
     999751680}, /* Gemma 3 1B */
};

static void test_published_sizes(void)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct model *m = create(&known[i].settings);
        int64_t sum = 0;
        for (int t = 0; t < m->tensor_count; t++) {
            sum += m->tensors[t].elements;
        }
        CHECK_INT(m->parameters, known[i].parameters);
        CHECK_INT(sum, known[i].parameters);
        const struct settings_model *s = &m->settings;
        int64_t width = s->head_width ? s->head_width : s->hidden / s->heads;
        double attention = 6.0 * (double)(s->layers * s->heads * width) * 1001.0;
        CHECK_NEAR(model_flops_per_token(m, 1000), 6.0 * (double)known[i].multiplied + attention,
                   1.0);
        model_destroy(m);
    }
}

static const struct settings_model small_gpt2 = {
    .layers = 2,
    .hidden = 30,
    .heads = 3,
    .key_heads = 1,
    .inner = 50,
    .context = 19,
    .vocabulary = 67,
    .tied = 1,
    .init_deviation = 0.02,
};
static const struct settings_model small_llama = {
    .family = MODEL_LLAMA,
    .layers = 1,
    .hidden = 30,
    .heads = 3,
    .key_heads = 1,
    .inner = 50,
    .context = 19,
    .vocabulary = 67,
    .init_deviation = 0.02,
};

/* Names and places, written out. joined: directly behind the one before. */
struct expected {
    const char *name;
    int64_t rows, columns;
    bool joined;
    enum model_tensor_kind kind;
};

static const struct expected gpt2_tensors[] = {
    {"embedding.token.weight", 67, 30, false, MODEL_EMBEDDING},
    {"embedding.position.weight", 19, 30, false, MODEL_EMBEDDING},
    {"blocks.0.attention.norm.weight", 30, 1, false, MODEL_NORM},
    {"blocks.0.attention.norm.bias", 30, 1, false, MODEL_NORM},
    {"blocks.0.attention.query.weight", 30, 30, false, MODEL_MATRIX},
    {"blocks.0.attention.key.weight", 10, 30, true, MODEL_MATRIX},
    {"blocks.0.attention.value.weight", 10, 30, true, MODEL_MATRIX},
    {"blocks.0.attention.query.bias", 30, 1, false, MODEL_BIAS},
    {"blocks.0.attention.key.bias", 10, 1, true, MODEL_BIAS},
    {"blocks.0.attention.value.bias", 10, 1, true, MODEL_BIAS},
    {"blocks.0.attention.output.weight", 30, 30, false, MODEL_MATRIX},
    {"blocks.0.attention.output.bias", 30, 1, false, MODEL_BIAS},
    {"blocks.0.mlp.norm.weight", 30, 1, false, MODEL_NORM},
    {"blocks.0.mlp.norm.bias", 30, 1, false, MODEL_NORM},
    {"blocks.0.mlp.up.weight", 50, 30, false, MODEL_MATRIX},
    {"blocks.0.mlp.up.bias", 50, 1, false, MODEL_BIAS},
    {"blocks.0.mlp.down.weight", 30, 50, false, MODEL_MATRIX},
    {"blocks.0.mlp.down.bias", 30, 1, false, MODEL_BIAS},
};
static const struct expected llama_tensors[] = {
    {"embedding.token.weight", 67, 30, false, MODEL_EMBEDDING},
    {"blocks.0.attention.norm.weight", 30, 1, false, MODEL_NORM},
    {"blocks.0.attention.query.weight", 30, 30, false, MODEL_MATRIX},
    {"blocks.0.attention.key.weight", 10, 30, true, MODEL_MATRIX},
    {"blocks.0.attention.value.weight", 10, 30, true, MODEL_MATRIX},
    {"blocks.0.attention.output.weight", 30, 30, false, MODEL_MATRIX},
    {"blocks.0.mlp.norm.weight", 30, 1, false, MODEL_NORM},
    {"blocks.0.mlp.gate.weight", 50, 30, false, MODEL_MATRIX},
    {"blocks.0.mlp.up.weight", 50, 30, true, MODEL_MATRIX},
    {"blocks.0.mlp.down.weight", 30, 50, false, MODEL_MATRIX},
    {"norm.weight", 30, 1, false, MODEL_NORM},
    {"head.weight", 67, 30, false, MODEL_MATRIX},
};

static void check_tensors(const struct model *m, const struct expected *expected, int count)
{
    for (int i = 0; i < count && i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];
        const struct model_piece *piece = &m->pieces[i]; /* one per tensor, in the same order */
        const struct model_unit *unit = &m->units[piece->unit];
        CHECK_INT(t->first_piece, i);
        CHECK_INT(t->piece_count, 1);
        CHECK_INT(piece->tensor, i);
        CHECK(piece->first == 0 && piece->rows == 1 && piece->row == t->elements);
        CHECK(strcmp(t->name, expected[i].name) == 0);
        CHECK(strncmp(t->name, unit->name, strlen(unit->name)) == 0);
        CHECK_INT(t->shape[0], expected[i].rows);
        CHECK_INT(t->shape[1], expected[i].columns);
        CHECK_INT(t->dimensions, expected[i].columns == 1 ? 1 : 2);
        CHECK_INT(t->elements, expected[i].rows * expected[i].columns);
        CHECK_INT(t->kind, expected[i].kind);
        int64_t end = i > unit->first_piece ? piece[-1].offset + t[-1].elements : 0;
        CHECK_INT(piece->offset, expected[i].joined ? end : (end + 63) / 64 * 64);
        if (i == unit->first_piece + unit->piece_count - 1)
            CHECK_INT(unit->elements, (piece->offset + t->elements + 63) / 64 * 64);
    }
}

static void test_layout(void)
{
    struct model *m = create(&small_gpt2);
    CHECK_INT(m->tensor_count, 2 + 2 * 16 + 2);
    CHECK_INT(m->unit_count, 2 + 2 * 2 + 1);
    check_tensors(m, gpt2_tensors, 18);
    CHECK(strcmp(m->tensors[34].name, "norm.weight") == 0);
    CHECK(strcmp(m->tensors[35].name, "norm.bias") == 0);
    model_destroy(m);
    m = create(&small_llama);
    CHECK_INT(m->tensor_count, 12);
    CHECK_INT(m->unit_count, 5);
    check_tensors(m, llama_tensors, 12);
    model_destroy(m);
}

/* Names of the units of an operation, joined by blanks. */
static void check_op(const struct model *m, int op, enum model_op_kind kind, const char *units)
{
    char text[200] = "";
    for (int i = 0; i < m->ops[op].unit_count; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 m->units[m->ops[op].units[i]].name);
    }
    if (strcmp(text, units) != 0) fprintf(stderr, "operation %d uses %s\n", op, text);
    CHECK(strcmp(text, units) == 0);
    CHECK_INT(m->ops[op].kind, kind);
}

static void test_operations(void)
{
    struct model *m = create(&small_gpt2);
    CHECK_INT(m->op_count, 6);
    check_op(m, 0, MODEL_EMBED, "embedding.token embedding.position");
    check_op(m, 1, MODEL_ATTENTION, "blocks.0.attention");
    check_op(m, 4, MODEL_MLP, "blocks.1.mlp");
    check_op(m, 5, MODEL_HEAD, "norm embedding.token"); /* tied */
    CHECK_INT(m->ops[0].block, -1);
    CHECK_INT(m->ops[4].block, 1);
    CHECK(strcmp(m->ops[4].name, "blocks.1.mlp") == 0);
    model_destroy(m);
    m = create(&small_llama);
    CHECK_INT(m->op_count, 4);
    check_op(m, 0, MODEL_EMBED, "embedding.token");
    check_op(m, 3, MODEL_HEAD, "norm head");
    model_destroy(m);
}

/* Every element of every tensor lies in exactly one piece, pieces of a unit lie behind each other
 * in the order of the table, and tensors find theirs. */
static void check_pieces(const struct model *m)
{
    int next = 0;
    for (int u = 0; u < m->unit_count; u++) {
        int64_t end = 0;
        CHECK_INT(m->units[u].first_piece, next);
        for (; next < m->units[u].first_piece + m->units[u].piece_count; next++) {
            const struct model_piece *p = &m->pieces[next];
            CHECK_INT(p->unit, u);
            CHECK(p->offset >= end && p->offset < end + 64);
            CHECK(p->rows >= 1 && p->row >= 1 && p->stride >= p->row);
            end = p->offset + p->rows * p->row;
        }
        CHECK_INT(m->units[u].elements, (end + 63) / 64 * 64);
    }
    CHECK_INT(next, m->piece_count);
    for (int t = 0; t < m->tensor_count; t++) {
        const struct model_tensor *tensor = &m->tensors[t];
        char *seen = fixture_zeros((size_t)tensor->elements, 1);
        int64_t wrong = 0;
        for (int k = 0; k < tensor->piece_count; k++) {
            const struct model_piece *p = &m->pieces[tensor->first_piece + k * tensor->piece_step];
            CHECK_INT(p->tensor, t);
            for (int64_t i = 0; i < p->rows * p->row; i++) {
                int64_t at = p->first + i / p->row * p->stride + i % p->row;
                ZI_REQUIRE(at >= 0 && at < tensor->elements);
                wrong += seen[at]++ != 0;
            }
        }
        for (int64_t i = 0; i < tensor->elements; i++) {
            wrong += seen[i] != 1;
        }
        CHECK_INT(wrong, 0);
        free(seen);
    }
}

static const struct model_piece *piece_of(const struct model *m, const char *tensor, int tile)
{
    const struct model_tensor *t = m->tensors;
    while (strcmp(t->name, tensor) != 0) {
        t++;
    }
    return &m->pieces[t->first_piece + tile * t->piece_step];
}

static void check_piece(const struct model *m, const char *tensor, int tile,
                        const int64_t expected[4] /* first, rows, row, stride */)
{
    const struct model_piece *p = piece_of(m, tensor, tile);
    CHECK_INT(p->first, expected[0]);
    CHECK_INT(p->rows, expected[1]);
    CHECK_INT(p->row, expected[2]);
    CHECK_INT(p->stride, expected[3]);
}

/* Tensors have the same names, shapes and order in any number of tiles. */
static void check_tensors_same(const struct model *a, const struct model *b)
{
    CHECK_INT(a->tensor_count, b->tensor_count);
    CHECK_INT(a->parameters, b->parameters);
    for (int t = 0; t < a->tensor_count; t++) {
        CHECK(strcmp(a->tensors[t].name, b->tensors[t].name) == 0);
        CHECK_INT(a->tensors[t].shape[0], b->tensors[t].shape[0]);
        CHECK_INT(a->tensors[t].shape[1], b->tensors[t].shape[1]);
    }
}

/* Five key heads in two tiles, 150 columns in two, 300 ids in three: 2 and 3 heads, 64 and 86
 * columns, 64, 128 and 108 ids. */
static void test_tiles_gpt2(void)
{
    struct settings_model settings = {.layers = 2,
                                      .hidden = 30,
                                      .heads = 15,
                                      .key_heads = 5,
                                      .inner = 150,
                                      .context = 19,
                                      .vocabulary = 300,
                                      .tied = 1};
    struct model *whole = create(&settings);
    fixture_tiling = (struct settings_tiling){2, 2, 3};
    struct model *m = create(&settings);
    check_tensors_same(whole, m);
    check_pieces(whole);
    check_pieces(m);
    CHECK_INT(m->layer_count, 6);
    CHECK_INT(m->op_count, 3 + 2 * (2 + 2) + 3);
    CHECK_INT(m->unit_count, 3 + 1 + 2 * (3 + 3) + 1);
    check_op(m, 0, MODEL_EMBED, "embedding.token.tile.0 embedding.position");
    check_op(m, 2, MODEL_EMBED, "embedding.token.tile.2");
    check_op(m, 3, MODEL_ATTENTION, "blocks.0.attention.tile.0 blocks.0.attention.shared");
    check_op(m, 4, MODEL_ATTENTION, "blocks.0.attention.tile.1 blocks.0.attention.shared");
    check_op(m, 10, MODEL_MLP, "blocks.1.mlp.tile.1 blocks.1.mlp.shared");
    check_op(m, 11, MODEL_HEAD, "norm embedding.token.tile.0");
    check_op(m, 13, MODEL_HEAD, "norm embedding.token.tile.2");
    CHECK(strcmp(m->ops[10].name, "blocks.1.mlp.tile.1") == 0);
    CHECK(strcmp(m->ops[2].name, "embedding.tile.2") == 0);
    static const unsigned differentiates[] = {3, 1, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 2, 2};
    static const int layers[] = {0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5};
    for (int op = 0; op < m->op_count; op++) {
        CHECK_INT(m->ops[op].differentiates, differentiates[op]);
        CHECK_INT(m->ops[op].layer, layers[op]);
        CHECK_INT(m->ops[op].tile,
                  op == 0 || layers[op] > layers[op - 1] ? 0 : m->ops[op - 1].tile + 1);
        CHECK_INT(m->ops[op].tiles, m->ops[op].block < 0 ? 3 : 2);
    }
    check_piece(m, "embedding.token.weight", 1, (int64_t[]){64 * 30, 1, 128 * 30, 128 * 30});
    check_piece(m, "embedding.token.weight", 2, (int64_t[]){192 * 30, 1, 108 * 30, 108 * 30});
    check_piece(m, "blocks.0.attention.query.weight", 1, (int64_t[]){360, 1, 540, 540});
    check_piece(m, "blocks.0.attention.key.bias", 1, (int64_t[]){4, 1, 6, 6});
    check_piece(m, "blocks.0.attention.output.weight", 1, (int64_t[]){12, 30, 18, 30});
    check_piece(m, "blocks.0.attention.output.bias", 0, (int64_t[]){0, 1, 30, 30});
    check_piece(m, "blocks.1.mlp.down.weight", 1, (int64_t[]){64, 30, 86, 150});
    const struct model_piece *key = piece_of(m, "blocks.0.attention.key.weight", 1);
    CHECK_INT(key->offset, key[-1].offset + 540); /* still joined */
    model_destroy(whole);
    model_destroy(m);
    fixture_tiling = (struct settings_tiling){1, 1, 1};
}

static void test_tiles_llama(void)
{
    struct settings_model settings = {.family = MODEL_LLAMA,
                                      .layers = 1,
                                      .hidden = 24,
                                      .heads = 6,
                                      .key_heads = 3,
                                      .inner = 200,
                                      .context = 9,
                                      .vocabulary = 130};
    struct settings_tiling most = model_most_tiles(&settings);
    CHECK_INT(most.attention, 3);
    CHECK_INT(most.mlp, 4);
    CHECK_INT(most.vocabulary, 3);
    struct model *whole = create(&settings);
    fixture_tiling = most;
    struct model *m = create(&settings);
    check_tensors_same(whole, m);
    check_pieces(m);
    check_op(m, 2, MODEL_EMBED, "embedding.token.tile.2");
    check_op(m, 10, MODEL_HEAD, "norm head.tile.0");
    CHECK_INT(m->ops[10].differentiates, 3);
    CHECK_INT(m->ops[11].differentiates, 2);
    check_piece(m, "head.weight", 2, (int64_t[]){128 * 24, 1, 48, 48});
    model_destroy(whole);
    model_destroy(m);
    fixture_tiling = (struct settings_tiling){1, 1, 1};
}

/* Deviation of a tensor's initial values: of n normal deviates it is right within 5 / sqrt(2 n) of
 * itself in all but one of a million draws, and the draw is fixed. */
static void check_deviation(const struct model *m, const char *name, double deviation)
{
    const struct model_tensor *t = m->tensors;
    while (strcmp(t->name, name) != 0) {
        t++;
    }
    float *values = fixture_zeros((size_t)t->elements, sizeof *values), part[7];
    double squares = 0, n = (double)t->elements;
    model_initialize(t, 5, 0, t->elements, values);
    for (int64_t i = 0; i < t->elements; i++) {
        squares += (double)values[i] * (double)values[i];
    }
    CHECK_NEAR(sqrt(squares / n), deviation, 5 * deviation / sqrt(2 * n));
    model_initialize(t, 5, 11, 7, part); /* any part is the same */
    CHECK(memcmp(part, values + 11, sizeof part) == 0);
    model_initialize(t, 6, 11, 7, part); /* another seed is not */
    CHECK(memcmp(part, values + 11, sizeof part) != 0);
    model_initialize(t + 1, 5, 11, 7, part); /* nor is another tensor */
    CHECK(memcmp(part, values + 11, sizeof part) != 0);
    free(values);
}

static void test_initial_values(void)
{
    struct settings_model settings = small_gpt2;
    settings.init_deviation = 0.03;
    struct model *m = create(&settings);
    check_deviation(m, "embedding.token.weight", 0.03);
    check_deviation(m, "embedding.position.weight", 0.03);
    check_deviation(m, "blocks.1.attention.key.weight", 0.03);
    check_deviation(m, "blocks.0.mlp.up.weight", 0.03);
    check_deviation(m, "blocks.1.attention.output.weight", 0.03 / 2); /* sqrt(2 * 2 layers) */
    check_deviation(m, "blocks.0.mlp.down.weight", 0.03 / 2);
    for (int t = 0; t < m->tensor_count; t++) {
        float values[3] = {7, 7, 7};
        if (m->tensors[t].dimensions == 2) continue;
        size_t length = strlen(m->tensors[t].name);
        bool norm = strcmp(m->tensors[t].name + length - 11, "norm.weight") == 0;
        model_initialize(&m->tensors[t], 5, 2, 3, values);
        CHECK(values[0] == (norm ? 1 : 0) && values[1] == values[0] && values[2] == values[0]);
    }
    model_destroy(m);
}

/* What the model section of a deck is told; no `message`: nothing. */
static void check_deck(const char *const *sets, const char *message)
{
    struct deck *deck;
    ZI_REQUIRE(deck_try(DECK_SMALL, sets, &deck) == ZI_OK);
    model_check(deck);
    capture_begin(&deck_messages, stderr);
    enum zi_status status = deck_check(deck);
    capture_end(&deck_messages);
    CHECK_INT(status, message ? ZI_ERROR_USAGE : ZI_OK);
    CHECK_INT(deck_message_lines(), message ? 2 : 0); /* and how many errors there are */
    if (message) CHECK(deck_said(message));
    deck_destroy(deck);
}

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LLAMA     "model.family=llama"

static void test_bad_decks(void)
{
    check_deck(SETS("model.heads=5"), "model.heads: 5 heads do not divide model.hidden 24; the "
                                      "nearest number that works is 4");
    check_deck(SETS("model.heads=23"), "the nearest number that works is 24");
    check_deck(SETS("model.heads=99"), "the nearest number that works is 24");
    check_deck(SETS(LLAMA, "model.heads=7"), "the nearest number that works is 6");
    check_deck(SETS(LLAMA, "model.heads=8"),
               "rotary positions need heads of even width, and 8 heads of model.hidden 24 are 3 "
               "wide; the nearest number that works is 6");
    check_deck(SETS(LLAMA, "model.hidden=25", "model.heads=5"),
               "model.hidden: rotary positions need heads of even width, and model.hidden 25 is "
               "odd; 26 works");
    check_deck(SETS("model.hidden=2400", "model.heads=4"),
               "4 heads of model.hidden 2400 are 600 wide, at most 256 is possible; the nearest "
               "number that works is 10");
    check_deck(SETS("model.heads=6", "model.key_heads=4"),
               "model.key_heads: 4 key heads do not divide model.heads 6; the nearest number that "
               "works is 3");
    check_deck(SETS("model.heads=6", "model.key_heads=5"), "the nearest number that works is 6");
    check_deck(SETS("model.heads=6", "model.key_heads=12"), "the nearest number that works is 6");
    check_deck(SETS("model.hidden=1000000", "model.heads=10000", "model.inner=1",
                    "model.vocabulary=2000000"),
               "model.vocabulary: 2000000 times model.hidden 1000000 are more elements than one "
               "tensor may have (2^40); at most 1099511 works");
    check_deck(
        SETS("model.hidden=1000000", "model.heads=10000", "model.inner=1", "model.context=2000000"),
        "model.context: 2000000 times");
    check_deck(SETS("model.hidden=1000000", "model.heads=10000", "model.inner=2000000"),
               "model.inner: 2000000 times");
    check_deck(SETS("model.heads=6", "model.key_heads=2", "tiling.attention=3"),
               "tiling.attention: 3 tiles are more than there are key heads; at most 2 works");
    check_deck(SETS("model.inner=128", "tiling.mlp=3"),
               "tiling.mlp: 3 tiles are more than there are groups of 64 columns in the inner "
               "width; at most 2 works");
    check_deck(SETS("model.vocabulary=129", "tiling.vocabulary=4"),
               "tiling.vocabulary: 4 tiles are more than there are groups of 64 ids in the "
               "vocabulary; at most 3 works");
}

/* What only some families have is refused by name. */
static void test_families(void)
{
    check_deck(SETS(LLAMA, "model.window=8 tokens"),
               "model.window: model.family: llama has no attention window; families that have: "
               "mistral, qwen2, qwen3, smollm3, gemma2, gemma3");
    check_deck(SETS("model.family=mistral", "model.attention_bias=yes"),
               "model.attention_bias: model.family: mistral has no biases of attention to ask for; "
               "families that have: llama, qwen3, smollm3, olmo2, gemma2, gemma3");
    check_deck(SETS("model.family=qwen3", "model.mlp_bias=yes"),
               "model.mlp_bias: model.family: qwen3 has no biases of the MLP to ask for; families "
               "that have: llama, smollm3");
    check_deck(SETS(LLAMA, "model.attention_cap=50"),
               "model.attention_cap: model.family: llama has no cap on the scores of attention; "
               "families that have: gemma2");
    check_deck(SETS("model.family=gemma3", "model.attention_cap=50"),
               "model.attention_cap: model.family: gemma3 has no cap on the scores of attention; "
               "families that have: gemma2");
    check_deck(SETS(LLAMA, "model.logit_cap=30"),
               "model.logit_cap: model.family: llama has no cap on logits; families that have: "
               "gemma2, gemma3");
    check_deck(SETS(LLAMA, "model.score_width=100"),
               "model.score_width: model.family: llama has no scale of scores other than that of "
               "head_width; families that have: gemma2, gemma3");
    check_deck(SETS("model.family=qwen3", "model.unrotated_every=4"),
               "model.unrotated_every: model.family: qwen3 has no blocks without rotary positions "
               "among others; families that have: smollm3");
    check_deck(SETS("model.family=mistral", "model.window=8", "model.rope_window_base=100"),
               "model.rope_window_base: model.family: mistral has no rotary base of its own for "
               "blocks with a window; families that have: gemma3");
    check_deck(SETS("model.family=olmo2", "model.heads=6", "tiling.attention=2"),
               "tiling.attention: 2 tiles are more than there are attentions with a norm behind "
               "them, which takes them whole; at most 1 works");
    check_deck(SETS("model.head_width=257"),
               "model.head_width: heads of width 257 are not possible; at most 256 works");
    check_deck(SETS(LLAMA, "model.head_width=7"),
               "model.head_width: rotary positions need heads of even width; nearest to 7 is 8");
    check_deck(
        SETS("model.hidden=1000000", "model.heads=100000", "model.head_width=256", "model.inner=1"),
        "model.heads: 25600000 times model.hidden 1000000");
    check_deck(SETS(LLAMA, "model.rope_scaling=llama3", "model.rope_high=1"),
               "model.rope_high: 1 is not above model.rope_low, 1");
    check_deck(SETS(LLAMA, "model.rope_scaling=yarn", "model.rope_slow=32"),
               "model.rope_fast (default): 32 and model.rope_slow, 32, are to be above 0");
    check_deck(SETS(LLAMA, "model.rope_scaling=yarn", "model.rope_base=1"),
               "model.rope_base: yarn needs a base above 1");
    check_deck(SETS(LLAMA, "model.rope_scaling=dynamic", "model.rope_original=17"),
               "model.rope_original: 17 tokens are more than model.context, 16");
}

static void check_resolved(const char *const *sets, int64_t key_heads, int64_t inner, int64_t tied)
{
    struct deck *deck;
    ZI_REQUIRE(deck_try(DECK_SMALL, sets, &deck) == ZI_OK);
    model_check(deck);
    CHECK(deck_check(deck) == ZI_OK);
    const struct settings_model *s = &deck_settings(deck)->model;
    CHECK_INT(s->key_heads, key_heads);
    CHECK_INT(s->inner, inner);
    CHECK_INT(s->tied, tied);
    deck_destroy(deck);
}

static void test_auto_values(void)
{
    check_deck(SETS("model.heads=6", "model.key_heads=2"), NULL);
    check_deck(SETS("model.heads=6", "tiling.attention=6"), NULL);
    check_deck(SETS("model.heads=8"), NULL); /* odd width without rotary positions */
    check_deck(SETS(LLAMA, "model.heads=5", "model.head_width=14"), NULL);
    check_deck(SETS("model.family=smollm3", "model.unrotated_every=4", "model.window=8"), NULL);
    check_resolved(SETS("model.heads=3"), 3, 96, 1);
    check_resolved(SETS("model.inner=7", "model.tied=no"), 3, 7, 0);
    check_resolved(SETS(LLAMA, "model.heads=6", "model.key_heads=2"), 2, 64, 0);
    check_resolved(SETS(LLAMA, "model.hidden=4096", "model.heads=32", "model.tied=yes"), 32, 10944,
                   1);
}

int main(void)
{
    test_published_sizes();
    test_layout();
    test_operations();
    test_tiles_gpt2();
    test_tiles_llama();
    test_initial_values();
    test_bad_decks();
    test_families();
    test_auto_values();
    return test_finish("model_table_test");
}

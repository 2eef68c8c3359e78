/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding and its backward, and column sums, on every instruction set, both types, 1 to 3
 * threads. Rows of tables are copied or added in fp32 in a stated order, so embedding is compared
 * to the bit; the order of column sums is not stated, so these are compared with sums in double. */
#include "regression/unit/kernel_fixture.h"

enum { VOCABULARY = 11 };

struct embedding_case {
    int64_t sequences, length, columns;
    bool positions;
    /* Texts of so many tokens begin anew in a sequence; 0: it is one. */
    int64_t text;
};

/* Odd widths, fewer columns than threads, more rows than are done in one thread, and none. */
static const struct embedding_case cases[] = {
    {1, 1, 1, true, 0},   {3, 5, 17, true, 0},   {3, 5, 33, false, 0}, {2, 7, 2, true, 3},
    {4, 29, 64, true, 0}, {3, 50, 37, false, 0}, {0, 7, 8, true, 0},   {4, 29, 33, true, 12},
};

/* Tokens repeat, next to each other too, and the first and last row of the table are among them;
 * row 4 is not. */
static struct buffer tokens_create(int64_t rows)
{
    static const int32_t pattern[] = {10, 3, 3, 0, 7, 3, 10, 10, 1, 9, 0, 5, 2};
    struct buffer tokens = buffer_create(ZI_INT32, rows);
    for (int64_t r = 0; r < rows; r++)
        ((int32_t *)tokens.bytes)[r] = pattern[(r + r / 13) % 13];
    return tokens;
}

/* The place of each row in its text. */
static struct buffer places_create(const struct embedding_case *c)
{
    struct buffer places = buffer_create(ZI_INT32, c->sequences * c->length);
    for (int64_t r = 0; r < places.count; r++)
        ((int32_t *)places.bytes)[r] =
            (int32_t)(c->text > 0 ? r % c->length % c->text : r % c->length);
    return places;
}

static int64_t token_at(const struct buffer *tokens, int64_t row)
{
    return ((const int32_t *)tokens->bytes)[row];
}

/* Ends of parts of the table, one of them of a single id. */
enum { PARTS = 3 };
static const int64_t parts[PARTS + 1] = {0, 3, 4, VOCABULARY};

static struct device_embedding describe(enum zi_dtype type, const struct embedding_case *c,
                                        const struct buffer *tokens)
{
    return (struct device_embedding){.type = type,
                                     .sequences = c->sequences,
                                     .tokens = c->length,
                                     .columns = c->columns,
                                     .ids = VOCABULARY,
                                     .token_ids = buffer_at(tokens, 0)};
}

static void embed_case(struct kernels *k, const struct embedding_case *c)
{
    int64_t rows = c->sequences * c->length, count = rows * c->columns;
    struct buffer tokens = tokens_create(rows);
    struct buffer table = buffer_random(k->type, VOCABULARY * c->columns, "table", 1.0f);
    struct buffer position = buffer_random(k->type, c->length * c->columns, "position", 1.0f);
    struct buffer places = places_create(c);
    struct buffer y = buffer_create(k->type, count), expected = buffer_create(k->type, count);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / c->columns, column = i % c->columns;
        double value = buffer_get(&table, token_at(&tokens, row) * c->columns + column);
        if (c->positions)
            value += buffer_get(&position, token_at(&places, row) * c->columns + column);
        buffer_set(&expected, i, value);
    }
    struct device_embedding e = describe(k->type, c, &tokens);
    e.y = buffer_at(&y, 0);
    e.table = buffer_at(&table, 0);
    if (c->positions) e.position = buffer_at(&position, 0);
    if (c->text > 0) e.positions = buffer_at(&places, 0);
    CHECK_INT(k->operations.embed(&k->stream, &e), ZI_OK);
    CHECK(memcmp(y.bytes, expected.bytes, (size_t)count * zi_dtype_bytes(k->type)) == 0);
    /* the same from parts of the table, each added to what the parts before made */
    memset(y.bytes, 0xff, (size_t)count * zi_dtype_bytes(k->type));
    for (int part = 0; part < PARTS; part++) {
        e.first = parts[part];
        e.ids = parts[part + 1] - parts[part];
        e.table = buffer_at(&table, e.first * c->columns);
        e.add = part > 0;
        CHECK_INT(k->operations.embed(&k->stream, &e), ZI_OK);
        e.position = (struct device_ptr){0};
    }
    CHECK(memcmp(y.bytes, expected.bytes, (size_t)count * zi_dtype_bytes(k->type)) == 0);
    kernels_digest(k, y.bytes, (size_t)count * zi_dtype_bytes(k->type));
    struct buffer *buffers[] = {&tokens, &table, &position, &y, &expected, &places};
    for (int i = 0; i < 6; i++)
        buffer_destroy(buffers[i]);
}

static void embed_backward_case(struct kernels *k, const struct embedding_case *c)
{
    int64_t rows = c->sequences * c->length, count = rows * c->columns;
    struct buffer tokens = tokens_create(rows);
    struct buffer dy = buffer_random(k->type, count, "dy", 1.0f);
    struct buffer dtable = buffer_random(ZI_FP32, VOCABULARY * c->columns, "dtable", 1.0f);
    struct buffer dposition = buffer_random(ZI_FP32, c->length * c->columns, "dposition", 1.0f);
    struct buffer places = places_create(c);
    struct buffer table = buffer_copy(&dtable), position = buffer_copy(&dposition);
    for (int64_t i = 0; i < count; i++) { /* in token order, each sum rounded to fp32 */
        int64_t row = i / c->columns, column = i % c->columns;
        int64_t at = token_at(&tokens, row) * c->columns + column;
        buffer_set(&table, at, buffer_get(&table, at) + buffer_get(&dy, i));
        if (!c->positions) continue;
        at = token_at(&places, row) * c->columns + column;
        buffer_set(&position, at, buffer_get(&position, at) + buffer_get(&dy, i));
    }
    struct buffer in_parts = buffer_copy(&dtable);
    struct device_embedding e = describe(k->type, c, &tokens);
    e.y = buffer_at(&dy, 0);
    e.table = buffer_at(&dtable, 0);
    if (c->positions) e.position = buffer_at(&dposition, 0);
    if (c->text > 0) e.positions = buffer_at(&places, 0);
    CHECK_INT(k->operations.embed_backward(&k->stream, &e), ZI_OK);
    e.position = (struct device_ptr){0};
    for (int part = 0; part < PARTS; part++) {
        e.first = parts[part];
        e.ids = parts[part + 1] - parts[part];
        e.table = buffer_at(&in_parts, e.first * c->columns);
        CHECK_INT(k->operations.embed_backward(&k->stream, &e), ZI_OK);
    }
    CHECK(memcmp(in_parts.bytes, table.bytes, (size_t)dtable.count * 4) == 0);
    CHECK(memcmp(dtable.bytes, table.bytes, (size_t)dtable.count * 4) == 0);
    CHECK(memcmp(dposition.bytes, position.bytes, (size_t)dposition.count * 4) == 0);
    kernels_digest(k, dtable.bytes, (size_t)dtable.count * 4);
    kernels_digest(k, dposition.bytes, (size_t)dposition.count * 4);
    struct buffer *buffers[] = {&tokens, &dy,       &dtable,   &dposition,
                                &table,  &position, &in_parts, &places};
    for (int i = 0; i < 8; i++)
        buffer_destroy(buffers[i]);
}

/* Rows of dy may be slices of longer ones: what lies between is NaN. A sum of R terms and the old
 * value in fp32, in any order: R + 1 roundings of 2^-24 of the sum of magnitudes at most. */
static void bias_case(struct kernels *k, const int64_t shape[3] /* R, N, ld */, bool accumulate)
{
    int64_t rows = shape[0], columns = shape[1], ld = shape[2];
    struct buffer dy = buffer_random(k->type, (rows - 1) * ld + columns, "dy", 1.0f);
    struct buffer dbias = buffer_random(ZI_FP32, columns, "dbias", 1.0f);
    double *expected = doubles_create(columns), *size = doubles_create(columns);
    for (int64_t j = 0; j < columns; j++) {
        if (accumulate)
            expected[j] = buffer_get(&dbias, j);
        else
            buffer_set(&dbias, j, (double)NAN);
        size[j] = fabs(expected[j]);
    }
    for (int64_t i = 0; i < dy.count; i++) {
        if (i % ld >= columns) {
            buffer_set(&dy, i, (double)NAN);
            continue;
        }
        expected[i % ld] += buffer_get(&dy, i);
        size[i % ld] += fabs(buffer_get(&dy, i));
    }
    CHECK_INT(k->operations.bias_backward(&k->stream, k->type, buffer_at(&dbias, 0),
                                          buffer_at(&dy, 0), rows, columns, ld, accumulate),
              ZI_OK);
    long wrong = 0;
    for (int64_t j = 0; j < columns; j++) {
        double limit = (double)(rows + 1) * ldexp(size[j], -24);
        wrong += !(fabs(buffer_get(&dbias, j) - expected[j]) <= limit);
    }
    CHECK_INT(wrong, 0);
    kernels_digest(k, dbias.bytes, (size_t)columns * 4);
    buffer_destroy(&dy);
    buffer_destroy(&dbias);
    free(expected);
    free(size);
}

static void test_embedding(struct kernels *k)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        embed_case(k, &cases[i]);
        embed_backward_case(k, &cases[i]);
    }
    static const int64_t shapes[][3] = {{1, 1, 1},      {5, 17, 17},     {33, 3, 8},
                                        {70, 257, 300}, {9, 1023, 1030}, {64, 512, 512}};
    for (int i = 0; i < 12; i++)
        bias_case(k, shapes[i / 2], i & 1);
}

int main(void)
{
    kernels_run(test_embedding);
    return test_finish("device_embedding_test");
}

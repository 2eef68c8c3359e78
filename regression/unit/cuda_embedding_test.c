/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding rows and gradients of biases on a CUDA device against the cpu. Rows are added in the order
 * of tokens on both, so tables have the same bits; sums of columns are taken in different orders. */
#include "regression/unit/cuda_pair.h"

/* B, T, C, ids of the table, its first id, all ids. */
static const int64_t shapes[][6] = {{0, 4, 8, 5, 0, 5},
                                    {1, 1, 1, 1, 0, 1},
                                    {2, 3, 7, 11, 0, 11},
                                    {2, 33, 16, 5, 0, 5},
                                    {1, 70, 129, 9, 4, 20},
                                    {3, 5, 264, 40, 7, 60},
                                    {8, 1024, 768, 50257, 0, 50257}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Token ids, with runs of the same one. */
static struct tensor tokens_create(struct pair *p, int64_t count, int64_t ids)
{
    struct buffer b = buffer_create(ZI_INT32, count);
    for (int64_t i = 0; i < count; i++)
        ((int32_t *)b.bytes)[i] = (int32_t)((i % 5 < 2 ? 3 : i * i * 7 + i) % ids);
    return tensor_of(p, b);
}

/* Positions of rows whose sequences have several texts. */
static struct tensor positions_create(struct pair *p, const int64_t *shape)
{
    struct buffer b = buffer_create(ZI_INT32, shape[0] * shape[1]);
    for (int64_t i = 0; i < b.count; i++)
        ((int32_t *)b.bytes)[i] = (int32_t)(i % shape[1] % 4);
    return tensor_of(p, b);
}

static void embed_check(struct pair *p, const int64_t *shape, bool positions, bool texts, bool add)
{
    int64_t rows = shape[0] * shape[1], columns = shape[2];
    struct device_embedding forward[PAIR_DEVICES], backward[PAIR_DEVICES];
    p->shift = 0;
    struct tensor ids = tokens_create(p, rows, shape[5]);
    struct tensor table = tensor_random(p, p->type, shape[3] * columns, 1.0f);
    struct tensor position = tensor_random(p, p->type, shape[1] * columns, 1.0f);
    struct tensor y = tensor_random(p, p->type, rows * columns, 1.0f);
    struct tensor dtable = tensor_random(p, ZI_FP32, shape[3] * columns, 1.0f);
    struct tensor dposition = tensor_random(p, ZI_FP32, shape[1] * columns, 1.0f);
    struct tensor places = positions_create(p, shape);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        forward[d] = (struct device_embedding){.type = p->type,
                                               .sequences = shape[0],
                                               .tokens = shape[1],
                                               .columns = columns,
                                               .first = shape[4],
                                               .ids = shape[3],
                                               .add = add,
                                               .scale = add ? 4.0f : 0.0f, /* products are exact */
                                               .y = y.at[d],
                                               .token_ids = ids.at[d],
                                               .table = table.at[d]};
        backward[d] = forward[d];
        backward[d].table = dtable.at[d];
        if (!positions) continue;
        forward[d].position = position.at[d];
        backward[d].position = dposition.at[d];
        if (!texts) continue;
        forward[d].positions = backward[d].positions = places.at[d];
    }
    p->what = add ? "embed, adding" : "embed";
    PAIR_CALL(p, embed, &forward[d]);
    tensor_equal(p, &y);
    p->what = "embed_backward";
    PAIR_CALL(p, embed_backward, &backward[d]);
    tensor_equal(p, &dtable);
    tensor_equal(p, &dposition);
    tensor_equal(p, &y);
    pair_clear(p);
}

/* Only positions: the table is another rank's. */
static void test_positions(struct pair *p)
{
    struct device_embedding e[PAIR_DEVICES];
    p->what = "embed_backward of positions";
    p->shift = 0;
    struct tensor ids = tokens_create(p, 6, 5), y = tensor_random(p, p->type, 6 * 9, 1.0f);
    struct tensor dposition = tensor_random(p, ZI_FP32, 3 * 9, 1.0f);
    for (int d = 0; d < PAIR_DEVICES; d++)
        e[d] = (struct device_embedding){.type = p->type,
                                         .sequences = 2,
                                         .tokens = 3,
                                         .columns = 9,
                                         .ids = 5,
                                         .y = y.at[d],
                                         .token_ids = ids.at[d],
                                         .position = dposition.at[d]};
    PAIR_CALL(p, embed_backward, &e[d]);
    tensor_equal(p, &dposition);
    pair_clear(p);
}

/* Sums of up to `rows` numbers of size 1, in another order: a rounding of the sum each. */
static void test_bias(struct pair *p)
{
    static const int64_t sizes[][3] = {{0, 5, 5},    {1, 1, 1},       {3, 7, 9},
                                       {70, 33, 40}, {129, 264, 264}, {8192, 3072, 3072}};
    p->what = "bias_backward";
    for (int i = 0; i < 2 * (p->emulated ? 5 : 6); i++) {
        int64_t rows = sizes[i / 2][0], columns = sizes[i / 2][1], ld = sizes[i / 2][2];
        p->shift = i % 2;
        struct tensor dy = tensor_random(p, p->type, rows * ld, 1.0f);
        p->shift = 0;
        struct tensor dbias = tensor_random(p, ZI_FP32, columns, 1.0f);
        PAIR_CALL(p, bias_backward, p->type, dbias.at[d], dy.at[d], rows, columns, ld, i % 4 < 2);
        tensor_near(p, &dbias, (double)rows + 1, 4 * sqrt((double)rows + 1));
        pair_clear(p);
    }
}

static void test_embedding(struct pair *p)
{
    for (int i = 0; i < SHAPES - (p->emulated ? 1 : 0); i++) {
        embed_check(p, shapes[i], true, false, false);
        embed_check(p, shapes[i], true, true, false);
        embed_check(p, shapes[i], i % 2, false, i % 2 == 0);
    }
    test_positions(p);
    test_bias(p);
}

int main(void)
{
    return pair_main("cuda_embedding_test", test_embedding);
}

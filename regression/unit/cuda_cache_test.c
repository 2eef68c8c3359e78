/* SPDX-License-Identifier: Apache-2.0 */
/* Attention to a cache on a CUDA device against the cpu: the cache gets the same bits on both; results
 * are means of values under 5, by probabilities whose scores are sums over the width of a head. */
#include "regression/unit/cuda_pair.h"

/* B, T, H, G, D, capacity, window. The last two fill a device. */
static const int64_t shapes[][7] = {
    {1, 1, 1, 1, 1, 1, 0},         {2, 1, 4, 2, 16, 40, 0},       {3, 2, 2, 1, 33, 20, 7},
    {1, 3, 3, 3, 64, 18, 0},       {1, 1, 2, 1, 256, 30, 9},      {2, 0, 2, 1, 8, 4, 0},
    {4, 1, 32, 8, 128, 4096, 512}, {2, 300, 16, 16, 64, 1024, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, LARGE = 2 };

/* A sequence's new tokens are its last; the first sequence fills the cache. */
static struct tensor positions_create(struct pair *p, const int64_t *shape)
{
    struct buffer b = buffer_create(ZI_INT32, shape[0] * shape[1]);
    for (int64_t row = 0; row < b.count; row++) {
        int64_t start = (shape[5] - shape[1]) / (row / shape[1] + 1);
        ((int32_t *)b.bytes)[row] = (int32_t)(start + row % shape[1]);
    }
    return tensor_of(p, b);
}

static void check(struct pair *p, const int64_t *shape, float scale, float cap)
{
    int64_t rows = shape[0] * shape[1], ld = (shape[2] + 2 * shape[3]) * shape[4] + 3;
    struct device_attention_cached c[PAIR_DEVICES];
    size_t element = zi_dtype_bytes(p->type), k = (size_t)(shape[2] * shape[4]) * element;
    p->shift = shape[4] % 2;
    struct tensor qkv = tensor_random(p, p->type, rows * ld, 1.0f);
    struct tensor cache =
        tensor_random(p, p->type, 2 * shape[0] * shape[3] * shape[5] * shape[4], 1.0f);
    struct tensor o = tensor_zeros(p, p->type, rows * shape[2] * shape[4]);
    p->shift = 0;
    struct tensor positions = positions_create(p, shape);
    for (int d = 0; d < PAIR_DEVICES; d++)
        c[d] = (struct device_attention_cached){
            .type = p->type,
            .sequences = shape[0],
            .tokens = shape[1],
            .heads = shape[2],
            .key_heads = shape[3],
            .width = shape[4],
            .ld = ld,
            .ld_o = shape[2] * shape[4],
            .window = shape[6],
            .capacity = shape[5],
            .scale = scale,
            .cap = cap,
            .q = qkv.at[d],
            .k = device_at(qkv.at[d], k),
            .v = device_at(qkv.at[d], k + (size_t)(shape[3] * shape[4]) * element),
            .o = o.at[d],
            .cache = cache.at[d],
            .positions = positions.at[d],
        };
    p->what = "attention_cached";
    PAIR_CALL(p, attention_cached, &c[d]);
    tensor_equal(p, &cache);
    tensor_equal(p, &qkv);
    tensor_near(p, &o, 16 + 4 * sqrt((double)shape[4]) + 4 * sqrt((double)shape[5]), 8.0);
    pair_clear(p);
}

static void test_cache(struct pair *p)
{
    for (int i = 0; i < SHAPES - (p->emulated ? LARGE : 0); i++) {
        check(p, shapes[i], 0, 0);
        check(p, shapes[i], 0.2f, 3.0f);
    }
}

int main(void)
{
    return pair_main("cuda_cache_test", test_cache);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Attention to a cache against its definition in double: sequences of different lengths, several new
 * tokens of each, windows, scale and cap of scores; what the cache gets, to the bit, and that nothing
 * else of it changes. Scores are sums of D products of size 1 and results means of values of size 1
 * to 4: each is off by a few 1e-7, and rounded to the type once. */
#include "regression/unit/kernel_fixture.h"

struct cache_case {
    int64_t sequences, tokens, heads, key_heads, width, capacity, window;
    float scale, cap;
};

static const struct cache_case cases[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0},       {2, 1, 4, 2, 16, 70, 0, 0, 0},
    {3, 5, 6, 2, 24, 200, 0, 0.3f, 0}, {2, 9, 3, 3, 64, 130, 7, 0, 5.0f},
    {1, 1, 9, 1, 80, 300, 64, 0, 0},   {2, 3, 2, 1, 256, 65, 0, 0, 0},
};

/* The rows q, k, v of a case lie behind each other with one column between. */
static int64_t row_length(const struct cache_case *c)
{
    return (c->heads + 2 * c->key_heads) * c->width + 1;
}

/* Row `position` of keys (part 0) or values (1) in the cache. */
static int64_t cache_at(const struct cache_case *c, int64_t sequence, int64_t part, int64_t head,
                        int64_t position)
{
    return (((sequence * 2 + part) * c->key_heads + head) * c->capacity + position) * c->width;
}

/* A sequence's new tokens are its last; the first sequence fills the cache. */
static struct buffer positions_create(const struct cache_case *c)
{
    struct buffer positions = buffer_create(ZI_INT32, c->sequences * c->tokens);
    for (int64_t row = 0; row < positions.count; row++) {
        int64_t b = row / c->tokens, start = (c->capacity - c->tokens) / (b + 1);
        ((int32_t *)positions.bytes)[row] = (int32_t)(start + row % c->tokens);
    }
    return positions;
}

/* What the cache should be: keys and values of the new tokens at their places. */
static struct buffer cache_define(const struct cache_case *c, const struct buffer *cache,
                                  const struct buffer *x, const int32_t *positions)
{
    struct buffer after = buffer_copy(cache);
    for (int64_t row = 0; row < c->sequences * c->tokens; row++)
        for (int64_t i = 0; i < 2 * c->key_heads * c->width; i++) {
            int64_t head = i / c->width, part = head / c->key_heads;
            int64_t to = cache_at(c, row / c->tokens, part, head % c->key_heads, positions[row]);
            int64_t from = row * row_length(c) + c->heads * c->width + i;
            buffer_set(&after, to + i % c->width, buffer_get(x, from));
        }
    return after;
}

/* One row and head: o [D]. */
static void attend_define(const struct cache_case *c, const struct buffer *cache,
                          const struct buffer *x, const int64_t at[3] /* row, head, position */,
                          double *o)
{
    int64_t sequence = at[0] / c->tokens, key_head = at[1] / (c->heads / c->key_heads);
    int64_t first = c->window > 0 && at[2] >= c->window ? at[2] - c->window + 1 : 0;
    double scale = c->scale > 0 ? (double)c->scale : 1 / sqrt((double)c->width), sum = 0;
    for (int64_t d = 0; d < c->width; d++)
        o[d] = 0;
    for (int64_t p = first; p <= at[2]; p++) {
        int64_t key = cache_at(c, sequence, 0, key_head, p);
        int64_t value = cache_at(c, sequence, 1, key_head, p);
        double s = 0;
        for (int64_t d = 0; d < c->width; d++)
            s += buffer_get(x, at[0] * row_length(c) + at[1] * c->width + d) *
                 buffer_get(cache, key + d);
        s *= scale;
        if (c->cap > 0) s = (double)c->cap * tanh(s / (double)c->cap);
        for (int64_t d = 0; d < c->width; d++)
            o[d] += exp(s) * buffer_get(cache, value + d);
        sum += exp(s);
    }
    for (int64_t d = 0; d < c->width; d++)
        o[d] /= sum;
}

static void run_case(struct kernels *k, const struct cache_case *c)
{
    int64_t rows = c->sequences * c->tokens;
    struct buffer x = buffer_random(k->type, rows * row_length(c), "x", 1.0f);
    struct buffer cache = buffer_random(k->type, cache_at(c, c->sequences, 0, 0, 0), "cache", 1.0f);
    struct buffer positions = positions_create(c);
    struct buffer o = buffer_create(k->type, rows * c->heads * c->width);
    const int32_t *at = (const int32_t *)positions.bytes;
    struct buffer after = cache_define(c, &cache, &x, at);
    double *expected = doubles_create(o.count);
    for (int64_t i = 0; i < rows * c->heads; i++)
        attend_define(c, &after, &x, (int64_t[]){i / c->heads, i % c->heads, at[i / c->heads]},
                      expected + i * c->width);
    struct device_attention_cached d = {
        .type = k->type,
        .sequences = c->sequences,
        .tokens = c->tokens,
        .heads = c->heads,
        .key_heads = c->key_heads,
        .width = c->width,
        .ld = row_length(c),
        .ld_o = c->heads * c->width,
        .window = c->window,
        .capacity = c->capacity,
        .scale = c->scale,
        .cap = c->cap,
        .q = buffer_at(&x, 0),
        .k = buffer_at(&x, c->heads * c->width),
        .v = buffer_at(&x, (c->heads + c->key_heads) * c->width),
        .o = buffer_at(&o, 0),
        .cache = buffer_at(&cache, 0),
        .positions = buffer_at(&positions, 0),
    };
    CHECK_INT(k->operations.attention_cached(&k->stream, &d), ZI_OK);
    CHECK(memcmp(cache.bytes, after.bytes, (size_t)cache.count * zi_dtype_bytes(k->type)) == 0);
    kernels_compare(k, "attention to a cache", &o, expected, kernels_rounding(k->type), 1e-5);
    free(expected);
    struct buffer *buffers[] = {&x, &cache, &positions, &o, &after};
    for (int i = 0; i < 5; i++)
        buffer_destroy(buffers[i]);
}

static void test_cache(struct kernels *k)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_case(k, &cases[i]);
    struct device_attention_cached wide = {.type = k->type, .heads = 3, .key_heads = 2, .width = 8};
    CHECK_INT(k->operations.attention_cached(&k->stream, &wide), ZI_ERROR_DEVICE);
}

int main(void)
{
    kernels_run(test_cache);
    return test_finish("device_cache_test");
}

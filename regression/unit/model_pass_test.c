/* SPDX-License-Identifier: Apache-2.0 */
/* What callers of model_forward and model_backward rely on: recomputation gives the bits that were
 * kept and makes no output; gradients are overwritten whole or added to; fewer sequences than the
 * buffers are for, and none at all; logits in chunks; counts of operations as executed; all of it
 * with tiles, too. Guards of
 * the fixture notice when a call writes past the sizes that model_op_sizes gives. */
#include "regression/unit/model_fixture.h"

static const struct settings_model gpt2 = {
    .layers = 2,
    .hidden = 30,
    .heads = 3,
    .key_heads = 3,
    .inner = 150,
    .context = 16,
    .vocabulary = 131,
    .tied = 1,
    .norm_epsilon = 1e-5,
};
static const struct settings_model llama = {
    .family = MODEL_LLAMA,
    .layers = 2,
    .hidden = 36,
    .heads = 6,
    .key_heads = 2,
    .inner = 70,
    .context = 16,
    .vocabulary = 131,
    .norm_epsilon = 1e-5,
    .rope_base = 10000,
};

static const struct settings_model qwen3 = {
    .family = MODEL_QWEN3,
    .layers = 2,
    .hidden = 26,
    .heads = 4,
    .key_heads = 2,
    .head_width = 10,
    .inner = 70,
    .context = 16,
    .vocabulary = 131,
    .norm_epsilon = 1e-5,
    .rope_base = 10000,
    .window = 5,
    .window_from = 1,
};
static const struct settings_model olmo2 = {
    .family = MODEL_OLMO2,
    .layers = 2,
    .hidden = 24,
    .heads = 4,
    .key_heads = 2,
    .inner = 70,
    .context = 16,
    .vocabulary = 131,
    .norm_epsilon = 1e-5,
    .rope_base = 10000,
};

static const struct settings_model gemma2 = {
    .family = MODEL_GEMMA2,
    .layers = 2,
    .hidden = 24,
    .heads = 4,
    .key_heads = 2,
    .head_width = 10,
    .inner = 70,
    .context = 16,
    .vocabulary = 131,
    .tied = 1,
    .norm_epsilon = 1e-5,
    .score_width = 7,
    .attention_cap = 2,
    .logit_cap = 3,
    .window = 5,
    .full_every = 2,
    .rope_base = 10000,
};

/* With adapters, of which some matrices have none. */
static const struct settings_model adapted_gpt2 = {
    .layers = 2,
    .hidden = 30,
    .heads = 3,
    .key_heads = 3,
    .inner = 150,
    .context = 16,
    .vocabulary = 131,
    .tied = 1,
    .norm_epsilon = 1e-5,
    .adapter = {.rank = 3, .alpha = 5, .dropout = 0.25, .targets = {{"all"}, 1}},
};
static const struct settings_model adapted_llama = {
    .family = MODEL_LLAMA,
    .layers = 2,
    .hidden = 36,
    .heads = 6,
    .key_heads = 2,
    .inner = 70,
    .context = 16,
    .vocabulary = 131,
    .norm_epsilon = 1e-5,
    .rope_base = 10000,
    .trainable = {{"blocks.1.mlp.*", "norm.weight"}, 2},
    .adapter = {.rank = 2,
                .alpha = 2,
                .dropout = 0.25,
                .targets = {{"key", "output", "up", "down"}, 4}},
};

#define ONES 14 /* models, each in two types */
static void open_one(struct fixture *f, int i, const int64_t shape[2])
{
    static const struct settings_model *const models[] = {
        &gpt2, &llama, &qwen3, &olmo2, &gemma2, &adapted_gpt2, &adapted_llama};
    struct settings_tiling most = model_most_tiles(models[i / 2]);
    if (fixture_tiling.attention > most.attention) fixture_tiling.attention = most.attention;
    if (fixture_tiling.mlp > most.mlp) fixture_tiling.mlp = most.mlp;
    fixture_open(f, models[i / 2], i % 2 ? ZI_BF16 : ZI_FP32, shape);
    fixture_randomize(f, 7);
}

/* All gradients of a fixture, use after use, with the gaps. */
static float *all_gradients(const struct fixture *f, size_t *bytes)
{
    size_t count = (size_t)f->model->op_count * MODEL_MAX_UNITS, at = 0;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        *bytes += f->gradients[i].bytes;
    }
    char *all = fixture_zeros(*bytes, 1);
    for (size_t i = 0; i < count; i++) {
        if (f->gradients[i].bytes == 0) continue;
        memcpy(all + at, (void *)f->gradients[i].at.address, f->gradients[i].bytes);
        at += f->gradients[i].bytes;
    }
    return (float *)(void *)all;
}

static void fill_gradients(struct fixture *f, float value)
{
    for (int i = 0; i < f->model->op_count * MODEL_MAX_UNITS; i++) {
        float *use = (float *)f->gradients[i].at.address;
        for (size_t j = 0; j < f->gradients[i].bytes / 4; j++) {
            use[j] = value;
        }
    }
}

/* Whether backward needs something that forward keeps. */
static bool keeps(const struct model *m, int op)
{
    return m->ops[op].kind == MODEL_ATTENTION || m->ops[op].kind == MODEL_MLP;
}

/* Recomputed `saved` buffers have the bytes of those that training keeps, and the output is not
 * touched. rms norms keep no mean, and rows end before padding, so both start from the same bytes.
 */
static void check_recompute(struct fixture *f)
{
    const struct model *m = f->model;
    for (int op = 0; op < m->op_count; op++) {
        memset((void *)f->saved[op].at.address, 0x3c, f->saved[op].bytes);
    }
    fixture_forward(f, MODEL_TRAIN, 0, f->sequences);
    for (int op = 0; op < m->op_count; op++) {
        if (!keeps(m, op)) continue;
        struct model_pass pass = fixture_pass(f, op, 0, f->sequences);
        struct fixture_buffer again = fixture_allocate(f, f->saved[op].bytes);
        memset((void *)again.at.address, 0x3c, again.bytes);
        pass.saved = again.at;
        pass.output = (struct device_ptr){0};
        CHECK(model_forward(m, op, MODEL_RECOMPUTE, &pass) == ZI_OK);
        CHECK(memcmp((void *)again.at.address, (void *)f->saved[op].at.address, again.bytes) == 0);
        fixture_free(f, &again);
    }
    struct fixture_way way = {0, f->sequences, false, false, 1.0f};
    size_t bytes;
    double loss = fixture_differentiate(f, &way);
    float *kept = all_gradients(f, &bytes);
    way.recompute = true;
    CHECK(fixture_differentiate(f, &way) == loss);
    float *recomputed = all_gradients(f, &bytes);
    CHECK(memcmp(kept, recomputed, bytes) == 0);
    free(kept);
    free(recomputed);
}

/* Elements of units that belong to no tensor are zero in every gradient. */
static int64_t count_gaps(const struct fixture *f, int64_t *nonzero)
{
    const struct model *m = f->model;
    int64_t gaps = 0;
    *nonzero = 0;
    for (int op = 0; op < m->op_count; op++) {
        for (int i = 0; i < m->ops[op].unit_count; i++) {
            const struct model_unit *unit = &m->units[m->ops[op].units[i]];
            const float *use = (float *)f->gradients[op * MODEL_MAX_UNITS + i].at.address;
            int64_t end = 0;
            if (!(m->ops[op].differentiates >> i & 1)) continue;
            for (int p = unit->first_piece; p <= unit->first_piece + unit->piece_count; p++) {
                bool last = p == unit->first_piece + unit->piece_count;
                int64_t next = last ? unit->elements : m->pieces[p].offset;
                for (; end < next; end++, gaps++) {
                    *nonzero += use[end] != 0;
                }
                if (!last) end = next + m->pieces[p].rows * m->pieces[p].row;
            }
        }
    }
    return gaps;
}

/* Overwriting leaves nothing of what was there; adding to c leaves c + gradient. 8 is a power of
 * two near the largest gradients, so one rounding of the sum is at most 2^-20, and there are a few:
 * products add rows in groups. */
static void check_accumulation(struct fixture *f)
{
    struct fixture_way way = {0, f->sequences, false, false, 1.0f};
    size_t bytes;
    int64_t nonzero, off = 0;
    fill_gradients(f, NAN);
    fixture_differentiate(f, &way);
    float *once = all_gradients(f, &bytes);
    fill_gradients(f, -3);
    fixture_differentiate(f, &way);
    float *twice = all_gradients(f, &bytes);
    CHECK(memcmp(once, twice, bytes) == 0);
    CHECK(count_gaps(f, &nonzero) > 0);
    CHECK_INT(nonzero, 0);
    way.accumulate = true;
    fill_gradients(f, 8);
    fixture_differentiate(f, &way);
    float *sum = all_gradients(f, &bytes);
    for (size_t i = 0; i < bytes / 4; i++) {
        off += !(fabsf(sum[i] - 8 - once[i]) <= 4e-6f + 1e-6f * fabsf(once[i]));
    }
    CHECK_INT(off, 0);
    fill_gradients(f, 0);
    fixture_differentiate(f, &way);
    float *zero = all_gradients(f, &bytes);
    off = 0;
    for (size_t i = 0; i < bytes / 4; i++) {
        off += !(fabsf(zero[i] - once[i]) <= 2e-6f * (1 + fabsf(once[i])));
    }
    CHECK_INT(off, 0);
    CHECK(count_gaps(f, &nonzero) > 0);
    CHECK_INT(nonzero, 0);
    free(once);
    free(twice);
    free(sum);
    free(zero);
}

/* No sequences: gradients become zero or stay, the loss stays, nothing else is touched. */
static void check_empty(struct fixture *f)
{
    struct fixture_way way = {0, 0, true, false, 1.0f};
    size_t bytes, wrong = 0;
    fill_gradients(f, NAN);
    memset((void *)f->gradient.at.address, 0x3c, f->gradient.bytes);
    CHECK(fixture_differentiate(f, &way) == 0);
    float *gradients = all_gradients(f, &bytes);
    for (size_t i = 0; i < bytes / 4; i++) {
        wrong += gradients[i] != 0;
    }
    CHECK_INT(wrong, 0);
    free(gradients);
    way.accumulate = true;
    way.recompute = false;
    fill_gradients(f, 5);
    CHECK(fixture_differentiate(f, &way) == 0);
    gradients = all_gradients(f, &bytes);
    for (size_t i = 0; i < bytes / 4; i++) {
        wrong += gradients[i] != 5;
    }
    for (size_t i = 0; i < f->gradient.bytes; i++) {
        wrong += ((unsigned char *)f->gradient.at.address)[i] != 0x3c;
    }
    CHECK_INT(wrong, 0);
    free(gradients);
    struct model_pass pass = fixture_pass(f, f->model->op_count - 1, 0, 0);
    CHECK(model_forward(f->model, f->model->op_count - 1, MODEL_INFER, &pass) == ZI_OK);
    CHECK(model_logits(f->model, f->model->op_count - 1, &pass, f->inputs.at) == ZI_OK);
}

/* Two of five sequences in buffers for five give the bits of two in buffers for two; gradients of
 * parts add up to the whole's, up to the order of sums (fp32) or the rounding of other tiles (bf16:
 * none of it is in the weight gradients, which are fp32, but rows of dx may round differently). */
static void check_fewer(int i)
{
    struct fixture large, small;
    struct fixture_way two = {0, 2, false, false, 1.0f}, rest = {2, 3, false, true, 1.0f},
                       all = {0, 5, false, false, 1.0f};
    size_t bytes, same;
    open_one(&large, i, (int64_t[]){5, 13});
    open_one(&small, i, (int64_t[]){2, 13});
    memcpy((void *)small.inputs.at.address, (void *)large.inputs.at.address, small.inputs.bytes);
    memcpy((void *)small.targets.at.address, (void *)large.targets.at.address, small.inputs.bytes);
    double loss = fixture_differentiate(&large, &two);
    float *found = all_gradients(&large, &bytes);
    CHECK(fixture_differentiate(&small, &two) == loss);
    float *expected = all_gradients(&small, &same);
    CHECK(bytes == same && memcmp(found, expected, bytes) == 0);
    free(found);
    free(expected);
    loss += fixture_differentiate(&large, &rest);
    found = all_gradients(&large, &bytes);
    CHECK_NEAR(fixture_differentiate(&large, &all), loss, 1e-6 * loss);
    expected = all_gradients(&large, &bytes);
    int64_t off = 0;
    float tolerance = i % 2 ? 2e-2f : 2e-5f;
    for (size_t j = 0; j < bytes / 4; j++) {
        off += !(fabsf(found[j] - expected[j]) <= tolerance * (1 + fabsf(expected[j])));
    }
    CHECK_INT(off, 0);
    free(found);
    free(expected);
    fixture_close(&small);
    fixture_close(&large);
}

/* A head of many rows works in chunks; its parts by themselves are one chunk each and add up to
 * the same. */
static void check_chunks(enum zi_dtype type)
{
    static const struct settings_model wide = {
        .layers = 1,
        .hidden = 16,
        .heads = 2,
        .key_heads = 2,
        .inner = 16,
        .context = 300,
        .vocabulary = 67,
        .norm_epsilon = 1e-5,
    };
    struct fixture f;
    fixture_open(&f, &wide, type, (int64_t[]){8, 300});
    fixture_randomize(&f, 9);
    int head = f.model->op_count - 1;
    size_t row = f.outputs[0].bytes / 8, bytes;
    double loss = 0, whole;
    char *dx = fixture_zeros(f.gradient.bytes, 1);
    fixture_forward(&f, MODEL_INFER, 0, 8);
    *(double *)f.loss.at.address = 0;
    for (int64_t b = 0; b < 8; b++) {
        struct model_pass pass = fixture_pass(&f, head, b, 1);
        pass.input = device_at(pass.input, (size_t)b * row);
        pass.accumulate[0] = pass.accumulate[1] = b > 0;
        CHECK(model_backward(f.model, head, &pass) == ZI_OK);
        memcpy(dx + (size_t)b * row, (void *)f.gradient.at.address, row);
    }
    loss = *(double *)f.loss.at.address;
    float *parts = all_gradients(&f, &bytes);
    struct model_pass pass = fixture_pass(&f, head, 0, 8);
    *(double *)f.loss.at.address = 0;
    CHECK(model_backward(f.model, head, &pass) == ZI_OK);
    whole = *(double *)f.loss.at.address;
    CHECK_NEAR(whole, loss, 1e-6 * loss);
    float *all = all_gradients(&f, &bytes);
    int64_t off = 0;
    for (size_t i = 0; i < bytes / 4; i++) {
        off += !(fabsf(all[i] - parts[i]) <= 1e-4f * (1 + fabsf(parts[i])));
    }
    CHECK_INT(off, 0);
    for (size_t i = 0; i < f.gradient.bytes / zi_dtype_bytes(type); i++) {
        float a, b;
        if (type == ZI_FP32) {
            a = ((float *)f.gradient.at.address)[i];
            b = ((float *)(void *)dx)[i];
        } else {
            a = zi_bf16_to_fp32(((uint16_t *)f.gradient.at.address)[i]);
            b = zi_bf16_to_fp32(((uint16_t *)(void *)dx)[i]);
        }
        off += !(fabsf(a - b) <= (type == ZI_FP32 ? 1e-5f : 1e-2f) * (0.1f + fabsf(b)));
    }
    CHECK_INT(off, 0);
    *(double *)f.loss.at.address = 0;
    CHECK(model_forward(f.model, head, MODEL_INFER, &pass) == ZI_OK);
    CHECK_NEAR(*(double *)f.loss.at.address, loss, 1e-6 * loss);
    free(all);
    free(parts);
    free(dx);
    fixture_close(&f);
}

/* The device's operations with a count of what passes through them. */
static struct device_operations counting;
static const struct device_operations *counted;
static double flops, dropped;

static enum zi_status count_matmul(struct device_stream *stream, const struct device_matmul *d)
{
    flops += 2.0 * (double)d->m * (double)d->n * (double)d->k;
    return counted->matmul(stream, d);
}

/* One product of attention: all pairs of a query and a key not after it, within its window. */
static double attention_product(const struct device_attention *d)
{
    double pairs = 0;
    for (int64_t q = 0; q < d->tokens; q++) {
        for (int64_t k = 0; k <= q; k++) {
            if (d->window == 0 || q - k < d->window) pairs++;
        }
    }
    return 2.0 * pairs * (double)d->width * (double)(d->heads * d->sequences);
}

static enum zi_status count_attention(struct device_stream *stream,
                                      const struct device_attention *d)
{
    flops += 2 * attention_product(d);
    return counted->attention(stream, d);
}

static enum zi_status count_attention_backward(struct device_stream *stream,
                                               const struct device_attention *d)
{
    flops += 5 * attention_product(d); /* scores again, dP, dV, dQ, dK */
    return counted->attention_backward(stream, d);
}

static enum zi_status count_dropout(struct device_stream *stream, const struct device_dropout *d)
{
    double bytes = (double)(d->rows * d->columns) * (double)zi_dtype_bytes(d->type);
    dropped += (d->add ? 3 : 2) * bytes;
    return counted->dropout(stream, d);
}

/* Formulas against calls. */
static void check_flops(struct fixture *f)
{
    const struct model *m = f->model;
    counted = device_get_operations(f->device);
    counting = *counted;
    counting.matmul = count_matmul;
    counting.attention = count_attention;
    counting.attention_backward = count_attention_backward;
    counting.dropout = count_dropout;
    for (int op = 0; op < m->op_count; op++) {
        struct model_flops expected;
        struct model_pass pass = fixture_pass(f, op, 0, 2);
        pass.operations = &counting;
        model_op_flops(m, op, 2, f->tokens, &expected);
        flops = dropped = 0;
        CHECK(model_forward(m, op, MODEL_TRAIN, &pass) == ZI_OK);
        CHECK_NEAR(flops, expected.forward, 0.5);
        CHECK_NEAR(dropped, expected.dropout.forward, 0.5);
        flops = dropped = 0;
        if (keeps(m, op)) CHECK(model_forward(m, op, MODEL_RECOMPUTE, &pass) == ZI_OK);
        CHECK_NEAR(flops, expected.recompute, 0.5);
        CHECK_NEAR(dropped, expected.dropout.recompute, 0.5);
        flops = dropped = 0;
        CHECK(model_backward(m, op, &pass) == ZI_OK);
        CHECK_NEAR(flops, expected.backward, 0.5);
        CHECK_NEAR(dropped, expected.dropout.backward, 0.5);
    }
}

/* A training step of GPT-2 does all that counts as needed, and little more: attention's backward
 * pass repeats the scores. */
static void check_flops_of_step(void)
{
    static const struct settings_model settings = {
        .layers = 12,
        .hidden = 768,
        .heads = 12,
        .key_heads = 12,
        .inner = 3072,
        .context = 1024,
        .vocabulary = 50257,
        .tied = 1,
    };
    struct model *m;
    ZI_REQUIRE(model_create(&settings, &fixture_tiling, ZI_FP32, &m) == ZI_OK);
    double sum = 0;
    for (int op = 0; op < m->op_count; op++) {
        struct model_flops expected;
        model_op_flops(m, op, 4, 256, &expected);
        sum += expected.backward;
        if (m->ops[op].kind != MODEL_HEAD) sum += expected.forward;
    }
    double whole = 4 * 256 * model_flops_per_token(m, 256);
    CHECK(sum >= whole && sum < 1.01 * whole);
    model_destroy(m);
}

int main(void)
{
    for (int i = 0; i < 2 * ONES; i++) { /* whole, then tiled */
        struct fixture f;
        fixture_tiling = (struct settings_tiling){1, 1, 1};
        if (i >= ONES) fixture_tiling = (struct settings_tiling){2, 2, 3};
        open_one(&f, i % ONES, (int64_t[]){3, 13});
        check_recompute(&f);
        check_accumulation(&f);
        check_empty(&f);
        check_flops(&f);
        fixture_close(&f);
        check_fewer(i % ONES);
    }
    fixture_tiling = (struct settings_tiling){1, 1, 1};
    check_chunks(ZI_FP32);
    check_chunks(ZI_BF16);
    check_flops_of_step();
    return test_finish("model_pass_test");
}

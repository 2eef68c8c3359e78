/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of whole models against finite differences of their loss, in fp32: every tensor, in the
 * direction of its gradient, in a random direction and in single elements. */
#include "regression/unit/model_fixture.h"

/* Names of cases are for messages. */
struct finite_case {
    const char *name;
    struct settings_model settings;
    struct settings_tiling tiling;
};

static const struct finite_case cases[] = {
    {"gpt2",
     {.layers = 2,
      .hidden = 15,
      .heads = 3,
      .key_heads = 3,
      .inner = 22,
      .context = 12,
      .vocabulary = 37,
      .tied = 1,
      .norm_epsilon = 1e-5},
     {1, 1, 1}},
    {"gpt2, grouped keys, untied",
     {.layers = 1,
      .hidden = 24,
      .heads = 4,
      .key_heads = 2,
      .inner = 7,
      .context = 11,
      .vocabulary = 19,
      .norm_epsilon = 1e-5},
     {1, 1, 1}},
    {"llama",
     {.family = MODEL_LLAMA,
      .layers = 2,
      .hidden = 24,
      .heads = 6,
      .key_heads = 2,
      .inner = 17,
      .context = 16,
      .vocabulary = 37,
      .norm_epsilon = 1e-5,
      .rope_base = 10000},
     {1, 1, 1}},
    {"llama, tied",
     {.family = MODEL_LLAMA,
      .layers = 1,
      .hidden = 12,
      .heads = 2,
      .key_heads = 2,
      .inner = 9,
      .context = 11,
      .vocabulary = 23,
      .tied = 1,
      .norm_epsilon = 1e-5,
      .rope_base = 100},
     {1, 1, 1}},
    {"mistral",
     {.family = MODEL_MISTRAL,
      .layers = 2,
      .hidden = 16,
      .heads = 4,
      .key_heads = 2,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .window = 4},
     {1, 1, 1}},
    {"qwen2, stretched by yarn",
     {.family = MODEL_QWEN2,
      .layers = 2,
      .hidden = 24,
      .heads = 3,
      .key_heads = 1,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .window = 3,
      .window_from = 1,
      .rope_scaling = ROPE_YARN,
      .rope_factor = 4,
      .rope_original = 8,
      .rope_fast = 4,
      .rope_slow = 1},
     {1, 1, 1}},
    {"qwen3",
     {.family = MODEL_QWEN3,
      .layers = 2,
      .hidden = 14,
      .heads = 4,
      .key_heads = 2,
      .head_width = 6,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .window = 5,
      .full_every = 2},
     {1, 1, 1}},
    {"smollm3, tied",
     {.family = MODEL_SMOLLM3,
      .layers = 2,
      .hidden = 12,
      .heads = 2,
      .key_heads = 1,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .tied = 1,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .unrotated_every = 2},
     {1, 1, 1}},
    {"olmo2",
     {.family = MODEL_OLMO2,
      .layers = 2,
      .hidden = 12,
      .heads = 4,
      .key_heads = 2,
      .head_width = 4,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .norm_epsilon = 1e-5,
      .rope_base = 100},
     {1, 1, 1}},
    {"gemma2",
     {.family = MODEL_GEMMA2,
      .layers = 2,
      .hidden = 12,
      .heads = 4,
      .key_heads = 2,
      .head_width = 8,
      .inner = 40,
      .context = 16,
      .vocabulary = 23,
      .tied = 1,
      .norm_epsilon = 1e-5,
      .score_width = 10,
      .attention_cap = 5,
      .logit_cap = 10,
      .window = 4,
      .full_every = 2,
      .rope_base = 100},
     {1, 1, 1}},
    {"gemma3, head tiled",
     {.family = MODEL_GEMMA3,
      .layers = 2,
      .hidden = 12,
      .heads = 4,
      .key_heads = 1,
      .head_width = 8,
      .inner = 40,
      .context = 16,
      .vocabulary = 137,
      .norm_epsilon = 1e-5,
      .score_width = 9,
      .logit_cap = 10,
      .window = 4,
      .full_every = 2,
      .rope_base = 1000,
      .rope_window_base = 100,
      .rope_scaling = ROPE_LINEAR,
      .rope_factor = 4},
     {1, 1, 3}},
    {"qwen3, tiled",
     {.family = MODEL_QWEN3,
      .layers = 1,
      .hidden = 24,
      .heads = 6,
      .key_heads = 3,
      .head_width = 6,
      .inner = 70,
      .context = 16,
      .vocabulary = 70,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .window = 4},
     {2, 2, 2}},
    {"qwen2, tiled",
     {.family = MODEL_QWEN2,
      .layers = 1,
      .hidden = 24,
      .heads = 6,
      .key_heads = 3,
      .inner = 70,
      .context = 16,
      .vocabulary = 70,
      .norm_epsilon = 1e-5,
      .rope_base = 100},
     {3, 2, 2}},
    {"llama, biased and tiled",
     {.family = MODEL_LLAMA,
      .layers = 1,
      .hidden = 24,
      .heads = 6,
      .key_heads = 3,
      .inner = 70,
      .context = 16,
      .vocabulary = 70,
      .norm_epsilon = 1e-5,
      .attention_bias = true,
      .mlp_bias = true,
      .rope_base = 100},
     {3, 2, 1}},
    {"gpt2, tiled",
     {.layers = 1,
      .hidden = 15,
      .heads = 5,
      .key_heads = 5,
      .inner = 70,
      .context = 11,
      .vocabulary = 137,
      .tied = 1,
      .norm_epsilon = 1e-5},
     {3, 2, 3}},
    {"llama, tiled",
     {.family = MODEL_LLAMA,
      .layers = 1,
      .hidden = 24,
      .heads = 6,
      .key_heads = 3,
      .inner = 70,
      .context = 16,
      .vocabulary = 70,
      .norm_epsilon = 1e-5,
      .rope_base = 10000},
     {2, 2, 2}},
    {"gpt2 with adapters, rank-stabilised",
     {.layers = 2,
      .hidden = 15,
      .heads = 3,
      .key_heads = 3,
      .inner = 22,
      .context = 12,
      .vocabulary = 37,
      .tied = 1,
      .norm_epsilon = 1e-5,
      .adapter = {.rank = 3, .alpha = 2, .scaling = ADAPTER_RSQRT, .targets = {{"all"}, 1}}},
     {1, 1, 1}},
    {"llama with adapters, other tensors trained as well",
     {.family = MODEL_LLAMA,
      .layers = 2,
      .hidden = 24,
      .heads = 6,
      .key_heads = 2,
      .inner = 17,
      .context = 16,
      .vocabulary = 37,
      .norm_epsilon = 1e-5,
      .rope_base = 10000,
      .trainable = {{"blocks.1.mlp.*", "blocks.*.attention.norm.weight"}, 2},
      .adapter = {.rank = 2, .alpha = 4, .targets = {{"key", "down", "output"}, 3}}},
     {1, 1, 1}},
    {"olmo2 with adapters",
     {.family = MODEL_OLMO2,
      .layers = 1,
      .hidden = 12,
      .heads = 4,
      .key_heads = 2,
      .head_width = 4,
      .inner = 9,
      .context = 16,
      .vocabulary = 23,
      .norm_epsilon = 1e-5,
      .rope_base = 100,
      .adapter = {.rank = 2, .alpha = 1, .dropout = 0.4, .targets = {{"all"}, 1}}},
     {1, 1, 1}},
    {"gpt2 with adapters, tiled",
     {.layers = 1,
      .hidden = 15,
      .heads = 5,
      .key_heads = 5,
      .inner = 70,
      .context = 11,
      .vocabulary = 137,
      .tied = 1,
      .norm_epsilon = 1e-5,
      .adapter = {.rank = 3, .alpha = 3, .dropout = 0.3, .targets = {{"all"}, 1}}},
     {3, 2, 3}},
    {"llama with adapters, tiled",
     {.family = MODEL_LLAMA,
      .layers = 1,
      .hidden = 24,
      .heads = 6,
      .key_heads = 3,
      .inner = 70,
      .context = 16,
      .vocabulary = 70,
      .norm_epsilon = 1e-5,
      .rope_base = 10000,
      .trainable = {{"norm.weight", "blocks.0.attention.value.weight"}, 2},
      .adapter = {.rank = 4,
                  .alpha = 2,
                  .dropout = 0.1,
                  .targets = {{"query", "value", "output", "up", "down"}, 5}}},
     {2, 2, 2}},
};

/* Loss with tensor t moved by `step` along a direction. */
static double moved(struct fixture *f, int t, const double *direction, double step)
{
    int64_t n = f->model->tensors[t].elements;
    float *kept = fixture_zeros((size_t)n, sizeof *kept);
    for (int64_t i = 0; i < n; i++) {
        kept[i] = (float)fixture_get_weight(f, t, i);
        fixture_set_weight(f, t, i, (float)((double)kept[i] + step * direction[i]));
    }
    double loss = fixture_loss(f);
    for (int64_t i = 0; i < n; i++) {
        fixture_set_weight(f, t, i, kept[i]);
    }
    free(kept);
    return loss;
}

/* Derivative along a direction of length 1, by two central differences and Richardson's
 * extrapolation: the error of the step is of fourth order, so the step can be large enough for
 * fp32. The loss, about 60 in sum, has an error of some 1e-7 of itself per operation, 1e-5 in all;
 * over a step of 2e-2 that is 5e-4 in the derivative, times 4/3 by the extrapolation. */
static double derivative(struct fixture *f, int t, const double *direction, double h)
{
    double wide = moved(f, t, direction, h) - moved(f, t, direction, -h);
    double narrow = moved(f, t, direction, h / 2) - moved(f, t, direction, -h / 2);
    return (8 * narrow - wide) / (6 * h);
}

/* Compares along one direction; scales it to length 1 first. */
static void compare(struct fixture *f, int t, const float *gradient, double *direction,
                    const char *what)
{
    int64_t n = f->model->tensors[t].elements;
    double length = 0, expected = 0;
    for (int64_t i = 0; i < n; i++) {
        length += direction[i] * direction[i];
    }
    if (length < 1e-12) return; /* the gradient itself, where it is zero: a bias of keys */
    for (int64_t i = 0; i < n; i++) {
        direction[i] /= sqrt(length);
        expected += direction[i] * (double)gradient[i];
    }
    long before = test_failures();
    /* 1e-3 of rounding, see above, and 1e-3 relative for the step's fourth order */
    double tolerance = 1e-3 + 1e-3 * fabs(expected), found = INFINITY;
    /* where the loss is far from a polynomial along the direction, over a shorter step */
    for (double h = 2e-2; h > 4e-3 && !(fabs(found - expected) <= tolerance); h /= 2)
        found = derivative(f, t, direction, h);
    CHECK_NEAR(found, expected, tolerance);
    if (test_failures() > before) fprintf(stderr, "  in %s, %s\n", f->model->tensors[t].name, what);
}

static void check_tensor(struct fixture *f, int t)
{
    int64_t n = f->model->tensors[t].elements, largest = 0;
    float *gradient = fixture_gradient(f, t);
    double *direction = fixture_zeros((size_t)n, sizeof *direction);
    for (int64_t i = 0; i < n; i++) {
        direction[i] = (double)gradient[i];
        if (fabsf(gradient[i]) > fabsf(gradient[largest])) largest = i;
    }
    compare(f, t, gradient, direction, "along the gradient");
    for (int64_t i = 0; i < n; i++) {
        direction[i] = zi_random_bits(3, (uint64_t)t, (uint64_t)i) & 1 ? 1 : -1;
    }
    compare(f, t, gradient, direction, "along random signs");
    int64_t single[3] = {largest, 0, n - 1};
    for (int i = 0; i < 3; i++) {
        memset(direction, 0, (size_t)n * sizeof *direction);
        direction[single[i]] = 1;
        compare(f, t, gradient, direction, "in one element");
    }
    free(direction);
    free(gradient);
}

/* The gradient of a frozen tensor does not exist, or is zero. */
static void check_frozen(struct fixture *f, int t)
{
    int unit = f->model->pieces[f->model->tensors[t].first_piece].unit, other = 0;
    if (!f->model->units[unit].trainable) return;
    float *gradient = fixture_gradient(f, t);
    for (int64_t i = 0; i < f->model->tensors[t].elements; i++)
        other += gradient[i] != 0;
    CHECK_INT(other, 0);
    free(gradient);
}

/* The loss of a model with adapters of which a share of the inputs is dropped, of which lora_b is 0 where
 * it is `zeroed`. */
static double loss_dropping(const struct settings_model *settings, double share, bool zeroed)
{
    struct fixture f;
    struct settings_model own = *settings;
    own.adapter.dropout = share;
    fixture_open(&f, &own, ZI_FP32, (int64_t[]){2, 11});
    fixture_randomize(&f, 4);
    for (int t = 0; t < f.model->tensor_count && zeroed; t++) {
        const struct model_tensor *tensor = &f.model->tensors[t];
        if (!tensor->adapts || !strstr(tensor->name, "lora_b")) continue;
        for (int64_t i = 0; i < tensor->elements; i++)
            fixture_set_weight(&f, t, i, 0);
    }
    double loss = fixture_loss(&f);
    fixture_close(&f);
    return loss;
}

/* Where no element is dropped the model is the one without dropout, to the bit; where all are it is the
 * one without adapters; and in between neither. */
static void test_shares(const struct settings_model *settings)
{
    double none = loss_dropping(settings, 0, false), base = loss_dropping(settings, 0, true);
    double half = loss_dropping(settings, 0.5, false);
    CHECK(loss_dropping(settings, 1e-12, false) == none);
    CHECK(loss_dropping(settings, 1 - 1e-12, false) == base);
    CHECK(fabs(none - base) > 1e-2 && fabs(half - base) > 1e-2 && fabs(half - none) > 1e-2);
}

int main(void)
{
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct fixture f;
        struct fixture_way way = {0, 2, false, false, 1.0f};
        long before = test_failures();
        fixture_tiling = cases[c].tiling;
        fixture_open(&f, &cases[c].settings, ZI_FP32, (int64_t[]){2, 11});
        fixture_randomize(&f, 1 + c);
        double loss = fixture_differentiate(&f, &way);
        CHECK_NEAR(fixture_loss(&f), loss, 1e-5 * loss);
        for (int t = 0; t < f.model->tensor_count; t++) {
            if (f.model->tensors[t].trainable)
                check_tensor(&f, t);
            else
                check_frozen(&f, t);
        }
        fixture_close(&f);
        if (test_failures() > before) fprintf(stderr, "in case %s\n", cases[c].name);
    }
    fixture_tiling = (struct settings_tiling){1, 1, 1};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        if (cases[c].settings.adapter.dropout > 0) test_shares(&cases[c].settings);
    return test_finish("model_gradient_test");
}

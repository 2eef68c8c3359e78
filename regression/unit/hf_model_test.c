/* SPDX-License-Identifier: Apache-2.0 */
/* Model folders of regression/goldens as tensors of zinf: every element of a matrix that is
 * transposed, or one of three in the file, is where the file's own indices say; any range of it gives
 * the same as the whole; and what is written of them in other pieces has the bits of the original.
 * What config.json becomes, and back. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "deck/table.h"
#include "hf/model.h"
#include "hf/safetensors.h"
#include "model/model.h"
#include "regression/unit/test.h"

enum { MOST = 1 << 14, TENSORS = 64 };

static char work[PATH_MAX - 64];

struct folder {
    char path[PATH_MAX];
    struct hf_model *hf;
    struct safetensors *files;
    struct model *model;
    struct hf_tensor tensors[TENSORS];
};

static void folder_open(struct folder *f, const char *path)
{
    static const struct settings_tiling whole = {1, 1, 1};
    snprintf(f->path, sizeof f->path, "%s", path);
    if (hf_model_open(path, false, &f->hf) < 0 || safetensors_open(path, &f->files) < 0) exit(1);
    if (model_create(&hf_model_config(f->hf)->model, &whole, hf_model_type(f->hf), &f->model) < 0)
        exit(1);
    for (int i = 0; i < f->model->tensor_count; i++) {
        const struct model_tensor *t = &f->model->tensors[i];
        f->tensors[i] = (struct hf_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}};
    }
    CHECK(hf_model_match(f->hf, f->tensors, f->model->tensor_count) == ZI_OK);
}

static void folder_close(struct folder *f)
{
    model_destroy(f->model);
    safetensors_close(f->files);
    hf_model_close(f->hf);
}

static int number_of(const struct folder *f, const char *name)
{
    for (int i = 0; i < f->model->tensor_count; i++)
        if (strcmp(f->tensors[i].name, name) == 0) return i;
    fprintf(stderr, "no tensor %s\n", name);
    exit(1);
}

/* Element (row, column) of a tensor of the file. */
static float element_of(const struct folder *f, const char *name, int64_t row, int64_t column)
{
    const struct safetensors_tensor *t = safetensors_find(f->files, name);
    float value = NAN;
    if (t) (void)safetensors_read(f->files, t, row * t->shape[1] + column, 1, ZI_FP32, &value);
    return value;
}

/* Ranges of every tensor against the whole of it. */
static void check_ranges(const struct folder *f)
{
    static float whole[MOST], part[MOST];
    for (int i = 0; i < f->model->tensor_count; i++) {
        int64_t elements = f->model->tensors[i].elements, wrong = 0;
        CHECK(elements <= MOST && hf_model_read(f->hf, i, 0, elements, ZI_FP32, whole) == ZI_OK);
        for (int64_t step = 1, first = 0; first < elements; first += step, step = step * 2 + 1) {
            int64_t count = elements - first < step ? elements - first : step;
            CHECK(hf_model_read(f->hf, i, first, count, ZI_FP32, part) == ZI_OK);
            wrong += memcmp(part, whole + first, (size_t)count * sizeof *part) != 0;
        }
        CHECK_INT(wrong, 0);
    }
}

/* C is 24: query, key and value are columns 0 .., 24 .., 48 .. of c_attn, whose rows are inputs. */
static void check_joined(const struct folder *f)
{
    static const char *const parts[] = {"query", "key", "value"};
    float values[24 * 24];
    for (int p = 0; p < 3; p++) {
        char name[64];
        int64_t wrong = 0;
        snprintf(name, sizeof name, "blocks.1.attention.%s.weight", parts[p]);
        CHECK(hf_model_read(f->hf, number_of(f, name), 0, 24 * 24, ZI_FP32, values) == ZI_OK);
        for (int o = 0; o < 24; o++)
            for (int i = 0; i < 24; i++)
                wrong += values[o * 24 + i] !=
                         element_of(f, "transformer.h.1.attn.c_attn.weight", i, 24 * p + o);
        CHECK_INT(wrong, 0);
    }
}

static enum zi_status give(void *context, int tensor, int64_t first, int64_t count, void *values)
{
    const struct folder *f = context;
    return hf_model_read(f->hf, tensor, first, count, hf_model_type(f->hf), values);
}

/* Writes the folder anew and compares every tensor of the files. */
static void check_written(struct folder *f, const char *name, int64_t shard)
{
    char path[PATH_MAX], config[PATH_MAX + 16];
    static float left[MOST], right[MOST];
    struct safetensors *files;
    snprintf(path, sizeof path, "%s/%s", work, name);
    snprintf(config, sizeof config, "%s/config.json", f->path);
    mkdir(path, 0777);
    const struct hf_writing writing = {.folder = path,
                                       .description = {.model = &f->model->settings,
                                                       .type = hf_model_type(f->hf),
                                                       .original = config},
                                       .tensors = f->tensors,
                                       .count = f->model->tensor_count,
                                       .shard_bytes = shard,
                                       .source = give,
                                       .context = f};
    CHECK(hf_model_write(&writing) == ZI_OK);
    CHECK(safetensors_open(path, &files) == ZI_OK);
    CHECK_INT(safetensors_count(files), safetensors_count(f->files));
    for (int i = 0; i < safetensors_count(files); i++) {
        const struct safetensors_tensor *t = safetensors_at(files, i);
        const struct safetensors_tensor *before = safetensors_find(f->files, t->name);
        CHECK(before && before->elements == t->elements && t->elements <= MOST);
        if (!before) continue;
        CHECK(safetensors_read(files, t, 0, t->elements, ZI_FP32, left) == ZI_OK);
        CHECK(safetensors_read(f->files, before, 0, t->elements, ZI_FP32, right) == ZI_OK);
        CHECK(memcmp(left, right, (size_t)t->elements * sizeof *left) == 0);
    }
    safetensors_close(files);
}

static void test_qwen3(const char *path)
{
    struct folder f;
    folder_open(&f, path);
    const struct settings_model *m = &hf_model_config(f.hf)->model;
    CHECK(m->family == MODEL_QWEN3 && m->layers == 3 && m->heads == 4 && m->head_width == 10);
    CHECK(m->window == 7 && m->window_from == 0 && m->full_every == 2);
    CHECK(m->rope_scaling == ROPE_YARN && m->rope_factor == 4 && m->rope_original == 16);
    CHECK(m->rope_fast == 8 && m->rope_slow == 1 && m->rope_truncate && m->rope_attention == 0);
    check_ranges(&f);
    check_written(&f, "qwen3", 1 << 30);
    folder_close(&f);
}

static void test_gpt2(const char *path)
{
    struct folder f;
    folder_open(&f, path);
    const struct settings_model *m = &hf_model_config(f.hf)->model;
    CHECK(m->family == MODEL_GPT2 && m->layers == 2 && m->hidden == 24 && m->heads == 3);
    CHECK(m->key_heads == 3 && m->inner == 96 && m->context == 40 && m->vocabulary == 61);
    CHECK(m->tied == 1 && m->norm_epsilon == 1e-5 && m->init_deviation == 0.02);
    check_joined(&f);
    check_ranges(&f);
    check_written(&f, "gpt2", 1 << 30);
    folder_close(&f);
}

static void test_llama(const char *path)
{
    struct folder f;
    folder_open(&f, path);
    const struct settings_model *m = &hf_model_config(f.hf)->model;
    CHECK(m->family == MODEL_LLAMA && m->layers == 2 && m->hidden == 24 && m->heads == 6);
    CHECK(m->key_heads == 2 && m->inner == 40 && m->context == 64 && m->vocabulary == 61);
    CHECK(m->tied == 0 && m->norm_epsilon == 1e-5 && m->rope_base == 50000);
    CHECK(m->head_width == 4 && m->rope_original == 64);
    check_ranges(&f);
    check_written(&f, "llama", 5000);
    folder_close(&f);
}

/* A config of the settings alone, and one of settings that are not those of the original. */
static void test_config(const char *original)
{
    const struct settings_model model = {.family = MODEL_LLAMA,
                                         .layers = 3,
                                         .hidden = 64,
                                         .heads = 8,
                                         .key_heads = 4,
                                         .inner = 192,
                                         .context = 99,
                                         .vocabulary = 1000,
                                         .tied = 1,
                                         .norm_epsilon = 1.0 / 3,
                                         .rope_base = 12345.678901234567,
                                         .init_deviation = 0.1};
    struct hf_config config;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/config.json", work);
    for (int i = 0; i < 2; i++) {
        const struct hf_description d = {
            .model = &model, .type = ZI_BF16, .original = i ? original : NULL};
        CHECK(hf_config_write(&d, path) == ZI_OK);
        CHECK(hf_config_read(path, false, &config) == ZI_OK);
        const struct settings_model *m = &config.model;
        CHECK(strcmp(hf_config_class(&config), "LlamaForCausalLM") == 0);
        CHECK(m->layers == 3 && m->hidden == 64 && m->heads == 8 && m->key_heads == 4);
        CHECK(m->inner == 192 && m->context == 99 && m->vocabulary == 1000 && m->tied == 1);
        CHECK(m->norm_epsilon == model.norm_epsilon && m->rope_base == model.rope_base);
        CHECK(m->init_deviation == 0.1);
    }
}

/* Reads a text as a config.json. */
static enum zi_status read_text(const char *text, struct hf_config *config)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/config.json", work);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0) exit(1);
    fclose(file);
    return hf_config_read(path, false, config);
}

/* Which blocks have a window, as its three numbers. */
static void check_windows(const char *model, const char *rest, int64_t window, int64_t from,
                          int64_t every)
{
    struct hf_config config;
    char text[1024];
    snprintf(text, sizeof text, "{\"model_type\": \"%s\", \"num_hidden_layers\": 6%s}", model,
             rest);
    CHECK(read_text(text, &config) == ZI_OK);
    CHECK_INT(config.model.window, window);
    CHECK_INT(config.model.window_from, from);
    CHECK_INT(config.model.full_every, every);
}

#define S "\"sliding_attention\""
#define F "\"full_attention\""
static void test_lists(void)
{
    struct hf_config config;
    check_windows("mistral", "", 4096, 0, 0);
    check_windows("mistral", ", \"sliding_window\": null", 0, 0, 0);
    check_windows("mistral", ", \"sliding_window\": 7", 7, 0, 0);
    check_windows("qwen2", ", \"sliding_window\": 7", 0, 0, 0);
    check_windows("qwen2", ", \"use_sliding_window\": true, \"max_window_layers\": 4", 4096, 4, 0);
    check_windows("qwen2", ", \"use_sliding_window\": true, \"max_window_layers\": 6", 0, 0, 0);
    check_windows("qwen3",
                  ", \"use_sliding_window\": true, \"layer_types\": "
                  "[" S "," S "," F "," S "," S "," F "]",
                  4096, 0, 3);
    check_windows("qwen3",
                  ", \"use_sliding_window\": true, \"layer_types\": "
                  "[" F "," F "," S "," F "," S "," S "]",
                  4096, 2, 4);
    check_windows("gemma2", "", 4096, 0, 2);
    check_windows("gemma3_text", "", 4096, 0, 6);
    check_windows("gemma3_text", ", \"sliding_window_pattern\": 3, \"sliding_window\": 7", 7, 0, 3);
    check_windows("gemma3_text",
                  ", \"sliding_window_pattern\": 3, \"layer_types\": "
                  "[" S "," F "," S "," F "," S "," F "]",
                  4096, 0, 2);
    check_windows("smollm3", ", \"no_rope_layers\": [1,0,1,0,1,0]", 0, 0, 0);
    CHECK(read_text("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 4, "
                    "\"no_rope_layers\": [1,1,0,1]}",
                    &config) == ZI_OK);
    CHECK_INT(config.model.unrotated_every, 3);
    CHECK(read_text("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 4, "
                    "\"no_rope_layers\": [1,1,1,1]}",
                    &config) == ZI_OK);
    CHECK_INT(config.model.unrotated_every, 0);
    CHECK(read_text("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 3}", &config) == ZI_OK);
    CHECK_INT(config.model.unrotated_every, 0);
    CHECK(read_text("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 4}", &config) == ZI_OK);
    CHECK_INT(config.model.unrotated_every, 4);
}

/* A model that no config.json of its class can say is not written. */
static void test_unsaid(void)
{
    struct settings_model model = {.family = MODEL_LLAMA,
                                   .layers = 2,
                                   .hidden = 8,
                                   .heads = 2,
                                   .key_heads = 2,
                                   .context = 64,
                                   .rope_original = 16};
    const struct hf_description d = {.model = &model, .type = ZI_FP32};
    CHECK(hf_config_check(&d) == ZI_OK);
    model.rope_scaling = ROPE_DYNAMIC;
    CHECK(hf_config_check(&d) == ZI_ERROR_USAGE);
    model.rope_scaling = ROPE_YARN;
    CHECK(hf_config_check(&d) == ZI_OK);
    model.family = MODEL_OLMO2;
    CHECK(hf_config_check(&d) == ZI_ERROR_USAGE);
    model.family = MODEL_MISTRAL;
    model.window = 8;
    CHECK(hf_config_check(&d) == ZI_OK);
    model.window_from = 1;
    CHECK(hf_config_check(&d) == ZI_ERROR_USAGE);
    model.family = MODEL_QWEN2;
    CHECK(hf_config_check(&d) == ZI_OK);
    model.family = MODEL_GPT2;
    model.rope_scaling = ROPE_PLAIN;
    model.window = 0;
    CHECK(hf_config_check(&d) == ZI_OK);
    model.head_width = 6;
    CHECK(hf_config_check(&d) == ZI_ERROR_USAGE);
    model.head_width = 4;
    model.key_heads = 1;
    CHECK(hf_config_check(&d) == ZI_ERROR_USAGE);
}

/* What a class takes for missing keys is what a deck may say, for every key of the section. */
static void test_fallbacks(void)
{
    static const char *const types[] = {"gpt2",    "llama", "mistral", "qwen2",      "qwen3",
                                        "smollm3", "olmo2", "gemma2",  "gemma3_text"};
    char text[64];
    int count;
    const struct deck_row *rows = deck_rows(&count);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct settings settings = {0};
        struct hf_config config;
        snprintf(text, sizeof text, "{\"model_type\": \"%s\"}", types[t]);
        CHECK(read_text(text, &config) == ZI_OK);
        settings.model = config.model;
        CHECK(settings.model.rope_factor == 1 && settings.model.rope_high == 4);
        for (int i = 0; i < count; i++) {
            const char *field = (const char *)&settings + rows[i].offset;
            double value = rows[i].minimum;
            if (strcmp(rows[i].section, "model") != 0) continue;
            if (rows[i].type == DECK_INTEGER) value = (double)*(const int64_t *)(const void *)field;
            if (rows[i].type == DECK_REAL) value = *(const double *)(const void *)field;
            if (value < rows[i].minimum || value > rows[i].maximum)
                fprintf(stderr, "%s: %s\n", types[t], rows[i].key);
            CHECK(value >= rows[i].minimum && value <= rows[i].maximum);
        }
    }
}

int main(void)
{
    const char *top = getenv("top_srcdir"), *temporary = getenv("TMPDIR");
    char path[PATH_MAX], command[PATH_MAX + 16];
    snprintf(work, sizeof work, "%s/hf_model_test-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(work)) return 1;
    snprintf(path, sizeof path, "%s/regression/goldens/hf_gpt2", top ? top : ".");
    test_gpt2(path);
    snprintf(path, sizeof path, "%s/regression/goldens/hf_qwen3", top ? top : ".");
    test_qwen3(path);
    snprintf(path, sizeof path, "%s/regression/goldens/hf_llama", top ? top : ".");
    test_llama(path);
    strcat(path, "/config.json");
    test_config(path);
    test_fallbacks();
    test_lists();
    test_unsaid();
    snprintf(command, sizeof command, "rm -r '%s'", work);
    CHECK(system(command) == 0);
    return test_finish("hf_model");
}

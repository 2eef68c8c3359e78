/* SPDX-License-Identifier: Apache-2.0 */
/* Model folders. The first byte says what the rest is: 0 the head of safetensors up to a zero byte, and
 * then numbers, 1 a whole file of them, 2 a config.json, 3 an index of shards, 4 an adapter_config.json
 * of PEFT up to a zero byte, and then the head of its weights, in front of zeros. What is taken can be
 * read from end to end, and has the sizes that are said. */
#include "fuzz.h"

#include "hf/adapter.h"
#include "hf/config.h"
#include "hf/safetensors.h"

#include <string.h>

/* First and last element of each tensor. */
static void check_tensors(const struct safetensors *set)
{
    for (int i = 0; i < safetensors_count(set); i++) {
        const struct safetensors_tensor *t = safetensors_at(set, i);
        float value;
        fuzz_must(safetensors_find(set, t->name) == t, "a tensor is not found by its name");
        if (!t->is_weight || t->elements == 0) continue;
        fuzz_must(safetensors_read(set, t, 0, 1, ZI_FP32, &value) == ZI_OK, "first");
        fuzz_must(safetensors_read(set, t, t->elements - 1, 1, ZI_FP32, &value) == ZI_OK, "last");
    }
}

static void open_path(const char *path)
{
    struct safetensors *set;
    if (safetensors_open(path, &set) < 0) return;
    check_tensors(set);
    safetensors_close(set);
}

/* The head's length is the right one, so that more than that is reached; `zeros` of them behind. */
static void put_head(const char *name, const uint8_t *data, size_t size, size_t zeros)
{
    const uint8_t *end = memchr(data, 0, size);
    uint64_t head = end ? (uint64_t)(end - data) : size;
    size_t numbers = size - (size_t)head - (end ? 1 : 0);
    uint8_t *file = calloc(1, sizeof head + size + zeros);
    fuzz_must(file, "memory");
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, data, (size_t)head);
    if (end) memcpy(file + sizeof head + head, end + 1, numbers);
    fuzz_put(name, file, sizeof head + (size_t)head + numbers + zeros);
    free(file);
}

/* What is taken of an adapter for a model of one block can be read. */
static void open_adapter(void)
{
    char folder[2100];
    struct settings_model model = {.family = MODEL_LLAMA, .layers = 1};
    struct hf_adapter *adapter;
    snprintf(folder, sizeof folder, "%s", fuzz_path("."));
    if (hf_adapter_open(folder, &model, &adapter) < 0) return;
    const struct hf_tensor tensors[] = {{"blocks.0.attention.query.weight", 2, {6, 4}},
                                        {"blocks.0.attention.query.lora_a", 2, {2, 4}},
                                        {"blocks.0.attention.query.lora_b", 2, {6, 2}}};
    const struct settings_adapter *settings = hf_adapter_settings(adapter);
    fuzz_must(settings->rank >= 1 && settings->alpha >= 1, "rank");
    fuzz_must(settings->targets.count >= 1, "targets");
    if (hf_adapter_match(adapter, tensors, 3) == ZI_OK) {
        float values[12];
        fuzz_must(hf_adapter_read(adapter, 1, 0, 8, values) == ZI_OK, "lora_A");
        fuzz_must(hf_adapter_read(adapter, 2, 0, 12, values) == ZI_OK, "lora_B");
    }
    hf_adapter_close(adapter);
}

static void put_adapter(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t config = end ? (size_t)(end - data) : size, rest = end ? size - config - 1 : 0;
    fuzz_put("adapter_config.json", data, config);
    put_head("adapter_model.safetensors", end ? end + 1 : data, rest, 80);
    open_adapter();
}

/* A config that is taken gives a model that a deck could name. */
static void check_config(const char *path)
{
    struct hf_config config;
    if (hf_config_read(path, true, &config) < 0) return;
    const struct settings_model *m = &config.model;
    fuzz_must(m->layers >= 1 && m->hidden >= 1 && m->heads >= 1 && m->key_heads >= 1, "sizes");
    fuzz_must(m->inner >= 1 && m->context >= 1 && m->vocabulary >= 1, "sizes");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    uint8_t kind = *data % 5;
    if (kind == 0) {
        put_head("head.safetensors", data + 1, size - 1, 0);
        open_path(fuzz_path("head.safetensors"));
    }
    if (kind == 4) put_adapter(data + 1, size - 1);
    if (kind == 1) {
        fuzz_put("whole.safetensors", data + 1, size - 1);
        open_path(fuzz_path("whole.safetensors"));
    }
    if (kind == 2) {
        fuzz_put("config.json", data + 1, size - 1);
        check_config(fuzz_path("config.json"));
    }
    if (kind == 3) {
        char folder[2100];
        fuzz_put("model.safetensors.index.json", data + 1, size - 1);
        snprintf(folder, sizeof folder, "%s", fuzz_path("."));
        open_path(folder);
    }
    return 0;
}

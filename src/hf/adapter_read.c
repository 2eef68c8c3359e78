/* SPDX-License-Identifier: Apache-2.0 */
/* Reading adapters of PEFT (as of its version 0.21.2). What of adapter_config.json has no row here has to
 * be null, false or empty: whatever else it asks for is refused. Which matrices have adapters is told
 * by the weights, since target_modules may be a pattern. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hf/adapter.h"
#include "hf/modules.h"
#include "hf/safetensors.h"
#include "json/json.h"

enum { CONFIG_MOST = 1 << 20 };

/* Where a tensor of an adapter lies: from an element of one of the file on. */
struct place {
    const struct safetensors_tensor *tensor;
    int64_t first;
};

struct hf_adapter {
    char *folder;
    const struct hf_architecture *architecture;
    int64_t layers;
    struct settings_adapter settings;
    struct safetensors *files;
    /* Of hf_adapter_match, one per tensor. */
    struct place *places;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the list of adapters");
}

/* Keys that are used, or on which no number depends. */
static bool is_known(const char *key)
{
    static const char *const known[] = {"peft_type",
                                        "r",
                                        "lora_alpha",
                                        "lora_dropout",
                                        "bias",
                                        "use_rslora",
                                        "target_modules",
                                        "fan_in_fan_out",
                                        "task_type",
                                        "base_model_name_or_path",
                                        "inference_mode",
                                        "init_lora_weights",
                                        "revision",
                                        "auto_mapping",
                                        "peft_version",
                                        "layers_pattern",
                                        "qalora_group_size",
                                        "runtime_config",
                                        "megatron_core"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], key) == 0) return true;
    return false;
}

/* Whether a value asks for nothing. */
static bool is_nothing(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static enum zi_status refuse(const char *path, const char *key)
{
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s asks for what zinf does not do", path, key);
}

/* A whole number from 1 on. */
static enum zi_status read_number(const char *path, const json_t *config, const char *key,
                                  int64_t *number)
{
    const json_t *value = json_object_get(config, key);
    double real = json_number_value(value);
    if (!json_is_number(value) || !(real >= 1 && real <= 1e6) || real != (double)(int64_t)real)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s is no whole number from 1 to 1e6", path, key);
    *number = (int64_t)real;
    return ZI_OK;
}

static bool is_text(const json_t *config, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(config, key));
    return value && strcmp(value, text) == 0;
}

static enum zi_status read_keys(struct hf_adapter *adapter, const char *path, json_t *config)
{
    const char *key;
    json_t *value;
    if (!json_is_object(config) || !is_text(config, "peft_type", "LORA"))
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: its peft_type is not LORA", path);
    json_object_foreach(config, key, value)
    {
        if (!is_known(key) && !is_nothing(value)) return refuse(path, key);
    }
    if (json_object_get(config, "bias") && !is_text(config, "bias", "none"))
        return refuse(path, "bias");
    const json_t *start = json_object_get(config, "init_lora_weights");
    bool gauss = is_text(config, "init_lora_weights", "gaussian");
    if (json_is_string(start) && !gauss) /* most others change the weights beside the adapter */
        return refuse(path, "init_lora_weights");
    ZI_TRY(read_number(path, config, "r", &adapter->settings.rank));
    ZI_TRY(read_number(path, config, "lora_alpha", &adapter->settings.alpha));
    bool root = json_is_true(json_object_get(config, "use_rslora"));
    adapter->settings.scaling = root ? ADAPTER_RSQRT : ADAPTER_PLAIN;
    if (json_number_value(json_object_get(config, "lora_dropout")) > 0)
        zi_log(ZI_LOG_WARN, "hf",
               "%s: zinf drops nothing while it trains, whatever lora_dropout says", path);
    return ZI_OK;
}

static enum zi_status read_config(struct hf_adapter *adapter)
{
    char path[PATH_MAX];
    json_t *config = NULL;
    int length = snprintf(path, sizeof path, "%s/adapter_config.json", adapter->folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", adapter->folder);
    const struct zi_json_place place = {"hf", path, 0, NULL};
    ZI_TRY(zi_json_read(&place, CONFIG_MOST, &config));
    enum zi_status status = read_keys(adapter, path, config);
    json_decref(config);
    return status;
}

static const struct safetensors_tensor *find(const struct hf_adapter *adapter,
                                             const struct hf_name *row, int layer, const char *end)
{
    char module[HF_NAME], name[2 * HF_NAME];
    hf_name_write(row->in_file, layer, module);
    snprintf(name, sizeof name, "base_model.model.%.*s.%s.weight", hf_stem_length(module), module,
             end);
    return safetensors_find(adapter->files, name);
}

/* Adds the word of a matrix to the targets: what stands before ".weight". */
static enum zi_status add_target(struct hf_adapter *adapter, const struct hf_name *row)
{
    struct deck_list *targets = &adapter->settings.targets;
    int end = hf_stem_length(row->tensor), begin = end;
    while (row->tensor[begin - 1] != '.')
        begin--;
    ZI_REQUIRE(targets->count < DECK_LIST_MAX);
    targets->items[targets->count] = strndup(row->tensor + begin, (size_t)(end - begin));
    if (!targets->items[targets->count]) return no_memory();
    targets->count++;
    return ZI_OK;
}

/* Which matrices have adapters: those of the first block, and of every other the same. */
static enum zi_status find_targets(struct hf_adapter *adapter)
{
    int found = 0;
    for (const struct hf_name *row = adapter->architecture->names; row->tensor; row++) {
        bool weight = strcmp(strrchr(row->tensor, '.'), ".weight") == 0; /* a bias has its stem */
        if (strncmp(row->tensor, "blocks.", strlen("blocks.")) != 0 || !weight ||
            !find(adapter, row, 0, "lora_A"))
            continue;
        ZI_TRY(add_target(adapter, row));
        if (!hf_names_module(adapter->architecture, row)) continue;
        for (int layer = 0; layer < adapter->layers; layer++) {
            if (!find(adapter, row, layer, "lora_A") || !find(adapter, row, layer, "lora_B"))
                return zi_fail(ZI_ERROR_USAGE, "hf",
                               "%s: block %d has no adapter of %s, and block 0 has one; zinf has "
                               "those of all blocks or none",
                               adapter->folder, layer, row->tensor);
            found += 2;
        }
    }
    if (found > 0 && found == safetensors_count(adapter->files)) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "hf",
        "%s: of %d tensors %d are of adapters beside matrices of blocks of %s; zinf has no "
        "others",
        adapter->folder, safetensors_count(adapter->files), found, adapter->architecture->causal);
}

static enum zi_status open_all(struct hf_adapter *adapter, const char *folder)
{
    char path[PATH_MAX];
    adapter->folder = strdup(folder);
    if (!adapter->folder) return no_memory();
    ZI_TRY(read_config(adapter));
    int length = snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", folder);
    ZI_TRY(safetensors_open(path, &adapter->files));
    return find_targets(adapter);
}

enum zi_status hf_adapter_open(const char *folder, const struct settings_model *model,
                               struct hf_adapter **adapter)
{
    struct hf_adapter *made = calloc(1, sizeof *made);
    const struct hf_description description = {.model = model};
    *adapter = NULL;
    if (!made) return no_memory();
    made->architecture = hf_architecture_of(&description);
    made->layers = model->layers;
    enum zi_status status = open_all(made, folder);
    if (status >= 0) {
        *adapter = made;
        return ZI_OK;
    }
    hf_adapter_close(made);
    return status;
}

void hf_adapter_close(struct hf_adapter *adapter)
{
    if (!adapter) return;
    safetensors_close(adapter->files);
    deck_list_free(&adapter->settings.targets);
    free(adapter->places);
    free(adapter->folder);
    free(adapter);
}

const struct settings_adapter *hf_adapter_settings(const struct hf_adapter *adapter)
{
    return &adapter->settings;
}

static enum zi_status check_shape(const struct hf_adapter *adapter,
                                  const struct safetensors_tensor *tensor, const int64_t shape[2])
{
    if (tensor->is_weight && tensor->dimensions == 2 && tensor->shape[0] == shape[0] &&
        tensor->shape[1] == shape[1])
        return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s is not %lld x %lld, as beside the model's matrix",
                   adapter->folder, tensor->name, (long long)shape[0], (long long)shape[1]);
}

/* The places of all parts of a module. */
static enum zi_status match_module(struct hf_adapter *adapter, const struct hf_name *row, int layer,
                                   const struct hf_module *module)
{
    int64_t rank = adapter->settings.rank;
    const struct safetensors_tensor *a = find(adapter, row, layer, "lora_A");
    const struct safetensors_tensor *b = find(adapter, row, layer, "lora_B");
    ZI_REQUIRE(a && b);
    ZI_TRY(check_shape(adapter, a, (int64_t[]){rank, module->inputs}));
    ZI_TRY(check_shape(adapter, b, (int64_t[]){module->outputs, rank}));
    for (int n = 0; n < module->adapter_count; n++) {
        const struct hf_part *part = hf_adapted_part(module, n);
        adapter->places[part->adapter] = (struct place){a, 0};
        adapter->places[part->adapter + 1] = (struct place){b, part->first * rank};
    }
    return ZI_OK;
}

enum zi_status hf_adapter_match(struct hf_adapter *adapter, const struct hf_tensor *tensors,
                                int count)
{
    const struct hf_modules all = {adapter->architecture, tensors, count};
    adapter->places = calloc((size_t)count + 1, sizeof *adapter->places);
    if (!adapter->places) return no_memory();
    for (int layer = 0; layer < adapter->layers; layer++) {
        for (const struct hf_name *row = adapter->architecture->names; row->tensor; row++) {
            if (!hf_names_module(adapter->architecture, row)) continue;
            struct hf_module module = hf_module_of(&all, row, layer);
            if (module.adapter_count > 0) ZI_TRY(match_module(adapter, row, layer, &module));
        }
    }
    return ZI_OK;
}

enum zi_status hf_adapter_read(const struct hf_adapter *adapter, int tensor, int64_t first,
                               int64_t count, float *values)
{
    const struct place *place = &adapter->places[tensor];
    ZI_REQUIRE(place->tensor);
    return safetensors_read(adapter->files, place->tensor, place->first + first, count, ZI_FP32,
                            values);
}

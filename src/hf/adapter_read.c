/* SPDX-License-Identifier: Apache-2.0 */
/* Reading adapters of PEFT (as of its version 0.21.2). What of adapter_config.json has no row here has to
 * be null, false or empty: whatever else it asks for is refused. Which matrices have adapters is told
 * by the weights, since target_modules may be a pattern; where it is a list, it has to agree.
 *
 * An adapter that joins those of several matrices (hf_adapter_write) has a zero lora_A for one that has
 * none, by which the adapters that went out come in again. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hf/adapter.h"
#include "hf/adapter_targets.h"
#include "hf/modules.h"
#include "hf/safetensors.h"
#include "json/json.h"

enum { CONFIG_MOST = 1 << 20, PIECE = 1024 };

/* Where a tensor of an adapter lies: rows of `width` elements, `stride` apart, from an element of one of
 * the file on. */
struct place {
    const struct safetensors_tensor *tensor;
    int64_t first, width, stride;
};

struct hf_adapter {
    char *folder;
    const struct hf_architecture *architecture;
    int64_t layers;
    struct settings_adapter settings;
    json_t *config;
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
                                        "rank_pattern",
                                        "alpha_pattern",
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
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s asks for what zinf does not do" HF_MERGE, path,
                   key);
}

/* A whole number from 1 on. */
static enum zi_status read_number(const char *path, const json_t *config, const char *key,
                                  int64_t *number)
{
    const json_t *value = json_object_get(config, key);
    double real = json_number_value(value);
    if (!json_is_number(value) || !(real >= 1 && real <= 1e6) || real != (double)(int64_t)real)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: %s is no whole number from 1 to 1e6; save the adapter again", path,
                       key);
    *number = (int64_t)real;
    return ZI_OK;
}

/* Of an adapter's inputs that training drops; 0 where the key is not there. */
static enum zi_status read_share(const char *path, const json_t *config, double *share)
{
    const json_t *value = json_object_get(config, "lora_dropout");
    *share = json_number_value(value);
    if (value && !(json_is_number(value) && *share >= 0 && *share < 1))
        return zi_fail(
            ZI_ERROR_USAGE, "hf",
            "%s: lora_dropout is no number from 0 to less than 1; write the share of the "
            "inputs that training drops, or 0",
            path);
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
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: its peft_type is not LORA" HF_MERGE, path);
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
    const json_t *root = json_object_get(config, "use_rslora");
    if (root && !json_is_boolean(root) && !is_nothing(root)) return refuse(path, "use_rslora");
    adapter->settings.scaling = json_is_true(root) ? ADAPTER_RSQRT : ADAPTER_PLAIN;
    return read_share(path, config, &adapter->settings.dropout);
}

static enum zi_status read_config(struct hf_adapter *adapter)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/adapter_config.json", adapter->folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", adapter->folder);
    const struct zi_json_place place = {"hf", path, 0, NULL};
    ZI_TRY(zi_json_read(&place, CONFIG_MOST, &adapter->config));
    return read_keys(adapter, path, adapter->config);
}

/* What is told by names; its own is not to be freed. */
static struct hf_targets targets_of(const struct hf_adapter *adapter)
{
    return (struct hf_targets){adapter->folder, adapter->config, adapter->architecture,
                               adapter->layers, adapter->files,  adapter->settings};
}

static const struct safetensors_tensor *find(const struct hf_adapter *adapter,
                                             const struct hf_name *row, int layer, const char *end)
{
    const struct hf_targets targets = targets_of(adapter);
    return hf_targets_find(&targets, row, layer, end);
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

/* Whether elements of a tensor are all zero. */
static enum zi_status is_zero(const struct hf_adapter *adapter,
                              const struct safetensors_tensor *tensor, int64_t first, int64_t count,
                              bool *zero)
{
    float piece[PIECE];
    *zero = true;
    for (int64_t done = 0; done < count && *zero; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        ZI_TRY(safetensors_read(adapter->files, tensor, first + done, part, ZI_FP32, piece));
        for (int64_t i = 0; i < part; i++)
            *zero = *zero && piece[i] == 0;
    }
    return ZI_OK;
}

/* Whether one of several matrices that are joined has an adapter, in any block. */
static enum zi_status has_part(const struct hf_adapter *adapter, const struct hf_name *row,
                               bool *has)
{
    int64_t rank = adapter->settings.rank, part = 0;
    int parts = hf_parts_of(adapter->architecture, row);
    *has = false;
    for (const struct hf_name *before = adapter->architecture->names; before < row; before++)
        part += strcmp(before->in_file, row->in_file) == 0;
    for (int layer = 0; layer < adapter->layers && !*has; layer++) {
        const struct safetensors_tensor *a = find(adapter, row, layer, "lora_A");
        bool zero = true;
        if (!a || !a->is_weight || a->dimensions != 2 || a->shape[0] != rank * parts)
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: the lora_A of %s in block %d has not the rank that rank_pattern "
                           "says; save the adapter again",
                           adapter->folder, row->in_file, layer);
        ZI_TRY(is_zero(adapter, a, part * rank * a->shape[1], rank * a->shape[1], &zero));
        *has = !zero;
    }
    return ZI_OK;
}

/* All blocks have what the first has; counts the tensors. */
static enum zi_status check_blocks(const struct hf_adapter *adapter, const struct hf_name *row,
                                   int *found)
{
    for (int layer = 0; layer < adapter->layers; layer++) {
        if (!find(adapter, row, layer, "lora_A") || !find(adapter, row, layer, "lora_B"))
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: block %d has no adapter of %s, and block 0 has one; zinf has "
                           "those of all blocks or none" HF_MERGE,
                           adapter->folder, layer, row->tensor);
        *found += 2;
    }
    return ZI_OK;
}

/* Which matrices have adapters: those of the first block, and of every other the same. */
static enum zi_status find_targets(struct hf_adapter *adapter)
{
    const struct hf_targets targets = targets_of(adapter);
    int found = 0;
    for (const struct hf_name *row = adapter->architecture->names; row->tensor; row++) {
        bool weight = strcmp(strrchr(row->tensor, '.'), ".weight") == 0; /* a bias has its stem */
        bool has = true;
        if (strncmp(row->tensor, "blocks.", strlen("blocks.")) != 0 || !weight ||
            !find(adapter, row, 0, "lora_A"))
            continue;
        if (hf_names_module(adapter->architecture, row)) ZI_TRY(check_blocks(adapter, row, &found));
        if (hf_targets_join(&targets, row)) ZI_TRY(has_part(adapter, row, &has));
        if (has) ZI_TRY(add_target(adapter, row));
    }
    if (found > 0 && found == safetensors_count(adapter->files)) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "hf",
        "%s: of %d tensors %d are of adapters beside matrices of blocks of %s; zinf has no "
        "others" HF_MERGE,
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
    const struct hf_targets targets = targets_of(adapter);
    ZI_TRY(hf_targets_check(&targets));
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
    json_decref(adapter->config);
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
    return zi_fail(
        ZI_ERROR_USAGE, "hf",
        "%s: %s is not %lld x %lld, as beside the model's matrix; take the adapter of this "
        "model",
        adapter->folder, tensor->name, (long long)shape[0], (long long)shape[1]);
}

/* Of joined adapters: the rows of each matrix see its own lora_A alone. */
static enum zi_status check_apart(const struct hf_adapter *adapter, const struct hf_module *module,
                                  const struct safetensors_tensor *b)
{
    int64_t rank = adapter->settings.rank, columns = rank * module->part_count;
    for (int p = 0; p < module->part_count; p++) {
        const struct hf_part *part = &module->parts[p];
        for (int64_t row = part->first; row < part->first + part->rows; row++) {
            bool before, behind;
            int64_t at = row * columns, own = p * rank;
            ZI_TRY(is_zero(adapter, b, at, own, &before));
            ZI_TRY(is_zero(adapter, b, at + own + rank, columns - own - rank, &behind));
            if (before && behind) continue;
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: %s mixes the adapters of matrices that zinf has apart" HF_MERGE,
                           adapter->folder, b->name);
        }
    }
    return ZI_OK;
}

/* The places of all parts of a module. */
static enum zi_status match_module(struct hf_adapter *adapter, const struct hf_name *row, int layer,
                                   const struct hf_module *module)
{
    const struct hf_targets targets = targets_of(adapter);
    bool joins = hf_targets_join(&targets, row);
    int64_t each = adapter->settings.rank, rank = joins ? each * module->part_count : each;
    const struct safetensors_tensor *a = find(adapter, row, layer, "lora_A");
    const struct safetensors_tensor *b = find(adapter, row, layer, "lora_B");
    ZI_REQUIRE(a && b);
    ZI_TRY(check_shape(adapter, a, (int64_t[]){rank, module->inputs}));
    ZI_TRY(check_shape(adapter, b, (int64_t[]){module->outputs, rank}));
    if (joins) ZI_TRY(check_apart(adapter, module, b));
    for (int p = 0; p < module->part_count; p++) {
        const struct hf_part *part = &module->parts[p];
        int64_t own = joins ? p * each : 0;
        if (part->adapter < 0) continue;
        adapter->places[part->adapter] =
            (struct place){a, own * module->inputs, module->inputs, module->inputs};
        adapter->places[part->adapter + 1] =
            (struct place){b, part->first * rank + own, each, rank};
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
    if (place->width == place->stride)
        return safetensors_read(adapter->files, place->tensor, place->first + first, count, ZI_FP32,
                                values);
    for (int64_t done = 0; done < count;) {
        int64_t row = (first + done) / place->width, column = (first + done) % place->width;
        int64_t rest = place->width - column, part = count - done < rest ? count - done : rest;
        ZI_TRY(safetensors_read(adapter->files, place->tensor,
                                place->first + row * place->stride + column, part, ZI_FP32,
                                values + done));
        done += part;
    }
    return ZI_OK;
}

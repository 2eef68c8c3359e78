/* SPDX-License-Identifier: Apache-2.0 */
/* Names as PEFT compares them: a target is a module's whole name, or its end behind a dot. */
#include "hf/adapter_targets.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "hf/modules.h"

const struct safetensors_tensor *hf_targets_find(const struct hf_targets *targets,
                                                 const struct hf_name *row, int64_t layer,
                                                 const char *end)
{
    char module[HF_NAME], name[2 * HF_NAME];
    hf_name_write(row->in_file, (int)layer, module);
    snprintf(name, sizeof name, "base_model.model.%.*s.%s.weight", hf_stem_length(module), module,
             end);
    return safetensors_find(targets->files, name);
}

static bool is_end_of(const char *end, const char *module, size_t length)
{
    size_t own = strlen(end);
    if (own == 0 || own > length || memcmp(module + length - own, end, own) != 0) return false;
    return own == length || module[length - own - 1] == '.';
}

static bool is_weight(const struct hf_name *row)
{
    return strcmp(strrchr(row->in_file, '.'), ".weight") == 0;
}

static bool is_in_block(const struct hf_name *row)
{
    return strchr(row->in_file, '}');
}

static bool is_named(const json_t *list, const char *module, size_t length)
{
    size_t i;
    json_t *target;
    json_array_foreach(list, i, target)
    {
        if (is_end_of(json_string_value(target), module, length)) return true;
    }
    return false;
}

/* One module of the model, against the list. */
static enum zi_status check_module(const struct hf_targets *targets, const json_t *list,
                                   const struct hf_name *row, int64_t layer)
{
    char module[HF_NAME];
    hf_name_write(row->in_file, (int)layer, module);
    int length = hf_stem_length(module);
    bool named = is_named(list, module, (size_t)length);
    bool found = hf_targets_find(targets, row, layer, "lora_A");
    if (named == found) return ZI_OK;
    if (named)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: target_modules of adapter_config.json names %.*s, of which the weights "
                       "have no adapter; is the file whole? Take the name out, or save the adapter "
                       "again",
                       targets->folder, length, module);
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s: the weights have an adapter of %.*s, which target_modules of "
                   "adapter_config.json does not name, and so PEFT would leave out; name it, or "
                   "save the adapter again",
                   targets->folder, length, module);
}

/* Whether an end of names is that of a module of the model, in blocks alone of all of them. */
static bool is_of_model(const struct hf_targets *targets, const char *end, bool blocks)
{
    for (const struct hf_name *row = targets->architecture->names; row->tensor; row++) {
        const char *name = row->in_file;
        if (!is_weight(row) || (blocks && !is_in_block(row))) continue;
        if (blocks) name = strchr(name, '}') + 2;
        if (is_end_of(end, name, (size_t)hf_stem_length(name))) return true;
    }
    return false;
}

static enum zi_status check_list(const struct hf_targets *targets, const json_t *list)
{
    size_t i;
    json_t *target;
    json_array_foreach(list, i, target)
    {
        if (!json_is_string(target))
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: target_modules of adapter_config.json has an entry that is no "
                           "name; save the adapter again",
                           targets->folder);
    }
    for (const struct hf_name *row = targets->architecture->names; row->tensor; row++) {
        int64_t layers = is_in_block(row) ? targets->layers : 1;
        for (int64_t layer = 0; is_weight(row) && layer < layers; layer++)
            ZI_TRY(check_module(targets, list, row, layer));
    }
    json_array_foreach(list, i, target)
    {
        const char *name = json_string_value(target);
        const char *block = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
        if (!is_of_model(targets, block, false))
            zi_log(ZI_LOG_WARN, "hf", "%s: target_modules names %.200s, which %s does not have",
                   targets->folder, name, targets->architecture->causal);
    }
    return ZI_OK;
}

/* What a pattern says of a module; `otherwise` where it says nothing. */
static double pattern_value(const struct hf_targets *targets, const char *pattern,
                            const struct hf_name *row, double otherwise)
{
    const char *key, *name = strchr(row->in_file, '}') + 2;
    json_t *value;
    json_object_foreach(json_object_get(targets->config, pattern), key, value)
    {
        if (is_end_of(key, name, (size_t)hf_stem_length(name))) return json_number_value(value);
    }
    return otherwise;
}

bool hf_targets_join(const struct hf_targets *targets, const struct hf_name *row)
{
    double rank = (double)targets->settings.rank;
    return pattern_value(targets, "rank_pattern", row, rank) != rank;
}

static enum zi_status refuse(const struct hf_targets *targets, const char *key, const char *of)
{
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s: %s asks for what zinf does not do: adapters of several ranks or scales "
                   "(%.200s)" HF_MERGE,
                   targets->folder, key, of);
}

/* Of the rows that a joined module has, each has the common rank, and the scale is the common one. */
static enum zi_status check_row(const struct hf_targets *targets, const struct hf_name *row)
{
    double rank = (double)targets->settings.rank, alpha = (double)targets->settings.alpha;
    double parts = (double)hf_parts_of(targets->architecture, row);
    bool root = targets->settings.scaling == ADAPTER_RSQRT;
    bool joins = hf_targets_join(targets, row);
    if (joins && !(parts > 1 && pattern_value(targets, "rank_pattern", row, rank) == rank * parts))
        return refuse(targets, "rank_pattern", row->in_file);
    double wanted = !joins ? alpha : alpha * (root ? sqrt(parts) : parts);
    if (fabs(pattern_value(targets, "alpha_pattern", row, alpha) - wanted) <= 1e-9 * wanted)
        return ZI_OK;
    return refuse(targets, "alpha_pattern", row->in_file);
}

static enum zi_status check_patterns(const struct hf_targets *targets)
{
    static const char *const patterns[] = {"rank_pattern", "alpha_pattern"};
    const char *key;
    json_t *value;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const json_t *pattern = json_object_get(targets->config, patterns[i]);
        if (pattern && !json_is_null(pattern) && !json_is_object(pattern))
            return refuse(targets, patterns[i], "no object");
        json_object_foreach((json_t *)pattern, key, value)
        {
            if (!json_is_number(value) || !is_of_model(targets, key, true))
                return refuse(targets, patterns[i], key);
        }
    }
    for (const struct hf_name *row = targets->architecture->names; row->tensor; row++) {
        if (hf_names_module(targets->architecture, row) && is_weight(row) &&
            hf_targets_find(targets, row, 0, "lora_A"))
            ZI_TRY(check_row(targets, row));
    }
    return ZI_OK;
}

enum zi_status hf_targets_check(const struct hf_targets *targets)
{
    const json_t *list = json_object_get(targets->config, "target_modules");
    ZI_TRY(check_patterns(targets));
    return json_is_array(list) ? check_list(targets, list) : ZI_OK;
}

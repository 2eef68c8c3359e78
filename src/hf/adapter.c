/* SPDX-License-Identifier: Apache-2.0 */
/* Adapters for PEFT (as of its version 0.21.2). Names are those of the modules, behind
 * base_model.model; a matrix that is several of zinf has a larger rank, which rank_pattern says: that
 * of each of them, also of those without an adapter, whose rows of lora_A are zero. */
#include "hf/adapter.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "hf/modules.h"
#include "hf/safetensors.h"

struct output {
    const struct hf_adapter_writing *writing;
    struct hf_modules all;
    struct hf_module *modules;
    /* Two of each module: lora_A, lora_B. */
    struct safetensors_item *items;
    int module_count;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the list of adapters");
}

static int64_t rank_of(const struct output *o)
{
    return o->writing->description.model->adapter.rank;
}

static enum zi_status add_item(struct output *o, int item, const char *module, const char *end,
                               const int64_t shape[2])
{
    char *name;
    if (asprintf(&name, "base_model.model.%.*s.%s.weight", hf_stem_length(module), module, end) < 0)
        return no_memory();
    o->items[item] = (struct safetensors_item){name, 2, {shape[0], shape[1]}};
    return ZI_OK;
}

static enum zi_status list_modules(struct output *o)
{
    size_t room = (size_t)o->writing->count + 1;
    o->modules = calloc(room, sizeof *o->modules);
    o->items = calloc(2 * room, sizeof *o->items);
    if (!o->modules || !o->items) return no_memory();
    for (int layer = 0; layer < o->writing->description.model->layers; layer++) {
        for (const struct hf_name *row = o->all.architecture->names; row->tensor; row++) {
            char name[HF_NAME];
            if (!hf_names_module(o->all.architecture, row)) continue;
            struct hf_module module = hf_module_of(&o->all, row, layer);
            if (module.adapter_count == 0) continue;
            int64_t rank = rank_of(o) * module.part_count;
            hf_name_write(row->in_file, layer, name);
            int item = 2 * o->module_count;
            o->modules[o->module_count++] = module;
            ZI_TRY(add_item(o, item, name, "lora_A", (int64_t[]){rank, module.inputs}));
            ZI_TRY(add_item(o, item + 1, name, "lora_B", (int64_t[]){module.outputs, rank}));
        }
    }
    if (o->module_count > 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "the model has no adapters; export it as a whole");
}

/* Elements [first, first + count) of lora_A: the matrices of the parts behind each other, zero where a
 * part has none. */
static enum zi_status fill_a(const struct output *o, const struct hf_module *module, int64_t first,
                             int64_t count, char *values)
{
    const struct hf_adapter_writing *w = o->writing;
    int64_t each = rank_of(o) * module->inputs, end = first + count;
    size_t size = zi_dtype_bytes(w->description.type);
    memset(values, 0, (size_t)count * size);
    for (int p = 0; p < module->part_count; p++) {
        int64_t low = p * each > first ? p * each : first;
        int64_t high = (p + 1) * each < end ? (p + 1) * each : end;
        if (low >= high || module->parts[p].adapter < 0) continue;
        ZI_TRY(w->source(w->context, module->parts[p].adapter, low - p * each, high - low,
                         values + (size_t)(low - first) * size));
    }
    return ZI_OK;
}

/* The same of lora_B, whose rows are [of the first part, of the second ..], zero but for the columns of
 * the part that the row is of. */
static enum zi_status fill_b(const struct output *o, const struct hf_module *module, int64_t first,
                             int64_t count, char *values)
{
    const struct hf_adapter_writing *w = o->writing;
    int64_t rank = rank_of(o), columns = rank * module->part_count, end = first + count;
    size_t size = zi_dtype_bytes(w->description.type);
    memset(values, 0, (size_t)count * size);
    for (int p = 0; p < module->part_count; p++) {
        const struct hf_part *part = &module->parts[p];
        for (int64_t row = 0; part->adapter >= 0 && row < part->rows; row++) {
            int64_t at = (part->first + row) * columns + p * rank;
            int64_t low = at > first ? at : first, high = at + rank < end ? at + rank : end;
            if (low >= high) continue;
            ZI_TRY(w->source(w->context, part->adapter + 1, row * rank + low - at, high - low,
                             values + (size_t)(low - first) * size));
        }
    }
    return ZI_OK;
}

static enum zi_status fill(void *context, int item, int64_t first, int64_t count, void *values)
{
    const struct output *o = context;
    const struct hf_module *module = &o->modules[item / 2];
    return item % 2 == 0 ? fill_a(o, module, first, count, values)
                         : fill_b(o, module, first, count, values);
}

/* The name of a module without the number of its block and what stands before: "self_attn.q_proj". */
static void write_module(const struct hf_name *row, FILE *out)
{
    const char *name = strchr(row->in_file, '}') + 2;
    fprintf(out, "\"%.*s\"", hf_stem_length(name), name);
}

/* Writes of each module with adapters its name, or, where `what` says so, its rank or alpha if these
 * are not the common ones. */
enum pattern { TARGETS, RANKS, ALPHAS };
static void write_modules(const struct output *o, enum pattern what, FILE *out)
{
    const struct settings_adapter *s = &o->writing->description.model->adapter;
    const char *comma = "";
    for (const struct hf_name *row = o->all.architecture->names; row->tensor; row++) {
        if (!hf_names_module(o->all.architecture, row)) continue;
        struct hf_module module = hf_module_of(&o->all, row, 0);
        double parts = (double)module.part_count;
        if (module.adapter_count == 0 || (what != TARGETS && parts == 1)) continue;
        fputs(comma, out);
        write_module(row, out);
        comma = ", ";
        if (what == RANKS) fprintf(out, ": %" PRId64, s->rank * module.part_count);
        if (what != ALPHAS) continue;
        /* So that the scale stays. */
        bool root = s->scaling == ADAPTER_RSQRT;
        fprintf(out, ": %.17g", (double)s->alpha * (root ? sqrt(parts) : parts));
    }
}

static void write_keys(const struct output *o, FILE *out)
{
    const struct settings_adapter *s = &o->writing->description.model->adapter;
    bool turned = false;
    for (const struct hf_name *row = o->all.architecture->names; row->tensor; row++)
        turned = turned || row->transposed;
    fprintf(out,
            "{\n  \"peft_type\": \"LORA\",\n  \"task_type\": \"CAUSAL_LM\",\n"
            "  \"base_model_name_or_path\": null,\n  \"inference_mode\": true,\n"
            "  \"r\": %" PRId64 ",\n  \"lora_alpha\": %" PRId64 ",\n  \"lora_dropout\": %.17g,\n"
            "  \"bias\": \"none\",\n  \"fan_in_fan_out\": %s,\n  \"use_rslora\": %s,\n"
            "  \"use_dora\": false,\n  \"modules_to_save\": null,\n  \"target_modules\": [",
            s->rank, s->alpha, s->dropout, turned ? "true" : "false",
            s->scaling == ADAPTER_RSQRT ? "true" : "false");
    write_modules(o, TARGETS, out);
    fputs("],\n  \"rank_pattern\": {", out);
    write_modules(o, RANKS, out);
    fputs("},\n  \"alpha_pattern\": {", out);
    write_modules(o, ALPHAS, out);
    fputs("}\n}\n", out);
}

static enum zi_status write_config(const struct output *o)
{
    char path[PATH_MAX], *text = NULL;
    size_t bytes;
    int length = snprintf(path, sizeof path, "%s/adapter_config.json", o->writing->folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", o->writing->folder);
    FILE *out = open_memstream(&text, &bytes);
    if (out) write_keys(o, out);
    bool made = out && fclose(out) == 0;
    enum zi_status status = made && text ? zi_output_text("hf", path, text) : no_memory();
    free(text);
    return status;
}

static enum zi_status write_all(struct output *o)
{
    ZI_TRY(list_modules(o));
    const struct safetensors_writing writing = {
        .folder = o->writing->folder,
        .stem = "adapter_model",
        .type = o->writing->description.type,
        .shard_bytes = INT64_MAX,
        .items = o->items,
        .count = 2 * o->module_count,
        .fill = fill,
        .context = o,
    };
    ZI_TRY(safetensors_write(&writing));
    return write_config(o);
}

enum zi_status hf_adapter_write(const struct hf_adapter_writing *writing)
{
    struct output output = {
        .writing = writing,
        .all = {hf_architecture_of(&writing->description), writing->tensors, writing->count}};
    enum zi_status status = write_all(&output);
    for (int i = 0; i < 2 * output.module_count; i++)
        free((char *)output.items[i].name);
    free(output.items);
    free(output.modules);
    return status;
}

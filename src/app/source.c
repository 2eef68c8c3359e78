/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that were made elsewhere, or by an earlier run.
 *
 * Whatever the source has, it gives fp32, which holds the numbers of all its types, and a parameter of
 * 16 bits is made of that as an optimizer would make it of its master: so bits stay where the types
 * are the same, and parameter and master are of one number on every rank. A checkpoint that has
 * masters gives them. */
#include "app/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/half.h"
#include "base/log.h"
#include "comm/comm.h"
#include "hf/adapter.h"
#include "hf/model.h"

/* Elements that are converted at once. */
enum { PIECE = 1 << 20 };

struct source {
    char *path;
    /* One of both. */
    struct hf_model *folder;
    struct checkpoint *checkpoint;
    /* Of a checkpoint. */
    struct comm *comm;
    struct setup setup;
    /* Of source_match; not owned. */
    const struct model *model;
    /* Adapters that the source has none of: from a folder, or drawn. */
    struct hf_adapter *adapter;
    uint64_t seed;
    /* Of a folder: a tensor's number among those that the folder has. */
    int *numbers;
    /* Of PIECE elements. */
    float *piece;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the weights of a model");
}

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && length < (int)sizeof path && lstat(path, &info) == 0;
}

/* Whether a folder has a link `latest` or files of steps. */
static bool has_checkpoints(const char *folder)
{
    return has_file(folder, "latest") || checkpoint_newest_step(folder) >= 0;
}

enum zi_status source_open_checkpoint(struct comm *comm, const char *path,
                                      struct checkpoint **checkpoint)
{
    char inner[PATH_MAX];
    struct stat info;
    int length = snprintf(inner, sizeof inner, "%s/checkpoints", path);
    bool is_run = length > 0 && length < (int)sizeof inner && stat(inner, &info) == 0 &&
                  S_ISDIR(info.st_mode);
    if (!is_run && stat(path, &info) == 0 && S_ISDIR(info.st_mode) && !has_checkpoints(path))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s has no config.json and no checkpoints; name a model folder that "
                       "transformers' save_pretrained has written, the directory of a run, or a "
                       "checkpoint%s",
                       path,
                       has_file(path, "adapter_config.json")
                           ? ". It has adapters: those are named by adapter.from, beside "
                             "model.from, which names the model that they are for"
                           : "");
    return checkpoint_open(comm, is_run ? inner : path, checkpoint);
}

static enum zi_status open_checkpoint(struct source *source)
{
    ZI_TRY(comm_self(&source->comm));
    ZI_TRY(source_open_checkpoint(source->comm, source->path, &source->checkpoint));
    const char *text = checkpoint_get_header(source->checkpoint)->model_text;
    ZI_TRY(setup_parse_part(&source->setup, text, "model of the checkpoint", setup_model_sections,
                            NULL, 0));
    model_check(source->setup.deck);
    return deck_check(source->setup.deck);
}

static enum zi_status open_any(struct source *source, const char *path, bool says)
{
    struct stat info;
    source->path = strdup(path);
    source->piece = malloc(PIECE * sizeof *source->piece);
    if (!source->path || !source->piece) return no_memory();
    if (stat(path, &info) != 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s is not there; name a model folder of Hugging Face or a checkpoint",
                       path);
    return has_file(path, "config.json") ? hf_model_open(path, says, &source->folder)
                                         : open_checkpoint(source);
}

enum zi_status source_open(const char *path, bool says, struct source **source)
{
    *source = calloc(1, sizeof **source);
    if (!*source) return no_memory();
    enum zi_status status = open_any(*source, path, says);
    if (status >= 0) return ZI_OK;
    source_close(*source);
    *source = NULL;
    return status;
}

void source_close(struct source *source)
{
    if (!source) return;
    hf_model_close(source->folder);
    hf_adapter_close(source->adapter);
    if (source->checkpoint) checkpoint_close(source->checkpoint);
    if (source->comm) comm_destroy(source->comm);
    setup_cleanup(&source->setup);
    free(source->numbers);
    free(source->piece);
    free(source->path);
    free(source);
}

const struct settings_model *source_model(const struct source *source)
{
    return source->folder ? &hf_model_config(source->folder)->model
                          : &source->setup.settings->model;
}

const char *source_class(const struct source *source)
{
    return source->folder ? hf_config_class(hf_model_config(source->folder)) : "checkpoint";
}

enum zi_dtype source_type(const struct source *source)
{
    return source->folder ? hf_model_type(source->folder)
                          : checkpoint_get_header(source->checkpoint)->type;
}

/* What is read of a tensor of a checkpoint: its master, where it has one. */
static enum tier_kind state_of(const struct source *source, const char *tensor)
{
    bool master = !checkpoint_get_header(source->checkpoint)->weights_only &&
                  checkpoint_elements(source->checkpoint, TIER_MASTER, tensor) >= 0;
    return master ? TIER_MASTER : TIER_PARAMETER;
}

/* Whether a tensor of the model is of an adapter that the source has not: it begins anew. */
static bool begins_anew(const struct source *source, int tensor)
{
    return source->model->tensors[tensor].adapts && source_model(source)->adapter.rank == 0;
}

static enum zi_status match_checkpoint(const struct source *source, const struct model *model)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        if (begins_anew(source, i)) continue;
        int64_t found = checkpoint_elements(source->checkpoint, state_of(source, t->name), t->name);
        if (found != t->elements)
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "%s has %" PRId64 " elements of %s, and the model %" PRId64,
                           source->path, found < 0 ? 0 : found, t->name, t->elements);
    }
    return ZI_OK;
}

static enum zi_status match_folder(struct source *source, const struct model *model)
{
    struct hf_tensor *tensors = calloc((size_t)model->tensor_count + 1, sizeof *tensors);
    source->numbers = calloc((size_t)model->tensor_count + 1, sizeof *source->numbers);
    if (!tensors || !source->numbers) {
        free(tensors);
        return no_memory();
    }
    int count = 0;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        source->numbers[i] = count;
        if (begins_anew(source, i)) continue;
        tensors[count++] = (struct hf_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}};
    }
    enum zi_status status = hf_model_match(source->folder, tensors, count);
    free(tensors);
    return status;
}

enum zi_status source_match(struct source *source, const struct model *model, uint64_t seed)
{
    source->model = model;
    source->seed = seed;
    if (source->adapter) {
        struct hf_tensor *tensors = setup_hf_tensors(model);
        if (!tensors) return no_memory();
        enum zi_status status = hf_adapter_match(source->adapter, tensors, model->tensor_count);
        free(tensors);
        ZI_TRY(status);
    }
    return source->folder ? match_folder(source, model) : match_checkpoint(source, model);
}

enum zi_status source_add_adapter(struct source *source, const char *folder)
{
    return hf_adapter_open(folder, source_model(source), &source->adapter);
}

static enum zi_status read_checkpoint(struct source *source, int tensor, int64_t first,
                                      int64_t count, float *values)
{
    const struct checkpoint_header *header = checkpoint_get_header(source->checkpoint);
    const struct model_tensor *t = &source->model->tensors[tensor];
    enum tier_kind state = state_of(source, t->name);
    ZI_TRY(checkpoint_read(source->checkpoint, state, t->name, t->elements, first, count, values));
    if (state == TIER_MASTER || header->type == ZI_FP32) return ZI_OK;
    /* In place, from the last: what is read lies in the first half. */
    const uint16_t *halves = (const uint16_t *)(const void *)values;
    for (int64_t i = count - 1; i >= 0; i--) {
        uint16_t half = halves[i];
        values[i] = zi_half_to_fp32(header->type, half);
    }
    return ZI_OK;
}

enum zi_status source_read(struct source *source, int tensor, int64_t first, int64_t count,
                           float *values)
{
    if (begins_anew(source, tensor) && source->adapter)
        return hf_adapter_read(source->adapter, tensor, first, count, values);
    if (begins_anew(source, tensor)) {
        model_initialize(&source->model->tensors[tensor], source->seed, first, count, values);
        return ZI_OK;
    }
    if (source->checkpoint) return read_checkpoint(source, tensor, first, count, values);
    return hf_model_read(source->folder, source->numbers[tensor], first, count, ZI_FP32, values);
}

enum zi_status source_read_bits(struct source *source, int tensor, int64_t first, int64_t count,
                                void *values)
{
    const struct model_tensor *t = &source->model->tensors[tensor];
    if (source->folder)
        return hf_model_read(source->folder, source->numbers[tensor], first, count,
                             source_type(source), values);
    return checkpoint_read(source->checkpoint, TIER_PARAMETER, t->name, t->elements, first, count,
                           values);
}

/* A parameter of 16 bits. */
static enum zi_status read_halves(struct source *source, int tensor, int64_t first, int64_t count,
                                  uint16_t *values)
{
    enum zi_dtype type = source->model->type;
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        ZI_TRY(source_read(source, tensor, first + done, part, source->piece));
        for (int64_t i = 0; i < part; i++)
            values[done + i] = zi_half_parameter(type, source->piece[i]);
    }
    return ZI_OK;
}

enum zi_status source_visit(void *context, enum tier_kind kind, int tensor, int64_t first,
                            int64_t count, void *values)
{
    struct source *source = context;
    if (kind == TIER_PARAMETER && source->model->type != ZI_FP32)
        return read_halves(source, tensor, first, count, values);
    if (kind == TIER_PARAMETER || kind == TIER_MASTER)
        return source_read(source, tensor, first, count, values);
    memset(values, 0, (size_t)count * sizeof(float));
    return ZI_OK;
}

enum zi_status source_name_files(const char *checkpoint, const char *ending, char path[PATH_MAX])
{
    size_t length = strlen(checkpoint);
    if (length > 3 && strcmp(checkpoint + length - 3, ".h5") == 0) length -= 3;
    int written = snprintf(path, PATH_MAX, "%.*s%s", (int)length, checkpoint, ending);
    if (written > 0 && written < PATH_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "%s: the path is too long", checkpoint);
}

enum zi_status source_find_files(const char *checkpoint, char folder[PATH_MAX])
{
    struct stat info;
    const char *slash = strrchr(checkpoint, '/');
    ZI_TRY(source_name_files(checkpoint, ".files", folder));
    if (stat(folder, &info) == 0 && S_ISDIR(info.st_mode)) return ZI_OK;
    int written = snprintf(folder, PATH_MAX, "%.*smodel.files",
                           slash ? (int)(slash - checkpoint) + 1 : 0, checkpoint);
    if (written < 0 || written >= PATH_MAX)
        return zi_fail(ZI_ERROR_USAGE, "app", "%s: the path is too long", checkpoint);
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) folder[0] = 0;
    return ZI_OK;
}

enum zi_status source_files(const struct source *source, char folder[PATH_MAX])
{
    if (source->checkpoint)
        return source_find_files(checkpoint_get_header(source->checkpoint)->path, folder);
    snprintf(folder, PATH_MAX, "%s", source->path);
    return ZI_OK;
}

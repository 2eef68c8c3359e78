/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a model folder.
 *
 * The file tells more than the config. Names lack their first part where the bare model was saved.
 * A head that is the token embedding is left out of the file whatever tie_word_embeddings says, so
 * a head that is not there is tied; and where the config says that it is tied and the file has one
 * all the same, transformers 4 takes the embedding: then they have to have the same bits. */
#include "hf/model.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "hf/architecture.h"
#include "hf/places.h"
#include "hf/safetensors.h"

#define HEAD      "head.weight"
#define EMBEDDING "embedding.token.weight"

/* PIECE: elements that are turned at once. */
enum { PIECE = 4096, COMPARED = 1 << 16 };

struct hf_model {
    char *folder;
    struct hf_config config;
    struct safetensors *files;
    /* Names lack the prefix. */
    bool bare;
    enum zi_dtype type;
    /* Of hf_model_match. */
    int count;
    struct hf_place *places;
    const struct safetensors_tensor **found;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the list of tensors");
}

/* The name in these files. */
static const char *name_here(const struct hf_model *model, const char *name)
{
    const char *prefix = model->config.architecture->prefix;
    size_t length = strlen(prefix);
    return model->bare && strncmp(name, prefix, length) == 0 ? name + length : name;
}

/* The tensor of the files that has a name of zinf, one without a layer. */
static const struct safetensors_tensor *find_whole(const struct hf_model *model, const char *tensor)
{
    const struct hf_name *row = model->config.architecture->names;
    while (row->tensor && strcmp(row->tensor, tensor) != 0)
        row++;
    return row->tensor ? safetensors_find(model->files, name_here(model, row->in_file)) : NULL;
}

/* Whether two tensors have the same bits. */
static enum zi_status compare(const struct hf_model *model, const struct safetensors_tensor *one,
                              const struct safetensors_tensor *other, bool *same)
{
    float *left = malloc(2 * COMPARED * sizeof *left), *right = left + COMPARED;
    enum zi_status status = left ? ZI_OK : no_memory();
    *same = one->is_weight && other->is_weight && one->type == other->type &&
            one->elements == other->elements;
    for (int64_t first = 0; status >= 0 && *same && first < one->elements; first += COMPARED) {
        int64_t count = one->elements - first < COMPARED ? one->elements - first : COMPARED;
        status = safetensors_read(model->files, one, first, count, one->type, left);
        if (status >= 0)
            status = safetensors_read(model->files, other, first, count, one->type, right);
        *same = status >= 0 && memcmp(left, right, (size_t)count * zi_dtype_bytes(one->type)) == 0;
    }
    free(left);
    return status;
}

/* The file has the last word on whether the head is tied. */
static enum zi_status settle_head(struct hf_model *model, bool says)
{
    const struct safetensors_tensor *head = find_whole(model, HEAD);
    const struct safetensors_tensor *embedding = find_whole(model, EMBEDDING);
    struct settings_model *settings = &model->config.model;
    bool same = false;
    if (!head && !settings->tied && says)
        zi_log(
            ZI_LOG_WARN, "hf",
            "%s: config.json says that the head is not tied, and the weights have none: the token "
            "embedding is taken for it",
            model->folder);
    if (!head) settings->tied = 1;
    if (!head || !embedding || !settings->tied) return ZI_OK;
    ZI_TRY(compare(model, head, embedding, &same));
    if (same) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "hf",
        "%s: config.json says that the head is tied (tie_word_embeddings), and the "
        "weights have %s, which is not the token embedding; say false there to use it, or "
        "take it out of the file",
        model->folder, head->name);
}

/* Whether the model needs no tensor of that name. */
static bool is_passed(const struct hf_model *model, const char *name)
{
    int layer;
    for (const char *const *passed = model->config.architecture->passed; *passed; passed++)
        if (hf_name_matches(name_here(model, *passed), name, &layer)) return true;
    return false;
}

/* The type of all tensors that are not passed over. */
static void settle_type(struct hf_model *model, bool says)
{
    bool first = true, mixed = false;
    for (int i = 0; i < safetensors_count(model->files); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(model->files, i);
        if (!tensor->is_weight || is_passed(model, tensor->name)) continue;
        mixed = mixed || (!first && tensor->type != model->type);
        model->type = tensor->type;
        first = false;
    }
    if (mixed) model->type = ZI_FP32;
    if (mixed && says)
        zi_log(ZI_LOG_NOTE, "hf", "%s: the weights have several types: together they are fp32",
               model->folder);
}

static enum zi_status open_all(struct hf_model *model, const char *folder, bool says)
{
    char path[PATH_MAX];
    struct stat is;
    model->folder = strdup(folder);
    if (!model->folder) return no_memory();
    int length = snprintf(path, sizeof path, "%s/config.json", folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", folder);
    if (stat(path, &is) != 0)
        return zi_fail(
            ZI_ERROR_USAGE, "hf",
            "%s has no config.json; name a folder that transformers' save_pretrained has "
            "written",
            folder);
    ZI_TRY(hf_config_read(path, says, &model->config));
    ZI_TRY(safetensors_open(folder, &model->files));
    model->bare = !find_whole(model, EMBEDDING);
    settle_type(model, says);
    return settle_head(model, says);
}

enum zi_status hf_model_open(const char *folder, bool says, struct hf_model **model)
{
    *model = calloc(1, sizeof **model);
    if (!*model) return no_memory();
    enum zi_status status = open_all(*model, folder, says);
    if (status >= 0) return ZI_OK;
    hf_model_close(*model);
    *model = NULL;
    return status;
}

void hf_model_close(struct hf_model *model)
{
    if (!model) return;
    safetensors_close(model->files);
    free(model->folder);
    free(model->places);
    free(model->found);
    free(model);
}

const struct hf_config *hf_model_config(const struct hf_model *model)
{
    return &model->config;
}

enum zi_dtype hf_model_type(const struct hf_model *model)
{
    return model->type;
}

/* The shape of a tensor of the file is what its parts make. */
static enum zi_status check_shape(const struct hf_model *model, const struct hf_tensor *tensor,
                                  const struct hf_place *place,
                                  const struct safetensors_tensor *found)
{
    bool turned = place->name->transposed;
    int64_t rows = turned ? place->columns : place->total;
    int64_t columns = turned ? place->total : place->columns;
    bool good = found->dimensions == tensor->dimensions && found->shape[0] == rows &&
                (tensor->dimensions < 2 || found->shape[1] == columns);
    const char *path = safetensors_path(model->files, found);
    if (!good)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: %s has %d dimensions, %" PRId64 " x %" PRId64
                       ", where by config.json it has %" PRId64 " x %" PRId64,
                       path, found->name, found->dimensions, found->shape[0],
                       found->dimensions > 1 ? found->shape[1] : 1, rows, columns);
    if (found->is_weight) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s: %s has the type %s, and weights are F32, BF16 or F16; convert the model by "
                   "loading and saving it in transformers",
                   path, found->name, found->type_name);
}

static enum zi_status match_one(struct hf_model *model, const struct hf_tensor *tensor, int index)
{
    const struct hf_place *place = &model->places[index];
    char name[HF_NAME];
    const char *here = name_here(model, hf_name_write(place->name->in_file, place->layer, name));
    model->found[index] = safetensors_find(model->files, here);
    if (!model->found[index])
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s has no tensor %s, which %s needs", model->folder,
                       here, hf_config_class(&model->config));
    return check_shape(model, tensor, place, model->found[index]);
}

/* Every tensor of the files has a use, or is known to have none. */
static enum zi_status check_used(const struct hf_model *model)
{
    int total = safetensors_count(model->files), unused = 0;
    const char *first = NULL;
    bool *used = calloc((size_t)total + 1, sizeof *used);
    if (!used) return no_memory();
    for (int i = 0; i < model->count; i++)
        used[model->found[i] - safetensors_at(model->files, 0)] = true;
    const struct safetensors_tensor *head = find_whole(model, HEAD);
    if (head && model->config.model.tied) used[head - safetensors_at(model->files, 0)] = true;
    for (int i = 0; i < total; i++) {
        const char *name = safetensors_at(model->files, i)->name;
        if (used[i] || is_passed(model, name)) continue;
        if (!first) first = name;
        unused++;
    }
    free(used);
    if (unused == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s has %d tensor%s that %s of this config.json has no place for, as %.200s",
                   model->folder, unused, unused > 1 ? "s" : "", hf_config_class(&model->config),
                   first);
}

enum zi_status hf_model_match(struct hf_model *model, const struct hf_tensor *tensors, int count)
{
    model->count = count;
    model->places = calloc((size_t)count + 1, sizeof *model->places);
    model->found = calloc((size_t)count + 1, sizeof *model->found);
    if (!model->places || !model->found) return no_memory();
    ZI_TRY(hf_places_find(model->config.architecture, tensors, count, model->places));
    for (int i = 0; i < count; i++)
        ZI_TRY(match_one(model, &tensors[i], i));
    return check_used(model);
}

/* Elements of a tensor that is transposed in the file, and where they go. */
struct turn {
    const struct hf_model *model;
    int tensor;
    int64_t first, count;
    enum zi_dtype type;
    char *values;
};

/* Column `column` of rows [low, high): runs of the file, whose elements go to a row each. */
static enum zi_status turn_column(const struct turn *t, int64_t column, int64_t low, int64_t high)
{
    const struct hf_place *place = &t->model->places[t->tensor];
    size_t size = zi_dtype_bytes(t->type);
    float piece[PIECE];
    for (int64_t row = low; row < high; row += PIECE) {
        int64_t count = high - row < PIECE ? high - row : PIECE;
        ZI_TRY(safetensors_read(t->model->files, t->model->found[t->tensor],
                                column * place->total + place->first + row, count, t->type, piece));
        for (int64_t i = 0; i < count; i++)
            memcpy(t->values + (size_t)((row + i) * place->columns + column - t->first) * size,
                   (const char *)piece + (size_t)i * size, size);
    }
    return ZI_OK;
}

/* Of a tensor that is transposed in the file: column by column, each a run of the file. */
static enum zi_status read_turned(const struct turn *t)
{
    int64_t columns = t->model->places[t->tensor].columns, end = t->first + t->count;
    for (int64_t column = 0; column < columns; column++) {
        /* Rows whose element of this column is in the range. */
        int64_t low = (t->first - column + columns - 1) / columns;
        int64_t high = (end - column + columns - 1) / columns;
        ZI_TRY(turn_column(t, column, low, high));
    }
    return ZI_OK;
}

enum zi_status hf_model_read(const struct hf_model *model, int tensor, int64_t first, int64_t count,
                             enum zi_dtype type, void *values)
{
    const struct hf_place *place = &model->places[tensor];
    const struct turn turn = {model, tensor, first, count, type, values};
    if (place->name->transposed && count > 0) return read_turned(&turn);
    return safetensors_read(model->files, model->found[tensor],
                            place->first * place->columns + first, count, type, values);
}

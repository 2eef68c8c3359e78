/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of what each block does. A list of windows is as numbers say it where for some n all blocks
 * from a first one on have the window, but for every n-th of all; a list of rotations where every n-th
 * block does not rotate. The smallest numbers that fit are taken. */
#include "hf/layers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define WINDOW "sliding_attention"
#define FULL   "full_attention"

static bool every(int64_t n, int64_t block)
{
    return n > 0 && (block + 1) % n == 0;
}

bool hf_has_window(const struct settings_model *model, int64_t block)
{
    return model->window > 0 && block >= model->window_from && !every(model->full_every, block);
}

static enum zi_status fail_length(const char *path, const char *what, const json_t *list,
                                  int64_t layers)
{
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s has %zu entries, and the model %" PRId64 " layers",
                   path, what, json_array_size(list), layers);
}

static enum zi_status read_rotated(const char *path, const json_t *list,
                                   struct settings_model *model)
{
    int64_t first = 0;
    if ((int64_t)json_array_size(list) < model->layers)
        return fail_length(path, "no_rope_layers", list, model->layers);
    for (int64_t i = 0; i < model->layers; i++) {
        const json_t *entry = json_array_get(list, (size_t)i);
        bool rotates = json_is_true(entry) || json_integer_value(entry) == 1;
        if (!rotates && !json_is_false(entry) &&
            !(json_is_integer(entry) && json_integer_value(entry) == 0))
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s: no_rope_layers[%" PRId64 "] is not 0 or 1",
                           path, i);
        if (!rotates && first == 0) first = i + 1;
        if (rotates == every(first, i))
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: no_rope_layers[%" PRId64
                           "]: zinf has models in which every n-th block does not rotate, and by "
                           "those before n is %" PRId64,
                           path, i, first);
    }
    model->unrotated_every = first;
    return ZI_OK;
}

/* Which blocks have the window by what the file says. */
static enum zi_status list_windows(const char *path, const struct hf_lists *lists,
                                   const struct settings_model *model, bool *has)
{
    if (lists->windows && (int64_t)json_array_size(lists->windows) != model->layers)
        return fail_length(path, "layer_types", lists->windows, model->layers);
    for (int64_t i = 0; i < model->layers; i++) {
        has[i] = lists->unrotated_have ? model->window > 0 && every(model->unrotated_every, i)
                                       : hf_has_window(model, i);
        if (!lists->windows) continue;
        const char *type = json_string_value(json_array_get(lists->windows, (size_t)i));
        has[i] = type && strcmp(type, WINDOW) == 0;
        if (!has[i] && (!type || strcmp(type, FULL) != 0))
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: layer_types[%" PRId64 "] is %.100s, and zinf has " FULL
                           " and " WINDOW,
                           path, i, type ? type : "no string");
        if (has[i] && model->window == 0)
            return zi_fail(ZI_ERROR_USAGE, "hf",
                           "%s: layer_types[%" PRId64 "] is " WINDOW ", and the file has no window",
                           path, i);
    }
    return ZI_OK;
}

/* Whether the list is that of n, and then its first block. */
static bool fits(const bool *has, int64_t layers, int64_t n, int64_t *first)
{
    *first = 0;
    for (int64_t i = 0; i < layers; i++)
        if (!has[i] && !every(n, i)) *first = i + 1;
    for (int64_t i = 0; i < layers; i++)
        if (has[i] != (i >= *first && !every(n, i))) return false;
    return true;
}

static enum zi_status find_windows(const char *path, const bool *has, struct settings_model *model)
{
    model->window_from = model->full_every = 0;
    if (!memchr(has, true, (size_t)model->layers)) model->window = 0;
    if (model->window == 0) return ZI_OK;
    for (int64_t n = 0; n <= model->layers; n++) {
        if (!fits(has, model->layers, n, &model->window_from)) continue;
        model->full_every = n;
        return ZI_OK;
    }
    return zi_fail(ZI_ERROR_USAGE, "hf",
                   "%s: zinf has windows of all blocks from one on but every n-th (layer_types, "
                   "use_sliding_window), and these are others",
                   path);
}

enum zi_status hf_lists_read(const char *path, const struct hf_lists *lists,
                             struct settings_model *model)
{
    bool *has = calloc((size_t)model->layers, sizeof *has);
    enum zi_status status = ZI_OK;
    if (!has) return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the layers of %s", path);
    if (lists->rotated) status = read_rotated(path, lists->rotated, model);
    if (model->unrotated_every > model->layers) model->unrotated_every = 0;
    if (!lists->windowed) model->window = 0;
    if (status >= 0) status = list_windows(path, lists, model, has);
    if (status >= 0) status = find_windows(path, has, model);
    free(has);
    return status;
}

static json_t *list_of(const struct settings_model *model,
                       json_t *(*entry)(const struct settings_model *, int64_t))
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < model->layers; i++) {
        if (json_array_append_new(list, entry(model, i)) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *window_entry(const struct settings_model *model, int64_t block)
{
    return json_string(hf_has_window(model, block) ? WINDOW : FULL);
}

static json_t *rotated_entry(const struct settings_model *model, int64_t block)
{
    return json_integer(!every(model->unrotated_every, block));
}

json_t *hf_lists_windows(const struct settings_model *model)
{
    return list_of(model, window_entry);
}

json_t *hf_lists_rotated(const struct settings_model *model)
{
    return list_of(model, rotated_entry);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a model folder: the names of the whole causal model, in the order of zinf's tensors, those
 * that share one in the file joined at the first of them. */
#include "hf/model.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hf/architecture.h"
#include "hf/places.h"
#include "hf/safetensors.h"

enum { PIECE = 4096 };

struct output {
    const struct hf_writing *writing;
    struct hf_place *places;
    struct safetensors_item *items;
    /* Of each item, and behind the last: its tensors are parts[starts[i]] .. */
    int *starts, *parts;
    int item_count, part_count;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the list of tensors");
}

static bool share_item(const struct hf_place *one, const struct hf_place *other)
{
    return one->layer == other->layer && strcmp(one->name->in_file, other->name->in_file) == 0;
}

/* Lists the item that begins with a tensor, and its parts in their order there. */
static enum zi_status add_item(struct output *o, int tensor)
{
    const struct hf_place *place = &o->places[tensor];
    struct safetensors_item *item = &o->items[o->item_count];
    char name[HF_NAME];
    bool turned = place->name->transposed;
    item->name = strdup(hf_name_write(place->name->in_file, place->layer, name));
    if (!item->name) return no_memory();
    item->dimensions = o->writing->tensors[tensor].dimensions;
    item->shape[0] = turned ? place->columns : place->total;
    item->shape[1] = turned ? place->total : place->columns;
    o->starts[o->item_count++] = o->part_count;
    for (int64_t at = 0; at < place->total;) {
        int next = -1;
        for (int i = 0; i < o->writing->count && next < 0; i++)
            if (o->places[i].first == at && share_item(&o->places[i], place)) next = i;
        ZI_REQUIRE(next >= 0 && o->places[next].rows > 0);
        o->parts[o->part_count++] = next;
        at += o->places[next].rows;
    }
    o->starts[o->item_count] = o->part_count;
    return ZI_OK;
}

/* Elements [first, first + count) of rows that lie one behind the other. */
static enum zi_status fill_rows(const struct output *o, int item, int64_t first, int64_t count,
                                char *values)
{
    const struct hf_writing *w = o->writing;
    size_t size = zi_dtype_bytes(w->description.type);
    int64_t end = first + count;
    for (int p = o->starts[item]; p < o->starts[item + 1]; p++) {
        const struct hf_place *place = &o->places[o->parts[p]];
        int64_t from = place->first * place->columns, to = from + place->rows * place->columns;
        int64_t low = from > first ? from : first, high = to < end ? to : end;
        if (low >= high) continue;
        ZI_TRY(w->source(w->context, o->parts[p], low - from, high - low,
                         values + (size_t)(low - first) * size));
    }
    return ZI_OK;
}

/* What of a tensor's row lies in elements [first, end) of a transposed item, whose column it is. */
static enum zi_status fill_column(const struct output *o, int part, int64_t row,
                                  const int64_t range[2], char *values)
{
    const struct hf_writing *w = o->writing;
    const struct hf_place *place = &o->places[part];
    size_t size = zi_dtype_bytes(w->description.type);
    int64_t column = place->first + row, total = place->total;
    int64_t low = (range[0] - column + total - 1) / total;
    int64_t high = (range[1] - column + total - 1) / total;
    float piece[PIECE];
    for (int64_t at = low; at < high; at += PIECE) {
        int64_t count = high - at < PIECE ? high - at : PIECE;
        ZI_TRY(w->source(w->context, part, row * place->columns + at, count, piece));
        for (int64_t i = 0; i < count; i++)
            memcpy(values + (size_t)((at + i) * total + column - range[0]) * size,
                   (const char *)piece + (size_t)i * size, size);
    }
    return ZI_OK;
}

static enum zi_status fill_turned(const struct output *o, int item, int64_t first, int64_t count,
                                  char *values)
{
    const int64_t range[2] = {first, first + count};
    for (int p = o->starts[item]; p < o->starts[item + 1]; p++)
        for (int64_t row = 0; row < o->places[o->parts[p]].rows; row++)
            ZI_TRY(fill_column(o, o->parts[p], row, range, values));
    return ZI_OK;
}

static enum zi_status fill(void *context, int item, int64_t first, int64_t count, void *values)
{
    const struct output *o = context;
    bool turned = o->places[o->parts[o->starts[item]]].name->transposed;
    return turned ? fill_turned(o, item, first, count, values)
                  : fill_rows(o, item, first, count, values);
}

static enum zi_status list_items(struct output *o, const struct hf_architecture *architecture)
{
    const struct hf_writing *w = o->writing;
    size_t room = (size_t)w->count + 1;
    o->places = calloc(room, sizeof *o->places);
    o->items = calloc(room, sizeof *o->items);
    o->starts = calloc(room, sizeof *o->starts);
    o->parts = calloc(room, sizeof *o->parts);
    if (!o->places || !o->items || !o->starts || !o->parts) return no_memory();
    ZI_TRY(hf_places_find(architecture, w->tensors, w->count, o->places));
    for (int i = 0; i < w->count; i++)
        if (o->places[i].first == 0) ZI_TRY(add_item(o, i));
    return ZI_OK;
}

static enum zi_status write_all(struct output *o, const struct hf_architecture *architecture)
{
    const struct hf_writing *w = o->writing;
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/config.json", w->folder);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", w->folder);
    ZI_TRY(list_items(o, architecture));
    const struct safetensors_writing writing = {
        .folder = w->folder,
        .type = w->description.type,
        .shard_bytes = w->shard_bytes,
        .items = o->items,
        .count = o->item_count,
        .fill = fill,
        .context = o,
    };
    ZI_TRY(safetensors_write(&writing));
    return hf_config_write(&w->description, path);
}

enum zi_status hf_model_write(const struct hf_writing *writing)
{
    struct output output = {.writing = writing};
    enum zi_status status = write_all(&output, hf_architecture_of(&writing->description));
    for (int i = 0; i < output.item_count; i++)
        free((char *)output.items[i].name);
    free(output.places);
    free(output.items);
    free(output.starts);
    free(output.parts);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Writing safetensors: the head of a file is known from the list of its tensors, so it goes first
 * and the numbers follow it, piece by piece.
 *
 * The metadata `format: pt` is what transformers asks for. Heads are padded with spaces to 8 bytes,
 * so that numbers begin aligned. */
#include "hf/safetensors.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"

enum { PIECE = 1 << 20, NAME = 64 };

static const char *type_name(enum zi_dtype type)
{
    return type == ZI_FP32 ? "F32" : type == ZI_BF16 ? "BF16" : "F16";
}

static int64_t elements_of(const struct safetensors_item *item)
{
    return item->shape[0] * (item->dimensions > 1 ? item->shape[1] : 1);
}

static int64_t bytes_of(const struct safetensors_writing *w, int item)
{
    return elements_of(&w->items[item]) * (int64_t)zi_dtype_bytes(w->type);
}

/* The item behind the last of a file that begins with item `first`. */
static int shard_end(const struct safetensors_writing *w, int first)
{
    int64_t bytes = 0;
    int end = first;
    for (; end < w->count && (end == first || bytes + bytes_of(w, end) <= w->shard_bytes); end++)
        bytes += bytes_of(w, end);
    return end;
}

static int shard_count(const struct safetensors_writing *w)
{
    int count = 0;
    for (int first = 0; first < w->count; first = shard_end(w, first))
        count++;
    return count;
}

static void shard_name(const struct safetensors_writing *w, int shard, int count, char name[NAME])
{
    const char *stem = w->stem ? w->stem : "model";
    if (count == 1)
        snprintf(name, NAME, "%s.safetensors", stem);
    else
        snprintf(name, NAME, "%s-%05d-of-%05d.safetensors", stem, shard + 1, count);
}

/* A text that a function writes, and its length; freed by the caller. */
static enum zi_status end_text(FILE *out, char **text)
{
    if (out && fclose(out) == 0 && *text) return ZI_OK;
    free(*text);
    *text = NULL;
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the head of a file");
}

static enum zi_status make_head(const struct safetensors_writing *w, int first, int end,
                                char **text, size_t *bytes)
{
    int64_t at = 0;
    *text = NULL;
    FILE *out = open_memstream(text, bytes);
    if (!out) return end_text(NULL, text);
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", out);
    for (int i = first; i < end; i++) {
        const struct safetensors_item *item = &w->items[i];
        fprintf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRId64, item->name,
                type_name(w->type), item->shape[0]);
        if (item->dimensions > 1) fprintf(out, ",%" PRId64, item->shape[1]);
        fprintf(out, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", at, at + bytes_of(w, i));
        at += bytes_of(w, i);
    }
    fputc('}', out);
    while (ftell(out) % 8 != 0)
        fputc(' ', out);
    return end_text(out, text);
}

static enum zi_status write_numbers(const struct safetensors_writing *w, int item, void *piece,
                                    struct zi_output *output)
{
    int64_t elements = elements_of(&w->items[item]);
    for (int64_t first = 0; first < elements; first += PIECE) {
        int64_t count = elements - first < PIECE ? elements - first : PIECE;
        ZI_TRY(w->fill(w->context, item, first, count, piece));
        ZI_TRY(zi_output_write(output, piece, (size_t)count * zi_dtype_bytes(w->type)));
    }
    return ZI_OK;
}

static enum zi_status write_file(const struct safetensors_writing *w, int first, int end,
                                 void *piece, struct zi_output *output)
{
    char *head;
    size_t bytes;
    ZI_TRY(make_head(w, first, end, &head, &bytes));
    uint64_t length = bytes;
    enum zi_status status = zi_output_write(output, &length, sizeof length);
    if (status >= 0) status = zi_output_write(output, head, bytes);
    free(head);
    for (int i = first; i < end && status >= 0; i++)
        status = write_numbers(w, i, piece, output);
    return status;
}

static enum zi_status write_shard(const struct safetensors_writing *w, int first, const char *name,
                                  void *piece)
{
    char path[PATH_MAX];
    struct zi_output output;
    int length = snprintf(path, sizeof path, "%s/%s", w->folder, name);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", w->folder);
    ZI_TRY(zi_output_begin("hf", path, 0666, &output));
    enum zi_status status = write_file(w, first, shard_end(w, first), piece, &output);
    if (status >= 0) return zi_output_commit(&output);
    zi_output_discard(&output);
    return status;
}

static enum zi_status write_index(const struct safetensors_writing *w, int count)
{
    char path[PATH_MAX], name[NAME], *text = NULL;
    size_t bytes;
    int64_t total = 0;
    const char *comma = "";
    for (int i = 0; i < w->count; i++)
        total += bytes_of(w, i);
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return end_text(NULL, &text);
    fprintf(out, "{\n  \"metadata\": {\n    \"total_size\": %" PRId64 "\n  },\n  \"weight_map\": {",
            total);
    for (int first = 0, shard = 0; first < w->count; shard++) {
        int end = shard_end(w, first);
        shard_name(w, shard, count, name);
        for (; first < end; first++, comma = ",")
            fprintf(out, "%s\n    \"%s\": \"%s\"", comma, w->items[first].name, name);
    }
    fputs("\n  }\n}\n", out);
    ZI_TRY(end_text(out, &text));
    snprintf(path, sizeof path, "%s/%s.safetensors.index.json", w->folder,
             w->stem ? w->stem : "model");
    enum zi_status status = zi_output_text("hf", path, text);
    free(text);
    return status;
}

enum zi_status safetensors_write(const struct safetensors_writing *writing)
{
    int count = shard_count(writing), shard = 0;
    char name[NAME];
    enum zi_status status = ZI_OK;
    void *piece = malloc(PIECE * zi_dtype_bytes(writing->type));
    if (!piece) return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for a piece of a tensor");
    for (int first = 0; first < writing->count && status >= 0; shard++) {
        shard_name(writing, shard, count, name);
        status = write_shard(writing, first, name, piece);
        first = shard_end(writing, first);
    }
    free(piece);
    if (status >= 0 && count > 1) status = write_index(writing, count);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Reading safetensors.
 *
 * Heads are JSON and are parsed whole, so what a head may have is bounded (HEAD_BYTES): a head of
 * that size becomes 40 MiB while it is parsed, and names some five thousand tensors. The
 * reference implementation takes 100 MB, which no published model of these architectures comes near.
 *
 * An index that names files is believed in names only: a name with a slash could lead out of the
 * folder. */
#include "hf/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "json/json.h"

enum { HEAD_BYTES = 512 << 10, FILES_MOST = 4096, PIECE = 1 << 14 };

struct safetensors {
    int file_count, tensor_count, capacity;
    /* Owned; descriptors -1 where closed. */
    char **paths;
    int *files;
    struct safetensors_tensor *tensors;
};

/* Types that a head may name. */
static const struct {
    const char *name;
    int bits;
    /* enum zi_dtype, or -1. */
    int type;
} types[] = {
    {"F32", 32, ZI_FP32}, {"BF16", 16, ZI_BF16}, {"F16", 16, ZI_FP16}, {"F64", 64, -1},
    {"BOOL", 8, -1},      {"U8", 8, -1},         {"I8", 8, -1},        {"U16", 16, -1},
    {"I16", 16, -1},      {"U32", 32, -1},       {"I32", 32, -1},      {"U64", 64, -1},
    {"I64", 64, -1},      {"C64", 64, -1},       {"F8_E4M3", 8, -1},   {"F8_E5M2", 8, -1},
    {"F8_E8M0", 8, -1},
};

static enum zi_status no_memory(const char *path)
{
    return zi_fail(ZI_ERROR_DEVICE, "hf", "no memory for the list of tensors of %s", path);
}

/* `name` NULL: the file as a whole. */
static enum zi_status fail_file(const char *path, const char *name, const char *what)
{
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %s%.200s%s; the file is damaged, or no safetensors",
                   path, name ? name : "", name ? " " : "", what);
}

static enum zi_status read_at(const char *path, int file, void *to, size_t bytes, int64_t offset)
{
    char *at = to;
    while (bytes > 0) {
        ssize_t done = pread(file, at, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0)
            return zi_fail(ZI_ERROR_IO, "hf", "%s: cannot read %zu bytes at %" PRId64 ": %s", path,
                           bytes, offset, done < 0 ? strerror(errno) : "the file ends there");
        at += done;
        bytes -= (size_t)done;
        offset += done;
    }
    return ZI_OK;
}

/* The extents of a tensor of the head, which must be whole numbers that can be counted. */
static enum zi_status take_shape(const char *path, const char *name, const json_t *shape,
                                 struct safetensors_tensor *tensor)
{
    size_t dimensions = json_array_size(shape);
    if (dimensions > SAFETENSORS_DIMENSIONS)
        return fail_file(path, name, "has more than 8 dimensions");
    tensor->dimensions = (int)dimensions;
    tensor->elements = 1;
    for (size_t d = 0; d < dimensions; d++) {
        const json_t *extent = json_array_get(shape, d);
        int64_t size = json_is_integer(extent) ? (int64_t)json_integer_value(extent) : -1;
        if (size < 0) return fail_file(path, name, "has an extent that is no count");
        tensor->shape[d] = size;
        if (__builtin_mul_overflow(tensor->elements, size, &tensor->elements))
            return fail_file(path, name, "has more elements than can be counted");
    }
    return ZI_OK;
}

/* Where its numbers lie; `data` is where those of the file begin. */
static enum zi_status take_extent(const char *path, const char *name, const json_t *offsets,
                                  int64_t data, struct safetensors_tensor *tensor)
{
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return fail_file(path, name, "has data_offsets that are not two integers");
    int64_t begin = json_integer_value(from), end = json_integer_value(to);
    if (begin < 0 || end < begin) return fail_file(path, name, "has data_offsets that cannot be");
    if (end - begin != tensor->bytes)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: %.200s has %" PRId64 " bytes by its data_offsets, and %" PRId64
                       " by its shape and type; the file is damaged",
                       path, name, end - begin, tensor->bytes);
    if (end > INT64_MAX - data) return fail_file(path, name, "ends beyond what can be counted");
    tensor->offset = data + begin;
    return ZI_OK;
}

static enum zi_status take_type(const char *path, const char *name, const char *type,
                                struct safetensors_tensor *tensor)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type) != 0) continue;
        tensor->type_name = types[i].name;
        tensor->is_weight = types[i].type >= 0;
        tensor->type = tensor->is_weight ? (enum zi_dtype)types[i].type : ZI_FP32;
        if (__builtin_mul_overflow(tensor->elements, types[i].bits / 8, &tensor->bytes))
            return fail_file(path, name, "has more bytes than can be counted");
        return ZI_OK;
    }
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: %.200s has the dtype %.40s, which zinf does not know",
                   path, name, type);
}

static enum zi_status take_tensor(struct safetensors *set, const char *name, const json_t *entry,
                                  int64_t data)
{
    int file = set->file_count - 1;
    const char *path = set->paths[file], *type = NULL;
    const struct zi_json_place place = {"hf", path, 0, name};
    const json_t *shape = NULL, *offsets = NULL;
    if (!json_is_object(entry)) return fail_file(path, name, "is described by no object");
    ZI_TRY(zi_json_require(&place, entry, "dtype"));
    ZI_TRY(zi_json_require(&place, entry, "shape"));
    ZI_TRY(zi_json_require(&place, entry, "data_offsets"));
    ZI_TRY(zi_json_get_string(&place, entry, "dtype", &type));
    ZI_TRY(zi_json_get_array(&place, entry, "shape", &shape));
    ZI_TRY(zi_json_get_array(&place, entry, "data_offsets", &offsets));
    if (set->tensor_count == set->capacity) {
        int capacity = 2 * set->capacity + 256;
        void *grown = realloc(set->tensors, (size_t)capacity * sizeof *set->tensors);
        if (!grown) return no_memory(path);
        set->tensors = grown;
        set->capacity = capacity;
    }
    struct safetensors_tensor *tensor = &set->tensors[set->tensor_count];
    *tensor = (struct safetensors_tensor){.file = file};
    ZI_TRY(take_shape(path, name, shape, tensor));
    ZI_TRY(take_type(path, name, type, tensor));
    ZI_TRY(take_extent(path, name, offsets, data, tensor));
    tensor->name = strdup(name);
    if (!tensor->name) return no_memory(path);
    set->tensor_count++;
    return ZI_OK;
}

static int by_offset(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left, *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* The extents of a file, from its first tensor on, follow each other from `data` to its end. */
static enum zi_status check_extents(struct safetensors *set, int first, int64_t data, int64_t size)
{
    const char *path = set->paths[set->file_count - 1];
    int64_t end = data;
    size_t count = (size_t)(set->tensor_count - first);
    if (count > 0) qsort(set->tensors + first, count, sizeof *set->tensors, by_offset);
    for (int i = first; i < set->tensor_count; i++) {
        const struct safetensors_tensor *tensor = &set->tensors[i];
        if (tensor->offset != end)
            return fail_file(path, tensor->name,
                             tensor->offset < end ? "overlaps another tensor"
                                                  : "has a hole before it");
        end = tensor->offset + tensor->bytes;
        if (end > size) return fail_file(path, tensor->name, "ends beyond the file");
    }
    if (end != size) return fail_file(path, NULL, "has bytes behind its last tensor");
    return ZI_OK;
}

static enum zi_status take_head(struct safetensors *set, json_t *head, int64_t data, int64_t size)
{
    const char *path = set->paths[set->file_count - 1], *name;
    int first = set->tensor_count;
    json_t *entry;
    if (!json_is_object(head)) return fail_file(path, NULL, "has a head that is no JSON object");
    json_object_foreach(head, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0) ZI_TRY(take_tensor(set, name, entry, data));
    }
    return check_extents(set, first, data, size);
}

static enum zi_status read_head(struct safetensors *set, int file, int64_t size)
{
    const char *path = set->paths[set->file_count - 1];
    const struct zi_json_place place = {"hf", path, 0, "its head"};
    uint64_t bytes;
    json_t *head;
    if (size < (int64_t)sizeof bytes) return fail_file(path, NULL, "is too short for a head");
    ZI_TRY(read_at(path, file, &bytes, sizeof bytes, 0));
    if (bytes > (uint64_t)size - sizeof bytes)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: its head of %" PRIu64 " bytes would end beyond the file; the file is "
                       "cut, or no safetensors",
                       path, bytes);
    if (bytes > HEAD_BYTES)
        return zi_fail(ZI_ERROR_USAGE, "hf",
                       "%s: its head has %" PRIu64 " bytes, and at most %d are read", path, bytes,
                       HEAD_BYTES);
    char *text = malloc((size_t)bytes + 1);
    if (!text) return no_memory(path);
    enum zi_status status = read_at(path, file, text, (size_t)bytes, sizeof bytes);
    if (status >= 0) status = zi_json_parse(&place, text, (size_t)bytes, &head);
    free(text);
    if (status < 0) return status;
    status = take_head(set, head, (int64_t)(sizeof bytes + bytes), size);
    json_decref(head);
    return status;
}

/* Adds one file. */
static enum zi_status add_file(struct safetensors *set, const char *path)
{
    int64_t size;
    size_t count = (size_t)set->file_count + 1;
    char **paths = realloc(set->paths, count * sizeof *paths);
    if (paths) set->paths = paths;
    int *files = realloc(set->files, count * sizeof *files);
    if (files) set->files = files;
    char *name = strdup(path);
    if (!paths || !files || !name) {
        free(name);
        return no_memory(path);
    }
    set->paths[set->file_count] = name;
    set->files[set->file_count++] = -1;
    int *file = &set->files[set->file_count - 1];
    ZI_TRY(zi_file_open_input("hf", path, file, &size));
    return read_head(set, *file, size);
}

static int by_name(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static enum zi_status sort_names(struct safetensors *set)
{
    if (set->tensor_count > 0)
        qsort(set->tensors, (size_t)set->tensor_count, sizeof *set->tensors, by_name);
    for (int i = 1; i < set->tensor_count; i++) {
        const struct safetensors_tensor *one = &set->tensors[i - 1], *other = &set->tensors[i];
        if (strcmp(one->name, other->name) != 0) continue;
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s and %s both have a tensor %s",
                       safetensors_path(set, one), safetensors_path(set, other), one->name);
    }
    return ZI_OK;
}

static enum zi_status join(const char *folder, const char *name, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (length > 0 && length < PATH_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", folder);
}

/* Whether the index may name a file: one of its own folder. */
static bool is_plain(const char *name)
{
    size_t length = strlen(name);
    const char *ending = ".safetensors";
    return !strchr(name, '/') && name[0] != '.' && length > strlen(ending) &&
           strcmp(name + length - strlen(ending), ending) == 0;
}

static int file_of(const struct safetensors *set, const char *path)
{
    for (int i = 0; i < set->file_count; i++)
        if (strcmp(set->paths[i], path) == 0) return i;
    return -1;
}

static enum zi_status add_shard(struct safetensors *set, const char *index, const char *folder,
                                const char *name, char path[PATH_MAX])
{
    if (!is_plain(name))
        return zi_fail(
            ZI_ERROR_USAGE, "hf",
            "%s names the file %.200s, and may name .safetensors files of its own folder "
            "only",
            index, name);
    ZI_TRY(join(folder, name, path));
    if (file_of(set, path) >= 0) return ZI_OK;
    if (set->file_count == FILES_MOST)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s names more than %d files", index, FILES_MOST);
    return add_file(set, path);
}

/* Opens what the index names, and looks that each tensor is where it says. */
static enum zi_status take_index(struct safetensors *set, const char *index, const char *folder,
                                 const json_t *document)
{
    const struct zi_json_place place = {"hf", index, 0, NULL};
    const json_t *map = NULL;
    const char *name;
    char path[PATH_MAX];
    json_t *file;
    if (!json_is_object(document))
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s holds no JSON object", index);
    ZI_TRY(zi_json_require(&place, document, "weight_map"));
    ZI_TRY(zi_json_get_object(&place, document, "weight_map", &map));
    json_object_foreach((json_t *)map, name, file)
    {
        if (!json_is_string(file))
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s names no file for %.200s", index, name);
        ZI_TRY(add_shard(set, index, folder, json_string_value(file), path));
    }
    ZI_TRY(sort_names(set));
    json_object_foreach((json_t *)map, name, file)
    {
        const struct safetensors_tensor *tensor = safetensors_find(set, name);
        ZI_TRY(join(folder, json_string_value(file), path));
        if (tensor && strcmp(safetensors_path(set, tensor), path) == 0) continue;
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s has no tensor %.200s, which %s says is there",
                       path, name, index);
    }
    return ZI_OK;
}

static enum zi_status open_index(struct safetensors *set, const char *index, const char *folder)
{
    const struct zi_json_place place = {"hf", index, 0, NULL};
    json_t *document;
    ZI_TRY(zi_json_read(&place, HEAD_BYTES, &document));
    enum zi_status status = take_index(set, index, folder, document);
    json_decref(document);
    return status;
}

static enum zi_status open_folder(struct safetensors *set, const char *folder)
{
    char path[PATH_MAX];
    struct stat is;
    ZI_TRY(join(folder, "model.safetensors", path));
    if (stat(path, &is) == 0) {
        ZI_TRY(add_file(set, path));
        return sort_names(set);
    }
    ZI_TRY(join(folder, "model.safetensors.index.json", path));
    if (stat(path, &is) == 0) return open_index(set, path, folder);
    return zi_fail(
        ZI_ERROR_USAGE, "hf",
        "%s has neither model.safetensors nor model.safetensors.index.json; weights in "
        "other formats (pytorch_model.bin) are converted by loading them in transformers "
        "and save_pretrained",
        folder);
}

enum zi_status safetensors_open(const char *path, struct safetensors **set)
{
    struct stat is;
    *set = calloc(1, sizeof **set);
    if (!*set) return no_memory(path);
    enum zi_status status;
    if (stat(path, &is) == 0 && S_ISDIR(is.st_mode)) {
        status = open_folder(*set, path);
    } else {
        status = add_file(*set, path);
        if (status >= 0) status = sort_names(*set);
    }
    if (status >= 0) return ZI_OK;
    safetensors_close(*set);
    *set = NULL;
    return status;
}

void safetensors_close(struct safetensors *set)
{
    if (!set) return;
    for (int i = 0; i < set->file_count; i++) {
        if (set->files[i] >= 0) close(set->files[i]);
        free(set->paths[i]);
    }
    for (int i = 0; i < set->tensor_count; i++)
        free(set->tensors[i].name);
    free(set->tensors);
    free(set->files);
    free(set->paths);
    free(set);
}

int safetensors_count(const struct safetensors *set)
{
    return set->tensor_count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *set, int index)
{
    return &set->tensors[index];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *set, const char *name)
{
    const struct safetensors_tensor wanted = {.name = (char *)name};
    if (set->tensor_count == 0) return NULL;
    return bsearch(&wanted, set->tensors, (size_t)set->tensor_count, sizeof *set->tensors, by_name);
}

const char *safetensors_path(const struct safetensors *set, const struct safetensors_tensor *tensor)
{
    return set->paths[tensor->file];
}

/* `from` and `to` differ. */
static void convert(enum zi_dtype from, const void *source, enum zi_dtype to, int64_t count,
                    void *values)
{
    for (int64_t i = 0; i < count; i++) {
        float value = from == ZI_FP32 ? ((const float *)source)[i]
                                      : zi_half_to_fp32(from, ((const uint16_t *)source)[i]);
        if (to == ZI_FP32)
            ((float *)values)[i] = value;
        else
            ((uint16_t *)values)[i] = zi_half_round_even(to, value);
    }
}

enum zi_status safetensors_read(const struct safetensors *set,
                                const struct safetensors_tensor *tensor, int64_t first,
                                int64_t count, enum zi_dtype type, void *values)
{
    const char *path = set->paths[tensor->file];
    int file = set->files[tensor->file];
    int64_t size = (int64_t)zi_dtype_bytes(tensor->type), offset = tensor->offset + first * size;
    float piece[PIECE];
    ZI_REQUIRE(tensor->is_weight && first >= 0 && count >= 0 && count <= tensor->elements - first);
    if (type == tensor->type) return read_at(path, file, values, (size_t)(count * size), offset);
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        ZI_TRY(read_at(path, file, piece, (size_t)(part * size), offset + done * size));
        convert(tensor->type, piece, type, part,
                (char *)values + (size_t)done * zi_dtype_bytes(type));
    }
    return ZI_OK;
}

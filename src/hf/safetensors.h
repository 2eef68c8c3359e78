/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in files of safetensors: one file, or a folder with model.safetensors or with
 * model.safetensors.index.json and its shards.
 *
 * A file is 8 bytes that say how long its head is, little-endian; the head, a JSON object of
 * {dtype, shape, data_offsets} per tensor; and the numbers, row-major, without holes. What a head
 * says is held against the file before anything is done by it, so that every later read stays inside
 * the file: length of the head, types, sizes, and that the extents follow each other from the first
 * byte to the last. Numbers are read where they are asked for; memory is that of the heads.
 *
 * All are Local. */
#ifndef ZI_HF_SAFETENSORS_H
#define ZI_HF_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

#define SAFETENSORS_DIMENSIONS 8

struct safetensors_tensor {
    /* Owned by the set of files. */
    char *name;
    /* As the head has it: "F32", "BF16", "BOOL". */
    const char *type_name;
    /* Whether it is one of the types that zinf computes with, and which. */
    bool is_weight;
    enum zi_dtype type;
    int dimensions;
    int64_t shape[SAFETENSORS_DIMENSIONS];
    int64_t elements;
    /* Which of the files, and its first byte there. */
    int file;
    int64_t offset, bytes;
};

struct safetensors;

/* Opens a file, or the files of a folder, and checks all heads. ZI_ERROR_USAGE when something is
 * not there or is not what the format wants, with file, tensor and what is wrong; ZI_ERROR_IO. */
enum zi_status safetensors_open(const char *path, struct safetensors **set);

/* NULL does nothing. */
void safetensors_close(struct safetensors *set);

/* How many tensors there are. */
int safetensors_count(const struct safetensors *set);

/* Tensor number `index`, in the order of their names. */
const struct safetensors_tensor *safetensors_at(const struct safetensors *set, int index);

/* The tensor of a name; NULL when there is none. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *set, const char *name);

/* Reads elements [first, first + count), row-major, of a tensor that is_weight, as `type` (fp32, bf16
 * or fp16). Equal types keep their bits; otherwise values go through fp32 and are rounded to
 * nearest, ties to even. ZI_ERROR_IO. */
enum zi_status safetensors_read(const struct safetensors *set,
                                const struct safetensors_tensor *tensor, int64_t first,
                                int64_t count, enum zi_dtype type, void *values);

/* The file that has a tensor, for messages. */
const char *safetensors_path(const struct safetensors *set,
                             const struct safetensors_tensor *tensor);

/* A tensor to write; names are ASCII without quotes. */
struct safetensors_item {
    const char *name;
    int dimensions;
    int64_t shape[2];
};

/* Gives elements [first, first + count), row-major, of item number `item`, in the type of the
 * files. */
typedef enum zi_status safetensors_fill(void *context, int item, int64_t first, int64_t count,
                                        void *values);

struct safetensors_writing {
    /* Exists. */
    const char *folder;
    /* Of the names of files; NULL: model. */
    const char *stem;
    enum zi_dtype type;
    /* Most bytes of a file's numbers; a larger tensor has a file of its own. */
    int64_t shard_bytes;
    const struct safetensors_item *items;
    int count;
    safetensors_fill *fill;
    void *context;
};

/* Writes model.safetensors, or model-NNNNN-of-NNNNN.safetensors and then
 * model.safetensors.index.json, in the order of the items, in pieces of a few MiB. Each file has its
 * name when it is whole. On error files that are whole stay. ZI_ERROR_IO, and what fill gives. */
enum zi_status safetensors_write(const struct safetensors_writing *writing);

#endif

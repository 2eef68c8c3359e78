/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer and the reader of a checkpoint share: datasets, their checksums, file access.
 *
 * The checksum of a dataset is the sum over its elements of bits * weight(seed, index), modulo
 * 2^64, with odd 32-bit weights. A sum does not depend on how the elements are cut into ranges or
 * over ranks, so each rank adds up what it writes and the file needs no second pass. One changed
 * element always changes the sum (the difference, below 2^32, times an odd weight below 2^32 is not
 * 0 modulo 2^64); several changes cancel with a chance of about 2^-32. The seed comes from the
 * dataset's name, so that exchanged tensors are found as well. */
#include "checkpoint/file.h"

#include "base/log.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are written as the bytes of memory, which must be little-endian"
#endif

const char *checkpoint_state_name(enum tier_kind state)
{
    return tier_kind_row(state)->saved;
}

enum zi_dtype checkpoint_state_type(enum tier_kind state, enum zi_dtype parameter)
{
    const struct tier_types types = {.compute = parameter, .gradient = parameter};
    return tier_type_of(tier_kind_row(state)->saved_type, &types);
}

bool checkpoint_state_is_written(enum tier_kind state, enum zi_dtype parameter)
{
    if (state == TIER_MASTER && parameter == ZI_FP32) return false;
    return checkpoint_state_name(state);
}

/* These loops go over every byte of a checkpoint while training needs the cores: compiled once more
 * for each instruction set that makes them faster, and chosen when the program starts. */
#ifdef __x86_64__
#define FOR_EACH_SET __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_SET
#endif

/* The low 32 bits of (first + i + seed) * 0x9e3779b1 need the low 32 bits of the index only. */
static inline uint64_t weight(uint32_t index)
{
    return (index * 0x9e3779b1u) | 1u;
}

FOR_EACH_SET
static uint64_t sum_halves(const uint16_t *bits, int64_t count, uint32_t start)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += bits[i] * weight(start + (uint32_t)i);
    return sum;
}

FOR_EACH_SET
static uint64_t sum_words(const float *from, int64_t count, uint32_t start)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += zi_fp32_bits(from[i]) * weight(start + (uint32_t)i);
    return sum;
}

uint64_t checkpoint_checksum(const struct checkpoint_dataset *dataset, int64_t first, int64_t count,
                             const void *values)
{
    uint32_t start = (uint32_t)((uint64_t)first + dataset->seed);
    return zi_dtype_is_half(dataset->type) ? sum_halves(values, count, start)
                                           : sum_words(values, count, start);
}

FOR_EACH_SET
static uint64_t count_halves(const uint16_t *bits, int64_t count, uint16_t exponent)
{
    uint64_t broken = 0;
    for (int64_t i = 0; i < count; i++)
        broken += (bits[i] & exponent) == exponent;
    return broken;
}

FOR_EACH_SET
static uint64_t count_words(const uint32_t *bits, int64_t count, uint32_t exponent)
{
    uint64_t broken = 0;
    for (int64_t i = 0; i < count; i++)
        broken += (bits[i] & exponent) == exponent;
    return broken;
}

uint64_t checkpoint_count_broken(enum zi_dtype type, int64_t count, const void *values)
{
    if (type == ZI_FP32) return count_words(values, count, 0x7f800000u);
    return zi_dtype_is_half(type) ? count_halves(values, count, type == ZI_FP16 ? 0x7c00u : 0x7f80u)
                                  : 0;
}

enum zi_status checkpoint_dataset_set(struct checkpoint_dataset *dataset, enum tier_kind state,
                                      const char *tensor, enum zi_dtype type, const int64_t *shape,
                                      int dimensions)
{
    size_t size = strlen(tensor) + 16;
    dataset->name = malloc(size);
    if (!dataset->name)
        return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the name of a dataset");
    snprintf(dataset->name, size, "%s/%s", checkpoint_state_name(state), tensor);
    dataset->state = state;
    dataset->type = type;
    dataset->dimensions = dimensions;
    dataset->elements = 1;
    dataset->seed = zi_random_stream(dataset->name);
    for (int d = 0; d < dimensions; d++) {
        dataset->shape[d] = shape[d];
        if (shape[d] < 1 || shape[d] > H5_ELEMENTS_MOST / dataset->elements)
            return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: an extent of %lld cannot be",
                           dataset->name, (long long)shape[d]);
        dataset->elements *= shape[d];
    }
    return ZI_OK;
}

enum zi_status checkpoint_unwritten(enum zi_status status)
{
    return status == ZI_ERROR_DEVICE ? ZI_ERROR_IO : status;
}

void checkpoint_free(struct checkpoint *checkpoint)
{
    if (!checkpoint) return;
    if (checkpoint->owns_form) checkpoint_form_destroy(checkpoint->form);
    for (int d = 0; d < checkpoint->dataset_count; d++)
        free(checkpoint->datasets[d].name);
    free(checkpoint->datasets);
    free((char *)checkpoint->header.deck);
    free((char *)checkpoint->header.model_text);
    free(checkpoint->directory);
    free(checkpoint->path);
    free(checkpoint->temporary);
    free(checkpoint);
}

hid_t checkpoint_access_create(struct comm *comm)
{
    hid_t access = h5_access_create();
    const void *communicator = comm_mpi(comm);
    if (access < 0 || !communicator) return access;
    /* hdf5.h of a parallel build brings the type; the communicator itself is comm's. */
    if (H5Pset_fapl_mpio(access, *(const MPI_Comm *)communicator, MPI_INFO_NULL) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}

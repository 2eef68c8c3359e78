/* SPDX-License-Identifier: Apache-2.0 */
/* HDF5 has no call for the place of an attribute's value in the file, so its value is chosen such
 * that it can be found: the low half of a mark is bytes that no text here has (they are not UTF-8),
 * the high half the number of the dataset. Every mark has to be found once, or the file is not
 * written. (In HDF5's oldest format, which these files have, no checksum of HDF5's covers an
 * attribute.) */
#include "checkpoint/header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/version.h"
#include "checkpoint/user_block.h"

#define MARK UINT64_C(0xfa5bf0f8)

bool header_has_state(const struct checkpoint_header *header, enum tier_kind state)
{
    return checkpoint_state_name(state) && (!header->weights_only || state == TIER_PARAMETER);
}

bool header_writes_state(const struct checkpoint_header *header, enum tier_kind state)
{
    return header_has_state(header, state) && checkpoint_state_is_written(state, header->type);
}

static herr_t write_scaling(hid_t file, const struct checkpoint_header *header)
{
    if (header->type != ZI_FP16) return 0;
    if (h5_integer_write(file, "loss_scale", header->loss_scale) < 0) return -1;
    return h5_integer_write(file, "loss_scale_steps", header->loss_scale_steps);
}

herr_t header_write(hid_t file, const struct checkpoint_header *header)
{
    char now[64];
    zi_time_stamp(now, sizeof now);
    if (h5_text_write(file, "format", CHECKPOINT_FORMAT) < 0 ||
        h5_integer_write(file, "step", header->step) < 0 ||
        h5_integer_write(file, "updates", header->updates) < 0 ||
        h5_integer_write(file, "tokens", header->tokens) < 0 ||
        h5_integer_write(file, "seed", header->seed) < 0 || write_scaling(file, header) < 0 ||
        h5_text_write(file, "type", zi_dtype_name(header->type)) < 0 ||
        (header->weights_only && h5_text_write(file, "states", CHECKPOINT_WEIGHTS) < 0) ||
        h5_text_write(file, "model", header->model_text) < 0 ||
        h5_text_write(file, "deck", header->deck) < 0 ||
        h5_text_write(file, "version", zi_version()) < 0 ||
        h5_text_write(file, "revision", zi_version_revision()) < 0 ||
        h5_text_write(file, "written", now) < 0)
        return -1;
    return 0;
}

uint64_t header_mark(int index)
{
    return (uint64_t)index << 32 | MARK;
}

static int by_offset(const void *a, const void *b)
{
    const struct user_extent *one = a, *other = b;
    return (one->offset > other->offset) - (one->offset < other->offset);
}

/* Where the numbers of all datasets are, in order; freed by the caller. */
static enum zi_status list_extents(const struct checkpoint *checkpoint,
                                   struct user_extent **extents)
{
    int count = checkpoint->dataset_count;
    *extents = calloc((size_t)count + 1, sizeof **extents);
    if (!*extents)
        return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the places of %d datasets",
                       count);
    for (int d = 0; d < count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        (*extents)[d].offset = dataset->offset;
        (*extents)[d].bytes = dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
    }
    qsort(*extents, (size_t)count, sizeof **extents, by_offset);
    return ZI_OK;
}

static enum zi_status fail_mark(const struct checkpoint *checkpoint, int index)
{
    return zi_fail(ZI_ERROR_BUG, "checkpoint", "%s: the place of the checksum of %s is not clear",
                   checkpoint->temporary, checkpoint->datasets[index].name);
}

/* Notes the marks among bytes that begin at `offset` of the file. */
static enum zi_status note_marks(struct checkpoint *checkpoint, const char *bytes, size_t count,
                                 int64_t offset)
{
    const uint32_t low = (uint32_t)MARK;
    const char *next = bytes, *end = bytes + count;
    while ((next = memmem(next, (size_t)(end - next), &low, sizeof low))) {
        uint32_t index;
        if (end - next < (ptrdiff_t)sizeof(uint64_t)) break;
        memcpy(&index, next + sizeof low, sizeof index);
        if (index < (uint32_t)checkpoint->dataset_count) {
            struct checkpoint_dataset *dataset = &checkpoint->datasets[index];
            if (dataset->mark != 0) return fail_mark(checkpoint, (int)index);
            dataset->mark = offset + (next - bytes);
        }
        next += sizeof low;
    }
    return ZI_OK;
}

/* The same of bytes [first, end) of the file. */
static enum zi_status look_between(struct checkpoint *checkpoint, int descriptor, int64_t first,
                                   int64_t end)
{
    if (first >= end) return ZI_OK;
    char *bytes = malloc((size_t)(end - first));
    if (!bytes) return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory to look through a layout");
    ssize_t count = pread(descriptor, bytes, (size_t)(end - first), (off_t)first);
    enum zi_status status =
        count == end - first
            ? note_marks(checkpoint, bytes, (size_t)count, first)
            : zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be read: %s", checkpoint->temporary,
                      count < 0 ? strerror(errno) : "it ends early");
    free(bytes);
    return status;
}

static enum zi_status look_everywhere(struct checkpoint *checkpoint, int descriptor,
                                      const struct user_extent *extents)
{
    int count = checkpoint->dataset_count;
    int64_t at = user_block_bytes(count);
    struct stat is;
    if (fstat(descriptor, &is) != 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be examined: %s",
                       checkpoint->temporary, strerror(errno));
    for (int i = 0; i < count; i++) {
        ZI_TRY(look_between(checkpoint, descriptor, at, extents[i].offset));
        at = extents[i].offset + extents[i].bytes;
    }
    ZI_TRY(look_between(checkpoint, descriptor, at, (int64_t)is.st_size));
    for (int d = 0; d < count; d++) {
        if (checkpoint->datasets[d].mark == 0) return fail_mark(checkpoint, d);
    }
    return ZI_OK;
}

enum zi_status header_find_marks(struct checkpoint *checkpoint, int descriptor)
{
    struct user_extent *extents;
    ZI_TRY(list_extents(checkpoint, &extents));
    enum zi_status status = look_everywhere(checkpoint, descriptor, extents);
    free(extents);
    return status;
}

enum zi_status header_store_checksums(const struct checkpoint *checkpoint, int descriptor)
{
    struct user_extent *extents;
    int error = 0;
    for (int d = 0; d < checkpoint->dataset_count && error == 0; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        error = checkpoint_write_at(descriptor, &dataset->checksum, sizeof dataset->checksum,
                                    dataset->mark);
    }
    if (error != 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot write a checksum: %s",
                       checkpoint->temporary, strerror(error));
    ZI_TRY(list_extents(checkpoint, &extents));
    enum zi_status status = user_block_store(checkpoint->temporary, descriptor, extents,
                                             (int64_t)checkpoint->dataset_count);
    free(extents);
    return status;
}

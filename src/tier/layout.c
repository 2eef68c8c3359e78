/* SPDX-License-Identifier: Apache-2.0 */
/* The HDF5 file of one rank on one path: made here, complete with the space of all its datasets,
 * and never touched by HDF5 again.
 *
 * A contiguous dataset that is allocated early and never filled is one extent of the file, and
 * H5Dget_offset says where; with an alignment of TIER_STORE_BLOCK it can be read and written by
 * direct I/O. So the file can be opened by h5dump and h5py at any moment, and the numbers in it are
 * what the run last wrote.
 *
 * Space is claimed twice: before HDF5 writes anything, because HDF5 is at a loss when the disk
 * fills up under it, and again afterwards, because its creation truncates the file and gives the
 * first claim back.
 *
 * What a reader finds, per array: its values in the order of the array, padded to TIER_STORE_BLOCK;
 * total_bytes (of the whole array, without padding); first_byte, stripe_bytes and period_bytes:
 * stripe k of this file is bytes [k period + first, + stripe) of the array; for bf16 and fp16, which
 * are kept as uint16, dtype = "bf16" or "fp16". */
#include "tier/private.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { METADATA_PER_DATASET = 4096, METADATA_BYTES = 64 * 1024, CLAIM_PIECE = 256 << 20 };

/* What a failed claim got is given back first, so that the free bytes are those of before. */
static enum zi_status fail_claim(const struct store_folder *folder, int64_t bytes, int error)
{
    char need[32], free_text[32] = "an unknown amount";
    struct statvfs system;
    if (ftruncate(folder->descriptor, 0) == 0 && fstatvfs(folder->descriptor, &system) == 0)
        zi_memory_text((size_t)system.f_bavail * system.f_frsize, free_text, sizeof free_text);
    return zi_fail(ZI_ERROR_IO, "tier",
                   "%s: cannot claim %s for the states of this rank: %s (%s free there)%s",
                   folder->file, zi_memory_text((size_t)bytes, need, sizeof need), strerror(error),
                   free_text,
                   zi_file_remedy(error, "; free some space, add a folder of another disk to "
                                         "nvme.paths, or place a state on another tier"));
}

/* A file system that cannot claim is asked what it has free. */
static enum zi_status look_instead(const struct store_folder *folder, int64_t bytes)
{
    struct statvfs system;
    if (fstatvfs(folder->descriptor, &system) != 0) return fail_claim(folder, bytes, errno);
    if ((double)system.f_bavail * (double)system.f_frsize < (double)bytes)
        return fail_claim(folder, bytes, ENOSPC);
    zi_log(
        ZI_LOG_WARN, "tier",
        "%s: this file system cannot claim space ahead: if others fill it, the run stops when it "
        "writes there",
        folder->file);
    return ZI_OK;
}

/* Claims [0, bytes) of an open file without changing what is in it, in pieces: one call for a
 * terabyte would not look for a request to stop. */
static enum zi_status claim(const struct store_folder *folder, int64_t bytes)
{
    for (int64_t from = 0; from < bytes; from += CLAIM_PIECE) {
        int64_t piece = bytes - from < CLAIM_PIECE ? bytes - from : CLAIM_PIECE;
        int result;
        ZI_TRY(zi_stop_check());
        do {
            result = fallocate(folder->descriptor, 0, from, piece);
        } while (result != 0 && errno == EINTR);
        if (result == 0) continue;
        if (errno != EOPNOTSUPP && errno != ENOSYS) return fail_claim(folder, bytes, errno);
        return look_instead(folder, bytes);
    }
    return ZI_OK;
}

static hid_t library_type(enum zi_dtype type)
{
    switch (type) {
    case ZI_FP32:
        return H5T_IEEE_F32LE;
    case ZI_BF16:
    case ZI_FP16:
        return H5T_STD_U16LE;
    case ZI_INT32:
        return H5T_STD_I32LE;
    case ZI_INT16:
        return H5T_STD_I16LE;
    case ZI_SIGNED8:
    case ZI_UNSIGNED8:
    case ZI_PACKED8:
    case ZI_PACKED4:
        return H5T_STD_U8LE; /* of codes, and the bytes of scales */
    }
    return -1;
}

static herr_t describe(hid_t dataset, const struct layout *layout, const struct tier_array *array)
{
    const struct stripes *stripes = layout->stripes;
    bool whole = stripes->paths == 1;
    size_t padded = tier_padded(array->bytes), first = stripes->first[layout->path];
    size_t stripe = whole ? padded : stripes->bytes[layout->path];
    size_t period = whole ? padded : stripes->period;
    if (h5_integer_write(dataset, "total_bytes", (int64_t)array->bytes) < 0 ||
        h5_integer_write(dataset, "first_byte", (int64_t)first) < 0 ||
        h5_integer_write(dataset, "stripe_bytes", (int64_t)stripe) < 0 ||
        h5_integer_write(dataset, "period_bytes", (int64_t)period) < 0)
        return -1;
    if (!zi_dtype_is_half(array->type)) return 0;
    return h5_fixed_text_write(dataset, "dtype", zi_dtype_name(array->type));
}

static herr_t create_dataset(hid_t file, const struct layout *layout, int a, int64_t *offset)
{
    const struct tier_array *array = &layout->arrays[a];
    size_t bytes = stripes_bytes(layout->stripes, layout->path, tier_padded(array->bytes));
    *offset = -1;
    if (bytes == 0) return 0;
    int64_t elements = (int64_t)(bytes / zi_dtype_bytes(array->type));
    hid_t made =
        h5_extent_create(file, array->name, library_type(array->type), 1, &elements, offset);
    if (made < 0) return -1;
    herr_t result = *offset % TIER_STORE_BLOCK == 0 ? describe(made, layout, array) : -1;
    return H5Dclose(made) < 0 ? -1 : result;
}

static enum zi_status fail_array(const char *file, const char *array)
{
    char what[320];
    snprintf(what, sizeof what, "lay out %.256s", array);
    return h5_fail("tier", file, what);
}

static enum zi_status fill_file(hid_t file, const struct layout *layout, int64_t *offsets)
{
    const char *name = layout->folder->file;
    if (h5_fixed_text_write(file, "format", "zinf store 1") < 0 ||
        h5_fixed_text_write(file, "run", layout->run) < 0 ||
        h5_integer_write(file, "rank", layout->rank) < 0)
        return h5_fail("tier", name, "describe it");
    for (int a = 0; a < layout->count; a++) {
        ZI_TRY(zi_stop_check());
        if (create_dataset(file, layout, a, &offsets[a]) < 0)
            return fail_array(name, layout->arrays[a].name);
    }
    return ZI_OK;
}

static enum zi_status create_file(const struct layout *layout, int64_t *offsets)
{
    const char *name = layout->folder->file;
    hid_t file = h5_file_create(name, TIER_STORE_BLOCK);
    if (file < 0) return h5_fail("tier", name, "create it");
    enum zi_status status = fill_file(file, layout, offsets);
    if (H5Fclose(file) < 0 && status == ZI_OK) status = h5_fail("tier", name, "close it");
    return status;
}

/* Bytes of the whole file before it is made (at least), and as it is. */
static int64_t expected_bytes(const struct layout *layout)
{
    int64_t bytes = METADATA_BYTES;
    for (int a = 0; a < layout->count; a++)
        bytes +=
            METADATA_PER_DATASET + (int64_t)stripes_bytes(layout->stripes, layout->path,
                                                          tier_padded(layout->arrays[a].bytes));
    return bytes;
}

/* HDF5 opens by name: what it has laid out must be the file that this rank has made. */
static enum zi_status claim_made(const struct layout *layout, const int64_t *offsets)
{
    struct stat is, named;
    if (fstat(layout->folder->descriptor, &is) != 0)
        return zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be asked its size: %s",
                       layout->folder->file, strerror(errno));
    if (lstat(layout->folder->file, &named) != 0 || named.st_dev != is.st_dev ||
        named.st_ino != is.st_ino)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: somebody else has moved or replaced it while states were laid out",
                       layout->folder->file);
    int64_t size = (int64_t)is.st_size;
    for (int a = 0; a < layout->count; a++) {
        int64_t end = offsets[a] + (int64_t)stripes_bytes(layout->stripes, layout->path,
                                                          tier_padded(layout->arrays[a].bytes));
        if (end > size) size = end;
    }
    return claim(layout->folder, size);
}

enum zi_status layout_create(const struct layout *layout, int64_t *offsets)
{
    ZI_TRY(claim(layout->folder, expected_bytes(layout)));
    ZI_TRY(zi_stop_check());
    h5_quiet();
    ZI_TRY(create_file(layout, offsets));
    return claim_made(layout, offsets);
}

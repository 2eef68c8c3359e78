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
 * stripe k of this file is bytes [k period + first, + stripe) of the array; for bf16, which is kept
 * as uint16, dtype = "bf16". */
#include "tier/private.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <hdf5.h>

enum { METADATA_PER_DATASET = 4096, METADATA_BYTES = 64 * 1024, CLAIM_PIECE = 256 << 20 };

/* What a failed claim got is given back first, so that the free bytes are those of before. */
static enum zi_status fail_full(const struct store_folder *folder, int64_t bytes, const char *cause)
{
    char need[32], free_text[32] = "an unknown amount";
    struct statvfs system;
    if (ftruncate(folder->descriptor, 0) == 0 && fstatvfs(folder->descriptor, &system) == 0)
        zi_memory_text((size_t)system.f_bavail * system.f_frsize, free_text, sizeof free_text);
    return zi_fail(ZI_ERROR_IO, "tier",
                   "%s: cannot claim %s for the states of this rank: %s (%s free there); free some "
                   "space, add a folder of another disk to nvme.paths, or place a state on another "
                   "tier",
                   folder->file, zi_memory_text((size_t)bytes, need, sizeof need), cause,
                   free_text);
}

/* A file system that cannot claim is asked what it has free. */
static enum zi_status look_instead(const struct store_folder *folder, int64_t bytes)
{
    struct statvfs system;
    if (fstatvfs(folder->descriptor, &system) != 0)
        return fail_full(folder, bytes, strerror(errno));
    if ((double)system.f_bavail * (double)system.f_frsize < (double)bytes)
        return fail_full(folder, bytes, "too little is free");
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
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return fail_full(folder, bytes, strerror(errno));
        return look_instead(folder, bytes);
    }
    return ZI_OK;
}

/* ---- HDF5 ---- */

static herr_t take_innermost(unsigned place, const H5E_error2_t *entry, void *context)
{
    const char **text = context;
    if (place == 0) *text = entry->desc;
    return 0;
}

/* Logs the innermost message of HDF5's stack, which is that of the latest call. */
static enum zi_status fail_library(const char *file, const char *what, const char *name)
{
    const char *text = NULL;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, &text);
    return zi_fail(ZI_ERROR_IO, "tier", "%s: HDF5 cannot %s%s%s: %s", file, what,
                   name[0] != '\0' ? " " : "", name,
                   text != NULL && text[0] != '\0' ? text : "it gives no reason");
}

static hid_t library_type(enum zi_dtype type)
{
    switch (type) {
    case ZI_FP32:
        return H5T_IEEE_F32LE;
    case ZI_BF16:
        return H5T_STD_U16LE;
    case ZI_INT32:
        return H5T_STD_I32LE;
    case ZI_INT16:
        return H5T_STD_I16LE;
    }
    return -1;
}

static herr_t write_attribute(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    if (space < 0) return -1;
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
    if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
    H5Sclose(space);
    return result;
}

static herr_t write_number(hid_t object, const char *name, size_t value)
{
    int64_t wide = (int64_t)value;
    return write_attribute(object, name, H5T_NATIVE_INT64, &wide);
}

static herr_t write_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return -1;
    herr_t result = -1;
    if (H5Tset_size(type, strlen(text) + 1) >= 0)
        result = write_attribute(object, name, type, text);
    H5Tclose(type);
    return result;
}

/* What is the same for all datasets of the file. */
struct properties {
    hid_t file, dataset, link;
};

static herr_t properties_open(struct properties *all)
{
    all->file = H5Pcreate(H5P_FILE_ACCESS);
    all->dataset = H5Pcreate(H5P_DATASET_CREATE);
    all->link = H5Pcreate(H5P_LINK_CREATE);
    if (all->file < 0 || all->dataset < 0 || all->link < 0) return -1;
    if (H5Pset_alignment(all->file, TIER_STORE_BLOCK, TIER_STORE_BLOCK) < 0 ||
        H5Pset_file_locking(all->file, 0, 1) < 0 ||
        H5Pset_layout(all->dataset, H5D_CONTIGUOUS) < 0 ||
        H5Pset_alloc_time(all->dataset, H5D_ALLOC_TIME_EARLY) < 0 ||
        H5Pset_fill_time(all->dataset, H5D_FILL_TIME_NEVER) < 0 ||
        H5Pset_obj_track_times(all->dataset, 0) < 0 ||
        H5Pset_create_intermediate_group(all->link, 1) < 0)
        return -1;
    return 0;
}

static void properties_close(const struct properties *all)
{
    if (all->file >= 0) H5Pclose(all->file);
    if (all->dataset >= 0) H5Pclose(all->dataset);
    if (all->link >= 0) H5Pclose(all->link);
}

static herr_t describe(hid_t dataset, const struct layout *layout, const struct tier_array *array)
{
    const struct stripes *stripes = layout->stripes;
    size_t padded = tier_padded(array->bytes);
    bool whole = stripes->paths == 1;
    if (write_number(dataset, "total_bytes", array->bytes) < 0 ||
        write_number(dataset, "first_byte", stripes->first[layout->path]) < 0 ||
        write_number(dataset, "stripe_bytes", whole ? padded : stripes->bytes[layout->path]) < 0 ||
        write_number(dataset, "period_bytes", whole ? padded : stripes->period) < 0)
        return -1;
    return array->type == ZI_BF16 ? write_text(dataset, "dtype", "bf16") : 0;
}

static herr_t create_dataset(hid_t file, const struct properties *all, const struct layout *layout,
                             int a, int64_t *offset)
{
    const struct tier_array *array = &layout->arrays[a];
    size_t bytes = stripes_bytes(layout->stripes, layout->path, tier_padded(array->bytes));
    *offset = -1;
    if (bytes == 0) return 0;
    hsize_t elements = bytes / zi_dtype_bytes(array->type);
    hid_t space = H5Screate_simple(1, &elements, NULL);
    if (space < 0) return -1;
    hid_t made = H5Dcreate2(file, array->name, library_type(array->type), space, all->link,
                            all->dataset, H5P_DEFAULT);
    herr_t result = -1;
    if (made >= 0) {
        haddr_t at = H5Dget_offset(made);
        *offset = (int64_t)at;
        if (at != HADDR_UNDEF && at % TIER_STORE_BLOCK == 0) result = describe(made, layout, array);
        if (H5Dclose(made) < 0) result = -1;
    }
    H5Sclose(space);
    return result;
}

static enum zi_status fill_file(hid_t file, const struct properties *all,
                                const struct layout *layout, int64_t *offsets)
{
    const char *name = layout->folder->file;
    int64_t rank = layout->rank;
    if (write_text(file, "format", "zinf store 1") < 0 ||
        write_text(file, "run", layout->run) < 0 ||
        write_attribute(file, "rank", H5T_NATIVE_INT64, &rank) < 0)
        return fail_library(name, "describe the file", "");
    for (int a = 0; a < layout->count; a++) {
        ZI_TRY(zi_stop_check());
        if (create_dataset(file, all, layout, a, &offsets[a]) < 0)
            return fail_library(name, "lay out", layout->arrays[a].name);
    }
    return ZI_OK;
}

static enum zi_status create_file(const struct layout *layout, int64_t *offsets)
{
    const char *name = layout->folder->file;
    struct properties all;
    enum zi_status status = ZI_OK;
    hid_t file = -1;
    if (properties_open(&all) < 0) status = fail_library(name, "choose its layout", "");
    if (status == ZI_OK) {
        file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, all.file);
        status = file < 0 ? fail_library(name, "create the file", "")
                          : fill_file(file, &all, layout, offsets);
    }
    if (file >= 0 && H5Fclose(file) < 0 && status == ZI_OK)
        status = fail_library(name, "close the file", "");
    properties_close(&all);
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
    H5E_auto2_t printer = NULL;
    void *context = NULL;
    (void)H5Eget_auto2(H5E_DEFAULT, &printer, &context);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    enum zi_status status = create_file(layout, offsets);
    (void)H5Eset_auto2(H5E_DEFAULT, printer, context);
    ZI_TRY(status);
    return claim_made(layout, offsets);
}

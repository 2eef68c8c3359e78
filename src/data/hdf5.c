/* SPDX-License-Identifier: Apache-2.0 */
/* zinf's own token files: an HDF5 file with one dataset, /tokens, of one dimension.
 *
 *     element     uint8, uint16 or uint32, the smallest that holds the vocabulary
 *     attributes  format_version (1), vocabulary, largest_token (int64), tokenizer, source
 * (strings)
 *
 * The dataset is contiguous and little-endian, so HDF5 is asked once where its bytes begin
 * (H5Dget_offset), and they are then read like those of any flat file, from any thread and without
 * the library, which is not thread-safe. Datasets that others made are read as well when they are
 * laid out like that; only largest_token may be missing. What is chunked or compressed is refused,
 * with the command that rewrites it.
 *
 * The library here is the parallel one, used serially: all files are opened by one process through
 * the default (sec2) driver. Its own error output is switched off while it works for us; the
 * messages here say what was wanted and what to do. Called from the main thread only. */
#include "data/format.h"

#include "base/log.h"

#include <hdf5.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATASET        "/tokens"
#define FORMAT_VERSION 1

int token_is_hdf5(const void *head, int64_t bytes)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    return bytes >= 8 && memcmp(head, signature, 8) == 0;
}

struct error_output {
    H5E_auto2_t function;
    void *context;
};

static void silence(struct error_output *saved)
{
    saved->function = NULL;
    saved->context = NULL;
    (void)H5Eget_auto2(H5E_DEFAULT, &saved->function, &saved->context);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static void restore(const struct error_output *saved)
{
    (void)H5Eset_auto2(H5E_DEFAULT, saved->function, saved->context);
}

/* Some shared file systems have no locks, and a file that is only read needs none. */
static hid_t open_for_reading(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return -1;
#if H5_VERSION_GE(1, 10, 7)
    if (H5Pset_file_locking(access, 0, 1) < 0) {
        H5Pclose(access);
        return -1;
    }
#endif
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file;
}

static enum zi_status find_element(const char *path, hid_t dataset, enum token_element *element)
{
    hid_t type = H5Dget_type(dataset);
    if (type < 0)
        return zi_fail(ZI_ERROR_IO, "data", "%s: cannot read the type of %s", path, DATASET);
    size_t bytes = H5Tget_size(type);
    int is_integer = H5Tget_class(type) == H5T_INTEGER;
    int is_little = bytes == 1 || H5Tget_order(type) == H5T_ORDER_LE;
    int is_signed = is_integer && H5Tget_sign(type) == H5T_SGN_2;
    H5Tclose(type);
    if (!is_integer || !is_little || (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: %s does not hold little-endian integers of 1, 2, 4 or 8 bytes: write "
                       "it again with such a type, or with `zinf tokenize`",
                       path, DATASET);
    if (bytes == 1)
        *element = is_signed ? TOKEN_INT8 : TOKEN_UINT8;
    else if (bytes == 2)
        *element = is_signed ? TOKEN_INT16 : TOKEN_UINT16;
    else if (bytes == 4)
        *element = is_signed ? TOKEN_INT32 : TOKEN_UINT32;
    else
        *element = TOKEN_INT64; /* a uint64 beyond int64 reads as negative: out of vocabulary */
    return ZI_OK;
}

static enum zi_status find_extent(const char *path, hid_t dataset, int64_t *count)
{
    hsize_t extent = 0;
    hid_t space = H5Dget_space(dataset);
    int dimensions = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    int is_read = dimensions == 1 && H5Sget_simple_extent_dims(space, &extent, NULL) == 1;
    if (space >= 0) H5Sclose(space);
    if (!is_read)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s has %d dimensions, not one", path, DATASET,
                       dimensions);
    if (extent == 0 || extent > (hsize_t)INT64_MAX / 8)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s holds %llu tokens", path, DATASET,
                       (unsigned long long)extent);
    *count = (int64_t)extent;
    return ZI_OK;
}

static enum zi_status find_offset(const char *path, hid_t dataset, int64_t *offset)
{
    hid_t creation = H5Dget_create_plist(dataset);
    int is_plain = creation >= 0 && H5Pget_layout(creation) == H5D_CONTIGUOUS &&
                   H5Pget_external_count(creation) == 0;
    if (creation >= 0) H5Pclose(creation);
    haddr_t place = is_plain ? H5Dget_offset(dataset) : HADDR_UNDEF;
    if (!is_plain)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: %s is chunked, compressed or compact, but is read at its place in the "
                       "file: rewrite it with `h5repack -f NONE -l tokens:CONTI OLD NEW`",
                       path, DATASET);
    if (place == HADDR_UNDEF)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s has no data: it was never written", path,
                       DATASET);
    *offset = (int64_t)place;
    return ZI_OK;
}

/* The value of an attribute of one integer; `value` stays as it is when there is none. */
static enum zi_status read_attribute(const char *path, hid_t dataset, const char *name,
                                     int64_t *value)
{
    htri_t is_there = H5Aexists(dataset, name);
    if (is_there == 0) return ZI_OK;
    hid_t attribute = is_there > 0 ? H5Aopen(dataset, name, H5P_DEFAULT) : -1;
    hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    int is_read = space >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                  H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    if (space >= 0) H5Sclose(space);
    if (attribute >= 0) H5Aclose(attribute);
    if (!is_read)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: attribute %s of %s is no integer", path, name,
                       DATASET);
    return ZI_OK;
}

static enum zi_status find_in_dataset(const char *path, hid_t dataset, struct token_layout *layout)
{
    int64_t version = FORMAT_VERSION;
    ZI_TRY(read_attribute(path, dataset, "format_version", &version));
    if (version != FORMAT_VERSION)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is a token file of format %" PRId64 "; this zinf reads format %d", path,
                       version, FORMAT_VERSION);
    ZI_TRY(read_attribute(path, dataset, "largest_token", &layout->largest));
    ZI_TRY(find_extent(path, dataset, &layout->count));
    ZI_TRY(find_element(path, dataset, &layout->element));
    return find_offset(path, dataset, &layout->offset);
}

static enum zi_status find_in_file(const char *path, struct token_layout *layout)
{
    hid_t file = open_for_reading(path);
    if (file < 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "HDF5 cannot open %s: it is truncated or damaged; copy or make it again",
                       path);
    enum zi_status status;
    htri_t is_there = H5Lexists(file, DATASET, H5P_DEFAULT);
    hid_t dataset = is_there > 0 ? H5Dopen2(file, DATASET, H5P_DEFAULT) : -1;
    if (dataset < 0) {
        status = zi_fail(ZI_ERROR_USAGE, "data",
                         "%s has no dataset %s: it is no token file; `zinf tokenize` makes one",
                         path, DATASET);
    } else {
        status = find_in_dataset(path, dataset, layout);
        H5Dclose(dataset);
    }
    H5Fclose(file);
    return status;
}

enum zi_status token_find_hdf5(const char *path, struct token_layout *layout)
{
    int file;
    int64_t bytes;
    unsigned char head[8] = {0};
    ZI_TRY(token_path_join(layout->path, sizeof layout->path, path, ""));
    ZI_TRY(token_file_open(path, &file, &bytes));
    enum zi_status status = ZI_OK;
    if (bytes >= 8) status = token_file_read(file, path, 0, 8, head);
    close(file);
    if (status < 0) return status;
    struct error_output saved;
    silence(&saved);
    if (!token_is_hdf5(head, bytes) && H5Fis_hdf5(path) <= 0) /* a user block may come first */
        status =
            zi_fail(ZI_ERROR_USAGE, "data",
                    "%s is no HDF5 file: set data.format to auto or to what the file is", path);
    else
        status = find_in_file(path, layout);
    restore(&saved);
    return status;
}

struct token_output {
    char *path, *partial; /* final and temporary name */
    int64_t count, appended, largest;
    hid_t file, dataset;
};

static enum zi_status output_failed(const struct token_output *output, const char *what)
{
    return zi_fail(ZI_ERROR_IO, "data", "cannot %s %s (%s): is the disk full?", what,
                   output->partial, strerror(errno));
}

static herr_t write_integer(hid_t object, const char *name, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, H5T_NATIVE_INT64, &value);
    if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
    if (space >= 0) H5Sclose(space);
    return result;
}

static herr_t write_string(hid_t object, const char *name, const char *value)
{
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    herr_t result = -1;
    if (space >= 0 && type >= 0 && H5Tset_size(type, strlen(value) + 1) >= 0 &&
        H5Tset_cset(type, H5T_CSET_UTF8) >= 0) {
        hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        if (attribute >= 0) result = H5Awrite(attribute, type, value);
        if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return result;
}

/* All space is claimed here and filled with nothing: every token is going to be written. */
static hid_t create_dataset(hid_t file, int64_t count, int64_t vocabulary)
{
    hsize_t extent = (hsize_t)count;
    hid_t type = vocabulary <= 256     ? H5T_STD_U8LE
                 : vocabulary <= 65536 ? H5T_STD_U16LE
                                       : H5T_STD_U32LE;
    hid_t space = H5Screate_simple(1, &extent, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = -1;
    if (space >= 0 && creation >= 0 && H5Pset_layout(creation, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0)
        dataset = H5Dcreate2(file, DATASET, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (creation >= 0) H5Pclose(creation);
    if (space >= 0) H5Sclose(space);
    return dataset;
}

static enum zi_status output_begin(struct token_output *output,
                                   const struct token_output_meta *meta)
{
    errno = 0;
    output->file = H5Fcreate(output->partial, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (output->file < 0)
        return zi_fail(ZI_ERROR_IO, "data",
                       "cannot create %s: %s; does the folder exist, and may it be written?",
                       output->partial, strerror(errno));
    output->dataset = create_dataset(output->file, output->count, meta->vocabulary);
    if (output->dataset < 0 ||
        write_integer(output->dataset, "format_version", FORMAT_VERSION) < 0 ||
        write_integer(output->dataset, "vocabulary", meta->vocabulary) < 0 ||
        write_string(output->dataset, "tokenizer", meta->tokenizer) < 0 ||
        write_string(output->dataset, "source", meta->source) < 0)
        return output_failed(output, "write");
    return ZI_OK;
}

enum zi_status token_output_create(const char *path, int64_t count,
                                   const struct token_output_meta *meta,
                                   struct token_output **output)
{
    struct token_output *made = calloc(1, sizeof *made);
    size_t length = strlen(path) + sizeof ".partial";
    if (made != NULL) {
        made->path = strdup(path);
        made->partial = malloc(length);
        made->count = count;
        made->largest = -1;
        made->file = made->dataset = -1;
    }
    if (made == NULL || made->path == NULL || made->partial == NULL) {
        token_output_discard(made);
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to write %s", path);
    }
    snprintf(made->partial, length, "%s.partial", path);
    struct error_output saved;
    silence(&saved);
    enum zi_status status = output_begin(made, meta);
    restore(&saved);
    if (status < 0) {
        token_output_discard(made);
        return status;
    }
    *output = made;
    return ZI_OK;
}

enum zi_status token_output_append_bytes(struct token_output *output, const uint8_t *tokens,
                                         int64_t count)
{
    ZI_REQUIRE(count >= 0 && count <= output->count - output->appended);
    if (count == 0) return ZI_OK;
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] > output->largest) output->largest = tokens[i];
    struct error_output saved;
    silence(&saved);
    errno = 0;
    hsize_t first = (hsize_t)output->appended, length = (hsize_t)count;
    hid_t memory = H5Screate_simple(1, &length, NULL), place = H5Dget_space(output->dataset);
    int is_written =
        memory >= 0 && place >= 0 &&
        H5Sselect_hyperslab(place, H5S_SELECT_SET, &first, NULL, &length, NULL) >= 0 &&
        H5Dwrite(output->dataset, H5T_NATIVE_UINT8, memory, place, H5P_DEFAULT, tokens) >= 0;
    if (memory >= 0) H5Sclose(memory);
    if (place >= 0) H5Sclose(place);
    restore(&saved);
    if (!is_written) return output_failed(output, "write");
    output->appended += count;
    return ZI_OK;
}

/* Makes a file, or a folder's list of names, last through a power failure. */
static int sync_path(const char *path, int flags)
{
    int file = open(path, flags | O_CLOEXEC);
    if (file < 0) return -1;
    int result = fsync(file);
    int error = errno;
    if (close(file) != 0 && result == 0) return -1;
    errno = error;
    return result;
}

static enum zi_status output_close(struct token_output *output)
{
    errno = 0;
    int is_closed = write_integer(output->dataset, "largest_token", output->largest) >= 0;
    if (H5Dclose(output->dataset) < 0) is_closed = 0;
    output->dataset = -1;
    if (H5Fclose(output->file) < 0) is_closed = 0;
    output->file = -1;
    return is_closed ? ZI_OK : output_failed(output, "finish");
}

static enum zi_status output_rename(struct token_output *output)
{
    if (sync_path(output->partial, O_RDWR) != 0) return output_failed(output, "sync");
    if (rename(output->partial, output->path) != 0)
        return zi_fail(ZI_ERROR_IO, "data", "cannot rename %s to %s: %s", output->partial,
                       output->path, strerror(errno));
    char folder[4096];
    ZI_TRY(token_path_join(folder, sizeof folder, output->path, ""));
    const char *parent = dirname(folder);
    if (sync_path(parent, O_RDONLY | O_DIRECTORY) != 0 && errno != EINVAL)
        return zi_fail(ZI_ERROR_IO, "data", "cannot sync folder %s: %s", parent, strerror(errno));
    return ZI_OK;
}

enum zi_status token_output_finish(struct token_output *output)
{
    ZI_REQUIRE(output->appended == output->count);
    struct error_output saved;
    silence(&saved);
    enum zi_status status = output_close(output);
    restore(&saved);
    if (status >= 0) status = output_rename(output);
    if (status < 0) {
        token_output_discard(output);
        return status;
    }
    free(output->path);
    free(output->partial);
    free(output);
    return ZI_OK;
}

void token_output_discard(struct token_output *output)
{
    if (output == NULL) return;
    struct error_output saved;
    silence(&saved);
    if (output->dataset >= 0) H5Dclose(output->dataset);
    if (output->file >= 0) H5Fclose(output->file);
    restore(&saved);
    if (output->partial != NULL) (void)unlink(output->partial);
    free(output->path);
    free(output->partial);
    free(output);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* zinf's own token files: an HDF5 file with a dataset /tokens of one dimension, and perhaps others.
 *
 *     /tokens     uint8, uint16 or uint32, the smallest that holds the vocabulary
 *     attributes  format_version (1), vocabulary, largest_token (int64), tokenizer, source
 * (strings)
 *     /mask       uint8 per token: 0, it is no target that counts; missing: all do
 *     /documents  int64, the first token of each document, from 0 on; missing: a stream
 *
 * Each dataset is contiguous and little-endian, so HDF5 is asked once where its bytes begin
 * (H5Dget_offset), and they are then read like those of any flat file, from any thread and without
 * the library, which is not thread-safe. Datasets that others made are read as well when they are
 * laid out like that; only largest_token may be missing. What is chunked or compressed is refused,
 * with the command that rewrites it.
 *
 * What the file says about itself is compared with what can be (types, ranks, numbers of elements,
 * and the place of the tokens with the size of the file) before it is used, and a child has opened
 * the file before the library does so here (base/probe.h).
 *
 * The library here is the parallel one, used serially: all files are opened by one process through
 * the default (sec2) driver. Its own error output is switched off; the messages here say what was
 * wanted and what to do. Called from the main thread only. */
#include "data/format.h"

#include "base/log.h"
#include "base/probe.h"
#include "data/tokens_dataset.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int token_is_hdf5(const void *head, int64_t bytes)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    return bytes >= 8 && memcmp(head, signature, 8) == 0;
}

/* A dataset of one dimension; `path` and `name` for messages. */
struct dataset {
    const char *path, *name;
    hid_t id;
};

static enum zi_status find_element(const struct dataset *d, enum token_element *element)
{
    hid_t type = H5Dget_type(d->id);
    if (type < 0)
        return zi_fail(ZI_ERROR_IO, "data", "%s: cannot read the type of %s", d->path, d->name);
    size_t bytes = H5Tget_size(type);
    int is_integer = H5Tget_class(type) == H5T_INTEGER;
    int is_little = bytes == 1 || H5Tget_order(type) == H5T_ORDER_LE;
    int is_signed = is_integer && H5Tget_sign(type) == H5T_SGN_2;
    int is_full = is_integer && H5Tget_precision(type) == 8 * bytes; /* no bits that mean nothing */
    H5Tclose(type);
    if (!is_integer || !is_full || !is_little ||
        (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8))
        return zi_fail(
            ZI_ERROR_USAGE, "data",
            "%s: %s does not hold plain little-endian integers of 1, 2, 4 or 8 bytes: write "
            "it again with such a type, or with `zinf tokenize`",
            d->path, d->name);
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

static enum zi_status find_extent(const struct dataset *d, int64_t *count)
{
    int64_t shape[H5S_MAX_RANK];
    int dimensions = h5_shape_read(d->id, H5S_MAX_RANK, shape, count);
    if (dimensions < 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: %s is no list of numbers: %s; copy or make the file again", d->path,
                       d->name, h5_reason());
    if (dimensions != 1)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s has %d dimensions, not one", d->path,
                       d->name, dimensions);
    if (*count == 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s holds nothing", d->path, d->name);
    return ZI_OK;
}

/* Whether the numbers are one extent of this very file. Asked first: of a virtual dataset even the
 * extents are asked of other files. */
static enum zi_status check_plain(const struct dataset *d)
{
    if (h5_is_extent(d->id)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s: %s is chunked, compressed, compact or in other files, but is read at its "
                   "place in the file: rewrite it with `h5repack -f NONE -l %s:CONTI OLD NEW`",
                   d->path, d->name, d->name + 1);
}

/* Where `count` elements begin, compared with the size of the file: `bytes`. */
static enum zi_status find_offset(const struct dataset *d, int64_t bytes,
                                  enum token_element element, int64_t count, int64_t *offset)
{
    *offset = h5_offset_read(d->id);
    if (*offset < 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s has no data: it was never written", d->path,
                       d->name);
    int64_t size = token_element_bytes(element);
    if (*offset > bytes || count > (bytes - *offset) / size)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is truncated or damaged: %" PRId64 " elements of %s of %" PRId64
                       " bytes end beyond its %" PRId64 " bytes; copy or make it again",
                       d->path, count, d->name, size, bytes);
    return ZI_OK;
}

/* The value of an attribute of one integer; `value` stays as it is when there is none. */
static enum zi_status read_attribute(const char *path, hid_t dataset, const char *name,
                                     int64_t *value)
{
    if (H5Aexists(dataset, name) == 0) return ZI_OK;
    if (h5_integer_read(dataset, name, value) < 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: attribute %s of %s is not one integer", path,
                       name, TOKENS_DATASET);
    return ZI_OK;
}

static enum zi_status find_largest(const char *path, hid_t dataset, int64_t *largest)
{
    int64_t value = 0;
    if (H5Aexists(dataset, "largest_token") == 0) return ZI_OK;
    ZI_TRY(read_attribute(path, dataset, "largest_token", &value));
    if (value < 0 || value > UINT32_MAX)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: attribute largest_token of %s is %" PRId64
                       ", which no token is: the file is damaged; copy or make it again",
                       path, TOKENS_DATASET, value);
    *largest = value;
    return ZI_OK;
}

static enum zi_status find_tokens(const struct dataset *d, int64_t bytes,
                                  struct token_layout *layout)
{
    int64_t version = TOKENS_FORMAT_VERSION;
    ZI_TRY(read_attribute(d->path, d->id, "format_version", &version));
    if (version != TOKENS_FORMAT_VERSION)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is a token file of format %" PRId64 "; this zinf reads format %d",
                       d->path, version, TOKENS_FORMAT_VERSION);
    ZI_TRY(check_plain(d));
    ZI_TRY(find_largest(d->path, d->id, &layout->largest));
    ZI_TRY(find_extent(d, &layout->count));
    ZI_TRY(find_element(d, &layout->element));
    return find_offset(d, bytes, layout->element, layout->count, &layout->offset);
}

/* A dataset beside the tokens, which has to be of a type. */
static enum zi_status find_beside(const struct dataset *d, int64_t bytes,
                                  enum token_element element, int64_t *count, int64_t *offset)
{
    enum token_element found;
    ZI_TRY(check_plain(d));
    ZI_TRY(find_extent(d, count));
    ZI_TRY(find_element(d, &found));
    if (found != element)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: %s holds %s, not %s: write it again", d->path,
                       d->name, token_element_name(found), token_element_name(element));
    return find_offset(d, bytes, element, *count, offset);
}

static enum zi_status find_mask(const struct dataset *d, int64_t bytes, struct token_layout *layout)
{
    int64_t count;
    ZI_TRY(find_beside(d, bytes, TOKEN_UINT8, &count, &layout->mask_offset));
    if (count == layout->count) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s: %s is of %" PRId64 " tokens, but there are %" PRId64
                   ": make the file again",
                   d->path, d->name, count, layout->count);
}

static enum zi_status find_documents(const struct dataset *d, int64_t bytes,
                                     struct token_layout *layout)
{
    ZI_TRY(find_beside(d, bytes, TOKEN_INT64, &layout->documents, &layout->documents_offset));
    if (layout->documents <= layout->count) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s: %s has %" PRId64 " documents, but there are %" PRId64
                   " tokens: make the file again",
                   d->path, d->name, layout->documents, layout->count);
}

/* A dataset that must be of this very file: a link may lead into another one. Where it may be
 * missing and is, nothing is found. */
static enum zi_status find_in(hid_t file, struct dataset d, int64_t bytes, bool required,
                              enum zi_status (*find)(const struct dataset *, int64_t,
                                                     struct token_layout *),
                              struct token_layout *layout)
{
    enum h5_link link = h5_link_of(file, d.name);
    if (link == H5_LINK_NONE && !required) return ZI_OK;
    if (link == H5_LINK_NONE)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s has no dataset %s: it is no token file; `zinf tokenize` makes one",
                       d.path, d.name);
    if (link != H5_LINK_OWN)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: %s is a link to a dataset: name the file that has it as %s", d.path,
                       d.name, d.name);
    d.id = H5Dopen2(file, d.name, H5P_DEFAULT);
    if (d.id < 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: HDF5 cannot open %s: it is no dataset, or damaged; copy or make the "
                       "file again",
                       d.path, d.name);
    enum zi_status status = find(&d, bytes, layout);
    H5Dclose(d.id);
    return status;
}

static enum zi_status find_in_file(const char *path, int64_t bytes, struct token_layout *layout)
{
    hid_t file = h5_file_open(path, H5F_ACC_RDONLY);
    if (file < 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "HDF5 cannot open %s: it is truncated or damaged; copy or make it again",
                       path);
    enum zi_status status =
        find_in(file, (struct dataset){path, TOKENS_DATASET, -1}, bytes, true, find_tokens, layout);
    if (status >= 0)
        status = find_in(file, (struct dataset){path, MASK_DATASET, -1}, bytes, false, find_mask,
                         layout);
    if (status >= 0)
        status = find_in(file, (struct dataset){path, DOCUMENTS_DATASET, -1}, bytes, false,
                         find_documents, layout);
    H5Fclose(file);
    return status;
}

enum zi_status token_find_hdf5(const char *path, struct token_layout *layout)
{
    int file;
    int64_t bytes;
    unsigned char head[8] = {0};
    ZI_TRY(token_layout_name(layout, path, ""));
    ZI_TRY(token_file_open(path, &file, &bytes));
    enum zi_status status = ZI_OK;
    if (bytes >= 8) status = token_file_read(file, path, 0, 8, head);
    close(file);
    if (status < 0) return status;
    h5_quiet();
    if (!token_is_hdf5(head, bytes) && H5Fis_hdf5(path) <= 0) /* a user block may come first */
        status =
            zi_fail(ZI_ERROR_USAGE, "data",
                    "%s is no HDF5 file: set data.format to auto or to what the file is", path);
    if (status >= 0) status = zi_probe_file("data", path, "copy or make it again");
    if (status == ZI_ERROR_IO) status = ZI_ERROR_USAGE; /* as all damage of token files */
    if (status >= 0) status = find_in_file(path, bytes, layout);
    return status;
}

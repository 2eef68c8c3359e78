/* SPDX-License-Identifier: Apache-2.0 */
/* Making an HDF5 token file (its form is described in hdf5.c).
 *
 * HDF5 lays the file out, with the dataset's space claimed and unfilled, and closes it; the tokens
 * are then written at the dataset's place with pwrite, and at last the library opens the file once
 * more to set largest_token, which needs no new space. The reason is a full disk: HDF5 1.10 cannot
 * close a file that it cannot write, and crashes when the process ends. So all space is claimed
 * before HDF5 sees the file, and no write of many bytes goes through it.
 *
 * The file grows under a temporary name beside the final one (base/file.h). It gets the final name
 * after it has been synced, so the name stands for the whole file or for what was there before.
 * HDF5 opens it by that temporary name; it is the same file all the time, so the handle that zinf
 * holds stays good, and its sync covers what HDF5 wrote. */
#include "data/output.h"

#include "base/file.h"
#include "base/log.h"
#include "data/tokens_dataset.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METADATA_BYTES ((int64_t)64 << 10) /* more than HDF5's own part of such a file takes */

/* A dataset: where it is in the file, its elements, and those that are there. */
struct extent {
    int64_t offset, count, appended;
    int element_bytes;
};

struct token_output {
    struct zi_output to;
    int64_t largest;
    struct extent tokens, mask, documents;
};

static enum zi_status output_failed(const struct token_output *output, const char *what, int error)
{
    return zi_fail(ZI_ERROR_IO, "data", "cannot %s %s: %s%s", what, output->to.path,
                   strerror(error), zi_file_remedy(error, "; make room, or write elsewhere"));
}

static enum zi_status layout_failed(const struct token_output *output, const char *what)
{
    return zi_fail(ZI_ERROR_IO, "data", "HDF5 cannot %s %s: %s; is the file system full or faulty?",
                   what, output->to.temporary, h5_reason());
}

static hid_t extent_create(hid_t file, const char *name, struct extent *extent)
{
    hid_t type = extent->element_bytes == 1   ? H5T_STD_U8LE
                 : extent->element_bytes == 2 ? H5T_STD_U16LE
                 : extent->element_bytes == 4 ? H5T_STD_U32LE
                                              : H5T_STD_I64LE;
    return h5_extent_create(file, name, type, 1, &extent->count, &extent->offset);
}

/* A dataset beside the tokens; none where it has no elements. */
static bool add_extent(hid_t file, const char *name, struct extent *extent)
{
    if (extent->count == 0) return true;
    hid_t dataset = extent_create(file, name, extent);
    return dataset >= 0 && H5Dclose(dataset) >= 0;
}

/* Creates the file with HDF5, and remembers where the tokens go. */
static enum zi_status lay_out(struct token_output *output, const struct token_output_meta *meta)
{
    hid_t file = h5_file_create(output->to.temporary, 1);
    if (file < 0) return layout_failed(output, "create");
    hid_t dataset = extent_create(file, TOKENS_DATASET, &output->tokens);
    int is_made = dataset >= 0 &&
                  h5_integer_write(dataset, "format_version", TOKENS_FORMAT_VERSION) >= 0 &&
                  h5_integer_write(dataset, "vocabulary", meta->vocabulary) >= 0 &&
                  h5_integer_write(dataset, "largest_token", -1) >= 0 &&
                  h5_fixed_text_write(dataset, "tokenizer", meta->tokenizer) >= 0 &&
                  h5_fixed_text_write(dataset, "source", meta->source) >= 0;
    if (dataset >= 0 && H5Dclose(dataset) < 0) is_made = 0;
    if (is_made)
        is_made = add_extent(file, MASK_DATASET, &output->mask) &&
                  add_extent(file, DOCUMENTS_DATASET, &output->documents);
    if (H5Fclose(file) < 0) is_made = 0;
    return is_made ? ZI_OK : layout_failed(output, "lay out");
}

static enum zi_status claim(struct token_output *output, int64_t bytes)
{
    int error = posix_fallocate(output->to.file, 0, bytes);
    if (error != 0 && error != EOPNOTSUPP && error != EINVAL)
        return output_failed(output, "claim space for", error);
    return ZI_OK;
}

static int64_t extent_bytes(const struct extent *extent)
{
    return extent->count * extent->element_bytes;
}

/* Space is claimed twice: HDF5 empties a file that it creates. */
static enum zi_status output_begin(struct token_output *output, const char *path,
                                   const struct token_output_meta *meta)
{
    const struct extent *extents[] = {&output->tokens, &output->mask, &output->documents};
    int64_t bytes = 0, end = 0;
    for (int i = 0; i < 3; i++)
        bytes += extent_bytes(extents[i]);
    ZI_TRY(zi_output_begin("data", path, 0666, &output->to));
    ZI_TRY(claim(output, bytes + METADATA_BYTES));
    h5_quiet();
    ZI_TRY(lay_out(output, meta));
    for (int i = 0; i < 3; i++) {
        int64_t behind = extents[i]->offset + extent_bytes(extents[i]);
        if (behind > end) end = behind;
    }
    return claim(output, end);
}

enum zi_status token_output_create(const char *path, int64_t count,
                                   const struct token_output_meta *meta,
                                   struct token_output **output)
{
    struct token_output *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to write %s", path);
    made->largest = -1;
    int bytes = meta->vocabulary <= 256 ? 1 : meta->vocabulary <= 65536 ? 2 : 4;
    made->tokens = (struct extent){.count = count, .element_bytes = bytes};
    made->mask = (struct extent){.count = meta->masked ? count : 0, .element_bytes = 1};
    made->documents = (struct extent){.count = meta->documents, .element_bytes = 8};
    enum zi_status status = output_begin(made, path, meta);
    if (status < 0) {
        token_output_discard(made);
        return status;
    }
    *output = made;
    return ZI_OK;
}

static enum zi_status write_bytes(struct token_output *output, int64_t offset, const void *bytes,
                                  int64_t count)
{
    for (int64_t done = 0; done < count;) {
        ssize_t written = pwrite(output->to.file, (const char *)bytes + done,
                                 (size_t)(count - done), offset + done);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return output_failed(output, "write", errno);
        done += written;
    }
    return ZI_OK;
}

/* The next elements of a dataset. */
static enum zi_status extent_append(struct token_output *output, struct extent *extent,
                                    const void *elements, int64_t count)
{
    ZI_REQUIRE(count >= 0 && count <= extent->count - extent->appended);
    int64_t offset = extent->offset + extent->appended * extent->element_bytes;
    ZI_TRY(write_bytes(output, offset, elements, count * extent->element_bytes));
    extent->appended += count;
    return ZI_OK;
}

enum zi_status token_output_append_bytes(struct token_output *output, const uint8_t *tokens,
                                         int64_t count)
{
    ZI_REQUIRE(output->tokens.element_bytes == 1);
    int largest = -1;
    for (int64_t i = 0; i < count; i++)
        largest = tokens[i] > largest ? tokens[i] : largest;
    if (largest > output->largest) output->largest = largest;
    return extent_append(output, &output->tokens, tokens, count);
}

enum zi_status token_output_append_mask(struct token_output *output, const uint8_t *mask,
                                        int64_t count)
{
    return extent_append(output, &output->mask, mask, count);
}

enum zi_status token_output_append_documents(struct token_output *output, const int64_t *starts,
                                             int64_t count)
{
    return extent_append(output, &output->documents, starts, count);
}

/* Narrows ids in place of the file's element; gives the largest. */
static int64_t narrow(const int32_t *ids, int64_t count, int element_bytes, void *elements)
{
    int64_t largest = -1;
    for (int64_t i = 0; i < count; i++) {
        largest = ids[i] > largest ? ids[i] : largest;
        if (element_bytes == 1)
            ((uint8_t *)elements)[i] = (uint8_t)ids[i];
        else if (element_bytes == 2)
            ((uint16_t *)elements)[i] = (uint16_t)ids[i];
        else
            ((uint32_t *)elements)[i] = (uint32_t)ids[i];
    }
    return largest;
}

enum zi_status token_output_append_ids(struct token_output *output, const int32_t *ids,
                                       int64_t count)
{
    int element_bytes = output->tokens.element_bytes;
    void *elements = malloc((size_t)(count * element_bytes) + 1);
    if (!elements) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to write tokens");
    int64_t largest = narrow(ids, count, element_bytes, elements);
    if (largest > output->largest) output->largest = largest;
    enum zi_status status = extent_append(output, &output->tokens, elements, count);
    free(elements);
    return status;
}

static enum zi_status record_largest(struct token_output *output)
{
    hid_t file = h5_file_open(output->to.temporary, H5F_ACC_RDWR);
    hid_t dataset = file < 0 ? -1 : H5Dopen2(file, TOKENS_DATASET, H5P_DEFAULT);
    herr_t result =
        dataset < 0 ? -1 : h5_integer_replace(dataset, "largest_token", output->largest);
    if (dataset >= 0 && H5Dclose(dataset) < 0) result = -1;
    if (file >= 0 && H5Fclose(file) < 0) result = -1;
    return result < 0 ? layout_failed(output, "finish") : ZI_OK;
}

enum zi_status token_output_finish(struct token_output *output)
{
    ZI_REQUIRE(output->tokens.appended == output->tokens.count &&
               output->mask.appended == output->mask.count &&
               output->documents.appended == output->documents.count);
    h5_quiet();
    enum zi_status status = record_largest(output);
    if (status >= 0) status = zi_output_commit(&output->to);
    token_output_discard(output);
    return status;
}

void token_output_discard(struct token_output *output)
{
    if (!output) return;
    zi_output_discard(&output->to);
    free(output);
}

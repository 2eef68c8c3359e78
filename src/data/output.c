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

struct token_output {
    struct zi_output to;
    int64_t count, appended, largest;
    int element_bytes;
    /* Of the dataset in the file */
    int64_t offset;
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

/* Creates the file with HDF5, and remembers where the tokens go. */
static enum zi_status lay_out(struct token_output *output, const struct token_output_meta *meta)
{
    hid_t type = output->element_bytes == 1   ? H5T_STD_U8LE
                 : output->element_bytes == 2 ? H5T_STD_U16LE
                                              : H5T_STD_U32LE;
    hid_t file = h5_file_create(output->to.temporary, 1);
    if (file < 0) return layout_failed(output, "create");
    hid_t dataset =
        h5_extent_create(file, TOKENS_DATASET, type, 1, &output->count, &output->offset);
    int is_made = dataset >= 0 &&
                  h5_integer_write(dataset, "format_version", TOKENS_FORMAT_VERSION) >= 0 &&
                  h5_integer_write(dataset, "vocabulary", meta->vocabulary) >= 0 &&
                  h5_integer_write(dataset, "largest_token", -1) >= 0 &&
                  h5_fixed_text_write(dataset, "tokenizer", meta->tokenizer) >= 0 &&
                  h5_fixed_text_write(dataset, "source", meta->source) >= 0;
    if (dataset >= 0 && H5Dclose(dataset) < 0) is_made = 0;
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

/* Space is claimed twice: HDF5 empties a file that it creates. */
static enum zi_status output_begin(struct token_output *output, const char *path,
                                   const struct token_output_meta *meta)
{
    int64_t bytes = output->count * output->element_bytes;
    ZI_TRY(zi_output_begin("data", path, 0666, &output->to));
    ZI_TRY(claim(output, bytes + METADATA_BYTES));
    h5_quiet();
    ZI_TRY(lay_out(output, meta));
    return claim(output, output->offset + bytes);
}

enum zi_status token_output_create(const char *path, int64_t count,
                                   const struct token_output_meta *meta,
                                   struct token_output **output)
{
    struct token_output *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to write %s", path);
    made->count = count;
    made->largest = -1;
    made->element_bytes = meta->vocabulary <= 256 ? 1 : meta->vocabulary <= 65536 ? 2 : 4;
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

enum zi_status token_output_append_bytes(struct token_output *output, const uint8_t *tokens,
                                         int64_t count)
{
    ZI_REQUIRE(output->element_bytes == 1);
    ZI_REQUIRE(count >= 0 && count <= output->count - output->appended);
    int largest = -1;
    for (int64_t i = 0; i < count; i++)
        largest = tokens[i] > largest ? tokens[i] : largest;
    if (largest > output->largest) output->largest = largest;
    ZI_TRY(write_bytes(output, output->offset + output->appended, tokens, count));
    output->appended += count;
    return ZI_OK;
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
    ZI_REQUIRE(count >= 0 && count <= output->count - output->appended);
    int64_t bytes = count * output->element_bytes;
    void *elements = malloc((size_t)bytes + 1);
    if (!elements) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to write tokens");
    int64_t largest = narrow(ids, count, output->element_bytes, elements);
    if (largest > output->largest) output->largest = largest;
    enum zi_status status = write_bytes(
        output, output->offset + output->appended * output->element_bytes, elements, bytes);
    free(elements);
    if (status >= 0) output->appended += count;
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
    ZI_REQUIRE(output->appended == output->count);
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

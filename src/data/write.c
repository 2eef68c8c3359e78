/* SPDX-License-Identifier: Apache-2.0 */
/* Making token files out of text: every byte is a token, so the vocabulary is 256 and the tokens of
 * a file are the file; or an encoder makes tokens of a file's text.
 *
 * Two passes. The first walks the inputs and lists their files with their sizes (inputs.c), and
 * where there is an encoder lets it make the tokens, which wait in a file (encode.c). So the number
 * of tokens, and with it the place of the cut between training and validation, is known before the
 * first one is written. The second copies. A file that changed in between, in
 * size or time, is an error, since the cut and the space would be wrong, or part of it of another
 * time. Before both it is made sure that the outputs can be made, and are two. */
#include "data/tokens.h"

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/encode.h"
#include "data/format.h"
#include "data/inputs.h"
#include "data/output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES  ((size_t)1 << 20)
#define SOURCE_MOST 4096 /* bytes of the attribute that lists the inputs */

/* A file under way. */
struct part {
    struct token_output *output;
    /* Tokens that still go there */
    int64_t left;
};

/* The files under way, in the order of their tokens; without validation its part is empty. */
struct cut {
    struct part train, validation;
};

/* How many of `count` tokens still go to a part. */
static int64_t part_take(struct part *part, int64_t count)
{
    int64_t taken = count < part->left ? count : part->left;
    part->left -= taken;
    return taken;
}

static enum zi_status cut_append(struct cut *cut, const uint8_t *bytes, int64_t count)
{
    int64_t train = part_take(&cut->train, count);
    int64_t validation = part_take(&cut->validation, count - train);
    if (train > 0) ZI_TRY(token_output_append_bytes(cut->train.output, bytes, train));
    if (validation == 0) return ZI_OK;
    return token_output_append_bytes(cut->validation.output, bytes + train, validation);
}

static enum zi_status cut_append_ids(struct cut *cut, const int32_t *ids, int64_t count)
{
    int64_t train = part_take(&cut->train, count);
    int64_t validation = part_take(&cut->validation, count - train);
    if (train > 0) ZI_TRY(token_output_append_ids(cut->train.output, ids, train));
    if (validation == 0) return ZI_OK;
    return token_output_append_ids(cut->validation.output, ids + train, validation);
}

/* Gives a part its name; there is nothing of it to discard afterwards. */
static enum zi_status part_finish(struct part *part)
{
    struct token_output *output = part->output;
    part->output = NULL;
    return output ? token_output_finish(output) : ZI_OK;
}

static enum zi_status copy_bytes(struct cut *cut, const struct input_file *input, int file,
                                 uint8_t *buffer)
{
    for (int64_t done = 0; done < input->bytes;) {
        int64_t left = input->bytes - done;
        ZI_TRY(zi_stop_check());
        ssize_t got = read(file, buffer, left < (int64_t)COPY_BYTES ? (size_t)left : COPY_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return zi_fail(ZI_ERROR_IO, "data", "reading input %s at byte %" PRId64 " failed: %s",
                           input->path, done, strerror(errno));
        if (got == 0) break; /* said by input_check */
        done += got;
        ZI_TRY(cut_append(cut, buffer, got));
    }
    return ZI_OK;
}

static enum zi_status copy_file(struct cut *cut, const struct input_file *input, uint8_t *buffer)
{
    int file;
    ZI_TRY(input_open(input, &file));
    enum zi_status status = copy_bytes(cut, input, file, buffer);
    if (status >= 0) status = input_check(input, file);
    close(file);
    return status;
}

static enum zi_status copy_all(struct cut *cut, const struct input_list *list)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    if (!buffer) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to copy tokens");
    enum zi_status status = ZI_OK;
    for (size_t i = 0; i < list->count && status >= 0; i++)
        status = copy_file(cut, &list->files[i], buffer);
    free(buffer);
    return status;
}

/* The tokens that an encoder has made, from where they wait. */
static enum zi_status copy_ids(struct cut *cut, const struct zi_output *spool, int64_t count)
{
    int32_t *ids = malloc(COPY_BYTES);
    if (!ids) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to copy tokens");
    enum zi_status status = ZI_OK;
    for (int64_t done = 0; done < count && status >= 0;) {
        int64_t taken = count - done, most = COPY_BYTES / sizeof *ids;
        if (taken > most) taken = most;
        status = zi_stop_check();
        if (status >= 0)
            status = token_file_read(spool->file, spool->temporary, done * (int64_t)sizeof *ids,
                                     taken * (int64_t)sizeof *ids, ids);
        if (status >= 0) status = cut_append_ids(cut, ids, taken);
        done += taken;
    }
    free(ids);
    return status;
}

/* The inputs as they were named, one a line, for the record in the file. */
static void describe_source(const struct tokens_writer *writer, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (int i = 0; i < writer->input_count && length + 1 < size; i++) {
        int written =
            snprintf(text + length, size - length, "%s%s", i == 0 ? "" : "\n", writer->inputs[i]);
        if (written > 0) length += (size_t)written;
    }
}

/* How many of `total` tokens go to validation: the share, rounded to the nearest number. */
static enum zi_status validation_tokens(const struct tokens_writer *writer, int64_t total,
                                        int64_t *count)
{
    *count = 0;
    if (!writer->validation_path) return ZI_OK;
    double share = writer->validation_share;
    if (!(share > 0 && share < 1))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "the share of validation is %g, and must lie between 0 and 1", share);
    *count = llround(share * (double)total);
    if (*count == 0 || *count == total)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%" PRId64 " tokens are too few to give a share of %g to validation", total,
                       share);
    return ZI_OK;
}

/* `total` tokens: of the spool, or of bytes where there is none. */
static enum zi_status write_outputs(const struct input_list *list, const struct zi_output *spool,
                                    int64_t total, struct cut *cut)
{
    const struct tokens_writer *writer = list->writer;
    const struct tokens_encoder *encoder = writer->encoder;
    char source[SOURCE_MOST];
    describe_source(writer, source, sizeof source);
    struct token_output_meta meta = {encoder ? encoder->vocabulary : 256,
                                     encoder ? encoder->name : "bytes", source};
    int64_t validation;
    ZI_TRY(validation_tokens(writer, total, &validation));
    cut->train.left = total - validation;
    cut->validation.left = validation;
    ZI_TRY(token_output_create(writer->path, cut->train.left, &meta, &cut->train.output));
    if (validation > 0)
        ZI_TRY(token_output_create(writer->validation_path, validation, &meta,
                                   &cut->validation.output));
    ZI_TRY(encoder ? copy_ids(cut, spool, total) : copy_all(cut, list));
    ZI_TRY(part_finish(&cut->validation));
    ZI_TRY(part_finish(&cut->train));
    zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens from %zu file%s", writer->path,
           total - validation, list->count, list->count == 1 ? "" : "s");
    if (validation > 0)
        zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens, the last of them",
               writer->validation_path, validation);
    return ZI_OK;
}

/* The end of a path and the folder that it is in, as the system knows it. */
struct place {
    const char *name;
    struct stat folder;
};

static bool find_place(const char *path, struct place *place)
{
    const char *slash = strrchr(path, '/');
    place->name = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    bool found = folder && stat(folder, &place->folder) == 0;
    free(folder);
    return found;
}

/* Whether two paths, whose links have been followed, name one file: one name in one folder. */
static bool is_one_name(const char *a, const char *b)
{
    struct place one, other;
    return find_place(a, &one) && find_place(b, &other) && strcmp(one.name, other.name) == 0 &&
           one.folder.st_dev == other.folder.st_dev && one.folder.st_ino == other.folder.st_ino;
}

/* Whether both outputs can be made and are not one file, in whatever spelling. */
static enum zi_status check_outputs(const struct tokens_writer *writer)
{
    struct zi_output train = {.room = NULL}, validation = {.room = NULL};
    enum zi_status status = zi_output_begin("data", writer->path, 0600, &train);
    if (status >= 0 && writer->validation_path) {
        status = zi_output_begin("data", writer->validation_path, 0600, &validation);
        if (status >= 0 && is_one_name(train.path, validation.path))
            status = zi_fail(ZI_ERROR_USAGE, "data",
                             "training and validation tokens cannot both go to %s (%s)",
                             writer->path, writer->validation_path);
    }
    zi_output_discard(&validation);
    zi_output_discard(&train);
    return status;
}

enum zi_status tokens_write(const struct tokens_writer *writer)
{
    struct input_list list = {.writer = writer};
    struct cut cut = {.train = {.output = NULL}};
    struct zi_output spool = {.room = NULL};
    enum zi_status status = check_outputs(writer);
    if (status >= 0) status = input_list_make(&list);
    int64_t total = list.bytes;
    if (status >= 0 && writer->encoder) status = inputs_encode(&list, &spool, &total);
    if (status >= 0) status = write_outputs(&list, &spool, total, &cut);
    zi_output_discard(&spool);
    token_output_discard(cut.train.output);
    token_output_discard(cut.validation.output);
    input_list_free(&list);
    if (status == ZI_STOPPED)
        zi_log(ZI_LOG_ERROR, "data", "stopped by %s: %s is not written",
               zi_stop_name(zi_stop_signal()), writer->path);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Making token files out of text: every byte is a token, so the vocabulary is 256 and the tokens of
 * a file are the file.
 *
 * Two passes. The first walks the inputs and lists their files with their sizes, so the number of
 * tokens, and with it the place of the cut between training and validation, is known before the
 * first byte is written. The second copies the bytes. A file whose size changed in between is an
 * error, since the cut and the space would be wrong. The order of files is part of the result:
 * inputs as given, and inside a folder by byte-wise comparison of names, whatever the locale. */
#include "data/tokens.h"

#include "base/log.h"
#include "data/format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES  ((size_t)1 << 20)
#define SOURCE_MOST 4096 /* bytes of the attribute that lists the inputs */

struct input_file {
    char *path;
    int64_t bytes;
};

struct input_list {
    struct input_file *files;
    size_t count, capacity;
    int64_t bytes; /* of all files */
    const struct tokens_writer *writer;
};

static void list_free(struct input_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
}

static enum zi_status no_memory(const char *path)
{
    return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to list %s", path);
}

/* An output of an earlier run that lies among the inputs would be read while it is replaced. */
static enum zi_status check_not_output(const struct tokens_writer *writer, const char *path,
                                       const struct stat *information)
{
    const char *outputs[] = {writer->path, writer->validation_path};
    for (int i = 0; i < 2; i++) {
        struct stat output;
        if (outputs[i] != NULL && stat(outputs[i], &output) == 0 &&
            output.st_dev == information->st_dev && output.st_ino == information->st_ino)
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s is an input and the output too: choose another output, or a suffix "
                           "that leaves it out",
                           path);
    }
    return ZI_OK;
}

static enum zi_status list_add(struct input_list *list, const char *path,
                               const struct stat *information)
{
    ZI_TRY(check_not_output(list->writer, path, information));
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        struct input_file *files = realloc(list->files, capacity * sizeof *files);
        if (files == NULL) return no_memory(path);
        list->files = files;
        list->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy == NULL) return no_memory(path);
    list->files[list->count++] = (struct input_file){copy, information->st_size};
    list->bytes += information->st_size;
    return ZI_OK;
}

static int has_suffix(const char *name, const char *suffix)
{
    if (suffix == NULL) return 1;
    size_t length = strlen(name), end = strlen(suffix);
    return length >= end && strcmp(name + length - end, suffix) == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static enum zi_status walk_folder(struct input_list *list, const char *folder);

/* Links to files count as files; links to folders are not followed, as they may lead in circles. */
static enum zi_status walk_entry(struct input_list *list, const char *folder, const char *name)
{
    char begin[4096], path[4096];
    size_t length = strlen(folder);
    ZI_TRY(token_path_join(begin, sizeof begin, folder,
                           length > 0 && folder[length - 1] == '/' ? "" : "/"));
    ZI_TRY(token_path_join(path, sizeof path, begin, name));
    struct stat entry, target;
    if (lstat(path, &entry) != 0)
        return zi_fail(ZI_ERROR_IO, "data", "cannot examine %s: %s", path, strerror(errno));
    if (S_ISDIR(entry.st_mode)) return walk_folder(list, path);
    if (!has_suffix(name, list->writer->suffix)) return ZI_OK;
    if (stat(path, &target) != 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "cannot examine %s: %s", path, strerror(errno));
    return S_ISREG(target.st_mode) ? list_add(list, path, &target) : ZI_OK;
}

static enum zi_status walk_folder(struct input_list *list, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_not_dots, by_name);
    if (count < 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "cannot list folder %s: %s", folder,
                       strerror(errno));
    enum zi_status status = ZI_OK;
    for (int i = 0; i < count; i++) {
        if (status >= 0) status = walk_entry(list, folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static enum zi_status list_inputs(struct input_list *list)
{
    const struct tokens_writer *writer = list->writer;
    for (int i = 0; i < writer->input_count; i++) {
        const char *path = writer->inputs[i];
        struct stat information;
        if (stat(path, &information) != 0)
            return zi_fail(ZI_ERROR_USAGE, "data", "cannot open input %s: %s", path,
                           strerror(errno));
        if (S_ISDIR(information.st_mode))
            ZI_TRY(walk_folder(list, path));
        else if (S_ISREG(information.st_mode))
            ZI_TRY(list_add(list, path, &information));
        else
            return zi_fail(ZI_ERROR_USAGE, "data", "input %s is neither a file nor a folder", path);
    }
    if (list->count == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "no input files%s%s: name a file, or a folder that "
                       "holds some",
                       writer->suffix == NULL ? "" : " that end in ",
                       writer->suffix == NULL ? "" : writer->suffix);
    if (list->bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "all %zu input files are empty: there is nothing to "
                       "tokenize",
                       list->count);
    return ZI_OK;
}

/* The two files under way, of which the second is absent without validation. */
struct cut {
    struct token_output *output[2];
    int64_t left[2]; /* tokens that still go there */
};

static enum zi_status cut_append(struct cut *cut, const uint8_t *bytes, int64_t count)
{
    for (int i = 0; i < 2 && count > 0; i++) {
        int64_t n = count < cut->left[i] ? count : cut->left[i];
        if (n == 0) continue;
        ZI_TRY(token_output_append_bytes(cut->output[i], bytes, n));
        cut->left[i] -= n;
        bytes += n;
        count -= n;
    }
    return ZI_OK;
}

static enum zi_status copy_file(struct cut *cut, const struct input_file *input, uint8_t *buffer)
{
    int file = open(input->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "cannot open input %s: %s", input->path,
                       strerror(errno));
    enum zi_status status = ZI_OK;
    int64_t done = 0;
    while (status >= 0) {
        ssize_t got = read(file, buffer, COPY_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            status = zi_fail(ZI_ERROR_IO, "data", "reading input %s at byte %" PRId64 " failed: %s",
                             input->path, done, strerror(errno));
        if (got <= 0) break;
        if (done + got > input->bytes) {
            done += got;
            break;
        }
        done += got;
        status = cut_append(cut, buffer, got);
    }
    close(file);
    if (status >= 0 && done != input->bytes)
        status = zi_fail(ZI_ERROR_USAGE, "data",
                         "input %s changed while it was read (it had %" PRId64
                         " bytes): try again when it is at rest",
                         input->path, input->bytes);
    return status;
}

static enum zi_status copy_all(struct cut *cut, const struct input_list *list)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    if (buffer == NULL) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to copy tokens");
    enum zi_status status = ZI_OK;
    for (size_t i = 0; i < list->count && status >= 0; i++)
        status = copy_file(cut, &list->files[i], buffer);
    free(buffer);
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
    if (writer->validation_path == NULL) return ZI_OK;
    double share = writer->validation_share;
    if (!(share > 0 && share < 1))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "the share of validation is %g, and must lie between 0 and 1", share);
    if (strcmp(writer->path, writer->validation_path) == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "training and validation tokens cannot both go to %s", writer->path);
    *count = llround(share * (double)total);
    if (*count == 0 || *count == total)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%" PRId64 " tokens are too few to give a share of %g to validation", total,
                       share);
    return ZI_OK;
}

static enum zi_status write_outputs(const struct input_list *list, struct cut *cut)
{
    const struct tokens_writer *writer = list->writer;
    char source[SOURCE_MOST];
    describe_source(writer, source, sizeof source);
    struct token_output_meta meta = {256, "bytes", source};
    int64_t validation;
    ZI_TRY(validation_tokens(writer, list->bytes, &validation));
    cut->left[0] = list->bytes - validation;
    cut->left[1] = validation;
    ZI_TRY(token_output_create(writer->path, cut->left[0], &meta, &cut->output[0]));
    if (validation > 0)
        ZI_TRY(token_output_create(writer->validation_path, validation, &meta, &cut->output[1]));
    ZI_TRY(copy_all(cut, list));
    for (int i = 1; i >= 0; i--) {
        struct token_output *output = cut->output[i];
        cut->output[i] = NULL; /* finish frees it in any case */
        if (output != NULL) ZI_TRY(token_output_finish(output));
    }
    zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens from %zu file%s", writer->path,
           list->bytes - validation, list->count, list->count == 1 ? "" : "s");
    if (validation > 0)
        zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens, the last of them",
               writer->validation_path, validation);
    return ZI_OK;
}

enum zi_status tokens_write(const struct tokens_writer *writer)
{
    struct input_list list = {.writer = writer};
    struct cut cut = {{NULL, NULL}, {0, 0}};
    enum zi_status status = list_inputs(&list);
    if (status >= 0) status = write_outputs(&list, &cut);
    token_output_discard(cut.output[0]);
    token_output_discard(cut.output[1]);
    list_free(&list);
    return status;
}

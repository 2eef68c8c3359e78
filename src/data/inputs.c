/* SPDX-License-Identifier: Apache-2.0 */
/* Listing the files that a token file is made of.
 *
 * A folder is taken as it is found, and what is found there is often not all text: the token files
 * of the last time, links to what is gone, the very output of this command. A file is left out
 * where reading it would make nonsense or loops, and everything that is left out is said; a file
 * that cannot be read is an error. What is named on the command line is never left out: it is read
 * or refused.
 *
 * The order of files is part of the result: inputs as given, and inside a folder by byte-wise
 * comparison of names, whatever the locale. */
#include "data/inputs.h"

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/format.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".tmp-" /* of an output in the making (base/file.h), and six characters */

void input_list_free(struct input_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
    for (int why = 0; why < LEFT_COUNT; why++)
        for (int i = 0; i < LEFT_NAMES; i++)
            free(list->left[why].names[i]);
}

static enum zi_status no_memory(const char *path)
{
    return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to list %s", path);
}

static enum zi_status list_add(struct input_list *list, const char *path,
                               const struct stat *information)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        struct input_file *files = realloc(list->files, capacity * sizeof *files);
        if (!files) return no_memory(path);
        list->files = files;
        list->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy) return no_memory(path);
    list->files[list->count++] =
        (struct input_file){copy, information->st_size, information->st_mtim};
    list->bytes += information->st_size;
    return ZI_OK;
}

static enum zi_status leave_out(struct input_list *list, enum input_left why, const char *path)
{
    int64_t at = list->left[why].count++;
    if (at >= LEFT_NAMES) return ZI_OK;
    list->left[why].names[at] = strdup(path);
    return list->left[why].names[at] ? ZI_OK : no_memory(path);
}

/* One line for each reason, with the first names. */
static void say_left(const struct input_list *list)
{
    static const struct {
        const char *one, *many;
    } reasons[LEFT_COUNT] = {
        [LEFT_TOKENS] = {"is a token file", "are token files"},
        [LEFT_OUTPUT] = {"is an output of this command", "are outputs of this command"},
        [LEFT_DANGLING] = {"is a link to nothing", "are links to nothing"},
        [LEFT_FOLDER_LINK] = {"is a link to a folder", "are links to folders"},
        [LEFT_SPECIAL] = {"is no regular file", "are no regular files"},
    };
    for (int why = 0; why < LEFT_COUNT; why++) {
        int64_t count = list->left[why].count;
        char *const *names = list->left[why].names;
        if (count == 0) continue;
        char more[48] = "";
        if (count > LEFT_NAMES)
            snprintf(more, sizeof more, " and %" PRId64 " more", count - LEFT_NAMES);
        zi_log(ZI_LOG_NOTE, "data", "left out: %s%s%s%s%s%s %s", names[0], count > 1 ? ", " : "",
               count > 1 ? names[1] : "", count > 2 ? ", " : "", count > 2 ? names[2] : "", more,
               count > 1 ? reasons[why].many : reasons[why].one);
    }
}

static int has_suffix(const char *name, const char *suffix)
{
    if (!suffix) return 1;
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

/* Whether a file is one that this command is about to replace. */
static bool is_output(const struct tokens_writer *writer, const struct stat *information)
{
    const char *outputs[] = {writer->path, writer->validation_path};
    for (int i = 0; i < 2; i++) {
        struct stat output;
        if (outputs[i] && stat(outputs[i], &output) == 0 && output.st_dev == information->st_dev &&
            output.st_ino == information->st_ino)
            return true;
    }
    return false;
}

/* Whether a name is that of an output which a command that was killed has left unfinished. */
static bool is_unfinished(const struct tokens_writer *writer, const char *name)
{
    const char *outputs[] = {writer->path, writer->validation_path};
    for (int i = 0; i < 2; i++) {
        if (!outputs[i]) continue;
        const char *slash = strrchr(outputs[i], '/'), *own = slash ? slash + 1 : outputs[i];
        size_t length = strlen(own), mark = strlen(TEMPORARY);
        if (strncmp(name, own, length) == 0 && strncmp(name + length, TEMPORARY, mark) == 0 &&
            strlen(name + length + mark) == 6)
            return true;
    }
    return false;
}

/* What kind of token file a regular file is; NULL for none. */
static const char *kind_of(const char *path)
{
    unsigned char head[16];
    const char *kind = token_file_kind(head, token_file_head(path, head, sizeof head));
    if (!kind && token_is_megatron(path)) kind = "part of a dataset of Megatron-LM";
    return kind;
}

static enum zi_status walk_folder(struct input_list *list, const char *folder);

/* Links to files count as files; links to folders are not followed, as they may lead in circles. */
static enum zi_status walk_path(struct input_list *list, const char *path, const char *name)
{
    struct stat entry, target;
    if (lstat(path, &entry) != 0)
        return zi_fail(ZI_ERROR_IO, "data", "cannot examine %s: %s", path, strerror(errno));
    if (S_ISDIR(entry.st_mode)) return walk_folder(list, path);
    int error = stat(path, &target) != 0 ? errno : 0;
    if (error == 0 && S_ISDIR(target.st_mode)) return leave_out(list, LEFT_FOLDER_LINK, path);
    if (!has_suffix(name, list->writer->suffix)) return ZI_OK;
    if (error == ENOENT || error == ELOOP || error == ENOTDIR)
        return leave_out(list, LEFT_DANGLING, path);
    if (error != 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "cannot examine %s: %s", path, strerror(error));
    if (!S_ISREG(target.st_mode)) return leave_out(list, LEFT_SPECIAL, path);
    if (is_output(list->writer, &target) || is_unfinished(list->writer, name))
        return leave_out(list, LEFT_OUTPUT, path);
    if (kind_of(path)) return leave_out(list, LEFT_TOKENS, path);
    return list_add(list, path, &target);
}

static enum zi_status walk_entry(struct input_list *list, const char *folder, const char *name)
{
    char *path;
    size_t length = strlen(folder);
    const char *between = length > 0 && folder[length - 1] == '/' ? "" : "/";
    ZI_TRY(zi_stop_check());
    if (asprintf(&path, "%s%s%s", folder, between, name) < 0) return no_memory(folder);
    enum zi_status status = walk_path(list, path, name);
    free(path);
    return status;
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

/* An input that was named, and so is taken or refused. */
static enum zi_status take_named(struct input_list *list, const char *path)
{
    struct stat information;
    if (stat(path, &information) != 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "cannot open input %s: %s", path, strerror(errno));
    if (S_ISDIR(information.st_mode)) return walk_folder(list, path);
    if (!S_ISREG(information.st_mode))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "input %s is %s: name a regular file, or a folder that holds some", path,
                       zi_file_kind(information.st_mode));
    if (is_output(list->writer, &information))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is an input and the output too: choose another output", path);
    const char *kind = kind_of(path);
    if (kind)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "input %s is %s, not a text: name texts, or give token files to data.train "
                       "as they are",
                       path, kind);
    return list_add(list, path, &information);
}

enum zi_status input_list_make(struct input_list *list)
{
    const struct tokens_writer *writer = list->writer;
    for (int i = 0; i < writer->input_count; i++)
        ZI_TRY(take_named(list, writer->inputs[i]));
    say_left(list);
    if (list->count == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "no input files%s%s: name a file, or a folder that "
                       "holds some",
                       writer->suffix ? " that end in " : "", writer->suffix ? writer->suffix : "");
    if (list->bytes == 0 && list->count == 1)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "input %s is empty: there is nothing to tokenize; name a file with text",
                       list->files[0].path);
    if (list->bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "all %zu input files are empty, %s and others: there is nothing to "
                       "tokenize; name files with text",
                       list->count, list->files[0].path);
    return ZI_OK;
}

enum zi_status input_check(const struct input_file *input, int file)
{
    struct stat is;
    if (fstat(file, &is) == 0 && is.st_size == input->bytes &&
        is.st_mtim.tv_sec == input->changed.tv_sec && is.st_mtim.tv_nsec == input->changed.tv_nsec)
        return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "input %s changed while it was read (it had %" PRId64
                   " bytes): try again when it is at rest",
                   input->path, input->bytes);
}

enum zi_status input_open(const struct input_file *input, int *file)
{
    int64_t bytes;
    ZI_TRY(zi_file_open_input("data", input->path, file, &bytes));
    enum zi_status status = input_check(input, *file);
    if (status < 0) close(*file);
    return status;
}

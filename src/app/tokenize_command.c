/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf tokenize`: texts to token files. The data room does the work and says what it has written;
 * here the command line becomes a request, and what contradicts itself in it is refused before a
 * file is touched.
 *
 * Files named *.jsonl have a document a line (text/document.h), with a tokenizer. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/commands.h"
#include "app/encoding.h"
#include "base/log.h"
#include "data/tokens.h"

/* A suffix chooses among the files of folders; files that are named are taken whatever it is. */
static enum zi_status check_suffix(const struct tokens_writer *writer)
{
    struct stat info;
    for (int i = 0; i < writer->input_count; i++)
        if (stat(writer->inputs[i], &info) != 0 || S_ISDIR(info.st_mode)) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "--suffix %s has no effect: it chooses files of folders, and no INPUT is a folder",
        writer->suffix);
}

static bool is_lines(const char *name)
{
    size_t length = strlen(name);
    return length >= 6 && strcmp(name + length - 6, ".jsonl") == 0;
}

/* Whether the inputs are files of lines: all of them, or none. */
static enum zi_status find_lines(const struct tokens_writer *writer, bool *lines)
{
    bool folders = writer->suffix && is_lines(writer->suffix);
    int count = 0;
    for (int i = 0; i < writer->input_count; i++) {
        struct stat info;
        bool folder = stat(writer->inputs[i], &info) == 0 && S_ISDIR(info.st_mode);
        count += folder ? folders : is_lines(writer->inputs[i]);
    }
    *lines = count > 0;
    if (count == 0 || count == writer->input_count) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "files of JSON lines (*.jsonl) and texts are not made one token file: give them "
                   "outputs of their own; of a folder of JSON lines, add --suffix .jsonl");
}

/* Whether a folder has files of lines in it itself. */
static bool has_lines(const char *folder)
{
    bool found = false;
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && !found && (entry = readdir(entries));)
        found = is_lines(entry->d_name);
    if (entries) closedir(entries);
    return found;
}

/* JSON lines are not made tokens as if they were text. */
static enum zi_status check_lines(const struct tokens_writer *writer, bool encoded)
{
    for (int i = 0; i < writer->input_count; i++) {
        const char *input = writer->inputs[i];
        if (!encoded && is_lines(input))
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "%s has JSON lines, which need --tokenizer FOLDER: it tells documents "
                           "apart",
                           input);
        if (!writer->suffix && has_lines(input))
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "the folder %s has files of JSON lines: give --suffix .jsonl, for them "
                           "alone, or the suffix of its texts",
                           input);
    }
    return ZI_OK;
}

static enum zi_status write_encoded(const struct options *options, const char *path,
                                    struct tokens_writer *writer)
{
    struct encoding encoding;
    bool lines;
    ZI_TRY(find_lines(writer, &lines));
    ZI_TRY(encoding_open(path, options_text(options, "--separator", NULL), lines, &encoding));
    writer->encoder = &encoding.encoder;
    enum zi_status status = tokens_write(writer);
    encoding_close(&encoding);
    return status;
}

enum zi_status tokenize_command(struct comm *world, const struct options *options)
{
    (void)world;
    const char *tokenizer = options_text(options, "--tokenizer", NULL);
    struct tokens_writer writer = {
        .inputs = options->words,
        .input_count = options->word_count,
        .suffix = options_text(options, "--suffix", NULL),
        .path = options_text(options, "--output", NULL),
        .validation_path = options_text(options, "--validation", NULL),
        .validation_share = 0.1,
    };
    ZI_TRY(options_real(options, "--share", 0, 1, &writer.validation_share));
    if (!writer.path)
        return zi_fail(ZI_ERROR_USAGE, "app", "--output FILE says where the tokens go");
    if (options_given(options, "--share") && !writer.validation_path)
        return zi_fail(ZI_ERROR_USAGE, "app", "--share needs --validation FILE to go to");
    if (writer.validation_path && !(writer.validation_share > 0 && writer.validation_share < 1))
        return zi_fail(ZI_ERROR_USAGE, "app", "--share %g leaves one of the files empty",
                       writer.validation_share);
    if (writer.suffix) ZI_TRY(check_suffix(&writer));
    ZI_TRY(check_lines(&writer, tokenizer));
    if (tokenizer) return write_encoded(options, tokenizer, &writer);
    if (options_given(options, "--separator"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--separator needs --tokenizer FOLDER: a file of bytes has no token to "
                       "spare for it");
    return tokens_write(&writer);
}

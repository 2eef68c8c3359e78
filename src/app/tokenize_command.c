/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf tokenize`: texts to token files. The data room does the work and says what it has written;
 * here the command line becomes a request, and what contradicts itself in it is refused before a
 * file is touched. Which tokens a text has is the text room's to say; the data room does not know
 * it, and is given its functions.
 *
 * Files named *.jsonl have a document a line (text/document.h), with a tokenizer. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/commands.h"
#include "base/log.h"
#include "data/tokens.h"
#include "text/document.h"
#include "text/tokenizer.h"

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

/* What the encoder knows. */
struct encoding {
    struct tokenizer *tokenizer;
    /* Ends a document; -1: none. */
    int32_t end;
};

/* A thread of it. */
struct encoding_worker {
    const struct encoding *of;
    struct tokenizer_work *work;
};

static enum zi_status encoder_begin(void *context, void **worker)
{
    const struct encoding *of = context;
    struct encoding_worker *made = calloc(1, sizeof *made);
    *worker = made;
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to encode texts");
    made->of = of;
    return tokenizer_work_create(of->tokenizer, &made->work);
}

static enum zi_status encoder_encode(void *worker, const struct tokens_text *text, int32_t **ids,
                                     size_t *count)
{
    const struct encoding_worker *w = worker;
    struct tokenizer_ids made = {.ids = NULL};
    const struct document_line line = {text->text, text->bytes, text->path, text->line, w->of->end};
    enum zi_status status = text->line > 0
                                ? document_encode(w->work, &line, &made)
                                : tokenizer_encode(w->work, text->text, text->bytes, false, &made);
    if (status < 0) {
        tokenizer_ids_free(&made);
        return status;
    }
    *ids = made.ids;
    *count = made.count;
    return ZI_OK;
}

static void encoder_end(void *worker)
{
    struct encoding_worker *w = worker;
    if (w) tokenizer_work_free(w->work);
    free(w);
}

/* The token that ends each file or document. */
static enum zi_status find_separator(const struct tokenizer *tokenizer, const char *token,
                                     int32_t *id)
{
    bool is_end = strcmp(token, "eos") == 0;
    *id = is_end ? tokenizer_end(tokenizer) : tokenizer_token_id(tokenizer, token);
    if (*id >= 0) return ZI_OK;
    if (is_end)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--separator eos: no tokenizer_config.json beside the tokenizer names an "
                       "eos_token that it has; name the token, as --separator '<|endoftext|>'");
    return zi_fail(ZI_ERROR_USAGE, "app", "--separator %s: the tokenizer has no such token", token);
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

/* What the token file says of its tokenizer: the name of its folder or file, and what it is. */
static void name_tokenizer(const struct tokenizer *tokenizer, const char *path, char *name,
                           size_t size)
{
    char *full = realpath(path, NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    snprintf(name, size, "%.150s: %s", slash ? slash + 1 : path, tokenizer_identity(tokenizer));
    free(full);
}

static enum zi_status write_encoded(const struct options *options, const char *path,
                                    struct tokens_writer *writer)
{
    const char *separator = options_text(options, "--separator", NULL);
    struct tokenizer *tokenizer;
    char name[240];
    ZI_TRY(tokenizer_open(path, &tokenizer));
    name_tokenizer(tokenizer, path, name, sizeof name);
    struct encoding encoding = {.tokenizer = tokenizer, .end = -1};
    struct tokens_encoder encoder = {.begin = encoder_begin,
                                     .encode = encoder_encode,
                                     .end = encoder_end,
                                     .context = &encoding,
                                     .vocabulary = tokenizer_vocabulary(tokenizer),
                                     .name = name,
                                     .separator = -1};
    enum zi_status status = find_lines(writer, &encoder.lines);
    if (encoder.lines) encoding.end = tokenizer_end(tokenizer);
    if (status >= 0 && separator)
        status = find_separator(tokenizer, separator,
                                encoder.lines ? &encoding.end : &encoder.separator);
    if (status >= 0 && encoder.lines && encoding.end < 0)
        zi_log(ZI_LOG_WARN, "app",
               "documents end without a token that says so, for no tokenizer_config.json beside the "
               "tokenizer names an eos_token: name one, as --separator '<|endoftext|>'");
    writer->encoder = &encoder;
    if (status >= 0) status = tokens_write(writer);
    tokenizer_close(tokenizer);
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
    if (tokenizer) return write_encoded(options, tokenizer, &writer);
    if (options_given(options, "--separator"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--separator needs --tokenizer FOLDER: a file of bytes has no token to "
                       "spare for it");
    return tokens_write(&writer);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf tokenize`: texts to token files. The data room does the work and says what it has written;
 * here the command line becomes a request, and what contradicts itself in it is refused before a
 * file is touched. Which tokens a text has is the text room's to say; the data room does not know
 * it, and is given its functions. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/commands.h"
#include "base/log.h"
#include "data/tokens.h"
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

static enum zi_status encoder_begin(void *context, void **worker)
{
    struct tokenizer_work *work = NULL;
    enum zi_status status = tokenizer_work_create(context, &work);
    *worker = work;
    return status;
}

static enum zi_status encoder_encode(void *worker, const char *text, size_t bytes, int32_t **ids,
                                     size_t *count)
{
    struct tokenizer_ids made = {.ids = NULL};
    enum zi_status status = tokenizer_encode(worker, text, bytes, false, &made);
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
    tokenizer_work_free(worker);
}

/* The token that ends each file. */
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
    struct tokens_encoder encoder = {.begin = encoder_begin,
                                     .encode = encoder_encode,
                                     .end = encoder_end,
                                     .context = tokenizer,
                                     .vocabulary = tokenizer_vocabulary(tokenizer),
                                     .name = name,
                                     .separator = -1};
    enum zi_status status = ZI_OK;
    if (separator) status = find_separator(tokenizer, separator, &encoder.separator);
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

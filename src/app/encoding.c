/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a text has is the text room's to say; the data room does not know it, and is given
 * its functions. */
#include "app/encoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "chat/chat.h"
#include "text/document.h"
#include "text/tokenizer.h"

/* A thread of an encoding. */
struct encoding_worker {
    struct encoding *of;
    struct tokenizer_work *work;
};

static enum zi_status encoder_begin(void *context, void **worker)
{
    struct encoding *of = context;
    struct encoding_worker *made = calloc(1, sizeof *made);
    *worker = made;
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to encode texts");
    made->of = of;
    return tokenizer_work_create(of->tokenizer, &made->work);
}

/* The chat template of the tokenizer's folder, opened by the first thread that has messages. */
static enum zi_status find_chat(void *context, const struct chat_template **chat)
{
    struct encoding *of = context;
    enum zi_status status = ZI_OK;
    pthread_mutex_lock(&of->mutex);
    if (!of->chat) status = chat_template_open(of->folder, &of->chat);
    *chat = of->chat;
    pthread_mutex_unlock(&of->mutex);
    return status;
}

static enum zi_status encoder_encode(void *worker, const struct tokens_text *text, int32_t **ids,
                                     size_t *count)
{
    const struct encoding_worker *w = worker;
    struct tokenizer_ids made = {.ids = NULL};
    const struct document_line line = {.text = text->text,
                                       .bytes = text->bytes,
                                       .file = text->path,
                                       .line = text->line,
                                       .end = w->of->end,
                                       .find_chat = find_chat,
                                       .context = w->of};
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

/* What the token file says of its tokenizer: the name of its folder or file, and what it is. */
static void name_tokenizer(const struct tokenizer *tokenizer, const char *path, char *name,
                           size_t size)
{
    char *full = realpath(path, NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    snprintf(name, size, "%.150s: %s", slash ? slash + 1 : path, tokenizer_identity(tokenizer));
    free(full);
}

void encoding_find_folder(const char *path, char folder[PATH_MAX])
{
    struct stat is;
    snprintf(folder, PATH_MAX, "%s", path);
    char *slash = strrchr(folder, '/');
    if (stat(path, &is) == 0 && S_ISDIR(is.st_mode)) return;
    if (slash)
        slash[1] = 0;
    else
        snprintf(folder, PATH_MAX, ".");
}

static enum zi_status find_end(struct encoding *encoding, const char *separator)
{
    bool lines = encoding->encoder.lines;
    if (lines) encoding->end = tokenizer_end(encoding->tokenizer);
    if (separator)
        return find_separator(encoding->tokenizer, separator,
                              lines ? &encoding->end : &encoding->encoder.separator);
    if (lines && encoding->end < 0)
        zi_log(
            ZI_LOG_WARN, "app",
            "documents end without a token that says so, for no tokenizer_config.json beside the "
            "tokenizer names an eos_token that it has");
    return ZI_OK;
}

enum zi_status encoding_open(const char *path, const char *separator, bool lines,
                             struct encoding *encoding)
{
    *encoding = (struct encoding){.end = -1, .mutex = PTHREAD_MUTEX_INITIALIZER};
    encoding_find_folder(path, encoding->folder);
    ZI_TRY(tokenizer_open(path, &encoding->tokenizer));
    name_tokenizer(encoding->tokenizer, path, encoding->name, sizeof encoding->name);
    encoding->encoder =
        (struct tokens_encoder){.begin = encoder_begin,
                                .encode = encoder_encode,
                                .end = encoder_end,
                                .context = encoding,
                                .vocabulary = tokenizer_vocabulary(encoding->tokenizer),
                                .name = encoding->name,
                                .separator = -1,
                                .lines = lines};
    enum zi_status status = find_end(encoding, separator);
    if (status < 0) encoding_close(encoding);
    return status;
}

void encoding_close(struct encoding *encoding)
{
    chat_template_close(encoding->chat);
    tokenizer_close(encoding->tokenizer);
    encoding->chat = NULL;
    encoding->tokenizer = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A file of JSON lines is made a token file once, by rank 0, before it is opened. The name says of
 * what it was made: the same lines by the same tokenizer are found again, by a run that goes on as by
 * one that begins anew, and others are made anew under another name. What is whole is never removed;
 * what killed runs have left unfinished is. */
#include "app/tokenized.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/directory.h"
#include "app/lines.h"
#include "app/source.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "text/tokenizer.h"

enum { SEEN_TRIES = 50, SEEN_WAIT_US = 100000, NAME_MOST = 120 };

/* The tokenizer of the deck, or of the model that the run begins with. */
static enum zi_status find_tokenizer(const struct settings *s, char folder[PATH_MAX])
{
    struct source *source;
    snprintf(folder, PATH_MAX, "%s", s->data.tokenizer);
    if (*folder) return ZI_OK;
    if (*s->model.from) {
        ZI_TRY(source_open(s->model.from, false, &source));
        enum zi_status status = source_files(source, folder);
        source_close(source);
        ZI_TRY(status);
    }
    if (*folder) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "files of JSON lines need data.tokenizer: the folder of the tokenizer that the "
                   "model is trained with%s",
                   *s->model.from ? ", for model.from brings none" : "");
}

/* Of a file of the tokenizer's folder; 0: there is none. */
static enum zi_status hash_file(const char *folder, const char *name, uint64_t *hash)
{
    char path[PATH_MAX + 32], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *hash = 0;
    if (access(path, F_OK) != 0) return ZI_OK;
    ZI_TRY(lines_read_whole(path, &text, &bytes));
    *hash = zi_random_hash(text, bytes);
    free(text);
    return ZI_OK;
}

static enum zi_status name_folder(const struct tokenized *tokenized, char folder[PATH_MAX])
{
    return report_path(tokenized->settings->run.directory, "data", folder);
}

static enum zi_status open_encoding(struct tokenized *tokenized)
{
    uint64_t hashes[2];
    char folder[PATH_MAX];
    if (tokenized->open) return ZI_OK;
    ZI_TRY(name_folder(tokenized, folder));
    if (tokenized->makes) zi_output_remove_dead("app", folder);
    ZI_TRY(find_tokenizer(tokenized->settings, folder));
    ZI_TRY(encoding_open(folder, NULL, true, &tokenized->encoding));
    tokenized->open = true;
    const char *kept = tokenized->encoding.folder;
    ZI_TRY(hash_file(kept, "tokenizer_config.json", &hashes[0]));
    ZI_TRY(hash_file(kept, "chat_template.jinja", &hashes[1]));
    tokenized->rendering = zi_random_hash(hashes, sizeof hashes);
    return ZI_OK;
}

/* Puts the name of a file's token file together: its own, without folder and ending, and a number of
 * all that the tokens depend on. */
static enum zi_status name_tokens(const struct tokenized *tokenized, const char *path, char *tokens,
                                  size_t size)
{
    struct stat is;
    char text[2 * PATH_MAX], folder[PATH_MAX];
    if (stat(path, &is) != 0) return zi_fail(ZI_ERROR_USAGE, "app", "cannot open %s: %m", path);
    int length = snprintf(text, sizeof text, "2 %s %lld %lld.%09ld %s %" PRId32 " %" PRIx64, path,
                          (long long)is.st_size, (long long)is.st_mtim.tv_sec, is.st_mtim.tv_nsec,
                          tokenizer_identity(tokenized->encoding.tokenizer),
                          tokenized->encoding.end, tokenized->rendering);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int own = (int)(strlen(name) - strlen(".jsonl"));
    ZI_TRY(name_folder(tokenized, folder));
    int used =
        snprintf(tokens, size, "%s/%.*s-%016" PRIx64 ".h5", folder,
                 own < NAME_MOST ? own : NAME_MOST, name, zi_random_hash(text, (size_t)length));
    if (length < (int)sizeof text && used < (int)size) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "%s is too long a path", path);
}

static enum zi_status make_tokens(const struct tokenized *tokenized, const char *path,
                                  const char *tokens)
{
    char folder[PATH_MAX];
    ZI_TRY(name_folder(tokenized, folder));
    ZI_TRY(report_make_folder(folder));
    const struct tokens_writer writer = {
        .inputs = &path, .input_count = 1, .path = tokens, .encoder = &tokenized->encoding.encoder};
    return tokens_write(&writer);
}

enum zi_status tokenized_find(void *context, const char *path, char *tokens, size_t size)
{
    struct tokenized *tokenized = context;
    struct stat is;
    ZI_TRY(open_encoding(tokenized));
    ZI_TRY(name_tokens(tokenized, path, tokens, size));
    if (stat(tokens, &is) == 0) return ZI_OK;
    if (tokenized->makes) return make_tokens(tokenized, path, tokens);
    for (int i = 0; i < SEEN_TRIES; i++) {
        if (stat(tokens, &is) == 0) return ZI_OK;
        usleep(SEEN_WAIT_US);
    }
    return zi_fail(ZI_ERROR_IO, "app",
                   "%s, which rank 0 has made of %s, is not seen here: choose a run.directory on a "
                   "file system that all nodes share",
                   tokens, path);
}

void tokenized_close(struct tokenized *tokenized)
{
    if (tokenized->open) encoding_close(&tokenized->encoding);
    tokenized->open = false;
}

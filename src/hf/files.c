/* SPDX-License-Identifier: Apache-2.0 */
/* What a model folder has beside its config and its weights, by name. */
#include "hf/model.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* config.json is the first. */
static const char *const names[] = {
    "config.json",        "generation_config.json",
    "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model",    "special_tokens_map.json",
    "added_tokens.json",  "vocab.json",
    "vocab.txt",          "merges.txt",
    "chat_template.json", "chat_template.jinja",
};
enum { NAME_COUNT = (int)(sizeof names / sizeof *names), PIECE = 1 << 16 };

static enum zi_status copy_bytes(const char *path, int file, struct zi_output *output)
{
    char piece[PIECE];
    for (;;) {
        ssize_t count = read(file, piece, sizeof piece);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            return zi_fail(ZI_ERROR_IO, "hf", "cannot read %s: %s", path, strerror(errno));
        if (count == 0) return ZI_OK;
        ZI_TRY(zi_output_write(output, piece, (size_t)count));
    }
}

static enum zi_status copy_file(const char *from, const char *to)
{
    struct zi_output output;
    int64_t bytes;
    int file;
    ZI_TRY(zi_file_open_input("hf", from, &file, &bytes));
    enum zi_status status = zi_output_begin("hf", to, 0666, &output);
    if (status >= 0) {
        status = copy_bytes(from, file, &output);
        if (status >= 0)
            status = zi_output_commit(&output);
        else
            zi_output_discard(&output);
    }
    close(file);
    return status;
}

static enum zi_status join(const char *folder, const char *name, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (length > 0 && length < PATH_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "hf", "%s: the path is too long", folder);
}

enum zi_status hf_files_copy(const char *from, const char *to, bool config)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct stat is;
    if (mkdir(to, 0777) != 0 && errno != EEXIST)
        return zi_fail(ZI_ERROR_IO, "hf", "cannot make the folder %s: %s", to, strerror(errno));
    for (int i = config ? 0 : 1; i < NAME_COUNT; i++) {
        ZI_TRY(join(from, names[i], source));
        ZI_TRY(join(to, names[i], target));
        if (stat(source, &is) == 0)
            ZI_TRY(copy_file(source, target));
        else
            (void)unlink(target);
    }
    return ZI_OK;
}

void hf_files_remove(const char *folder)
{
    char path[PATH_MAX];
    for (int i = 0; i < NAME_COUNT; i++)
        if (join(folder, names[i], path) >= 0) (void)unlink(path);
    (void)rmdir(folder);
}

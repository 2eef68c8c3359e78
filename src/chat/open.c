/* SPDX-License-Identifier: Apache-2.0 */
/* The template and the special tokens of a model folder. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "chat/template.h"
#include "json/json.h"

/* Bytes of a tokenizer_config.json, at most: it has all added tokens, and the template. */
#define CONFIG_MOST ((size_t)16 << 20)

/* Special tokens of tokenizer_config.json: texts, or objects that say how they are matched. */
static enum zi_status read_tokens(const struct zi_json_place *place, const json_t *config,
                                  json_t *tokens)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *token = json_object_get(config, names[i]);
        if (json_is_object(token)) token = json_object_get(token, "content");
        if (!token || json_is_null(token)) continue;
        if (!json_is_string(token))
            return zi_fail(ZI_ERROR_USAGE, "chat", "%s: %s is no text", place->file, names[i]);
        if (json_string_length(token) == 0) continue;
        if (json_object_set(tokens, names[i], (json_t *)token) < 0)
            return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for special tokens");
    }
    return ZI_OK;
}

/* The template of tokenizer_config.json: a text, or the one named default of a list. */
static enum zi_status config_template(const struct zi_json_place *place, const json_t *config,
                                      const json_t **text)
{
    const json_t *found = json_object_get(config, "chat_template");
    *text = NULL;
    if (!found || json_is_null(found)) return ZI_OK;
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *one = json_array_get(found, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!name || strcmp(name, "default") != 0) continue;
        found = json_object_get(one, "template");
        break;
    }
    *text = found;
    if (json_is_string(found)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "chat",
                   "%s: chat_template is neither a text nor a list with one named default",
                   place->file);
}

/* Reads the whole of a file that is there. *text is the caller's to free. */
static enum zi_status read_file(const char *path, char **text, size_t *bytes)
{
    int file;
    int64_t size;
    enum zi_status status = ZI_OK;
    *text = NULL;
    ZI_TRY(zi_file_open_input("chat", path, &file, &size));
    if ((uint64_t)size > TEMPLATE_MOST)
        status = zi_fail(ZI_ERROR_USAGE, "chat", "%s has %lld bytes; more than %zu are not taken",
                         path, (long long)size, TEMPLATE_MOST);
    else if (!(*text = malloc((size_t)size + 1)))
        status = zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for %s", path);
    for (*bytes = 0; status >= 0 && *bytes < (size_t)size;) {
        ssize_t count = read(file, *text + *bytes, (size_t)size - *bytes);
        if (count > 0)
            *bytes += (size_t)count;
        else if (count == 0)
            size = (int64_t)*bytes; /* it became shorter */
        else if (errno != EINTR)
            status = zi_fail(ZI_ERROR_IO, "chat", "cannot read %s: %s", path, strerror(errno));
    }
    close(file);
    return status;
}

/* The template, by what is in the folder. */
static enum zi_status open_template(const char *folder, const char *config_path,
                                    const json_t *config, const json_t *tokens,
                                    struct chat_template **chat)
{
    const struct zi_json_place place = {"chat", config_path, 0, NULL};
    const json_t *text;
    char *path, *content = NULL;
    size_t bytes;
    if (asprintf(&path, "%s/chat_template.jinja", folder) < 0)
        return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a path");
    enum zi_status status = ZI_OK;
    if (access(path, F_OK) == 0) {
        status = read_file(path, &content, &bytes);
        if (status >= 0) status = chat_template_parse(path, content, bytes, tokens, chat);
    } else {
        status = config_template(&place, config, &text);
        if (status >= 0 && text)
            status = chat_template_parse(config_path, json_string_value(text),
                                         json_string_length(text), tokens, chat);
        else if (status >= 0)
            status = zi_fail(ZI_ERROR_USAGE, "chat",
                             "%s has no chat template: neither chat_template.jinja nor "
                             "chat_template in tokenizer_config.json; its model was not made for "
                             "chats, or the file has to be put there",
                             folder);
    }
    free(content);
    free(path);
    return status;
}

enum zi_status chat_template_open(const char *folder, struct chat_template **chat)
{
    enum zi_status status = ZI_OK;
    json_t *config = NULL, *tokens = json_object();
    char *path;
    *chat = NULL;
    if (asprintf(&path, "%s/tokenizer_config.json", folder) < 0) path = NULL;
    if (!path || !tokens) {
        status = zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a path");
        goto done;
    }
    const struct zi_json_place place = {"chat", path, 0, NULL};
    if (access(path, F_OK) == 0) {
        ZI_TRY_GOTO(zi_json_read_large(&place, CONFIG_MOST, &config), done);
        ZI_TRY_GOTO(read_tokens(&place, config, tokens), done);
    }
    status = open_template(folder, path, config, tokens, chat);
done:
    json_decref(config);
    json_decref(tokens);
    free(path);
    return status;
}

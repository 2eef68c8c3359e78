/* SPDX-License-Identifier: Apache-2.0 */
/* Messages are rendered without a date, as `zinf tokenize` renders those that a model learns: the same
 * messages are the same tokens on every day. */
#include "app/turns.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "chat/chat.h"
#include "json/json.h"

enum { CONFIG_MOST = 1 << 20 };

enum zi_status turns_write(const struct json_t *messages, char **text)
{
    *text = json_dumps(messages, 0);
    return *text ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory for messages");
}

enum zi_status turns_of_user(const char *words, size_t bytes, char **text)
{
    json_t *content = json_stringn(words, bytes);
    if (!content)
        return zi_fail(ZI_ERROR_USAGE, "app", "a message of --chat is not UTF-8; convert the text");
    json_t *messages = json_pack("[{s:s, s:o}]", "role", "user", "content", content);
    if (!messages) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for messages");
    enum zi_status status = turns_write(messages, text);
    json_decref(messages);
    return status;
}

enum zi_status turns_encode(const struct chat_template *chat, struct tokenizer_work *work,
                            const char *messages, struct tokenizer_ids *ids)
{
    const struct zi_json_place place = {.room = "app", .file = "messages"};
    struct chat_text text = {.text = NULL};
    json_t *document;
    ZI_TRY(zi_json_parse(&place, messages, strlen(messages), &document));
    const struct chat_request request = {.messages = document, .add_generation_prompt = true};
    enum zi_status status = chat_render(chat, &request, &text);
    if (status >= 0) status = tokenizer_encode(work, text.text, text.bytes, false, ids);
    chat_text_free(&text);
    json_decref(document);
    return status;
}

static enum zi_status add_end(const char *path, const json_t *id, struct turns_ends *ends)
{
    if (!json_is_integer(id))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s: eos_token_id should be a token id or a list of them; correct it", path);
    if (ends->count == TURNS_ENDS)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s: eos_token_id has more than %d token ids; leave some out", path,
                       TURNS_ENDS);
    ends->ids[ends->count++] = json_integer_value(id);
    return ZI_OK;
}

enum zi_status turns_read_ends(const char *folder, struct turns_ends *ends)
{
    char path[PATH_MAX];
    json_t *document, *item;
    size_t i;
    struct stat info;
    int length = snprintf(path, sizeof path, "%s/generation_config.json", folder);
    ends->count = 0;
    if (length < 0 || length >= (int)sizeof path || stat(path, &info) != 0) return ZI_OK;
    const struct zi_json_place place = {.room = "app", .file = path};
    ZI_TRY(zi_json_read(&place, CONFIG_MOST, &document));
    json_t *found = json_object_get(document, "eos_token_id");
    enum zi_status status = ZI_OK;
    if (json_is_array(found)) {
        json_array_foreach(found, i, item) if (status >= 0) status = add_end(path, item, ends);
    } else if (found && !json_is_null(found)) {
        status = add_end(path, found, ends);
    }
    json_decref(document);
    return status;
}

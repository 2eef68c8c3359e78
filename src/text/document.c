/* SPDX-License-Identifier: Apache-2.0 */
/* A line is parsed, and its strings are encoded. What is not known of a line is an error that names
 * file and line: a training set with lines left out would be found out late, or never. */
#include "text/document.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/chat.h"
#include "json/json.h"

static enum zi_status append(struct tokenizer_ids *out, const int32_t *ids, size_t count)
{
    if (count > out->capacity - out->count) {
        size_t capacity = out->count + count + out->capacity / 2;
        int32_t *larger = realloc(out->ids, capacity * sizeof *larger);
        if (!larger) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a document");
        out->ids = larger;
        out->capacity = capacity;
    }
    if (count > 0) memcpy(out->ids + out->count, ids, count * sizeof *ids);
    out->count += count;
    return ZI_OK;
}

/* The ids of a text with what the post-processor puts around it, and the end of text once. */
static enum zi_status encode_whole(struct tokenizer_work *work, const char *text, size_t bytes,
                                   int32_t end, struct tokenizer_ids *ids)
{
    ZI_TRY(tokenizer_encode(work, text, bytes, true, ids));
    if (end < 0 || (ids->count > 0 && ids->ids[ids->count - 1] == end)) return ZI_OK;
    return append(ids, &end, 1);
}

/* How many ids two lists have in common from the first on. */
static size_t common(const struct tokenizer_ids *a, const struct tokenizer_ids *b)
{
    size_t i = 0;
    while (i < a->count && i < b->count && a->ids[i] == b->ids[i])
        i++;
    return i;
}

static enum zi_status encode_pair(struct tokenizer_work *work, const char *prompt,
                                  const char *completion, int32_t end, struct tokenizer_ids *out)
{
    struct tokenizer_ids alone = {.ids = NULL}, both = {.ids = NULL};
    size_t before = strlen(prompt), bytes = before + strlen(completion);
    char *text = malloc(bytes + 1);
    enum zi_status status = ZI_OK;
    if (text) {
        memcpy(text, prompt, before);
        memcpy(text + before, completion, bytes - before);
        status = encode_whole(work, text, bytes, end, &both);
    } else {
        status = zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a document");
    }
    if (status >= 0) status = tokenizer_encode(work, prompt, before, true, &alone);
    if (status >= 0) {
        size_t masked = common(&alone, &both);
        for (size_t i = 0; i < masked; i++)
            both.ids[i] = ~both.ids[i];
        status = append(out, both.ids, both.count);
    }
    free(text);
    tokenizer_ids_free(&alone);
    tokenizer_ids_free(&both);
    return status;
}

/* What a line has, of one kind; the others are NULL. */
struct contents {
    const char *text, *prompt, *completion;
    const json_t *messages;
};

static enum zi_status find_contents(const struct zi_json_place *place, const json_t *object,
                                    struct contents *found)
{
    if (!json_is_object(object))
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s line %" PRId64 ": no object: write it as {\"text\": \"...\"}",
                       place->file, place->line);
    ZI_TRY(zi_json_get_array(place, object, "messages", &found->messages));
    ZI_TRY(zi_json_get_string(place, object, "text", &found->text));
    ZI_TRY(zi_json_get_string(place, object, "prompt", &found->prompt));
    ZI_TRY(zi_json_get_string(place, object, "completion", &found->completion));
    bool pair = found->prompt && found->completion, part = found->prompt || found->completion;
    int kinds = (found->text ? 1 : 0) + (part ? 1 : 0) + (found->messages ? 1 : 0);
    if (kinds == 1 && pair == part) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s line %" PRId64 " has %s: it takes either \"text\", or \"prompt\" and "
                   "\"completion\", or \"messages\"",
                   place->file, place->line,
                   kinds > 1       ? "several kinds of text"
                   : found->prompt ? "a \"prompt\" without \"completion\""
                   : kinds == 1    ? "a \"completion\" without \"prompt\""
                                   : "neither text nor prompt nor messages");
}

/* Appends the ids of bytes [from, to) of a rendered text, masked unless they count. */
static enum zi_status encode_piece(struct tokenizer_work *work, const struct chat_text *text,
                                   const size_t from_to[2], bool counts, struct tokenizer_ids *out)
{
    size_t before = out->count;
    if (from_to[0] == from_to[1]) return ZI_OK;
    ZI_TRY(tokenizer_encode(work, text->text + from_to[0], from_to[1] - from_to[0], false, out));
    for (size_t i = before; i < out->count && !counts; i++)
        out->ids[i] = ~out->ids[i];
    return ZI_OK;
}

static enum zi_status encode_rendered(struct tokenizer_work *work, const struct chat_text *text,
                                      struct tokenizer_ids *out)
{
    size_t at = 0;
    for (size_t r = 0; r < text->ranges; r++) {
        const struct chat_range *range = &text->assistant[r];
        ZI_TRY(encode_piece(work, text, (const size_t[]){at, range->first}, false, out));
        ZI_TRY(encode_piece(work, text, (const size_t[]){range->first, range->end}, true, out));
        at = range->end;
    }
    return encode_piece(work, text, (const size_t[]){at, text->bytes}, false, out);
}

/* Without a date: what a template writes of it would change with the day. */
static enum zi_status encode_messages(struct tokenizer_work *work, const struct document_line *line,
                                      const json_t *messages, struct tokenizer_ids *out)
{
    const struct chat_template *chat;
    struct chat_text text = {.text = NULL};
    const struct chat_request request = {.messages = messages, .mark_assistant = true};
    ZI_TRY(line->find_chat(line->context, &chat));
    enum zi_status status = chat_render(chat, &request, &text);
    if (status >= 0 && text.ranges == 0)
        status = zi_fail(ZI_ERROR_USAGE, "text",
                         "no message is the assistant's: there is nothing to learn from");
    if (status >= 0) status = encode_rendered(work, &text, out);
    chat_text_free(&text);
    return status;
}

static enum zi_status encode_contents(struct tokenizer_work *work, const struct document_line *line,
                                      const struct contents *of, struct tokenizer_ids *out)
{
    if (of->messages) return encode_messages(work, line, of->messages, out);
    if (of->text) return encode_whole(work, of->text, strlen(of->text), line->end, out);
    return encode_pair(work, of->prompt, of->completion, line->end, out);
}

enum zi_status document_encode(struct tokenizer_work *work, const struct document_line *line,
                               struct tokenizer_ids *out)
{
    const struct zi_json_place place = {.room = "text", .file = line->file, .line = line->line};
    struct contents of = {.text = NULL};
    json_t *document = NULL;
    ZI_TRY(zi_json_parse(&place, line->text, line->bytes, &document));
    enum zi_status status = find_contents(&place, document, &of);
    if (status >= 0) {
        status = encode_contents(work, line, &of, out);
        if (status < 0)
            zi_log(ZI_LOG_ERROR, "text", "%s line %" PRId64 " is not encoded", line->file,
                   line->line);
    }
    json_decref(document);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Templates made of a text, and rendered; and which bytes of what was rendered are the assistant's. */
#include "chat/render.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/characters.h"
#include "chat/template.h"

/* Copies a text with the ends of its lines as \n, and without that of the last. */
static size_t copy_lines(char *out, const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        out[count++] = text[i] == '\r' ? '\n' : text[i];
    }
    return count && out[count - 1] == '\n' ? count - 1 : count;
}

static enum zi_status parse(const char *text, size_t bytes, struct chat_template *chat)
{
    if (bytes > TEMPLATE_MOST)
        return zi_fail(ZI_ERROR_USAGE, "chat",
                       "%s: a template of %zu bytes; more than %zu are not "
                       "taken",
                       chat->name, bytes, TEMPLATE_MOST);
    if (!characters_valid((struct text){text, bytes}))
        return zi_fail(ZI_ERROR_USAGE, "chat", "%s: the template is not UTF-8", chat->name);
    chat->text = malloc(bytes + 1);
    if (!chat->text) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a template");
    bytes = copy_lines(chat->text, text, bytes);
    chat->place = (struct place){chat->name, 1};
    chat->arena = (struct arena){.place = &chat->place, .most = (size_t)48 << 20};
    return node_parse(&chat->arena, &chat->place, (struct text){chat->text, bytes}, &chat->tree);
}

enum zi_status chat_template_parse(const char *name, const char *text, size_t bytes,
                                   const json_t *variables, struct chat_template **result)
{
    enum zi_status status;
    struct chat_template *chat = calloc(1, sizeof *chat);
    *result = NULL;
    if (!chat) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a template");
    chat->name = strdup(name);
    chat->variables = variables ? json_deep_copy(variables) : json_object();
    status = chat->name && chat->variables
                 ? parse(text, bytes, chat)
                 : zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a template");
    if (status >= 0)
        *result = chat;
    else
        chat_template_close(chat);
    return status;
}

void chat_template_close(struct chat_template *chat)
{
    if (!chat) return;
    arena_free(&chat->arena);
    json_decref(chat->variables);
    free(chat->text);
    free(chat->name);
    free(chat);
}

void chat_text_free(struct chat_text *text)
{
    free(text->text);
    free(text->assistant);
    *text = (struct chat_text){.text = NULL};
}

/* A render that is asked for: of the first `messages` of the request. */
struct part {
    const struct chat_template *chat;
    const struct chat_request *request;
    size_t messages;
    bool add_generation_prompt;
};

static enum zi_status give(struct render *r, const char *name, struct value value)
{
    return scope_set(r, &r->given, (struct text){name, strlen(name)}, value);
}

static enum zi_status give_object(struct render *r, const json_t *object)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)object, key, item)
    {
        struct value value;
        ZI_TRY(value_of_json(&r->budget, item, 0, &value));
        ZI_TRY(give(r, key, value));
    }
    return ZI_OK;
}

/* The variables that transformers gives a template. */
static enum zi_status give_all(struct render *r, const struct part *part)
{
    const struct value none = {.type = VALUE_NONE};
    struct value messages;
    ZI_TRY(give_object(r, part->chat->variables));
    ZI_TRY(give(r, "tools", none));
    ZI_TRY(give(r, "documents", none));
    if (part->request->variables) ZI_TRY(give_object(r, part->request->variables));
    ZI_TRY(give(r, "add_generation_prompt", value_bool(part->add_generation_prompt)));
    ZI_TRY(value_list(&r->budget, LIST_LIST, part->messages, &messages));
    for (size_t i = 0; i < part->messages; i++)
        ZI_TRY(value_of_json(&r->budget, json_array_get(part->request->messages, i), 0,
                             &messages.list->items[i]));
    return give(r, "messages", messages);
}

/* Renders a part. *text is the caller's to free in any case. */
static enum zi_status render_part(const struct part *part, struct chat_text *text)
{
    struct render r = {.place = {part->chat->name, 1}, .now = part->request->now};
    enum node_kind leaves;
    r.values = (struct arena){.place = &r.place, .most = RENDER_VALUES_MOST};
    r.texts = (struct arena){.place = &r.place, .most = RENDER_TEXTS_MOST};
    r.budget = (struct budget){&r.values, &r.texts, RENDER_WORK_MOST};
    r.top.outer = &r.given;
    r.scope = &r.top;
    enum zi_status status = give_all(&r, part);
    if (status >= 0) status = execute(&r, part->chat->tree.first, &leaves);
    if (status >= 0) status = render_write(&r, (struct text){"", 1});
    *text = (struct chat_text){r.out, r.bytes ? r.bytes - 1 : 0, r.ranges, r.range_count};
    arena_free(&r.values);
    arena_free(&r.texts);
    return status;
}

/* How many bytes of the end of `turn` a text begins with, at most: the failure function of Knuth,
 * Morris and Pratt. */
static enum zi_status common_end(struct text turn, struct text text, size_t *bytes)
{
    size_t count = text.bytes < turn.bytes ? text.bytes : turn.bytes, matched = 0;
    size_t *borders = calloc(count + 1, sizeof *borders);
    if (!borders) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a turn");
    for (size_t i = 1; i < count; i++) {
        size_t border = borders[i];
        while (border && text.at[i] != text.at[border])
            border = borders[border];
        borders[i + 1] = text.at[i] == text.at[border] ? border + 1 : 0;
    }
    for (size_t i = 0; i < turn.bytes; i++) {
        while (matched && (matched == count || turn.at[i] != text.at[matched]))
            matched = borders[matched];
        if (matched < count && turn.at[i] == text.at[matched]) matched++;
    }
    *bytes = matched;
    free(borders);
    return ZI_OK;
}

/* The words of a message without white space around; without what was thought before, which ends by
 * </think>. */
static struct text words_of(const json_t *message)
{
    static const struct text end = {"</think>", 8};
    const json_t *content = json_object_get(message, "content");
    struct text text = {"", 0};
    if (!json_is_string(content)) return text;
    text = (struct text){json_string_value(content), json_string_length(content)};
    for (ptrdiff_t found; (found = text_find(text, end)) >= 0;) {
        text.at += (size_t)found + end.bytes;
        text.bytes -= (size_t)found + end.bytes;
    }
    return text_strip(text, NULL, true, true);
}

/* A turn of the assistant: its message, and the text up to it and with it. */
struct turn {
    size_t message;
    struct text before, with;
};

static bool begins(struct text text, struct text part)
{
    return text.bytes >= part.bytes && text_same((struct text){text.at, part.bytes}, part);
}

static enum zi_status turn_fail(const struct part *part, const struct turn *turn, const char *what)
{
    return zi_fail(
        ZI_ERROR_USAGE, "chat",
        "%s: which text of message %zu (from 0) is the assistant's cannot be told: %s; a "
        "template with {%% generation %%} around it would tell",
        part->chat->name, turn->message, what);
}

/* Where a turn stands in the whole text. */
static enum zi_status find_turn(const struct part *part, const struct turn *turn, struct text whole,
                                struct chat_range *range)
{
    const json_t *message = json_array_get(part->request->messages, turn->message);
    size_t first = turn->before.bytes, bytes = 0;
    if (!begins(turn->with, turn->before))
        return turn_fail(part, turn, "the turn does not go on where a prompt for it ends");
    if (!begins(whole, turn->before))
        return turn_fail(part, turn, "later messages change the text before it");
    *range = (struct chat_range){first, turn->with.bytes};
    if (begins(whole, turn->with)) return ZI_OK;
    struct text left = {turn->with.at + first, turn->with.bytes - first}, words = words_of(message);
    ZI_TRY(common_end(left, (struct text){whole.at + first, whole.bytes - first}, &bytes));
    range->end = first + bytes;
    if (words.bytes && text_find((struct text){whole.at + first, bytes}, words) >= 0) return ZI_OK;
    return turn_fail(part, turn, "later messages change its text");
}

/* Renders what is before a turn, and with it, and finds it in the whole. */
static enum zi_status mark_turn(const struct part *whole, size_t message,
                                const struct chat_text *text, struct chat_range *range)
{
    struct part before = *whole, with = *whole;
    struct chat_text texts[2] = {{.text = NULL}, {.text = NULL}};
    before.messages = message;
    before.add_generation_prompt = true;
    with.messages = message + 1;
    with.add_generation_prompt = false;
    enum zi_status status = render_part(&before, &texts[0]);
    if (status >= 0) status = render_part(&with, &texts[1]);
    if (status >= 0) {
        const struct turn turn = {
            message, {texts[0].text, texts[0].bytes}, {texts[1].text, texts[1].bytes}};
        status = find_turn(whole, &turn, (struct text){text->text, text->bytes}, range);
    }
    chat_text_free(&texts[0]);
    chat_text_free(&texts[1]);
    return status;
}

/* Marks the turns of the assistant of a text by what stands before and with each. */
static enum zi_status mark_turns(const struct part *whole, struct chat_text *text)
{
    text->assistant = calloc(whole->messages + 1, sizeof *text->assistant);
    if (!text->assistant) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for turns");
    for (size_t i = 0; i < whole->messages; i++) {
        const json_t *message = json_array_get(whole->request->messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        struct chat_range *range = &text->assistant[text->ranges];
        if (!role || strcmp(role, "assistant") != 0) continue;
        ZI_TRY(mark_turn(whole, i, text, range));
        if (text->ranges && range->first < range[-1].end)
            return zi_fail(ZI_ERROR_USAGE, "chat", "%s: turns of the assistant overlap",
                           whole->chat->name);
        text->ranges += range->end > range->first;
    }
    return ZI_OK;
}

enum zi_status chat_render(const struct chat_template *chat, const struct chat_request *request,
                           struct chat_text *text)
{
    struct part whole = {chat, request, 0, request->add_generation_prompt};
    *text = (struct chat_text){.text = NULL};
    if (!json_is_array(request->messages))
        return zi_fail(ZI_ERROR_USAGE, "chat", "messages are not a list");
    whole.messages = json_array_size(request->messages);
    for (size_t i = 0; i < whole.messages; i++)
        if (!json_is_object(json_array_get(request->messages, i)))
            return zi_fail(ZI_ERROR_USAGE, "chat", "message %zu (from 0) is no object", i);
    ZI_TRY(render_part(&whole, text));
    if (!request->mark_assistant) {
        free(text->assistant);
        text->assistant = NULL;
        text->ranges = 0;
        return ZI_OK;
    }
    return chat->tree.marks ? ZI_OK : mark_turns(&whole, text);
}

enum zi_status chat_render_prompt(const struct chat_template *chat, const char *system,
                                  const char *user, const struct tm *now, struct chat_text *text)
{
    enum zi_status status;
    json_t *messages = json_array();
    *text = (struct chat_text){.text = NULL};
    if (system)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "system", "content", system));
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", user));
    const struct chat_request request = {
        .messages = messages, .now = now, .add_generation_prompt = true};
    status = json_array_size(messages) == (system ? 2 : 1)
                 ? chat_render(chat, &request, text)
                 : zi_fail(ZI_ERROR_USAGE, "chat", "the prompt is not UTF-8");
    json_decref(messages);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that are continued.
 *
 * Prompts are bytes, the tokens of a tokenizer, or ids; those of a chat are messages, kept as JSON until
 * the template is known that renders them. What is said of a text is collected in memory;
 * of the only text of a command it is written as it becomes sure: a tokenizer holds characters back
 * that are not whole, and here as many bytes are held back as may begin a stop string. Several texts
 * are written when they are whole, a line of JSON each. */
#include "app/texts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/encoding.h"
#include "app/lines.h"
#include "base/log.h"
#include "chat/chat.h"
#include "json/json.h"

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the texts");
}

/* Appends a prompt as it is given, or messages. */
static enum zi_status add_text(struct texts *texts, const char *prompt, size_t bytes)
{
    struct text *grown = realloc(texts->all, (size_t)(texts->count + 1) * sizeof *grown);
    if (!grown) return no_memory();
    texts->all = grown;
    struct text *text = &grown[texts->count];
    *text = (struct text){.prompt = malloc(bytes + 1)};
    if (!text->prompt) return no_memory();
    memcpy(text->prompt, prompt, bytes);
    text->prompt[bytes] = 0;
    texts->count++;
    if (bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the prompt is empty; a model continues at least one token");
    return ZI_OK;
}

/* Appends a prompt, which is a message of the user in a chat. */
static enum zi_status add_prompt(struct texts *texts, const char *prompt, size_t bytes)
{
    char *messages;
    if (!texts->is_chat) return add_text(texts, prompt, bytes);
    ZI_TRY(turns_of_user(prompt, bytes, &messages));
    enum zi_status status = add_text(texts, messages, strlen(messages));
    free(messages);
    return status;
}

static enum zi_status add_messages(struct texts *texts, const json_t *messages)
{
    char *text;
    ZI_TRY(turns_write(messages, &text));
    enum zi_status status = add_text(texts, text, strlen(text));
    free(text);
    return status;
}

/* The file of --prompts. */
struct prompt_file {
    struct texts *texts;
    struct zi_json_place place;
};

/* An object with a string under "prompt", or in a chat with a list under "messages". */
static enum zi_status add_object(const struct prompt_file *file, const json_t *object)
{
    const char *prompt = NULL;
    const json_t *messages = NULL;
    ZI_TRY(zi_json_get_array(&file->place, object, "messages", &messages));
    if (!messages) ZI_TRY(zi_json_require(&file->place, object, "prompt"));
    ZI_TRY(zi_json_get_string(&file->place, object, "prompt", &prompt));
    if (!messages) return add_prompt(file->texts, prompt, strlen(prompt));
    if (file->texts->is_chat && !prompt) return add_messages(file->texts, messages);
    return zi_fail(ZI_ERROR_USAGE, "app", "%s line %" PRId64 " has \"messages\"%s",
                   file->place.file, file->place.line,
                   prompt ? " and a \"prompt\"; give one of them"
                          : ", which are a chat; give --chat");
}

/* A line that is JSON: a string, or an object. */
static enum zi_status add_json(const struct prompt_file *file, const char *line, size_t bytes)
{
    json_t *document;
    ZI_TRY(zi_json_parse(&file->place, line, bytes, &document));
    enum zi_status status = ZI_OK;
    if (!json_is_string(document)) {
        status = add_object(file, document);
    } else {
        status = zi_json_whole_string(&file->place, document);
        if (status >= 0)
            status =
                add_prompt(file->texts, json_string_value(document), json_string_length(document));
    }
    json_decref(document);
    return status;
}

/* A prompt per line; of a line that begins as JSON does what it says. */
static enum zi_status add_line(void *context, int64_t number, const char *line, size_t bytes)
{
    struct prompt_file *file = context;
    file->place.line = number;
    if (line[0] == '{' || line[0] == '"') return add_json(file, line, bytes);
    return add_prompt(file->texts, line, bytes);
}

static enum zi_status read_file(struct texts *texts, const char *path)
{
    struct prompt_file file = {texts, {.room = "app", .file = path}};
    ZI_TRY(lines_read(path, add_line, &file));
    if (texts->count > 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "%s has no prompts; give one a line", path);
}

static enum zi_status collect_prompts(const struct options *options, struct texts *texts)
{
    int prompt_count, id_count;
    const char *const *prompts = options_all(options, "--prompt", &prompt_count);
    const char *const *ids = options_all(options, "--ids", &id_count);
    const char *file = options_text(options, "--prompts", NULL);
    if ((prompt_count > 0) + (id_count > 0) + !!file != 1)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "say what to continue: --prompt TEXT, --prompts FILE or --ids LIST, and one "
                       "of them only");
    for (int i = 0; i < 3 && id_count > 0; i++) {
        static const char *const of_texts[] = {"--tokenizer", "--stop", "--chat"};
        if (options_given(options, of_texts[i]))
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "%s has no effect with --ids, which are written as ids; use --prompt",
                           of_texts[i]);
    }
    if (file) return read_file(texts, file);
    for (int i = 0; i < prompt_count; i++)
        ZI_TRY(add_prompt(texts, prompts[i], strlen(prompts[i])));
    for (int i = 0; i < id_count; i++)
        ZI_TRY(add_text(texts, ids[i], strlen(ids[i])));
    return ZI_OK;
}

static enum zi_status take_ids(struct text *text)
{
    const char *at = text->prompt;
    for (;;) {
        char *end;
        errno = 0;
        long long id = strtoll(at, &end, 10);
        if (end == at || errno || (*end && *end != ',') || id < 0 || id > INT32_MAX)
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "--ids %s: expected numbers with commas, as 1,2,3", text->prompt);
        text->ids[text->count++] = (int32_t)id;
        if (!*end) return ZI_OK;
        at = end + 1;
    }
}

static enum zi_status encode(const struct texts *texts, struct text *text,
                             struct tokenizer_ids *ids)
{
    struct tokenizer_work *work;
    ZI_TRY(tokenizer_work_create(texts->tokenizer, &work));
    enum zi_status status =
        texts->is_chat ? turns_encode(texts->chat, work, text->prompt, ids)
                       : tokenizer_encode(work, text->prompt, strlen(text->prompt), true, ids);
    tokenizer_work_free(work);
    if (status >= 0 && ids->count == 0)
        status = zi_fail(ZI_ERROR_USAGE, "app",
                         "the tokenizer makes no tokens of the prompt; a model continues at least "
                         "one");
    return status;
}

/* The ids of a prompt, with room for more. `encoded` is empty without a tokenizer. */
static enum zi_status make_ids(const struct texts *texts, struct text *text, int64_t tokens,
                               const struct tokenizer_ids *encoded)
{
    size_t length = strlen(text->prompt);
    size_t room = (encoded->count > length ? encoded->count : length) + (size_t)tokens + 1;
    text->ids = calloc(room, sizeof *text->ids);
    if (!text->ids) return no_memory();
    if (texts->form == TEXTS_IDS) return take_ids(text);
    if (texts->form == TEXTS_TOKENIZER) {
        memcpy(text->ids, encoded->ids, encoded->count * sizeof *text->ids);
        text->count = (int64_t)encoded->count;
        return tokenizer_stream_create(texts->tokenizer, true, &text->stream);
    }
    for (size_t i = 0; i < length; i++)
        text->ids[text->count++] = (unsigned char)text->prompt[i];
    return ZI_OK;
}

static enum zi_status take_text(struct texts *texts, struct text *text, int64_t tokens)
{
    struct tokenizer_ids encoded = {.ids = NULL};
    enum zi_status status = ZI_OK;
    if (texts->form == TEXTS_TOKENIZER) status = encode(texts, text, &encoded);
    if (status >= 0) status = make_ids(texts, text, tokens, &encoded);
    tokenizer_ids_free(&encoded);
    text->prompt_count = text->count;
    if (text->count > texts->longest) texts->longest = text->count;
    return status;
}

enum zi_status texts_collect(const struct options *options, struct texts *texts)
{
    texts->is_chat = options_given(options, "--chat");
    texts->form = options_given(options, "--ids") ? TEXTS_IDS : TEXTS_BYTES;
    ZI_TRY(collect_prompts(options, texts));
    texts->stops = options_all(options, "--stop", &texts->stop_count);
    for (int i = 0; i < texts->stop_count; i++) {
        size_t length = strlen(texts->stops[i]);
        if (length == 0) return zi_fail(ZI_ERROR_USAGE, "app", "--stop is empty; say what ends");
        if (length > texts->longest_stop) texts->longest_stop = length;
    }
    return ZI_OK;
}

/* The tokenizer, what ends a text by it, and the template of a chat. */
static enum zi_status open_tokenizer(struct texts *texts, const char *tokenizer)
{
    char folder[PATH_MAX];
    texts->form = TEXTS_TOKENIZER;
    encoding_find_folder(tokenizer, folder);
    ZI_TRY(tokenizer_open(tokenizer, &texts->tokenizer));
    ZI_TRY(turns_read_ends(folder, &texts->ends));
    if (!texts->is_chat) return ZI_OK;
    if (texts->ends.count == 0 && tokenizer_end(texts->tokenizer) < 0)
        zi_log(
            ZI_LOG_WARN, "app",
            "answers end at --tokens or --stop only: in %s neither eos_token of "
            "tokenizer_config.json nor eos_token_id of generation_config.json says what ends one",
            folder);
    return chat_template_open(folder, &texts->chat);
}

enum zi_status texts_encode(struct texts *texts, const char *tokenizer, int64_t tokens)
{
    if (tokenizer[0]) ZI_TRY(open_tokenizer(texts, tokenizer));
    if (texts->is_chat && !texts->chat)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--chat needs a tokenizer and its chat template, and the model has none "
                       "beside it; give their folder, --tokenizer FOLDER");
    for (int64_t i = 0; i < texts->count; i++) {
        enum zi_status status = take_text(texts, &texts->all[i], tokens);
        if (status < 0 && texts->count > 1)
            zi_log(ZI_LOG_ERROR, "app", "this was text %" PRId64 " (from 0)", i);
        ZI_TRY(status);
    }
    return ZI_OK;
}

void texts_free(struct texts *texts)
{
    for (int64_t i = 0; i < texts->count; i++) {
        struct text *text = &texts->all[i];
        tokenizer_stream_free(text->stream);
        free(text->prompt);
        free(text->ids);
        free(text->said);
    }
    chat_template_close(texts->chat);
    tokenizer_close(texts->tokenizer);
    free(texts->all);
}

static enum zi_status say(struct text *text, const char *piece, size_t bytes)
{
    if (text->bytes + bytes > text->capacity) {
        size_t capacity = 2 * (text->bytes + bytes) + 64;
        char *grown = realloc(text->said, capacity);
        if (!grown) return no_memory();
        text->said = grown;
        text->capacity = capacity;
    }
    memcpy(text->said + text->bytes, piece, bytes);
    text->bytes += bytes;
    return ZI_OK;
}

static enum zi_status say_id(const struct texts *texts, struct text *text, int64_t at)
{
    char number[16];
    const char *piece = number;
    size_t bytes = 1;
    if (texts->form == TEXTS_TOKENIZER)
        ZI_TRY(tokenizer_stream_next(text->stream, text->ids[at], &piece, &bytes));
    else if (texts->form == TEXTS_BYTES)
        number[0] = (char)text->ids[at];
    else
        bytes = (size_t)snprintf(number, sizeof number, "%s%" PRId32, at ? "," : "", text->ids[at]);
    return say(text, piece, bytes);
}

enum zi_status texts_begin(const struct texts *texts, struct text *text)
{
    for (int64_t i = 0; i < text->count; i++)
        ZI_TRY(say_id(texts, text, i));
    text->prompt_bytes = text->bytes;
    if (texts->is_chat) text->written = text->bytes;
    return ZI_OK;
}

/* The first place from `from` on where a string is; or NULL. */
static char *find(const struct text *text, size_t from, const char *string)
{
    size_t length = strlen(string);
    for (size_t i = from; i + length <= text->bytes; i++) {
        if (memcmp(text->said + i, string, length) == 0) return text->said + i;
    }
    return NULL;
}

/* Ends the text before the first stop string, looking from `from` on. */
static void stop(const struct texts *texts, struct text *text, size_t from)
{
    size_t first = text->bytes;
    for (int i = 0; i < texts->stop_count; i++) {
        const char *found = find(text, from, texts->stops[i]);
        if (found && (size_t)(found - text->said) < first) first = (size_t)(found - text->said);
    }
    text->ended = text->ended || first < text->bytes;
    text->bytes = first;
}

/* From where on what has been said since `bytes` may hold a stop string. */
static size_t stop_from(const struct texts *texts, const struct text *text, size_t bytes)
{
    size_t back = texts->longest_stop > 0 ? texts->longest_stop - 1 : 0;
    return bytes - text->prompt_bytes > back ? bytes - back : text->prompt_bytes;
}

/* Whether an id ends a text. */
static bool is_end(const struct texts *texts, int32_t id)
{
    if (!texts->tokenizer) return false;
    for (int i = 0; i < texts->ends.count; i++) {
        if (texts->ends.ids[i] == id) return true;
    }
    return id == tokenizer_end(texts->tokenizer);
}

enum zi_status texts_add(const struct texts *texts, struct text *text, int32_t id)
{
    size_t before = text->bytes;
    if (is_end(texts, id)) {
        text->ended = true;
        return ZI_OK;
    }
    text->ids[text->count++] = id;
    ZI_TRY(say_id(texts, text, text->count - 1));
    stop(texts, text, stop_from(texts, text, before));
    return ZI_OK;
}

enum zi_status texts_end(const struct texts *texts, struct text *text)
{
    const char *rest;
    size_t bytes, before = text->bytes;
    text->ended = true;
    if (texts->form != TEXTS_TOKENIZER) return ZI_OK;
    ZI_TRY(tokenizer_stream_rest(text->stream, &rest, &bytes));
    ZI_TRY(say(text, rest, bytes));
    stop(texts, text, stop_from(texts, text, before));
    return ZI_OK;
}

void texts_write(const struct texts *texts, struct text *text)
{
    size_t held = text->ended || texts->longest_stop == 0 ? 0 : texts->longest_stop - 1;
    size_t sure = text->bytes - text->prompt_bytes > held ? text->bytes - held : text->prompt_bytes;
    if (sure > text->written) fwrite(text->said + text->written, 1, sure - text->written, stdout);
    if (sure > text->written) text->written = sure;
    fflush(stdout);
}

/* Bytes of the character at `at`, of `bytes`; 0 where there is none that is whole and the shortest
 * form of it. */
static size_t character(const unsigned char *at, size_t bytes)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (length == 0 || at[0] > 0xf4 || length > bytes) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    bool longer = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool outside = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return longer || outside ? 0 : length;
}

/* A string of JSON; a byte that is of no character becomes U+FFFD. */
static void write_string(const char *said, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)said;
    putchar('"');
    for (size_t i = 0; i < bytes;) {
        size_t length = character(at + i, bytes - i);
        if (length == 0)
            fputs("\xef\xbf\xbd", stdout);
        else if (at[i] == '"' || at[i] == '\\')
            printf("\\%c", at[i]);
        else if (at[i] == '\n')
            fputs("\\n", stdout);
        else if (at[i] < 0x20 || at[i] == 0x7f)
            printf("\\u%04x", at[i]);
        else
            fwrite(at + i, 1, length, stdout);
        i += length > 0 ? length : 1;
    }
    putchar('"');
}

void texts_write_line(const struct texts *texts, const struct text *text, int64_t number)
{
    printf("{\"number\": %" PRId64 ", \"tokens\": %" PRId64 ", ", number,
           text->count - text->prompt_count);
    if (texts->form == TEXTS_IDS) {
        printf("\"ids\": [%.*s]}\n", (int)text->bytes, text->said);
    } else {
        if (texts->is_chat) {
            printf("\"messages\": %s", text->prompt);
        } else {
            fputs("\"prompt\": ", stdout);
            write_string(text->said, text->prompt_bytes);
        }
        fputs(", \"text\": ", stdout);
        write_string(text->said + text->prompt_bytes, text->bytes - text->prompt_bytes);
        fputs("}\n", stdout);
    }
    fflush(stdout);
}

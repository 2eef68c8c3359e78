/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates in the manner of each family against what jinja2 makes of them (regression/chat/make_goldens.py):
 * text, and the ranges that are the assistant's, or that a conversation is refused. Then templates where a
 * model folder has them, and prompts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chat/chat.h"
#include "json/json.h"
#include "regression/unit/test.h"

#define FOLDER "regression/chat"

static char path[4096];

static const char *source(const char *name, const char *ending)
{
    const char *top = getenv("abs_top_srcdir");
    snprintf(path, sizeof path, "%s/" FOLDER "/%s%s", top ? top : ".", name, ending);
    return path;
}

/* A template of the corpus as text; to be freed. */
static char *read_template(const char *name)
{
    char file_name[200], *text = calloc(1, 1 << 16);
    snprintf(file_name, sizeof file_name, "templates/%s", name);
    FILE *file = fopen(source(file_name, ".jinja"), "rb");
    if (!file || !text) exit(1);
    text[fread(text, 1, (1 << 16) - 1, file)] = 0;
    fclose(file);
    return text;
}

static bool same_ranges(const struct chat_text *text, const json_t *wanted)
{
    if (text->ranges != json_array_size(wanted)) return false;
    for (size_t i = 0; i < text->ranges; i++) {
        const json_t *range = json_array_get(wanted, i);
        if ((json_int_t)text->assistant[i].first != json_integer_value(json_array_get(range, 0)) ||
            (json_int_t)text->assistant[i].end != json_integer_value(json_array_get(range, 1)))
            return false;
    }
    return true;
}

static void check_case(const json_t *one, const json_t *tokens)
{
    const char *name = json_string_value(json_object_get(one, "name"));
    const json_t *asked = json_object_get(one, "request"), *wanted = json_object_get(one, "wanted");
    const json_t *wanted_text = json_object_get(wanted, "text"),
                 *now = json_object_get(asked, "now");
    time_t seconds = (time_t)json_integer_value(now);
    struct tm time;
    const struct chat_request request = {
        .messages = json_object_get(asked, "messages"),
        .variables = json_object_get(asked, "variables"),
        .now = now ? gmtime_r(&seconds, &time) : NULL,
        .add_generation_prompt = json_is_true(json_object_get(asked, "add_generation_prompt")),
        .mark_assistant = json_is_true(json_object_get(asked, "mark"))};
    struct chat_template *chat;
    struct chat_text text = {.text = NULL};
    char *template = read_template(name);
    CHECK_INT(chat_template_parse(name, template, strlen(template), tokens, &chat), ZI_OK);
    enum zi_status status = chat_render(chat, &request, &text);
    CHECK_INT(status, wanted_text ? ZI_OK : ZI_ERROR_USAGE);
    if (wanted_text && status == ZI_OK) {
        bool same = text.bytes == json_string_length(wanted_text) &&
                    memcmp(text.text, json_string_value(wanted_text), text.bytes) == 0;
        if (!same)
            fprintf(stderr, "%s: |%s| is not |%s|\n", name, text.text,
                    json_string_value(wanted_text));
        CHECK(same);
        CHECK(same_ranges(&text, json_object_get(wanted, "ranges")));
    }
    chat_text_free(&text);
    chat_template_close(chat);
    free(template);
}

static void test_goldens(void)
{
    const struct zi_json_place place = {.room = "test", .file = source("goldens", ".json")};
    json_t *cases, *tokens = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>");
    CHECK_INT(zi_json_read(&place, (size_t)1 << 24, &cases), ZI_OK);
    CHECK(json_array_size(cases) > 200);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(json_array_get(cases, i), tokens);
    json_decref(cases);
    json_decref(tokens);
}

static void put(const char *folder, const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) exit(1);
}

/* What a folder's template makes of a prompt. */
static void check_prompt(const char *folder, const char *system, const char *wanted)
{
    struct chat_template *chat;
    struct chat_text text;
    CHECK_INT(chat_template_open(folder, &chat), ZI_OK);
    if (!chat) return;
    CHECK_INT(chat_render_prompt(chat, system, "you?", NULL, &text), ZI_OK);
    CHECK(text.text && strcmp(text.text, wanted) == 0);
    chat_text_free(&text);
    chat_template_close(chat);
}

static void test_folders(void)
{
    char folder[] = "chat-folder-XXXXXX";
    struct chat_template *chat;
    if (!mkdtemp(folder)) exit(1);
    CHECK_INT(chat_template_open(folder, &chat), ZI_ERROR_USAGE);
    put(folder, "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<b>\"}, \"eos_token\": null}");
    CHECK_INT(chat_template_open(folder, &chat), ZI_ERROR_USAGE);
    put(folder, "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<b>\"}, \"eos_token\": null, \"chat_template\": "
        "\"{{ bos_token }}{{ eos_token is defined }}{{ messages[-1].content }}{{ "
        "add_generation_prompt }}{{ strftime_now is defined }}\"}");
    check_prompt(folder, "be", "<b>Falseyou?TrueFalse");
    put(folder, "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"no\"}, {\"name\": "
        "\"default\", \"template\": \"{{ messages | length }}\"}]}");
    check_prompt(folder, "be", "2");
    check_prompt(folder, NULL, "1");
    put(folder, "chat_template.jinja", "{{ messages[0].role }}\r\n");
    check_prompt(folder, NULL, "user");
    put(folder, "tokenizer_config.json", "{\"bos_token\": 3}");
    CHECK_INT(chat_template_open(folder, &chat), ZI_ERROR_USAGE);
    CHECK(!chat);
    unlink(path);
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    check_prompt(folder, "be", "system");
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    test_goldens();
    test_folders();
    return test_finish("chat_template_test");
}

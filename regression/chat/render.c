/* SPDX-License-Identifier: Apache-2.0 */
/* Renders what is asked for in a file, for checks that compare with other programs.
 *
 *     render REQUESTS RESULTS
 *
 * A line of REQUESTS is an object: template (a text) or folder, tokens (variables of the template),
 * messages, variables, add_generation_prompt, mark, and now, the seconds since 1970 of a time in UTC. A line
 * of RESULTS has status, text and ranges, in bytes. Errors on stderr stand behind the number of their line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/chat.h"

static enum zi_status open_template(const json_t *line, struct chat_template **chat)
{
    const json_t *text = json_object_get(line, "template"),
                 *folder = json_object_get(line, "folder");
    if (folder) return chat_template_open(json_string_value(folder), chat);
    return chat_template_parse("template", json_string_value(text), json_string_length(text),
                               json_object_get(line, "tokens"), chat);
}

static json_t *result_of(const json_t *line)
{
    struct chat_template *chat = NULL;
    struct chat_text text = {.text = NULL};
    struct tm now;
    const json_t *time = json_object_get(line, "now");
    time_t seconds = (time_t)json_integer_value(time);
    const struct chat_request request = {
        .messages = json_object_get(line, "messages"),
        .variables = json_object_get(line, "variables"),
        .now = time ? gmtime_r(&seconds, &now) : NULL,
        .add_generation_prompt = json_is_true(json_object_get(line, "add_generation_prompt")),
        .mark_assistant = json_is_true(json_object_get(line, "mark"))};
    json_t *result = json_object(), *ranges = json_array();
    enum zi_status status = open_template(line, &chat);
    if (status >= 0) status = chat_render(chat, &request, &text);
    for (size_t i = 0; i < text.ranges; i++)
        json_array_append_new(ranges, json_pack("[I, I]", (json_int_t)text.assistant[i].first,
                                                (json_int_t)text.assistant[i].end));
    json_object_set_new(result, "status", json_integer(status));
    json_object_set_new(result, "ranges", ranges);
    if (status >= 0) json_object_set_new(result, "text", json_stringn(text.text, text.bytes));
    chat_text_free(&text);
    chat_template_close(chat);
    return result;
}

int main(int count, char **arguments)
{
    FILE *in = count == 3 ? fopen(arguments[1], "r") : NULL;
    FILE *out = in ? fopen(arguments[2], "w") : NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    if (!out) {
        fprintf(stderr, "usage: render REQUESTS RESULTS\n");
        return 2;
    }
    for (long number = 0; (bytes = getline(&line, &capacity, in)) > 0; number++) {
        fprintf(stderr, "#%ld\n", number);
        json_error_t error;
        json_t *request = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, &error);
        if (!request) {
            fprintf(stderr, "render: %s\n", error.text);
            return 2;
        }
        json_t *result = result_of(request);
        json_dumpf(result, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(result);
        json_decref(request);
    }
    free(line);
    fclose(in);
    return fclose(out) == 0 ? 0 : 2;
}

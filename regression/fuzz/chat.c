/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates. Up to a zero byte an input is a template, behind it the messages, as JSON. What is taken
 * renders within its bounds to the same text twice, with ranges that lie in it one behind the other. */
#include "fuzz.h"

#include "chat/chat.h"
#include "json/json.h"

#include <string.h>

static void check_ranges(const struct chat_text *text)
{
    size_t end = 0;
    for (size_t i = 0; i < text->ranges; i++) {
        const struct chat_range *range = &text->assistant[i];
        fuzz_must(range->first >= end && range->first < range->end, "ranges in order");
        fuzz_must(range->end <= text->bytes, "a range in the text");
        end = range->end;
    }
}

static void render(const struct chat_template *chat, const json_t *messages)
{
    const struct tm now = {.tm_year = 124, .tm_mon = 6, .tm_mday = 26};
    const struct chat_request request = {.messages = messages, .now = &now, .mark_assistant = true};
    struct chat_text text, again;
    enum zi_status status = chat_render(chat, &request, &text);
    if (status >= 0) {
        check_ranges(&text);
        fuzz_must(chat_render(chat, &request, &again) == ZI_OK, "a second render");
        fuzz_must(again.bytes == text.bytes && again.ranges == text.ranges &&
                      memcmp(again.text, text.text, text.bytes) == 0,
                  "the same text twice");
        chat_text_free(&again);
    }
    chat_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] = "[{\"role\": \"user\", \"content\": \"a\"}, "
                                "{\"role\": \"assistant\", \"content\": \"b\"}]";
    const struct zi_json_place place = {"fuzz", "messages", 0, NULL};
    const char *text = (const char *)data;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t bytes = end ? (size_t)(end - data) : size;
    json_t *messages = NULL;
    struct chat_template *chat = NULL;
    if (!end || zi_json_parse(&place, text + bytes + 1, size - bytes - 1, &messages) < 0)
        fuzz_must(zi_json_parse(&place, usual, sizeof usual - 1, &messages) == ZI_OK, "messages");
    if (chat_template_parse("template", text, bytes, NULL, &chat) >= 0) render(chat, messages);
    chat_template_close(chat);
    json_decref(messages);
    return 0;
}

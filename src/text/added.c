/* SPDX-License-Identifier: Apache-2.0 */
#include "text/added.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/unicode.h"

/* The id that the tokenizers package gives a token: the model's, or the next free one, whatever the
 * file says. */
static enum zi_status find_id(const struct zi_json_place *place, const struct model *model,
                              const struct added *added, const char *text, int64_t said)
{
    int64_t id = vocabulary_find(&model->vocabulary, text, strlen(text));
    if (id < 0) id = model->vocabulary.count;
    if (vocabulary_find(&model->vocabulary, text, strlen(text)) < 0 && added->texts.limit > id)
        id = added->texts.limit;
    if (id == said) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s: added token %.60s has id %" PRId64 ", but the tokenizers package gives it "
                   "%" PRId64 ": the ids before it have holes; number the tokens anew",
                   place->file, text, said, id);
}

/* The text by which a token is looked for, into a trie. */
static enum zi_status add_text(const struct normalizer *normalizer, struct added *added,
                               const char *text, bool normalized)
{
    struct normal_work work = {.matcher = NULL};
    size_t bytes = strlen(text);
    int32_t taken;
    enum zi_status status = ZI_OK;
    struct trie *trie = normalized ? &added->normalized : &added->plain;
    if (normalized) status = regex_matcher_create(&work.matcher);
    if (status >= 0 && normalized) status = normalizer_apply(normalizer, &work, &text, &bytes);
    if (status >= 0 && bytes && trie_longest(trie, text, bytes, &taken) != bytes)
        status = trie_add(trie, text, bytes, (int32_t)added->count - 1);
    regex_matcher_free(work.matcher);
    buffer_free(&work.texts[0]);
    buffer_free(&work.texts[1]);
    return status;
}

static enum zi_status read_token(const struct zi_json_place *place, const json_t *object,
                                 const struct model *model, const struct normalizer *normalizer,
                                 struct added *added)
{
    struct added_token token = {0};
    const char *text = NULL;
    int64_t id = -1;
    bool normalized = true;
    void *tokens = added->tokens;
    ZI_TRY(
        text_check_keys(place, object, "id content single_word lstrip rstrip normalized special"));
    ZI_TRY(zi_json_require(place, object, "content"));
    ZI_TRY(zi_json_get_string(place, object, "content", &text));
    ZI_TRY(zi_json_get_integer(place, object, "id", &id));
    ZI_TRY(zi_json_get_bool(place, object, "single_word", &token.single_word));
    ZI_TRY(zi_json_get_bool(place, object, "lstrip", &token.left));
    ZI_TRY(zi_json_get_bool(place, object, "rstrip", &token.right));
    ZI_TRY(zi_json_get_bool(place, object, "special", &token.special));
    ZI_TRY(zi_json_get_bool(place, object, "normalized", &normalized));
    if (!*text || vocabulary_find(&added->texts, text, strlen(text)) >= 0) return ZI_OK;
    ZI_TRY(find_id(place, model, added, text, id));
    if (id >= VOCABULARY_MOST || vocabulary_add(&added->texts, text, strlen(text), (int32_t)id) < 0)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: added token %.60s cannot have id %" PRId64,
                       place->file, text, id);
    ZI_TRY(array_reserve(&tokens, &added->capacity, added->count + 1, sizeof *added->tokens));
    added->tokens = tokens;
    token.id = (int32_t)id;
    added->tokens[added->count++] = token;
    return add_text(normalizer, added, text, normalized);
}

enum zi_status added_read(const struct zi_json_place *place, const json_t *list,
                          const struct model *model, const struct normalizer *normalizer,
                          struct added *added)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i)))
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: added token %zu is no object", place->file,
                           i);
        ZI_TRY(read_token(place, json_array_get(list, i), model, normalizer, added));
    }
    return ZI_OK;
}

void added_free(struct added *added)
{
    free(added->tokens);
    vocabulary_free(&added->texts);
    trie_free(&added->plain);
    trie_free(&added->normalized);
    *added = (struct added){.tokens = NULL};
}

static bool is_alone(const struct added_walk *walk, size_t from, size_t end)
{
    return (from == 0 || !unicode_is_word(utf8_before(walk->text, walk->text + from))) &&
           (end == walk->bytes || !unicode_is_word(utf8_at(walk->text + end)));
}

/* Takes in white space at the sides where the token says so, at the left not what the one before has
 * taken. */
static void widen(const struct added_walk *walk, const struct added_token *token,
                  struct text_range *found)
{
    const char *text = walk->text;
    while (token->left && found->begin > walk->done &&
           unicode_is_space(utf8_before(text, text + found->begin))) {
        do
            found->begin--;
        while (((unsigned char)text[found->begin] & 0xc0) == 0x80);
    }
    while (token->right && found->end < walk->bytes && unicode_is_space(utf8_at(text + found->end)))
        found->end += utf8_length(text[found->end]);
}

const struct added_token *added_next(struct added_walk *walk, struct text_range *found)
{
    while (walk->from < walk->bytes) {
        int32_t index;
        size_t at = walk->from, length;
        if (!walk->trie->first[(unsigned char)walk->text[at]]) {
            walk->from++;
            continue;
        }
        length = trie_longest(walk->trie, walk->text + at, walk->bytes - at, &index);
        walk->from += length ? length : 1;
        if (length == 0) continue;
        const struct added_token *token = &walk->added->tokens[index];
        if (token->single_word && !is_alone(walk, at, at + length)) continue;
        found->begin = at;
        found->end = at + length;
        widen(walk, token, found);
        walk->done = found->end;
        return token;
    }
    return NULL;
}

bool added_text(const struct added *added, const struct model *model, int64_t id, const char **text,
                size_t *bytes)
{
    return vocabulary_text(&added->texts, id, text, bytes) ||
           vocabulary_text(&model->vocabulary, id, text, bytes);
}

bool added_is_special(const struct added *added, int64_t id)
{
    for (size_t i = 0; i < added->count; i++)
        if (added->tokens[i].id == id) return added->tokens[i].special;
    return false;
}

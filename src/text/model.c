/* SPDX-License-Identifier: Apache-2.0 */
/* What models have in common, WordPiece and WordLevel. */
#include "text/model_kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/pattern.h"

enum zi_status ids_add(struct tokenizer_ids *ids, int32_t id)
{
    if (ids->count == ids->capacity) {
        void *array = ids->ids;
        ZI_TRY(array_reserve(&array, &ids->capacity, ids->count + 1, sizeof *ids->ids));
        ids->ids = array;
    }
    ids->ids[ids->count++] = id;
    return ZI_OK;
}

enum zi_status ids_add_bytes(const struct model *model, const char *text, size_t bytes,
                             struct tokenizer_ids *ids, bool *done)
{
    *done = false;
    for (size_t i = 0; i < bytes; i++)
        if (model->byte_ids[(unsigned char)text[i]] < 0) return ZI_OK;
    for (size_t i = 0; i < bytes; i++)
        ZI_TRY(ids_add(ids, model->byte_ids[(unsigned char)text[i]]));
    *done = true;
    return ZI_OK;
}

void model_find_bytes(struct model *model)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        int length = snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        model->byte_ids[byte] = vocabulary_find(&model->vocabulary, text, (size_t)length);
    }
}

enum zi_status model_add(const struct zi_json_place *place, struct model *model, const char *text,
                         int64_t id)
{
    if (id < 0 || id >= VOCABULARY_MOST)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: token %.60s has id %" PRId64 "; ids from 0 to %" PRId64 " are taken",
                       place->file, text, id, VOCABULARY_MOST - 1);
    enum zi_status status = vocabulary_add(&model->vocabulary, text, strlen(text), (int32_t)id);
    if (status != ZI_ERROR_USAGE) return status;
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s: token %.60s or its id %" PRId64 " is in the vocabulary twice", place->file,
                   text, id);
}

/* The ids of a file whose vocabulary is an object. Ids with no token are few in real files. */
static enum zi_status read_vocabulary(const struct zi_json_place *place, const json_t *object,
                                      struct model *model)
{
    const json_t *vocabulary = NULL;
    ZI_TRY(zi_json_require(place, object, "vocab"));
    ZI_TRY(zi_json_get_object(place, object, "vocab", &vocabulary));
    int64_t most = 4 * (int64_t)json_object_size(vocabulary) + 1024;
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)vocabulary, text, value)
    {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id >= most)
            return zi_fail(ZI_ERROR_USAGE, "text",
                           "%s: token %.60s has id %" PRId64 ", far above the number of tokens, "
                           "%zu: the vocabulary has holes; number the tokens anew",
                           place->file, text, id, json_object_size(vocabulary));
        ZI_TRY(model_add(place, model, text, id));
    }
    if (model->vocabulary.count == 0)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: the vocabulary is empty", place->file);
    return ZI_OK;
}

static enum zi_status read_unknown(const struct zi_json_place *place, const json_t *object,
                                   struct model *model)
{
    const char *text = NULL;
    ZI_TRY(zi_json_get_string(place, object, "unk_token", &text));
    model->unknown = text ? vocabulary_find(&model->vocabulary, text, strlen(text)) : -1;
    if (text && model->unknown < 0)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: unk_token %s is not in the vocabulary",
                       place->file, text);
    return ZI_OK;
}

static enum zi_status read_affix(const struct zi_json_place *place, const json_t *object,
                                 const char *key, char **affix)
{
    const char *text = "";
    ZI_TRY(zi_json_get_string(place, object, key, &text));
    return text_copy(text, affix);
}

static enum zi_status read_wordpiece(const struct zi_json_place *place, const json_t *object,
                                     struct model *model)
{
    model->most_characters = 100;
    ZI_TRY(zi_json_get_integer(place, object, "max_input_chars_per_word", &model->most_characters));
    if (model->most_characters < 0 || model->most_characters > 10000)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: max_input_chars_per_word is %" PRId64 ", and may be 0 to 10000",
                       place->file, model->most_characters);
    if (model->unknown < 0) return zi_json_require(place, object, "unk_token");
    return ZI_OK;
}

enum zi_status model_read(const struct zi_json_place *place, const json_t *object,
                          struct model *model)
{
    static const char *const names[] = {"BPE", "Unigram", "WordPiece", "WordLevel"};
    static const char *const keys[] = {
        [MODEL_BPE] = "dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk "
                      "byte_fallback ignore_merges vocab merges",
        [MODEL_UNIGRAM] = "unk_id vocab byte_fallback",
        [MODEL_WORDPIECE] = "unk_token continuing_subword_prefix max_input_chars_per_word vocab",
        [MODEL_WORDLEVEL] = "vocab unk_token"};
    /* Older files do not say; only BPE has merges, and only Unigram a list for a vocabulary. */
    const char *type = json_object_get(object, "merges")                 ? "BPE"
                       : json_is_array(json_object_get(object, "vocab")) ? "Unigram"
                                                                         : "WordPiece";
    ZI_TRY(zi_json_get_string(place, object, "type", &type));
    for (model->kind = MODEL_BPE; strcmp(type, names[model->kind]) != 0; model->kind++)
        if (model->kind == MODEL_WORDLEVEL)
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: model %s is not done", place->file, type);
    ZI_TRY(text_check_keys(place, object, keys[model->kind]));
    model->unknown = -1;
    if (model->kind == MODEL_UNIGRAM) return unigram_read(place, object, model);
    ZI_TRY(read_vocabulary(place, object, model));
    ZI_TRY(read_unknown(place, object, model));
    ZI_TRY(read_affix(place, object, "continuing_subword_prefix", &model->prefix));
    ZI_TRY(read_affix(place, object, "end_of_word_suffix", &model->suffix));
    if (model->kind == MODEL_BPE) return bpe_read(place, object, model);
    return model->kind == MODEL_WORDPIECE ? read_wordpiece(place, object, model) : ZI_OK;
}

void model_take_bytes(struct model *model)
{
    model->of_bytes = true;
    bpe_free(&(struct model){.pairs = model->pairs});
    model->pairs = NULL;
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        size_t length = utf8_write(text, byte_character((unsigned char)byte));
        model->byte_ids[byte] = vocabulary_find(&model->vocabulary, text, length);
    }
}

void model_free(struct model *model)
{
    vocabulary_free(&model->vocabulary);
    bpe_free(model);
    unigram_free(model);
    free(model->prefix);
    free(model->suffix);
    *model = (struct model){.unknown = -1};
}

void model_work_free(struct model_work *work)
{
    free(work->symbols);
    free(work->heap);
    free(work->path);
    buffer_free(&work->text);
}

/* A word on its way through WordPiece, the part from `from` on that is to be found, and its end. */
struct stretch {
    const char *word;
    size_t bytes, from, end;
};

/* The longest token at s->from, which ends at s->end; -1: none. */
static enum zi_status longest_piece(const struct model *model, struct model_work *work,
                                    struct stretch *s, int32_t *id)
{
    size_t prefix = s->from > 0 ? strlen(model->prefix) : 0;
    struct buffer *text = &work->text;
    text->bytes = 0;
    ZI_TRY(buffer_add(text, model->prefix, prefix));
    ZI_TRY(buffer_add(text, s->word + s->from, s->bytes - s->from));
    for (s->end = s->bytes; s->end > s->from;) {
        *id = vocabulary_find(&model->vocabulary, text->text, prefix + s->end - s->from);
        if (*id >= 0) return ZI_OK;
        do
            s->end--;
        while (s->end > s->from && ((unsigned char)s->word[s->end] & 0xc0) == 0x80);
    }
    *id = -1;
    return ZI_OK;
}

static enum zi_status wordpiece_encode(const struct model *model, struct model_work *work,
                                       const char *word, size_t bytes, struct tokenizer_ids *out)
{
    size_t begun = out->count;
    int64_t characters = 0;
    for (size_t at = 0; at < bytes && characters <= model->most_characters; characters++)
        at += utf8_length(word[at]);
    if (characters > model->most_characters) return ids_add(out, model->unknown);
    for (struct stretch s = {word, bytes, 0, 0}; s.from < bytes; s.from = s.end) {
        int32_t id;
        ZI_TRY(longest_piece(model, work, &s, &id));
        if (id < 0) {
            out->count = begun;
            return ids_add(out, model->unknown);
        }
        ZI_TRY(ids_add(out, id));
    }
    return ZI_OK;
}

static enum zi_status wordlevel_encode(const struct model *model, const char *word, size_t bytes,
                                       struct tokenizer_ids *out)
{
    int32_t id = vocabulary_find(&model->vocabulary, word, bytes);
    if (id < 0) id = model->unknown;
    if (id < 0)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "the tokenizer has no token for %.*s, and none for what is unknown",
                       bytes < 60 ? (int)bytes : 60, word);
    return ids_add(out, id);
}

enum zi_status model_encode(const struct model *model, struct model_work *work, const char *word,
                            size_t bytes, struct tokenizer_ids *out)
{
    if (bytes > WORD_MOST)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "the tokenizer takes %zu bytes of a text for one word, and %zu at most are "
                       "encoded at once: cut the text into smaller files",
                       bytes, WORD_MOST);
    switch (model->kind) {
    case MODEL_BPE:
        return bpe_encode(model, work, word, bytes, out);
    case MODEL_UNIGRAM:
        return unigram_encode(model, work, word, bytes, out);
    case MODEL_WORDPIECE:
        return wordpiece_encode(model, work, word, bytes, out);
    default:
        return wordlevel_encode(model, word, bytes, out);
    }
}

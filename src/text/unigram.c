/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: of all ways to cut a word into tokens the one whose scores (logarithms of odds) have the
 * largest sum, found from left to right. A character that is no token costs more than any. */
#include "text/model_kinds.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

#define UNKNOWN_PENALTY 10.0

/* The best way to a byte of the word: the token that ends there, and where that begins; -1: none. */
struct path_node {
    double score;
    int32_t id, from;
};

/* A score as the tokenizers package reads it: its digits as a whole number, divided by a power of ten
 * or multiplied, with a rounding each. That may miss the nearest number by its last bit, and which of
 * two ways of equal odds is taken depends on it. The digits are the fewest that tell the number from
 * others, as programs write them. */
static double score_of(double value)
{
    char text[40];
    uint64_t digits = 0;
    int precision = 0, exponent;
    do
        snprintf(text, sizeof text, "%.*e", precision, fabs(value));
    while (strtod(text, NULL) != fabs(value) && ++precision < 17);
    char *mark = strchr(text, 'e');
    exponent = mark ? atoi(mark + 1) - precision : 0;
    for (const char *at = text; at != mark && *at; at++)
        if (*at != '.') digits = 10 * digits + (uint64_t)(*at - '0');
    double result = (double)digits, power = pow(10, abs(exponent));
    result = exponent < 0 ? result / power : result * power;
    return value < 0 ? -result : result;
}

static enum zi_status read_token(const struct zi_json_place *place, const json_t *entry,
                                 size_t index, struct model *model)
{
    const char *text = json_string_value(json_array_get(entry, 0));
    const json_t *score = json_array_get(entry, 1);
    if (!text || !json_is_number(score) || json_array_size(entry) != 2)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: entry %zu of the vocabulary is no [TOKEN, SCORE]", place->file, index);
    model->scores[index] = json_number_value(score);
    if (!isfinite(model->scores[index]) || fabs(model->scores[index]) > 1e15)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: token %.60s has score %g, which is no logarithm", place->file, text,
                       model->scores[index]);
    if (json_is_real(score)) model->scores[index] = score_of(model->scores[index]);
    ZI_TRY(model_add(place, model, text, (int64_t)index));
    return *text ? trie_add(&model->trie, text, strlen(text), (int32_t)index) : ZI_OK;
}

enum zi_status unigram_read(const struct zi_json_place *place, const json_t *object,
                            struct model *model)
{
    const json_t *vocabulary = NULL;
    int64_t unknown = -1;
    ZI_TRY(zi_json_require(place, object, "vocab"));
    ZI_TRY(zi_json_get_array(place, object, "vocab", &vocabulary));
    ZI_TRY(zi_json_get_integer(place, object, "unk_id", &unknown));
    ZI_TRY(zi_json_get_bool(place, object, "byte_fallback", &model->byte_fallback));
    size_t count = json_array_size(vocabulary);
    if (unknown < -1 || unknown >= (int64_t)count)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: unk_id %" PRId64 " is not in the vocabulary",
                       place->file, unknown);
    model->unknown = (int32_t)unknown;
    model->scores = count ? calloc(count, sizeof *model->scores) : NULL;
    if (!model->scores)
        return zi_fail(count ? ZI_ERROR_DEVICE : ZI_ERROR_USAGE, "text",
                       count ? "%s: no memory for the vocabulary" : "%s: the vocabulary is empty",
                       place->file);
    for (size_t i = 0; i < count; i++)
        ZI_TRY(read_token(place, json_array_get(vocabulary, i), i, model));
    double least = INFINITY;
    for (size_t i = 0; i < count; i++)
        least = fmin(least, model->scores[i]);
    model->unknown_score = least - UNKNOWN_PENALTY;
    model_find_bytes(model);
    return ZI_OK;
}

void unigram_free(struct model *model)
{
    trie_free(&model->trie);
    free(model->scores);
}

static void offer(struct path_node *node, double score, int32_t id, size_t from)
{
    if (node->from >= 0 && !(score > node->score)) return;
    *node = (struct path_node){score, id, (int32_t)from};
}

/* Fills path[0..bytes]. */
static enum zi_status find_path(const struct model *model, struct path_node *path, const char *word,
                                size_t bytes)
{
    for (size_t i = 0; i <= bytes; i++)
        path[i] = (struct path_node){0, -1, -1};
    for (size_t from = 0; from < bytes; from += utf8_length(word[from])) {
        size_t own = utf8_length(word[from]);
        double score = path[from].score;
        bool has_own = false;
        int32_t node = model->trie.first[(unsigned char)word[from]] ? 0 : -1;
        for (size_t end = from; node >= 0 && end < bytes;) {
            node = trie_step(&model->trie, node, (unsigned char)word[end++]);
            int32_t id = node >= 0 ? model->trie.values[node] : -1;
            if (id < 0) continue;
            offer(&path[end], score + model->scores[id], id, from);
            has_own |= end == from + own;
        }
        if (has_own) continue;
        if (model->unknown < 0)
            return zi_fail(ZI_ERROR_USAGE, "text",
                           "the tokenizer has no token for %.*s, and none for what is unknown",
                           (int)own, word + from);
        offer(&path[from + own], score + model->unknown_score, model->unknown, from);
    }
    return ZI_OK;
}

/* A stretch that is a token, or unknown: by its text, since what is unknown may spell one. */
static enum zi_status add_stretch(const struct model *model, const char *text, size_t bytes,
                                  struct tokenizer_ids *out)
{
    int32_t id = vocabulary_find(&model->vocabulary, text, bytes);
    bool done = false;
    if (id < 0 && model->byte_fallback) ZI_TRY(ids_add_bytes(model, text, bytes, out, &done));
    return done ? ZI_OK : ids_add(out, id >= 0 ? id : model->unknown);
}

enum zi_status unigram_encode(const struct model *model, struct model_work *work, const char *word,
                              size_t bytes, struct tokenizer_ids *out)
{
    void *memory = work->path;
    ZI_TRY(array_reserve(&memory, &work->path_capacity, bytes + 1, sizeof *work->path));
    work->path = memory;
    ZI_TRY(find_path(model, work->path, word, bytes));
    /* The way is known from its end; it is turned round in place: each node then says where the
     * token that begins there ends, and its id. */
    struct path_node *path = work->path;
    int32_t next = (int32_t)bytes, id = -1;
    for (int32_t at = (int32_t)bytes; at >= 0;) {
        struct path_node own = path[at];
        path[at].from = next;
        path[at].id = id;
        next = at;
        id = own.id;
        at = at == 0 ? -1 : own.from;
    }
    for (size_t at = 0; at < bytes;) {
        size_t end = (size_t)path[at].from;
        if (path[at].id == model->unknown) /* successive unknown ones are one */
            while (end < bytes && path[end].id == model->unknown)
                end = (size_t)path[end].from;
        ZI_TRY(add_stretch(model, word + at, end - at, out));
        at = end;
    }
    return ZI_OK;
}

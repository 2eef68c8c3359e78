/* SPDX-License-Identifier: Apache-2.0 */
/* Questions as lm-evaluation-harness 0.4 logs them. A line is an object with doc_id, target (the
 * number of the right answer, as a number or a string) and arguments: a list of pairs [context,
 * answer], or, in later releases, an object of gen_args_0, gen_args_1 .. with arg_0 and arg_1 each. An
 * answer begins with the space that parts it from its context.
 *
 * Tokens are made as the harness makes them: spaces at the end of a context belong to the answer, both
 * are encoded as one text without what a tokenizer puts around texts, and those behind as many tokens as
 * the context alone has are the answer's; an empty context is the token that begins a text. */
#include "app/samples.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/lines.h"
#include "base/log.h"
#include "json/json.h"

enum { CONTEXT, ANSWER };

/* A file that is being read. */
struct reader {
    struct samples *samples;
    int64_t most;
    struct zi_json_place place;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the questions");
}

static enum zi_status fail_line(const struct reader *r, const char *what)
{
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s, line %" PRId64 ": %s; expected lines as lm-evaluation-harness 0.4 writes "
                   "them with --log_samples for tasks of multiple choice",
                   r->place.file, r->place.line, what);
}

/* Makes room for one more element. */
static void *grow(void *all, int64_t count, size_t size)
{
    return (count & (count - 1)) == 0 ? realloc(all, (size_t)(count ? 2 * count : 1) * size) : all;
}

static int64_t count_characters(const char *text)
{
    int64_t count = 0;
    for (text += text[0] == ' '; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static enum zi_status add_answer(struct reader *r, const json_t *context, const json_t *answer)
{
    struct samples *s = r->samples;
    const json_t *texts[2] = {context, answer};
    if (!json_is_string(context) || !json_is_string(answer))
        return fail_line(r, "arguments are not pairs of a context and an answer");
    for (int which = CONTEXT; which <= ANSWER; which++)
        if (strlen(json_string_value(texts[which])) != json_string_length(texts[which]))
            return fail_line(r, "a text has the character \\u0000; take it out");
    struct sample_answer *answers = grow(s->answers, s->answer_count, sizeof *answers);
    if (!answers) return no_memory();
    s->answers = answers;
    for (int which = CONTEXT; which <= ANSWER; which++) {
        char **all = grow(s->texts[which], s->answer_count, sizeof *all);
        if (!all) return no_memory();
        s->texts[which] = all;
        all[s->answer_count] = NULL;
    }
    for (int which = CONTEXT; which <= ANSWER; which++)
        s->texts[which][s->answer_count] = strdup(json_string_value(texts[which]));
    const char *text = s->texts[ANSWER][s->answer_count];
    bool whole = text && s->texts[CONTEXT][s->answer_count];
    s->answers[s->answer_count++] =
        (struct sample_answer){.characters = text ? count_characters(text) : 0};
    return whole ? ZI_OK : no_memory();
}

static enum zi_status read_arguments(struct reader *r, const json_t *arguments)
{
    for (size_t i = 0; i < json_array_size(arguments); i++) {
        const json_t *pair = json_array_get(arguments, i);
        ZI_TRY(add_answer(r, json_array_get(pair, 0), json_array_get(pair, 1)));
    }
    for (size_t i = 0; i < json_object_size(arguments); i++) {
        char key[48];
        snprintf(key, sizeof key, "gen_args_%zu", i);
        const json_t *pair = json_object_get(arguments, key);
        ZI_TRY(add_answer(r, json_object_get(pair, "arg_0"), json_object_get(pair, "arg_1")));
    }
    return ZI_OK;
}

/* The number of the right answer; -1: it says none. */
static int64_t read_target(const json_t *target)
{
    char *end;
    if (json_is_integer(target)) return json_integer_value(target);
    if (!json_is_string(target) || !*json_string_value(target)) return -1;
    long long number = strtoll(json_string_value(target), &end, 10);
    return *end ? -1 : number;
}

static enum zi_status read_sample(struct reader *r, const json_t *document)
{
    struct samples *s = r->samples;
    struct sample *all = grow(s->all, s->count, sizeof *all);
    if (!all) return no_memory();
    s->all = all;
    struct sample *sample = &all[s->count++];
    const json_t *acc = json_object_get(document, "acc");
    *sample = (struct sample){.first = s->answer_count,
                              .target = read_target(json_object_get(document, "target")),
                              .recorded = json_is_number(acc) ? json_number_value(acc) : -1};
    ZI_TRY(read_arguments(r, json_object_get(document, "arguments")));
    sample->count = s->answer_count - sample->first;
    if (sample->count < 2) return fail_line(r, "there are not several answers under arguments");
    if (sample->target < 0 || sample->target >= sample->count)
        return fail_line(r, "target is not the number of an answer");
    return ZI_OK;
}

static enum zi_status read_line(void *context, int64_t number, const char *line, size_t bytes)
{
    struct reader *r = context;
    json_t *document;
    r->place.line = number;
    if (r->most > 0 && r->samples->count == r->most) return ZI_OK;
    ZI_TRY(zi_json_parse(&r->place, line, bytes, &document));
    enum zi_status status = read_sample(r, document);
    json_decref(document);
    return status;
}

enum zi_status samples_read(const char *path, int64_t most, struct samples *samples)
{
    struct reader reader = {
        .samples = samples, .most = most, .place = {.room = "app", .file = path}};
    samples->path = path;
    ZI_TRY(lines_read(path, read_line, &reader));
    if (samples->count > 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "%s has no questions", path);
}

void samples_free(struct samples *samples)
{
    for (int which = CONTEXT; which <= ANSWER; which++) {
        for (int64_t i = 0; i < samples->answer_count; i++)
            free(samples->texts[which][i]);
        free(samples->texts[which]);
    }
    tokenizer_work_free(samples->work);
    free(samples->answers);
    free(samples->all);
}

/* Appends the ids of a text, of bytes or by the tokenizer. */
static enum zi_status encode(const struct samples *s, const char *text, size_t bytes,
                             struct tokenizer_ids *ids)
{
    if (s->tokenizer) return tokenizer_encode(s->work, text, bytes, false, ids);
    ids->ids = malloc((bytes + 1) * sizeof *ids->ids);
    if (!ids->ids) return no_memory();
    for (size_t i = 0; i < bytes; i++)
        ids->ids[i] = (unsigned char)text[i];
    ids->count = bytes;
    return ZI_OK;
}

/* The token that begins a text: what the tokenizer puts before one, else its bos_token, else what
 * ends one. */
static enum zi_status encode_nothing(const struct samples *s, struct tokenizer_ids *ids)
{
    if (s->tokenizer) ZI_TRY(tokenizer_encode(s->work, "", 0, true, ids));
    int32_t end = s->tokenizer ? tokenizer_begin(s->tokenizer) : -1;
    if (s->tokenizer && end < 0) end = tokenizer_end(s->tokenizer);
    if (ids->count > 0 || end < 0)
        return ids->count > 0
                   ? ZI_OK
                   : zi_fail(ZI_ERROR_USAGE, "app",
                             "%s has an empty context, and the tokenizer no token that begins a "
                             "text; give every question a context",
                             s->path);
    ids->ids = malloc(sizeof *ids->ids);
    if (!ids->ids) return no_memory();
    ids->ids[0] = end;
    ids->count = 1;
    return ZI_OK;
}

/* Ids of a context, and of it and its answer together. */
struct encoded {
    struct tokenizer_ids context, whole;
};

static enum zi_status encode_answer(const struct samples *s, int64_t number, struct encoded *e)
{
    const char *context = s->texts[CONTEXT][number], *answer = s->texts[ANSWER][number];
    size_t length = strlen(context), rest = strlen(answer), kept = length;
    while (kept > 0 && strchr(" \n\t\r\f\v", context[kept - 1]))
        kept--;
    ZI_TRY(kept > 0 ? encode(s, context, kept, &e->context) : encode_nothing(s, &e->context));
    char *text = malloc(length + rest + 1);
    if (!text) return no_memory();
    memcpy(text, context, length);
    memcpy(text + length, answer, rest + 1);
    enum zi_status status = encode(s, text, length + rest, &e->whole);
    free(text);
    return status;
}

/* All tokens of an answer behind those of its context, as one list that the caller frees. */
static enum zi_status join(const struct samples *s, int64_t number, int32_t **ids, int64_t *count,
                           int64_t *from)
{
    struct encoded e = {.context = {.ids = NULL}, .whole = {.ids = NULL}};
    bool empty = true;
    for (const char *c = s->texts[CONTEXT][number]; *c && empty; c++)
        empty = strchr(" \n\t\r\f\v", *c);
    enum zi_status status = encode_answer(s, number, &e);
    size_t skipped = empty ? 0 : e.context.count;
    size_t own = e.whole.count > skipped ? e.whole.count - skipped : 0;
    *ids = status >= 0 ? malloc((e.context.count + own + 1) * sizeof **ids) : NULL;
    if (status >= 0 && !*ids) status = no_memory();
    if (status >= 0 && own == 0)
        status = zi_fail(ZI_ERROR_USAGE, "app", "%s: the answer \"%s\" has no tokens of its own",
                         s->path, s->texts[ANSWER][number]);
    if (status >= 0) {
        memcpy(*ids, e.context.ids, e.context.count * sizeof **ids);
        memcpy(*ids + e.context.count, e.whole.ids + skipped, own * sizeof **ids);
        *from = (int64_t)e.context.count;
        *count = *from + (int64_t)own;
    }
    tokenizer_ids_free(&e.context);
    tokenizer_ids_free(&e.whole);
    return status;
}

static enum zi_status score_answer(struct samples *s, struct score *score, int64_t number,
                                   int64_t *tokens)
{
    int32_t *ids;
    int64_t count, from, counted = 0;
    enum zi_status status = join(s, number, &ids, &count, &from);
    for (int64_t i = 0; status >= 0 && i < count; i++) {
        if (ids[i] >= s->vocabulary)
            status = zi_fail(ZI_ERROR_USAGE, "app",
                             "%s: token %" PRId32 " is not in the model's vocabulary (0 to %" PRId64
                             "); give the model's own tokenizer",
                             s->path, ids[i], s->vocabulary - 1);
    }
    if (status >= 0)
        status = score_add(score, ids, count, from, &s->answers[number].loss, &counted);
    *tokens += counted;
    free(ids);
    return status;
}

/* The first answer of the highest log-likelihood, per character or in all. */
static bool is_right(const struct samples *s, const struct sample *sample, bool per_character)
{
    int64_t best = 0;
    double highest = -INFINITY;
    for (int64_t i = 0; i < sample->count; i++) {
        const struct sample_answer *a = &s->answers[sample->first + i];
        double value = -a->loss;
        if (per_character) value /= (double)(a->characters > 0 ? a->characters : 1);
        if (value > highest) highest = value, best = i;
    }
    return best == sample->target;
}

/* The standard error of a mean of n values that are 0 or 1. */
static double error_of(double mean, int64_t n)
{
    return n > 1 ? sqrt(mean * (1 - mean) / (double)(n - 1)) : NAN;
}

static void judge(const struct samples *s, struct samples_result *result)
{
    int64_t right = 0, right_norm = 0;
    double recorded = 0, n = (double)s->count;
    for (int64_t i = 0; i < s->count; i++) {
        right += is_right(s, &s->all[i], false);
        right_norm += is_right(s, &s->all[i], true);
        recorded += s->all[i].recorded < 0 ? (double)NAN : s->all[i].recorded;
    }
    result->acc = (double)right / n;
    result->acc_norm = (double)right_norm / n;
    result->acc_error = error_of(result->acc, s->count);
    result->acc_norm_error = error_of(result->acc_norm, s->count);
    result->recorded = recorded / n;
}

enum zi_status samples_score(struct samples *samples, struct score *score,
                             struct samples_result *result)
{
    *result =
        (struct samples_result){.questions = samples->count, .answers = samples->answer_count};
    if (samples->tokenizer) ZI_TRY(tokenizer_work_create(samples->tokenizer, &samples->work));
    for (int64_t i = 0; i < samples->answer_count; i++)
        ZI_TRY(score_answer(samples, score, i, &result->tokens));
    ZI_TRY(score_flush(score));
    judge(samples, result);
    return ZI_OK;
}

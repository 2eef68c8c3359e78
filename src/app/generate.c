/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf generate`: a trained model continues texts.
 *
 * Texts go through the model side by side, a batch at a time: first their prompts, part by part, then
 * a token of each per pass, which sees the keys and values that earlier passes have left in a cache.
 * So weights come from their tiers once per pass, for all texts of the batch. A text that has reached
 * the context goes on with the last half of it: the batch's cache is then made anew.
 *
 * A byte-level model (vocabulary of 256) takes a prompt as text and writes its bytes as they come,
 * even those that are no valid UTF-8 yet. A vocabulary is often padded to a rounder number: ids
 * from 256 on have no text then, and are never drawn where text is written. Larger models take text
 * by their own tokenizer or that which is given, and give it as far as its characters are whole; what
 * the tokenizer has no token for is never drawn, and its end of a text ends the text. Without one they
 * take and give ids. With --chat a prompt is a conversation, and what is written is the answer.
 *
 * Choices are a function of the seed, the number of the text and the place in it, so a seed gives the
 * same texts on every run. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/choose.h"
#include "app/commands.h"
#include "app/loaded.h"
#include "app/texts.h"
#include "base/log.h"
#include "base/timing.h"

/* Ids of bytes, and the largest vocabulary that is taken for them with padding. */
enum { BYTE_VOCABULARY = 256, PADDED_VOCABULARY = 1024 };

/* Texts of a batch, and tokens of a part of a prompt, where nothing is said. */
enum { BATCH = 8, PART = 256 };

struct generation {
    struct loaded model;
    struct texts texts;
    struct choice choice;
    /* Tokens to add to each text. */
    int64_t tokens;
    /* Texts that go side by side; tokens of a part. */
    int64_t batch, part;
    /* [batch, part]. */
    int32_t *ids, *positions;
    /* [batch]: the token of each text in this pass whose logits are wanted. */
    int32_t *ends;
    /* [batch]: the id at which what the cache has of a text begins. */
    int64_t *bases;
    /* [batch, vocabulary]. */
    float *logits;
    /* Tokens of passes of one token each; how long these took, and those of prompts. */
    int64_t decoded;
    double decoding_s, filling_s;
    bool says_times;
};

static enum zi_status read_request(const struct options *options, struct generation *g)
{
    struct choice *c = &g->choice;
    g->tokens = 200;
    g->batch = BATCH;
    g->says_times = options_given(options, "--timings");
    *c = (struct choice){.temperature = 0.8, .top_p = 1, .seed = 1};
    ZI_TRY(options_integer(options, "--tokens", 0, INT32_MAX, &g->tokens));
    ZI_TRY(options_integer(options, "--batch", 1, 4096, &g->batch));
    ZI_TRY(options_real(options, "--temperature", 0, 100, &c->temperature));
    ZI_TRY(options_integer(options, "--top-k", 0, INT32_MAX, &c->top_k));
    ZI_TRY(options_real(options, "--top-p", 0, 1, &c->top_p));
    ZI_TRY(options_integer(options, "--seed", 0, INT64_MAX, &c->seed));
    if (c->temperature == 0 && (c->top_k > 0 || c->top_p < 1))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--top-k and --top-p have no effect with --temperature 0, which takes the "
                       "likeliest token; leave them out");
    return ZI_OK;
}

/* Which ids may be chosen: where text is written those that have one. */
static enum zi_status choose_ids(struct generation *g)
{
    const struct texts *t = &g->texts;
    int64_t vocabulary = g->model.vocabulary;
    g->choice.count = vocabulary;
    if (t->tokenizer && tokenizer_vocabulary(t->tokenizer) < vocabulary)
        g->choice.count = tokenizer_vocabulary(t->tokenizer);
    if (t->form != TEXTS_BYTES || vocabulary <= BYTE_VOCABULARY) return ZI_OK;
    if (vocabulary > PADDED_VOCABULARY)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the model has %" PRId64 " tokens, which are no bytes: give its tokenizer, "
                       "--tokenizer FOLDER, or ids, --ids 1,2,3",
                       vocabulary);
    zi_log(ZI_LOG_WARN, "app",
           "the model has %" PRId64
           " tokens; they are taken for the %d bytes and padding, which is "
           "never drawn",
           vocabulary, BYTE_VOCABULARY);
    g->choice.count = BYTE_VOCABULARY;
    return ZI_OK;
}

/* All prompts fit into the context. */
static enum zi_status check_lengths(const struct generation *g)
{
    for (int64_t i = 0; i < g->texts.count; i++) {
        if (g->texts.all[i].count <= g->model.context) continue;
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "prompt %" PRId64 " has %" PRId64 " tokens, and the model's context is "
                       "%" PRId64 ": leave out part of it, or take a model of a longer context",
                       i, g->texts.all[i].count, g->model.context);
    }
    return ZI_OK;
}

/* All ids are of the vocabulary. */
static enum zi_status check_ids(const struct generation *g)
{
    static const char *const whats[] = {"byte", "the tokenizer's token", "token"};
    for (int64_t i = 0; i < g->texts.count; i++) {
        const struct text *text = &g->texts.all[i];
        for (int64_t t = 0; t < text->count; t++) {
            if (text->ids[t] < g->model.vocabulary) continue;
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "%s %" PRId32 " is not in the model's vocabulary (0 to %" PRId64 ")",
                           whats[g->texts.form], text->ids[t], g->model.vocabulary - 1);
        }
    }
    return ZI_OK;
}

static enum zi_status read_texts(struct generation *g, const struct options *options)
{
    char tokenizer[PATH_MAX] = "";
    ZI_TRY(texts_collect(options, &g->texts));
    if (!options_given(options, "--ids"))
        ZI_TRY(loaded_find_tokenizer(&g->model, options, tokenizer));
    return texts_encode(&g->texts, tokenizer, g->tokens);
}

static enum zi_status prepare(struct generation *g, const struct options *options)
{
    ZI_TRY(read_request(options, g));
    ZI_TRY(read_texts(g, options));
    if (g->batch > g->texts.count) g->batch = g->texts.count;
    const struct loading loading = {.path = options->words[0],
                                    .options = options,
                                    .sequences = g->batch,
                                    .tokens = PART,
                                    .cache = g->texts.longest + g->tokens};
    ZI_TRY(loaded_open(&g->model, &loading));
    ZI_TRY(choose_ids(g));
    ZI_TRY(check_ids(g));
    ZI_TRY(check_lengths(g));
    if (g->choice.top_k > g->choice.count)
        zi_log(ZI_LOG_WARN, "app",
               "--top-k %" PRId64 " has no effect: there are %" PRId64 " tokens to draw from",
               g->choice.top_k, g->choice.count);
    size_t batch = (size_t)g->batch, vocabulary = (size_t)g->model.vocabulary;
    g->part = g->model.setup.config.tokens;
    g->ids = calloc(batch * (size_t)g->part, sizeof *g->ids);
    g->positions = calloc(batch * (size_t)g->part, sizeof *g->positions);
    g->ends = calloc(batch, sizeof *g->ends);
    g->bases = calloc(batch, sizeof *g->bases);
    g->logits = calloc(batch * vocabulary, sizeof *g->logits);
    g->choice.candidates = calloc(vocabulary, sizeof *g->choice.candidates);
    if (g->ids && g->positions && g->ends && g->bases && g->logits && g->choice.candidates)
        return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to generate %" PRId64 " texts", g->batch);
}

/* Texts of a batch: all[0 .. count), the first of which is number `first`. */
struct batch {
    struct text *all;
    int64_t first, count;
};

static enum zi_status pass(struct generation *g, const struct batch *b, int64_t tokens,
                           const float **logits)
{
    const struct engine_batch batch = {.sequences = b->count,
                                       .tokens = tokens,
                                       .ids = g->ids,
                                       .positions = g->positions,
                                       .ends = g->ends};
    return engine_extend(g->model.engine, &batch, logits);
}

/* Passes the tokens at places [first, first + tokens) of all texts. Behind the end of a text there is
 * padding, whose places are overwritten when the text gets there, before they are seen. The logits of
 * texts that end there are kept. */
static enum zi_status pass_part(struct generation *g, const struct batch *b, int64_t first,
                                int64_t tokens)
{
    const float *logits;
    for (int64_t i = 0; i < b->count; i++) {
        int64_t length = b->all[i].count - g->bases[i];
        for (int64_t t = 0; t < tokens; t++) {
            int64_t place = first + t;
            g->ids[i * tokens + t] = place < length ? b->all[i].ids[g->bases[i] + place] : 0;
            g->positions[i * tokens + t] = (int32_t)place;
        }
        bool ends = length > first && length <= first + tokens;
        g->ends[i] = ends ? (int32_t)(length - 1 - first) : 0;
    }
    ZI_TRY(pass(g, b, tokens, &logits));
    for (int64_t i = 0; i < b->count; i++) {
        int64_t length = b->all[i].count - g->bases[i], vocabulary = g->model.vocabulary;
        if (length > first && length <= first + tokens)
            memcpy(g->logits + i * vocabulary, logits + i * vocabulary,
                   (size_t)vocabulary * sizeof *logits);
    }
    return ZI_OK;
}

/* Makes the cache of all that the texts have, as far as it fits: of a text that has reached the
 * context the last half. */
static enum zi_status fill_cache(struct generation *g, const struct batch *b)
{
    int64_t context = g->model.context, longest = 0;
    double start_s = zi_time_s();
    for (int64_t i = 0; i < b->count; i++) {
        int64_t length = b->all[i].count - g->bases[i];
        if (length > context) length = context > 1 ? context / 2 : 1;
        g->bases[i] = b->all[i].count - length;
        if (length > longest) longest = length;
    }
    for (int64_t first = 0; first < longest; first += g->part) {
        int64_t rest = longest - first;
        ZI_TRY(pass_part(g, b, first, rest < g->part ? rest : g->part));
    }
    g->filling_s += zi_time_s() - start_s;
    return ZI_OK;
}

/* Passes the last token of each text. */
static enum zi_status pass_token(struct generation *g, const struct batch *b)
{
    const float *logits;
    double start_s = zi_time_s();
    for (int64_t i = 0; i < b->count; i++) {
        const struct text *text = &b->all[i];
        g->ids[i] = text->ids[text->count - 1];
        g->positions[i] = (int32_t)(text->count - 1 - g->bases[i]);
        g->ends[i] = 0;
    }
    ZI_TRY(pass(g, b, 1, &logits));
    memcpy(g->logits, logits, (size_t)(b->count * g->model.vocabulary) * sizeof *logits);
    g->decoded += b->count;
    g->decoding_s += zi_time_s() - start_s;
    return ZI_OK;
}

/* Passes what the texts have more than the cache. */
static enum zi_status advance(struct generation *g, const struct batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        if (b->all[i].count - g->bases[i] > g->model.context) return fill_cache(g, b);
    }
    return pass_token(g, b);
}

/* Adds the next token to a text. */
static enum zi_status add_token(struct generation *g, const struct batch *b, int64_t i)
{
    struct text *text = &b->all[i];
    const float *logits = g->logits + i * g->model.vocabulary;
    for (int64_t v = 0; v < g->model.vocabulary; v++) {
        if (!isfinite(logits[v]))
            return zi_fail(ZI_ERROR_NUMERICS, "app",
                           "the model's output is not finite: this checkpoint is of a training "
                           "that went wrong");
    }
    ZI_TRY(texts_add(&g->texts, text, choose_token(&g->choice, logits, b->first + i, text->count)));
    if (text->count - text->prompt_count >= g->tokens) text->ended = true;
    return text->ended ? texts_end(&g->texts, text) : ZI_OK;
}

/* Adds a token to each text that goes on, and writes; gives how many go on. */
static enum zi_status add_tokens(struct generation *g, const struct batch *b, int64_t *going)
{
    *going = 0;
    for (int64_t i = 0; i < b->count; i++) {
        if (b->all[i].ended) continue;
        ZI_TRY(add_token(g, b, i));
        if (g->texts.count == 1) texts_write(&g->texts, &b->all[i]);
        *going += !b->all[i].ended;
    }
    return ZI_OK;
}

static enum zi_status run_batch(struct generation *g, const struct batch *b)
{
    int64_t going = g->tokens > 0 ? b->count : 0;
    for (int64_t i = 0; i < b->count; i++) {
        g->bases[i] = 0;
        ZI_TRY(texts_begin(&g->texts, &b->all[i]));
        if (g->tokens == 0) ZI_TRY(texts_end(&g->texts, &b->all[i]));
        if (g->texts.count == 1) texts_write(&g->texts, &b->all[i]);
    }
    for (bool begins = true; going > 0 && !ferror(stdout); begins = false) {
        ZI_TRY(begins ? fill_cache(g, b) : advance(g, b));
        ZI_TRY(add_tokens(g, b, &going));
    }
    for (int64_t i = 0; i < b->count && g->texts.count > 1; i++)
        texts_write_line(&g->texts, &b->all[i], b->first + i);
    return ZI_OK;
}

static enum zi_status generate(struct generation *g)
{
    for (int64_t first = 0; first < g->texts.count; first += g->batch) {
        int64_t rest = g->texts.count - first;
        const struct batch b = {g->texts.all + first, first, rest < g->batch ? rest : g->batch};
        ZI_TRY(run_batch(g, &b));
    }
    if (g->texts.count == 1) putchar('\n');
    if (g->says_times)
        fprintf(stderr,
                "%" PRId64 " texts: prompts in %.3f s; %" PRId64 " tokens behind them in %.3f s, "
                "%.2f a second\n",
                g->texts.count, g->filling_s, g->decoded, g->decoding_s,
                g->decoded > 0 ? (double)g->decoded / g->decoding_s : 0.0);
    return ZI_OK;
}

enum zi_status generate_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct generation g = {.tokens = 0};
    enum zi_status status = prepare(&g, options);
    if (status >= 0) status = generate(&g);
    texts_free(&g.texts);
    loaded_close(&g.model);
    free(g.ids);
    free(g.positions);
    free(g.ends);
    free(g.bases);
    free(g.logits);
    free(g.choice.candidates);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf generate`: a trained model continues a text.
 *
 * The checkpoint says what the model is, in a line of YAML. Of a deck that is all that a generation
 * needs: it is compiled to a program of parameters only, for one rank and one sequence, and the
 * states are read by the tensors' names. Each new token takes one pass over the last `context`
 * tokens, so a text may grow past the context.
 *
 * A byte-level model (vocabulary of 256) takes a prompt as text and writes its bytes as they come,
 * even those that are no valid UTF-8 yet. A vocabulary is often padded to a rounder number: ids
 * from 256 on have no text then, and are never drawn where text is written. Larger models take text
 * by the tokenizer that is given, and give it as far as its characters are whole; what the tokenizer
 * has no token for is never drawn, and its end of a text ends the text. Without one they take and
 * give ids.
 *
 * What the checkpoint says of the model is held against the tensors that it has before anything is
 * allocated by it; other sections of that text, with paths in them, are not read.
 *
 * Choices are a function of the seed and of the place in the text (inverse of the cumulated odds
 * at a random number by counter), so a seed gives the same text on every run. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/setup.h"
#include "app/source.h"
#include "base/log.h"
#include "base/random.h"
#include "checkpoint/checkpoint.h"
#include "compiler/placement.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

/* Ids of bytes, and the largest vocabulary that is taken for them with padding. */
enum { BYTE_VOCABULARY = 256, PADDED_VOCABULARY = 1024 };

struct candidate {
    float logit;
    int32_t id;
};

struct generation {
    /* This process alone. */
    struct comm *comm;
    struct checkpoint *checkpoint;
    struct setup setup;
    struct engine *engine;
    int64_t vocabulary, context;
    /* Ids 0 .. drawn-1 may be chosen. */
    int64_t drawn;
    /* `threads` 0: auto. */
    int64_t tokens, top_k, seed, threads;
    double temperature;
    /* One of them NULL. */
    const char *prompt, *id_list;
    /* NULL: text is bytes. */
    struct tokenizer *tokenizer;
    struct tokenizer_stream *stream;
    /* Prompt and what was added. */
    int32_t *ids;
    int64_t count;
    float *logits;
    struct candidate *candidates;
};

static enum zi_status read_request(const struct options *options, struct generation *g)
{
    g->tokens = 200;
    g->temperature = 0.8;
    g->seed = 1;
    ZI_TRY(options_integer(options, "--tokens", 0, INT32_MAX, &g->tokens));
    ZI_TRY(options_real(options, "--temperature", 0, 100, &g->temperature));
    ZI_TRY(options_integer(options, "--top-k", 0, INT32_MAX, &g->top_k));
    ZI_TRY(options_integer(options, "--seed", 0, INT64_MAX, &g->seed));
    ZI_TRY(options_integer(options, "--threads", 1, 1024, &g->threads));
    if (g->temperature == 0 && g->top_k > 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--top-k has no effect with --temperature 0, which takes the likeliest "
                       "token; leave one of them out");
    g->prompt = options_text(options, "--prompt", NULL);
    g->id_list = options_text(options, "--ids", NULL);
    if (!g->prompt == !g->id_list)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "say what to continue: --prompt TEXT or --ids LIST, and one of them only");
    if (g->id_list && options_given(options, "--tokenizer"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--tokenizer has no effect with --ids, which are written as ids; use "
                       "--prompt");
    if ((g->prompt && !g->prompt[0]) || (g->id_list && !g->id_list[0]))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the prompt is empty; a model continues at least one token");
    return ZI_OK;
}

static enum zi_status fail_model(const char *what, int64_t said, int64_t found)
{
    return zi_fail(ZI_ERROR_IO, "app",
                   "the checkpoint's text of its model says %" PRId64 " %s, but it has %" PRId64
                   ": the file is damaged; use an older checkpoint",
                   said, what, found);
}

/* The tensors of the model are those that the checkpoint has. */
static enum zi_status check_tensors(const struct generation *g)
{
    const struct model *model = g->setup.model;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        int64_t found = checkpoint_elements(g->checkpoint, TIER_PARAMETER, t->name);
        char what[160];
        snprintf(what, sizeof what, "elements of %s", t->name);
        if (found != t->elements) return fail_model(what, t->elements, found < 0 ? 0 : found);
    }
    int found = checkpoint_tensors(g->checkpoint);
    return found == model->tensor_count ? ZI_OK : fail_model("tensors", model->tensor_count, found);
}

static enum zi_status build_model(struct generation *g)
{
    const struct checkpoint_header *header = checkpoint_get_header(g->checkpoint);
    char threads[48];
    const char *const sets[] = {"batch.global=1", threads}; /* one sequence is what it passes */
    snprintf(threads, sizeof threads, "device.threads=%" PRId64, g->threads);
    ZI_TRY(setup_parse_part(&g->setup, header->model_text, "model of the checkpoint",
                            setup_model_sections, sets, g->threads ? 2 : 1));
    struct settings *s = g->setup.settings;
    model_check(g->setup.deck);
    ZI_TRY(deck_check(g->setup.deck));
    if (s->precision.compute != (int)header->type)
        return zi_fail(ZI_ERROR_IO, "app", "the checkpoint says %s of parameters that are %s",
                       zi_dtype_name((enum zi_dtype)s->precision.compute),
                       zi_dtype_name(header->type));
    if (s->model.layers > checkpoint_tensors(g->checkpoint)) /* each has several */
        return fail_model("layers", s->model.layers, checkpoint_tensors(g->checkpoint));
    ZI_TRY(setup_open(&g->setup, DEVICE_ALONE));
    ZI_TRY(check_tensors(g));
    g->setup.config.training = false;
    const struct zero_node node = {.ranks = 1};
    ZI_TRY(zero_resolve(s, &g->setup.description, 1, &node, &g->setup.config));
    ZI_TRY(setup_compile(&g->setup));
    g->vocabulary = s->model.vocabulary;
    g->context = g->setup.config.tokens;
    return engine_create(g->setup.program, g->setup.device, g->comm, s, &g->engine);
}

static enum zi_status load_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    struct generation *g = context;
    const struct model_tensor *t = &g->setup.model->tensors[tensor];
    if (kind != TIER_PARAMETER) return ZI_OK;
    return checkpoint_read(g->checkpoint, TIER_PARAMETER, t->name, t->elements, first, count,
                           values);
}

static enum zi_status add_id(struct generation *g, int64_t id, const char *what)
{
    if (id < 0 || id >= g->vocabulary)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s %" PRId64 " is not in the model's vocabulary "
                       "(0 to %" PRId64 ")",
                       what, id, g->vocabulary - 1);
    g->ids[g->count++] = (int32_t)id;
    return ZI_OK;
}

static enum zi_status read_ids(struct generation *g)
{
    const char *at = g->id_list;
    for (;;) {
        char *end;
        errno = 0;
        long long id = strtoll(at, &end, 10);
        if (end == at || errno || (*end && *end != ','))
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "--ids %s: expected numbers with commas, as 1,2,3", g->id_list);
        ZI_TRY(add_id(g, id, "token"));
        if (!*end) return ZI_OK;
        at = end + 1;
    }
}

/* Which ids may be chosen: where text is written those that have one. */
static enum zi_status choose_ids(struct generation *g)
{
    g->drawn = g->vocabulary;
    if (g->tokenizer && tokenizer_vocabulary(g->tokenizer) < g->drawn)
        g->drawn = tokenizer_vocabulary(g->tokenizer);
    if (g->tokenizer || !g->prompt || g->vocabulary <= BYTE_VOCABULARY) return ZI_OK;
    if (g->vocabulary > PADDED_VOCABULARY)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the model has %" PRId64 " tokens, which are no bytes: give its tokenizer, "
                       "--tokenizer FOLDER, or ids, --ids 1,2,3",
                       g->vocabulary);
    zi_log(ZI_LOG_WARN, "app",
           "the model has %" PRId64
           " tokens; they are taken for the %d bytes and padding, which is "
           "never drawn",
           g->vocabulary, BYTE_VOCABULARY);
    g->drawn = BYTE_VOCABULARY;
    return ZI_OK;
}

/* The prompt's ids by the tokenizer. */
static enum zi_status encode_prompt(const struct generation *g, struct tokenizer_ids *ids)
{
    struct tokenizer_work *work;
    ZI_TRY(tokenizer_work_create(g->tokenizer, &work));
    enum zi_status status = tokenizer_encode(work, g->prompt, strlen(g->prompt), true, ids);
    tokenizer_work_free(work);
    if (status >= 0 && ids->count == 0)
        status = zi_fail(ZI_ERROR_USAGE, "app",
                         "the tokenizer makes no tokens of the prompt; a model continues at least "
                         "one");
    return status;
}

static enum zi_status add_ids(struct generation *g, const struct tokenizer_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        ZI_TRY(add_id(g, ids->ids[i], "the tokenizer's token"));
    return tokenizer_stream_create(g->tokenizer, true, &g->stream);
}

/* `encoded` is the prompt where there is a tokenizer. */
static enum zi_status take_prompt(struct generation *g, const struct tokenizer_ids *encoded)
{
    const char *text = g->prompt ? g->prompt : g->id_list;
    size_t room = (g->tokenizer ? encoded->count : strlen(text)) + (size_t)g->tokens + 1;
    ZI_TRY(choose_ids(g));
    g->ids = calloc(room, sizeof *g->ids);
    g->logits = calloc((size_t)g->vocabulary, sizeof *g->logits);
    g->candidates = calloc((size_t)g->vocabulary, sizeof *g->candidates);
    if (!g->ids || !g->logits || !g->candidates)
        return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for %zu tokens", room);
    if (g->tokenizer) return add_ids(g, encoded);
    if (!g->prompt) return read_ids(g);
    for (const char *c = text; *c; c++)
        ZI_TRY(add_id(g, (unsigned char)*c, "byte"));
    return ZI_OK;
}

static enum zi_status read_prompt(struct generation *g)
{
    struct tokenizer_ids encoded = {.ids = NULL};
    enum zi_status status = g->tokenizer ? encode_prompt(g, &encoded) : ZI_OK;
    if (status >= 0) status = take_prompt(g, &encoded);
    tokenizer_ids_free(&encoded);
    return status;
}

/* Largest logit first; equal ones in the order of their ids. */
static int by_logit(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return (a->id > b->id) - (a->id < b->id);
}

static int32_t choose(struct generation *g)
{
    int64_t count = g->drawn;
    for (int64_t i = 0; i < count; i++)
        g->candidates[i] = (struct candidate){g->logits[i], (int32_t)i};
    qsort(g->candidates, (size_t)count, sizeof *g->candidates, by_logit);
    if (g->temperature == 0) return g->candidates[0].id;
    if (g->top_k > 0 && g->top_k < count) count = g->top_k;
    double sum = 0, largest = g->candidates[0].logit;
    for (int64_t i = 0; i < count; i++)
        sum += exp((g->candidates[i].logit - largest) / g->temperature);
    double left = sum * zi_random_uniform((uint64_t)g->seed, zi_random_stream("generate"),
                                          (uint64_t)g->count);
    for (int64_t i = 0; i < count; i++) {
        left -= exp((g->candidates[i].logit - largest) / g->temperature);
        if (left < 0) return g->candidates[i].id;
    }
    return g->candidates[count - 1].id;
}

static enum zi_status write_id(const struct generation *g, int64_t at)
{
    const char *text;
    size_t bytes;
    if (g->tokenizer) {
        ZI_TRY(tokenizer_stream_next(g->stream, g->ids[at], &text, &bytes));
        fwrite(text, 1, bytes, stdout);
    } else if (g->prompt) {
        putchar((int)g->ids[at]);
    } else {
        printf("%s%" PRId32, at ? "," : "", g->ids[at]);
    }
    return ZI_OK;
}

/* What a character lacked is not to come any more. */
static enum zi_status write_end(const struct generation *g)
{
    const char *text;
    size_t bytes;
    if (g->tokenizer) {
        ZI_TRY(tokenizer_stream_rest(g->stream, &text, &bytes));
        fwrite(text, 1, bytes, stdout);
    }
    putchar('\n');
    return ZI_OK;
}

static enum zi_status generate(struct generation *g)
{
    for (int64_t i = 0; i < g->count; i++)
        ZI_TRY(write_id(g, i));
    fflush(stdout);
    for (int64_t added = 0; added < g->tokens && !ferror(stdout); added++) {
        int64_t window = g->count < g->context ? g->count : g->context;
        ZI_TRY(engine_logits(g->engine, g->ids + g->count - window, window, g->logits));
        for (int64_t i = 0; i < g->vocabulary; i++) {
            if (!isfinite(g->logits[i]))
                return zi_fail(ZI_ERROR_NUMERICS, "app",
                               "the model's output is not finite: this checkpoint is of a training "
                               "that went wrong");
        }
        g->ids[g->count] = choose(g);
        if (g->tokenizer && g->ids[g->count] == tokenizer_end(g->tokenizer)) break;
        ZI_TRY(write_id(g, g->count++));
        fflush(stdout);
    }
    return write_end(g);
}

static enum zi_status prepare(struct generation *g, const struct options *options)
{
    const char *tokenizer = options_text(options, "--tokenizer", NULL);
    ZI_TRY(read_request(options, g));
    if (tokenizer) ZI_TRY(tokenizer_open(tokenizer, &g->tokenizer));
    ZI_TRY(comm_self(&g->comm));
    ZI_TRY(source_open_checkpoint(g->comm, options->words[0], &g->checkpoint));
    ZI_TRY(build_model(g));
    ZI_TRY(read_prompt(g));
    if (g->top_k > g->drawn)
        zi_log(ZI_LOG_WARN, "app",
               "--top-k %" PRId64 " has no effect: there are %" PRId64 " tokens to draw from",
               g->top_k, g->drawn);
    return engine_load(g->engine, load_range, g);
}

enum zi_status generate_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct generation g = {0};
    enum zi_status status = prepare(&g, options);
    if (status >= 0) status = generate(&g);
    tokenizer_stream_free(g.stream);
    tokenizer_close(g.tokenizer);
    engine_destroy(g.engine);
    setup_cleanup(&g.setup);
    if (g.checkpoint) checkpoint_close(g.checkpoint);
    if (g.comm) comm_destroy(g.comm);
    free(g.ids);
    free(g.logits);
    free(g.candidates);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf evaluate`: how well a trained model says what comes next: its perplexity on a token file or a
 * text, and the share of questions that it answers rightly.
 *
 * A file is cut into sequences of --length tokens behind each other, and every token but the first is
 * predicted once, from those before it in its sequence. Where the file has a mask, what it masks is
 * seen, and is no target. Bits per byte are known of a text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/lines.h"
#include "app/loaded.h"
#include "app/output.h"
#include "app/samples.h"
#include "base/log.h"
#include "data/tokens.h"

enum { BATCH = 8 };

struct evaluation {
    const char *path, *data, *text, *questions, *output;
    int64_t batch, length, limit;
    struct loaded model;
    struct score score;
    struct tokenizer *tokenizer;
    struct samples samples;
    struct samples_result answered;
    /* Of a text: its ids, its bytes; of a token file the file. */
    struct tokenizer_ids ids;
    size_t bytes;
    struct tokens *tokens;
    /* Sum of -log p, of so many tokens. */
    double loss;
    int64_t counted;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to evaluate");
}

static enum zi_status read_request(const struct options *options, struct evaluation *e)
{
    e->path = options->words[0];
    e->data = options_text(options, "--data", NULL);
    e->text = options_text(options, "--text", NULL);
    e->questions = options_text(options, "--samples", NULL);
    e->output = options_text(options, "--output", NULL);
    e->batch = BATCH;
    ZI_TRY(options_integer(options, "--batch", 1, 4096, &e->batch));
    ZI_TRY(options_integer(options, "--length", 1, INT32_MAX, &e->length));
    ZI_TRY(options_integer(options, "--limit", 1, INT64_MAX, &e->limit));
    if (!e->data + !e->text + !e->questions != 2)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "say on what to evaluate: --data FILE, --text FILE or --samples FILE, and "
                       "one of them only");
    if (e->data && options_given(options, "--tokenizer"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--tokenizer has no effect with --data, which has tokens; use --text");
    if (e->output) ZI_TRY(zi_output_check("app", e->output));
    return ZI_OK;
}

/* Of what is text: that of --tokenizer, or the model's own where it has one. */
static enum zi_status open_tokenizer(struct evaluation *e, const struct options *options)
{
    char path[PATH_MAX];
    if (e->data) return ZI_OK;
    ZI_TRY(loaded_find_tokenizer(&e->model, options, path));
    return path[0] ? tokenizer_open(path, &e->tokenizer) : ZI_OK;
}

/* The ids of a text, of bytes or by the tokenizer. */
static enum zi_status read_text(struct evaluation *e)
{
    struct tokenizer_work *work;
    char *text;
    ZI_TRY(lines_read_whole(e->text, &text, &e->bytes));
    enum zi_status status = ZI_OK;
    if (e->tokenizer) {
        status = tokenizer_work_create(e->tokenizer, &work);
        if (status >= 0) {
            status = tokenizer_encode(work, text, e->bytes, false, &e->ids);
            tokenizer_work_free(work);
        }
    } else {
        e->ids.ids = malloc((e->bytes + 1) * sizeof *e->ids.ids);
        if (!e->ids.ids) status = no_memory();
        for (size_t i = 0; status >= 0 && i < e->bytes; i++)
            e->ids.ids[i] = (unsigned char)text[i];
        e->ids.count = e->bytes;
    }
    free(text);
    return status;
}

static enum zi_status check_ids(const struct evaluation *e)
{
    for (size_t i = 0; i < e->ids.count; i++) {
        if (e->ids.ids[i] < e->model.vocabulary) continue;
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "token %" PRId32 " of %s is not in the model's vocabulary (0 to %" PRId64
                       "); give the model's own tokenizer",
                       e->ids.ids[i], e->text, e->model.vocabulary - 1);
    }
    return ZI_OK;
}

/* Where a token does not count as a target, its id becomes ~id. */
static enum zi_status read_mask(const struct evaluation *e, int64_t first, int64_t count,
                                int32_t *ids)
{
    uint8_t *mask = malloc((size_t)count);
    enum zi_status status = mask ? tokens_read_mask(e->tokens, first, count, mask) : no_memory();
    for (int64_t i = 0; i < count && status >= 0; i++)
        if (!mask[i]) ids[i] = ~ids[i];
    free(mask);
    return status;
}

/* Tokens [first, first + count) of what is evaluated, as score_add takes them. */
static enum zi_status read_ids(const struct evaluation *e, int64_t first, int64_t count,
                               int32_t *ids)
{
    if (e->data) {
        ZI_TRY(tokens_read(e->tokens, first, count, ids));
        return tokens_have_mask(e->tokens) ? read_mask(e, first, count, ids) : ZI_OK;
    }
    memcpy(ids, e->ids.ids + first, (size_t)count * sizeof *ids);
    return ZI_OK;
}

/* The sequences of a file, whose sums go to `sums`. */
static enum zi_status pass_file(struct evaluation *e, int64_t all, int32_t *ids, double *sums)
{
    int64_t length = e->score.tokens, sequence = 0;
    for (int64_t first = 0; first + 1 < all; first += length, sequence++) {
        int64_t count = all - first < length + 1 ? all - first : length + 1, counted;
        ZI_TRY(read_ids(e, first, count, ids));
        ZI_TRY(score_add(&e->score, ids, count, 1, &sums[sequence], &counted));
        e->counted += counted;
    }
    ZI_TRY(score_flush(&e->score));
    for (int64_t i = 0; i < sequence; i++)
        e->loss += sums[i];
    if (e->counted > 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "of the first %" PRId64 " tokens of %s none is a target, by its /mask: "
                   "evaluate more of it (--limit), or another file",
                   all, e->data);
}

static enum zi_status evaluate_file(struct evaluation *e)
{
    if (e->data)
        ZI_TRY(tokens_open(e->data, ZI_AUTO, ZI_AUTO, e->model.vocabulary, &e->tokens));
    else
        ZI_TRY(check_ids(e));
    int64_t all = e->data ? tokens_count(e->tokens) : (int64_t)e->ids.count;
    if (e->limit > 0 && all > e->limit) all = e->limit;
    if (all < 2)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s has %" PRId64 " tokens; it takes two to predict one",
                       e->data ? e->data : e->text, all);
    int32_t *ids = malloc((size_t)(e->score.tokens + 1) * sizeof *ids);
    double *sums = malloc((size_t)(all / e->score.tokens + 1) * sizeof *sums);
    enum zi_status status = ids && sums ? pass_file(e, all, ids, sums) : no_memory();
    free(ids);
    free(sums);
    return status;
}

static enum zi_status evaluate(struct evaluation *e, const struct options *options)
{
    ZI_TRY(read_request(options, e));
    ZI_TRY(open_tokenizer(e, options));
    e->samples.tokenizer = e->tokenizer;
    if (e->questions) ZI_TRY(samples_read(e->questions, e->limit, &e->samples));
    if (e->text) ZI_TRY(read_text(e));
    const struct loading loading = {.path = e->path,
                                    .options = options,
                                    .sequences = e->batch,
                                    .tokens = e->length > 0 ? e->length : INT32_MAX};
    ZI_TRY(loaded_open(&e->model, &loading));
    if (e->length > e->model.setup.config.tokens)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--length %" PRId64 " is more than the model's context, which is %" PRId64
                       " tokens",
                       e->length, e->model.setup.config.tokens);
    e->samples.vocabulary = e->model.vocabulary;
    ZI_TRY(score_create(e->model.engine, e->batch, e->model.setup.config.tokens, &e->score));
    return e->questions ? samples_score(&e->samples, &e->score, &e->answered) : evaluate_file(e);
}

static bool bytes_are_known(const struct evaluation *e)
{
    return e->text && (e->limit == 0 || e->limit >= (int64_t)e->ids.count);
}

static double bits_per_byte(const struct evaluation *e)
{
    return e->loss / log(2.0) / (double)e->bytes;
}

static void print_result(const struct evaluation *e)
{
    double mean = e->loss / (double)e->counted;
    if (e->questions) {
        const struct samples_result *r = &e->answered;
        printf("questions      %" PRId64 "\nanswers        %" PRId64 "\ntokens         %" PRId64
               "\nacc            %.4f +- %.4f\nacc_norm       %.4f +- %.4f\n",
               r->questions, r->answers, r->tokens, r->acc, r->acc_error, r->acc_norm,
               r->acc_norm_error);
        if (!isnan(r->recorded)) printf("acc in file    %.4f\n", r->recorded);
        return;
    }
    printf("tokens         %" PRId64 "\nloss           %.6f\nperplexity     %.4f\n", e->counted,
           mean, exp(mean));
    if (bytes_are_known(e)) printf("bits per byte  %.6f\n", bits_per_byte(e));
}

/* A number of JSON, which has no NaN. */
static void write_number(FILE *out, const char *name, double value)
{
    if (isfinite(value))
        fprintf(out, ",\n  \"%s\": %.17g", name, value);
    else
        fprintf(out, ",\n  \"%s\": null", name);
}

static void write_result(const struct evaluation *e, FILE *out)
{
    const struct samples_result *r = &e->answered;
    fprintf(out, "{\n  \"tokens\": %" PRId64, e->questions ? r->tokens : e->counted);
    if (e->questions) {
        fprintf(out, ",\n  \"questions\": %" PRId64 ",\n  \"answers\": %" PRId64, r->questions,
                r->answers);
        write_number(out, "acc", r->acc);
        write_number(out, "acc_stderr", r->acc_error);
        write_number(out, "acc_norm", r->acc_norm);
        write_number(out, "acc_norm_stderr", r->acc_norm_error);
        write_number(out, "acc_in_file", r->recorded);
    } else {
        write_number(out, "loss", e->loss / (double)e->counted);
        write_number(out, "perplexity", exp(e->loss / (double)e->counted));
        write_number(out, "bits_per_byte", bytes_are_known(e) ? bits_per_byte(e) : (double)NAN);
    }
    fprintf(out, "\n}\n");
}

enum zi_status evaluate_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct evaluation e = {.batch = BATCH};
    struct output_stream stream;
    enum zi_status status = evaluate(&e, options);
    if (status >= 0 && !e.questions && !isfinite(e.loss))
        status =
            zi_fail(ZI_ERROR_NUMERICS, "app",
                    "the loss is not finite: this checkpoint is of a training that went wrong");
    if (status >= 0) print_result(&e);
    if (status >= 0 && e.output) {
        status = output_stream_begin(e.output, &stream);
        if (status >= 0) {
            write_result(&e, stream.out);
            status = output_stream_end(&stream, ZI_OK);
        }
    }
    score_free(&e.score);
    samples_free(&e.samples);
    loaded_close(&e.model);
    tokens_close(e.tokens);
    tokenizer_ids_free(&e.ids);
    tokenizer_close(e.tokenizer);
    return status;
}

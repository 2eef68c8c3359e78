/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: questions with several answers, in the lines of JSON that lm-evaluation-harness
 * writes with --log_samples. */
#ifndef ZI_APP_SAMPLES_H
#define ZI_APP_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "app/score.h"
#include "text/tokenizer.h"

struct sample_answer {
    /* Sum of -log p of its tokens. */
    double loss;
    /* Characters, without a space that it begins with. */
    int64_t characters;
};

struct sample {
    /* answers[first .. first + count), and which of them is right. */
    int64_t first, count, target;
    /* acc of the file; -1: it has none. */
    double recorded;
};

struct samples {
    const char *path;
    /* NULL: bytes. */
    struct tokenizer *tokenizer;
    struct tokenizer_work *work;
    /* Below which ids are; set before samples_score, as the tokenizer is. */
    int64_t vocabulary;
    struct sample *all;
    struct sample_answer *answers;
    /* Of texts, until they have been passed. */
    char **texts[2];
    int64_t count, answer_count;
};

/* What the harness calls acc and acc_norm: shares of questions whose likeliest answer is right, by the
 * sum of log p, or by that per character of the answer; the standard errors of these means; and the
 * mean of acc in the file, NaN where it is not in every line. */
struct samples_result {
    double acc, acc_norm, acc_error, acc_norm_error, recorded;
    int64_t questions, answers, tokens;
};

/* Local. Reads at most `most` questions of a file (0: all). On an error they are to be freed as well.
 * ZI_ERROR_USAGE naming line and remedy, ZI_ERROR_IO. */
enum zi_status samples_read(const char *path, int64_t most, struct samples *samples);

/* Local. Passes all answers. ZI_ERROR_USAGE where one has no tokens, or ids that the model has not. */
enum zi_status samples_score(struct samples *samples, struct score *score,
                             struct samples_result *result);

/* Local. Frees what samples_read has made; the tokenizer stays the caller's. */
void samples_free(struct samples *samples);

#endif

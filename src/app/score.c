/* SPDX-License-Identifier: Apache-2.0 */
/* Log-likelihoods by the program `evaluate`: each text is a sequence, targets that do not count are
 * -1, and shorter sequences are padded behind their end, where nothing counts and causality keeps the
 * rest from seeing it. */
#include "app/score.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum zi_status score_create(struct engine *engine, int64_t batch, int64_t tokens,
                            struct score *score)
{
    size_t rows = (size_t)(batch * tokens), texts = (size_t)batch;
    *score = (struct score){.engine = engine, .batch = batch, .tokens = tokens};
    score->ids = calloc(rows, sizeof *score->ids);
    score->targets = calloc(rows, sizeof *score->targets);
    score->packed_ids = calloc(rows, sizeof *score->packed_ids);
    score->packed_targets = calloc(rows, sizeof *score->packed_targets);
    score->lengths = calloc(texts, sizeof *score->lengths);
    score->sums = calloc(texts, sizeof *score->sums);
    if (score->ids && score->targets && score->packed_ids && score->packed_targets &&
        score->lengths && score->sums)
        return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for batches of %zu tokens", rows);
}

void score_free(struct score *score)
{
    free(score->ids);
    free(score->targets);
    free(score->packed_ids);
    free(score->packed_targets);
    free(score->lengths);
    free(score->sums);
}

enum zi_status score_flush(struct score *score)
{
    const double *losses;
    int64_t longest = 0;
    if (score->waiting == 0) return ZI_OK;
    for (int64_t i = 0; i < score->waiting; i++) {
        if (score->lengths[i] > longest) longest = score->lengths[i];
    }
    for (int64_t i = 0; i < score->waiting; i++) {
        for (int64_t t = 0; t < longest; t++) {
            bool is_there = t < score->lengths[i];
            int64_t from = i * score->tokens + t, to = i * longest + t;
            score->packed_ids[to] = is_there ? score->ids[from] : 0;
            score->packed_targets[to] = is_there ? score->targets[from] : -1;
        }
    }
    const struct engine_batch batch = {.sequences = score->waiting,
                                       .tokens = longest,
                                       .ids = score->packed_ids,
                                       .targets = score->packed_targets};
    ZI_TRY(engine_evaluate(score->engine, &batch, &losses));
    for (int64_t i = 0; i < score->waiting; i++)
        *score->sums[i] = losses[i];
    score->waiting = 0;
    return ZI_OK;
}

enum zi_status score_add(struct score *score, const int32_t *ids, int64_t count, int64_t from,
                         double *sum, int64_t *counted)
{
    int64_t surplus = count - 1 > score->tokens ? count - 1 - score->tokens : 0;
    int64_t row = score->waiting * score->tokens, length = count - 1 - surplus;
    *counted = 0;
    for (int64_t t = 0; t < length; t++) {
        int32_t id = ids[surplus + t], target = ids[surplus + t + 1];
        bool counts = target >= 0 && surplus + t + 1 >= from;
        score->ids[row + t] = id < 0 ? ~id : id;
        score->targets[row + t] = counts ? target : -1;
        *counted += counts;
    }
    score->lengths[score->waiting] = length;
    score->sums[score->waiting++] = sum;
    return score->waiting == score->batch ? score_flush(score) : ZI_OK;
}

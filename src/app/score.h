/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: log-likelihoods of ends of texts, a batch at a time. */
#ifndef ZI_APP_SCORE_H
#define ZI_APP_SCORE_H

#include "engine/batch.h"

struct score {
    struct engine *engine;
    /* Texts of a batch; tokens of a text that the model passes at most. */
    int64_t batch, tokens;
    /* Of texts that wait: [batch, tokens] ids and targets, and how many tokens each has. */
    int32_t *ids, *targets;
    int64_t *lengths;
    /* Where their sums go. */
    double **sums;
    int64_t waiting;
    /* The same rows as close together as the longest allows. */
    int32_t *packed_ids, *packed_targets;
};

/* Local. Memory for texts of an engine; on an error it is to be freed as well. */
enum zi_status score_create(struct engine *engine, int64_t batch, int64_t tokens,
                            struct score *score);

/* Local. Frees it; nothing where it is all zero. */
void score_free(struct score *score);

/* Local. *sum gets the sum of -log p of tokens [from, count) of a text, count > from > 0, given those
 * before them, when the batch is full or flushed; of a token that is no target that counts `ids` has
 * ~id. Of a text with more than `tokens` + 1 tokens the first are left out; gives the tokens that
 * count. */
enum zi_status score_add(struct score *score, const int32_t *ids, int64_t count, int64_t from,
                         double *sum, int64_t *counted);

/* Local. Passes the texts that wait. */
enum zi_status score_flush(struct score *score);

#endif

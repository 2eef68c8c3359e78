/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of texts through an engine that does not train: generation with a cache of keys and values,
 * and losses of single sequences. */
#ifndef ZI_ENGINE_BATCH_H
#define ZI_ENGINE_BATCH_H

#include "engine/engine.h"

/* Texts that go through the model side by side, for generation and evaluation; all memory is the
 * caller's. B sequences, at most the configuration's micro; T tokens of each, at most its tokens. */
struct engine_batch {
    int64_t sequences, tokens;
    /* [B, T]; ids behind the end of a sequence are any of the vocabulary. */
    const int32_t *ids;
    /* engine_extend, [B, T]: how far each token is into its text, below the configuration's cache. */
    const int32_t *positions;
    /* engine_extend, [B]: the token of each sequence whose logits are wanted. */
    const int32_t *ends;
    /* engine_evaluate, [B, T]: the token that follows; negative: it does not count. */
    const int32_t *targets;
};

/* Collective. Passes tokens that see all that were passed before at places up to theirs, and keeps
 * their keys and values; a text begins anew where its places do. *logits: fp32 [B, vocabulary], the
 * engine's, good until its next call. */
enum zi_status engine_extend(struct engine *engine, const struct engine_batch *batch,
                             const float **logits);

/* Collective. *losses: [B], the sum of -log p of each sequence's targets; the engine's, as above. */
enum zi_status engine_evaluate(struct engine *engine, const struct engine_batch *batch,
                               const double **losses);

#endif

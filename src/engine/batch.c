/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of a program on a batch: what it brings is put where the program finds it, and how many
 * sequences and tokens there are is the run's (execute.c). */
#include "engine/batch.h"

#include <string.h>

#include "base/log.h"
#include "engine/execute.h"

/* Puts a batch where the program finds it, and runs it. */
static enum zi_status run_batch(struct engine *engine, enum program_name name,
                                const struct engine_batch *batch)
{
    const struct program *p = engine->program;
    const struct program_values *out = &p->outside;
    size_t bytes = (size_t)(batch->sequences * batch->tokens) * sizeof(int32_t);
    ZI_REQUIRE(program_exists(&p->config, name));
    ZI_REQUIRE(batch->sequences > 0 && batch->sequences <= p->config.micro);
    ZI_REQUIRE(batch->tokens > 0 && batch->tokens <= p->config.tokens);
    memcpy(engine_inputs(engine), batch->ids, bytes);
    if (batch->positions) memcpy(engine_host_slot(engine, out->positions), batch->positions, bytes);
    if (batch->targets) memcpy(engine_targets(engine), batch->targets, bytes);
    engine->tokens = batch->tokens;
    engine->sequences = batch->sequences;
    engine->ends = batch->ends;
    enum zi_status status = lanes_run(engine, name);
    engine->sequences = 0;
    engine->ends = NULL;
    return status;
}

enum zi_status engine_extend(struct engine *engine, const struct engine_batch *batch,
                             const float **logits)
{
    int64_t capacity = engine->program->config.cache;
    for (int64_t i = 0; i < batch->sequences * batch->tokens; i++)
        ZI_REQUIRE(batch->positions[i] >= 0 && batch->positions[i] < capacity);
    *logits = engine_host_slot(engine, engine->program->outside.logits);
    return run_batch(engine, batch->tokens == 1 ? PROGRAM_DECODE : PROGRAM_PREFILL, batch);
}

enum zi_status engine_evaluate(struct engine *engine, const struct engine_batch *batch,
                               const double **losses)
{
    *losses = engine_host_slot(engine, engine->program->outside.loss);
    return run_batch(engine, PROGRAM_EVALUATE, batch);
}

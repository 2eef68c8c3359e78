/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of a run.
 *
 * The engine walks this rank's states and hands over each range with the address of its values; the
 * checkpoint room writes the range to its place under the tensor's name. Both know tensors and
 * element numbers, so no rank needs to know what others write, and the file does not depend on how
 * many ranks there are. The model travels in the header as a line of YAML. */
#include <limits.h>
#include <stdlib.h>

#include "app/run.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"

static enum zi_status save_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    static const enum checkpoint_state states[TIER_KIND_COUNT] = {
        [TIER_PARAMETER] = CHECKPOINT_PARAMETER,
        [TIER_MASTER] = CHECKPOINT_MASTER,
        [TIER_MOMENT1] = CHECKPOINT_MOMENT1,
        [TIER_MOMENT2] = CHECKPOINT_MOMENT2,
    };
    ZI_REQUIRE(kind != TIER_GRADIENT && kind != TIER_ACTIVATION);
    return checkpoint_write(context, states[kind], tensor, first, count, values);
}

static enum zi_status save_states(struct run *run, const char *directory,
                                  const struct checkpoint_header *header,
                                  const struct checkpoint_tensor *tensors)
{
    struct checkpoint *checkpoint;
    const struct settings *s = run->setup.settings;
    ZI_TRY(checkpoint_create(run->comm, directory, header, tensors, run->setup.model->tensor_count,
                             &checkpoint));
    enum zi_status status = engine_flush(run->engine);
    if (status >= 0) status = engine_save(run->engine, save_range, checkpoint);
    status = comm_agree(run->comm, status);
    if (status >= 0) status = checkpoint_commit(checkpoint, s->checkpoint.keep);
    checkpoint_close(checkpoint);
    return status;
}

static void list_tensors(const struct model *model, struct checkpoint_tensor *tensors)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        tensors[i] = (struct checkpoint_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}};
    }
}

enum zi_status save_checkpoint(struct run *run)
{
    const struct settings *s = run->setup.settings;
    const struct zero_config *c = &run->setup.config;
    const struct model *model = run->setup.model;
    static const unsigned modes[] = {
        [CHECKPOINT_OWNER] = 0600, [CHECKPOINT_GROUP] = 0640, [CHECKPOINT_ALL] = 0644};
    char directory[PATH_MAX], *model_text = NULL;
    int length = snprintf(directory, sizeof directory, "%s/checkpoints", s->run.directory);
    struct checkpoint_tensor *tensors = calloc((size_t)model->tensor_count, sizeof *tensors);
    enum zi_status status = ZI_OK;
    if (!tensors || length < 0 || length >= (int)sizeof directory)
        status = zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a list of tensors");
    if (status >= 0) status = setup_model_text(s, &model_text);
    status = comm_agree(run->comm, status);
    if (status >= 0) {
        const struct checkpoint_header header = {
            .step = run->done,
            .updates = engine_updates(run->engine),
            .tokens = run->done * c->global * c->tokens,
            .seed = s->run.seed,
            .deck = run->used_text,
            .type = model->type,
            .model_text = model_text,
            .mode = modes[s->checkpoint.mode],
        };
        list_tensors(model, tensors);
        status = save_states(run, directory, &header, tensors);
    }
    if (status >= 0) run->saved = run->done;
    free(model_text);
    free(tensors);
    return status;
}

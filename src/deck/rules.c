/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that join several keys and need nothing but the settings.
 *
 * Each complaint stands at the key that most likely has to change, names the other key with its
 * value, and says which values work. Rules whose reason lies in a room (heads that divide hidden,
 * decay that fits the run) are in that room; keys without effect are in uses.c. Keys that hold auto
 * are left alone: who resolves them resolves them to something that works. One is resolved here,
 * since it needs nothing but the deck. */
#include "deck/private.h"

#include <inttypes.h>

enum { PAGE = 4096 };

static void check_batch(struct deck *deck, const struct settings *settings)
{
    const struct settings_batch *batch = &settings->batch;
    int64_t context = settings->model.context;
    if (batch->tokens != ZI_AUTO && batch->tokens > context)
        deck_complain(deck, "batch", "tokens",
                      "%" PRId64 " tokens in a sequence, but model.context is %" PRId64
                      "; use at most %" PRId64 ", or auto",
                      batch->tokens, context, context);
    if (batch->micro != ZI_AUTO && batch->micro > batch->global)
        deck_complain(deck, "batch", "micro",
                      "%" PRId64 " sequences at once, but a step has %" PRId64
                      " (batch.global); use at most %" PRId64 ", or auto",
                      batch->micro, batch->global, batch->global);
}

/* auto validates every tenth of the run, rounded up to whole steps. An echo tells what auto became,
 * and that it was auto: without a file it then becomes something else. */
static void resolve_validation(struct deck *deck)
{
    struct settings_data *data = &deck_settings(deck)->data;
    const struct deck_row *row = deck_find("data", "validation_every");
    int64_t steps = deck_settings(deck)->run.steps;
    bool was_auto = deck->origins[deck_row_index(row)].was_auto;
    if (data->validation_every == ZI_AUTO)
        data->validation_every = steps / 10 + (steps % 10 != 0);
    else if (!was_auto)
        return;
    if (!data->validation.count) data->validation_every = 0;
}

/* A validation has each sequence once, so that there is nothing to mix. */
static void check_weights(struct deck *deck, const struct settings *settings)
{
    if (deck_sources_weighted(&settings->data.validation))
        deck_complain(deck, "data", "validation",
                      "weights are for data.train: a validation uses each sequence once, or evenly "
                      "spread ones (data.validation_sequences); give a list of paths");
}

static void check_schedule(struct deck *deck, const struct settings *settings)
{
    int64_t warmup = settings->optimizer.warmup, steps = settings->run.steps;
    if (warmup > steps)
        deck_complain(deck, "optimizer", "warmup",
                      "%" PRId64 " steps of warm-up in a run of %" PRId64
                      " (run.steps); use at most %" PRId64,
                      warmup, steps, steps);
}

/* Direct I/O moves whole pages. */
static void check_block(struct deck *deck, const struct settings *settings)
{
    int64_t block = settings->nvme.block;
    if (block % PAGE != 0)
        deck_complain(deck, "nvme", "block",
                      "%" PRId64 " B is not a multiple of 4 KiB, as direct I/O needs; nearest are "
                      "%" PRId64 " KiB and %" PRId64 " KiB",
                      block, block / PAGE * 4, (block / PAGE + 1) * 4);
}

/* Groups of a state on disk are whole pages. */
static void check_group(struct deck *deck, const struct settings *settings)
{
    int64_t group = settings->zero.group;
    if (group % PAGE != 0)
        deck_complain(deck, "zero", "group",
                      "%" PRId64 " elements are not a multiple of 4096, so that groups of a state "
                      "on disk would not begin at whole blocks; nearest are %" PRId64
                      " and %" PRId64,
                      group, group / PAGE * PAGE, (group / PAGE + 1) * PAGE);
}

/* Dividing by a power of two is exact. */
static void check_power(struct deck *deck, const char *key, int64_t scale)
{
    int64_t below = 1;
    if (scale == ZI_AUTO || (scale & (scale - 1)) == 0) return;
    while (2 * below < scale)
        below *= 2;
    deck_complain(deck, "precision", key,
                  "%" PRId64 " is not a power of two; nearest are %" PRId64 " and %" PRId64, scale,
                  below, 2 * below);
}

/* Each where the sections that it looks at were asked for. */
void deck_check_rules(struct deck *deck)
{
    const struct settings *settings = deck_settings(deck);
    bool run = deck_needs(deck, "run");
    if (deck_needs(deck, "batch") && deck_needs(deck, "model")) check_batch(deck, settings);
    if (deck_needs(deck, "data") && run) resolve_validation(deck);
    if (deck_needs(deck, "data")) check_weights(deck, settings);
    if (deck_needs(deck, "optimizer") && run) check_schedule(deck, settings);
    if (deck_needs(deck, "precision")) {
        check_power(deck, "loss_scale", settings->precision.loss_scale);
        check_power(deck, "loss_scale_initial", settings->precision.loss_scale_initial);
    }
    if (deck_needs(deck, "nvme")) check_block(deck, settings);
    if (deck_needs(deck, "zero")) check_group(deck, settings);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* When nothing fits: what is short by how much, and the nearest change of the deck that would fit.
 *
 * Changes are tried by measuring, one alone first, in an order from those that cost nothing to
 * those that cost most; then each added to those before it. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "compiler/compiler.h"
#include "compiler/resolve.h"
#include "tier/store.h"

#define MICROS_TRIED 512 /* micro-batches of a rank, at most, that are advised */

/* One change of the deck that may make it fit: a state to a tier, or what `apply` does. */
struct change {
    const char *text;
    bool (*apply)(struct settings *s, const struct zero_config *config);
    enum tier_place place;
    enum zi_tier tier;
};

static bool change_recompute(struct settings *s, const struct zero_config *config)
{
    (void)config;
    int64_t given = s->activations.recompute;
    if (given == ZI_AUTO || given == RECOMPUTE_ALWAYS) return false;
    s->activations.recompute = ZI_AUTO;
    return true;
}

static bool change_micro(struct settings *s, const struct zero_config *config)
{
    s->batch.micro = resolved_micro(&s->batch, config->ranks);
    if (s->batch.micro <= 1) return false;
    s->batch.micro = (s->batch.micro + 1) / 2;
    /* Not so small that the search would lay out programs of any length. */
    int64_t own = (s->batch.global + config->ranks - 1) / config->ranks;
    int64_t most = micros_most(&s->model), micros = (own + s->batch.micro - 1) / s->batch.micro;
    if (micros > most || micros > MICROS_TRIED) return false;
    return true;
}

static bool change_tiles(struct settings *s, const struct zero_config *config)
{
    (void)config;
    struct settings_tiling *t = &s->tiling;
    if (t->attention == ZI_AUTO && t->mlp == ZI_AUTO && t->vocabulary == ZI_AUTO) return false;
    t->attention = t->mlp = t->vocabulary = ZI_AUTO;
    return true;
}

static bool change_stage(struct settings *s, const struct zero_config *config)
{
    if (config->ranks == 1 || s->zero.stage == 3) return false;
    s->zero.stage = 3;
    return true;
}

static bool change_speculate(struct settings *s, const struct zero_config *config)
{
    if (config->excess[ZI_TIER_NVME] == 0 || s->zero.speculate != SPECULATE_ON) return false;
    s->zero.speculate = ZI_AUTO;
    return true;
}

/* Whether moving states from a tier to another could help. */
static bool may_move(int64_t from, enum zi_tier to, const struct zero_config *config)
{
    bool full = config->excess[ZI_TIER_NVME] > 0;
    if (from == (int64_t)to) return false;
    if (to == ZI_TIER_NVME) return config->training && config->budget[ZI_TIER_NVME] > 0 && !full;
    return from == ZI_TIER_NVME ? full : !config->shared_budget;
}

static const struct change changes[] = {
    {.text = "activations.recompute: auto", .apply = change_recompute},
    {.text = "zero.speculate: auto", .apply = change_speculate},
    {.text = "zero.stage: 3", .apply = change_stage},
    {.place = PLACE_OPTIMIZER, .tier = ZI_TIER_HOST},
    {.place = PLACE_GRADIENTS, .tier = ZI_TIER_HOST},
    {.place = PLACE_ACTIVATIONS, .tier = ZI_TIER_HOST},
    {.place = PLACE_PARAMETERS, .tier = ZI_TIER_HOST},
    {.text = "a smaller batch.micro", .apply = change_micro},
    {.place = PLACE_OPTIMIZER, .tier = ZI_TIER_NVME},
    {.place = PLACE_PARAMETERS, .tier = ZI_TIER_NVME},
    {.place = PLACE_ACTIVATIONS, .tier = ZI_TIER_NVME},
    {.place = PLACE_GRADIENTS, .tier = ZI_TIER_NVME},
    {.text = "tiling: auto", .apply = change_tiles},
};
#define CHANGE_COUNT ((int)(sizeof changes / sizeof *changes))

static bool apply(const struct change *change, struct settings *s, const struct zero_config *config)
{
    if (change->apply) return change->apply(s, config);
    int64_t from = tier_place_given(&s->placement, change->place);
    if (!may_move(from, change->tier, config)) return false;
    tier_place_set(&s->placement, change->place, change->tier);
    return true;
}

/* Appends what a change has made of the deck to a list of changes. */
static void describe(const struct change *change, const struct settings *s, char *text, size_t size)
{
    size_t used = strlen(text);
    const char *comma = used ? ", " : "";
    if (change->apply == change_micro)
        snprintf(text + used, size - used, "%sbatch.micro: %" PRId64, comma, s->batch.micro);
    else if (change->apply)
        snprintf(text + used, size - used, "%s%s", comma, change->text);
    else
        snprintf(text + used, size - used, "%splacement.%s: %s", comma,
                 tier_place_name(change->place), zi_tier_name(change->tier));
}

static enum zi_status try_settings(const struct settings *s, const struct device_properties *device,
                                   const struct zero_config *config, bool *fits)
{
    struct zero_config candidate = *config;
    resolve_settings(s, device, &candidate);
    ZI_TRY(resolve_budgets(s, device, &candidate));
    return resolve_choose(s, &candidate, fits);
}

/* Single changes first, then each added to those before it. */
static enum zi_status search_change(const struct settings *settings,
                                    const struct device_properties *device,
                                    const struct zero_config *config)
{
    char advice[512];
    for (int together = 0; together < 2; together++) {
        struct settings s = *settings;
        advice[0] = '\0';
        for (int i = 0; i < CHANGE_COUNT; i++) {
            if (!together) s = *settings, advice[0] = '\0';
            bool fits = false, applied = false;
            while (apply(&changes[i], &s, config)) {
                applied = true;
                ZI_TRY(try_settings(&s, device, config, &fits));
                if (fits || changes[i].apply != change_micro) break;
            }
            if (!applied) continue;
            describe(&changes[i], &s, advice, sizeof advice);
            if (fits) {
                zi_log(ZI_LOG_ERROR, "compiler", "nearest change that fits: %s", advice);
                return ZI_OK;
            }
        }
    }
    zi_log(ZI_LOG_ERROR, "compiler",
           "no change of placement or batch fits; raise memory.device and memory.host, use more "
           "ranks, or make the model smaller");
    return ZI_OK;
}

/* The states on nvme.paths that are memory have their part in what does not fit. */
static void say_disk_memory(const struct settings *s, const struct zero_config *config,
                            size_t bytes)
{
    struct tier_room room;
    char text[32];
    if (tier_store_room(&s->nvme, config->node.ranks, &room) < 0) return;
    zi_log(ZI_LOG_ERROR, "compiler",
           "%s of that are states that go to nvme: %s is memory, not a disk; name a folder on a "
           "local disk in nvme.paths, or raise memory.host",
           zi_memory_text(bytes, text, sizeof text), room.memory_path);
}

static void say_excess(const struct zero_config *config, enum zi_tier tier, size_t bytes)
{
    char need[32], budget[32], excess[32];
    zi_memory_text(config->budget[tier], budget, sizeof budget);
    zi_memory_text(config->budget[tier] + bytes, need, sizeof need);
    zi_memory_text(bytes, excess, sizeof excess);
    if (tier == ZI_TIER_NVME)
        zi_log(
            ZI_LOG_ERROR, "compiler",
            "does not fit: nvme.paths have %s free per rank and the states need %s (%s too much)",
            budget, need, excess);
    else
        zi_log(ZI_LOG_ERROR, "compiler",
               "does not fit: memory.%s is %s per rank and the program needs %s (%s too much)",
               zi_tier_name(tier), budget, need, excess);
}

enum zi_status resolve_advise(const struct settings *s, const struct device_properties *device,
                              const struct zero_config *config)
{
    struct zero_config last = *config;
    struct model *model;
    struct partition *partition = NULL;
    struct program *program = NULL;
    struct resolve_fit fit;
    ZI_TRY(resolve_measure(s, &last, &fit));
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        bool memory = tier == (config->shared_budget ? ZI_TIER_DEVICE : ZI_TIER_HOST);
        if (fit.excess[tier] == 0) continue;
        say_excess(config, (enum zi_tier)tier, fit.excess[tier]);
        if (memory && fit.disk_memory > 0) say_disk_memory(s, config, fit.disk_memory);
    }
    ZI_TRY(model_create(&s->model, &last.tiling, last.compute, &model));
    enum zi_status status = partition_create(model, &s->optimizer, last.ranks, &partition);
    if (status >= 0) status = program_measure(model, partition, &last, &program);
    if (status >= 0) program_print_memory(program, stderr);
    program_destroy(program);
    if (partition) partition_destroy(partition);
    model_destroy(model);
    ZI_TRY(status);
    return search_change(s, device, config);
}

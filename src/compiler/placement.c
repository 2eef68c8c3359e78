/* SPDX-License-Identifier: Apache-2.0 */
/* From a deck to a configuration that fits.
 *
 * Sizes are never estimated: the slots of a candidate are laid out as for a run, and the bytes of
 * its pools are compared with the budgets. Operations are not written for that, so a search over
 * some dozen candidates is cheap, and what it says is what a run will use.
 *
 * `auto` choices are made in this order. Tiers: all states start on the device; while nothing fits,
 * states leave for the next slower tier, in the order of how little it costs. Tiles: only when the
 * slowest tiers do not fit either, counts double until they do (before, fp32 sums of gradients go
 * to nvme where gradients are), with room to fetch ahead where any counts give it. Then the most
 * groups of the optimizer in memory and the deepest prefetch of at most 2, then as many segments
 * with kept activations as the rest holds, first of the kind whose bytes spare more FLOPs of
 * recomputing, of one or of two operations, whichever leaves fewer FLOPs to recompute, then as many
 * places in which fetched units stay from forward to backward. */
#include "compiler/placement.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "comm/comm.h"
#include "compiler/compiler.h"
#include "compiler/inner.h"
#include "compiler/resolve.h"
#include "program/trace.h"

#define RESIDENT_MOST 48                 /* fetched units that stay */
#define TILES_MOST    64                 /* that auto takes */
#define MICROS_MOST   ((int64_t)1 << 20) /* of all layers of a step: gigabytes of program */

int64_t resolved_micro(const struct settings_batch *batch, int ranks)
{
    if (batch->micro != ZI_AUTO) return batch->micro;
    int64_t own = (batch->global + ranks - 1) / ranks;
    return own < 8 ? own : 8;
}

int64_t micros_most(const struct settings_model *model)
{
    int64_t most = MICROS_MOST / model->layers;
    return most > 1 ? most : 1;
}

/* What is taken, but not all of it. */
/* Small gradients vanish in fp16 where the loss is not scaled, which it is with fp16 arithmetic. */
static void check_unscaled(struct deck *deck, const char *key, int64_t type)
{
    int compute = deck_settings(deck)->precision.compute;
    if (type != ZI_FP16 || compute == ZI_FP16) return;
    deck_complain(deck, "precision", key,
                  "fp16 holds only scaled gradients, and those of %s arithmetic are not; use fp32, "
                  "bf16, or compute fp16",
                  zi_dtype_name((enum zi_dtype)compute));
}

static void remark_clamped(struct deck *deck, int ranks)
{
    const struct settings *s = deck_settings(deck);
    int64_t own = (s->batch.global + ranks - 1) / ranks, traced = s->run.steps - TRACE_FIRST_STEP;
    if (s->batch.micro > own) {
        deck_remark(deck, "batch", "micro",
                    "%" PRId64 " sequences at once, but of %" PRId64 " (batch.global) on %d ranks "
                    "one rank has at most %" PRId64 "; the rest only takes memory",
                    s->batch.micro, s->batch.global, ranks, own);
    }
    if (traced > 0 && s->run.trace > traced) {
        deck_remark(deck, "run", "trace",
                    "%" PRId64 " steps, but the trace begins with step %d, and a run of %" PRId64
                    " (run.steps) has %" PRId64 " from there on",
                    s->run.trace, TRACE_FIRST_STEP + 1, s->run.steps, traced);
    }
}

/* A step so long that its program would fill the memory: mostly tokens that were given for
 * sequences. */
static void check_length(struct deck *deck, int ranks)
{
    const struct settings *s = deck_settings(deck);
    int64_t own = (s->batch.global + ranks - 1) / ranks, micro = resolved_micro(&s->batch, ranks);
    int64_t count = (own + micro - 1) / micro, most = micros_most(&s->model);
    if (count <= most) return;
    deck_complain(deck, "batch", "global",
                  "%" PRId64 " sequences a step are %" PRId64 " micro-batches of %" PRId64
                  " on a rank; with %" PRId64 " layers at most %" PRId64
                  " work: lower it (it counts sequences, not tokens), or raise batch.micro",
                  s->batch.global, count, micro, s->model.layers, most);
}

/* Whether one kind of layer is recomputed and the other kept. */
static bool parts_kinds(const struct settings *s)
{
    return s->activations.recompute == RECOMPUTE_ATTENTION ||
           s->activations.recompute == RECOMPUTE_MLP;
}

/* What is moved has to be kept. */
static void check_offload(struct deck *deck)
{
    const struct settings_activations *a = &deck_settings(deck)->activations;
    bool attention = a->offload == OFFLOAD_ATTENTION && a->recompute == RECOMPUTE_ATTENTION;
    bool mlp = a->offload == OFFLOAD_MLP && a->recompute == RECOMPUTE_MLP;
    if (!attention && !mlp) return;
    deck_complain(deck, "activations", "offload",
                  "%s has nothing to move, as activations.recompute: %s keeps only the other kind; "
                  "change one of them",
                  mlp ? "mlp" : "attention", mlp ? "mlp" : "attention");
}

/* Devices whose memory is apart know AdamW with fp32 moments. */
static void check_optimizer(struct deck *deck)
{
    const struct settings *s = deck_settings(deck);
    bool away = s->placement.optimizer == ZI_TIER_HOST || s->placement.optimizer == ZI_TIER_NVME;
    if (s->device.type == DEVICE_CPU || !optimizer_needs_host(&s->optimizer)) return;
    if (away && s->zero.update_on != ZI_TIER_DEVICE) return;
    deck_complain(deck, "optimizer", s->optimizer.type != OPTIMIZER_ADAMW ? "type" : "moments",
                  "only the host has this update: give placement.optimizer: host or nvme, and "
                  "zero.update_on: host");
}

void zero_check(struct deck *deck, int ranks)
{
    const struct settings *s = deck_settings(deck);
    const struct settings_tiling *tiling = &s->tiling;
    bool tiled = tiling->attention > 1 || tiling->mlp > 1;
    if (tiled && s->activations.interval > 1) {
        deck_complain(deck, "activations", "interval",
                      "%" PRId64 " operations per kept input, but tiles (tiling.attention, "
                      "tiling.mlp) need the input of every operation; use 1 or auto",
                      s->activations.interval);
    }
    check_offload(deck);
    check_optimizer(deck);
    if (parts_kinds(s) && s->activations.interval > 1) {
        deck_complain(deck, "activations", "interval",
                      "%" PRId64 " operations per kept input are recomputed together, but "
                      "activations.recompute: %s keeps every second one; use 1 or auto",
                      s->activations.interval,
                      s->activations.recompute == RECOMPUTE_MLP ? "mlp" : "attention");
    }
    if (s->batch.global < ranks) {
        deck_complain(deck, "batch", "global",
                      "%d ranks cannot share %" PRId64 " sequences a step; start at most %" PRId64
                      " ranks or raise batch.global to %d",
                      ranks, s->batch.global, s->batch.global, ranks);
    }
    check_length(deck, ranks);
    if (s->precision.gradient == ZI_BF16 && s->precision.compute == ZI_FP32) {
        deck_complain(deck, "precision", "gradient",
                      "bf16 gradients of fp32 arithmetic lose what fp32 was chosen for; use fp32, "
                      "or compute bf16");
    }
    check_unscaled(deck, "gradient", s->precision.gradient);
    check_unscaled(deck, "reduce", s->precision.reduce);
    remark_clamped(deck, ranks);
}

/* Free space on the nvme paths, or on the disks of a described node, where the deck lets a state go
 * there. */
static enum zi_status set_disk_budget(const struct settings *s, struct zero_config *config)
{
    bool wanted = false, possible = false;
    for (int place = 0; place < PLACE_COUNT; place++) {
        int64_t given = tier_place_given(&s->placement, (enum tier_place)place);
        wanted = wanted || given == ZI_TIER_NVME;
        possible = possible || given == ZI_AUTO;
    }
    struct tier_room room = {.bytes = config->node.disk_bytes / (size_t)config->node.ranks};
    config->budget[ZI_TIER_NVME] = config->disk_memory = 0;
    if (!wanted && !(possible && config->training)) return ZI_OK;
    if (config->node.disk_bytes == 0) ZI_TRY(tier_store_room(&s->nvme, config->node.ranks, &room));
    config->budget[ZI_TIER_NVME] = room.bytes;
    config->disk_memory = room.memory_bytes;
    return ZI_OK;
}

enum zi_status resolve_budgets(const struct settings *s, const struct device_properties *device,
                               struct zero_config *config)
{
    const struct zero_node *node = &config->node;
    size_t memory = node->memory_bytes ? node->memory_bytes : zi_memory_node_available();
    size_t share = memory / (size_t)node->ranks;
    size_t own = share - share / 10; /* a tenth is left for libraries, page cache and the system */
    size_t most = device->unified ? own : device->memory_bytes - device->memory_bytes / 10;
    if (device->mappable && most > own) most = own;
    if (s->memory.device == ZI_AUTO && !device->unified && device->memory_bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "compiler",
                       "memory.device: auto, but how much memory the device (%s) has is not known "
                       "here; say what a rank may use of it, as memory.device: 72 GiB, or, for a "
                       "plan, what it "
                       "has in the machine file, as device_memory: 80 GiB",
                       device->name);
    config->budget[ZI_TIER_DEVICE] = s->memory.device == ZI_AUTO ? most : (size_t)s->memory.device;
    config->budget[ZI_TIER_HOST] = s->memory.host == ZI_AUTO ? own : (size_t)s->memory.host;
    config->shared_budget =
        device->unified && s->memory.device == ZI_AUTO && s->memory.host == ZI_AUTO;
    return set_disk_budget(s, config);
}

static int64_t tiles_or_one(int64_t tiles)
{
    return tiles == ZI_AUTO ? 1 : tiles;
}

void resolve_settings(const struct settings *s, const struct device_properties *device,
                      struct zero_config *config)
{
    config->stage = s->zero.stage;
    config->order = s->zero.order == ORDER_MICRO_MAJOR ? ORDER_MICRO_MAJOR : ORDER_LAYER_MAJOR;
    config->unified = device->unified;
    for (int place = 0; place < PLACE_COUNT; place++) {
        int64_t given = tier_place_given(&s->placement, (enum tier_place)place);
        config->tier[place] = given == ZI_AUTO ? ZI_TIER_DEVICE : (enum zi_tier)given;
    }
    config->tiling.attention = tiles_or_one(s->tiling.attention);
    config->tiling.mlp = tiles_or_one(s->tiling.mlp);
    config->tiling.vocabulary = tiles_or_one(s->tiling.vocabulary);
    config->global = s->batch.global;
    config->micro = resolved_micro(&s->batch, config->ranks);
    config->tokens = s->batch.tokens == ZI_AUTO ? s->model.context : s->batch.tokens;
    int64_t own = (config->global + config->ranks - 1) / config->ranks;
    config->micro_batches = (own + config->micro - 1) / config->micro;
    config->compute = (enum zi_dtype)s->precision.compute;
    config->reduce = (enum zi_dtype)s->precision.reduce;
    config->gradient =
        s->precision.gradient == ZI_AUTO ? config->compute : (enum zi_dtype)s->precision.gradient;
    config->blocks = s->optimizer.moments == MOMENTS_BLOCKS;
    config->frozen = s->model.frozen == FROZEN_NF4 ? ZI_PACKED4 : ZI_PACKED8;
    config->states = optimizer_states(&s->optimizer);
    config->group = (s->zero.group + 4095) / 4096 * 4096;
    config->resident = 0;
    int64_t recompute = s->activations.recompute;
    bool all = recompute == RECOMPUTE_NEVER;
    config->kept_segments[LAYER_ATTENTION] = all || recompute == RECOMPUTE_MLP ? -1 : 0;
    config->kept_segments[LAYER_MLP] = all || recompute == RECOMPUTE_ATTENTION ? -1 : 0;
    bool none = config->unified || s->activations.offload == ZI_AUTO;
    resolve_set_offload(config, none ? OFFLOAD_NONE : s->activations.offload);
    config->sums_on_disk = false;
}

static bool is_tiled(const struct zero_config *config)
{
    return config->tiling.attention > 1 || config->tiling.mlp > 1;
}

/* A search over candidates of one deck for the same ranks. Those with the same tiles share the
 * tables of the model and its partition, which take longer to make than slots to lay out. */
struct search {
    const struct settings *settings;
    /* With the input of every operation kept where auto says no more. */
    bool singly;
    /* With speculative updates where auto says no more. */
    bool speculates;
    /* Of the last candidate, or NULL; its partition likewise. */
    struct model *model;
    struct partition *partition;
};

/* What follows from the tiers and tile counts of a candidate. */
static void settle(const struct search *search, struct zero_config *config)
{
    const struct settings *s = search->settings;
    config->interval = s->activations.interval != ZI_AUTO ? (int)s->activations.interval
                       : search->singly || is_tiled(config) || parts_kinds(s) ? 1
                                                                              : 2;
    config->deferred = s->zero.update == ZI_AUTO ? config->tier[PLACE_OPTIMIZER] == ZI_TIER_NVME
                                                 : s->zero.update == UPDATE_DEFERRED;
    config->deferred = config->deferred && config->training;
    bool asked =
        s->zero.speculate == ZI_AUTO ? search->speculates : s->zero.speculate == SPECULATE_ON;
    config->speculates = asked && speculation_is_possible(config);
    resolve_update_on(s, config);
}

static void search_end(struct search *search)
{
    partition_destroy(search->partition);
    model_destroy(search->model);
    search->partition = NULL;
    search->model = NULL;
}

/* Makes the tables of a candidate, unless those of the last one are the same. */
static enum zi_status search_tables(struct search *search, const struct zero_config *config)
{
    const struct settings *s = search->settings;
    const struct settings_tiling *t = &config->tiling;
    if (search->partition && search->model->tiling.attention == t->attention &&
        search->model->tiling.mlp == t->mlp && search->model->tiling.vocabulary == t->vocabulary)
        return ZI_OK;
    search_end(search);
    ZI_TRY(model_create(&s->model, t, config->compute, &search->model));
    return partition_create(search->model, &s->optimizer, config->ranks, &search->partition);
}

static enum zi_status measure(struct search *search, struct zero_config *config,
                              struct resolve_fit *fit)
{
    struct program *program;
    settle(search, config);
    ZI_TRY(search_tables(search, config));
    ZI_TRY(program_measure(search->model, search->partition, config, &program));
    fit->fits = true;
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        fit->excess[tier] = program_excess(program, (enum zi_tier)tier);
        fit->fits = fit->fits && fit->excess[tier] == 0;
        config->excess[tier] = fit->excess[tier];
    }
    memcpy(fit->segments, program->segment_count, sizeof fit->segments);
    fit->disk_memory = zero_disk_memory(config, program->pool_bytes[ZI_TIER_NVME]);
    program_destroy(program);
    return ZI_OK;
}

enum zi_status resolve_measure(const struct settings *s, struct zero_config *config,
                               struct resolve_fit *fit)
{
    struct search search = {.settings = s};
    enum zi_status status = measure(&search, config, fit);
    search_end(&search);
    return status;
}

/* From the best to the least that a candidate may ask for. */
static const struct rung {
    int prefetch, groups;
} rungs[] = {{2, 128}, {2, 64}, {2, 48}, {2, 32}, {2, 24}, {2, 16}, {2, 12}, {2, 8},
             {2, 6},   {2, 4},  {1, 64}, {1, 16}, {1, 4},  {1, 3},  {0, 3},  {0, 2}};
#define RUNG_COUNT   ((int)(sizeof rungs / sizeof *rungs))
#define RUNG_LEAST   (RUNG_COUNT - 1)
#define RUNG_OVERLAP (RUNG_COUNT - 3) /* the last one whose lanes do not take turns */

static void set_rung(const struct settings *s, int rung, struct zero_config *config)
{
    bool given = s->zero.prefetch != ZI_AUTO;
    config->prefetch = given ? (int)s->zero.prefetch : rungs[rung].prefetch;
    config->groups = rungs[rung].groups;
}

static enum zi_status fits_rung(struct search *search, int rung, struct zero_config *config,
                                bool *fits)
{
    struct resolve_fit fit;
    set_rung(search->settings, rung, config);
    ZI_TRY(measure(search, config, &fit));
    *fits = fit.fits;
    return ZI_OK;
}

static enum zi_status fits_least(struct search *search, struct zero_config *config, bool *fits)
{
    return fits_rung(search, RUNG_LEAST, config, fits);
}

/* The order in which states leave faster tiers. */
static const struct departure {
    enum tier_place place;
    enum zi_tier to;
} departures[] = {
    {PLACE_OPTIMIZER, ZI_TIER_HOST},   {PLACE_GRADIENTS, ZI_TIER_HOST},
    {PLACE_ACTIVATIONS, ZI_TIER_HOST}, {PLACE_PARAMETERS, ZI_TIER_HOST},
    {PLACE_OPTIMIZER, ZI_TIER_NVME},   {PLACE_PARAMETERS, ZI_TIER_NVME},
    {PLACE_ACTIVATIONS, ZI_TIER_NVME}, {PLACE_GRADIENTS, ZI_TIER_NVME},
};

static bool may_depart(const struct settings *s, const struct zero_config *config,
                       const struct departure *departure)
{
    if (tier_place_given(&s->placement, departure->place) != ZI_AUTO) return false;
    if (departure->to == ZI_TIER_HOST) return !config->shared_budget;
    return config->training && config->budget[ZI_TIER_NVME] > 0;
}

static enum zi_status choose_tiers(struct search *search, struct zero_config *config, bool *fits)
{
    ZI_TRY(fits_least(search, config, fits));
    for (size_t i = 0; i < sizeof departures / sizeof *departures && !*fits; i++) {
        if (!may_depart(search->settings, config, &departures[i])) continue;
        config->tier[departures[i].place] = departures[i].to;
        ZI_TRY(fits_least(search, config, fits));
    }
    return ZI_OK;
}

static bool more_tiles(int64_t given, int64_t most, int64_t *tiles)
{
    if (most > TILES_MOST) most = TILES_MOST;
    if (given != ZI_AUTO || *tiles >= most) return false;
    *tiles = 2 * *tiles < most ? 2 * *tiles : most;
    return true;
}

/* Where gradients are on nvme, fp32 sums can wait there as well: it costs traffic, so only where
 * memory is short. */
static enum zi_status choose_sums(struct search *search, struct zero_config *config, bool *fits)
{
    if (config->tier[PLACE_GRADIENTS] != ZI_TIER_NVME) return ZI_OK;
    config->sums_on_disk = true;
    return fits_least(search, config, fits);
}

/* Doubles the tile counts that are open until the candidate fits with a rung, then takes back what
 * was not needed, the vocabulary's first. Tiles save memory only, so a disk that is too small ends
 * it. */
static enum zi_status choose_tiles_for(struct search *search, int rung, struct zero_config *config,
                                       bool *fits)
{
    const struct settings *s = search->settings;
    struct settings_tiling most = model_most_tiles(&s->model);
    struct settings_tiling *t = &config->tiling;
    bool body = s->activations.interval == ZI_AUTO || s->activations.interval == 1;
    bool more = true;
    while (!*fits && more && config->excess[ZI_TIER_NVME] == 0) {
        more = more_tiles(s->tiling.vocabulary, most.vocabulary, &t->vocabulary);
        if (body) {
            more = more_tiles(s->tiling.mlp, most.mlp, &t->mlp) || more;
            more = more_tiles(s->tiling.attention, most.attention, &t->attention) || more;
        }
        if (more) ZI_TRY(fits_rung(search, rung, config, fits));
    }
    int64_t *counts[] = {&t->vocabulary, &t->attention, &t->mlp};
    const int64_t given[] = {s->tiling.vocabulary, s->tiling.attention, s->tiling.mlp};
    for (int i = 0; i < 3 && *fits; i++) {
        while (given[i] == ZI_AUTO && *counts[i] > 1) {
            int64_t before = *counts[i];
            bool enough;
            *counts[i] = before / 2;
            ZI_TRY(fits_rung(search, rung, config, &enough));
            if (enough) continue;
            *counts[i] = before;
            break;
        }
    }
    if (*fits && config->sums_on_disk) {
        config->sums_on_disk = false;
        ZI_TRY(fits_rung(search, rung, config, fits));
        config->sums_on_disk = !*fits;
    }
    return fits_rung(search, rung, config, fits);
}

/* For a program that is not serial, if any counts make room for it: with one that is, the lanes take
 * turns, and a step takes as long as all of them together. */
static enum zi_status choose_tiles(struct search *search, struct zero_config *config, bool *fits)
{
    struct zero_config before = *config;
    if (search->settings->zero.prefetch == ZI_AUTO) {
        ZI_TRY(choose_tiles_for(search, RUNG_OVERLAP, config, fits));
        if (*fits) return ZI_OK;
        *config = before;
    }
    return choose_tiles_for(search, RUNG_LEAST, config, fits);
}

/* The most segments of a kind that keep their inner activations, of `high`. */
static enum zi_status choose_kept_of(struct search *search, enum layer_kind kind, int high,
                                     struct zero_config *config)
{
    struct resolve_fit fit;
    int low = 0; /* fits; above high does not */
    while (low < high) {
        config->kept_segments[kind] = (low + high + 1) / 2;
        ZI_TRY(measure(search, config, &fit));
        if (fit.fits)
            low = config->kept_segments[kind];
        else
            high = config->kept_segments[kind] - 1;
    }
    config->kept_segments[kind] = low;
    return ZI_OK;
}

/* Of all segments: first of the kind whose bytes spare more recomputing, then what the rest holds of
 * the other. *flops: that are left to recompute; INFINITY where it does not fit with none kept. */
static enum zi_status choose_kept_kinds(struct search *search, struct zero_config *config,
                                        double *flops)
{
    struct resolve_fit fit;
    *flops = INFINITY;
    ZI_TRY(measure(search, config, &fit));
    if (!fit.fits) return ZI_OK;
    double attention = resolve_keeping_worth(search->model, config, LAYER_ATTENTION);
    double mlp = resolve_keeping_worth(search->model, config, LAYER_MLP);
    enum layer_kind first = mlp > attention ? LAYER_MLP : LAYER_ATTENTION;
    enum layer_kind second = first == LAYER_MLP ? LAYER_ATTENTION : LAYER_MLP;
    ZI_TRY(choose_kept_of(search, first, fit.segments[first], config));
    ZI_TRY(choose_kept_of(search, second, fit.segments[second], config));
    *flops = resolve_recomputing(search->model, config, fit.segments);
    return ZI_OK;
}

/* Whether segments of one operation may be better than of two. They have more kept inputs: bytes,
 * where those stay near arithmetic, but traffic where not. */
static bool may_be_single(const struct settings *s, const struct zero_config *config)
{
    enum zi_tier inputs = config->tier[PLACE_ACTIVATIONS];
    bool near = inputs == ZI_TIER_DEVICE || (config->unified && inputs == ZI_TIER_HOST);
    return near && s->activations.interval == ZI_AUTO && config->interval > 1;
}

/* Takes the interval with fewer FLOPs to recompute, the longer one where they are equal. */
static enum zi_status choose_kept(struct search *search, struct zero_config *config)
{
    struct zero_config single = *config;
    double flops, fewer;
    if (search->settings->activations.recompute != ZI_AUTO || !config->training) return ZI_OK;
    ZI_TRY(choose_kept_kinds(search, config, &flops));
    if (flops <= 0 || !may_be_single(search->settings, config)) return ZI_OK;
    search->singly = true;
    ZI_TRY(choose_kept_kinds(search, &single, &fewer));
    search->singly = fewer < flops;
    if (search->singly) *config = single;
    return ZI_OK;
}

/* As choose_kept; where it is open, also whether what is kept goes to the host, by the time of a
 * pass. */
static enum zi_status choose_offload(struct search *search, struct zero_config *config)
{
    struct zero_config start = *config, candidate;
    struct resolve_fit fit;
    double least = INFINITY, seconds;
    if (!resolve_may_offload(search->settings, config)) return choose_kept(search, config);
    for (int offload = OFFLOAD_NONE; offload <= OFFLOAD_ALL; offload++) {
        candidate = start;
        search->singly = false;
        resolve_set_offload(&candidate, offload);
        ZI_TRY(choose_kept(search, &candidate));
        ZI_TRY(measure(search, &candidate, &fit));
        seconds = resolve_pass_seconds(search->model, &candidate, fit.segments);
        if (!fit.fits || seconds >= least) continue;
        least = seconds;
        *config = candidate;
    }
    search->singly = config->interval == 1;
    return ZI_OK;
}

/* Whether units are fetched from memory, of this rank or of others. From nvme they are not kept: who
 * has memory for that has it for their home. */
static bool fetches_from_memory(const struct zero_config *config)
{
    enum zi_tier tier = zero_tier(config, TIER_PARAMETER);
    bool pushed = !config->unified && tier == ZI_TIER_HOST;
    return tier != ZI_TIER_NVME && (pushed || zero_is_sharded(config, TIER_PARAMETER));
}

/* Keeps fetched units from forward to backward, as many as the rest of the memory holds. */
static enum zi_status choose_resident(struct search *search, struct zero_config *config)
{
    struct resolve_fit fit;
    int low = 0, high = RESIDENT_MOST;
    if (!fetches_from_memory(config) || !config->training) return ZI_OK;
    config->resident = high;
    ZI_TRY(measure(search, config, &fit));
    if (fit.fits) return ZI_OK;
    while (low < high) {
        config->resident = (low + high) / 2;
        ZI_TRY(measure(search, config, &fit));
        if (fit.fits)
            low = config->resident + 1;
        else
            high = config->resident;
    }
    config->resident = low > 0 ? low - 1 : 0;
    return ZI_OK;
}

/* Speculative updates take room on the disks and no memory. */
static enum zi_status choose_speculation(struct search *search, struct zero_config *config)
{
    struct resolve_fit fit;
    if (search->settings->zero.speculate != ZI_AUTO) return ZI_OK;
    search->speculates = true;
    ZI_TRY(measure(search, config, &fit));
    if (fit.fits) return ZI_OK;
    search->speculates = false;
    return measure(search, config, &fit);
}

/* Tiers and tiles with which the leanest program fits. */
static enum zi_status choose_leanest(struct search *search, struct zero_config *config, bool *fits)
{
    ZI_TRY(choose_tiers(search, config, fits));
    if (!*fits) ZI_TRY(choose_sums(search, config, fits));
    return *fits ? ZI_OK : choose_tiles(search, config, fits);
}

static enum zi_status choose(struct search *search, struct zero_config *config, bool *fits)
{
    struct resolve_fit fit = {.fits = false};
    ZI_TRY(choose_leanest(search, config, fits));
    if (!*fits) return ZI_OK;
    for (int rung = 0; rung < RUNG_COUNT && !fit.fits; rung++) {
        set_rung(search->settings, rung, config);
        ZI_TRY(measure(search, config, &fit));
    }
    ZI_TRY(choose_offload(search, config));
    ZI_TRY(choose_resident(search, config));
    return choose_speculation(search, config);
}

enum zi_status resolve_choose(const struct settings *s, struct zero_config *config, bool *fits)
{
    struct search search = {.settings = s};
    enum zi_status status = choose(&search, config, fits);
    search_end(&search);
    return status;
}

enum zi_status zero_fits(const struct settings *settings, const struct device_properties *device,
                         struct zero_config *config, bool *fits)
{
    struct search search = {.settings = settings};
    resolve_settings(settings, device, config);
    enum zi_status status = choose_leanest(&search, config, fits);
    search_end(&search);
    return status;
}

static bool uses_disk(const struct zero_config *config)
{
    for (int place = 0; place < PLACE_COUNT; place++) {
        if (config->tier[place] == ZI_TIER_NVME) return true;
    }
    return false;
}

enum zi_status zero_resolve(const struct settings *settings, const struct device_properties *device,
                            int ranks, const struct zero_node *node, struct zero_config *config)
{
    bool fits = false;
    struct zero_config asked = *config;
    memset(config, 0, sizeof *config);
    config->training = asked.training;
    config->cache = asked.cache;
    config->packed = asked.packed;
    config->rates = asked.rates;
    config->ranks = ranks;
    config->node = *node;
    resolve_settings(settings, device, config);
    ZI_TRY(resolve_budgets(settings, device, config));
    ZI_TRY(resolve_choose(settings, config, &fits));
    if (!fits && config->cache > 0 && !config->unified) {
        config->cache_tier = ZI_TIER_HOST;
        resolve_settings(settings, device, config);
        ZI_TRY(resolve_choose(settings, config, &fits));
    }
    if (uses_disk(config) && node->disk_bytes == 0) tier_store_warn(&settings->nvme);
    if (fits) return resolve_check_speculation(settings, config);
    ZI_TRY(resolve_advise(settings, device, config));
    return ZI_ERROR_FIT;
}

enum zi_status zero_resolve_all(const struct settings *settings,
                                const struct device_properties *device, struct comm *comm,
                                struct zero_config *config)
{
    int rank = comm_rank(comm);
    enum zi_status status = ZI_OK;
    if (rank == 0) {
        const struct zero_node node = {.ranks = comm_node_size(comm)};
        status = zero_resolve(settings, device, comm_size(comm), &node, config);
        bool memory = config->excess[ZI_TIER_DEVICE] + config->excess[ZI_TIER_HOST] > 0;
        /* A run whose disk is too full meets an error of input and output. */
        if (status == ZI_ERROR_FIT && !memory) status = ZI_ERROR_IO;
    }
    ZI_TRY(comm_agree(comm, status));
    ZI_TRY(comm_broadcast(comm, config, (int64_t)sizeof *config, 0));
    return ZI_OK;
}

/* Tiles decide in which order sums are made, so a run with others has other last bits. */
static void explain_tiles(const char *key, int64_t given, int64_t tiles, FILE *out)
{
    if (given != ZI_AUTO || tiles <= 1) return;
    fprintf(out,
            "tiling.%s: auto chose %" PRId64
            ", because whole layers do not fit; the same in another "
            "placement gives the same bits\n",
            key, tiles);
}

void zero_explain(const struct settings *settings, const struct zero_config *config, FILE *out)
{
    for (int p = 0; p < PLACE_COUNT; p++) {
        enum tier_place place = (enum tier_place)p;
        enum zi_tier tier = config->tier[p];
        if (tier_place_given(&settings->placement, place) != ZI_AUTO) continue;
        fprintf(out, "placement.%s: auto chose %s, %s\n", tier_place_name(place),
                zi_tier_name(tier),
                tier == ZI_TIER_DEVICE ? "the fastest tier, which holds it"
                : tier == ZI_TIER_HOST ? "because the device's budget does not hold everything"
                                       : "because the budgets of device and host do not hold "
                                         "everything");
    }
    resolve_explain_update(settings, config, out);
    resolve_explain_speculation(settings, config, out);
    const struct settings_tiling *given = &settings->tiling;
    bool single = settings->activations.interval == ZI_AUTO && config->interval == 1;
    if (single && !is_tiled(config) && !parts_kinds(settings))
        fprintf(out, "activations.interval: auto chose 1, with which the memory spares more "
                     "recomputing than with 2\n");
    resolve_explain_offload(settings, config, out);
    explain_tiles("attention", given->attention, config->tiling.attention, out);
    explain_tiles("mlp", given->mlp, config->tiling.mlp, out);
    explain_tiles("vocabulary", given->vocabulary, config->tiling.vocabulary, out);
}

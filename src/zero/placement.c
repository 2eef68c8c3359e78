/* SPDX-License-Identifier: Apache-2.0 */
/* From a deck to a configuration that fits, and, when none does, to the nearest deck that would.
 *
 * Sizes are never estimated: a candidate is compiled, and the bytes of its pools are compared with
 * the budgets. Compiling takes milliseconds, so a search over a few candidates is cheap, and what
 * the search says is what a run will use. `auto` choices are made in this order: the deepest
 * prefetch of at most 2 that fits with everything recomputed, then as many segments with kept
 * activations as the rest holds. */
#include "zero/placement.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "comm/comm.h"
#include "zero/program.h"

#define PREFETCH_DEFAULT 2
#define INTERVAL_MAX     32
#define PREFETCH_MAX     16

static int64_t resolved_micro(const struct settings_batch *batch, int ranks)
{
    if (batch->micro != ZI_AUTO) return batch->micro;
    int64_t own = (batch->global + ranks - 1) / ranks;
    return own < 8 ? own : 8;
}

static void check_placement(struct deck *deck, const struct settings *s)
{
    const struct settings_placement *p = &s->placement;
    const int64_t tiers[] = {p->parameters, p->gradients, p->optimizer, p->activations};
    static const char *const keys[] = {"parameters", "gradients", "optimizer", "activations"};
    for (int i = 0; i < 4; i++) {
        if (tiers[i] == ZI_TIER_NVME) {
            deck_complain(deck, "placement", keys[i],
                          "nvme comes with the offload engine, which this version does not have; "
                          "device and host work");
        }
    }
    if (s->zero.update == UPDATE_DEFERRED) {
        deck_complain(deck, "zero", "update",
                      "deferred comes with the offload engine, which this version does not have; "
                      "immediate works");
    }
}

void zero_check(struct deck *deck, int ranks)
{
    const struct settings *s = deck_settings(deck);
    check_placement(deck, s);
    if (s->batch.global < ranks) {
        deck_complain(deck, "batch", "global",
                      "%d ranks cannot share %" PRId64 " sequences a step; start at most %" PRId64
                      " ranks or raise batch.global to %d",
                      ranks, s->batch.global, s->batch.global, ranks);
    }
    if (s->activations.interval != ZI_AUTO && s->activations.interval > INTERVAL_MAX) {
        deck_complain(deck, "activations", "interval", "%" PRId64 " operations, at most %d work",
                      s->activations.interval, INTERVAL_MAX);
    }
    if (s->zero.prefetch > PREFETCH_MAX) {
        deck_complain(deck, "zero", "prefetch", "%" PRId64 " fetches ahead, at most %d work",
                      s->zero.prefetch, PREFETCH_MAX);
    }
    if (s->precision.gradient == ZI_BF16 && s->precision.compute == ZI_FP32) {
        deck_complain(deck, "precision", "gradient",
                      "bf16 gradients of fp32 arithmetic lose what fp32 was chosen for; use fp32, "
                      "or compute bf16");
    }
}

int64_t zero_sequences(const struct zero_config *config, int rank, int micro, int64_t *first)
{
    int64_t begin = config->global * rank / config->ranks;
    int64_t end = config->global * (rank + 1) / config->ranks;
    int64_t start = begin + micro * config->micro;
    if (start > end) start = end;
    *first = start;
    return end - start < config->micro ? end - start : config->micro;
}

static void set_budgets(const struct settings *s, const struct device_properties *properties,
                        struct zero_config *config)
{
    size_t share = zi_memory_node_available() / (size_t)config->node_ranks;
    size_t own = share - share / 10; /* a tenth is left for libraries, page cache and the system */
    size_t device =
        properties->unified ? own : properties->memory_bytes - properties->memory_bytes / 10;
    if (properties->host_addressable && device > own) device = own;
    config->budget[ZI_TIER_DEVICE] =
        s->memory.device == ZI_AUTO ? device : (size_t)s->memory.device;
    config->budget[ZI_TIER_HOST] = s->memory.host == ZI_AUTO ? own : (size_t)s->memory.host;
    config->shared_budget =
        properties->unified && s->memory.device == ZI_AUTO && s->memory.host == ZI_AUTO;
}

static enum zi_tier home(int64_t tier)
{
    return tier == ZI_AUTO ? ZI_TIER_DEVICE : (enum zi_tier)tier;
}

static void set_config(const struct settings *s, const struct device_properties *properties,
                       struct zero_config *config)
{
    config->stage = s->zero.stage;
    config->order = s->zero.order == ORDER_MICRO_MAJOR ? ORDER_MICRO_MAJOR : ORDER_LAYER_MAJOR;
    config->prefetch = s->zero.prefetch == ZI_AUTO ? PREFETCH_DEFAULT : (int)s->zero.prefetch;
    config->unified = properties->unified;
    config->tier[TIER_PARAMETER] = home(s->placement.parameters);
    config->tier[TIER_GRADIENT] = home(s->placement.gradients);
    config->tier[TIER_MASTER] = home(s->placement.optimizer);
    config->tier[TIER_MOMENT1] = config->tier[TIER_MOMENT2] = config->tier[TIER_MASTER];
    config->tier[TIER_ACTIVATION] = home(s->placement.activations);
    config->global = s->batch.global;
    config->micro = resolved_micro(&s->batch, config->ranks);
    config->tokens = s->batch.tokens == ZI_AUTO ? s->model.context : s->batch.tokens;
    int64_t own = (config->global + config->ranks - 1) / config->ranks;
    config->micro_batches = (own + config->micro - 1) / config->micro;
    config->compute = (enum zi_dtype)s->precision.compute;
    config->reduce = (enum zi_dtype)s->precision.reduce;
    config->gradient =
        s->precision.gradient == ZI_AUTO ? config->compute : (enum zi_dtype)s->precision.gradient;
    config->interval = s->activations.interval == ZI_AUTO ? 2 : (int)s->activations.interval;
    config->kept_segments = s->activations.recompute == RECOMPUTE_NEVER ? -1 : 0;
}

/* Bytes that a configuration passes its budgets by; *kept is its number of segments. */
static enum zi_status measure(const struct model *model, const struct partition *partition,
                              const struct zero_config *config, size_t excess[2], int *segments)
{
    struct program *program;
    ZI_TRY(program_compile(model, partition, config, &program));
    excess[0] = program_excess(program, ZI_TIER_DEVICE);
    excess[1] = program_excess(program, ZI_TIER_HOST);
    *segments = program->segment_count;
    program_destroy(program);
    return ZI_OK;
}

/* Chooses prefetch and kept segments where the deck leaves them open; *fits says whether it worked.
 */
static enum zi_status choose(const struct settings *s, const struct model *model,
                             const struct partition *partition, struct zero_config *config,
                             bool *fits)
{
    size_t excess[2];
    int segments;
    ZI_TRY(measure(model, partition, config, excess, &segments));
    while (excess[0] + excess[1] > 0 && s->zero.prefetch == ZI_AUTO && config->prefetch > 0) {
        config->prefetch--;
        ZI_TRY(measure(model, partition, config, excess, &segments));
    }
    *fits = excess[0] + excess[1] == 0;
    if (!*fits || s->activations.recompute != ZI_AUTO || !config->training) return ZI_OK;
    int low = 0, high = segments; /* low fits, above high does not */
    while (low < high) {
        config->kept_segments = (low + high + 1) / 2;
        ZI_TRY(measure(model, partition, config, excess, &segments));
        if (excess[0] + excess[1] == 0)
            low = config->kept_segments;
        else
            high = config->kept_segments - 1;
    }
    config->kept_segments = low;
    return ZI_OK;
}

/* One change of the deck that may make it fit. */
struct change {
    const char *text;
    bool (*apply)(struct settings *s, const struct zero_config *config);
};

static bool change_recompute(struct settings *s, const struct zero_config *config)
{
    (void)config;
    if (s->activations.recompute != RECOMPUTE_NEVER) return false;
    s->activations.recompute = ZI_AUTO;
    return true;
}

static bool change_micro(struct settings *s, const struct zero_config *config)
{
    s->batch.micro = resolved_micro(&s->batch, config->ranks);
    if (s->batch.micro <= 1) return false;
    s->batch.micro = (s->batch.micro + 1) / 2;
    return true;
}

static bool to_host(int64_t *tier, const struct zero_config *config)
{
    if (config->shared_budget || home(*tier) == ZI_TIER_HOST) return false;
    *tier = ZI_TIER_HOST;
    return true;
}

static bool change_optimizer(struct settings *s, const struct zero_config *config)
{
    return to_host(&s->placement.optimizer, config);
}

static bool change_gradients(struct settings *s, const struct zero_config *config)
{
    return to_host(&s->placement.gradients, config);
}

static bool change_activations(struct settings *s, const struct zero_config *config)
{
    return to_host(&s->placement.activations, config);
}

static bool change_parameters(struct settings *s, const struct zero_config *config)
{
    return to_host(&s->placement.parameters, config);
}

static bool change_stage(struct settings *s, const struct zero_config *config)
{
    if (config->ranks == 1 || s->zero.stage == 3) return false;
    s->zero.stage = 3;
    return true;
}

static const struct change changes[] = {
    {"activations.recompute: auto", change_recompute},
    {"zero.stage: 3", change_stage},
    {"placement.optimizer: host", change_optimizer},
    {"placement.gradients: host", change_gradients},
    {"placement.activations: host", change_activations},
    {"placement.parameters: host", change_parameters},
    {"a smaller batch.micro", change_micro},
};
#define CHANGE_COUNT ((int)(sizeof changes / sizeof *changes))

static enum zi_status try_settings(const struct settings *s, const struct model *model,
                                   const struct device_properties *properties,
                                   struct zero_config *config, bool *fits)
{
    struct partition *partition;
    set_config(s, properties, config);
    set_budgets(s, properties, config);
    ZI_TRY(partition_create(model, &s->optimizer, config->ranks, config->rank, &partition));
    enum zi_status status = choose(s, model, partition, config, fits);
    partition_destroy(partition);
    return status;
}

/* Single changes first, then each added to those before it. */
static enum zi_status advise(const struct settings *settings, const struct model *model,
                             const struct device_properties *properties,
                             const struct zero_config *config)
{
    char advice[512];
    for (int together = 0; together < 2; together++) {
        struct settings s = *settings;
        advice[0] = '\0';
        for (int i = 0; i < CHANGE_COUNT; i++) {
            if (!together) s = *settings, advice[0] = '\0';
            bool fits = false, applied = false;
            while (changes[i].apply(&s, config)) {
                applied = true;
                struct zero_config candidate = *config;
                ZI_TRY(try_settings(&s, model, properties, &candidate, &fits));
                if (fits || changes[i].apply != change_micro) break;
            }
            size_t used = strlen(advice);
            const char *comma = used ? ", " : "";
            if (!applied) continue;
            if (changes[i].apply == change_micro) {
                snprintf(advice + used, sizeof advice - used, "%sbatch.micro: %" PRId64, comma,
                         s.batch.micro);
            } else {
                snprintf(advice + used, sizeof advice - used, "%s%s", comma, changes[i].text);
            }
            if (fits) {
                zi_log(ZI_LOG_ERROR, "zero", "nearest change that fits: %s", advice);
                return ZI_OK;
            }
        }
    }
    zi_log(ZI_LOG_ERROR, "zero",
           "no change of placement or batch fits; raise memory.device and memory.host, use more "
           "ranks, or make the model smaller");
    return ZI_OK;
}

static enum zi_status report_excess(const struct settings *settings, const struct model *model,
                                    const struct zero_config *config)
{
    struct partition *partition;
    struct program *program;
    ZI_TRY(partition_create(model, &settings->optimizer, config->ranks, config->rank, &partition));
    enum zi_status status = program_compile(model, partition, config, &program);
    if (status >= 0) {
        char need[32], budget[32], excess[32];
        for (int t = 0; t < ZI_TIER_NVME; t++) {
            enum zi_tier tier = (enum zi_tier)t;
            size_t bytes = program_excess(program, tier);
            if (bytes == 0) continue;
            zi_log(ZI_LOG_ERROR, "zero",
                   "does not fit: memory.%s is %s per rank and the program needs %s (%s too much)",
                   zi_tier_name(tier), zi_memory_text(config->budget[tier], budget, sizeof budget),
                   zi_memory_text(config->budget[tier] + bytes, need, sizeof need),
                   zi_memory_text(bytes, excess, sizeof excess));
        }
        if (config->rank == 0) program_print_memory(program, stderr);
        program_destroy(program);
    }
    partition_destroy(partition);
    return status;
}

enum zi_status zero_resolve(const struct settings *settings, const struct model *model,
                            const struct device_properties *properties, int ranks, int rank,
                            int node_ranks, struct zero_config *config)
{
    bool fits, training = config->training;
    memset(config, 0, sizeof *config);
    config->training = training;
    config->ranks = ranks;
    config->rank = rank;
    config->node_ranks = node_ranks;
    ZI_TRY(try_settings(settings, model, properties, config, &fits));
    if (fits) return ZI_OK;
    if (rank == 0) {
        ZI_TRY(report_excess(settings, model, config));
        ZI_TRY(advise(settings, model, properties, config));
    }
    return ZI_ERROR_FIT;
}

enum zi_status zero_resolve_all(const struct settings *settings, const struct model *model,
                                const struct device_properties *properties, struct comm *comm,
                                struct zero_config *config)
{
    int rank = comm_rank(comm);
    enum zi_status status = ZI_OK;
    if (rank == 0) {
        status = zero_resolve(settings, model, properties, comm_size(comm), rank,
                              comm_node_size(comm), config);
    }
    ZI_TRY(comm_agree(comm, status));
    ZI_TRY(comm_broadcast(comm, config, (int64_t)sizeof *config, 0));
    config->rank = rank;
    return ZI_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which of host and device updates states that are not on the device.
 *
 * On the host the optimizer goes through the states in its memory; gradients that are on the device
 * come out over the link, and parameters that are there come out and go in again. On the device it
 * is the other way round: what is not there goes in, what is changed comes out, and memory that is
 * faster than any link is gone through. Both are pipelines over groups, so each takes as long as the
 * longest of its parts: memory, the way in, the way out. What nvme has to read and write is the same,
 * and so is the delivery of parameters to arithmetic, which brings them to their update as well (to an
 * immediate one where they are still there from backward; others are pushed once more).
 *
 * The ranks of a node share its memory and its links equally, so rates of a node compare as those of
 * a rank do. */
#include <inttypes.h>

#include "base/log.h"
#include "compiler/placement.h"
#include "compiler/resolve.h"

bool update_brings(const struct zero_config *config, enum zi_tier worker, enum tier_kind kind)
{
    if (config->unified || !zero_has(config, kind, true)) return false;
    return (zero_tier(config, kind) == ZI_TIER_DEVICE) != (worker == ZI_TIER_DEVICE);
}

void zero_update_way(const struct zero_config *config, enum zi_tier worker, struct zero_way *way)
{
    size_t to = 0, back = 0;
    *way = (struct zero_way){0, 0, 0};
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        size_t bytes = zi_dtype_bytes(zero_type(config, kind));
        bool changes = kind != TIER_GRADIENT;
        if (!zero_has(config, kind, true)) continue;
        way->memory += bytes * (changes ? 2 : 1);
        if (!update_brings(config, worker, kind)) continue;
        bool delivered = kind == TIER_PARAMETER && worker == ZI_TIER_DEVICE;
        if (!delivered) to += bytes;
        if (changes) back += bytes;
    }
    way->in = worker == ZI_TIER_DEVICE ? to : back;
    way->out = worker == ZI_TIER_DEVICE ? back : to;
}

/* Seconds of a node per parameter. */
static double way_seconds(const struct zero_config *config, enum zi_tier worker)
{
    struct zero_way way;
    zero_update_way(config, worker, &way);
    double longer = (double)(way.in > way.out ? way.in : way.out) / config->rates.link;
    double memory = (double)way.memory / config->rates.memory;
    return worker == ZI_TIER_HOST && memory > longer ? memory : longer;
}

static bool knows_rates(const struct zero_config *config)
{
    return config->rates.memory > 0 && config->rates.link > 0;
}

void resolve_update_on(const struct settings *s, struct zero_config *config)
{
    config->update_on = ZI_TIER_HOST;
    if (config->unified) return; /* one memory: both are the same */
    if (optimizer_needs_host(&s->optimizer)) return;
    if (s->zero.update_on != ZI_AUTO)
        config->update_on = (enum zi_tier)s->zero.update_on;
    else if (knows_rates(config) &&
             way_seconds(config, ZI_TIER_DEVICE) < way_seconds(config, ZI_TIER_HOST))
        config->update_on = ZI_TIER_DEVICE;
}

static void explain_auto(const struct zero_config *config, FILE *out)
{
    bool device = config->update_on == ZI_TIER_DEVICE;
    fprintf(out, "zero.update_on: auto chose %s, ", zi_tier_name(config->update_on));
    if (!knows_rates(config)) {
        fprintf(out, "because the rates of memory and link are not known; zinf plan --machine FILE "
                     "compares them\n");
        return;
    }
    fprintf(out,
            "because a parameter takes a node %.3g ns on the host and %.3g ns on the device%s\n",
            1e9 * way_seconds(config, ZI_TIER_HOST), 1e9 * way_seconds(config, ZI_TIER_DEVICE),
            device ? "; a run knows no rates: its deck has to say device" : "");
}

void resolve_explain_update(const struct settings *s, const struct zero_config *config, FILE *out)
{
    bool away = config->tier[PLACE_OPTIMIZER] != ZI_TIER_DEVICE;
    struct zero_way way;
    if (!config->training || config->unified || !away) return;
    if (s->zero.update_on == ZI_AUTO) explain_auto(config, out);
    zero_update_way(config, config->update_on, &way);
    fprintf(
        out,
        "update: on the %s; of each parameter %zu bytes of its memory, and of the link %zu in, %zu "
        "out\n",
        zi_tier_name(config->update_on), way.memory, way.in, way.out);
}

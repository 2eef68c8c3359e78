/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a configuration. */
#include "program/config.h"

bool zero_is_sharded(const struct zero_config *config, enum tier_kind kind)
{
    return config->ranks > 1 && config->stage >= tier_kind_row(kind)->stage;
}

struct tier_types zero_types(const struct zero_config *config)
{
    return (struct tier_types){config->compute, config->gradient, config->frozen, config->blocks,
                               config->states};
}

enum zi_dtype zero_type(const struct zero_config *config, enum tier_kind kind)
{
    struct tier_types types = zero_types(config);
    return tier_type_of(tier_kind_row(kind)->type, &types);
}

bool zero_has(const struct zero_config *config, enum tier_kind kind, bool trainable)
{
    struct tier_types types = zero_types(config);
    return tier_kind_exists(kind, trainable, &types);
}

enum zi_tier zero_tier(const struct zero_config *config, enum tier_kind kind)
{
    return config->tier[tier_kind_row(kind)->place];
}

enum zi_tier zero_optimizer_tier(const struct zero_config *config)
{
    return config->tier[PLACE_OPTIMIZER] == ZI_TIER_DEVICE ? ZI_TIER_DEVICE : config->update_on;
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

size_t zero_disk_memory(const struct zero_config *config, size_t bytes)
{
    return bytes < config->disk_memory ? bytes : config->disk_memory;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Small YAML files that are no decks: one section whose keys are numbers, such as the rates of a
 * machine. Read as strictly as a deck. */
#ifndef ZI_DECK_PAIRS_H
#define ZI_DECK_PAIRS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct deck_pair_number {
    /* Set by the caller. */
    const char *key;
    /* Accepted after the number, with k, M, G, T, P or Ki, Mi, Gi, Ti before it: "B/s". NULL: it is
     * a count, a whole number without a unit. */
    const char *unit;
    /* Larger values are refused; 0: none are. */
    double most;
    /* Set when the file has the key. */
    double value;
    bool given;
};

/* Local. Reads text that holds the map `section` of keys, each at most once and each one of
 * `numbers`; values are larger than 0, written as 1.6 GB/s or 1.6e9, counts as 8. `name` stands for the file in
 * messages. ZI_ERROR_USAGE after logging all errors at once, with place and nearest key. */
enum zi_status deck_pairs_parse(const char *text, size_t bytes, const char *name,
                                const char *section, struct deck_pair_number *numbers, int count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a deck's model section must fulfil beyond the ranges of its keys, and what its `auto` values
 * stand for. */
#include <inttypes.h>

#include "model/family.h"

#define LARGEST ((int64_t)1 << 40) /* elements of one tensor */
#define WIDEST  256                /* head, of the attention kernels */

int64_t family_inner(const struct settings_model *settings)
{
    if (!family_of(settings)->gated) return 4 * settings->hidden;
    return (8 * settings->hidden / 3 + 63) / 64 * 64;
}

/* Whether so many heads work: they divide hidden, each is at most WIDEST wide, and even where its
 * halves are rotated against each other. */
static bool heads_work(const struct settings_model *s, int64_t heads)
{
    if (s->hidden % heads != 0) return false;
    int64_t width = s->hidden / heads;
    return width <= WIDEST && (width % 2 == 0 || !family_of(s)->rotary);
}

/* The number of heads next to the deck's that works; 0 when none does. */
static int64_t nearest_heads(const struct settings_model *s)
{
    for (int64_t distance = 0; distance < s->hidden + s->heads; distance++) {
        int64_t below = s->heads - distance, above = s->heads + distance;
        if (below >= 1 && heads_work(s, below)) return below;
        if (above <= s->hidden && heads_work(s, above)) return above;
    }
    return 0;
}

/* The divisor of `heads` next to the deck's number of key heads. */
static int64_t nearest_key_heads(const struct settings_model *s)
{
    int64_t nearest = s->key_heads < s->heads ? s->key_heads : s->heads;
    for (int64_t distance = 0; distance < s->heads; distance++) {
        if (nearest - distance >= 1 && s->heads % (nearest - distance) == 0)
            return nearest - distance;
        if (s->heads % (nearest + distance) == 0) return nearest + distance;
    }
    return 1;
}

static void check_heads(struct deck *deck, const struct settings_model *s)
{
    int64_t nearest = nearest_heads(s);
    if (nearest == s->heads) return;
    if (nearest == 0) {
        deck_complain(deck, "model", "hidden",
                      "rotary positions need heads of even width, and model.hidden %" PRId64
                      " is odd; %" PRId64 " works",
                      s->hidden, s->hidden + 1);
    } else if (s->hidden % s->heads != 0) {
        deck_complain(deck, "model", "heads",
                      "%" PRId64 " heads do not divide model.hidden %" PRId64
                      "; the nearest number that works is %" PRId64,
                      s->heads, s->hidden, nearest);
    } else if (s->hidden / s->heads > WIDEST) {
        deck_complain(deck, "model", "heads",
                      "%" PRId64 " heads of model.hidden %" PRId64 " are %" PRId64
                      " wide, at most %d is possible; the nearest number that works is %" PRId64,
                      s->heads, s->hidden, s->hidden / s->heads, WIDEST, nearest);
    } else {
        deck_complain(deck, "model", "heads",
                      "rotary positions need heads of even width, and %" PRId64
                      " heads of model.hidden %" PRId64 " are %" PRId64
                      " wide; the nearest number that works is %" PRId64,
                      s->heads, s->hidden, s->hidden / s->heads, nearest);
    }
}

static void check_size(struct deck *deck, const struct settings_model *s, const char *key,
                       int64_t rows)
{
    if (rows <= LARGEST / s->hidden) return;
    deck_complain(deck, "model", key,
                  "%" PRId64 " times model.hidden %" PRId64
                  " are more elements than one tensor may have (2^40); at most %" PRId64 " works",
                  rows, s->hidden, LARGEST / s->hidden);
}

static void check_tiles(struct deck *deck, const char *key, int64_t tiles, int64_t most,
                        const char *of)
{
    if (tiles == ZI_AUTO || tiles <= most) return;
    deck_complain(deck, "tiling", key,
                  "%" PRId64 " tiles are more than there are %s; at most %" PRId64 " works", tiles,
                  of, most);
}

static void check_tiling(struct deck *deck)
{
    const struct settings_tiling *t = &deck_settings(deck)->tiling;
    struct settings_tiling most = model_most_tiles(&deck_settings(deck)->model);
    check_tiles(deck, "attention", t->attention, most.attention, "key heads");
    check_tiles(deck, "mlp", t->mlp, most.mlp, "groups of 64 columns in the inner width");
    check_tiles(deck, "vocabulary", t->vocabulary, most.vocabulary,
                "groups of 64 ids in the vocabulary");
}

void model_check(struct deck *deck)
{
    struct settings_model *s = &deck_settings(deck)->model;
    if (s->key_heads == ZI_AUTO) s->key_heads = s->heads;
    if (s->inner == ZI_AUTO) s->inner = family_inner(s);
    if (s->tied == ZI_AUTO) s->tied = family_of(s)->tied;
    check_heads(deck, s);
    if (s->key_heads > s->heads || s->heads % s->key_heads != 0) {
        deck_complain(deck, "model", "key_heads",
                      "%" PRId64 " key heads do not divide model.heads %" PRId64
                      "; the nearest number that works is %" PRId64,
                      s->key_heads, s->heads, nearest_key_heads(s));
    }
    check_size(deck, s, "vocabulary", s->vocabulary);
    check_size(deck, s, "inner", s->inner);
    check_size(deck, s, "context", s->context);
    check_tiling(deck);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a deck's model section must fulfil beyond the ranges of its keys, and what its `auto` values
 * stand for. */
#include <inttypes.h>

#include "model/adapter.h"
#include "model/packed.h"
#include "model/trainable.h"

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

/* A width that the deck gives: heads need not divide hidden. */
static void check_head_width(struct deck *deck, const struct settings_model *s)
{
    if (s->head_width > WIDEST)
        deck_complain(deck, "model", "head_width",
                      "heads of width %" PRId64 " are not possible; at most %d works",
                      s->head_width, WIDEST);
    else if (family_of(s)->rotary && s->head_width % 2 != 0)
        deck_complain(deck, "model", "head_width",
                      "rotary positions need heads of even width; nearest to %" PRId64
                      " is %" PRId64,
                      s->head_width, s->head_width + 1);
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
    bool behind = family_of(&deck_settings(deck)->model)->behind;
    check_tiles(deck, "attention", t->attention, most.attention,
                behind ? "attentions with a norm behind them, which takes them whole"
                       : "key heads");
    check_tiles(deck, "mlp", t->mlp, most.mlp,
                behind ? "MLPs with a norm behind them, which takes them whole"
                       : "groups of 64 columns in the inner width");
    check_tiles(deck, "vocabulary", t->vocabulary, most.vocabulary,
                "groups of 64 ids in the vocabulary");
}

/* What a deck asks of its family for some keys, as a trait; 0: nothing special. */
static const struct {
    enum family_trait trait;
    const char *key, *what;
} asks[] = {
    {FAMILY_WINDOW, "window", "attention window"},
    {FAMILY_UNROTATED, "unrotated_every", "blocks without rotary positions among others"},
    {FAMILY_TWO_BASES, "rope_window_base", "rotary base of its own for blocks with a window"},
    {FAMILY_ATTENTION_CAP, "attention_cap", "cap on the scores of attention"},
    {FAMILY_LOGIT_CAP, "logit_cap", "cap on logits"},
    {FAMILY_SCORE_WIDTH, "score_width", "scale of scores other than that of head_width"},
    {FAMILY_ATTENTION_BIAS, "attention_bias", "biases of attention to ask for"},
    {FAMILY_MLP_BIAS, "mlp_bias", "biases of the MLP to ask for"},
};

static bool is_asked(const struct settings_model *s, enum family_trait trait)
{
    switch (trait) {
    case FAMILY_WINDOW:
        return s->window > 0;
    case FAMILY_UNROTATED:
        return s->unrotated_every > 0;
    case FAMILY_TWO_BASES:
        return s->rope_window_base > 0;
    case FAMILY_ATTENTION_CAP:
        return s->attention_cap > 0;
    case FAMILY_LOGIT_CAP:
        return s->logit_cap > 0;
    case FAMILY_SCORE_WIDTH:
        return s->score_width != s->head_width;
    case FAMILY_ATTENTION_BIAS:
        return s->attention_bias;
    case FAMILY_MLP_BIAS:
        return s->mlp_bias;
    }
    return false;
}

bool family_has_row(const struct settings_model *settings, const struct family_row *row)
{
    return row->only == 0 || is_asked(settings, (enum family_trait)row->only);
}

/* Names of the families that know a trait, with commas. */
static void name_families(enum family_trait trait, char *names, size_t bytes)
{
    size_t used = 0;
    snprintf(names, bytes, "none");
    for (int f = 0; f < MODEL_FAMILIES; f++) {
        const struct family *family = family_numbered(f);
        if (!(family->knows & trait) || used >= bytes) continue;
        int more = snprintf(names + used, bytes - used, "%s%s", used ? ", " : "", family->name);
        used += (size_t)more;
    }
}

/* What the deck asks for and its family does not know is refused, never ignored. */
static void check_traits(struct deck *deck, const struct settings_model *s)
{
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        char names[128];
        if (!is_asked(s, asks[i].trait) || family_of(s)->knows & asks[i].trait) continue;
        name_families(asks[i].trait, names, sizeof names);
        deck_complain(deck, "model", asks[i].key,
                      "model.family: %s has no %s; families that have: %s", family_of(s)->name,
                      asks[i].what, names);
    }
}

static void check_rope(struct deck *deck, const struct settings_model *s)
{
    if (s->rope_scaling == ROPE_LLAMA3 && s->rope_high <= s->rope_low)
        deck_complain(deck, "model", "rope_high",
                      "%g is not above model.rope_low, %g; the published values are 4 and 1",
                      s->rope_high, s->rope_low);
    if (s->rope_scaling == ROPE_YARN && (s->rope_fast <= s->rope_slow || s->rope_slow <= 0))
        deck_complain(deck, "model", "rope_fast",
                      "%g and model.rope_slow, %g, are to be above 0, the first above the second; "
                      "the published values are 32 and 1",
                      s->rope_fast, s->rope_slow);
    if (s->rope_scaling == ROPE_YARN && s->rope_base <= 1)
        deck_complain(deck, "model", "rope_base", "yarn needs a base above 1");
    if (s->rope_scaling != ROPE_PLAIN && s->rope_original > s->context)
        deck_complain(deck, "model", "rope_original",
                      "%" PRId64 " tokens are more than model.context, %" PRId64
                      ", which is what comes of them",
                      s->rope_original, s->context);
}

void model_check(struct deck *deck)
{
    struct settings_model *s = &deck_settings(deck)->model;
    if (s->key_heads == ZI_AUTO) s->key_heads = s->heads;
    if (s->inner == ZI_AUTO) s->inner = family_inner(s);
    if (s->tied == ZI_AUTO) s->tied = family_of(s)->tied;
    if (s->rope_original == ZI_AUTO) s->rope_original = s->context;
    if (s->head_width != ZI_AUTO)
        check_head_width(deck, s);
    else
        check_heads(deck, s);
    if (s->head_width == ZI_AUTO && s->hidden >= s->heads) s->head_width = s->hidden / s->heads;
    if (s->score_width == ZI_AUTO) s->score_width = s->head_width;
    if (s->key_heads > s->heads || s->heads % s->key_heads != 0) {
        deck_complain(deck, "model", "key_heads",
                      "%" PRId64 " key heads do not divide model.heads %" PRId64
                      "; the nearest number that works is %" PRId64,
                      s->key_heads, s->heads, nearest_key_heads(s));
    }
    check_traits(deck, s);
    check_rope(deck, s);
    check_size(deck, s, "heads", s->heads * s->head_width);
    check_size(deck, s, "vocabulary", s->vocabulary);
    check_size(deck, s, "inner", s->inner);
    check_size(deck, s, "context", s->context);
    check_tiling(deck);
    adapter_check(deck);
    trainable_check(deck);
    packed_check(deck);
}

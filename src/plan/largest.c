/* SPDX-License-Identifier: Apache-2.0 */
/* The largest model of a shape that fits.
 *
 * A candidate is the same deck with other values of a few keys, read, and asked of the zero room
 * whether a run would find a way to fit it; no formula stands between. Bytes grow with size, so
 * doubling until something does not fit and then halving the interval finds the largest in some
 * twenty candidates.
 *
 * Deeper candidates have more layers. If the deck fits they keep its tiles, since more layers make
 * none of them larger; trying finer tiles for thousands of layers would take minutes. Wider ones
 * have heads of 64, so many as their width holds, in the deck's proportion of query to key heads;
 * an inner width that the deck gives keeps its proportion to the hidden one. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "compiler/placement.h"
#include "deck/table.h"
#include "plan/plan.h"

enum { SETS_MAX = 128, OWN_SETS = 6, SET_BYTES = 64, HEAD_WIDTH = 64 };

/* Larger programs are not tried: their description alone would be gigabytes. It grows with the
 * layers, and with the micro-batches of each. */
static const int64_t most_layers = 4096;
static const int64_t most_layer_micros = (int64_t)1 << 17;
static const int64_t most_hidden = 65536;
static const int64_t most_elements = (int64_t)1 << 40; /* of one tensor, as model_check says */

struct search {
    const struct plan_deck *deck;
    enum plan_growth growth;
    /* The deck's, with its `auto` */
    struct settings_model model;
    /* Of width */
    int64_t unit;
    /* Of the last candidate */
    struct plan_largest size;
    /* Of the last that fitted */
    struct plan_largest largest;
};

static void write_sets(const struct search *search, int64_t steps, char own[OWN_SETS][SET_BYTES],
                       int *count)
{
    const struct settings_model *m = &search->model;
    int64_t hidden = steps * search->unit, heads = hidden / HEAD_WIDTH;
    *count = 0;
    if (search->growth == PLAN_DEEPER) {
        snprintf(own[(*count)++], SET_BYTES, "model.layers=%" PRId64, steps);
        return;
    }
    snprintf(own[(*count)++], SET_BYTES, "model.hidden=%" PRId64, hidden);
    snprintf(own[(*count)++], SET_BYTES, "model.heads=%" PRId64, heads);
    if (m->head_width != ZI_AUTO)
        snprintf(own[(*count)++], SET_BYTES, "model.head_width=%d", HEAD_WIDTH);
    if (m->score_width != ZI_AUTO)
        snprintf(own[(*count)++], SET_BYTES, "model.score_width=%d", HEAD_WIDTH);
    if (m->key_heads != ZI_AUTO)
        snprintf(own[(*count)++], SET_BYTES, "model.key_heads=%" PRId64,
                 heads * m->key_heads / m->heads);
    if (m->inner != ZI_AUTO)
        snprintf(own[(*count)++], SET_BYTES, "model.inner=%" PRId64,
                 (m->inner * hidden / m->hidden + 63) / 64 * 64);
}

static enum zi_status read_deck(const struct plan_deck *from, char own[OWN_SETS][SET_BYTES],
                                int own_count, struct deck **deck)
{
    const char *sets[SETS_MAX];
    int count = 0;
    if (from->set_count + own_count > SETS_MAX)
        return zi_fail(ZI_ERROR_USAGE, "plan", "%d overrides are too many; %d work",
                       from->set_count, SETS_MAX - OWN_SETS);
    for (int i = 0; i < from->set_count; i++)
        sets[count++] = from->sets[i];
    for (int i = 0; i < own_count; i++)
        sets[count++] = own[i];
    return deck_parse(from->text, from->bytes, from->name, sets, count, deck);
}

/* Leaves of the tiles that the deck names so many as a narrow candidate can be cut into. */
static void clamp_tiles(struct settings *s)
{
    struct settings_model m = s->model;
    if (m.key_heads == ZI_AUTO) m.key_heads = m.heads;
    if (m.inner == ZI_AUTO) m.inner = 2 * m.hidden; /* it is more in each family */
    struct settings_tiling most = model_most_tiles(&m), *t = &s->tiling;
    if (t->attention > most.attention) t->attention = most.attention;
    if (t->mlp > most.mlp) t->mlp = most.mlp;
    if (t->vocabulary > most.vocabulary) t->vocabulary = most.vocabulary;
}

static enum zi_status fit_candidate(struct search *search, struct deck *deck, bool *fits)
{
    struct zero_config config = *search->deck->config;
    struct settings *s = deck_settings(deck);
    struct model *model;
    if (search->growth == PLAN_DEEPER && search->deck->fits) s->tiling = config.tiling;
    clamp_tiles(s);
    model_check(deck);
    ZI_TRY(deck_check(deck));
    ZI_TRY(zero_fits(s, search->deck->device, &config, fits));
    search->size = (struct plan_largest){s->model.layers, s->model.hidden, s->model.heads, 0, true};
    if (!*fits) return ZI_OK;
    ZI_TRY(model_create(&s->model, &config.tiling, config.compute, &model));
    search->size.parameters = model->parameters;
    search->largest = search->size;
    model_destroy(model);
    return ZI_OK;
}

static enum zi_status try_size(struct search *search, int64_t steps, bool *fits)
{
    char own[OWN_SETS][SET_BYTES];
    struct deck *deck;
    int count;
    write_sets(search, steps, own, &count);
    ZI_TRY(read_deck(search->deck, own, count, &deck));
    enum zi_status status = fit_candidate(search, deck, fits);
    deck_destroy(deck);
    return status;
}

static enum zi_status search_start(struct search *search)
{
    struct deck *deck;
    ZI_TRY(read_deck(search->deck, NULL, 0, &deck));
    search->model = deck_settings(deck)->model;
    deck_destroy(deck);
    const struct settings_model *m = &search->model;
    int64_t group = m->key_heads == ZI_AUTO ? 1 : m->heads / m->key_heads;
    search->unit = HEAD_WIDTH * group;
    return ZI_OK;
}

/* The most layers that are tried: at least the deck's own, which it takes. */
static int64_t most_deeper(const struct search *search)
{
    int64_t most = most_layer_micros / search->deck->config->micro_batches;
    if (most < search->model.layers) most = search->model.layers;
    return most < most_layers ? most : most_layers;
}

/* The most steps that a deck can say. */
static int64_t most_steps(const struct search *search)
{
    const struct settings_model *m = &search->model;
    int64_t hidden = most_hidden, rows = m->vocabulary > m->context ? m->vocabulary : m->context;
    if (search->growth == PLAN_DEEPER) return most_deeper(search);
    if (hidden > most_elements / rows) hidden = most_elements / rows;
    if (m->inner != ZI_AUTO) {
        double most = sqrt((double)most_elements * (double)m->hidden / (double)m->inner) / 2;
        if ((double)hidden > most) hidden = (int64_t)most;
    }
    return hidden / search->unit;
}

enum zi_status plan_largest(const struct plan_deck *deck, enum plan_growth growth,
                            struct plan_largest *largest)
{
    struct search search = {.deck = deck, .growth = growth};
    ZI_TRY(search_start(&search));
    int64_t end = most_steps(&search);
    int64_t low = 0, high = end + 1; /* low fits, high does not */
    bool fits;
    memset(largest, 0, sizeof *largest);
    for (int64_t step = 1; high == end + 1 && low < end;) {
        ZI_TRY(try_size(&search, step, &fits));
        if (!fits) high = step;
        if (fits) low = step;
        step = step > end / 2 ? end : 2 * step;
    }
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        ZI_TRY(try_size(&search, middle, &fits));
        if (fits) low = middle;
        if (!fits) high = middle;
    }
    *largest = low > 0 ? search.largest : search.size;
    largest->bounded = high <= end;
    return ZI_OK;
}

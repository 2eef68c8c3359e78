/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of the partition: those of all ranks together, and those of whole units, hold every
 * element of every tensor exactly once, at the place in the unit where its piece has it; a range is
 * whole runs of its tensor or a part of one; there are as few as that allows. */
#include "program/partition.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "regression/unit/test.h"

/* How often each element of each tensor was seen, and where tensors start in that. */
struct cover {
    char *seen;
    int64_t *first;
};

static void cover_create(const struct model *m, struct cover *c)
{
    c->seen = calloc((size_t)m->parameters, 1);
    c->first = calloc((size_t)m->tensor_count, sizeof *c->first);
    ZI_REQUIRE(c->seen && c->first);
    for (int t = 1; t < m->tensor_count; t++) {
        c->first[t] = c->first[t - 1] + m->tensors[t - 1].elements;
    }
}

/* Checks that each element was seen once. */
static void cover_destroy(const struct model *m, struct cover *c)
{
    int64_t wrong = 0;
    for (int64_t i = 0; i < m->parameters; i++) {
        wrong += c->seen[i] != 1;
    }
    CHECK_INT(wrong, 0);
    free(c->seen);
    free(c->first);
}

/* Whether element `at` of a unit is element `of` of a tensor, by the model's table. */
static bool lies_at(const struct model *m, int unit, int64_t at, int tensor, int64_t of)
{
    const struct model_unit *u = &m->units[unit];
    for (int i = u->first_piece; i < u->first_piece + u->piece_count; i++) {
        const struct model_piece *p = &m->pieces[i];
        int64_t k = at - p->offset;
        if (k < 0 || k >= p->rows * p->row) continue;
        return p->tensor == tensor && p->first + k / p->row * p->stride + k % p->row == of;
    }
    return false;
}

static void cover_add(const struct model *m, struct cover *c, int unit,
                      const struct partition_range *range)
{
    const struct device_place *place = &range->place;
    int64_t wrong = 0;
    CHECK(range->count <= place->row || range->count % place->row == 0);
    CHECK(place->seed == zi_random_stream(m->tensors[range->tensor].name));
    for (int64_t i = 0; i < range->count; i++) {
        int64_t of = (int64_t)place->first + i / place->row * place->stride + i % place->row;
        if (of < 0 || of >= m->tensors[range->tensor].elements) {
            wrong++;
            continue;
        }
        wrong += !lies_at(m, unit, range->unit_first + i, range->tensor, of);
        c->seen[c->first[range->tensor] + of]++;
    }
    CHECK_INT(wrong, 0);
}

/* Elements of a unit. */
struct span {
    int64_t first, end;
};

/* What a cut of a unit's ranges to a span gives, in order. */
static void cover_span(const struct model *m, struct cover *c, const struct partition *p, int unit,
                       struct span span)
{
    const struct partition_unit *part = &p->units[unit];
    int64_t end = span.first;
    int count = 0;
    for (int i = 0; i < part->range_count; i++) {
        struct partition_range cut[3];
        const struct partition_range *range = &p->ranges[part->range_first + i];
        int parts = partition_cut(range, span.first, span.end, cut);
        for (int k = 0; k < parts; k++) {
            enum model_tensor_kind kind = m->tensors[cut[k].tensor].kind;
            CHECK(cut[k].count > 0 && cut[k].unit_first >= end);
            end = cut[k].unit_first + cut[k].count;
            CHECK(end <= span.end);
            CHECK_INT(cut[k].decay, kind == MODEL_MATRIX || kind == MODEL_EMBEDDING);
            cover_add(m, c, unit, &cut[k]);
        }
        count += parts;
    }
    CHECK(count <= m->units[unit].piece_count + 4); /* two more at either end */
}

static void check_ranks(const struct model *m, int ranks)
{
    static const struct settings_optimizer optimizer = {.decay_embeddings = true};
    struct partition *p;
    struct cover whole, shards;
    cover_create(m, &whole);
    cover_create(m, &shards);
    ZI_REQUIRE(partition_create(m, &optimizer, ranks, &p) == ZI_OK);
    CHECK(p->ranks == ranks && p->unit_count == m->unit_count);
    for (int u = 0; u < p->unit_count; u++) {
        const struct partition_unit *unit = &p->units[u];
        int64_t shard = unit->shard;
        CHECK(shard % 64 == 0 && shard * ranks == unit->padded);
        CHECK(unit->elements == m->units[u].elements && unit->padded >= unit->elements);
        CHECK_INT(unit->range_count, m->units[u].piece_count);
        cover_span(m, &whole, p, u, (struct span){0, unit->padded});
        for (int rank = 0; rank < ranks; rank++) {
            cover_span(m, &shards, p, u, (struct span){rank * shard, (rank + 1) * shard});
        }
    }
    partition_destroy(p);
    cover_destroy(m, &whole);
    cover_destroy(m, &shards);
}

int main(void)
{
    static const struct settings_model settings[] = {
        {.layers = 1,
         .hidden = 30,
         .heads = 15,
         .key_heads = 5,
         .inner = 150,
         .context = 19,
         .vocabulary = 300,
         .tied = 1},
        {.family = MODEL_LLAMA,
         .layers = 1,
         .hidden = 24,
         .heads = 6,
         .key_heads = 3,
         .inner = 200,
         .context = 9,
         .vocabulary = 130},
    };
    static const struct settings_tiling tilings[] = {{1, 1, 1}, {2, 2, 3}, {3, 3, 2}};
    for (int i = 0; i < 6; i++) {
        struct model *m;
        ZI_REQUIRE(model_create(&settings[i % 2], &tilings[i / 2], ZI_BF16, &m) == ZI_OK);
        for (int ranks = 1; ranks <= 7; ranks++) {
            check_ranks(m, ranks);
        }
        model_destroy(m);
    }
    return test_finish("program_partition_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Mixing sources.
 *
 * The places of a block, 0 .. 65535, are cut into ranges, one for each source, as long as its share
 * of the block. A sequence has a place, and the source is that in whose range it lies. Sequences
 * take places by parts of 256: part g of a block takes every 256th place, those that are g modulo
 * 256, in an order permuted by seed and part. So a range of c places has c/256 of each part, rounded
 * up or down: the shares are exact in a block, and off by less than one sequence in each part of
 * it, not only in the mean. Which sequences of a part are of which source is random.
 *
 * A source numbers its places by parts, too: first those of part 0, which are counted without a
 * look at them. So its epochs follow each other in time, but for those of one part. Nothing is
 * kept, and nothing depends on the sequences before. */
#include "data/mixture.h"

#include "base/log.h"
#include "base/random.h"
#include "data/sampler.h"

#define BLOCK ((int64_t)SAMPLER_BLOCK)
#define PART  ((int64_t)SAMPLER_PART)

/* Gives one more to the source whose share is farthest above its slots, or takes one from that
 * which is farthest below and has some to give. */
static void adjust(const double *shares, int count, int64_t by, int64_t *slots)
{
    int chosen = -1;
    double most = 0;
    for (int i = 0; i < count; i++) {
        double rest = (double)by * (shares[i] - (double)slots[i]);
        if (by < 0 && slots[i] == 1) continue;
        if (chosen >= 0 && rest <= most) continue;
        chosen = i;
        most = rest;
    }
    ZI_REQUIRE(chosen >= 0);
    slots[chosen] += by;
}

void mixture_share(const double *weights, int count, int64_t *slots)
{
    double sum = 0, shares[DECK_SOURCES_MAX];
    int64_t given = 0;
    ZI_REQUIRE(count > 0 && count <= DECK_SOURCES_MAX);
    for (int i = 0; i < count; i++)
        sum += weights[i];
    for (int i = 0; i < count; i++) {
        shares[i] = weights[i] / sum * (double)BLOCK;
        slots[i] = shares[i] < 1 ? 1 : (int64_t)shares[i];
        given += slots[i];
    }
    for (; given < BLOCK; given++)
        adjust(shares, count, 1, slots);
    for (; given > BLOCK; given--)
        adjust(shares, count, -1, slots);
}

/* Of the places below `place`, those of parts before `part`. */
static int64_t places_before(int64_t place, int64_t part)
{
    int64_t rest = place % PART;
    return place / PART * part + (rest < part ? rest : part);
}

int mixture_source(uint64_t seed, const int64_t *slots, int count, int64_t sequence,
                   int64_t *number)
{
    int64_t block = sequence / BLOCK, part = sequence / PART % (BLOCK / PART);
    uint64_t stream = zi_random_stream("data.mixture") + (uint64_t)(sequence / PART);
    int64_t row =
        (int64_t)zi_random_permute(seed, stream, (uint64_t)PART, (uint64_t)(sequence % PART));
    int64_t place = row * PART + part, first = 0;
    int source = 0;
    while (place >= first + slots[source])
        first += slots[source++];
    ZI_REQUIRE(source < count);
    int64_t rows = first > part ? (first - part + PART - 1) / PART : 0; /* of sources before */
    *number = block * slots[source] + places_before(first + slots[source], part) -
              places_before(first, part) + row - rows;
    return source;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Best fit, the longest first: within a few percent of the fewest sequences where documents are of
 * many lengths (Johnson 1974 bounds it by 11/9 of them). Sequences with the same room are a stack;
 * a bit per stack that is not empty finds the next larger room a word at a time. */
#include "data/packing.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct work {
    int64_t length, piece_count;
    struct packing_piece *pieces;
    /* Pieces by length, the longest first; the sequence of each piece: [piece_count] */
    int64_t *order, *sequence_of;
    /* Of each room 0 .. length: the sequence on top of its stack, -1 for none; bits of stacks */
    int64_t *top;
    uint64_t *bits;
    /* The sequence below, of each sequence: [piece_count], as there are no more sequences */
    int64_t *below;
    int64_t sequences;
};

static void work_free(struct work *w)
{
    free(w->pieces);
    free(w->order);
    free(w->sequence_of);
    free(w->top);
    free(w->bits);
    free(w->below);
}

/* Pieces of a document of so many tokens. */
static int64_t pieces_of(int64_t tokens, int64_t length)
{
    return (tokens - 1 + length - 1) / length;
}

static void cut_documents(const int64_t *starts, int64_t count, struct work *w)
{
    int64_t made = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t last = starts[i + 1] - 1;
        for (int64_t first = starts[i]; first < last; first += w->length) {
            int64_t left = last - first;
            w->pieces[made++] = (struct packing_piece){first, left < w->length ? left : w->length};
        }
    }
}

/* By counting; pieces of one length stay in order. */
static void sort_pieces(struct work *w)
{
    int64_t *at = w->top, before = 0; /* not in use yet */
    memset(at, 0, ((size_t)w->length + 1) * sizeof *at);
    for (int64_t i = 0; i < w->piece_count; i++)
        at[w->pieces[i].count]++;
    for (int64_t n = w->length; n >= 0; n--) {
        int64_t here = at[n];
        at[n] = before;
        before += here;
    }
    for (int64_t i = 0; i < w->piece_count; i++)
        w->order[at[w->pieces[i].count]++] = i;
}

static void push(struct work *w, int64_t room, int64_t sequence)
{
    w->below[sequence] = w->top[room];
    w->top[room] = sequence;
    w->bits[room / 64] |= UINT64_C(1) << room % 64;
}

static int64_t pop(struct work *w, int64_t room)
{
    int64_t sequence = w->top[room];
    w->top[room] = w->below[sequence];
    if (w->top[room] < 0) w->bits[room / 64] &= ~(UINT64_C(1) << room % 64);
    return sequence;
}

/* The least room of a sequence that is at least `wanted`; -1: there is none. */
static int64_t find_room(const struct work *w, int64_t wanted)
{
    int64_t words = w->length / 64 + 1, word = wanted / 64;
    uint64_t bits = w->bits[word] & ~UINT64_C(0) << wanted % 64;
    while (!bits && ++word < words)
        bits = w->bits[word];
    return bits ? word * 64 + __builtin_ctzll(bits) : -1;
}

static void place_pieces(struct work *w)
{
    for (int64_t room = 0; room <= w->length; room++)
        w->top[room] = -1;
    for (int64_t i = 0; i < w->piece_count; i++) {
        int64_t piece = w->order[i], count = w->pieces[piece].count, room = find_room(w, count);
        int64_t sequence = room < 0 ? w->sequences++ : pop(w, room);
        if (room < 0) room = w->length;
        push(w, room - count, sequence);
        w->sequence_of[piece] = sequence;
    }
}

/* Lays the pieces of each sequence behind each other, the longest first. */
static enum zi_status collect(const struct work *w, struct packing *packing)
{
    packing->pieces = malloc(((size_t)w->piece_count + 1) * sizeof *packing->pieces);
    packing->starts = calloc((size_t)w->sequences + 2, sizeof *packing->starts);
    if (!packing->pieces || !packing->starts)
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to pack documents");
    packing->sequences = w->sequences;
    int64_t *at = packing->starts + 1; /* shifted: each ends as the start of the next */
    for (int64_t i = 0; i < w->piece_count; i++)
        at[w->sequence_of[i] + 1]++;
    for (int64_t s = 0; s < w->sequences; s++)
        at[s + 1] += at[s];
    for (int64_t i = 0; i < w->piece_count; i++)
        packing->pieces[at[w->sequence_of[w->order[i]]]++] = w->pieces[w->order[i]];
    return ZI_OK;
}

enum zi_status packing_make(const int64_t *starts, int64_t count, int64_t length,
                            struct packing *packing)
{
    struct work w = {.length = length};
    for (int64_t i = 0; i < count; i++)
        w.piece_count += pieces_of(starts[i + 1] - starts[i], length);
    size_t pieces = (size_t)w.piece_count + 1, rooms = (size_t)length + 1;
    w.pieces = malloc(pieces * sizeof *w.pieces);
    w.order = malloc(pieces * sizeof *w.order);
    w.sequence_of = malloc(pieces * sizeof *w.sequence_of);
    w.below = malloc(pieces * sizeof *w.below);
    w.top = malloc(rooms * sizeof *w.top);
    w.bits = calloc(rooms / 64 + 1, sizeof *w.bits);
    bool made = w.pieces && w.order && w.sequence_of && w.below && w.top && w.bits;
    enum zi_status status = ZI_OK;
    *packing = (struct packing){.pieces = NULL};
    if (made) {
        cut_documents(starts, count, &w);
        sort_pieces(&w);
        place_pieces(&w);
        status = collect(&w, packing);
    } else {
        status =
            zi_fail(ZI_ERROR_DEVICE, "data", "no memory to pack %lld documents", (long long)count);
    }
    work_free(&w);
    if (status < 0) packing_free(packing);
    return status;
}

int64_t packing_places(const struct packing *packing, int64_t sequence)
{
    int64_t places = 0;
    for (int64_t i = packing->starts[sequence]; i < packing->starts[sequence + 1]; i++)
        places += packing->pieces[i].count;
    return places;
}

void packing_free(struct packing *packing)
{
    free(packing->pieces);
    free(packing->starts);
    *packing = (struct packing){.pieces = NULL};
}

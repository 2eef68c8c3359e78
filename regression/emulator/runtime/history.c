/* SPDX-License-Identifier: Apache-2.0 */
/* Who touched which bytes, and whether that was ordered.
 *
 * For each byte the history knows the last operation that wrote it and, per slot, the last that has
 * read it since. Operations are noted when their turn has come, which is in an order that agrees
 * with all events and waits; so it is enough to ask whether what is known is ordered before the
 * operation that comes, and the answer does not depend on the schedule.
 *
 * Bytes with the same history are a segment; an arena keeps its segments sorted, in buckets of
 * BUCKET bytes. States are shared by segments and never changed. What is ordered before everything
 * that is still to come can race with nothing, and is forgotten. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKET = 65536, SWEEP_LEAST = 1024 };

struct state {
    int references;
    /* number 0: none. */
    struct mark writer;
    int count;
    struct mark readers[];
};

/* Bytes [first, end) of a bucket. */
struct segment {
    uint32_t first, end;
    struct state *state;
};

struct bucket {
    struct segment *segments;
    int count, room;
};

/* Segments of all arenas, and how many it takes to look for those to be forgotten. */
static int64_t segment_count, sweep_at = SWEEP_LEAST;

static void state_drop(struct state *state)
{
    if (state && --state->references == 0) free(state);
}

static struct state *state_share(struct state *state)
{
    if (state) state->references++;
    return state;
}

static struct state *state_make(int readers)
{
    struct state *state = calloc(1, sizeof *state + (size_t)readers * sizeof state->readers[0]);
    if (!state) abort();
    state->references = 1;
    return state;
}

static bool known(const struct clock *clock, const struct mark *mark)
{
    return mark->number <= clock->at[mark->slot];
}

/* Whether all of the state is ordered before what is to come. */
static bool is_past(const struct state *state, const struct clock *floor)
{
    if (!state) return true;
    for (int i = 0; i < state->count; i++)
        if (!known(floor, &state->readers[i])) return false;
    return known(floor, &state->writer);
}

static void fail(const struct operation *operation, const struct mark *mark, const char *verbs[2],
                 const void *address)
{
    emulator_fail(
        EMULATOR_RACE,
        "%s (operation %u of stream %u) %s what %s (operation %u of stream %u) %s, and no "
        "event or wait orders them: %s",
        operation->mark.name, operation->mark.number, operation->mark.slot, verbs[0], mark->name,
        mark->number, mark->slot, verbs[1], arena_describe(address));
}

/* What the operation does must be ordered behind what is known of the bytes at `address`. */
static void check(const struct state *state, const struct operation *operation, bool writes,
                  const void *address)
{
    if (!state) return;
    if (!known(&operation->clock, &state->writer))
        fail(operation, &state->writer, (const char *[]){writes ? "writes" : "reads", "writes"},
             address);
    for (int i = 0; writes && i < state->count; i++)
        if (!known(&operation->clock, &state->readers[i]))
            fail(operation, &state->readers[i], (const char *[]){"writes", "reads"}, address);
}

/* The state after `old` once the operation has read, with a reference for the caller. */
static struct state *state_read(struct state *old, struct operation *operation)
{
    struct notes *notes = &operation->notes;
    const struct mark *mark = &operation->mark;
    if (notes->read_to && notes->read_from == old) return state_share(notes->read_to);
    int count = old ? old->count : 0;
    struct state *state = state_make(count + 1);
    if (old && !known(notes->floor, &old->writer)) state->writer = old->writer;
    for (int i = 0; i < count; i++)
        if (old->readers[i].slot != mark->slot && !known(notes->floor, &old->readers[i]))
            state->readers[state->count++] = old->readers[i];
    state->readers[state->count++] = *mark;
    state_drop(notes->read_from);
    state_drop(notes->read_to);
    notes->read_from = state_share(old);
    notes->read_to = state_share(state);
    return state;
}

/* Whether the state tells already that the operation has read. */
static bool has_read(const struct state *state, const struct mark *mark)
{
    if (!state) return false;
    if (state->writer.slot == mark->slot && state->writer.number == mark->number) return true;
    for (int i = 0; i < state->count; i++)
        if (state->readers[i].slot == mark->slot && state->readers[i].number == mark->number)
            return true;
    return false;
}

/* The state of bytes in state `old` that the operation touches; the caller's reference. */
static struct state *state_next(struct state *old, struct operation *operation, bool writes)
{
    struct notes *notes = &operation->notes;
    if (!writes)
        return has_read(old, &operation->mark) ? state_share(old) : state_read(old, operation);
    if (!notes->written) {
        notes->written = state_make(0);
        notes->written->writer = operation->mark;
    }
    return state_share(notes->written);
}

/* Puts `count` segments in the place of [from, to) of a bucket. */
static void splice(struct bucket *bucket, int from, int to, const struct segment *segments,
                   int count)
{
    int total = bucket->count - (to - from) + count;
    if (total > bucket->room) {
        bucket->room = 2 * total;
        bucket->segments =
            realloc(bucket->segments, (size_t)bucket->room * sizeof *bucket->segments);
        if (!bucket->segments) abort();
    }
    if (bucket->segments) {
        memmove(bucket->segments + from + count, bucket->segments + to,
                (size_t)(bucket->count - to) * sizeof *segments);
        if (count > 0) memcpy(bucket->segments + from, segments, (size_t)count * sizeof *segments);
    }
    segment_count += total - bucket->count;
    bucket->count = total;
}

/* The first segment that ends behind `at`. */
static int segment_at(const struct bucket *bucket, uint32_t at)
{
    int low = 0, high = bucket->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (bucket->segments[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* No segment of the bucket goes across `at`. Gives the first segment behind it. */
static int cut(struct bucket *bucket, uint32_t at)
{
    int index = segment_at(bucket, at);
    if (index == bucket->count || bucket->segments[index].first >= at) return index;
    struct segment whole = bucket->segments[index];
    struct segment halves[2] = {{whole.first, at, whole.state},
                                {at, whole.end, state_share(whole.state)}};
    splice(bucket, index, index + 1, halves, 2);
    return index + 1;
}

/* Segments that are about to be put into a bucket. */
struct pieces {
    struct segment *segments;
    int count;
};

static void add_piece(struct pieces *pieces, struct segment piece)
{
    struct segment *last = pieces->count > 0 ? &pieces->segments[pieces->count - 1] : NULL;
    if (last && last->end == piece.first && last->state == piece.state) {
        last->end = piece.end;
        state_drop(piece.state);
        return;
    }
    pieces->segments[pieces->count++] = piece;
}

/* One step of history in [first, end) of a bucket. */
struct touch {
    struct operation *operation;
    bool writes;
    /* The address of the bucket's first byte. */
    uintptr_t base;
};

static void bucket_note(struct bucket *bucket, const struct touch *touch, uint32_t first,
                        uint32_t end)
{
    int from = cut(bucket, first), to = cut(bucket, end);
    struct pieces pieces = {.segments =
                                malloc((size_t)(2 * (to - from) + 3) * sizeof(struct segment))};
    if (!pieces.segments) abort();
    /* The segment before may turn out to be of the same state. */
    if (from > 0) add_piece(&pieces, bucket->segments[--from]);
    uint32_t done = first;
    for (int i = segment_at(bucket, first); i < to; i++) {
        struct segment old = bucket->segments[i];
        check(old.state, touch->operation, touch->writes, (const void *)(touch->base + old.first));
        if (is_past(old.state, touch->operation->notes.floor)) {
            state_drop(old.state);
            old.state = NULL;
        }
        if (old.first > done)
            add_piece(&pieces, (struct segment){done, old.first,
                                                state_next(NULL, touch->operation, touch->writes)});
        struct state *next = state_next(old.state, touch->operation, touch->writes);
        state_drop(old.state);
        add_piece(&pieces, (struct segment){old.first, old.end, next});
        done = old.end;
    }
    if (done < end)
        add_piece(&pieces,
                  (struct segment){done, end, state_next(NULL, touch->operation, touch->writes)});
    splice(bucket, from, to, pieces.segments, pieces.count);
    free(pieces.segments);
}

/* Forgets segments that are ordered before everything. */
static void sweep_arena(struct arena *arena, void *context)
{
    const struct clock *floor = context;
    for (size_t i = 0; i < arena->bucket_count; i++) {
        struct bucket *bucket = &arena->buckets[i];
        int kept = 0;
        for (int j = 0; j < bucket->count; j++) {
            if (is_past(bucket->segments[j].state, floor))
                state_drop(bucket->segments[j].state);
            else
                bucket->segments[kept++] = bucket->segments[j];
        }
        segment_count -= bucket->count - kept;
        bucket->count = kept;
    }
}

static void sweep(struct clock *floor)
{
    if (segment_count < sweep_at) return;
    arena_each(sweep_arena, floor);
    sweep_at = 2 * segment_count > SWEEP_LEAST ? 2 * segment_count : SWEEP_LEAST;
}

static void buckets_start(struct arena *arena)
{
    if (arena->buckets) return;
    arena->bucket_count = (arena->capacity + BUCKET - 1) / BUCKET;
    arena->buckets = calloc(arena->bucket_count, sizeof *arena->buckets);
    if (!arena->buckets) abort();
}

void history_note(struct arena *arena, struct operation *operation,
                  const struct emulator_range *range)
{
    struct notes *notes = &operation->notes;
    if (!notes->floor) {
        notes->floor = malloc(sizeof *notes->floor);
        if (!notes->floor) abort();
        operations_floor(notes->floor);
        sweep(notes->floor);
    }
    buckets_start(arena);
    size_t first = (uintptr_t)range->address - (uintptr_t)arena->user, end = first + range->bytes;
    while (first < end) {
        size_t index = first / BUCKET, base = index * BUCKET;
        size_t stop = end - base < BUCKET ? end - base : BUCKET;
        struct touch touch = {operation, range->writes, (uintptr_t)arena->user + base};
        bucket_note(&arena->buckets[index], &touch, (uint32_t)(first - base), (uint32_t)stop);
        first = base + stop;
    }
}

void history_done(struct notes *notes)
{
    state_drop(notes->written);
    state_drop(notes->read_from);
    state_drop(notes->read_to);
    free(notes->floor);
    *notes = (struct notes){0};
}

static void check_freed(const struct state *state, const void *address)
{
    for (int i = -1; i < state->count; i++) {
        const struct mark *mark = i < 0 ? &state->writer : &state->readers[i];
        if (!known(&host_clock, mark))
            emulator_fail(
                EMULATOR_RACE,
                "memory is freed that %s (operation %u of stream %u) %s, and the host has "
                "not waited for it: %s",
                mark->name, mark->number, mark->slot, i < 0 ? "writes" : "reads",
                arena_describe(address));
    }
}

void history_free(struct arena *arena, const void *address, size_t bytes)
{
    if (!arena->buckets) return;
    size_t first = (uintptr_t)address - (uintptr_t)arena->user, end = first + bytes;
    while (first < end) {
        size_t index = first / BUCKET, base = index * BUCKET;
        size_t stop = end - base < BUCKET ? end - base : BUCKET;
        struct bucket *bucket = &arena->buckets[index];
        int from = cut(bucket, (uint32_t)(first - base)), to = cut(bucket, (uint32_t)stop);
        for (int i = from; i < to; i++) {
            check_freed(bucket->segments[i].state, arena->user + base + bucket->segments[i].first);
            state_drop(bucket->segments[i].state);
        }
        splice(bucket, from, to, NULL, 0);
        first = base + stop;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A bell is a word in memory that the node's ranks share, and Linux' futex on it. A rank says that
 * it sleeps before it looks a last time, and who rings writes the news before looking for sleepers, so
 * no ring is missed, and ringing for a rank that is awake is no system call. */
#include "comm/bell.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "comm/library.h"
#include "comm/turn.h"

/* Of one rank; cache lines of its own, so that ranks do not disturb each other. */
struct bell {
    _Alignas(64) _Atomic uint32_t rings;
    _Atomic uint32_t sleeps;
    /* What it waits for: that all have come to one operation, or need nothing of another any more. */
    _Atomic uint32_t wanted_entered, wanted_released;
    /* Operations that the rank has come to, needs nothing of any more, and is done with. */
    _Alignas(64) _Atomic uint32_t entered;
    _Atomic uint32_t released, left;
    /* Its number in the group. */
    int rank;
    /* When it last looked for the others, in ns of CLOCK_MONOTONIC; 0: it is in no wait. */
    _Alignas(64) _Atomic int64_t looked_ns;
    /* For operations of even and of odd numbers: who comes to the next may be read for this one by
     * ranks that are slower, and comes to the one after it only when all have come to the next. */
    _Alignas(64) unsigned char notes[2][NOTE_BYTES];
};

/* A rank in a wait looks every few hundred microseconds; one that has not for so long stands still. */
#define STANDS_STILL_NS 500000000

struct bells {
    MPI_Win window;
    int count, own;
    struct bell **of;
};

static enum zi_status find_bells(struct bells *bells)
{
    for (int r = 0; r < bells->count; r++) {
        MPI_Aint bytes;
        int unit;
        MPI_TRY(MPI_Win_shared_query, bells->window, r, &bytes, &unit, &bells->of[r]);
    }
    return ZI_OK;
}

enum zi_status bells_create(MPI_Comm node, int rank, struct bells **bells)
{
    struct bell *own;
    struct bells *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for the bells of a node");
    *bells = made;
    made->window = MPI_WIN_NULL;
    MPI_TRY(MPI_Comm_rank, node, &made->own);
    MPI_TRY(MPI_Comm_size, node, &made->count);
    made->of = calloc((size_t)made->count, sizeof(struct bell *));
    if (!made->of) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for the bells of a node");
    MPI_TRY(MPI_Win_allocate_shared, (MPI_Aint)sizeof *own, (int)sizeof *own, MPI_INFO_NULL, node,
            &own, &made->window);
    atomic_store(&own->rings, 0);
    atomic_store(&own->sleeps, 0);
    atomic_store(&own->wanted_entered, 0);
    atomic_store(&own->wanted_released, 0);
    atomic_store(&own->entered, 0);
    atomic_store(&own->released, 0);
    atomic_store(&own->left, 0);
    atomic_store(&own->looked_ns, 0);
    own->rank = rank;
    MPI_TRY(MPI_Barrier, node);
    return find_bells(made);
}

void bells_destroy(struct bells *bells)
{
    if (!bells) return;
    if (bells->window != MPI_WIN_NULL) (void)MPI_Win_free(&bells->window);
    free(bells->of);
    free(bells);
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *most)
{
    return syscall(SYS_futex, (uint32_t *)word, operation, value, most, NULL, 0);
}

void bells_ring(struct bells *bells)
{
    for (int k = 1; k < bells->count; k++) {
        struct bell *bell = bells->of[(bells->own + k) % bells->count];
        atomic_fetch_add(&bell->rings, 1);
        if (atomic_load(&bell->sleeps)) (void)futex(&bell->rings, FUTEX_WAKE, 1, NULL);
    }
}

void bells_enter(struct bells *bells)
{
    struct bell *own = bells->of[bells->own];
    uint32_t number = atomic_load(&own->entered) + 1;
    atomic_store(&own->wanted_entered, number);
    atomic_store(&own->entered, number);
    bells_ring(bells);
}

/* Whether what a rank has written that it waits for has come to pass. */
static bool is_served(const struct bells *bells, const struct bell *bell)
{
    return bells_all_entered(bells, atomic_load(&bell->wanted_entered)) ||
           bells_all_released(bells, atomic_load(&bell->wanted_released));
}

/* Rings for those that sleep until what has just come to pass. */
static void ring_served(struct bells *bells)
{
    for (int k = 1; k < bells->count; k++) {
        struct bell *bell = bells->of[(bells->own + k) % bells->count];
        if (!atomic_load(&bell->sleeps) || !is_served(bells, bell)) continue;
        atomic_fetch_add(&bell->rings, 1);
        (void)futex(&bell->rings, FUTEX_WAKE, 1, NULL);
    }
}

void bells_come(struct bells *bells, uint32_t number, const void *note, size_t bytes)
{
    struct bell *own = bells->of[bells->own];
    if (bytes > 0) memcpy(own->notes[number % 2], note, bytes);
    atomic_store(&own->left, number);
    atomic_store(&own->entered, number);
    ring_served(bells);
}

void bells_release(struct bells *bells, uint32_t number)
{
    atomic_store(&bells->of[bells->own]->released, number);
    ring_served(bells);
}

void bells_leave(struct bells *bells)
{
    atomic_fetch_add(&bells->of[bells->own]->left, 1);
}

void bells_look(struct bells *bells, int64_t now_ns)
{
    atomic_store_explicit(&bells->of[bells->own]->looked_ns, now_ns, memory_order_relaxed);
}

/* Operations are counted modulo 2^32; none is half of that behind another. */
static bool has_come_to(uint32_t count, uint32_t number)
{
    return (int32_t)(count - number) >= 0;
}

bool bells_all_entered(const struct bells *bells, uint32_t number)
{
    for (int r = 0; r < bells->count; r++) {
        if (!has_come_to(atomic_load(&bells->of[r]->entered), number)) return false;
    }
    return true;
}

bool bells_all_released(const struct bells *bells, uint32_t number)
{
    for (int r = 0; r < bells->count; r++) {
        if (!has_come_to(atomic_load(&bells->of[r]->released), number)) return false;
    }
    return true;
}

bool bells_all_here(const struct bells *bells)
{
    return bells_all_entered(bells, atomic_load(&bells->of[bells->own]->entered));
}

const void *bells_note(const struct bells *bells, int r, uint32_t number)
{
    return bells->of[r]->notes[number % 2];
}

void bells_want(struct bells *bells, uint32_t entered, uint32_t released)
{
    struct bell *own = bells->of[bells->own];
    atomic_store(&own->wanted_entered, entered);
    atomic_store(&own->wanted_released, released);
}

/* It is in a wait, and no stopped process. */
static bool waits(const struct bell *bell, int64_t now_ns)
{
    return now_ns - atomic_load(&bell->looked_ns) < STANDS_STILL_NS;
}

/* Whether the rank whose bell is `own` waits for another. Who is inside of an exchange of messages
 * and does not look for them keeps others waiting, wherever they are. */
static bool is_late(const struct bell *bell, const struct bell *own, int64_t now_ns)
{
    if (waits(bell, now_ns)) return false;
    uint32_t entered = atomic_load(&own->wanted_entered);
    uint32_t released = atomic_load(&own->wanted_released);
    return (has_come_to(atomic_load(&own->entered), entered) &&
            !has_come_to(atomic_load(&bell->entered), entered)) ||
           (has_come_to(atomic_load(&own->released), released) &&
            !has_come_to(atomic_load(&bell->released), released)) ||
           atomic_load(&bell->left) != atomic_load(&bell->entered);
}

int bells_late(const struct bells *bells, int64_t now_ns, char *text, size_t size, bool *speaks)
{
    const struct bell *own = bells->of[bells->own];
    size_t used = 0;
    int late = 0, first = -1;
    text[0] = 0;
    for (int r = 0; r < bells->count; r++) {
        if (first < 0 && waits(bells->of[r], now_ns)) first = r;
        if (!is_late(bells->of[r], own, now_ns)) continue;
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%d", late ? ", " : "",
                                     bells->of[r]->rank);
        late++;
    }
    *speaks = first == bells->own;
    return late;
}

bool bells_has_wanted(const struct bells *bells)
{
    return is_served(bells, bells->of[bells->own]);
}

bool bells_is_late(const struct bells *bells, int r, int64_t now_ns)
{
    return is_late(bells->of[r], bells->of[bells->own], now_ns);
}

uint32_t bells_count(const struct bells *bells)
{
    return atomic_load(&bells->of[bells->own]->rings);
}

void bells_wait(struct bells *bells, uint32_t count, long nanoseconds)
{
    struct bell *own = bells->of[bells->own];
    struct timespec most = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    atomic_store(&own->sleeps, 1);
    if (atomic_load(&own->rings) == count) (void)futex(&own->rings, FUTEX_WAIT, count, &most);
    atomic_store(&own->sleeps, 0);
}

void bells_sleep(struct bells *bells, long nanoseconds)
{
    struct bell *own = bells->of[bells->own];
    struct timespec most = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    uint32_t count = atomic_load(&own->rings);
    atomic_store(&own->sleeps, 1);
    if (!is_served(bells, own)) (void)futex(&own->rings, FUTEX_WAIT, count, &most);
    atomic_store(&own->sleeps, 0);
}

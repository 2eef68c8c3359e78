/* SPDX-License-Identifier: Apache-2.0 */
/* A bell is a word in memory that the node's ranks share, and Linux' futex on it. A rank says that
 * it sleeps before it looks at the word a last time, and who rings changes the word before looking
 * for sleepers, so no ring is missed, and ringing for a rank that is awake is no system call. */
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

/* Of one rank; cache lines of its own, so that ranks do not disturb each other. */
struct bell {
    _Alignas(64) _Atomic uint32_t rings;
    _Atomic uint32_t sleeps;
    /* Operations that the rank has come to, needs nothing of any more, and is done with. */
    _Atomic uint32_t entered, released, left;
    /* When it last looked for the others, in ns of CLOCK_MONOTONIC. */
    _Atomic int64_t looked_ns;
    /* Its number in the group. */
    int rank;
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
    atomic_fetch_add(&bells->of[bells->own]->entered, 1);
    bells_ring(bells);
}

void bells_enter_last(struct bells *bells, const void *note, size_t bytes)
{
    struct bell *own = bells->of[bells->own];
    if (bytes > 0) memcpy(own->notes[(atomic_load(&own->entered) + 1) % 2], note, bytes);
    atomic_fetch_add(&own->entered, 1);
    if (bells_all_entered(bells)) bells_ring(bells);
}

void bells_release(struct bells *bells)
{
    struct bell *own = bells->of[bells->own];
    atomic_store(&own->released, atomic_load(&own->entered));
    if (bells_all_released(bells)) bells_ring(bells);
}

void bells_leave(struct bells *bells)
{
    atomic_fetch_add(&bells->of[bells->own]->left, 1);
}

void bells_look(struct bells *bells, int64_t now_ns)
{
    atomic_store_explicit(&bells->of[bells->own]->looked_ns, now_ns, memory_order_relaxed);
}

bool bells_all_entered(const struct bells *bells)
{
    uint32_t own = atomic_load(&bells->of[bells->own]->entered);
    for (int r = 0; r < bells->count; r++) {
        if ((int32_t)(atomic_load(&bells->of[r]->entered) - own) < 0) return false;
    }
    return true;
}

bool bells_all_released(const struct bells *bells)
{
    uint32_t own = atomic_load(&bells->of[bells->own]->entered);
    for (int r = 0; r < bells->count; r++) {
        if ((int32_t)(atomic_load(&bells->of[r]->released) - own) < 0) return false;
    }
    return true;
}

const void *bells_note(const struct bells *bells, int r)
{
    return bells->of[r]->notes[atomic_load(&bells->of[bells->own]->entered) % 2];
}

static bool is_inside(const struct bell *bell)
{
    return atomic_load(&bell->entered) != atomic_load(&bell->left);
}

static bool waits(const struct bell *bell, int64_t now_ns)
{
    return is_inside(bell) && now_ns - atomic_load(&bell->looked_ns) < STANDS_STILL_NS;
}

/* Whether others wait for a rank, as seen from operation `own`. */
static bool is_late(const struct bell *bell, uint32_t own, int64_t now_ns)
{
    if (is_inside(bell)) return !waits(bell, now_ns);
    return (int32_t)(atomic_load(&bell->entered) - own) < 0;
}

int bells_late(const struct bells *bells, int64_t now_ns, char *text, size_t size, bool *speaks)
{
    uint32_t own = atomic_load(&bells->of[bells->own]->entered);
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

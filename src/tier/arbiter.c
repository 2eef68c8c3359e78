/* SPDX-License-Identifier: Apache-2.0 */
/* The arbiter: how the ranks of a node share the disks of a run.
 *
 * The problem: the depth of the deck is what a disk does well with. N ranks that each keep that
 * many blocks in flight queue N times as many in the kernel; every rank then waits for the blocks
 * of all others, and a read that a rank needs at once stands behind megabytes of somebody's writes.
 *
 * The idea: a table in shared memory, one file in the run's folder, counts the bytes in flight per
 * path and direction. A block is let in when it fits into the budget; while another queue has been
 * turned away, a rank that has its fair share gets no more. A queue with nothing in flight is
 * always let in with one block. So a queue that is turned away has a block of its own whose end
 * makes it ask again: nobody sleeps on anybody else, there is no lock to be left locked, and bytes
 * that a killed rank never gives back cost the others some depth and cannot make them hang.
 *
 * Invariants: in_flight is the sum of what living gates have acquired and not released, plus what
 * dead ones had; it passes the budget by at most one block per queue. `wanting` counts the queues
 * that were turned away and not let in since. Cost: two additions in shared memory per block. */
#include "tier/arbiter.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directions of a path, as `write` says them. */
enum direction { READING = false, WRITING = true, DIRECTIONS };

/* One path in one direction, as all ranks see it. */
struct arbiter_lane {
    _Atomic int64_t in_flight;
    _Atomic int32_t wanting;
};

/* The file; all zero when new. */
struct arbiter_table {
    double speeds[DECK_LIST_MAX];
    struct arbiter_lane lanes[DECK_LIST_MAX][DIRECTIONS];
};

struct arbiter {
    struct arbiter_table *table;
    int64_t budget, share;
    /* Of this rank, in flight */
    _Atomic int64_t own[DECK_LIST_MAX][DIRECTIONS];
};

/* One queue; used by its thread only. */
struct arbiter_gate {
    struct arbiter *arbiter;
    int64_t own[DECK_LIST_MAX][DIRECTIONS];
    bool wanting[DECK_LIST_MAX][DIRECTIONS];
};

/* Gives the new file its size with real zeros: a hole could fail to be filled later, by a signal.
 */
static int fill_new(int file)
{
    static const struct arbiter_table zeros;
    struct stat is;
    if (fstat(file, &is) != 0) return errno;
    if (!S_ISREG(is.st_mode)) return EEXIST;
    if (is.st_size == (off_t)sizeof zeros) return 0;
    ssize_t written = pwrite(file, &zeros, sizeof zeros, 0);
    if (written == (ssize_t)sizeof zeros) return 0;
    return written < 0 ? errno : ENOSPC;
}

enum zi_status arbiter_open(const struct arbiter_options *options, struct arbiter **arbiter)
{
    char *name = NULL;
    struct arbiter *made = calloc(1, sizeof *made);
    if (!made || asprintf(&name, "%s/node", options->folder) < 0) {
        free(made);
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory to share the disks of the node");
    }
    int error = 0, file = openat(options->directory, "node",
                                 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (file < 0) error = errno;
    if (error == 0) error = fill_new(file);
    void *table = MAP_FAILED;
    if (error == 0) {
        table = mmap(NULL, sizeof *made->table, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (table == MAP_FAILED) error = errno;
    }
    if (file >= 0) close(file);
    enum zi_status status = ZI_OK;
    if (error != 0) {
        status = zi_fail(ZI_ERROR_IO, "tier",
                         "%s, which the ranks of the node share, cannot be made: %s%s", name,
                         strerror(error),
                         zi_file_remedy(error, "; free some space, or choose another folder in "
                                               "nvme.paths"));
        free(made);
    } else {
        made->table = table;
        made->budget = (int64_t)options->budget;
        made->share = made->budget / options->ranks;
        *arbiter = made;
    }
    free(name);
    return status;
}

void arbiter_close(struct arbiter *arbiter)
{
    if (!arbiter) return;
    if (munmap(arbiter->table, sizeof *arbiter->table) != 0)
        zi_log(ZI_LOG_WARN, "tier", "the node's table cannot be unmapped: %s", strerror(errno));
    free(arbiter);
}

double *arbiter_speeds(struct arbiter *arbiter)
{
    return arbiter->table->speeds;
}

int64_t arbiter_in_flight(const struct arbiter *arbiter, int path, bool write)
{
    return atomic_load(&arbiter->table->lanes[path][write].in_flight);
}

enum zi_status arbiter_gate_open(struct arbiter *arbiter, struct arbiter_gate **gate)
{
    struct arbiter_gate *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a queue of the disk");
    made->arbiter = arbiter;
    *gate = made;
    return ZI_OK;
}

static void set_wanting(struct arbiter_gate *gate, int path, bool write, bool wanting)
{
    if (gate->wanting[path][write] == wanting) return;
    gate->wanting[path][write] = wanting;
    atomic_fetch_add(&gate->arbiter->table->lanes[path][write].wanting, wanting ? 1 : -1);
}

void arbiter_gate_close(struct arbiter_gate *gate)
{
    if (!gate) return;
    for (int p = 0; p < DECK_LIST_MAX; p++) {
        for (int write = READING; write < DIRECTIONS; write++) {
            ZI_REQUIRE(gate->own[p][write] == 0);
            set_wanting(gate, p, write, false);
        }
    }
    free(gate);
}

/* Adds to what is in flight on a path, unless that would pass the budget. */
static bool add_within_budget(const struct arbiter *arbiter, struct arbiter_lane *lane,
                              int64_t bytes)
{
    int64_t now = atomic_load(&lane->in_flight);
    while (now + bytes <= arbiter->budget) {
        if (atomic_compare_exchange_weak(&lane->in_flight, &now, now + bytes)) return true;
    }
    return false;
}

static bool gate_acquire(void *context, int path, bool write, size_t bytes)
{
    struct arbiter_gate *gate = context;
    struct arbiter *arbiter = gate->arbiter;
    struct arbiter_lane *lane = &arbiter->table->lanes[path][write];
    int64_t *own = &gate->own[path][write], more = (int64_t)bytes;
    bool enters = *own == 0;
    if (enters) {
        atomic_fetch_add(&lane->in_flight, more);
    } else {
        bool others_want = atomic_load(&lane->wanting) > (gate->wanting[path][write] ? 1 : 0);
        bool greedy = atomic_load(&arbiter->own[path][write]) + more > arbiter->share;
        enters = !(others_want && greedy) && add_within_budget(arbiter, lane, more);
    }
    set_wanting(gate, path, write, !enters);
    if (!enters) return false;
    *own += more;
    atomic_fetch_add(&arbiter->own[path][write], more);
    return true;
}

static void gate_release(void *context, int path, bool write, size_t bytes)
{
    struct arbiter_gate *gate = context;
    int64_t less = (int64_t)bytes;
    gate->own[path][write] -= less;
    atomic_fetch_sub(&gate->arbiter->own[path][write], less);
    atomic_fetch_sub(&gate->arbiter->table->lanes[path][write].in_flight, less);
}

/* Only queues with a block of their own in flight are turned away, so no queue needs this long. */
static void gate_wait(void *context, int path, bool write, double timeout_s)
{
    (void)context;
    (void)path;
    (void)write;
    usleep(timeout_s < 1e-3 ? 0 : 1000);
}

struct disk_admission arbiter_admission(struct arbiter_gate *gate)
{
    return (struct disk_admission){
        .context = gate, .acquire = gate_acquire, .release = gate_release, .wait = gate_wait};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bells between the ranks of a node, private to the room. A rank that waits for others sleeps on
 * its bell, and the others ring it when there is news: they have come to an operation, or are done
 * with it. Without that a wait is sleeps and tests in turn, and each test takes the core from the
 * arithmetic that it shares it with. Beside its bell a rank leaves a note for each operation: a few
 * bytes that the others read when it has come. */
#ifndef ZI_COMM_BELL_H
#define ZI_COMM_BELL_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct bells;

/* The most bytes of a note. */
#define NOTE_BYTES 64

/* Collective over `node`, the ranks of one node, which stays the caller's; `rank` is this one's number
 * in the group. */
enum zi_status bells_create(MPI_Comm node, int rank, struct bells **bells);

/* Collective, before MPI ends. NULL is nothing to destroy. */
void bells_destroy(struct bells *bells);

/* Operations are numbered from 1 (modulo 2^32). Who exchanges messages counts them by bells_enter and
 * bells_leave; who reads the others' memory says numbers, in turn, by bells_come and bells_release. */

/* Local. This rank has come to its next operation; rings for the others. */
void bells_enter(struct bells *bells);

/* Local. This rank is done with its operation. */
void bells_leave(struct bells *bells);

/* Local. This rank has come to operation `number`; rings for those who sleep until the last has.
 * `note` (at most NOTE_BYTES) can then be read (bells_note): all ranks need nothing of operation
 * number - 2 any more. */
void bells_come(struct bells *bells, uint32_t number, const void *note, size_t bytes);

/* Local. This rank needs nothing of the others any more up to an operation; rings for those who sleep
 * until the last does not. */
void bells_release(struct bells *bells, uint32_t number);

/* Local. Rings for the others. */
void bells_ring(struct bells *bells);

/* Local. Whether all ranks of the node have come to an operation. */
bool bells_all_entered(const struct bells *bells, uint32_t number);

/* Local. Whether all ranks of the node have released an operation. */
bool bells_all_released(const struct bells *bells, uint32_t number);

/* Local. Whether all ranks of the node have come to the operation at which this one is. */
bool bells_all_here(const struct bells *bells);

/* Local. What rank `r` of the node has left for an operation, when all have come to it; good until
 * this rank comes to the next. */
const void *bells_note(const struct bells *bells, int r, uint32_t number);

/* Local. This rank is in a wait and looks for the others, at a time in ns of CLOCK_MONOTONIC; 0: it
 * waits no longer. */
void bells_look(struct bells *bells, int64_t now_ns);

/* Local. What it waits for: that all have come to one operation, or that all have released another.
 */
void bells_want(struct bells *bells, uint32_t entered, uint32_t released);

/* Local. Whether one of them has come to pass. */
bool bells_has_wanted(const struct bells *bells);

/* Local. Whether rank `r` of the node has not done what this one wants, and waits for nobody. */
bool bells_is_late(const struct bells *bells, int r, int64_t now_ns);

/* Local. The ranks of the node for which the others wait, as text ("1, 3"), and their number: those
 * that have not done what this one wants, and those that came to an exchange and look for no messages
 * any more. A rank that waits itself is none of them. *speaks: this rank is the first of those that
 * wait, and the one to say it. */
int bells_late(const struct bells *bells, int64_t now_ns, char *text, size_t size, bool *speaks);

/* Local. How often it has rung here. */
uint32_t bells_count(const struct bells *bells);

/* Local. Sleeps until it has rung more often than `count`, at most `nanoseconds`. A node of one rank
 * just sleeps. */
void bells_wait(struct bells *bells, uint32_t count, long nanoseconds);

/* Local. Sleeps until what this rank wants (bells_want) has come to pass, at most `nanoseconds`. */
void bells_sleep(struct bells *bells, long nanoseconds);

/* Local. Between two looks: lets the rest of the core work. */
static inline void bells_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

#endif

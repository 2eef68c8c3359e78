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

/* Local. This rank has come to its next operation; rings for the others. */
void bells_enter(struct bells *bells);

/* Local. This rank is done with its operation. */
void bells_leave(struct bells *bells);

/* Local. Rings for the others. */
void bells_ring(struct bells *bells);

/* Local. Whether all ranks of the node have come to the operation at which this one is. */
bool bells_all_here(const struct bells *bells);

/* Local. This rank is in a wait and looks for the others, at a time in ns of CLOCK_MONOTONIC; 0: it
 * waits no longer. */
void bells_look(struct bells *bells, int64_t now_ns);

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

#endif

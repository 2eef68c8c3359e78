/* SPDX-License-Identifier: Apache-2.0 */
/* A wait for other ranks: asleep for most of it, and spoken of when it lasts. Private to the room. */
#ifndef ZI_COMM_WAIT_H
#define ZI_COMM_WAIT_H

#include <stdint.h>

struct mpi_library;

struct wait {
    struct mpi_library *library;
    /* Of CLOCK_MONOTONIC; said: when a word about it was due last. */
    int64_t start_ns, said_ns;
    /* What for, of whom (comm_say); NULL: nothing to speak of. */
    const char *what, *subject;
};

/* Local. ns of CLOCK_MONOTONIC. */
int64_t wait_now_ns(void);

/* Local. The wait begins now, for what the group is at. */
struct wait wait_begin(struct mpi_library *library);

/* Local. This rank has looked, and what it waits for is not there. Tells the others that it looks,
 * and says the wait when that is due (comm_say). Gives the time. */
int64_t wait_look(struct wait *wait);

/* Local. Sleeps until this rank's bell has rung more often than `rung`, at most `nanoseconds`. */
void wait_sleep(const struct wait *wait, uint32_t rung, long nanoseconds);

/* Local. Sleeps until what this rank wants (bells_want) has come to pass, at most `nanoseconds`. */
void wait_until_served(const struct wait *wait, long nanoseconds);

/* Local. The wait is over. */
void wait_end(const struct wait *wait);

#endif

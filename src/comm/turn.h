/* SPDX-License-Identifier: Apache-2.0 */
/* Bells of ranks that read each other's memory, private to the room: a rank comes to operations and
 * releases them by number, and sleeps until others have. Operations are numbered from 1, modulo 2^32.
 */
#ifndef ZI_COMM_TURN_H
#define ZI_COMM_TURN_H

#include "comm/bell.h"

/* Local. This rank has come to operation `number`; rings for those who sleep until the last has.
 * `note` (at most NOTE_BYTES) can then be read (bells_note): all ranks need nothing of operation
 * number - 2 any more. */
void bells_come(struct bells *bells, uint32_t number, const void *note, size_t bytes);

/* Local. This rank needs nothing of the others any more up to an operation; rings for those who sleep
 * until the last does not. */
void bells_release(struct bells *bells, uint32_t number);

/* Local. Whether all ranks of the node have come to an operation. */
bool bells_all_entered(const struct bells *bells, uint32_t number);

/* Local. Whether all ranks of the node have released an operation. */
bool bells_all_released(const struct bells *bells, uint32_t number);

/* Local. What rank `r` of the node has left for an operation, when all have come to it; good until
 * this rank comes to the next. */
const void *bells_note(const struct bells *bells, int r, uint32_t number);

/* Local. What it waits for: that all have come to one operation, or that all have released another.
 */
void bells_want(struct bells *bells, uint32_t entered, uint32_t released);

/* Local. Whether one of them has come to pass. */
bool bells_has_wanted(const struct bells *bells);

/* Local. Whether rank `r` of the node has not done what this one wants, and waits for nobody. */
bool bells_is_late(const struct bells *bells, int r, int64_t now_ns);

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

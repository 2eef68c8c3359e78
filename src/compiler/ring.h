/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: rings of equal slots, which are taken in turn. */
#ifndef ZI_COMPILER_RING_H
#define ZI_COMPILER_RING_H

#include "compiler/build.h"

#define RING_MAX 64

struct ring {
    int count, next;
    int slots[RING_MAX];
};

/* What all slots of a ring are. */
struct ring_slot {
    enum zi_tier tier;
    enum program_purpose purpose;
    size_t bytes;
    /* For people; slots are numbered behind it. */
    const char *name;
};

/* Local. Whether a ring may have so many slots; else it is an error, which names the keys of the
 * deck that ask for fewer. */
bool ring_fits(struct builder *b, int count, const char *name);

/* Local. Lays the slots of a ring. */
void ring_lay(struct builder *b, struct ring *ring, int count, const struct ring_slot *slot);

/* Local. The next slot of a ring. */
int ring_take(struct ring *ring);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Vector clocks: per slot (the order of a stream's operations), how far something is known to be
 * done. The host has one clock for all its threads: a race between threads of the host is not seen,
 * and none is invented. */
#include "private.h"

struct clock host_clock;

void clock_join(struct clock *to, const struct clock *from)
{
    for (int i = 0; i < SLOTS; i++)
        if (from->at[i] > to->at[i]) to->at[i] = from->at[i];
}

void clock_meet(struct clock *to, const struct clock *from)
{
    for (int i = 0; i < SLOTS; i++)
        if (from->at[i] < to->at[i]) to->at[i] = from->at[i];
}

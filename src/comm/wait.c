/* SPDX-License-Identifier: Apache-2.0 */
/* What waits of all transports over processes have in common. */
#include "comm/wait.h"

#include <stdbool.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/log.h"
#include "comm/library.h"
#include "comm/turn.h"

int64_t wait_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct wait wait_begin(struct mpi_library *library)
{
    int64_t now = wait_now_ns();
    return (struct wait){library, now, now, library->what, library->subject};
}

/* On one node in which all ranks wait, what they wait for is still on its way. */
static void say_wait(const struct wait *wait, int64_t now_ns)
{
    char ranks[256];
    bool speaks;
    const struct mpi_library *library = wait->library;
    int late = bells_late(library->bells, now_ns, ranks, sizeof ranks, &speaks);
    if (!speaks) return;
    const char *whom = late > 1            ? "ranks "
                       : late == 1         ? "rank "
                       : library->one_node ? "messages, no rank is missing"
                                           : "a rank of another node";
    zi_log(ZI_LOG_WARN, "comm", "%s%s%s waits since %lld s for %s%s", wait->what,
           wait->subject[0] ? " of " : "", wait->subject,
           (long long)((now_ns - wait->start_ns) / 1000000000), whom, ranks);
}

int64_t wait_look(struct wait *wait)
{
    const struct mpi_library *library = wait->library;
    int64_t now = wait_now_ns();
    bells_look(library->bells, now);
    if (wait->what && now - wait->said_ns > library->patience_ns) {
        say_wait(wait, now);
        wait->said_ns = now;
    }
    return now;
}

/* By default the kernel may lengthen a sleep by 50 us, which is more than the sleep itself. Where
 * the setting is refused, waits are a little longer and nothing else changes. */
static void be_precise(void)
{
    static _Thread_local bool is_precise;
    if (is_precise) return;
    (void)prctl(PR_SET_TIMERSLACK, 2000UL, 0UL, 0UL, 0UL);
    is_precise = true;
}

void wait_sleep(const struct wait *wait, uint32_t rung, long nanoseconds)
{
    be_precise();
    bells_wait(wait->library->bells, rung, nanoseconds);
}

void wait_until_served(const struct wait *wait, long nanoseconds)
{
    be_precise();
    bells_sleep(wait->library->bells, nanoseconds);
}

void wait_end(const struct wait *wait)
{
    bells_look(wait->library->bells, 0);
}

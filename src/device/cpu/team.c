/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting that bears a neighbour.
 *
 * A step is hundreds of parallel regions, and at the end of each the threads of the team wait for
 * the last. By default GNU OpenMP spins for up to 300,000 turns, which is some 10 ms: longer than
 * the slice of time that a scheduler gives. With a core to each thread nobody notices. Beside one
 * other busy process the thread that waits burns the time that the thread it waits for would need,
 * at every region, and a run gets a fraction of its share. So threads spin for a few times as long
 * as it takes to put one to sleep and wake it, and then sleep.
 *
 * The library reads the setting in its constructor and has no call to change it, which leaves the
 * environment of the process: set, and started again. A process manager's descriptors and variables
 * are kept by exec. The variable itself tells the second start from the first. */
#include "device/team.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Turns: some 0.1 to 0.25 ms, by the length of the processor's pause: longer than it takes to put a
 * thread to sleep and wake it, shorter than the slice of time of a neighbour. */
#define SPIN "4000"

void device_team_prepare(char **argv)
{
    static const char self[] = "/proc/self/exe";
    char path[PATH_MAX];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("GOMP_SPINCOUNT", SPIN, 0) == 0) {
        /* By its own path, after which the process is named; by the link where that has gone. */
        ssize_t length = readlink(self, path, sizeof path - 1);
        path[length > 0 ? length : 0] = 0;
        execv(path, argv);
        execv(self, argv);
    }
    zi_log(ZI_LOG_WARN, "device",
           "threads will spin while they wait, which is slow beside other busy processes: %s; "
           "OMP_WAIT_POLICY=passive in the environment mends that",
           strerror(errno));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For how long something was busy that several threads keep so: the time during which any of them did.
 * Sums of the threads would count twice what two did at once. */
#ifndef ZI_DISK_BUSY_H
#define ZI_DISK_BUSY_H

#include <pthread.h>

struct disk_busy {
    pthread_mutex_t lock;
    /* That keep it busy now, since when any does, and before that */
    int users;
    double since_s, sum_s;
};

/* Local. With nobody yet; to be finished. */
void disk_busy_start(struct disk_busy *busy);

/* Local. Nobody uses it any more. */
void disk_busy_finish(struct disk_busy *busy);

/* Local, from any thread. One more; to be left. */
void disk_busy_enter(struct disk_busy *busy);

/* Local, from any thread. One less. */
void disk_busy_leave(struct disk_busy *busy);

/* Local, from any thread. Seconds since it was started, up to now. */
double disk_busy_seconds(struct disk_busy *busy);

#endif

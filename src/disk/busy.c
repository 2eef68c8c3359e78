/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/busy.h"

#include "base/log.h"
#include "base/timing.h"

void disk_busy_start(struct disk_busy *busy)
{
    *busy = (struct disk_busy){.users = 0};
    pthread_mutex_init(&busy->lock, NULL);
}

void disk_busy_finish(struct disk_busy *busy)
{
    pthread_mutex_destroy(&busy->lock);
}

void disk_busy_enter(struct disk_busy *busy)
{
    pthread_mutex_lock(&busy->lock);
    if (busy->users++ == 0) busy->since_s = zi_time_s();
    pthread_mutex_unlock(&busy->lock);
}

void disk_busy_leave(struct disk_busy *busy)
{
    pthread_mutex_lock(&busy->lock);
    ZI_REQUIRE(busy->users > 0);
    if (--busy->users == 0) busy->sum_s += zi_time_s() - busy->since_s;
    pthread_mutex_unlock(&busy->lock);
}

double disk_busy_seconds(struct disk_busy *busy)
{
    pthread_mutex_lock(&busy->lock);
    double sum = busy->sum_s + (busy->users > 0 ? zi_time_s() - busy->since_s : 0);
    pthread_mutex_unlock(&busy->lock);
    return sum;
}

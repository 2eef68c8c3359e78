/* SPDX-License-Identifier: Apache-2.0 */
/* Private to disk: what a queue asks of that which moves its blocks.
 *
 * An engine serves one queue, and is called by one thread at a time. It knows nothing of requests,
 * retries and depth: it takes transfers and says how each ended, as the kernel did. */
#ifndef ZI_DISK_ENGINE_H
#define ZI_DISK_ENGINE_H

#include "disk/disk.h"
#include "disk/fault.h"

#include <time.h>

struct disk_file {
    int descriptor;
    bool direct;
    int path;
    char *name;
};

struct disk_transfer {
    int descriptor;
    /* Unique among the transfers in the engine, below its capacity */
    int slot;
    bool write;
    int64_t offset;
    size_t bytes;
    void *buffer;
};

struct disk_event {
    int slot;
    /* Bytes moved, or -errno */
    int64_t result;
};

struct disk_engine {
    const struct disk_engine_calls *calls;
};

struct disk_engine_calls {
    const char *name;
    /* Takes transfers from the first on; gives the number taken, above 0, or -errno of the first.
     */
    int (*submit)(struct disk_engine *engine, const struct disk_transfer *const *transfers,
                  int count);
    /* Sleeps until a transfer has ended or timeout_s has passed; gives the number of events (0
     * after the time), or -EINTR. */
    int (*wait)(struct disk_engine *engine, double timeout_s, struct disk_event *events,
                int maximum);
    /* With no transfer inside. */
    void (*close)(struct disk_engine *engine);
};

/* Local. An engine of libaio for at most `capacity` transfers at once; 0, or an errno with *engine
 * NULL. */
int disk_libaio_open(int capacity, struct disk_engine **engine);

/* Local. The same of a pool of threads. */
int disk_threads_open(int capacity, struct disk_engine **engine);

/* Local. Puts the fault of the process before an engine, which is then owned by the new one; does
 * nothing without a fault that concerns blocks. 0, or an errno with *engine as it was. */
int disk_fault_wrap(int capacity, struct disk_engine **engine);

/* Local. Reads ZINF_DISK_FAULT, once per process. ZI_ERROR_USAGE when it cannot be understood. */
enum zi_status disk_fault_prepare(void);

/* Local. Whether a fault of this kind, which does not concern blocks, strikes now. */
bool disk_fault_strikes_now(enum disk_fault_kind kind);

/* Local. A time to wait; what is negative or no number is 0. */
static inline struct timespec disk_timespec(double seconds)
{
    const double most = 1e6; /* days: for ever, and far from where a time_t or the kernel wraps */
    double kept = !(seconds > 0) ? 0 : seconds < most ? seconds : most;
    time_t whole = (time_t)kept;
    return (struct timespec){whole, (long)((kept - (double)whole) * 1e9)};
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that looks after what a device does by itself with other ranks, private to the room: the
 * host has handed a collective over and sleeps until the device is done, so nobody else would see that
 * another rank does not come. */
#ifndef ZI_COMM_WATCH_H
#define ZI_COMM_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

/* A collective on its way: which call, its number, and of what (comm_say); the texts are not copied. */
struct watch_subject {
    const char *call, *what, *subject;
    int64_t number;
};

/* What the thread asks and does, from the start of the watch to its end. */
struct watch_client {
    void *context;
    /* Whether the library, or the end of a rank, lets no collective succeed any more, and how that is
     * said. `waits`: one of them waits now. */
    bool (*is_lost)(void *context, bool waits, char *text, size_t size);
    /* Ends the job; does not return. */
    void (*end)(void *context);
};

struct watch;
struct watched;

/* Local. Starts the thread. */
enum zi_status watch_start(struct device *device, const struct watch_client *client,
                           struct watch **watch);

/* Local. Ends it; nothing is under way any more. NULL is nothing to end. */
void watch_stop(struct watch *watch);

/* Local. Before a collective is enqueued: marks the place of the stream. */
enum zi_status watch_begin(struct watch *watch, struct device_stream *stream,
                           const struct watch_subject *subject, struct watched **watched);

/* Local. After it has been enqueued. Belongs to the watch from here on. */
enum zi_status watch_end(struct watch *watch, struct device_stream *stream,
                         struct watched *watched);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The host's addresses of what a reduce_scatter works on. Private to the room. */
#ifndef ZI_COMM_MAP_H
#define ZI_COMM_MAP_H

#include "comm/transport.h"

struct comm_mapped {
    float *full, *shard;
    char *scratch;
};

/* Local. Waits until the stream has made the buffers and maps them (device_map) until
 * comm_unmap_reduction; nothing after an error. A shard that is its own place inside full is mapped
 * with it. */
enum zi_status comm_map_reduction(const struct comm *comm, struct device_stream *stream,
                                  const struct comm_reduction *reduction,
                                  struct comm_mapped *mapped);

/* Local. Ends that. */
void comm_unmap_reduction(const struct comm *comm, struct device_stream *stream,
                          const struct comm_reduction *reduction);

#endif

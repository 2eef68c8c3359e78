/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/apart: the device, its streams, and a call that waits for its turn. */
#ifndef ZI_DEVICE_APART_PRIVATE_H
#define ZI_DEVICE_APART_PRIVATE_H

#include <pthread.h>

#include "device/apart/apart.h"
#include "device/table.h"

/* Memory of the device: the address that callers have, and where it really is. */
struct apart_memory {
    struct apart_memory *next;
    uintptr_t address;
    size_t bytes;
    char *alias;
};

struct apart_stream;

struct apart_device {
    struct device base;
    /* The cpu device that does the arithmetic. */
    struct device *cpu;
    enum apart_schedule schedule;
    uint64_t seed;
    /* Guards all that follows, and the queues of all streams. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Streams that were made so far; the first of them; threads of the host that wait for work. */
    uint64_t streams;
    struct apart_stream *lead;
    int host_waits;
    struct apart_memory *memories;
    /* device_map less device_unmap. */
    int mapped;
};

/* An operation with a copy of its arguments, their addresses those of the cpu device. */
struct apart_call {
    enum zi_status (*run)(const struct device_operations *, struct device_stream *,
                          const struct apart_call *);
    union {
        struct device_matmul matmul;
        struct device_norm norm;
        struct device_rope rope;
        struct device_attention attention;
        struct device_attention_cached cached;
        struct device_adam adam;
        struct device_embedding embedding;
        struct device_softmax softmax;
        struct device_glu glu;
        struct device_dropout dropout;
        struct device_place place;
    };
    struct device_ptr at[3];
    enum zi_dtype type[2];
    int64_t size[5];
    double real;
    int whole;
};

/* Local. The whole of a device that is known to be this one. */
static inline struct apart_device *apart_device_of(struct device *device)
{
    return (struct apart_device *)device;
}

/* apart.c */
/* Local. Turns an address of device memory into the real one; others stay. Whether it was one. */
bool apart_reach(struct apart_device *device, struct device_ptr *pointer);

/* calls.c */
/* Local. The operations, each of which puts a call into its stream's queue. */
void apart_calls_register(struct device_operations *operations);

/* streams.c */
/* Local. Puts a copy of the call behind the stream's work. */
enum zi_status apart_stream_give(struct device_stream *stream, const struct apart_call *call);

/* Local. device_stream_create of this device. */
enum zi_status apart_stream_create(struct device *device, int threads,
                                   struct device_stream **stream);

/* Local. device_stream_destroy of this device. */
void apart_stream_destroy(struct device_stream *stream);

/* Local. device_stream_synchronize of this device. */
enum zi_status apart_stream_synchronize(struct device_stream *stream);

/* Local. The stream of the cpu device that a stream's work is done on. */
struct device_stream *apart_stream_cpu(struct device_stream *stream);

/* Local. device_event_create of this device. */
enum zi_status apart_event_create(struct device *device, struct device_event **event);

/* Local. device_event_destroy of this device. */
void apart_event_destroy(struct device_event *event);

/* Local. device_event_record of this device. */
enum zi_status apart_event_record(struct device_event *event, struct device_stream *stream);

/* Local. device_event_wait of this device. */
enum zi_status apart_event_wait(struct device_stream *stream, struct device_event *event);

/* Local. device_event_query of this device. */
enum zi_status apart_event_query(struct device_event *event, bool *done);

/* Local. device_event_synchronize of this device. */
enum zi_status apart_event_synchronize(struct device_event *event, double *time_s);

#endif

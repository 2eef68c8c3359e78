/* SPDX-License-Identifier: Apache-2.0 */
/* A device: memory, streams, events and copies. The tensor operations are in device/operations.h.
 *
 * Device memory has a type of its own, so that dereferencing it on the host does not compile. A
 * stream is an in-order queue of work; on the cpu device work runs in the calling thread before the
 * call returns, with the number of OpenMP threads that the stream was made with, so each lane of a
 * program has its own thread and its own stream. Other devices work on their own
 * (device_properties, asynchronous): what a call is given by address must stay until its stream has
 * passed it, but for the description of an operation, which is copied.
 *
 * Contract of all operations: the result does not depend on the number of threads of the stream,
 * except for matmul that is not by tiles, and is the same from call to call. */
#ifndef ZI_DEVICE_DEVICE_H
#define ZI_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "base/status.h"
#include "deck/settings.h"

/* A place in memory of a device, or in host memory that it works on. */
struct device_ptr {
    /* 0: nothing. */
    uintptr_t address;
};

/* Local. The place `bytes` further on. */
static inline struct device_ptr device_at(struct device_ptr base, size_t bytes)
{
    return (struct device_ptr){base.address + bytes};
}

/* Local. Whether it is no place. */
static inline bool device_is_null(struct device_ptr pointer)
{
    return pointer.address == 0;
}

struct device;
struct device_stream;
struct device_event;
struct device_operations;

/* A rank among those of its node, which share the node's cores and devices. */
struct device_share {
    int ranks, rank;
};

/* The only rank of its node. */
#define DEVICE_ALONE ((struct device_share){1, 0})

struct device_properties {
    /* Of the processor, with the instruction set in use. */
    char name[96];
    /* What the device has in all; 0: not known here. */
    size_t memory_bytes;
    /* It is the processor of the host: its memory is the host's, its work runs in the caller. */
    bool is_host;
    /* Device memory is host memory: no copies between them. */
    bool unified;
    /* Device memory lies on the host's, and the host can reach it for a time (device_map). */
    bool mappable;
    /* Calls return before their work is done; otherwise events and synchronizing do nothing. */
    bool asynchronous;
    /* Multiplies bf16 in hardware; otherwise bf16 is widened to fp32. */
    bool bf16_native;
    /* Per rank. */
    int threads;
    /* The node has a core for each rank, and their threads take all: one more thread would work in the
     * place of another. */
    bool fills_cores;
};

/* Local. What device_open would open, found without opening it: nothing is allocated, no thread is
 * started. A device of a type that this program cannot open is described by what all of the type
 * have in common. Errors as of device_open, but that the device need not be there. */
enum zi_status device_describe(const struct settings_device *settings, struct device_share share,
                               struct device_properties *properties);

/* Local. ZI_ERROR_DEVICE, after logging why, when this program opens no device of the deck's type.
 */
enum zi_status device_check(const struct settings_device *settings);

/* Local. Opens the device that the deck names, for one of the ranks of a node (threads: auto divides
 * the cores by them; a rank has the GPU of its number among those that it sees). Close with
 * device_close after all memory, streams and events are gone. ZI_ERROR_DEVICE when it is not there
 * or an instruction set is asked for that the processor lacks. */
enum zi_status device_open(const struct settings_device *settings, struct device_share share,
                           struct device **device);

/* Local. Nothing for NULL. */
void device_close(struct device *device);

/* Local. The host beside a device, for operations on host memory: the device itself where it is the
 * host, otherwise a cpu device that the caller closes before `device`. */
enum zi_status device_open_host(struct device *device, const struct settings_device *settings,
                                struct device_share share, struct device **host);

/* Local. Owned by the device. */
const struct device_properties *device_get_properties(const struct device *device);

/* Local. The operations of this device; a NULL member is one that the device lacks. */
const struct device_operations *device_get_operations(const struct device *device);

/* Local. A symbol of the module that the device came from, for other rooms that have code there (the
 * collectives of comm); NULL where there is none or the device came from no module. */
void *device_symbol(const struct device *device, const char *name);

/* Local. Zeroed memory on the device, or host memory that the device copies from and to at full
 * speed; accounted under `name`, until device_free. */
enum zi_status device_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                               const char *name, struct device_ptr *memory);

/* Local. Frees memory of device_allocate, of the same tier; nothing for a null pointer. */
void device_free(struct device *device, enum zi_tier tier, struct device_ptr memory);

/* Local. The host's address of [memory, memory + bytes), in device or host memory, for work that
 * the host does itself: waits until the stream has done all that it was given. Good until
 * device_unmap of the same memory, before which nothing else works there. ZI_ERROR_DEVICE where the
 * device is not mappable. */
enum zi_status device_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                          void **host);

/* Local. Ends what device_map of the same memory began. */
void device_unmap(struct device_stream *stream, struct device_ptr memory);

/* Local. A stream belongs to the caller. `threads` is how many threads of the host its work may
 * use; 0 means 1. */
enum zi_status device_stream_create(struct device *device, int threads,
                                    struct device_stream **stream);

/* Local. Waits for the stream's work first; nothing for NULL. */
void device_stream_destroy(struct device_stream *stream);

/* Local. What the device's own libraries know the stream by (a cudaStream_t), after making its device
 * the calling thread's; NULL where there is nothing of the kind, or after an error, which is logged.
 */
void *device_stream_handle(struct device_stream *stream);

/* Local. Sleeps until all work of the stream is done; gives the first error of that work. */
enum zi_status device_stream_synchronize(struct device_stream *stream);

/* Local. An event belongs to the caller, and marks a place of a stream: the one where it was
 * recorded last. */
enum zi_status device_event_create(struct device *device, struct device_event **event);

/* Local. Nothing for NULL. */
void device_event_destroy(struct device_event *event);

/* Local. Moves the event to the end of what the stream has been given so far. */
enum zi_status device_event_record(struct device_event *event, struct device_stream *stream);

/* Local. Work that the stream is given after it starts when the event's stream has passed the
 * event's place; an event that was never recorded holds nothing back. */
enum zi_status device_event_wait(struct device_stream *stream, struct device_event *event);

/* Local. Whether the event's place has been passed, without waiting. */
enum zi_status device_event_query(struct device_event *event, bool *done);

/* Local. The host sleeps until the event's place has been passed. *time_s, unless NULL, gets when
 * that was, in the time of zi_time_s. Gives the first error of the work before it. */
enum zi_status device_event_synchronize(struct device_event *event, double *time_s);

/* Local. Copies bytes between any two places, device or host; they do not overlap. Both stay
 * untouched until an event recorded after it is done. */
enum zi_status device_copy(struct device_stream *stream, struct device_ptr to,
                           struct device_ptr from, size_t bytes);

/* The peak that shares are stated against. */
struct device_peak {
    /* Of all threads of the stream together. */
    double flops_per_s;
    /* What it was measured with, as "amx bf16"; never freed. */
    const char *instructions;
};

/* Local. Runs, for about `seconds` on all threads of the stream, the multiply-adds that matrix
 * products of the type are made of, on registers alone: no product is faster. Where the threads of
 * the node are more than its cores, it is what they reach at once. For the peak of several ranks
 * all of them measure at the same time. */
enum zi_status device_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                   struct device_peak *peak);

#endif

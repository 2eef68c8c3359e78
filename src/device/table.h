/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device: what an implementation is. It fills a table of functions, and its devices,
 * streams and events begin with the structs below, which the calls of device/device.h go through.
 * A function does what the call of its name is said to do there; arguments have been checked. */
#ifndef ZI_DEVICE_TABLE_H
#define ZI_DEVICE_TABLE_H

#include "device/operations.h"

struct device_table {
    void (*close)(struct device *);
    enum zi_status (*allocate)(struct device *, enum zi_tier tier, size_t bytes, const char *name,
                               struct device_ptr *memory);
    void (*free)(struct device *, enum zi_tier tier, struct device_ptr memory);
    enum zi_status (*map)(struct device_stream *, struct device_ptr memory, size_t bytes,
                          void **host);
    void (*unmap)(struct device_stream *, struct device_ptr memory);
    enum zi_status (*stream_create)(struct device *, int threads, struct device_stream **stream);
    void (*stream_destroy)(struct device_stream *);
    enum zi_status (*stream_synchronize)(struct device_stream *);
    /* NULL: streams have no handle. */
    void *(*stream_handle)(struct device_stream *);
    enum zi_status (*event_create)(struct device *, struct device_event **event);
    void (*event_destroy)(struct device_event *);
    enum zi_status (*event_record)(struct device_event *, struct device_stream *);
    enum zi_status (*event_wait)(struct device_stream *, struct device_event *);
    enum zi_status (*event_query)(struct device_event *, bool *done);
    enum zi_status (*event_synchronize)(struct device_event *, double *time_s);
    enum zi_status (*copy)(struct device_stream *, struct device_ptr to, struct device_ptr from,
                           size_t bytes);
    enum zi_status (*measure_peak)(struct device_stream *, enum zi_dtype type, double seconds,
                                   struct device_peak *peak);
};

struct device {
    const struct device_table *table;
    struct device_properties properties;
    struct device_operations operations;
};

struct device_stream {
    struct device *device;
    /* How many threads of the host its work may use, at least 1. */
    int threads;
};

struct device_event {
    struct device *device;
};

/* Devices of one type: as device_describe, which gives the properties of what is opened, and as
 * device_open. */
struct device_backend {
    /* NULL: all of the type are described by what they have in common. */
    enum zi_status (*describe)(const struct settings_device *settings, struct device_share share,
                               struct device_properties *properties);
    enum zi_status (*open)(const struct settings_device *settings, struct device_share share,
                           struct device **device);
};

/* What a module exports under the name zinf_module: devices that need libraries of their own, in a
 * file that is loaded only when a deck asks for them. */
struct device_module {
    /* Of the program that it was built with; any other is refused. */
    const char *version;
    const struct device_backend *backend;
};

/* For device.type: cpu. */
extern const struct device_backend cpu_device_backend;

/* Local. Decks that name this type get the devices of `backend`, which stays; NULL takes it back.
 * For modules that are loaded at run time, and for tests. Call before any device of the type is
 * opened. */
void device_register(enum device_type type, const struct device_backend *backend);

#endif

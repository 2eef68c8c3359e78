/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the device that the deck names, and hands every call on to the implementation behind it.
 *
 * An implementation is a table of functions (device/table.h). The cpu device is always built; what
 * needs a library of its own is a module that registers itself when it is loaded, so that a run on
 * the cpu does not pay for it. */
#include "device/table.h"

#include "device/module.h"

static const struct device_backend *backends[DEVICE_TYPE_COUNT] = {[DEVICE_CPU] =
                                                                       &cpu_device_backend};

void device_register(enum device_type type, const struct device_backend *backend)
{
    backends[type] = backend;
}

/* Of cuda devices, as far as the deck and their kind say it. */
static const struct device_properties elsewhere = {
    .name = "cuda, not of this machine", .asynchronous = true, .bf16_native = true, .threads = 1};

enum zi_status device_describe(const struct settings_device *settings, struct device_share share,
                               struct device_properties *properties)
{
    const struct device_backend *backend = backends[settings->type];
    if (backend && backend->describe) return backend->describe(settings, share, properties);
    *properties = elsewhere;
    return ZI_OK;
}

enum zi_status device_check(const struct settings_device *settings)
{
    if (backends[settings->type]) return ZI_OK;
    return device_module_load(&backends[settings->type]);
}

enum zi_status device_open(const struct settings_device *settings, struct device_share share,
                           struct device **device)
{
    ZI_TRY(device_check(settings));
    return backends[settings->type]->open(settings, share, device);
}

enum zi_status device_open_host(struct device *device, const struct settings_device *settings,
                                struct device_share share, struct device **host)
{
    if (!device->properties.is_host) return cpu_device_backend.open(settings, share, host);
    *host = device;
    return ZI_OK;
}

void device_close(struct device *device)
{
    if (device) device->table->close(device);
}

const struct device_properties *device_get_properties(const struct device *device)
{
    return &device->properties;
}

const struct device_operations *device_get_operations(const struct device *device)
{
    return &device->operations;
}

void *device_symbol(const struct device *device, const char *name)
{
    return device->properties.is_host ? NULL : device_module_symbol(name);
}

enum zi_status device_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                               const char *name, struct device_ptr *memory)
{
    return device->table->allocate(device, tier, bytes, name, memory);
}

void device_free(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    if (!device_is_null(memory)) device->table->free(device, tier, memory);
}

enum zi_status device_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                          void **host)
{
    return stream->device->table->map(stream, memory, bytes, host);
}

void device_unmap(struct device_stream *stream, struct device_ptr memory)
{
    stream->device->table->unmap(stream, memory);
}

enum zi_status device_stream_create(struct device *device, int threads,
                                    struct device_stream **stream)
{
    return device->table->stream_create(device, threads > 0 ? threads : 1, stream);
}

void *device_stream_handle(struct device_stream *stream)
{
    const struct device_table *table = stream->device->table;
    return table->stream_handle ? table->stream_handle(stream) : NULL;
}

void device_stream_destroy(struct device_stream *stream)
{
    if (stream) stream->device->table->stream_destroy(stream);
}

enum zi_status device_stream_synchronize(struct device_stream *stream)
{
    return stream->device->table->stream_synchronize(stream);
}

enum zi_status device_event_create(struct device *device, struct device_event **event)
{
    return device->table->event_create(device, event);
}

void device_event_destroy(struct device_event *event)
{
    if (event) event->device->table->event_destroy(event);
}

enum zi_status device_event_record(struct device_event *event, struct device_stream *stream)
{
    return event->device->table->event_record(event, stream);
}

enum zi_status device_event_wait(struct device_stream *stream, struct device_event *event)
{
    return event->device->table->event_wait(stream, event);
}

enum zi_status device_event_query(struct device_event *event, bool *done)
{
    return event->device->table->event_query(event, done);
}

enum zi_status device_event_synchronize(struct device_event *event, double *time_s)
{
    return event->device->table->event_synchronize(event, time_s);
}

enum zi_status device_copy(struct device_stream *stream, struct device_ptr to,
                           struct device_ptr from, size_t bytes)
{
    return stream->device->table->copy(stream, to, from, bytes);
}

enum zi_status device_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                   struct device_peak *peak)
{
    return stream->device->table->measure_peak(stream, type, seconds, peak);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cuda: the functions of its table, by file, and what streams and devices need
 * of each other's files. */
#ifndef ZI_DEVICE_CUDA_CALLS_H
#define ZI_DEVICE_CUDA_CALLS_H

#include "device/cuda/cuda.h"

/* memory.c */
/* Local. device_allocate of this device. */
enum zi_status cuda_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                             const char *name, struct device_ptr *memory);
/* Local. device_free of this device. */
void cuda_free(struct device *device, enum zi_tier tier, struct device_ptr memory);
/* Local. device_map of this device: of host memory. */
enum zi_status cuda_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                        void **host);
/* Local. device_unmap of this device. */
void cuda_unmap(struct device_stream *stream, struct device_ptr memory);

/* streams.c */
/* Local. device_stream_create of this device. */
enum zi_status cuda_stream_create(struct device *device, int threads,
                                  struct device_stream **stream);
/* Local. device_stream_destroy of this device. */
void cuda_stream_destroy(struct device_stream *stream);
/* Local. device_stream_synchronize of this device. */
enum zi_status cuda_stream_synchronize(struct device_stream *stream);
/* Local. device_stream_handle of this device. */
void *cuda_stream_handle(struct device_stream *stream);
/* Local. device_event_create of this device. */
enum zi_status cuda_event_create(struct device *device, struct device_event **event);
/* Local. device_event_destroy of this device. */
void cuda_event_destroy(struct device_event *event);
/* Local. device_event_record of this device. */
enum zi_status cuda_event_record(struct device_event *event, struct device_stream *stream);
/* Local. device_event_wait of this device. */
enum zi_status cuda_event_wait(struct device_stream *stream, struct device_event *event);
/* Local. device_event_query of this device. */
enum zi_status cuda_event_query(struct device_event *event, bool *done);
/* Local. device_event_synchronize of this device. */
enum zi_status cuda_event_synchronize(struct device_event *event, double *time_s);
/* Local. device_copy of this device. */
enum zi_status cuda_copy(struct device_stream *stream, struct device_ptr to, struct device_ptr from,
                         size_t bytes);
/* Local. Makes what times are taken from; the device is the calling thread's. */
enum zi_status cuda_clock_start(struct cuda_device *device);
/* Local. Ends it; nothing where it was not made. */
void cuda_clock_stop(struct cuda_device *device);

/* products.c */
/* Local. The operation matmul of the device. */
enum zi_status cuda_matmul(struct device_stream *stream, const struct device_matmul *desc);
/* Local. Frees what a stream keeps for products; nothing where there were none. */
void cuda_products_destroy(struct cuda_stream *stream);

/* peak.c */
/* Local. device_measure_peak of this device. */
enum zi_status cuda_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                 struct device_peak *peak);

#endif

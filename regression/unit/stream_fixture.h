/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of the cpu device, for tests of what takes one. */
#ifndef ZI_REGRESSION_STREAM_FIXTURE_H
#define ZI_REGRESSION_STREAM_FIXTURE_H

#include <stdlib.h>

#include "device/device.h"

static struct device *stream_fixture_device;
static struct device_stream *stream;

/* Makes the stream. */
static inline void stream_fixture_open(void)
{
    struct settings_device cpu = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&cpu, DEVICE_ALONE, &stream_fixture_device) < 0) exit(1);
    if (device_stream_create(stream_fixture_device, 1, &stream) < 0) exit(1);
}

/* Ends it. */
static inline void stream_fixture_close(void)
{
    device_stream_destroy(stream);
    device_close(stream_fixture_device);
}

#endif

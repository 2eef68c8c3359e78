/* SPDX-License-Identifier: Apache-2.0 */
/* For tests on a CUDA device, emulated or real: a test without one is skipped, with the reason. */
#ifndef ZI_REGRESSION_CUDA_FIXTURE_H
#define ZI_REGRESSION_CUDA_FIXTURE_H

#include <stdlib.h>

#include "base/log.h"
#include "device/device.h"
#include "regression/unit/test.h"

/* The deck's device.attention of devices that are opened here. */
static int64_t cuda_fixture_attention = ATTENTION_OWN;

/* Opens the CUDA device of a rank, or ends the program: 77, as automake counts a skipped test, where
 * there is none; ZINF_NEEDS_GPU in the environment makes that a failure (make check-gpu). */
static inline struct device *cuda_fixture_open(struct device_share share)
{
    const struct settings_device settings = {
        .type = DEVICE_CUDA, .threads = 1, .isa = ZI_AUTO, .attention = cuda_fixture_attention};
    struct device *device = NULL;
    if (device_open(&settings, share, &device) >= 0) return device;
    fprintf(stderr, "skip: there is no CUDA device, real or emulated\n");
    exit(getenv("ZINF_NEEDS_GPU") ? 1 : 77);
}

/* Ends the program as above unless there is a device. */
static inline void cuda_fixture_need(struct device_share share)
{
    device_close(cuda_fixture_open(share));
}

#endif

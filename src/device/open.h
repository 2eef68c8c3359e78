/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device: how each kind of device is opened. */
#ifndef ZI_DEVICE_OPEN_H
#define ZI_DEVICE_OPEN_H

#include "device/device.h"

/* Local. As device_open, for device.type: cpu. */
enum zi_status cpu_device_open(const struct settings_device *settings, int node_ranks,
                               struct device **device);

#endif

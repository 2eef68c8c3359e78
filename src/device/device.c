/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the device that the deck names. The cpu device is always built; a cuda device will be a
 * module that is opened at run time, so that a cpu run does not load its libraries. */
#include "device/device.h"

#include "base/log.h"
#include "device/open.h"

enum zi_status device_open(const struct settings_device *settings, int node_ranks,
                           struct device **device)
{
    if (settings->type == DEVICE_CUDA) {
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "device.type: cuda comes with a later version; cpu works");
    }
    return cpu_device_open(settings, node_ranks, device);
}

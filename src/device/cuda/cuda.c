/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "device/cuda/cuda.h"

#include "base/log.h"

__attribute__((visibility("default"))) const struct device_module zinf_module = {.version = PACKAGE_VERSION};

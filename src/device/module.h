/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device: the module zinf-cuda.so, a file beside the program that is loaded when a deck
 * asks for a CUDA device, so that a run on the cpu pays nothing for libraries of hundreds of MB. */
#ifndef ZI_DEVICE_MODULE_H
#define ZI_DEVICE_MODULE_H

#include "device/table.h"

/* Local. Loads the module, unless it is loaded, and gives its backend. ZI_ERROR_DEVICE, after logging
 * why and what to do: this zinf was built without CUDA, the file is not there, a library that it needs
 * is not there, it is of another version. */
enum zi_status device_module_load(const struct device_backend **backend);

/* Local. The symbol of the loaded module; NULL when it has none of the name or is not loaded. */
void *device_module_symbol(const char *name);

#endif

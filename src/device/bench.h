/* SPDX-License-Identifier: Apache-2.0 */
/* Times the operations of a device against its ceilings. */
#ifndef ZI_DEVICE_BENCH_H
#define ZI_DEVICE_BENCH_H

#include <stdio.h>

#include "device/device.h"

/* Local. Prints a table: each operation that the device has, at the sizes of GPT-2 124M with 1024
 * tokens, in fp32, bf16 and fp16, with all threads and with one. Products and attention in GFLOP/s and
 * share of the peak of their type (device_measure_peak); the others in GB/s and share of the triad
 * a = b + s c and of a copy past the caches. Ceilings are measured in the same run, on the same
 * threads. */
enum zi_status device_bench(struct device *device, FILE *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/kernel.cuh"

void cuda_convert_register(struct device_operations *operations)
{
    (void)operations;
}

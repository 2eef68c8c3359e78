/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the emulation's own tests, for C. */
#ifndef ZI_REGRESSION_EMULATOR_KERNELS_H
#define ZI_REGRESSION_EMULATOR_KERNELS_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x[0..count) *= 2. */
cudaError_t kernels_double(float *x, int count, cudaStream_t stream);

/* x[0..count) in the other order, by one block with `shared` bytes of shared memory. */
cudaError_t kernels_reverse(float *x, int count, size_t shared, cudaStream_t stream);

/* kernels_reverse may be given this much shared memory. */
cudaError_t kernels_allow_shared(size_t bytes);

/* Blocks of kernels_reverse that a multiprocessor has room for. */
cudaError_t kernels_occupancy(int threads, size_t shared, int *blocks);

#ifdef __cplusplus
}
#endif
#endif

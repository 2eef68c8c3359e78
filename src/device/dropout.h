/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device: the numbers by which elements are dropped, alike on all devices. */
#ifndef ZI_DEVICE_DROPOUT_H
#define ZI_DEVICE_DROPOUT_H

#include <stdint.h>

#ifdef __CUDACC__
#define DROPOUT_FUNCTION static __host__ __device__ inline
#else
#define DROPOUT_FUNCTION static inline
#endif

/* Local. 64 well-mixed bits for elements 2 pair and 2 pair + 1: a finaliser of the splitmix64 kind (David
 * Stafford's variant 13) of pair * golden ratio + seed. */
DROPOUT_FUNCTION uint64_t dropout_pair(uint64_t seed, uint64_t pair)
{
    uint64_t x = pair * 0x9e3779b97f4a7c15u + seed;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Local. The bits of an element among those of its pair. */
DROPOUT_FUNCTION uint32_t dropout_half(uint64_t bits, uint64_t element)
{
    return (uint32_t)(element & 1 ? bits >> 32 : bits);
}

/* Local. An element is dropped where its bits are below this. */
DROPOUT_FUNCTION uint32_t dropout_limit(double share)
{
    return (uint32_t)(share * 0x1p32);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The peak of a CUDA device: what NVIDIA states of it, without sparsity, or for a device that is not
 * in the table what its fastest square product reaches.
 *
 * Figures: NVIDIA's data sheets of V100 (2020, with V100S), A100 (2021), A10 and L4, L40 and L40S (2023), H100 (2024,
 * SXM, PCIe, NVL), H200 (2024), B200 (2024, HGX); products of half types with fp32 sums. */
#include "device/cuda/calls.h"

#include <string.h>

#include "base/log.h"
#include "base/timing.h"

struct stated {
    /* Part of the name that the driver gives. */
    const char *name;
    /* 1e12 per s; 0: not stated, or not a type of its. */
    double fp32, half, bf16;
};

/* The first that fits: longer names come before their beginnings. */
static const struct stated devices[] = {
    {"H100 PCIe", 51.2, 756.0, 756.0}, {"H100 NVL", 60.0, 835.5, 835.5},
    {"H100", 66.9, 989.4, 989.4},      {"H200 NVL", 60.0, 835.5, 835.5},
    {"H200", 66.9, 989.4, 989.4},      {"GH200", 66.9, 989.4, 989.4},
    {"B200", 75.0, 2250.0, 2250.0},    {"A100", 19.5, 311.9, 311.9},
    {"A10G", 0.0, 0.0, 0.0},           {"A10", 31.2, 125.0, 125.0},
    {"L40S", 91.6, 362.0, 362.0},      {"L40", 90.5, 181.0, 181.0},
    {"L4", 30.3, 121.0, 121.0},        {"V100S", 16.4, 130.0, 0.0},
    {"V100-PCIE", 14.0, 112.0, 0.0},   {"V100", 15.7, 125.0, 0.0},
};

static double stated_peak(const char *name, enum zi_dtype type)
{
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        if (!strstr(name, devices[i].name)) continue;
        double peak = type == ZI_FP32   ? devices[i].fp32
                      : type == ZI_BF16 ? devices[i].bf16
                                        : devices[i].half;
        return peak * 1e12;
    }
    return 0;
}

/* Operations per second of a square product. */
static enum zi_status measure_size(struct device_stream *stream, enum zi_dtype type, int64_t size,
                                   double *flops_per_s)
{
    struct device_ptr memory = {0};
    size_t bytes = (size_t)(size * size) * zi_dtype_bytes(type);
    ZI_TRY(cuda_allocate(stream->device, ZI_TIER_DEVICE, 3 * bytes, "peak", &memory));
    const struct device_matmul product = {.type = type,
                                          .type_c = type,
                                          .m = size,
                                          .n = size,
                                          .k = size,
                                          .lda = size,
                                          .ldb = size,
                                          .ldc = size,
                                          .transpose_b = true,
                                          .a = memory,
                                          .b = device_at(memory, bytes),
                                          .c = device_at(memory, 2 * bytes)};
    double start_s = 0;
    enum zi_status status = ZI_OK;
    for (int i = 0; i < 2 && status >= 0; i++) { /* the first time is for what is made once */
        status = cuda_stream_synchronize(stream);
        start_s = zi_time_s();
        if (status >= 0) status = cuda_matmul(stream, &product);
        if (status >= 0) status = cuda_stream_synchronize(stream);
    }
    double taken_s = zi_time_s() - start_s;
    *flops_per_s = 2.0 * (double)size * (double)size * (double)size / (taken_s > 0 ? taken_s : 1);
    cuda_free(stream->device, ZI_TIER_DEVICE, memory);
    return status;
}

enum zi_status cuda_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                 struct device_peak *peak)
{
    enum { SMALLEST = 128, LARGEST = 16384 };
    const char *name = stream->device->properties.name;
    double end_s = zi_time_s() + seconds;
    *peak = (struct device_peak){stated_peak(name, type), "NVIDIA's data sheet"};
    if (peak->flops_per_s > 0) return ZI_OK;
    peak->instructions = "its fastest square product";
    for (int64_t size = SMALLEST; size <= LARGEST && zi_time_s() < end_s; size *= 2) {
        double flops_per_s;
        ZI_TRY(measure_size(stream, type, size, &flops_per_s));
        if (flops_per_s > peak->flops_per_s) peak->flops_per_s = flops_per_s;
    }
    return ZI_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How a cpu kernel file is written. Files named k_*.c are compiled once per instruction set
 * (generic, avx2, avx512, avx512bf16, amx) with -DZI_ISA=<name> and the flags of that set; every
 * external function in them is named with KERNEL(), so that the copies do not clash, and a run
 * picks one set when the device is opened.
 *
 * Each k_<topic>.c defines KERNEL(cpu_<topic>_register), which enters its operations into the table
 * of the device. */
#ifndef ZI_DEVICE_CPU_KERNEL_H
#define ZI_DEVICE_CPU_KERNEL_H

#include "device/table.h"

#define KERNEL_PASTE_(name, isa) name##_##isa
#define KERNEL_PASTE(name, isa)  KERNEL_PASTE_(name, isa)
#define KERNEL(name)             KERNEL_PASTE(name, ZI_ISA)

/* Work of a cpu stream runs in the caller's thread, with the stream's number of OpenMP threads:
 * #pragma omp parallel num_threads(stream->threads). */

/* Local. The fp32 numbers at a place. */
static inline float *cpu_fp32(struct device_ptr pointer)
{
    return (float *)pointer.address;
}

/* Local. The bf16 or fp16 numbers at a place, as bits. */
static inline uint16_t *cpu_half(struct device_ptr pointer)
{
    return (uint16_t *)pointer.address;
}

/* Calls function(type, ...) with the constant of a type of arithmetic, for which the compiler then
 * makes loops of its own. */
#define KERNEL_BY_TYPE(type, function, ...)                                                        \
    do {                                                                                           \
        if ((type) == ZI_BF16)                                                                     \
            function(ZI_BF16, __VA_ARGS__);                                                        \
        else if ((type) == ZI_FP16)                                                                \
            function(ZI_FP16, __VA_ARGS__);                                                        \
        else                                                                                       \
            function(ZI_FP32, __VA_ARGS__);                                                        \
    } while (0)

/* Local. Whether the operations of the model know a type. */
static inline bool cpu_type_is_known(enum zi_dtype type)
{
    return type == ZI_FP32 || zi_dtype_is_half(type);
}

#define KERNEL_REGISTER(topic)                                                                     \
    void cpu_##topic##_register_generic(struct device_operations *);                               \
    void cpu_##topic##_register_avx2(struct device_operations *);                                  \
    void cpu_##topic##_register_avx512(struct device_operations *);                                \
    void cpu_##topic##_register_avx512bf16(struct device_operations *);                            \
    void cpu_##topic##_register_amx(struct device_operations *)

/* Local. Enters convert, add. */
KERNEL_REGISTER(convert);

/* Local. Enters gelu, gelu_backward, glu, glu_backward, dropout, rope. */
KERNEL_REGISTER(elementwise);

/* Local. Enters embed, embed_backward, bias_backward. */
KERNEL_REGISTER(embedding);

/* Local. Enters norm, norm_backward. */
KERNEL_REGISTER(norm);

/* Local. Enters attention, attention_backward. */
KERNEL_REGISTER(attention);

/* Local. Enters attention_cached. */
KERNEL_REGISTER(cache);

/* Local. Enters cap, cross_entropy, softmax_*. */
KERNEL_REGISTER(loss);

/* Local. Enters gradient_norm, gradient_round, adam, checksum. */
KERNEL_REGISTER(update);

/* Local. Enters unpack. */
KERNEL_REGISTER(packed);

#endif

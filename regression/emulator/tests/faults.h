/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of the emulation's own tests, each with and without a fault. */
#ifndef ZI_REGRESSION_EMULATOR_FAULTS_H
#define ZI_REGRESSION_EMULATOR_FAULTS_H

#include <stdbool.h>

struct fault {
    const char *name;
    /* How the program ends with the fault: enum emulator_fault, or 0: it has none. */
    int code;
    /* Of the report; NULL: none. */
    const char *words;
    /* The program; its own checks are those of test.h. */
    void (*run)(bool faulty);
    /* NAME=VALUE for the environment; NULL: nothing. */
    const char *setting;
};

/* Tables that end with a name that is NULL: memory in flight and order; the life of memory, streams
 * and events; kernels; random operations; what CUDA answers where there is no
 * fault; matrix products; collectives. */
extern const struct fault faults_order[], faults_life[], faults_kernel[], faults_random[],
    faults_answers[], faults_cublaslt[], faults_nccl[];

#endif

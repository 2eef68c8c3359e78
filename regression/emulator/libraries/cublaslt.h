/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the emulation of cublasLt: what descriptors hold, and one product ready to be run. */
#ifndef ZI_REGRESSION_CUBLASLT_H
#define ZI_REGRESSION_CUBLASLT_H

#include <cublasLt.h>

#include "regression/emulator/emulator.h"

/* What the opaque structs of cublasLt.h hold. `kind` says that one was made here and is alive. */
enum lt_kind {
    LT_GONE,
    LT_LAYOUT = 0x4c41594f,
    LT_MATMUL = 0x4d41544d,
    LT_PREFERENCE = 0x50524546
};

struct lt_layout {
    enum lt_kind kind;
    uint32_t type;
    int32_t order, batch_count;
    uint64_t rows, columns;
    int64_t ld;
};

struct lt_matmul {
    enum lt_kind kind;
    int32_t compute, scale, pointer_mode, transpose_a, transpose_b, transpose_c, fill;
    uint32_t epilogue;
    int32_t aux_type, bias_type;
    void *bias, *aux;
    int64_t aux_ld;
};

struct lt_preference {
    enum lt_kind kind;
    uint32_t search, alignment[4];
    uint64_t workspace;
};

/* What the epilogues are made of. */
struct lt_epilogue {
    cublasLtEpilogue_t epilogue;
    bool bias, gelu, aux, gelu_gradient, sum_rows, sum_a, sum_b;
};

/* D[m,n] = epilogue(alpha op(A)[m,k] op(B)[k,n] + beta C[m,n]), columns first. Addresses are the
 * program's until the product is run, which replaces them by those that the emulation may touch. */
struct lt_product {
    int64_t m, n, k, lda, ldb, ldc, ldd, ld_aux;
    cudaDataType_t type, type_c, type_aux;
    bool transpose_a, transpose_b, tf32;
    struct lt_epilogue epilogue;
    float alpha, beta;
    const void *a, *b, *c;
    void *d, *bias, *aux, *workspace;
    size_t workspace_bytes;
};

/* Local. The product that the descriptors describe, without addresses. CUBLAS_STATUS_INVALID_VALUE
 * when they contradict each other, CUBLAS_STATUS_NOT_SUPPORTED for what cuBLAS does not list as
 * supported. `layouts`: of A, B, C, D. */
cublasStatus_t lt_describe(cublasLtMatmulDesc_t matmul, const cublasLtMatrixLayout_t layouts[4],
                           struct lt_product *product);

/* Local. Bytes of one element of a type of the table in lt_describe. */
size_t lt_bytes(cudaDataType_t type);

/* In a stream. The arithmetic, with addresses of the emulation: every sum over k is in fp32, from the
 * first term to the last. cudaErrorMemoryAllocation when there is no room for packed operands. */
cudaError_t lt_compute(const struct lt_product *product);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation's cublasLt: the handle, and descriptors with the attributes that the emulation
 * knows. Others are refused, so that a product never runs with less than it was asked for. */
#include "regression/emulator/libraries/cublaslt.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct lt_layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "layout");
_Static_assert(sizeof(struct lt_matmul) <= sizeof(cublasLtMatmulDescOpaque_t), "matmul");
_Static_assert(sizeof(struct lt_preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t),
               "preference");

/* Where a descriptor keeps an attribute. */
struct attribute {
    int name;
    size_t offset, bytes;
};

#define ATTRIBUTE(name, type, member)                                                              \
    {                                                                                              \
        name, offsetof(type, member), sizeof(((type *)NULL)->member)                               \
    }

static const struct attribute layout_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_TYPE, struct lt_layout, type),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_ORDER, struct lt_layout, order),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_ROWS, struct lt_layout, rows),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_COLS, struct lt_layout, columns),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_LD, struct lt_layout, ld),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, struct lt_layout, batch_count),
};

static const struct attribute matmul_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, struct lt_matmul, compute),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_SCALE_TYPE, struct lt_matmul, scale),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_POINTER_MODE, struct lt_matmul, pointer_mode),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSA, struct lt_matmul, transpose_a),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSB, struct lt_matmul, transpose_b),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSC, struct lt_matmul, transpose_c),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_FILL_MODE, struct lt_matmul, fill),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_EPILOGUE, struct lt_matmul, epilogue),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_BIAS_POINTER, struct lt_matmul, bias),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, struct lt_matmul, bias_type),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, struct lt_matmul, aux),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, struct lt_matmul, aux_ld),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, struct lt_matmul, aux_type),
};

static const struct attribute preference_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_SEARCH_MODE, struct lt_preference, search),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, struct lt_preference, workspace),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, struct lt_preference, alignment[0]),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, struct lt_preference, alignment[1]),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, struct lt_preference, alignment[2]),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, struct lt_preference, alignment[3]),
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A descriptor that set_attribute works on: what it must be, and what it knows. */
struct described {
    void *descriptor;
    enum lt_kind kind;
    const struct attribute *attributes;
    size_t count;
};

static cublasStatus_t set_attribute(const struct described *to, int name, const void *value,
                                    size_t bytes)
{
    if (!to->descriptor || *(const enum lt_kind *)to->descriptor != to->kind || !value)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (size_t i = 0; i < to->count; i++) {
        const struct attribute *a = &to->attributes[i];
        if (a->name != name) continue;
        if (a->bytes != bytes) return CUBLAS_STATUS_INVALID_VALUE;
        memcpy((char *)to->descriptor + a->offset, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t bytes)
{
    if (emulator_fails(__func__)) return CUBLAS_STATUS_INTERNAL_ERROR;
    struct described to = {layout, LT_LAYOUT, layout_attributes, COUNT(layout_attributes)};
    return set_attribute(&to, (int)name, value, bytes);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes)
{
    if (emulator_fails(__func__)) return CUBLAS_STATUS_INTERNAL_ERROR;
    struct described to = {matmul, LT_MATMUL, matmul_attributes, COUNT(matmul_attributes)};
    return set_attribute(&to, (int)name, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t bytes)
{
    if (emulator_fails(__func__)) return CUBLAS_STATUS_INTERNAL_ERROR;
    struct described to = {preference, LT_PREFERENCE, preference_attributes,
                           COUNT(preference_attributes)};
    return set_attribute(&to, (int)name, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t ld)
{
    if (emulator_fails("cublasLtMatrixLayoutInit") || size < sizeof *layout)
        return CUBLAS_STATUS_ALLOC_FAILED;
    struct lt_layout made = {LT_LAYOUT, (uint32_t)type, CUBLASLT_ORDER_COL, 1, rows, columns, ld};
    memset(layout, 0, sizeof *layout);
    memcpy(layout, &made, sizeof made);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t matmul, size_t size,
                                               cublasComputeType_t compute, cudaDataType_t scale)
{
    if (emulator_fails("cublasLtMatmulDescInit") || size < sizeof *matmul)
        return CUBLAS_STATUS_ALLOC_FAILED;
    struct lt_matmul made = {.kind = LT_MATMUL,
                             .compute = (int32_t)compute,
                             .scale = (int32_t)scale,
                             .pointer_mode = CUBLASLT_POINTER_MODE_HOST,
                             .transpose_a = CUBLAS_OP_N,
                             .transpose_b = CUBLAS_OP_N,
                             .transpose_c = CUBLAS_OP_N,
                             .fill = CUBLAS_FILL_MODE_FULL,
                             .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                             .aux_type = -1,
                             .bias_type = -1};
    memset(matmul, 0, sizeof *matmul);
    memcpy(matmul, &made, sizeof made);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference,
                                                     size_t size)
{
    if (emulator_fails("cublasLtMatmulPreferenceInit") || size < sizeof *preference)
        return CUBLAS_STATUS_ALLOC_FAILED;
    struct lt_preference made = {LT_PREFERENCE, CUBLASLT_SEARCH_BEST_FIT, {256, 256, 256, 256}, 0};
    memset(preference, 0, sizeof *preference);
    memcpy(preference, &made, sizeof made);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld)
{
    if (emulator_fails(__func__) || !(*layout = malloc(sizeof **layout)))
        return CUBLAS_STATUS_ALLOC_FAILED;
    return cublasLtMatrixLayoutInit_internal(*layout, sizeof **layout, type, rows, columns, ld);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmul, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    if (emulator_fails(__func__) || !(*matmul = malloc(sizeof **matmul)))
        return CUBLAS_STATUS_ALLOC_FAILED;
    return cublasLtMatmulDescInit_internal(*matmul, sizeof **matmul, compute, scale);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    if (emulator_fails(__func__) || !(*preference = malloc(sizeof **preference)))
        return CUBLAS_STATUS_ALLOC_FAILED;
    return cublasLtMatmulPreferenceInit_internal(*preference, sizeof **preference);
}

/* Ends a descriptor that was created; NULL is nothing. */
static cublasStatus_t destroy(void *descriptor, enum lt_kind kind, const char *function)
{
    if (!descriptor) return CUBLAS_STATUS_SUCCESS;
    if (*(enum lt_kind *)descriptor != kind)
        emulator_fail(EMULATOR_MISUSE, "%s: %p is no descriptor of this kind, or no longer",
                      function, descriptor);
    *(enum lt_kind *)descriptor = LT_GONE;
    free(descriptor);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return destroy(layout, LT_LAYOUT, __func__);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul)
{
    return destroy(matmul, LT_MATMUL, __func__);
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return destroy(preference, LT_PREFERENCE, __func__);
}

/* A handle holds nothing here. */
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    int device;
    *handle = NULL;
    if (emulator_fails(__func__) || cudaGetDevice(&device) != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = calloc(1, 64);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

static const struct {
    cublasStatus_t status;
    const char *name, *text;
} statuses[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS", "success"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED", "no handle, or no device"},
    {CUBLAS_STATUS_ALLOC_FAILED, "CUBLAS_STATUS_ALLOC_FAILED", "no memory"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE", "a parameter is invalid"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED", "the product failed"},
    {CUBLAS_STATUS_INTERNAL_ERROR, "CUBLAS_STATUS_INTERNAL_ERROR", "an error inside the library"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED", "not supported"},
};

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    for (size_t i = 0; i < COUNT(statuses); i++)
        if (statuses[i].status == status) return statuses[i].name;
    return "CUBLAS_STATUS_UNKNOWN";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    for (size_t i = 0; i < COUNT(statuses); i++)
        if (statuses[i].status == status) return statuses[i].text;
    return "unknown status";
}

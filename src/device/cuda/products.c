/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by cuBLASLt.
 *
 * cuBLAS stores columns, zinf rows: the transpose of a row-major matrix is the same memory read by
 * columns, so C = A B is given to it as C^T = B^T A^T, with operands exchanged and sizes turned. A
 * bias, which is added to every row of C, is then one that is added to every column of C^T, which
 * is the one cuBLAS offers. A residual is its third operand, with factor 1. Sums are fp32, of fp32
 * operands too (no TF32), and results are rounded once.
 *
 * GELU and its gradient are made in the same pass where cuBLAS has an algorithm that does, which depends
 * on widths; otherwise behind it.
 *
 * A stream keeps what cuBLAS needs for each shape that it has seen: descriptions, and the algorithm
 * that cuBLAS thinks best, which is asked for once, so that every step takes the same. Addresses are
 * in no description but that of the bias; their alignment is, since algorithms depend on it. */
#include "device/cuda/calls.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define WORKSPACE_BYTES ((size_t)32 << 20) /* what NVIDIA advises for Hopper */

/* Algorithms ask for 16 bytes at most. More is not looked at: it depends on where a slot happens to
 * lie, and with it would the algorithm and the last bits of results. */
enum { ALIGNMENT_MOST = 16, OPERANDS = 4 /* a, b, c (added), d (result) */ };

/* What tells one product from another; compared as bytes. */
struct shape {
    int64_t m, n, k, ld[OPERANDS];
    int32_t type, type_c, transpose_a, transpose_b, has_bias, end, alignment[OPERANDS];
};

struct product {
    struct product *next;
    struct shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t layouts[OPERANDS];
    cublasLtMatmulAlgo_t algorithm;
    /* cuBLAS has no algorithm with the end that was asked for; this is the plain product. */
    bool is_plain;
};

struct cuda_products {
    cublasLtHandle_t handle;
    void *workspace;
    struct product *first;
};

static enum zi_status lt_failed(cublasStatus_t status, const char *call)
{
    return zi_fail(ZI_ERROR_DEVICE, "cuda", "%s: %s (%s)", call, cublasLtGetStatusString(status),
                   cublasLtGetStatusName(status));
}

#define LT_TRY(function, ...)                                                                      \
    do {                                                                                           \
        cublasStatus_t lt_status_ = function(__VA_ARGS__);                                         \
        if (lt_status_ != CUBLAS_STATUS_SUCCESS) return lt_failed(lt_status_, #function);          \
    } while (0)

static cudaDataType_t type_of(int32_t type)
{
    return type == ZI_BF16 ? CUDA_R_16BF : type == ZI_FP16 ? CUDA_R_16F : CUDA_R_32F;
}

/* The largest power of two that divides an address, up to what any algorithm asks for. */
static int32_t alignment_of(struct device_ptr place)
{
    uintptr_t lowest = place.address & (~place.address + 1);
    return lowest == 0 || lowest > ALIGNMENT_MOST ? ALIGNMENT_MOST : (int32_t)lowest;
}

static struct shape shape_of(const struct device_matmul *d)
{
    struct shape s;
    memset(&s, 0, sizeof s); /* padding is compared too */
    s.m = d->m;
    s.n = d->n;
    s.k = d->k;
    s.ld[0] = d->lda;
    s.ld[1] = d->ldb;
    s.ld[2] = s.ld[3] = d->ldc;
    s.type = d->type;
    s.type_c = d->type_c;
    s.transpose_a = d->transpose_a;
    s.transpose_b = d->transpose_b;
    s.has_bias = !device_is_null(d->bias);
    s.end = (int32_t)d->end;
    s.alignment[0] = alignment_of(d->a);
    s.alignment[1] = alignment_of(d->b);
    s.alignment[2] = alignment_of(device_is_null(d->residual) ? d->c : d->residual);
    s.alignment[3] = alignment_of(d->c);
    return s;
}

static void forget_descriptions(struct product *p)
{
    for (int i = 0; i < OPERANDS; i++) {
        if (p->layouts[i]) (void)cublasLtMatrixLayoutDestroy(p->layouts[i]);
        p->layouts[i] = NULL;
    }
    if (p->desc) (void)cublasLtMatmulDescDestroy(p->desc);
    p->desc = NULL;
}

static void destroy_product(struct product *p)
{
    forget_descriptions(p);
    free(p);
}

void cuda_products_destroy(struct cuda_stream *stream)
{
    struct cuda_products *products = stream->products;
    if (!products) return;
    while (products->first) {
        struct product *p = products->first;
        products->first = p->next;
        destroy_product(p);
    }
    if (products->workspace) (void)cudaFree(products->workspace);
    if (products->handle) (void)cublasLtDestroy(products->handle);
    free(products);
    stream->products = NULL;
}

/* Called again after a failure, it goes on where it failed. */
static enum zi_status start(struct cuda_stream *stream)
{
    if (!stream->products) stream->products = calloc(1, sizeof *stream->products);
    struct cuda_products *products = stream->products;
    if (!products) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for matrix products");
    if (!products->workspace) CUDA_TRY(cudaMalloc, &products->workspace, WORKSPACE_BYTES);
    if (!products->handle) LT_TRY(cublasLtCreate, &products->handle);
    return ZI_OK;
}

/* Sizes of a stored matrix as cuBLAS sees it: rows of ours are columns of its. */
static enum zi_status lay_out(cublasLtMatrixLayout_t *layout, int32_t type, int64_t rows,
                              int64_t columns, int64_t ld)
{
    LT_TRY(cublasLtMatrixLayoutCreate, layout, type_of(type), (uint64_t)columns, (uint64_t)rows,
           ld);
    return ZI_OK;
}

/* What cuBLAS calls the ends of products. */
static cublasLtEpilogue_t epilogue_of(const struct product *p)
{
    bool bias = p->shape.has_bias;
    if (p->is_plain || p->shape.end == DEVICE_END_PLAIN)
        return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    if (p->shape.end == DEVICE_END_GELU_BACKWARD) return CUBLASLT_EPILOGUE_DGELU;
    return bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
}

#define SET(p, attribute, value)                                                                   \
    LT_TRY(cublasLtMatmulDescSetAttribute, (p)->desc, attribute, &(value), sizeof(value))

static enum zi_status describe_end(struct product *p)
{
    const struct shape *s = &p->shape;
    cublasLtEpilogue_t epilogue = epilogue_of(p);
    cudaDataType_t type = type_of(s->type);
    SET(p, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (s->has_bias) SET(p, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    if (p->is_plain || s->end == DEVICE_END_PLAIN) return ZI_OK;
    SET(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, s->n);
    SET(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, type);
    return ZI_OK;
}

static enum zi_status describe(struct product *p)
{
    const struct shape *s = &p->shape;
    cublasOperation_t first = s->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t second = s->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(cublasLtMatmulDescCreate, &p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    SET(p, CUBLASLT_MATMUL_DESC_TRANSA, first);
    SET(p, CUBLASLT_MATMUL_DESC_TRANSB, second);
    ZI_TRY(describe_end(p));
    ZI_TRY(lay_out(&p->layouts[0], s->type, s->transpose_a ? s->k : s->m,
                   s->transpose_a ? s->m : s->k, s->ld[0]));
    ZI_TRY(lay_out(&p->layouts[1], s->type, s->transpose_b ? s->n : s->k,
                   s->transpose_b ? s->k : s->n, s->ld[1]));
    ZI_TRY(lay_out(&p->layouts[2], s->type_c, s->m, s->n, s->ld[2]));
    return lay_out(&p->layouts[3], s->type_c, s->m, s->n, s->ld[3]);
}

static enum zi_status prefer(cublasLtMatmulPreference_t preference, const struct shape *s)
{
    /* cuBLAS' a is our b. */
    static const cublasLtMatmulPreferenceAttributes_t names[OPERANDS] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    size_t most = WORKSPACE_BYTES;
    LT_TRY(cublasLtMatmulPreferenceSetAttribute, preference,
           CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    for (int i = 0; i < OPERANDS; i++) {
        uint32_t bytes = (uint32_t)s->alignment[i];
        LT_TRY(cublasLtMatmulPreferenceSetAttribute, preference, names[i], &bytes, sizeof bytes);
    }
    return ZI_OK;
}

/* Asks cuBLAS for its best algorithm. *found: it has one; that it has none is an error only of a
 * product without an end, which can be had in no other way. */
static enum zi_status ask(struct cuda_products *products, struct product *p,
                          cublasLtMatmulPreference_t preference, int *found)
{
    const struct shape *s = &p->shape;
    cublasLtMatmulHeuristicResult_t best;
    ZI_TRY(prefer(preference, s));
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(products->handle, p->desc, p->layouts[1], p->layouts[0],
                                       p->layouts[2], p->layouts[3], preference, 1, &best, found);
    if (status != CUBLAS_STATUS_SUCCESS) *found = 0;
    if (*found > 0) p->algorithm = best.algo;
    if (*found == 0 && epilogue_of(p) <= CUBLASLT_EPILOGUE_BIAS)
        return zi_fail(ZI_ERROR_DEVICE, "cuda",
                       "cuBLAS has no product of %s to %s for m %lld, n %lld, k %lld, rows of "
                       "%lld, %lld and %lld%s: %s",
                       zi_dtype_name((enum zi_dtype)s->type),
                       zi_dtype_name((enum zi_dtype)s->type_c), (long long)s->m, (long long)s->n,
                       (long long)s->k, (long long)s->ld[0], (long long)s->ld[1],
                       (long long)s->ld[2], s->has_bias ? ", bias" : "",
                       cublasLtGetStatusString(status));
    return ZI_OK;
}

static enum zi_status choose(struct cuda_products *products, struct product *p)
{
    cublasLtMatmulPreference_t preference = NULL;
    int found = 0;
    LT_TRY(cublasLtMatmulPreferenceCreate, &preference);
    enum zi_status status = describe(p);
    if (status >= 0) status = ask(products, p, preference, &found);
    if (status >= 0 && found == 0) {
        forget_descriptions(p);
        p->is_plain = true;
        status = describe(p);
        if (status >= 0) status = ask(products, p, preference, &found);
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

/* The product of a shape, made when it is asked for first; those in use come to the front. */
static enum zi_status find(struct cuda_products *products, const struct shape *shape,
                           struct product **product)
{
    struct product **link = &products->first;
    while (*link && memcmp(&(*link)->shape, shape, sizeof *shape) != 0) {
        link = &(*link)->next;
    }
    struct product *p = *link;
    if (p)
        *link = p->next;
    else {
        p = calloc(1, sizeof *p);
        if (!p) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for a matrix product");
        p->shape = *shape;
        enum zi_status status = choose(products, p);
        if (status < 0) {
            destroy_product(p);
            return status;
        }
    }
    p->next = products->first;
    products->first = p;
    *product = p;
    return ZI_OK;
}

/* The product of a shape that has been chosen. */
static enum zi_status multiply(struct cuda_stream *stream, struct product *p,
                               const struct device_matmul *d)
{
    const float scale = d->scale != 0 ? d->scale : 1.0f;
    const float factor = d->accumulate || !device_is_null(d->residual) ? 1.0f : 0.0f;
    struct device_ptr to = p->is_plain && d->end == DEVICE_END_GELU ? d->inner : d->c;
    struct device_ptr add = device_is_null(d->residual) ? to : d->residual;
    if (p->shape.has_bias) SET(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, d->bias.address);
    if (!p->is_plain && d->end != DEVICE_END_PLAIN)
        SET(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, d->inner.address);
    LT_TRY(cublasLtMatmul, stream->products->handle, p->desc, &scale, (const void *)d->b.address,
           p->layouts[1], (const void *)d->a.address, p->layouts[0], &factor,
           (const void *)add.address, p->layouts[2], (void *)to.address, p->layouts[3],
           &p->algorithm, stream->products->workspace, WORKSPACE_BYTES, stream->stream);
    return ZI_OK;
}

enum zi_status cuda_matmul(struct device_stream *stream, const struct device_matmul *d)
{
    struct cuda_stream *s = cuda_stream_of(stream);
    const struct device_operations *ops = &stream->device->operations;
    struct product *p = NULL;
    if (d->m == 0 || d->n == 0) return ZI_OK;
    ZI_TRY(cuda_enter_device(cuda_device_of(stream->device)));
    ZI_TRY(start(s));
    const struct shape shape = shape_of(d);
    ZI_TRY(find(s->products, &shape, &p));
    ZI_TRY(multiply(s, p, d));
    if (!p->is_plain || d->end == DEVICE_END_PLAIN) return ZI_OK;
    if (d->end == DEVICE_END_GELU) return ops->gelu(stream, d->type, d->c, d->inner, d->m * d->n);
    return ops->gelu_backward(stream, d->type, d->c, d->c, d->inner, d->m * d->n);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation's cublasLtMatmul: whether cuBLAS would take a product, and the product on a stream.
 *
 * Types and epilogues are those of the table for cublasLtMatmul in the cuBLAS 13 documentation that
 * a transformer needs, with matrices stored by columns; everything else is refused, also what some
 * GPU might do. Memory is held to what the caller promised: alignments to those of the preference
 * (256 bytes unless said) and that of the bias when the algorithm was found, the workspace to what the
 * algorithm asked for. */
#include "regression/emulator/libraries/cublaslt.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What algorithms of the emulation ask for where they may. */
#define WORKSPACE_BYTES ((size_t)64 << 10)

/* What the opaque struct of an algorithm holds: a product it was found for. */
struct lt_algorithm {
    uint64_t found, problem, workspace;
    uint32_t alignment[4], bias_alignment;
};
_Static_assert(sizeof(struct lt_algorithm) <= sizeof(cublasLtMatmulAlgo_t), "algorithm");

static const struct lt_epilogue epilogues[] = {
    {.epilogue = CUBLASLT_EPILOGUE_DEFAULT},
    {.epilogue = CUBLASLT_EPILOGUE_BIAS, .bias = true},
    {.epilogue = CUBLASLT_EPILOGUE_GELU, .gelu = true},
    {.epilogue = CUBLASLT_EPILOGUE_GELU_BIAS, .gelu = true, .bias = true},
    {.epilogue = CUBLASLT_EPILOGUE_GELU_AUX, .gelu = true, .aux = true},
    {.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS, .gelu = true, .aux = true, .bias = true},
    {.epilogue = CUBLASLT_EPILOGUE_DGELU, .gelu_gradient = true, .aux = true},
    {.epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD,
     .gelu_gradient = true,
     .aux = true,
     .sum_rows = true},
    {.epilogue = CUBLASLT_EPILOGUE_BGRADA, .sum_a = true},
    {.epilogue = CUBLASLT_EPILOGUE_BGRADB, .sum_b = true},
};

size_t lt_bytes(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static bool is_supported_type(cudaDataType_t type)
{
    return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

/* Columns of `rows` elements fit into their stride, and all into what cuBLAS counts with. */
static cublasStatus_t check_layout(const struct lt_layout *layout)
{
    if (!layout || layout->kind != LT_LAYOUT) return CUBLAS_STATUS_INVALID_VALUE;
    if (layout->rows == 0 || layout->columns == 0 || layout->ld < 0 ||
        (uint64_t)layout->ld < layout->rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (layout->order != CUBLASLT_ORDER_COL || layout->batch_count != 1)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (layout->rows > INT_MAX || layout->columns > INT_MAX || layout->ld > INT_MAX)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_types(const struct lt_matmul *matmul,
                                  const struct lt_layout *const layouts[4])
{
    uint32_t type = layouts[0]->type, type_c = layouts[2]->type;
    if (!is_supported_type((cudaDataType_t)type) || layouts[1]->type != type ||
        layouts[3]->type != type_c || (type_c != CUDA_R_32F && type_c != type))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    bool tf32 = matmul->compute == CUBLAS_COMPUTE_32F_FAST_TF32 && type == CUDA_R_32F;
    if ((matmul->compute != CUBLAS_COMPUTE_32F && !tf32) || matmul->scale != CUDA_R_32F ||
        matmul->pointer_mode != CUBLASLT_POINTER_MODE_HOST ||
        matmul->fill != CUBLAS_FILL_MODE_FULL || matmul->transpose_c != CUBLAS_OP_N)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if ((matmul->transpose_a != CUBLAS_OP_N && matmul->transpose_a != CUBLAS_OP_T) ||
        (matmul->transpose_b != CUBLAS_OP_N && matmul->transpose_b != CUBLAS_OP_T))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t describe_epilogue(const struct lt_matmul *matmul, struct lt_product *product)
{
    size_t i = 0, count = sizeof epilogues / sizeof epilogues[0];
    while (i < count && epilogues[i].epilogue != (cublasLtEpilogue_t)matmul->epilogue)
        i++;
    if (i == count) return CUBLAS_STATUS_NOT_SUPPORTED;
    const struct lt_epilogue *e = &epilogues[i];
    product->epilogue = *e;
    if (e->bias || e->sum_rows || e->sum_a || e->sum_b) {
        if (matmul->bias_type != -1 && matmul->bias_type != (int32_t)product->type_c)
            return CUBLAS_STATUS_NOT_SUPPORTED;
        product->bias = matmul->bias;
    }
    if (!e->aux) return CUBLAS_STATUS_SUCCESS;
    if (matmul->aux_type != -1 && matmul->aux_type != (int32_t)product->type_c)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (matmul->aux_ld < product->m || matmul->aux_ld % 8 != 0 || matmul->aux_ld > INT_MAX)
        return CUBLAS_STATUS_INVALID_VALUE;
    product->type_aux = product->type_c;
    product->aux = matmul->aux;
    product->ld_aux = matmul->aux_ld;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t lt_describe(cublasLtMatmulDesc_t descriptor, const cublasLtMatrixLayout_t layouts[4],
                           struct lt_product *product)
{
    const struct lt_matmul *matmul = (const struct lt_matmul *)descriptor;
    const struct lt_layout *of[4];
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (!matmul || matmul->kind != LT_MATMUL) return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4 && status == CUBLAS_STATUS_SUCCESS; i++) {
        of[i] = (const struct lt_layout *)layouts[i];
        status = check_layout(of[i]);
    }
    if (status == CUBLAS_STATUS_SUCCESS) status = check_types(matmul, of);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    bool ta = matmul->transpose_a == CUBLAS_OP_T, tb = matmul->transpose_b == CUBLAS_OP_T;
    *product = (struct lt_product){
        .m = (int64_t)of[3]->rows,
        .n = (int64_t)of[3]->columns,
        .k = (int64_t)(ta ? of[0]->rows : of[0]->columns),
        .lda = of[0]->ld,
        .ldb = of[1]->ld,
        .ldc = of[2]->ld,
        .ldd = of[3]->ld,
        .type = (cudaDataType_t)of[0]->type,
        .type_c = (cudaDataType_t)of[3]->type,
        .transpose_a = ta,
        .transpose_b = tb,
        .tf32 = matmul->compute == CUBLAS_COMPUTE_32F_FAST_TF32,
    };
    bool agree = (int64_t)(ta ? of[0]->columns : of[0]->rows) == product->m &&
                 (int64_t)(tb ? of[1]->columns : of[1]->rows) == product->k &&
                 (int64_t)(tb ? of[1]->rows : of[1]->columns) == product->n &&
                 (int64_t)of[2]->rows == product->m && (int64_t)of[2]->columns == product->n;
    return agree ? describe_epilogue(matmul, product) : CUBLAS_STATUS_INVALID_VALUE;
}

/* The power of two up to 16 that an address is a multiple of. */
static uint32_t alignment_of(const void *address)
{
    uintptr_t bits = (uintptr_t)address | 16;
    return (uint32_t)(bits & -bits);
}

/* A number of the shapes, types and epilogue of a product. */
static uint64_t problem_of(const struct lt_product *p)
{
    const int64_t facts[] = {p->m,           p->n,
                             p->k,           p->lda,
                             p->ldb,         p->ldc,
                             p->ldd,         p->ld_aux,
                             p->type,        p->type_c,
                             p->transpose_a, p->transpose_b,
                             p->tf32,        p->epilogue.epilogue};
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        hash = (hash ^ (uint64_t)facts[i]) * 1099511628211u;
    return hash;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned)
{
    const struct lt_preference *wanted = (const struct lt_preference *)preference;
    struct lt_product product;
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (emulator_fails(__func__)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!wanted || wanted->kind != LT_PREFERENCE || requested < 1 || !results || !returned)
        return CUBLAS_STATUS_INVALID_VALUE;
    *returned = 0;
    cublasStatus_t status =
        lt_describe(matmul, (const cublasLtMatrixLayout_t[4]){a, b, c, d}, &product);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (wanted->search != CUBLASLT_SEARCH_BEST_FIT) return CUBLAS_STATUS_NOT_SUPPORTED;
    size_t least[4] = {lt_bytes(product.type), lt_bytes(product.type), lt_bytes(product.type_c),
                       lt_bytes(product.type_c)};
    struct lt_algorithm algorithm = {
        .found = 1, .problem = problem_of(&product), .bias_alignment = alignment_of(product.bias)};
    for (int i = 0; i < 4; i++) {
        if (wanted->alignment[i] < least[i]) return CUBLAS_STATUS_NOT_SUPPORTED;
        algorithm.alignment[i] = wanted->alignment[i];
    }
    algorithm.workspace = wanted->workspace < WORKSPACE_BYTES ? 0 : WORKSPACE_BYTES;
    memset(results, 0, sizeof *results);
    memcpy(&results->algo, &algorithm, sizeof algorithm);
    results->workspaceSize = algorithm.workspace;
    results->state = CUBLAS_STATUS_SUCCESS;
    results->wavesCount = 1.0f;
    *returned = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* From the first element to the last of columns `ld` apart. */
static size_t extent(int64_t rows, int64_t columns, int64_t ld, cudaDataType_t type)
{
    return (size_t)((columns - 1) * ld + rows) * lt_bytes(type);
}

static void add_range(struct emulator_work *work, const void *address, size_t bytes, bool writes)
{
    if (address)
        work->ranges[work->range_count++] = (struct emulator_range){address, bytes, writes};
}

/* The ranges of A, B, D, C (unless it is D or not read), bias, aux, workspace. */
static void add_ranges(struct emulator_work *work, const struct lt_product *p)
{
    size_t bytes_c = lt_bytes(p->type_c);
    const struct lt_epilogue *e = &p->epilogue;
    add_range(work, p->a,
              p->transpose_a ? extent(p->k, p->m, p->lda, p->type)
                             : extent(p->m, p->k, p->lda, p->type),
              false);
    add_range(work, p->b,
              p->transpose_b ? extent(p->n, p->k, p->ldb, p->type)
                             : extent(p->k, p->n, p->ldb, p->type),
              false);
    add_range(work, p->d, extent(p->m, p->n, p->ldd, p->type_c), true);
    if (p->beta != 0 && p->c != p->d)
        add_range(work, p->c, extent(p->m, p->n, p->ldc, p->type_c), false);
    if (e->bias || e->sum_rows || e->sum_a || e->sum_b)
        add_range(work, p->bias, (size_t)(e->sum_b ? p->n : p->m) * bytes_c, !e->bias);
    if (e->aux) add_range(work, p->aux, extent(p->m, p->n, p->ld_aux, p->type_aux), e->gelu);
    add_range(work, p->workspace, p->workspace_bytes, true);
}

/* What is written overlaps nothing else of the same product: D may be C, and nothing more. */
static bool are_apart(const struct emulator_work *work)
{
    for (int i = 0; i < work->range_count; i++)
        for (int j = 0; j < work->range_count; j++) {
            const struct emulator_range *w = &work->ranges[i], *r = &work->ranges[j];
            if (i == j || !w->writes) continue;
            const char *first = w->address, *other = r->address;
            if (first < other + r->bytes && other < first + w->bytes) return false;
        }
    return true;
}

static bool is_aligned(const void *address, size_t bytes)
{
    return (uintptr_t)address % bytes == 0;
}

/* The addresses suit the product and its algorithm. */
static cublasStatus_t check_addresses(const struct lt_product *p, const struct lt_algorithm *algo)
{
    const void *matrices[4] = {p->a, p->b, p->beta != 0 ? p->c : p->d, p->d};
    const struct lt_epilogue *e = &p->epilogue;
    for (int i = 0; i < 4; i++) {
        size_t least = lt_bytes(i < 2 ? p->type : p->type_c);
        size_t bytes = algo ? algo->alignment[i] : least;
        if (!matrices[i]) return CUBLAS_STATUS_INVALID_VALUE;
        if (!is_aligned(matrices[i], bytes)) return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (p->beta != 0 && p->c == p->d && p->ldc != p->ldd) return CUBLAS_STATUS_INVALID_VALUE;
    if (e->bias || e->sum_rows || e->sum_a || e->sum_b)
        if (!p->bias || !is_aligned(p->bias, lt_bytes(p->type_c)))
            return CUBLAS_STATUS_INVALID_VALUE;
    if (algo && alignment_of(p->bias) < algo->bias_alignment) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (e->aux && (!p->aux || !is_aligned(p->aux, 16))) return CUBLAS_STATUS_INVALID_VALUE;
    if (algo && algo->workspace > p->workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    if (p->workspace_bytes > 0 && !p->workspace) return CUBLAS_STATUS_INVALID_VALUE;
    return is_aligned(p->workspace, 16) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

/* In a stream. A workspace holds nothing that anybody may rely on afterwards. */
static cudaError_t run_product(void *argument)
{
    struct lt_product p = *(struct lt_product *)argument;
    p.a = emulator_alias(p.a, 1);
    p.b = emulator_alias(p.b, 1);
    p.c = p.beta != 0 ? emulator_alias(p.c, 1) : NULL;
    p.d = emulator_alias(p.d, 1);
    p.bias = p.bias ? emulator_alias(p.bias, 1) : NULL;
    p.aux = p.aux ? emulator_alias(p.aux, 1) : NULL;
    if (p.workspace_bytes > 0)
        memset(emulator_alias(p.workspace, p.workspace_bytes), 0xFB, p.workspace_bytes);
    return lt_compute(&p);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t layout_a,
                              const void *b, cublasLtMatrixLayout_t layout_b, const void *beta,
                              const void *c, cublasLtMatrixLayout_t layout_c, void *d,
                              cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    struct lt_product p;
    struct lt_algorithm algorithm;
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (emulator_fails(__func__)) return CUBLAS_STATUS_EXECUTION_FAILED;
    cublasStatus_t status = lt_describe(
        matmul, (const cublasLtMatrixLayout_t[4]){layout_a, layout_b, layout_c, layout_d}, &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;
    if (algo) memcpy(&algorithm, algo, sizeof algorithm);
    if (algo && (algorithm.found != 1 || algorithm.problem != problem_of(&p)))
        emulator_fail(EMULATOR_MISUSE,
                      "cublasLtMatmul: the algorithm was found for another product "
                      "than this of %lld by %lld by %lld",
                      (long long)p.m, (long long)p.n, (long long)p.k);
    memcpy(&p.alpha, alpha, sizeof p.alpha);
    memcpy(&p.beta, beta, sizeof p.beta);
    p.a = a;
    p.b = b;
    p.c = c;
    p.d = d;
    p.workspace = workspace;
    p.workspace_bytes = workspace_bytes;
    status = check_addresses(&p, algo ? &algorithm : NULL);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    struct emulator_work work = {.name = "cublasLtMatmul", .run = run_product};
    add_ranges(&work, &p);
    if (!are_apart(&work))
        emulator_fail(EMULATOR_MISUSE, "cublasLtMatmul: what is written overlaps what is read");
    work.argument = malloc(sizeof p);
    if (!work.argument) return CUBLAS_STATUS_ALLOC_FAILED;
    memcpy(work.argument, &p, sizeof p);
    return emulator_enqueue(stream, &work) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                          : CUBLAS_STATUS_EXECUTION_FAILED;
}

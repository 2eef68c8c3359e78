/* SPDX-License-Identifier: Apache-2.0 */
/* Programs with the emulated cublasLt: products against plain sums, what is refused, and faults. */
#include <cublasLt.h>

#include "base/half.h"
#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

#define CHECK_LT(call) CHECK_INT(call, CUBLAS_STATUS_SUCCESS)

enum { M = 19, N = 7, K = 21, LD = 32, WORKSPACE = 1 << 20 };

/* A product with all that it needs; a, b, c, d and bias are memory of the device, of LD columns. */
struct product {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    char *workspace;
};

/* What a product is to be. */
struct wish {
    cudaDataType_t type, type_c;
    cublasOperation_t first, second;
    cublasLtEpilogue_t epilogue;
    void *bias;
};

static cublasStatus_t wish_for(struct product *p, const struct wish *w)
{
    uint64_t workspace = WORKSPACE;
    int count = 0;
    bool ta = w->first == CUBLAS_OP_T, tb = w->second == CUBLAS_OP_T;
    CHECK_LT(cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &w->first,
                                            sizeof w->first));
    CHECK_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &w->second,
                                            sizeof w->second));
    CHECK_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &w->epilogue,
                                            sizeof w->epilogue));
    CHECK_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &w->bias,
                                            sizeof w->bias));
    CHECK_LT(cublasLtMatrixLayoutCreate(&p->a, w->type, ta ? K : M, ta ? M : K, LD));
    CHECK_LT(cublasLtMatrixLayoutCreate(&p->b, w->type, tb ? N : K, tb ? K : N, LD));
    CHECK_LT(cublasLtMatrixLayoutCreate(&p->c, w->type_c, M, N, LD));
    CHECK_LT(cublasLtMatmulPreferenceCreate(&p->preference));
    CHECK_LT(cublasLtMatmulPreferenceSetAttribute(
        p->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        p->handle, p->desc, p->a, p->b, p->c, p->c, p->preference, 1, &p->found, &count);
    CHECK_INT(count, status == CUBLAS_STATUS_SUCCESS);
    return status;
}

static void wish_end(struct product *p)
{
    CHECK_LT(cublasLtMatmulDescDestroy(p->desc));
    CHECK_LT(cublasLtMatrixLayoutDestroy(p->a));
    CHECK_LT(cublasLtMatrixLayoutDestroy(p->b));
    CHECK_LT(cublasLtMatrixLayoutDestroy(p->c));
    CHECK_LT(cublasLtMatmulPreferenceDestroy(p->preference));
}

static struct product product_make(const struct wish *w)
{
    struct product p = {.workspace = device_memory(WORKSPACE)};
    CHECK_LT(cublasLtCreate(&p.handle));
    CHECK_LT(wish_for(&p, w));
    return p;
}

static void product_end(struct product *p)
{
    wish_end(p);
    CHECK_LT(cublasLtDestroy(p->handle));
    CHECK_CUDA(cudaFree(p->workspace));
}

/* D = A B + beta D on board.device, of which A is the beginning and B the middle. */
static cublasStatus_t multiply(struct product *p, const struct board *board, float beta,
                               cudaStream_t stream)
{
    const float one = 1.0f;
    const float *a = board->device, *b = board->device + COUNT / 2;
    return cublasLtMatmul(p->handle, p->desc, &one, a, p->a, b, p->b, &beta, board->second, p->c,
                          board->second, p->c, &p->found.algo, p->workspace, WORKSPACE, stream);
}

static float number(cudaDataType_t type, const void *matrix, int i)
{
    const uint16_t *halves = matrix;
    if (type == CUDA_R_32F) return ((const float *)matrix)[i];
    return type == CUDA_R_16F ? zi_fp16_to_fp32(halves[i]) : zi_bf16_to_fp32(halves[i]);
}

/* Small integers, which all types hold and whose sums are exact. */
static void fill(cudaDataType_t type, void *matrix, int count)
{
    uint16_t *halves = matrix;
    for (int i = 0; i < count; i++) {
        float value = (float)((i * 7 + i / 5) % 9 - 4);
        if (type == CUDA_R_32F)
            ((float *)matrix)[i] = value;
        else
            halves[i] = type == CUDA_R_16F ? zi_fp16_round_even(value) : zi_bf16_round_even(value);
    }
}

/* The sum of products for element (i, j) of D. */
static float product_of(const struct wish *w, const float *inputs, int i, int j)
{
    const float *a = inputs, *b = inputs + COUNT / 2;
    float sum = 0;
    for (int l = 0; l < K; l++)
        sum += number(w->type, a, w->first == CUBLAS_OP_T ? i * LD + l : l * LD + i) *
               number(w->type, b, w->second == CUBLAS_OP_T ? l * LD + j : j * LD + l);
    return sum;
}

/* A sum as it is stored. */
static float rounded(cudaDataType_t type, float value)
{
    if (type == CUDA_R_32F) return value;
    return type == CUDA_R_16F ? zi_fp16_to_fp32(zi_fp16_round_even(value))
                              : zi_bf16_to_fp32(zi_bf16_round_even(value));
}

/* One product in all its columns; what is between columns stays. D and the bias begin as the same
 * numbers. */
static void product_right(struct board *board, struct product *p, const struct wish *w, float beta)
{
    static float before[COUNT];
    int wrong = 0;
    fill(w->type, board->host, COUNT / 2);
    fill(w->type, board->host + COUNT / 2, COUNT / 2);
    fill(w->type_c, board->result, COUNT);
    fill(w->type_c, before, COUNT);
    copy_in(board->device, board->host, BYTES, board->one);
    copy_in(board->second, board->result, BYTES, board->one);
    if (w->bias) copy_in(w->bias, board->result, BYTES, board->one);
    CHECK_LT(multiply(p, board, beta, board->one));
    CHECK_CUDA(cudaStreamSynchronize(board->one));
    copy_out(board->result, board->second, BYTES, board->one);
    CHECK_CUDA(cudaStreamSynchronize(board->one));
    for (int j = 0; j < N; j++)
        for (int i = 0; i < LD; i++) {
            float right = number(w->type_c, before, j * LD + i);
            if (i < M) right = product_of(w, board->host, i, j) + beta * right;
            if (i < M && w->bias) right += number(w->type_c, before, i);
            wrong += number(w->type_c, board->result, j * LD + i) != rounded(w->type_c, right);
        }
    CHECK_INT(wrong, 0);
}

static void products(bool faulty)
{
    static const cudaDataType_t types[][2] = {{CUDA_R_32F, CUDA_R_32F},
                                              {CUDA_R_16BF, CUDA_R_32F},
                                              {CUDA_R_16BF, CUDA_R_16BF},
                                              {CUDA_R_16F, CUDA_R_16F}};
    struct board board = board_make();
    void *bias = device_memory(BYTES);
    (void)faulty;
    for (int i = 0; i < 32; i++) {
        struct wish w = {types[i / 8][0],
                         types[i / 8][1],
                         i & 1 ? CUBLAS_OP_T : CUBLAS_OP_N,
                         i & 2 ? CUBLAS_OP_T : CUBLAS_OP_N,
                         CUBLASLT_EPILOGUE_DEFAULT,
                         NULL};
        if (i & 4) {
            w.epilogue = CUBLASLT_EPILOGUE_BIAS;
            w.bias = bias;
        }
        struct product p = product_make(&w);
        product_right(&board, &p, &w, 0.0f);
        product_right(&board, &p, &w, 1.0f);
        product_end(&p);
    }
    CHECK_CUDA(cudaFree(bias));
    board_end(&board);
}

static const struct wish plain = {
    CUDA_R_32F, CUDA_R_32F, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL};

/* Combinations that cuBLAS does not list. */
static void refused_types(bool faulty)
{
    const struct wish wishes[] = {
        {CUDA_R_16BF, CUDA_R_16F, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL},
        {CUDA_R_32F, CUDA_R_16BF, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL},
        {CUDA_R_64F, CUDA_R_64F, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL},
        {CUDA_R_32F, CUDA_R_32F, CUBLAS_OP_N, CUBLAS_OP_C, CUBLASLT_EPILOGUE_DEFAULT, NULL},
        {CUDA_R_32F, CUDA_R_32F, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_RELU, NULL},
    };
    (void)faulty;
    struct product p = {0};
    CHECK_LT(cublasLtCreate(&p.handle));
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        CHECK_INT(wish_for(&p, &wishes[i]), CUBLAS_STATUS_NOT_SUPPORTED);
        wish_end(&p);
    }
    CHECK_LT(cublasLtDestroy(p.handle));
}

/* Attributes that are unknown or of another size, and memory that is not what was promised. */
static void refused_calls(bool faulty)
{
    int8_t fast = 1;
    int64_t ld = M - 1;
    struct board board = board_make();
    struct product p = product_make(&plain);
    (void)faulty;
    CHECK_INT(
        cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast),
        CUBLAS_STATUS_NOT_SUPPORTED);
    CHECK_INT(
        cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &fast, sizeof fast),
        CUBLAS_STATUS_INVALID_VALUE);
    struct board moved = board;
    moved.device++;
    CHECK_INT(multiply(&p, &moved, 0.0f, board.one), CUBLAS_STATUS_NOT_SUPPORTED);
    const float one = 1.0f, zero = 0.0f;
    CHECK_INT(cublasLtMatmul(p.handle, p.desc, &one, board.device, p.a, board.device, p.b, &zero,
                             board.second, p.c, board.second, p.c, &p.found.algo, p.workspace,
                             p.found.workspaceSize - 1, board.one),
              CUBLAS_STATUS_INVALID_VALUE);
    CHECK_LT(cublasLtMatrixLayoutSetAttribute(p.a, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof ld));
    CHECK_INT(multiply(&p, &board, 0.0f, board.one), CUBLAS_STATUS_INVALID_VALUE);
    CHECK(cublasLtGetStatusString(CUBLAS_STATUS_NOT_SUPPORTED) != NULL);
    product_end(&p);
    board_end(&board);
}

/* Two streams with one workspace: each writes where the other does. */
static void workspace_shared(bool faulty)
{
    struct board board = board_make(), more = board_make();
    struct product p = product_make(&plain);
    CHECK_LT(multiply(&p, &board, 0.0f, board.one));
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
    CHECK_LT(multiply(&p, &more, 0.0f, board.other));
    board_end(&board);
    product_end(&p);
    board_end(&more);
}

/* beta 0 reads no C, so nobody need wait for who writes it; beta 1 does. */
static void read_c(bool faulty)
{
    struct board board = board_make();
    struct product p = product_make(&plain);
    float *c = device_memory(BYTES);
    const float one = 1.0f, beta = faulty ? 1.0f : 0.0f;
    copy_in(c, board.host, BYTES, board.other);
    CHECK_LT(cublasLtMatmul(p.handle, p.desc, &one, board.device, p.a, board.device, p.b, &beta, c,
                            p.c, board.second, p.c, &p.found.algo, p.workspace, WORKSPACE,
                            board.one));
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(cudaStreamSynchronize(board.other));
    CHECK_CUDA(cudaFree(c));
    product_end(&p);
    board_end(&board);
}

static void other_product(bool faulty)
{
    struct board board = board_make();
    struct product p = product_make(&plain);
    int64_t ld = LD + 1;
    if (faulty)
        CHECK_LT(cublasLtMatrixLayoutSetAttribute(p.b, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof ld));
    CHECK_LT(multiply(&p, &board, 0.0f, board.one));
    board_end(&board);
    product_end(&p);
}

static void result_over_operand(bool faulty)
{
    struct board board = board_make();
    struct product p = product_make(&plain);
    const float one = 1.0f, zero = 0.0f;
    float *d = faulty ? board.device + COUNT / 2 : board.second;
    CHECK_LT(cublasLtMatmul(p.handle, p.desc, &one, board.device, p.a, board.device + COUNT / 2,
                            p.b, &zero, d, p.c, d, p.c, &p.found.algo, p.workspace, WORKSPACE,
                            board.one));
    board_end(&board);
    product_end(&p);
}

const struct fault faults_cublaslt[] = {
    {"products", 0, NULL, products, NULL},
    {"refused_types", 0, NULL, refused_types, NULL},
    {"refused_calls", 0, NULL, refused_calls, NULL},
    {"workspace_shared", EMULATOR_RACE, "cublasLtMatmul", workspace_shared, NULL},
    {"read_c", EMULATOR_RACE, "cublasLtMatmul", read_c, NULL},
    {"other_product", EMULATOR_MISUSE, "found for another product", other_product, NULL},
    {"result_over_operand", EMULATOR_MISUSE, "overlaps", result_over_operand, NULL},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Programs with kernels. */
#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"
#include "regression/emulator/tests/kernels.h"

static void kernel_beyond(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(kernels_double(board.device, COUNT + (faulty ? 1 : 0), board.one));
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK(board.result[COUNT - 1] == 2.0f * (COUNT - 1));
    board_end(&board);
}

/* What a kernel touches is known when it has run, and counts from where it was launched. */
static void kernel_order(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(kernels_double(board.device, COUNT, board.one));
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
    copy_out(board.result, board.device, BYTES, board.other);
    board_end(&board);
}

/* Kernels that touch different bytes need no order. */
static void kernels_apart(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(kernels_double(board.device, COUNT / 2 + (faulty ? 1 : 0), board.one));
    CHECK_CUDA(kernels_double(board.device + COUNT / 2, COUNT / 2, board.other));
    board_end(&board);
}

/* The kernel is done already, which the host does not know, or finds its memory gone. */
static void kernel_free(bool faulty)
{
    struct board board = board_make();
    float *memory = device_memory(BYTES);
    CHECK_CUDA(cudaMemsetAsync(memory, 0, BYTES, board.one));
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(kernels_double(memory, COUNT, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(cudaFree(memory));
    board_end(&board);
}

/* A kernel reaches pinned memory, which is in flight then. */
static void kernel_on_host_memory(bool faulty)
{
    struct board board = board_make();
    CHECK_CUDA(kernels_double(board.host, COUNT, board.one));
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (faulty) CHECK_CUDA(cudaMemsetAsync(board.host, 0, BYTES, board.other));
    CHECK_CUDA(cudaEventSynchronize(board.event));
    CHECK_CUDA(cudaStreamSynchronize(board.other));
    CHECK(board.host[2] == 4.0f);
    board_end(&board);
}

static void kernel_of_other_device(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    /* on the stream of a device that is not the thread's */
    CHECK_CUDA(cudaSetDevice(1));
    CHECK_INT(kernels_double(board.device, COUNT, board.one), cudaErrorInvalidResourceHandle);
    CHECK_CUDA(cudaGetLastError());
    cudaStream_t stream = stream_make();
    if (faulty) CHECK_CUDA(kernels_double(board.device, COUNT, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaSetDevice(0));
    board_end(&board);
}

/* Shared memory beyond 48 KiB has to be asked for. */
static void shared_memory(bool faulty)
{
    enum { MUCH = 64 << 10, TOO_MUCH = 228 << 10, BLOCK = 256 };
    struct board board = board_make();
    int blocks = 0;
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_INT(kernels_reverse(board.device, BLOCK, MUCH, board.one), cudaErrorInvalidValue);
    CHECK_INT(kernels_reverse(board.device, 0, 0, board.one), cudaErrorInvalidConfiguration);
    CHECK_INT(kernels_reverse(board.device, 1025, 0, board.one), cudaErrorInvalidConfiguration);
    CHECK_INT(kernels_allow_shared(TOO_MUCH), cudaErrorInvalidValue);
    CHECK_INT(cudaGetLastError(), cudaErrorInvalidValue);
    CHECK_CUDA(kernels_allow_shared(MUCH));
    CHECK_CUDA(kernels_occupancy(BLOCK, MUCH, &blocks));
    CHECK_INT(blocks, 2);
    CHECK_CUDA(kernels_reverse(board.device, BLOCK, faulty ? 4 * (BLOCK - 1) : MUCH, board.one));
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK(board.result[0] == BLOCK - 1);
    CHECK(board.result[BLOCK - 1] == 0.0f);
    board_end(&board);
}

/* A kernel that fails while it runs spoils its device for good. */
static void sticky(bool faulty)
{
    struct board board = board_make();
    (void)faulty;
    CHECK_CUDA(kernels_double(board.device, COUNT, board.one));
    CHECK_INT(cudaStreamSynchronize(board.one), cudaErrorIllegalAddress);
    CHECK_INT(cudaMemsetAsync(board.device, 0, BYTES, board.one), cudaErrorIllegalAddress);
    CHECK_INT(cudaGetLastError(), cudaErrorIllegalAddress);
    CHECK_INT(cudaGetLastError(), cudaErrorIllegalAddress);
    CHECK_INT(cudaFree(board.device), cudaErrorIllegalAddress);
}

const struct fault faults_kernel[] = {
    {"kernel_beyond", EMULATOR_KERNEL, "double_all", kernel_beyond, NULL},
    {"kernel_order", EMULATOR_RACE, "no event or wait", kernel_order, NULL},
    {"kernels_apart", EMULATOR_RACE, "offset 8192 in", kernels_apart, NULL},
    {"kernel_free_eager", EMULATOR_RACE, "memory is freed", kernel_free, "EMULATOR_SCHEDULE=eager"},
    {"kernel_free_late", EMULATOR_KERNEL, "double_all", kernel_free, "EMULATOR_SCHEDULE=late"},
    {"kernel_on_host_memory", EMULATOR_RACE, "no event or wait", kernel_on_host_memory, NULL},
    {"kernel_of_other_device", EMULATOR_MISUSE, "memory of another", kernel_of_other_device, NULL},
    {"shared_memory", EMULATOR_KERNEL, "reverse", shared_memory, NULL},
    {"kernel_90", EMULATOR_KERNEL, "double_all", kernel_beyond, "EMULATOR_TARGET=90"},
    {"sticky", 0, NULL, sticky, "EMULATOR_FAIL=kernel:1"},
    {0},
};

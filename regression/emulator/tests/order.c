/* SPDX-License-Identifier: Apache-2.0 */
/* Programs about memory in flight and the order of operations. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

/* A read that the compiler keeps. */
static float look(const float *at)
{
    return *(const volatile float *)at;
}

static void host_access(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK(look(faulty ? board.device + 3 : board.result + 3) == 3.0f);
    board_end(&board);
}

static void source_in_flight(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    if (!faulty) CHECK_CUDA(cudaStreamSynchronize(board.one));
    board.host[5] = 1.0f;
    board_end(&board);
}

/* The host may read what a copy reads. */
static void shared_source(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK(look(board.host + 5) == 5.0f);
    if (faulty) *(volatile float *)(board.host + 5) = 1.0f;
    board_end(&board);
}

static void result_in_flight(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (!faulty) CHECK_CUDA(cudaEventSynchronize(board.event));
    CHECK(look(board.result + COUNT - 1) == (float)(COUNT - 1));
    board_end(&board);
}

/* An event tells of what was before it, and not of what came later. */
static void late_copy(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    if (faulty) CHECK_CUDA(cudaEventRecord(board.event, board.one));
    copy_out(board.result, board.device, BYTES, board.one);
    if (!faulty) CHECK_CUDA(cudaEventRecord(board.event, board.one));
    CHECK_CUDA(cudaEventSynchronize(board.event));
    CHECK(look(board.result + 7) == 7.0f);
    board_end(&board);
}

static void polled(bool faulty)
{
    struct board board = board_make();
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    cudaError_t error = cudaEventQuery(board.event);
    while (!faulty && error == cudaErrorNotReady)
        error = cudaEventQuery(board.event);
    /* also under the eager schedule, where the first answer is that it is done */
    if (faulty) copy_out(board.result, board.device, BYTES, board.one);
    (void)cudaGetLastError();
    (void)look(board.result);
    board_end(&board);
}

/* A system call is refused rather than let through. */
static void system_call(bool faulty)
{
    struct board board = board_make();
    int zero = open("/dev/zero", O_RDONLY), pipes[2];
    CHECK_INT(pipe(pipes), 0);
    CHECK_INT(write(pipes[1], board.device, 1), -1);
    CHECK_INT(errno, EFAULT);
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_INT(read(zero, board.host, BYTES), -1);
    CHECK_INT(errno, EFAULT);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_INT(read(zero, board.host, BYTES), BYTES);
    if (faulty) (void)look(board.device);
    close(zero);
    close(pipes[0]);
    close(pipes[1]);
    board_end(&board);
}

/* Bytes beside those of a copy, in the same page, are the host's. */
static void neighbour(bool faulty)
{
    struct board board = board_make();
    copy_out(board.result, board.device, BYTES / 64, board.one);
    board.result[COUNT / 64] = 1.0f;
    copy_out(board.result + COUNT / 2, board.device, BYTES / 64, board.one);
    if (faulty) (void)look(board.result + COUNT / 2);
    board_end(&board);
}

static void event_wait(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
    copy_out(board.result, board.device, BYTES, board.other);
    board_end(&board);
}

/* An event that was never recorded holds nothing back. */
static void event_unrecorded(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    if (!faulty) CHECK_CUDA(cudaEventRecord(board.event, board.one));
    CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
    copy_out(board.result, board.device, BYTES, board.other);
    if (faulty) CHECK_CUDA(cudaEventRecord(board.event, board.one));
    board_end(&board);
}

/* What is read by one stream is written by another. */
static void overwritten(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
    CHECK_CUDA(cudaMemsetAsync(board.device + COUNT / 2, 0, 1, board.other));
    board_end(&board);
}

/* Two readers need no order, nor do writers of different bytes. */
static void side_by_side(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    copy_out(board.result, board.device, BYTES / 2, board.one);
    copy_out(board.result + COUNT / 2, board.device, BYTES / 2, board.other);
    size_t half = BYTES / 2;
    CHECK_CUDA(cudaMemsetAsync(board.second, 0, half + (faulty ? 1 : 0), board.one));
    CHECK_CUDA(cudaMemsetAsync((char *)board.second + half, 0, half, board.other));
    board_end(&board);
    CHECK(!faulty);
}

/* Order goes through a third stream, and through the host. */
static void by_way_of_others(bool faulty)
{
    struct board board = board_make();
    cudaStream_t third = stream_make();
    cudaEvent_t next;
    CHECK_CUDA(cudaEventCreateWithFlags(&next, cudaEventDisableTiming));
    copy_in(board.device, board.host, BYTES, board.one);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    CHECK_CUDA(cudaStreamWaitEvent(third, board.event, 0));
    CHECK_CUDA(cudaEventRecord(next, third));
    if (!faulty) CHECK_CUDA(cudaStreamWaitEvent(board.other, next, 0));
    CHECK_CUDA(cudaMemcpyAsync(board.second, board.device, BYTES, cudaMemcpyDefault, board.other));
    CHECK_CUDA(cudaStreamSynchronize(board.other));
    copy_out(board.result, board.second, BYTES, third);
    CHECK_CUDA(cudaStreamSynchronize(third));
    CHECK(board.result[COUNT - 1] == (float)(COUNT - 1));
    CHECK_CUDA(cudaEventDestroy(next));
    CHECK_CUDA(cudaStreamDestroy(third));
    board_end(&board);
}

static void on_host(void *data)
{
    float *result = data;
    result[0] += 1.0f;
}

/* A function of the host has what its stream has done before. */
static void host_function(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES, board.one);
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaLaunchHostFunc(faulty ? board.other : board.one, on_host, board.result));
    CHECK_CUDA(cudaStreamSynchronize(board.other));
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK(board.result[0] == 1.0f);
    board_end(&board);
}

static void call_cuda(void *data)
{
    (void)cudaGetDevice(data);
}

static void call_in_function(bool faulty)
{
    struct board board = board_make();
    int device = 0;
    if (faulty) CHECK_CUDA(cudaLaunchHostFunc(board.one, call_cuda, &device));
    board_end(&board);
}

const struct fault faults_order[] = {
    {"host_access", EMULATOR_HOST_ACCESS, "offset 12 in the allocation", host_access, NULL},
    {"source_in_flight", EMULATOR_IN_FLIGHT, "the host writes", source_in_flight, NULL},
    {"shared_source", EMULATOR_IN_FLIGHT, "the host writes", shared_source, NULL},
    {"result_in_flight", EMULATOR_IN_FLIGHT, "copy to the host", result_in_flight, NULL},
    {"late_copy", EMULATOR_IN_FLIGHT, "copy to the host", late_copy, NULL},
    {"polled", EMULATOR_IN_FLIGHT, "copy to the host", polled, NULL},
    {"system_call", EMULATOR_HOST_ACCESS, "device 0", system_call, NULL},
    {"neighbour", EMULATOR_IN_FLIGHT, "offset 8192", neighbour, NULL},
    {"event_wait", EMULATOR_RACE, "no event or wait", event_wait, NULL},
    {"traced", EMULATOR_RACE, "trace: operation 1 of stream 0", event_wait, "EMULATOR_TRACE=1"},
    {"event_unrecorded", EMULATOR_RACE, "no event or wait", event_unrecorded, NULL},
    {"overwritten", EMULATOR_RACE, "fill", overwritten, NULL},
    {"side_by_side", EMULATOR_RACE, "offset 8192 in", side_by_side, NULL},
    {"by_way_of_others", EMULATOR_RACE, "copy", by_way_of_others, NULL},
    {"host_function", EMULATOR_IN_FLIGHT, "copy to the host", host_function, NULL},
    {"call_in_function", EMULATOR_MISUSE, "cudaGetDevice", call_in_function, NULL},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Programs about the life of memory, streams and events, and about what CUDA takes by luck. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

static void pageable(bool faulty)
{
    struct board board = board_make();
    float *own = calloc(COUNT, sizeof *own);
    copy_in(board.device, faulty ? own : board.host, BYTES, board.one);
    free(own);
    board_end(&board);
}

static void default_stream(bool faulty)
{
    struct board board = board_make();
    CHECK_CUDA(cudaMemsetAsync(board.device, 0, BYTES, faulty ? NULL : board.one));
    board_end(&board);
}

static void blocking_stream(bool faulty)
{
    cudaStream_t stream;
    CHECK_CUDA(
        cudaStreamCreateWithFlags(&stream, faulty ? cudaStreamDefault : cudaStreamNonBlocking));
    CHECK_CUDA(cudaStreamDestroy(stream));
}

static void use_after_free(bool faulty)
{
    struct board board = board_make();
    void *memory = device_memory(BYTES);
    if (faulty) CHECK_CUDA(cudaFree(memory));
    CHECK_CUDA(cudaMemsetAsync(memory, 0, BYTES, board.one));
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    if (!faulty) CHECK_CUDA(cudaFree(memory));
    board_end(&board);
}

static void host_use_after_free(bool faulty)
{
    volatile float *memory = host_memory(BYTES);
    if (faulty) CHECK_CUDA(cudaFreeHost((void *)memory));
    memory[0] = 1.0f;
    if (!faulty) CHECK_CUDA(cudaFreeHost((void *)memory));
}

static void free_in_use(bool faulty)
{
    struct board board = board_make();
    void *memory = device_memory(BYTES);
    CHECK_CUDA(cudaMemsetAsync(memory, 0, BYTES, board.one));
    if (!faulty) CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(cudaFree(memory));
    board_end(&board);
}

static void free_host_in_use(bool faulty)
{
    struct board board = board_make();
    void *memory = host_memory(BYTES);
    copy_in(board.device, memory, BYTES, board.one);
    if (!faulty) CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(cudaFreeHost(memory));
    board_end(&board);
}

static void double_free(bool faulty)
{
    void *memory = device_memory(BYTES), *beside = device_memory(BYTES);
    CHECK_CUDA(cudaFree(memory));
    if (faulty) CHECK_CUDA(cudaFree(memory));
    CHECK_CUDA(cudaFree(beside));
    CHECK_CUDA(cudaFree(NULL));
    CHECK_CUDA(cudaFreeHost(NULL));
}

static void free_of_inside(bool faulty)
{
    char *memory = host_memory(BYTES);
    CHECK_CUDA(cudaFreeHost(memory + (faulty ? 64 : 0)));
}

static void free_of_other_kind(bool faulty)
{
    void *memory = device_memory(BYTES);
    CHECK_CUDA(faulty ? cudaFreeHost(memory) : cudaFree(memory));
}

static void copy_beyond(bool faulty)
{
    struct board board = board_make();
    copy_in(board.device, board.host, BYTES - 4, board.one);
    copy_in((char *)board.device + (faulty ? 4 : 0), board.host, BYTES, board.one);
    board_end(&board);
}

static void copy_of_wrong_kind(bool faulty)
{
    struct board board = board_make();
    if (faulty)
        copy_in(board.result, board.host, BYTES, board.one);
    else
        CHECK_CUDA(
            cudaMemcpyAsync(board.result, board.host, BYTES, cudaMemcpyHostToHost, board.one));
    board_end(&board);
}

static void copy_over_itself(bool faulty)
{
    struct board board = board_make();
    CHECK_CUDA(cudaMemcpyAsync(board.device + (faulty ? COUNT / 2 - 1 : COUNT / 2), board.device,
                               BYTES / 2, cudaMemcpyDeviceToDevice, board.one));
    board_end(&board);
}

/* The host writes behind its memory, into the rest of the page. */
static void host_beyond(bool faulty)
{
    char *memory = host_memory(1000);
    memory[faulty ? 1000 : 999] = 1;
    CHECK_CUDA(cudaFreeHost(memory));
}

static void leak_of_memory(bool faulty)
{
    void *memory = device_memory(BYTES);
    if (!faulty) CHECK_CUDA(cudaFree(memory));
}

static void leak_of_host_memory(bool faulty)
{
    void *memory = host_memory(BYTES);
    if (!faulty) CHECK_CUDA(cudaFreeHost(memory));
}

static void leak_of_stream(bool faulty)
{
    cudaStream_t stream = stream_make();
    if (!faulty) CHECK_CUDA(cudaStreamDestroy(stream));
}

static void leak_of_event(bool faulty)
{
    cudaEvent_t event;
    CHECK_CUDA(cudaEventCreateWithFlags(&event, 0));
    if (!faulty) CHECK_CUDA(cudaEventDestroy(event));
}

static void destroyed_stream(bool faulty)
{
    cudaStream_t stream = stream_make(), next = stream_make();
    CHECK_CUDA(cudaStreamDestroy(stream));
    if (faulty) CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaStreamDestroy(next));
}

static void destroyed_event(bool faulty)
{
    struct board board = board_make();
    cudaEvent_t event;
    CHECK_CUDA(cudaEventCreateWithFlags(&event, 0));
    if (!faulty) CHECK_CUDA(cudaEventRecord(event, board.one));
    CHECK_CUDA(cudaEventDestroy(event));
    if (faulty) CHECK_CUDA(cudaEventRecord(event, board.one));
    board_end(&board);
}

/* Memory of a device is reached from that device alone, but for copies between devices. */
static void other_device(bool faulty)
{
    struct board board = board_make();
    CHECK_CUDA(cudaSetDevice(1));
    float *there = device_memory(BYTES);
    cudaStream_t stream = stream_make();
    copy_in(there, board.host, BYTES, stream);
    CHECK_CUDA(cudaMemcpyAsync(board.device, there, BYTES, cudaMemcpyDefault, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    if (faulty) CHECK_CUDA(cudaMemsetAsync(board.device, 0, BYTES, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaFree(there));
    CHECK_CUDA(cudaStreamDestroy(stream));
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK(board.result[9] == 9.0f);
    board_end(&board);
}

static void registered(bool faulty)
{
    float *own = calloc(COUNT, sizeof *own);
    if (faulty) CHECK_CUDA(cudaHostRegister(own, BYTES, 0));
    free(own);
}

const struct fault faults_life[] = {
    {"pageable", EMULATOR_MISUSE, "pageable", pageable, NULL},
    {"default_stream", EMULATOR_MISUSE, "default stream", default_stream, NULL},
    {"blocking_stream", EMULATOR_MISUSE, "default stream", blocking_stream, NULL},
    {"use_after_free", EMULATOR_MISUSE, "do not lie in live memory", use_after_free, NULL},
    {"host_use_after_free", EMULATOR_MISUSE, "not allocated", host_use_after_free, NULL},
    {"free_in_use", EMULATOR_RACE, "fill", free_in_use, NULL},
    {"free_host_in_use", EMULATOR_RACE, "copy to the device", free_host_in_use, NULL},
    {"double_free", EMULATOR_MISUSE, "has been freed", double_free, NULL},
    {"free_of_inside", EMULATOR_MISUSE, "no allocation", free_of_inside, NULL},
    {"free_of_other_kind", EMULATOR_MISUSE, "no memory of its kind", free_of_other_kind, NULL},
    {"copy_beyond", EMULATOR_MISUSE, "16384 bytes that do not lie", copy_beyond, NULL},
    {"copy_of_wrong_kind", EMULATOR_MISUSE, "copy of kind 1", copy_of_wrong_kind, NULL},
    {"copy_over_itself", EMULATOR_MISUSE, "bytes of its own", copy_over_itself, NULL},
    {"host_beyond", EMULATOR_MISUSE, "beyond its memory", host_beyond, NULL},
    {"leak_of_memory", EMULATOR_LEAK, "1 allocations of 16384 bytes", leak_of_memory, NULL},
    {"leak_of_host_memory", EMULATOR_LEAK, "pinned", leak_of_host_memory, NULL},
    {"leak_of_stream", EMULATOR_LEAK, "1 streams", leak_of_stream, NULL},
    {"leak_of_event", EMULATOR_LEAK, "1 events", leak_of_event, NULL},
    {"destroyed_stream", EMULATOR_MISUSE, "no stream", destroyed_stream, NULL},
    {"destroyed_event", EMULATOR_MISUSE, "no event", destroyed_event, NULL},
    {"other_device", EMULATOR_MISUSE, "memory of another", other_device, NULL},
    {"registered", EMULATOR_MISUSE, "cudaHostAlloc", registered, NULL},
    {0},
};

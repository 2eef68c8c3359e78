/* SPDX-License-Identifier: Apache-2.0 */
/* What CUDA answers, without a fault: programs that go on. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

enum { MIB = 1 << 20 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Memory is limited, and a gap is too small for what is larger than it. */
static void capacity(bool faulty)
{
    (void)faulty;
    size_t before = 0, left = 0, all = 0;
    void *memory = NULL, *parts[16];
    CHECK_CUDA(cudaMemGetInfo(&before, &all));
    CHECK_INT(all, 16 * MIB);
    CHECK_INT(before, all);
    CHECK_INT(cudaMalloc(&memory, 16 * MIB + 1), cudaErrorMemoryAllocation);
    CHECK(!memory);
    CHECK_INT(cudaGetLastError(), cudaErrorMemoryAllocation);
    CHECK_CUDA(cudaGetLastError());
    for (int i = 0; i < 15; i++)
        parts[i] = device_memory(MIB);
    CHECK_INT(cudaMalloc(&memory, MIB), cudaErrorMemoryAllocation);
    for (int i = 0; i < 15; i += 2)
        CHECK_CUDA(cudaFree(parts[i]));
    CHECK_CUDA(cudaMemGetInfo(&left, &all));
    CHECK(left > 8 * MIB);
    CHECK_INT(cudaMalloc(&memory, 2 * MIB), cudaErrorMemoryAllocation);
    memory = device_memory(MIB);
    CHECK_CUDA(cudaFree(memory));
    for (int i = 1; i < 15; i += 2)
        CHECK_CUDA(cudaFree(parts[i]));
    CHECK_CUDA(cudaMemGetInfo(&left, &all));
    CHECK_INT(left, before);
    CHECK_INT(cudaHostAlloc(&memory, (size_t)1 << 40, 0), cudaErrorMemoryAllocation);
}

/* New memory is NaN. */
static void fresh(bool faulty)
{
    (void)faulty;
    struct board board = board_make();
    copy_out(board.result, board.device, BYTES, board.one);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    int numbers = 0;
    for (int i = 0; i < COUNT; i++)
        numbers += board.result[i] == board.result[i];
    CHECK_INT(numbers, 0);
    board_end(&board);
}

static void attributes(bool faulty)
{
    (void)faulty;
    struct board board = board_make();
    struct cudaPointerAttributes what;
    struct cudaDeviceProp properties;
    int count = 0, value = 0, local = 0;
    CHECK_CUDA(cudaGetDeviceCount(&count));
    CHECK_INT(count, 3);
    CHECK_INT(cudaSetDevice(3), cudaErrorInvalidDevice);
    CHECK_INT(cudaGetDeviceProperties(&properties, 3), cudaErrorInvalidDevice);
    (void)cudaGetLastError();
    CHECK_CUDA(cudaGetDeviceProperties(&properties, 2));
    CHECK_CUDA(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 2));
    CHECK_INT(value, properties.multiProcessorCount);
    CHECK_INT(properties.major, 8);
    CHECK_CUDA(cudaPointerGetAttributes(&what, board.device + 1));
    CHECK_INT(what.type, cudaMemoryTypeDevice);
    CHECK_CUDA(cudaPointerGetAttributes(&what, board.host));
    CHECK_INT(what.type, cudaMemoryTypeHost);
    CHECK_CUDA(cudaPointerGetAttributes(&what, &local));
    CHECK_INT(what.type, cudaMemoryTypeUnregistered);
    CHECK(strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0);
    CHECK(strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0);
    board_end(&board);
}

/* Times of events are those of the clock; without them there are none. */
static void times(bool faulty)
{
    (void)faulty;
    struct board board = board_make();
    cudaEvent_t end, timeless;
    float ms = -1;
    const struct timespec wait = {.tv_nsec = 20000000};
    CHECK_CUDA(cudaEventCreateWithFlags(&end, 0));
    CHECK_CUDA(cudaEventCreateWithFlags(&timeless, cudaEventDisableTiming));
    CHECK_INT(cudaEventElapsedTime(&ms, board.event, end), cudaErrorInvalidResourceHandle);
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    CHECK_CUDA(cudaEventRecord(timeless, board.one));
    CHECK_CUDA(cudaEventSynchronize(board.event));
    double start_s = now_s();
    nanosleep(&wait, NULL);
    CHECK_CUDA(cudaEventRecord(end, board.one));
    CHECK_CUDA(cudaEventSynchronize(end));
    CHECK_CUDA(cudaEventElapsedTime(&ms, board.event, end));
    CHECK(ms >= 20.0f && ms < 1e3 * (now_s() - start_s) + 1e3);
    CHECK_INT(cudaEventElapsedTime(&ms, board.event, timeless), cudaErrorInvalidResourceHandle);
    CHECK_CUDA(cudaEventDestroy(end));
    CHECK_CUDA(cudaEventDestroy(timeless));
    board_end(&board);
}

/* The late schedule does nothing before it is asked, and still gets on by itself. */
static void late(bool faulty)
{
    (void)faulty;
    struct board board = board_make();
    const struct timespec wait = {.tv_nsec = 400000000};
    CHECK_CUDA(cudaMemsetAsync(board.device, 0, BYTES, board.one));
    CHECK_INT(cudaStreamQuery(board.one), cudaErrorNotReady);
    CHECK_INT(cudaGetLastError(), cudaErrorNotReady);
    CHECK_CUDA(cudaStreamSynchronize(board.one));
    CHECK_CUDA(cudaStreamQuery(board.one));
    CHECK_CUDA(cudaMemsetAsync(board.device, 0, BYTES, board.one));
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    nanosleep(&wait, NULL);
    CHECK_CUDA(cudaEventQuery(board.event));
    board_end(&board);
}

static void eager(bool faulty)
{
    (void)faulty;
    struct board board = board_make();
    CHECK_CUDA(cudaMemsetAsync(board.device, 0, BYTES, board.one));
    CHECK_CUDA(cudaEventRecord(board.event, board.one));
    CHECK_CUDA(cudaEventQuery(board.event));
    CHECK_CUDA(cudaStreamQuery(board.one));
    board_end(&board);
}

static void wait_for_data(void *data)
{
    while (__atomic_load_n((int *)data, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
}

/* What is given eagerly may wait for what the host does later. */
static void eager_waits_for_host(bool faulty)
{
    (void)faulty;
    cudaStream_t stream = stream_make();
    int ready = 0;
    CHECK_CUDA(cudaLaunchHostFunc(stream, wait_for_data, &ready));
    __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaStreamDestroy(stream));
}

static void injected(bool faulty)
{
    (void)faulty;
    void *memory = device_memory(BYTES), *next = NULL;
    CHECK_INT(cudaMalloc(&next, BYTES), cudaErrorMemoryAllocation);
    CHECK(!next);
    CHECK_INT(cudaGetLastError(), cudaErrorMemoryAllocation);
    next = device_memory(BYTES);
    CHECK_CUDA(cudaFree(memory));
    CHECK_CUDA(cudaFree(next));
}

static void no_driver(bool faulty)
{
    (void)faulty;
    int version = -1, runtime = 0, count = -1;
    void *memory;
    CHECK_CUDA(cudaDriverGetVersion(&version));
    CHECK_INT(version, 0);
    CHECK_CUDA(cudaRuntimeGetVersion(&runtime));
    CHECK_INT(runtime, 13000);
    CHECK_INT(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    CHECK_INT(count, 0);
    CHECK_INT(cudaMalloc(&memory, 1), cudaErrorInsufficientDriver);
}

static void old_driver(bool faulty)
{
    (void)faulty;
    int version = -1, count = -1;
    CHECK_CUDA(cudaDriverGetVersion(&version));
    CHECK(version > 0 && version < 13000);
    CHECK_INT(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
}

static void no_device(bool faulty)
{
    (void)faulty;
    int version = -1, count = -1;
    CHECK_CUDA(cudaDriverGetVersion(&version));
    CHECK(version >= 13000);
    CHECK_INT(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    CHECK_INT(cudaSetDevice(0), cudaErrorNoDevice);
}

/* Streams that come and go have what they need, and order is kept. */
static void many_streams(bool faulty)
{
    enum { ROUNDS = 300 };
    struct board board = board_make();
    (void)faulty;
    for (int i = 0; i < ROUNDS; i++) {
        cudaStream_t stream = stream_make();
        CHECK_CUDA(cudaMemsetAsync(board.device, i, BYTES, stream));
        CHECK_CUDA(cudaStreamSynchronize(stream));
        CHECK_CUDA(cudaStreamDestroy(stream));
    }
    board_end(&board);
}

/* Thousands of operations on pieces of all sizes take no longer at the end than at the start. */
static void long_run(bool faulty)
{
    enum { STEPS = 40, PIECES = 256, PIECE = BYTES / PIECES };
    struct board board = board_make();
    double first_s = 0, last_s = 0;
    (void)faulty;
    for (int step = 0; step < STEPS; step++) {
        double start_s = now_s();
        for (int i = 0; i < PIECES; i++) {
            CHECK_CUDA(
                cudaMemsetAsync((char *)board.device + i * PIECE, step, PIECE - i % 8, board.one));
        }
        CHECK_CUDA(cudaEventRecord(board.event, board.one));
        CHECK_CUDA(cudaStreamWaitEvent(board.other, board.event, 0));
        for (int i = 0; i < PIECES; i += 2)
            CHECK_CUDA(cudaMemcpyAsync((char *)board.second + i * PIECE,
                                       (char *)board.device + i * PIECE, PIECE - i % 4,
                                       cudaMemcpyDefault, board.other));
        CHECK_CUDA(cudaEventRecord(board.event, board.other));
        CHECK_CUDA(cudaStreamWaitEvent(board.one, board.event, 0));
        if (step % 8 == 7) CHECK_CUDA(cudaEventSynchronize(board.event));
        if (step < STEPS / 4) first_s += now_s() - start_s;
        if (step >= STEPS - STEPS / 4) last_s += now_s() - start_s;
    }
    CHECK(last_s < 10 * first_s + 1);
    board_end(&board);
}

/* A thread with a board of its own, and the calls of it that failed. */
struct worker {
    pthread_t thread;
    struct board board;
    int failed;
};

static void *thread_work(void *argument)
{
    enum { ROUNDS = 50 };
    struct worker *worker = argument;
    struct board *board = &worker->board;
    for (int i = 0; i < ROUNDS; i++) {
        worker->failed += cudaMemcpyAsync(board->device, board->host, BYTES, cudaMemcpyDefault,
                                          board->one) != cudaSuccess;
        worker->failed += cudaMemcpyAsync(board->result, board->device, BYTES, cudaMemcpyDefault,
                                          board->one) != cudaSuccess;
        worker->failed += cudaEventRecord(board->event, board->one) != cudaSuccess;
        worker->failed += cudaEventSynchronize(board->event) != cudaSuccess;
        worker->failed += board->result[i] != (float)i;
        board->host[0] = 0;
    }
    return NULL;
}

/* Threads of the host with streams of their own. */
static void threads(bool faulty)
{
    enum { THREADS = 4 };
    struct worker workers[THREADS] = {0};
    (void)faulty;
    for (int i = 0; i < THREADS; i++) {
        workers[i].board = board_make();
        CHECK_INT(pthread_create(&workers[i].thread, NULL, thread_work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(workers[i].thread, NULL), 0);
        CHECK_INT(workers[i].failed, 0);
        board_end(&workers[i].board);
    }
}

/* A program that fails has other troubles than leaks. */
static void leak_of_failure(bool faulty)
{
    (void)faulty;
    (void)device_memory(BYTES);
    exit(test_failures() > 0 ? 1 : 77);
}

const struct fault faults_answers[] = {
    {"capacity", 0, NULL, capacity, "EMULATOR_MEMORY=16777216"},
    {"fresh", 0, NULL, fresh, NULL},
    {"attributes", 0, NULL, attributes, "EMULATOR_DEVICES=3"},
    {"times", 0, NULL, times, NULL},
    {"late", 0, NULL, late, "EMULATOR_SCHEDULE=late"},
    {"eager", 0, NULL, eager, "EMULATOR_SCHEDULE=eager"},
    {"eager_waits_for_host", 0, NULL, eager_waits_for_host, "EMULATOR_SCHEDULE=eager"},
    {"injected", 0, NULL, injected, "EMULATOR_FAIL=cudaMalloc:2"},
    {"no_driver", 0, NULL, no_driver, "EMULATOR_DRIVER=none"},
    {"old_driver", 0, NULL, old_driver, "EMULATOR_DRIVER=old"},
    {"no_device", 0, NULL, no_device, "EMULATOR_DRIVER=empty"},
    {"many_streams", 0, NULL, many_streams, NULL},
    {"long_run", 0, NULL, long_run, NULL},
    {"threads", 0, NULL, threads, NULL},
    {"leak_of_failure", 77, NULL, leak_of_failure, NULL},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the emulation, its lock, its reports, and errors as the program sees them. */
#include "private.h"

#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct settings values;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool locked;
static __thread cudaError_t last_error;
static uint64_t fail_calls;
static pid_t process;

/* Of this process among those of MPI, where a launcher says so; NULL: it does not. */
static const char *mpi_rank(void)
{
    const char *rank = getenv("PMI_RANK");
    return rank ? rank : getenv("OMPI_COMM_WORLD_RANK");
}

void report_line(const char *kind, const char *text)
{
    const char *rank = mpi_rank();
    dprintf(STDERR_FILENO, "emulator:%s%s %s: %s\n", rank ? " rank " : "", rank ? rank : "", kind,
            text);
}

void emulator_fail(enum emulator_fault fault, const char *format, ...)
{
    static const char *const kinds[] = {"the host touches memory of a device",
                                        "the host touches memory in flight",
                                        "race",
                                        "kernel",
                                        "misuse",
                                        "collective",
                                        "leak"};
    enum { ROOM = 4096, FRAMES = 32 };
    char text[ROOM];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_line(kinds[fault - EMULATOR_HOST_ACCESS], text);
    void *frames[FRAMES];
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
    _exit(fault);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*end || errno || *text == '-')
        emulator_fail(EMULATOR_MISUSE, "%s=%s is not a number", name, text);
    return value;
}

/* The index of the variable's value in names, 0 when it is not set. */
static int choice_of(const char *name, const char *const names[], int count)
{
    const char *text = getenv(name);
    if (!text || !*text) return 0;
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) return i;
    emulator_fail(EMULATOR_MISUSE, "%s=%s: unknown", name, text);
}

static void read_fail(void)
{
    const char *text = getenv("EMULATOR_FAIL");
    if (!text || !*text) return;
    const char *colon = strchr(text, ':');
    if (!colon || (values.fail_call = strtoull(colon + 1, NULL, 10)) == 0)
        emulator_fail(EMULATOR_MISUSE, "EMULATOR_FAIL=%s is not NAME:N with N from 1", text);
    values.fail_name = strndup(text, (size_t)(colon - text));
}

/* At the end of a process that succeeds, all has been given back. Work that is under way goes on
 * to its end, as its faults count too. */
static void check_leaks(int status, void *unused)
{
    (void)unused;
    if (status != 0 || process != getpid()) return;
    device_drain(-1);
    runtime_lock();
    for (int device = 0; device < values.devices; device++)
        if (device_error(device) != cudaSuccess) {
            runtime_unlock();
            return;
        }
    int allocations = 0;
    size_t bytes = 0;
    const void *first = NULL;
    for (int device = -1; device < values.devices; device++) {
        const struct arena *arena = arena_of(device);
        for (int i = 0; i < arena->count; i++, allocations++) {
            if (!first) first = (const void *)arena->allocations[i].first;
            bytes += arena->allocations[i].bytes;
        }
    }
    if (allocations + streams_alive() + events_alive() > 0) {
        fflush(NULL);
        emulator_fail(EMULATOR_LEAK,
                      "%d allocations of %zu bytes together (first: %s), %d streams and %d events "
                      "were not given back",
                      allocations, bytes, first ? arena_describe(first) : "none", streams_alive(),
                      events_alive());
    }
    runtime_unlock();
}

static void start(void)
{
    static const char *const schedules[] = {"random", "eager", "late"};
    static const char *const drivers[] = {"there", "none", "old", "empty"};
    enum { MEMORY = 256 << 20, DEVICES = 8, TARGET = 80, TARGET_NEXT = 90 };
    values.schedule = (enum schedule)choice_of("EMULATOR_SCHEDULE", schedules, 3);
    values.driver = (enum driver)choice_of("EMULATOR_DRIVER", drivers, 4);
    values.devices = (int)number_of("EMULATOR_DEVICES", DEVICES);
    values.memory = number_of("EMULATOR_MEMORY", MEMORY);
    values.pinned = number_of("EMULATOR_PINNED", MEMORY);
    values.seed = number_of("EMULATOR_SEED", 0);
    values.approximate = number_of("EMULATOR_APPROXIMATE", 0) != 0;
    values.trace = number_of("EMULATOR_TRACE", 0) != 0;
    values.target = (int)number_of("EMULATOR_TARGET", TARGET);
    if (values.devices < 1 || values.devices > DEVICES_MOST)
        emulator_fail(EMULATOR_MISUSE, "EMULATOR_DEVICES: 1 to %d", DEVICES_MOST);
    if (values.target != TARGET && values.target != TARGET_NEXT)
        emulator_fail(EMULATOR_MISUSE, "EMULATOR_TARGET: %d or %d", TARGET, TARGET_NEXT);
    read_fail();
    process = getpid();
    void *frame[1];
    backtrace(frame, 1); /* loads what it needs now, and not in a handler */
    guards_start();
    on_exit(check_leaks, NULL);
}

const struct settings *settings(void)
{
    pthread_once(&once, start);
    return &values;
}

void runtime_lock(void)
{
    pthread_mutex_lock(&lock);
    locked = true;
}

void runtime_unlock(void)
{
    locked = false;
    pthread_mutex_unlock(&lock);
}

bool runtime_locked(void)
{
    return locked;
}

bool runtime_wait(pthread_cond_t *condition, double deadline_s)
{
    locked = false;
    int error;
    if (deadline_s > 0) {
        struct timespec until = {.tv_sec = (time_t)deadline_s};
        until.tv_nsec = (long)((deadline_s - (double)until.tv_sec) * 1e9);
        error = pthread_cond_clockwait(condition, &lock, CLOCK_MONOTONIC, &until);
    } else {
        error = pthread_cond_wait(condition, &lock);
    }
    locked = true;
    return error == 0;
}

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t random_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void random_delay(uint64_t *state)
{
    enum { RARE = 16, LONG_NS = 1000000, SHORT_NS = 40000 };
    if (settings()->schedule != SCHEDULE_RANDOM) return;
    uint64_t number = random_next(state), kind = number % RARE;
    if (kind >= RARE / 4) return;
    uint64_t most = kind == 0 ? LONG_NS : SHORT_NS;
    struct timespec time = {.tv_nsec = (long)(number / RARE % most)};
    nanosleep(&time, NULL);
}

uint64_t emulator_seed(const char *what)
{
    const char *rank = mpi_rank();
    uint64_t state = settings()->seed;
    random_next(&state);
    for (; *what; what++) {
        state ^= (uint64_t)(unsigned char)*what;
        state = random_next(&state);
    }
    if (rank) state += strtoull(rank, NULL, 10);
    return random_next(&state);
}

bool emulator_fails(const char *function)
{
    const struct settings *asked = settings();
    if (!asked->fail_name || strcmp(asked->fail_name, function) != 0) return false;
    return __atomic_add_fetch(&fail_calls, 1, __ATOMIC_RELAXED) == asked->fail_call;
}

cudaError_t runtime_enter(const char *function)
{
    enum driver driver = settings()->driver;
    if (operation_now())
        emulator_fail(EMULATOR_MISUSE, "%s is called by a function that a stream runs", function);
    if (driver == DRIVER_NONE || driver == DRIVER_OLD) return cudaErrorInsufficientDriver;
    if (driver == DRIVER_EMPTY) return cudaErrorNoDevice;
    if (emulator_fails(function))
        return strcmp(function, "cudaMalloc") == 0 || strcmp(function, "cudaHostAlloc") == 0
                   ? cudaErrorMemoryAllocation
                   : cudaErrorUnknown;
    runtime_lock();
    cudaError_t error = device_error(device_now());
    runtime_unlock();
    return error;
}

cudaError_t runtime_result(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

/* The error of a device stays; others are forgotten once they have been asked for. */
static cudaError_t last(bool forget)
{
    runtime_lock();
    cudaError_t error = device_error(device_now());
    runtime_unlock();
    if (error == cudaSuccess) error = last_error;
    if (forget) last_error = cudaSuccess;
    return error;
}

cudaError_t cudaGetLastError(void)
{
    return emulator_fails("cudaGetLastError") ? cudaErrorUnknown : last(true);
}

cudaError_t cudaPeekAtLastError(void)
{
    return emulator_fails("cudaPeekAtLastError") ? cudaErrorUnknown : last(false);
}

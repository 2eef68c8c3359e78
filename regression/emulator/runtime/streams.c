/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, and the threads that do their work.
 *
 * A stream has a slot: a queue, a thread, and a row of numbers for its operations. A slot is given
 * to another stream only when the host knows all its operations to be done, so that no order is
 * invented; numbers go on. */
#include "private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* How long work waits for somebody to ask for it (late), and a caller for its work (eager): a
 * device gets on by itself, and so does the host. */
static const double LATE_S = 0.2, EAGER_S = 1.0;

struct slot {
    pthread_t thread;
    bool started;
    pthread_cond_t work;
    /* The stream that has it; NULL: none. */
    struct CUstream_st *owner;
    struct operation *head, *tail;
    uint32_t given, done, demanded;
    /* Of the last operation given. */
    struct clock clock;
    uint64_t random;
};

static struct slot slots[SLOTS];
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
/* All that ever were: a handle is never used again. */
static struct CUstream_st *streams;
static uint64_t given;
static cudaError_t errors[DEVICES_MOST];
static __thread struct operation *now;

struct operation *operation_now(void)
{
    return now;
}

uint64_t operations_given(void)
{
    return given;
}

cudaError_t device_error(int device)
{
    return errors[device];
}

void operations_each(void (*visit)(const struct operation *operation, void *context), void *context)
{
    for (int i = 0; i < SLOTS; i++)
        for (const struct operation *operation = slots[i].head; operation;
             operation = operation->next)
            visit(operation, context);
}

void operations_floor(struct clock *floor)
{
    *floor = host_clock;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].head) clock_meet(floor, &slots[i].head->clock);
}

/* The host knows what is done up to a point. */
static void host_learns(const struct clock *clock)
{
    clock_join(&host_clock, clock);
    guards_release();
}

/* Somebody waits for the slot to do its work up to a number. */
static void demand(struct slot *slot, uint32_t number)
{
    if (slot->demanded >= number) return;
    slot->demanded = number;
    pthread_cond_signal(&slot->work);
}

bool point_done(const struct point *point)
{
    struct slot *slot = &slots[point->slot];
    if (slot->done >= point->number) return true;
    demand(slot, point->number);
    return false;
}

bool point_query(const struct point *point)
{
    if (!point_done(point)) return false;
    host_learns(&point->clock);
    trace_host(point);
    return true;
}

void point_wait(const struct point *point)
{
    while (!point_query(point))
        runtime_wait(&progress, 0);
}

/* ---- the threads ---- */

static void note_ranges(struct operation *operation)
{
    for (int i = 0; i < operation->work.range_count; i++) {
        const struct emulator_range *range = &operation->work.ranges[i];
        if (range->bytes > 0) history_note(arena_at(range->address), operation, range);
    }
}

static bool kernel_fails(const struct operation *operation)
{
    return operation->is_kernel && emulator_fails("kernel");
}

/* Does the work, without the lock. */
static void execute(struct slot *slot, struct operation *operation)
{
    if (operation->is_host) host_learns(&operation->clock);
    if (!operation->work.run || errors[operation->device] != cudaSuccess) return;
    note_ranges(operation);
    runtime_unlock();
    random_delay(&slot->random);
    now = operation;
    cudaError_t error = kernel_fails(operation) ? cudaErrorIllegalAddress
                                                : operation->work.run(operation->work.argument);
    now = NULL;
    runtime_lock();
    if (error != cudaSuccess && errors[operation->device] == cudaSuccess)
        errors[operation->device] = error;
}

static void finish(struct slot *slot, struct operation *operation)
{
    if (operation->stamp) {
        operation->stamp->time_s = now_s();
        stamp_release(operation->stamp);
    }
    slot->head = operation->next;
    if (!slot->head) slot->tail = NULL;
    slot->done = operation->mark.number;
    history_done(&operation->notes);
    free(operation->work.argument);
    free(operation);
    pthread_cond_broadcast(&progress);
}

static void *work(void *argument)
{
    struct slot *slot = argument;
    prctl(PR_SET_TIMERSLACK, 1UL); /* short delays are short */
    runtime_lock();
    for (;;) {
        while (!slot->head)
            runtime_wait(&slot->work, 0);
        struct operation *operation = slot->head;
        if (settings()->schedule == SCHEDULE_LATE)
            while (slot->demanded < operation->mark.number && now_s() < operation->given_s + LATE_S)
                runtime_wait(&slot->work, operation->given_s + LATE_S);
        if (operation->wait.number > 0)
            while (!point_done(&operation->wait))
                runtime_wait(&progress, 0);
        execute(slot, operation);
        finish(slot, operation);
    }
    return NULL;
}

/* ---- giving work ---- */

struct CUstream_st *stream_of(cudaStream_t handle, const char *what)
{
    if (!handle || handle == cudaStreamLegacy || handle == cudaStreamPerThread)
        emulator_fail(EMULATOR_MISUSE, "%s: the default stream is not used", what);
    for (struct CUstream_st *stream = streams; stream; stream = stream->next)
        if (stream == handle && stream->alive) return stream;
    emulator_fail(EMULATOR_MISUSE, "%s: %p is no stream, or has been destroyed", what,
                  (void *)handle);
}

void stream_point(const struct CUstream_st *stream, struct point *point)
{
    const struct slot *slot = &slots[stream->slot];
    *point = (struct point){stream->slot, slot->given, slot->clock};
}

static void guard_ranges(const struct operation *operation)
{
    for (int i = 0; i < operation->work.range_count; i++) {
        const struct emulator_range *range = &operation->work.ranges[i];
        struct arena *arena = range->bytes > 0 ? arena_at(range->address) : NULL;
        if (arena && arena->device < 0) guards_add(arena, &operation->mark, range);
    }
}

void stream_give(struct CUstream_st *stream, struct operation *operation)
{
    struct slot *slot = &slots[stream->slot];
    operation->mark = (struct mark){operation->work.name, stream->slot, ++slot->given};
    operation->device = stream->device;
    operation->number = ++given;
    operation->given_s = now_s();
    clock_join(&slot->clock, &host_clock);
    if (operation->wait.number > 0) clock_join(&slot->clock, &operation->wait.clock);
    slot->clock.at[stream->slot] = slot->given;
    operation->clock = slot->clock;
    guard_ranges(operation);
    trace_given(operation);
    if (slot->tail)
        slot->tail->next = operation;
    else
        slot->head = operation;
    slot->tail = operation;
    pthread_cond_signal(&slot->work);
    if (settings()->schedule != SCHEDULE_EAGER) return;
    uint32_t number = slot->given;
    double deadline = now_s() + EAGER_S;
    while (slot->done < number && now_s() < deadline)
        runtime_wait(&progress, deadline);
}

/* Ranges must be live memory, pinned or of the stream's device. */
static void check_ranges(const struct operation *operation, int device)
{
    for (int i = 0; i < operation->work.range_count; i++) {
        const struct emulator_range *range = &operation->work.ranges[i];
        if (range->bytes == 0) continue;
        const struct arena *arena = arena_at(range->address);
        if (!arena)
            emulator_fail(EMULATOR_MISUSE,
                          "%s of pageable memory, which would wait for the device: %s",
                          operation->work.name, arena_describe(range->address));
        if (!arena_find(arena, range->address, range->bytes))
            emulator_fail(EMULATOR_MISUSE, "%s of %zu bytes that do not lie in live memory: %s",
                          operation->work.name, range->bytes, arena_describe(range->address));
        if (arena->device >= 0 && arena->device != device && !operation->any_device)
            emulator_fail(EMULATOR_MISUSE, "%s on device %d touches memory of another: %s",
                          operation->work.name, device, arena_describe(range->address));
    }
}

cudaError_t work_give(cudaStream_t handle, struct operation *operation)
{
    runtime_lock();
    struct CUstream_st *stream = stream_of(handle, operation->work.name);
    cudaError_t error = errors[stream->device];
    if (error == cudaSuccess) {
        check_ranges(operation, stream->device);
        stream_give(stream, operation);
    } else {
        free(operation->work.argument);
        free(operation);
    }
    runtime_unlock();
    return error;
}

cudaError_t emulator_enqueue(cudaStream_t handle, const struct emulator_work *work_given)
{
    struct operation *operation = calloc(1, sizeof *operation);
    if (!operation) abort();
    operation->work = *work_given;
    runtime_lock();
    bool is_foreign = stream_of(handle, work_given->name)->device != device_now();
    runtime_unlock();
    if (!is_foreign) return work_give(handle, operation);
    free(operation->work.argument);
    free(operation);
    return cudaErrorInvalidResourceHandle;
}

void emulator_touched(const struct emulator_range *range)
{
    struct operation *operation = now;
    if (!operation || range->bytes == 0) return;
    runtime_lock();
    struct arena *arena = arena_at(range->address);
    const struct allocation *allocation =
        arena ? arena_find(arena, range->address, range->bytes) : NULL;
    if (!allocation || allocation->born >= operation->number)
        emulator_fail(EMULATOR_RACE, "memory was freed while %s (stream %u) touched it: %s",
                      operation->mark.name, operation->mark.slot, arena_describe(range->address));
    history_note(arena, operation, range);
    if (arena->device < 0) guards_add(arena, &operation->mark, range);
    runtime_unlock();
}

/* ---- the public functions ---- */

/* A slot without a stream, of whose work the host knows all. */
static uint32_t free_slot(void)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (!slots[i].owner && !slots[i].head && host_clock.at[i] >= slots[i].given) return i;
    emulator_fail(EMULATOR_MISUSE, "more than %d streams", SLOTS);
}

static void start_slot(struct slot *slot)
{
    if (slot->started) return;
    pthread_condattr_t attribute;
    pthread_condattr_init(&attribute);
    pthread_condattr_setclock(&attribute, CLOCK_MONOTONIC);
    pthread_cond_init(&slot->work, &attribute);
    pthread_condattr_destroy(&attribute);
    char name[] = "stream 000";
    size_t number = (size_t)(slot - slots);
    for (size_t at = sizeof name - 2; number > 0; at--, number /= 10)
        name[at] = (char)('0' + number % 10);
    slot->random = emulator_seed(name);
    if (pthread_create(&slot->thread, NULL, work, slot) != 0)
        emulator_fail(EMULATOR_MISUSE, "no thread for a stream");
    slot->started = true;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *handle, unsigned flags)
{
    ENTER(cudaStreamCreateWithFlags);
    if (flags != cudaStreamNonBlocking)
        emulator_fail(EMULATOR_MISUSE, "a stream that waits for the default stream");
    struct CUstream_st *stream = calloc(1, sizeof *stream);
    if (!stream) abort();
    runtime_lock();
    stream->slot = free_slot();
    stream->device = device_now();
    stream->alive = true;
    stream->next = streams;
    streams = stream;
    start_slot(&slots[stream->slot]);
    slots[stream->slot].owner = stream;
    clock_join(&slots[stream->slot].clock, &host_clock);
    runtime_unlock();
    *handle = stream;
    return cudaSuccess;
}

/* What is under way goes on to its end. */
cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    ENTER(cudaStreamDestroy);
    runtime_lock();
    struct CUstream_st *stream = stream_of(handle, "cudaStreamDestroy");
    struct slot *slot = &slots[stream->slot];
    stream->alive = false;
    slot->owner = NULL;
    demand(slot, slot->given);
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    ENTER(cudaStreamSynchronize);
    runtime_lock();
    const struct CUstream_st *stream = stream_of(handle, "cudaStreamSynchronize");
    struct point point;
    stream_point(stream, &point);
    point_wait(&point);
    cudaError_t error = errors[stream->device];
    runtime_unlock();
    return runtime_result(error);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    ENTER(cudaStreamQuery);
    runtime_lock();
    const struct CUstream_st *stream = stream_of(handle, "cudaStreamQuery");
    struct point point;
    stream_point(stream, &point);
    bool done = point_query(&point);
    cudaError_t error = errors[stream->device];
    runtime_unlock();
    return runtime_result(error != cudaSuccess ? error : done ? cudaSuccess : cudaErrorNotReady);
}

int streams_alive(void)
{
    int count = 0;
    for (const struct CUstream_st *stream = streams; stream; stream = stream->next)
        count += stream->alive;
    return count;
}

void device_drain(int device)
{
    runtime_lock();
    for (const struct CUstream_st *stream = streams; stream; stream = stream->next) {
        if (device >= 0 && stream->device != device) continue;
        struct point point;
        stream_point(stream, &point);
        point_wait(&point);
    }
    runtime_unlock();
}

cudaError_t cudaDeviceSynchronize(void)
{
    ENTER(cudaDeviceSynchronize);
    device_drain(device_now());
    runtime_lock();
    cudaError_t error = errors[device_now()];
    runtime_unlock();
    return runtime_result(error);
}

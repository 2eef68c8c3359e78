/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the emulated CUDA runtime: what its files share.
 *
 * One lock guards all of it. "Locked" below: to be called with the lock held; all other functions
 * take it themselves. Work runs without the lock, in the thread of its slot. */
#ifndef ZI_REGRESSION_RUNTIME_PRIVATE_H
#define ZI_REGRESSION_RUNTIME_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#include "regression/emulator/emulator.h"

enum { DEVICES_MOST = 16, SLOTS = 128, PAGE = 4096 };

/* ---- settings.c: the environment, the lock, reports, injected failures ---- */

enum schedule { SCHEDULE_RANDOM, SCHEDULE_EAGER, SCHEDULE_LATE };
enum driver { DRIVER_THERE, DRIVER_NONE, DRIVER_OLD, DRIVER_EMPTY };

struct settings {
    enum schedule schedule;
    enum driver driver;
    int devices;
    size_t memory, pinned;
    uint64_t seed;
    bool approximate, trace;
    /* Of the PTX that is run: 80 or 90. */
    int target;
    /* EMULATOR_FAIL: of which function, and which call; NULL: none. */
    char *fail_name;
    uint64_t fail_call;
};

/* What the environment asks for; read with the first call. */
const struct settings *settings(void);

void runtime_lock(void);
void runtime_unlock(void);
/* Whether the calling thread has the lock. */
bool runtime_locked(void);
/* Locked. Lets go of the lock until the condition is signalled or, where deadline_s is not 0, that
 * time has come; false then. */
bool runtime_wait(pthread_cond_t *condition, double deadline_s);

/* Writes "emulator: KIND: TEXT" to stderr, with the rank where there is one. */
void report_line(const char *kind, const char *text);

/* Of the monotonic clock. */
double now_s(void);
/* The next of a sequence of random numbers. */
uint64_t random_next(uint64_t *state);
/* Sleeps for a random time, often none, under the random schedule. */
void random_delay(uint64_t *state);

/* What a public function does first: an error that is injected, the driver's, or what a failed
 * operation has left on the current device. */
cudaError_t runtime_enter(const char *function);
/* What a public function gives: remembers an error for cudaGetLastError. */
cudaError_t runtime_result(cudaError_t error);

/* Begins a public function. */
#define ENTER(function)                                                                            \
    do {                                                                                           \
        cudaError_t entered_ = runtime_enter(#function);                                           \
        if (entered_ != cudaSuccess) return runtime_result(entered_);                              \
    } while (0)

/* ---- clocks.c: vector clocks ---- */

/* Per slot, the number of the last operation that is known to be done. */
struct clock {
    uint32_t at[SLOTS];
};

void clock_join(struct clock *to, const struct clock *from);
void clock_meet(struct clock *to, const struct clock *from);

/* What the host knows. Locked. */
extern struct clock host_clock;

/* An operation, for the history: name (never freed), where, and its number there from 1. */
struct mark {
    const char *name;
    uint32_t slot, number;
};

/* ---- memory.c: arenas and allocations ---- */

/* A block of memory that the program has. */
struct allocation {
    /* As the program addresses it. */
    uintptr_t first;
    /* bytes: asked for; span: with its red zone. */
    size_t bytes, span;
    /* The number of operations that had been given when it was made. */
    uint64_t born;
};

struct bucket;

/* Memory of a device or the pinned memory, mapped twice: where the program sees it, protected, and
 * where the emulation touches it. */
struct arena {
    uint8_t *user, *alias;
    size_t capacity, used;
    /* Sorted by address. */
    struct allocation *allocations;
    int count, room;
    /* Who touched what, per BUCKET bytes (history.c). */
    struct bucket *buckets;
    size_t bucket_count;
    /* -1: pinned. */
    int device;
};

/* Locked. The arena that the address lies in; NULL: pageable memory, or none. */
struct arena *arena_at(const void *address);
/* Locked. The arena of a device, or -1: the pinned one; made when first asked for. */
struct arena *arena_of(int device);
/* Locked. The allocation that holds [address, address + bytes); NULL: none does. */
struct allocation *arena_find(const struct arena *arena, const void *address, size_t bytes);
/* Locked. Says where an address is, for reports: "byte 12 of the 4096 bytes of device 0 at ...". */
const char *arena_describe(const void *address);
/* Locked. Where the emulation touches what the program addresses so. */
void *arena_alias(const struct arena *arena, const void *address);
/* Locked. Calls visit for every arena that has been made. */
void arena_each(void (*visit)(struct arena *arena, void *context), void *context);

/* ---- history.c: who touched which bytes, and whether that was ordered ---- */

struct operation;

/* Locked. The operation, whose turn has come, touches a range of the arena: EMULATOR_RACE when
 * something that is not ordered before it touched the same bytes and one of both wrote. */
void history_note(struct arena *arena, struct operation *operation,
                  const struct emulator_range *range);
/* Locked. The host frees a range: EMULATOR_RACE when the host does not know that who touched it is
 * done. Forgets the range. */
void history_free(struct arena *arena, const void *address, size_t bytes);

/* What notes remember about an operation; zero at first. */
struct notes {
    struct state *written, *read_from, *read_to;
    /* What is ordered before this and all later operations. */
    struct clock *floor;
};

/* Locked. Frees what the notes hold. */
void history_done(struct notes *notes);

/* ---- guards.c: pages of pinned memory in flight, and faults of the host ---- */

/* Installs the handler of SIGSEGV. */
void guards_start(void);
/* Locked. Protects the pages of a range that an operation in flight touches. */
void guards_add(struct arena *arena, const struct mark *mark, const struct emulator_range *range);
/* Locked. Opens the pages of operations that the host knows to be done. */
void guards_release(void);
/* Locked. Makes pages of the pinned arena readable and writable, or out of reach. */
void guards_open(struct arena *arena, const void *address, size_t bytes, bool open);

/* ---- streams.c: streams and the threads that do their work ---- */

struct CUstream_st {
    struct CUstream_st *next;
    bool alive;
    int device;
    uint32_t slot;
};

/* A place in the order of a slot. */
struct point {
    uint32_t slot, number;
    struct clock clock;
};

/* When a recorded event was reached; shared by the event and the operation. */
struct stamp {
    int references;
    double time_s;
};

/* An operation on its way through a slot. */
struct operation {
    struct operation *next;
    struct emulator_work work;
    struct mark mark;
    int device;
    /* A copy between devices. */
    bool any_device;
    /* Its name is one of a kernel: EMULATOR_FAIL=kernel:N counts it. */
    bool is_kernel;
    /* A function of the host's: what comes before it is known to the host when it runs. */
    bool is_host;
    /* Among all operations of the process. */
    uint64_t number;
    double given_s;
    struct clock clock;
    struct notes notes;
    /* wait.number > 0: waits for that point first. */
    struct point wait;
    struct stamp *stamp;
};

/* Locked. The stream behind a handle: EMULATOR_MISUSE for the default streams and for what is no
 * live stream. */
struct CUstream_st *stream_of(cudaStream_t stream, const char *what);
/* Locked. Where the stream stands: after all that it was given. */
void stream_point(const struct CUstream_st *stream, struct point *point);
/* Locked. Gives the stream an operation, made with calloc; ranges must have been checked. */
void stream_give(struct CUstream_st *stream, struct operation *operation);
/* Locked. Whether it has been reached; asks for it when not. */
bool point_done(const struct point *point);
/* Locked. As point_done; when it has been reached, the host knows. */
bool point_query(const struct point *point);
/* Locked. Waits, and then the host knows. */
void point_wait(const struct point *point);
/* Locked. For each operation that is not done, of all slots. */
void operations_each(void (*visit)(const struct operation *operation, void *context),
                     void *context);
/* Locked. The number of operations given so far. */
uint64_t operations_given(void);
/* Locked. What is ordered before all operations that are not done and all to come. */
void operations_floor(struct clock *floor);
/* Locked. The error that operations of a device left; cudaSuccess: none. */
cudaError_t device_error(int device);
/* Waits for all work of a device, or -1: of all. */
void device_drain(int device);
/* Locked. Streams that are alive. */
int streams_alive(void);
/* The operation that the calling thread is running; NULL: none. */
struct operation *operation_now(void);
/* emulator_enqueue, for operations of the runtime itself. */
cudaError_t work_give(cudaStream_t stream, struct operation *operation);

/* ---- events.c ---- */

/* Locked. Events that are alive. */
int events_alive(void);
/* Locked. Gives back a share in a stamp. */
void stamp_release(struct stamp *stamp);

/* ---- trace.c: what was given and waited for, where the settings ask for it ---- */

/* Locked. */
void trace_given(const struct operation *operation);
void trace_host(const struct point *point);

/* ---- properties.c ---- */

/* The device of the calling thread. */
int device_now(void);
/* Shared memory that a block can have when it asks for more than usual. */
size_t shared_bytes_most(void);

enum { SHARED_BYTES = 48 << 10, THREADS_MOST = 1024, MULTIPROCESSORS = 8 };

#endif

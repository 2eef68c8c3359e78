/* SPDX-License-Identifier: Apache-2.0 */
/* Launches: blocks one after the other, and the threads of a block up to where they wait. */
#include "regression/emulator/ptx/machine.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Instructions that a thread may run before others get their turn, and how many such turns without a
 * wait are taken for a loop without an end. */
enum { TURN = 1 << 24, TURNS = 8 };
/* Of hardware of compute capability 9.0, in bytes. */
enum { SHARED_MOST = 227 * 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ptx_machine *idle;
static _Atomic uint64_t instructions;

uint64_t ptx_instructions(void)
{
    return instructions;
}

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

int ptx_direction(const struct ptx_thread *t, uint64_t operand)
{
    const struct ptx_launch *launch = t->machine->launch;
    if (!launch->approximate) return 0;
    return mix(launch->seed ^ mix(operand)) & 1 ? 1 : -1;
}

const struct ptx_instruction *ptx_fault(struct ptx_thread *t, const struct ptx_instruction *i,
                                        const char *format, ...)
{
    struct ptx_machine *machine = t->machine;
    const uint32_t *b = machine->block_at;
    const union ptx_value *r = t->frame;
    if (machine->failed) return NULL;
    machine->failed = true;
    int prefix = snprintf(machine->error, machine->error_size,
                          "kernel %s, line %u of its PTX, block (%u,%u,%u), thread (%u,%u,%u): ",
                          machine->kernel->name, i->line, b[0], b[1], b[2], r[PTX_TID].u32,
                          r[PTX_TID + 1].u32, r[PTX_TID + 2].u32);
    if (prefix < 0 || (size_t)prefix >= machine->error_size) return NULL;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(machine->error + prefix, machine->error_size - (size_t)prefix, format, arguments);
    va_end(arguments);
    return NULL;
}

/* Runs a thread up to where it waits, exits or fails. */
static void run_thread(struct ptx_machine *machine, struct ptx_thread *t)
{
    const struct ptx_instruction *i = t->at, *last = i;
    union ptx_value *r = t->frame;
    for (int turn = 0; turn < TURNS; turn++) {
        int left = TURN;
        for (; left > 0 && i; left--) {
            last = i;
            i = i->run(i, r, t);
        }
        machine->instructions += (uint64_t)(TURN - left);
        if (!i) return;
    }
    ptx_fault(t, last, "it has run %lld instructions without coming to an end",
              (long long)TURN * TURNS);
}

/* Lanes of a warp that do not come: says why. */
static void stuck(struct ptx_thread *t, const struct ptx_thread *other, uint32_t lane)
{
    const char *why = "stands at another instruction, or with another mask";
    if (!other || other->state == PTX_EXITED)
        why = "has exited or does not exist";
    else if (other->state == PTX_WAITS_BLOCK)
        why = "waits at a barrier of the block";
    ptx_fault(t, t->at, "it waits for lane %u of its warp (mask %#x), which %s", lane, t->mask,
              why);
}

/* Whether all lanes of a waiting thread's mask have come; if not, *missing is one that has not. */
static bool have_come(const struct ptx_thread *t, const struct ptx_thread *lanes, uint32_t count,
                      uint32_t *missing)
{
    for (uint32_t mask = t->mask; mask; mask &= mask - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(mask);
        *missing = k;
        if (k >= count || lanes[k].state != PTX_WAITS_WARP || lanes[k].at != t->at ||
            lanes[k].mask != t->mask)
            return false;
    }
    return true;
}

/* Lets lanes that wait for each other go on; false when there are none. */
static bool meet(struct ptx_machine *machine, struct ptx_thread *lanes, uint32_t count)
{
    struct ptx_thread *waiting = NULL;
    uint32_t missing = 0;
    for (uint32_t k = 0; k < count && !machine->failed; k++) {
        struct ptx_thread *t = &lanes[k];
        if (t->state != PTX_WAITS_WARP) continue;
        if (!(t->mask >> k & 1)) {
            ptx_fault(t, t->at, "lane %u is not in its own mask %#x", k, t->mask);
        } else if (have_come(t, lanes, count, &missing)) {
            const struct ptx_instruction *i = t->at;
            uint32_t mask = t->mask;
            if (!i->together(i, lanes, mask)) return false;
            for (; mask; mask &= mask - 1) {
                uint32_t l = (uint32_t)__builtin_ctz(mask);
                lanes[l].at = i + 1;
                lanes[l].state = PTX_RUNS;
            }
            return true;
        } else if (!waiting) {
            waiting = t;
        }
    }
    if (!waiting || machine->failed) return false;
    have_come(waiting, lanes, count, &missing);
    stuck(waiting, missing < count ? &lanes[missing] : NULL, missing);
    return false;
}

/* Runs a warp up to a barrier of the block or its end, its lanes in an order by the seed. */
static void run_warp(struct ptx_machine *machine, struct ptx_thread *lanes, uint32_t count)
{
    do {
        machine->random = mix(machine->random);
        uint32_t start = (uint32_t)(machine->random >> 8) % count;
        bool down = machine->random & 1;
        for (uint32_t n = 0; n < count && !machine->failed; n++) {
            uint32_t k = (start + n) % count;
            struct ptx_thread *t = &lanes[down ? count - 1 - k : k];
            if (t->state == PTX_RUNS) run_thread(machine, t);
        }
    } while (!machine->failed && meet(machine, lanes, count));
}

/* All threads at one barrier go on; false when the block has come to its end, or failed. */
static bool pass_barrier(struct ptx_machine *machine)
{
    struct ptx_thread *threads = machine->threads, *waiting = NULL, *gone = NULL;
    for (uint32_t k = 0; k < machine->thread_count; k++) {
        if (threads[k].state == PTX_EXITED)
            gone = &threads[k];
        else if (!waiting)
            waiting = &threads[k];
        else if (threads[k].at != waiting->at)
            ptx_fault(waiting, waiting->at,
                      "it waits at a barrier, and thread %u waits at another one, at line %u",
                      threads[k].index, threads[k].at->line);
    }
    if (waiting && gone)
        ptx_fault(waiting, waiting->at,
                  "it waits at a barrier, which thread %u never reaches: it has "
                  "exited",
                  gone->index);
    if (machine->failed || !waiting) return false;
    const struct ptx_instruction *i = waiting->at;
    if (i->together) i->together(i, threads, 0);
    machine->epoch++;
    for (uint32_t k = 0; k < machine->thread_count; k++) {
        threads[k].at = i + 1;
        threads[k].state = PTX_RUNS;
    }
    return true;
}

static void run_block(struct ptx_machine *machine)
{
    const struct ptx_kernel *kernel = machine->kernel;
    uint32_t count = machine->thread_count, warps = (count + PTX_WARP - 1) / PTX_WARP;
    ptx_shared_block(machine);
    if (kernel->local_bytes > 0) memset(machine->local, 0xFF, (size_t)count * kernel->local_bytes);
    for (uint32_t k = 0; k < count; k++) {
        struct ptx_thread *t = &machine->threads[k];
        t->at = kernel->code;
        t->state = PTX_RUNS;
        for (int d = 0; d < 3; d++)
            t->frame[PTX_CTAID + d].u64 = machine->block_at[d];
    }
    do {
        machine->random = mix(machine->random);
        uint32_t start = (uint32_t)(machine->random >> 8) % warps;
        for (uint32_t n = 0; n < warps && !machine->failed; n++) {
            uint32_t first = (start + n) % warps * PTX_WARP;
            uint32_t lanes = count - first < PTX_WARP ? count - first : PTX_WARP;
            run_warp(machine, &machine->threads[first], lanes);
        }
    } while (!machine->failed && pass_barrier(machine));
}

/* Blocks in an order by the seed: upwards or downwards from any one. */
static void run_blocks(struct ptx_machine *machine)
{
    const unsigned *grid = machine->launch->grid;
    uint64_t count = (uint64_t)grid[0] * grid[1] * grid[2];
    machine->random = mix(machine->launch->seed);
    uint64_t start = (machine->random >> 1) % count;
    bool down = machine->random & 1;
    for (uint64_t n = 0; n < count && !machine->failed; n++) {
        uint64_t block = (start + n) % count;
        if (down) block = count - 1 - block;
        machine->block = (uint32_t)block;
        machine->block_at[0] = (uint32_t)(block % grid[0]);
        machine->block_at[1] = (uint32_t)(block / grid[0] % grid[1]);
        machine->block_at[2] = (uint32_t)(block / grid[0] / grid[1]);
        run_block(machine);
    }
}

static void *room_for(void *memory, size_t *room, size_t bytes)
{
    if (bytes <= *room) return memory;
    free(memory);
    *room = bytes;
    memory = malloc(bytes);
    if (!memory) abort();
    return memory;
}

static void set_specials(struct ptx_machine *machine, struct ptx_thread *t)
{
    const struct ptx_launch *launch = machine->launch;
    const unsigned *block = launch->block;
    union ptx_value *r = t->frame;
    uint32_t bit = UINT32_C(1) << t->lane;
    r[PTX_TID].u64 = t->index % block[0];
    r[PTX_TID + 1].u64 = t->index / block[0] % block[1];
    r[PTX_TID + 2].u64 = t->index / block[0] / block[1];
    for (int d = 0; d < 3; d++) {
        r[PTX_NTID + d].u64 = block[d];
        r[PTX_NCTAID + d].u64 = launch->grid[d];
    }
    r[PTX_LANEID].u64 = t->lane;
    r[PTX_WARPID].u64 = t->warp;
    r[PTX_NWARPID].u64 = (machine->thread_count + PTX_WARP - 1) / PTX_WARP;
    r[PTX_LANEMASK_EQ].u64 = bit;
    r[PTX_LANEMASK_LT].u64 = bit - 1;
    r[PTX_LANEMASK_LE].u64 = bit - 1 + bit;
    r[PTX_LANEMASK_GT].u64 = (uint32_t) ~(bit - 1 + bit);
    r[PTX_LANEMASK_GE].u64 = (uint32_t) ~(bit - 1);
    r[PTX_DYNAMIC_SMEM_SIZE].u64 = launch->shared_bytes;
    r[PTX_TOTAL_SMEM_SIZE].u64 = machine->shared_bytes;
}

/* Frames of all threads: zeros, constants and special registers. */
static void set_frames(struct ptx_machine *machine)
{
    const struct ptx_kernel *kernel = machine->kernel;
    size_t slots = (size_t)kernel->slot_count, bytes = slots * sizeof(union ptx_value);
    machine->frames =
        room_for(machine->frames, &machine->frame_room, bytes * machine->thread_count);
    machine->local = room_for(machine->local, &machine->local_room,
                              (size_t)kernel->local_bytes * machine->thread_count);
    memset(machine->frames, 0, bytes);
    for (int k = 0; k < kernel->constant_count; k++)
        machine->frames[kernel->constant_slots[k]] = kernel->constants[k];
    for (uint32_t k = 0; k < machine->thread_count; k++) {
        struct ptx_thread *t = &machine->threads[k];
        t->frame = machine->frames + k * slots;
        t->local = machine->local + (size_t)k * kernel->local_bytes;
        t->machine = machine;
        t->index = k;
        t->lane = k % PTX_WARP;
        t->warp = k / PTX_WARP;
        if (k > 0) memcpy(t->frame, machine->frames, bytes);
    }
    for (uint32_t k = 0; k < machine->thread_count; k++)
        set_specials(machine, &machine->threads[k]);
}

static void set_parameters(struct ptx_machine *machine)
{
    const struct ptx_kernel *kernel = machine->kernel;
    machine->parameters =
        room_for(machine->parameters, &machine->parameter_room, kernel->parameter_bytes);
    for (int k = 0; k < kernel->parameter_count; k++)
        memcpy(machine->parameters + kernel->parameters[k].offset, machine->launch->parameters[k],
               kernel->parameters[k].bytes);
}

/* What hardware would refuse; NULL when nothing. */
static const char *refused(const struct ptx_kernel *kernel, const struct ptx_launch *launch)
{
    uint64_t threads = 1, blocks = 1;
    for (int d = 0; d < 3; d++) {
        if (launch->block[d] > PTX_THREADS || launch->grid[d] > (d == 0 ? 0x7FFFFFFF : 65535))
            return "more threads or blocks than hardware has";
        threads *= launch->block[d];
        blocks *= launch->grid[d];
    }
    if (threads == 0 || blocks == 0) return "no threads or no blocks";
    if (threads > PTX_THREADS || blocks > UINT32_MAX - 1)
        return "more threads or blocks than hardware has";
    if (kernel->threads_most > 0 && threads > kernel->threads_most)
        return "more threads than its launch bounds allow";
    if (kernel->shared_bytes + launch->shared_bytes > SHARED_MOST)
        return "more shared memory than hardware has";
    return NULL;
}

static struct ptx_machine *machine_take(void)
{
    pthread_mutex_lock(&lock);
    struct ptx_machine *machine = idle;
    if (machine) idle = machine->next;
    pthread_mutex_unlock(&lock);
    if (machine) return machine;
    machine = calloc(1, sizeof *machine);
    if (!machine) abort();
    machine->threads = calloc(PTX_THREADS, sizeof *machine->threads);
    if (!machine->threads) abort();
    return machine;
}

static void machine_give(struct ptx_machine *machine)
{
    pthread_mutex_lock(&lock);
    machine->next = idle;
    idle = machine;
    pthread_mutex_unlock(&lock);
}

bool ptx_run(const struct ptx_kernel *kernel, const struct ptx_launch *launch, char *error,
             size_t size)
{
    const char *why = refused(kernel, launch);
    if (why) {
        snprintf(error, size, "kernel %s: %s", kernel->name, why);
        return false;
    }
    struct ptx_machine *machine = machine_take();
    machine->kernel = kernel;
    machine->launch = launch;
    machine->error = error;
    machine->error_size = size;
    machine->failed = false;
    machine->instructions = 0;
    machine->thread_count = launch->block[0] * launch->block[1] * launch->block[2];
    if (!ptx_shared_begin(machine) || !ptx_pages_begin(machine)) abort();
    set_frames(machine);
    set_parameters(machine);
    run_blocks(machine);
    ptx_pages_end(machine);
    bool fine = !machine->failed;
    instructions += machine->instructions;
    machine_give(machine);
    return fine;
}

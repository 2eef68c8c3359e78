/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: a kernel that runs. */
#ifndef ZI_REGRESSION_PTX_MACHINE_H
#define ZI_REGRESSION_PTX_MACHINE_H

#include "regression/emulator/ptx/program.h"

enum { PTX_WARP = 32, PTX_THREADS = 1024 };

/* Generic addresses of shared and local memory and of parameters: none that a pointer can have here. */
#define PTX_WINDOW_BITS   40
#define PTX_WINDOW_SHARED (UINT64_C(0xE10000) << PTX_WINDOW_BITS)
#define PTX_WINDOW_LOCAL  (UINT64_C(0xE20000) << PTX_WINDOW_BITS)
#define PTX_WINDOW_PARAM  (UINT64_C(0xE30000) << PTX_WINDOW_BITS)

enum ptx_state { PTX_RUNS, PTX_WAITS_WARP, PTX_WAITS_BLOCK, PTX_EXITED };

struct ptx_thread {
    union ptx_value *frame;
    const struct ptx_instruction *at;
    enum ptx_state state;
    /* Lanes that it waits for. */
    uint32_t mask;
    uint32_t index, lane, warp;
    uint8_t *local;
    struct ptx_machine *machine;
    /* The last synchronisation of the warp by which it knows of each lane (shared.c). */
    uint32_t knows[PTX_WARP];
};

struct ptx_pages;
struct ptx_shadow;

/* A launch at work. Kept between launches, so that none of its memory is asked for anew. */
struct ptx_machine {
    const struct ptx_kernel *kernel;
    const struct ptx_launch *launch;
    struct ptx_thread *threads;
    uint32_t thread_count;
    union ptx_value *frames;
    size_t frame_room;
    uint8_t *local;
    size_t local_room;
    uint8_t *parameters;
    size_t parameter_room;
    uint8_t *shared;
    uint32_t shared_bytes, shared_room;
    struct ptx_shadow *shadow;
    /* Counts barriers and blocks; and synchronisations of each warp in this block. */
    uint32_t epoch;
    uint32_t syncs[PTX_THREADS / PTX_WARP];
    struct ptx_pages *pages;
    uint32_t block, block_at[3];
    uint64_t random, instructions;
    char *error;
    size_t error_size;
    bool failed;
    struct ptx_machine *next;
};

/* Local. Notes what the thread did wrong at the instruction; the launch ends. Gives NULL. */
const struct ptx_instruction *ptx_fault(struct ptx_thread *t, const struct ptx_instruction *i,
                                        const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Local. A thread's access to global memory: where its bytes are here, NULL after a fault. `writes` is
 * false for atomics as far as blocks that write the same byte are looked for. */
enum ptx_access { PTX_READ, PTX_WRITE, PTX_ATOMIC };
uint8_t *ptx_global(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                    unsigned bytes, enum ptx_access access);
/* Local. Of shared memory of the block, at an offset. */
uint8_t *ptx_shared(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                    unsigned bytes, enum ptx_access access);

/* Local. Make ready for a launch; tell what it touched, and forget it. */
bool ptx_pages_begin(struct ptx_machine *machine);
void ptx_pages_end(struct ptx_machine *machine);
/* Local. Room of shared memory for the launch; what a block starts with; lanes that have waited for
 * each other. */
bool ptx_shared_begin(struct ptx_machine *machine);
void ptx_shared_block(struct ptx_machine *machine);
void ptx_shared_sync(struct ptx_thread *lanes, uint32_t mask);

/* Local. A number by which an approximate result may be off: -1, 0 or 1, by seed and operand. */
int ptx_direction(const struct ptx_thread *t, uint64_t operand);

#endif

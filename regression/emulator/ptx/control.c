/* SPDX-License-Identifier: Apache-2.0 */
/* Branches, calls and the end of a thread; barriers of a block; the table of all forms. */
#include "regression/emulator/ptx/control.h"
#include "regression/emulator/ptx/steps.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STEP(name)                                                                                 \
    const struct ptx_instruction *name(const struct ptx_instruction *i, union ptx_value *r,        \
                                       struct ptx_thread *t)

STEP(ptx_step_branch)
{
    (void)t;
    (void)r;
    return i->target;
}

STEP(ptx_step_if)
{
    (void)t;
    return D.u8 & 1 ? i->target : i + 1;
}

STEP(ptx_step_unless)
{
    (void)t;
    return D.u8 & 1 ? i + 1 : i->target;
}

STEP(ptx_step_exit)
{
    (void)r;
    t->at = i;
    t->state = PTX_EXITED;
    return NULL;
}

STEP(ptx_step_call)
{
    if (D.u64 != 0) return ptx_fault(t, i, "a function that calls itself");
    D.u64 = (uint64_t)(uintptr_t)(i + 1);
    return i->target;
}

STEP(ptx_step_return)
{
    (void)t;
    (void)i;
    const struct ptx_instruction *next = (const struct ptx_instruction *)(uintptr_t)D.u64;
    D.u64 = 0;
    return next;
}

STEP(ptx_step_copy)
{
    (void)r;
    memcpy(t->local + ((uint64_t)i->offset >> 32), t->local + (uint32_t)i->offset, i->flags);
    return i + 1;
}

PTX_STEP(trap)
{
    (void)r;
    return ptx_fault(t, i, "trap");
}

PTX_SIMPLE(nothing, (void)r)

/* Waits for all threads of the block. */
PTX_STEP(barrier)
{
    (void)r;
    t->at = i;
    t->state = PTX_WAITS_BLOCK;
    return NULL;
}

/* What a block's threads agree on: over all of them, before they go on. `lanes` is the first thread. */
static uint32_t holds(const struct ptx_instruction *i, const struct ptx_thread *threads)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < threads->machine->thread_count; k++)
        count += threads[k].frame[i->o[2]].u8 & 1;
    return count;
}

static bool give(const struct ptx_instruction *i, struct ptx_thread *threads, uint32_t result)
{
    for (uint32_t k = 0; k < threads->machine->thread_count; k++)
        threads[k].frame[i->o[0]].u64 = result;
    return true;
}

static bool count_all(const struct ptx_instruction *i, struct ptx_thread *threads, uint32_t mask)
{
    (void)mask;
    return give(i, threads, holds(i, threads));
}

static bool and_all(const struct ptx_instruction *i, struct ptx_thread *threads, uint32_t mask)
{
    (void)mask;
    return give(i, threads, holds(i, threads) == threads->machine->thread_count);
}

static bool or_all(const struct ptx_instruction *i, struct ptx_thread *threads, uint32_t mask)
{
    (void)mask;
    return give(i, threads, holds(i, threads) > 0);
}

#define ROW(text, function, count)                                                                 \
    {                                                                                              \
        .name = text, .run = function, .operands = count                                           \
    }
#define ROW_REDUCTION(text, function)                                                              \
    {                                                                                              \
        .name = text, .run = barrier, .together = function, .operands = 3                          \
    }

const struct ptx_form ptx_control_forms[] = {
    ROW("bar.sync", barrier, 1),
    ROW("barrier.sync", barrier, 1),
    ROW("barrier.sync.aligned", barrier, 1),
    ROW_REDUCTION("bar.red.popc.u32", count_all),
    ROW_REDUCTION("bar.red.and.pred", and_all),
    ROW_REDUCTION("bar.red.or.pred", or_all),
    ROW_REDUCTION("barrier.red.popc.u32", count_all),
    ROW_REDUCTION("barrier.red.and.pred", and_all),
    ROW_REDUCTION("barrier.red.or.pred", or_all),
    ROW("exit", ptx_step_exit, 0),
    ROW("trap", trap, 0),
    ROW("nanosleep.u32", nothing, 1),
    ROW("membar.cta", nothing, 0),
    ROW("membar.gl", nothing, 0),
    ROW("membar.sys", nothing, 0),
    ROW("fence.acq_rel.cta", nothing, 0),
    ROW("fence.acq_rel.gpu", nothing, 0),
    ROW("fence.acq_rel.sys", nothing, 0),
    ROW("fence.sc.cta", nothing, 0),
    ROW("fence.sc.gpu", nothing, 0),
    ROW("fence.sc.sys", nothing, 0),
    {0},
};

/* All forms by their names: a table of hashes, made once. */
enum { SLOTS = 4096 };
static const struct ptx_form *table[SLOTS];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static unsigned hash_of(const char *name)
{
    unsigned hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

static void make_table(void)
{
    static const struct ptx_form *const tables[] = {
        ptx_integer_forms, ptx_bit_forms,     ptx_float_forms, ptx_half_forms,
        ptx_convert_forms, ptx_compare_forms, ptx_warp_forms,  ptx_control_forms};
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
        for (const struct ptx_form *form = tables[k]; form->name; form++) {
            unsigned slot = hash_of(form->name) % SLOTS;
            while (table[slot])
                slot = (slot + 1) % SLOTS;
            table[slot] = form;
        }
}

const struct ptx_form *ptx_form_find(const char *name)
{
    pthread_once(&table_once, make_table);
    unsigned slot = hash_of(name) % SLOTS;
    while (table[slot] && strcmp(table[slot]->name, name) != 0)
        slot = (slot + 1) % SLOTS;
    return table[slot];
}

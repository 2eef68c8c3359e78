/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of pinned memory in flight, and what the host touches that it must not.
 *
 * From the moment an operation is given until the host has learnt that it is done, the pages that it
 * writes are out of the host's reach, and those that it reads cannot be written. A touch is a fault
 * at that very instruction, or EFAULT of a system call. A touch of other bytes of such a page is let
 * through, and the page is open until an operation next touches it: buffers of system calls should
 * fill their pages. */
#include "private.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* A range in flight. */
struct guard {
    struct guard *next;
    struct mark mark;
    uintptr_t first, end;
    bool writes;
};

struct page {
    uint16_t readers, writers;
    /* As the kernel knows it. */
    uint8_t protection;
};

static struct guard *guards[SLOTS];
static struct page *pages;
static struct sigaction previous;

static int wanted(const struct page *page)
{
    return page->writers > 0 ? PROT_NONE : page->readers > 0 ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* Gives the pages [from, to) the protection that each should have; runs of the same in one call. */
static void protect(const struct arena *arena, size_t from, size_t to)
{
    while (from < to) {
        int protection = wanted(&pages[from]);
        size_t end = from;
        bool changes = false;
        for (; end < to && wanted(&pages[end]) == protection; end++) {
            changes |= pages[end].protection != protection;
            pages[end].protection = (uint8_t)protection;
        }
        if (changes && mprotect(arena->user + from * PAGE, (end - from) * PAGE, protection) != 0)
            abort();
        from = end;
    }
}

void guards_open(struct arena *arena, const void *address, size_t bytes, bool open)
{
    if (!pages) pages = calloc(arena->capacity / PAGE, sizeof *pages);
    if (!pages) abort();
    size_t offset = (size_t)((const uint8_t *)address - arena->user);
    size_t from = offset / PAGE, to = (offset + bytes + PAGE - 1) / PAGE;
    if (open) {
        protect(arena, from, to);
        return;
    }
    memset(pages + from, 0, (to - from) * sizeof *pages); /* PROT_NONE is 0 */
    if (mprotect(arena->user + from * PAGE, (to - from) * PAGE, PROT_NONE) != 0) abort();
}

/* Counts an operation of the guard in or out at its pages. */
static void count(const struct arena *arena, const struct guard *guard, int step)
{
    size_t from = (guard->first - (uintptr_t)arena->user) / PAGE;
    size_t to = (guard->end - (uintptr_t)arena->user + PAGE - 1) / PAGE;
    for (size_t i = from; i < to; i++) {
        if (guard->writes)
            pages[i].writers = (uint16_t)(pages[i].writers + step);
        else
            pages[i].readers = (uint16_t)(pages[i].readers + step);
    }
    protect(arena, from, to);
}

void guards_add(struct arena *arena, const struct mark *mark, const struct emulator_range *range)
{
    struct guard *guard = malloc(sizeof *guard);
    if (!guard) abort();
    *guard = (struct guard){guards[mark->slot], *mark, (uintptr_t)range->address,
                            (uintptr_t)range->address + range->bytes, range->writes};
    guards[mark->slot] = guard;
    count(arena, guard, 1);
}

void guards_release(void)
{
    const struct arena *arena = pages ? arena_of(-1) : NULL;
    for (int slot = 0; slot < SLOTS; slot++) {
        for (struct guard **at = &guards[slot]; *at;) {
            struct guard *guard = *at;
            if (guard->mark.number > host_clock.at[slot]) {
                at = &guard->next;
                continue;
            }
            *at = guard->next;
            count(arena, guard, -1);
            free(guard);
        }
    }
}

/* An operation in flight that forbids the touch; NULL: none does. */
static const struct guard *forbids(uintptr_t address, bool writes)
{
    for (int slot = 0; slot < SLOTS; slot++)
        for (const struct guard *guard = guards[slot]; guard; guard = guard->next)
            if (address >= guard->first && address < guard->end && (guard->writes || writes))
                return guard;
    return NULL;
}

static void touch_pinned(struct arena *arena, uintptr_t address, bool writes)
{
    if (!arena_find(arena, (const void *)(address & ~(uintptr_t)(PAGE - 1)), 1))
        emulator_fail(EMULATOR_MISUSE, "the host touches pinned memory that is not allocated: %s",
                      arena_describe((const void *)address));
    const struct guard *guard = forbids(address, writes);
    if (guard)
        emulator_fail(EMULATOR_IN_FLIGHT,
                      "the host %s what %s (operation %u of stream %u) %s, and has not waited for "
                      "it: %s",
                      writes ? "writes" : "reads", guard->mark.name, guard->mark.number,
                      guard->mark.slot, guard->writes ? "writes" : "reads",
                      arena_describe((const void *)address));
    /* Other bytes of the page are in flight, or were until just now. */
    size_t page = (address - (uintptr_t)arena->user) / PAGE;
    pages[page].protection = PROT_READ | PROT_WRITE;
    if (mprotect(arena->user + page * PAGE, PAGE, PROT_READ | PROT_WRITE) != 0) abort();
}

/* Whether the fault is that of a write; where the processor does not say: yes. */
static bool is_write(const void *context)
{
#ifdef __x86_64__
    enum { WRITE = 2 };
    return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & WRITE;
#else
    (void)context;
    return true;
#endif
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    if (runtime_locked()) { /* a bug of the emulation: no report of it can be made */
        signal(signal_number, SIG_DFL);
        return;
    }
    runtime_lock();
    struct arena *arena = arena_at(info->si_addr);
    if (arena && arena->device >= 0)
        emulator_fail(EMULATOR_HOST_ACCESS, "%s", arena_describe(info->si_addr));
    if (arena) touch_pinned(arena, (uintptr_t)info->si_addr, is_write(context));
    runtime_unlock();
    if (!arena) sigaction(signal_number, &previous, NULL); /* the instruction faults again */
}

void guards_start(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory of a block, and races for it.
 *
 * Of each granule (the narrowest access of the kernel) a record says who has touched it since the last
 * barrier of the block. Between barriers only __syncwarp orders accesses, and only those of lanes of a
 * warp: each thread knows by which synchronisation of its warp it has last heard of each lane. An
 * access races with an earlier one of another thread that it need not come after, when one of them
 * writes; atomics do not race with each other. A record holds the last writer, and all who have read
 * (or done atomics) since: the warps, and the lanes where there is but one warp, as a second warp makes
 * any write a race. Lanes that a later reader comes after are left out, as what comes after that one
 * comes after them. No race of plain accesses is missed; one that is none can be reported only where
 * lanes of one warp synchronise in several masks, as one stamp stands for all lanes of a record. */
#include "regression/emulator/ptx/machine.h"

#include <stdlib.h>
#include <string.h>

struct ptx_shadow {
    uint32_t epoch;
    /* Thread + 1; 0: nobody. */
    uint16_t writer;
    bool atomic;
    /* Synchronisations of the warp when the writer wrote, and when the last of the others came. */
    uint32_t writer_stamp, stamp;
    uint32_t warps, lanes;
};

bool ptx_shared_begin(struct ptx_machine *machine)
{
    const struct ptx_launch *launch = machine->launch;
    uint32_t bytes = machine->kernel->shared_bytes + (uint32_t)launch->shared_bytes;
    machine->shared_bytes = bytes;
    if (bytes <= machine->shared_room) return true;
    free(machine->shared);
    free(machine->shadow);
    machine->shared_room = (bytes + 63) / 64 * 64;
    machine->shared = aligned_alloc(64, machine->shared_room);
    machine->shadow = calloc(machine->shared_room, sizeof *machine->shadow);
    return machine->shared && machine->shadow;
}

/* Fresh shared memory is NaN in all types. */
void ptx_shared_block(struct ptx_machine *machine)
{
    machine->epoch++;
    if (machine->shared_bytes > 0) memset(machine->shared, 0xFF, machine->shared_bytes);
}

void ptx_shared_sync(struct ptx_thread *lanes, uint32_t mask)
{
    uint32_t knows[PTX_WARP] = {0}, now = ++lanes->machine->syncs[lanes->warp];
    for (uint32_t k = 0; k < PTX_WARP; k++)
        for (uint32_t l = 0; mask >> k & 1 && l < PTX_WARP; l++)
            if (lanes[k].knows[l] > knows[l]) knows[l] = lanes[k].knows[l];
    for (uint32_t l = 0; l < PTX_WARP; l++)
        if (mask >> l & 1) knows[l] = now;
    for (uint32_t k = 0; k < PTX_WARP; k++)
        if (mask >> k & 1) memcpy(lanes[k].knows, knows, sizeof knows);
}

/* A thread that the record names and whose access the thread need not come after; -1: nobody. */
static int unordered(const struct ptx_thread *t, const struct ptx_shadow *s)
{
    uint32_t others = s->warps & ~(UINT32_C(1) << t->warp);
    if (others) return __builtin_ctz(others) * PTX_WARP;
    uint32_t lanes = s->warps ? s->lanes & ~(UINT32_C(1) << t->lane) : 0;
    for (; lanes; lanes &= lanes - 1) {
        int lane = __builtin_ctz(lanes);
        if (t->knows[lane] <= s->stamp) return (int)t->warp * PTX_WARP + lane;
    }
    return -1;
}

static bool after_writer(const struct ptx_thread *t, const struct ptx_shadow *s)
{
    uint32_t writer = s->writer - 1u;
    return writer == t->index ||
           (writer / PTX_WARP == t->warp && t->knows[writer % PTX_WARP] > s->writer_stamp);
}

/* One who reads, or does an atomic, joins those who have. */
static void join(const struct ptx_thread *t, struct ptx_shadow *s, bool atomic)
{
    uint32_t now = t->machine->syncs[t->warp], warp = UINT32_C(1) << t->warp;
    if (s->atomic != atomic && s->warps) {
        if (s->atomic) {
            s->writer = (uint16_t)(t->warp * PTX_WARP + (uint32_t)__builtin_ctz(s->lanes) + 1);
            s->writer_stamp = s->stamp;
        }
        s->warps = s->lanes = 0;
    }
    s->atomic = atomic;
    if (s->warps == warp && s->stamp != now)
        for (uint32_t lanes = s->lanes; lanes; lanes &= lanes - 1) {
            int lane = __builtin_ctz(lanes);
            if (t->knows[lane] > s->stamp) s->lanes &= ~(UINT32_C(1) << lane);
        }
    s->warps |= warp;
    s->lanes |= UINT32_C(1) << t->lane;
    s->stamp = now;
}

static bool race(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                 enum ptx_access access, int other)
{
    static const char *const did[] = {"reads", "writes", "does an atomic on"};
    ptx_fault(
        t, i,
        "race for shared memory: it %s byte %llu, which thread %d has touched with no barrier "
        "in between",
        did[access], (unsigned long long)address, other);
    return false;
}

static bool touch(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                  struct ptx_shadow *s, enum ptx_access access)
{
    if (s->epoch != t->machine->epoch) {
        *s = (struct ptx_shadow){.epoch = t->machine->epoch};
    } else {
        if (s->writer && !after_writer(t, s)) return race(t, i, address, access, s->writer - 1);
        if (s->warps && (access == PTX_WRITE || s->atomic != (access == PTX_ATOMIC))) {
            int other = unordered(t, s);
            if (other >= 0) return race(t, i, address, access, other);
        }
    }
    if (access != PTX_WRITE) {
        join(t, s, access == PTX_ATOMIC);
        return true;
    }
    s->writer = (uint16_t)(t->index + 1);
    s->writer_stamp = t->machine->syncs[t->warp];
    s->warps = s->lanes = 0;
    return true;
}

uint8_t *ptx_shared(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                    unsigned bytes, enum ptx_access access)
{
    struct ptx_machine *machine = t->machine;
    unsigned granule = machine->kernel->shared_granule;
    if (address + bytes > machine->shared_bytes || address + bytes < bytes) {
        ptx_fault(t, i, "%u bytes at offset %lld of shared memory, which has %u", bytes,
                  (long long)address, machine->shared_bytes);
        return NULL;
    }
    if (address & (bytes - 1)) {
        ptx_fault(t, i, "%u bytes at offset %lld of shared memory are misaligned", bytes,
                  (long long)address);
        return NULL;
    }
    for (uint64_t at = address; at < address + bytes; at += granule)
        if (!touch(t, i, at, &machine->shadow[at / granule], access)) return NULL;
    return machine->shared + address;
}

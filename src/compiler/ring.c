/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of equal slots, which are taken in turn. */
#include "base/log.h"
#include "compiler/compile.h"

bool ring_fits(struct builder *b, int count, const char *name)
{
    if (b->status < 0) return false;
    if (count <= RING_MAX) return true;
    b->status = zi_fail(ZI_ERROR_USAGE, "compiler",
                        "%d slots for %s, at most %d: lower zero.prefetch or "
                        "activations.interval",
                        count, name, RING_MAX);
    return false;
}

void ring_lay(struct builder *b, struct ring *ring, int count, const struct ring_slot *slot)
{
    if (!ring_fits(b, count, slot->name)) return;
    ring->count = count;
    for (int i = 0; i < count; i++) {
        ring->slots[i] =
            builder_slot(b, slot->tier, slot->purpose, slot->bytes, "%s %d", slot->name, i);
    }
}

int ring_take(struct ring *ring)
{
    ZI_REQUIRE(ring->count > 0);
    int slot = ring->slots[ring->next];
    ring->next = (ring->next + 1) % ring->count;
    return slot;
}

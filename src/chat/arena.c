/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { BLOCK_BYTES = 1 << 14, ALIGNMENT = 16 };

struct block {
    struct block *before;
    /* Of memory. */
    size_t bytes, used;
    _Alignas(ALIGNMENT) char memory[];
};

enum zi_status place_fail(const struct place *place, const char *format, ...)
{
    char message[600];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    return zi_fail(ZI_ERROR_USAGE, "chat", "%s line %d: %s", place->name, place->line, message);
}

/* A block with room for so many bytes. */
static enum zi_status add_block(struct arena *arena, size_t bytes)
{
    if (bytes > arena->most - arena->taken)
        return place_fail(arena->place, "the template needs more than %zu bytes of memory",
                          arena->most);
    struct block *block = malloc(sizeof *block + bytes);
    if (!block) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for %zu bytes", bytes);
    *block = (struct block){.before = arena->last, .bytes = bytes};
    arena->last = block;
    arena->taken += bytes;
    return ZI_OK;
}

/* What is asked for, rounded up to what a block should have where the limit allows it. */
static size_t block_size(const struct arena *arena, size_t bytes)
{
    size_t left = arena->most - arena->taken;
    if (bytes < BLOCK_BYTES) bytes = BLOCK_BYTES;
    return bytes < left ? bytes : left;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

enum zi_status arena_take(struct arena *arena, size_t bytes, void **memory)
{
    *memory = NULL;
    bytes = aligned(bytes > arena->most ? arena->most : bytes);
    if (!arena->last || arena->last->bytes < aligned(arena->last->used) + bytes) {
        size_t size = block_size(arena, bytes);
        ZI_TRY(add_block(arena, size < bytes ? bytes : size));
    }
    struct block *block = arena->last;
    size_t first = aligned(block->used);
    *memory = block->memory + first;
    memset(*memory, 0, bytes);
    block->used = first + bytes;
    return ZI_OK;
}

/* Left and right behind each other, in place where left is what was made last. */
static enum zi_status append(struct arena *arena, struct text left, struct text right,
                             struct text *joined)
{
    struct block *block = arena->last;
    size_t bytes = left.bytes + right.bytes;
    bool grows = left.bytes && block && left.at + left.bytes == block->memory + block->used;
    size_t more = grows ? right.bytes : bytes;
    if (!block || block->bytes - block->used < more) {
        size_t size = block_size(arena, 2 * bytes);
        ZI_TRY(add_block(arena, size < bytes ? bytes : size));
        block = arena->last;
        grows = false;
    }
    char *end = block->memory + block->used;
    if (!grows && left.bytes) {
        memcpy(end, left.at, left.bytes);
        end += left.bytes;
        block->used += left.bytes;
    }
    memcpy(end, right.at, right.bytes);
    block->used += right.bytes;
    *joined = (struct text){end - left.bytes, bytes};
    return ZI_OK;
}

enum zi_status arena_join(struct arena *arena, struct text left, struct text right,
                          struct text *joined)
{
    if (left.bytes && right.bytes) return append(arena, left, right, joined);
    *joined = left.bytes ? left : right;
    return ZI_OK;
}

enum zi_status arena_copy(struct arena *arena, struct text text, struct text *copy)
{
    *copy = (struct text){"", 0};
    return text.bytes ? append(arena, *copy, text, copy) : ZI_OK;
}

void arena_free(struct arena *arena)
{
    while (arena->last) {
        struct block *block = arena->last;
        arena->last = block->before;
        free(block);
    }
    arena->taken = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of one template or of one render: taken piece by piece up to a limit, freed all at once. And
 * how the room says what is wrong. Private to the room; all are Local. */
#ifndef ZI_CHAT_ARENA_H
#define ZI_CHAT_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Where the work stands, for messages: kept up to date by who reads or evaluates. */
struct place {
    const char *name;
    int line;
};

/* A text of `bytes` bytes of UTF-8, borrowed from template, request or arena, and never changed. */
struct text {
    const char *at;
    size_t bytes;
};

struct block;

/* Begins as all zero but place and most. */
struct arena {
    const struct place *place;
    /* Bytes that may be taken, and that are. */
    size_t most, taken;
    struct block *last;
};

/* Logs what is wrong at a place of a template: "NAME line 3: ...". Gives ZI_ERROR_USAGE. */
enum zi_status place_fail(const struct place *place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Takes zeroed memory, aligned for any type. ZI_ERROR_USAGE past the limit; ZI_ERROR_DEVICE. */
enum zi_status arena_take(struct arena *arena, size_t bytes, void **memory);

/* The texts behind each other, as one. Where the left one is what was made last it grows in its place,
 * so that a text that is built piece by piece costs its own length. */
enum zi_status arena_join(struct arena *arena, struct text left, struct text right,
                          struct text *joined);

/* A copy of a text. */
enum zi_status arena_copy(struct arena *arena, struct text text, struct text *copy);

/* Frees everything; the arena is empty again. */
void arena_free(struct arena *arena);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the cache of keys and values that programs of generation extend. */
#ifndef ZI_COMPILER_CACHE_H
#define ZI_COMPILER_CACHE_H

#include "compiler/ring.h"

struct caches {
    /* [op]: of operations of attention, else -1. */
    int *slots;
    /* Where those of the host are while an operation works on them. */
    struct ring ring;
};

/* Local. Lays a slot for each operation of attention, where the configuration has a cache. */
void cache_lay(struct builder *b);

/* Local. Gives a forward operation what it needs besides in a program that extends the cache: places
 * of tokens, its cache, brought from the host where it is there, and its number of tokens. */
void cache_take(struct builder *b, struct program_op *op);

/* Local. Behind that operation: takes its cache back to the host where it is kept there. */
void cache_give(struct builder *b, const struct program_op *op);

#endif

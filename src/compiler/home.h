/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the homes of states. */
#ifndef ZI_COMPILER_HOME_H
#define ZI_COMPILER_HOME_H

#include "compiler/build.h"

/* Local. Lays the homes of all units' states. */
void home_lay(struct builder *b);

/* Local. Bytes that this rank has of a kind of state of a unit. */
size_t home_bytes(const struct builder *b, int unit, enum tier_kind kind);

/* Local. Elements [first, first + count) of a kind of state of a unit at home, which are in one group
 * where there is a slot for each. */
struct slice home_slice(const struct builder *b, int unit, enum tier_kind kind, int64_t first,
                        int64_t count);

/* Local. Where an update stores them: at home, or, while a speculative one is written, in the next
 * generation. */
struct slice home_stored(const struct builder *b, int unit, enum tier_kind kind, int64_t first,
                         int64_t count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the programs that move states: initialize, save, load. */
#ifndef ZI_COMPILER_SAVE_H
#define ZI_COMPILER_SAVE_H

#include "compiler/ring.h"

struct save {
    /* The slot in which masters are joined and split, fp32. */
    int tile;
    /* By kind: in host memory, for states on a device apart. */
    struct ring carried[TIER_KIND_COUNT];
};

/* Local. Lays the slots through which states pass that pass through none in an update. */
void save_lay(struct builder *b);

/* Local. The list that has been started. */
void save_emit(struct builder *b);

#endif

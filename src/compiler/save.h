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

/* Local. In a list that exports what it updates: the optimizer's states of a group, from where the
 * update has left them. */
void save_group(struct builder *b, int group);

/* Local. The same of a unit's parameters. */
void save_parameters(struct builder *b, int unit);

/* Local. At the end of such a list: units that have no update. */
void save_frozen(struct builder *b);

#endif

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
    /* Per unit: the list has exported it. */
    bool *exported;
};

/* Local. Lays the slots through which states pass that pass through none in an update. */
void save_lay(struct builder *b);

/* Local. The list that has been started. */
void save_emit(struct builder *b);

/* Local. Whether the list exports states from where the update that it brings first leaves them. */
bool save_follows(const struct builder *b);

/* Local. At the start of a list: nothing is exported. */
void save_begin(struct builder *b);

/* Local. In a list that exports what it updates: the optimizer's states of a group, from where the
 * update has left them. */
void save_group(struct builder *b, int group);

/* Local. The same of a unit's parameters. */
void save_parameters(struct builder *b, int unit);

/* Local. In a list that exports: all states of a unit that this list has not updated, and whose
 * parameters have arrived where arithmetic or the optimizer finds them; once. */
void save_unit(struct builder *b, int unit);

/* Local. At the end of a list that updates and exports and passes no sequences: units that have no
 * update. */
void save_frozen(struct builder *b);

#endif

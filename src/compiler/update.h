/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the optimizer as a pipeline over groups. */
#ifndef ZI_COMPILER_UPDATE_H
#define ZI_COMPILER_UPDATE_H

#include "compiler/build.h"

#define GROUPS_MAX 256

/* A group: the slice of what this rank updates of a unit that the optimizer takes at once. */
struct group {
    int unit;
    /* Elements [first, first + count). */
    int64_t first, count;
};

/* Slots through which the states of a group pass, by kind; -1 where they are used at home. */
struct group_slots {
    /* In host memory, for what is on nvme. */
    int loaded[TIER_KIND_COUNT];
    /* Where the optimizer works, for what is in another memory. */
    int brought[TIER_KIND_COUNT];
};

struct update {
    /* Trainable units, in the order in which they are updated. */
    int *units, unit_count;
    /* In the same order. */
    struct group *groups;
    int group_count;
    /* Per unit: its first group. */
    int *unit_groups;
    /* Group g passes through `loaded` of sets[g % config.groups], and through `brought` of
     * sets[g % brought_count]. */
    struct group_slots sets[GROUPS_MAX];
    int brought_count;
    /* The list brings an update: from its start, or, of its own step, from the norm on. */
    bool pending;
    /* Per unit: it has been brought in this list, or there is none. */
    bool *updated;
    /* Groups whose loads have been written, of states and of gradients; the same of states for the
     * next program. */
    int states_loaded, gradients_loaded, preloaded;
};

/* Local. Lists the groups and lays their slots. */
void update_lay(struct builder *b);

/* Local. At the start of a list: what is updated and loaded so far. */
void update_begin(struct builder *b);

/* Local. Whether a unit has an update that the list has still to bring. */
bool update_is_pending(const struct builder *b, int unit);

/* Local. So many visits ahead of its use a unit is updated. */
int update_ahead(const struct builder *b);

/* Local. Before an immediate update: the states of as many groups as there are sets. */
void update_start(struct builder *b);

/* Local. A visit of the optimizer; the first one decides on the step. */
void update_visit(struct builder *b, int visit);

/* Slots with the parameters of a unit: that in which the optimizer works on them, and that to which
 * they come back, or the same. */
struct update_place {
    int work, home;
};

/* Local. Updates the groups of a unit. */
void update_unit(struct builder *b, int unit, const struct update_place *place);

/* Local. During backward, for a deferred update in the next program: loads a share of the first
 * groups' states that grows from 0 to 1. */
void update_preload(struct builder *b, double share);

/* Local. The slot of a group through which a state that is on nvme passes. */
int update_slot(const struct builder *b, int group, enum tier_kind kind);

/* Local. Loads a state of a group from nvme to there; nothing to do for states elsewhere. */
void update_load(struct builder *b, int group, enum tier_kind kind);

/* Local. And stores it. */
void update_store(struct builder *b, int group, enum tier_kind kind);

/* Local. At the end of a training program with a deferred update: the rest of them. */
void update_end(struct builder *b);

#endif

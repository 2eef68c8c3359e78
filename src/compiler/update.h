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
    /* Groups [0, deferred_count) are of units that are not updated speculatively. */
    int deferred_count;
    /* Groups pass in turn through `loaded` of as many as config.groups, and `brought` of as many as
     * brought_count. */
    struct group_slots sets[GROUPS_MAX];
    int brought_count;
    /* The list brings an update: from its start, or, of its own step, from the norm on. */
    bool pending;
    /* Per unit: it has been brought in this list, or there is none. */
    bool *updated;
    /* Groups whose update the list brings first: [0, pending_count). */
    int pending_count;
    /* Groups whose loads have been written, of states and of gradients; the same of states for the
     * next program. */
    int states_loaded, gradients_loaded, preloaded;
    /* Of groups that the list updates speculatively, from the last to the first: loads of states and
     * updates have been written down to these. */
    int guesses_loaded, guesses_made;
    /* The visit from which on their loads are written, and that after which all are; or -1. */
    int guesses_start, guesses_end;
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

/* Local. The same speculatively, of the unit whose groups are next. */
void update_guess(struct builder *b, int unit, const struct update_place *place);

/* Local. After a visit of a training program with a deferred update: speculative updates of units
 * whose gradients are final, loads for those that follow, and loads of the first groups' states for
 * the next program, a share that grows through backward. */
void update_after(struct builder *b, int visit);

/* Local. The slot of a group through which a state that is on nvme passes. */
int update_slot(const struct builder *b, int group, enum tier_kind kind);

/* Local. Loads a state of a group from nvme to there; nothing to do for states elsewhere. */
void update_load(struct builder *b, int group, enum tier_kind kind);

/* Local. And stores it. */
void update_store(struct builder *b, int group, enum tier_kind kind);

/* Local. At the end of a training program with a deferred update: the rest of them. */
void update_end(struct builder *b);

#endif

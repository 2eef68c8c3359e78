/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: lanes that the compute lane's thread plays. */
#ifndef ZI_ENGINE_TOGETHER_H
#define ZI_ENGINE_TOGETHER_H

#include "engine/lanes.h"

/* A collective that has begun: it is done when so many are (comm_advance). */
struct begun_op {
    int64_t number;
    struct lane_times times;
};

/* A lane's operations to be begun next and to be done next. */
struct cursor {
    int next, oldest;
};

struct together {
    struct cursor cursors[LANE_COUNT];
    /* By operation of the program that runs. */
    struct begun_op *begun;
};

/* Local. Finds out whether the compute lane's thread can play other lanes; memory for what begins. */
enum zi_status together_start(struct engine *engine);

/* Local. Frees that. */
void together_stop(struct engine *engine);

/* Local. Whether it plays all lanes of a program. */
bool together_plays(const struct engine *engine, const struct bound_list *list);

/* Collective. Plays them. */
void together_run(struct engine *engine);

#endif

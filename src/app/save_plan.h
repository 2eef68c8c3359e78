/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: what a checkpoint of the present states is made of, on either level. */
#ifndef ZI_APP_SAVE_PLAN_H
#define ZI_APP_SAVE_PLAN_H

#include <limits.h>

#include "app/run.h"
#include "checkpoint/checkpoint.h"

/* The folder of the shared level, and what the header of any checkpoint says. */
struct save_plan {
    char directory[PATH_MAX];
    char *model_text;
    struct checkpoint_tensor *tensors;
    struct checkpoint_header header;
};

/* Local. Of the states at hand. Ended by save_plan_cleanup, also after an error. */
enum zi_status save_plan_make(const struct run *run, struct save_plan *plan);

/* Local. Frees what save_plan_make has made. */
void save_plan_cleanup(struct save_plan *plan);

#endif

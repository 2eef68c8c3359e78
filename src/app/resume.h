/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: going on with a run from a checkpoint (`zinf run --resume auto`). */
#ifndef ZI_APP_RESUME_H
#define ZI_APP_RESUME_H

#include "app/run.h"

/* Local. Whether --resume was given, and as it may be: "auto" is all that it takes, and
 * --overwrite contradicts it. ZI_ERROR_USAGE. */
enum zi_status resume_asked(const struct options *options, bool *asked);

/* Collective. Where --resume was given: opens the newest checkpoint of the run directory that is
 * whole, and makes run->done and the steps that go with it its own; without one the run begins anew.
 * Keys of the deck that must not change are compared: ZI_ERROR_USAGE with a line for each that
 * differs; those that may are said, old and new. */
enum zi_status resume_open(struct run *run);

/* Collective. The states of a run that begins: those of the checkpoint, the weights of its source, or
 * initial values. */
enum zi_status resume_states(struct run *run);

#endif

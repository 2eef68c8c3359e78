/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: what operations do (execute.c), and where slots are. */
#ifndef ZI_ENGINE_EXECUTE_H
#define ZI_ENGINE_EXECUTE_H

#include "engine/lanes.h"

/* Does an operation, or enqueues it, on its lane's stream. */
enum zi_status execute_op(struct engine *engine, const struct program_op *op);
/* What a disk lane moves for an operation. */
void execute_transfer(const struct engine *engine, const struct program_op *op,
                      struct tier_transfer *transfer);
/* The step whose update the program that runs brings. */
const struct optimizer_step *engine_update_step(const struct engine *engine);
/* Where a slot is, for operations; null on nvme and for -1. */
struct device_ptr engine_slot(const struct engine *engine, int slot);
/* Where a slot is for the host: NULL on nvme, and in device memory that is not the host's. */
char *engine_slot_on_host(const struct engine *engine, int slot);
/* The host's address of a slot of host memory. */
void *engine_host_slot(const struct engine *engine, int slot);

#endif

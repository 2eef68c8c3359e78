/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles step programs. */
#ifndef ZI_COMPILER_COMPILER_H
#define ZI_COMPILER_COMPILER_H

#include "program/program.h"

/* Local. Compiles all programs of a resolved configuration; model and partition outlive it. Never
 * fails for size: compare pool_bytes with the budgets (program_fits). ZI_ERROR_DEVICE when memory
 * for the program itself is short. */
enum zi_status program_compile(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program);

/* Local. The same program as far as its sizes go: its slots and pools, to the byte, but no
 * operations. That is all a search looks at, and takes a fraction of the time. */
enum zi_status program_measure(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program);

#endif

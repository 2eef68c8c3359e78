/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: by what it is chosen which inner activations are kept (keep.c), and which of
 * these wait for backward on the host (offload.c). */
#ifndef ZI_COMPILER_INNER_H
#define ZI_COMPILER_INNER_H

#include <stdio.h>

#include "program/program.h"

/* Local. Of a segment of a kind: the FLOPs of recomputing that keeping its inner activations spares
 * per byte that this takes of the device, or of the host where all go there; 0 where there is none. */
double resolve_keeping_worth(const struct model *model, const struct zero_config *config,
                             enum layer_kind kind);

/* Local. FLOPs that backward recomputes for a micro-batch, with so many segments of each kind. */
double resolve_recomputing(const struct model *model, const struct zero_config *config,
                           const int segments[LAYER_KIND_COUNT]);

/* Local. What of the segments of each kind is moved to the host: enum offload. */
void resolve_set_offload(struct zero_config *config, int64_t offload);

/* Local. Whether that is open, and the rates are known by which it is chosen. */
bool resolve_may_offload(const struct settings *s, const struct zero_config *config);

/* Local. Seconds that a node takes to pass a micro-batch of each rank forward and backward, with so
 * many segments of each kind, as far as arithmetic and what is moved to the host decide it. */
double resolve_pass_seconds(const struct model *model, const struct zero_config *config,
                            const int segments[LAYER_KIND_COUNT]);

/* Local. What is moved, and why, where it was open. */
void resolve_explain_offload(const struct settings *s, const struct zero_config *config, FILE *out);

/* Local. What the kept segments of a kind take of host memory for a micro-batch, where they go there;
 * bytes. */
double resolve_offloaded_bytes(const struct model *model, const struct zero_config *config,
                               const int segments[LAYER_KIND_COUNT]);

#endif

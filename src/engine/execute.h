/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: what operations do. */
#ifndef ZI_ENGINE_EXECUTE_H
#define ZI_ENGINE_EXECUTE_H

#include "engine/lanes.h"

/* Local. Does an operation, or enqueues it, on its lane's stream. */
enum zi_status execute_op(struct engine *engine, const struct bound_op *b);

/* execute_states.c */
/* Local. The run function of the kind `draw`. */
enum zi_status run_draw(struct engine *engine, const struct bound_op *b,
                        struct device_stream *stream);

/* Local. The run function of the kind `import`. */
enum zi_status run_import(struct engine *engine, const struct bound_op *b,
                          struct device_stream *stream);

/* Local. The run function of the kind `export`. */
enum zi_status run_export(struct engine *engine, const struct bound_op *b,
                          struct device_stream *stream);

/* Local. The step whose update an operation brings. */
const struct optimizer_step *engine_update_step(const struct engine *engine,
                                                const struct program_op *op);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the arithmetic of visits. */
#ifndef ZI_COMPILER_EMIT_H
#define ZI_COMPILER_EMIT_H

#include "compiler/build.h"

/* Local. Writes a visit, with the fetches of those behind it. */
void emit_visit(struct builder *b, int visit);

#endif

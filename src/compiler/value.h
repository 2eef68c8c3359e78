/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the small values that enter and leave a program, and what is decided by
 * them. */
#ifndef ZI_COMPILER_VALUE_H
#define ZI_COMPILER_VALUE_H

#include "compiler/build.h"

/* Local. Lays them, in host memory and where operations read and write them. */
void value_lay(struct builder *b);

/* Local. Whether the list is given how far each token is into its text: packed sequences, and those
 * that go on from a cache. */
bool value_has_positions(const struct builder *b);

/* Local. The start of a list: sums that it adds to are 0; tokens and targets enter. */
void value_begin(struct builder *b);

/* Local. Loss and norm leave, and the step is decided on. */
void value_norm(struct builder *b);

/* Local. The end of a list: logits, loss, norm and checksum leave, as far as it has them. */
void value_end(struct builder *b);

#endif

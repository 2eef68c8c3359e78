/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: which layers keep their matrices in 8 or 4 bits (model.frozen). Such a layer has its
 * matrices in units of nothing else, whose groups of 64 elements are the blocks of base/packed.h; what
 * else it has is in the unit that tiles share, also where there is one tile. */
#ifndef ZI_MODEL_PACKED_H
#define ZI_MODEL_PACKED_H

#include "model/family.h"

/* Local. Whether the matrices of a layer, all of which have to be frozen, are packed. */
bool packed_has(const struct settings_model *settings, const char *layer,
                const struct family_row *rows);

/* Local. Whether the layer may be cut into tiles: there blocks may not be cut, nor biases, which lie
 * in the unit that tiles share; always where nothing is packed. */
bool packed_may_tile(const struct settings_model *settings, const struct family_row *rows);

/* Local. Adds to the deck's complaints what of model.frozen cannot be. */
void packed_check(struct deck *deck);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: which tensors training changes. */
#ifndef ZI_MODEL_TRAINABLE_H
#define ZI_MODEL_TRAINABLE_H

#include "model/family.h"

/* Local. Whether the settings have the tensor of that name trained; one of an adapter always is. */
bool trainable_matches(const struct settings_model *settings, const char *name, bool adapts);

/* Local. Adds to the deck's complaints a pattern that fits no tensor, and that none is trained. */
void trainable_check(struct deck *deck);

#endif

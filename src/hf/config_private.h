/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: what reading and writing of config.json share. */
#ifndef ZI_HF_CONFIG_PRIVATE_H
#define ZI_HF_CONFIG_PRIVATE_H

#include <stdbool.h>

/* Most bytes of a config.json. */
enum { HF_CONFIG_BYTES = 1 << 20 };

/* Local. Whether a JSON text is one of several with | between them. */
bool hf_value_among(const char *text, const char *values);

#endif

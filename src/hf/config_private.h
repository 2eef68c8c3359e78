/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: what reading and writing of config.json share. */
#ifndef ZI_HF_CONFIG_PRIVATE_H
#define ZI_HF_CONFIG_PRIVATE_H

#include <stdbool.h>

/* Most bytes of a config.json. */
enum { HF_CONFIG_BYTES = 1 << 20 };

/* Local. Which a JSON text is of several with | between them, from 0; -1: none. */
int hf_value_number(const char *text, const char *values);

/* Local. Where that value begins; NULL where there are fewer. */
const char *hf_value_at(const char *values, int number);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Values compared as Python does. Private to the room; all are Local. */
#ifndef ZI_CHAT_COMPARE_H
#define ZI_CHAT_COMPARE_H

#include "chat/value.h"

/* Whether two values are equal. */
enum zi_status value_equal(struct budget *budget, const struct value *a, const struct value *b,
                           bool *equal);

/* -1, 0, 1 as a is before, equal to or behind b. ZI_ERROR_USAGE where Python does not order them. */
enum zi_status value_order(struct budget *budget, const struct value *a, const struct value *b,
                           int *order);

/* Whether `container` has `item`, as `in` does. */
enum zi_status value_in(struct budget *budget, const struct value *item,
                        const struct value *container, bool *is_in);

/* ZI_ERROR_USAGE of a value that cannot be a key of a dict. */
enum zi_status value_check_key(struct budget *budget, const struct value *key);

#endif

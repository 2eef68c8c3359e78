/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: one value, as text and as a field of the settings. */
#ifndef ZI_DECK_VALUE_H
#define ZI_DECK_VALUE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"
#include "deck/deck.h"
#include "deck/settings.h"
#include "deck/table.h"

/* Enough for any message of this room about one value. */
enum { DECK_MESSAGE = 512 };

/* Local. Reads text into the field of a row; a text field is freed and replaced. `quoted` says that
 * the deck had it in quotes. False, with a message "found ..., expected ..." in
 * problem[0..DECK_MESSAGE), when the text is no value of this row; the field is then unchanged.
 * Running out of memory is such a problem too. */
bool deck_value_read(const struct deck_row *row, const char *text, bool quoted,
                     struct settings *settings, char *problem);

/* Local. The number that text is, of a row of real numbers. What is wrong with it, or NULL; then
 * *number is set. */
const char *deck_number_read(const struct deck_row *row, const char *text, double *number);

/* Local. Whether two settings hold the same value of a row. */
bool deck_value_same(const struct deck_row *row, const struct settings *left,
                     const struct settings *right);

/* Local. Bytes of the field of a row that is no text and no list. */
size_t deck_value_bytes(const struct deck_row *row);

/* Local. Whether the field holds auto. */
bool deck_value_is_auto(const struct deck_row *row, const struct settings *settings);

/* Local. What a row accepts, for people: "a whole number of steps from 1 to 100, or auto". */
void deck_value_expected(const struct deck_row *row, FILE *out);

/* Local. `text` in quotes, without control characters, cut to about 40 bytes; gives `shown`. */
const char *deck_value_quote(const char *text, char shown[64]);

/* Local. The same without quotes. */
const char *deck_value_clip(const char *text, char shown[64]);

/* Local. Whether YAML does not allow a UTF-8 character as it is, or takes it for the end of a line;
 * its length in bytes. */
bool deck_character_is_odd(const char *text, int *length);

/* Local. A whole or real number of a row's range as people write it: 1000000 is 1e6. */
void deck_number_write(double number, FILE *out);

/* Local. The unit of a row for one: "step" of "steps". Gives `text`. */
const char *deck_unit_singular(const char *unit, char text[32]);

#endif

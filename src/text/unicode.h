/* SPDX-License-Identifier: Apache-2.0 */
/* Properties and normal forms of characters, by utf8proc. Private to the room; all are Local. */
#ifndef ZI_TEXT_UNICODE_H
#define ZI_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/buffer.h"

enum normal_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };

/* White_Space of Unicode. */
bool unicode_is_space(uint32_t character);

/* General category P, or a sign of ASCII. */
bool unicode_is_punctuation(uint32_t character);

/* General category N. */
bool unicode_is_number(uint32_t character);

/* What \w matches: Alphabetic, M, Nd, Pc, and the joiners. */
bool unicode_is_word(uint32_t character);

/* General category M; of these only Mn with `nonspacing`. */
bool unicode_is_mark(uint32_t character, bool nonspacing);

/* General category Cc, Cf or Co. */
bool unicode_is_control(uint32_t character);

/* Puts a character in small letters, for which there is room (4 bytes). */
void unicode_put_lower(struct buffer *buffer, uint32_t character);

/* Appends a text in a normal form. ZI_ERROR_DEVICE. */
enum zi_status unicode_normalize(enum normal_form form, const char *text, size_t bytes,
                                 struct buffer *out);

/* Bytes of the first grapheme cluster of text[0..bytes), bytes > 0. */
size_t unicode_grapheme(const char *text, size_t bytes);

#endif

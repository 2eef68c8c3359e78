/* SPDX-License-Identifier: Apache-2.0 */
/* The table of replacements that SentencePiece keeps of a normalization (precompiled_charsmap): a
 * double array over beginnings of texts, and the texts that they become. Private to the room; all
 * are Local. */
#ifndef ZI_TEXT_CHARSMAP_H
#define ZI_TEXT_CHARSMAP_H

#include "json/json.h"
#include "text/buffer.h"

struct charsmap;

/* Reads the table from base64. ZI_ERROR_USAGE. */
enum zi_status charsmap_read(const struct zi_json_place *place, const char *base64,
                             struct charsmap **map);

/* NULL does nothing. */
void charsmap_free(struct charsmap *map);

/* Appends a text with replacements as the tokenizers package makes them, which are not quite those of
 * SentencePiece: of a grapheme of at most 5 bytes the shortest beginning that is in the table stands
 * for all of it. *lost: nothing stands for what the text began with. ZI_ERROR_DEVICE. */
enum zi_status charsmap_apply(const struct charsmap *map, const char *text, size_t bytes,
                              struct buffer *out, bool *lost);

#endif

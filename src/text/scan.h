/* SPDX-License-Identifier: Apache-2.0 */
/* The patterns that GPT-2, Llama 3 and Qwen 2 cut texts with, by hand: several times as fast as the
 * regular expressions, whose cuts they are (regression/unit/text_scan_test.c). Private to the room;
 * all are Local. */
#ifndef ZI_TEXT_SCAN_H
#define ZI_TEXT_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct scanner;

/* The pattern of GPT-2, which is that of the pre-tokenizer ByteLevel. */
extern const char scan_gpt2[];

/* A scanner for a pattern; NULL where it is none of the known. Classes of characters are asked of
 * the library of regular expressions. ZI_ERROR_DEVICE. */
enum zi_status scanner_create(const char *pattern, struct scanner **scanner);

/* NULL does nothing. */
void scanner_free(struct scanner *scanner);

/* Bytes of the first piece of text[0..bytes), bytes > 0. Pieces follow each other without gaps. */
size_t scanner_next(const struct scanner *scanner, const char *text, size_t bytes);

#endif

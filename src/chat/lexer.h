/* SPDX-License-Identifier: Apache-2.0 */
/* A template cut into tokens: text between tags, and what is in tags. White space around tags is taken
 * away as their signs say, and as trim_blocks and lstrip_blocks do, which transformers sets. Private to
 * the room; all are Local. */
#ifndef ZI_CHAT_LEXER_H
#define ZI_CHAT_LEXER_H

#include "chat/arena.h"

enum token_kind {
    /* Text between tags. */
    TOKEN_TEXT,
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    /* Its text is what the string means. */
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR,
    TOKEN_END
};

struct token {
    enum token_kind kind;
    int line;
    struct text text;
};

struct tokens {
    struct token *tokens;
    size_t count, capacity;
};

/* Cuts a text, in which a line ends by \n; the last token is TOKEN_END. Texts of tokens are of the
 * template or of the arena. ZI_ERROR_USAGE, ZI_ERROR_DEVICE; *tokens is the caller's to free by
 * free(tokens->tokens) in any case. */
enum zi_status lexer_cut(struct arena *arena, struct place *place, struct text text,
                         struct tokens *tokens);

#endif

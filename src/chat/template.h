/* SPDX-License-Identifier: Apache-2.0 */
/* A template that is open. Private to the room. */
#ifndef ZI_CHAT_TEMPLATE_H
#define ZI_CHAT_TEMPLATE_H

#include "chat/chat.h"
#include "chat/node.h"

/* Bytes of a template, at most; those of published models have some 30 KB. */
#define TEMPLATE_MOST ((size_t)256 << 10)

struct chat_template {
    /* What messages call it. */
    char *name;
    /* Its text, in which a line ends by \n; the tree points into it. */
    char *text;
    struct place place;
    struct arena arena;
    struct tree tree;
    /* What the file says of variables, or NULL. */
    struct json_t *variables;
};

#endif

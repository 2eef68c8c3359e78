/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: a YAML file as a tree of nodes that know their line and column. Aliases share
 * the node they name, merge keys are resolved, so a reader sees plain mappings. */
#ifndef ZI_DECK_TREE_H
#define ZI_DECK_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "deck/errors.h"

enum deck_node_kind { NODE_SCALAR, NODE_MAPPING, NODE_SEQUENCE };

struct deck_pair {
    /* The key is a scalar. */
    struct deck_node *key, *value;
};

struct deck_node {
    enum deck_node_kind kind;
    /* From 1. */
    int line, column;
    /* NULL where it has none. */
    char *anchor;
    /* Its end has not been read yet. */
    bool open;
    /* Of a scalar; ends with NUL. */
    char *text;
    /* Without that NUL; differs from strlen(text) where the text holds a NUL. */
    size_t length;
    /* Written without quotes. */
    bool plain;
    /* Mappings use pairs, sequences items. */
    struct deck_pair *pairs;
    struct deck_node **items;
    int count, room;
};

struct deck_tree {
    /* NULL where the text holds no document content. */
    struct deck_node *root;
    struct deck_node **nodes;
    int count, room;
};

/* Local. Reads text into a tree that the caller frees with deck_tree_free, also after an error.
 * Errors are added to `errors`. ZI_ERROR_USAGE when no tree could be made; ZI_OK when there is one,
 * even if errors like duplicate keys were found in it. */
enum zi_status deck_tree_parse(const char *text, size_t bytes, struct deck_errors *errors,
                               struct deck_tree *tree);

/* Local. Whether text is UTF-8 throughout. */
bool deck_text_is_utf8(const char *text);

/* Local. Frees all nodes of a tree. */
void deck_tree_free(struct deck_tree *tree);

#endif

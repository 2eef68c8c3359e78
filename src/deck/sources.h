/* SPDX-License-Identifier: Apache-2.0 */
/* What data come from, among the settings: paths of files, folders or patterns, each with a weight
 * or none with one. */
#ifndef ZI_DECK_SOURCES_H
#define ZI_DECK_SOURCES_H

#include <stdbool.h>

/* The most that a key names; a folder or a pattern stands for more files. */
enum { DECK_SOURCES_MAX = 256 };

struct deck_weighted {
    /* Owned by whoever owns the list. */
    char *path;
    /* Larger than 0; 0: none was given. */
    double weight;
};

struct deck_sources {
    /* In the order of the deck; NULL where there are none. */
    struct deck_weighted *items;
    int count;
};

/* Local. Whether the paths have weights: then all have one. */
bool deck_sources_weighted(const struct deck_sources *sources);

/* Local. Whether two lists hold the same paths and weights in the same order. */
bool deck_sources_same(const struct deck_sources *left, const struct deck_sources *right);

/* Local. Frees the paths; the list is empty then. */
void deck_sources_free(struct deck_sources *sources);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of tokens by id, and ids by text; and a trie of them. Private to the room; all are Local. */
#ifndef ZI_TEXT_VOCABULARY_H
#define ZI_TEXT_VOCABULARY_H

#include "text/buffer.h"

/* A text has one id and an id one text; ids may have gaps. Begins as all zero. */
struct vocabulary {
    struct buffer texts;
    /* By id: where its text begins, and its bytes; -1: none. */
    struct {
        size_t at;
        int32_t bytes;
    } * tokens;
    /* Largest id + 1, and how many have a text. */
    int32_t limit;
    int32_t count;
    size_t token_capacity;
    /* Open addressing: ids, -1 where free; 2^slot_bits of them. */
    int32_t *slots;
    int slot_bits;
};

/* The largest id that is taken: what is far beyond the number of tokens is an error of the file. */
#define VOCABULARY_MOST ((int64_t)1 << 24)

/* Adds a text under a new id. ZI_ERROR_USAGE without a message where text or id are taken;
 * ZI_ERROR_DEVICE. */
enum zi_status vocabulary_add(struct vocabulary *vocabulary, const char *text, size_t bytes,
                              int32_t id);

/* The id of a text; -1: none. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t bytes);

/* The text of an id; false: none. */
bool vocabulary_text(const struct vocabulary *vocabulary, int64_t id, const char **text,
                     size_t *bytes);

/* Frees what it has; it is empty again. */
void vocabulary_free(struct vocabulary *vocabulary);

/* Texts by their bytes, for the longest or all beginnings of a place in a text. Nodes are in a hash
 * table by (parent, byte); node 0 is the root. Begins as all zero. */
struct trie {
    struct trie_slot {
        /* Parent and byte; UINT64_MAX: free. */
        uint64_t key;
        int32_t node;
    } * slots;
    int slot_bits;
    /* By node: the value of the text that ends there; -1: none. */
    int32_t *values;
    size_t node_count, value_capacity;
    /* Whether a text begins with this byte. */
    bool first[256];
};

/* Adds a text, bytes > 0; one that is there gets the new value. ZI_ERROR_DEVICE. */
enum zi_status trie_add(struct trie *trie, const char *text, size_t bytes, int32_t value);

/* Goes from a node along a byte; -1 where nothing goes on so. */
static inline int32_t trie_step(const struct trie *trie, int32_t node, unsigned char byte)
{
    uint64_t key = (uint64_t)(uint32_t)node << 8 | byte;
    size_t mask = ((size_t)1 << trie->slot_bits) - 1;
    size_t at = (key * 0x9e3779b97f4a7c15u) >> (64 - trie->slot_bits);
    for (;; at = (at + 1) & mask) {
        if (trie->slots[at].key == key) return trie->slots[at].node;
        if (trie->slots[at].key == UINT64_MAX) return -1;
    }
}

/* The longest text at the beginning of text[0..bytes): its bytes and *value; 0: none. */
size_t trie_longest(const struct trie *trie, const char *text, size_t bytes, int32_t *value);

/* Frees what it has; it is empty again. */
void trie_free(struct trie *trie);

#endif

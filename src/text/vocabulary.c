/* SPDX-License-Identifier: Apache-2.0 */
#include "text/vocabulary.h"

#include <stdlib.h>

#include "base/log.h"

static size_t slot_of(const struct vocabulary *v, const char *text, size_t bytes)
{
    size_t mask = ((size_t)1 << v->slot_bits) - 1,
           at = text_hash(text, bytes) >> (64 - v->slot_bits);
    for (;; at = (at + 1) & mask) {
        int32_t id = v->slots[at];
        if (id < 0) return at;
        if ((size_t)v->tokens[id].bytes == bytes &&
            (bytes == 0 || memcmp(v->texts.text + v->tokens[id].at, text, bytes) == 0))
            return at;
    }
}

/* Twice as many slots, at most half of them taken. */
static enum zi_status grow_slots(struct vocabulary *v)
{
    int bits = v->slot_bits ? v->slot_bits + 1 : 8;
    int32_t *slots = malloc(sizeof *slots << bits);
    if (!slots) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for %d tokens", v->count);
    memset(slots, 0xff, sizeof *slots << bits);
    free(v->slots);
    v->slots = slots;
    v->slot_bits = bits;
    for (int32_t id = 0; id < v->limit; id++)
        if (v->tokens[id].bytes >= 0)
            slots[slot_of(v, v->texts.text + v->tokens[id].at, (size_t)v->tokens[id].bytes)] = id;
    return ZI_OK;
}

enum zi_status vocabulary_add(struct vocabulary *v, const char *text, size_t bytes, int32_t id)
{
    void *tokens = v->tokens;
    if (!v->slots || (size_t)v->count * 2 >= (size_t)1 << v->slot_bits) ZI_TRY(grow_slots(v));
    if ((id < v->limit && v->tokens[id].bytes >= 0) || bytes > INT32_MAX) return ZI_ERROR_USAGE;
    size_t slot = slot_of(v, text, bytes);
    if (v->slots[slot] >= 0) return ZI_ERROR_USAGE;
    ZI_TRY(array_reserve(&tokens, &v->token_capacity, (size_t)id + 1, sizeof *v->tokens));
    v->tokens = tokens;
    for (; v->limit <= id; v->limit++)
        v->tokens[v->limit].bytes = -1;
    v->tokens[id].at = v->texts.bytes;
    ZI_TRY(buffer_add(&v->texts, text, bytes));
    v->tokens[id].bytes = (int32_t)bytes;
    v->slots[slot] = id;
    v->count++;
    return ZI_OK;
}

int32_t vocabulary_find(const struct vocabulary *v, const char *text, size_t bytes)
{
    return v->slots ? v->slots[slot_of(v, text, bytes)] : -1;
}

bool vocabulary_text(const struct vocabulary *v, int64_t id, const char **text, size_t *bytes)
{
    if (id < 0 || id >= v->limit || v->tokens[id].bytes < 0) return false;
    *text = v->texts.text ? v->texts.text + v->tokens[id].at : "";
    *bytes = (size_t)v->tokens[id].bytes;
    return true;
}

void vocabulary_free(struct vocabulary *v)
{
    buffer_free(&v->texts);
    free(v->tokens);
    free(v->slots);
    *v = (struct vocabulary){.tokens = NULL};
}

static size_t trie_slot(const struct trie *t, uint64_t key)
{
    size_t mask = ((size_t)1 << t->slot_bits) - 1;
    size_t at = (key * 0x9e3779b97f4a7c15u) >> (64 - t->slot_bits);
    while (t->slots[at].key != key && t->slots[at].key != UINT64_MAX)
        at = (at + 1) & mask;
    return at;
}

static enum zi_status grow_trie(struct trie *t)
{
    struct trie old = *t;
    t->slot_bits = old.slot_bits ? old.slot_bits + 1 : 8;
    t->slots = malloc(sizeof *t->slots << t->slot_bits);
    if (!t->slots) {
        *t = old;
        return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for %zu nodes of texts", t->node_count);
    }
    memset(t->slots, 0xff, sizeof *t->slots << t->slot_bits);
    for (size_t i = 0; old.slots && i < (size_t)1 << old.slot_bits; i++)
        if (old.slots[i].key != UINT64_MAX) t->slots[trie_slot(t, old.slots[i].key)] = old.slots[i];
    free(old.slots);
    return ZI_OK;
}

static enum zi_status new_node(struct trie *t)
{
    void *values = t->values;
    ZI_TRY(array_reserve(&values, &t->value_capacity, t->node_count + 1, sizeof *t->values));
    t->values = values;
    t->values[t->node_count++] = -1;
    return ZI_OK;
}

enum zi_status trie_add(struct trie *t, const char *text, size_t bytes, int32_t value)
{
    int32_t node = 0;
    if (t->node_count == 0) ZI_TRY(new_node(t));
    for (size_t i = 0; i < bytes; i++) {
        if (!t->slots || t->node_count * 2 >= (size_t)1 << t->slot_bits) ZI_TRY(grow_trie(t));
        uint64_t key = (uint64_t)(uint32_t)node << 8 | (unsigned char)text[i];
        size_t slot = trie_slot(t, key);
        if (t->slots[slot].key == UINT64_MAX) {
            ZI_TRY(new_node(t));
            t->slots[slot] = (struct trie_slot){key, (int32_t)(t->node_count - 1)};
        }
        node = t->slots[slot].node;
    }
    t->first[(unsigned char)text[0]] = true;
    t->values[node] = value;
    return ZI_OK;
}

size_t trie_longest(const struct trie *t, const char *text, size_t bytes, int32_t *value)
{
    size_t longest = 0;
    int32_t node = 0;
    if (bytes == 0 || !t->first[(unsigned char)text[0]]) return 0;
    for (size_t i = 0; i < bytes; i++) {
        node = trie_step(t, node, (unsigned char)text[i]);
        if (node < 0) break;
        if (t->values[node] >= 0) {
            longest = i + 1;
            *value = t->values[node];
        }
    }
    return longest;
}

void trie_free(struct trie *t)
{
    free(t->slots);
    free(t->values);
    *t = (struct trie){.slots = NULL};
}

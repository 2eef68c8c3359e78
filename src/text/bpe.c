/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding: a word begins as its characters or bytes, and of all neighbours that are a
 * merge those of the lowest rank, leftmost first, become one, again and again.
 *
 * Where a tokenizer does not cut texts into words, as Llama 2's and Gemma's, a text is one word of
 * any length. It is cut here between characters that stand side by side in no token: no merge can
 * join them, so the parts can be encoded by themselves, and most are words that were seen before. */
#include "text/model_kinds.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

/* Words of up to this many symbols look for the lowest rank among all, longer ones in a heap. */
#define FEW 48

struct symbol {
    /* -1: joined to one before it. */
    int32_t id;
    /* Places in the array; -1: none. */
    int32_t before, next;
};

static size_t merge_slot(const struct model *model, uint64_t pair)
{
    size_t mask = ((size_t)1 << model->merge_bits) - 1;
    size_t at = (pair * 0x9e3779b97f4a7c15u) >> (64 - model->merge_bits);
    while (model->merges[at].pair != pair && model->merges[at].pair != UINT64_MAX)
        at = (at + 1) & mask;
    return at;
}

/* NULL: they are no merge. */
static inline const struct merge *find_merge(const struct model *model, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const struct merge *merge = &model->merges[merge_slot(model, pair)];
    return merge->pair == pair ? merge : NULL;
}

/* A merge of the file: "left right", or ["left", "right"]. */
static enum zi_status read_pair(const struct zi_json_place *place, const json_t *value,
                                size_t index, const char *texts[2], size_t bytes[2])
{
    const char *both = json_string_value(value), *space = both ? strchr(both, ' ') : NULL;
    const char *left = json_string_value(json_array_get(value, 0));
    const char *right = json_string_value(json_array_get(value, 1));
    if (space && !strchr(space + 1, ' ')) {
        texts[0] = both;
        bytes[0] = (size_t)(space - both);
        texts[1] = space + 1;
        bytes[1] = strlen(space + 1);
    } else if (left && right && json_array_size(value) == 2) {
        texts[0] = left;
        bytes[0] = strlen(left);
        texts[1] = right;
        bytes[1] = strlen(right);
    } else {
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: merge %zu is neither \"LEFT RIGHT\" nor [\"LEFT\", \"RIGHT\"]",
                       place->file, index);
    }
    return ZI_OK;
}

static enum zi_status add_merge(const struct zi_json_place *place, struct model *model,
                                struct buffer *text, const json_t *value, size_t index)
{
    const char *texts[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0}, prefix = strlen(model->prefix);
    ZI_TRY(read_pair(place, value, index, texts, bytes));
    int32_t left = vocabulary_find(&model->vocabulary, texts[0], bytes[0]);
    int32_t right = vocabulary_find(&model->vocabulary, texts[1], bytes[1]), id = -1;
    text->bytes = 0;
    if (left >= 0 && right >= 0 && bytes[1] >= prefix) {
        ZI_TRY(buffer_add(text, texts[0], bytes[0]));
        ZI_TRY(buffer_add(text, texts[1] + prefix, bytes[1] - prefix));
        id = vocabulary_find(&model->vocabulary, text->text, text->bytes);
    }
    if (id < 0)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: merge %zu, %.*s and %.*s: one of them or what they become is not in "
                       "the vocabulary",
                       place->file, index, bytes[0] < 60 ? (int)bytes[0] : 60, texts[0],
                       bytes[1] < 60 ? (int)bytes[1] : 60, texts[1]);
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    /* a pair that is given twice has its last rank */
    model->merges[merge_slot(model, pair)] = (struct merge){pair, (uint32_t)index, id};
    return ZI_OK;
}

static enum zi_status read_merges(const struct zi_json_place *place, const json_t *object,
                                  struct model *model)
{
    const json_t *merges = NULL;
    struct buffer text = {.text = NULL};
    enum zi_status status = ZI_OK;
    ZI_TRY(zi_json_require(place, object, "merges"));
    ZI_TRY(zi_json_get_array(place, object, "merges", &merges));
    size_t count = json_array_size(merges);
    for (model->merge_bits = 4; (size_t)1 << model->merge_bits < 2 * count + 2;)
        model->merge_bits++;
    model->merges = malloc(sizeof *model->merges << model->merge_bits);
    if (!model->merges) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for %zu merges", count);
    memset(model->merges, 0xff, sizeof *model->merges << model->merge_bits);
    for (size_t i = 0; i < count && status >= 0; i++)
        status = add_merge(place, model, &text, json_array_get(merges, i), i);
    buffer_free(&text);
    return status;
}

static size_t pair_slot(const struct pairs *p, uint64_t pair)
{
    size_t mask = ((size_t)1 << p->slot_bits) - 1;
    size_t at = (pair * 0x9e3779b97f4a7c15u) >> (64 - p->slot_bits);
    while (p->slots[at] != pair && p->slots[at] != UINT64_MAX)
        at = (at + 1) & mask;
    return at;
}

static enum zi_status grow_pairs(struct pairs *p)
{
    struct pairs old = *p;
    p->slot_bits = old.slots ? old.slot_bits + 1 : 12;
    p->slots = malloc(sizeof *p->slots << p->slot_bits);
    if (!p->slots) {
        p->slots = old.slots;
        return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for pairs of characters");
    }
    memset(p->slots, 0xff, sizeof *p->slots << p->slot_bits);
    for (size_t i = 0; old.slots && i < (size_t)1 << old.slot_bits; i++)
        if (old.slots[i] != UINT64_MAX) p->slots[pair_slot(p, old.slots[i])] = old.slots[i];
    free(old.slots);
    return ZI_OK;
}

static enum zi_status add_pair(struct pairs *p, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    if (left < 128 && right < 128) {
        p->ascii[left][right >> 6] |= (uint64_t)1 << (right & 63);
        return ZI_OK;
    }
    if (!p->slots || 2 * p->count >= (size_t)1 << p->slot_bits) ZI_TRY(grow_pairs(p));
    size_t slot = pair_slot(p, pair);
    p->count += p->slots[slot] != pair;
    p->slots[slot] = pair;
    return ZI_OK;
}

static bool is_pair(const struct pairs *p, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    if (left < 128 && right < 128) return p->ascii[left][right >> 6] >> (right & 63) & 1;
    return p->slots && p->slots[pair_slot(p, pair)] == pair;
}

static enum zi_status find_pairs(struct model *model)
{
    const struct vocabulary *v = &model->vocabulary;
    struct pairs *p = model->pairs = calloc(1, sizeof *p);
    const char *text;
    size_t bytes;
    if (!p) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for pairs of characters");
    for (int32_t id = 0; id < v->limit; id++) {
        if (!vocabulary_text(v, id, &text, &bytes) || bytes == 0) continue;
        size_t at = utf8_length(*text);
        if (bytes == 1) p->known[(unsigned char)*text & 127] = true;
        for (uint32_t before = utf8_at(text); at < bytes; at += utf8_length(text[at])) {
            ZI_TRY(add_pair(p, before, utf8_at(text + at)));
            before = utf8_at(text + at);
        }
    }
    return ZI_OK;
}

enum zi_status bpe_read(const struct zi_json_place *place, const json_t *object,
                        struct model *model)
{
    double dropout = 0;
    ZI_TRY(zi_json_get_number(place, object, "dropout", &dropout));
    if (dropout != 0)
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: dropout is %g: merges that are left out at random are not done; set it "
                       "to null",
                       place->file, dropout);
    ZI_TRY(zi_json_get_bool(place, object, "fuse_unk", &model->fuse_unknown));
    ZI_TRY(zi_json_get_bool(place, object, "byte_fallback", &model->byte_fallback));
    ZI_TRY(zi_json_get_bool(place, object, "ignore_merges", &model->ignore_merges));
    for (int byte = 0; byte < 256; byte++)
        model->byte_ids[byte] = -1;
    if (model->byte_fallback) model_find_bytes(model);
    ZI_TRY(read_merges(place, object, model));
    return *model->prefix || *model->suffix || model->ignore_merges ? ZI_OK : find_pairs(model);
}

void bpe_free(struct model *model)
{
    free(model->merges);
    if (model->pairs) free(model->pairs->slots);
    free(model->pairs);
}

static bool is_known(const struct model *model, const char *text)
{
    return (unsigned char)*text < 128
               ? model->pairs->known[(unsigned char)*text]
               : vocabulary_find(&model->vocabulary, text, utf8_length(*text)) >= 0;
}

size_t model_part(const struct model *model, const char *word, size_t bytes)
{
    const char *end = word + bytes, *before = word, *at = word + utf8_length(*word);
    if (!model->pairs) return bytes;
    for (; at < end; before = at, at += utf8_length(*at))
        if (!is_pair(model->pairs, utf8_at(before), utf8_at(at)) && is_known(model, before) &&
            is_known(model, at))
            break;
    return (size_t)(at - word);
}

/* What a word begins as, in order. */
struct beginning {
    const struct model *model;
    struct tokenizer_ids *ids;
    /* An unknown token that may still take in what follows. */
    bool unknown;
};

static enum zi_status end_unknown(struct beginning *b)
{
    if (!b->unknown) return ZI_OK;
    b->unknown = false;
    return ids_add(b->ids, b->model->unknown);
}

/* A character with no token: bytes, or unknown, or nothing. What is unknown is added when the next
 * known character or unknown one comes, and so behind bytes between them, as the original does. */
static enum zi_status begin_unknown(struct beginning *b, const char *text, size_t bytes)
{
    bool done = false;
    if (b->model->byte_fallback) ZI_TRY(ids_add_bytes(b->model, text, bytes, b->ids, &done));
    if (done || b->model->unknown < 0) return ZI_OK;
    if (!b->model->fuse_unknown) ZI_TRY(end_unknown(b));
    b->unknown = true;
    return ZI_OK;
}

static enum zi_status begin_character(struct beginning *b, struct model_work *work,
                                      const char *word, size_t bytes, size_t at)
{
    const struct model *model = b->model;
    size_t length = utf8_length(word[at]);
    const char *text = word + at;
    if ((at > 0 && *model->prefix) || (at + length == bytes && *model->suffix)) {
        struct buffer *full = &work->text;
        full->bytes = 0;
        if (at > 0) ZI_TRY(buffer_add(full, model->prefix, strlen(model->prefix)));
        ZI_TRY(buffer_add(full, text, length));
        if (at + length == bytes) ZI_TRY(buffer_add(full, model->suffix, strlen(model->suffix)));
        text = full->text;
        length = full->bytes;
    }
    int32_t id = vocabulary_find(&model->vocabulary, text, length);
    if (id < 0) return begin_unknown(b, text, length);
    ZI_TRY(end_unknown(b));
    return ids_add(b->ids, id);
}

static enum zi_status begin_word(const struct model *model, struct model_work *work,
                                 const char *word, size_t bytes, struct tokenizer_ids *out)
{
    struct beginning b = {model, out, false};
    for (size_t at = 0; at < bytes;) {
        if (!model->of_bytes) {
            ZI_TRY(begin_character(&b, work, word, bytes, at));
            at += utf8_length(word[at]);
            continue;
        }
        int32_t id = model->byte_ids[(unsigned char)word[at++]];
        if (id >= 0) ZI_TRY(end_unknown(&b));
        ZI_TRY(id >= 0 ? ids_add(out, id) : begin_unknown(&b, NULL, 0));
    }
    return end_unknown(&b);
}

/* Few symbols: the ranks of all neighbours are kept, and the lowest is looked for. */
static size_t merge_few(const struct model *model, int32_t *ids, size_t count)
{
    const struct merge *merges[FEW];
    for (size_t i = 0; i + 1 < count; i++)
        merges[i] = find_merge(model, ids[i], ids[i + 1]);
    for (;;) {
        size_t best = count;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++)
            if (merges[i] && merges[i]->rank < rank) {
                rank = merges[i]->rank;
                best = i;
            }
        if (best == count) return count;
        ids[best] = merges[best]->id;
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        if (best + 1 < count)
            memmove(merges + best + 1, merges + best + 2, (count - best - 2) * sizeof *merges);
        if (best > 0) merges[best - 1] = find_merge(model, ids[best - 1], ids[best]);
        if (best + 1 < count) merges[best] = find_merge(model, ids[best], ids[best + 1]);
    }
}

/* The smallest of a heap comes first. */
static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t value = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= value) break;
        heap[at] = heap[child];
    }
    heap[at] = value;
}

static void heap_push(uint64_t *heap, size_t *count, uint64_t value)
{
    size_t at = (*count)++;
    for (; at > 0 && heap[(at - 1) / 2] > value; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = value;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count)
{
    uint64_t least = heap[0];
    heap[0] = heap[--*count];
    if (*count) sift_down(heap, *count, 0);
    return least;
}

/* The merge of a symbol with the next one; NULL: none. */
static const struct merge *merge_at(const struct model *model, const struct symbol *symbols,
                                    int32_t at)
{
    if (at < 0 || symbols[at].id < 0 || symbols[at].next < 0) return NULL;
    return find_merge(model, symbols[at].id, symbols[symbols[at].next].id);
}

static void push_merge(const struct model *model, struct model_work *work, size_t *count,
                       int32_t at)
{
    const struct merge *merge = merge_at(model, work->symbols, at);
    if (merge) heap_push(work->heap, count, (uint64_t)merge->rank << 32 | (uint32_t)at);
}

/* Many symbols: a heap of (rank, place). What was merged otherwise since is no merge of that rank
 * any more and is passed over. Each merge adds two entries and takes one symbol away, so that 3
 * times the symbols are enough. */
static enum zi_status merge_many(const struct model *model, struct model_work *work, int32_t *ids,
                                 size_t *count)
{
    size_t symbols = *count, entries = 0;
    void *memory = work->symbols, *heap = work->heap;
    ZI_TRY(array_reserve(&memory, &work->symbol_capacity, symbols, sizeof *work->symbols));
    work->symbols = memory;
    ZI_TRY(array_reserve(&heap, &work->heap_capacity, 3 * symbols, sizeof *work->heap));
    work->heap = heap;
    for (size_t i = 0; i < symbols; i++)
        work->symbols[i] =
            (struct symbol){ids[i], (int32_t)i - 1, i + 1 < symbols ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i < symbols; i++) {
        const struct merge *merge = merge_at(model, work->symbols, (int32_t)i);
        if (merge) work->heap[entries++] = (uint64_t)merge->rank << 32 | i;
    }
    for (size_t i = entries / 2; i-- > 0;)
        sift_down(work->heap, entries, i);
    while (entries) {
        uint64_t least = heap_pop(work->heap, &entries);
        int32_t at = (int32_t)(uint32_t)least;
        const struct merge *merge = merge_at(model, work->symbols, at);
        if (!merge || merge->rank != least >> 32) continue;
        struct symbol *symbol = &work->symbols[at], *next = &work->symbols[symbol->next];
        symbol->id = merge->id;
        symbol->next = next->next;
        next->id = -1;
        if (symbol->next >= 0) work->symbols[symbol->next].before = at;
        push_merge(model, work, &entries, symbol->before);
        push_merge(model, work, &entries, at);
    }
    *count = 0;
    for (int32_t at = 0; at >= 0; at = work->symbols[at].next)
        ids[(*count)++] = work->symbols[at].id;
    return ZI_OK;
}

/* The token of a whole word; -1: none. */
static enum zi_status find_whole(const struct model *model, struct model_work *work,
                                 const char *word, size_t bytes, int32_t *id)
{
    struct buffer *text = &work->text;
    if (model->of_bytes) {
        text->bytes = 0;
        ZI_TRY(buffer_reserve(text, 2 * bytes));
        for (size_t i = 0; i < bytes; i++)
            buffer_put(text, byte_character((unsigned char)word[i]));
        word = text->text;
        bytes = text->bytes;
    }
    *id = vocabulary_find(&model->vocabulary, word, bytes);
    return ZI_OK;
}

enum zi_status bpe_encode(const struct model *model, struct model_work *work, const char *word,
                          size_t bytes, struct tokenizer_ids *out)
{
    size_t begun = out->count;
    if (model->ignore_merges) {
        int32_t id;
        ZI_TRY(find_whole(model, work, word, bytes, &id));
        if (id >= 0) return ids_add(out, id);
    }
    ZI_TRY(begin_word(model, work, word, bytes, out));
    size_t count = out->count - begun;
    if (count < 2) return ZI_OK;
    if (count <= FEW)
        count = merge_few(model, out->ids + begun, count);
    else
        ZI_TRY(merge_many(model, work, out->ids + begun, &count));
    out->count = begun + count;
    return ZI_OK;
}

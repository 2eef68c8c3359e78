/* SPDX-License-Identifier: Apache-2.0 */
/* Texts to ids and back, along the way that a tokenizer.json describes: added tokens are cut out,
 * what is between them is normalized, added tokens in normal form are cut out, the rest is cut into
 * words, and the model gives the ids of each.
 *
 * Most words of a text were there before, so a work area keeps the ids of short ones: a slot per hash,
 * of one cache line, which the last word of that hash takes. */
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "text/file.h"
#include "text/model_kinds.h"

enum { SLOT_WORD = 30, SLOT_IDS = 8, SLOT_BITS = 16 };

/* bytes 0: free. */
struct slot {
    uint8_t bytes, count;
    char word[SLOT_WORD];
    int32_t ids[SLOT_IDS];
};

struct tokenizer_work {
    const struct tokenizer *tokenizer;
    struct regex_matcher *matcher;
    struct slot *slots;
    struct buffer repaired;
    struct normal_work normal;
    struct split_work split;
    struct model_work model;
    /* Where the ids of the text under way go. */
    struct tokenizer_ids *out;
};

void tokenizer_ids_free(struct tokenizer_ids *ids)
{
    free(ids->ids);
    *ids = (struct tokenizer_ids){.ids = NULL};
}

/* A part of a word that is encoded by itself. */
static enum zi_status encode_part(struct tokenizer_work *work, const char *word, size_t bytes)
{
    const struct model *model = &work->tokenizer->model;
    struct tokenizer_ids *out = work->out;
    if (bytes > SLOT_WORD) return model_encode(model, &work->model, word, bytes, out);
    struct slot *slot = &work->slots[text_hash(word, bytes) >> (64 - SLOT_BITS)];
    if (slot->bytes == bytes && memcmp(slot->word, word, bytes) == 0) {
        if (out->capacity - out->count < SLOT_IDS) {
            void *ids = out->ids;
            ZI_TRY(array_reserve(&ids, &out->capacity, out->count + SLOT_IDS, sizeof *out->ids));
            out->ids = ids;
        }
        memcpy(out->ids + out->count, slot->ids, sizeof slot->ids);
        out->count += slot->count;
        return ZI_OK;
    }
    size_t begun = out->count;
    ZI_TRY(model_encode(model, &work->model, word, bytes, out));
    size_t count = out->count - begun;
    if (count > SLOT_IDS) return ZI_OK;
    slot->bytes = (uint8_t)bytes;
    slot->count = (uint8_t)count;
    memcpy(slot->word, word, bytes);
    if (count) memcpy(slot->ids, out->ids + begun, count * sizeof *slot->ids);
    return ZI_OK;
}

static enum zi_status encode_word(void *context, const char *word, size_t bytes)
{
    struct tokenizer_work *work = context;
    while (bytes) {
        size_t part = model_part(&work->tokenizer->model, word, bytes);
        ZI_TRY(encode_part(work, word, part));
        word += part;
        bytes -= part;
    }
    return ZI_OK;
}

/* What is between added tokens, in normal form. */
static enum zi_status encode_normalized(struct tokenizer_work *work, const char *text, size_t bytes,
                                        bool first)
{
    const struct tokenizer *t = work->tokenizer;
    struct added_walk walk = {
        .added = &t->added, .trie = &t->added.normalized, .text = text, .bytes = bytes};
    const struct added_token *token;
    struct text_range found;
    size_t done = 0;
    while (t->added.normalized.node_count && (token = added_next(&walk, &found))) {
        if (done < found.begin)
            ZI_TRY(splitter_run(&t->splitter, &work->split, text + done, found.begin - done,
                                first && done == 0));
        ZI_TRY(ids_add(work->out, token->id));
        done = found.end;
    }
    if (done == bytes) return ZI_OK; /* or nothing was left of it */
    return splitter_run(&t->splitter, &work->split, text + done, bytes - done, first && done == 0);
}

/* What is between added tokens, as it was given. */
static enum zi_status encode_plain(struct tokenizer_work *work, const char *text, size_t bytes,
                                   bool first)
{
    if (bytes == 0) return ZI_OK;
    ZI_TRY(normalizer_apply(&work->tokenizer->normalizer, &work->normal, &text, &bytes));
    return encode_normalized(work, text, bytes, first && !work->normal.lost);
}

static enum zi_status encode_text(struct tokenizer_work *work, const char *text, size_t bytes)
{
    const struct added *added = &work->tokenizer->added;
    struct added_walk walk = {.added = added, .trie = &added->plain, .text = text, .bytes = bytes};
    const struct added_token *token;
    struct text_range found;
    size_t done = 0;
    while (added->plain.node_count && (token = added_next(&walk, &found))) {
        if (done < found.begin)
            ZI_TRY(encode_plain(work, text + done, found.begin - done, done == 0));
        ZI_TRY(ids_add(work->out, token->id));
        done = found.end;
    }
    return encode_plain(work, text + done, bytes - done, done == 0);
}

static enum zi_status add_all(struct tokenizer_ids *out, const struct tokenizer_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        ZI_TRY(ids_add(out, ids->ids[i]));
    return ZI_OK;
}

static enum zi_status encode_sentencepiece(const struct spm *model, const char *text, size_t bytes,
                                           bool special, struct tokenizer_ids *out)
{
    struct tokenizer_ids own = {.ids = NULL};
    if (special && sentencepiece_begin(model) >= 0)
        ZI_TRY(ids_add(out, sentencepiece_begin(model)));
    ZI_TRY(sentencepiece_encode(model, text, bytes, &own.ids, &own.count));
    enum zi_status status = add_all(out, &own);
    tokenizer_ids_free(&own);
    return status;
}

enum zi_status tokenizer_encode(struct tokenizer_work *work, const char *text, size_t bytes,
                                bool special, struct tokenizer_ids *out)
{
    const struct tokenizer *t = work->tokenizer;
    if (utf8_valid(text, bytes) < bytes) {
        work->repaired.bytes = 0;
        ZI_TRY(utf8_repair(&work->repaired, text, bytes));
        text = work->repaired.text;
        bytes = work->repaired.bytes;
    }
    if (t->sentencepiece)
        return encode_sentencepiece(t->sentencepiece, bytes ? text : "", bytes, special, out);
    work->out = out;
    if (special) ZI_TRY(add_all(out, &t->post.before));
    if (bytes) ZI_TRY(encode_text(work, text, bytes));
    return special ? add_all(out, &t->post.after) : ZI_OK;
}

enum zi_status tokenizer_work_create(const struct tokenizer *tokenizer,
                                     struct tokenizer_work **work)
{
    struct tokenizer_work *made = calloc(1, sizeof *made);
    *work = made;
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory to encode texts");
    made->tokenizer = tokenizer;
    made->slots = calloc((size_t)1 << SLOT_BITS, sizeof *made->slots);
    enum zi_status status = regex_matcher_create(&made->matcher);
    if (status >= 0 && !made->slots)
        status = zi_fail(ZI_ERROR_DEVICE, "text", "no memory to encode texts");
    made->normal.matcher = made->split.matcher = made->matcher;
    made->split.word = encode_word;
    made->split.context = made;
    if (status < 0) {
        tokenizer_work_free(made);
        *work = NULL;
    }
    return status;
}

void tokenizer_work_free(struct tokenizer_work *work)
{
    if (!work) return;
    regex_matcher_free(work->matcher);
    free(work->slots);
    buffer_free(&work->repaired);
    for (int i = 0; i < 2; i++)
        buffer_free(&work->normal.texts[i]);
    for (int i = 0; i < SPLIT_MOST; i++)
        buffer_free(&work->split.texts[i]);
    model_work_free(&work->model);
    free(work);
}

/* A token of tokenizer_config.json is a text, or an object that has it; -1: there is none. */
static int32_t find_token(const struct tokenizer *t, const json_t *config, const char *path,
                          const char *key)
{
    const json_t *found = json_object_get(config, key);
    const char *text =
        json_string_value(json_is_object(found) ? json_object_get(found, "content") : found);
    int32_t id = text ? tokenizer_token_id(t, text) : -1;
    if (text && id < 0)
        zi_log(ZI_LOG_WARN, "text", "%s: %s %.60s is no token of the tokenizer", path, key, text);
    return id;
}

/* What tokenizer_config.json beside the file says of the beginning and the end of a text. */
static enum zi_status find_ends(const char *folder, struct tokenizer *t)
{
    char path[4096];
    json_t *document;
    struct stat info;
    int length = snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    if (length < 0 || length >= (int)sizeof path || stat(path, &info) != 0) return ZI_OK;
    const struct zi_json_place place = {.room = "text", .file = path};
    ZI_TRY(zi_json_read_large(&place, (size_t)16 << 20, &document));
    int32_t end = find_token(t, document, path, "eos_token");
    if (json_object_get(document, "eos_token")) t->end = end;
    t->begin = find_token(t, document, path, "bos_token");
    json_decref(document);
    return ZI_OK;
}

static enum zi_status open_sentencepiece(const char *path, struct tokenizer *t)
{
    uint64_t hash;
    ZI_TRY(tokenizer_hash(path, &hash));
    ZI_TRY(sentencepiece_open(path, &t->sentencepiece));
    t->vocabulary = sentencepiece_count(t->sentencepiece);
    t->end = sentencepiece_end(t->sentencepiece);
    snprintf(t->identity, sizeof t->identity, "SentencePiece %" PRId32 " %016" PRIx64,
             t->vocabulary, hash);
    return ZI_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), own = strlen(end);
    return length >= own && strcmp(text + length - own, end) == 0;
}

/* The file of a folder that is read; false: there is none. */
static bool find_file(const char *folder, char *path, size_t size)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                        "sentencepiece.bpe.model"};
    struct stat info;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int length = snprintf(path, size, "%s/%s", folder, names[i]);
        if (length > 0 && (size_t)length < size && stat(path, &info) == 0) return true;
    }
    return false;
}

bool tokenizer_exists(const char *folder)
{
    char path[4096];
    return find_file(folder, path, sizeof path);
}

static enum zi_status fail_no_file(const char *folder)
{
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s has no tokenizer.json and no tokenizer.model; transformers writes one: "
                   "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
                   folder);
}

static enum zi_status open_path(const char *path, struct tokenizer *t)
{
    char file[4096], folder[4096];
    struct stat info;
    t->begin = t->end = -1;
    if (strlen(path) >= sizeof file - 32)
        return zi_fail(ZI_ERROR_USAGE, "text", "the name of the tokenizer is too long");
    snprintf(file, sizeof file, "%s", path);
    snprintf(folder, sizeof folder, "%s", path);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        if (!find_file(path, file, sizeof file)) return fail_no_file(path);
    } else {
        char *slash = strrchr(folder, '/');
        snprintf(slash ? slash : folder, 2, "%s", slash == folder ? "/" : slash ? "" : ".");
    }
    if (ends_with(file, ".model")) return open_sentencepiece(file, t);
    ZI_TRY(tokenizer_read(file, t));
    return find_ends(folder, t);
}

enum zi_status tokenizer_open(const char *path, struct tokenizer **tokenizer)
{
    *tokenizer = calloc(1, sizeof **tokenizer);
    if (!*tokenizer) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for tokenizer %s", path);
    enum zi_status status = open_path(path, *tokenizer);
    if (status < 0) {
        tokenizer_close(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    sentencepiece_close(t->sentencepiece);
    normalizer_free(&t->normalizer);
    splitter_free(&t->splitter);
    model_free(&t->model);
    added_free(&t->added);
    post_free(&t->post);
    decoder_free(&t->decoder);
    free(t);
}

int64_t tokenizer_vocabulary(const struct tokenizer *tokenizer)
{
    return tokenizer->vocabulary;
}

const char *tokenizer_identity(const struct tokenizer *tokenizer)
{
    return tokenizer->identity;
}

int32_t tokenizer_begin(const struct tokenizer *tokenizer)
{
    return tokenizer->begin;
}

int32_t tokenizer_end(const struct tokenizer *tokenizer)
{
    return tokenizer->end;
}

int32_t tokenizer_token_id(const struct tokenizer *t, const char *token)
{
    if (t->sentencepiece) return sentencepiece_find(t->sentencepiece, token);
    int32_t id = vocabulary_find(&t->added.texts, token, strlen(token));
    return id >= 0 ? id : vocabulary_find(&t->model.vocabulary, token, strlen(token));
}

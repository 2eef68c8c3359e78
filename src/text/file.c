/* SPDX-License-Identifier: Apache-2.0 */
#include "text/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* Bytes of a tokenizer.json, at most; those of large vocabularies have some 30 MB. */
#define FILE_MOST ((size_t)128 << 20)

enum zi_status tokenizer_hash(const char *path, uint64_t *hash)
{
    char block[1 << 14];
    int file;
    int64_t bytes;
    ssize_t count;
    ZI_TRY(zi_file_open_input("text", path, &file, &bytes));
    *hash = (uint64_t)bytes;
    while ((count = read(file, block, sizeof block)) > 0 || (count < 0 && errno == EINTR))
        if (count > 0) *hash = *hash * 0x100000001b3u ^ text_hash(block, (size_t)count);
    int error = errno;
    close(file);
    if (count == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "text", "cannot read %s: %s", path, strerror(error));
}

/* What transformers too leaves to each call, and the file keeps of the last one. */
static void say_unused(const struct zi_json_place *place, const json_t *document)
{
    static const char *const keys[] = {"truncation", "padding"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(document, keys[i]);
        if (value && !json_is_null(value))
            zi_log(ZI_LOG_NOTE, "text", "%s: %s of the file is not applied", place->file, keys[i]);
    }
}

static enum zi_status read_parts(const struct zi_json_place *place, const json_t *document,
                                 struct tokenizer *t)
{
    const json_t *normalizer = NULL, *splitter = NULL, *model = NULL, *post = NULL, *decoder = NULL,
                 *added = NULL;
    ZI_TRY(text_check_keys(place, document,
                           "version truncation padding added_tokens normalizer pre_tokenizer "
                           "post_processor decoder model"));
    ZI_TRY(zi_json_require(place, document, "model"));
    ZI_TRY(zi_json_get_object(place, document, "model", &model));
    ZI_TRY(zi_json_get_object(place, document, "normalizer", &normalizer));
    ZI_TRY(zi_json_get_object(place, document, "pre_tokenizer", &splitter));
    ZI_TRY(zi_json_get_object(place, document, "post_processor", &post));
    ZI_TRY(zi_json_get_object(place, document, "decoder", &decoder));
    ZI_TRY(zi_json_get_array(place, document, "added_tokens", &added));
    ZI_TRY(normalizer_read(place, normalizer, &t->normalizer));
    ZI_TRY(splitter_read(place, splitter, &t->splitter));
    ZI_TRY(model_read(place, model, &t->model));
    ZI_TRY(added_read(place, added, &t->model, &t->normalizer, &t->added));
    ZI_TRY(post_read(place, post, &t->post));
    ZI_TRY(decoder_read(place, decoder, &t->decoder));
    say_unused(place, document);
    return ZI_OK;
}

/* The largest id of all that can come out. */
static void find_limit(struct tokenizer *t)
{
    const struct tokenizer_ids *lists[] = {&t->post.before, &t->post.after};
    t->vocabulary = t->model.vocabulary.limit;
    if (t->added.texts.limit > t->vocabulary) t->vocabulary = t->added.texts.limit;
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < lists[i]->count; k++)
            if (lists[i]->ids[k] >= t->vocabulary) t->vocabulary = lists[i]->ids[k] + 1;
}

enum zi_status tokenizer_read(const char *path, struct tokenizer *t)
{
    static const char *const kinds[] = {"BPE", "Unigram", "WordPiece", "WordLevel"};
    const struct zi_json_place place = {.room = "text", .file = path};
    json_t *document;
    uint64_t hash;
    ZI_TRY(zi_json_read(&place, FILE_MOST, &document));
    enum zi_status status =
        json_is_object(document)
            ? read_parts(&place, document, t)
            : zi_fail(ZI_ERROR_USAGE, "text", "%s is no object: it is no tokenizer.json", path);
    json_decref(document);
    ZI_TRY(status);
    ZI_TRY(tokenizer_hash(path, &hash));
    const struct model *m = &t->model;
    /* a model that knows the printable characters of all bytes can as well be given bytes */
    if (m->kind == MODEL_BPE && !*m->prefix && !*m->suffix && !m->byte_fallback &&
        splitter_take_bytes(&t->splitter))
        model_take_bytes(&t->model);
    find_limit(t);
    snprintf(t->identity, sizeof t->identity, "%s %" PRId32 " %016" PRIx64, kinds[m->kind],
             t->vocabulary, hash);
    return ZI_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers of every kind against what the tokenizers package, and SentencePiece, made of the same
 * texts with the same files (regression/text/make_goldens.py): ids with and without special tokens,
 * texts of ids all at once and one by one; and the same ids from several threads. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "json/json.h"
#include "regression/unit/test.h"
#include "text/tokenizer.h"

#define FOLDER "regression/text/goldens"

static char path[4096];

static const char *golden(const char *kind, const char *ending)
{
    const char *top = getenv("abs_top_srcdir");
    snprintf(path, sizeof path, "%s/" FOLDER "/%s%s", top ? top : ".", kind, ending);
    return path;
}

/* Where a case differs. */
static void say(const char *kind, size_t number, const char *what)
{
    fprintf(stderr, "%s, case %zu: %s differs\n", kind, number, what);
}

static bool same_ids(const struct tokenizer_ids *ids, const json_t *wanted)
{
    if (ids->count != json_array_size(wanted)) return false;
    for (size_t i = 0; i < ids->count; i++)
        if (ids->ids[i] != json_integer_value(json_array_get(wanted, i))) return false;
    return true;
}

/* Of bytes that are no UTF-8 the package makes U+FFFD; none of the cases' texts gives such. */
static void check_text(const struct tokenizer *t, const struct tokenizer_ids *ids, bool skip,
                       const json_t *wanted, const char *place)
{
    char *text = NULL;
    size_t bytes = 0;
    CHECK_INT(tokenizer_decode(t, ids->ids, ids->count, skip, &text, &bytes), ZI_OK);
    bool same =
        bytes == json_string_length(wanted) && memcmp(text, json_string_value(wanted), bytes) == 0;
    if (!same) fprintf(stderr, "%s: |%s| is not |%s|\n", place, text, json_string_value(wanted));
    CHECK(same);
    free(text);
}

/* The same text one id at a time. */
static void check_stream(const struct tokenizer *t, const struct tokenizer_ids *ids,
                         const json_t *wanted, const char *place)
{
    struct tokenizer_stream *stream;
    char *all = calloc(1, json_string_length(wanted) + 65536);
    const char *text;
    size_t bytes, total = 0;
    CHECK_INT(tokenizer_stream_create(t, false, &stream), ZI_OK);
    for (size_t i = 0; i <= ids->count; i++) {
        CHECK_INT(i < ids->count ? tokenizer_stream_next(stream, ids->ids[i], &text, &bytes)
                                 : tokenizer_stream_rest(stream, &text, &bytes),
                  ZI_OK);
        memcpy(all + total, text, bytes);
        total += bytes;
    }
    bool same =
        total == json_string_length(wanted) && memcmp(all, json_string_value(wanted), total) == 0;
    if (!same) fprintf(stderr, "%s: |%s| is not |%s|\n", place, all, json_string_value(wanted));
    CHECK(same);
    tokenizer_stream_free(stream);
    free(all);
}

static void check_case(const char *kind, size_t number, const struct tokenizer *t,
                       struct tokenizer_work *work, const json_t *one)
{
    const json_t *text = json_object_get(one, "text");
    char place[64];
    snprintf(place, sizeof place, "%s, case %zu", kind, number);
    for (int special = 0; special < 2; special++) {
        struct tokenizer_ids ids = {.ids = NULL};
        CHECK_INT(tokenizer_encode(work, json_string_value(text), json_string_length(text), special,
                                   &ids),
                  ZI_OK);
        bool same = same_ids(&ids, json_object_get(one, special ? "special" : "ids"));
        if (!same) say(kind, number, special ? "special" : "ids");
        CHECK(same);
        if (special && same) {
            check_text(t, &ids, false, json_object_get(one, "decoded"), place);
            check_text(t, &ids, true, json_object_get(one, "plain"), place);
            check_stream(t, &ids, json_object_get(one, "decoded"), place);
        }
        tokenizer_ids_free(&ids);
    }
}

static void check_kind(const char *kind, const char *ending)
{
    struct tokenizer *t;
    struct tokenizer_work *work;
    json_t *cases;
    const struct zi_json_place place = {.room = "test", .file = golden(kind, ".cases.json")};
    CHECK_INT(zi_json_read(&place, (size_t)1 << 24, &cases), ZI_OK);
    CHECK_INT(tokenizer_open(golden(kind, ending), &t), ZI_OK);
    if (!t) return;
    CHECK_INT(tokenizer_work_create(t, &work), ZI_OK);
    CHECK(json_array_size(cases) > 20);
    for (int turn = 0; turn < 2; turn++) /* the second finds words that were seen before */
        for (size_t i = 0; i < json_array_size(cases); i++)
            check_case(kind, i, t, work, json_array_get(cases, i));
    tokenizer_work_free(work);
    tokenizer_close(t);
    json_decref(cases);
}

static void test_threads(void)
{
    struct tokenizer *t;
    static char text[20000];
    int32_t wrong = 0;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i % 7 == 0 ? ' ' : 'a' + (int)(i * i % 23));
    CHECK_INT(tokenizer_open(golden("llama3", ".json"), &t), ZI_OK);
    struct tokenizer_work *alone;
    struct tokenizer_ids wanted = {.ids = NULL};
    CHECK_INT(tokenizer_work_create(t, &alone), ZI_OK);
    CHECK_INT(tokenizer_encode(alone, text, sizeof text, true, &wanted), ZI_OK);
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (int i = 0; i < 8; i++) {
        struct tokenizer_work *work;
        struct tokenizer_ids ids = {.ids = NULL};
        if (tokenizer_work_create(t, &work) < 0) exit(1);
        wrong += tokenizer_encode(work, text, sizeof text, true, &ids) < 0 ||
                 ids.count != wanted.count ||
                 memcmp(ids.ids, wanted.ids, ids.count * sizeof *ids.ids) != 0;
        tokenizer_ids_free(&ids);
        tokenizer_work_free(work);
    }
    CHECK_INT(wrong, 0);
    tokenizer_ids_free(&wanted);
    tokenizer_work_free(alone);
    tokenizer_close(t);
}

/* What is no UTF-8 is encoded as the U+FFFD that stands for it: one for each longest broken piece. */
static void test_broken(void)
{
    static const char broken[] = "a\xff\xe4\xb8z\xf0\x9f\x98\xc0\x80\xed\xa0\x80";
    static const char mended[] = "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd";
    struct tokenizer *t;
    struct tokenizer_work *work;
    struct tokenizer_ids one = {.ids = NULL}, two = {.ids = NULL};
    CHECK_INT(tokenizer_open(golden("gpt2", ".json"), &t), ZI_OK);
    CHECK_INT(tokenizer_work_create(t, &work), ZI_OK);
    CHECK_INT(tokenizer_encode(work, broken, sizeof broken - 1, false, &one), ZI_OK);
    CHECK_INT(tokenizer_encode(work, mended, sizeof mended - 1, false, &two), ZI_OK);
    CHECK(one.count == two.count && one.count > 0 &&
          memcmp(one.ids, two.ids, one.count * sizeof *one.ids) == 0);
    CHECK_INT(tokenizer_token_id(t, "<|endoftext|>"), 0);
    CHECK_INT(tokenizer_token_id(t, "no such token"), -1);
    CHECK_INT(tokenizer_end(t), -1);
    CHECK_INT(tokenizer_vocabulary(t), 380);
    CHECK(strncmp(tokenizer_identity(t), "BPE 380 ", 8) == 0);
    tokenizer_ids_free(&one);
    tokenizer_ids_free(&two);
    tokenizer_work_free(work);
    tokenizer_close(t);
}

int main(void)
{
    static const char *const kinds[] = {"gpt2",   "roberta",    "llama3",  "qwen2", "o200k",
                                        "llama2", "gemma",      "mistral", "t5",    "albert",
                                        "bert",   "bert_cased", "clip",    "words", "replaced"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        check_kind(kinds[i], ".json");
#ifdef HAVE_SENTENCEPIECE
    check_kind("small", ".model");
#else
    struct tokenizer *none;
    CHECK_INT(tokenizer_open(golden("small", ".model"), &none), ZI_ERROR_USAGE);
#endif
    test_threads();
    test_broken();
    return test_finish("text_tokenizer_test");
}

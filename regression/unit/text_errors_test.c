/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are damaged, hostile, or ask for what is not done: each is refused with a message that
 * names it, within a second and 64 MiB. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"
#include "text/tokenizer.h"

#define BPE(more)                                                                                  \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, " more "}}"
#define WORDS(more) "{" more ", \"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}}}"

static char folder[4096], path[4200];
static struct capture capture;

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Opens the file, and encodes a text by it where it opens. */
static enum zi_status try_file(const char *name, const char *text, size_t bytes, char said[4096])
{
    struct tokenizer *t = NULL;
    struct tokenizer_work *work = NULL;
    struct tokenizer_ids ids = {.ids = NULL};
    capture_begin(&capture, stderr);
    enum zi_status status = tokenizer_open(name, &t);
    if (status >= 0 && text) status = tokenizer_work_create(t, &work);
    if (status >= 0 && text) status = tokenizer_encode(work, text, bytes, true, &ids);
    snprintf(said, 4096, "%.4000s", capture_end(&capture));
    tokenizer_ids_free(&ids);
    tokenizer_work_free(work);
    tokenizer_close(t);
    return status;
}

static void check_open(const char *what, const char *text, size_t bytes)
{
    char said[4096];
    double begun = seconds();
    CHECK_INT(try_file(path, text, bytes, said), ZI_ERROR_USAGE);
    CHECK(seconds() - begun < 1);
    if (!strstr(said, what)) fprintf(stderr, "wanted %s, said %s\n", what, said);
    CHECK(strstr(said, what));
}

static void check_refused(const char *file, const char *what)
{
    write_file(file);
    check_open(what, NULL, 0);
}

static void test_models(void)
{
    check_refused(BPE("\"merges\": [\"a b\"], \"dropout\": 0.5"), "dropout");
    check_refused(BPE("\"merges\": [\"a c\"]"), "merge 0, a and c");
    check_refused(BPE("\"merges\": [[\"b\", \"a\"]]"), "merge 0, b and a");
    check_refused(BPE("\"merges\": [\"a b c\"]"), "merge 0 is neither");
    check_refused(BPE("\"merges\": [3]"), "merge 0 is neither");
    check_refused(BPE("\"merges\": {}"), "should be a list");
    check_refused(BPE("\"unk_token\": \"u\", \"merges\": []"), "unk_token u");
    check_refused(BPE("\"merges\": [], \"new_thing\": 1"), "asks for new_thing");
    check_refused(BPE("\"fuse_unk\": true"), "no merges");
    check_refused("{\"model\": {\"type\": \"Other\"}}", "model Other is not done");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 9000000}, \"merges\": []}}",
                  "has holes");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}",
                  "has id -1");
    check_refused(
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}",
        "twice");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}", "is empty");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\\u0000\": 0}, \"merges\": []}}",
                  "NUL byte");
    check_refused("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 1], [2, 3]]}}",
                  "entry 1");
    check_refused("{\"model\": {\"type\": \"Unigram\", \"vocab\": [], \"unk_id\": null}}", "empty");
    check_refused("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 1]], \"unk_id\": 1}}",
                  "unk_id 1");
    check_refused("{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}}", "no unk_token");
}

static void test_steps(void)
{
    check_refused(WORDS("\"normalizer\": {\"type\": \"Magic\"}"), "normalizer Magic is not done");
    check_refused(WORDS("\"normalizer\": {\"type\": \"NFC\", \"how\": 1}"), "NFC asks for how");
    check_refused(WORDS("\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": "
                        "\"AAAA!\"}"),
                  "precompiled_charsmap is damaged");
    check_refused(WORDS("\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": "
                        "\"/////wAAAAA=\"}"),
                  "precompiled_charsmap is damaged");
    check_refused(WORDS("\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}"), "UnicodeScripts");
    check_refused(
        WORDS("\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Odd\", \"pattern\": "
              "{\"String\": \"x\"}}"),
        "behavior Odd");
    check_refused(WORDS("\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Removed\", "
                        "\"pattern\": {\"String\": \"\"}}"),
                  "neither");
    check_refused(WORDS("\"decoder\": {\"type\": \"CTC\"}"), "decoder CTC is not done");
    check_refused(WORDS("\"post_processor\": {\"type\": \"Other\"}"), "post-processor Other");
    check_refused(WORDS("\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                        "[{\"SpecialToken\": {\"id\": \"x\"}}], \"special_tokens\": {}}"),
                  "has token x");
    check_refused(WORDS("\"added_tokens\": [{\"id\": 7, \"content\": \"x\"}]"), "gives it 1");
    check_refused(WORDS("\"added_tokens\": [3]"), "added token 0");
    check_refused(WORDS("\"surprise\": 1"), "asks for surprise");
    check_refused("[]", "no tokenizer.json");
    check_refused("{\"model\": ", "no JSON");
}

static char *repeat(const char *text, size_t count)
{
    size_t bytes = strlen(text);
    char *all = malloc(bytes * count + 1);
    if (!all) exit(1);
    for (size_t i = 0; i < count; i++)
        memcpy(all + i * bytes, text, bytes);
    all[bytes * count] = 0;
    return all;
}

/* A pattern that backtracks without bound, depth, and a file of a terabyte. */
static void test_hostile(void)
{
    char *text = repeat("a", 100000), *deep = repeat("[", 1000000), *nested;
    write_file(WORDS("\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", "
                     "\"pattern\": {\"Regex\": \"(a+)+[^a]\"}}"));
    check_open("takes too long", text, 100000);
    write_file(WORDS("\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", "
                     "\"pattern\": {\"Regex\": \"(a|aa)+c|(?=(a+)+b)x\"}}"));
    check_open("takes too long", text, 100000);
    check_refused(deep, "depth");
    char *open = repeat("{\"type\": \"Sequence\", \"normalizers\": [", 900),
         *close = repeat("]}", 900);
    if (asprintf(&nested, "{\"normalizer\": %s%s, \"model\": {\"type\": \"Odd\"}}", open, close) <
        0)
        exit(1);
    check_refused(nested, "model Odd");
    write_file("");
    if (truncate(path, (off_t)1 << 40) != 0) exit(1);
    check_open("are not read as JSON", NULL, 0);
    free(text);
    free(deep);
    free(open);
    free(close);
    free(nested);
}

static void test_paths(void)
{
    char said[4096];
    CHECK_INT(try_file(folder, NULL, 0, said),
              ZI_OK); /* tokenizer.json of the last test is there */
    unlink(path);
    CHECK_INT(try_file(folder, NULL, 0, said), ZI_ERROR_USAGE);
    CHECK(strstr(said, "has no tokenizer.json"));
    CHECK_INT(try_file(path, NULL, 0, said), ZI_ERROR_USAGE);
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    write_file("no model");
    CHECK_INT(try_file(folder, NULL, 0, said), ZI_ERROR_USAGE);
    CHECK(strstr(said, "SentencePiece"));
    unlink(path);
}

int main(void)
{
    struct rusage used;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/text-errors-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    getrusage(RUSAGE_SELF, &used);
    long begun = used.ru_maxrss;
    test_models();
    test_steps();
    test_hostile();
    getrusage(RUSAGE_SELF, &used);
    CHECK(used.ru_maxrss - begun < 64 << 10);
    write_file(BPE("\"merges\": [\"a b\"]"));
    test_paths();
    rmdir(folder);
    return test_finish("text_errors_test");
}

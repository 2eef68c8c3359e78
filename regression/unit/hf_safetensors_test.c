/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: what is written is read back, in one file and in shards, with the bits that IEEE
 * rounding gives; and every lie that a head or an index can tell is refused by name, in bounded
 * memory. The heads are written by hand. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hf/safetensors.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static char folder[PATH_MAX - 64];
static struct capture capture;

static const char *path_of(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* A file of a head that claims `claimed` bytes, and of so many bytes of numbers. */
static void write_file(const char *name, const char *head, size_t head_bytes, uint64_t claimed,
                       size_t numbers)
{
    FILE *file = fopen(path_of(name), "wb");
    if (!file) abort();
    fwrite(&claimed, 1, sizeof claimed, file);
    fwrite(head, 1, head_bytes, file);
    for (size_t i = 0; i < numbers; i++)
        fputc((int)i, file);
    fclose(file);
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "wb");
    if (!file) abort();
    fputs(text, file);
    fclose(file);
}

/* Opening `path` is refused as it should be, within a second of the processor. */
static void check_refused(const char *path, const char *says)
{
    struct safetensors *set;
    clock_t start = clock(); /* of the processor: the machine may be busy */
    capture_begin(&capture, stderr);
    enum zi_status status = safetensors_open(path, &set);
    const char *text = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_USAGE);
    CHECK(!set);
    CHECK((double)(clock() - start) < 1.0 * CLOCKS_PER_SEC);
    CHECK(strstr(text, says));
    if (!strstr(text, says)) fprintf(stderr, "not said: %s\nbut: %s\n", says, text);
}

#define TENSOR(name, type, shape, from, to)                                                        \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

/* Each in a file with 16 bytes of numbers. */
static const struct {
    const char *head, *says;
} lies[] = {
    {"[1]", "no JSON object"},
    {"{", "no JSON that can be read"},
    {"{\"a\":3}", "described by no object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", "has no data_offsets"},
    {"{" TENSOR("a", "NaN", "[4]", "0", "16") "}", "has the dtype NaN"},
    {"{" TENSOR("a", "F32", "[4]", "0", "12") "}", "12 bytes by its data_offsets, and 16"},
    {"{" TENSOR("a", "F32", "[4]", "16", "0") "}", "data_offsets that cannot be"},
    {"{" TENSOR("a", "F32", "[4]", "-16", "0") "}", "data_offsets that cannot be"},
    {"{" TENSOR("a", "F32", "[4]", "0", "1e1") "}", "not two integers"},
    {"{" TENSOR("a", "F32", "[-4]", "0", "16") "}", "no count"},
    {"{" TENSOR("a", "F32", "[4.5]", "0", "16") "}", "no count"},
    {"{" TENSOR("a", "F32", "\"4\"", "0", "16") "}", "should be a list"},
    {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,4]", "0", "16") "}", "more than 8 dimensions"},
    {"{" TENSOR("a", "F32", "[4294967296,4294967296]", "0", "16") "}", "than can be counted"},
    {"{" TENSOR("a", "F32", "[4611686018427387904]", "0", "16") "}", "than can be counted"},
    {"{" TENSOR("a", "U8", "[9223372036854775807]", "0", "9223372036854775807") "}",
     "beyond what can be counted"},
    {"{" TENSOR("a", "F32", "[8]", "0", "32") "}", "ends beyond the file"},
    {"{" TENSOR("a", "F32", "[2]", "0", "8") "}", "bytes behind its last tensor"},
    {"{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("b", "F32", "[3]", "4", "16") "}",
     "overlaps another tensor"},
    {"{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("b", "F32", "[2]", "8", "16") "}",
     "has a hole before it"},
    {"{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("a", "F32", "[2]", "8", "16") "}",
     "duplicate"},
};

static void test_lies(void)
{
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        size_t bytes = strlen(lies[i].head);
        write_file("lie.safetensors", lies[i].head, bytes, bytes, 16);
        check_refused(path_of("lie.safetensors"), lies[i].says);
    }
    write_file("lie.safetensors", "{}", 2, UINT64_C(1) << 63, 16);
    check_refused(path_of("lie.safetensors"), "would end beyond the file");
    write_file("lie.safetensors", "{}", 2, UINT64_MAX, 16);
    check_refused(path_of("lie.safetensors"), "would end beyond the file");
    write_text("lie.safetensors", "short");
    check_refused(path_of("lie.safetensors"), "too short");
    check_refused(path_of("absent.safetensors"), "cannot open");
    check_refused(folder, "has neither model.safetensors nor");
}

/* A head of many bytes of one kind between two texts. */
static void check_long(size_t bytes, const char *unit, const char *says)
{
    char *head = malloc(bytes + 64);
    size_t used = 0;
    if (!head) abort();
    used += (size_t)sprintf(head, "{\"a\":[");
    while (used + strlen(unit) < bytes)
        used += (size_t)sprintf(head + used, "%s", unit);
    used += (size_t)sprintf(head + used, "1]}");
    write_file("long.safetensors", head, used, used, 16);
    check_refused(path_of("long.safetensors"), says);
    free(head);
}

/* In 64 MiB beside what the process has. */
static void test_memory(void)
{
    struct rlimit before, now;
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%ld", &pages) != 1) abort();
    fclose(statm);
    getrlimit(RLIMIT_AS, &before);
    now = before;
    now.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
    CHECK(setrlimit(RLIMIT_AS, &now) == 0);
    check_long(256 << 10, "[", "no JSON that can be read");
    check_long((512 << 10) - 64, "1,", "described by no object");
    check_long((512 << 10) - 64, "{},", "described by no object");
    check_long(8 << 20, "1,", "at most 524288 are read");
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
}

/* One tensor of 4 numbers. */
static void write_one(const char *name, const char *tensor)
{
    char head[256];
    int bytes =
        snprintf(head, sizeof head,
                 "{\"%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", tensor);
    write_file(name, head, (size_t)bytes, (uint64_t)bytes, 16);
}

static void test_index(void)
{
    static const char index[] = "model.safetensors.index.json";
    struct safetensors *set;
    write_one("one.safetensors", "a");
    write_one("two.safetensors", "b");
    write_one("three.safetensors", "a");
    write_text(index, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
    CHECK(safetensors_open(folder, &set) == ZI_OK);
    CHECK_INT(safetensors_count(set), 2);
    CHECK(strstr(safetensors_path(set, safetensors_find(set, "b")), "/two.safetensors"));
    CHECK(!safetensors_find(set, "c"));
    safetensors_close(set);
    write_text(index, "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}");
    check_refused(folder, "has no tensor c, which");
    write_text(index, "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"two.safetensors\"}}");
    check_refused(folder, "has no tensor a, which");
    write_text(index, "{\"weight_map\":{\"a\":\"four.safetensors\"}}");
    check_refused(folder, "cannot open");
    write_text(index, "{\"weight_map\":{\"a\":\"../one.safetensors\"}}");
    check_refused(folder, "of its own folder only");
    write_text(index, "{\"weight_map\":{\"a\":\"/one.safetensors\"}}");
    check_refused(folder, "of its own folder only");
    write_text(index, "{\"weight_map\":{\"a\":\"passwd\"}}");
    check_refused(folder, "of its own folder only");
    write_text(index, "{\"weight_map\":{\"a\":1}}");
    check_refused(folder, "names no file for a");
    write_text(index, "{\"weight_map\":[]}");
    check_refused(folder, "should be an object");
    write_text(index, "{}");
    check_refused(folder, "has no weight_map");
    write_text(index, "[]");
    check_refused(folder, "no JSON object");
    write_text(index, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\"}}");
    check_refused(folder, "both have a tensor a");
    unlink(path_of(index));
}

/* Numbers that a type cannot hold, or only just: where rounding to nearest, ties to even, goes. */
static const struct {
    uint32_t bits;
    uint16_t bf16, fp16;
} roundings[] = {
    {0x3f800000, 0x3f80, 0x3c00}, /* 1 */
    {0x3f808000, 0x3f80, 0x3c04}, /* half between two of bf16: the even one below */
    {0x3f818000, 0x3f82, 0x3c0c}, /* and above */
    {0x3f808001, 0x3f81, 0x3c04}, /* just above half */
    {0x3f801000, 0x3f80, 0x3c00}, /* half between two of fp16: below */
    {0x3f803000, 0x3f80, 0x3c02}, /* and above */
    {0x80000000, 0x8000, 0x8000}, /* -0 */
    {0x477fefff, 0x4780, 0x7bff}, /* below 65520 */
    {0x33800000, 0x3380, 0x0001}, /* 2^-24, the smallest of fp16 */
    {0x33000000, 0x3300, 0x0000}, /* half of it */
};
enum { NUMBERS = (int)(sizeof roundings / sizeof *roundings) };

static void test_conversions(void)
{
    char head[128];
    uint16_t halves[NUMBERS];
    float wide[NUMBERS];
    struct safetensors *set;
    uint64_t bytes = (uint64_t)snprintf(
        head, sizeof head, "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}",
        NUMBERS, 4 * NUMBERS);
    FILE *file = fopen(path_of("numbers.safetensors"), "wb");
    if (!file) abort();
    fwrite(&bytes, 1, sizeof bytes, file);
    fwrite(head, 1, bytes, file);
    for (int i = 0; i < NUMBERS; i++)
        fwrite(&roundings[i].bits, 1, 4, file);
    fclose(file);
    CHECK(safetensors_open(path_of("numbers.safetensors"), &set) == ZI_OK);
    const struct safetensors_tensor *a = safetensors_find(set, "a");
    CHECK(safetensors_read(set, a, 0, NUMBERS, ZI_BF16, halves) == ZI_OK);
    for (int i = 0; i < NUMBERS; i++)
        CHECK_INT(halves[i], roundings[i].bf16);
    CHECK(safetensors_read(set, a, 1, NUMBERS - 1, ZI_FP16, halves) == ZI_OK);
    for (int i = 1; i < NUMBERS; i++)
        CHECK_INT(halves[i - 1], roundings[i].fp16);
    CHECK(safetensors_read(set, a, 0, NUMBERS, ZI_FP32, wide) == ZI_OK);
    for (int i = 0; i < NUMBERS; i++)
        CHECK_INT(zi_fp32_bits(wide[i]), roundings[i].bits);
    safetensors_close(set);
}

/* Number `at` of item `item`. */
static uint16_t half_of(int item, int64_t at)
{
    return (uint16_t)(0x3c00 + 131 * item + at % 97);
}

static enum zi_status fill(void *context, int item, int64_t first, int64_t count, void *values)
{
    (void)context;
    for (int64_t i = 0; i < count; i++)
        ((uint16_t *)values)[i] = half_of(item, first + i);
    return ZI_OK;
}

static const struct safetensors_item items[] = {
    {"b.weight", 2, {1500, 800}}, {"a.bias", 1, {3, 0}}, {"c", 2, {5, 7}}};

static void check_written(const char *where, int files)
{
    struct safetensors *set;
    uint16_t *values = malloc(1500 * 800 * sizeof *values);
    if (!values) abort();
    CHECK(safetensors_open(where, &set) == ZI_OK);
    CHECK_INT(safetensors_count(set), 3);
    CHECK(strcmp(safetensors_at(set, 0)->name, "a.bias") == 0);
    for (int i = 0; i < 3; i++) {
        const struct safetensors_tensor *t = safetensors_find(set, items[i].name);
        int64_t wrong = 0;
        CHECK(t && t->type == ZI_FP16 && t->dimensions == items[i].dimensions);
        CHECK(t && t->shape[0] == items[i].shape[0]);
        CHECK_INT(t->file < files, 1);
        CHECK(safetensors_read(set, t, 0, t->elements, ZI_FP16, values) == ZI_OK);
        for (int64_t k = 0; k < t->elements; k++)
            wrong += values[k] != half_of(i, k);
        CHECK_INT(wrong, 0);
        CHECK_INT(t->offset % 2, 0);
    }
    safetensors_close(set);
    free(values);
}

static void test_writing(void)
{
    char where[PATH_MAX];
    struct stat is;
    struct safetensors_writing writing = {
        .folder = where, .type = ZI_FP16, .items = items, .count = 3, .fill = fill};
    mode_t mask = umask(027);
    snprintf(where, sizeof where, "%s", path_of("whole"));
    mkdir(where, 0777);
    writing.shard_bytes = 1 << 30;
    CHECK(safetensors_write(&writing) == ZI_OK);
    check_written(where, 1);
    CHECK(stat(path_of("whole/model.safetensors"), &is) == 0 && (is.st_mode & 0777) == 0640);
    snprintf(where, sizeof where, "%s", path_of("shards"));
    mkdir(where, 0777);
    writing.shard_bytes = 80;
    CHECK(safetensors_write(&writing) == ZI_OK);
    check_written(where, 2);
    CHECK(stat(path_of("shards/model-00002-of-00002.safetensors"), &is) == 0);
    CHECK(stat(path_of("shards/model.safetensors.index.json"), &is) == 0);
    umask(mask);
}

int main(void)
{
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hf_safetensors_test-XXXXXX",
             temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) return 1;
    test_lies();
    test_memory();
    test_index();
    test_conversions();
    test_writing();
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0);
    return test_finish("hf_safetensors");
}

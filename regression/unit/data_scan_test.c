/* SPDX-License-Identifier: Apache-2.0 */
/* Scans of whole token files: the largest token and the place of the first bad one, for every type,
 * in every share of a file; the line by which an unchanged file is known again, and that any change
 * makes it unknown; that a stop ends a scan. */
#include "base/stop.h"
#include "data/tokens.h"

#include "regression/unit/data_fixture.h"

#include <signal.h>
#include <time.h>

enum { COUNT = 700001 }; /* beyond the MiB that is read at once, for types of 2 bytes and more */

static const struct {
    int64_t type;
    int size;
} types[] = {{DATA_UINT8, 1}, {DATA_UINT16, 2}, {DATA_UINT32, 4}, {DATA_INT32, 4}, {DATA_INT64, 8}};

/* `bytes` of a file whose ids are below 100, but for one. */
static void write_file(const char *name, int size, int64_t place, int64_t value)
{
    unsigned char *bytes = calloc(COUNT, (size_t)size);
    if (!bytes) exit(1);
    for (int64_t i = 0; i < COUNT; i++)
        bytes[i * size] = (unsigned char)(i % 100);
    for (int i = 0; place >= 0 && i < size; i++)
        bytes[place * size + i] = (unsigned char)((uint64_t)value >> 8 * i);
    fixture_write(name, bytes, (size_t)(COUNT * size));
    free(bytes);
}

/* As if the file had been at rest for an hour. */
static void age(const char *name)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - 3600}};
    if (utimensat(AT_FDCWD, fixture_path(name), times, 0) != 0) exit(1);
}

static struct tokens *open_file(const char *name, int64_t type, int64_t vocabulary)
{
    struct tokens *tokens = NULL;
    CHECK_INT(tokens_open(fixture_path(name), DATA_NANOGPT, type, vocabulary, &tokens), ZI_OK);
    if (!tokens) exit(1);
    return tokens;
}

static void test_places(void)
{
    static const int64_t places[] = {0, 1, 524287, 524288, COUNT / 2, COUNT - 1};
    struct tokens_scan scan;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t j = 0; j < sizeof places / sizeof *places; j++) {
            int64_t place = places[j];
            write_file("scan.bin", types[i].size, place, 150);
            struct tokens *tokens = open_file("scan.bin", types[i].type, 150);
            CHECK_INT(tokens_scan(tokens, 0, COUNT, &scan), ZI_OK);
            CHECK_INT(scan.bad, place);
            for (int64_t share = 0; share < 3; share++) {
                int64_t first = COUNT * share / 3, count = COUNT * (share + 1) / 3 - first;
                CHECK_INT(tokens_scan(tokens, first, count, &scan), ZI_OK);
                int here = place >= first && place < first + count;
                CHECK_INT(scan.bad, here ? place : -1);
                CHECK_INT((int64_t)scan.largest, here ? 150 : 99);
            }
            tokens_close(tokens);
            tokens = open_file("scan.bin", types[i].type, 151);
            CHECK_INT(tokens_scan(tokens, 0, COUNT, &scan), ZI_OK);
            CHECK_INT(scan.bad, -1);
            CHECK_INT((int64_t)scan.largest, 150);
            CHECK_INT(tokens_scan(tokens, COUNT, 0, &scan), ZI_OK);
            tokens_close(tokens);
        }
    }
}

static void test_negative(void)
{
    static const int64_t values[] = {-1, -100, INT32_MIN};
    struct tokens_scan scan;
    for (int i = 3; i < 5; i++) {
        for (int j = 0; j < 3; j++) {
            write_file("scan.bin", types[i].size, 5, values[j]);
            struct tokens *tokens = open_file("scan.bin", types[i].type, 2147483647);
            CHECK_INT(tokens_scan(tokens, 0, COUNT, &scan), ZI_OK);
            CHECK_INT(scan.bad, 5);
            tokens_close(tokens);
        }
    }
}

static void test_known(void)
{
    write_file("scan.bin", 2, 7, 50000);
    struct tokens *tokens = open_file("scan.bin", DATA_UINT16, 65536);
    CHECK(tokens_are_known(tokens));
    tokens_close(tokens);
    tokens = open_file("scan.bin", DATA_UINT16, 65535);
    CHECK(!tokens_are_known(tokens));
    tokens_close(tokens);
    tokens = open_file("scan.bin", DATA_UINT8, 256);
    CHECK(tokens_are_known(tokens));
    tokens_close(tokens);
    write_file("scan.bin", 4, 7, 50000);
    tokens = open_file("scan.bin", DATA_UINT32, 2147483647);
    CHECK(!tokens_are_known(tokens));
    tokens_close(tokens);
}

static int is_recalled(const char *name, int64_t type, int64_t vocabulary, const char *text)
{
    uint64_t largest = 0;
    struct tokens *tokens = open_file(name, type, vocabulary);
    int found = tokens_scan_recalled(tokens, text, &largest);
    if (found) CHECK_INT((int64_t)largest, 5000);
    tokens_close(tokens);
    return found;
}

static void test_lines(void)
{
    char text[8192];
    write_file("scan.bin", 2, 7, 5000);
    struct tokens *tokens = open_file("scan.bin", DATA_UINT16, 6000);
    CHECK(!tokens_scan_line(tokens, 5000)); /* written this very moment */
    tokens_close(tokens);
    age("scan.bin");
    tokens = open_file("scan.bin", DATA_UINT16, 6000);
    char *line = tokens_scan_line(tokens, 5000);
    CHECK(line);
    if (!line) return;
    snprintf(text, sizeof text, "a line of something else\nlargest 7\n%slargest", line);
    CHECK(is_recalled("scan.bin", DATA_UINT16, 6000, text));
    CHECK(is_recalled("./scan.bin", DATA_UINT16, 5001, line));
    CHECK(!is_recalled("scan.bin", DATA_UINT16, 5000, text));
    CHECK(!is_recalled("scan.bin", DATA_UINT8, 6000, text));
    CHECK(!is_recalled("scan.bin", DATA_UINT16, 6000, ""));
    text[strlen(text) - strlen("\nlargest")] = '\0'; /* a line without its end may be a part */
    CHECK(!is_recalled("scan.bin", DATA_UINT16, 6000, text));
    write_file("scan.bin", 2, 7, 5999); /* same size, another time */
    CHECK(!tokens_scan_line(tokens, 5000));
    CHECK(!is_recalled("scan.bin", DATA_UINT16, 6000, line));
    tokens_close(tokens);
    free(line);
}

/* Written anew in its place, and its time set back to what it was, as some tools of copying do. */
static void test_time_set_back(void)
{
    struct stat before, after;
    write_file("scan.bin", 2, 7, 5000);
    age("scan.bin");
    struct tokens *tokens = open_file("scan.bin", DATA_UINT16, 6000);
    char *line = tokens_scan_line(tokens, 5000);
    tokens_close(tokens);
    CHECK(line && is_recalled("scan.bin", DATA_UINT16, 6000, line));
    CHECK(stat(fixture_path("scan.bin"), &before) == 0);
    do { /* until the clock of the file system has moved on */
        int file = open(fixture_path("scan.bin"), O_WRONLY);
        CHECK(pwrite(file, "\x6f\x17", 2, 14) == 2); /* 5999 */
        const struct timespec times[2] = {before.st_atim, before.st_mtim};
        CHECK(futimens(file, times) == 0 && close(file) == 0);
        CHECK(stat(fixture_path("scan.bin"), &after) == 0);
    } while (after.st_ctim.tv_sec == before.st_ctim.tv_sec &&
             after.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
    CHECK(after.st_mtim.tv_nsec == before.st_mtim.tv_nsec && after.st_ino == before.st_ino);
    CHECK(!line || !is_recalled("scan.bin", DATA_UINT16, 6000, line));
    free(line);
}

/* The last test, as a stop is for good. */
static void test_stop(void)
{
    struct tokens_scan scan;
    struct tokens *tokens = open_file("scan.bin", DATA_UINT16, 6000);
    CHECK_INT(zi_stop_start(), ZI_OK);
    CHECK(kill(getpid(), SIGTERM) == 0);
    while (zi_stop_signal() == 0)
        usleep(1000);
    CHECK_INT(tokens_scan(tokens, 0, COUNT, &scan), ZI_STOPPED);
    tokens_close(tokens);
}

int main(void)
{
    fixture_begin("data_scan");
    test_places();
    test_negative();
    test_known();
    test_lines();
    test_time_set_back();
    test_stop();
    fixture_end();
    return test_finish("data_scan_test");
}

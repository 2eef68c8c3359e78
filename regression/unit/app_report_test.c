/* SPDX-License-Identifier: Apache-2.0 */
/* Every field of a step lands in the column of its name in steps.csv; the progress line names the
 * lanes that took more than half a percent. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/progress.h"
#include "regression/unit/test.h"

/* Values that no two columns share. */
static struct report_row make_row(double validation_loss)
{
    struct report_row row = {
        .step = 7,
        .tokens = 700,
        .loss = 2.5,
        .gradient_norm = 1.25,
        .learning_rate = 0.125,
        .seconds = 2,
        .tokens_per_s = 50,
        .loss_scale = 2048,
        .skipped = REPORT_NOT_FINITE,
        .checksum = 0xfedcba9876543210u,
        .validation_loss = validation_loss,
        .disk_busy_s = 1.5,
        .disk_read_bytes = 4097,
        .disk_written_bytes = INT64_C(1) << 60,
        .io_read_bytes = -1,
        .io_written_bytes = 12,
    };
    for (int lane = 0; lane < LANE_COUNT; lane++)
        row.wait_s[lane] = 0.5 + lane;
    return row;
}

/* The field of a line under a heading, into text. */
static const char *field(const char *heading, const char *line, const char *name, char text[64])
{
    size_t length = strlen(name);
    for (;;) {
        size_t title = strcspn(heading, ",\n"), value = strcspn(line, ",\n");
        if (title == length && strncmp(heading, name, length) == 0) {
            snprintf(text, 64, "%.*s", (int)value, line);
            return text;
        }
        if (heading[title] != ',' || line[value] != ',') return "missing";
        heading += title + 1;
        line += value + 1;
    }
}

static void check_line(const char *heading, const char *line, const char *validation_loss)
{
    static const struct {
        const char *name, *value;
    } fields[] = {
        {"step", "7"},
        {"tokens", "700"},
        {"loss", "2.5"},
        {"gradient_norm", "1.25"},
        {"learning_rate", "0.125"},
        {"seconds", "2"},
        {"tokens_per_s", "50"},
        {"skipped", "1"},
        {"checksum", "fedcba9876543210"},
        {"disk_busy", "1.5"},
        {"disk_read_bytes", "4097"},
        {"disk_written_bytes", "1152921504606846976"},
        {"io_read_bytes", "-1"},
        {"io_written_bytes", "12"},
        {"loss_scale", "2048"},
    };
    char text[64], name[64], wait[64];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        CHECK(strcmp(field(heading, line, fields[i].name, text), fields[i].value) == 0);
    CHECK(strcmp(field(heading, line, "validation_loss", text), validation_loss) == 0);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        snprintf(name, sizeof name, "wait_%s", program_lane_name((enum program_lane)lane));
        snprintf(wait, sizeof wait, "%d.5", lane);
        CHECK(strcmp(field(heading, line, name, text), wait) == 0);
    }
}

static void test_steps(void)
{
    char folder[] = "app_report_XXXXXX", path[64], lines[3][1024] = {{0}};
    struct report *report = NULL;
    struct report_row with = make_row(3.5), without = make_row(NAN);
    if (!mkdtemp(folder)) exit(99);
    CHECK_INT(report_open(folder, "run: {}\n", 0, &report), ZI_OK);
    CHECK_INT(report_step(report, &with), ZI_OK);
    CHECK_INT(report_step(report, &without), ZI_OK);
    snprintf(path, sizeof path, "%s/steps.csv", folder);
    FILE *file = fopen(path, "r"); /* readable while the report is open */
    if (!file) exit(99);
    for (int i = 0; i < 3; i++)
        CHECK(fgets(lines[i], sizeof lines[i], file));
    CHECK(fgetc(file) == EOF);
    fclose(file);
    check_line(lines[0], lines[1], "3.5");
    check_line(lines[0], lines[2], "");
    CHECK_INT(report_close(report), ZI_OK);
    CHECK_INT(report_clear(folder), ZI_OK);
    CHECK(rmdir(folder) == 0);
}

static void test_line(void)
{
    struct progress progress;
    struct report_row row = make_row(NAN);
    struct engine_result result = {
        .wait_s = {[LANE_DISK_READ] = 0.24, [LANE_COMM] = 0.012, [LANE_HOST] = 0.008},
        .disk_busy_s = 1.6};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) exit(99);
    row.skipped = REPORT_KEPT;
    progress_start(&progress, 10, 7);
    progress_step(&progress, &row, &result, out);
    memset(&result, 0, sizeof result);
    row.step = 10;
    progress_step(&progress, &row, &result, out);
    fclose(out);
    /* of 2 seconds: 13% in all, comm 0.6%, host 0.4% */
    CHECK(strstr(text, "  wait 13.0% (comm 0.6%, disk_read 12.0%)  disk 80%  ETA"));
    CHECK(strstr(text, "  wait  0.0%  ETA"));
    CHECK(!strstr(text, "scale"));
    free(text);
}

/* Steps that lower the loss scale are no failures, and do not end a row of them. */
static void test_skipped_line(void)
{
    static const enum report_skip skips[] = {REPORT_LOWERED, REPORT_NOT_FINITE,
                                             REPORT_LOWERED, REPORT_NOT_FINITE,
                                             REPORT_KEPT,    REPORT_NOT_FINITE};
    struct progress progress;
    struct report_row row = make_row(NAN);
    struct engine_result result = {0};
    char *text = NULL, *at;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) exit(99);
    progress_start(&progress, 6, 1);
    progress.scales = true;
    for (row.step = 1; row.step <= 6; row.step++) {
        row.skipped = skips[row.step - 1];
        progress_step(&progress, &row, &result, out);
    }
    fclose(out);
    CHECK(strstr(text, "  scale 2048  "));
    CHECK((at = strstr(text, "s: step skipped, a gradient overflowed: loss scale 2048 -> 1024\n")));
    CHECK(at && (at = strstr(at, "(1 in a row)")) && (at = strstr(at, "2048 -> 1024\n")));
    CHECK(at && (at = strstr(at, "(2 in a row)")) && (at = strstr(at, "(1 in a row)")));
    CHECK_INT(progress.skipped, 5);
    free(text);
}

/* The sign of a NaN is not shown, in a file or in a line. */
static void test_nan(void)
{
    char folder[] = "app_report_XXXXXX", path[64], text[4096] = "";
    struct report *report = NULL;
    struct report_row row = make_row(-NAN);
    struct engine_result result = {.loss = -NAN};
    row.loss = row.gradient_norm = copysign(NAN, -1);
    if (!mkdtemp(folder)) exit(99);
    CHECK_INT(report_open(folder, "run: {}\n", 0, &report), ZI_OK);
    CHECK_INT(report_step(report, &row), ZI_OK);
    CHECK_INT(report_close(report), ZI_OK);
    snprintf(path, sizeof path, "%s/steps.csv", folder);
    FILE *file = fopen(path, "r");
    if (!file) exit(99);
    size_t length = fread(text, 1, sizeof text / 2, file);
    fclose(file);
    struct progress progress;
    FILE *out = fmemopen(text + length, sizeof text - length, "w");
    if (!out) exit(99);
    progress_start(&progress, 10, 7);
    progress_step(&progress, &row, &result, out);
    fclose(out);
    CHECK(strstr(text, ",nan,nan,") && strstr(text, "loss nan  norm     nan"));
    CHECK(!strstr(text, "-nan"));
    CHECK_INT(report_clear(folder), ZI_OK);
    CHECK(rmdir(folder) == 0);
}

int main(void)
{
    test_steps();
    test_line();
    test_skipped_line();
    test_nan();
    return test_finish("app_report");
}

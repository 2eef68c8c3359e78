/* SPDX-License-Identifier: Apache-2.0 */
/* The run record: its numbers come back, a reader with HDF5's ordinary settings opens it while the
 * writer lives, a killed writer leaves all rows, and `inspect` describes it.
 *
 * With --hold FILE it writes 1000 rows, says so on stdout and sleeps until it is killed, for the
 * check with h5py in regression/checks. */
#include "checkpoint/inspect.h"
#include "checkpoint_fixture.h"

#include "checkpoint/record.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <hdf5.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct record_column columns[] = {
    {"step", "", 1}, {"loss", "nats per token", 0}, {"checksum", "", 1}};
static const struct record_column timers[] = {{"forward", "s", 0}};

static int64_t checksum_at(int64_t row)
{
    return (int64_t)(0x7123456789abcdefu - (uint64_t)row);
}

static struct record *start(const char *path, int tables[2])
{
    struct record *record = NULL;
    if (record_create(path, "run: {name: test}\nbatch: {global: 4}\n", &record) < 0 ||
        record_add_table(record, "steps", columns, 3, &tables[0]) < 0 ||
        record_add_table(record, "timings", timers, 1, &tables[1]) < 0 || record_start(record) < 0)
        exit(1);
    return record;
}

static enum zi_status append(struct record *record, const int tables[2], int64_t row)
{
    double values[3] = {0.0, 10.0 / (double)(row + 1), 0.0};
    int64_t integers[3] = {row, 0, checksum_at(row)};
    double seconds = 0.25 * (double)row;
    ZI_TRY(record_append(record, tables[0], values, integers));
    return row % 2 ? ZI_OK : record_append(record, tables[1], &seconds, NULL);
}

/* Rows that a reader looks at; behind them may be one that was not finished. */
static int64_t rows_looked_at = INT64_MAX;

/* Rows of a column that a plain reader finds, or -1. Wrong numbers count as -2. */
static int64_t read_rows(const char *path, const char *name, int column)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) return -1;
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    hsize_t rows = 0;
    H5Sget_simple_extent_dims(space, &rows, NULL);
    double *values = test_allocate((size_t)rows * 8);
    int64_t *integers = test_allocate((size_t)rows * 8);
    herr_t result =
        column == 1 ? H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values)
                    : H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, integers);
    int64_t found = result < 0 ? -1 : (int64_t)rows;
    for (hsize_t i = 0; i < rows && found >= 0 && (int64_t)i < rows_looked_at; i++) {
        int good = column == 1 ? values[i] == 10.0 / (double)(i + 1)
                               : integers[i] == checksum_at((int64_t)i);
        if (!good) found = -2;
    }
    free(values);
    free(integers);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    return found;
}

/* The writer runs in a child that reports each row through a pipe and then waits to be killed; rows
 * are read here, in a process of its own, as any reader would. */
static void test_reader_beside_writer(const char *path, int64_t rows)
{
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        int tables[2];
        struct record *record = start(path, tables);
        for (int64_t row = 0; row < rows; row++)
            if (append(record, tables, row) < 0) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(1);
    }
    close(ready[1]);
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    CHECK(read_rows(path, "/steps/loss", 1) == rows);
    CHECK(read_rows(path, "/steps/checksum", 2) == rows);
    kill(child, SIGKILL);
    int state = 0;
    CHECK(waitpid(child, &state, 0) == child && WIFSIGNALED(state));
    CHECK(read_rows(path, "/steps/loss", 1) == rows);
    CHECK(read_rows(path, "/steps/checksum", 2) == rows);
}

/* Killed at any moment: the file opens, and its rows are right as far as they go. */
static void test_killed_anywhere(const char *path)
{
    for (int round = 0; round < 10; round++) {
        int ready[2];
        CHECK(pipe(ready) == 0);
        pid_t child = fork();
        if (child == 0) {
            int tables[2];
            struct record *record = start(path, tables);
            if (write(ready[1], "x", 1) != 1) _exit(1);
            for (int64_t row = 0;; row++)
                if (append(record, tables, row) < 0) _exit(1);
        }
        close(ready[1]);
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
        close(ready[0]);
        usleep((useconds_t)(20000 * (round + 1)));
        kill(child, SIGKILL);
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK(read_rows(path, "/steps/loss", 1) > 0);
        CHECK(read_rows(path, "/steps/checksum", 2) > 0);
    }
}

static void test_inspect(const char *path)
{
    char text[8192] = "";
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    CHECK(checkpoint_inspect(path, 0, out) == ZI_OK);
    fclose(out);
    CHECK(strstr(text, "run record"));
    CHECK(strstr(text, "/steps/loss") && strstr(text, "largest 10"));
    CHECK(strstr(text, "batch: {global: 4}"));
    if (test_failures() > 0) fprintf(stderr, "%s", text);
}

/* A token file, and HDF5 files and others that zinf has not made. */
static void test_inspect_others(const char *folder)
{
    char path[4200], text[8192] = "";
    snprintf(path, sizeof path, "%s/tokens.h5", folder);
    hsize_t count = 5;
    const uint16_t ids[5] = {1, 2, 3, 4, 255};
    const int vocabulary = 256;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &count, NULL), scalar = H5Screate(H5S_SCALAR);
    hid_t tokens =
        H5Dcreate2(file, "tokens", H5T_STD_U16LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(tokens, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids);
    hid_t attribute =
        H5Acreate2(file, "vocabulary", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT, &vocabulary);
    H5Aclose(attribute);
    H5Dclose(tokens);
    H5Sclose(space);
    H5Sclose(scalar);
    H5Fclose(file);
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    CHECK(checkpoint_inspect(path, 0, out) == ZI_OK);
    fclose(out);
    CHECK(strstr(text, "token file") && strstr(text, "uint16"));
    CHECK(strstr(text, "vocabulary   256"));

    H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    CHECK(checkpoint_inspect(path, 0, stdout) == ZI_ERROR_USAGE);
    FILE *other = fopen(path, "w");
    fputs("not HDF5", other);
    fclose(other);
    CHECK(checkpoint_inspect(path, 0, stdout) == ZI_ERROR_USAGE);
}

/* What is no regular file is neither replaced, followed nor kept as something else. */
static void test_foreign_names(const char *path, const char *previous)
{
    static const char *const target = "precious";
    struct record *record = NULL;
    struct stat is;
    const char *const names[] = {path, previous};
    for (int i = 0; i < 2; i++) {
        (void)unlink(path);
        (void)unlink(previous);
        if (i == 1) CHECK(creat(path, 0600) >= 0);
        CHECK(symlink(target, names[i]) == 0);
        CHECK(record_create(path, "", &record) == ZI_ERROR_USAGE);
        CHECK(lstat(names[i], &is) == 0 && S_ISLNK(is.st_mode));
        CHECK(unlink(names[i]) == 0 && mkfifo(names[i], 0600) == 0);
        CHECK(record_create(path, "", &record) == ZI_ERROR_USAGE);
        CHECK(lstat(names[i], &is) == 0 && S_ISFIFO(is.st_mode));
        CHECK(unlink(names[i]) == 0);
    }
    (void)unlink(path);
}

/* The disk is full for writes of one file beyond a byte: these functions take the place of the C
 * library's, also for HDF5. */
static struct stat full_file;
static int64_t full_from = INT64_MAX;

static ssize_t write_at(int file, const void *bytes, size_t count, int64_t offset)
{
    struct stat is;
    if (offset + (int64_t)count > full_from && fstat(file, &is) == 0 &&
        is.st_ino == full_file.st_ino && is.st_dev == full_file.st_dev) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, file, bytes, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset)
{
    return write_at(file, bytes, count, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset)
{
    return write_at(file, bytes, count, offset);
}

/* A child appends until the disk is full, says so in words of the system, and ends as a run does:
 * it can close the record, and the process ends by itself. Rows of before are there. */
static void test_no_room(const char *path, int64_t from)
{
    (void)unlink(path);
    int64_t rows = 0;
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        int tables[2];
        static struct capture capture;
        struct record *record = start(path, tables);
        if (stat(path, &full_file) != 0) exit(1);
        full_from = from;
        capture_begin(&capture, stderr);
        while (append(record, tables, rows) == ZI_OK)
            rows++;
        const char *text = capture_end(&capture);
        bool said = strstr(text, "run.h5: cannot") && strstr(text, strerror(ENOSPC));
        bool again = append(record, tables, rows) == ZI_ERROR_IO;
        bool closed = record_close(record) == ZI_OK;
        exit(write(pipes[1], &rows, sizeof rows) == sizeof rows && said && again && closed ? 0 : 1);
    }
    int state = 0;
    CHECK(waitpid(child, &state, 0) == child && WIFEXITED(state) && WEXITSTATUS(state) == 0);
    close(pipes[1]);
    CHECK(read(pipes[0], &rows, sizeof rows) == sizeof rows);
    close(pipes[0]);
    CHECK(rows >= 512);
    rows_looked_at = rows;
    CHECK(read_rows(path, "/steps/loss", 1) >= rows);
    rows_looked_at = INT64_MAX;
}

static int hold(const char *path)
{
    int tables[2];
    struct record *record = start(path, tables);
    for (int64_t row = 0; row < 1000; row++)
        if (append(record, tables, row) < 0) return 1;
    printf("ready\n");
    fflush(stdout);
    pause();
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--hold") == 0) return hold(argv[2]);
    char folder[4096], path[4200], previous[4220];
    int tables[2];
    folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/run.h5", folder);
    snprintf(previous, sizeof previous, "%s.previous", path);

    test_reader_beside_writer(path, 0);
    test_reader_beside_writer(path, 1);
    test_reader_beside_writer(path, 1300); /* beyond two chunks */
    CHECK(read_rows(previous, "/steps/loss", 1) == 1);
    test_inspect(path);
    test_inspect_others(folder);
    test_killed_anywhere(path);
    test_foreign_names(path, previous);
    test_no_room(path, 40 << 10);
    test_no_room(path, 64 << 10);

    struct record *record = start(path, tables);
    for (int64_t row = 0; row < 3; row++)
        CHECK(append(record, tables, row) == ZI_OK);
    CHECK(record_close(record) == ZI_OK);
    CHECK(read_rows(path, "/steps/loss", 1) == 3);
    CHECK(record_create("/nowhere/run.h5", "", &record) == ZI_ERROR_IO);
    folder_remove(folder);
    return test_finish("checkpoint_record_test");
}

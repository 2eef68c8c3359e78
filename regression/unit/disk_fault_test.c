/* SPDX-License-Identifier: Apache-2.0 */
/* Every fault of a disk, on both engines: what can be mended is (short transfers, EAGAIN, EINTR, a
 * kernel that takes nothing), with all bytes in place; what cannot becomes a result with its errno
 * and one line that names file, offset, bytes, label and cause; a stall is reported and waited for.
 */
#include "disk/disk.h"
#include "disk/fault.h"

#include "regression/unit/capture_fixture.h"
#include "regression/unit/disk_fixture.h"
#include "regression/unit/test.h"

#include "base/timing.h"

#include <errno.h>

enum { BLOCK = 4 * DISK_BLOCK, BYTES = 10 * BLOCK, MANY = 1000000 };

static struct capture capture;

static int lines_with(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        count++;
    return count;
}

/* Writes and reads a file with a fault on; gives both results and what was said. */
static const char *transfer(int64_t engine, const struct disk_fault *fault, double deadline_s,
                            struct disk_result results[2])
{
    disk_fault_set(fault);
    struct disk_queue *queue = disk_queue_of(engine, 3, BLOCK, deadline_s);
    struct disk_file *file = disk_file_of("faulty", 2 * BYTES);
    unsigned char *buffer = disk_buffer(BYTES);
    capture_begin(&capture, stderr);
    disk_fill(buffer, 4, BLOCK, BYTES);
    results[0] = disk_move(queue, file, true, BLOCK, BYTES, buffer);
    memset(buffer, 0, BYTES);
    results[1] = disk_move(queue, file, false, BLOCK, BYTES, buffer);
    const char *text = capture_end(&capture);
    if (results[0].error == 0 && results[1].error == 0)
        CHECK(disk_matches(buffer, 4, BLOCK, BYTES));
    CHECK(disk_guarded(buffer, BYTES));
    disk_queue_close(queue);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("faulty"));
    return text;
}

static void test_mended(int64_t engine)
{
    static const struct disk_fault faults[] = {
        {.kind = DISK_FAULT_SHORT, .first = 1, .times = MANY},
        {.kind = DISK_FAULT_SHORT, .first = 4, .times = 1},
        {.kind = DISK_FAULT_ERROR, .error = EAGAIN, .first = 3, .times = 4},
        {.kind = DISK_FAULT_ERROR, .error = EINTR, .first = 1, .times = 1},
        {.kind = DISK_FAULT_REFUSE, .first = 1, .times = 5},
        {.kind = DISK_FAULT_REFUSE, .first = 5, .times = 1},
        {.kind = DISK_FAULT_INTERRUPT, .first = 2, .times = 3},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct disk_result results[2];
        struct disk_fault fault = faults[i];
        for (int direction = 0; direction < 2; direction++) {
            fault.writes = direction == 0;
            fault.reads = direction == 1;
            const char *text = transfer(engine, &fault, 60, results);
            for (int k = 0; k < 2; k++) {
                CHECK_INT(results[k].error, 0);
                CHECK_INT(results[k].bytes, BYTES);
            }
            CHECK(text[0] == 0);
            if (fault.times < MANY)
                CHECK_INT(disk_fault_strikes(), fault.times);
            else
                CHECK(disk_fault_strikes() >= 10);
        }
    }
}

static void test_errors(int64_t engine)
{
    static const int errors[] = {EIO, ENOSPC, EINVAL};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        for (int direction = 0; direction < 2; direction++) {
            struct disk_fault fault = {.kind = DISK_FAULT_ERROR,
                                       .writes = direction == 0,
                                       .reads = direction == 1,
                                       .error = errors[i],
                                       .first = 4,
                                       .times = MANY};
            struct disk_result results[2];
            char wanted[200];
            const char *text = transfer(engine, &fault, 60, results);
            CHECK_INT(results[direction].error, errors[i]);
            CHECK_INT(results[!direction].error, 0);
            CHECK_INT(results[direction].tag, 77);
            CHECK(results[direction].bytes <= 3 * BLOCK);
            /* once, although several blocks failed */
            CHECK_INT(lines_with(text, "error: "), 1);
            CHECK(disk_fault_strikes() >= 1);
            snprintf(wanted, sizeof wanted, "faulty: cannot %s %d bytes at offset %d (test state)",
                     direction == 0 ? "write" : "read", BLOCK, 4 * BLOCK);
            CHECK(strstr(text, wanted));
            CHECK(strstr(text, strerror(errors[i])));
        }
    }
}

/* An error strikes its request alone, also when it is the only block in the kernel. */
static void test_others_go_on(int64_t engine)
{
    struct disk_fault fault = {.kind = DISK_FAULT_ERROR, .writes = true, .error = EIO, .first = 1};
    disk_fault_set(&fault);
    struct disk_queue *queue = disk_queue_of(engine, 1, BLOCK, 60);
    struct disk_file *file = disk_file_of("others", 4 * BYTES);
    unsigned char *buffer = disk_buffer(BYTES);
    struct disk_result results[3];
    capture_begin(&capture, stderr);
    for (int i = 0; i < 3; i++) {
        struct disk_request request = {file, i * (int64_t)BYTES, BYTES,      buffer,
                                       true, "others",           (uint64_t)i};
        CHECK(disk_push(queue, &request) == DISK_QUEUED);
    }
    CHECK_INT(disk_reap(queue, 3, 3, 60, results), 3);
    capture_end(&capture);
    for (int i = 0; i < 3; i++)
        CHECK_INT(results[i].error, results[i].tag == 0 ? EIO : 0);
    disk_queue_close(queue);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("others"));
}

/* A file that ends too early, inside a block: what is there is given up to the last whole one. */
static void test_end_of_file(int64_t engine)
{
    disk_fault_set(NULL);
    struct disk_queue *queue = disk_queue_of(engine, 2, BLOCK, 60);
    struct disk_file *file = disk_file_of("short", BLOCK + DISK_BLOCK);
    unsigned char *buffer = disk_buffer(BYTES);
    CHECK(truncate(disk_path("short"), BLOCK + DISK_BLOCK + 100) == 0);
    capture_begin(&capture, stderr);
    struct disk_result result = disk_move(queue, file, false, 0, 3 * BLOCK, buffer);
    const char *text = capture_end(&capture);
    CHECK_INT(result.error, ENODATA);
    CHECK_INT(result.bytes, BLOCK + DISK_BLOCK);
    CHECK(strstr(text, "the file ends there"));
    CHECK_INT(lines_with(text, "error: "), 1);
    disk_queue_close(queue);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("short"));
}

/* The kernel refuses each block as it is handed over: a descriptor that has been closed stands in
 * for a disk that is gone. */
static void test_gone(int64_t engine)
{
    struct disk_queue *queue = disk_queue_of(engine, 2, BLOCK, 60);
    struct disk_file *file = disk_file_of("gone", BYTES);
    unsigned char *buffer = disk_buffer(BYTES);
    struct disk_request request = {file, 0, BYTES, buffer, true, "gone", 1};
    struct disk_result results[3];
    double start = zi_time_s();
    capture_begin(&capture, stderr);
    close(disk_descriptor("gone"));
    for (int i = 0; i < 3; i++)
        CHECK(disk_push(queue, &request) == DISK_QUEUED);
    CHECK_INT(disk_reap(queue, 3, 3, 30, results), 3);
    CHECK(zi_time_s() - start < 20);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(results[i].error, EBADF);
        CHECK_INT(results[i].bytes, 0);
    }
    CHECK(disk_file_sync(file) == ZI_ERROR_IO);
    disk_queue_close(queue);
    disk_file_close(file);
    const char *text = capture_end(&capture);
    CHECK_INT(lines_with(text, "gone: cannot write "), 3);
    CHECK(strstr(text, "gone: cannot make its contents durable"));
    disk_buffer_free(buffer);
    unlink(disk_path("gone"));
}

static void test_stall(int64_t engine)
{
    struct disk_fault fault = {
        .kind = DISK_FAULT_STALL, .reads = true, .first = 5, .times = 1, .seconds = 0.5};
    struct disk_result results[2];
    const char *text = transfer(engine, &fault, 0.1, results);
    CHECK_INT(results[0].error, 0);
    CHECK_INT(results[1].error, 0);
    CHECK(results[1].seconds >= 0.4); /* the fault is what takes the time, not the machine */
    char wanted[200];
    snprintf(wanted, sizeof wanted, "faulty: the disk is stalled: a read of %d bytes at offset %d",
             BLOCK, 5 * BLOCK);
    /* at 0.1, 0.2 and 0.4 s, if the machine does not stop for as long */
    int reports = lines_with(text, wanted);
    CHECK(reports >= 1 && reports <= 3);
    CHECK(strstr(text, "(test state)"));

    /* a kernel that takes nothing for a while is a stall as well */
    fault = (struct disk_fault){.kind = DISK_FAULT_REFUSE, .reads = true, .first = 1, .times = 12};
    text = transfer(engine, &fault, 0.05, results);
    CHECK_INT(results[1].error, 0);
    CHECK(strstr(text, "is not taken by the kernel"));
}

/* Closing a queue waits for what the disk has, and no longer uses the buffer. */
static void test_close_waits(int64_t engine)
{
    struct disk_fault fault = {
        .kind = DISK_FAULT_STALL, .reads = true, .first = 1, .times = 1, .seconds = 0.3};
    disk_fault_set(&fault);
    struct disk_queue *queue = disk_queue_of(engine, 2, BLOCK, 60);
    struct disk_file *file = disk_file_of("close", BYTES);
    unsigned char *buffer = disk_buffer(BYTES);
    struct disk_request request = {file, 0, BYTES, buffer, false, "close", 1};
    double start = zi_time_s();
    CHECK(disk_push(queue, &request) == DISK_QUEUED);
    disk_flush(queue);
    disk_queue_close(queue);
    CHECK(zi_time_s() - start >= 0.3);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("close"));
}

int main(void)
{
    static const int64_t engines[] = {NVME_LIBAIO, NVME_THREADS};
    disk_folder_make();
    for (int i = 0; i < 2; i++) {
        test_mended(engines[i]);
        test_errors(engines[i]);
        test_others_go_on(engines[i]);
        test_end_of_file(engines[i]);
        test_gone(engines[i]);
        test_stall(engines[i]);
        test_close_waits(engines[i]);
    }
    disk_folder_remove();
    return test_finish("disk_fault_test");
}

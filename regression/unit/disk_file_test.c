/* SPDX-License-Identifier: Apache-2.0 */
/* Files: space is claimed and given back, modes and names, a full disk with its figures; libaio and
 * direct I/O refused, each said once, and the data right all the same; the environment's fault. */
#include "base/stop.h"
#include "disk/disk.h"
#include "disk/fault.h"

#include "regression/unit/capture_fixture.h"
#include "regression/unit/disk_fixture.h"
#include "regression/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BYTES = 1 << 20 };

static struct capture capture;

static enum zi_status open_named(const char *name, bool create, int64_t bytes,
                                 struct disk_file **file)
{
    struct disk_file_options options = {.name = disk_path(name), .create = create, .bytes = bytes};
    return disk_file_open(&options, file);
}

/* What has the name of a file and is none is refused, at once and untouched: an open of a fifo
 * would wait for ever, one of a link would reach somewhere else. */
static void test_special(void)
{
    static const char *const names[] = {"fifo", "folder", "link", "dangling"};
    static const char *const says[] = {"fifo: is a fifo", "folder: cannot open it: Is a directory",
                                       "link: is a link", "dangling: is a link"};
    struct stat info;
    char target[1024];
    disk_file_close(disk_file_of("target", BYTES));
    snprintf(target, sizeof target, "%s", disk_path("target"));
    CHECK(mkfifo(disk_path("fifo"), 0600) == 0 && mkdir(disk_path("folder"), 0700) == 0);
    CHECK(symlink(strrchr(target, '/') + 1, disk_path("link")) == 0);
    CHECK(symlink("nowhere", disk_path("dangling")) == 0);
    alarm(60);
    for (int create = 0; create < 2; create++) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            struct disk_file *file = NULL;
            capture_begin(&capture, stderr);
            CHECK(open_named(names[i], create == 1, 2 * BYTES, &file) == ZI_ERROR_IO);
            const char *text = capture_end(&capture);
            CHECK(!file);
            CHECK(strstr(text, create ? "File exists" : says[i]));
            CHECK(lstat(disk_path(names[i]), &info) == 0 && !S_ISREG(info.st_mode));
        }
    }
    alarm(0);
    CHECK(stat(target, &info) == 0 && info.st_size == BYTES);
    CHECK(lstat(disk_path("nowhere"), &info) != 0);
    CHECK(rmdir(disk_path("folder")) == 0 && unlink(disk_path("fifo")) == 0);
    CHECK(unlink(disk_path("link")) == 0 && unlink(disk_path("dangling")) == 0);
    CHECK(unlink(target) == 0);
}

/* A request to stop ends a claim that may be ended, and no other; in a child, which keeps it. */
static int stop_child(void)
{
    struct disk_file_options options = {
        .name = disk_path("stopped"), .create = true, .bytes = BYTES, .stops = true};
    struct disk_file *file = NULL;
    struct stat info;
    CHECK(zi_stop_start() == ZI_OK && kill(getpid(), SIGTERM) == 0);
    while (zi_stop_signal() == 0)
        usleep(1000);
    CHECK(disk_file_open(&options, &file) == ZI_STOPPED && !file);
    CHECK(lstat(options.name, &info) != 0);
    options.stops = false;
    CHECK(disk_file_open(&options, &file) == ZI_OK);
    disk_file_close(file);
    CHECK(unlink(options.name) == 0);
    return test_failures() > 0;
}

static void test_stop(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(stop_child());
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void test_space(void)
{
    struct disk_file *file = NULL, *second = NULL;
    struct stat info;
    umask(0);
    CHECK(open_named("space", true, BYTES, &file) == ZI_OK);
    CHECK(stat(disk_path("space"), &info) == 0);
    CHECK_INT(info.st_size, BYTES);
    CHECK(info.st_blocks * 512 >= BYTES);
    CHECK_INT(info.st_mode & 07777, 0600);
    capture_begin(&capture, stderr);
    CHECK(open_named("space", true, BYTES, &second) == ZI_ERROR_IO && !second);
    CHECK(open_named("none", false, 0, &second) == ZI_ERROR_IO && !second);
    CHECK(open_named("none/file", true, 0, &second) == ZI_ERROR_IO && !second);
    const char *text = capture_end(&capture);
    CHECK(strstr(text, "space: cannot create it: File exists"));
    CHECK(strstr(text, "none: cannot open it: No such file or directory"));
    /* as it is, and grown, with its contents kept */
    struct disk_queue *queue = disk_queue_of(ZI_AUTO, 4, 1 << 16, 60);
    unsigned char *buffer = disk_buffer(BYTES);
    disk_fill(buffer, 1, 0, BYTES);
    CHECK_INT(disk_move(queue, file, true, 0, BYTES, buffer).error, 0);
    CHECK(disk_file_sync(file) == ZI_OK);
    CHECK(open_named("space", false, 2 * BYTES, &second) == ZI_OK);
    CHECK(stat(disk_path("space"), &info) == 0);
    CHECK_INT(info.st_size, 2 * BYTES);
    memset(buffer, 0, BYTES);
    CHECK_INT(disk_move(queue, second, false, 0, BYTES, buffer).error, 0);
    CHECK(disk_matches(buffer, 1, 0, BYTES));
    disk_queue_close(queue);
    disk_file_close(file);
    disk_file_close(second);
    disk_file_close(NULL);
    disk_buffer_free(buffer);
    unlink(disk_path("space"));
}

static void check_copy(struct disk_queue *queue, struct disk_file *file)
{
    unsigned char *buffer = disk_buffer(BYTES);
    disk_fill(buffer, 9, 0, BYTES);
    CHECK_INT(disk_move(queue, file, true, 0, BYTES, buffer).error, 0);
    memset(buffer, 0, BYTES);
    CHECK_INT(disk_move(queue, file, false, 0, BYTES, buffer).error, 0);
    CHECK(disk_matches(buffer, 9, 0, BYTES));
    disk_buffer_free(buffer);
}

static void test_no_direct(void)
{
    struct disk_fault fault = {.kind = DISK_FAULT_NO_DIRECT, .first = 1, .times = 2};
    struct disk_file *files[3] = {NULL};
    disk_fault_set(&fault);
    struct disk_queue *queue = disk_queue_of(NVME_LIBAIO, 4, 1 << 16, 60);
    capture_begin(&capture, stderr);
    CHECK(open_named("one", true, BYTES, &files[0]) == ZI_OK);
    CHECK(open_named("two", true, BYTES, &files[1]) == ZI_OK);
    CHECK(open_named("three", true, BYTES, &files[2]) == ZI_OK);
    const char *text = capture_end(&capture);
    CHECK_INT(disk_fault_strikes(), 2);
    const char *said = strstr(text, "one: the file system refuses direct I/O (Invalid argument)");
    CHECK(said);
    CHECK(!strstr(text, "two: "));
    CHECK(strcmp(disk_queue_engine(queue), "libaio") == 0);
    CHECK(!disk_is_direct("one") && !disk_is_direct("two"));
    check_copy(queue, files[2]);
    if (disk_folder_direct()) {
        CHECK(disk_is_direct("three"));
        CHECK(strcmp(disk_queue_engine(queue), "libaio") == 0);
    } else
        printf("direct I/O: not tested, there is none in this folder\n");
    check_copy(queue, files[0]);
    CHECK(strcmp(disk_queue_engine(queue), "threads") == 0);
    check_copy(queue, files[1]);
    check_copy(queue, files[2]);
    disk_queue_close(queue);
    for (int i = 0; i < 3; i++)
        disk_file_close(files[i]);
}

static void test_no_libaio(void)
{
    struct disk_fault fault = {.kind = DISK_FAULT_NO_LIBAIO, .first = 1, .times = 3};
    struct disk_options options = {
        .engine = ZI_AUTO, .depth = 4, .requests = 4, .block = 1 << 16, .deadline_s = 60};
    struct disk_queue *first = NULL, *second = NULL, *third = NULL;
    struct disk_file *file = disk_file_of("four", BYTES);
    disk_fault_set(&fault);
    capture_begin(&capture, stderr);
    CHECK(disk_queue_open(&options, &first) == ZI_OK);
    const char *text = capture_end(&capture);
    CHECK(strstr(text, "libaio is refused for 4 blocks (Resource temporarily unavailable)"));
    CHECK(strstr(text, "fs.aio-max-nr"));
    capture_begin(&capture, stderr);
    CHECK(disk_queue_open(&options, &second) == ZI_OK);
    text = capture_end(&capture);
    CHECK(text[0] == 0); /* once */
    options.engine = NVME_LIBAIO;
    capture_begin(&capture, stderr);
    CHECK(disk_queue_open(&options, &third) == ZI_ERROR_IO && !third);
    text = capture_end(&capture);
    CHECK(strstr(text, "or set nvme.engine: threads"));
    if (first) CHECK(strcmp(disk_queue_engine(first), "threads") == 0);
    if (first) check_copy(first, file);
    disk_queue_close(first);
    disk_queue_close(second);
    disk_file_close(file);
    disk_fault_set(NULL);
}

/* In a child of its own, where the variable has not been looked at: 0 as expected. */
static int environment_child(const char *value, enum zi_status expected, int error)
{
    unsigned char *buffer = disk_buffer(BYTES);
    struct disk_options options = {
        .engine = ZI_AUTO, .depth = 4, .requests = 4, .block = 1 << 16, .deadline_s = 60};
    struct disk_queue *queue = NULL;
    setenv("ZINF_DISK_FAULT", value, 1);
    capture_begin(&capture, stderr);
    enum zi_status status = disk_queue_open(&options, &queue);
    int found = 0;
    if (status >= 0) {
        struct disk_file *file = disk_file_of("environment", BYTES);
        found = disk_move(queue, file, true, 0, BYTES, buffer).error;
        disk_queue_close(queue);
        disk_file_close(file);
        unlink(disk_path("environment"));
    }
    const char *text = capture_end(&capture);
    disk_buffer_free(buffer);
    return status == expected && found == error && strstr(text, value) ? 0 : 1;
}

static void test_environment(void)
{
    static const struct {
        const char *value;
        enum zi_status status;
        int error;
    } rows[] = {
        {"write:EIO:16", ZI_OK, EIO},
        {"any:ENOSPC:1:5", ZI_OK, ENOSPC},
        {"write:EIO:17", ZI_OK, 0}, /* there are 16 blocks */
        {"read:EIO:1", ZI_OK, 0},
        {"write:stall:1:1:0.01", ZI_OK, 0},
        {"write:EIO", ZI_ERROR_USAGE, 0},
        {"write:EIO:0", ZI_ERROR_USAGE, 0},
        {"write:EOI:1", ZI_ERROR_USAGE, 0},
        {"wrote:EIO:1", ZI_ERROR_USAGE, 0},
        {"write:EIO:1:1:1:1", ZI_ERROR_USAGE, 0},
        {"write:EIO:1x", ZI_ERROR_USAGE, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(environment_child(rows[i].value, rows[i].status, rows[i].error));
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 0) fprintf(stderr, "with %s:\n", rows[i].value);
        CHECK_INT(status, 0);
    }
}

/* A disk of 4 MiB in a mount name space of the test's own; 77 where that is not permitted. */
static int full_disk_child(void)
{
    struct disk_file *file = NULL;
    struct stat info;
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        char map[64];
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 77;
        const char *files[] = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"};
        for (int i = 0; i < 3; i++) {
            int length = i == 0 ? snprintf(map, sizeof map, "deny")
                                : snprintf(map, sizeof map, "0 %u 1", i == 1 ? user : group);
            int out = open(files[i], O_WRONLY);
            if (out < 0 || write(out, map, (size_t)length) != length) return 77;
            close(out);
        }
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
    if (mount("none", disk_folder, "tmpfs", 0, "size=4m") != 0) return 77;
    capture_begin(&capture, stderr);
    CHECK(open_named("large", true, 64 << 20, &file) == ZI_ERROR_IO && !file);
    const char *text = capture_end(&capture);
    CHECK(strstr(text, "large: cannot claim 64.00 MiB (67108864 bytes): No space left"));
    CHECK(strstr(text, "the file system has 4.00 MiB free"));
    CHECK(stat(disk_path("large"), &info) != 0 && errno == ENOENT);
    /* one that exists stays as it was */
    CHECK(open_named("small", true, BYTES, &file) == ZI_OK);
    disk_file_close(file);
    capture_begin(&capture, stderr);
    CHECK(open_named("small", false, 64 << 20, &file) == ZI_ERROR_IO && !file);
    CHECK(strstr(capture_end(&capture), "the file system has 3.00 MiB free"));
    CHECK(stat(disk_path("small"), &info) == 0 && info.st_size == BYTES);
    CHECK(open_named("small", false, 3 << 20, &file) == ZI_OK);
    /* without a claim the disk fills up under the write */
    struct disk_file *sparse = NULL;
    CHECK(open_named("sparse", true, 0, &sparse) == ZI_OK);
    struct disk_queue *queue = disk_queue_of(ZI_AUTO, 4, 1 << 16, 60);
    unsigned char *buffer = disk_buffer(4 << 20);
    capture_begin(&capture, stderr);
    if (sparse) CHECK_INT(disk_move(queue, sparse, true, 0, 4 << 20, buffer).error, ENOSPC);
    text = capture_end(&capture);
    CHECK(strstr(text, "sparse: cannot write ") && strstr(text, "No space left"));
    disk_queue_close(queue);
    disk_file_close(sparse);
    disk_file_close(file);
    disk_buffer_free(buffer);
    return test_failures() > 0;
}

static void test_full_disk(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(full_disk_child());
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        printf("full disk: not tested, nothing can be mounted here\n");
    else
        CHECK_INT(status, 0);
}

int main(void)
{
    disk_folder_make();
    test_environment();
    test_full_disk();
    test_special();
    test_stop();
    test_space();
    test_no_direct();
    test_no_libaio();
    disk_folder_remove();
    return test_finish("disk_file_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of a run directory: taken once, given back with its file, free when a leftover file is
 * there; a file that vanishes or changes between opening and locking is no lock; and a file system
 * without locks is said, by fcntl of this test instead of the system's. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/lock.h"
#include "base/log.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static char folder[] = "app_lock_XXXXXX", path[64];
static int lock_error;               /* what locking gives; 0: what the system gives */
static void (*before_locking)(void); /* once */

/* Takes the place of the C library's. */
int fcntl(int file, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (command == F_OFD_SETLK) {
        void (*act)(void) = before_locking;
        before_locking = NULL;
        if (act) act();
        if (lock_error) {
            errno = lock_error;
            return -1;
        }
    }
    return (int)syscall(SYS_fcntl, file, command, argument);
}

static bool exists(void)
{
    struct stat is;
    return lstat(path, &is) == 0;
}

static void test_twice(void)
{
    struct lock *first = NULL, *second = NULL;
    static struct capture capture;
    char who[64];
    CHECK_INT(lock_take(folder, &first), ZI_OK);
    CHECK(exists());
    CHECK(lock_seen(folder, lock_text(first)));
    CHECK(!lock_seen(folder, "process 0 on host nowhere"));
    CHECK(!lock_seen("/nowhere", lock_text(first)));
    snprintf(who, sizeof who, "another run: process %ld on host ", (long)getpid());
    capture_begin(&capture, stderr);
    enum zi_status status = lock_take(folder, &second);
    const char *text = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_USAGE);
    CHECK(strstr(text, who));
    lock_release(first);
    CHECK(!exists());
    lock_release(NULL);
}

static void test_leftover(void)
{
    struct lock *lock = NULL;
    FILE *file = fopen(path, "w");
    if (!file) exit(99);
    for (int i = 0; i < 4000; i++)
        fputs("process 1 on host gone\n", file);
    fclose(file);
    CHECK_INT(lock_take(folder, &lock), ZI_OK);
    struct stat is;
    CHECK(stat(path, &is) == 0 && is.st_size < LOCK_TEXT);
    lock_release(lock);
    CHECK(!exists());
}

static void remove_name(void)
{
    CHECK(unlink(path) == 0);
}

/* Another run removes its file, or does so and a third makes its own, before this one has locked
 * what it opened: the lock that is held in the end is of the file with the name. */
static void test_vanishing(void)
{
    struct lock *lock = NULL, *other = NULL;
    before_locking = remove_name;
    CHECK_INT(lock_take(folder, &lock), ZI_OK);
    CHECK(exists() && lock_seen(folder, lock_text(lock)));
    CHECK_INT(lock_take(folder, &other), ZI_ERROR_USAGE);
    /* a file that is not this lock's any more is not removed by it */
    remove_name();
    CHECK_INT(lock_take(folder, &other), ZI_OK);
    lock_release(lock);
    CHECK(exists());
    lock_release(other);
    CHECK(!exists());
}

static void test_without_locks(void)
{
    static const int errors[] = {ENOLCK, EOPNOTSUPP};
    for (int i = 0; i < 2; i++) {
        static struct capture capture;
        struct lock *lock = NULL;
        lock_error = errors[i];
        capture_begin(&capture, stderr);
        enum zi_status status = lock_take(folder, &lock);
        const char *text = capture_end(&capture);
        CHECK_INT(status, ZI_OK);
        CHECK(strstr(text, "cannot be locked"));
        lock_release(lock);
        CHECK(!exists());
    }
    struct lock *lock = NULL;
    lock_error = EIO;
    CHECK_INT(lock_take(folder, &lock), ZI_ERROR_IO);
    lock_error = 0;
    remove_name();
}

static void test_kinds(void)
{
    struct lock *lock = NULL;
    CHECK(mkfifo(path, 0600) == 0);
    CHECK_INT(lock_take(folder, &lock), ZI_ERROR_USAGE);
    CHECK(exists());
    remove_name();
    CHECK(symlink("target", path) == 0);
    CHECK_INT(lock_take(folder, &lock), ZI_ERROR_USAGE);
    remove_name();
    CHECK_INT(lock_take("/nowhere", &lock), ZI_ERROR_IO);
}

int main(void)
{
    if (!mkdtemp(folder)) return 99;
    snprintf(path, sizeof path, "%s/run.lock", folder);
    test_twice();
    test_leftover();
    test_vanishing();
    test_without_locks();
    test_kinds();
    CHECK(rmdir(folder) == 0);
    return test_finish("app_lock");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Files by name: what helps against an error, by its number, also where a file cannot be made. */
#include "base/file.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct capture capture;
static char folder[] = "/tmp/zinf-file-XXXXXX";

static void test_remedies(void)
{
    static const char room[] = "; make room in the attic";
    static const struct {
        int error;
        const char *wanted;
    } cases[] = {
        {EMFILE, "ulimit -n"}, {ENFILE, "fs.file-max"}, {EACCES, "the right to write"},
        {EPERM, "immutable"},  {EROFS, "for writing"},  {EFBIG, "ulimit -f"},
        {ENOENT, "not there"}, {ENOTDIR, "not there"},  {EIO, "dmesg"},
        {ENOMEM, "ulimit -v"},
    };
    CHECK(zi_file_remedy(ENOSPC, room) == room);
    CHECK(zi_file_remedy(EDQUOT, room) == room);
    CHECK(zi_file_remedy(EBADF, room)[0] == 0);
    CHECK(zi_file_remedy(0, room)[0] == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *remedy = zi_file_remedy(cases[i].error, room);
        CHECK(strncmp(remedy, "; ", 2) == 0 && strstr(remedy, cases[i].wanted));
        CHECK(!strstr(remedy, "room"));
    }
}

/* Whether a file cannot be made at `path`, with this in the message and no word of room. */
static void check_refused(const char *path, const char *wanted)
{
    int file;
    capture_begin(&capture, stderr);
    CHECK(zi_file_create_new("test", path, 0600, &file) == ZI_ERROR_IO);
    CHECK(zi_output_check("test", path) == ZI_ERROR_IO);
    const char *text = capture_end(&capture);
    const char *first = strstr(text, wanted);
    CHECK(first && strstr(first + 1, wanted) && !strstr(text, "room"));
}

static void test_refusals(void)
{
    char path[128], absent[128];
    struct rlimit before, none;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(absent, sizeof absent, "%s/absent/file", folder);
    check_refused(absent, "its folder is not there (any more)");
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    capture_begin(&capture, stderr); /* its files are open before there are no more */
    int last = dup(STDERR_FILENO);
    close(last);
    none = (struct rlimit){(rlim_t)last, before.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int file;
    CHECK(zi_file_create_new("test", path, 0600, &file) == ZI_ERROR_IO);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    const char *text = capture_end(&capture);
    CHECK(strstr(text, "Too many open files; raise the limit on open files of a process"));
    CHECK(!strstr(text, "room"));
    if (geteuid() == 0) return; /* whom no right is denied */
    CHECK(chmod(folder, 0500) == 0);
    check_refused(path, "give this user the right to write there");
    CHECK(chmod(folder, 0700) == 0);
}

/* A killed writer's file goes; that of a writer that lives stays, and so does what is no output. */
static void test_dead(void)
{
    static char written[256];
    char path[128], other[128];
    struct zi_output living;
    int pipe_ends[2];
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(other, sizeof other, "%s/file.tmp-short", folder);
    CHECK(zi_output_text("test", other, "a") == ZI_OK);
    CHECK(zi_output_begin("test", path, 0600, &living) == ZI_OK);
    CHECK(pipe(pipe_ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct zi_output dying;
        if (zi_output_begin("test", path, 0600, &dying) < 0) _exit(1);
        if (write(pipe_ends[1], dying.temporary, strlen(dying.temporary) + 1) < 0) _exit(1);
        pause();
    }
    close(pipe_ends[1]);
    CHECK(read(pipe_ends[0], written, sizeof written) > 0);
    zi_output_remove_dead("test", folder);
    CHECK(access(written, F_OK) == 0);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    capture_begin(&capture, stdout);
    zi_output_remove_dead("test", folder);
    const char *text = capture_end(&capture);
    CHECK(strstr(text, written) && strstr(text, "left unfinished"));
    CHECK(access(written, F_OK) != 0 && errno == ENOENT);
    CHECK(access(living.temporary, F_OK) == 0 && access(other, F_OK) == 0);
    CHECK(zi_output_commit(&living) == ZI_OK && access(path, F_OK) == 0);
    zi_output_remove_dead("test", "/absent/folder");
    close(pipe_ends[0]);
    CHECK(unlink(path) == 0 && unlink(other) == 0);
}

int main(void)
{
    if (!mkdtemp(folder)) return 1;
    test_remedies();
    test_refusals();
    test_dead();
    CHECK(rmdir(folder) == 0);
    return test_finish("base_file_test");
}

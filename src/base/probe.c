/* SPDX-License-Identifier: Apache-2.0 */
/* A child that opens a file before its parent does.
 *
 * The parent may be a rank with threads and a network behind it, where a plain fork is not safe. It
 * starts a program anew instead (posix_spawn), with nothing open but /dev/null and the signals as
 * they are by default, and the child sets its own limits before it looks at the file.
 *
 * The limit on memory is on the address space, above what the program with its libraries has when
 * it starts: an absurd allocation fails, and HDF5 reports that, or ends by it. Sanitizers of
 * addresses reserve terabytes for themselves, so their builds have no such limit.
 *
 * What the child thinks of the file does not matter here, only whether HDF5 came through: what is
 * merely not to zinf's liking is found again by the parent, with its message. An error of HDF5 is
 * not: it is after an error that HDF5 fails, with memory that it did not get to fill, and whether
 * it does depends on what lay there before. */
#include "base/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stop.h"

enum { SECONDS = 60, POLL_NS = 2000000, TEXT_BYTES = 512, FILLING = 0xa5 };
#define MEMORY_BYTES ((rlim_t)2 << 30)
#define MEMORY_TEXT  "2 GiB"

extern char **environ;

static const char *program;

static const struct {
    int number;
    const char *name;
} faults[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"},
    {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"},
};
enum { FAULT_COUNT = (int)(sizeof faults / sizeof *faults) };

void zi_probe_set(const char *path)
{
    program = path;
}

/* All that the child has open is /dev/null and the pipe that it writes to; the files and
 * connections of a rank are not its own. */
static int fill_actions(posix_spawn_file_actions_t *actions, int written)
{
    int error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_WRONLY, 0);
    if (!error) error = posix_spawn_file_actions_adddup2(actions, written, 1);
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
#endif
#endif
    return error;
}

/* 0 or an error number. */
static int start(const char *path, int written, pid_t *child)
{
    char *words[] = {(char *)program, ZI_PROBE_WORD, (char *)path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigemptyset(&none);
    error = fill_actions(&actions, written);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error) error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (!error) error = posix_spawn(child, program, &actions, &attributes, words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Takes what there is in a pipe; what does not fit into `text` is lost, so that nobody waits. */
static void take(int pipe, char text[TEXT_BYTES])
{
    char bytes[TEXT_BYTES];
    ssize_t count;
    while ((count = read(pipe, bytes, sizeof bytes)) > 0) {
        size_t used = strlen(text), room = TEXT_BYTES - 1 - used;
        size_t taken = (size_t)count < room ? (size_t)count : room;
        memcpy(text + used, bytes, taken);
        text[used + taken] = 0;
    }
}

/* Waits for the child's end; asked to stop, it ends the child. 0 or an error number. */
static int await(pid_t child, int pipe, char text[TEXT_BYTES], int *end)
{
    const struct timespec pause = {0, POLL_NS};
    bool killed = false;
    for (;;) {
        pid_t ended = waitpid(child, end, WNOHANG);
        take(pipe, text);
        if (ended == child) return 0;
        if (ended < 0 && errno != EINTR) return errno;
        if (zi_stop_signal() && !killed) killed = kill(child, SIGKILL) == 0;
        nanosleep(&pause, NULL);
    }
}

/* Runs a child; `text` gets the line that it writes. 0 or an error number. */
static int run(const char *path, char text[TEXT_BYTES], int *end)
{
    int ends[2];
    pid_t child;
    text[0] = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errno;
    int error = start(path, ends[1], &child);
    close(ends[1]);
    if (error == 0) error = await(child, ends[0], text, end);
    close(ends[0]);
    text[strcspn(text, "\n")] = 0;
    return error;
}

/* "SIGSEGV" and so on; NULL for signals that come from outside. */
static const char *fault_name(int number)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (faults[i].number == number) return faults[i].name;
    }
    return NULL;
}

static enum zi_status refuse(const char *room, const char *path, const char *how,
                             const char *remedy)
{
    return zi_fail(ZI_ERROR_IO, room,
                   "%s: HDF5 cannot read it: its reader %s: the file is "
                   "damaged; %s",
                   path, how, remedy);
}

static enum zi_status judge(const char *room, const char *path, int end, const char *text,
                            const char *remedy)
{
    char how[TEXT_BYTES + 32];
    if (WIFEXITED(end) && WEXITSTATUS(end) == ZI_PROBE_DONE) return ZI_OK;
    ZI_TRY(zi_stop_check());
    if (WIFEXITED(end) && WEXITSTATUS(end) == ZI_PROBE_MEMORY)
        return refuse(room, path, "asked for more than " MEMORY_TEXT " of memory", remedy);
    if (WIFEXITED(end) && WEXITSTATUS(end) == ZI_PROBE_FAILED) {
        snprintf(how, sizeof how, "says \"%s\"", text);
        return refuse(room, path, how, remedy);
    }
    if (WIFSIGNALED(end) && fault_name(WTERMSIG(end))) {
        snprintf(how, sizeof how, "ended by %s", fault_name(WTERMSIG(end)));
        return refuse(room, path, how, remedy);
    }
    if (WIFSIGNALED(end) && WTERMSIG(end) == SIGXCPU) {
        snprintf(how, sizeof how, "came to no end in %d s", SECONDS);
        return refuse(room, path, how, remedy);
    }
    if (WIFSIGNALED(end))
        return zi_fail(ZI_ERROR_IO, room,
                       "%s: the process that looks whether HDF5 can read it was ended by signal %d "
                       "from outside; try again",
                       path, WTERMSIG(end));
    zi_log(ZI_LOG_WARN, room,
           "%s is opened without a look by another process first, which ended with code %d", path,
           WEXITSTATUS(end));
    return ZI_OK;
}

enum zi_status zi_probe_file(const char *room, const char *path, const char *remedy)
{
    char text[TEXT_BYTES];
    int end = 0;
    if (!program) return ZI_OK;
    int error = run(path, text, &end);
    if (error == 0) return judge(room, path, end, text, remedy);
    zi_log(ZI_LOG_WARN, room,
           "%s is opened without a look by another process first, which cannot be started: %s",
           path, strerror(error));
    return ZI_OK;
}

static void limit(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) return;
    if (now.rlim_max < hard) hard = now.rlim_max;
    if (soft > hard) soft = hard;
    now = (struct rlimit){soft, hard};
    (void)setrlimit(resource, &now);
}

static void limit_memory(void)
{
#ifndef __SANITIZE_ADDRESS__
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%lu", &pages) != 1) pages = 0;
        fclose(file);
    }
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY_BYTES;
    limit(RLIMIT_AS, bytes, bytes);
#endif
}

void zi_probe_child(void)
{
#ifdef M_PERTURB
    (void)mallopt(M_PERTURB, FILLING);
#endif
    limit_memory();
    limit(RLIMIT_CPU, SECONDS, SECONDS + 5);
    limit(RLIMIT_CORE, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (int i = 0; i < FAULT_COUNT; i++)
        signal(faults[i].number, SIG_DFL);
    signal(SIGXCPU, SIG_DFL);
    zi_stop_child();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A child that looks at a file first: however it ends, the parent goes on, and says why. This
 * program is its own child; the name of the file says how it shall end. */
#include "base/probe.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static struct capture capture;

/* What the child may use is bounded, and nothing but /dev/null is open. */
static int bounds_are_set(void)
{
    struct rlimit memory, seconds, core;
    getrlimit(RLIMIT_AS, &memory);
    getrlimit(RLIMIT_CPU, &seconds);
    getrlimit(RLIMIT_CORE, &core);
#ifndef __SANITIZE_ADDRESS__
    if (memory.rlim_cur == RLIM_INFINITY) return 0;
    void *much = malloc((size_t)3 << 30);
    free(much);
    if (much) return 0;
#endif
    return seconds.rlim_cur != RLIM_INFINITY && core.rlim_cur == 0 && isatty(1) == 0;
}

static int child(const char *path)
{
    sigset_t mask;
    zi_probe_child();
    if (strcmp(path, "fault") == 0) raise(SIGSEGV);
    if (strcmp(path, "abort") == 0) abort();
    if (strcmp(path, "busy") == 0) raise(SIGXCPU);
    if (strcmp(path, "killed") == 0) raise(SIGKILL);
    if (strcmp(path, "memory") == 0) return ZI_PROBE_MEMORY;
    if (strcmp(path, "failed") == 0) {
        puts("no such thing in it");
        return ZI_PROBE_FAILED;
    }
    for (int i = 0; i < 100000 && strcmp(path, "talks") == 0; i++)
        puts("much more than a pipe holds");
    if (strcmp(path, "bounds") == 0) return bounds_are_set() ? ZI_PROBE_DONE : ZI_PROBE_MEMORY;
    if (strcmp(path, "signals") == 0) {
        sigprocmask(SIG_BLOCK, NULL, &mask);
        if (sigismember(&mask, SIGTERM) || signal(SIGTERM, SIG_DFL) != SIG_DFL)
            return ZI_PROBE_MEMORY;
    }
    return strcmp(path, "other") == 0 ? 127 : ZI_PROBE_DONE;
}

static void check(const char *path, enum zi_status expected, const char *said)
{
    capture_begin(&capture, stderr);
    enum zi_status status = zi_probe_file("test", path, "take another");
    const char *text = capture_end(&capture);
    CHECK_INT(status, expected);
    if (said) CHECK(strstr(text, said));
    if (!said) CHECK(text[0] == 0);
    if (expected == ZI_ERROR_IO)
        CHECK(strncmp(strstr(text, "test: ") + 6, path, strlen(path)) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], ZI_PROBE_WORD) == 0) return child(argv[2]);
    check("fault", ZI_OK, NULL); /* off until it is set */
    zi_probe_set("/proc/self/exe");
    check("good", ZI_OK, NULL);
    check("bounds", ZI_OK, NULL);
    check("fault", ZI_ERROR_IO, "its reader ended by SIGSEGV: the file is damaged; take another");
    check("abort", ZI_ERROR_IO, "its reader ended by SIGABRT");
    check("busy", ZI_ERROR_IO, "came to no end in 60 s");
    check("memory", ZI_ERROR_IO, "asked for more than 2 GiB of memory");
    check("failed", ZI_ERROR_IO, "its reader says \"no such thing in it\": the file is damaged");
    check("talks", ZI_OK, NULL);
    check("killed", ZI_ERROR_IO, "ended by signal 9 from outside");
    check("other", ZI_OK, "ended with code 127");
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    signal(SIGTERM, SIG_IGN);
    check("signals", ZI_OK, NULL);
    zi_probe_set("/nowhere/program");
    check("good", ZI_OK, "cannot be started: No such file");
    zi_probe_set(NULL);
    check("fault", ZI_OK, NULL);
    return test_finish("base_probe_test");
}

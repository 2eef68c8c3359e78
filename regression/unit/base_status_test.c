/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes, messages and the clock: which exit code a cause has, what a message looks like, who
 * writes it, that warnings cannot flood, and that a broken invariant ends the process with 70. */
#include "base/log.h"
#include "base/status.h"
#include "base/timing.h"
#include "base/version.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <string.h>
#include <sys/wait.h>

static struct capture capture;

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void test_codes(void)
{
    static const struct {
        enum zi_status status;
        int code;
    } cases[] = {
        {ZI_OK, 0},           {ZI_IN_PROGRESS, 0}, {ZI_ERROR_USAGE, 2},
        {ZI_ERROR_FIT, 3},    {ZI_STOPPED, 4},     {ZI_ERROR_IO, 5},
        {ZI_ERROR_DEVICE, 6}, {ZI_ERROR_COMM, 6},  {ZI_ERROR_NUMERICS, 7},
        {ZI_ERROR_BUG, 70},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(zi_status_exit_code(cases[i].status), cases[i].code);
        CHECK(strcmp(zi_status_name(cases[i].status), "unknown status") != 0);
    }
    CHECK_INT(zi_status_exit_code((enum zi_status)(-1000)), 70);
    CHECK(strcmp(zi_status_name((enum zi_status)(-1000)), "unknown status") == 0);
    CHECK(strcmp(zi_status_name(ZI_ERROR_IO), "input/output error") == 0);
}

static enum zi_status relay(enum zi_status inner, int *reached)
{
    ZI_TRY(inner);
    (*reached)++;
    return ZI_OK;
}

static void test_try(void)
{
    int reached = 0;
    CHECK(relay(ZI_ERROR_IO, &reached) == ZI_ERROR_IO && reached == 0);
    CHECK(relay(ZI_IN_PROGRESS, &reached) == ZI_OK && reached == 1);
}

static void test_lines(void)
{
    const char *text;
    capture_begin(&capture, stdout);
    zi_log(ZI_LOG_NOTE, "engine", "%d units", 7);
    zi_log(ZI_LOG_INFO, "engine", "not at this level");
    text = capture_end(&capture);
    CHECK(text[0] == '[' && strstr(text, " s] engine: 7 units\n") && count_lines(text) == 1);

    capture_begin(&capture, stderr);
    CHECK(zi_fail(ZI_ERROR_IO, "disk", "cannot read %s", "x") == ZI_ERROR_IO);
    text = capture_end(&capture);
    CHECK(strstr(text, "] error: disk: cannot read x\n") && !strstr(text, "rank"));

    /* Longer than any buffer inside: whole, not cut. */
    static char words[5000];
    memset(words, 'w', sizeof words - 1);
    capture_begin(&capture, stderr);
    zi_log(ZI_LOG_ERROR, "deck", "%s!", words);
    text = capture_end(&capture);
    CHECK(strlen(text) > sizeof words && strstr(text, "w!\n"));

    zi_log_identify(3, 4);
    capture_begin(&capture, stdout);
    zi_log(ZI_LOG_NOTE, "engine", "only rank 0 says this");
    CHECK(capture_end(&capture)[0] == 0);
    capture_begin(&capture, stderr);
    zi_log(ZI_LOG_ERROR, "comm", "lost");
    text = capture_end(&capture);
    CHECK(strstr(text, "rank 3 on ") && strstr(text, ": error: comm: lost\n"));
    zi_log_identify(0, 1);

    zi_log_set_level(ZI_LOG_DEBUG);
    capture_begin(&capture, stdout);
    zi_log(ZI_LOG_DEBUG, "engine", "detail");
    CHECK(strstr(capture_end(&capture), "debug: engine: detail\n"));
    zi_log_set_level(ZI_LOG_NOTE);
}

static void test_warnings(void)
{
    long before = zi_log_warnings();
    capture_begin(&capture, stderr);
    for (int i = 0; i < 50; i++)
        zi_log(ZI_LOG_WARN, "data", "block %d is odd", i);
    zi_log(ZI_LOG_WARN, "data", "another kind");
    const char *text = capture_end(&capture);
    CHECK_INT(count_lines(text), 21);
    CHECK(strstr(text, "block 19 is odd (further warnings of this kind are not shown)\n"));
    CHECK(!strstr(text, "block 20") && strstr(text, "another kind\n"));
    CHECK_INT(zi_log_warnings() - before, 21);
}

/* Errors after which the caller goes on: as warnings; the reason of an end is what cannot be gone on
 * after, or else the last of them, shown or not. */
static void test_limited(void)
{
    char reason[128];
    capture_begin(&capture, stderr);
    for (int i = 0; i < 50; i++)
        CHECK(zi_fail_limited(ZI_ERROR_IO, "checkpoint", "no room for %d", i) == ZI_ERROR_IO);
    const char *text = capture_end(&capture);
    CHECK_INT(count_lines(text), 20);
    CHECK(strstr(text, "] error: checkpoint: no room for 0\n"));
    CHECK(strstr(text, "no room for 19 (further errors of this kind are not shown)\n"));
    zi_log_first_error(reason, sizeof reason);
    CHECK(strcmp(reason, "checkpoint: no room for 49") == 0);
    capture_begin(&capture, stderr);
    (void)zi_fail(ZI_ERROR_NUMERICS, "app", "not finite");
    (void)zi_fail_limited(ZI_ERROR_IO, "checkpoint", "no room for %d", 50);
    for (int i = 0; i < 30; i++)
        zi_log(ZI_LOG_ERROR, "deck", "line %d is wrong", i);
    CHECK_INT(count_lines(capture_end(&capture)), 31);
    zi_log_first_error(reason, sizeof reason);
    CHECK(strcmp(reason, "app: not finite") == 0);
}

static void test_require(void)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        ZI_REQUIRE(1 + 1 == 2);
        ZI_REQUIRE(1 + 1 == 3);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 70);
}

static void test_time(void)
{
    char stamp[32], small[4];
    double first = zi_time_s();
    usleep(20000);
    double passed = zi_time_s() - first;
    CHECK(first >= 0 && passed >= 0.02 && passed < 10); /* 10: a machine that is very busy */
    zi_time_stamp(stamp, sizeof stamp);
    CHECK(strlen(stamp) == 20 && stamp[4] == '-' && stamp[10] == 'T' && stamp[19] == 'Z');
    CHECK(strncmp(stamp, "20", 2) == 0);
    CHECK(zi_time_stamp(small, sizeof small)[0] == 0);
}

int main(void)
{
    test_codes();
    test_try();
    test_limited();
    test_lines();
    test_warnings();
    test_require();
    test_time();
    CHECK(zi_version()[0] >= '0' && zi_version()[0] <= '9');
    CHECK(*zi_version_revision() && *zi_version_compiler() && *zi_version_configure());
    return test_finish("base_status_test");
}

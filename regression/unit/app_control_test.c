/* SPDX-License-Identifier: Apache-2.0 */
/* When a run stops for the end of its job's time: what a step and a checkpoint take is measured and
 * added up, and a checkpoint that is slower than Slurm's patience is said, once. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/control.h"
#include "app/lock.h"
#include "app/run.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static char folder[] = "app_control_XXXXXX";
static struct settings settings;
static struct capture capture;

static bool said(const char *text)
{
    return strstr(capture.text, text) ? true : false;
}

static bool warned(void)
{
    return said("warning");
}

/* Whether a run with so much time left stops, when a step took 20 s and a checkpoint 10 s. */
static bool stops(struct lock *lock, int64_t left)
{
    struct run run = {.lock = lock, .setup.settings = &settings};
    run.control.longest_s = 20;
    run.control.save_s = 10;
    run.control.end = left ? time(NULL) + left : 0;
    capture_begin(&capture, stdout);
    enum zi_status status = control_check(&run);
    capture_end(&capture);
    bool for_time = strncmp(control_reason(&run.control), "the job's time ends at 2", 24) == 0;
    CHECK(status == ZI_OK || status == ZI_STOPPED);
    CHECK((status == ZI_STOPPED) == for_time);
    if (status == ZI_STOPPED) CHECK_INT(control_check(&run), ZI_STOPPED);
    return status == ZI_STOPPED;
}

/* 20 s for a step, 15 for a checkpoint, 30 for the end. */
static void test_time(struct lock *lock)
{
    CHECK(!stops(lock, 0));
    CHECK(!stops(lock, 67));
    CHECK(stops(lock, 64));
    CHECK(stops(lock, -5));
    CHECK(!stops(NULL, 5)); /* another rank hears of it */
}

static void test_longest(struct lock *lock)
{
    struct run run = {.lock = lock, .setup.settings = &settings};
    CHECK_INT(control_check(&run), ZI_OK);
    CHECK(run.control.longest_s == 0);
    usleep(50000);
    CHECK_INT(control_check(&run), ZI_OK);
    double longest = run.control.longest_s;
    CHECK(longest >= 0.05 && longest < 20);
    usleep(150000 + (useconds_t)(longest * 1e6)); /* nothing but a checkpoint */
    control_saved(&run.control, 0.15 + longest, 0.15 + longest);
    CHECK_INT(control_check(&run), ZI_OK);
    CHECK(run.control.longest_s < longest + 0.15);
    CHECK_NEAR(run.control.save_s, 0.15 + longest, 0);
}

/* An estimate gives way to what is measured, and that to what is longer. */
static void test_measured(void)
{
    struct control control = {.save_s = 25};
    control_saved(&control, 2, 2);
    CHECK_NEAR(control.save_s, 2, 0);
    control_saved(&control, 3, 3);
    control_saved(&control, 1, 1);
    CHECK_NEAR(control.save_s, 3, 0);
    CHECK_NEAR(control.saved_s, 6, 0);
}

static void test_patience(void)
{
    static const int64_t gigabyte = 1000000000;
    struct control control = {.save_s = 0};
    unsetenv("SLURM_JOB_END_TIME");
    unsetenv("SLURM_JOB_ID");
    capture_begin(&capture, stderr);
    control_start(&control, 20 * gigabyte);
    control_saved(&control, 50, 50);
    capture_end(&capture);
    CHECK(!warned());
    setenv("SLURM_JOB_ID", "1", 1);
    control = (struct control){.save_s = 0};
    capture_begin(&capture, stderr);
    control_start(&control, 20 * gigabyte);
    capture_end(&capture);
    CHECK(said("a checkpoint takes 40 s by estimate"));
    CHECK(said("--signal=USR1@120"));
    control = (struct control){.save_s = 0};
    capture_begin(&capture, stderr);
    control_start(&control, 14 * gigabyte);
    control_saved(&control, 29, 29);
    capture_end(&capture);
    CHECK(!warned());
    capture_begin(&capture, stderr);
    control_saved(&control, 31, 31);
    capture_end(&capture);
    CHECK(said("a checkpoint takes 31 s, "));
    capture_begin(&capture, stderr);
    control_saved(&control, 45, 45);
    capture_end(&capture);
    CHECK(!warned());
}

int main(void)
{
    struct lock *lock;
    if (!mkdtemp(folder) || lock_take(folder, &lock) < 0) return 1;
    settings.run.directory = folder;
    test_time(lock);
    test_longest(lock);
    test_measured();
    test_patience();
    lock_release(lock);
    CHECK(rmdir(folder) == 0);
    return test_finish("app_control_test");
}

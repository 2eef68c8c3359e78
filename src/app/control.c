/* SPDX-License-Identifier: Apache-2.0 */
/* How a running job is controlled.
 *
 * Signals reach a run where people have none to send: a batch system is asked for that, or a node
 * is logged into. A file in the run directory needs neither: `stop` ends the run as a signal does,
 * `checkpoint` has a checkpoint written at the end of a step. Only the name counts. A file of any
 * kind is a request, and none is opened; a folder is somebody's own and is left alone. `stop` is
 * removed when it is seen, `checkpoint` when the checkpoint is whole, so that neither reaches the
 * next run; what an earlier run has left (it ended before it looked again) is removed with the lock.
 *
 * A batch system that says when it ends the job (SLURM_JOB_END_TIME) need not send a warning: the
 * run stops by itself while another step and a checkpoint still fit. Until one was written, a
 * checkpoint is taken to go at an assumed rate; after that it is the longest so far, and half of it
 * is kept besides, since a shared file system may be slower the next time. A fixed time is kept for
 * the end of the program and for clocks that differ.
 *
 * Rank 0 looks, and all ranks hear of it in the agreement that a step begins with anyway. */
#include "app/control.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/lock.h"
#include "app/report.h"
#include "app/run.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"
#include "base/timing.h"

#define STOP_FILE "stop"
#define SAVE_FILE "checkpoint"

#define LOOK_S      1.0   /* between two looks at the files */
#define KEPT_S      30.0  /* of the job's time, for the end of the program */
#define SAVE_RATE   500e6 /* B/s of a checkpoint, assumed */
#define KILL_WAIT_S 30.0  /* between SIGTERM and SIGKILL, Slurm's default (KillWait) */

/* In an agreement: rank 0 wants a checkpoint. Less than any status that ends a run. */
enum { SAVE_WANTED = -1 };

/* Whether a request of this name is there. */
static bool is_asked(const char *directory, const char *name)
{
    char path[PATH_MAX];
    struct stat is;
    return report_path(directory, name, path) >= 0 && lstat(path, &is) == 0 && !S_ISDIR(is.st_mode);
}

/* Removes it; 0 or an errno. */
static int remove_request(const char *directory, const char *name)
{
    char path[PATH_MAX];
    if (report_path(directory, name, path) < 0) return ENAMETOOLONG;
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

enum zi_status control_clear(const char *directory)
{
    static const char *const names[] = {STOP_FILE, SAVE_FILE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!is_asked(directory, names[i])) continue;
        int error = remove_request(directory, names[i]);
        if (error != 0)
            return zi_fail(ZI_ERROR_IO, "app",
                           "%s/%s was left by an earlier run, and cannot be removed: %s; remove it",
                           directory, names[i], strerror(error));
        zi_log(ZI_LOG_WARN, "app", "%s/%s was left by an earlier run, and is removed", directory,
               names[i]);
    }
    return ZI_OK;
}

/* The end of the job's time; 0 when the environment does not say. */
static int64_t read_end(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *rest;
    if (!text || !text[0]) return 0;
    errno = 0;
    long long end = strtoll(text, &rest, 10);
    if (errno == 0 && !*rest && end > 0) return end;
    zi_log(ZI_LOG_WARN, "app",
           "SLURM_JOB_END_TIME is \"%s\" and no number of seconds since 1970: the end of the job's "
           "time is not known",
           text);
    return 0;
}

static const char *end_text(int64_t end, char *text, size_t size)
{
    if (!zi_time_text((time_t)end, text, size)[0])
        snprintf(text, size, "%lld s after 1970", (long long)end);
    return text;
}

/* Where Slurm may kill before a checkpoint is whole. */
static void warn_kill(const struct control *control)
{
    if (control->save_s <= KILL_WAIT_S || !getenv("SLURM_JOB_ID")) return;
    zi_log(ZI_LOG_WARN, "app",
           "a checkpoint takes %.0f s%s, but Slurm kills %.0f s after SIGTERM (KillWait, unless "
           "the site has set another): have an earlier signal sent, as by #SBATCH "
           "--signal=USR1@%.0f",
           control->save_s, control->save_measured ? "" : " by estimate", KILL_WAIT_S,
           ceil((2 * control->save_s + KEPT_S) / 60) * 60);
}

void control_start(struct control *control, int64_t bytes)
{
    char end[40], size[32];
    control->end = read_end();
    control->save_s = (double)bytes / SAVE_RATE;
    if (control->end > 0)
        zi_log(ZI_LOG_NOTE, "app",
               "the job's time ends at %s; the run stops before, with a checkpoint of %s",
               end_text(control->end, end, sizeof end),
               zi_memory_text((size_t)bytes, size, sizeof size));
    warn_kill(control);
}

void control_saved(struct control *control, double still_s, double whole_s)
{
    bool first = !control->save_measured;
    bool warned = control->save_s > KILL_WAIT_S;
    control->save_measured = true;
    control->saved_s += still_s;
    if (first || whole_s > control->save_s) control->save_s = whole_s;
    if (!warned) warn_kill(control);
}

void control_paused(struct control *control, double seconds)
{
    control->saved_s += seconds;
}

/* The first reason stays. */
static void set_reason(struct control *control, const char *reason)
{
    snprintf(control->reason, sizeof control->reason, "%s", reason);
    zi_log(ZI_LOG_NOTE, "app", "%s: ending in good order", reason);
}

static void look_at_time(struct control *control, bool saves)
{
    char end[40], reason[sizeof control->reason];
    if (control->end == 0) return;
    double left = difftime((time_t)control->end, time(NULL));
    double kept_s = KEPT_S + (saves ? control->save_s : 0);
    if (left >= control->longest_s + 1.5 * control->save_s + kept_s) return;
    snprintf(reason, sizeof reason,
             "the job's time ends at %s, in %.0f s (a step took up to %.1f s, a checkpoint takes "
             "%.1f s%s)",
             end_text(control->end, end, sizeof end), left, control->longest_s, control->save_s,
             control->save_measured ? "" : " by estimate");
    set_reason(control, reason);
}

/* Rank 0, now and then. */
static enum zi_status look_at_files(struct run *run)
{
    const char *directory = run->setup.settings->run.directory;
    struct control *control = &run->control;
    bool stop = is_asked(directory, STOP_FILE);
    bool saves = run->saving.checkpoint; /* its end may answer the file */
    bool save = !control->save_deaf && !saves && is_asked(directory, SAVE_FILE);
    control->save_asked = save;
    if (!stop && !save) return ZI_OK;
    ZI_TRY(lock_check(run->lock));
    if (!stop) return ZI_OK;
    set_reason(control, "the file " STOP_FILE " in the run directory");
    int error = remove_request(directory, STOP_FILE);
    if (error != 0)
        zi_log(ZI_LOG_WARN, "app",
               "%s/%s cannot be removed: %s; remove it before the next run there", directory,
               STOP_FILE, strerror(error));
    return ZI_OK;
}

/* What is between two calls of control_check is a step or a batch, with what came behind it. */
static void measure(struct control *control, double now)
{
    double seconds = now - control->begun_s - control->saved_s;
    if (control->begun_s > 0 && seconds > control->longest_s) control->longest_s = seconds;
    control->begun_s = now;
    control->saved_s = 0;
}

enum zi_status control_check(struct run *run)
{
    struct control *control = &run->control;
    double now = zi_time_s();
    measure(control, now);
    if (run->lock && !control->reason[0] && !zi_stop_signal()) {
        look_at_time(control, run->saving.checkpoint);
        bool due = control->looked_s == 0 || now - control->looked_s >= LOOK_S;
        if (due && !control->reason[0]) {
            control->looked_s = now;
            ZI_TRY(look_at_files(run));
        }
    }
    return control->reason[0] ? ZI_STOPPED : zi_stop_check();
}

enum zi_status control_agree(struct run *run, enum zi_status status)
{
    bool wants = status >= 0 && run->control.save_asked;
    comm_say(run->comm, "agreement", "the next step");
    int agreed = comm_agree(run->comm, wants ? (enum zi_status)SAVE_WANTED : status);
    comm_say(run->comm, NULL, NULL);
    if (agreed == SAVE_WANTED) run->due = true;
    return agreed == SAVE_WANTED ? ZI_OK : (enum zi_status)agreed;
}

bool control_take_request(struct control *control)
{
    bool asked = control->save_asked;
    control->save_asked = false;
    return asked;
}

void control_answer(struct run *run)
{
    struct control *control = &run->control;
    const char *directory = run->setup.settings->run.directory;
    int error = remove_request(directory, SAVE_FILE);
    control->save_deaf = error != 0;
    if (error != 0)
        zi_log(ZI_LOG_WARN, "app",
               "%s/%s cannot be removed: %s; this run does not look at it again", directory,
               SAVE_FILE, strerror(error));
    else
        zi_log(ZI_LOG_NOTE, "app", "the checkpoint of step %lld, which the file %s asked for",
               (long long)run->saved, SAVE_FILE);
}

const char *control_reason(const struct control *control)
{
    int number = zi_stop_signal();
    if (control->reason[0]) return control->reason;
    return number ? zi_stop_name(number) : "a signal to another rank";
}

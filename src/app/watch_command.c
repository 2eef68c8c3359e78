/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf watch`: a run on a terminal, while it runs.
 *
 * A frame is a block of lines that is written with one write and leaves the cursor below it; the
 * next one goes up by as many lines and writes over it. Nothing of the terminal is switched: no
 * other screen, no hidden cursor, so a signal may end the command at any moment and what is seen is
 * a terminal with a block of text. No line is longer than the terminal is wide, since a line that
 * wraps would take two rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/history.h"
#include "app/numbers.h"
#include "app/output.h"
#include "app/page.h"
#include "base/log.h"

enum { COLUMNS_LEAST = 20, COLUMNS_MOST = 100, SPARK_MOST = 60, LABEL = 12 };

#define STALLED_S     60.0 /* without a row, and */
#define STALLED_STEPS 10.0 /* times the time of a step */

struct frame {
    const struct history *history;
    bool terminal, utf8;
    int columns;
    /* The text, and its lines. */
    char *bytes;
    size_t size;
    FILE *out;
    int lines;
};

/* A line of its own; what is too long is cut. `text` is ASCII but for `wide` bytes that take no
 * column of their own. */
static void add_line(struct frame *f, const char *label, const char *text, int wide)
{
    int room = f->columns - LABEL - 1 + wide;
    fprintf(f->out, "%-*s %.*s%s\n", LABEL - 1, label, room, text, f->terminal ? "\033[K" : "");
    f->lines++;
}

/* Text of the run, of which only what can be printed: it must not move the cursor. */
static void clean(char *to, size_t size, const char *from)
{
    size_t used = 0;
    for (; *from && used + 1 < size; from++)
        to[used++] = *from >= ' ' && *from < 127 ? *from : '?';
    to[used] = 0;
}

/* The loss as a row of bars, newest on the right. */
static void add_spark(struct frame *f)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    static const char *const letters[] = {"_", ".", "-", ":", "=", "+", "*", "#"};
    struct series_bucket buckets[SPARK_MOST];
    const struct history *h = f->history;
    int most = f->columns - LABEL - 24 < SPARK_MOST ? f->columns - LABEL - 24 : SPARK_MOST;
    const struct series_part *all = &h->all.parts[SERIES_LOSS];
    if (all->count == 0 || most < 8) return;
    int count = series_coarsen(&h->series, most, buckets), wide = 0;
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < count; i++) {
        double mean = series_mean(&buckets[i].parts[SERIES_LOSS]);
        low = fmin(low, mean);
        high = fmax(high, mean);
    }
    char text[SPARK_MOST * 3 + 64] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        double mean = series_mean(&buckets[i].parts[SERIES_LOSS]);
        int level = high > low && !isnan(mean) ? (int)(7.999 * (mean - low) / (high - low)) : 0;
        const char *bar = isnan(mean) ? " " : f->utf8 ? blocks[level] : letters[level];
        wide += (int)strlen(bar) - 1;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", bar);
    }
    snprintf(text + used, sizeof text - used, " %s to %s", number_loss(high).text,
             number_loss(low).text);
    add_line(f, "", text, wide);
}

static void add_progress(struct frame *f)
{
    const struct history *h = f->history;
    double step = history_step(h), asked = h->steps_asked;
    double left = history_recent_mean(h, SERIES_SECONDS) * (asked - step);
    char text[160], bar[22] = "";
    if (!(asked > 0)) {
        snprintf(text, sizeof text, "%.0f", step);
        add_line(f, "step", text, 0);
        return;
    }
    int full = (int)(20 * fmin(step / asked, 1));
    memset(bar, '.', 20);
    memset(bar, '#', (size_t)full);
    bool goes_on = history_goes_on(h);
    snprintf(text, sizeof text, "%.0f/%.0f [%s] %s%s%s", step, asked, bar,
             number_share(step / asked).text, goes_on ? "  ETA " : "",
             goes_on ? number_time(left).text : "");
    add_line(f, "step", text, 0);
}

static void add_loss(struct frame *f)
{
    const struct history *h = f->history;
    const struct series_row *row = history_row(h, 0);
    char text[160];
    double loss = row->values[SERIES_LOSS];
    int used = snprintf(text, sizeof text, "%s", isfinite(loss) ? number_loss(loss).text : "nan");
    if (isfinite(h->last_validation.value))
        used += snprintf(text + used, sizeof text - (size_t)used, "  validation %s at step %.0f",
                         number_loss(h->last_validation.value).text, h->last_validation.step);
    used += snprintf(text + used, sizeof text - (size_t)used, "  norm %s  lr %s",
                     number_plain(row->values[SERIES_NORM]).text,
                     number_exponent(row->values[SERIES_RATE]).text);
    if (row->values[SERIES_SCALE] > 1)
        snprintf(text + used, sizeof text - (size_t)used, "  scale %.0f",
                 row->values[SERIES_SCALE]);
    add_line(f, "loss", text, 0);
    add_spark(f);
}

/* Shares of the newest steps, of the lanes that took more than 0.5%. */
static void add_waits(struct frame *f)
{
    char text[256];
    double seconds = history_recent_mean(f->history, SERIES_SECONDS), sum = 0;
    double waits[LANE_COUNT];
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        waits[lane] =
            history_recent_mean(f->history, (enum series_column)(SERIES_WAIT + lane)) / seconds;
        sum += waits[lane] > 0 ? waits[lane] : 0;
    }
    int used = snprintf(text, sizeof text, "%s", number_share(sum).text);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        if (waits[lane] > 0.005)
            used += snprintf(text + used, sizeof text - (size_t)used, "  %s %s",
                             program_lane_name((enum program_lane)lane),
                             number_share(waits[lane]).text);
    if (isfinite(sum)) add_line(f, "waits", text, 0);
}

static void add_speed(struct frame *f)
{
    const struct history *h = f->history;
    double read = history_recent_mean(h, SERIES_DISK_READ);
    double written = history_recent_mean(h, SERIES_DISK_WRITTEN);
    char text[160];
    snprintf(text, sizeof text, "%s tokens/s  %s per step",
             number_si(history_recent_mean(h, SERIES_SPEED), "").text,
             number_time(history_recent_mean(h, SERIES_SECONDS)).text);
    add_line(f, "speed", text, 0);
    add_waits(f);
    if (!(read > 0 || written > 0)) return;
    snprintf(text, sizeof text, "%s read, %s written per step", number_si(read, "B").text,
             number_si(written, "B").text);
    add_line(f, "disk", text, 0);
}

static void add_checkpoint(struct frame *f)
{
    const struct history *h = f->history;
    char text[160];
    if (h->checkpoint_count == 0 && !h->checkpoint_begun) return;
    int used = 0;
    text[0] = 0;
    if (h->checkpoint_count) {
        double age = difftime(time(NULL), h->checkpoints[0].time);
        used = snprintf(text, sizeof text, "step %.0f, %s, %s ago", h->checkpoints[0].step,
                        number_si(h->checkpoints[0].bytes, "B").text,
                        number_time(age > 0 ? age : 0).text);
    }
    if (h->checkpoint_begun && h->state == HISTORY_RUNNING)
        snprintf(text + used, sizeof text - (size_t)used, "%sone is being written",
                 used ? "; " : "");
    if (text[0]) add_line(f, "checkpoint", text, 0);
}

static void add_starts(struct frame *f)
{
    const struct history *h = f->history;
    const struct history_start *last = history_start(h, 0);
    char text[160], when[HISTORY_NAME];
    if (h->start_count < 2) return;
    clean(when, sizeof when, last->started);
    snprintf(text, sizeof text, "%.0f, the last after step %.0f, %s", (double)h->start_count - 1,
             last->step, when);
    add_line(f, "restarts", text, 0);
}

static void add_state(struct frame *f)
{
    const struct history *h = f->history;
    char text[2 * HISTORY_TEXT + 8], name[HISTORY_TEXT], about[HISTORY_TEXT];
    clean(name, sizeof name, h->name[0] ? h->name : h->directory);
    add_line(f, "run", name, 0);
    clean(about, sizeof about, h->state == HISTORY_ENDED ? h->end.reason : h->holder);
    clean(name, sizeof name, page_state(h));
    if (h->state == HISTORY_DIED)
        snprintf(about, sizeof about, "no end.yaml, and no process holds run.lock");
    snprintf(text, sizeof text, "%s%s%s", name, about[0] ? ": " : "", about);
    add_line(f, "state", text, 0);
}

/* What somebody should look at. */
static void add_warnings(struct frame *f)
{
    const struct history *h = f->history;
    char text[160];
    double age = difftime(time(NULL), h->row_time);
    double usual = STALLED_STEPS * history_recent_mean(h, SERIES_SECONDS);
    if (history_goes_on(h) && h->all.rows && age > STALLED_S && !(age <= usual)) {
        snprintf(text, sizeof text,
                 "no new step for %s: a long validation or checkpoint, or stalled",
                 number_time(age).text);
        add_line(f, "WARNING", text, 0);
    }
    if (h->all.skipped) {
        snprintf(text, sizeof text, "%.0f steps skipped, the first %.0f: not finite",
                 (double)h->all.skipped, h->all.skipped_step);
        add_line(f, "WARNING", text, 0);
    }
    if (h->steps.odd_lines) {
        snprintf(text, sizeof text, "%.0f lines of steps.csv are no rows",
                 (double)h->steps.odd_lines);
        add_line(f, "WARNING", text, 0);
    }
}

/* One block; `above` lines of an earlier one are written over. */
static enum zi_status draw(struct frame *f, int above)
{
    f->bytes = NULL;
    f->lines = 0;
    f->out = open_memstream(&f->bytes, &f->size);
    if (!f->out) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the picture of the run");
    if (above > 0) fprintf(f->out, "\033[%dA", above);
    add_state(f);
    if (f->history->all.rows) {
        add_progress(f);
        add_loss(f);
        add_speed(f);
        add_checkpoint(f);
        add_starts(f);
    } else {
        add_line(f, "step", "none yet", 0);
    }
    add_warnings(f);
    /* What an earlier block had below. */
    if (f->terminal) fputs("\033[J", f->out);
    bool failed = fclose(f->out) != 0;
    if (!failed) fwrite(f->bytes, 1, f->size, stdout);
    free(f->bytes);
    if (failed) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the picture of the run");
    return output_standard_check();
}

static bool says_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static void find_terminal(struct frame *f, bool once)
{
    struct winsize size;
    const char *kind = getenv("TERM");
    f->columns = COLUMNS_MOST;
    f->utf8 = says_utf8();
    f->terminal = !once && isatty(STDOUT_FILENO) && kind && strcmp(kind, "dumb") != 0;
    /* A line as wide as the terminal would leave the cursor in the next row of some. */
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        f->columns = size.ws_col - 1;
    if (f->columns < COLUMNS_LEAST) f->columns = COLUMNS_LEAST;
    if (f->columns > COLUMNS_MOST) f->columns = COLUMNS_MOST;
}

static enum zi_status watch(struct history *history, bool once, double every_s)
{
    struct frame frame = {.history = history};
    struct timespec pause = {.tv_sec = (time_t)every_s};
    pause.tv_nsec = (long)(1e9 * (every_s - (double)pause.tv_sec));
    for (int above = 0;; above = frame.lines) {
        find_terminal(&frame, once);
        ZI_TRY(draw(&frame, above));
        if (!frame.terminal || !history_goes_on(history)) return ZI_OK;
        nanosleep(&pause, NULL);
        ZI_TRY(history_update(history));
    }
}

enum zi_status watch_command(struct comm *world, const struct options *options)
{
    (void)world;
    double every_s = 1;
    struct history *history;
    ZI_TRY(options_real(options, "--every", 0.1, 3600, &every_s));
    ZI_TRY(history_open(options->words[0], &history));
    enum zi_status status = watch(history, options_given(options, "--once"), every_s);
    history_close(history);
    return status;
}

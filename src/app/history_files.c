/* SPDX-License-Identifier: Apache-2.0 */
/* The small files of a run directory: end.yaml, used.yaml, checkpoints, run.lock.
 *
 * end.yaml and used.yaml are what zinf writes, a key a line, so a line is looked for and no YAML is
 * parsed: a deck that this version would refuse is shown all the same. Files appear under their
 * names when they are whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/history.h"
#include "app/report.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"

enum { END_BYTES = 1 << 13, RECENT_S = 60 };

/* At most `most` bytes of a file as a text, which the caller frees; NULL where it is absent. */
static enum zi_status read_text(const char *directory, const char *name, size_t most, char **text,
                                bool *cut)
{
    char path[PATH_MAX];
    struct stat is;
    int file;
    int64_t bytes;
    *text = NULL;
    ZI_TRY(report_path(directory, name, path));
    if (stat(path, &is) != 0 && errno == ENOENT) return ZI_OK;
    ZI_TRY(zi_file_open_input("app", path, &file, &bytes));
    char *read_to = malloc(most + 1);
    ssize_t count = read_to ? pread(file, read_to, most, 0) : 0;
    int error = errno;
    close(file);
    if (!read_to) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to read %s", path);
    if (count < 0) {
        free(read_to);
        return zi_fail(ZI_ERROR_IO, "app", "cannot read %s: %s", path, strerror(error));
    }
    read_to[count] = 0;
    *text = read_to;
    if (cut) *cut = bytes > (int64_t)most;
    return ZI_OK;
}

/* Takes quotes away, as deck_echo and report_end write them: \" and \\; \n, \t and \uXXXX, of
 * characters that cannot be shown, become blanks and question marks. */
static void unquote(const char *from, char *to, size_t size)
{
    size_t used = 0;
    for (from++; *from && *from != '"' && used + 1 < size; from++) {
        if (*from != '\\' || !from[1]) {
            to[used++] = *from;
            continue;
        }
        char letter = *++from;
        bool coded = letter == 'u' && strspn(from + 1, "0123456789ABCDEF") >= 4;
        to[used++] = coded ? '?' : letter == 'n' || letter == 't' ? ' ' : letter;
        if (coded) from += 4;
    }
    to[used] = 0;
}

/* NULL behind the last. */
static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : NULL;
}

/* The value of the first line `key: value` of text, up to its comment; "" where there is none. */
static void find_value(const char *text, const char *key, char *value, size_t size)
{
    size_t length = strlen(key);
    value[0] = 0;
    for (const char *line = text; line; line = next_line(line)) {
        const char *at = line + strspn(line, " ");
        if (strncmp(at, key, length) != 0 || at[length] != ':') continue;
        at += length + 1;
        at += strspn(at, " ");
        if (*at == '"') {
            unquote(at, value, size);
            return;
        }
        size_t count = strcspn(at, "#\n\r");
        while (count > 0 && at[count - 1] == ' ')
            count--;
        snprintf(value, size, "%.*s", (int)(count < size ? count : size - 1), at);
        return;
    }
}

/* A number at the start of a value, as in "700 steps". */
static double find_number(const char *text, const char *key)
{
    char value[64], *end;
    find_value(text, key, value, sizeof value);
    double number = strtod(value, &end);
    return end == value || !isfinite(number) ? NAN : number;
}

static enum zi_status read_end(struct history *h, bool *found)
{
    char *text;
    struct history_end *end = &h->end;
    ZI_TRY(read_text(h->directory, "end.yaml", END_BYTES, &text, NULL));
    *found = text;
    const char *known = text ? text : "";
    end->code = find_number(known, "code");
    end->step = find_number(known, "step");
    end->steps = find_number(known, "steps");
    end->checkpoint = find_number(known, "checkpoint");
    find_value(known, "end", end->end, sizeof end->end);
    find_value(known, "reason", end->reason, sizeof end->reason);
    free(text);
    return ZI_OK;
}

static enum zi_status read_deck(struct history *h)
{
    char *text;
    ZI_TRY(read_text(h->directory, "used.yaml", HISTORY_DECK, &text, &h->deck_cut));
    free(h->deck);
    h->deck = text;
    const char *section = text ? strstr(text, "run:\n") : NULL;
    find_value(section ? section : "", "name", h->name, sizeof h->name);
    h->steps_asked = find_number(section ? section : "", "steps");
    return ZI_OK;
}

/* Newest first. */
static int by_step(const void *left, const void *right)
{
    double a = ((const struct history_checkpoint *)left)->step;
    double b = ((const struct history_checkpoint *)right)->step;
    return (a < b) - (a > b);
}

/* Keeps the newest ones: the oldest gives its place away when there is none left. */
static void keep_checkpoint(struct history *h, const struct history_checkpoint *found)
{
    h->checkpoint_files++;
    if (h->checkpoint_count == HISTORY_CHECKPOINTS) {
        qsort(h->checkpoints, HISTORY_CHECKPOINTS, sizeof *h->checkpoints, by_step);
        if (h->checkpoints[HISTORY_CHECKPOINTS - 1].step > found->step) return;
        h->checkpoint_count--;
    }
    h->checkpoints[h->checkpoint_count++] = *found;
}

static void take_checkpoint(struct history *h, const char *folder, const char *name, double latest)
{
    char path[PATH_MAX];
    struct stat is;
    if (checkpoint_kind_of(name, NULL) != S_IFREG) return;
    int64_t step = checkpoint_step_of(name, "");
    h->checkpoint_begun |= step < 0;
    if (step < 0 || snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX ||
        stat(path, &is) != 0 || !S_ISREG(is.st_mode))
        return;
    const struct history_checkpoint found = {(double)step, (double)is.st_size, is.st_mtime,
                                             (double)step == latest};
    keep_checkpoint(h, &found);
}

static enum zi_status read_checkpoints(struct history *h)
{
    char folder[PATH_MAX], path[PATH_MAX], target[NAME_MAX + 1];
    h->checkpoint_count = h->checkpoint_files = 0;
    h->checkpoint_begun = false;
    ZI_TRY(report_path(h->directory, "checkpoints", folder));
    ZI_TRY(report_path(folder, "latest", path));
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    double latest = (double)checkpoint_step_of(target, "");
    DIR *entries = opendir(folder);
    if (!entries) return ZI_OK;
    for (struct dirent *entry; (entry = readdir(entries));)
        take_checkpoint(h, folder, entry->d_name, latest);
    closedir(entries);
    qsort(h->checkpoints, (size_t)h->checkpoint_count, sizeof *h->checkpoints, by_step);
    return ZI_OK;
}

/* Whether a row came a short while ago. A run on another host may hold a lock that a file system
 * does not show here. */
static bool is_fresh(const struct history *h)
{
    struct stat is;
    return stat(h->steps.path, &is) == 0 && time(NULL) - is.st_mtime < RECENT_S;
}

/* A folder that cannot be opened is said by who reads the files in it. */
static struct lock_view look_at_lock(struct history *history)
{
    struct lock_view view = {.state = LOCK_UNKNOWN};
    int folder = open(history->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        lock_look(folder, &view);
        close(folder);
    }
    snprintf(history->holder, sizeof history->holder, "%s", view.text);
    return view;
}

enum zi_status history_read_files(struct history *history)
{
    bool ended;
    /* The lock before the end: a run that has given its lock back has written its end. */
    struct lock_view found = look_at_lock(history);
    ZI_TRY(read_end(history, &ended));
    ZI_TRY(read_deck(history));
    ZI_TRY(read_checkpoints(history));
    if (ended)
        history->state = HISTORY_ENDED;
    else if (found.state == LOCK_HELD)
        history->state = HISTORY_RUNNING;
    else if (found.state == LOCK_UNKNOWN || (history->holder[0] && is_fresh(history)))
        history->state = HISTORY_UNSURE;
    else
        history->state = HISTORY_DIED;
    return ZI_OK;
}

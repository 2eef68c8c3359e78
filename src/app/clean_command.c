/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf clean`: what dead runs left below some folders.
 *
 * A run that is killed leaves the folder of its store on the disks of its nodes, local checkpoints,
 * a checkpoint that is half written, and the lock of its run directory. On a cluster a job may never
 * come back to such a node, so that no later run finds them.
 *
 * What is a run's, and whether that run lives, is asked of those who make the things: of stores the
 * tier room; a half written checkpoint and run.lock are dead when nobody holds the lock of the run
 * directory, and while they are removed this command holds it, so that no run begins among them. A
 * run without a lock counts as dead when its end.yaml is there, which a run removes when it begins.
 * Local checkpoints are left when their run directory can go on with them.
 *
 * Folders are opened one below the other and never through a link, nor on another file system than
 * that of the folder that was named; names are removed from what was opened. What another user has
 * made, or may not be entered, is passed over (but root sees all). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/clean.h"
#include "app/level.h"
#include "app/lock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/local_folder.h"
#include "tier/clean.h"

enum {
    DEPTH_MAX = 100, /* two descriptors a level */
    CAUSE_BYTES = 256
};

struct clean {
    bool remove;
    time_t now;
    /* Of the folder that was named */
    dev_t device;
    /* Things found: to remove or removed, and those that stay */
    int dead, staying;
    /* Of the dead */
    size_t bytes;
    /* Something could not be looked at, or removed; it has been said */
    bool failed;
};

/* A folder on the way. */
struct place {
    struct clean *clean;
    /* For people */
    const char *path;
    /* Open */
    int directory;
};

static const char unknown[] = "whether its run lives cannot be told here";

/* Something that a dead run left. */
struct remnant {
    /* The name is one in the place */
    const char *what, *name;
    size_t bytes;
    time_t written;
    /* What is known of the run */
    const char *owner;
    /* Why it stays, or NULL */
    const char *stays;
    /* Since it cannot be removed */
    bool failed;
};

static const char *age_text(double seconds, char *text, size_t size)
{
    static const struct {
        double seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {0, "s"}};
    int i = 0;
    while (seconds < units[i].seconds && units[i].seconds > 0)
        i++;
    double unit = units[i].seconds > 0 ? units[i].seconds : 1;
    snprintf(text, size, "%.0f %s", seconds < 0 ? 0.0 : seconds / unit, units[i].unit);
    return text;
}

static void tell(const struct place *place, const struct remnant *remnant)
{
    struct clean *clean = place->clean;
    char size[32], age[32];
    const char *state = clean->remove ? "removed" : "dead";
    if (remnant->stays) state = "stays";
    if (clean->dead + clean->staying == 0)
        printf("%-10s %10s %8s  %-7s  %s\n", "what", "size", "age", "state", "path and run");
    printf("%-10s %10s %8s  %-7s  %s/%s%s%s%s%s\n", remnant->what,
           zi_memory_text(remnant->bytes, size, sizeof size),
           age_text(difftime(clean->now, remnant->written), age, sizeof age), state, place->path,
           remnant->name, remnant->owner[0] ? "; " : "", remnant->owner, remnant->stays ? "; " : "",
           remnant->stays ? remnant->stays : "");
    clean->failed |= remnant->failed;
    if (remnant->stays) {
        clean->staying++;
    } else {
        clean->dead++;
        clean->bytes += remnant->bytes;
    }
}

/* ---- stores ---- */

static void tell_store(void *context, const struct tier_remains *remains)
{
    const struct place *place = context;
    char owner[1024] = "", stays[512] = "";
    if (remains->run[0]) snprintf(owner, sizeof owner, "run %s on %s", remains->run, remains->host);
    if (remains->state == TIER_REMAINS_ELSEWHERE)
        snprintf(stays, sizeof stays, "whether its run lives is known on %s only; clean it there",
                 remains->host);
    else if (remains->state == TIER_REMAINS_SHARED)
        snprintf(stays, sizeof stays, "its files are removed, but zinf has not made %s in it",
                 remains->reason);
    else if (remains->state == TIER_REMAINS_FAILED)
        snprintf(stays, sizeof stays, "cannot be removed: %s", remains->reason);
    tell(place, &(struct remnant){.what = "store",
                                  .name = remains->name,
                                  .bytes = remains->bytes,
                                  .written = remains->written,
                                  .owner = owner,
                                  .stays = stays[0] ? stays : NULL,
                                  .failed = remains->state == TIER_REMAINS_FAILED});
}

/* ---- run directories ---- */

static bool is_regular(int directory, const char *name)
{
    struct stat is;
    return fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(is.st_mode);
}

/* A list of the folder that leaves the descriptor as it is; NULL after saying why. */
static DIR *list_place(const struct place *place)
{
    int again = openat(place->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    if (list) return list;
    zi_log(ZI_LOG_ERROR, "app", "%s: cannot be listed: %s", place->path, strerror(errno));
    if (again >= 0) close(again);
    place->clean->failed = true;
    return NULL;
}

/* Of a folder that may be `checkpoints` of a run: the run directory, open; -1 when it is none. The
 * name is not asked, since the folder may have been named as "." */
static int open_run(const struct place *place)
{
    struct stat own, named;
    int above = openat(place->directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above < 0) return -1;
    if (fstat(place->directory, &own) == 0 &&
        fstatat(above, "checkpoints", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        own.st_ino == named.st_ino && own.st_dev == named.st_dev)
        return above;
    close(above);
    return -1;
}

static bool is_own(const struct stat *is)
{
    return geteuid() == 0 || is->st_uid == geteuid();
}

static bool is_remnant(int directory, const char *name, struct stat *is)
{
    bool temporary;
    mode_t kind = checkpoint_kind_of(name, &temporary);
    return temporary && fstatat(directory, name, is, AT_SYMLINK_NOFOLLOW) == 0 &&
           (is->st_mode & S_IFMT) == kind && is_own(is);
}

/* Says that something stays, and why: errno. `cause` is the text's room. */
static void keep(struct remnant *remnant, char cause[CAUSE_BYTES])
{
    snprintf(cause, CAUSE_BYTES, "cannot be removed: %s", strerror(errno));
    remnant->stays = cause;
    remnant->failed = true;
}

/* The half written checkpoints of a folder; `run` is what is known of all of them. */
static void each_temporary(const struct place *place, const struct remnant *run)
{
    char cause[CAUSE_BYTES];
    struct stat is;
    DIR *list = list_place(place);
    for (struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list)) {
        if (!is_remnant(place->directory, entry->d_name, &is)) continue;
        struct remnant remnant = *run;
        remnant.name = entry->d_name;
        remnant.bytes = (size_t)is.st_blocks * 512;
        remnant.written = is.st_mtime;
        if (place->clean->remove && !run->stays &&
            unlinkat(place->directory, remnant.name, 0) != 0) {
            if (errno == ENOENT) continue;
            keep(&remnant, cause);
        }
        tell(place, &remnant);
    }
    if (list) closedir(list);
}

/* In a folder of checkpoints, those that are half written and whose run is dead. */
static void clean_checkpoints(const struct place *place)
{
    struct lock_view view;
    char cause[CAUSE_BYTES];
    int lock = -1, run = open_run(place);
    if (run < 0) return;
    lock_look(run, &view);
    struct remnant remnant = {.what = "checkpoint", .owner = view.text};
    bool ended = view.state == LOCK_NONE && is_regular(run, "end.yaml");
    bool dead = view.state == LOCK_FREE || ended;
    bool untold = view.state == LOCK_UNKNOWN || (view.state == LOCK_NONE && !ended);
    if (untold) remnant.stays = unknown;
    if (dead && place->clean->remove && !lock_seize(run, &lock)) {
        dead = errno != EAGAIN; /* else a run has it by now */
        keep(&remnant, cause);
    }
    if (dead || untold) each_temporary(place, &remnant);
    if (lock >= 0) (void)lock_drop(run, lock, false);
    close(run);
}

static void clean_lock(const struct place *place)
{
    struct lock_view view;
    char cause[CAUSE_BYTES];
    int lock;
    lock_look(place->directory, &view);
    bool known = view.state == LOCK_FREE || view.state == LOCK_UNKNOWN;
    if (!known || !view.text[0] || !is_own(&view.is)) return;
    struct remnant remnant = {.what = "lock",
                              .name = "run.lock",
                              .bytes = (size_t)view.is.st_blocks * 512,
                              .written = view.is.st_mtime,
                              .owner = view.text,
                              .stays = view.state == LOCK_UNKNOWN ? unknown : NULL};
    if (place->clean->remove && !remnant.stays) {
        bool holds = lock_seize(place->directory, &lock);
        if (!holds && errno == EAGAIN) return; /* a run has it by now */
        if (!holds || !lock_drop(place->directory, lock, true)) keep(&remnant, cause);
    }
    tell(place, &remnant);
}

/* ---- local checkpoints ---- */

enum local_use { LOCAL_LIVES, LOCAL_WANTED, LOCAL_UNTOLD, LOCAL_DEAD };

/* Whether anybody will want them again, by their run directory. One that is gone, though the folder
 * is there in which it was, was removed. */
static enum local_use local_use_of(const struct local_owner *owner)
{
    struct lock_view view;
    struct stat is;
    char above[PATH_MAX];
    uint64_t identity;
    int run = open(owner->run_directory, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (run < 0) {
        bool gone = errno == ENOENT;
        const char *slash = strrchr(owner->run_directory, '/');
        if (!gone || !slash || slash == owner->run_directory) return LOCAL_UNTOLD;
        snprintf(above, sizeof above, "%.*s", (int)(slash - owner->run_directory),
                 owner->run_directory);
        return stat(above, &is) == 0 && S_ISDIR(is.st_mode) ? LOCAL_DEAD : LOCAL_UNTOLD;
    }
    lock_look(run, &view);
    close(run);
    if (view.state == LOCK_HELD) return LOCAL_LIVES;
    if (view.state == LOCK_UNKNOWN) return LOCAL_UNTOLD;
    bool known = level_identity(owner->run_directory, &identity);
    return known && identity == owner->identity ? LOCAL_WANTED : LOCAL_DEAD;
}

/* False when the name is not that of a folder of local checkpoints. */
static bool clean_local(const struct place *place, const char *name)
{
    struct local_remains remains;
    char owner[PATH_MAX + 512], cause[CAUSE_BYTES];
    struct stat is;
    if (!local_folder_look(place->directory, name, &remains) ||
        fstatat(place->directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0 || !is_own(&is))
        return false;
    enum local_use use = remains.held ? LOCAL_LIVES : local_use_of(&remains.owner);
    if (use == LOCAL_LIVES) return true;
    snprintf(owner, sizeof owner, "of the run directory %s, written on %s",
             remains.owner.run_directory, remains.owner.host);
    struct remnant remnant = {.what = "local",
                              .name = name,
                              .bytes = remains.bytes,
                              .written = remains.written,
                              .owner = owner};
    if (use == LOCAL_UNTOLD) remnant.stays = unknown;
    if (use == LOCAL_WANTED) remnant.stays = "zinf run --resume auto can go on from it";
    if (place->clean->remove && !remnant.stays) {
        int error = local_folder_remove(place->directory, name);
        errno = error;
        if (error != 0) keep(&remnant, cause);
    }
    tell(place, &remnant);
    return true;
}

/* ---- the way ---- */

static enum zi_status walk(const struct place *place, int depth);

/* Enters a folder below, if it is one, on the same file system. */
static enum zi_status enter(const struct place *above, const char *name, int depth)
{
    char path[PATH_MAX];
    struct stat is;
    if (fstatat(above->directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(is.st_mode) ||
        is.st_dev != above->clean->device)
        return ZI_OK;
    int length = snprintf(path, sizeof path, "%s/%s", above->path, name);
    if (length >= (int)sizeof path || depth >= DEPTH_MAX) {
        zi_log(ZI_LOG_ERROR, "app", "%s/%s lies too deep to be looked at; name it", above->path,
               name);
        above->clean->failed = true;
        return ZI_OK;
    }
    int directory = openat(above->directory, name,
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (directory < 0) {
        if (errno == EACCES || errno == EPERM || errno == ENOENT) return ZI_OK;
        zi_log(ZI_LOG_ERROR, "app", "%s: cannot be opened: %s", path, strerror(errno));
        above->clean->failed = true;
        return ZI_OK;
    }
    struct place place = {.clean = above->clean, .path = path, .directory = directory};
    enum zi_status status = walk(&place, depth + 1);
    close(directory);
    return status;
}

/* The lock last: by it is known that the checkpoints below are of a dead run. */
static enum zi_status walk(const struct place *place, int depth)
{
    enum zi_status status = tier_store_clean(place->path, place->directory, place->clean->remove,
                                             tell_store, (void *)place);
    if (status == ZI_ERROR_IO) {
        place->clean->failed = true;
        status = ZI_OK;
    }
    ZI_TRY(status);
    clean_checkpoints(place);
    DIR *list = list_place(place);
    for (struct dirent *entry = list ? readdir(list) : NULL; entry && status >= 0;
         entry = readdir(list)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = zi_stop_check();
        if (status >= 0 && !clean_local(place, entry->d_name))
            status = enter(place, entry->d_name, depth);
    }
    if (list) closedir(list);
    if (status >= 0) clean_lock(place);
    return status;
}

/* The folder itself may be named by a link. */
static enum zi_status clean_path(struct clean *clean, const char *path)
{
    struct stat is;
    char name[PATH_MAX];
    if (stat(path, &is) != 0)
        return zi_fail(errno == ENOENT ? ZI_ERROR_USAGE : ZI_ERROR_IO, "app",
                       "%s: cannot be looked at: %s", path, strerror(errno));
    if (!S_ISDIR(is.st_mode))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s is %s; zinf clean takes folders: run directories, those above them, and "
                       "those of nvme.paths",
                       path, zi_file_kind(is.st_mode));
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (directory < 0 || fstat(directory, &is) != 0) {
        if (directory >= 0) close(directory);
        return zi_fail(ZI_ERROR_IO, "app", "%s: cannot be opened: %s", path, strerror(errno));
    }
    snprintf(name, sizeof name, "%s", path);
    for (size_t end = strlen(name); end > 0 && name[end - 1] == '/';) /* of PATH/ */
        name[--end] = '\0';
    clean->device = is.st_dev;
    struct place place = {.clean = clean, .path = name, .directory = directory};
    enum zi_status status = walk(&place, 0);
    close(directory);
    return status;
}

static void sum_up(const struct clean *clean)
{
    char size[32];
    zi_memory_text(clean->bytes, size, sizeof size);
    if (clean->dead == 0)
        printf("%s that dead runs left", clean->remove ? "nothing to remove" : "nothing");
    else if (clean->remove)
        printf("%d removed, %s are free again", clean->dead, size);
    else
        printf("%d left by dead runs, %s; zinf clean --remove removes them", clean->dead, size);
    if (clean->staying > 0) printf("; %d stay", clean->staying);
    printf("\n");
}

enum zi_status clean_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct clean clean = {.remove = options_given(options, "--remove"), .now = time(NULL)};
    enum zi_status worst = ZI_OK;
    for (int i = 0; i < options->word_count; i++) {
        enum zi_status status = clean_path(&clean, options->words[i]);
        if (status < worst) worst = status;
        if (status == ZI_STOPPED) break;
    }
    sum_up(&clean);
    return worst < 0 || !clean.failed ? worst : ZI_ERROR_IO;
}

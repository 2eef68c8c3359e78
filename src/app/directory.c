/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory.
 *
 * Two runs must never mix their outputs: a steps.csv of one beside a checkpoint of another is worse
 * than none. So the directory is locked before anything in it is looked at (lock.c), one that has
 * outputs of an earlier run is refused, and `--overwrite` removes these outputs, by their names,
 * before the first of the new ones is written. That happens late, after the data was found and the
 * memory was had, so that a deck that cannot run destroys nothing.
 *
 * An output's name is one that zinf makes, to the letter, and holds what zinf makes: a file, or a
 * link for `latest`. What else stands at such a name (a folder, a device, a link that somebody has
 * put there) is refused, never removed; other names are not looked at.
 *
 * Whether outputs can be made is tried first, by making files: a job should not wait for its first
 * checkpoint to find out. A folder `checkpoints` may be a link, to a larger disk. */
#include "app/directory.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"

static const char *const outputs[] = {
    "used.yaml",       "steps.csv",  "timings.csv", "checkpoints.csv", "memory.csv", "run.h5",
    "run.h5.previous", "trace.json", "report.html", "local.yaml",      "starts.csv",
};
enum { OUTPUT_COUNT = (int)(sizeof outputs / sizeof *outputs) };

/* Files that a run finds and replaces, and that are no obstacle to it. */
static const char *const kept[] = {"end.yaml", "data.scan"};
enum { KEPT_COUNT = (int)(sizeof kept / sizeof *kept) };

enum zi_status report_path(const char *directory, const char *name, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/%s", directory, name);
    if (length > 0 && length < PATH_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "run.directory: %s is too long a path", directory);
}

enum zi_status report_make_folder(const char *directory)
{
    char path[PATH_MAX];
    struct stat is;
    ZI_TRY(report_path(directory, "", path));
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        int error = mkdir(path, 0777) != 0 ? errno : 0;
        if (error != 0 && !(stat(path, &is) == 0 && S_ISDIR(is.st_mode)))
            return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot make the folder %s: %s", path,
                           error == EEXIST ? "something else has this name" : strerror(error));
        *at = '/';
    }
    return ZI_OK;
}

/* What is done with an output of an earlier run; `is` is of it. */
struct visitor {
    enum zi_status (*visit)(struct visitor *visitor, const char *path, const struct stat *is);
    const char *directory;
    /* The file system where sizes count. */
    dev_t device;
    /* Of the files there. */
    int64_t bytes;
};

/* Visits a name when something is there, which must be of the kind that zinf makes. */
static enum zi_status visit_name(struct visitor *visitor, const char *path, mode_t kind)
{
    struct stat is;
    if (lstat(path, &is) != 0) {
        if (errno == ENOENT) return ZI_OK;
        return zi_fail(ZI_ERROR_IO, "app", "cannot examine %s: %s", path, strerror(errno));
    }
    if ((is.st_mode & S_IFMT) == kind) return visitor->visit(visitor, path, &is);
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s is %s, which zinf has not made; move it, or choose another run.directory",
                   path, zi_file_kind(is.st_mode));
}

/* The folder of checkpoints, when there is one; *entries is NULL when the name is free. */
static enum zi_status open_checkpoints(const char *folder, DIR **entries)
{
    struct stat is;
    *entries = NULL;
    if (lstat(folder, &is) != 0 && errno == ENOENT) return ZI_OK;
    if (stat(folder, &is) != 0)
        return zi_fail(ZI_ERROR_IO, "app",
                       "%s cannot be reached: %s; where it is a link, make the folder that it "
                       "points to, or remove it",
                       folder, strerror(errno));
    if (!S_ISDIR(is.st_mode))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s is %s, and has the name of the folder of checkpoints; move it", folder,
                       zi_file_kind(is.st_mode));
    *entries = opendir(folder);
    if (*entries) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot read the folder %s: %s", folder, strerror(errno));
}

/* Visits every output that is there, until a visit fails. */
static enum zi_status each_output(struct visitor *visitor)
{
    char path[PATH_MAX], folder[PATH_MAX];
    enum zi_status status = ZI_OK;
    DIR *entries;
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        ZI_TRY(report_path(visitor->directory, outputs[i], path));
        ZI_TRY(visit_name(visitor, path, S_IFREG));
    }
    ZI_TRY(report_path(visitor->directory, "checkpoints", folder));
    ZI_TRY(open_checkpoints(folder, &entries));
    if (!entries) return ZI_OK;
    for (struct dirent *entry; status >= 0 && (entry = readdir(entries));) {
        mode_t kind = checkpoint_kind_of(entry->d_name, NULL);
        if (!kind) continue;
        status = report_path(folder, entry->d_name, path);
        if (status >= 0) status = visit_name(visitor, path, kind);
    }
    closedir(entries);
    return status;
}

static enum zi_status refuse(struct visitor *visitor, const char *path, const struct stat *is)
{
    (void)is;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "run.directory %s has outputs of an earlier run (%s); choose another with --set "
                   "run.directory=..., go on with it by --resume auto, or remove them with "
                   "--overwrite",
                   visitor->directory, path);
}

static enum zi_status add_size(struct visitor *visitor, const char *path, const struct stat *is)
{
    (void)path;
    if (is->st_dev == visitor->device) visitor->bytes += (int64_t)is->st_blocks * 512;
    return ZI_OK;
}

static enum zi_status remove_output(struct visitor *visitor, const char *path,
                                    const struct stat *is)
{
    (void)visitor;
    (void)is;
    if (unlink(path) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot remove %s: %s", path, strerror(errno));
}

/* Makes a file beside the one that a checkpoint will be; where the folder is absent it will be made
 * in the run directory, of which the lock has shown that it can be written. */
static enum zi_status try_checkpoints(const char *directory)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct stat is;
    ZI_TRY(report_path(directory, "checkpoints", folder));
    if (stat(folder, &is) != 0) return ZI_OK;
    ZI_TRY(report_path(folder, "step-00000000.h5", path));
    return zi_output_check("app", path);
}

static enum zi_status look(const char *directory, enum report_existing existing)
{
    struct visitor visitor = {.visit = existing == REPORT_REFUSE ? refuse : add_size,
                              .directory = directory};
    char path[PATH_MAX];
    ZI_TRY(each_output(&visitor));
    visitor.visit = add_size; /* only what is no file is refused */
    for (int i = 0; i < KEPT_COUNT; i++) {
        ZI_TRY(report_path(directory, kept[i], path));
        ZI_TRY(visit_name(&visitor, path, S_IFREG));
    }
    return try_checkpoints(directory);
}

enum zi_status report_prepare(const char *directory, enum report_existing existing,
                              struct lock **lock)
{
    struct lock *taken;
    ZI_TRY(report_make_folder(directory));
    ZI_TRY(lock_take(directory, &taken));
    enum zi_status status = look(directory, existing);
    if (status < 0)
        lock_release(taken);
    else
        *lock = taken;
    return status;
}

enum zi_status report_clear(const char *directory)
{
    struct visitor visitor = {.visit = remove_output, .directory = directory};
    return each_output(&visitor);
}

int64_t report_old_bytes(const char *directory, dev_t device)
{
    struct visitor visitor = {.visit = add_size, .directory = directory, .device = device};
    return each_output(&visitor) < 0 ? 0 : visitor.bytes;
}

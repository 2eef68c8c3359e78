/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory.
 *
 * Two runs must never mix their outputs: a steps.csv of one beside a checkpoint of another is worse
 * than none. So a directory that has outputs of an earlier run is refused, and `--overwrite`
 * removes these outputs, by their names, before the first of the new ones is written; other files
 * in the directory stay. That happens late, after the data was found and the memory was had, so
 * that a deck that cannot run destroys nothing.
 *
 * Whether the directory can be written is tried first, by making a file: a job should not wait for
 * its first checkpoint to find out. */
#include "app/report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static const char *const outputs[] = {
    "used.yaml", "steps.csv",       "timings.csv", "memory.csv",
    "run.h5",    "run.h5.previous", "trace.json",
};
enum { OUTPUT_COUNT = (int)(sizeof outputs / sizeof *outputs) };

static const char checkpoints[] = "checkpoints";

static enum zi_status make_path(const char *directory, const char *name, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/%s", directory, name);
    if (length > 0 && length < PATH_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "run.directory: %s is too long a path", directory);
}

static bool is_checkpoint(const char *name)
{
    return strncmp(name, "step-", 5) == 0 || strncmp(name, "latest", 6) == 0 ||
           strstr(name, ".tmp") != NULL;
}

/* Makes all folders of a path. */
static enum zi_status make_folders(const char *directory)
{
    char path[PATH_MAX];
    ZI_TRY(make_path(directory, "", path));
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot make %s: %s", path,
                           strerror(errno));
        *at = '/';
    }
    return ZI_OK;
}

static enum zi_status try_file(const char *directory)
{
    char path[PATH_MAX];
    ZI_TRY(make_path(directory, ".zinf-write-test", path));
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot write into %s: %s", directory,
                       strerror(errno));
    close(file);
    unlink(path);
    return ZI_OK;
}

/* Calls `visit` with the path of every output that is there, until it fails. */
static enum zi_status each_output(const char *directory,
                                  enum zi_status (*visit)(const char *directory, const char *path))
{
    char path[PATH_MAX], folder[PATH_MAX];
    struct stat info;
    enum zi_status status = ZI_OK;
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        ZI_TRY(make_path(directory, outputs[i], path));
        if (lstat(path, &info) == 0) ZI_TRY(visit(directory, path));
    }
    ZI_TRY(make_path(directory, checkpoints, folder));
    DIR *entries = opendir(folder);
    if (!entries) return ZI_OK;
    for (struct dirent *entry; status >= 0 && (entry = readdir(entries));) {
        if (!is_checkpoint(entry->d_name)) continue;
        status = make_path(folder, entry->d_name, path);
        if (status >= 0) status = visit(directory, path);
    }
    closedir(entries);
    return status;
}

static enum zi_status refuse(const char *directory, const char *path)
{
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "run.directory %s has outputs of an earlier run (%s); choose another with --set "
                   "run.directory=..., or remove them with --overwrite",
                   directory, path);
}

static enum zi_status remove_output(const char *directory, const char *path)
{
    (void)directory;
    if (unlink(path) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot remove %s: %s", path, strerror(errno));
}

enum zi_status report_prepare(const char *directory, bool overwrite)
{
    ZI_TRY(make_folders(directory));
    if (!overwrite) ZI_TRY(each_output(directory, refuse));
    return try_file(directory);
}

enum zi_status report_clear(const char *directory)
{
    return each_output(directory, remove_output);
}

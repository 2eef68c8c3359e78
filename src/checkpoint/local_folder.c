/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of a run's local checkpoints on a node.
 *
 * A path on a node's disk is used by many runs, one after the other and at the same time, and most
 * of them never come back to the node. So each run has a folder of its own there, named by its
 * identity, and in it a file `run` that says whose it is: format and identity, which must be that
 * of the name, the host, and the run directory, by which can be told whether anybody will want
 * them again (app/level.c). Ranks hold a lock on it, which goes with the process: run directories of
 * two containers may have the same name. Only files of names that zinf makes are removed, to the letter, and
 * only regular ones; the folder goes when nothing else is in it. */
#include "checkpoint/local_file.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_START "checkpoints-"

static const char owner_format[] = "zinf local checkpoints 1";

enum { ID_DIGITS = 16, OWNER_BYTES = PATH_MAX + 512 };

bool local_name_read(const char *name, const char *ending, int *rank, int64_t *step)
{
    char made[128];
    long long of;
    if (sscanf(name, "rank-%9d.step-%18lld", rank, &of) != 2 || *rank < 0 || of < 0) return false;
    *step = of;
    snprintf(made, sizeof made, "rank-%05d.step-%08lld.local%s", *rank, of, ending);
    return strcmp(name, made) == 0;
}

int64_t local_step_below(const char *folder, int rank, int64_t limit)
{
    DIR *list = opendir(folder);
    int64_t newest = -1, step;
    int of;
    for (struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list)) {
        if (local_name_read(entry->d_name, "", &of, &step) && of == rank && step < limit &&
            step > newest)
            newest = step;
    }
    if (list) closedir(list);
    return newest;
}

/* Whether an entry is a regular file that zinf makes there, and that of which rank and step (-1 of
 * none). */
static bool is_own(int directory, const char *name, int *rank, int64_t *step)
{
    static const char begun[] = LOCAL_OWNER ".tmp-";
    struct stat is;
    if (fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(is.st_mode))
        return false;
    if (local_name_read(name, "", rank, step)) return true;
    bool temporary = local_name_read(name, CHECKPOINT_TEMPORARY, rank, step);
    *step = -1;
    if (temporary) return true;
    *rank = -1;
    return strcmp(name, LOCAL_OWNER) == 0 || strncmp(name, begun, sizeof begun - 1) == 0;
}

void local_remove(const char *folder, int rank, int64_t standing)
{
    DIR *list = opendir(folder);
    int64_t step;
    int of;
    for (struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list)) {
        const char *name = entry->d_name;
        if (!is_own(dirfd(list), name, &of, &step)) continue;
        if (of != rank || (step >= 0 && step == standing)) continue;
        if (unlinkat(dirfd(list), name, 0) != 0 && errno != ENOENT)
            zi_log(ZI_LOG_WARN, "checkpoint", "%s/%s: cannot be removed: %s", folder, name,
                   strerror(errno));
    }
    if (list) closedir(list);
}

enum zi_status local_folder_name(const char *directory, uint64_t identity, char folder[PATH_MAX])
{
    int length = snprintf(folder, PATH_MAX, "%s/" FOLDER_START "%016" PRIx64, directory, identity);
    if (length > 0 && length < PATH_MAX - NAME_MAX) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "checkpoint", "checkpoint.local: %s is too long a path",
                   directory);
}

/* Makes all folders of a path. */
static enum zi_status make_folders(const char *folder)
{
    char path[PATH_MAX];
    struct stat is;
    snprintf(path, sizeof path, "%s", folder);
    for (char *at = path + 1;; at++) {
        char end = *at;
        if (end != '/' && end != '\0') continue;
        *at = '\0';
        int error = mkdir(path, end ? 0777 : 0700) != 0 ? errno : 0;
        if (error != 0 && !(stat(path, &is) == 0 && S_ISDIR(is.st_mode)))
            return zi_fail(ZI_ERROR_IO, "checkpoint",
                           "cannot make the folder %s: %s; choose another checkpoint.local", path,
                           error == EEXIST ? "something else has this name" : strerror(error));
        *at = end;
        if (!end) return ZI_OK;
    }
}

/* A line of the text at *at, which is moved behind it; false when it is too long or not whole. */
static bool take_line(const char **at, char *line, size_t size)
{
    size_t length = strcspn(*at, "\n");
    if ((*at)[length] != '\n' || length >= size) return false;
    memcpy(line, *at, length);
    line[length] = '\0';
    *at += length + 1;
    return true;
}

/* Whether a process holds the lock of an open file; one that cannot be asked counts as held. */
static bool is_held(int file)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(file, F_OFD_GETLK, &whole) != 0 || whole.l_type != F_UNLCK;
}

enum zi_status local_folder_hold(const char *folder, int *held)
{
    char path[PATH_MAX];
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    snprintf(path, sizeof path, "%s/" LOCAL_OWNER, folder);
    *held = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*held >= 0 && fcntl(*held, F_OFD_SETLK, &whole) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "checkpoint",
                   "%s: cannot be locked: %s; checkpoint.local is to be a folder on a local disk",
                   path, strerror(errno));
}

static bool read_owner(int directory, struct local_owner *owner, bool *held)
{
    char text[OWNER_BYTES + 1], format[sizeof owner_format], identity[ID_DIGITS + 1];
    struct stat is;
    const char *at = text;
    int file = openat(directory, LOCAL_OWNER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length = -1;
    if (file >= 0 && fstat(file, &is) == 0 && S_ISREG(is.st_mode))
        length = pread(file, text, OWNER_BYTES, 0);
    *held = file >= 0 && is_held(file);
    if (file >= 0) close(file);
    text[length > 0 ? length : 0] = '\0';
    if (!take_line(&at, format, sizeof format) || strcmp(format, owner_format) != 0 ||
        !take_line(&at, identity, sizeof identity) ||
        !take_line(&at, owner->host, sizeof owner->host) ||
        !take_line(&at, owner->run_directory, sizeof owner->run_directory))
        return false;
    owner->identity = strtoull(identity, NULL, 16);
    return true;
}

/* Whether the folder says already whose it is. */
static bool is_owned(const char *folder, const struct local_owner *owner)
{
    struct local_owner is;
    bool held;
    int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool same = directory >= 0 && read_owner(directory, &is, &held) &&
                is.identity == owner->identity &&
                strcmp(is.run_directory, owner->run_directory) == 0;
    if (directory >= 0) close(directory);
    return same;
}

enum zi_status local_folder_make(const char *folder, const struct local_owner *owner)
{
    char path[PATH_MAX], text[OWNER_BYTES], host[256] = "unknown";
    ZI_TRY(make_folders(folder));
    if (is_owned(folder, owner)) return ZI_OK;
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    snprintf(path, sizeof path, "%s/" LOCAL_OWNER, folder);
    snprintf(text, sizeof text, "%s\n%016" PRIx64 "\n%s\n%s\n", owner_format, owner->identity, host,
             owner->run_directory);
    ZI_TRY(zi_output_text("checkpoint", path, text));
    char *above = strndup(folder, (size_t)(strrchr(folder, '/') - folder));
    enum zi_status status = ZI_OK;
    if (!above) status = zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for a path's name");
    if (above) status = zi_file_sync_folder("checkpoint", above[0] ? above : "/");
    free(above);
    return status;
}

/* Whether the name is that of a run's folder. */
static bool names_folder(const char *name, uint64_t identity)
{
    char made[64];
    snprintf(made, sizeof made, FOLDER_START "%016" PRIx64, identity);
    return strcmp(name, made) == 0;
}

bool local_folder_look(int directory, const char *name, struct local_remains *remains)
{
    int64_t step;
    int rank;
    *remains = (struct local_remains){.bytes = 0};
    if (strncmp(name, FOLDER_START, sizeof FOLDER_START - 1) != 0) return false;
    int folder =
        openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    if (!list && folder >= 0) close(folder);
    bool owned = list && read_owner(folder, &remains->owner, &remains->held) &&
                 names_folder(name, remains->owner.identity);
    for (struct dirent *entry = owned ? readdir(list) : NULL; entry; entry = readdir(list)) {
        struct stat is;
        if (!is_own(folder, entry->d_name, &rank, &step) ||
            fstatat(folder, entry->d_name, &is, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        remains->bytes += (size_t)is.st_blocks * 512;
        if (is.st_mtime > remains->written) remains->written = is.st_mtime;
    }
    if (list) closedir(list);
    return owned;
}

/* Removes what zinf makes, but the file that says whose it is. 0 or the first errno. */
static int remove_files(DIR *list)
{
    int error = 0, removed = 1, rank;
    int64_t step;
    while (removed > 0 && error == 0) { /* removing may make readdir skip entries */
        removed = 0;
        rewinddir(list);
        for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
            const char *name = entry->d_name;
            if (strcmp(name, LOCAL_OWNER) == 0 || !is_own(dirfd(list), name, &rank, &step))
                continue;
            if (unlinkat(dirfd(list), name, 0) == 0)
                removed++;
            else if (error == 0 && errno != ENOENT)
                error = errno;
        }
    }
    return error;
}

int local_folder_remove(int directory, const char *name)
{
    struct local_remains remains;
    if (!local_folder_look(directory, name, &remains)) return ENOENT;
    if (remains.held) return EBUSY;
    int folder =
        openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    if (!list) {
        int error = errno;
        if (folder >= 0) close(folder);
        return error;
    }
    int error = remove_files(list);
    if (error == 0 && unlinkat(folder, LOCAL_OWNER, 0) != 0) error = errno;
    closedir(list);
    if (error == 0 && unlinkat(directory, name, AT_REMOVEDIR) != 0) error = errno;
    return error;
}

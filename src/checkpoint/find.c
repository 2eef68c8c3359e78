/* SPDX-License-Identifier: Apache-2.0 */
/* Which file a name stands for.
 *
 * A folder of checkpoints has a link `latest`, which is moved when a new one is whole. The link is
 * lost when somebody copies files one by one, and leads nowhere when somebody removes the file; the
 * other checkpoints of the folder are as good as ever. So where the link gives nothing, the newest
 * file that has a checkpoint's name and opens as one, with all states in it, is taken, and that is
 * said. A link that leads to a damaged file is no reason to take another one silently: that is an
 * error.
 *
 * Before HDF5 opens a file here, what it goes by has been compared (user_block.c), and a child has
 * opened it (base/probe.h): against a changed byte the first is enough, the second is for a file
 * that somebody made. */
#include "checkpoint/file.h"

#include "base/log.h"
#include "base/probe.h"
#include "checkpoint/user_block.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static enum zi_status join(const char *folder, const char *name, char path[PATH_SIZE])
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_SIZE)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: the path is too long", folder);
    return ZI_OK;
}

/* A regular file that is what zinf has written, and on which HDF5 does not fail. A file without a
 * user block may be anything, a damaged checkpoint too. */
static enum zi_status look_at(const char *path)
{
    bool present;
    ZI_TRY(user_block_check(path, &present));
    if (present) return zi_probe_file("checkpoint", path, "use an older checkpoint");
    if (H5Fis_hdf5(path) <= 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: no checkpoint: not an HDF5 file", path);
    return zi_fail(
        ZI_ERROR_USAGE, "checkpoint",
        "%s: no checkpoint that this version of zinf reads: it does not begin with a "
        "user block of zinf, so it is of another kind, was written by an earlier version "
        "or anew by another program, or is damaged; use another checkpoint",
        path);
}

static int is_whole(const char *path)
{
    struct comm *self;
    struct checkpoint *checkpoint = NULL;
    struct stat is;
    if (stat(path, &is) != 0 || !S_ISREG(is.st_mode) || comm_self(&self) < 0) return 0;
    int whole = checkpoint_open(self, path, &checkpoint) == ZI_OK;
    if (whole) checkpoint_close(checkpoint);
    comm_destroy(self);
    return whole;
}

static int select_checkpoint(const struct dirent *entry)
{
    return checkpoint_step_of(entry->d_name, "") >= 0;
}

static int newest_first(const struct dirent **a, const struct dirent **b)
{
    int64_t step_a = checkpoint_step_of((*a)->d_name, "");
    int64_t step_b = checkpoint_step_of((*b)->d_name, "");
    return (step_a < step_b) - (step_a > step_b);
}

/* The newest whole checkpoint of a folder, whose `latest` is `lack` ("has no link named latest").
 */
static enum zi_status find_newest(const char *folder, const char *lack, char path[PATH_SIZE])
{
    struct dirent **entries;
    int count = scandir(folder, &entries, select_checkpoint, newest_first), found = 0;
    if (count < 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: cannot be listed: %s", folder,
                       strerror(errno));
    for (int i = 0; i < count; i++) {
        if (!found && join(folder, entries[i]->d_name, path) == ZI_OK) {
            found = is_whole(path);
            if (!found) zi_log(ZI_LOG_WARN, "checkpoint", "%s is passed over", path);
        }
        free(entries[i]);
    }
    free(entries);
    if (!found)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s %s, and no file step-NNNNNNNN.h5 in it is a whole checkpoint; name a "
                       "checkpoint file",
                       folder, lack);
    zi_log(ZI_LOG_WARN, "checkpoint", "%s %s: %s is taken, the newest whole checkpoint in it",
           folder, lack, path);
    return ZI_OK;
}

/* What the link names, beside the link; the name itself where it is no link but a file. */
static enum zi_status find_latest(const char *folder, char path[PATH_SIZE])
{
    char link[PATH_SIZE], name[256], lack[320];
    struct stat is;
    ZI_TRY(join(folder, "latest", link));
    ssize_t size = readlink(link, name, sizeof name - 1);
    name[size > 0 ? size : 0] = '\0';
    if (stat(link, &is) == 0)
        return size > 0 && name[0] != '/' ? join(folder, name, path) : join(folder, "latest", path);
    if (size <= 0) return find_newest(folder, "has no link named latest", path);
    snprintf(lack, sizeof lack, "has a link latest to %s, which is not there", name);
    return find_newest(folder, lack, path);
}

enum zi_status checkpoint_find(const char *path, char **found)
{
    char resolved[PATH_SIZE];
    struct stat is;
    if (stat(path, &is) != 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: no such checkpoint: %s", path,
                       strerror(errno));
    if (S_ISDIR(is.st_mode)) {
        ZI_TRY(find_latest(path, resolved));
        path = resolved;
    }
    ZI_TRY(look_at(path));
    *found = strdup(path);
    if (!*found) return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the name of a file");
    return ZI_OK;
}

/* Of a folder's checkpoints, the file of the newest whose step is below `limit`; *step is -1 when
 * there is none. */
static enum zi_status find_below(const char *folder, int64_t limit, int64_t *step,
                                 char path[PATH_SIZE])
{
    struct dirent **entries;
    int count = scandir(folder, &entries, select_checkpoint, newest_first);
    enum zi_status status = ZI_OK;
    *step = -1;
    if (count < 0 && errno == ENOENT) return ZI_OK;
    if (count < 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be listed: %s", folder,
                       strerror(errno));
    for (int i = 0; i < count; i++) {
        int64_t own = checkpoint_step_of(entries[i]->d_name, "");
        if (*step < 0 && own < limit) {
            *step = own;
            status = join(folder, entries[i]->d_name, path);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

int64_t checkpoint_newest_step(const char *folder)
{
    char path[PATH_SIZE];
    int64_t step;
    return find_below(folder, INT64_MAX, &step, path) < 0 ? -1 : step;
}

/* Collective. Opens and verifies one; it is closed again when it does not hold. */
static enum zi_status open_verified(struct comm *comm, const char *path,
                                    struct checkpoint **checkpoint)
{
    ZI_TRY(checkpoint_open(comm, path, checkpoint));
    enum zi_status status = checkpoint_verify(*checkpoint);
    if (status >= 0) return ZI_OK;
    checkpoint_close(*checkpoint);
    *checkpoint = NULL;
    return status;
}

enum zi_status checkpoint_open_newest(struct comm *comm, const char *folder,
                                      struct checkpoint **checkpoint)
{
    int64_t limit = INT64_MAX;
    *checkpoint = NULL;
    for (;;) {
        char path[PATH_SIZE] = "";
        int64_t step = -1;
        enum zi_status status = ZI_OK;
        if (comm_rank(comm) == 0) status = find_below(folder, limit, &step, path);
        ZI_TRY(comm_agree(comm, status));
        ZI_TRY(comm_broadcast(comm, &step, (int64_t)sizeof step, 0));
        ZI_TRY(comm_broadcast(comm, path, PATH_SIZE, 0));
        if (step < 0 || open_verified(comm, path, checkpoint) >= 0) return ZI_OK;
        if (comm_rank(comm) == 0)
            zi_log(ZI_LOG_WARN, "checkpoint", "%s is damaged and passed over", path);
        limit = step;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The moment a checkpoint becomes one: rename, `latest`, and the removal of old ones. Rank 0 only.
 *
 * Order of changes, each durable before the next: (1) a new link latest.tmp, which is all that may
 * still need space; (2) rename of the file to its name; (3) fsync of the folder, without which a
 * power cut can lose the rename; (4) rename of latest.tmp to latest; (5) fsync again; (6) removal
 * of old files. A kill between any two of them leaves `latest` on a whole checkpoint.
 *
 * What is removed: beyond `keep` files the ones of lowest step, never the one just written; and
 * temporary files that killed runs have left. Only names that zinf makes, to the letter, and only
 * what zinf makes under them: files, and links for `latest`. A copy that a person has put beside
 * them is neither removed nor replaced. That a file cannot be removed is a warning: the checkpoint
 * is good. */
#include "checkpoint/file.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static enum zi_status fail_path(const char *path, const char *what)
{
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot %s: %s%s", path, what,
                           strerror(errno), checkpoint_remedy(errno));
}

static enum zi_status join(const char *directory, const char *name, char path[PATH_SIZE])
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", directory, name);
    if (length < 0 || length >= PATH_SIZE)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: the path is too long", directory);
    return ZI_OK;
}

int64_t checkpoint_step_of(const char *name, const char *ending)
{
    char made[64];
    if (strncmp(name, "step-", 5) != 0) return -1;
    size_t digits = strspn(name + 5, "0123456789");
    if (digits == 0 || digits > 18) return -1;
    int64_t step = (int64_t)strtoll(name + 5, NULL, 10);
    snprintf(made, sizeof made, CHECKPOINT_NAME "%s", (long long)step, ending);
    return strcmp(name, made) == 0 ? step : -1;
}

mode_t checkpoint_kind_of(const char *name, bool *temporary)
{
    bool file = checkpoint_step_of(name, CHECKPOINT_TEMPORARY) >= 0;
    bool link = strcmp(name, "latest" CHECKPOINT_TEMPORARY) == 0;
    if (temporary) *temporary = file || link;
    if (file || checkpoint_step_of(name, "") >= 0) return S_IFREG;
    return link || strcmp(name, "latest") == 0 ? S_IFLNK : 0;
}

enum zi_status checkpoint_name_free(const char *path, bool named)
{
    const char *slash = strrchr(path, '/');
    mode_t wanted = named ? S_IFREG : checkpoint_kind_of(slash ? slash + 1 : path, NULL);
    struct stat is;
    if (lstat(path, &is) != 0)
        return errno == ENOENT ? ZI_OK
                               : zi_fail(ZI_ERROR_IO, "checkpoint", "cannot examine %s: %s", path,
                                         strerror(errno));
    if ((is.st_mode & S_IFMT) == wanted) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                   "%s is %s, which zinf has not made and does not replace; move it", path,
                   zi_file_kind(is.st_mode));
}

static void remove_file(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    struct stat is;
    if (join(directory, name, path) < 0 || lstat(path, &is) != 0 || !S_ISREG(is.st_mode)) return;
    if (unlink(path) != 0 && errno != ENOENT)
        zi_log(ZI_LOG_WARN, "checkpoint", "%s: cannot be removed: %s", path, strerror(errno));
}

static int select_checkpoint(const struct dirent *entry)
{
    return checkpoint_step_of(entry->d_name, "") >= 0;
}

static int select_temporary(const struct dirent *entry)
{
    return checkpoint_step_of(entry->d_name, CHECKPOINT_TEMPORARY) >= 0;
}

static int compare_steps(const struct dirent **a, const struct dirent **b)
{
    int64_t step_a = checkpoint_step_of((*a)->d_name, "");
    int64_t step_b = checkpoint_step_of((*b)->d_name, "");
    return (step_a > step_b) - (step_a < step_b);
}

/* Whether a checkpoint stays whatever its age. */
static bool stays(const char *name, const char *newest, struct checkpoint_retention keep)
{
    int64_t step = checkpoint_step_of(name, "");
    return strcmp(name, newest) == 0 || (keep.every > 0 && step % keep.every == 0);
}

/* The one just written is the first of the newest; those that stay whatever their age do not count
 * among them. */
static void remove_old(const char *directory, const char *newest, struct checkpoint_retention keep)
{
    struct dirent **entries;
    int64_t kept = 1;
    int count = scandir(directory, &entries, select_checkpoint, compare_steps);
    for (int i = count - 1; i >= 0; i--) {
        const char *name = entries[i]->d_name;
        if (!stays(name, newest, keep)) {
            if (keep.newest > 0 && kept >= keep.newest) remove_file(directory, name);
            kept++;
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static void remove_temporaries(const char *directory)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, select_temporary, NULL);
    for (int i = 0; i < count; i++) {
        remove_file(directory, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

void checkpoint_clear(const char *directory)
{
    char link[PATH_SIZE];
    struct stat is;
    remove_temporaries(directory);
    if (join(directory, "latest" CHECKPOINT_TEMPORARY, link) < 0 || lstat(link, &is) != 0) return;
    if (S_ISLNK(is.st_mode) && unlink(link) != 0 && errno != ENOENT)
        zi_log(ZI_LOG_WARN, "checkpoint", "%s: cannot be removed: %s", link, strerror(errno));
}

void checkpoint_prune(const char *directory, int64_t newest, struct checkpoint_retention keep)
{
    char name[64];
    snprintf(name, sizeof name, CHECKPOINT_NAME, (long long)newest);
    remove_old(directory, name, keep);
}

/* A file that has a name of its own is no link's, and no older one's, business. */
static enum zi_status publish_named(const struct checkpoint *checkpoint)
{
    ZI_TRY(checkpoint_name_free(checkpoint->path, true));
    if (rename(checkpoint->temporary, checkpoint->path) != 0)
        return fail_path(checkpoint->temporary, "give the file its name");
    return zi_file_sync_folder("checkpoint", checkpoint->directory);
}

enum zi_status checkpoint_publish(struct checkpoint *checkpoint, struct checkpoint_retention keep)
{
    const char *directory = checkpoint->directory, *path = checkpoint->path;
    const char *name = path + strlen(directory) + 1;
    char link[PATH_SIZE], latest[PATH_SIZE];
    if (checkpoint->named) return publish_named(checkpoint);
    ZI_TRY(join(directory, "latest.tmp", link));
    ZI_TRY(join(directory, "latest", latest));
    ZI_TRY(checkpoint_name_free(path, false));
    ZI_TRY(checkpoint_name_free(latest, false));
    ZI_TRY(checkpoint_name_free(link, false));
    if (unlink(link) != 0 && errno != ENOENT) return fail_path(link, "replace the link");
    if (symlink(name, link) != 0) return fail_path(link, "make the link");
    if (rename(checkpoint->temporary, path) != 0) {
        enum zi_status status = fail_path(checkpoint->temporary, "give the file its name");
        unlink(link);
        return status;
    }
    ZI_TRY(zi_file_sync_folder("checkpoint", directory));
    if (rename(link, latest) != 0) return fail_path(latest, "move the link");
    ZI_TRY(zi_file_sync_folder("checkpoint", directory));
    remove_old(directory, name, keep);
    remove_temporaries(directory);
    return ZI_OK;
}

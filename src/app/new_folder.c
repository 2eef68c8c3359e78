/* SPDX-License-Identifier: Apache-2.0 */
/* A folder is written under the name FOLDER.tmp-XXXXXX and renamed. An empty folder that was there
 * before stays the folder that it is, since it may be a mount, or a shell may stand in it: its files are
 * written in FOLDER/.tmp-XXXXXX and moved up. It has files only, no folders. */
#include "app/new_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* Calls `act` for each name of the folder in the making; gives the first errno. */
static int each_file(const struct new_folder *folder,
                     int (*act)(const struct new_folder *, int directory, const char *name))
{
    int error = 0;
    DIR *list = opendir(folder->making);
    if (!list) return errno;
    for (struct dirent *entry = readdir(list); entry && error == 0; entry = readdir(list)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = act(folder, dirfd(list), entry->d_name);
    }
    closedir(list);
    return error;
}

static enum zi_status check_empty(const char *path)
{
    DIR *entries = opendir(path);
    if (!entries)
        return zi_fail(ZI_ERROR_USAGE, "app", "%s cannot be read as a folder: %s; name a new one",
                       path, strerror(errno));
    int count = 0;
    while (readdir(entries))
        count++;
    closedir(entries);
    if (count <= 2) return ZI_OK; /* . and .. */
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s is not empty: files of another model could stay among those of this one; "
                   "name a new folder, or empty it",
                   path);
}

/* The name without / at its end, or of an existing folder what it leads to. */
static enum zi_status find_name(const char *path, struct new_folder *folder)
{
    struct stat is;
    folder->was_there = lstat(path, &is) == 0;
    if (folder->was_there && !realpath(path, folder->name))
        return zi_fail(ZI_ERROR_USAGE, "app", "%s leads nowhere: %s; name a new folder", path,
                       strerror(errno));
    if (folder->was_there) return check_empty(folder->name);
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length == 0 || length >= sizeof folder->name)
        return zi_fail(ZI_ERROR_USAGE, "app", "%s is no name for a folder", path);
    memcpy(folder->name, path, length);
    folder->name[length] = '\0';
    return ZI_OK;
}

enum zi_status new_folder_begin(const char *path, struct new_folder *folder)
{
    *folder = (struct new_folder){.was_there = false};
    ZI_TRY(find_name(path, folder));
    int length = snprintf(folder->making, sizeof folder->making, "%s%s.tmp-XXXXXX", folder->name,
                          folder->was_there ? "/" : "");
    mode_t mask = umask(0);
    (void)umask(mask);
    if (length < 0 || length >= (int)sizeof folder->making)
        errno = ENAMETOOLONG;
    else if (mkdtemp(folder->making) && chmod(folder->making, 0777 & ~mask) == 0)
        return ZI_OK;
    int error = errno;
    folder->making[0] = '\0';
    return zi_fail(ZI_ERROR_IO, "app", "cannot make the folder %s: %s%s", path, strerror(error),
                   zi_file_remedy(error, "; make room, or write elsewhere"));
}

static int remove_file(const struct new_folder *folder, int directory, const char *name)
{
    (void)folder;
    return unlinkat(directory, name, 0) != 0 ? errno : 0;
}

static int move_up(const struct new_folder *folder, int directory, const char *name)
{
    char to[PATH_MAX];
    if (strcmp(name, folder->last) == 0) return 0;
    int length = snprintf(to, sizeof to, "%s/%s", folder->name, name);
    if (length < 0 || length >= (int)sizeof to) return ENAMETOOLONG;
    return renameat(directory, name, AT_FDCWD, to) != 0 ? errno : 0;
}

static int move_files(const struct new_folder *folder)
{
    char from[PATH_MAX + 64], to[PATH_MAX + 64];
    int error = each_file(folder, move_up);
    snprintf(from, sizeof from, "%s/%s", folder->making, folder->last);
    snprintf(to, sizeof to, "%s/%s", folder->name, folder->last);
    if (error == 0 && rename(from, to) != 0) error = errno;
    if (error == 0 && rmdir(folder->making) != 0) error = errno;
    return error;
}

/* The folder in which the name stands. */
static enum zi_status sync_parent(const struct new_folder *folder)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", folder->name);
    char *slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = '\0';
    return zi_file_sync_folder("app", slash ? parent : ".");
}

enum zi_status new_folder_finish(struct new_folder *folder, const char *last)
{
    int error = 0;
    folder->last = last;
    if (folder->was_there)
        error = move_files(folder);
    else if (rename(folder->making, folder->name) != 0)
        error = errno;
    if (error != 0)
        return zi_fail(ZI_ERROR_IO, "app", "cannot rename %s to %s: %s", folder->making,
                       folder->name, strerror(error));
    folder->making[0] = '\0';
    return folder->was_there ? zi_file_sync_folder("app", folder->name) : sync_parent(folder);
}

void new_folder_discard(struct new_folder *folder)
{
    if (!folder->making[0]) return;
    int error = each_file(folder, remove_file);
    if (error == 0 && rmdir(folder->making) != 0) error = errno;
    if (error != 0)
        zi_log(ZI_LOG_WARN, "app", "%s, which is not whole, is left: %s; remove it", folder->making,
               strerror(error));
    folder->making[0] = '\0';
}

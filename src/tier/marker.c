/* SPDX-License-Identifier: Apache-2.0 */
/* What is the store's on a path that it shares with others.
 *
 * The problem: folders of dead runs are removed on request, and a path is a folder in which people
 * also keep other things: an unpacked zinf-0.1, data in zinf-data. A name does not make a folder
 * the program's.
 *
 * The idea: who makes a run's folder writes a marker into it before anything else, with the path
 * locked. Seen with that lock, a folder has a marker, or is empty because its maker died in
 * between, or is somebody else's. In a folder with a marker, files are the store's by strict
 * patterns of their names, and only as regular files: what is a link, a fifo or a folder is not.
 *
 * The marker is one line: format and its version, host, run, process, time. Format and host decide
 * what may be removed; the rest is for people. */
#include "tier/marker.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char format[] = "zinf store 1: ";

enum { ID_DIGITS = 16, MARKER_BYTES = 1024 };

static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
}

bool marker_names_folder(const char *name)
{
    size_t length = strlen(name);
    if (length < 5 + 1 + 1 + ID_DIGITS || strncmp(name, "zinf-", 5) != 0) return false;
    const char *id = name + length - ID_DIGITS;
    if (id[-1] != '-' || strspn(id, "0123456789abcdef") != ID_DIGITS) return false;
    for (const char *at = name; at < id; at++) {
        if (!is_plain(*at)) return false;
    }
    return true;
}

/* <start><digits><end>, no more digits than a number of 32 bits has. */
static bool is_numbered(const char *name, const char *start, const char *end)
{
    size_t length = strlen(start);
    if (strncmp(name, start, length) != 0) return false;
    size_t digits = strspn(name + length, "0123456789");
    return digits >= 1 && digits <= 10 && strcmp(name + length + digits, end) == 0;
}

bool marker_names_rank(const char *name)
{
    return is_numbered(name, "rank-", ".h5");
}

bool marker_is_store_file(int directory, const char *name, size_t *bytes)
{
    struct stat is;
    bool named = marker_names_rank(name) || is_numbered(name, "speed-", "") ||
                 strcmp(name, "node") == 0 || strcmp(name, "kept") == 0 ||
                 strcmp(name, MARKER_NAME) == 0;
    if (!named || fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (bytes) *bytes = (size_t)is.st_blocks * 512;
    return S_ISREG(is.st_mode);
}

int marker_remove(int directory, const char *name)
{
    struct stat is;
    if (fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? 0 : errno;
    if (!marker_is_store_file(directory, name, NULL)) return EEXIST;
    return unlinkat(directory, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

enum zi_status marker_write(int directory, const char *folder, const char *run)
{
    char text[MARKER_BYTES], host[MARKER_HOST] = "unknown", stamp[64];
    char *name = NULL;
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    snprintf(text, sizeof text, "%shost %s, run %.400s, process %d, %s\n", format, host, run,
             (int)getpid(), zi_time_stamp(stamp, sizeof stamp));
    if (asprintf(&name, "%s/" MARKER_NAME, folder) < 0)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the name of a file");
    int file =
        openat(directory, MARKER_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    enum zi_status status = ZI_OK;
    if (file < 0)
        status = zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be created: %s%s", name, strerror(errno),
                         zi_file_remedy(errno, "; free some space, or choose another folder in "
                                               "nvme.paths"));
    if (status == ZI_OK) status = zi_file_append("tier", name, file, text, strlen(text));
    if (status == ZI_OK && fsync(file) != 0)
        status = zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be written: %s", name, strerror(errno));
    if (file >= 0) close(file);
    if (file >= 0 && status < 0) (void)unlinkat(directory, MARKER_NAME, 0);
    free(name);
    return status;
}

/* Copies text[0..length) into copy[0..size), of which only what can be printed. */
static void copy_printable(const char *text, size_t length, char *copy, size_t size)
{
    if (length >= size) length = size - 1;
    for (size_t i = 0; i < length; i++) {
        copy[i] = text[i];
        if ((unsigned char)text[i] < ' ' || text[i] == 127) copy[i] = '?';
    }
    copy[length] = '\0';
}

/* "host H, run R, process P, time": the name of a run may have commas in it, that of a host not. */
static void parse(const char *text, struct marker *marker)
{
    static const char host[] = "host ", run[] = ", run ", process[] = ", process ";
    const char *end = NULL;
    if (strncmp(text, host, sizeof host - 1) != 0) return;
    text += sizeof host - 1;
    size_t length = strcspn(text, ",\n");
    copy_printable(text, length, marker->host, sizeof marker->host);
    text += length;
    if (strncmp(text, run, sizeof run - 1) != 0) return;
    text += sizeof run - 1;
    for (const char *at = strstr(text, process); at; at = strstr(at + 1, process))
        end = at;
    if (end) copy_printable(text, (size_t)(end - text), marker->run, sizeof marker->run);
}

bool marker_read(int directory, struct marker *marker)
{
    char text[MARKER_BYTES + 1];
    *marker = (struct marker){.host = "", .run = ""};
    if (!marker_is_store_file(directory, MARKER_NAME, NULL)) return false;
    int file = openat(directory, MARKER_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat is;
    ssize_t length = -1;
    if (file >= 0 && fstat(file, &is) == 0 && S_ISREG(is.st_mode))
        length = pread(file, text, MARKER_BYTES, 0);
    if (file >= 0) close(file);
    if (length < 0) return false;
    text[length] = '\0';
    if (strncmp(text, format, sizeof format - 1) != 0) return false;
    parse(text + sizeof format - 1, marker);
    return true;
}

bool marker_find_other(int directory, bool any, char *name, size_t size)
{
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    bool found = false;
    if (!list) {
        if (again >= 0) close(again);
        return false;
    }
    for (struct dirent *entry = readdir(list); entry && !found; entry = readdir(list)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        found = any || !marker_is_store_file(directory, entry->d_name, NULL);
        if (found) snprintf(name, size, "%s", entry->d_name);
    }
    closedir(list);
    return found;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The file systems under nvme.paths: what is free there, and what kind they are.
 *
 * The problem: a path that is no local disk is accepted by every call of the system. On tmpfs the
 * states that left memory are in memory again, and nobody counts them; on a network all nodes share
 * one bandwidth, and a step waits for servers.
 *
 * The idea: statfs says what a file system is by a number. Bytes on memory are told to who decides
 * on placements, which counts them as host memory; a network is a warning with what it costs. The
 * numbers are those of linux/magic.h and of file systems outside the kernel; one that is not in the
 * table counts as a disk. overlayfs, common in containers, hides what is beneath: a disk as well.
 */
#include "tier/system.h"

#include "base/log.h"
#include "base/memory.h"
#include "tier/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static const struct {
    unsigned long type;
    enum system_kind kind;
    const char *name;
} systems[] = {
    {0x01021994, SYSTEM_MEMORY, "tmpfs"},
    {0x858458f6, SYSTEM_MEMORY, "ramfs"},
    {0x958458f6, SYSTEM_MEMORY, "hugetlbfs"},
    {0x6969, SYSTEM_NETWORK, "nfs"},
    {0x0bd00bd0, SYSTEM_NETWORK, "lustre"},
    {0x47504653, SYSTEM_NETWORK, "gpfs"},
    {0x19830326, SYSTEM_NETWORK, "beegfs"},
    {0x00c36400, SYSTEM_NETWORK, "ceph"},
    {0xff534d42, SYSTEM_NETWORK, "cifs"},
    {0xfe534d42, SYSTEM_NETWORK, "smb2"},
    {0x517b, SYSTEM_NETWORK, "smb"},
    {0x01021997, SYSTEM_NETWORK, "9p"},
    {0x20030528, SYSTEM_NETWORK, "orangefs"},
    {0xaad7aaea, SYSTEM_NETWORK, "panfs"},
    {0x5346414f, SYSTEM_NETWORK, "afs"},
    {0x6b414653, SYSTEM_NETWORK, "afs"},
    {0x73757245, SYSTEM_NETWORK, "coda"},
    {0x01161970, SYSTEM_NETWORK, "gfs2"},
    {0x7461636f, SYSTEM_NETWORK, "ocfs2"},
    {0xbeefdead, SYSTEM_NETWORK, "snfs"},
    {0x013111a8, SYSTEM_NETWORK, "ibrix"},
    {0x61636673, SYSTEM_NETWORK, "acfs"},
    {0x786f4256, SYSTEM_NETWORK, "vboxsf"},
    {0xbacbacbc, SYSTEM_NETWORK, "vmhgfs"},
    {0x7c7c6673, SYSTEM_NETWORK, "prl_fs"},
    {0x65735546, SYSTEM_PROGRAM, "fuse"},
    {0xef53, SYSTEM_DISK, "ext4"},
    {0x58465342, SYSTEM_DISK, "xfs"},
    {0x9123683e, SYSTEM_DISK, "btrfs"},
    {0xf2f52010, SYSTEM_DISK, "f2fs"},
    {0x2fc12fc1, SYSTEM_DISK, "zfs"},
    {0x794c7630, SYSTEM_DISK, "overlay"},
};

enum system_kind system_kind_of(unsigned long type, const char **name)
{
    for (size_t i = 0; i < sizeof systems / sizeof systems[0]; i++) {
        if (systems[i].type != (type & 0xffffffff)) continue;
        *name = systems[i].name;
        return systems[i].kind;
    }
    *name = "";
    return SYSTEM_DISK;
}

enum system_kind system_kind(int descriptor, const char **name)
{
    struct statfs system;
    *name = "";
    if (fstatfs(descriptor, &system) != 0) return SYSTEM_DISK;
    return system_kind_of((unsigned long)system.f_type, name);
}

/* What one path is on. */
struct found {
    dev_t device;
    enum system_kind kind;
    const char *name;
    size_t free_bytes;
};

/* The file system that a path is on, or would be on once it is made. -1 with errno. */
static int find_system(const char *name, struct found *found)
{
    char *path = strdup(name);
    struct stat is;
    struct statvfs system;
    int descriptor = -1;
    while (path) {
        descriptor = open(path, O_PATH | O_CLOEXEC);
        char *slash = strrchr(path, '/');
        if (descriptor >= 0 || errno != ENOENT || strcmp(path, ".") == 0) break;
        if (!slash)
            strcpy(path, ".");
        else
            slash[slash == path ? 1 : 0] = '\0';
    }
    int error = descriptor < 0 ? errno : 0;
    free(path);
    if (error == 0 && (fstat(descriptor, &is) != 0 || fstatvfs(descriptor, &system) != 0))
        error = errno;
    if (error == 0) {
        found->device = is.st_dev;
        found->kind = system_kind(descriptor, &found->name);
        found->free_bytes = (size_t)system.f_bavail * system.f_frsize;
    }
    if (descriptor >= 0) close(descriptor);
    errno = error;
    return error == 0 ? 0 : -1;
}

enum zi_status tier_store_room(const struct settings_nvme *nvme, int node_ranks,
                               struct tier_room *room)
{
    dev_t devices[DECK_LIST_MAX];
    int known = 0;
    *room = (struct tier_room){.bytes = 0};
    for (int p = 0; p < nvme->paths.count; p++) {
        const char *path = nvme->paths.items[p];
        struct found found;
        if (find_system(path, &found) != 0)
            return zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be asked what it has free: %s", path,
                           strerror(errno));
        bool seen = false; /* another path on the same disk */
        for (int d = 0; d < known; d++)
            seen = seen || devices[d] == found.device;
        if (seen) continue;
        devices[known++] = found.device;
        room->bytes += found.free_bytes;
        if (found.kind != SYSTEM_MEMORY) continue;
        if (room->memory_bytes == 0)
            snprintf(room->memory_path, sizeof room->memory_path, "%s (%s)", path, found.name);
        room->memory_bytes += found.free_bytes;
    }
    room->bytes /= (size_t)node_ranks;
    room->memory_bytes /= (size_t)node_ranks;
    return ZI_OK;
}

void tier_store_warn(const struct settings_nvme *nvme)
{
    for (int p = 0; p < nvme->paths.count; p++) {
        const char *path = nvme->paths.items[p];
        struct found found;
        if (find_system(path, &found) != 0) continue; /* said by who opens it */
        if (found.kind == SYSTEM_MEMORY)
            zi_log(ZI_LOG_WARN, "tier",
                   "nvme.paths: %s is memory (%s), not a disk: states there count as host "
                   "memory (memory.host); name a folder on a local disk",
                   path, found.name);
        if (found.kind == SYSTEM_NETWORK)
            zi_log(ZI_LOG_WARN, "tier",
                   "nvme.paths: %s is on a network (%s): all nodes share its bandwidth, steps "
                   "wait for its servers, and its locks and cache may not see other nodes; name a "
                   "folder on a local disk",
                   path, found.name);
        if (found.kind == SYSTEM_PROGRAM)
            zi_log(ZI_LOG_WARN, "tier",
                   "nvme.paths: %s is served by a program (%s): every block passes through that "
                   "process, and may go over a network; name a folder on a local disk",
                   path, found.name);
    }
}

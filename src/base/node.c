/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that this node can still give.
 *
 * Two limits count. The kernel's own estimate, MemAvailable of /proc/meminfo: free pages and those
 * that can be reclaimed without swapping. And the memory control groups that batch systems and
 * containers put a job into: beyond their limit the kernel kills the process without a word. Every
 * group from ours up to the root may have a limit; what is left to a group is its limit less its
 * usage, where inactive file pages count as free, for the kernel drops them first.
 *
 * /proc/self/cgroup names our group: "0::/path" in version 2, "n:...memory...:/path" in version 1.
 * Inside a container the path may not exist under the mount, which then is the group's own
 * directory; climbing from the path to the mount covers this case too. */
#include "base/node.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

struct group_files {
    /* Names of files, and of a line in stat */
    const char *limit, *usage, *stat, *inactive;
};

static const struct group_files version_1 = {
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.stat",
    "total_inactive_file",
};
static const struct group_files version_2 = {
    "memory.max",
    "memory.current",
    "memory.stat",
    "inactive_file",
};

/* The number after `label` at the start of a line of a file ("" = the first number), or `absent`.
 */
static uint64_t file_number(const char *path, const char *label, uint64_t absent)
{
    char line[256];
    uint64_t number = absent;
    size_t length = strlen(label);
    FILE *file = fopen(path, "r");
    if (!file) return absent;
    while (fgets(line, sizeof line, file)) {
        const char *rest = line + length;
        if (strncmp(line, label, length) != 0) continue;
        if (length && *rest != ' ' && *rest != ':' && *rest != '\t') continue;
        rest += strspn(rest, ": \t");
        if (sscanf(rest, "%" SCNu64, &number) != 1) number = absent;
        break;
    }
    fclose(file);
    return number;
}

static uint64_t group_number(const char *directory, const char *name, const char *label,
                             uint64_t absent)
{
    char path[4352];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return file_number(path, label, absent);
}

/* What is left to the groups `mount`/`group` and above, down to `mount` itself. */
static uint64_t groups_left(const char *mount, const char *group, const struct group_files *files)
{
    char directory[4096];
    uint64_t left = UINT64_MAX;
    int length = snprintf(directory, sizeof directory, "%s%s", mount, group);
    if (length < 0 || length >= (int)sizeof directory) return left;
    for (;;) {
        uint64_t limit = group_number(directory, files->limit, "", UINT64_MAX);
        uint64_t usage = group_number(directory, files->usage, "", 0);
        if (limit != UINT64_MAX) {
            uint64_t idle = group_number(directory, files->stat, files->inactive, 0);
            uint64_t held = usage > idle ? usage - idle : 0;
            uint64_t here = limit > held ? limit - held : 0;
            if (here < left) left = here;
        }
        char *slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < strlen(mount)) return left;
        *slash = 0;
    }
}

static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ',')) return true;
    return false;
}

/* The least left to any memory group of this process, UINT64_MAX when none has a limit. */
static uint64_t cgroup_left(const char *proc, const char *cgroup)
{
    char path[4096], line[4096];
    uint64_t left = UINT64_MAX;
    snprintf(path, sizeof path, "%s/self/cgroup", proc);
    FILE *file = fopen(path, "r");
    if (!file) return left;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        if (strcmp(group, "/") == 0) group++;
        uint64_t here = UINT64_MAX;
        if (!*controllers)
            here = groups_left(cgroup, group, &version_2);
        else if (list_has(controllers, "memory")) {
            snprintf(path, sizeof path, "%s/memory", cgroup);
            here = groups_left(path, group, &version_1);
        }
        if (here < left) left = here;
    }
    fclose(file);
    return left;
}

size_t node_memory_available(const char *proc, const char *cgroup)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/meminfo", proc);
    uint64_t kib = file_number(path, "MemAvailable", UINT64_MAX);
    uint64_t available = kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
    uint64_t left = cgroup_left(proc, cgroup);
    return left < available ? left : available;
}

size_t zi_memory_node_available(void)
{
    return node_memory_available("/proc", "/sys/fs/cgroup");
}

size_t zi_memory_resident(void)
{
    return file_number("/proc/self/status", "VmRSS", 0) * 1024;
}

size_t zi_memory_resident_peak(void)
{
    return file_number("/proc/self/status", "VmHWM", 0) * 1024;
}

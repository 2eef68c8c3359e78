/* SPDX-License-Identifier: Apache-2.0 */
/* Stripes: which bytes of an array lie on which path.
 *
 * The problem: with several disks of different speed, a transfer should keep all of them busy until
 * its end, whatever part of an array it is for. One piece per path and array would not do that: the
 * optimizer streams through arrays, so all transfers would be on the first disk first.
 *
 * The idea: an array is cut into periods, of which every path has a stripe in proportion to its
 * speed, the fastest one about a block of I/O. The stripes of one array on one path follow one
 * another in one dataset. A path so slow that its stripe would be a small fraction of a block
 * costs more than it gives: it gets nothing, and that is said.
 *
 * Invariants: stripes are multiples of TIER_STORE_BLOCK and fill the period without gaps; with one
 * path the period never ends, so every array is one piece. */
#include "tier/private.h"

#include "base/log.h"
#include "base/timing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KIB             ((size_t)1024)
#define STRIPE_SMALLEST (64 * KIB)
#define STRIPE_LARGEST  (1024 * KIB)
#define MEASURED_BYTES  (64 * 1024 * KIB)
#define MEASURED_BLOCK  (1024 * KIB)
#define ENDLESS         ((size_t)1 << 62)

void stripes_cut(int paths, const double *speeds, size_t block, struct stripes *stripes)
{
    memset(stripes, 0, sizeof *stripes);
    stripes->paths = paths;
    if (paths == 1) {
        stripes->period = stripes->bytes[0] = ENDLESS;
        return;
    }
    size_t largest = block < STRIPE_SMALLEST ? STRIPE_SMALLEST : block;
    if (largest > STRIPE_LARGEST) largest = STRIPE_LARGEST;
    double fastest = 0;
    for (int p = 0; p < paths; p++) {
        if (speeds[p] > fastest) fastest = speeds[p];
    }
    for (int p = 0; p < paths; p++) {
        double share = fastest > 0 ? speeds[p] / fastest : 1;
        size_t blocks = (size_t)(share * (double)(largest / TIER_STORE_BLOCK) + 0.5);
        stripes->first[p] = stripes->period;
        stripes->bytes[p] = share < 1.0 / 16 ? 0 : blocks * TIER_STORE_BLOCK;
        stripes->period += stripes->bytes[p];
    }
}

size_t stripes_bytes(const struct stripes *stripes, int path, size_t total)
{
    size_t rest = total % stripes->period, bytes = stripes->bytes[path];
    size_t last = rest > stripes->first[path] ? rest - stripes->first[path] : 0;
    return total / stripes->period * bytes + (last < bytes ? last : bytes);
}

void stripes_find(const struct stripes *stripes, size_t offset, int *path, size_t *within,
                  size_t *bytes)
{
    size_t rest = offset % stripes->period;
    int p = 0;
    while (rest >= stripes->first[p] + stripes->bytes[p])
        p++;
    *path = p;
    *within = offset / stripes->period * stripes->bytes[p] + rest - stripes->first[p];
    *bytes = stripes->first[p] + stripes->bytes[p] - rest;
}

/* Moves [0, bytes) of a file in blocks, all at once as far as the queue lets them; the time. */
static enum zi_status time_moves(struct disk_queue *queue, struct disk_file *file, void *buffer,
                                 size_t bytes, bool write, double *seconds)
{
    struct disk_request request = {.file = file,
                                   .bytes = bytes,
                                   .buffer = buffer,
                                   .write = write,
                                   .label = "measuring the speed of the path"};
    struct disk_result result;
    double start = zi_time_s();
    if (disk_push(queue, &request) != DISK_QUEUED)
        return zi_fail(ZI_ERROR_BUG, "tier", "an empty queue took no request");
    while (disk_reap(queue, 1, 1, 3600, &result) == 0)
        ;
    if (result.error != 0) return ZI_ERROR_IO;
    *seconds = zi_time_s() - start;
    return ZI_OK;
}

/* Bytes to measure with: a small part of what is free, so that a full disk is not found here. */
static size_t bytes_to_measure(const char *folder)
{
    struct statvfs system;
    if (statvfs(folder, &system) != 0) return MEASURED_BLOCK;
    size_t part = (size_t)system.f_bavail * system.f_frsize / 4 / MEASURED_BLOCK * MEASURED_BLOCK;
    if (part > MEASURED_BYTES) return MEASURED_BYTES;
    return part < MEASURED_BLOCK ? MEASURED_BLOCK : part;
}

enum zi_status stripes_measure(const struct store_folder *folder, const struct settings_nvme *nvme,
                               double *speed)
{
    char *name = NULL;
    void *buffer = NULL;
    size_t bytes = bytes_to_measure(folder->folder);
    struct disk_file *file = NULL;
    struct disk_queue *queue = NULL;
    struct disk_options options = {.engine = nvme->engine,
                                   .depth = (int)nvme->depth,
                                   .requests = 1,
                                   .block = (size_t)nvme->block,
                                   .deadline_s = (double)nvme->deadline};
    double write_s = 0, read_s = 0;
    enum zi_status status = ZI_OK;
    if (asprintf(&name, "%s/speed-%d", folder->folder, (int)getpid()) < 0)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the name of a file");
    if (posix_memalign(&buffer, TIER_STORE_BLOCK, bytes) != 0) {
        status = zi_fail(ZI_ERROR_DEVICE, "tier", "no memory to measure the speed of a path");
        goto end;
    }
    memset(buffer, 0x5a, bytes);
    struct disk_file_options create = {.name = name, .create = true, .bytes = (int64_t)bytes};
    ZI_TRY_GOTO(disk_file_open(&create, &file), end);
    /* open, it needs no name: however this process ends, nothing is left */
    if (unlink(name) != 0)
        zi_log(ZI_LOG_WARN, "tier", "%s: cannot be removed: %s", name, strerror(errno));
    ZI_TRY_GOTO(disk_queue_open(&options, &queue), end);
    ZI_TRY_GOTO(time_moves(queue, file, buffer, bytes, true, &write_s), end);
    ZI_TRY_GOTO(time_moves(queue, file, buffer, bytes, false, &read_s), end);
    *speed = 2 * (double)bytes / (write_s + read_s + 1e-9);
end:
    disk_queue_close(queue);
    if (file) disk_file_close(file);
    free(buffer);
    free(name);
    return status;
}

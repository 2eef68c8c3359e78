/* SPDX-License-Identifier: Apache-2.0 */
/* What the disks of nvme.paths give to a run.
 *
 * A pass is a thread with a queue of its own that goes through a range of a file in requests of one
 * block, enough of them to keep `depth` in the kernel. A measurement starts passes on all paths
 * together: a run stripes its states over all of them, and disks that share a controller are slower
 * together than the sum of each alone. The mixed measurement has a reader in the first half and a
 * writer in the second half of each file, as the two disk lanes of a run; whoever is through first
 * ends it for all, so every rate is one with all of them at work.
 *
 * The file is written once before anything is measured: claimed space that was never written has to
 * be marked as written on the way, and is read as zeros without a disk. Writes count with the
 * fdatasync that makes them durable.
 *
 * The file has a name that nothing else has, and loses it as soon as it is open, unless it is to be
 * kept: however the measurement ends, nothing is left. A request to stop ends every pass, and all
 * that would follow. */
#include "app/bench.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"
#include "base/timing.h"
#include "disk/disk.h"
#include "tier/store.h"

enum { TURNS_MAX = 99, SURPLUS = 4 /* requests beyond the depth */ };
enum { NAME_MORE = 64 /* bytes that the file's name adds to that of its folder */ };

struct pass {
    const struct settings_nvme *nvme;
    struct disk_file *file;
    bool write;
    /* The range. */
    int64_t first, bytes;
    /* Ends earlier after this time. */
    double limit_s;
    /* All end when one is through; NULL: each goes through its range. */
    atomic_bool *stop;
    struct disk_queue *queue;
    void *memory;
    char *buffers;
    pthread_t thread;
    /* What comes out. */
    double moved, seconds;
    const char *engine;
    enum zi_status status;
};

struct path {
    char name[PATH_MAX];
    bool made_folder;
    struct disk_file *file;
};

static enum zi_status go_through(struct pass *pass, int requests)
{
    int64_t next = pass->first, end = pass->first + pass->bytes;
    size_t block = (size_t)pass->nvme->block;
    int out = 0, free_count = requests, *free_buffers = malloc((size_t)requests * sizeof(int));
    struct disk_result results[16];
    if (!free_buffers) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a measurement");
    for (int i = 0; i < requests; i++)
        free_buffers[i] = i;
    enum zi_status status = ZI_OK;
    double start = zi_time_s();
    while (status >= 0) {
        bool ended = zi_stop_signal() != 0 ||
                     (next > pass->first && pass->stop && atomic_load(pass->stop)) ||
                     zi_time_s() - start > pass->limit_s;
        while (!ended && free_count > 0 && next < end) {
            int which = free_buffers[--free_count];
            size_t bytes = end - next < (int64_t)block ? (size_t)(end - next) : block;
            struct disk_request request = {
                pass->file,  next,          bytes,          pass->buffers + (size_t)which * block,
                pass->write, "measurement", (uint64_t)which};
            ZI_REQUIRE(disk_push(pass->queue, &request) == DISK_QUEUED);
            next += (int64_t)bytes;
            out++;
        }
        if (out == 0) break;
        int count = disk_reap(pass->queue, 1, 16, 60, results);
        for (int i = 0; i < count; i++, out--) {
            free_buffers[free_count++] = (int)results[i].tag;
            pass->moved += (double)results[i].bytes;
            if (results[i].error) status = ZI_ERROR_IO;
        }
    }
    if (pass->stop) atomic_store(pass->stop, true); /* the others do not wait for the sync */
    if (status >= 0 && pass->write) status = disk_file_sync(pass->file);
    pass->seconds = zi_time_s() - start;
    free(free_buffers);
    return status;
}

/* Before the clock starts: the queue, and buffers with something in them. */
static enum zi_status prepare(struct pass *pass)
{
    const struct settings_nvme *nvme = pass->nvme;
    struct disk_options options = {.engine = nvme->engine,
                                   .depth = (int)nvme->depth,
                                   .requests = (int)nvme->depth + SURPLUS,
                                   .block = (size_t)nvme->block,
                                   .deadline_s = (double)nvme->deadline};
    size_t bytes = (size_t)options.requests * options.block;
    ZI_TRY(disk_queue_open(&options, &pass->queue));
    ZI_TRY(zi_memory_allocate(bytes + DISK_BLOCK, ZI_TIER_HOST, "bench disk", &pass->memory));
    pass->buffers =
        (char *)pass->memory + (DISK_BLOCK - (uintptr_t)pass->memory % DISK_BLOCK) % DISK_BLOCK;
    for (size_t i = 0; i < bytes / 8; i++) /* a disk may store equal bytes faster */
        ((uint64_t *)(void *)pass->buffers)[i] = (uint64_t)i * 0x9e3779b97f4a7c15u ^ i >> 7;
    return ZI_OK;
}

static void *run_pass(void *argument)
{
    struct pass *pass = argument;
    pass->status = go_through(pass, (int)pass->nvme->depth + SURPLUS);
    pass->engine = disk_queue_engine(pass->queue);
    return NULL;
}

/* All passes at once. */
static enum zi_status run_passes(struct pass *passes, int count)
{
    int prepared = 0, started = 0, error = 0;
    enum zi_status status = ZI_OK;
    while (prepared < count && status >= 0)
        status = prepare(&passes[prepared++]);
    while (started < count && status >= 0 && !error) {
        error = pthread_create(&passes[started].thread, NULL, run_pass, &passes[started]);
        if (!error) started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(passes[i].thread, NULL);
        if (passes[i].status < status) status = passes[i].status;
    }
    for (int i = 0; i < prepared; i++) {
        disk_queue_close(passes[i].queue);
        zi_memory_free(passes[i].memory);
    }
    if (error) return zi_fail(ZI_ERROR_DEVICE, "app", "cannot start a thread: %s", strerror(error));
    return status < 0 ? status : zi_stop_check();
}

static double rate(const struct pass *pass)
{
    return pass->seconds > 0 ? pass->moved / pass->seconds : 0;
}

/* Makes the folders of a path; *made when the last of them was not there. */
static enum zi_status make_folder(const char *folder, bool *made)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/", folder);
    if (length <= 0 || length >= PATH_MAX - NAME_MORE)
        return zi_fail(ZI_ERROR_USAGE, "app", "nvme.paths: %s is too long a path", folder);
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        *made = mkdir(path, 0777) == 0;
        if (!*made && errno != EEXIST)
            return zi_fail(ZI_ERROR_IO, "app", "nvme.paths: cannot make %s: %s", path,
                           strerror(errno));
        *at = '/';
    }
    return ZI_OK;
}

static enum zi_status open_path(struct path *path, const char *folder, int64_t bytes, bool keep)
{
    ZI_TRY(make_folder(folder, &path->made_folder));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(path->name, sizeof path->name, "%s/zinf-bench-%d-%08lx", folder, (int)getpid(),
             (unsigned long)now.tv_sec << 20 ^ (unsigned long)now.tv_nsec);
    struct disk_file_options options = {
        .name = path->name, .create = true, .bytes = bytes, .stops = true};
    ZI_TRY(disk_file_open(&options, &path->file));
    if (!keep && unlink(path->name) != 0)
        zi_log(ZI_LOG_WARN, "app", "cannot remove %s: %s", path->name, strerror(errno));
    return ZI_OK;
}

static void close_path(struct path *path, const char *folder, bool keep)
{
    if (path->file) disk_file_close(path->file);
    if (path->file && keep) zi_log(ZI_LOG_NOTE, "app", "kept: %s", path->name);
    if (path->made_folder) rmdir(folder); /* stays when it is not empty */
}

static struct pass whole(const struct bench_disk *bench, struct disk_file *file, bool write)
{
    return (struct pass){.nvme = bench->nvme,
                         .file = file,
                         .write = write,
                         .bytes = bench->bytes,
                         .limit_s = INFINITY};
}

static enum zi_status alone(const struct bench_disk *bench, struct path *paths, bool write,
                            double *rates /* per path */, const char **engine)
{
    struct pass passes[DECK_LIST_MAX];
    int count = bench->nvme->paths.count;
    for (int i = 0; i < count; i++)
        passes[i] = whole(bench, paths[i].file, write);
    ZI_TRY(run_passes(passes, count));
    for (int i = 0; i < count; i++) {
        rates[i] = rate(&passes[i]);
        engine[i] = passes[i].engine;
    }
    return ZI_OK;
}

static enum zi_status mixed(const struct bench_disk *bench, struct path *paths,
                            double *reads /* per path */, double *writes)
{
    struct pass passes[2 * DECK_LIST_MAX];
    atomic_bool stop = false;
    int count = bench->nvme->paths.count;
    int64_t half = bench->bytes / 2 / DISK_BLOCK * DISK_BLOCK;
    for (int i = 0; i < 2 * count; i++) {
        struct pass *pass = &passes[i];
        *pass = whole(bench, paths[i / 2].file, i % 2 == 1);
        pass->first = i % 2 == 1 ? half : 0;
        pass->bytes = i % 2 == 1 ? bench->bytes - half : half;
        pass->stop = &stop;
    }
    ZI_TRY(run_passes(passes, 2 * count));
    for (int i = 0; i < count; i++) {
        reads[i] = rate(&passes[2 * i]);
        writes[i] = rate(&passes[2 * i + 1]);
    }
    return ZI_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

enum { READ, WRITE, MIXED_READ, MIXED_WRITE, KINDS };

static enum zi_status measure(struct bench_disk *bench, struct path *paths, const char **engines)
{
    static double found[KINDS][TURNS_MAX][DECK_LIST_MAX]; /* large; commands run in one thread */
    double once[DECK_LIST_MAX], *medians[KINDS], sorted[TURNS_MAX];
    ZI_TRY(alone(bench, paths, true, once, engines));
    for (int turn = 0; turn < bench->turns; turn++) {
        ZI_TRY(alone(bench, paths, false, found[READ][turn], engines));
        ZI_TRY(alone(bench, paths, true, found[WRITE][turn], engines));
        ZI_TRY(mixed(bench, paths, found[MIXED_READ][turn], found[MIXED_WRITE][turn]));
    }
    for (int i = 0; i < bench->nvme->paths.count; i++) {
        struct bench_rates *rates = &bench->rates[i];
        medians[READ] = &rates->read;
        medians[WRITE] = &rates->write;
        medians[MIXED_READ] = &rates->mixed_read;
        medians[MIXED_WRITE] = &rates->mixed_write;
        for (int kind = 0; kind < KINDS; kind++) {
            for (int turn = 0; turn < bench->turns; turn++)
                sorted[turn] = found[kind][turn][i];
            *medians[kind] = median(sorted, bench->turns);
        }
    }
    return ZI_OK;
}

static void print_rates(const struct bench_disk *bench, const char *const *engines, FILE *out)
{
    char size[32], block[32];
    fprintf(out, "%s per path, blocks of %s, depth %lld, median of %d; MB/s\n",
            zi_memory_text((size_t)bench->bytes, size, sizeof size),
            zi_memory_text((size_t)bench->nvme->block, block, sizeof block),
            (long long)bench->nvme->depth, bench->turns);
    fprintf(out, "      read     write   mixed: read     write       sum  engine   path\n");
    for (int i = 0; i < bench->nvme->paths.count; i++) {
        const struct bench_rates *rates = &bench->rates[i];
        fprintf(out, "%10.1f%10.1f    %11.1f%10.1f%10.1f  %-7s  %s\n", rates->read / 1e6,
                rates->write / 1e6, rates->mixed_read / 1e6, rates->mixed_write / 1e6,
                (rates->mixed_read + rates->mixed_write) / 1e6, engines[i],
                bench->nvme->paths.items[i]);
    }
}

/* Every block size with every depth on one path, each for about half a second. */
static enum zi_status sweep(const struct bench_disk *bench, struct path *path, FILE *out)
{
    static const int depths[] = {1, 2, 4, 8, 16, 32};
    enum { DEPTHS = (int)(sizeof depths / sizeof *depths) };
    for (int write = 0; write < 2; write++) {
        fprintf(out, "%s, MB/s  depth", write ? "write" : "read ");
        for (int i = 0; i < DEPTHS; i++)
            fprintf(out, "%9d", depths[i]);
        fputc('\n', out);
        for (int64_t block = 64 << 10; block <= 8 << 20; block *= 2) {
            char text[32];
            fprintf(out, "%19s", zi_memory_text((size_t)block, text, sizeof text));
            for (int i = 0; i < DEPTHS; i++) {
                struct settings_nvme nvme = *bench->nvme;
                struct pass pass = whole(bench, path->file, write);
                nvme.block = block;
                nvme.depth = depths[i];
                pass.nvme = &nvme;
                pass.limit_s = 0.5;
                ZI_TRY(run_passes(&pass, 1));
                fprintf(out, "%9.1f", rate(&pass) / 1e6);
                fflush(out);
            }
            fputc('\n', out);
        }
    }
    return ZI_OK;
}

enum zi_status bench_disk_measure(struct bench_disk *bench, FILE *out)
{
    static struct path paths[DECK_LIST_MAX]; /* large; commands run in one thread */
    const char *engines[DECK_LIST_MAX];
    const struct deck_list *folders = &bench->nvme->paths;
    ZI_REQUIRE(bench->turns >= 1 && bench->turns <= TURNS_MAX);
    enum zi_status status = ZI_OK;
    int opened = 0;
    tier_store_warn(bench->nvme);
    while (status >= 0 && opened < folders->count) {
        paths[opened] = (struct path){.file = NULL};
        status = open_path(&paths[opened], folders->items[opened], bench->bytes, bench->nvme->keep);
        opened++;
    }
    if (status >= 0) status = measure(bench, paths, engines);
    if (status >= 0) print_rates(bench, engines, out);
    for (int i = 0; i < folders->count && status >= 0 && bench->sweep; i++) {
        fprintf(out, "\n%s\n", folders->items[i]);
        status = sweep(bench, &paths[i], out);
    }
    for (int i = 0; i < opened; i++)
        close_path(&paths[i], folders->items[i], bench->nvme->keep);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe store of a rank: made, asked and ended.
 *
 * The parts: the run's folder on each path with the rank's file in it, locked (folder.c), what dead
 * runs left there (stale.c); how fast the paths are and so which bytes of an array lie where
 * (stripes.c), measured by the first rank of the node that gets there and left for the others in
 * the table that they share (arbiter.c); the files, laid out by HDF5 with all their space claimed
 * (layout.c), and then opened for direct I/O by the disk room; the transfers (channel.c).
 *
 * Invariants: a store that has been given out is complete. One that could not be made leaves
 * nothing: what was made before the failure is undone by the same function that ends a store. */
#include "tier/arbiter.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All paths are opened before anything is made on one. */
static enum zi_status open_paths(const struct tier_store_options *options, struct tier_store *store)
{
    const struct deck_list *paths = &options->nvme->paths;
    while (store->path_count < paths->count) {
        const char *path = paths->items[store->path_count];
        struct store_folder *folder = &store->folders[store->path_count++];
        ZI_TRY(folder_open(options, path, folder));
        for (int p = 0; p < store->path_count - 1; p++) {
            if (folder_is_same_path(&store->folders[p], folder))
                return zi_fail(ZI_ERROR_USAGE, "tier",
                               "nvme.paths: %s and %s are one folder; name each folder once",
                               store->folders[p].path, folder->path);
        }
    }
    if (store->path_count == 0)
        return zi_fail(ZI_ERROR_USAGE, "tier",
                       "nvme.paths is empty: name a folder on a local disk");
    return ZI_OK;
}

static enum zi_status enter_folders(const struct tier_store_options *options,
                                    struct tier_store *store)
{
    for (int p = 0; p < store->path_count; p++)
        ZI_TRY(folder_enter(options, &store->folders[p]));
    return ZI_OK;
}

/* What stripes_cut left out. */
static void report_slow_paths(const struct tier_store *store, const double *speeds)
{
    for (int p = 0; p < store->path_count; p++) {
        char text[32];
        zi_memory_text((size_t)speeds[p], text, sizeof text);
        if (store->stripes.bytes[p] == 0)
            zi_log(ZI_LOG_WARN, "tier",
                   "%s moves %s/s, less than 1/16 of the fastest path: nothing is kept there",
                   store->folders[p].path, text);
        else
            zi_log(ZI_LOG_INFO, "tier", "%s moves %s/s", store->folders[p].path, text);
    }
}

/* Opens the node's table where there is somebody to share with or something to measure, and cuts
 * the stripes. The first path's lock is held, so one rank measures and the others find its speeds.
 */
static enum zi_status share_node(const struct tier_store_options *options, struct tier_store *store)
{
    struct arbiter_options share = {
        .folder = store->folders[0].folder,
        .directory = store->folders[0].directory,
        .paths = store->path_count,
        .ranks = options->node_ranks,
        .budget = (size_t)options->nvme->depth * (size_t)options->nvme->block,
    };
    ZI_TRY(arbiter_open(&share, &store->arbiter));
    double *speeds = arbiter_speeds(store->arbiter);
    bool measures = store->path_count > 1 && speeds[0] <= 0;
    for (int p = store->path_count - 1; p >= 0 && measures; p--) {
        ZI_TRY(zi_stop_check());
        ZI_TRY(stripes_measure(&store->folders[p], options->nvme, &speeds[p]));
    }
    stripes_cut(store->path_count, speeds, (size_t)options->nvme->block, &store->stripes);
    if (measures) report_slow_paths(store, speeds);
    if (options->node_ranks == 1) {
        arbiter_close(store->arbiter);
        store->arbiter = NULL;
    }
    return ZI_OK;
}

static enum zi_status cut_stripes(const struct tier_store_options *options,
                                  struct tier_store *store)
{
    if (store->path_count == 1 && options->node_ranks == 1) {
        stripes_cut(1, NULL, 0, &store->stripes);
        return ZI_OK;
    }
    ZI_TRY(folder_lock(&store->folders[0]));
    enum zi_status status = share_node(options, store);
    folder_unlock(&store->folders[0]);
    return status;
}

/* The store's own copy of the arrays, padded, and room for their offsets. */
static enum zi_status take_arrays(const struct tier_array *arrays, int count,
                                  struct tier_store *store)
{
    size_t number = count > 0 ? (size_t)count : 1;
    store->arrays = malloc(number * sizeof store->arrays[0]);
    store->offsets = malloc(number * (size_t)store->path_count * sizeof store->offsets[0]);
    if (!store->arrays || !store->offsets)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the names of %d arrays", count);
    for (int a = 0; a < count; a++) {
        store->arrays[a] = arrays[a];
        store->arrays[a].bytes = tier_padded(arrays[a].bytes);
    }
    store->array_count = count;
    return ZI_OK;
}

static enum zi_status make_files(const struct tier_store_options *options,
                                 const struct tier_array *arrays, int count,
                                 struct tier_store *store)
{
    for (int p = 0; p < store->path_count; p++) {
        struct layout layout = {
            .folder = &store->folders[p],
            .arrays = arrays,
            .count = count,
            .path = p,
            .rank = options->rank,
            .stripes = &store->stripes,
            .run = options->run,
        };
        ZI_TRY(layout_create(&layout, store->offsets + (size_t)p * (size_t)count));
        struct disk_file_options file = {.name = store->folders[p].file, .path = p};
        ZI_TRY(disk_file_open(&file, &store->files[p]));
    }
    return ZI_OK;
}

/* "<folder>, <folder>" */
static enum zi_status name_place(struct tier_store *store)
{
    size_t size = 1;
    for (int p = 0; p < store->path_count; p++)
        size += strlen(store->folders[p].folder) + 2;
    store->place = malloc(size);
    if (!store->place)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the names of the store's folders");
    char *end = store->place;
    for (int p = 0; p < store->path_count; p++) {
        if (p > 0) end = stpcpy(end, ", ");
        end = stpcpy(end, store->folders[p].folder);
    }
    return ZI_OK;
}

static enum zi_status fill_store(const struct tier_store_options *options,
                                 const struct tier_array *arrays, int count,
                                 struct tier_store *store)
{
    ZI_TRY(open_paths(options, store));
    ZI_TRY(enter_folders(options, store));
    ZI_TRY(cut_stripes(options, store));
    ZI_TRY(take_arrays(arrays, count, store));
    ZI_TRY(make_files(options, arrays, count, store));
    return name_place(store);
}

enum zi_status tier_store_create(const struct tier_store_options *options,
                                 const struct tier_array *arrays, int count,
                                 struct tier_store **store)
{
    struct tier_store *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the NVMe store");
    made->nvme = *options->nvme;
    pthread_mutex_init(&made->lock, NULL);
    disk_busy_start(&made->busy);
    enum zi_status status = fill_store(options, arrays, count, made);
    if (status < 0) {
        made->nvme.keep = false;
        tier_store_destroy(made);
        return status;
    }
    *store = made;
    return ZI_OK;
}

void tier_store_destroy(struct tier_store *store)
{
    if (!store) return;
    ZI_REQUIRE(!store->first);
    arbiter_close(store->arbiter);
    for (int p = 0; p < store->path_count; p++) {
        if (store->files[p]) disk_file_close(store->files[p]);
        folder_leave(&store->folders[p], store->nvme.keep);
    }
    disk_busy_finish(&store->busy);
    pthread_mutex_destroy(&store->lock);
    free(store->offsets);
    free(store->arrays);
    free(store->place);
    free(store);
}

const char *tier_store_place(const struct tier_store *store)
{
    return store->place;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the tier room: the parts of the NVMe store. */
#ifndef ZI_TIER_PRIVATE_H
#define ZI_TIER_PRIVATE_H

#include <pthread.h>

#include "disk/busy.h"
#include "disk/disk.h"
#include "tier/store.h"

/* ---- folder.c: the run's folder on one path, and this rank's file in it ---- */

struct store_folder {
    /* As the deck names it */
    char *path;
    /* <path>/zinf-<run>-<id> */
    char *folder;
    /* <folder>/rank-<r>.h5 */
    char *file;
    /* The end of `folder`, seen from the path */
    const char *name;
    /* The end of `file`, seen from the folder */
    const char *file_name;
    /* Of the path; -1: none, as for the two after it */
    int path_descriptor;
    /* Of the folder */
    int directory;
    /* Of the file, whose lock it holds */
    int descriptor;
};

/* Local. Fills `folder` (strings and descriptors owned by it) for a path and opens the path, which
 * is made if absent. On error folder_leave is still to be called, as for the others. ZI_ERROR_IO.
 */
enum zi_status folder_open(const struct tier_store_options *options, const char *path,
                           struct store_folder *folder);

/* Local. Whether two opened paths are one folder. */
bool folder_is_same_path(const struct store_folder *one, const struct store_folder *other);

/* Local. Waits for the lock of a path. Who holds it may make, look through and remove folders of
 * runs there. ZI_ERROR_IO after a time; ZI_STOPPED when a stop is asked for meanwhile. */
enum zi_status folder_lock(const struct store_folder *folder);

/* Local. Gives up the lock of the path. */
void folder_unlock(const struct store_folder *folder);

/* Local. Looks for what dead runs left when this is the node's first rank, makes the folder and the
 * file and locks it. ZI_ERROR_IO, ZI_STOPPED. */
enum zi_status folder_enter(const struct tier_store_options *options, struct store_folder *folder);

/* Local. Removes (or marks as kept) this rank's file, and the folder when it was the last. */
void folder_leave(struct store_folder *folder, bool keep);

/* stale.c. Local, with the path's lock held. Reports (or, `wanted`, removes) dead runs' folders on
 * it, but `own`. */
void stale_visit(const struct store_folder *own, bool wanted);

/* ---- stripes.c: which bytes of an array lie on which path ---- */

/* Arrays are cut into periods; of each, path p has bytes [first[p], first[p] + bytes[p]). The
 * pieces of one array on one path follow one another in one dataset. */
struct stripes {
    int paths;
    size_t period, first[DECK_LIST_MAX], bytes[DECK_LIST_MAX];
};

/* Local. The cut in proportion to `speeds`; the fastest path gets about `block` bytes a period. */
void stripes_cut(int paths, const double *speeds, size_t block, struct stripes *stripes);

/* Local. Bytes that an array of `total` bytes has on a path. */
size_t stripes_bytes(const struct stripes *stripes, int path, size_t total);

/* Local. Where byte `offset` of an array lies: path, offset in the dataset there, and how many
 * bytes follow it there. */
void stripes_find(const struct stripes *stripes, size_t offset, int *path, size_t *within,
                  size_t *bytes);

/* Local. Bytes per second that direct I/O moves on a path, writing and reading in turn. */
enum zi_status stripes_measure(const struct store_folder *folder, const struct settings_nvme *nvme,
                               double *speed);

/* ---- layout.c: the HDF5 file of one path ---- */

struct layout {
    const struct store_folder *folder;
    /* Unpadded */
    const struct tier_array *arrays;
    int count, path, rank;
    const struct stripes *stripes;
    const char *run;
};

/* Local. Claims the space and lets HDF5 lay out the file. offsets[0..count): where in the file the
 * array's bytes of this path start, or -1 for none. ZI_ERROR_IO, ZI_STOPPED. */
enum zi_status layout_create(const struct layout *layout, int64_t *offsets);

/* Local. Bytes of an array as it is stored: whole blocks. */
static inline size_t tier_padded(size_t bytes)
{
    return (bytes + TIER_STORE_BLOCK - 1) / TIER_STORE_BLOCK * TIER_STORE_BLOCK;
}

/* ---- the store itself ---- */

struct tier_store {
    /* Its `paths` is not used after creation */
    struct settings_nvme nvme;
    int path_count, array_count;
    struct store_folder folders[DECK_LIST_MAX];
    struct disk_file *files[DECK_LIST_MAX];
    struct stripes stripes;
    /* Padded */
    struct tier_array *arrays;
    /* [path * array_count + array] */
    int64_t *offsets;
    /* NULL when there is nobody to share with */
    struct arbiter *arbiter;
    char *place;
    /* Of the queues of all channels */
    struct disk_busy busy;
    /* Of the two fields after it */
    pthread_mutex_t lock;
    /* Open channels */
    struct tier_channel *first;
    struct tier_store_counts closed;
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe store of a rank: named arrays on local disks, read and written past the page cache.
 *
 * A store is one HDF5 file per path in a folder made for the run, readable by h5dump and h5py at
 * any moment: HDF5 lays out contiguous, early-allocated, never-filled datasets at aligned offsets,
 * and never touches their bytes afterwards; transfers go to these offsets by direct I/O. With
 * several paths every array is striped over them by their measured speed. Space is claimed when the
 * store is made, so a full disk is found before the first step.
 *
 *     <path>/zinf-<run name>-<id>/zinf-store      marks the folder as one that zinf has made
 *     <path>/zinf-<run name>-<id>/rank-<r>.h5     mode 0600, locked while its process lives
 *
 * A marked folder none of whose files is locked was left by a run that died: it is reported, and
 * removed when `reclaim` says so. Runs do not share folders, so they cannot harm each other.
 *
 * Transfers go through channels: each is used by one thread (a lane), has its own queue, and takes
 * turns with the channels of all ranks of the node at the disk (one arbiter per path). */
#ifndef ZI_TIER_STORE_H
#define ZI_TIER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "deck/settings.h"

struct tier_store;
struct tier_channel;

/* Offsets, lengths and file positions are multiples of this; host buffers of TIER_STORE_ALIGNMENT.
 */
#define TIER_STORE_BLOCK     4096
#define TIER_STORE_ALIGNMENT 512

/* An array of the store: its length is padded to TIER_STORE_BLOCK. */
struct tier_array {
    /* Path in the file, without leading slash: "moment1/blocks.3.mlp" */
    char name[80];
    enum zi_dtype type;
    size_t bytes;
};

struct tier_store_options {
    const struct settings_nvme *nvme;
    /* Name of the run */
    const char *run;
    /* The same on all ranks of a run, and of no other run */
    uint64_t id;
    int rank, node_rank, node_ranks;
    /* Remove what dead runs left on these paths */
    bool reclaim;
};

/* Local, after all ranks have agreed on `id`. Makes the folder and this rank's files, claims their
 * space. ZI_ERROR_IO naming path, bytes wanted and free, remedy; ZI_ERROR_USAGE when two paths are
 * one folder; ZI_STOPPED when a stop is asked for meanwhile. Nothing is left behind then. */
enum zi_status tier_store_create(const struct tier_store_options *options,
                                 const struct tier_array *arrays, int count,
                                 struct tier_store **store);

/* Local. Closes the files and removes them, and the folder with the last of them, unless the deck
 * keeps them. NULL does nothing. */
void tier_store_destroy(struct tier_store *store);

/* Local. Where the store lies, for messages. */
const char *tier_store_place(const struct tier_store *store);

/* Room for one rank (its share of the node's ranks) on the paths of a deck. */
struct tier_room {
    /* Free */
    size_t bytes;
    /* Of these, on file systems that are memory */
    size_t memory_bytes;
    /* "PATH (tmpfs)": the first of them, for messages */
    char memory_path[256];
};

/* Local. Asks the paths, or what they would be on; makes nothing. ZI_ERROR_IO. */
enum zi_status tier_store_room(const struct settings_nvme *nvme, int node_ranks,
                               struct tier_room *room);

/* Local. Warns of each path that is no local disk: memory, a network, a program. */
void tier_store_warn(const struct settings_nvme *nvme);

/* Since the store was made, by all channels: bytes moved, as the kernel was asked to, and for how long
 * any of them had a block in the kernel. */
struct tier_store_counts {
    uint64_t read_bytes, written_bytes, requests;
    double busy_s;
};

/* Local, from any thread. Counts of the channels that are open and were. */
void tier_store_count(const struct tier_store *store, struct tier_store_counts *counts);

struct tier_transfer {
    /* Index in the arrays of tier_store_create */
    int array;
    size_t offset, bytes;
    /* The channel's from start until the transfer has been reaped */
    void *buffer;
    bool write;
    /* The caller's, given back when it is done */
    uint64_t tag;
};

/* Local. A channel for at most `transfers` started and unreaped ones. */
enum zi_status tier_channel_open(struct tier_store *store, int transfers,
                                 struct tier_channel **channel);

/* Local. Waits for what was started, and drops it. NULL does nothing. */
void tier_channel_close(struct tier_channel *channel);

/* Local. Starts a transfer and returns at once; ZI_IN_PROGRESS when the channel is full (reap
 * first). */
enum zi_status tier_channel_start(struct tier_channel *channel,
                                  const struct tier_transfer *transfer);

/* Local. Sleeps until a started transfer is done, or `timeout_s` has passed (*tag untouched,
 * ZI_IN_PROGRESS). ZI_OK and its tag; ZI_ERROR_IO, after logging file, offset, bytes, array and
 * cause. Transfers may be done in another order than started. */
enum zi_status tier_channel_reap(struct tier_channel *channel, double timeout_s, uint64_t *tag);

/* Local. One transfer, start to end. */
enum zi_status tier_channel_move(struct tier_channel *channel,
                                 const struct tier_transfer *transfer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Local checkpoints: what each rank has of the states, in a file on a disk of its node. Nothing
 * crosses the network and no file system is shared, so they may be frequent; a node that is lost
 * takes its part along, and then the shared level (checkpoint.h) has to do.
 *
 *   FOLDER/run                              whose they are (local_folder.c)
 *   FOLDER/rank-RRRRR.step-SSSSSSSS.local   record, then values (local_file.h)
 *
 * They belong to one run, one number of ranks and one way to cut the model among them (identity and
 * layout), and are of use together only. At most two steps stand, so that a kill between the
 * renames of two ranks leaves a step that all have. */
#ifndef ZI_CHECKPOINT_LOCAL_H
#define ZI_CHECKPOINT_LOCAL_H

#include <limits.h>
#include <time.h>

#include "checkpoint/checkpoint.h"

struct local_checkpoint;

/* The local checkpoints of a run, as a rank has them. */
struct local_site {
    /* On this node; local_folder_name. The caller's. */
    const char *folder;
    /* Of the run, and of all that went on from its local checkpoints. */
    uint64_t identity;
    /* Which elements are which rank's; the same on all ranks. */
    uint64_t layout;
    /* The last step that all ranks have; -1: none. */
    int64_t standing;
};

/* Collective. Begins the file of this rank, under a temporary name. Of older steps only the one
 * that stands stays. What is given is copied, but for the site's folder. ZI_ERROR_IO, after a
 * warning, with nothing left behind. */
enum zi_status local_create(struct comm *comm, const struct local_site *site,
                            const struct checkpoint_header *header,
                            const struct checkpoint_tensor *tensors, int tensor_count,
                            struct local_checkpoint **made);

/* Local. Writes elements of one state of one tensor, as checkpoint_write does. A failing disk is a
 * warning at once, and an error of local_commit. */
enum zi_status local_write(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, const void *values);

/* Collective. Makes the files of all ranks durable and gives them their names. Errors as those of
 * checkpoint_commit; the file is removed then, and the step before stands. Then good for
 * local_close only. */
enum zi_status local_commit(struct local_checkpoint *local);

/* Local. Bytes that this rank has written, or, of one that was opened, that it has. */
int64_t local_bytes(const struct local_checkpoint *local);

/* Collective. Opens the newest step that every rank has whole, of the site's identity and layout;
 * checksums are compared. NULL when there is none: where some ranks have files, the others say what
 * they lack. */
enum zi_status local_open_newest(struct comm *comm, const struct local_site *site,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 enum zi_dtype type, struct local_checkpoint **opened);

/* Local. What an open one says of itself; its own. */
const struct checkpoint_header *local_header(const struct local_checkpoint *local);

/* Collective. Gives elements that rank `root` has to all ranks, which keep them in a nameless file
 * beside their own: from then on local_read takes this state from there. An error is kept for
 * local_share_end. */
enum zi_status local_share(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, int root);

/* Collective. Whether all that was shared is there. */
enum zi_status local_share_end(struct local_checkpoint *local);

/* Local. Reads elements that this rank has, or was given. ZI_ERROR_IO. */
enum zi_status local_read(const struct local_checkpoint *local, enum tier_kind state, int tensor,
                          int64_t first, int64_t count, void *values);

/* Local. Ends what create or open gave; NULL does nothing. A file without a name of its own goes. */
void local_close(struct local_checkpoint *local);

/* Local. Removes the files of a rank from a folder, but that of step `standing` (-1: all). What
 * cannot be removed is a warning. */
void local_remove(const char *folder, int rank, int64_t standing);

/* Whose local checkpoints a folder has. */
struct local_owner {
    uint64_t identity;
    char host[256];
    /* Absolute. */
    char run_directory[PATH_MAX];
};

/* Local. The name that a run's folder has in the folder of all runs. ZI_ERROR_USAGE when it is too
 * long. */
enum zi_status local_folder_name(const char *directory, uint64_t identity, char folder[PATH_MAX]);

/* Local. Makes the folder, and those above it, and says in it whose it is; the host is filled in.
 * ZI_ERROR_IO, ZI_ERROR_USAGE. */
enum zi_status local_folder_make(const char *folder, const struct local_owner *owner);

/* Local. Marks the folder as in use as long as the process lives, or until *held, a descriptor, is
 * closed. ZI_ERROR_IO. */
enum zi_status local_folder_hold(const char *folder, int *held);

/* A folder of local checkpoints that was found. */
struct local_remains {
    struct local_owner owner;
    /* A process of this node holds it */
    bool held;
    /* On the disk */
    size_t bytes;
    /* The last time that one of its files was */
    time_t written;
};

/* Local. Whether the entry `name` of a folder that is open is one of a run's local checkpoints. */
bool local_folder_look(int directory, const char *name, struct local_remains *remains);

/* Local. Removes it: files that zinf has made, and the folder when nothing else is in it. 0 or an
 * errno, EBUSY when it is held. */
int local_folder_remove(int directory, const char *name);

#endif

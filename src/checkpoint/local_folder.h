/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of local checkpoints on a disk of a node: one for each run. */
#ifndef ZI_CHECKPOINT_LOCAL_FOLDER_H
#define ZI_CHECKPOINT_LOCAL_FOLDER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/status.h"

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

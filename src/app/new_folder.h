/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a folder that appears when it is whole. All are Local. */
#ifndef ZI_APP_NEW_FOLDER_H
#define ZI_APP_NEW_FOLDER_H

#include <limits.h>
#include <stdbool.h>

#include "base/status.h"

struct new_folder {
    /* Its name, links followed; and where its files are written until it is whole, "" where there is
     * nothing of it. */
    char name[PATH_MAX], making[PATH_MAX];
    /* There was an empty folder of that name. */
    bool was_there;
    /* The file that is moved to an empty folder behind all others. */
    const char *last;
};

/* Begins a folder that is not there, beside its name, or the content of an empty one, inside of it.
 * It is ended by exactly one of finish and discard. ZI_ERROR_USAGE where something else has the name;
 * ZI_ERROR_IO. */
enum zi_status new_folder_begin(const char *path, struct new_folder *folder);

/* Gives the folder its name, or its files their places, the one named `last` behind the others.
 * ZI_ERROR_IO; it is then to be discarded. */
enum zi_status new_folder_finish(struct new_folder *folder, const char *last);

/* Removes what was begun; nothing where it has begun nothing or is finished. */
void new_folder_discard(struct new_folder *folder);

#endif

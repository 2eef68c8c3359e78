/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the tier room: which folders and files on a path are the store's. */
#ifndef ZI_TIER_MARKER_H
#define ZI_TIER_MARKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

#define MARKER_NAME "zinf-store"

enum { MARKER_HOST = 256, MARKER_RUN = 401 };

/* What a marker says of the run that made the folder; "" where it does not. What cannot be printed
 * is replaced. */
struct marker {
    char host[MARKER_HOST], run[MARKER_RUN];
};

/* Local. Whether a name is one that a store gives to a folder: zinf-<run>-<16 hexadecimal digits>.
 */
bool marker_names_folder(const char *name);

/* Local. Whether a name is one that a store gives to the file of a rank: rank-<digits>.h5. */
bool marker_names_rank(const char *name);

/* Local. Whether the entry of a folder is a regular file (no link to one) that a store makes: of a
 * rank, the node's table, a measurement of speed, the sign that the folder is kept, the marker.
 * *bytes: what it occupies, NULL when that is not wanted. */
bool marker_is_store_file(int directory, const char *name, size_t *bytes);

/* Local. Writes the marker, durable, into a folder that was made just now; `folder` stands for it
 * in messages. ZI_ERROR_IO, with nothing left. */
enum zi_status marker_write(int directory, const char *folder, const char *run);

/* Local. Whether a store has made the folder; what it says of itself into *marker. */
bool marker_read(int directory, struct marker *marker);

/* Local. Removes an entry if marker_is_store_file says so; what is absent counts as removed. 0 or
 * an errno. */
int marker_remove(int directory, const char *name);

/* Local. The name of an entry of a folder that is none of the store's (or of any, when `any`) into
 * name[0..size); false when there is none. */
bool marker_find_other(int directory, bool any, char *name, size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* HDF5 as zinf uses it: what it says when it fails, and files and the links in them. Attributes and
 * datasets have headers of their own. All calls come from one thread (HDF5 1.10 as packaged is not
 * thread-safe). */
#ifndef ZI_H5_H5_H
#define ZI_H5_H5_H

#include "base/status.h"

#include <hdf5.h>

/* Local. Stops HDF5 from printing its error stack, for good, and keeps its innermost message for
 * h5_reason. Whoever calls HDF5 calls this before. */
void h5_quiet(void);

/* Local. Why the latest call failed since h5_quiet: what HDF5 gives as its reason, or what this
 * room does not take from a file. Good until the next call of HDF5. */
const char *h5_reason(void);

/* Local. Logs "PATH: cannot WHAT: h5_reason()" for a room, and gives ZI_ERROR_IO. */
enum zi_status h5_fail(const char *room, const char *path, const char *what);

/* Local. What the first call of HDF5 to fail since the first h5_quiet gave as its reason; NULL when
 * none has. */
const char *h5_first_failure(void);

/* Local. Whether any call of HDF5 has failed for want of memory. */
int h5_lacked_memory(void);

/* Local. File access for one process: no file locks, so that readers and file systems without locks
 * are served. The caller closes it. Negative on failure. */
hid_t h5_access_create(void);

/* Local. A new file in place of what the path names, by one process; what is not smaller than
 * `alignment` starts at a multiple of it (1: anywhere). The caller closes it. Negative on failure.
 */
hid_t h5_file_create(const char *path, hsize_t alignment);

/* Local. Opens a file by one process; flags as of H5Fopen. The caller closes it. Negative on
 * failure. */
hid_t h5_file_open(const char *path, unsigned flags);

/* What a name in a file leads to: nothing; an object of this file; perhaps one of another file. */
enum h5_link { H5_LINK_NONE, H5_LINK_OWN, H5_LINK_OTHER };

/* Local. Follows nothing. */
enum h5_link h5_link_of(hid_t file, const char *name);

#endif

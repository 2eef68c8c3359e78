/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the run directory, and what an earlier run has left in it. Rank 0 only. */
#ifndef ZI_APP_DIRECTORY_H
#define ZI_APP_DIRECTORY_H

#include <limits.h>
#include <sys/types.h>

#include "app/lock.h"
#include "base/status.h"

/* Local. "directory/name" into path; ZI_ERROR_USAGE, naming run.directory, when it is too long. */
enum zi_status report_path(const char *directory, const char *name, char path[PATH_MAX]);

/* Local. Makes a folder and those above it. ZI_ERROR_IO. */
enum zi_status report_make_folder(const char *folder);

/* What is done with outputs of an earlier run. */
enum report_existing { REPORT_REFUSE, REPORT_REPLACE, REPORT_CONTINUE };

/* Local. Makes `directory` and those above it, takes its lock, and makes sure that every output can
 * be made there. ZI_ERROR_IO with path and cause. ZI_ERROR_USAGE when another run has it, when
 * something stands at an output's name that zinf has not made, or when there are outputs of an
 * earlier run that are refused. On success the caller ends the run with lock_release. */
enum zi_status report_prepare(const char *directory, enum report_existing existing,
                              struct lock **lock);

/* Local. Removes the outputs of an earlier run, and nothing else, from `directory`. ZI_ERROR_IO. */
enum zi_status report_clear(const char *directory);

/* Local. Bytes on a file system (st_dev) that report_clear would give back; 0 when it cannot tell.
 */
int64_t report_old_bytes(const char *directory, dev_t device);

#endif

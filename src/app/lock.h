/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the lock of a run directory, held by rank 0 for the life of a run. */
#ifndef ZI_APP_LOCK_H
#define ZI_APP_LOCK_H

#include <stdbool.h>

#include "base/status.h"

enum { LOCK_TEXT = 512 };

struct lock;

/* Local. Takes the lock of a folder that exists, as the file run.lock in it. ZI_ERROR_USAGE, naming
 * process, host and since when, while another run has it, or when something else has the name;
 * ZI_ERROR_IO when no file can be made there. Where the file system has no locks a warning says so.
 * On success ended by lock_release. */
enum zi_status lock_take(const char *directory, struct lock **lock);

/* Local. Removes the file and gives the lock back; NULL does nothing. */
void lock_release(struct lock *lock);

/* Local. ZI_ERROR_IO when the directory's name is another folder's by now, or nothing's, or another
 * run has the lock: what is written by name would mix with files of others. Said once. */
enum zi_status lock_check(struct lock *lock);

/* Local. What the file says: a line that no other run has. */
const char *lock_text(const struct lock *lock);

/* Local. Whether the folder as this process sees it has a lock file of this text. */
bool lock_seen(const char *directory, const char *text);

/* What can be told of the lock of a directory without taking it. */
enum lock_found { LOCK_FREE, LOCK_HELD, LOCK_UNKNOWN };

/* Local. Whether a run has the lock, or that cannot be told (no locks, no permission); `text`
 * becomes what the file says, "" where there is none. A run that was killed leaves its text. */
enum lock_found lock_look(const char *directory, char text[LOCK_TEXT]);

#endif

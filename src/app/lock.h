/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the lock of a run directory, held by rank 0 for the life of a run. */
#ifndef ZI_APP_LOCK_H
#define ZI_APP_LOCK_H

#include <stdbool.h>
#include <sys/stat.h>

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

/* What stands at the name run.lock of a folder. */
enum lock_state {
    /* Nothing. */
    LOCK_NONE,
    /* The file of a run that died. */
    LOCK_FREE,
    /* That of one that lives. */
    LOCK_HELD,
    /* Whether it lives cannot be told here: made elsewhere, or no locks. */
    LOCK_UNKNOWN,
    /* Something that no run has made. */
    LOCK_FOREIGN
};

struct lock_view {
    enum lock_state state;
    /* Of the file, with FREE and UNKNOWN. */
    struct stat is;
    /* What it says; "" where there is none. */
    char text[LOCK_TEXT];
};

/* Local. Looks at the lock of a folder that is open as `directory`; changes nothing. */
void lock_look(int directory, struct lock_view *view);

/* Local. Takes the lock of a dead run, or where there is none makes the file: no run begins in the
 * folder until lock_drop. *file is for that. False, with errno: EAGAIN when a run has it by now. */
bool lock_seize(int directory, int *file);

/* Local. Gives such a lock back; with `remove`, or where lock_seize has made the file, that goes.
 * False, with errno, when it should have gone and has not. */
bool lock_drop(int directory, int file, bool remove);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Files by name, without surprises. A name that a user gives may stand for a device, a fifo, a
 * folder, a link, or nothing; a program that renames or opens without asking replaces the first,
 * hangs on the second and empties what the fourth points to. Every file that zinf makes or reads by
 * name goes through here. Rule: links are followed, what exists and is no regular file is refused.
 *
 * `room` is the name of the room that speaks in messages. All are Local. */
#ifndef ZI_BASE_FILE_H
#define ZI_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

/* "a device", "a fifo", "a folder", "a socket", "a regular file" of a st_mode; for messages. */
const char *zi_file_kind(mode_t mode);

/* Opens what is closed of standard input, output and error, so that no file or pipe of the program
 * gets their numbers and the text that is meant for them. Reads and writes there still fail. To be
 * called first. */
void zi_file_keep_standard(void);

/* Opens a regular file for reading and gives its size; never waits for a writer. The caller closes
 * *file. ZI_ERROR_USAGE when it is absent, no regular file, or may not be read. */
enum zi_status zi_file_open_input(const char *room, const char *path, int *file, int64_t *bytes);

/* Creates a file whose name must be free, for one whose folder belongs to zinf: an existing file or
 * link is refused, not followed. The caller closes *file. ZI_ERROR_IO. */
enum zi_status zi_file_create_new(const char *room, const char *path, mode_t mode, int *file);

/* Writes all bytes at the end of a file, or none: where the disk is full the file is cut back to
 * what it was. ZI_ERROR_IO naming `path`. */
enum zi_status zi_file_append(const char *room, const char *path, int file, const void *bytes,
                              size_t count);

/* Claims bytes [first, first + bytes) of an open file without changing what is in them; the file
 * gets larger by that only where it `grows`. 0 or an errno. A file system that cannot claim is asked
 * what it has free, and one that does not say (of 0 blocks in all) is believed to have enough. */
int zi_file_claim(int file, bool grows, int64_t first, int64_t bytes);

/* What helps where a file could not be made, opened or written for this errno: "; " and a piece of
 * advice to stand behind strerror(), or "" where there is none. `room` is what is said so of a full
 * disk or quota: who writes knows what could go, or where else there is room. */
const char *zi_file_remedy(int error, const char *room);

/* Makes the list of names of a folder durable. ZI_ERROR_IO. */
enum zi_status zi_file_sync_folder(const char *room, const char *folder);

/* A file that appears under its name when it is whole: written beside it under a name of its own,
 * NAME.tmp-XXXXXX, and locked, synced, then renamed. What was there before stays until then. */
struct zi_output {
    const char *room;
    /* The name, links followed */
    char *path;
    /* In the same folder; NULL when there is none */
    char *temporary;
    /* Open for reading and writing; -1: closed */
    int file;
};

/* Whether zi_output_begin would work now: a file is made beside `path` and removed again.
 * ZI_ERROR_USAGE when something stands there that is no regular file; ZI_ERROR_IO naming folder and
 * cause when no file can be made there. */
enum zi_status zi_output_check(const char *room, const char *path);

/* Begins an output. On success it is ended by exactly one of commit and discard. The folder must
 * exist. Errors as zi_output_check; on error there is nothing to discard. */
enum zi_status zi_output_begin(const char *room, const char *path, mode_t mode,
                               struct zi_output *output);

/* Writes `count` bytes at the end. ZI_ERROR_IO; the output is still to be discarded. */
enum zi_status zi_output_write(struct zi_output *output, const void *bytes, size_t count);

/* Syncs, closes, asks once more what stands at the name, renames, syncs the folder. ZI_ERROR_IO,
 * ZI_ERROR_USAGE; the temporary file is gone in any case. */
enum zi_status zi_output_commit(struct zi_output *output);

/* Removes the temporary file. Of an output that was committed or is all zero it does nothing. */
void zi_output_discard(struct zi_output *output);

/* Removes from a folder that is zinf's own the temporary files whose programs are gone, and says so;
 * those of file systems without locks stay. Of a folder that is not there, nothing. */
void zi_output_remove_dead(const char *room, const char *folder);

/* begin, write, commit: a whole text as a file. */
enum zi_status zi_output_text(const char *room, const char *path, const char *text);

#endif

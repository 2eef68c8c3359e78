/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of room data share: a folder of their own, files written byte by byte, and the
 * text of the messages that a call wrote to stderr: fixture_listen sends stderr to a file, and the
 * first fixture_said after it sends it back, with what failed checks wrote meanwhile. */
#ifndef ZI_REGRESSION_DATA_FIXTURE_H
#define ZI_REGRESSION_DATA_FIXTURE_H

#include "regression/unit/test.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fixture_folder[512];
static char fixture_messages[65536];
static int fixture_file, fixture_stderr, fixture_listening;
static long fixture_failures; /* when listening began */

/* A path inside the folder. Valid until the eighth next call. */
static inline const char *fixture_path(const char *name)
{
    static char paths[8][1024];
    static int next;
    next = (next + 1) % 8;
    snprintf(paths[next], sizeof paths[next], "%s/%s", fixture_folder, name);
    return paths[next];
}

/* Makes the folder. */
static inline void fixture_begin(const char *name)
{
    const char *place = getenv("TMPDIR");
    snprintf(fixture_folder, sizeof fixture_folder, "%s/%s.XXXXXX",
             place && place[0] != '\0' ? place : "/tmp", name);
    if (!mkdtemp(fixture_folder)) {
        printf("cannot make a folder for the test: %s\n", fixture_folder);
        exit(1);
    }
    fixture_stderr = dup(2);
    fixture_file = open(fixture_path("messages"), O_RDWR | O_CREAT | O_APPEND, 0600);
    if (fixture_stderr < 0 || fixture_file < 0) exit(1);
}

/* Removes a file or an empty folder, for nftw. */
static inline int fixture_remove_one(const char *path, const struct stat *information, int type,
                                     struct FTW *walk)
{
    (void)information;
    (void)type;
    (void)walk;
    return remove(path);
}

/* Removes the folder with all that is in it. */
static inline void fixture_end(void)
{
    (void)nftw(fixture_folder, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* From here on stderr goes to the file. */
static inline void fixture_listen(void)
{
    fflush(stderr);
    if (ftruncate(fixture_file, 0) != 0 || dup2(fixture_file, 2) < 0) exit(1);
    fixture_listening = 1;
    fixture_failures = test_failures();
}

/* Sends stderr back, and what failed checks wrote meanwhile. */
static inline void fixture_stop_listening(void)
{
    fflush(stderr);
    if (dup2(fixture_stderr, 2) < 0) exit(1);
    ssize_t length = pread(fixture_file, fixture_messages, sizeof fixture_messages - 1, 0);
    fixture_messages[length > 0 ? length : 0] = '\0';
    if (test_failures() > fixture_failures) fprintf(stderr, "%s", fixture_messages);
    fixture_listening = 0;
}

/* Whether the messages since fixture_listen contain a text. */
static inline bool fixture_said(const char *text)
{
    if (fixture_listening) fixture_stop_listening();
    bool found = strstr(fixture_messages, text);
    if (!found) fprintf(stderr, "not said: \"%s\", but: %s\n", text, fixture_messages);
    return found;
}

/* Makes a file of these bytes in the folder. */
static inline void fixture_write(const char *name, const void *bytes, size_t count)
{
    FILE *file = fopen(fixture_path(name), "wb");
    if (!file || (count > 0 && fwrite(bytes, 1, count, file) != count) || fclose(file) != 0) {
        printf("cannot write %s\n", fixture_path(name));
        exit(1);
    }
}

/* Cuts a file of the folder to its first bytes. */
static inline void fixture_cut(const char *name, long bytes)
{
    if (truncate(fixture_path(name), bytes) != 0) {
        printf("cannot cut %s\n", fixture_path(name));
        exit(1);
    }
}

#endif

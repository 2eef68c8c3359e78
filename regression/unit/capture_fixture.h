/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tests of what is written for people: catches all that goes to one of the standard
 * streams between begin and end. */
#ifndef ZI_REGRESSION_CAPTURE_FIXTURE_H
#define ZI_REGRESSION_CAPTURE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct capture {
    FILE *stream, *file;
    int saved;
    char text[1 << 16];
};

/* Sends the stream to a file, until capture_end. */
static inline void capture_begin(struct capture *capture, FILE *stream)
{
    capture->stream = stream;
    fflush(stream);
    capture->file = tmpfile();
    capture->saved = dup(fileno(stream));
    if (!capture->file || capture->saved < 0 || dup2(fileno(capture->file), fileno(stream)) < 0) {
        perror("capture");
        exit(1);
    }
}

/* Gives the text, which stays until the next capture. */
static inline const char *capture_end(struct capture *capture)
{
    fflush(capture->stream);
    dup2(capture->saved, fileno(capture->stream));
    close(capture->saved);
    rewind(capture->file);
    size_t bytes = fread(capture->text, 1, sizeof capture->text - 1, capture->file);
    capture->text[bytes] = 0;
    fclose(capture->file);
    return capture->text;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding files whose lines are texts. A buffer is filled, and the whole lines in it are a batch;
 * what is left behind the last of them begins the next. So memory does not grow with the file, and
 * a line that the buffer does not hold is refused. */
#include "data/encode.h"

#include "base/log.h"
#include "base/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_LINES = 4096 };

struct lines {
    const struct tokens_encoder *encoder;
    const char *path;
    int file;
    /* TOKENS_LINE_MOST + 1 bytes: those that are there, those that were taken, and whether the file
     * has no more. */
    char *buffer;
    size_t used, taken;
    bool ended;
    /* Of the next line */
    int64_t number;
    /* The batch */
    struct tokens_text texts[BATCH_LINES];
    struct encoded_text encoded[BATCH_LINES];
    int count;
};

static enum zi_status fill(struct lines *l)
{
    memmove(l->buffer, l->buffer + l->taken, l->used - l->taken);
    l->used -= l->taken;
    l->taken = 0;
    while (!l->ended && l->used <= TOKENS_LINE_MOST) {
        ssize_t got = read(l->file, l->buffer + l->used, TOKENS_LINE_MOST + 1 - l->used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return zi_fail(ZI_ERROR_IO, "data", "reading input %s failed: %s", l->path,
                           strerror(errno));
        l->ended = got == 0;
        l->used += (size_t)got;
    }
    return ZI_OK;
}

static bool is_blank(const char *text, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && strchr(" \t\r", text[i]) && text[i])
        i++;
    return i == bytes;
}

/* The whole lines of the buffer; the last one of a file may have no end. */
static enum zi_status take_lines(struct lines *l)
{
    l->count = 0;
    while (l->count < BATCH_LINES && l->taken < l->used) {
        const char *text = l->buffer + l->taken;
        size_t left = l->used - l->taken;
        const char *end = memchr(text, '\n', left);
        if (!end && !l->ended) break;
        size_t bytes = end ? (size_t)(end - text) : left;
        l->taken += bytes + (end ? 1 : 0);
        l->number++;
        if (!is_blank(text, bytes))
            l->texts[l->count++] = (struct tokens_text){text, bytes, l->path, l->number};
    }
    if (l->count > 0 || l->taken > 0 || l->used == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s line %" PRId64 " has more than %zu MiB: split it into several", l->path,
                   l->number + 1, TOKENS_LINE_MOST >> 20);
}

static enum zi_status encode_line(void *context, void *worker, int item)
{
    struct lines *l = context;
    ZI_TRY(zi_stop_check());
    return l->encoder->encode(worker, &l->texts[item], &l->encoded[item].ids,
                              &l->encoded[item].count);
}

static enum zi_status write_lines(const struct lines *l, struct zi_output *spool,
                                  struct encoded *made)
{
    static const int32_t begin = ENCODED_DOCUMENT;
    for (int i = 0; i < l->count; i++) {
        const struct encoded_text *e = &l->encoded[i];
        if (e->count == 0) continue;
        ZI_TRY(zi_output_write(spool, &begin, sizeof begin));
        ZI_TRY(zi_output_write(spool, e->ids, e->count * sizeof *e->ids));
        for (size_t t = 0; t < e->count; t++)
            made->masked |= e->ids[t] < 0;
        made->tokens += (int64_t)e->count;
        made->documents++;
    }
    return ZI_OK;
}

static enum zi_status encode_all(struct lines *l, struct zi_output *spool, struct encoded *made)
{
    enum zi_status status = ZI_OK;
    while (status >= 0 && !(l->ended && l->taken == l->used)) {
        status = fill(l);
        if (status >= 0) status = take_lines(l);
        if (status >= 0) status = encode_items(l->encoder, l->count, encode_line, l);
        if (status >= 0) status = write_lines(l, spool, made);
        for (int i = 0; i < l->count; i++)
            free(l->encoded[i].ids);
        memset(l->encoded, 0, sizeof l->encoded);
    }
    return status;
}

enum zi_status input_encode_lines(const struct tokens_encoder *encoder,
                                  const struct input_file *input, int file, struct zi_output *spool,
                                  struct encoded *made)
{
    struct lines *l = calloc(1, sizeof *l);
    char *buffer = malloc(TOKENS_LINE_MOST + 1);
    enum zi_status status = ZI_OK;
    if (l && buffer) {
        l->encoder = encoder;
        l->path = input->path;
        l->file = file;
        l->buffer = buffer;
        status = encode_all(l, spool, made);
    } else {
        status = zi_fail(ZI_ERROR_DEVICE, "data", "no memory to read the lines of %s", input->path);
    }
    free(buffer);
    free(l);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Files are taken in batches: the threads of a team read and encode one after the other of a batch,
 * whoever is free the next, and the tokens are then written in the order of the files. A file is
 * encoded whole, since where a text can be cut without another result depends on the tokenizer. */
#include "data/encode.h"

#include "base/log.h"
#include "base/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A batch has this many files at most, and ends with the file that makes it as large as this. */
#define BATCH_FILES 256
#define BATCH_BYTES ((int64_t)64 << 20)

struct batch {
    const struct tokens_encoder *encoder;
    const struct input_file *files;
    int count;
    struct encoded_text encoded[BATCH_FILES];
};

static enum zi_status read_all(const struct input_file *input, int file, char *text)
{
    for (int64_t done = 0; done < input->bytes;) {
        ssize_t got = read(file, text + done, (size_t)(input->bytes - done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return zi_fail(ZI_ERROR_IO, "data", "reading input %s at byte %" PRId64 " failed: %s",
                           input->path, done, strerror(errno));
        if (got == 0) break; /* said by input_check */
        done += got;
    }
    return input_check(input, file);
}

static enum zi_status encode_file(void *context, void *worker, int item)
{
    struct batch *batch = context;
    const struct input_file *input = &batch->files[item];
    struct encoded_text *to = &batch->encoded[item];
    int file;
    ZI_TRY(zi_stop_check());
    ZI_TRY(input_open(input, &file));
    char *text = malloc((size_t)input->bytes + 1);
    enum zi_status status =
        text ? read_all(input, file, text)
             : zi_fail(ZI_ERROR_DEVICE, "data", "no memory for the %" PRId64 " bytes of %s",
                       input->bytes, input->path);
    const struct tokens_text whole = {text, (size_t)input->bytes, input->path, 0};
    if (status >= 0) status = batch->encoder->encode(worker, &whole, &to->ids, &to->count);
    if (status == ZI_ERROR_USAGE || status == ZI_ERROR_DEVICE)
        zi_log(ZI_LOG_ERROR, "data", "input %s cannot be encoded", input->path);
    free(text);
    close(file);
    return status;
}

/* The first error of any thread is that of all; the others then take no more items. */
enum zi_status encode_items(const struct tokens_encoder *encoder, int count, encode_item *item,
                            void *context)
{
    enum zi_status status = ZI_OK;
#pragma omp parallel
    {
        void *worker = NULL;
        enum zi_status own = encoder->begin(encoder->context, &worker);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < count; i++) {
            enum zi_status so_far;
#pragma omp atomic read
            so_far = status;
            if (own >= 0 && so_far >= 0) own = item(context, worker, i);
            if (own < 0) {
#pragma omp atomic write
                status = own;
            }
        }
        encoder->end(worker);
    }
    return status;
}

static enum zi_status write_batch(const struct batch *batch, struct zi_output *spool,
                                  struct encoded *made)
{
    const int32_t *separator = &batch->encoder->separator;
    for (int i = 0; i < batch->count; i++) {
        const struct encoded_text *e = &batch->encoded[i];
        if (e->count) ZI_TRY(zi_output_write(spool, e->ids, e->count * sizeof *e->ids));
        made->tokens += (int64_t)e->count;
        if (*separator < 0) continue;
        ZI_TRY(zi_output_write(spool, separator, sizeof *separator));
        made->tokens++;
    }
    return ZI_OK;
}

/* Files that are texts. */
static enum zi_status encode_files(const struct input_list *list, struct zi_output *spool,
                                   struct encoded *made)
{
    enum zi_status status = ZI_OK;
    for (size_t done = 0; done < list->count && status >= 0;) {
        struct batch batch = {.encoder = list->writer->encoder, .files = &list->files[done]};
        int64_t bytes = 0;
        while (batch.count < BATCH_FILES && done + (size_t)batch.count < list->count &&
               bytes < BATCH_BYTES)
            bytes += batch.files[batch.count++].bytes;
        status = encode_items(batch.encoder, batch.count, encode_file, &batch);
        if (status >= 0) status = write_batch(&batch, spool, made);
        for (int i = 0; i < batch.count; i++)
            free(batch.encoded[i].ids);
        done += (size_t)batch.count;
    }
    return status;
}

/* Files of lines that are. */
static enum zi_status encode_lines(const struct input_list *list, struct zi_output *spool,
                                   struct encoded *made)
{
    for (size_t i = 0; i < list->count; i++) {
        int file;
        ZI_TRY(input_open(&list->files[i], &file));
        enum zi_status status =
            input_encode_lines(list->writer->encoder, &list->files[i], file, spool, made);
        if (status >= 0) status = input_check(&list->files[i], file);
        close(file);
        if (status < 0) return status;
    }
    return ZI_OK;
}

enum zi_status inputs_encode(const struct input_list *list, struct zi_output *spool,
                             struct encoded *made)
{
    ZI_TRY(zi_output_begin("data", list->writer->path, 0600, spool));
    *made = (struct encoded){0};
    ZI_TRY(list->writer->encoder->lines ? encode_lines(list, spool, made)
                                        : encode_files(list, spool, made));
    if (made->tokens > 0) return ZI_OK;
    bool several = list->count > 1;
    return zi_fail(ZI_ERROR_USAGE, "data", "no token comes of %s%s: %s; name files with text",
                   list->files[0].path, several ? " and the other inputs" : "",
                   list->writer->encoder->lines ? "all lines are empty"
                                                : "to the tokenizer their text is nothing");
}

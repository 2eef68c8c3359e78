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

struct encoded {
    int32_t *ids;
    size_t count;
};

struct batch {
    const struct input_file *files;
    int count;
    struct encoded encoded[BATCH_FILES];
    enum zi_status status;
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

static enum zi_status encode_file(const struct tokens_encoder *encoder, void *worker,
                                  const struct input_file *input, struct encoded *encoded)
{
    int file;
    ZI_TRY(zi_stop_check());
    ZI_TRY(input_open(input, &file));
    char *text = malloc((size_t)input->bytes + 1);
    enum zi_status status =
        text ? read_all(input, file, text)
             : zi_fail(ZI_ERROR_DEVICE, "data", "no memory for the %" PRId64 " bytes of %s",
                       input->bytes, input->path);
    if (status >= 0)
        status =
            encoder->encode(worker, text, (size_t)input->bytes, &encoded->ids, &encoded->count);
    if (status == ZI_ERROR_USAGE || status == ZI_ERROR_DEVICE)
        zi_log(ZI_LOG_ERROR, "data", "input %s cannot be encoded", input->path);
    free(text);
    close(file);
    return status;
}

/* The first error of any thread is that of the batch; the others then take no more files. */
static void encode_batch(const struct tokens_encoder *encoder, struct batch *batch)
{
#pragma omp parallel
    {
        void *worker = NULL;
        enum zi_status own = encoder->begin(encoder->context, &worker);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < batch->count; i++) {
            enum zi_status so_far;
#pragma omp atomic read
            so_far = batch->status;
            if (own >= 0 && so_far >= 0)
                own = encode_file(encoder, worker, &batch->files[i], &batch->encoded[i]);
            if (own < 0) {
#pragma omp atomic write
                batch->status = own;
            }
        }
        encoder->end(worker);
    }
}

static enum zi_status write_batch(const struct tokens_encoder *encoder, const struct batch *batch,
                                  struct zi_output *spool, int64_t *count)
{
    for (int i = 0; i < batch->count; i++) {
        const struct encoded *e = &batch->encoded[i];
        if (e->count) ZI_TRY(zi_output_write(spool, e->ids, e->count * sizeof *e->ids));
        *count += (int64_t)e->count;
        if (encoder->separator < 0) continue;
        ZI_TRY(zi_output_write(spool, &encoder->separator, sizeof encoder->separator));
        ++*count;
    }
    return ZI_OK;
}

enum zi_status inputs_encode(const struct input_list *list, struct zi_output *spool, int64_t *count)
{
    const struct tokens_encoder *encoder = list->writer->encoder;
    enum zi_status status = zi_output_begin("data", list->writer->path, 0600, spool);
    *count = 0;
    for (size_t done = 0; done < list->count && status >= 0;) {
        struct batch batch = {.files = &list->files[done]};
        int64_t bytes = 0;
        while (batch.count < BATCH_FILES && done + (size_t)batch.count < list->count &&
               bytes < BATCH_BYTES)
            bytes += batch.files[batch.count++].bytes;
        encode_batch(encoder, &batch);
        status = batch.status;
        if (status >= 0) status = write_batch(encoder, &batch, spool, count);
        for (int i = 0; i < batch.count; i++)
            free(batch.encoded[i].ids);
        done += (size_t)batch.count;
    }
    if (status >= 0 && *count == 0)
        status = zi_fail(ZI_ERROR_USAGE, "data", "the tokenizer makes no tokens of these inputs");
    return status;
}

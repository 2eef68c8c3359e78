/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a checkpoint.
 *
 * The problem: a job may be killed, a disk may fill or the power may fail at any moment, and the
 * last good checkpoint must survive; and an error of one rank must neither hang the others nor let
 * them believe in the file.
 *
 * The idea: everything goes to NAME.tmp. Each rank writes its ranges at the datasets' offsets
 * (writer.c) and adds up their checksums. Sealed, each rank syncs in a thread; when all have, the
 * ranks agree and the checksums are added, and a thread of rank 0 puts them into the file with the
 * user block (header.c), syncs again and renames. `latest` is a link that is replaced by rename as
 * the very last change, so it always names a whole file. HDF5, which takes one thread at a time, has
 * no part in this: it made the layout, in the caller's thread. A rank that is alone asks nobody, and
 * its thread does all.
 *
 * Errors of a write are kept in `status` until the ranks meet: no agreement is needed for each
 * write, and no rank leaves early.
 *
 * Invariants: a file without .tmp is whole and durable; each element was written exactly once
 * (counted, not assumed). */
#include "checkpoint/layout.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/timing.h"
#include "tier/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the description of a checkpoint");
}

static struct checkpoint_dataset *dataset_at(struct checkpoint *checkpoint, enum tier_kind state,
                                             int tensor)
{
    int place = checkpoint->form->places[(int)state * checkpoint->tensor_count + tensor];
    ZI_REQUIRE(place >= 0);
    return &checkpoint->datasets[place];
}

/* The datasets of the form, with names of their own, and nothing written. */
static enum zi_status copy_datasets(struct checkpoint *checkpoint)
{
    const struct checkpoint_form *form = checkpoint->form;
    checkpoint->tensor_count = form->tensor_count;
    checkpoint->datasets = calloc((size_t)form->dataset_count + 1, sizeof *checkpoint->datasets);
    if (!checkpoint->datasets) return no_memory();
    for (int d = 0; d < form->dataset_count; d++) {
        checkpoint->datasets[d] = form->datasets[d];
        checkpoint->datasets[d].name = strdup(form->datasets[d].name);
        checkpoint->dataset_count++;
        if (!checkpoint->datasets[d].name) return no_memory();
    }
    return ZI_OK;
}

static enum zi_status describe(struct checkpoint *checkpoint,
                               const struct checkpoint_header *header)
{
    const struct checkpoint_form *form = checkpoint->form;
    size_t size = strlen(form->directory) + (header->path ? strlen(header->path) : 0) + 40;
    checkpoint->header = *header;
    checkpoint->named = header->path;
    checkpoint->header.deck = strdup(form->header.deck);
    checkpoint->header.model_text = strdup(form->header.model_text);
    checkpoint->directory = strdup(form->directory);
    checkpoint->path = malloc(size);
    checkpoint->temporary = malloc(size);
    if (!checkpoint->header.deck || !checkpoint->header.model_text || !checkpoint->directory ||
        !checkpoint->path || !checkpoint->temporary)
        return no_memory();
    if (checkpoint->named)
        snprintf(checkpoint->path, size, "%s/%s", form->directory, header->path);
    else
        snprintf(checkpoint->path, size, "%s/" CHECKPOINT_NAME, form->directory,
                 (long long)header->step);
    snprintf(checkpoint->temporary, size, "%s" CHECKPOINT_TEMPORARY, checkpoint->path);
    return copy_datasets(checkpoint);
}

static void note_place(struct checkpoint *checkpoint, int descriptor)
{
    const char *name;
    char block[32] = "unknown size";
    struct stat is;
    (void)system_kind(descriptor, &name);
    if (fstat(descriptor, &is) == 0) zi_memory_text((size_t)is.st_blksize, block, sizeof block);
    snprintf(checkpoint->place, sizeof checkpoint->place, "%s, blocks of %s, %s",
             name[0] ? name : "a file system without a name here", block,
             writer_engine(checkpoint->writer));
}

static enum zi_status open_writer(struct checkpoint *checkpoint)
{
    int descriptor;
    ZI_TRY(checkpoint_reopen(checkpoint, O_WRONLY, &descriptor));
    enum zi_status status = writer_open(checkpoint->temporary, descriptor, &checkpoint->writer);
    if (status < 0)
        close(descriptor);
    else
        note_place(checkpoint, descriptor);
    return status;
}

enum zi_status checkpoint_begin(struct checkpoint_form *form,
                                const struct checkpoint_header *header,
                                struct checkpoint **checkpoint)
{
    struct checkpoint *made = calloc(1, sizeof *made);
    enum zi_status status = made ? ZI_OK : no_memory();
    ZI_REQUIRE(header->type == form->header.type && header->seed == form->header.seed);
    if (made) {
        made->comm = form->comm;
        made->form = form;
        made->descriptor = -1;
        status = describe(made, header);
    }
    status = comm_agree(form->comm, status);
    if (status == ZI_OK) status = checkpoint_layout(made);
    if (status == ZI_OK) {
        status = comm_agree(form->comm, open_writer(made));
        if (status < 0 && comm_rank(form->comm) == 0) checkpoint_discard(made);
    }
    if (status < 0) {
        if (made && made->writer) (void)writer_close(made->writer, false);
        checkpoint_free(made);
        return checkpoint_unwritten(status);
    }
    *checkpoint = made;
    return ZI_OK;
}

enum zi_status checkpoint_create(struct comm *comm, const char *directory,
                                 const struct checkpoint_header *header,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 struct checkpoint **checkpoint)
{
    struct checkpoint_form *form;
    ZI_TRY(checkpoint_form_create(comm, directory, header, tensors, tensor_count, &form));
    enum zi_status status = checkpoint_begin(form, header, checkpoint);
    if (status < 0)
        checkpoint_form_destroy(form);
    else
        (*checkpoint)->owns_form = true;
    return status;
}

/* Elements that go through the processor's cache once: summed, judged, and copied. */
#define PIECE ((int64_t)1 << 16)

static void write_piece(struct checkpoint *checkpoint, struct checkpoint_dataset *dataset,
                        int64_t first, int64_t count, const void *values)
{
    size_t size = zi_dtype_bytes(dataset->type);
    if (checkpoint->status < 0) return;
    dataset->checksum += checkpoint_checksum(dataset, first, count, values);
    dataset->written += (uint64_t)count;
    if (dataset->state == TIER_PARAMETER || dataset->state == TIER_MASTER)
        dataset->broken += checkpoint_count_broken(dataset->type, count, values);
    checkpoint->status = writer_put(checkpoint->writer, dataset->offset + first * (int64_t)size,
                                    values, (size_t)count * size, dataset->name);
}

enum zi_status checkpoint_write(struct checkpoint *checkpoint, enum tier_kind state, int tensor,
                                int64_t first, int64_t count, const void *values)
{
    if (count == 0 || checkpoint->status < 0) return ZI_OK;
    ZI_REQUIRE(tensor >= 0 && tensor < checkpoint->tensor_count);
    ZI_REQUIRE(checkpoint->stage == STAGE_OPEN);
    struct checkpoint_dataset *dataset = dataset_at(checkpoint, state, tensor);
    ZI_REQUIRE(first >= 0 && count > 0 && count <= dataset->elements - first);
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t rest = count - done;
        write_piece(checkpoint, dataset, first + done, rest < PIECE ? rest : PIECE,
                    (const char *)values + (size_t)done * zi_dtype_bytes(dataset->type));
    }
    return ZI_OK;
}

/* Starts work that waits for the disk; without a thread it is done here. */
static void start_thread(struct checkpoint *checkpoint, void *(*work)(void *checkpoint))
{
    atomic_store(&checkpoint->ready, false);
    checkpoint->threaded = pthread_create(&checkpoint->thread, NULL, work, checkpoint) == 0;
    if (!checkpoint->threaded) (void)work(checkpoint);
}

static void end_thread(struct checkpoint *checkpoint)
{
    if (checkpoint->threaded) pthread_join(checkpoint->thread, NULL);
    checkpoint->threaded = false;
}

static bool is_alone(const struct checkpoint *checkpoint)
{
    return comm_size(checkpoint->comm) == 1;
}

/* Rank 0 says what is wrong with a dataset, of which written and broken elements are counted over
 * all ranks; every element must have been written once, and be finite. */
static enum zi_status judge(const struct checkpoint *checkpoint,
                            const struct checkpoint_dataset *dataset)
{
    uint64_t written = dataset->written, broken = dataset->broken;
    bool whole = written == (uint64_t)dataset->elements, first = comm_rank(checkpoint->comm) == 0;
    if (whole && broken == 0) return ZI_OK;
    if (!whole && first)
        zi_log(ZI_LOG_ERROR, "checkpoint", "%s: %s has %lld elements, but %llu were written",
               checkpoint->temporary, dataset->name, (long long)dataset->elements,
               (unsigned long long)written);
    if (whole && first)
        zi_log(ZI_LOG_WARN, "checkpoint",
               "%s is not written: %llu of the %lld elements of %s are not finite",
               checkpoint->path, (unsigned long long)broken, (long long)dataset->elements,
               dataset->name);
    return whole ? ZI_ERROR_NUMERICS : ZI_ERROR_BUG;
}

static enum zi_status judge_all(const struct checkpoint *checkpoint)
{
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        ZI_TRY(judge(checkpoint, &checkpoint->datasets[d]));
    }
    return ZI_OK;
}

/* What is added over the ranks for each dataset. */
enum { SUM_CHECKSUM, SUM_WRITTEN, SUM_BROKEN, SUMS };

/* Collective. Adds checksums and counts over the ranks. */
static enum zi_status sum_checksums(struct checkpoint *checkpoint)
{
    int count = checkpoint->dataset_count;
    uint64_t(*sums)[SUMS] = calloc((size_t)count + 1, sizeof *sums);
    enum zi_status status = comm_agree(checkpoint->comm, sums ? ZI_OK : no_memory());
    for (int d = 0; d < count && status == ZI_OK; d++) {
        sums[d][SUM_CHECKSUM] = checkpoint->datasets[d].checksum;
        sums[d][SUM_WRITTEN] = checkpoint->datasets[d].written;
        sums[d][SUM_BROKEN] = checkpoint->datasets[d].broken;
    }
    if (status == ZI_OK) status = comm_sum_uint64(checkpoint->comm, *sums, SUMS * count);
    for (int d = 0; d < count && status == ZI_OK; d++) {
        struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        dataset->checksum = sums[d][SUM_CHECKSUM];
        dataset->written = sums[d][SUM_WRITTEN];
        dataset->broken = sums[d][SUM_BROKEN];
    }
    free(sums);
    return status >= 0 ? judge_all(checkpoint) : status;
}

/* Rank 0. What is known only now, durably. */
static enum zi_status store_rest(const struct checkpoint *checkpoint)
{
    int descriptor;
    ZI_TRY(checkpoint_reopen(checkpoint, O_RDWR, &descriptor));
    enum zi_status status = header_store(checkpoint, descriptor);
    if (status >= 0 && fsync(descriptor) != 0)
        status = zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot be made durable: %s%s",
                                 checkpoint->temporary, strerror(errno), checkpoint_remedy(errno));
    close(descriptor);
    return status;
}

static enum zi_status name_file(struct checkpoint *checkpoint)
{
    ZI_TRY(store_rest(checkpoint));
    return checkpoint_publish(checkpoint, checkpoint->keep);
}

/* The end of a thread's work, which began at `start_s`. */
static void note_ready(struct checkpoint *checkpoint, double start_s)
{
    checkpoint->end_s = zi_time_s();
    checkpoint->thread_s += checkpoint->end_s - start_s;
    atomic_store(&checkpoint->ready, true);
}

static void *give_name(void *argument)
{
    struct checkpoint *checkpoint = argument;
    double start = zi_time_s();
    checkpoint->status = name_file(checkpoint);
    note_ready(checkpoint, start);
    return NULL;
}

/* One rank alone asks nobody, and goes on to the name. */
static void *make_durable(void *argument)
{
    struct checkpoint *checkpoint = argument;
    double start = zi_time_s();
    enum zi_status status = writer_close(checkpoint->writer, checkpoint->status >= 0);
    checkpoint->writer = NULL;
    if (checkpoint->status >= 0) checkpoint->status = status;
    if (is_alone(checkpoint) && checkpoint->status >= 0) {
        checkpoint->status = judge_all(checkpoint);
        if (checkpoint->status >= 0) checkpoint->status = name_file(checkpoint);
    }
    note_ready(checkpoint, start);
    return NULL;
}

void checkpoint_seal(struct checkpoint *checkpoint, struct checkpoint_retention keep)
{
    ZI_REQUIRE(checkpoint->stage == STAGE_OPEN);
    checkpoint->keep = keep;
    checkpoint->stage = STAGE_SEALED;
    start_thread(checkpoint, make_durable);
}

/* Collective. Whether the threads of all ranks are done with their stage. */
static enum zi_status all_ready(struct checkpoint *checkpoint, bool waits, bool *ready)
{
    *ready = true;
    if (waits) return ZI_OK;
    uint64_t busy = !atomic_load(&checkpoint->ready);
    ZI_TRY(comm_sum_uint64(checkpoint->comm, &busy, 1));
    *ready = busy == 0;
    return ZI_OK;
}

/* Collective. From one stage to the next, when the threads of the first have ended. */
static enum zi_status next_stage(struct checkpoint *checkpoint)
{
    struct comm *comm = checkpoint->comm;
    bool root = comm_rank(comm) == 0;
    end_thread(checkpoint);
    ZI_TRY(comm_agree(comm, checkpoint->status));
    checkpoint->stage = is_alone(checkpoint) ? STAGE_DONE : checkpoint->stage + 1;
    if (checkpoint->stage != STAGE_NAMED) return ZI_OK;
    ZI_TRY(comm_agree(comm, sum_checksums(checkpoint)));
    if (root) start_thread(checkpoint, give_name);
    return ZI_OK;
}

enum zi_status checkpoint_advance(struct checkpoint *checkpoint, bool waits, bool *done)
{
    bool root = comm_rank(checkpoint->comm) == 0, ready = true;
    enum zi_status status = ZI_OK;
    ZI_REQUIRE(checkpoint->stage == STAGE_SEALED || checkpoint->stage == STAGE_NAMED);
    while (status >= 0 && ready && checkpoint->stage != STAGE_DONE) {
        status = all_ready(checkpoint, waits, &ready);
        if (status >= 0 && ready) status = next_stage(checkpoint);
    }
    *done = status < 0 || checkpoint->stage == STAGE_DONE;
    if (!*done) return ZI_OK;
    end_thread(checkpoint);
    checkpoint->stage = STAGE_DONE;
    if (status < 0 && root) checkpoint_discard(checkpoint);
    free(checkpoint->temporary);
    checkpoint->temporary = NULL;
    return checkpoint_unwritten(status);
}

struct checkpoint_writing checkpoint_get_writing(const struct checkpoint *checkpoint)
{
    return (struct checkpoint_writing){checkpoint->place, checkpoint->thread_s, checkpoint->end_s};
}

enum zi_status checkpoint_commit(struct checkpoint *checkpoint, struct checkpoint_retention keep)
{
    bool done;
    checkpoint_seal(checkpoint, keep);
    return checkpoint_advance(checkpoint, true, &done);
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (!checkpoint) return;
    end_thread(checkpoint);
    if (checkpoint->writer) (void)writer_close(checkpoint->writer, false);
    if (checkpoint->descriptor >= 0) close(checkpoint->descriptor);
    if (checkpoint->temporary && comm_rank(checkpoint->comm) == 0) checkpoint_discard(checkpoint);
    checkpoint_free(checkpoint);
}

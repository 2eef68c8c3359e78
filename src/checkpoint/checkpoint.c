/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a checkpoint.
 *
 * The problem: a job may be killed, a disk may fill or the power may fail at any moment, and the
 * last good checkpoint must survive; and an error of one rank must neither hang the others nor let
 * them believe in the file.
 *
 * The idea: everything goes to NAME.tmp. Each rank writes its ranges at the datasets' offsets
 * (writer.c) and adds up their checksums. Sealed, each rank syncs in a thread; when all have, the
 * ranks agree, the checksums are added, rank 0 stores them with the header, and a thread of it adds
 * the user block, syncs again and renames. `latest` is a link that is replaced by rename as the very last change, so it
 * always names a whole file. HDF5 is called by the caller's thread only, since it takes one at a
 * time.
 *
 * Errors of a write are kept in `status` until the ranks meet: no agreement is needed for each
 * write, and no rank leaves early.
 *
 * Invariants: a file without .tmp is whole and durable; each element was written exactly once
 * (counted, not assumed). */
#include "checkpoint/file.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/timing.h"
#include "base/version.h"
#include "checkpoint/user_block.h"
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

/* Datasets of all states in the order of the file; dataset of (state, tensor) is found by
 * dataset_at. */
static enum zi_status list_datasets(struct checkpoint *checkpoint,
                                    const struct checkpoint_tensor *tensors)
{
    int count = checkpoint->tensor_count;
    checkpoint->datasets =
        calloc((size_t)count * TIER_KIND_COUNT + 1, sizeof *checkpoint->datasets);
    if (!checkpoint->datasets) return no_memory();
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!checkpoint_state_is_written(s, checkpoint->header.type)) continue;
        enum zi_dtype type = checkpoint_state_type(s, checkpoint->header.type);
        for (int t = 0; t < count; t++) {
            ZI_REQUIRE(tensors[t].dimensions == 1 || tensors[t].dimensions == 2);
            ZI_TRY(checkpoint_dataset_set(&checkpoint->datasets[checkpoint->dataset_count], s,
                                          tensors[t].name, type, tensors[t].shape,
                                          tensors[t].dimensions));
            checkpoint->dataset_count++;
        }
    }
    return ZI_OK;
}

static struct checkpoint_dataset *dataset_at(struct checkpoint *checkpoint, enum tier_kind state,
                                             int tensor)
{
    int place = 0;
    ZI_REQUIRE(checkpoint_state_name(state));
    for (int s = 0; s < (int)state; s++)
        place += checkpoint_state_is_written(s, checkpoint->header.type);
    return &checkpoint->datasets[place * checkpoint->tensor_count + tensor];
}

static enum zi_status describe(struct checkpoint *checkpoint, const char *directory,
                               const struct checkpoint_header *header,
                               const struct checkpoint_tensor *tensors)
{
    size_t size = strlen(directory) + 40;
    checkpoint->header = *header;
    checkpoint->header.deck = strdup(header->deck ? header->deck : "");
    checkpoint->header.model_text = strdup(header->model_text ? header->model_text : "");
    checkpoint->directory = strdup(directory);
    checkpoint->path = malloc(size);
    checkpoint->temporary = malloc(size);
    if (!checkpoint->header.deck || !checkpoint->header.model_text || !checkpoint->directory ||
        !checkpoint->path || !checkpoint->temporary)
        return no_memory();
    snprintf(checkpoint->path, size, "%s/" CHECKPOINT_NAME, directory, (long long)header->step);
    snprintf(checkpoint->temporary, size, "%s" CHECKPOINT_TEMPORARY, checkpoint->path);
    return list_datasets(checkpoint, tensors);
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

enum zi_status checkpoint_create(struct comm *comm, const char *directory,
                                 const struct checkpoint_header *header,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 struct checkpoint **checkpoint)
{
    h5_quiet();
    struct checkpoint *made = calloc(1, sizeof *made);
    enum zi_status status = made ? ZI_OK : no_memory();
    if (made) {
        made->comm = comm;
        made->descriptor = -1;
        made->tensor_count = tensor_count;
        status = describe(made, directory, header, tensors);
    }
    status = comm_agree(comm, status);
    if (status == ZI_OK) status = checkpoint_layout(made);
    if (status == ZI_OK) {
        status = comm_agree(comm, open_writer(made));
        if (status < 0 && comm_rank(comm) == 0) unlink(made->temporary);
    }
    if (status < 0) {
        if (made && made->writer) (void)writer_close(made->writer, false);
        checkpoint_free(made);
        return status;
    }
    *checkpoint = made;
    return ZI_OK;
}

/* Told by an exponent of all ones. */
uint64_t checkpoint_count_broken(enum zi_dtype type, int64_t count, const void *values)
{
    const uint16_t *halves = values;
    const uint32_t *words = values;
    uint64_t broken = 0;
    uint16_t exponent = type == ZI_FP16 ? 0x7c00u : 0x7f80u;
    for (int64_t i = 0; i < count && zi_dtype_is_half(type); i++)
        broken += (halves[i] & exponent) == exponent;
    for (int64_t i = 0; i < count && type == ZI_FP32; i++)
        broken += (words[i] & 0x7f800000u) == 0x7f800000u;
    return broken;
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

static void *make_durable(void *argument)
{
    struct checkpoint *checkpoint = argument;
    double start = zi_time_s();
    enum zi_status status = writer_close(checkpoint->writer, checkpoint->status >= 0);
    checkpoint->writer = NULL;
    if (checkpoint->status >= 0) checkpoint->status = status;
    checkpoint->thread_s += zi_time_s() - start;
    atomic_store(&checkpoint->ready, true);
    return NULL;
}

void checkpoint_seal(struct checkpoint *checkpoint, struct checkpoint_retention keep)
{
    ZI_REQUIRE(checkpoint->stage == STAGE_OPEN);
    checkpoint->keep = keep;
    checkpoint->stage = STAGE_SEALED;
    start_thread(checkpoint, make_durable);
}

/* Rank 0 says what is wrong with a dataset, whose elements were `written` in all; every element
 * must have been written once, and be finite. */
static enum zi_status judge(const struct checkpoint *checkpoint,
                            const struct checkpoint_dataset *dataset, uint64_t written,
                            uint64_t broken)
{
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
        status = judge(checkpoint, dataset, sums[d][SUM_WRITTEN], sums[d][SUM_BROKEN]);
    }
    free(sums);
    return status;
}

static herr_t write_scaling(hid_t file, const struct checkpoint_header *header)
{
    if (header->type != ZI_FP16) return 0;
    if (h5_integer_write(file, "loss_scale", header->loss_scale) < 0) return -1;
    return h5_integer_write(file, "loss_scale_steps", header->loss_scale_steps);
}

static herr_t write_header(hid_t file, const struct checkpoint_header *header)
{
    char now[64];
    zi_time_stamp(now, sizeof now);
    if (h5_text_write(file, "format", CHECKPOINT_FORMAT) < 0 ||
        h5_integer_write(file, "step", header->step) < 0 ||
        h5_integer_write(file, "updates", header->updates) < 0 ||
        h5_integer_write(file, "tokens", header->tokens) < 0 ||
        h5_integer_write(file, "seed", header->seed) < 0 || write_scaling(file, header) < 0 ||
        h5_text_write(file, "type", zi_dtype_name(header->type)) < 0 ||
        h5_text_write(file, "model", header->model_text) < 0 ||
        h5_text_write(file, "deck", header->deck) < 0 ||
        h5_text_write(file, "version", zi_version()) < 0 ||
        h5_text_write(file, "revision", zi_version_revision()) < 0 ||
        h5_text_write(file, "written", now) < 0)
        return -1;
    return 0;
}

/* Overwrites the checksum that the layout has reserved. */
static herr_t write_checksum(hid_t file, const struct checkpoint_dataset *dataset)
{
    hid_t object = H5Dopen2(file, dataset->name, H5P_DEFAULT);
    if (object < 0) return -1;
    herr_t result = h5_bits_replace(object, "checksum", dataset->checksum);
    if (H5Dclose(object) < 0) result = -1;
    return result;
}

/* Rank 0. Stores header and checksums in the temporary file. */
static enum zi_status store_header(struct checkpoint *checkpoint)
{
    const char *path = checkpoint->temporary;
    hid_t file = h5_file_open(path, H5F_ACC_RDWR);
    if (file < 0) return h5_fail("checkpoint", path, "open it again");
    enum zi_status status = ZI_OK;
    if (write_header(file, &checkpoint->header) < 0)
        status = h5_fail("checkpoint", path, "store the header");
    for (int d = 0; d < checkpoint->dataset_count && status == ZI_OK; d++) {
        if (write_checksum(file, &checkpoint->datasets[d]) < 0)
            status = h5_fail("checkpoint", path, "store a checksum");
    }
    if (H5Fclose(file) < 0 && status == ZI_OK) status = h5_fail("checkpoint", path, "close it");
    return status;
}

static int by_offset(const void *a, const void *b)
{
    const struct user_extent *one = a, *other = b;
    return (one->offset > other->offset) - (one->offset < other->offset);
}

/* Rank 0. Writes what stands before HDF5's part of the file, all of which is there. */
static enum zi_status store_user_block(const struct checkpoint *checkpoint, int descriptor)
{
    int count = checkpoint->dataset_count;
    struct user_extent *extents = calloc((size_t)count + 1, sizeof *extents);
    if (!extents) return no_memory();
    for (int d = 0; d < count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        extents[d].offset = dataset->offset;
        extents[d].bytes = dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
    }
    qsort(extents, (size_t)count, sizeof *extents, by_offset);
    enum zi_status status =
        user_block_store(checkpoint->temporary, descriptor, extents, (int64_t)count);
    free(extents);
    return status;
}

/* Rank 0. Gives back what was claimed behind the end, and makes the rest durable. */
static enum zi_status sync_header(const struct checkpoint *checkpoint)
{
    struct stat is;
    int descriptor;
    ZI_TRY(checkpoint_reopen(checkpoint, O_RDWR, &descriptor));
    enum zi_status status = store_user_block(checkpoint, descriptor);
    if (status >= 0 && (fstat(descriptor, &is) != 0 || ftruncate(descriptor, is.st_size) != 0 ||
                        fsync(descriptor) != 0))
        status = zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be made durable: %s",
                         checkpoint->temporary, strerror(errno));
    close(descriptor);
    return status;
}

static void *give_name(void *argument)
{
    struct checkpoint *checkpoint = argument;
    double start = zi_time_s();
    checkpoint->status = sync_header(checkpoint);
    if (checkpoint->status >= 0)
        checkpoint->status = checkpoint_publish(checkpoint, checkpoint->keep);
    checkpoint->thread_s += zi_time_s() - start;
    atomic_store(&checkpoint->ready, true);
    return NULL;
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
    checkpoint->stage++;
    if (checkpoint->stage != STAGE_NAMED) return ZI_OK;
    ZI_TRY(comm_agree(comm, sum_checksums(checkpoint)));
    ZI_TRY(comm_agree(comm, root ? store_header(checkpoint) : ZI_OK));
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
    if (status < 0 && root) unlink(checkpoint->temporary);
    free(checkpoint->temporary);
    checkpoint->temporary = NULL;
    return status;
}

struct checkpoint_writing checkpoint_get_writing(const struct checkpoint *checkpoint)
{
    return (struct checkpoint_writing){checkpoint->place, checkpoint->thread_s};
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
    if (checkpoint->temporary && comm_rank(checkpoint->comm) == 0) unlink(checkpoint->temporary);
    checkpoint_free(checkpoint);
}

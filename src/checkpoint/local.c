/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a local checkpoint.
 *
 * As in checkpoint.c everything goes to NAME.tmp and errors of a write wait for commit, where the
 * ranks meet. There each rank stores its record and syncs; all agree, and compare what they have
 * written with what there is; then each gives its file its name, syncs the folder, and all agree
 * again. No order of the renames is needed: a step counts when every rank has it (local_read.c),
 * and the one before stays until all have the new one. It goes when the next is begun, so that the
 * disk has to hold two.
 *
 * A failing disk is a warning and no error message: the job goes on, and may say so often. */
#include "checkpoint/local_file.h"
#include "checkpoint/header.h"

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct local_record) == 16 + 17 * 8, "a local record has no padding");

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for a local checkpoint");
}

static enum zi_status warn(const char *path, const char *what, int error)
{
    zi_log(ZI_LOG_WARN, "checkpoint", "%s: cannot %s: %s%s", path, what, strerror(error),
           zi_file_remedy(error, "; make room in checkpoint.local, or choose another folder"));
    return ZI_ERROR_IO;
}

/* Datasets with their places behind the record. */
static enum zi_status list_datasets(struct local_checkpoint *local,
                                    const struct checkpoint_tensor *tensors)
{
    const struct checkpoint_header *header = &local->header;
    int count = local->tensor_count;
    local->datasets = calloc((size_t)count * TIER_KIND_COUNT + 1, sizeof *local->datasets);
    if (!local->datasets) return no_memory();
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!checkpoint_state_is_written(s, header->type)) continue;
        for (int t = 0; t < count; t++) {
            struct checkpoint_dataset *dataset = &local->datasets[local->dataset_count++];
            ZI_TRY(checkpoint_dataset_set(dataset, s, tensors[t].name,
                                          checkpoint_state_type(s, header->type), tensors[t].shape,
                                          tensors[t].dimensions));
            /* What training does not change has a parameter alone, and an optimizer may keep fewer moments. */
            if (tensors[t].frozen && s != TIER_PARAMETER) dataset->elements = 0;
            if (!header_has_state(header, s)) dataset->elements = 0;
        }
    }
    local->record_bytes = (int64_t)(sizeof(struct local_record) +
                                    (size_t)local->dataset_count * sizeof(struct local_sum) +
                                    strlen(header->deck) + strlen(header->model_text));
    local->file_bytes = local_aligned(local->record_bytes);
    for (int d = 0; d < local->dataset_count; d++) {
        struct checkpoint_dataset *dataset = &local->datasets[d];
        dataset->offset = local->file_bytes;
        local->file_bytes +=
            local_aligned(dataset->elements * (int64_t)zi_dtype_bytes(dataset->type));
    }
    return ZI_OK;
}

enum zi_status local_describe(struct comm *comm, const struct local_site *site,
                              const struct checkpoint_header *header,
                              const struct checkpoint_tensor *tensors, int tensor_count,
                              struct local_checkpoint **made)
{
    struct local_checkpoint *local = calloc(1, sizeof *local);
    *made = local;
    if (!local) return no_memory();
    local->comm = comm;
    local->site = *site;
    local->descriptor = local->shared = -1;
    local->tensor_count = tensor_count;
    local->header = *header;
    local->header.deck = strdup(header->deck ? header->deck : "");
    local->header.model_text = strdup(header->model_text ? header->model_text : "");
    if (!local->header.deck || !local->header.model_text ||
        asprintf(&local->path, "%s/rank-%05d.step-%08lld.local", site->folder, comm_rank(comm),
                 (long long)header->step) < 0) {
        local->path = NULL;
        return no_memory();
    }
    return list_datasets(local, tensors);
}

struct checkpoint_dataset *local_dataset(const struct local_checkpoint *local, enum tier_kind state,
                                         int tensor)
{
    int place = 0;
    enum zi_dtype type = local->header.type;
    ZI_REQUIRE(checkpoint_state_name(state) && tensor >= 0 && tensor < local->tensor_count);
    if (state == TIER_MASTER && type == ZI_FP32) state = TIER_PARAMETER;
    for (int s = 0; s < (int)state; s++)
        place += checkpoint_state_is_written(s, type);
    return &local->datasets[place * local->tensor_count + tensor];
}

/* Begins the temporary file. */
static enum zi_status begin_file(struct local_checkpoint *local)
{
    if (asprintf(&local->temporary, "%s" CHECKPOINT_TEMPORARY, local->path) < 0) {
        local->temporary = NULL;
        return no_memory();
    }
    unsigned mode = local->header.mode ? local->header.mode : 0600;
    local->descriptor =
        open(local->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (local->descriptor < 0) {
        enum zi_status status = warn(local->temporary, "begin a local checkpoint", errno);
        free(local->temporary);
        local->temporary = NULL;
        return status;
    }
    if (fchmod(local->descriptor, mode) != 0 ||
        ftruncate(local->descriptor, local->file_bytes) != 0)
        return warn(local->temporary, "begin a local checkpoint", errno);
    return ZI_OK;
}

enum zi_status local_create(struct comm *comm, const struct local_site *site,
                            const struct checkpoint_header *header,
                            const struct checkpoint_tensor *tensors, int tensor_count,
                            struct local_checkpoint **made)
{
    struct local_checkpoint *local;
    enum zi_status status = local_describe(comm, site, header, tensors, tensor_count, &local);
    local_remove(site->folder, comm_rank(comm), site->standing);
    if (status >= 0) status = begin_file(local);
    status = comm_agree(comm, status);
    if (status < 0)
        local_close(local);
    else
        *made = local;
    return checkpoint_unwritten(status);
}

enum zi_status local_write(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, const void *values)
{
    if (count == 0 || local->status < 0) return ZI_OK;
    struct checkpoint_dataset *dataset = local_dataset(local, state, tensor);
    ZI_REQUIRE(local->descriptor >= 0);
    ZI_REQUIRE(first >= 0 && count > 0 && count <= dataset->elements - first);
    size_t size = zi_dtype_bytes(dataset->type);
    int error = checkpoint_write_at(local->descriptor, values, (size_t)count * size,
                                    dataset->offset + first * (int64_t)size);
    if (error != 0) {
        local->status = warn(local->temporary, "write all of a local checkpoint", error);
        return ZI_OK;
    }
    dataset->checksum += checkpoint_checksum(dataset, first, count, values);
    dataset->written += (uint64_t)count;
    if (state == TIER_PARAMETER || state == TIER_MASTER)
        dataset->broken += checkpoint_count_broken(dataset->type, count, values);
    return ZI_OK;
}

uint64_t local_record_checksum(const struct local_record *record, size_t bytes)
{
    struct local_record head = *record;
    head.checksum = 0;
    uint64_t parts[2] = {zi_random_hash(&head, sizeof head),
                         zi_random_hash(record + 1, bytes - sizeof head)};
    return zi_random_hash(parts, sizeof parts);
}

static void fill_record(const struct local_checkpoint *local, struct local_record *record)
{
    const struct checkpoint_header *header = &local->header;
    struct local_sum *sums = (struct local_sum *)(record + 1);
    char *texts = (char *)(sums + local->dataset_count);
    *record = (struct local_record){
        .format = LOCAL_FORMAT,
        .identity = local->site.identity,
        .layout = local->site.layout,
        .rank = comm_rank(local->comm),
        .ranks = comm_size(local->comm),
        .step = header->step,
        .updates = header->updates,
        .tokens = header->tokens,
        .seed = header->seed,
        .loss_scale = header->loss_scale,
        .loss_scale_steps = header->loss_scale_steps,
        .type = header->type,
        .datasets = local->dataset_count,
        .deck_bytes = (int64_t)strlen(header->deck),
        .model_bytes = (int64_t)strlen(header->model_text),
        .record_bytes = local->record_bytes,
        .file_bytes = local->file_bytes,
    };
    for (int d = 0; d < local->dataset_count; d++)
        sums[d] = (struct local_sum){local->datasets[d].checksum, local->datasets[d].written};
    memcpy(texts, header->deck, (size_t)record->deck_bytes);
    memcpy(texts + record->deck_bytes, header->model_text, (size_t)record->model_bytes);
    record->checksum = local_record_checksum(record, (size_t)local->record_bytes);
}

/* Stores the record, syncs and closes. Some file systems tell of a failed write only here. */
static enum zi_status finish_file(struct local_checkpoint *local)
{
    if (local->status < 0) return local->status;
    struct local_record *record = calloc(1, (size_t)local->record_bytes);
    if (!record) return no_memory();
    fill_record(local, record);
    int error = checkpoint_write_at(local->descriptor, record, (size_t)local->record_bytes, 0);
    free(record);
    if (error == 0 && fsync(local->descriptor) != 0) error = errno;
    if (close(local->descriptor) != 0 && error == 0) error = errno;
    local->descriptor = -1;
    return error == 0 ? ZI_OK : warn(local->temporary, "make it durable", error);
}

/* Rank 0 says what is wrong with a dataset, of which all ranks together have written so much. */
static enum zi_status judge(const struct local_checkpoint *local,
                            const struct checkpoint_dataset *dataset, uint64_t written,
                            uint64_t broken)
{
    bool first = comm_rank(local->comm) == 0;
    if (written != (uint64_t)dataset->elements) {
        if (first)
            zi_log(ZI_LOG_ERROR, "checkpoint", "%s: %s has %lld elements, but %llu were written",
                   local->temporary, dataset->name, (long long)dataset->elements,
                   (unsigned long long)written);
        return ZI_ERROR_BUG;
    }
    if (broken == 0) return ZI_OK;
    if (first)
        zi_log(ZI_LOG_WARN, "checkpoint",
               "%s is not written: %llu of the %lld elements of %s are not finite", local->path,
               (unsigned long long)broken, (long long)dataset->elements, dataset->name);
    return ZI_ERROR_NUMERICS;
}

/* Collective. Whether all elements were written once, and are finite. */
static enum zi_status check_whole(const struct local_checkpoint *local)
{
    int count = local->dataset_count;
    uint64_t(*sums)[2] = calloc((size_t)count + 1, sizeof *sums);
    enum zi_status status = comm_agree(local->comm, sums ? ZI_OK : no_memory());
    for (int d = 0; d < count && status >= 0; d++) {
        sums[d][0] = local->datasets[d].written;
        sums[d][1] = local->datasets[d].broken;
    }
    if (status >= 0) status = comm_sum_uint64(local->comm, *sums, 2 * count);
    for (int d = 0; d < count && status >= 0; d++)
        status = judge(local, &local->datasets[d], sums[d][0], sums[d][1]);
    free(sums);
    return comm_agree(local->comm, status);
}

static enum zi_status publish(struct local_checkpoint *local)
{
    if (rename(local->temporary, local->path) != 0)
        return warn(local->temporary, "give it its name", errno);
    free(local->temporary);
    local->temporary = NULL;
    int folder = open(local->site.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems have no such operation and say so with EINVAL. */
    int error = folder < 0 || (fsync(folder) != 0 && errno != EINVAL) ? errno : 0;
    if (folder >= 0) close(folder);
    return error == 0 ? ZI_OK : warn(local->site.folder, "make it durable", error);
}

enum zi_status local_commit(struct local_checkpoint *local)
{
    enum zi_status status = comm_agree(local->comm, finish_file(local));
    if (status >= 0) status = check_whole(local);
    if (status < 0) return checkpoint_unwritten(status);
    status = comm_agree(local->comm, publish(local));
    /* Also where this rank could: it would stand in the way of the next. */
    if (status < 0 && !local->temporary) (void)unlink(local->path);
    return status;
}

int64_t local_bytes(const struct local_checkpoint *local)
{
    int64_t bytes = local->record_bytes;
    for (int d = 0; d < local->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &local->datasets[d];
        bytes += (int64_t)(dataset->written * zi_dtype_bytes(dataset->type));
    }
    return bytes;
}

const struct checkpoint_header *local_header(const struct local_checkpoint *local)
{
    return &local->header;
}

void local_close(struct local_checkpoint *local)
{
    if (!local) return;
    if (local->descriptor >= 0) close(local->descriptor);
    if (local->shared >= 0) close(local->shared);
    if (local->temporary) (void)unlink(local->temporary);
    for (int d = 0; d < local->dataset_count; d++)
        free(local->datasets[d].name);
    free(local->datasets);
    free((char *)local->header.deck);
    free((char *)local->header.model_text);
    free(local->piece);
    free(local->path);
    free(local->temporary);
    free(local);
}

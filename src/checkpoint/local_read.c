/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and reading a local checkpoint.
 *
 * The newest step is not that of any one rank: a job may be killed while some ranks have renamed
 * their files and others have not, a disk may have lost one, a node may be new. So all ranks tell
 * the newest step that they have below a limit, which sinks until they name the same; then each
 * reads all of its file and compares the checksums. A file that does not hold lowers the limit
 * again. There are two steps at most, and so few rounds.
 *
 * Nothing that a file says of itself is believed: it must say what this run would have written. */
#include "checkpoint/local_file.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than any deck has. */
enum { TEXT_MOST = 16 << 20 };

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for a local checkpoint");
}

static enum zi_status pass_over(const struct local_checkpoint *local, const char *why)
{
    zi_log(ZI_LOG_WARN, "checkpoint", "%s %s, and is passed over", local->path, why);
    return ZI_ERROR_IO;
}

/* Reads bytes at an offset; 0 or an errno, ENODATA where the file ends before. */
static int read_at(int descriptor, void *values, size_t bytes, int64_t offset)
{
    char *to = values;
    while (bytes > 0) {
        ssize_t done = pread(descriptor, to, bytes < 1u << 30 ? bytes : 1u << 30, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : ENODATA;
        to += done;
        bytes -= (size_t)done;
        offset += done;
    }
    return 0;
}

/* Whether a record is what this rank would have written at the step of its file's name. */
static const char *find_fault(const struct local_checkpoint *local, const struct local_record *is)
{
    if (is->identity != local->site.identity) return "is of another run";
    if (is->rank != comm_rank(local->comm) || is->ranks != comm_size(local->comm))
        return "is of another number of ranks";
    if (is->layout != local->site.layout || is->type != (int64_t)local->header.type ||
        is->datasets != local->dataset_count)
        return "is of a model that was cut in another way";
    if (is->step != local->header.step || is->updates < 0 || is->tokens < 0)
        return "is damaged: its record is of another step";
    return NULL;
}

/* Takes what the record says into the description, which has a place for every dataset by now. */
static enum zi_status take_record(struct local_checkpoint *local, const struct local_record *record)
{
    const struct local_sum *sums = (const struct local_sum *)(record + 1);
    const char *texts = (const char *)(sums + local->dataset_count);
    struct checkpoint_header *header = &local->header;
    free((char *)header->deck);
    free((char *)header->model_text);
    header->deck = strndup(texts, (size_t)record->deck_bytes);
    header->model_text = strndup(texts + record->deck_bytes, (size_t)record->model_bytes);
    if (!header->deck || !header->model_text) return no_memory();
    header->updates = record->updates;
    header->tokens = record->tokens;
    header->seed = record->seed;
    header->loss_scale = record->loss_scale;
    header->loss_scale_steps = record->loss_scale_steps;
    /* The texts are of another length than those with which the places were found. */
    int64_t moved = record->file_bytes - local->file_bytes;
    local->record_bytes = record->record_bytes;
    local->file_bytes = record->file_bytes;
    for (int d = 0; d < local->dataset_count; d++) {
        local->datasets[d].offset += moved;
        local->datasets[d].checksum = sums[d].checksum;
        local->datasets[d].written = sums[d].written;
    }
    return ZI_OK;
}

/* Whether the sizes that a record states are those of its parts, and of the file. */
static bool has_sizes(const struct local_checkpoint *local, const struct local_record *is,
                      int64_t bytes)
{
    if (is->deck_bytes < 0 || is->deck_bytes > TEXT_MOST || is->model_bytes < 0 ||
        is->model_bytes > TEXT_MOST)
        return false;
    int64_t record_bytes = local->record_bytes + is->deck_bytes + is->model_bytes;
    int64_t values = local->file_bytes - local_aligned(local->record_bytes);
    return is->record_bytes == record_bytes && is->file_bytes == bytes &&
           bytes == local_aligned(record_bytes) + values;
}

/* The record of an open file with its checksum compared, allocated; NULL after a warning. */
static enum zi_status load_record(const struct local_checkpoint *local, int64_t bytes,
                                  struct local_record **record)
{
    struct local_record head;
    int64_t most = local->record_bytes + 2 * (int64_t)TEXT_MOST;
    *record = NULL;
    if (read_at(local->descriptor, &head, sizeof head, 0) != 0 ||
        strncmp(head.format, LOCAL_FORMAT, sizeof head.format) != 0)
        return pass_over(local, "is damaged, or of another version: it does not begin "
                                "with " LOCAL_FORMAT);
    if (head.record_bytes < (int64_t)sizeof head || head.record_bytes > bytes ||
        head.record_bytes > most)
        return pass_over(local, "is damaged, or of another model: its record has another size");
    *record = malloc((size_t)head.record_bytes);
    if (!*record) return no_memory();
    if (read_at(local->descriptor, *record, (size_t)head.record_bytes, 0) == 0 &&
        local_record_checksum(*record, (size_t)head.record_bytes) == head.checksum)
        return ZI_OK;
    free(*record);
    *record = NULL;
    return pass_over(local, "is damaged: the checksum of its record differs");
}

/* The description has no texts yet. */
static enum zi_status read_record(struct local_checkpoint *local, int64_t bytes)
{
    struct local_record *record;
    ZI_TRY(load_record(local, bytes, &record));
    const char *fault = find_fault(local, record);
    if (!fault && !has_sizes(local, record, bytes)) fault = "is damaged: it has another size";
    enum zi_status status = fault ? pass_over(local, fault) : take_record(local, record);
    free(record);
    return status;
}

/* Adds the checksum of bytes [at, end) of a file that are of a dataset, piece by piece. */
static enum zi_status sum_span(const struct local_checkpoint *local,
                               const struct checkpoint_dataset *dataset, int64_t at, int64_t end,
                               void *buffer, uint64_t *sum)
{
    int64_t size = (int64_t)zi_dtype_bytes(dataset->type);
    for (; at < end; at += LOCAL_PIECE) {
        int64_t bytes = end - at < LOCAL_PIECE ? end - at : LOCAL_PIECE;
        if (read_at(local->descriptor, buffer, (size_t)bytes, at) != 0)
            return pass_over(local, "cannot be read");
        *sum += checkpoint_checksum(dataset, (at - dataset->offset) / size, bytes / size, buffer);
    }
    return ZI_OK;
}

/* Compares one dataset; its holes are not read. */
static enum zi_status verify_dataset(const struct local_checkpoint *local,
                                     const struct checkpoint_dataset *dataset, void *buffer)
{
    int64_t size = (int64_t)zi_dtype_bytes(dataset->type);
    int64_t at = dataset->offset, end = at + dataset->elements * size;
    uint64_t sum = 0;
    while (at < end) {
        off_t data = lseek(local->descriptor, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;
        if (data < 0) return pass_over(local, "cannot be read");
        off_t hole = lseek(local->descriptor, data, SEEK_HOLE);
        if (hole < 0) return pass_over(local, "cannot be read");
        /* To whole elements, wherever the file system says that data begins and ends. */
        int64_t from = dataset->offset + (data - dataset->offset) / size * size;
        int64_t to = dataset->offset + (hole - dataset->offset + size - 1) / size * size;
        if (data >= end) break;
        if (to > end) to = end;
        ZI_TRY(sum_span(local, dataset, from, to, buffer, &sum));
        at = to;
    }
    return sum == dataset->checksum ? ZI_OK : pass_over(local, "is damaged: a checksum differs");
}

/* Opens and verifies the file of this rank. ZI_ERROR_IO after a warning. */
static enum zi_status open_verified(struct local_checkpoint *local)
{
    struct stat is;
    local->descriptor = open(local->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (local->descriptor < 0 || fstat(local->descriptor, &is) != 0 || !S_ISREG(is.st_mode))
        return pass_over(local, "cannot be opened");
    ZI_TRY(read_record(local, is.st_size));
    void *buffer = malloc(LOCAL_PIECE);
    if (!buffer) return no_memory();
    enum zi_status status = ZI_OK;
    for (int d = 0; d < local->dataset_count && status >= 0; d++)
        status = verify_dataset(local, &local->datasets[d], buffer);
    free(buffer);
    return status;
}

/* Collective. Every rank's number, from all of them. */
static enum zi_status gather(struct comm *comm, int64_t own, int64_t *lowest, int64_t *highest)
{
    int ranks = comm_size(comm);
    uint64_t *all = calloc((size_t)ranks, sizeof *all);
    enum zi_status status = comm_agree(comm, all ? ZI_OK : no_memory());
    if (status >= 0) {
        all[comm_rank(comm)] = (uint64_t)own;
        status = comm_sum_uint64(comm, all, ranks);
    }
    *lowest = *highest = own;
    for (int r = 0; r < ranks && status >= 0; r++) {
        int64_t of = (int64_t)all[r];
        if (of < *lowest) *lowest = of;
        if (of > *highest) *highest = of;
    }
    free(all);
    return status;
}

/* Local. The file of a step of this rank, whole; NULL and ZI_ERROR_IO, after a warning, when it is
 * not. */
static enum zi_status open_step(struct comm *comm, const struct local_site *site,
                                const struct checkpoint_header *expected,
                                const struct checkpoint_tensor *tensors, int tensor_count,
                                struct local_checkpoint **opened)
{
    enum zi_status status = local_describe(comm, site, expected, tensors, tensor_count, opened);
    if (status >= 0) status = open_verified(*opened);
    if (status >= 0) return ZI_OK;
    local_close(*opened);
    *opened = NULL;
    return status;
}

enum zi_status local_open_newest(struct comm *comm, const struct local_site *site,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 enum zi_dtype type, struct local_checkpoint **opened)
{
    struct checkpoint_header expected = {.type = type};
    int64_t limit = INT64_MAX, lowest, highest;
    *opened = NULL;
    for (;;) {
        int64_t own = local_step_below(site->folder, comm_rank(comm), limit);
        ZI_TRY(gather(comm, own, &lowest, &highest));
        if (lowest < 0) {
            if (own < 0 && highest >= 0)
                zi_log(ZI_LOG_WARN, "checkpoint",
                       "%s lacks this rank's part of the local checkpoint of step %" PRId64
                       " and of those before, which other ranks have: they are of no use alone",
                       site->folder, highest);
            return ZI_OK;
        }
        limit = lowest + 1;
        if (lowest < highest) continue;
        expected.step = lowest;
        enum zi_status status = open_step(comm, site, &expected, tensors, tensor_count, opened);
        enum zi_status worst = comm_agree(comm, status);
        if (worst >= 0) return ZI_OK;
        local_close(*opened);
        *opened = NULL;
        if (worst != ZI_ERROR_IO) return worst;
        limit = lowest;
    }
}

/* Collective. A piece of memory, and a file without a name for what other ranks have. While it has
 * one it is one that local_folder_remove knows. */
static enum zi_status begin_shared(struct local_checkpoint *local)
{
    char *name = NULL;
    local->piece = malloc(LOCAL_PIECE);
    enum zi_status status = local->piece ? ZI_OK : no_memory();
    if (status >= 0 && asprintf(&name, "%s/" LOCAL_OWNER ".tmp-XXXXXX", local->site.folder) < 0) {
        name = NULL;
        status = no_memory();
    }
    ZI_TRY(comm_agree(local->comm, status));
    local->shared = mkostemp(name, O_CLOEXEC);
    if (local->shared < 0 || unlink(name) != 0) {
        zi_log(ZI_LOG_WARN, "checkpoint", "%s: cannot be made: %s", name, strerror(errno));
        local->status = ZI_ERROR_IO;
    }
    free(name);
    return ZI_OK;
}

/* Collective. From the file of the rank that has it to what every rank has, through memory. */
static enum zi_status share_piece(struct local_checkpoint *local, int root, int64_t at,
                                  int64_t bytes)
{
    int error = 0;
    if (comm_rank(local->comm) == root)
        error = read_at(local->descriptor, local->piece, (size_t)bytes, at);
    ZI_TRY(comm_broadcast(local->comm, local->piece, bytes, root));
    if (local->status < 0) return ZI_OK;
    if (error == 0) error = checkpoint_write_at(local->shared, local->piece, (size_t)bytes, at);
    if (error != 0) {
        zi_log(ZI_LOG_WARN, "checkpoint", "%s: cannot be shared with other ranks: %s", local->path,
               strerror(error));
        local->status = ZI_ERROR_IO;
    }
    return ZI_OK;
}

enum zi_status local_share(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, int root)
{
    const struct checkpoint_dataset *dataset = local_dataset(local, state, tensor);
    int64_t size = (int64_t)zi_dtype_bytes(dataset->type);
    int64_t at = dataset->offset + first * size, end = at + count * size;
    ZI_REQUIRE(first >= 0 && count >= 0 && count <= dataset->elements - first);
    if (!local->piece) ZI_TRY(begin_shared(local));
    local->is_shared[state] = true;
    for (; at < end; at += LOCAL_PIECE)
        ZI_TRY(share_piece(local, root, at, end - at < LOCAL_PIECE ? end - at : LOCAL_PIECE));
    return ZI_OK;
}

enum zi_status local_share_end(struct local_checkpoint *local)
{
    return comm_agree(local->comm, local->status);
}

enum zi_status local_read(const struct local_checkpoint *local, enum tier_kind state, int tensor,
                          int64_t first, int64_t count, void *values)
{
    const struct checkpoint_dataset *dataset = local_dataset(local, state, tensor);
    int64_t size = (int64_t)zi_dtype_bytes(dataset->type);
    int file = local->is_shared[state] ? local->shared : local->descriptor;
    ZI_REQUIRE(first >= 0 && count >= 0 && count <= dataset->elements - first);
    int error = read_at(file, values, (size_t)(count * size), dataset->offset + first * size);
    if (error == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot read %lld elements of %s at %lld: %s",
                   local->path, (long long)count, dataset->name, (long long)first, strerror(error));
}

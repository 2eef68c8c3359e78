/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a checkpoint, on any number of ranks, whatever number has written it.
 *
 * All ranks open the file through parallel HDF5 (metadata is read by one rank and passed on), list
 * the datasets with type, shape, offset and recorded checksum, and close it again. Numbers are read
 * with plain reads at the offsets, so a read needs no other rank and no HDF5 call.
 *
 * Damage is found three ways: HDF5 cannot open the file, a dataset ends beyond the file, or a
 * checksum differs. A read of a whole tensor is compared at once; checkpoint_verify reads all of
 * the file, a share of every dataset on each rank, and adds the parts of the checksums.
 *
 * Invariant: datasets are sorted by (state, name) and found by bisection. */
#include "checkpoint/file.h"

#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, VERIFY_BYTES = 4 * 1024 * 1024 };

/* What the visit of a group's links gathers. */
struct listing {
    struct checkpoint *checkpoint;
    enum tier_kind state;
    int capacity;
    enum zi_status status;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the description of a checkpoint");
}

static enum zi_status fail_damaged(const char *path, const char *what)
{
    return zi_fail(ZI_ERROR_IO, "checkpoint",
                   "%s: %s: the file is damaged; use an older checkpoint", path, what);
}

/* Rank 0. The file that `path` stands for: itself, or what `latest` of a folder names. */
static enum zi_status resolve(const char *path, char resolved[PATH_SIZE])
{
    struct stat is;
    if (stat(path, &is) != 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: no such checkpoint: %s", path,
                       strerror(errno));
    int length = snprintf(resolved, PATH_SIZE, "%s", path);
    if (S_ISDIR(is.st_mode) && length < PATH_SIZE) {
        char link[PATH_SIZE], name[256];
        length = snprintf(link, PATH_SIZE, "%s/latest", path);
        ssize_t size = length < PATH_SIZE ? readlink(link, name, sizeof name - 1) : -1;
        if (size < 0)
            return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                           "%s: no checkpoint in this folder: it has no link named latest; name a "
                           "file of it",
                           path);
        name[size] = '\0';
        length = snprintf(resolved, PATH_SIZE, "%s/%s", path, name);
    }
    if (length < 0 || length >= PATH_SIZE)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: the path is too long", path);
    if (access(resolved, R_OK) != 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: cannot be read: %s", resolved,
                       strerror(errno));
    /* A file cut to nothing, or of another kind, before all ranks open it together. */
    if (H5Fis_hdf5(resolved) <= 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: no checkpoint: not an HDF5 file",
                       resolved);
    return ZI_OK;
}

static enum zi_status dataset_describe(hid_t dataset, const char *tensor, struct listing *listing)
{
    const char *path = listing->checkpoint->path;
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hsize_t extent[2] = {0, 0};
    int dimensions = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    int known = 0;
    enum zi_dtype element = ZI_FP32;
    if (type >= 0 && dimensions >= 1 && dimensions <= 2 &&
        H5Sget_simple_extent_dims(space, extent, NULL) == dimensions) {
        element = h5_type_is(type, ZI_BF16) ? ZI_BF16 : ZI_FP32;
        known = element == ZI_BF16 || h5_type_is(type, ZI_FP32);
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (!known) return fail_damaged(path, "a dataset has an unknown type or shape");

    struct checkpoint *checkpoint = listing->checkpoint;
    struct checkpoint_dataset *to = &checkpoint->datasets[checkpoint->dataset_count];
    memset(to, 0, sizeof *to);
    int64_t shape[2] = {(int64_t)extent[0], (int64_t)extent[1]};
    ZI_TRY(checkpoint_dataset_set(to, listing->state, tensor, element, shape, dimensions));
    checkpoint->dataset_count++;
    haddr_t offset = H5Dget_offset(dataset);
    hid_t attribute = H5Aopen(dataset, "checksum", H5P_DEFAULT);
    herr_t result = -1;
    if (attribute >= 0) {
        result = H5Aread(attribute, H5T_NATIVE_UINT64, &to->checksum);
        H5Aclose(attribute);
    }
    if (offset == HADDR_UNDEF || result < 0)
        return fail_damaged(path, "a dataset has no bytes or no checksum");
    to->offset = (int64_t)offset;
    return ZI_OK;
}

/* With fp32 the master is a second name of the parameter, whose seed its checksum has. */
static void dataset_alias_seed(const struct checkpoint *checkpoint,
                               struct checkpoint_dataset *dataset)
{
    if (checkpoint->header.type != ZI_FP32 || dataset->state != TIER_MASTER) return;
    char name[512];
    snprintf(name, sizeof name, "parameter%s", dataset->name + strlen("master"));
    dataset->seed = zi_random_stream(name);
}

static herr_t list_one(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    (void)info;
    struct listing *listing = context;
    struct checkpoint *checkpoint = listing->checkpoint;
    if (checkpoint->dataset_count == listing->capacity) {
        int capacity = 2 * listing->capacity + 64;
        void *grown =
            realloc(checkpoint->datasets, (size_t)capacity * sizeof *checkpoint->datasets);
        if (grown == NULL) {
            listing->status = no_memory();
            return -1;
        }
        checkpoint->datasets = grown;
        listing->capacity = capacity;
    }
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    if (dataset < 0) {
        listing->status = h5_fail(checkpoint->path, "open a dataset");
        return -1;
    }
    listing->status = dataset_describe(dataset, name, listing);
    H5Dclose(dataset);
    if (listing->status < 0) return -1;
    dataset_alias_seed(checkpoint, &checkpoint->datasets[checkpoint->dataset_count - 1]);
    return 0;
}

static enum zi_status list_datasets(struct checkpoint *checkpoint, hid_t file)
{
    struct listing listing = {.checkpoint = checkpoint};
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (checkpoint_state_name(s) == NULL) continue;
        listing.state = s;
        hid_t group = H5Gopen2(file, checkpoint_state_name(s), H5P_DEFAULT);
        if (group < 0) return h5_fail(checkpoint->path, "open a group");
        hsize_t place = 0;
        herr_t result = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &place, list_one, &listing);
        H5Gclose(group);
        if (listing.status < 0) return listing.status;
        if (result < 0) return h5_fail(checkpoint->path, "list its datasets");
    }
    return ZI_OK;
}

static enum zi_status read_header(struct checkpoint *checkpoint, hid_t file)
{
    struct checkpoint_header *header = &checkpoint->header;
    char *format = NULL, *type = NULL, *deck = NULL, *model = NULL;
    if (h5_text_read(file, "format", &format) < 0 || strcmp(format, CHECKPOINT_FORMAT) != 0) {
        enum zi_status status =
            zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: no checkpoint: its format is %s, not %s",
                    checkpoint->path, format != NULL ? format : "not stated", CHECKPOINT_FORMAT);
        free(format);
        return status;
    }
    free(format);
    int failed = h5_integer_read(file, "step", &header->step) < 0 ||
                 h5_integer_read(file, "updates", &header->updates) < 0 ||
                 h5_integer_read(file, "tokens", &header->tokens) < 0 ||
                 h5_integer_read(file, "seed", &header->seed) < 0 ||
                 h5_text_read(file, "type", &type) < 0 || h5_text_read(file, "deck", &deck) < 0 ||
                 h5_text_read(file, "model", &model) < 0;
    enum zi_status status = failed ? h5_fail(checkpoint->path, "read the header") : ZI_OK;
    header->deck = deck;
    header->model_text = model;
    header->type = type != NULL && strcmp(type, "bf16") == 0 ? ZI_BF16 : ZI_FP32;
    free(type);
    return status;
}

/* Collective. Opens, lists and closes the file. Every rank sees the same bytes and decides the
 * same.
 */
static enum zi_status read_layout(struct checkpoint *checkpoint)
{
    hid_t access_list = checkpoint_access_create(checkpoint->comm);
    if (access_list < 0 ||
        (comm_mpi(checkpoint->comm) != NULL && H5Pset_all_coll_metadata_ops(access_list, 1) < 0)) {
        if (access_list >= 0) H5Pclose(access_list);
        return h5_fail(checkpoint->path, "choose parallel access");
    }
    hid_t file = H5Fopen(checkpoint->path, H5F_ACC_RDONLY, access_list);
    H5Pclose(access_list);
    if (file < 0) return h5_fail(checkpoint->path, "open it (is it damaged?)");
    enum zi_status status = read_header(checkpoint, file);
    if (status == ZI_OK) status = list_datasets(checkpoint, file);
    H5Fclose(file);
    return status;
}

static enum zi_status open_for_reading(struct checkpoint *checkpoint)
{
    const char *path = checkpoint->path;
    struct stat is;
    checkpoint->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (checkpoint->descriptor < 0 || fstat(checkpoint->descriptor, &is) != 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be opened: %s", path,
                       strerror(errno));
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        int64_t bytes = dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
        if (dataset->offset + bytes > (int64_t)is.st_size)
            return fail_damaged(path, "a dataset ends beyond the file");
    }
    return ZI_OK;
}

/* Collective. Rank 0 finds the file and tells the others its name. */
static enum zi_status agree_on_path(struct comm *comm, const char *path, char **found)
{
    char resolved[PATH_SIZE] = "";
    enum zi_status status = comm_rank(comm) == 0 ? resolve(path, resolved) : ZI_OK;
    ZI_TRY(comm_agree(comm, status));
    ZI_TRY(comm_broadcast(comm, resolved, PATH_SIZE, 0));
    *found = strdup(resolved);
    return comm_agree(comm, *found == NULL ? no_memory() : ZI_OK);
}

enum zi_status checkpoint_open(struct comm *comm, const char *path, struct checkpoint **checkpoint)
{
    h5_quiet();
    struct checkpoint *made = calloc(1, sizeof *made);
    enum zi_status status = comm_agree(comm, made == NULL ? no_memory() : ZI_OK);
    if (made != NULL) {
        made->comm = comm;
        made->descriptor = -1;
    }
    if (status == ZI_OK) status = agree_on_path(comm, path, &made->path);
    if (status == ZI_OK) status = comm_agree(comm, read_layout(made));
    if (status == ZI_OK) status = comm_agree(comm, open_for_reading(made));
    if (status < 0) {
        checkpoint_close(made);
        return status;
    }
    *checkpoint = made;
    return ZI_OK;
}

const struct checkpoint_header *checkpoint_get_header(const struct checkpoint *checkpoint)
{
    return &checkpoint->header;
}

static const struct checkpoint_dataset *dataset_find(const struct checkpoint *checkpoint,
                                                     enum tier_kind state, const char *tensor)
{
    int low = 0, high = checkpoint->dataset_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[middle];
        const char *own = dataset->name + strlen(checkpoint_state_name(dataset->state)) + 1;
        int order =
            dataset->state != state ? (int)dataset->state - (int)state : strcmp(own, tensor);
        if (order == 0) return dataset;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static enum zi_status read_range(const struct checkpoint *checkpoint,
                                 const struct checkpoint_dataset *dataset, int64_t first,
                                 int64_t count, void *values)
{
    const size_t most = (size_t)1 << 30;
    size_t size = zi_dtype_bytes(dataset->type), bytes = (size_t)count * size;
    int64_t offset = dataset->offset + first * (int64_t)size;
    char *to = values;
    while (bytes > 0) {
        ssize_t done =
            pread(checkpoint->descriptor, to, bytes < most ? bytes : most, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0)
            return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot read %zu bytes of %s at %lld: %s",
                           checkpoint->path, bytes, dataset->name, (long long)offset,
                           done < 0 ? strerror(errno) : "the file ends there");
        to += done;
        bytes -= (size_t)done;
        offset += done;
    }
    return ZI_OK;
}

static enum zi_status fail_checksum(const struct checkpoint *checkpoint,
                                    const struct checkpoint_dataset *dataset, uint64_t sum)
{
    return zi_fail(ZI_ERROR_IO, "checkpoint",
                   "%s: %s is damaged: its checksum is %016llx, recorded is %016llx; use an older "
                   "checkpoint",
                   checkpoint->path, dataset->name, (unsigned long long)sum,
                   (unsigned long long)dataset->checksum);
}

enum zi_status checkpoint_read(struct checkpoint *checkpoint, enum tier_kind state,
                               const char *tensor, int64_t elements, int64_t first, int64_t count,
                               void *values)
{
    const struct checkpoint_dataset *dataset = dataset_find(checkpoint, state, tensor);
    if (dataset == NULL)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: has no %s/%s: it is a checkpoint of another model (%s)",
                       checkpoint->path, checkpoint_state_name(state), tensor,
                       checkpoint->header.model_text);
    if (dataset->elements != elements)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: %s has %lld elements where the deck's model has %lld (%s)",
                       checkpoint->path, dataset->name, (long long)dataset->elements,
                       (long long)elements, checkpoint->header.model_text);
    ZI_REQUIRE(first >= 0 && count >= 0 && count <= elements - first);
    ZI_TRY(read_range(checkpoint, dataset, first, count, values));
    if (count < elements) return ZI_OK;
    uint64_t sum = checkpoint_checksum(dataset, 0, count, values);
    return sum == dataset->checksum ? ZI_OK : fail_checksum(checkpoint, dataset, sum);
}

/* Local. Adds the checksum of this rank's share of a dataset to *sum, piece by piece. */
static enum zi_status sum_share(const struct checkpoint *checkpoint,
                                const struct checkpoint_dataset *dataset, void *buffer,
                                uint64_t *sum)
{
    int64_t ranks = comm_size(checkpoint->comm), rank = comm_rank(checkpoint->comm);
    int64_t share = (dataset->elements + ranks - 1) / ranks;
    int64_t first = rank * share, end = first + share;
    int64_t piece = VERIFY_BYTES / (int64_t)zi_dtype_bytes(dataset->type);
    if (end > dataset->elements) end = dataset->elements;
    for (; first < end; first += piece) {
        int64_t count = end - first < piece ? end - first : piece;
        ZI_TRY(read_range(checkpoint, dataset, first, count, buffer));
        *sum += checkpoint_checksum(dataset, first, count, buffer);
    }
    return ZI_OK;
}

enum zi_status checkpoint_verify(struct checkpoint *checkpoint)
{
    int count = checkpoint->dataset_count;
    void *buffer = malloc(VERIFY_BYTES);
    uint64_t *sums = calloc((size_t)count + 1, sizeof *sums);
    enum zi_status status = buffer == NULL || sums == NULL ? no_memory() : ZI_OK;
    for (int d = 0; d < count && status == ZI_OK; d++)
        status = sum_share(checkpoint, &checkpoint->datasets[d], buffer, &sums[d]);
    status = comm_agree(checkpoint->comm, status);
    if (status == ZI_OK) status = comm_sum_uint64(checkpoint->comm, sums, count);
    for (int d = 0; d < count && status == ZI_OK; d++) {
        if (sums[d] == checkpoint->datasets[d].checksum) continue;
        status = ZI_ERROR_IO;
        if (comm_rank(checkpoint->comm) == 0)
            fail_checksum(checkpoint, &checkpoint->datasets[d], sums[d]);
    }
    free(buffer);
    free(sums);
    return status;
}

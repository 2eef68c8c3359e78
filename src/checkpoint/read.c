/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a checkpoint, on any number of ranks, whatever number has written it.
 *
 * All ranks open the file through parallel HDF5 (metadata is read by one rank and passed on), list
 * the datasets with type, shape, offset and recorded checksum, and close it again. Numbers are read
 * with plain reads at the offsets, so a read needs no other rank and no HDF5 call.
 *
 * Rank 0 has compared the checksum of all that HDF5 goes by before any rank opens the file
 * (user_block.c, in find.c), so what HDF5 reads here is what it has written. A file that somebody
 * made so that this checksum holds is not believed all the same: types, extents and places are
 * compared with what a commit leaves before they are used, so that every later read stays inside
 * the file and inside the caller's memory. Numbers have checksums of their own: a read of a whole
 * tensor is compared at once; checkpoint_verify reads all of them, a share of every dataset on each
 * rank, and adds the parts of the checksums.
 *
 * Invariant: datasets are sorted by (state, name) and found by bisection. */
#include "checkpoint/file.h"
#include "checkpoint/header.h"

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, VERIFY_BYTES = 4 * 1024 * 1024, DATASETS_MOST = 1 << 26 };

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

/* `name` is a dataset's, or NULL for the file itself. */
static enum zi_status fail_damaged(const char *path, const char *name, const char *what)
{
    return zi_fail(ZI_ERROR_IO, "checkpoint",
                   "%s: %s%s%s: the file is damaged; use an older checkpoint", path,
                   name ? name : "", name ? " " : "", what);
}

/* Type, extents, place and recorded checksum of an open dataset. */
static enum zi_status dataset_describe(hid_t dataset, const char *tensor, struct listing *listing)
{
    struct checkpoint *checkpoint = listing->checkpoint;
    const char *path = checkpoint->path;
    enum zi_dtype element = checkpoint_state_type(listing->state, checkpoint->header.type);
    int64_t shape[2] = {0, 0}, elements;
    if (!h5_is_own(dataset)) return fail_damaged(path, tensor, "is in another file");
    hid_t type = H5Dget_type(dataset);
    int known = type >= 0 && h5_type_is(type, element);
    if (type >= 0) H5Tclose(type);
    if (!known) return fail_damaged(path, tensor, "is not of the type that its kind of state has");
    int dimensions = h5_shape_read(dataset, 2, shape, &elements);
    if (dimensions < 0) return h5_fail("checkpoint", path, "use a dataset");
    if (dimensions == 0) return fail_damaged(path, tensor, "has no extents");

    struct checkpoint_dataset *to = &checkpoint->datasets[checkpoint->dataset_count++];
    memset(to, 0, sizeof *to);
    ZI_TRY(checkpoint_dataset_set(to, listing->state, tensor, element, shape, dimensions));
    to->offset = h5_offset_read(dataset);
    if (to->offset < 0) return fail_damaged(path, to->name, "has no place in the file");
    if (h5_bits_read(dataset, "checksum", &to->checksum) < 0)
        return fail_damaged(path, to->name, "has no checksum");
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
    struct listing *listing = context;
    struct checkpoint *checkpoint = listing->checkpoint;
    if (info->type != H5L_TYPE_HARD) { /* it could lead into another file */
        listing->status = fail_damaged(checkpoint->path, name, "is a link");
        return -1;
    }
    if (checkpoint->dataset_count >= DATASETS_MOST) {
        listing->status = fail_damaged(checkpoint->path, NULL, "has too many datasets");
        return -1;
    }
    if (checkpoint->dataset_count == listing->capacity) {
        int capacity = 2 * listing->capacity + 64;
        void *grown =
            realloc(checkpoint->datasets, (size_t)capacity * sizeof *checkpoint->datasets);
        if (!grown) {
            listing->status = no_memory();
            return -1;
        }
        checkpoint->datasets = grown;
        listing->capacity = capacity;
    }
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    if (dataset < 0) {
        listing->status = h5_fail("checkpoint", checkpoint->path, "open a dataset");
        return -1;
    }
    listing->status = dataset_describe(dataset, name, listing);
    H5Dclose(dataset);
    if (listing->status < 0) return -1;
    dataset_alias_seed(checkpoint, &checkpoint->datasets[checkpoint->dataset_count - 1]);
    return 0;
}

/* A group of the file itself; negative, with a status, where it is a link, which could lead into
 * another file. */
static hid_t group_open(const struct checkpoint *checkpoint, hid_t file, const char *name,
                        enum zi_status *status)
{
    if (h5_link_of(file, name) == H5_LINK_OTHER) {
        *status = fail_damaged(checkpoint->path, name, "is a link");
        return -1;
    }
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    if (group < 0) *status = h5_fail("checkpoint", checkpoint->path, "open a group");
    return group;
}

static enum zi_status list_datasets(struct checkpoint *checkpoint, hid_t file)
{
    struct listing listing = {.checkpoint = checkpoint};
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!header_has_state(&checkpoint->header, s)) continue;
        listing.state = s;
        hid_t group = group_open(checkpoint, file, checkpoint_state_name(s), &listing.status);
        if (group < 0) return listing.status;
        hsize_t place = 0;
        herr_t result = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &place, list_one, &listing);
        H5Gclose(group);
        if (listing.status < 0) return listing.status;
        if (result < 0) return h5_fail("checkpoint", checkpoint->path, "list its datasets");
    }
    return ZI_OK;
}

static const struct checkpoint_dataset *dataset_find(const struct checkpoint *checkpoint,
                                                     enum tier_kind state, const char *tensor);

/* Every tensor has a parameter, and all other states or, where it is frozen, none, in the same shape:
 * what a commit leaves. */
static enum zi_status check_complete(struct checkpoint *checkpoint)
{
    const struct checkpoint_header *header = &checkpoint->header;
    int states = header->weights_only ? 0 : tier_kinds_saved() - 1 - header->lacks;
    int count = 0;
    while (count < checkpoint->dataset_count && checkpoint->datasets[count].state == TIER_PARAMETER)
        count++;
    checkpoint->tensor_count = count;
    int others = checkpoint->dataset_count - count, trained = states > 0 ? others / states : 0;
    if (count == 0 || trained * states != others || (states > 0 && trained == 0))
        return fail_damaged(checkpoint->path, NULL, "its states have not the same tensors");
    for (int d = count; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        const struct checkpoint_dataset *first =
            &checkpoint->datasets[count + (d - count) % trained];
        const struct checkpoint_dataset *like =
            dataset_find(checkpoint, TIER_PARAMETER, strchr(dataset->name, '/') + 1);
        if (!like || strcmp(strchr(dataset->name, '/'), strchr(first->name, '/')) != 0 ||
            dataset->dimensions != like->dimensions || dataset->shape[0] != like->shape[0] ||
            dataset->shape[1] != like->shape[1])
            return fail_damaged(checkpoint->path, dataset->name,
                                "is not what the same tensor is in other states");
        if (!checkpoint_state_is_written(dataset->state, checkpoint->header.type) &&
            (dataset->offset != like->offset || dataset->checksum != like->checksum))
            return fail_damaged(checkpoint->path, dataset->name, "is not the parameter itself");
    }
    return ZI_OK;
}

/* The type of parameters that a header states, -1 for none. */
static int type_named(const char *name)
{
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, zi_dtype_name(types[i])) == 0) return types[i];
    return -1;
}

/* Whether it has parameters alone. */
static enum zi_status read_states(const struct checkpoint *checkpoint, hid_t file,
                                  struct checkpoint_header *header)
{
    char *states = NULL;
    header->weights_only = false;
    if (H5Aexists(file, "states") <= 0) return ZI_OK;
    if (h5_text_read(file, "states", &states) < 0)
        return h5_fail("checkpoint", checkpoint->path, "read which states it has");
    header->weights_only = strcmp(states, CHECKPOINT_WEIGHTS) == 0;
    free(states);
    return header->weights_only
               ? ZI_OK
               : fail_damaged(checkpoint->path, NULL, "its header names unknown states");
}

/* How many moments it has, where they are not all. */
static enum zi_status read_moments(const struct checkpoint *checkpoint, hid_t file,
                                   struct checkpoint_header *header)
{
    int64_t moments = TIER_MOMENTS;
    header->lacks = 0;
    if (H5Aexists(file, "moments") <= 0) return ZI_OK;
    if (h5_integer_read(file, "moments", &moments) < 0)
        return h5_fail("checkpoint", checkpoint->path, "read how many moments it has");
    if (moments < 0 || moments >= TIER_MOMENTS)
        return fail_damaged(checkpoint->path, NULL, "its header has moments that cannot be");
    header->lacks = TIER_MOMENTS - (int)moments;
    return ZI_OK;
}

/* The loss scale, of fp16 alone. */
static enum zi_status read_scaling(const struct checkpoint *checkpoint, hid_t file,
                                   struct checkpoint_header *header)
{
    header->loss_scale = 1;
    header->loss_scale_steps = 0;
    if (header->type != ZI_FP16) return ZI_OK;
    if (h5_integer_read(file, "loss_scale", &header->loss_scale) < 0 ||
        h5_integer_read(file, "loss_scale_steps", &header->loss_scale_steps) < 0)
        return h5_fail("checkpoint", checkpoint->path, "read the loss scale");
    int64_t scale = header->loss_scale;
    if (scale >= 1 && scale <= 1 << 24 && (scale & (scale - 1)) == 0 &&
        header->loss_scale_steps >= 0)
        return ZI_OK;
    return fail_damaged(checkpoint->path, NULL, "its header has a loss scale that cannot be");
}

static enum zi_status read_header(struct checkpoint *checkpoint, hid_t file)
{
    struct checkpoint_header *header = &checkpoint->header;
    char *format = NULL, *type = NULL, *deck = NULL, *model = NULL;
    if (h5_text_read(file, "format", &format) < 0 || strcmp(format, CHECKPOINT_FORMAT) != 0) {
        enum zi_status status =
            zi_fail(ZI_ERROR_USAGE, "checkpoint",
                    "%s: no checkpoint that this version of zinf reads: its format is %s, not %s",
                    checkpoint->path, format ? format : "not stated", CHECKPOINT_FORMAT);
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
    enum zi_status status =
        failed ? h5_fail("checkpoint", checkpoint->path, "read the header") : ZI_OK;
    header->deck = deck;
    header->model_text = model;
    int known = status == ZI_OK ? type_named(type) : -1;
    header->type = known < 0 ? ZI_FP32 : (enum zi_dtype)known;
    if (status == ZI_OK && known < 0)
        status = fail_damaged(checkpoint->path, NULL, "its header states an unknown type");
    if (status == ZI_OK) status = read_scaling(checkpoint, file, header);
    if (status == ZI_OK) status = read_states(checkpoint, file, header);
    if (status == ZI_OK) status = read_moments(checkpoint, file, header);
    if (status == ZI_OK && (header->step < 0 || header->updates < 0 || header->tokens < 0))
        status = fail_damaged(checkpoint->path, NULL, "its header has negative counts");
    free(type);
    return status;
}

/* Collective. Opens the file by the driver of `access`. MPI-IO takes what stands before a colon for
 * the name of a file system; "ufs:" says that it is any. */
static hid_t open_by_name(const struct checkpoint *checkpoint, hid_t access)
{
    const char *path = checkpoint->path;
    bool hidden = comm_mpi(checkpoint->comm) && strchr(path, ':');
    char name[PATH_MAX + 8];
    snprintf(name, sizeof name, "%s%s", hidden ? "ufs:" : "", path);
    return H5Fopen(name, H5F_ACC_RDONLY, access);
}

/* Collective. Opens, lists and closes the file. Every rank sees the same bytes and decides the
 * same.
 */
static enum zi_status read_layout(struct checkpoint *checkpoint)
{
    hid_t access_list = checkpoint_access_create(checkpoint->comm);
    if (access_list < 0 ||
        (comm_mpi(checkpoint->comm) && H5Pset_all_coll_metadata_ops(access_list, 1) < 0)) {
        if (access_list >= 0) H5Pclose(access_list);
        return h5_fail("checkpoint", checkpoint->path, "choose parallel access");
    }
    hid_t file = open_by_name(checkpoint, access_list);
    H5Pclose(access_list);
    if (file < 0) return h5_fail("checkpoint", checkpoint->path, "open it (is it damaged?)");
    enum zi_status status = read_header(checkpoint, file);
    if (status == ZI_OK) status = list_datasets(checkpoint, file);
    if (status == ZI_OK) status = check_complete(checkpoint);
    H5Fclose(file);
    return status;
}

static enum zi_status open_for_reading(struct checkpoint *checkpoint)
{
    const char *path = checkpoint->path;
    int64_t size;
    if (zi_file_open_input("checkpoint", path, &checkpoint->descriptor, &size) < 0)
        return ZI_ERROR_IO;
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        int64_t bytes = dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
        if (dataset->offset > size || bytes > size - dataset->offset)
            return fail_damaged(path, dataset->name, "ends beyond the file");
    }
    return ZI_OK;
}

/* Collective. Rank 0 finds the file and tells the others its name. */
static enum zi_status agree_on_path(struct comm *comm, const char *path, char **found)
{
    char name[PATH_SIZE] = "";
    enum zi_status status = ZI_OK;
    *found = NULL;
    if (comm_rank(comm) == 0) status = checkpoint_find(path, found);
    if (*found && strlen(*found) >= sizeof name)
        status = zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: the path is too long", path);
    ZI_TRY(comm_agree(comm, status));
    if (*found) memcpy(name, *found, strlen(*found) + 1);
    ZI_TRY(comm_broadcast(comm, name, PATH_SIZE, 0));
    if (!*found) *found = strdup(name);
    return comm_agree(comm, *found ? ZI_OK : no_memory());
}

enum zi_status checkpoint_open(struct comm *comm, const char *path, struct checkpoint **checkpoint)
{
    h5_quiet();
    struct checkpoint *made = calloc(1, sizeof *made);
    enum zi_status status = comm_agree(comm, made ? ZI_OK : no_memory());
    if (made) {
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
    made->header.path = made->path;
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

int64_t checkpoint_elements(const struct checkpoint *checkpoint, enum tier_kind state,
                            const char *tensor)
{
    const struct checkpoint_dataset *dataset = dataset_find(checkpoint, state, tensor);
    return dataset ? dataset->elements : -1;
}

int checkpoint_tensors(const struct checkpoint *checkpoint)
{
    return checkpoint->tensor_count;
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
    bool moment = tier_kind_row((enum tier_kind)state)->optimizer >= 0;
    if (!dataset && moment && !header_has_state(&checkpoint->header, state))
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: has no %s: its optimizer kept none; take optimizer.type and "
                       "optimizer.beta1 as they were",
                       checkpoint->path, checkpoint_state_name(state));
    if (!dataset)
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
    enum zi_status status = !buffer || !sums ? no_memory() : ZI_OK;
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

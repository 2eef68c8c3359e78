/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a run's checkpoints: HDF5 makes the layout once, and its bytes are kept.
 *
 * The problem: HDF5 1.10 has no asynchronous calls, and ranges of a two-dimensional dataset that
 * start and end inside rows are awkward selections. But a contiguous dataset is one extent of the
 * file, and H5Dget_offset says where. And HDF5 takes 20 ms for 444 datasets, while training stands
 * still, for bytes that are nearly the same each time.
 *
 * The idea: rank 0 has HDF5 make a file with room for a user block (user_block.h) and every dataset
 * contiguous, allocated early and never filled, large ones aligned to pages, and tells the others
 * the offsets. What of the file is in no dataset is kept, with the places of the few values that
 * differ from checkpoint to checkpoint (header.h). A checkpoint then begins with plain writes of it
 * (layout.c): it is a readable HDF5 file whose numbers are not there yet, and all ranks write their
 * ranges with plain writes, in parallel.
 *
 * HDF5 cannot close a file that it could not write, and then ends the process: it makes its file in
 * memory (of which the tensors' room is a hole), claimed before. Want of memory, which ends it as
 * well, is looked for before. */
#include "checkpoint/layout.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ALIGNMENT = 4096,
    METADATA_PER_DATASET = 2048,
    METADATA_BYTES = 256 * 1024,
    /* More than HDF5 takes of memory, and what all ranks' writers take afterwards. */
    MEMORY_PER_DATASET = 16 * 1024,
    MEMORY_BYTES = 40 << 20,
    LAYOUT_NAME = 64
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the description of a checkpoint");
}

/* Whether a tensor has a dataset of its own for a state. */
static bool tensor_writes_state(const struct checkpoint_header *header,
                                const struct checkpoint_tensor *tensor, int state)
{
    return header_writes_state(header, state) && (state == TIER_PARAMETER || !tensor->frozen);
}

/* Datasets of all states in the order of the file. */
static enum zi_status list_datasets(struct checkpoint_form *form,
                                    const struct checkpoint_tensor *tensors)
{
    int count = form->tensor_count;
    form->datasets = calloc((size_t)count * TIER_KIND_COUNT + 1, sizeof *form->datasets);
    form->places = calloc((size_t)count * TIER_KIND_COUNT + 1, sizeof *form->places);
    form->trained = calloc((size_t)count + 1, sizeof *form->trained);
    if (!form->datasets || !form->places || !form->trained) return no_memory();
    for (int t = 0; t < count; t++)
        form->trained[t] = !tensors[t].frozen;
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        enum zi_dtype type = checkpoint_state_type(s, form->header.type);
        for (int t = 0; t < count; t++) {
            bool writes = tensor_writes_state(&form->header, &tensors[t], s);
            form->places[s * count + t] = writes ? form->dataset_count : -1;
            if (!writes) continue;
            ZI_REQUIRE(tensors[t].dimensions == 1 || tensors[t].dimensions == 2);
            ZI_TRY(checkpoint_dataset_set(&form->datasets[form->dataset_count], s, tensors[t].name,
                                          type, tensors[t].shape, tensors[t].dimensions));
            form->dataset_count++;
        }
    }
    return ZI_OK;
}

static int64_t dataset_room(int64_t elements, enum zi_dtype type)
{
    int64_t bytes = elements * (int64_t)zi_dtype_bytes(type);
    return bytes + METADATA_PER_DATASET + (bytes >= ALIGNMENT ? ALIGNMENT : 0);
}

int64_t checkpoint_bytes(const struct checkpoint_header *header,
                         const struct checkpoint_tensor *tensors, int tensor_count)
{
    int64_t bytes = METADATA_BYTES + (int64_t)strlen(header->deck), datasets = 0;
    for (int t = 0; t < tensor_count; t++) {
        int64_t elements = tensors[t].shape[0];
        if (tensors[t].dimensions > 1) elements *= tensors[t].shape[1];
        for (int s = 0; s < TIER_KIND_COUNT; s++)
            if (tensor_writes_state(header, &tensors[t], s)) {
                bytes += dataset_room(elements, checkpoint_state_type(s, header->type));
                datasets++;
            }
    }
    return bytes + user_block_bytes(datasets);
}

/* Creates one dataset, with a mark for its checksum, and notes its offset. */
static herr_t dataset_create(hid_t file, struct checkpoint_dataset *dataset, uint64_t mark)
{
    hid_t type = h5_type_create(dataset->type);
    if (type < 0) return -1;
    hid_t made = h5_extent_create(file, dataset->name, type, dataset->dimensions, dataset->shape,
                                  &dataset->offset);
    H5Tclose(type);
    if (made < 0) return -1;
    herr_t result = h5_bits_write(made, "checksum", mark);
    return H5Dclose(made) < 0 ? -1 : result;
}

/* With fp32 the parameter is the master: /master holds second names of the same datasets. */
static herr_t link_masters(hid_t file, const struct checkpoint_form *form)
{
    if (form->header.type != ZI_FP32 || form->header.weights_only) return 0;
    for (int t = 0; t < form->tensor_count; t++) {
        if (!form->trained[t]) continue;
        const struct checkpoint_dataset *dataset =
            &form->datasets[form->places[TIER_PARAMETER * form->tensor_count + t]];
        char name[512];
        int length = snprintf(name, sizeof name, "master%s", dataset->name + strlen("parameter"));
        if (length < 0 || (size_t)length >= sizeof name) return -1;
        if (H5Lcreate_hard(file, dataset->name, file, name, H5P_DEFAULT, H5P_DEFAULT) < 0)
            return -1;
    }
    return 0;
}

static enum zi_status fill_file(struct checkpoint_form *form, hid_t file)
{
    const char *path = form->directory;
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!header_has_state(&form->header, s)) continue;
        hid_t group =
            H5Gcreate2(file, checkpoint_state_name(s), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (group < 0) return h5_fail("checkpoint", path, "create a group");
        H5Gclose(group);
    }
    enum zi_status status = ZI_OK;
    for (int d = 0; d < form->dataset_count && status == ZI_OK; d++) {
        if (dataset_create(file, &form->datasets[d], header_mark(d)) < 0)
            status = h5_fail("checkpoint", path, "create a dataset");
    }
    if (status == ZI_OK && link_masters(file, form) < 0)
        status = h5_fail("checkpoint", path, "name the masters");
    if (status == ZI_OK && header_write(file, &form->header, form->dataset_count) < 0)
        status = h5_fail("checkpoint", path, "store the header");
    if (status == ZI_OK && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        status = h5_fail("checkpoint", path, "flush its layout");
    return status;
}

/* Rank 0. Creates, fills and closes the file of that name, which then has no name any more. */
static enum zi_status create_layout(struct checkpoint_form *form, const char *name)
{
    hid_t access = h5_access_create(), creation = H5Pcreate(H5P_FILE_CREATE), file = -1;
    const char *path = form->directory;
    hsize_t block = (hsize_t)user_block_bytes(form->dataset_count);
    if (access >= 0 && H5Pset_alignment(access, ALIGNMENT, ALIGNMENT) >= 0 && creation >= 0 &&
        H5Pset_userblock(creation, block) >= 0)
        file = H5Fcreate(name, H5F_ACC_TRUNC, creation, access);
    (void)unlink(name);
    enum zi_status status =
        file < 0 ? h5_fail("checkpoint", path, "create it") : fill_file(form, file);
    if (file >= 0 && H5Fclose(file) < 0 && status == ZI_OK)
        status = h5_fail("checkpoint", path, "close it");
    if (creation >= 0) H5Pclose(creation);
    if (access >= 0) H5Pclose(access);
    return status;
}

/* The most bytes that the file of a checkpoint takes. */
static int64_t most_bytes(const struct checkpoint_form *form)
{
    int64_t bytes =
        METADATA_BYTES + (int64_t)strlen(form->header.deck) + user_block_bytes(form->dataset_count);
    for (int d = 0; d < form->dataset_count; d++)
        bytes += dataset_room(form->datasets[d].elements, form->datasets[d].type);
    return bytes;
}

/* Rank 0. A new file in a folder that has the room for what HDF5 writes; -1 with errno. */
static int open_in(const struct checkpoint_form *form, const char *folder, char name[LAYOUT_NAME])
{
    int64_t written = (int64_t)form->dataset_count * METADATA_PER_DATASET + METADATA_BYTES +
                      (int64_t)strlen(form->header.deck);
    snprintf(name, LAYOUT_NAME, "%s/zinf-layout-XXXXXX", folder);
    int file = mkostemp(name, O_CLOEXEC);
    if (file < 0) return -1;
    int error = zi_file_claim(file, true, 0, written);
    if (error == 0) return file;
    close(file);
    (void)unlink(name);
    errno = error;
    return -1;
}

/* Rank 0. A new file in memory, or else on the node's disk, in which HDF5 will not fail for want of
 * room (HDF5 takes no name of a file that has none, as memfd_create makes them); a limit on the size
 * of files is met here. */
static enum zi_status open_layout(const struct checkpoint_form *form, char name[LAYOUT_NAME],
                                  int *layout)
{
    *layout = open_in(form, "/dev/shm", name);
    if (*layout < 0) *layout = open_in(form, "/tmp", name);
    if (*layout < 0)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint",
                               "%s: its layout cannot be made in /dev/shm nor in /tmp: %s%s",
                               form->directory, strerror(errno),
                               zi_file_remedy(errno, "; make room in one of them"));
    if (ftruncate(*layout, (off_t)most_bytes(form)) == 0) return ZI_OK;
    int error = errno;
    close(*layout);
    (void)unlink(name);
    return checkpoint_fail_claim(form->directory, most_bytes(form), error);
}

/* Rank 0. Whether this process may have the memory at this moment (ulimit -v, ulimit -d). */
static enum zi_status check_memory(const struct checkpoint_form *form)
{
    char need[32];
    size_t bytes = MEMORY_BYTES + (size_t)form->dataset_count * MEMORY_PER_DATASET;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
        (void)munmap(memory, bytes);
        return ZI_OK;
    }
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: no memory to lay it out (%s): %s%s",
                           form->directory, zi_memory_text(bytes, need, sizeof need),
                           strerror(errno), checkpoint_remedy(errno));
}

/* Collective. The offsets that rank 0 has. */
static enum zi_status share_offsets(struct checkpoint_form *form)
{
    int count = form->dataset_count;
    int64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    enum zi_status status = offsets ? ZI_OK
                                    : zi_fail(ZI_ERROR_DEVICE, "checkpoint",
                                              "no memory for the offsets of %d datasets", count);
    status = comm_agree(form->comm, status);
    for (int d = 0; d < count && status >= 0; d++) {
        offsets[d] = form->datasets[d].offset;
    }
    if (status >= 0)
        status = comm_broadcast(form->comm, offsets, count * (int64_t)sizeof *offsets, 0);
    for (int d = 0; d < count && status >= 0; d++) {
        form->datasets[d].offset = offsets[d];
    }
    free(offsets);
    return status;
}

/* Rank 0: keeps bytes [first, end) of the file, which are in no dataset. */
static enum zi_status keep_piece(struct checkpoint_form *form, int layout, int64_t first,
                                 int64_t end)
{
    struct form_piece *piece = &form->pieces[form->piece_count];
    if (first >= end) return ZI_OK;
    *piece = (struct form_piece){first, end - first, malloc((size_t)(end - first))};
    if (!piece->data) return no_memory();
    form->piece_count++;
    ssize_t count = pread(layout, piece->data, (size_t)piece->bytes, (off_t)first);
    if (count != piece->bytes)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: the layout cannot be read: %s",
                       form->directory, count < 0 ? strerror(errno) : "it ends early");
    return header_note_marks(form, piece);
}

/* Rank 0: the same of all of the file that is in no dataset. */
static enum zi_status keep_layout(struct checkpoint_form *form, int layout,
                                  const struct user_extent *extents)
{
    int count = form->dataset_count;
    int64_t at = user_block_bytes(count);
    struct stat is;
    form->pieces = calloc((size_t)count + 1, sizeof *form->pieces);
    form->checksums = calloc((size_t)count + 1, sizeof *form->checksums);
    if (!form->pieces || !form->checksums) return no_memory();
    if (fstat(layout, &is) != 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: the layout cannot be examined: %s",
                       form->directory, strerror(errno));
    for (int i = 0; i < count; i++) {
        ZI_TRY(keep_piece(form, layout, at, extents[i].offset));
        at = extents[i].offset + extents[i].bytes;
    }
    ZI_TRY(keep_piece(form, layout, at, (int64_t)is.st_size));
    form->bytes = at > (int64_t)is.st_size ? at : (int64_t)is.st_size;
    return header_check_marks(form);
}

/* Rank 0. */
static enum zi_status make_layout(struct checkpoint_form *form)
{
    char name[LAYOUT_NAME];
    int layout;
    struct user_extent *extents = NULL;
    ZI_TRY(check_memory(form));
    ZI_TRY(open_layout(form, name, &layout));
    enum zi_status status = create_layout(form, name);
    if (status >= 0) status = header_list_extents(form->datasets, form->dataset_count, &extents);
    if (status >= 0) status = keep_layout(form, layout, extents);
    free(extents);
    close(layout);
    return status;
}

static enum zi_status describe(struct checkpoint_form *form, const struct checkpoint_header *header,
                               const struct checkpoint_tensor *tensors)
{
    form->header = *header;
    form->header.deck = strdup(header->deck ? header->deck : "");
    form->header.model_text = strdup(header->model_text ? header->model_text : "");
    if (!form->directory || !form->header.deck || !form->header.model_text) return no_memory();
    return list_datasets(form, tensors);
}

enum zi_status checkpoint_form_create(struct comm *comm, const char *directory,
                                      const struct checkpoint_header *header,
                                      const struct checkpoint_tensor *tensors, int tensor_count,
                                      struct checkpoint_form **form)
{
    h5_quiet();
    struct checkpoint_form *made = calloc(1, sizeof *made);
    enum zi_status status = made ? ZI_OK : no_memory();
    if (made) {
        made->comm = comm;
        made->tensor_count = tensor_count;
        made->directory = strdup(directory);
        status = describe(made, header, tensors);
    }
    status = comm_agree(comm, status);
    if (status >= 0) status = comm_agree(comm, comm_rank(comm) == 0 ? make_layout(made) : ZI_OK);
    if (status >= 0) status = share_offsets(made);
    if (status < 0) {
        checkpoint_form_destroy(made);
        return checkpoint_unwritten(status);
    }
    *form = made;
    return ZI_OK;
}

void checkpoint_form_destroy(struct checkpoint_form *form)
{
    if (!form) return;
    for (int d = 0; d < form->dataset_count; d++)
        free(form->datasets[d].name);
    for (int p = 0; p < form->piece_count; p++)
        free(form->pieces[p].data);
    free(form->datasets);
    free(form->places);
    free(form->trained);
    free(form->pieces);
    free(form->checksums);
    free(form->directory);
    free((char *)form->header.deck);
    free((char *)form->header.model_text);
    free(form);
}

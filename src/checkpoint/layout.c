/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of a checkpoint file: HDF5 makes it, and its numbers are written past HDF5 afterwards.
 *
 * The problem: HDF5 1.10 has no asynchronous calls, and ranges of a two-dimensional dataset that
 * start and end inside rows are awkward selections. But a contiguous dataset is one extent of the
 * file, and H5Dget_offset says where.
 *
 * The idea: rank 0 creates the file with room for a user block (user_block.h) and every dataset
 * contiguous, allocated early and never filled, large ones aligned to pages, and tells the others
 * the offsets. From then on the file is a readable HDF5 file whose numbers are not there yet, and
 * all ranks write their ranges with plain writes, in parallel. (Creating it by all ranks through
 * MPI-IO gave the same bytes and took five times as long with two ranks: 100 ms against 20 for 600
 * datasets, while training stands still.)
 *
 * A full disk is found here, and not by HDF5, which cannot close a file that it could not write, and
 * then ends the process: HDF5 makes its file in memory (of which the tensors' room is a hole), the
 * disk is asked for the whole size, and what HDF5 has written is copied. Nothing is added later. Want of
 * memory, which ends it as well, is looked for before.
 *
 * Invariants: all ranks hold the same offsets on success; on error no temporary file is left. */
#include "checkpoint/file.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/header.h"
#include "checkpoint/user_block.h"
#include "checkpoint/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    ALIGNMENT = 4096,
    METADATA_PER_DATASET = 2048,
    METADATA_BYTES = 256 * 1024,
    /* More than HDF5 takes of memory, and what all ranks' writers take afterwards. */
    MEMORY_PER_DATASET = 16 * 1024,
    MEMORY_BYTES = 40 << 20,
    PIECE = 64 * 1024,
    LAYOUT_NAME = 64
};

static enum zi_status fail_claim(const char *path, int64_t bytes, int error)
{
    char need[32], free_text[32] = "an unknown amount";
    struct statvfs system;
    if (statvfs(path, &system) == 0)
        zi_memory_text((size_t)system.f_bavail * system.f_frsize, free_text, sizeof free_text);
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint",
                           "%s: cannot claim %s for the checkpoint: %s (%s free there)%s", path,
                           zi_memory_text((size_t)bytes, need, sizeof need), strerror(error),
                           free_text, checkpoint_remedy(error));
}

static enum zi_status claim(int descriptor, const char *path, int64_t bytes)
{
    int error = zi_file_claim(descriptor, true, 0, bytes);
    return error == 0 ? ZI_OK : fail_claim(path, bytes, error);
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
            if (header_writes_state(header, s)) {
                bytes += dataset_room(elements, checkpoint_state_type(s, header->type));
                datasets++;
            }
    }
    return bytes + user_block_bytes(datasets);
}

/* Rank 0: a new file of the temporary name, with the permissions that were asked for. A file that a
 * killed run left is removed; what no run has made is left alone, and refused. */
static enum zi_status create_temporary(struct checkpoint *checkpoint, int *file)
{
    const char *path = checkpoint->temporary;
    mode_t mode = checkpoint->header.mode != 0 ? checkpoint->header.mode : 0600;
    struct stat is;
    if (lstat(path, &is) == 0 && S_ISREG(is.st_mode) && unlink(path) != 0)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot be removed: %s%s", path,
                               strerror(errno), checkpoint_remedy(errno));
    ZI_TRY(zi_file_create_new("checkpoint", path, 0600, file));
    if (fchmod(*file, mode) == 0 && fstat(*file, &is) == 0) {
        checkpoint->device = is.st_dev;
        checkpoint->inode = is.st_ino;
        return ZI_OK;
    }
    enum zi_status status =
        zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot have mode %04o: %s%s", path,
                        (unsigned)mode, strerror(errno), checkpoint_remedy(errno));
    close(*file);
    return status;
}

/* Whether a file is the one that this rank has made, if it has made one. */
static bool is_own(const struct checkpoint *checkpoint, const struct stat *is)
{
    bool made = checkpoint->device != 0 || checkpoint->inode != 0;
    return S_ISREG(is->st_mode) &&
           (!made || (is->st_dev == checkpoint->device && is->st_ino == checkpoint->inode));
}

void checkpoint_discard(const struct checkpoint *checkpoint)
{
    struct stat is;
    if (lstat(checkpoint->temporary, &is) == 0 && is_own(checkpoint, &is))
        (void)unlink(checkpoint->temporary);
}

/* Opens the temporary file again, on any rank; it is still the regular file that rank 0 made. */
enum zi_status checkpoint_reopen(const struct checkpoint *checkpoint, int flags, int *file)
{
    struct stat is;
    *file = open(checkpoint->temporary, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int error = *file < 0 || fstat(*file, &is) != 0 ? errno : 0;
    if (error == 0 && is_own(checkpoint, &is)) return ZI_OK;
    if (*file >= 0) close(*file);
    *file = -1;
    return zi_fail_limited(
        ZI_ERROR_IO, "checkpoint",
        "%s: cannot be opened: %s%s (is it on a file system that all nodes share, and its folder "
        "still where it was?)",
        checkpoint->temporary, error != 0 ? strerror(error) : "it is not the file that was made",
        checkpoint_remedy(error));
}

/* Rank 0: copies what HDF5 has written of `from`, and no hole, to the same places of `to`. */
static enum zi_status copy_layout(const struct checkpoint *checkpoint, int from, int to)
{
    char piece[PIECE];
    off_t at = 0;
    while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(from, at, SEEK_HOLE);
        while (at < end) {
            size_t most = end - at < PIECE ? (size_t)(end - at) : PIECE;
            ssize_t count = pread(from, piece, most, at);
            int error = count > 0 ? checkpoint_write_at(to, piece, (size_t)count, at) : EIO;
            if (error != 0)
                return zi_fail_limited(ZI_ERROR_IO, "checkpoint",
                                       "%s: cannot write its layout: %s%s", checkpoint->temporary,
                                       strerror(error), checkpoint_remedy(error));
            at += count;
        }
    }
    return ZI_OK;
}

/* Rank 0: the bytes of the file that HDF5 has made. */
static int64_t layout_bytes(const struct checkpoint *checkpoint, int layout)
{
    struct stat is;
    int64_t size = fstat(layout, &is) == 0 ? (int64_t)is.st_size : 0;
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        int64_t end = dataset->offset + dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
        if (end > size) size = end;
    }
    return size;
}

/* Rank 0: makes the temporary file, claims its space, and fills it with the layout. */
static enum zi_status place_layout(struct checkpoint *checkpoint, int layout)
{
    const char *path = checkpoint->temporary;
    int file;
    if (mkdir(checkpoint->directory, 0777) != 0 && errno != EEXIST)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot make the folder: %s%s",
                               checkpoint->directory, strerror(errno), checkpoint_remedy(errno));
    ZI_TRY(checkpoint_name_free(path, checkpoint->named));
    ZI_TRY(checkpoint_name_free(checkpoint->path, checkpoint->named));
    ZI_TRY(create_temporary(checkpoint, &file));
    enum zi_status status = claim(file, path, layout_bytes(checkpoint, layout));
    if (status >= 0) status = copy_layout(checkpoint, layout, file);
    close(file);
    if (status < 0) checkpoint_discard(checkpoint);
    return status;
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
static herr_t link_masters(hid_t file, const struct checkpoint *checkpoint)
{
    if (checkpoint->header.type != ZI_FP32 || checkpoint->header.weights_only) return 0;
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        if (dataset->state != TIER_PARAMETER) continue;
        char name[512];
        int length = snprintf(name, sizeof name, "master%s", dataset->name + strlen("parameter"));
        if (length < 0 || (size_t)length >= sizeof name) return -1;
        if (H5Lcreate_hard(file, dataset->name, file, name, H5P_DEFAULT, H5P_DEFAULT) < 0)
            return -1;
    }
    return 0;
}

static enum zi_status fill_file(struct checkpoint *checkpoint, hid_t file)
{
    const char *path = checkpoint->temporary;
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!header_has_state(&checkpoint->header, s)) continue;
        hid_t group =
            H5Gcreate2(file, checkpoint_state_name(s), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (group < 0) return h5_fail("checkpoint", path, "create a group");
        H5Gclose(group);
    }
    enum zi_status status = ZI_OK;
    for (int d = 0; d < checkpoint->dataset_count && status == ZI_OK; d++) {
        if (dataset_create(file, &checkpoint->datasets[d], header_mark(d)) < 0)
            status = h5_fail("checkpoint", path, "create a dataset");
    }
    if (status == ZI_OK && link_masters(file, checkpoint) < 0)
        status = h5_fail("checkpoint", path, "name the masters");
    if (status == ZI_OK && header_write(file, &checkpoint->header) < 0)
        status = h5_fail("checkpoint", path, "store the header");
    if (status == ZI_OK && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        status = h5_fail("checkpoint", path, "flush its layout");
    return status;
}

/* Rank 0. Creates, fills and closes the file of that name, which then has no name any more. */
static enum zi_status create_layout(struct checkpoint *checkpoint, const char *name)
{
    hid_t access = h5_access_create(), creation = H5Pcreate(H5P_FILE_CREATE), file = -1;
    const char *path = checkpoint->temporary;
    hsize_t block = (hsize_t)user_block_bytes(checkpoint->dataset_count);
    if (access >= 0 && H5Pset_alignment(access, ALIGNMENT, ALIGNMENT) >= 0 && creation >= 0 &&
        H5Pset_userblock(creation, block) >= 0)
        file = H5Fcreate(name, H5F_ACC_TRUNC, creation, access);
    (void)unlink(name);
    enum zi_status status =
        file < 0 ? h5_fail("checkpoint", path, "create it") : fill_file(checkpoint, file);
    if (file >= 0 && H5Fclose(file) < 0 && status == ZI_OK)
        status = h5_fail("checkpoint", path, "close it");
    if (creation >= 0) H5Pclose(creation);
    if (access >= 0) H5Pclose(access);
    return status;
}

/* The most bytes that the file of a checkpoint takes. */
static int64_t most_bytes(const struct checkpoint *checkpoint)
{
    int64_t bytes = METADATA_BYTES + (int64_t)strlen(checkpoint->header.deck) +
                    user_block_bytes(checkpoint->dataset_count);
    for (int d = 0; d < checkpoint->dataset_count; d++)
        bytes += dataset_room(checkpoint->datasets[d].elements, checkpoint->datasets[d].type);
    return bytes;
}

/* Rank 0. A new file in a folder that has the room for what HDF5 writes; -1 with errno. */
static int open_in(const struct checkpoint *checkpoint, const char *folder, char name[LAYOUT_NAME])
{
    int64_t written = (int64_t)checkpoint->dataset_count * METADATA_PER_DATASET + METADATA_BYTES +
                      (int64_t)strlen(checkpoint->header.deck);
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
static enum zi_status open_layout(const struct checkpoint *checkpoint, char name[LAYOUT_NAME],
                                  int *layout)
{
    *layout = open_in(checkpoint, "/dev/shm", name);
    if (*layout < 0) *layout = open_in(checkpoint, "/tmp", name);
    if (*layout < 0)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint",
                               "%s: its layout cannot be made in /dev/shm nor in /tmp: %s%s",
                               checkpoint->temporary, strerror(errno),
                               zi_file_remedy(errno, "; make room in one of them"));
    if (ftruncate(*layout, (off_t)most_bytes(checkpoint)) == 0) return ZI_OK;
    int error = errno;
    close(*layout);
    (void)unlink(name);
    return fail_claim(checkpoint->temporary, most_bytes(checkpoint), error);
}

/* Rank 0. Whether this process may have the memory at this moment (ulimit -v, ulimit -d). */
static enum zi_status check_memory(const struct checkpoint *checkpoint)
{
    char need[32];
    size_t bytes = MEMORY_BYTES + (size_t)checkpoint->dataset_count * MEMORY_PER_DATASET;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
        (void)munmap(memory, bytes);
        return ZI_OK;
    }
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: no memory to lay it out (%s): %s%s",
                           checkpoint->temporary, zi_memory_text(bytes, need, sizeof need),
                           strerror(errno), checkpoint_remedy(errno));
}

static enum zi_status make_file(struct checkpoint *checkpoint)
{
    char name[LAYOUT_NAME];
    int layout;
    ZI_TRY(check_memory(checkpoint));
    ZI_TRY(open_layout(checkpoint, name, &layout));
    enum zi_status status = create_layout(checkpoint, name);
    if (status >= 0) status = header_find_marks(checkpoint, layout);
    if (status >= 0) status = place_layout(checkpoint, layout);
    close(layout);
    return status;
}

/* Collective. The offsets that rank 0 has. */
static enum zi_status share_offsets(struct checkpoint *checkpoint)
{
    int count = checkpoint->dataset_count;
    int64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    enum zi_status status = offsets ? ZI_OK
                                    : zi_fail(ZI_ERROR_DEVICE, "checkpoint",
                                              "no memory for the offsets of %d datasets", count);
    status = comm_agree(checkpoint->comm, status);
    for (int d = 0; d < count && status >= 0; d++) {
        offsets[d] = checkpoint->datasets[d].offset;
    }
    if (status >= 0)
        status = comm_broadcast(checkpoint->comm, offsets, count * (int64_t)sizeof *offsets, 0);
    for (int d = 0; d < count && status >= 0; d++) {
        checkpoint->datasets[d].offset = offsets[d];
    }
    free(offsets);
    return status;
}

enum zi_status checkpoint_layout(struct checkpoint *checkpoint)
{
    struct comm *comm = checkpoint->comm;
    bool root = comm_rank(comm) == 0;
    ZI_TRY(comm_agree(comm, root ? make_file(checkpoint) : ZI_OK));
    enum zi_status status = share_offsets(checkpoint);
    if (status < 0 && root) checkpoint_discard(checkpoint);
    return status;
}

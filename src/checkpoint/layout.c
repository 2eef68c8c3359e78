/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a checkpoint as it begins: with the layout of its form, and without numbers.
 *
 * A full disk is found here: the disk is asked for the whole size before anything is written, and
 * nothing is added later. Rank 0 makes the file alone. (Creating it by all ranks through MPI-IO gave
 * the same bytes and took five times as long with two ranks: 100 ms against 20 for 600 datasets.)
 *
 * Invariant: on error no temporary file is left. */
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/layout.h"
#include "checkpoint/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum zi_status claim(int descriptor, const char *path, int64_t bytes)
{
    int error = zi_file_claim(descriptor, true, 0, bytes);
    return error == 0 ? ZI_OK : checkpoint_fail_claim(path, bytes, error);
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

/* Rank 0: writes what is in no dataset. */
static enum zi_status write_layout(const struct checkpoint *checkpoint, int file)
{
    const struct checkpoint_form *form = checkpoint->form;
    int error = 0;
    for (int p = 0; p < form->piece_count && error == 0; p++) {
        const struct form_piece *piece = &form->pieces[p];
        error = checkpoint_write_at(file, piece->data, (size_t)piece->bytes, piece->offset);
    }
    if (error == 0) return ZI_OK;
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot write its layout: %s%s",
                           checkpoint->temporary, strerror(error), checkpoint_remedy(error));
}

/* Rank 0: makes the temporary file, claims its space, and fills it with the layout. */
static enum zi_status make_file(struct checkpoint *checkpoint)
{
    const char *path = checkpoint->temporary;
    int file;
    if (mkdir(checkpoint->directory, 0777) != 0 && errno != EEXIST)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot make the folder: %s%s",
                               checkpoint->directory, strerror(errno), checkpoint_remedy(errno));
    ZI_TRY(checkpoint_name_free(path, checkpoint->named));
    ZI_TRY(checkpoint_name_free(checkpoint->path, checkpoint->named));
    ZI_TRY(create_temporary(checkpoint, &file));
    enum zi_status status = claim(file, path, checkpoint->form->bytes);
    if (status >= 0) status = write_layout(checkpoint, file);
    close(file);
    if (status < 0) checkpoint_discard(checkpoint);
    return status;
}

enum zi_status checkpoint_layout(struct checkpoint *checkpoint)
{
    bool root = comm_rank(checkpoint->comm) == 0;
    return comm_agree(checkpoint->comm, root ? make_file(checkpoint) : ZI_OK);
}

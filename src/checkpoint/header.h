/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: what a file says of itself, and the checksums. What differs from
 * checkpoint to checkpoint HDF5 writes as marks when it lays out the first; their places are looked
 * for then, and at the end of each checkpoint the values are put there by plain writes, in any
 * thread and without HDF5. All of it on rank 0. */
#ifndef ZI_CHECKPOINT_HEADER_H
#define ZI_CHECKPOINT_HEADER_H

#include "checkpoint/file.h"
#include "checkpoint/user_block.h"

struct form_piece;

/* Of the attributes of the file those that differ. */
enum header_value {
    HEADER_STEP,
    HEADER_UPDATES,
    HEADER_TOKENS,
    HEADER_LOSS_SCALE,
    HEADER_LOSS_SCALE_STEPS,
    HEADER_WRITTEN,
    HEADER_VALUES
};

/* Local. Whether a checkpoint has datasets of a kind, or second names of them. */
bool header_has_state(const struct checkpoint_header *header, enum tier_kind state);

/* Local. Whether a checkpoint has datasets of a kind that are its own. */
bool header_writes_state(const struct checkpoint_header *header, enum tier_kind state);

/* Local. Writes the attributes of a file of so many datasets, with marks for those that differ.
 * Negative on failure. */
herr_t header_write(hid_t file, const struct checkpoint_header *header, int dataset_count);

/* Local. The mark that stands for the checksum of dataset number `index`. */
uint64_t header_mark(int index);

/* Local. Notes in the form the places of the marks that are in one of its pieces. ZI_ERROR_BUG when
 * one is there twice. */
enum zi_status header_note_marks(struct checkpoint_form *form, const struct form_piece *piece);

/* Local. ZI_ERROR_BUG unless the places of all marks have been noted. */
enum zi_status header_check_marks(const struct checkpoint_form *form);

/* Local. Writes checksums and header over the marks, and the user block, when all else is there; not
 * durable. ZI_ERROR_IO. */
enum zi_status header_store(const struct checkpoint *checkpoint, int descriptor);

/* Local. Where the numbers of datasets are, in order of their places; freed by the caller.
 * ZI_ERROR_DEVICE. */
enum zi_status header_list_extents(const struct checkpoint_dataset *datasets, int count,
                                   struct user_extent **extents);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: what a file says of itself, and the checksums, which are known
 * only when all numbers are written. HDF5 writes both when the file is laid out, the checksums as
 * marks; their places are looked for then, and at the end they are put there by plain writes, in
 * any thread and without HDF5. All of it on rank 0. */
#ifndef ZI_CHECKPOINT_HEADER_H
#define ZI_CHECKPOINT_HEADER_H

#include "checkpoint/file.h"

/* Local. Whether a checkpoint has datasets of a kind, or second names of them. */
bool header_has_state(const struct checkpoint_header *header, enum tier_kind state);

/* Local. Whether a checkpoint has datasets of a kind that are its own. */
bool header_writes_state(const struct checkpoint_header *header, enum tier_kind state);

/* Local. Writes the attributes of the file. Negative on failure. */
herr_t header_write(hid_t file, const struct checkpoint_header *header);

/* Local. The mark that stands for the checksum of dataset number `index`. */
uint64_t header_mark(int index);

/* Local. Finds the places of all marks in a file that HDF5 has closed, open for reading, among the
 * bytes that are in no dataset. ZI_ERROR_IO; ZI_ERROR_BUG when one is not there, or twice. */
enum zi_status header_find_marks(struct checkpoint *checkpoint, int descriptor);

/* Local. Writes the checksums of all datasets over the marks, and the user block, when all else is
 * there; not durable. ZI_ERROR_IO. */
enum zi_status header_store_checksums(const struct checkpoint *checkpoint, int descriptor);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: small helpers around HDF5. All calls come from one thread (HDF5
 * 1.10 as packaged is not thread-safe). */
#ifndef ZI_CHECKPOINT_H5_H
#define ZI_CHECKPOINT_H5_H

#include "base/dtype.h"
#include "base/status.h"

#include <hdf5.h>

#include <stddef.h>
#include <stdint.h>

/* Local. Stops HDF5 from printing its error stack, and keeps its innermost message for h5_fail. */
void h5_quiet(void);

/* Local. Logs "PATH: cannot WHAT: innermost message of HDF5" and gives ZI_ERROR_IO. */
enum zi_status h5_fail(const char *path, const char *what);

/* Local. What the first call of HDF5 to fail since the first h5_quiet gave as its reason, NULL when
 * none has; and whether any failed for want of memory. */
const char *h5_first_failure(void);
int h5_lacked_memory(void);

/* Local. A new HDF5 type for an element type; the caller closes it. bf16 is a float type of 16 bits
 * (8 of exponent, 7 of mantissa), which h5dump prints and h5py reads as float32. Negative on
 * failure. */
hid_t h5_type_create(enum zi_dtype type);

/* Local. Whether an HDF5 type is the one that h5_type_create makes. */
int h5_type_is(hid_t type, enum zi_dtype wanted);

/* Local. File access for one process: no file locks, so that readers and file systems without locks
 * are served. The caller closes it. Negative on failure. */
hid_t h5_access_create(void);

/* Local. Writes a scalar attribute of an open object: text as a variable-length UTF-8 string.
 * Negative on failure. */
herr_t h5_text_write(hid_t object, const char *name, const char *text);
herr_t h5_integer_write(hid_t object, const char *name, int64_t value);
herr_t h5_bits_write(hid_t object, const char *name, uint64_t value);

/* Local. Reads an attribute, after its class, size, rank and number of elements have been compared
 * with what is wanted: one element, which fits what it is read into. Negative otherwise, with the
 * reason for h5_fail. Text has at most H5_TEXT_MOST bytes and is freed by the caller with free().
 */
#define H5_TEXT_MOST     ((size_t)16 << 20)
#define H5_ELEMENTS_MOST (INT64_MAX / 16) /* of a dataset: its bytes can be counted */
herr_t h5_text_read(hid_t object, const char *name, char **text);
herr_t h5_integer_read(hid_t object, const char *name, int64_t *value);
herr_t h5_bits_read(hid_t object, const char *name, uint64_t *value);
herr_t h5_real_read(hid_t object, const char *name, double *value);

/* Local. Whether a dataset is in the file that it was opened in, and in no other that HDF5 would
 * have to open: neither virtual nor in external files. To be asked before its extents, which a
 * virtual one asks of others. */
int h5_is_own(hid_t dataset);

/* Local. The extents of a dataset of at most `most` dimensions, and their product: the number of
 * dimensions; negative, with the reason for h5_fail, when there are more, or when the numbers are
 * none that a file can have (elements * 16 is below 2^63). */
int h5_shape_read(hid_t dataset, int most, int64_t *shape, int64_t *elements);

#endif

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

/* Local. A new HDF5 type for an element type; the caller closes it. bf16 is a float type of 16 bits
 * (8 of exponent, 7 of mantissa), which h5dump prints and h5py reads as float32. Negative on
 * failure. */
hid_t h5_type_create(enum zi_dtype type);

/* Local. Whether an HDF5 type is the one that h5_type_create makes. */
int h5_type_is(hid_t type, enum zi_dtype wanted);

/* Local. File access for one process: no file locks, so that readers and file systems without locks
 * are served. The caller closes it. Negative on failure. */
hid_t h5_access_create(void);

/* Local. Attributes of an open object: text as a variable-length UTF-8 string. Negative on failure.
 * Reading text gives memory that the caller frees with free(). */
herr_t h5_text_write(hid_t object, const char *name, const char *text);
herr_t h5_text_read(hid_t object, const char *name, char **text);
herr_t h5_integer_write(hid_t object, const char *name, int64_t value);
herr_t h5_bits_write(hid_t object, const char *name, uint64_t value);
herr_t h5_integer_read(hid_t object, const char *name, int64_t *value);

#endif

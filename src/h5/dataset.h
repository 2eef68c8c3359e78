/* SPDX-License-Identifier: Apache-2.0 */
/* Datasets that are one extent of their file: contiguous, with their space from the start, and
 * never filled. HDF5 makes them and says where their bytes are, which are then read and written
 * past it: the library is not thread-safe, has no asynchronous calls, and is at a loss when a disk
 * fills up under it. All datasets of zinf are of this kind but the run record's. */
#ifndef ZI_H5_DATASET_H
#define ZI_H5_DATASET_H

#include "base/dtype.h"

#include <hdf5.h>

#include <stdint.h>

/* Elements of a dataset, at most: its bytes can be counted. */
#define H5_ELEMENTS_MOST (INT64_MAX / 16)

/* Local. A new HDF5 type for ZI_INT32, ZI_FP32, ZI_BF16 or ZI_FP16; the caller closes it. bf16 is
 * a float type of 16 bits (8 of exponent, 7 of mantissa), which h5dump prints and h5py reads as
 * float32; fp16 is IEEE binary16, which h5py reads as float16.
 * Negative on failure. */
hid_t h5_type_create(enum zi_dtype type);

/* Local. Whether an HDF5 type is the one that h5_type_create makes. */
int h5_type_is(hid_t type, enum zi_dtype wanted);

/* Collective where the file was opened by many processes. A new dataset of one extent, of
 * shape[0..dimensions) elements of a type of HDF5, open, which the caller closes; groups on the way
 * to its name are made. *offset: of its first byte in the file. No time is kept in it: equal calls
 * make equal bytes. Negative on failure. */
hid_t h5_extent_create(hid_t parent, const char *name, hid_t type, int dimensions,
                       const int64_t *shape, int64_t *offset);

/* Local. Whether a dataset is in the file that it was opened in, and in no other that HDF5 would
 * have to open: neither virtual nor in external files. To be asked before its extents, which a
 * virtual one asks of others. */
int h5_is_own(hid_t dataset);

/* Local. Whether it is, besides, one extent of the file. */
int h5_is_extent(hid_t dataset);

/* Local. Of a dataset of one extent: the offset of its first byte in the file, -1 when it has none.
 */
int64_t h5_offset_read(hid_t dataset);

/* Local. The extents of a dataset of at most `most` dimensions, and their product: the number of
 * dimensions; negative, with the reason for h5_fail, when there are more, or when the numbers are
 * none that a file can have (elements * 16 is below 2^63). */
int h5_shape_read(hid_t dataset, int most, int64_t *shape, int64_t *elements);

#endif

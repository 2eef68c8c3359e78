/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of one value, of open objects of HDF5. Negative on failure, with the reason for
 * h5_fail. */
#ifndef ZI_H5_ATTRIBUTE_H
#define ZI_H5_ATTRIBUTE_H

#include <hdf5.h>

#include <stdint.h>

/* Bytes of a text that is read, at most. */
#define H5_TEXT_MOST ((size_t)16 << 20)

/* Local. Writes a new attribute: UTF-8 of variable length. */
herr_t h5_text_write(hid_t object, const char *name, const char *text);

/* Local. The same of the text's own length, which takes no space of the file but the attribute's.
 */
herr_t h5_fixed_text_write(hid_t object, const char *name, const char *text);

/* Local. Writes a new attribute of 64 bits, signed. */
herr_t h5_integer_write(hid_t object, const char *name, int64_t value);

/* Local. Writes a new attribute of 64 bits, unsigned. */
herr_t h5_bits_write(hid_t object, const char *name, uint64_t value);

/* Local. Another value for an attribute that h5_integer_write has written. */
herr_t h5_integer_replace(hid_t object, const char *name, int64_t value);

/* Local. Another value for an attribute that h5_bits_write has written. */
herr_t h5_bits_replace(hid_t object, const char *name, uint64_t value);

/* Of the readers below: the attribute's class, size, rank and number of elements are compared with
 * what is wanted first: one element, which fits what it is read into. HDF5 would convert as many as
 * the file says. */

/* Local. A text of variable length and at most H5_TEXT_MOST bytes, which the caller frees with
 * free(). */
herr_t h5_text_read(hid_t object, const char *name, char **text);

/* Local. An integer of at most 64 bits. */
herr_t h5_integer_read(hid_t object, const char *name, int64_t *value);

/* Local. The same, unsigned. */
herr_t h5_bits_read(hid_t object, const char *name, uint64_t *value);

/* Local. A float of at most 64 bits. */
herr_t h5_real_read(hid_t object, const char *name, double *value);

#endif

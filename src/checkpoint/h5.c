/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers around HDF5: messages, types and attributes.
 *
 * HDF5 prints a stack of a dozen lines for every failure and its return values say only that
 * something failed. Here its printing is replaced by a function that notes the innermost message of
 * the stack, which has the cause ("No space left on device", where the system has given one);
 * h5_fail puts it into one line of the log with the file's name. It is noted at the failing call
 * itself, because the next call, of a clean-up for instance, clears HDF5's stack. */
#include "checkpoint/h5.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Innermost message of the latest failure. HDF5 is used by one thread. */
static char last_failure[256];
static char first_failure[sizeof last_failure];
static int lacked_memory;

/* What the system said is one of many fields that HDF5's drivers put into the text. */
static herr_t take_description(unsigned place, const H5E_error2_t *entry, void *context)
{
    static const char mark[] = "error message = '";
    (void)context;
    if (entry->maj_num == H5E_RESOURCE && entry->min_num == H5E_NOSPACE) lacked_memory = 1;
    if (place != 0) return 0;
    const char *text = entry->desc != NULL ? entry->desc : "", *cause = strstr(text, mark);
    if (cause != NULL) text = cause + strlen(mark);
    int length = (int)strcspn(text, cause != NULL ? "'" : "\n");
    snprintf(last_failure, sizeof last_failure, "%.*s", length, text);
    return 0;
}

static herr_t note_failure(hid_t stack, void *context)
{
    H5Ewalk2(stack, H5E_WALK_UPWARD, take_description, context);
    if (first_failure[0] == '\0') memcpy(first_failure, last_failure, sizeof first_failure);
    if (first_failure[0] == '\0') strcpy(first_failure, "no reason");
    return 0;
}

void h5_quiet(void)
{
    last_failure[0] = '\0';
    H5Eset_auto2(H5E_DEFAULT, note_failure, NULL);
}

const char *h5_first_failure(void)
{
    return first_failure[0] != '\0' ? first_failure : NULL;
}

int h5_lacked_memory(void)
{
    return lacked_memory;
}

enum zi_status h5_fail(const char *path, const char *what)
{
    enum zi_status status =
        zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot %s: %s", path, what,
                last_failure[0] != '\0' ? last_failure : "HDF5 gives no reason");
    last_failure[0] = '\0';
    return status;
}

hid_t h5_type_create(enum zi_dtype type)
{
    if (type == ZI_INT32) return H5Tcopy(H5T_STD_I32LE);
    hid_t made = H5Tcopy(H5T_IEEE_F32LE);
    if (type == ZI_FP32 || made < 0) return made;
    /* sign at bit 15, 8 bits of exponent from bit 7, 7 bits of mantissa from bit 0 */
    if (H5Tset_fields(made, 15, 7, 8, 0, 7) < 0 || H5Tset_precision(made, 16) < 0 ||
        H5Tset_size(made, 2) < 0 || H5Tset_ebias(made, 127) < 0) {
        H5Tclose(made);
        return -1;
    }
    return made;
}

int h5_type_is(hid_t type, enum zi_dtype wanted)
{
    hid_t other = h5_type_create(wanted);
    if (other < 0) return 0;
    int equal = H5Tequal(type, other) > 0;
    H5Tclose(other);
    return equal;
}

hid_t h5_access_create(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return -1;
    if (H5Pset_file_locking(access, 0, 1) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}

/* Creates, writes and closes a scalar attribute of any type. */
static herr_t scalar_write(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    if (space < 0) return -1;
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
    if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
    H5Sclose(space);
    return result;
}

static hid_t text_type_create(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return -1;
    if (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

herr_t h5_text_write(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type_create();
    if (type < 0) return -1;
    herr_t result = scalar_write(object, name, type, &text);
    H5Tclose(type);
    return result;
}

herr_t h5_integer_write(hid_t object, const char *name, int64_t value)
{
    return scalar_write(object, name, H5T_STD_I64LE, &value);
}

herr_t h5_bits_write(hid_t object, const char *name, uint64_t value)
{
    return scalar_write(object, name, H5T_STD_U64LE, &value);
}

/* Notes why something that HDF5 gave is refused, for h5_fail; gives -1. */
static int refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_failure, sizeof last_failure, format, arguments);
    va_end(arguments);
    return -1;
}

static int is_single(hid_t space)
{
    hsize_t extents[H5S_MAX_RANK];
    int dimensions = H5Sget_simple_extent_dims(space, extents, NULL);
    int single = dimensions >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    for (int d = 0; d < dimensions; d++)
        single = single && extents[d] == 1;
    return single;
}

/* Opens an attribute of one element: a text of variable length, or a number of 8 bytes at most.
 * Negative otherwise. */
static hid_t scalar_open(hid_t object, const char *name, H5T_class_t class)
{
    if (H5Aexists(object, name) == 0) return refuse("there is no attribute %s", name);
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    int fits = type >= 0 && space >= 0 && is_single(space) && H5Tget_class(type) == class;
    if (fits && class == H5T_STRING)
        fits = H5Tis_variable_str(type) > 0;
    else if (fits)
        fits = H5Tget_size(type) <= 8;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (fits) return attribute;
    H5Aclose(attribute);
    return refuse("attribute %s is not one %s", name,
                  class == H5T_STRING ? "text" : "number of its kind");
}

herr_t h5_text_read(hid_t object, const char *name, char **text)
{
    hid_t attribute = scalar_open(object, name, H5T_STRING);
    if (attribute < 0) return -1;
    hid_t type = text_type_create();
    char *value = NULL;
    herr_t result = type < 0 ? -1 : H5Aread(attribute, type, &value);
    if (result >= 0 && value != NULL && strnlen(value, H5_TEXT_MOST + 1) > H5_TEXT_MOST)
        result = refuse("attribute %s is longer than a text may be", name);
    if (result >= 0) {
        *text = strdup(value != NULL ? value : "");
        if (*text == NULL) result = refuse("no memory for attribute %s", name);
    }
    if (value != NULL) H5free_memory(value);
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    return result;
}

/* Reads one number of a class into 8 bytes of a type of memory. */
static herr_t number_read(hid_t object, const char *name, H5T_class_t class, hid_t type,
                          void *value)
{
    hid_t attribute = scalar_open(object, name, class);
    if (attribute < 0) return -1;
    herr_t result = H5Aread(attribute, type, value);
    H5Aclose(attribute);
    return result;
}

herr_t h5_integer_read(hid_t object, const char *name, int64_t *value)
{
    return number_read(object, name, H5T_INTEGER, H5T_NATIVE_INT64, value);
}

herr_t h5_bits_read(hid_t object, const char *name, uint64_t *value)
{
    return number_read(object, name, H5T_INTEGER, H5T_NATIVE_UINT64, value);
}

herr_t h5_real_read(hid_t object, const char *name, double *value)
{
    return number_read(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value);
}

/* Multiplies extents that HDF5 gives as unsigned numbers of 64 bits. */
static int shape_convert(const hsize_t *extents, int dimensions, int64_t *shape, int64_t *elements)
{
    *elements = 1;
    for (int d = 0; d < dimensions; d++) {
        if (extents[d] > (hsize_t)H5_ELEMENTS_MOST) return -1;
        shape[d] = (int64_t)extents[d];
        if (__builtin_mul_overflow(*elements, shape[d], elements)) return -1;
        if (*elements > H5_ELEMENTS_MOST) return -1;
    }
    return dimensions;
}

int h5_is_own(hid_t dataset)
{
    hid_t creation = H5Dget_create_plist(dataset);
    if (creation < 0) return 0;
    H5D_layout_t layout = H5Pget_layout(creation);
    int own = (layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT) &&
              H5Pget_external_count(creation) == 0;
    H5Pclose(creation);
    return own;
}

int h5_shape_read(hid_t dataset, int most, int64_t *shape, int64_t *elements)
{
    hsize_t extents[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    if (space < 0) return -1;
    int dimensions = H5Sget_simple_extent_ndims(space);
    int known = dimensions >= 0 && H5Sget_simple_extent_type(space) != H5S_NULL &&
                H5Sget_simple_extent_dims(space, extents, NULL) == dimensions;
    H5Sclose(space);
    if (!known || dimensions > most)
        return refuse("it has %d dimensions, not %d at most", dimensions, most);
    if (shape_convert(extents, dimensions, shape, elements) < 0)
        return refuse("its extents are beyond what a file can hold");
    return dimensions;
}

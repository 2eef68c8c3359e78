/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of one value. */
#include "h5/attribute.h"

#include "h5/private.h"

#include <stdlib.h>
#include <string.h>

/* Creates, writes and closes an attribute of one element of any type. */
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

/* UTF-8 of `size` bytes with the final 0, or H5T_VARIABLE. */
static hid_t text_type_create(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return -1;
    if (H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

herr_t h5_text_write(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type_create(H5T_VARIABLE);
    if (type < 0) return -1;
    herr_t result = scalar_write(object, name, type, &text);
    H5Tclose(type);
    return result;
}

herr_t h5_fixed_text_write(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type_create(strlen(text) + 1);
    if (type < 0) return -1;
    herr_t result = scalar_write(object, name, type, text);
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

/* (H5Aopen_by_name of HDF5 1.10 gives an attribute that cannot be written, so the object is opened
 * and this is asked of it.) */
static herr_t scalar_replace(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    herr_t result = H5Awrite(attribute, type, value);
    if (H5Aclose(attribute) < 0) result = -1;
    return result;
}

herr_t h5_integer_replace(hid_t object, const char *name, int64_t value)
{
    return scalar_replace(object, name, H5T_NATIVE_INT64, &value);
}

herr_t h5_bits_replace(hid_t object, const char *name, uint64_t value)
{
    return scalar_replace(object, name, H5T_NATIVE_UINT64, &value);
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
    if (H5Aexists(object, name) == 0) return h5_refuse("there is no attribute %s", name);
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
    return h5_refuse("attribute %s is not one %s", name,
                     class == H5T_STRING ? "text" : "number of its kind");
}

herr_t h5_text_read(hid_t object, const char *name, char **text)
{
    hid_t attribute = scalar_open(object, name, H5T_STRING);
    if (attribute < 0) return -1;
    hid_t type = text_type_create(H5T_VARIABLE);
    char *value = NULL;
    herr_t result = type < 0 ? -1 : H5Aread(attribute, type, &value);
    if (result >= 0 && value && strnlen(value, H5_TEXT_MOST + 1) > H5_TEXT_MOST)
        result = h5_refuse("attribute %s is longer than a text may be", name);
    if (result >= 0) {
        *text = strdup(value ? value : "");
        if (!*text) result = h5_refuse("no memory for attribute %s", name);
    }
    if (value) H5free_memory(value);
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

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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Innermost message of the latest failure. HDF5 is used by one thread. */
static char last_failure[256];

/* What the system said is one of many fields that HDF5's drivers put into the text. */
static herr_t take_description(unsigned place, const H5E_error2_t *entry, void *context)
{
    static const char mark[] = "error message = '";
    (void)context;
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
    return 0;
}

void h5_quiet(void)
{
    last_failure[0] = '\0';
    H5Eset_auto2(H5E_DEFAULT, note_failure, NULL);
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

herr_t h5_text_read(hid_t object, const char *name, char **text)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    hid_t stored = H5Aget_type(attribute), type = text_type_create();
    char *value = NULL;
    herr_t result = -1;
    if (stored >= 0 && type >= 0 && H5Tis_variable_str(stored) > 0)
        result = H5Aread(attribute, type, &value);
    if (result >= 0) {
        *text = strdup(value != NULL ? value : "");
        if (*text == NULL) result = -1;
    }
    if (value != NULL) H5free_memory(value);
    if (stored >= 0) H5Tclose(stored);
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
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

herr_t h5_integer_read(hid_t object, const char *name, int64_t *value)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    herr_t result = H5Aread(attribute, H5T_NATIVE_INT64, value);
    H5Aclose(attribute);
    return result;
}

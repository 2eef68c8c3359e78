/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of HDF5, its files and the links in them.
 *
 * HDF5 prints a stack of a dozen lines for every failure and its return values say only that
 * something failed. Here its printing is replaced by a function that notes the innermost message of
 * the stack, which has the cause ("No space left on device", where the system has given one);
 * h5_fail puts it into one line of the log with the file's name. It is noted at the failing call
 * itself, because the next call, of a clean-up for instance, clears HDF5's stack. */
#include "h5/private.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
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
    const char *text = entry->desc ? entry->desc : "", *cause = strstr(text, mark);
    if (cause) text = cause + strlen(mark);
    int length = (int)strcspn(text, cause ? "'" : "\n");
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

const char *h5_reason(void)
{
    return last_failure[0] != '\0' ? last_failure : "HDF5 gives no reason";
}

const char *h5_first_failure(void)
{
    return first_failure[0] != '\0' ? first_failure : NULL;
}

int h5_lacked_memory(void)
{
    return lacked_memory;
}

enum zi_status h5_fail(const char *room, const char *path, const char *what)
{
    enum zi_status status =
        zi_fail(ZI_ERROR_IO, room, "%s: cannot %s: %s", path, what, h5_reason());
    last_failure[0] = '\0';
    return status;
}

int h5_refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_failure, sizeof last_failure, format, arguments);
    va_end(arguments);
    return -1;
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

hid_t h5_file_create(const char *path, hsize_t alignment)
{
    hid_t access = h5_access_create(), file = -1;
    if (access < 0) return -1;
    if (H5Pset_alignment(access, alignment, alignment) >= 0)
        file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    return file;
}

hid_t h5_file_open(const char *path, unsigned flags)
{
    hid_t access = h5_access_create();
    if (access < 0) return -1;
    hid_t file = H5Fopen(path, flags, access);
    H5Pclose(access);
    return file;
}

enum h5_link h5_link_of(hid_t file, const char *name)
{
    H5L_info_t info;
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0 || H5Lget_info(file, name, &info, H5P_DEFAULT) < 0)
        return H5_LINK_NONE;
    return info.type == H5L_TYPE_HARD ? H5_LINK_OWN : H5_LINK_OTHER;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the HDF5 files of the room share: names, and quiet. Private to the room. */
#ifndef ZI_DATA_LIBRARY_H
#define ZI_DATA_LIBRARY_H

#include <hdf5.h>

#define TOKENS_DATASET        "/tokens"
#define TOKENS_FORMAT_VERSION 1

/* The library prints a stack of its own at every error. While a call of ours decides what an error
 * means to the user, that is switched off, and restored afterwards. */
struct hdf5_messages {
    H5E_auto2_t function;
    void *context;
};

static inline void hdf5_messages_stop(struct hdf5_messages *saved)
{
    saved->function = NULL;
    saved->context = NULL;
    (void)H5Eget_auto2(H5E_DEFAULT, &saved->function, &saved->context);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static inline void hdf5_messages_restore(const struct hdf5_messages *saved)
{
    (void)H5Eset_auto2(H5E_DEFAULT, saved->function, saved->context);
}

#endif

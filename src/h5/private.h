/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the h5 room. */
#ifndef ZI_H5_PRIVATE_H
#define ZI_H5_PRIVATE_H

#include "h5/h5.h"

/* Local. Notes why something that HDF5 gave is refused, for h5_reason; gives -1. */
int h5_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

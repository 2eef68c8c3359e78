/* SPDX-License-Identifier: Apache-2.0 */
/* What an HDF5 file holds, for people, and whether HDF5 can read it at all. */
#ifndef ZI_CHECKPOINT_INSPECT_H
#define ZI_CHECKPOINT_INSPECT_H

#include <stdio.h>

#include "base/status.h"

/* Local. Prints what an HDF5 file of zinf holds (checkpoint, run record or token file): attributes,
 * datasets with type, shape, bytes, and for small floats mean, deviation, smallest and largest;
 * with `verify` also whether the checksums of a checkpoint's numbers hold, without that they were not
 * looked at. ZI_ERROR_USAGE when it is none of them, and, after all is printed, for a checkpoint of
 * another name than zinf gives that has no user block; ZI_ERROR_IO when it is damaged: after all is
 * printed where numbers are, with nothing printed, and the file not given to HDF5, where the rest
 * is. */
enum zi_status checkpoint_inspect(const char *path, int verify, FILE *out);

/* Local. Asks HDF5 for all of a file that checkpoint_open, checkpoint_inspect and tokens_open ask
 * it for: what a child does with the file before (base/probe.h). ZI_ERROR_DEVICE when HDF5 was
 * refused memory, ZI_ERROR_IO with its *reason when it reported another error; what only zinf does
 * not like is ZI_OK. */
enum zi_status checkpoint_probe(const char *path, const char **reason);

#endif

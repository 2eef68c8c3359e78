/* SPDX-License-Identifier: Apache-2.0 */
/* The child that opens a file before its parent does (base/probe.h): `zinf probe-file PATH`, no
 * command for people. It does with HDF5 what the parent will do, and says by its end whether that
 * went in order. */
#include "app/commands.h"
#include "base/probe.h"
#include "checkpoint/checkpoint.h"

int commands_probe(const char *path)
{
    zi_probe_child();
    return checkpoint_probe(path) == ZI_ERROR_DEVICE ? ZI_PROBE_MEMORY : ZI_PROBE_DONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The child that opens a file before its parent does (base/probe.h): `zinf probe-file PATH`, no
 * command for people. It does with HDF5 what the parent will do, and says by its end whether that
 * went in order. */
#include <stdio.h>

#include "app/commands.h"
#include "base/probe.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"

int commands_probe(const char *path)
{
    const char *reason = NULL;
    zi_probe_child();
    enum zi_status status = checkpoint_probe(path, &reason);
    if (status == ZI_ERROR_DEVICE) return ZI_PROBE_MEMORY;
    if (!reason) return ZI_PROBE_DONE;
    printf("%s\n", reason);
    return fflush(stdout) == 0 ? ZI_PROBE_FAILED : ZI_PROBE_DONE;
}

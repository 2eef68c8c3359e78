/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes as exit codes and as words.
 *
 * A job script sees only the exit code, so each group of causes that calls for a different reaction
 * has its own: correct the deck (2), change the sizes (3), submit again (4), look at the disk (5),
 * at the machine (6), at the learning rate (7), or report a bug (70). Anything unknown is a bug. */
#include "base/status.h"

int zi_status_exit_code(enum zi_status status)
{
    switch (status) {
    case ZI_OK:
    case ZI_IN_PROGRESS:
        return 0;
    case ZI_ERROR_USAGE:
        return 2;
    case ZI_ERROR_FIT:
        return 3;
    case ZI_STOPPED:
        return 4;
    case ZI_ERROR_IO:
        return 5;
    case ZI_ERROR_DEVICE:
    case ZI_ERROR_COMM:
        return 6;
    case ZI_ERROR_NUMERICS:
        return 7;
    case ZI_ERROR_BUG:
        return 70;
    }
    return 70;
}

const char *zi_status_name(enum zi_status status)
{
    switch (status) {
    case ZI_OK:
        return "done";
    case ZI_IN_PROGRESS:
        return "in progress";
    case ZI_ERROR_USAGE:
        return "deck or usage error";
    case ZI_ERROR_FIT:
        return "does not fit";
    case ZI_STOPPED:
        return "stopped early";
    case ZI_ERROR_IO:
        return "input/output error";
    case ZI_ERROR_DEVICE:
        return "device or memory error";
    case ZI_ERROR_COMM:
        return "communication error";
    case ZI_ERROR_NUMERICS:
        return "numerical error";
    case ZI_ERROR_BUG:
        return "internal error";
    }
    return "unknown status";
}

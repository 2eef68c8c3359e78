/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes: what every fallible function returns, and how a status becomes the exit code of the
 * process. */
#ifndef ZI_BASE_STATUS_H
#define ZI_BASE_STATUS_H

/* Negative values are errors, grouped by cause, so that the most negative of several ranks' codes
 * is the one that all of them leave with. The function that decides that something is an error logs
 * it (zi_fail); callers relay. */
enum zi_status {
    ZI_OK = 0,
    ZI_IN_PROGRESS = 1,
    ZI_ERROR_USAGE = -2,    /* deck, command line or input data */
    ZI_ERROR_FIT = -3,      /* the model does not fit the budgets */
    ZI_STOPPED = -4,        /* stopped early with a good checkpoint: submit again */
    ZI_ERROR_IO = -5,       /* file system or disk */
    ZI_ERROR_DEVICE = -6,   /* device, or memory that could not be had */
    ZI_ERROR_NUMERICS = -7, /* too many non-finite steps in a row */
    ZI_ERROR_COMM = -8,     /* communication between ranks */
    ZI_ERROR_BUG = -70      /* an invariant of zinf does not hold */
};

/* Local. Exit code of a status: 0 done, 2 deck or usage, 3 does not fit, 4 stopped early, 5 I/O, 6
 * device or communication, 7 numerics, 70 bug. */
int zi_status_exit_code(enum zi_status status);

/* Local. A short lower-case name, for messages: "input/output error". Never NULL. */
const char *zi_status_name(enum zi_status status);

/* Returns from the calling function with the status of `call` when that is an error. */
#define ZI_TRY(call)                                                                               \
    do {                                                                                           \
        enum zi_status zi_try_status_ = (call);                                                    \
        if (zi_try_status_ < 0) return zi_try_status_;                                             \
    } while (0)

/* Stores the status of `call` in the variable `status` and jumps to `label` when it is an error. */
#define ZI_TRY_GOTO(call, label)                                                                   \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status < 0) goto label;                                                                \
    } while (0)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on purpose, for tests. They strike blocks on their way to the engine, counted over all
 * queues that are opened after disk_fault_set (files, for DISK_FAULT_NO_DIRECT). */
#ifndef ZI_DISK_FAULT_H
#define ZI_DISK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum disk_fault_kind {
    DISK_FAULT_ERROR,  /* the block fails with `error`; EAGAIN and EINTR make it be tried again */
    DISK_FAULT_SHORT,  /* half of the block is transferred */
    DISK_FAULT_REFUSE, /* the kernel does not take it (EAGAIN of io_submit) */
    DISK_FAULT_INTERRUPT, /* waiting for it ends with EINTR */
    DISK_FAULT_STALL,     /* its completion is held back for `seconds` */
    DISK_FAULT_NO_DIRECT, /* a file cannot be opened for direct I/O */
    DISK_FAULT_NO_LIBAIO  /* io_setup fails with EAGAIN */
};

struct disk_fault {
    enum disk_fault_kind kind;
    /* Which blocks count */
    bool reads, writes;
    /* errno */
    int error;
    /* Strikes the first-th (from 1) and those after it, `times` in all */
    int64_t first, times;
    double seconds;
};

/* Local. Sets the fault of the process, with its count at 0; NULL ends it. Without a call it is
 * what the environment variable ZINF_DISK_FAULT says, as OPERATION:FAULT:FIRST[:TIMES[:SECONDS]]:
 * read, write or any; a name of errno (EIO, ENOSPC, EAGAIN, EINTR), short, refuse, interrupt,
 * stall, nodirect or nolibaio. A warning says that it is active. */
void disk_fault_set(const struct disk_fault *fault);

/* Local. How often the fault has struck. */
int64_t disk_fault_strikes(void);

#endif

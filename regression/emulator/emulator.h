/* SPDX-License-Identifier: Apache-2.0 */
/* An emulation of a CUDA device, for tests on machines without one. Three libraries with NVIDIA's
 * sonames (libcudart.so.13, libcublasLt.so.13, libnccl.so.2), found before the real ones by
 * LD_LIBRARY_PATH, run the code that nvcc made of zinf's kernels (regression/emulator/ptx), and hold
 * every operation on a stream to what CUDA promises and no more: memory of the device is out of the
 * host's reach, pinned memory is guarded while a copy is in flight, and two operations that touch
 * the same bytes must be ordered by streams, events or the host.
 *
 * This header is what the three libraries share. It proves logic, order, addresses and capacity; it
 * says nothing about speed or about what real libraries refuse.
 *
 * Environment:
 *   EMULATOR_DEVICES   devices that the process sees, default 8
 *   EMULATOR_MEMORY    bytes of each device, default 256 MiB
 *   EMULATOR_PINNED    bytes of pinned memory that a process can have, default 256 MiB
 *   EMULATOR_SCHEDULE  eager (done when enqueued), random (default: delays), late (nothing is done
 *                      before somebody waits for it, or 200 ms have passed)
 *   EMULATOR_TARGET    80 (default) or 90: whose PTX is run, and what the devices say they are
 *   EMULATOR_SEED      of random delays, of the order of threads in a block, of perturbed results
 *   EMULATOR_APPROXIMATE  1: results of approximate instructions are off by as much as NVIDIA's
 *                      manual allows, in a direction that the seed chooses
 *   EMULATOR_DRIVER    "none", "old" or "empty": no driver, one that is too old, no device
 *   EMULATOR_TIMEOUT   seconds after which a wait for other ranks in NCCL is a fault, default 60
 *   EMULATOR_FAIL      NAME:N: the Nth call of the CUDA, cuBLAS or NCCL function NAME fails; kernel:N:
 *                      the Nth kernel that runs fails, which leaves its device unusable
 *   EMULATOR_TRACE     1: what is given to streams and what the host waits for, on stderr
 *
 * A fault ends the process after a report on stderr that begins with "emulator:". */
#ifndef ZI_REGRESSION_EMULATOR_H
#define ZI_REGRESSION_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

/* Exit codes of faults, so that tests know which check has fired. */
enum emulator_fault {
    /* The host touched memory of a device. */
    EMULATOR_HOST_ACCESS = 97,
    /* The host touched pinned memory that a copy in flight reads or writes. */
    EMULATOR_IN_FLIGHT = 98,
    /* Two operations touch the same bytes and nothing orders them. */
    EMULATOR_RACE = 99,
    /* A kernel: an address that is no live memory, misaligned, or beyond an allocation; threads of a
     * block in a race for shared memory; a barrier that not all threads reach. */
    EMULATOR_KERNEL = 100,
    /* A call that CUDA, cuBLAS or NCCL would refuse, or which works there by luck; the host touches
     * pinned memory that is not allocated. */
    EMULATOR_MISUSE = 101,
    /* Ranks call collectives in different order or with different arguments. */
    EMULATOR_COLLECTIVE = 102,
    /* The end of the process by exit(0), or return from main, finds memory, streams or events that
     * were not given back; an end with another status is not looked at. */
    EMULATOR_LEAK = 103
};

/* Local. Reports a fault and ends the process with its code, without the handlers of exit. */
void emulator_fail(enum emulator_fault fault, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* Bytes that an operation reads or writes, as the program addresses them. */
struct emulator_range {
    const void *address;
    size_t bytes;
    bool writes;
};

enum { EMULATOR_RANGES = 8 };

/* An operation on a stream. */
struct emulator_work {
    /* For reports; never freed. */
    const char *name;
    /* Called once, in the stream's own thread, when the schedule says so; what it returns is the
     * error that later calls report. */
    cudaError_t (*run)(void *argument);
    /* Given to run, then freed with free(). */
    void *argument;
    struct emulator_range ranges[EMULATOR_RANGES];
    int range_count;
};

/* Local. Gives the stream an operation, whose ranges must lie in live memory. The default stream (0)
 * is EMULATOR_MISUSE. Takes over the argument also when it fails. */
cudaError_t emulator_enqueue(cudaStream_t stream, const struct emulator_work *work);

/* Local. In `run`: where the emulation may touch [address, address + bytes) of device or pinned
 * memory. NULL when that is not inside one live allocation. */
void *emulator_alias(const void *address, size_t bytes);

/* Local. In `run`: bytes that the operation turned out to touch, for operations that do not know
 * before (kernels). A race with what others did or will do is EMULATOR_RACE. */
void emulator_touched(const struct emulator_range *range);

/* Local. Whether EMULATOR_FAIL names this call; counts calls. Every public function asks. */
bool emulator_fails(const char *function);

/* Local. The seed of EMULATOR_SEED, mixed with `what`, so that each user has its own numbers. */
uint64_t emulator_seed(const char *what);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A device for tests, which is as unlike the host as a device can be: its memory has addresses that
 * the host cannot read or write, its streams are threads, and its work is done at times that the
 * host does not choose. Arithmetic is the cpu device's, so results are equal to the last bit.
 *
 * It is in no installed program. Linked into a test, it takes the place of the cuda device. */
#ifndef ZI_DEVICE_APART_APART_H
#define ZI_DEVICE_APART_APART_H

#include <stdint.h>

/* When a stream does what it has been given. */
enum apart_schedule {
    /* As soon as it can. */
    APART_EAGER,
    /* One piece of work in four, by chance, waits until somebody waits for it. */
    APART_RANDOM,
    /* Not before the host waits for something; the first stream then goes as far as its waits let
     * it, and others do what somebody waits for, when the first stream can do nothing. */
    APART_LATE
};

/* Local. From here on device.type: cuda opens this device, with this schedule; the same seed holds
 * the same work back. */
void apart_device_use(enum apart_schedule schedule, uint64_t seed);

/* Local. device.type: cuda is what it was before apart_device_use. */
void apart_device_withdraw(void);

#endif

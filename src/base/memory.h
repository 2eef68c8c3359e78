/* SPDX-License-Identifier: Apache-2.0 */
/* Named memory. Large buffers are allocated through here, so that every byte has a name and a tier
 * and one table says where memory went. Buffers of 2 MiB or more are on huge pages, touched once
 * when they are allocated, and staggered: successive ones start at different multiples of 256
 * bytes, because equally aligned power-of-two streams halve the speed of the optimizer. */
#ifndef ZI_BASE_MEMORY_H
#define ZI_BASE_MEMORY_H

#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

enum zi_tier { ZI_TIER_DEVICE, ZI_TIER_HOST, ZI_TIER_NVME, ZI_TIER_COUNT };

/* Local. "device", "host", "nvme". */
const char *zi_tier_name(enum zi_tier tier);

/* Local. Gives zeroed memory of `bytes` (64-byte aligned at least; bytes > 0), accounted as `name`
 * on `tier`. The caller owns it and frees it with zi_memory_free. ZI_ERROR_DEVICE with name and
 * size where the system has no more. */
enum zi_status zi_memory_allocate(size_t bytes, enum zi_tier tier, const char *name, void **memory);

/* Local. Frees what zi_memory_allocate gave; NULL does nothing. */
void zi_memory_free(void *memory);

/* Local. Accounts memory that a library has allocated, as zi_memory_allocate does its own; *mark is
 * for zi_memory_forget. ZI_ERROR_DEVICE when the table of names cannot grow. */
enum zi_status zi_memory_note(size_t bytes, enum zi_tier tier, const char *name, size_t *mark);

/* Local. Ends the accounting of such memory, of as many bytes. */
void zi_memory_forget(size_t mark, size_t bytes);

/* Local. Bytes allocated now on a tier. */
size_t zi_memory_used(enum zi_tier tier);

/* Local. The most bytes that were allocated on a tier so far. */
size_t zi_memory_peak(enum zi_tier tier);

/* Local. Calls `visit` for each live name, largest first, with its bytes now and at most. */
void zi_memory_visit(void (*visit)(void *context, const char *name, enum zi_tier tier, size_t bytes,
                                   size_t peak_bytes),
                     void *context);

/* Local. Physical memory of the node that can still be used, in bytes. */
size_t zi_memory_node_available(void);

/* Local. Resident bytes of this process now. */
size_t zi_memory_resident(void);

/* Local. The most resident bytes that this process has had. */
size_t zi_memory_resident_peak(void);

/* Local. "1.50 GiB" into text[0..size); gives text. */
const char *zi_memory_text(size_t bytes, char *text, size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to base: how much memory the node, and the control group of this process, still have. */
#ifndef ZI_BASE_NODE_H
#define ZI_BASE_NODE_H

#include <stddef.h>

/* Local. Bytes that can still be used, from files of the layout of /proc and /sys/fs/cgroup under
 * the two directories: MemAvailable, or what is left to the tightest of the memory control groups
 * (version 1 or 2) above this process where that is less. SIZE_MAX when neither can be read. */
size_t node_memory_available(const char *proc, const char *cgroup);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What kind of file system a path is on. */
#ifndef ZI_TIER_SYSTEM_H
#define ZI_TIER_SYSTEM_H

enum system_kind {
    SYSTEM_DISK, /* and all that is not known */
    SYSTEM_MEMORY,
    SYSTEM_NETWORK,
    SYSTEM_PROGRAM /* served by a program of a user (FUSE): from anywhere */
};

/* Local. The kind of a file system by the number that statfs has for it; *name is "tmpfs", "nfs",
 * "ext4" (which ext2 and ext3 call themselves too) and so on, "" for what is not known. */
enum system_kind system_kind_of(unsigned long type, const char **name);

/* Local. The same of an open file or folder; SYSTEM_DISK when it cannot be asked. */
enum system_kind system_kind(int descriptor, const char **name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is: for banners, records and checkpoints. */
#ifndef ZI_BASE_VERSION_H
#define ZI_BASE_VERSION_H

/* Local. "0.1.0". */
const char *zi_version(void);

/* Local. Short git revision with "-dirty" where the tree had changes, or "unknown" when built from
 * a tarball. */
const char *zi_version_revision(void);

/* Local. The compiler, in one line. */
const char *zi_version_compiler(void);

/* Local. The arguments of configure, in one line. */
const char *zi_version_configure(void);

#endif

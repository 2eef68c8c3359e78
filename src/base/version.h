/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is: for banners, records and checkpoints. */
#ifndef ZI_BASE_VERSION_H
#define ZI_BASE_VERSION_H

/* Local. "0.1.0". */
const char *zi_version(void);

/* Local. Short git revision with "-dirty" where the tree had changes, or "unknown" when built from
 * a tarball. */
const char *zi_version_revision(void);

/* Local. Compiler and configure line, one line each. */
const char *zi_version_compiler(void);
const char *zi_version_configure(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is.
 *
 * Results are traced back to code by what is written here into every record and checkpoint. The
 * revision and the configure line are found when the program is built, by a rule of Makefile.inc
 * that writes base/revision.h only when its text changes, so that an unchanged tree is not linked
 * anew. Without that header (objects made by hand) both are "unknown". */
#include "base/version.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#if defined __has_include
#if __has_include("base/revision.h")
#include "base/revision.h"
#endif
#endif

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.1.0"
#endif
#ifndef ZI_REVISION
#define ZI_REVISION "unknown"
#endif
#ifndef ZI_CONFIGURE
#define ZI_CONFIGURE "unknown"
#endif

#if defined __clang__
#define ZI_COMPILER __VERSION__
#elif defined __GNUC__
#define ZI_COMPILER "gcc " __VERSION__
#else
#define ZI_COMPILER "unknown"
#endif

const char *zi_version(void)
{
    return PACKAGE_VERSION;
}

const char *zi_version_revision(void)
{
    return ZI_REVISION;
}

const char *zi_version_compiler(void)
{
    return ZI_COMPILER;
}

const char *zi_version_configure(void)
{
    return ZI_CONFIGURE;
}

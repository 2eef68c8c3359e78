/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the command that removes what dead runs left. */
#ifndef ZI_APP_CLEAN_H
#define ZI_APP_CLEAN_H

#include "app/options.h"
#include "comm/comm.h"

/* Local. `zinf clean`, as a row of the table of commands (commands.h) has it. ZI_ERROR_USAGE for
 * what is no folder, ZI_ERROR_IO when something could not be looked at or removed, after all else
 * has been; ZI_STOPPED. */
enum zi_status clean_command(struct comm *world, const struct options *options);

#endif

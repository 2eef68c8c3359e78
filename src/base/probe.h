/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a library may not survive. HDF5 trusts the numbers of the files that it reads: a
 * damaged one may crash it, keep it busy for ever, or make it ask for any amount of memory, and
 * with it goes the job. So a file that a user names is opened by a child process first, with
 * bounded memory and time; when the child does not come to an orderly end, or HDF5 reports an error
 * there, the file is refused.
 *
 * The child is the same program, started with the words ZI_PROBE_WORD and the path. Probes are off
 * until zi_probe_set, so programs that do not know the word are not started. */
#ifndef ZI_BASE_PROBE_H
#define ZI_BASE_PROBE_H

#include "base/status.h"

#define ZI_PROBE_WORD "probe-file"

/* Exit codes of a child: HDF5 read all that the parent will ask for; it asked for more memory than
 * the child may have; it reported an error, which the child has written to stdout as one line. */
enum zi_probe_end { ZI_PROBE_DONE = 0, ZI_PROBE_MEMORY = 3, ZI_PROBE_FAILED = 5 };

/* Local. From now on zi_probe_file starts `program` (which must stay); NULL: it does nothing. In a
 * job one rank looks and the others do nothing. */
void zi_probe_set(const char *program);

/* Local, from the main thread. Has a child open and walk the file. ZI_ERROR_IO, saying how the
 * child ended and the remedy ("use an older checkpoint"), when it was ended by a fault or a limit
 * or HDF5 reported an error; ZI_STOPPED when a stop was asked for meanwhile. Where no child can be
 * started that is a warning, and ZI_OK. */
enum zi_status zi_probe_file(const char *room, const char *path, const char *remedy);

/* Local. In the child, first: bounds its memory and time, sets all signals to their defaults, lets
 * it end with its parent and leave no core, and fills memory that it allocates, so that a library
 * that reads what it has not written does so to its harm here and not in the parent. */
void zi_probe_child(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to stop. A batch system sends SIGTERM or SIGUSR1 before it kills, a person presses
 * Ctrl-C, a terminal that closes sends SIGHUP: all ask for the same, an orderly end.
 *
 * No handler ever runs on the stack of a thread that works: every thread blocks all signals but
 * those of its own faults, and one thread of its own takes them. (Reason: single-precision products
 * of oneDNN 2.6.3 do not bear a signal handler on their stack; see doc/libraries.md.) Work looks at
 * the request where it can end in good order. */
#ifndef ZI_BASE_STOP_H
#define ZI_BASE_STOP_H

#include "base/status.h"

/* Local. Keeps requests to stop waiting until zi_stop_start takes them or zi_stop_release lets them
 * act. For the program's .preinit_array: libraries take some time before main, in which a batch
 * system's warning would kill the process. Before that, while the dynamic linker works (some
 * 10 ms), it still does. */
void zi_stop_hold(void);

/* Local. Ends zi_stop_hold in a process that takes no requests: signals act as they would have. */
void zi_stop_release(void);

/* Local. Blocks all signals but those of faults in the calling thread, and so in all threads that
 * it makes; starts the thread that takes them. SIGTERM, SIGINT, SIGUSR1, SIGHUP and SIGQUIT become
 * requests to stop, but for those that the process was started to ignore (nohup); others do what
 * they do by default. To be called once, before the first thread and before libraries that make
 * threads. A second SIGINT, a second or more after the first, ends the process at once; of
 * the others a second one changes nothing: Slurm sends SIGTERM more than once while a checkpoint is
 * being written.
 * ZI_ERROR_DEVICE when there is no thread. */
enum zi_status zi_stop_start(void);

/* Local. Ignores again what the process was started to ignore, where the constructor of a library
 * has put a handler: exec keeps what is ignored, not what is handled. To be called first. */
void zi_stop_ignore(void);

/* Local. The number of the first signal that asked to stop, 0 for none. Costs one load. */
int zi_stop_signal(void);

/* Local. "SIGTERM" and so on, of zi_stop_signal; "a signal" for others. */
const char *zi_stop_name(int number);

/* Local. ZI_STOPPED when a stop was asked for, else ZI_OK; for ZI_TRY in long loops of one process.
 * Ranks that work together agree instead: one may know before the others. */
enum zi_status zi_stop_check(void);

/* Local. Gives a child that is about to run another program the signals as they are by default. To
 * be called in the child, between fork and exec; safe there. */
void zi_stop_child(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* How the threads of a team wait for each other. */
#ifndef ZI_DEVICE_TEAM_H
#define ZI_DEVICE_TEAM_H

/* Local. To be called first thing in a process that will compute, before any thread. OpenMP reads
 * how long its threads spin from the environment before main starts, so where the user has not said
 * (OMP_WAIT_POLICY, GOMP_SPINCOUNT), the process starts itself once more with a short time set, and
 * the call does not return. Where that cannot be done it returns, with a warning. */
void device_team_prepare(char **argv);

#endif

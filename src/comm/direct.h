/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives between ranks of one node that read each other's memory. Private to the room. */
#ifndef ZI_COMM_DIRECT_H
#define ZI_COMM_DIRECT_H

#include "comm/transport.h"

struct direct;

/* Collective. A group of the mpi transport, all of it on one node, gets a transport without messages
 * where every rank may read the memory of every other; elsewhere it stays as it is, and rank 0 says
 * why. */
enum zi_status direct_start(struct comm *comm);

/* Local. Frees what direct_start has made (library.h). NULL is nothing to free. */
void direct_stop(struct direct *direct);

#endif

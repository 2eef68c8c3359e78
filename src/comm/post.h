/* SPDX-License-Identifier: Apache-2.0 */
/* Operations between ranks that read each other's memory, as tasks in a queue: private to the room. A
 * rank posts a task and goes on; what can be done of it is done when the rank looks again, in between
 * or when it waits. Any rank's part needs no other rank's processor. */
#ifndef ZI_COMM_POST_H
#define ZI_COMM_POST_H

#include <sys/types.h>

#include "comm/bell.h"
#include "comm/map.h"
#include "comm/transport.h"

/* One operation, with what its functions work on. */
struct task {
    /* What this rank does when all have come; frees what the task holds when it is done, or NULL. */
    enum zi_status (*work)(struct comm *comm, const struct task *task);
    void (*end)(struct comm *comm, const struct task *task);
    /* Others read this rank's memory: it is done when they have. */
    bool is_read;
    /* For the others (bells_come) */
    unsigned char note[NOTE_BYTES];
    size_t note_bytes;
    /* From 1, by direct_post. */
    int64_t number;
    struct device_stream *stream;
    /* Of a gather, a broadcast, or values of all ranks; `is_apart`: mine is not its place in all. */
    struct device_ptr shard, full;
    const char *mine;
    char *all;
    size_t bytes;
    bool is_apart;
    int root;
    /* Of a sum over ranks */
    struct comm_reduction reduction;
    struct comm_mapped mapped;
    /* Of comm_say, when it was posted */
    const char *what, *subject;
};

/* Tasks that are not done, at most; more wait for the first. */
#define POSTED_MOST 16

struct direct {
    /* Of the ranks, in order */
    pid_t *processes;
    /* That of number n is tasks[n % POSTED_MOST]. */
    struct task tasks[POSTED_MOST];
    /* How many have been posted, have been come to, have had this rank's work, and are done. */
    int64_t posted, entered, worked, done;
    /* Tasks of device memory only begin (comm_run_ahead). */
    bool ahead;
    /* The node has a core for each rank. */
    bool has_cores;
};

/* Local. Puts a task into the queue, and does what can be done now. Gives its number. */
enum zi_status direct_post(struct comm *comm, const struct task *task, int64_t *number);

/* Local. Does what can be done, and waits until task `number` is done. */
enum zi_status direct_await(struct comm *comm, int64_t number);

/* Collective. Posts a task and waits for it. */
enum zi_status direct_do(struct comm *comm, const struct task *task);

#endif

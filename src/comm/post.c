/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of operations between ranks that read each other's memory.
 *
 * The problem: ranks are never equally far. If each waited in every operation until all have come and
 * until nobody reads in its memory any more, it would stand still twice per operation, for as long as
 * the others compute; a thread for it would take the core from that arithmetic, and the kernel lets it
 * wait for milliseconds before it does.
 *
 * The idea: to come to an operation is a number in shared memory, and the rest is reading. So a rank
 * says that it has come, goes on with arithmetic, and reads from the others when it looks the next
 * time and finds that they have come. It waits only where it needs a result, or the memory that
 * others read. Between two ranks that are an operation or two apart nobody waits at all.
 *
 * Invariant: a rank comes to an operation when it has done its own reading of the one before. So
 * where all have come, nobody reads for an earlier one, and results may be written over what was read
 * there: tasks follow each other as if each had been waited for. */
#include "comm/post.h"

#include <errno.h>
#include <signal.h>

#include "base/log.h"
#include "comm/library.h"
#include "comm/turn.h"
#include "comm/wait.h"

/* Of looking without pause. Where another thread of the rank, or a rank without a core of its own, would
 * compute meanwhile, less than a sleep takes. Where the core is idle otherwise, what ranks that do the
 * same are apart in most operations. */
#define POLL_NS        5000
#define POLL_AHEAD_NS  50000
#define LOOKS          16 /* between two looks at the clock */
#define PAUSE_FIRST_NS 1000000
#define PAUSE_MOST_NS  64000000
#define GONE_NS        1000000000 /* of a wait, before it is asked whether the others live */

static struct direct *direct_of(const struct comm *comm)
{
    return library_of(comm)->direct;
}

static struct task *task_at(struct direct *d, int64_t number)
{
    return &d->tasks[number % POSTED_MOST];
}

/* Comes to the next task, unless this rank has still to read for the one before. */
static void enter(struct comm *comm, struct direct *d)
{
    if (d->entered > d->worked || d->entered == d->posted) return;
    const struct task *task = task_at(d, ++d->entered);
    bells_come(library_of(comm)->bells, (uint32_t)d->entered, task->note, task->note_bytes);
}

/* Does all that does not have to wait. */
static enum zi_status advance(struct comm *comm)
{
    struct direct *d = direct_of(comm);
    struct bells *bells = library_of(comm)->bells;
    enter(comm, d);
    while (d->worked < d->entered && bells_all_entered(bells, (uint32_t)d->entered)) {
        const struct task *task = task_at(d, d->entered);
        ZI_TRY(task->work(comm, task));
        d->worked++;
        bells_release(bells, (uint32_t)d->worked);
        enter(comm, d);
    }
    while (d->done < d->worked) {
        const struct task *task = task_at(d, d->done + 1);
        if (task->is_read && !bells_all_released(bells, (uint32_t)task->number)) break;
        if (task->end) task->end(comm, task);
        d->done++;
    }
    return ZI_OK;
}

/* A rank that has ended does not come any more, and not every launcher ends the others. It may have
 * ended well, if what is waited for is its last operation. */
static enum zi_status check_alive(const struct comm *comm, int64_t now_ns)
{
    const struct bells *bells = library_of(comm)->bells;
    for (int rank = 0; rank < comm->size; rank++) {
        bool ended = kill(direct_of(comm)->processes[rank], 0) < 0 && errno == ESRCH;
        if (ended && bells_is_late(bells, rank, now_ns))
            return zi_fail(ZI_ERROR_COMM, "comm", "rank %d has ended while others wait for it",
                           rank);
    }
    return ZI_OK;
}

/* What others of the process do by MPI (HDF5) may need this rank's calls to go on. */
static enum zi_status help_messages(const struct comm *comm)
{
    int there;
    MPI_TRY(MPI_Iprobe, MPI_ANY_SOURCE, MPI_ANY_TAG, library_of(comm)->comm, &there,
            MPI_STATUS_IGNORE);
    return ZI_OK;
}

/* Looks without pause, for a while, whether the others have gone on. */
static bool poll_others(const struct comm *comm, struct wait *wait)
{
    const struct bells *bells = library_of(comm)->bells;
    int64_t most_ns =
        direct_of(comm)->has_cores && direct_of(comm)->ahead ? POLL_AHEAD_NS : POLL_NS;
    int64_t now;
    int64_t until_ns = wait_now_ns() + most_ns;
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (bells_has_wanted(bells)) return true;
            bells_relax();
        }
        now = wait_look(wait);
    } while (now < until_ns);
    return false;
}

/* Waits until the others have gone on. Who is rung for sleeps until then; the pauses are for what
 * rings no bell. */
static enum zi_status wait_others(const struct comm *comm, struct wait *wait, int64_t *asked_ns)
{
    const struct bells *bells = library_of(comm)->bells;
    long pause_ns = PAUSE_FIRST_NS;
    if (poll_others(comm, wait)) return ZI_OK;
    for (;;) {
        wait_until_served(wait, pause_ns);
        if (bells_has_wanted(bells)) return ZI_OK;
        int64_t now = wait_look(wait);
        ZI_TRY(help_messages(comm));
        if (pause_ns < PAUSE_MOST_NS) pause_ns *= 2;
        if (now - *asked_ns < GONE_NS) continue;
        *asked_ns = now;
        ZI_TRY(check_alive(comm, now));
    }
}

enum zi_status direct_await(struct comm *comm, int64_t number)
{
    struct direct *d = direct_of(comm);
    ZI_TRY(advance(comm));
    if (d->done >= number) return ZI_OK;
    ZI_REQUIRE(number <= d->posted);
    const struct task *first = task_at(d, d->done + 1);
    struct wait wait = wait_begin(library_of(comm));
    wait.what = first->what;
    wait.subject = first->subject;
    int64_t asked_ns = wait.start_ns;
    enum zi_status status = ZI_OK;
    while (status >= 0 && d->done < number) {
        bells_want(library_of(comm)->bells, (uint32_t)(d->worked + 1), (uint32_t)(d->done + 1));
        status = wait_others(comm, &wait, &asked_ns);
        if (status >= 0) status = advance(comm);
    }
    wait_end(&wait);
    return status;
}

enum zi_status direct_post(struct comm *comm, const struct task *task, int64_t *number)
{
    struct direct *d = direct_of(comm);
    if (d->posted - d->done == POSTED_MOST) ZI_TRY(direct_await(comm, d->done + 1));
    struct task *own = task_at(d, ++d->posted);
    *own = *task;
    own->number = *number = d->posted;
    own->what = library_of(comm)->what;
    own->subject = library_of(comm)->subject;
    return advance(comm);
}

enum zi_status direct_do(struct comm *comm, const struct task *task)
{
    int64_t number;
    ZI_TRY(direct_post(comm, task, &number));
    return direct_await(comm, number);
}

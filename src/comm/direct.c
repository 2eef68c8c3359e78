/* SPDX-License-Identifier: Apache-2.0 */
/* The transport between the ranks of one node, for buffers that the host can reach. Nobody sends:
 * a rank leaves a note of where its bytes are, and when all have come each reads what it needs from
 * the memory of the others (process_vm_readv), one copy per byte, and waits until nobody reads in its
 * own any more. Values of the host are the notes themselves, and need no second wait.
 *
 * Memory that all ranks map would do as well and spare the system call: a copy of 64 KiB takes 7 us
 * so and 5 us there (Xeon, Linux 6.18). But it would have to be had before anything is put there, in
 * the place of the memory of devices; and shared memory has no huge pages as Linux is set up, on which
 * products would then work. Here any buffer will do, nothing is mapped, and a rank that dies leaves
 * nothing behind.
 *
 * The kernel lets a process read another of the same user, as a debugger would. Yama may restrict that
 * to descendants of the reader and of those whom a process names: ranks name their parent, which is
 * that of all ranks of the node where the launcher has started them itself. Whether it works is tried
 * at the start, with a number that only the right process has in the right place.
 *
 * A sum reads the contributions unrounded and rounds them here, in rank order: to the same bits as
 * those that crossed a network. */
#include "comm/direct.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "comm/library.h"
#include "comm/map.h"
#include "comm/reduce.h"
#include "comm/wait.h"

#define POLL_NS        5000 /* less than a sleep takes; longer takes the core from arithmetic */
#define PAUSE_FIRST_NS 1000000
#define PAUSE_MOST_NS  64000000
#define GONE_NS        1000000000 /* of a wait, before it is asked whether the others live */
#define AT_ONCE        ((int64_t)64 << 10) /* elements of a sum, of all others: 256 KiB stay in a cache */
#define PIECE_LEAST    ((int64_t)4 << 10)

struct direct {
    /* Of the ranks, in order */
    pid_t *processes;
};

/* How a rank is known before anything else is. */
struct card {
    int64_t process;
    /* Where it has which number */
    uint64_t address, number;
};

/* Reads memory of another process; an error is errno, EIO for memory that ends early. */
static int read_memory(pid_t process, uint64_t from, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        struct iovec here = {(char *)to + done, bytes - done};
        struct iovec there = {(void *)(uintptr_t)(from + done), bytes - done};
        ssize_t got = process_vm_readv(process, &here, 1, &there, 1, 0);
        if (got <= 0) return got < 0 ? errno : EIO;
        done += (size_t)got;
    }
    return 0;
}

static enum zi_status read_rank(const struct comm *comm, int rank, uint64_t address, void *to,
                                size_t bytes)
{
    int error = read_memory(library_of(comm)->direct->processes[rank], address, to, bytes);
    if (error == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_COMM, "comm", "memory of rank %d cannot be read: %s", rank,
                   error == ESRCH ? "it has ended" : strerror(error));
}

/* A rank that has ended does not come any more, and not every launcher ends the others. It may have
 * ended well, if what is waited for is its last operation. */
static enum zi_status check_alive(const struct comm *comm, bool (*all_have)(const struct bells *))
{
    for (int rank = 0; rank < comm->size; rank++) {
        bool ended = kill(library_of(comm)->direct->processes[rank], 0) < 0 && errno == ESRCH;
        if (ended && !all_have(library_of(comm)->bells))
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

/* Waits for all ranks to have come, or to have released what is read. Who is rung for sleeps until
 * then; the pauses are for what rings no bell. */
static enum zi_status wait_for(struct comm *comm, bool (*all_have)(const struct bells *))
{
    struct bells *bells = library_of(comm)->bells;
    if (all_have(bells)) return ZI_OK;
    struct wait wait = wait_begin(library_of(comm));
    int64_t poll_until = wait.start_ns + POLL_NS, asked_ns = wait.start_ns;
    long pause_ns = PAUSE_FIRST_NS;
    for (;;) {
        uint32_t rung = bells_count(bells);
        if (all_have(bells)) return ZI_OK;
        int64_t now = wait_look(&wait);
        if (now < poll_until) continue;
        wait_sleep(&wait, rung, pause_ns);
        if (all_have(bells)) return ZI_OK;
        ZI_TRY(help_messages(comm));
        if (pause_ns < PAUSE_MOST_NS) pause_ns *= 2;
        if (now - asked_ns < GONE_NS) continue;
        asked_ns = now;
        ZI_TRY(check_alive(comm, all_have));
    }
}

static enum zi_status meet(struct comm *comm, const void *note, size_t bytes)
{
    bells_enter_last(library_of(comm)->bells, note, bytes);
    return wait_for(comm, bells_all_entered);
}

/* Until nobody reads here any more. */
static enum zi_status part(struct comm *comm)
{
    struct bells *bells = library_of(comm)->bells;
    bells_release(bells);
    ZI_TRY(wait_for(comm, bells_all_released));
    bells_leave(bells);
    return ZI_OK;
}

/* The address that a rank has noted. */
static uint64_t noted_address(const struct comm *comm, int rank)
{
    uint64_t address;
    memcpy(&address, bells_note(library_of(comm)->bells, rank), sizeof address);
    return address;
}

/* All ranks' bytes in rank order. Starts with the next rank, so that not all read in one place. */
static enum zi_status gather(struct comm *comm, const void *mine, char *all, size_t bytes)
{
    uint64_t address = (uintptr_t)mine;
    char *own = all + (size_t)comm->rank * bytes;
    bells_enter_last(library_of(comm)->bells, &address, sizeof address);
    if (own != mine) memcpy(own, mine, bytes);
    ZI_TRY(wait_for(comm, bells_all_entered));
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        ZI_TRY(read_rank(comm, from, noted_address(comm, from), all + (size_t)from * bytes, bytes));
    }
    return part(comm);
}

static enum zi_status direct_all_gather(struct comm *comm, struct device_stream *stream,
                                        struct device_ptr shard, struct device_ptr full,
                                        int64_t bytes)
{
    void *all, *mine;
    size_t size = (size_t)bytes;
    bool apart = shard.address != device_at(full, (size_t)comm->rank * size).address;
    ZI_TRY(device_map(stream, full, (size_t)comm->size * size, &all));
    mine = (char *)all + (size_t)comm->rank * size;
    enum zi_status status = apart ? device_map(stream, shard, size, &mine) : ZI_OK;
    if (status >= 0) {
        status = gather(comm, mine, all, size);
        if (apart) device_unmap(stream, shard);
    }
    device_unmap(stream, full);
    return status;
}

/* One reduce_scatter under way, at the host's addresses. */
struct reduction {
    struct comm_mapped mapped;
    /* Elements of a shard */
    int64_t count;
    enum zi_dtype wire;
};

/* Sums [first, first + length) of this rank's shard. */
static enum zi_status sum_piece(struct comm *comm, const struct reduction *r, int64_t first,
                                int64_t length)
{
    int64_t begin = (int64_t)comm->rank * r->count + first;
    size_t bytes = (size_t)length * sizeof(float);
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        size_t place = (size_t)(from < comm->rank ? from : from - 1);
        ZI_TRY(read_rank(comm, from, noted_address(comm, from) + (uint64_t)begin * sizeof(float),
                         r->mapped.scratch + place * bytes, bytes));
    }
    struct comm_contributions contributions = {
        .own = r->mapped.full + begin,
        .others = r->mapped.scratch,
        .stride = length,
        .count = length,
        .rank = comm->rank,
        .size = comm->size,
        .wire = r->wire,
        .others_type = ZI_FP32,
    };
    comm_add_in_rank_order(&contributions, r->mapped.shard + first);
    return ZI_OK;
}

static enum zi_status reduce_scatter(struct comm *comm, const struct reduction *r)
{
    uint64_t address = (uintptr_t)r->mapped.full;
    int64_t piece = AT_ONCE / (comm->size - 1), most = comm_reduce_chunk(comm->size, r->count);
    if (piece < PIECE_LEAST) piece = PIECE_LEAST;
    if (piece > most) piece = most;
    ZI_TRY(meet(comm, &address, sizeof address));
    for (int64_t first = 0; first < r->count; first += piece) {
        int64_t left = r->count - first;
        ZI_TRY(sum_piece(comm, r, first, left < piece ? left : piece));
    }
    return part(comm);
}

static enum zi_status direct_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                            const struct comm_reduction *reduction)
{
    struct reduction r = {.count = reduction->count, .wire = reduction->wire};
    ZI_TRY(comm_map_reduction(comm, stream, reduction, &r.mapped));
    enum zi_status status = reduce_scatter(comm, &r);
    comm_unmap_reduction(comm, stream, reduction);
    return status;
}

static enum zi_status direct_gather_values(struct comm *comm, const void *mine, void *all,
                                           int bytes)
{
    size_t size = (size_t)bytes;
    if (size > NOTE_BYTES) return gather(comm, mine, all, size);
    ZI_TRY(meet(comm, mine, size));
    for (int rank = 0; rank < comm->size; rank++)
        memcpy((char *)all + (size_t)rank * size, bells_note(library_of(comm)->bells, rank), size);
    bells_leave(library_of(comm)->bells);
    return ZI_OK;
}

static enum zi_status direct_broadcast(struct comm *comm, void *bytes, int64_t count, int root)
{
    uint64_t address = (uintptr_t)bytes;
    ZI_TRY(meet(comm, &address, sizeof address));
    if (comm->rank != root)
        ZI_TRY(read_rank(comm, root, noted_address(comm, root), bytes, (size_t)count));
    return part(comm);
}

static enum zi_status direct_barrier(struct comm *comm)
{
    ZI_TRY(meet(comm, NULL, 0));
    bells_leave(library_of(comm)->bells);
    return ZI_OK;
}

static enum zi_status direct_minimum(struct comm *comm, int *value)
{
    int least = *value;
    ZI_TRY(meet(comm, value, sizeof *value));
    for (int rank = 0; rank < comm->size; rank++) {
        int other;
        memcpy(&other, bells_note(library_of(comm)->bells, rank), sizeof other);
        if (other < least) least = other;
    }
    bells_leave(library_of(comm)->bells);
    *value = least;
    return ZI_OK;
}

static const struct comm_transport direct_transport = {
    .all_gather = direct_all_gather,
    .reduce_scatter = direct_reduce_scatter,
    .gather_values = direct_gather_values,
    .broadcast = direct_broadcast,
    .barrier = direct_barrier,
    .minimum = direct_minimum,
    .say = mpi_say,
    .abort = mpi_abort,
};

/* Collective. Tries all ranks; *error is that of any of them that could not read another, or 0. */
static enum zi_status try_reading(const struct comm *comm, struct card *cards, int *error)
{
    MPI_Comm group = library_of(comm)->comm;
    uint64_t number = 0;
    int failed = getrandom(&number, sizeof number, 0) == (ssize_t)sizeof number ? 0 : errno;
    struct card own = {getpid(), (uintptr_t)&number, number};
    /* Refused where the kernel has no Yama, and then not needed. */
    (void)prctl(PR_SET_PTRACER, (unsigned long)getppid(), 0UL, 0UL, 0UL);
    MPI_TRY(MPI_Allgather, &own, (int)sizeof own, MPI_BYTE, cards, (int)sizeof own, MPI_BYTE,
            group);
    for (int rank = 0; rank < comm->size && failed == 0; rank++) {
        const struct card *card = &cards[rank];
        uint64_t found = ~card->number;
        failed = read_memory((pid_t)card->process, card->address, &found, sizeof found);
        /* Another process of that number, in a space of process numbers of its own. */
        if (failed == 0 && found != card->number) failed = ESRCH;
    }
    MPI_TRY(MPI_Allreduce, &failed, error, 1, MPI_INT, MPI_MAX, group);
    return ZI_OK;
}

static enum zi_status use(struct comm *comm, const struct card *cards)
{
    struct direct *direct = calloc(1, sizeof *direct);
    library_of(comm)->direct = direct;
    if (direct) direct->processes = calloc((size_t)comm->size, sizeof *direct->processes);
    if (!direct || !direct->processes)
        return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for the processes of a node");
    for (int rank = 0; rank < comm->size; rank++)
        direct->processes[rank] = (pid_t)cards[rank].process;
    comm->transport = &direct_transport;
    return ZI_OK;
}

enum zi_status direct_start(struct comm *comm)
{
    int error = 0;
    struct card *cards = calloc((size_t)comm->size, sizeof *cards);
    if (!cards) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for the processes of a node");
    enum zi_status status = try_reading(comm, cards, &error);
    if (status >= 0 && error == 0) status = use(comm, cards);
    if (status >= 0 && error != 0)
        zi_log(ZI_LOG_NOTE, "comm",
               "ranks of this node exchange messages, which is slower: they may not read each "
               "other's memory (process_vm_readv: %s; see kernel.yama.ptrace_scope, and what a "
               "container allows)",
               strerror(error));
    free(cards);
    return status;
}

void direct_stop(struct direct *direct)
{
    if (!direct) return;
    free(direct->processes);
    free(direct);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The transport between the ranks of one node, for buffers that the host can reach. Nobody sends:
 * a rank leaves a note of where its bytes are, and when all have come each reads what it needs from
 * the memory of the others (process_vm_readv), one copy per byte; who has been read from by all is
 * done. Values of the host are the notes themselves, and done when they have been read here. In which
 * order, and who waits when: comm/post.c.
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
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "comm/library.h"
#include "comm/post.h"
#include "comm/reduce.h"
#include "comm/turn.h"

#define AT_ONCE     ((int64_t)64 << 10) /* elements of a sum, of all others: 256 KiB stay in a cache */
#define PIECE_LEAST ((int64_t)4 << 10)

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

/* The address that a rank has noted. */
static uint64_t noted_address(const struct comm *comm, const struct task *task, int rank)
{
    uint64_t address;
    memcpy(&address, bells_note(library_of(comm)->bells, rank, (uint32_t)task->number),
           sizeof address);
    return address;
}

static void note_bytes(struct task *task, const void *bytes, size_t count)
{
    memcpy(task->note, bytes, count);
    task->note_bytes = count;
}

static void note_address(struct task *task, const void *memory)
{
    uint64_t address = (uintptr_t)memory;
    note_bytes(task, &address, sizeof address);
    task->is_read = true;
}

/* Waits for a task of device memory, unless such tasks only begin here. */
static enum zi_status begin(struct comm *comm, const struct task *task)
{
    int64_t number;
    ZI_TRY(direct_post(comm, task, &number));
    return library_of(comm)->direct->ahead ? ZI_OK : direct_await(comm, number);
}

/* All ranks' bytes in rank order. Starts with the next rank, so that not all read in one place. */
static enum zi_status work_gather(struct comm *comm, const struct task *task)
{
    size_t bytes = task->bytes;
    char *own = task->all + (size_t)comm->rank * bytes;
    if (own != task->mine) memcpy(own, task->mine, bytes);
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        ZI_TRY(read_rank(comm, from, noted_address(comm, task, from),
                         task->all + (size_t)from * bytes, bytes));
    }
    return ZI_OK;
}

static void end_gather(struct comm *comm, const struct task *task)
{
    (void)comm;
    if (task->is_apart) device_unmap(task->stream, task->shard);
    device_unmap(task->stream, task->full);
}

static enum zi_status direct_all_gather(struct comm *comm, struct device_stream *stream,
                                        struct device_ptr shard, struct device_ptr full,
                                        int64_t bytes)
{
    void *all, *mine;
    size_t size = (size_t)bytes;
    struct task task = {
        .work = work_gather, .end = end_gather, .stream = stream, .shard = shard, .full = full};
    task.is_apart = shard.address != device_at(full, (size_t)comm->rank * size).address;
    ZI_TRY(device_map(stream, full, (size_t)comm->size * size, &all));
    mine = (char *)all + (size_t)comm->rank * size;
    enum zi_status status = task.is_apart ? device_map(stream, shard, size, &mine) : ZI_OK;
    if (status < 0) {
        device_unmap(stream, full);
        return status;
    }
    task.mine = mine;
    task.all = all;
    task.bytes = size;
    note_address(&task, mine);
    return begin(comm, &task);
}

/* Sums [first, first + length) of this rank's shard. */
static enum zi_status sum_piece(struct comm *comm, const struct task *task, int64_t first,
                                int64_t length)
{
    const struct comm_mapped *mapped = &task->mapped;
    int64_t begin = (int64_t)comm->rank * task->reduction.count + first;
    size_t bytes = (size_t)length * sizeof(float);
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        size_t place = (size_t)(from < comm->rank ? from : from - 1);
        uint64_t address = noted_address(comm, task, from) + (uint64_t)begin * sizeof(float);
        ZI_TRY(read_rank(comm, from, address, mapped->scratch + place * bytes, bytes));
    }
    struct comm_contributions contributions = {
        .own = mapped->full + begin,
        .others = mapped->scratch,
        .stride = length,
        .count = length,
        .rank = comm->rank,
        .size = comm->size,
        .wire = task->reduction.wire,
        .others_type = ZI_FP32,
    };
    comm_add_in_rank_order(&contributions, mapped->shard + first);
    return ZI_OK;
}

static enum zi_status work_reduce(struct comm *comm, const struct task *task)
{
    int64_t count = task->reduction.count;
    int64_t piece = AT_ONCE / (comm->size - 1), most = comm_reduce_chunk(comm->size, count);
    if (piece < PIECE_LEAST) piece = PIECE_LEAST;
    if (piece > most) piece = most;
    for (int64_t first = 0; first < count; first += piece) {
        int64_t left = count - first;
        ZI_TRY(sum_piece(comm, task, first, left < piece ? left : piece));
    }
    return ZI_OK;
}

static void end_reduce(struct comm *comm, const struct task *task)
{
    comm_unmap_reduction(comm, task->stream, &task->reduction);
}

static enum zi_status direct_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                            const struct comm_reduction *reduction)
{
    struct task task = {
        .work = work_reduce, .end = end_reduce, .stream = stream, .reduction = *reduction};
    ZI_TRY(comm_map_reduction(comm, stream, reduction, &task.mapped));
    note_address(&task, task.mapped.full);
    return begin(comm, &task);
}

static enum zi_status work_values(struct comm *comm, const struct task *task)
{
    for (int rank = 0; rank < comm->size; rank++)
        memcpy(task->all + (size_t)rank * task->bytes,
               bells_note(library_of(comm)->bells, rank, (uint32_t)task->number), task->bytes);
    return ZI_OK;
}

static enum zi_status direct_gather_values(struct comm *comm, const void *mine, void *all,
                                           int bytes)
{
    struct task task = {.mine = mine, .all = all, .bytes = (size_t)bytes};
    bool fits = task.bytes <= NOTE_BYTES;
    task.work = fits ? work_values : work_gather;
    if (fits)
        note_bytes(&task, mine, task.bytes);
    else
        note_address(&task, mine);
    return direct_do(comm, &task);
}

static enum zi_status work_broadcast(struct comm *comm, const struct task *task)
{
    if (comm->rank == task->root) return ZI_OK;
    return read_rank(comm, task->root, noted_address(comm, task, task->root), task->all,
                     task->bytes);
}

static enum zi_status direct_broadcast(struct comm *comm, void *bytes, int64_t count, int root)
{
    struct task task = {.work = work_broadcast, .all = bytes, .bytes = (size_t)count, .root = root};
    note_address(&task, bytes);
    return direct_do(comm, &task);
}

static enum zi_status work_barrier(struct comm *comm, const struct task *task)
{
    (void)comm;
    (void)task;
    return ZI_OK;
}

static enum zi_status direct_barrier(struct comm *comm)
{
    return direct_do(comm, &(struct task){.work = work_barrier});
}

static enum zi_status work_minimum(struct comm *comm, const struct task *task)
{
    int least, other;
    memcpy(&least, task->note, sizeof least);
    for (int rank = 0; rank < comm->size; rank++) {
        memcpy(&other, bells_note(library_of(comm)->bells, rank, (uint32_t)task->number),
               sizeof other);
        if (other < least) least = other;
    }
    memcpy(task->all, &least, sizeof least);
    return ZI_OK;
}

static enum zi_status direct_minimum(struct comm *comm, int *value)
{
    struct task task = {.work = work_minimum, .all = (char *)value};
    note_bytes(&task, value, sizeof *value);
    return direct_do(comm, &task);
}

static void direct_run_ahead(struct comm *comm, bool ahead)
{
    library_of(comm)->direct->ahead = ahead;
}

static enum zi_status direct_advance(struct comm *comm, int64_t least,
                                     struct comm_progress *progress)
{
    const struct direct *direct = library_of(comm)->direct;
    ZI_TRY(direct_await(comm, least));
    *progress = (struct comm_progress){direct->posted, direct->done};
    return ZI_OK;
}

static const struct comm_transport direct_transport = {
    .all_gather = direct_all_gather,
    .reduce_scatter = direct_reduce_scatter,
    .gather_values = direct_gather_values,
    .broadcast = direct_broadcast,
    .barrier = direct_barrier,
    .minimum = direct_minimum,
    .run_ahead = direct_run_ahead,
    .advance = direct_advance,
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
    direct->has_cores = sysconf(_SC_NPROCESSORS_ONLN) >= comm->size;
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

/* SPDX-License-Identifier: Apache-2.0 */
/* The transports between ranks, under several. Built once per number of ranks, which the program's
 * name states (_np3); started with another number it fails, so it cannot pass without having
 * communicated. comm_direct_test is the same program: there ranks read each other's memory, while in
 * comm_mpi_test one of them may not, so all exchange messages. Every rank computes what it should
 * receive from a formula, so no check relies on communication being right. All comparisons are of
 * bits: sums of integers are exact in fp32, and sums that do round are compared with the same sum
 * made here in rank order. */
#include "comm/comm.h"

#include "regression/unit/comm_fixture.h"
#include "regression/unit/stream_fixture.h"
#include "regression/unit/test.h"

#include <errno.h>
#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct comm *world;
static int my_rank, ranks;

/* In place of the C library's: counts, and refuses where a system would. */
static struct {
    bool are_refused;
    int refused, failed;
    long done;
} reads;

ssize_t process_vm_readv(pid_t process, const struct iovec *here, unsigned long here_count,
                         const struct iovec *there, unsigned long there_count, unsigned long flags)
{
    if (reads.are_refused) {
        reads.refused++;
        errno = EPERM;
        return -1;
    }
    long got = syscall(SYS_process_vm_readv, process, here, here_count, there, there_count, flags);
    if (got < 0)
        reads.failed++;
    else
        reads.done++;
    return got;
}

static struct device_ptr pointer_to(void *memory)
{
    return (struct device_ptr){(uintptr_t)memory};
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (!memory) exit(1);
    return memory;
}

static void test_all_gather(int64_t bytes, bool is_in_place)
{
    unsigned char *full = allocate((size_t)(bytes * ranks + 64));
    unsigned char *shard = is_in_place ? full + bytes * my_rank : allocate((size_t)bytes);
    memset(full, 0xa5, (size_t)(bytes * ranks + 64));
    for (int64_t i = 0; i < bytes; i++)
        shard[i] = gather_byte(my_rank, i);
    CHECK(comm_all_gather(world, stream, pointer_to(shard), pointer_to(full), bytes) == ZI_OK);
    int64_t wrong = 0;
    for (int rank = 0; rank < ranks; rank++)
        for (int64_t i = 0; i < bytes; i++)
            wrong += full[rank * bytes + i] != gather_byte(rank, i);
    for (int64_t i = 0; i < 64; i++)
        wrong += full[bytes * ranks + i] != 0xa5;
    CHECK_INT(wrong, 0);
    if (!is_in_place) free(shard);
    free(full);
}

struct reduce_case {
    int64_t count;
    enum values kind;
    enum zi_dtype wire;
    bool is_in_place;
};

static float *make_full(const struct reduce_case *c)
{
    float *full = allocate((size_t)(c->count * ranks + 16) * sizeof *full);
    for (int64_t i = 0; i < c->count * ranks; i++)
        full[i] = contribution(c->kind, my_rank, i);
    for (int i = 0; i < 16; i++)
        full[c->count * ranks + i] = 12345.0f;
    return full;
}

/* Scratch of exactly the promised size, with a guard after it. */
static unsigned char *make_scratch(int64_t count, size_t *bytes)
{
    *bytes = comm_reduce_scratch(ranks, count);
    unsigned char *scratch = allocate(*bytes + 64);
    memset(scratch, 0x5a, *bytes + 64);
    return scratch;
}

static int64_t guard_errors(const unsigned char *scratch, size_t bytes, const float *full,
                            int64_t elements)
{
    int64_t wrong = 0;
    for (int i = 0; i < 64; i++)
        wrong += scratch[bytes + (size_t)i] != 0x5a;
    for (int i = 0; i < 16; i++)
        wrong += full[elements + i] != 12345.0f;
    return wrong;
}

static int64_t sum_errors(const struct reduce_case *c, const float *sums, int64_t first,
                          int64_t count)
{
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        float expected = expected_sum(c->kind, ranks, c->wire, first + i);
        wrong += zi_fp32_bits(sums[i]) != zi_fp32_bits(expected);
    }
    return wrong;
}

static void test_reduce_scatter(const struct reduce_case *c)
{
    size_t scratch_bytes;
    unsigned char *scratch = make_scratch(c->count, &scratch_bytes);
    float *full = make_full(c);
    float *shard =
        c->is_in_place ? full + c->count * my_rank : allocate((size_t)c->count * sizeof *shard);
    CHECK(comm_reduce_scatter(world, stream, pointer_to(full), pointer_to(shard), c->count, c->wire,
                              pointer_to(scratch)) == ZI_OK);
    CHECK_INT(sum_errors(c, shard, c->count * my_rank, c->count), 0);
    CHECK_INT(guard_errors(scratch, scratch_bytes, full, c->count * ranks), 0);
    if (!c->is_in_place) free(shard);
    free(full);
    free(scratch);
}

/* That all_reduce has the bits of reduce_scatter follows: both are compared with the same sums. */
static void test_all_reduce(const struct reduce_case *c)
{
    size_t scratch_bytes;
    unsigned char *scratch = make_scratch(c->count, &scratch_bytes);
    float *full = make_full(c);
    CHECK(comm_all_reduce(world, stream, pointer_to(full), c->count, c->wire,
                          pointer_to(scratch)) == ZI_OK);
    CHECK_INT(sum_errors(c, full, 0, c->count * ranks), 0);
    CHECK_INT(guard_errors(scratch, scratch_bytes, full, c->count * ranks), 0);
    free(full);
    free(scratch);
}

static void test_reductions(void)
{
    /* 786433 elements are three chunks of 262144 and one of a single element. */
    static const int64_t counts[] = {0, 1, 5, 1001, 2049, 262144, 786433};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (ranks > 3 && counts[i] > 300000) continue; /* short tests on few cores */
        static const enum zi_dtype wires[] = {ZI_FP32, ZI_BF16, ZI_FP16};
        for (int variant = 0; variant < 12; variant++) {
            struct reduce_case c = {counts[i], variant & 1 ? ROUNDING : INTEGERS,
                                    wires[variant / 4], (variant & 2) != 0};
            test_reduce_scatter(&c);
            if (!c.is_in_place) test_all_reduce(&c);
        }
    }
}

/* The ROUNDING values must be able to show a wrong order, or the checks above show little. */
static void test_order_matters(void)
{
    int64_t differing = 0;
    for (int64_t i = 0; i < 1000; i++) {
        float backwards = contribution(ROUNDING, ranks - 1, i);
        for (int rank = ranks - 2; rank >= 0; rank--)
            backwards += contribution(ROUNDING, rank, i);
        differing +=
            zi_fp32_bits(backwards) != zi_fp32_bits(expected_sum(ROUNDING, ranks, ZI_FP32, i));
    }
    if (ranks > 2) CHECK(differing > 100);
}

static void test_scratch_is_bounded(void)
{
    CHECK_INT((int64_t)comm_reduce_scratch(1, 1000), 0);
    CHECK_INT((int64_t)comm_reduce_scratch(3, 1000), 8000);
    for (int n = 2; n <= 512; n *= 2)
        CHECK(comm_reduce_scratch(n, INT64_C(1) << 40) <= (size_t)64 << 20);
}

static void test_sums_of_values(void)
{
    double doubles[3], expected[3];
    uint64_t integers[2] = {UINT64_MAX - (uint64_t)my_rank, (uint64_t)1 << (my_rank % 60)};
    uint64_t integer_sums[2] = {0, 0};
    for (int i = 0; i < 3; i++) {
        doubles[i] = 0.1 * (my_rank + 1) * (i == 1 ? 1e16 : 1.0);
        for (int rank = 0; rank < ranks; rank++) {
            double value = 0.1 * (rank + 1) * (i == 1 ? 1e16 : 1.0);
            expected[i] = rank == 0 ? value : expected[i] + value;
        }
    }
    for (int rank = 0; rank < ranks; rank++) {
        integer_sums[0] += UINT64_MAX - (uint64_t)rank;
        integer_sums[1] += (uint64_t)1 << (rank % 60);
    }
    CHECK(comm_sum_doubles(world, doubles, 3) == ZI_OK);
    CHECK(comm_sum_uint64(world, integers, 2) == ZI_OK);
    CHECK(memcmp(doubles, expected, sizeof doubles) == 0);
    CHECK(memcmp(integers, integer_sums, sizeof integers) == 0);
}

static void test_broadcast(int64_t bytes, int root)
{
    unsigned char *memory = allocate((size_t)bytes);
    for (int64_t i = 0; i < bytes; i++)
        memory[i] = my_rank == root ? gather_byte(root, i) : 0;
    CHECK(comm_broadcast(world, memory, bytes, root) == ZI_OK);
    int64_t wrong = 0;
    for (int64_t i = 0; i < bytes; i++)
        wrong += memory[i] != gather_byte(root, i);
    CHECK_INT(wrong, 0);
    free(memory);
}

static void test_agree(void)
{
    CHECK_INT(comm_agree(world, ZI_OK), ZI_OK);
    CHECK_INT(comm_agree(world, ZI_IN_PROGRESS), ZI_OK);
    for (int failing = 0; failing < ranks; failing++)
        CHECK_INT(comm_agree(world, my_rank == failing ? ZI_ERROR_IO : ZI_OK), ZI_ERROR_IO);
    enum zi_status mine = my_rank == 0 ? ZI_ERROR_USAGE : my_rank == 1 ? ZI_ERROR_BUG : ZI_OK;
    CHECK_INT(comm_agree(world, mine), ZI_ERROR_BUG);
}

static double clock_s(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds that this thread was ready to run while others had the cores; 0 where the kernel does not
 * count them. */
static double queued_s(void)
{
    double run_ns = 0, queued_ns = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    if (!file) return 0;
    if (fscanf(file, "%lf %lf", &run_ns, &queued_ns) != 2) queued_ns = 0;
    fclose(file);
    return 1e-9 * queued_ns;
}

/* Rank 0 comes half a second late; the others must not have spent that time polling, but asleep. A
 * waiter that polls is never asleep, and one that sleeps is so for 0.2 ms between two looks of
 * 0.004 ms. What other programs do must not count: on busy cores a poller has less of the 0.5 s,
 * and a sleeper waits for a core and runs with cold caches. So time in which it was ready is left
 * out, and the limit on work is a part of the time asleep: 0.1 s on cores that are free. */
static void test_waits_sleep(void (*operation)(void))
{
    CHECK(comm_barrier(world) == ZI_OK);
    double start = clock_s(CLOCK_MONOTONIC), worked = -clock_s(CLOCK_PROCESS_CPUTIME_ID);
    double queued = -queued_s();
    struct timespec half = {0, 500000000};
    if (my_rank == 0) nanosleep(&half, NULL);
    operation();
    queued += queued_s();
    worked += clock_s(CLOCK_PROCESS_CPUTIME_ID);
    double asleep = clock_s(CLOCK_MONOTONIC) - start - worked - queued;
    CHECK(worked < 0.25 * asleep);
}

static void meet(void)
{
    CHECK(comm_barrier(world) == ZI_OK);
}

static void gather_much(void)
{
    test_all_gather(100000, true);
}

static void reduce_much(void)
{
    struct reduce_case c = {10000, INTEGERS, ZI_FP32, true};
    test_reduce_scatter(&c);
}

/* Ranks that overtake each other where no second wait holds them back: the notes of one operation
 * must not be those of the next. */
static void test_values_in_a_row(void)
{
    int64_t wrong = 0;
    for (int i = 0; i < 2000; i++) {
        uint64_t value = (uint64_t)(i * ranks + my_rank), expected = 0;
        for (int rank = 0; rank < ranks; rank++)
            expected += (uint64_t)(i * ranks + rank);
        if (i % 7 == my_rank) sched_yield();
        wrong += comm_sum_uint64(world, &value, 1) != ZI_OK || value != expected;
    }
    CHECK_INT(wrong, 0);
}

/* Collectives that only begin: more than may be under way, of sizes from one byte to some hundred KiB. */
enum { BEGUN_MOST = 40 };

struct begun {
    int64_t bytes, number;
    unsigned char *full;
};

static int64_t begun_so_far(void)
{
    struct comm_progress progress;
    CHECK(comm_advance(world, 0, &progress) == ZI_OK);
    return progress.begun;
}

static void begin_gather(struct begun *b, int64_t bytes)
{
    b->bytes = bytes;
    b->full = allocate((size_t)(bytes * ranks));
    for (int64_t i = 0; i < bytes; i++)
        b->full[bytes * my_rank + i] = gather_byte(my_rank, i);
    CHECK(comm_all_gather(world, stream, pointer_to(b->full + bytes * my_rank), pointer_to(b->full),
                          bytes) == ZI_OK);
    b->number = begun_so_far();
}

static int64_t end_gather(struct begun *b)
{
    struct comm_progress progress;
    int64_t wrong = comm_advance(world, b->number, &progress) != ZI_OK || progress.done < b->number;
    for (int rank = 0; rank < ranks; rank++)
        for (int64_t i = 0; i < b->bytes; i++)
            wrong += b->full[rank * b->bytes + i] != gather_byte(rank, i);
    free(b->full);
    return wrong;
}

/* Ranks are apart by more operations than may be under way, each in turn the slowest. */
static void test_begun_in_a_row(void)
{
    struct begun begun[BEGUN_MOST];
    struct timespec pause = {0, 3000000};
    int64_t wrong = 0;
    for (int i = 0; i < BEGUN_MOST; i++) {
        if (i % 8 == my_rank) nanosleep(&pause, NULL);
        begin_gather(&begun[i], i % 5 == 0 ? 1 : 977 * i);
        if (i >= 3) wrong += end_gather(&begun[i - 3]);
        uint64_t one = 1;
        if (i % 10 == 9)
            wrong += comm_sum_uint64(world, &one, 1) != ZI_OK || one != (uint64_t)ranks;
    }
    for (int i = BEGUN_MOST - 3; i < BEGUN_MOST; i++)
        wrong += end_gather(&begun[i]);
    CHECK_INT(wrong, 0);
}

/* The last rank begins only when the others have: they must not wait for it in their calls, nor
 * count as done what it has not read. */
static void test_begun_does_not_wait(void)
{
    struct begun begun[3];
    struct comm_progress progress;
    MPI_Comm group = *(const MPI_Comm *)comm_mpi(world);
    int64_t before = begun_so_far();
    bool last = my_rank == ranks - 1;
    CHECK(comm_advance(world, before, &progress) == ZI_OK);
    if (last) CHECK_INT(MPI_Barrier(group), MPI_SUCCESS);
    for (int i = 0; i < 3; i++)
        begin_gather(&begun[i], 5000 + i);
    CHECK(comm_advance(world, 0, &progress) == ZI_OK);
    CHECK_INT(progress.begun, before + 3);
    if (!last) CHECK_INT(progress.done, before);
    if (!last) CHECK_INT(MPI_Barrier(group), MPI_SUCCESS);
    int64_t wrong = 0;
    for (int i = 2; i >= 0; i--)
        wrong += end_gather(&begun[i]);
    CHECK_INT(wrong, 0);
}

/* A sum that all ranks get is two operations, the second with what the first gave; several such share
 * their scratch, as those of a lane do. */
static void test_begun_sums(void)
{
    enum { SUMS = 20 };
    float *full[SUMS];
    struct comm_progress progress;
    size_t bytes;
    unsigned char *scratch = make_scratch(1001, &bytes);
    struct reduce_case c = {1001, ROUNDING, ZI_FP32, false};
    for (int i = 0; i < SUMS; i++) {
        full[i] = make_full(&c);
        CHECK(comm_all_reduce(world, stream, pointer_to(full[i]), c.count, c.wire,
                              pointer_to(scratch)) == ZI_OK);
    }
    CHECK(comm_advance(world, begun_so_far(), &progress) == ZI_OK);
    CHECK_INT(progress.done, progress.begun);
    for (int i = 0; i < SUMS; i++) {
        CHECK_INT(sum_errors(&c, full[i], 0, c.count * ranks), 0);
        CHECK_INT(guard_errors(scratch, bytes, full[i], c.count * ranks), 0);
        free(full[i]);
    }
    free(scratch);
}

static void test_begun(bool direct)
{
    CHECK(comm_run_ahead(world, true) == direct);
    if (!direct) return;
    test_begun_in_a_row();
    test_begun_does_not_wait();
    test_begun_sums();
    test_values_in_a_row();
    CHECK(comm_run_ahead(world, false));
}

static int ranks_in_name(const char *program)
{
    const char *place = strstr(program, "_np");
    for (const char *next = place; next; next = strstr(next + 1, "_np"))
        place = next;
    return !place ? 0 : atoi(place + 3);
}

/* Whether ranks read each other's memory, as they should. */
static void test_reads(bool direct)
{
    if (!direct) return;
    long before = reads.done;
    double sums[8] = {0}, many[9] = {0};
    test_all_gather(100, true);
    CHECK(reads.done == before + ranks - 1);
    before = reads.done;
    CHECK(comm_sum_doubles(world, sums, 8) == ZI_OK); /* fits a note */
    CHECK(reads.done == before);
    CHECK(comm_sum_doubles(world, many, 9) == ZI_OK);
    CHECK(reads.done == before + ranks - 1);
}

int main(int argc, char **argv)
{
    int expected = ranks_in_name(argv[0]);
    bool direct = strstr(argv[0], "comm_direct_test");
    const char *number = getenv("PMI_RANK");
    reads.are_refused = !direct && number && atoi(number) == 1;
    if (comm_start(&argc, &argv, &world) < 0) return 1;
    reads.are_refused = false; /* messages inside of a node may be read so by MPI (UCX) */
    if (direct && comm_agree(world, reads.failed > 0 ? ZI_ERROR_DEVICE : ZI_OK) < 0) {
        printf("skipped: processes may not read each other's memory here\n");
        comm_finish(world);
        return 77;
    }
    stream_fixture_open();
    my_rank = comm_rank(world);
    ranks = comm_size(world);
    CHECK_INT(ranks, expected);
    CHECK(my_rank >= 0 && my_rank < ranks);
    CHECK(comm_node_rank(world) >= 0 && comm_node_rank(world) < comm_node_size(world));
    CHECK(comm_node_size(world) <= ranks);
    CHECK(comm_mpi(world));
    CHECK(my_rank != 1 || (reads.refused > 0) == !direct);
    test_reads(direct);
    test_values_in_a_row();
    test_begun(direct);
    static const int64_t sizes[] = {0, 1, 3, 1001, 65537};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        test_all_gather(sizes[i], false);
        test_all_gather(sizes[i], true);
        for (int root = 0; root < ranks; root++)
            test_broadcast(sizes[i], root);
    }
    int64_t beyond_a_piece = ((int64_t)16 << 20) + 13; /* of messages, 16 MiB each */
    if (ranks <= 3) test_all_gather(beyond_a_piece, ranks == 3);
    if (ranks == 2) test_broadcast(beyond_a_piece, 1);
    test_order_matters();
    test_reductions();
    test_scratch_is_bounded();
    test_sums_of_values();
    test_agree();
    test_waits_sleep(meet);
    test_waits_sleep(gather_much);
    test_waits_sleep(reduce_much);
    stream_fixture_close();
    comm_finish(world);
    return test_finish(direct ? "comm_direct_test" : "comm_mpi_test");
}

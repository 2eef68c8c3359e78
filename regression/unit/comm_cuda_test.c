/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives of a CUDA device's memory, run by regression/checks/comm_cuda.sh: comm_cuda_test RANKS
 * MODE. `values` compares all_gather, reduce_scatter and all_reduce with what ranks give by a
 * formula, to the bit: the sums are those of comm_mpi_test. `library` lets NCCL add. The others are
 * faults: `late` a rank that comes late, `killed` one that ends, `order` ranks that do not agree. */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "comm/comm.h"
#include "regression/unit/comm_fixture.h"
#include "regression/unit/cuda_fixture.h"
#include "device/operations.h"

enum { GUARD = 64 };

static struct comm *world;
static struct device *device;
static struct device_stream *stream;
static int my_rank, ranks;

/* Memory of the device and as much of the host, with a guard behind it. */
struct buffer {
    struct device_ptr on_device, on_host;
    size_t bytes;
};

static void *host_of(const struct buffer *buffer)
{
    return (void *)buffer->on_host.address;
}

static struct buffer buffer_make(size_t bytes)
{
    struct buffer b = {.bytes = bytes};
    CHECK(device_allocate(device, ZI_TIER_DEVICE, bytes + GUARD, "test", &b.on_device) == ZI_OK);
    CHECK(device_allocate(device, ZI_TIER_HOST, bytes + GUARD, "test", &b.on_host) == ZI_OK);
    if (device_is_null(b.on_device) || device_is_null(b.on_host)) exit(1);
    memset(host_of(&b), 0x5a, bytes + GUARD);
    return b;
}

/* The host's contents to the device, with the guard. */
static void buffer_up(const struct buffer *b)
{
    CHECK(device_copy(stream, b->on_device, b->on_host, b->bytes + GUARD) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
}

/* The device's to the host; nothing has been written behind. */
static void buffer_down(const struct buffer *b)
{
    int64_t wrong = 0;
    CHECK(device_copy(stream, b->on_host, b->on_device, b->bytes + GUARD) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    for (int i = 0; i < GUARD; i++)
        wrong += ((unsigned char *)host_of(b))[b->bytes + (size_t)i] != 0x5a;
    CHECK_INT(wrong, 0);
}

static void buffer_free(const struct buffer *b)
{
    device_free(device, ZI_TIER_DEVICE, b->on_device);
    device_free(device, ZI_TIER_HOST, b->on_host);
}

static void test_all_gather(int64_t bytes, bool is_in_place)
{
    size_t own = (size_t)(bytes * my_rank);
    struct buffer full = buffer_make((size_t)(bytes * ranks)), shard = buffer_make((size_t)bytes);
    unsigned char *from = is_in_place ? (unsigned char *)host_of(&full) + own : host_of(&shard);
    for (int64_t i = 0; i < bytes; i++)
        from[i] = gather_byte(my_rank, i);
    buffer_up(&full);
    buffer_up(&shard);
    struct device_ptr place = is_in_place ? device_at(full.on_device, own) : shard.on_device;
    CHECK(comm_all_gather(world, stream, place, full.on_device, bytes) == ZI_OK);
    buffer_down(&full);
    int64_t wrong = 0;
    for (int rank = 0; rank < ranks; rank++)
        for (int64_t i = 0; i < bytes; i++)
            wrong += ((unsigned char *)host_of(&full))[rank * bytes + i] != gather_byte(rank, i);
    CHECK_INT(wrong, 0);
    buffer_free(&full);
    buffer_free(&shard);
}

struct reduce_case {
    int64_t count;
    enum values kind;
    enum zi_dtype wire;
    bool is_in_place, is_all;
};

/* The same bits; a NaN, of infinities on a wire of fp16, has others on a GPU. */
static bool is_same(float found, float expected)
{
    return zi_fp32_bits(found) == zi_fp32_bits(expected) || (isnan(found) && isnan(expected));
}

static int64_t sum_errors(const struct reduce_case *c, const float *sums, int64_t first,
                          int64_t count)
{
    int64_t wrong = 0;
    enum zi_dtype wire = ranks == 1 ? ZI_FP32 : c->wire;
    for (int64_t i = 0; i < count; i++) {
        float expected = expected_sum(c->kind, ranks, wire, first + i);
        wrong += !is_same(sums[i], expected);
    }
    return wrong;
}

static void test_reduce(const struct reduce_case *c)
{
    size_t bytes = (size_t)c->count * sizeof(float), own = (size_t)my_rank * bytes;
    struct buffer full = buffer_make((size_t)ranks * bytes), shard = buffer_make(bytes);
    struct buffer scratch = buffer_make(comm_reduce_scratch(ranks, c->count));
    for (int64_t i = 0; i < c->count * ranks; i++)
        ((float *)host_of(&full))[i] = contribution(c->kind, my_rank, i);
    buffer_up(&full);
    buffer_up(&shard);
    buffer_up(&scratch);
    struct device_ptr place = c->is_in_place ? device_at(full.on_device, own) : shard.on_device;
    enum zi_status status = c->is_all ? comm_all_reduce(world, stream, full.on_device, c->count,
                                                        c->wire, scratch.on_device)
                                      : comm_reduce_scatter(world, stream, full.on_device, place,
                                                            c->count, c->wire, scratch.on_device);
    CHECK_INT(status, ZI_OK);
    buffer_down(&full);
    buffer_down(&shard);
    buffer_down(&scratch);
    const float *sums = c->is_in_place ? (const float *)host_of(&full) + my_rank * c->count
                                       : (const float *)host_of(&shard);
    if (c->is_all)
        CHECK_INT(sum_errors(c, host_of(&full), 0, c->count * ranks), 0);
    else
        CHECK_INT(sum_errors(c, sums, my_rank * c->count, c->count), 0);
    buffer_free(&full);
    buffer_free(&shard);
    buffer_free(&scratch);
}

/* Counts that are no multiples of anything, one with several chunks (524288 elements, two ranks). */
static void test_values(void)
{
    static const int64_t counts[] = {1, 5, 64, 1001, 4160, 600000};
    static const enum zi_dtype wires[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    static const int64_t sizes[] = {1, 3, 1001, 65537};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        test_all_gather(sizes[i], false);
        test_all_gather(sizes[i], true);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int variant = 0; variant < 9; variant++) {
            bool in_place = variant % 3 == 1, all = variant % 3 == 2;
            struct reduce_case c = {counts[i], ROUNDING, wires[variant / 3], in_place, all};
            if (counts[i] > 100000 && (ranks != 2 || all)) continue;
            test_reduce(&c);
        }
}

/* Sums of small integers are the same in any order. */
static void test_library(void)
{
    static const int64_t counts[] = {5, 1001, 600000};
    static const enum zi_dtype wires[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int variant = 0; variant < 6; variant++) {
            struct reduce_case c = {counts[i], INTEGERS, wires[variant / 2], variant % 2 == 1,
                                    false};
            if (counts[i] <= 100000 || ranks == 2) test_reduce(&c);
        }
}

/* Rank 0 comes seconds after the others; they say meanwhile for what they wait. */
static void test_late(void)
{
    struct timespec seconds = {5, 0};
    comm_say(world, "gather", "blocks.3.mlp");
    test_all_gather(100, false);
    if (my_rank == 0) nanosleep(&seconds, NULL);
    test_all_gather(100, false);
    comm_say(world, NULL, NULL);
}

/* Rank 0 ends, and the others must not wait for it. */
static void test_killed(void)
{
    comm_say(world, "reduce", "blocks.1.attention");
    test_all_gather(100, false);
    if (my_rank == 0) {
        fprintf(stderr, "rank 0 ends\n");
        raise(SIGKILL);
    }
    test_all_gather(100, false);
}

static void test_order(void)
{
    test_all_gather(my_rank == 0 ? 100 : 101, false);
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {{"values", test_values},
             {"library", test_library},
             {"late", test_late},
             {"killed", test_killed},
             {"order", test_order}};

int main(int argc, char **argv)
{
    if (comm_start(&argc, &argv, &world) < 0 || argc != 3) return 1;
    my_rank = comm_rank(world);
    ranks = comm_size(world);
    CHECK_INT(ranks, atoi(argv[1]));
    bool library = strcmp(argv[2], "library") == 0;
    device = cuda_fixture_open((struct device_share){comm_node_size(world), comm_node_rank(world)});
    CHECK(device_stream_create(device, 1, &stream) == ZI_OK);
    CHECK_INT(comm_use_device(world, device, library ? SUM_LIBRARY : SUM_ORDERED), ZI_OK);
    int found = 0;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(argv[2], modes[i].name) != 0) continue;
        modes[i].run();
        found++;
    }
    CHECK_INT(found, 1);
    CHECK_INT(comm_agree(world, my_rank == 0 ? ZI_ERROR_IO : ZI_OK),
              ranks > 0 ? ZI_ERROR_IO : ZI_OK);
    CHECK_INT(comm_use_device(world, NULL, SUM_ORDERED), ZI_OK);
    device_stream_destroy(stream);
    device_close(device);
    comm_finish(world);
    return test_finish("comm_cuda_test");
}

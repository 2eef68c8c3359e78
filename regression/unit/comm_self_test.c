/* SPDX-License-Identifier: Apache-2.0 */
/* A group of one without any library: every collective is a copy of bits or nothing at all. */
#include "comm/comm.h"

#include "base/dtype.h"
#include "regression/unit/stream_fixture.h"
#include "regression/unit/test.h"

#include <string.h>

static struct device_ptr pointer_to(void *memory)
{
    return (struct device_ptr){(uintptr_t)memory};
}

static void test_group(const struct comm *comm)
{
    CHECK_INT(comm_rank(comm), 0);
    CHECK_INT(comm_size(comm), 1);
    CHECK_INT(comm_node_rank(comm), 0);
    CHECK_INT(comm_node_size(comm), 1);
    CHECK(!comm_mpi(comm));
}

static void test_copies(struct comm *comm)
{
    float values[5] = {1.5f, -0.0f, 3.0000002f, 1e-40f, 7.0f}, full[6], shard[6];
    full[5] = shard[5] = 99.0f;
    CHECK(comm_all_gather(comm, stream, pointer_to(values), pointer_to(full), sizeof values) ==
          ZI_OK);
    CHECK(memcmp(full, values, sizeof values) == 0);
    CHECK(full[5] == 99.0f);
    struct device_ptr nothing = {0};
    CHECK_INT((long)comm_reduce_scratch(1, 5), 0);
    /* 3.0000002 does not fit bf16: nothing is sent, so nothing is rounded. */
    CHECK(comm_reduce_scatter(comm, stream, pointer_to(full), pointer_to(shard), 5, ZI_BF16,
                              nothing) == ZI_OK);
    CHECK(memcmp(shard, values, sizeof values) == 0);
    CHECK(shard[5] == 99.0f);
    CHECK(comm_all_reduce(comm, stream, pointer_to(full), 5, ZI_FP32, nothing) == ZI_OK);
    CHECK(memcmp(full, values, sizeof values) == 0);
}

static void test_values(struct comm *comm)
{
    double doubles[2] = {0.1, -0.0};
    uint64_t integers[2] = {UINT64_MAX, 3};
    CHECK(comm_sum_doubles(comm, doubles, 2) == ZI_OK);
    CHECK(doubles[0] == 0.1 && doubles[1] == 0);
    CHECK(comm_sum_uint64(comm, integers, 2) == ZI_OK);
    CHECK(integers[0] == UINT64_MAX && integers[1] == 3);
    char text[] = "unchanged";
    CHECK(comm_broadcast(comm, text, sizeof text, 0) == ZI_OK);
    CHECK(strcmp(text, "unchanged") == 0);
    CHECK(comm_barrier(comm) == ZI_OK);
    CHECK_INT(comm_agree(comm, ZI_OK), ZI_OK);
    CHECK_INT(comm_agree(comm, ZI_IN_PROGRESS), ZI_OK);
    CHECK_INT(comm_agree(comm, ZI_ERROR_FIT), ZI_ERROR_FIT);
}

int main(void)
{
    struct comm *comm;
    CHECK(comm_self(&comm) == ZI_OK);
    stream_fixture_open();
    test_group(comm);
    test_copies(comm);
    test_values(comm);
    comm_destroy(comm);
    comm_destroy(NULL);
    stream_fixture_close();
    return test_finish("comm_self_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator on programs made by hand, whose times can be worked out on paper: chains, overlap,
 * rings that hold a lane back, a shared disk, and what the compute lane waits for. */
#include "plan/simulate.h"

#include <stdlib.h>
#include <string.h>

#include "regression/unit/test.h"

enum { OPS_MAX = 32 };

struct hand_made {
    struct program_op ops[OPS_MAX];
    struct program_list list;
    struct plan_span spans[OPS_MAX];
    struct plan_result result;
};

/* One byte or FLOP a second, but for the disk. */
static const struct plan_machine machine = {
    .flops_per_s = 1,
    .bytes_per_s = {1, 1, 1, 1, 4, 2, 1},
    .reduce_bytes_per_s = 0.5,
    .mixed_bytes_per_s = 3, /* so that reads get 2 and writes 1 */
};

static void begin(struct hand_made *p)
{
    memset(p, 0, sizeof *p);
    p->list.ops = p->ops;
}

/* Adds an operation of so many seconds alone, which waits for two others (or -1); its number. */
static int add(struct hand_made *p, enum program_lane lane, double seconds, int first, int second)
{
    struct program_op *op = &p->ops[p->list.count];
    op->lane = lane;
    op->op = op->unit = op->micro = -1;
    for (int l = 0; l < LANE_COUNT; l++)
        op->after[l] = -1;
    if (first >= 0) op->after[p->ops[first].lane] = first;
    if (second >= 0) op->after[p->ops[second].lane] = second;
    if (lane == LANE_COMPUTE)
        op->flops = seconds;
    else
        op->bytes = (size_t)(seconds * machine.bytes_per_s[lane]);
    return p->list.count++;
}

/* Every second of the compute lane is one of arithmetic or of waiting. */
static void run(struct hand_made *p, double seconds)
{
    double sum = 0;
    CHECK_INT(plan_simulate(&p->list, &machine, p->spans, &p->result), ZI_OK);
    CHECK_NEAR(p->result.seconds, seconds, 1e-12);
    for (int l = 0; l < LANE_COUNT; l++)
        sum += p->result.wait_s[l];
    CHECK_NEAR(p->result.busy_s[LANE_COMPUTE] + sum, p->result.seconds, 1e-12);
    CHECK(p->result.wait_s[LANE_COMPUTE] == 0);
}

static void test_chain(struct hand_made *p)
{
    begin(p);
    int read = add(p, LANE_DISK_READ, 1, -1, -1);
    int compute = add(p, LANE_COMPUTE, 5, read, -1);
    add(p, LANE_DISK_WRITE, 2, compute, -1);
    run(p, 8);
    CHECK_NEAR(p->spans[1].ready_s, 0, 0);
    CHECK_NEAR(p->spans[1].start_s, 1, 0);
    CHECK_NEAR(p->spans[1].end_s, 6, 0);
    CHECK_NEAR(p->spans[2].end_s, 8, 0);
    CHECK_NEAR(p->result.wait_s[LANE_DISK_READ], 1, 0);
    CHECK_NEAR(p->result.wait_s[LANE_DISK_WRITE], 2, 0);
    CHECK_NEAR(p->result.busy_s[LANE_DISK_WRITE], 2, 0);
    p->ops[compute].bytes = 3; /* goes through memory as well */
    run(p, 11);
}

static void test_overlap(struct hand_made *p)
{
    begin(p);
    for (int i = 0; i < 3; i++)
        add(p, LANE_COMPUTE, 2, add(p, LANE_LINK_IN, 1, -1, -1), -1);
    run(p, 7); /* only the first fetch is seen */
    CHECK_NEAR(p->result.wait_s[LANE_LINK_IN], 1, 0);
    CHECK_NEAR(p->spans[4].end_s, 3, 0); /* fetches do not wait for arithmetic */
    begin(p);
    for (int i = 0; i < 3; i++)
        add(p, LANE_COMPUTE, 0.5, add(p, LANE_LINK_IN, 1, -1, -1), -1);
    run(p, 3.5);
    CHECK_NEAR(p->result.wait_s[LANE_LINK_IN], 2, 0);
}

/* Fetches into a ring of slots: each waits until the slot's last reader is done. */
static void ring(struct hand_made *p, int slots, double seconds)
{
    int reader[OPS_MAX];
    begin(p);
    for (int i = 0; i < 4; i++) {
        int fetch = add(p, LANE_LINK_IN, 1, i < slots ? -1 : reader[i - slots], -1);
        reader[i] = add(p, LANE_COMPUTE, 2, fetch, -1);
    }
    run(p, seconds);
}

static void test_ring(struct hand_made *p)
{
    ring(p, 1, 12);
    ring(p, 2, 9);
    CHECK_NEAR(p->spans[4].start_s, 3, 0); /* the third fetch, when the first reader is done */
    ring(p, 4, 9);
    CHECK_NEAR(p->spans[4].start_s, 2, 0);
}

static void test_disk(struct hand_made *p)
{
    struct plan_load load;
    begin(p);
    add(p, LANE_DISK_READ, 3, -1, -1);  /* 12 bytes: 6 s at 2 */
    add(p, LANE_DISK_WRITE, 6, -1, -1); /* 12 bytes: 6 at 1, the other 6 at 2 */
    run(p, 9);
    CHECK_NEAR(p->spans[0].end_s, 6, 1e-12);
    plan_load_of(&p->list, &machine, &load);
    CHECK_NEAR(load.io_s, 9, 1e-12);
    CHECK_INT(load.io_lane, LANE_DISK_READ);
    CHECK_NEAR(load.arithmetic_s, 0, 0);

    begin(p);
    add(p, LANE_DISK_READ, 2, -1, -1); /* 8 bytes: 4 in the first second, then 2 a second */
    int compute = add(p, LANE_COMPUTE, 1, -1, -1);
    add(p, LANE_DISK_WRITE, 6, compute, -1); /* 12 bytes: 2 until the read ends, 10 after it */
    run(p, 8);
    CHECK_NEAR(p->spans[0].end_s, 3, 1e-12);
    CHECK_NEAR(p->result.wait_s[LANE_DISK_READ], 2, 1e-12);
    CHECK_NEAR(p->result.wait_s[LANE_DISK_WRITE], 5, 1e-12);

    begin(p); /* requests of one lane share its rate: as one after the other */
    add(p, LANE_DISK_READ, 2, -1, -1);
    p->ops[add(p, LANE_DISK_READ, 2, -1, -1)].after[LANE_DISK_READ] = 0;
    run(p, 4);
}

/* A mixed rate above both rates together gives no lane more than it has alone. */
static void test_disk_apart(struct hand_made *p)
{
    struct plan_machine wide = machine;
    wide.mixed_bytes_per_s = 100;
    begin(p);
    add(p, LANE_DISK_READ, 3, -1, -1);
    add(p, LANE_DISK_WRITE, 6, -1, -1);
    CHECK_INT(plan_simulate(&p->list, &wide, p->spans, &p->result), ZI_OK);
    CHECK_NEAR(p->result.seconds, 6, 1e-12);
}

static void test_waiting(struct hand_made *p)
{
    begin(p);
    int comm = add(p, LANE_COMM, 3, -1, -1);
    int read = add(p, LANE_DISK_READ, 5, -1, -1);
    add(p, LANE_COMPUTE, 1, comm, read);
    add(p, LANE_COMPUTE, 1, -1, -1);
    add(p, LANE_LINK_OUT, 9, -1, -1);
    run(p, 9); /* and the step ends when every lane has */
    CHECK_NEAR(p->result.wait_s[LANE_COMM], 3, 0);
    CHECK_NEAR(p->result.wait_s[LANE_DISK_READ], 2, 0);
    CHECK_NEAR(p->result.wait_s[LANE_LINK_OUT], 2, 0);
    begin(p);
    run(p, 0);
    add(p, LANE_COMPUTE, 0, add(p, LANE_COMM, 0, -1, -1), -1);
    run(p, 0);
}

/* Sums over ranks have a rate of their own on the lane that they share with gathers. */
static void test_collectives(struct hand_made *p)
{
    struct plan_load load;
    begin(p);
    int gather = add(p, LANE_COMM, 3, -1, -1), reduce = add(p, LANE_COMM, 4, -1, -1);
    p->ops[gather].kind = OP_GATHER;
    p->ops[reduce].kind = OP_REDUCE;
    run(p, 11);
    CHECK_NEAR(p->spans[reduce].start_s, 3, 0);
    plan_load_of(&p->list, &machine, &load);
    CHECK_NEAR(load.io_s, 11, 0);
    CHECK_INT(load.io_lane, LANE_COMM);
}

static void test_for_ever(struct hand_made *p)
{
    begin(p);
    add(p, LANE_COMM, 1, -1, -1);
    add(p, LANE_COMPUTE, 1, 0, -1);
    p->ops[0].after[LANE_COMPUTE] = 1;
    if (!freopen("/dev/null", "w", stderr)) exit(99); /* an error is logged on purpose */
    bool refused = plan_simulate(&p->list, &machine, p->spans, &p->result) == ZI_ERROR_BUG;
    if (!refused) printf("operations that wait for each other were simulated\n");
    CHECK(refused);
}

int main(void)
{
    static struct hand_made p;
    test_chain(&p);
    test_overlap(&p);
    test_ring(&p);
    test_disk(&p);
    test_disk_apart(&p);
    test_waiting(&p);
    test_collectives(&p);
    test_for_ever(&p);
    return test_finish("plan_simulate");
}

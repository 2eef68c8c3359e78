/* SPDX-License-Identifier: Apache-2.0 */
/* The arbiter keeps the ranks of a node within one budget, shares it fairly when several want it,
 * lets one rank have all of it when nobody else does, and never blocks anybody: not even when a
 * rank died with blocks in flight. */
#include "tier/arbiter.h"

#include "regression/unit/tier_store.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { BLOCK = 65536, BUDGET = 8 * BLOCK };

static struct arbiter *open_rank(void)
{
    struct arbiter_options options = {
        .folder = ".", .directory = AT_FDCWD, .paths = 2, .ranks = 2, .budget = BUDGET};
    struct arbiter *arbiter = NULL;
    CHECK(arbiter_open(&options, &arbiter) == ZI_OK);
    if (!arbiter) exit(1);
    return arbiter;
}

static struct arbiter_gate *open_gate(struct arbiter *arbiter)
{
    struct arbiter_gate *gate = NULL;
    CHECK(arbiter_gate_open(arbiter, &gate) == ZI_OK);
    if (!gate) exit(1);
    return gate;
}

static bool enter(struct arbiter_gate *gate, bool write)
{
    struct disk_admission admission = arbiter_admission(gate);
    return admission.acquire(admission.context, 1, write, BLOCK);
}

static int enter_all(struct arbiter_gate *gate, bool write)
{
    int count = 0;
    while (enter(gate, write))
        count++;
    return count;
}

static void leave(struct arbiter_gate *gate, bool write, int count)
{
    struct disk_admission admission = arbiter_admission(gate);
    for (int i = 0; i < count; i++)
        admission.release(admission.context, 1, write, BLOCK);
}

static void test_sharing(void)
{
    struct arbiter *first = open_rank(), *second = open_rank();
    struct arbiter_gate *a = open_gate(first), *b = open_gate(second);
    /* alone: the whole budget, per direction */
    CHECK_INT(enter_all(a, false), 8);
    CHECK_INT(enter_all(a, true), 8);
    CHECK_INT(arbiter_in_flight(second, 1, false), BUDGET);
    CHECK_INT(arbiter_in_flight(second, 0, false), 0);
    leave(a, true, 8);
    /* the other rank is let in with one block, and asks for more */
    CHECK_INT(enter_all(b, false), 1);
    /* what the first gives back now goes to the second until both have half */
    int has_a = 8, has_b = 1;
    for (int turn = 0; turn < 20; turn++) {
        leave(a, false, 1);
        has_a += -1 + (enter(a, false) ? 1 : 0);
        has_b += enter(b, false) ? 1 : 0;
        CHECK(has_a + has_b <= 9 && has_a >= 1);
    }
    CHECK_INT(has_a, 4);
    CHECK_INT(has_b, 4);
    /* the second is done: the first has all again */
    leave(b, false, has_b);
    arbiter_gate_close(b);
    has_a += enter_all(a, false);
    CHECK_INT(has_a, 8);
    leave(a, false, has_a);
    CHECK_INT(arbiter_in_flight(first, 1, false), 0);
    arbiter_gate_close(a);
    arbiter_close(first);
    arbiter_close(second);
}

static void test_dead_rank(void)
{
    struct arbiter *first = open_rank();
    struct arbiter_gate *a = open_gate(first);
    pid_t child = fork();
    if (child == 0) {
        struct arbiter_gate *mine = open_gate(open_rank());
        _exit(enter_all(mine, true) == 8 ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK_INT(arbiter_in_flight(first, 1, true), BUDGET);
    for (int turn = 0; turn < 3; turn++) {
        CHECK_INT(enter_all(a, true), 1);
        leave(a, true, 1);
    }
    arbiter_gate_close(a);
    arbiter_close(first);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    test_sharing();
    CHECK(unlink("node") == 0);
    test_dead_rank();
    CHECK(unlink("node") == 0);
    store_test_leave(folder);
    return test_finish("tier_arbiter_test");
}

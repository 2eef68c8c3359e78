/* SPDX-License-Identifier: Apache-2.0 */
/* What the apart device is for: an executor or a program that lets streams do things in the wrong
 * order, or touches memory where it may not, must fail on it. Each fault is planted into a program
 * that has been checked; with the device's work done as late as the waits allow, a fault shows in
 * every run, not in some. */
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"

static const char *const on_cpu[] = {NULL};
static const char *const on_apart[] = {"device.type=cuda",
                                       "placement.parameters=host",
                                       "placement.gradients=host",
                                       "placement.optimizer=host",
                                       "placement.activations=host",
                                       "activations.recompute=always",
                                       NULL};

/* Nothing but inputs moves, so arithmetic waits for nothing else. */
static const char *const inputs_away[] = {"device.type=cuda", "placement.activations=host",
                                          "activations.recompute=always", NULL};

/* States of the optimizer stream to the device and back. */
static const char *const streamed[] = {"device.type=cuda",      "placement.optimizer=host",
                                       "zero.update_on=device", "zero.update=immediate",
                                       "zero.group=4096",       NULL};

static struct comm *self;
static struct capture capture;

static struct step_fixture_run train(const char *const *sets, void (*plant)(struct program *))
{
    step_fixture_schedule = APART_LATE;
    step_fixture_plant = plant;
    return step_fixture_train(step_fixture_gpt2, sets, self);
}

/* Calls `change` for each operation of a kind and lane in the training program; the number of those
 * that it has changed. */
static int each_op(struct program *program, enum program_kind kind, enum program_lane lane,
                   bool (*change)(struct program *, struct program_op *))
{
    struct program_list *list = &program->lists[PROGRAM_TRAIN];
    int changed = 0;
    for (int i = 0; i < list->count; i++) {
        struct program_op *op = &list->ops[i];
        if (op->kind == kind && op->lane == lane) changed += change(program, op);
    }
    return changed;
}

static bool forget_arrival(struct program *program, struct program_op *op)
{
    (void)program;
    bool waited = op->after[LANE_LINK_IN] >= 0;
    op->after[LANE_LINK_IN] = -1;
    return waited;
}

/* Arithmetic does not wait for the weights that are brought to it. */
static void plant_missing_wait(struct program *program)
{
    CHECK(each_op(program, OP_FORWARD, LANE_COMPUTE, forget_arrival) > 2);
}

static bool forget_reader(struct program *program, struct program_op *op)
{
    (void)program;
    bool waited = op->after[LANE_LINK_OUT] >= 0;
    op->after[LANE_LINK_OUT] = -1;
    return waited;
}

/* A stream is overwritten before it has been taken to host memory. */
static void plant_early_release(struct program *program)
{
    CHECK(each_op(program, OP_FORWARD, LANE_COMPUTE, forget_reader) > 2);
}

/* A slot of the device in the place of one of the host. */
static bool reach_over(struct program *program, struct program_op *op)
{
    op->slots[OPERAND_CONTRIBUTION] = program->inside.logits;
    return true;
}

static void plant_host_read(struct program *program)
{
    CHECK(program->slots[program->inside.logits].tier == ZI_TIER_DEVICE);
    CHECK(each_op(program, OP_ADD, LANE_HOST, reach_over) > 2);
}

static bool stay_home(struct program *program, struct program_op *op)
{
    op->slots[OPERAND_WEIGHT] = program->homes[0].slots[TIER_PARAMETER];
    return true;
}

static void plant_device_read(struct program *program)
{
    CHECK(program->slots[program->homes[0].slots[TIER_PARAMETER]].tier == ZI_TIER_HOST);
    CHECK(each_op(program, OP_FORWARD, LANE_COMPUTE, stay_home) > 2);
}

/* The update does not wait for the states that are brought to it. */
static void plant_missing_states(struct program *program)
{
    CHECK(each_op(program, OP_ADAM, LANE_COMPUTE, forget_arrival) > 2);
}

static bool forget_arithmetic(struct program *program, struct program_op *op)
{
    (void)program;
    bool waited = op->unit >= 0 && op->after[LANE_COMPUTE] >= 0;
    if (op->unit >= 0) op->after[LANE_COMPUTE] = -1;
    return waited;
}

/* States go back before they are updated. */
static void plant_early_return(struct program *program)
{
    CHECK(each_op(program, OP_PULL, LANE_LINK_OUT, forget_arithmetic) > 2);
}

/* States are brought to a slot before those of an earlier group have been taken from it. */
static void plant_early_reuse(struct program *program)
{
    CHECK(each_op(program, OP_PUSH, LANE_LINK_IN, forget_reader) > 2);
}

static bool are_equal(const struct step_fixture_run *a, const struct step_fixture_run *b)
{
    return a->status == ZI_OK && b->status == ZI_OK && a->last == b->last &&
           memcmp(a->loss, b->loss, sizeof a->loss) == 0 &&
           memcmp(a->norm, b->norm, sizeof a->norm) == 0;
}

/* The signal that a run with a fault ends by, in a process of its own; 0: it ended by itself. */
static int signal_of(void (*plant)(struct program *))
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) exit(1);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* libraries of MPI print a report */
        (void)train(on_apart, plant);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) exit(1);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void plant_nothing(struct program *program)
{
    (void)program;
}

/* What the checker of programs says of a program with a fault. */
static enum zi_status check_with(void (*plant)(struct program *))
{
    struct step_fixture f;
    step_fixture_groups = 2;
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, streamed, 1, 0), ZI_OK);
    plant(f.program);
    capture_begin(&capture, stderr);
    enum zi_status status = program_check(f.program);
    capture_end(&capture);
    step_fixture_close(&f);
    return status;
}

static struct step_fixture_run stream(enum apart_schedule schedule, void (*plant)(struct program *))
{
    step_fixture_groups = 2;
    step_fixture_schedule = schedule;
    step_fixture_plant = plant;
    struct step_fixture_run run = step_fixture_train(step_fixture_gpt2, streamed, self);
    step_fixture_groups = 0;
    return run;
}

/* States that stream to the device for their update, through slots that are fewer than groups. What
 * the device does as late as it may comes before a copy that is late, and behind one that is early:
 * each fault is looked for where it shows, a few times where lanes race for it. */
static void test_streams(const struct step_fixture_run *right)
{
    static const struct {
        void (*plant)(struct program *);
        enum apart_schedule schedule;
    } faults[] = {{plant_missing_states, APART_LATE},
                  {plant_early_return, APART_EAGER},
                  {plant_early_reuse, APART_EAGER}};
    for (int s = APART_EAGER; s <= APART_LATE; s++) {
        struct step_fixture_run run = stream((enum apart_schedule)s, plant_nothing);
        CHECK(are_equal(&run, right));
    }
    CHECK_INT(check_with(plant_nothing), ZI_OK);
    for (int i = 0; i < 3; i++) {
        bool seen = false;
        for (int tries = 0; tries < 5 && !seen; tries++) {
            struct step_fixture_run run = stream(faults[i].schedule, faults[i].plant);
            CHECK_INT(run.status, ZI_OK);
            seen = !are_equal(&run, right);
        }
        CHECK(seen);
        CHECK_INT(check_with(faults[i].plant), ZI_ERROR_BUG);
    }
}

int main(void)
{
    zi_log_set_level(ZI_LOG_WARN);
    if (comm_self(&self) < 0) return 99;
    /* First, while this process has no threads. */
    CHECK_INT(signal_of(plant_host_read), SIGSEGV);
    CHECK_INT(signal_of(NULL), 0);

    struct step_fixture_run cpu = train(on_cpu, NULL), apart = train(on_apart, NULL);
    CHECK(are_equal(&cpu, &apart));
    struct step_fixture_run missing = train(on_apart, plant_missing_wait);
    CHECK_INT(missing.status, ZI_OK);
    CHECK(!are_equal(&missing, &apart));
    struct step_fixture_run early = train(inputs_away, plant_early_release);
    CHECK_INT(early.status, ZI_OK);
    CHECK(early.loss[0] ==
          apart.loss[0]); /* forward is right, what it leaves for backward is not */
    CHECK(!are_equal(&early, &apart));

    test_streams(&cpu);

    capture_begin(&capture, stderr);
    struct step_fixture_run reach = train(on_apart, plant_device_read);
    const char *text = capture_end(&capture);
    CHECK_INT(reach.status, ZI_ERROR_BUG);
    CHECK(strstr(text, "memory of the host"));
    comm_destroy(self);
    return test_finish("engine_apart_test");
}

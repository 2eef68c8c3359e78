/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of zinf's own that a GPU would forgive most of the time, planted into a program or into the
 * functions of the device, and what the emulation says of each: it must end the process with the
 * code of the check that is for it. The right program must pass, whatever the seed.
 *
 * Each fault runs in a process of its own: this program, started again with the fault's name. */
#include <sys/stat.h>
#include <sys/wait.h>

#include "comm/transport.h"
#include "device/table.h"
#include "regression/emulator/emulator.h"
#include "regression/unit/cuda_engine.h"

enum { SEEDS = 25 };

/* Everything on the device; states on the host, which updates them; inputs of blocks there; states on
 * disk; states on the host, updated on the device; as little device memory as will do. */
enum { ALL_NEAR, STATES_AWAY, INPUTS_AWAY, ON_DISK, STREAMED, TIGHT, DECKS };
static const char *const decks[DECKS][10] = {
    [ALL_NEAR] = {CUDA, "zero.prefetch=1"},
    [STATES_AWAY] = {CUDA, "placement.parameters=host", "placement.gradients=host",
                     "placement.optimizer=host", "zero.prefetch=1"},
    [TIGHT] = {"device.type=cuda", "memory.device=500 KiB", "memory.host=64 MiB",
               "placement.parameters=host", "placement.gradients=host", "placement.optimizer=host",
               "zero.prefetch=1"},
    [STREAMED] = {CUDA, "placement.optimizer=host", "zero.update_on=device"},
    [INPUTS_AWAY] = {CUDA, "placement.activations=host", "activations.recompute=always"},
    [ON_DISK] = {CUDA, "placement.parameters=nvme", "placement.gradients=nvme",
                 "placement.optimizer=nvme", "nvme.paths=store"},
};

struct fault {
    const char *name;
    int deck, ranks, code;
    /* A wait that operations of a kind and lane no longer have. */
    enum program_kind kind;
    enum program_lane lane, on;
    /* Or a change of the program; or of the device. */
    void (*program)(struct program *);
    void (*device)(struct device *);
    void (*comm)(struct comm *);
};

/* Codes that are not the emulation's: zinf sees it itself; a system call met guarded memory; the host
 * takes what has not come, which is seen by other bits than those of the right program, or by a
 * guard. */
enum { OWN_CHECK = 70, SYSTEM_CALL = 5, OTHER_BITS = 40 };

static const struct fault *chosen;
static struct device_table planted;
static const struct device_table *real;
static int calls;

/* Every `period`th call is the faulty one, from the `first` on: what a program does before it trains
 * stays right. */
static bool is_turn(int first, int period)
{
    calls++;
    return calls >= first && (calls - first) % period == 0;
}

static void forget_waits(struct program *program)
{
    int changed = 0;
    for (int name = PROGRAM_TRAIN; name <= PROGRAM_TRAIN_UPDATE; name++) {
        struct program_list *list = &program->lists[name];
        for (int i = 0; i < list->count; i++) {
            struct program_op *op = &list->ops[i];
            if (op->kind != chosen->kind || op->lane != chosen->lane) continue;
            changed += op->after[chosen->on] >= 0;
            op->after[chosen->on] = -1;
        }
    }
    if (changed == 0) fprintf(stderr, "%s: no such wait\n", chosen->name);
    ZI_REQUIRE(changed > 0);
}

/* The first operation of a kind in the training program. */
static struct program_op *first_of(struct program *program, enum program_kind kind)
{
    struct program_list *list = &program->lists[PROGRAM_TRAIN];
    for (int i = 0; i < list->count; i++) {
        if (list->ops[i].kind == kind) return &list->ops[i];
    }
    ZI_REQUIRE(false);
    return NULL;
}

static void read_device_on_host(struct program *program)
{
    struct program_op *op = first_of(program, OP_ADD);
    ZI_REQUIRE(op->lane == LANE_HOST);
    op->slots[OPERAND_CONTRIBUTION] = program->inside.logits;
}

static void move_too_much(struct program *program)
{
    struct program_op *op = first_of(program, OP_PUSH);
    op->bytes = program->pool_bytes[ZI_TIER_DEVICE] + 4096;
}

static void move_behind_the_pool(struct program *program)
{
    struct program_op *op = first_of(program, OP_PULL);
    op->offsets[OPERAND_FROM] = (size_t)1 << 40;
}

static void misalign(struct program *program)
{
    first_of(program, OP_FORWARD)->offsets[OPERAND_OUTPUT] = 2;
}

static void compute_behind_the_pool(struct program *program)
{
    first_of(program, OP_FORWARD)->offsets[OPERAND_OUTPUT] = (size_t)1 << 40;
}

static struct comm_transport planted_transport;
static const struct comm_transport *real_transport;

static enum zi_status gather_less(struct comm *comm, struct device_stream *stream,
                                  struct device_ptr shard, struct device_ptr full, int64_t bytes)
{
    return real_transport->all_gather(comm, stream, shard, full,
                                      comm->rank == 1 ? bytes / 2 : bytes);
}

/* Rank 1 adds, where the others gather. */
static enum zi_status add_for_gather(struct comm *comm, struct device_stream *stream,
                                     struct device_ptr shard, struct device_ptr full, int64_t bytes)
{
    if (comm->rank != 1) return real_transport->all_gather(comm, stream, shard, full, bytes);
    int64_t count = bytes / (int64_t)sizeof(float);
    struct device_ptr scratch = device_at(full, (size_t)bytes);
    struct comm_reduction sum = {full, shard, scratch, count / 2, ZI_FP32};
    return real_transport->reduce_scatter(comm, stream, &sum);
}

static void plant_transport(struct comm *comm,
                            enum zi_status (*gather)(struct comm *, struct device_stream *,
                                                     struct device_ptr, struct device_ptr, int64_t))
{
    real_transport = comm->transport;
    planted_transport = *real_transport;
    planted_transport.all_gather = gather;
    comm->transport = &planted_transport;
}

static void with_other_size(struct comm *comm)
{
    plant_transport(comm, gather_less);
}

static void with_other_collective(struct comm *comm)
{
    plant_transport(comm, add_for_gather);
}

static enum zi_status forget_event_wait(struct device_stream *stream, struct device_event *event)
{
    return is_turn(1, 1) ? ZI_OK : real->event_wait(stream, event);
}

static enum zi_status forget_event_synchronize(struct device_event *event, double *time_s)
{
    (void)event;
    if (time_s) *time_s = 0;
    return ZI_OK;
}

static enum zi_status hasty_query(struct device_event *event, bool *done)
{
    (void)event;
    *done = true;
    return ZI_OK;
}

static enum zi_status forget_record(struct device_event *event, struct device_stream *stream)
{
    return is_turn(1, 1) ? ZI_OK : real->event_record(event, stream);
}

static enum zi_status copy_more(struct device_stream *stream, struct device_ptr to,
                                struct device_ptr from, size_t bytes)
{
    return real->copy(stream, to, from, bytes + (is_turn(40, 1000) ? (size_t)1 << 30 : 0));
}

static enum zi_status copy_pageable(struct device_stream *stream, struct device_ptr to,
                                    struct device_ptr from, size_t bytes)
{
    static char pageable[1 << 16];
    bool turn = is_turn(40, 1000) && bytes <= sizeof pageable;
    struct device_ptr other = {(uintptr_t)pageable};
    return real->copy(stream, turn ? other : to, from, bytes);
}

static void keep_memory(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    if (tier != ZI_TIER_DEVICE) real->free(device, tier, memory);
}

static void keep_stream(struct device_stream *stream)
{
    (void)stream;
}

static void keep_event(struct device_event *event)
{
    (void)event;
}

static void free_twice(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    real->free(device, tier, memory);
    real->free(device, tier, memory);
}

/* Memory that its user still works on, in a stream. */
static enum zi_status free_early(struct device_stream *stream, struct device_ptr to,
                                 struct device_ptr from, size_t bytes)
{
    struct device_ptr memory;
    if (!is_turn(40, 1000)) return real->copy(stream, to, from, bytes);
    ZI_TRY(real->allocate(stream->device, ZI_TIER_DEVICE, bytes, "short-lived", &memory));
    ZI_TRY(real->copy(stream, memory, from, bytes));
    real->free(stream->device, ZI_TIER_DEVICE, memory);
    return real->copy(stream, to, memory, bytes);
}

#define TABLE(name, member, function)                                                              \
    static void name(struct device *device)                                                        \
    {                                                                                              \
        real = device->table;                                                                      \
        planted = *real;                                                                           \
        planted.member = function;                                                                 \
        device->table = &planted;                                                                  \
    }

TABLE(without_event_wait, event_wait, forget_event_wait)
TABLE(without_event_synchronize, event_synchronize, forget_event_synchronize)
TABLE(with_hasty_query, event_query, hasty_query)
TABLE(without_record, event_record, forget_record)
TABLE(with_longer_copy, copy, copy_more)
TABLE(with_pageable_copy, copy, copy_pageable)
TABLE(without_free, free, keep_memory)
TABLE(without_stream_destroy, stream_destroy, keep_stream)
TABLE(without_event_destroy, event_destroy, keep_event)
TABLE(with_double_free, free, free_twice)
TABLE(with_early_free, copy, free_early)

#define WAIT(kind_, lane_, on_)                                                                    \
    .kind = kind_, .lane = LANE_##lane_, .on = LANE_##on_, .program = forget_waits

static const struct fault faults[] = {
    {"forward before its weights have come", STATES_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_FORWARD, COMPUTE, LINK_IN)},
    {"backward before its weights have come", STATES_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_BACKWARD, COMPUTE, LINK_IN)},
    {"weights over others still in use", TIGHT, 1, EMULATOR_RACE, WAIT(OP_PUSH, LINK_IN, COMPUTE)},
    {"gradients taken before they are made", STATES_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_PULL, LINK_OUT, COMPUTE)},
    {"gradients added before they have come", STATES_AWAY, 1, OTHER_BITS,
     WAIT(OP_ADD, HOST, LINK_OUT)},
    {"gradients over others still on their way", STATES_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_BACKWARD, COMPUTE, LINK_OUT)},
    {"an input kept while it is overwritten", INPUTS_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_FORWARD, COMPUTE, LINK_OUT)},
    {"an input kept before it is made", INPUTS_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_KEEP, LINK_OUT, COMPUTE)},
    {"an input recalled before it was kept", INPUTS_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_RECALL, LINK_IN, LINK_OUT)},
    {"recomputed before the input has come", INPUTS_AWAY, 1, EMULATOR_RACE,
     WAIT(OP_RECOMPUTE, COMPUTE, LINK_IN)},
    {"states updated before they have come", STREAMED, 1, EMULATOR_RACE,
     WAIT(OP_ADAM, COMPUTE, LINK_IN)},
    {"states taken before they are updated", STREAMED, 1, EMULATOR_RACE,
     WAIT(OP_PULL, LINK_OUT, COMPUTE)},
    {"states over others not yet taken", STREAMED, 1, EMULATOR_RACE,
     WAIT(OP_PUSH, LINK_IN, LINK_OUT)},
    {"read from disk over what is on its way", ON_DISK, 1, SYSTEM_CALL,
     WAIT(OP_READ, DISK_READ, LINK_IN)},
    {"a sum over ranks before its parts are made", ALL_NEAR, 2, EMULATOR_RACE,
     WAIT(OP_REDUCE, COMM, COMPUTE)},
    {"forward before weights are gathered", ALL_NEAR, 2, EMULATOR_RACE,
     WAIT(OP_FORWARD, COMPUTE, COMM)},
    {"gathered over weights still in use", TIGHT, 2, EMULATOR_RACE, WAIT(OP_GATHER, COMM, COMPUTE)},
    {"a collective of another size", ALL_NEAR, 2, EMULATOR_COLLECTIVE, .comm = with_other_size},
    {"another collective", ALL_NEAR, 2, EMULATOR_COLLECTIVE, .comm = with_other_collective},
    {"the host reads device memory", STATES_AWAY, 1, EMULATOR_HOST_ACCESS,
     .program = read_device_on_host},
    {"a move of more than there is", STATES_AWAY, 1, EMULATOR_MISUSE, .program = move_too_much},
    {"a move from behind the memory", STATES_AWAY, 1, EMULATOR_MISUSE,
     .program = move_behind_the_pool},
    {"arithmetic on odd addresses", ALL_NEAR, 1, EMULATOR_KERNEL, .program = misalign},
    {"arithmetic behind the memory", ALL_NEAR, 1, EMULATOR_KERNEL,
     .program = compute_behind_the_pool},
    {"streams that wait for no event", STATES_AWAY, 1, EMULATOR_RACE, .device = without_event_wait},
    {"events that are not recorded", STATES_AWAY, 1, EMULATOR_RACE, .device = without_record},
    {"a host that waits for no event", STATES_AWAY, 1, EMULATOR_IN_FLIGHT,
     .device = without_event_synchronize},
    {"a disk lane that takes every event for past", ON_DISK, 1, SYSTEM_CALL,
     .device = with_hasty_query},
    {"a copy of the wrong size", STATES_AWAY, 1, EMULATOR_MISUSE, .device = with_longer_copy},
    {"a copy to memory that is not pinned", STATES_AWAY, 1, EMULATOR_MISUSE,
     .device = with_pageable_copy},
    {"memory freed while it is used", STATES_AWAY, 1, EMULATOR_RACE, .device = with_early_free},
    {"memory freed twice", ALL_NEAR, 1, OWN_CHECK, .device = with_double_free},
    {"memory that is not given back", ALL_NEAR, 1, OWN_CHECK, .device = without_free},
    {"streams that are not given back", ALL_NEAR, 1, EMULATOR_LEAK,
     .device = without_stream_destroy},
    {"events that are not given back", ALL_NEAR, 1, EMULATOR_LEAK, .device = without_event_destroy},
};
enum { FAULTS = sizeof faults / sizeof faults[0] };

static struct step_fixture_run train_with(const struct fault *fault, int deck, struct comm *world)
{
    step_fixture_cuda = true;
    step_fixture_groups = deck == STREAMED ? 2 : 0; /* so few that slots are used again */
    chosen = fault;
    step_fixture_plant = fault ? fault->program : NULL;
    step_fixture_device = fault ? fault->device : NULL;
    step_fixture_comm = fault ? fault->comm : NULL;
    return step_fixture_train(step_fixture_gpt2, decks[deck], world);
}

/* Collective. Trains, with the chosen fault or without; the exit code where nothing was caught. */
static int train(const struct fault *fault, int argc, char **argv)
{
    char folder[32];
    struct comm *world = step_fixture_start(&argc, &argv, folder);
    int deck = fault ? fault->deck : STATES_AWAY;
    struct step_fixture_run right = {0};
    if (comm_rank(world) == 0 && mkdir("store", 0700) != 0) return 1;
    if (comm_barrier(world) < 0) return 1;
    bool compares = fault && fault->code == OTHER_BITS;
    if (compares) right = train_with(NULL, deck, world);
    struct step_fixture_run run = train_with(fault, deck, world);
    if (!step_fixture_leave(world, folder, "store")) return 1;
    comm_finish(world);
    if (compares && run.status == ZI_OK && !cuda_equal(&run, &right)) return OTHER_BITS;
    return run.status == ZI_OK ? 0 : zi_status_exit_code(run.status);
}

/* The exit code of this program, started again; its words go to a file. */
static int run_again(const char *program, const char *name, int ranks, const char *text)
{
    char number[16];
    const char *launcher = getenv("MPIEXEC");
    snprintf(number, sizeof number, "%d", ranks);
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) exit(1);
    if (child == 0) {
        if (!freopen(text, "w", stderr)) _exit(1);
        if (ranks > 1)
            execlp(launcher ? launcher : "mpiexec.mpich", "mpiexec", "-n", number, program, name,
                   (char *)NULL);
        else
            execl(program, program, name, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) exit(1);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Shows what a process has said where it did not end as it should. */
static void show(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        fprintf(stderr, "    %s", line);
    }
    if (file) fclose(file);
}

/* Whether a run's words have a report of the emulation's check for a fault. */
static bool has_report(const char *path, int code)
{
    const char *check = code == EMULATOR_RACE         ? "race:"
                        : code == EMULATOR_COLLECTIVE ? "collective:"
                                                      : "";
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        found = strstr(line, "emulator:") && strstr(line, check);
    }
    if (file) fclose(file);
    return found;
}

/* Whether a fault was caught: by the check that it is for, and the emulation's checks speak. */
static bool is_caught(const struct fault *fault, int code, const char *text)
{
    if (fault->code == OTHER_BITS) return code == OTHER_BITS || code == EMULATOR_IN_FLIGHT;
    if (fault->code == OWN_CHECK || fault->code == SYSTEM_CALL) return code == fault->code;
    /* Of several ranks the launcher's code is that of any, which another may have ended. */
    bool coded = fault->ranks > 1 ? code != 0 : code == fault->code;
    if (coded && has_report(text, fault->code)) return true;
    /* A lost event leaves streams and the host without order, and either may be the first to show. */
    return fault->code == EMULATOR_RACE && code == EMULATOR_IN_FLIGHT && has_report(text, code);
}

static void check_fault(const char *program, const struct fault *fault, const char *text)
{
    int code = run_again(program, fault->name, fault->ranks, text);
    bool caught = is_caught(fault, code, text);
    if (!caught) {
        fprintf(stderr, "%s: exit code %d, not %d\n", fault->name, code, fault->code);
        show(text);
    }
    CHECK(caught);
}

int main(int argc, char **argv)
{
    char text[] = "cuda-faults-XXXXXX", seed[16];
    if (argc == 2 && strcmp(argv[1], "none") == 0) return train(NULL, argc, argv);
    for (int i = 0; argc == 2 && i < FAULTS; i++) {
        if (strcmp(argv[1], faults[i].name) == 0) return train(&faults[i], argc, argv);
    }
    struct device *device = cuda_fixture_open(DEVICE_ALONE);
    bool emulated = strstr(device_get_properties(device)->name, "mulat");
    device_close(device);
    if (!emulated) {
        fprintf(stderr, "skip: a real device does not see faults\n");
        return 77;
    }
    int file = mkstemp(text);
    if (file < 0 || close(file) != 0) return 1;
    for (int i = 0; i < FAULTS; i++) {
        check_fault(argv[0], &faults[i], text);
    }
    for (int i = 0; i < SEEDS; i++) {
        snprintf(seed, sizeof seed, "%d", i + 1);
        setenv("EMULATOR_SEED", seed, 1);
        int code = run_again(argv[0], "none", 1, text);
        if (code != 0) show(text);
        CHECK_INT(code, 0);
    }
    unlink(text);
    return test_finish("cuda_faults_test");
}

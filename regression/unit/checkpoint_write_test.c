/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints written by all ranks with shards cut anywhere, read back by all ranks in other cuts
 * and by one rank alone. Built once per number of ranks, which the program's name states. Failures
 * are made by a limit on file size on one rank (the write fails there and nowhere else), by parts
 * that nobody writes, and by changed bytes; after each of them the older checkpoint and `latest`
 * must be as they were. Messages of errors on stderr are expected.
 *
 * With the argument --leave FOLDER it writes one checkpoint there and stops, for the checks in
 * regression/checks. */
#include "checkpoint_fixture.h"

#include "checkpoint/file.h"
#include "checkpoint/form.h"
#include "checkpoint/inspect.h"
#include "base/timing.h"
#include "regression/unit/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct comm *world, *self;
static int rank, ranks;
static char folder[4096];

static const char *path_in(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int exists(const char *name)
{
    struct stat is;
    return lstat(path_in(name), &is) == 0;
}

static int latest_is(const char *name)
{
    char target[256] = "";
    ssize_t size = readlink(path_in("latest"), target, sizeof target - 1);
    return size > 0 && strcmp(target, name) == 0;
}

/* One checkpoint of a form. */
static enum zi_status write_one(struct checkpoint_form *form, int version, enum zi_dtype type,
                                int64_t keep)
{
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_header header = header_of(version, type);
    ZI_TRY(checkpoint_begin(form, &header, &checkpoint));
    write_states(checkpoint, version, type, ranks, rank);
    enum zi_status status = checkpoint_commit(checkpoint, (struct checkpoint_retention){keep, 0});
    checkpoint_close(checkpoint);
    return status;
}

static enum zi_status write_checkpoint(int version, enum zi_dtype type, int64_t keep)
{
    struct checkpoint_form *form;
    struct checkpoint_header header = header_of(version, type);
    ZI_TRY(checkpoint_form_create(world, folder, &header, tensors, TENSOR_COUNT, &form));
    enum zi_status status = write_one(form, version, type, keep);
    checkpoint_form_destroy(form);
    return status;
}

/* Opens `latest` on the group's ranks and compares every element, twice over in different cuts. */
static void check_latest(struct comm *comm, int version, enum zi_dtype type)
{
    struct checkpoint *checkpoint = NULL;
    CHECK(checkpoint_open(comm, folder, &checkpoint) == ZI_OK);
    if (!checkpoint) return;
    const struct checkpoint_header *header = checkpoint_get_header(checkpoint);
    struct checkpoint_header expected = header_of(version, type);
    CHECK(header->step == expected.step && header->updates == expected.updates);
    CHECK(header->tokens == expected.tokens && header->seed == expected.seed);
    CHECK(header->type == type);
    CHECK_INT(header->loss_scale, expected.loss_scale);
    CHECK_INT(header->loss_scale_steps, expected.loss_scale_steps);
    CHECK(strcmp(header->deck, expected.deck) == 0);
    CHECK(strcmp(header->model_text, expected.model_text) == 0);
    CHECK(count_wrong_everywhere(checkpoint, version) == 0);
    for (int t = 0; t < TENSOR_COUNT; t++) {
        int64_t elements = tensor_elements(t), first = (elements + 5) * (rank + 1) / (ranks + 3);
        if (first > elements) first = elements;
        CHECK(count_wrong(checkpoint, version, t % 4, t, first, elements - first) == 0);
    }
    CHECK(checkpoint_verify(checkpoint) == ZI_OK);
    checkpoint_close(checkpoint);
}

static void check_latest_everywhere(int version, enum zi_dtype type)
{
    check_latest(world, version, type);
    if (rank == ranks - 1) check_latest(self, version, type);
    comm_barrier(world);
}

static void test_write_and_read(void)
{
    CHECK(write_checkpoint(1, ZI_BF16, 0) == ZI_OK);
    CHECK(exists("step-00000100.h5") && !exists("step-00000100.h5.tmp"));
    CHECK(latest_is("step-00000100.h5"));
    check_latest_everywhere(1, ZI_BF16);
    CHECK(write_checkpoint(2, ZI_FP32, 0) == ZI_OK);
    CHECK(latest_is("step-00000200.h5") && exists("step-00000100.h5"));
    check_latest_everywhere(2, ZI_FP32);
    CHECK(write_checkpoint(2, ZI_FP16, 0) == ZI_OK);
    check_latest_everywhere(2, ZI_FP16);
    /* the same step once more replaces the file */
    CHECK(write_checkpoint(2, ZI_BF16, 0) == ZI_OK);
    check_latest_everywhere(2, ZI_BF16);
}

/* Checkpoints of one form, as a run makes them: each has the step, tokens, loss scale, checksums and
 * date that are its own. */
static void test_one_form(enum zi_dtype type)
{
    struct checkpoint_form *form;
    struct checkpoint_header header = header_of(1, type);
    CHECK(checkpoint_form_create(world, folder, &header, tensors, TENSOR_COUNT, &form) == ZI_OK);
    for (int version = 2; version >= 1; version--) {
        time_t before = time(NULL), after;
        CHECK(write_one(form, version, type, 0) == ZI_OK);
        check_latest_everywhere(version, type);
        after = time(NULL);
        char first[64], last[64], *text = NULL;
        zi_time_text(before, first, sizeof first);
        zi_time_text(after, last, sizeof last);
        hid_t file = h5_file_open(path_in("latest"), H5F_ACC_RDONLY);
        CHECK(file >= 0 && h5_text_read(file, "written", &text) >= 0);
        CHECK(text && strcmp(text, first) >= 0 && strcmp(text, last) <= 0);
        free(text);
        H5Fclose(file);
        comm_barrier(world);
    }
    checkpoint_form_destroy(form);
}

/* What `zinf inspect` says of the checkpoint. */
static void test_inspect(void)
{
    if (rank != 0) return;
    char text[8192] = "";
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    CHECK(checkpoint_inspect(path_in("step-00000200.h5"), 0, out) == ZI_OK);
    fclose(out);
    CHECK(strstr(text, "step-00000200.h5: checkpoint"));
    CHECK(strstr(text, "/parameter/blocks.0.mlp.up.weight"));
    CHECK(strstr(text, "bf16") && strstr(text, "301 x 1003"));
    CHECK(strstr(text, "tokens       1099511627776"));
    CHECK(!strstr(text, "non-finite"));
    CHECK(checkpoint_inspect(path_in("absent.h5"), 0, stdout) == ZI_ERROR_USAGE);
    CHECK(checkpoint_inspect(folder, 0, stdout) == ZI_ERROR_USAGE);
}

static void test_keep(void)
{
    if (rank == 0) close(open(path_in("step-00000050.h5.tmp"), O_CREAT | O_WRONLY, 0666));
    if (rank == 0) close(open(path_in("step-by-step.h5"), O_CREAT | O_WRONLY, 0666));
    comm_barrier(world);
    CHECK(write_checkpoint(3, ZI_BF16, 2) == ZI_OK);
    comm_barrier(world);
    CHECK(!exists("step-00000100.h5") && exists("step-00000200.h5") && exists("step-00000300.h5"));
    CHECK(!exists("step-00000050.h5.tmp")); /* left by a killed run */
    CHECK(exists("step-by-step.h5"));       /* not ours */
    CHECK(!exists("latest.tmp"));
    check_latest_everywhere(3, ZI_BF16);
    /* going back to an earlier step: the one just written stays, whatever its number */
    CHECK(write_checkpoint(1, ZI_BF16, 1) == ZI_OK);
    CHECK(exists("step-00000100.h5") && !exists("step-00000200.h5") && !exists("step-00000300.h5"));
    check_latest_everywhere(1, ZI_BF16);
}

/* What must hold after every failure below: checkpoint 1 is the latest, and no trace of step 400.
 */
static void check_unchanged(void)
{
    comm_barrier(world);
    CHECK(!exists("step-00000400.h5") && !exists("step-00000400.h5.tmp"));
    CHECK(latest_is("step-00000100.h5") && !exists("latest.tmp"));
    check_latest_everywhere(1, ZI_BF16);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* The rank `bad` cannot write beyond 1 MiB: all ranks must hear of it. */
static void test_failing_write(int bad)
{
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_header header = header_of(4, ZI_BF16);
    CHECK(checkpoint_create(world, folder, &header, tensors, TENSOR_COUNT, &checkpoint) == ZI_OK);
    if (!checkpoint) return;
    CHECK(exists("step-00000400.h5.tmp"));
    if (rank == bad) limit_files(1 << 20);
    write_states(checkpoint, 4, ZI_BF16, ranks, rank);
    CHECK(checkpoint_commit(checkpoint, (struct checkpoint_retention){1, 0}) == ZI_ERROR_IO);
    limit_files(RLIM_INFINITY);
    checkpoint_close(checkpoint);
    check_unchanged();
}

/* Rank 0 cannot claim the space. */
static void test_failing_create(void)
{
    if (rank == 0) limit_files(1 << 20);
    CHECK(write_checkpoint(4, ZI_BF16, 1) == ZI_ERROR_IO);
    limit_files(RLIM_INFINITY);
    check_unchanged();
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_header header = header_of(4, ZI_BF16);
    CHECK(checkpoint_create(world, path_in("step-by-step.h5"), &header, tensors, TENSOR_COUNT,
                            &checkpoint) == ZI_ERROR_IO);
    check_unchanged();
}

static void test_incomplete(void)
{
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_header header = header_of(4, ZI_BF16);
    CHECK(checkpoint_create(world, folder, &header, tensors, TENSOR_COUNT, &checkpoint) == ZI_OK);
    if (!checkpoint) return;
    /* the last share of every tensor is nobody's */
    write_states(checkpoint, 4, ZI_BF16, ranks + 1, rank);
    CHECK(checkpoint_commit(checkpoint, (struct checkpoint_retention){1, 0}) == ZI_ERROR_BUG);
    checkpoint_close(checkpoint);
    check_unchanged();

    CHECK(checkpoint_create(world, folder, &header, tensors, TENSOR_COUNT, &checkpoint) == ZI_OK);
    comm_barrier(world);
    checkpoint_close(checkpoint); /* never committed */
    check_unchanged();
}

/* One value of the last rank's part of a tensor is not finite: of a parameter or a master the
 * checkpoint is refused on all ranks; of a moment it is written, for such states train on. */
static void test_not_finite(void)
{
    static const struct {
        enum zi_dtype type;
        enum tier_kind state;
        enum zi_status status;
    } cases[] = {
        {ZI_FP32, TIER_PARAMETER, ZI_ERROR_NUMERICS},
        {ZI_BF16, TIER_PARAMETER, ZI_ERROR_NUMERICS},
        {ZI_FP16, TIER_PARAMETER, ZI_ERROR_NUMERICS},
        {ZI_BF16, TIER_MASTER, ZI_ERROR_NUMERICS},
        {ZI_FP32, TIER_MOMENT2, ZI_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checkpoint *checkpoint = NULL;
        struct checkpoint_header header = header_of(4, cases[i].type);
        CHECK(checkpoint_create(world, folder, &header, tensors, TENSOR_COUNT, &checkpoint) ==
              ZI_OK);
        if (!checkpoint) return;
        write_states(checkpoint, 4, cases[i].type, ranks, rank);
        /* the last element of all is the last rank's; it is counted, and counted once */
        const uint16_t half = cases[i].type == ZI_FP16 ? 0xfc00 : 0xff80;
        const float word = i % 2 ? -NAN : INFINITY;
        bool halves = cases[i].type != ZI_FP32 && cases[i].state == TIER_PARAMETER;
        struct checkpoint_dataset *dataset = NULL;
        for (int d = 0; d < checkpoint->dataset_count; d++)
            if (checkpoint->datasets[d].state == cases[i].state) dataset = &checkpoint->datasets[d];
        CHECK(dataset && dataset->elements == 3 * 5000);
        if (rank == ranks - 1 && dataset) {
            checkpoint_write(checkpoint, cases[i].state, TENSOR_COUNT - 1, 14999, 1,
                             halves ? (const void *)&half : &word);
            dataset->written--;
        }
        CHECK_INT(checkpoint_commit(checkpoint, (struct checkpoint_retention){0, 0}),
                  cases[i].status);
        checkpoint_close(checkpoint);
        comm_barrier(world);
        CHECK_INT(exists("step-00000400.h5"), cases[i].status == ZI_OK);
        CHECK(!exists("step-00000400.h5.tmp"));
    }
    CHECK(write_checkpoint(1, ZI_BF16, 1) == ZI_OK); /* as the tests below expect */
    check_unchanged();
}

/* What zinf has not made under its names is neither replaced nor removed, nor written through. */
static void test_foreign_names(void)
{
    static const char *const names[] = {"step-00000400.h5", "step-00000400.h5.tmp", "latest.tmp"};
    for (int i = 0; i < 3; i++) {
        if (rank == 0) CHECK(mkdir(path_in(names[i]), 0700) == 0);
        comm_barrier(world);
        CHECK(write_checkpoint(4, ZI_BF16, 1) == ZI_ERROR_USAGE);
        comm_barrier(world);
        if (rank == 0) CHECK(rmdir(path_in(names[i])) == 0);
        check_unchanged();
    }
    for (int i = 0; i < 2; i++) {
        if (rank == 0) CHECK(symlink("elsewhere", path_in(names[i])) == 0);
        comm_barrier(world);
        CHECK(write_checkpoint(4, ZI_BF16, 1) == ZI_ERROR_USAGE);
        comm_barrier(world);
        CHECK(!exists("elsewhere"));
        comm_barrier(world);
        if (rank == 0) CHECK(unlink(path_in(names[i])) == 0);
        check_unchanged();
    }
    /* a file that was left by a killed run is no obstacle */
    if (rank == 0) close(open(path_in("step-00000400.h5.tmp"), O_CREAT | O_WRONLY, 0666));
    comm_barrier(world);
    CHECK(write_checkpoint(4, ZI_BF16, 2) == ZI_OK);
    CHECK(write_checkpoint(1, ZI_BF16, 1) == ZI_OK);
    check_unchanged();
}

static void test_names(void)
{
    static const struct {
        const char *name;
        mode_t kind;
    } names[] = {
        {"step-00000003.h5", S_IFREG},
        {"step-1234567890.h5", S_IFREG},
        {"step-00000003.h5.tmp", S_IFREG},
        {"latest", S_IFLNK},
        {"latest.tmp", S_IFLNK},
        {"step-00000003-best.h5", 0},
        {"step-3.h5", 0},
        {"step-000000003.h5", 0},
        {"step-00000003.h5.bak", 0},
        {"step-00000003.h5.tmp2", 0},
        {"step-00000003.h5.tmp.tmp", 0},
        {"latest-good.h5", 0},
        {"notes.tmp.txt", 0},
        {"step-.h5", 0},
        {"step-99999999999999999999.h5", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool temporary, wanted = i == 2 || i == 4; /* the two of these names that end in .tmp */
        CHECK_INT(checkpoint_kind_of(names[i].name, &temporary), names[i].kind);
        CHECK_INT(temporary, wanted);
        CHECK_INT(checkpoint_kind_of(names[i].name, NULL), names[i].kind);
    }
}

static void flip_byte(const char *path, int64_t offset)
{
    unsigned char byte = 0;
    int descriptor = open(path, O_RDWR);
    CHECK(pread(descriptor, &byte, 1, (off_t)offset) == 1);
    byte ^= 0x10;
    CHECK(pwrite(descriptor, &byte, 1, (off_t)offset) == 1);
    close(descriptor);
}

/* Each dataset in turn gets one changed byte, which must be found by a whole read of it and by
 * verify, and nowhere else. */
static void test_damage(void)
{
    struct checkpoint *checkpoint = NULL;
    CHECK(checkpoint_open(world, folder, &checkpoint) == ZI_OK);
    if (!checkpoint) return;
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        int64_t elements = dataset->elements;
        int64_t size = (int64_t)zi_dtype_bytes(dataset->type);
        int64_t place = dataset->offset + elements * size - 1;
        if (rank == 0) flip_byte(checkpoint->path, place);
        comm_barrier(world);
        CHECK(checkpoint_verify(checkpoint) == ZI_ERROR_IO);
        void *values = test_allocate((size_t)(elements * size));
        const char *tensor = strchr(dataset->name, '/') + 1;
        CHECK(checkpoint_read(checkpoint, dataset->state, tensor, elements, 0, elements, values) ==
              ZI_ERROR_IO);
        free(values);
        comm_barrier(world);
        if (rank == 0) flip_byte(checkpoint->path, place);
        comm_barrier(world);
    }
    CHECK(checkpoint_verify(checkpoint) == ZI_OK);
    checkpoint_close(checkpoint);
}

static void test_refusals(void)
{
    struct checkpoint *checkpoint = NULL;
    float value[4];
    CHECK(checkpoint_open(world, folder, &checkpoint) == ZI_OK);
    if (!checkpoint) return;
    CHECK(checkpoint_read(checkpoint, TIER_MASTER, "no.such.weight", 1, 0, 1, value) ==
          ZI_ERROR_USAGE);
    CHECK(checkpoint_read(checkpoint, TIER_MASTER, "norm.weight", 2, 0, 1, value) ==
          ZI_ERROR_USAGE);
    CHECK(checkpoint_read(checkpoint, TIER_MASTER, "norm.weight", 1, 1, 0, value) == ZI_OK);
    checkpoint_close(checkpoint);

    CHECK(checkpoint_open(world, path_in("step-by-step.h5"), &checkpoint) == ZI_ERROR_USAGE);
    CHECK(checkpoint_open(world, path_in("absent.h5"), &checkpoint) == ZI_ERROR_USAGE);
    CHECK(checkpoint_open(world, "/", &checkpoint) == ZI_ERROR_USAGE);
    /* cut off at the end */
    comm_barrier(world);
    if (rank == 0) CHECK(truncate(path_in("step-00000100.h5"), 300000) == 0);
    comm_barrier(world);
    CHECK(checkpoint_open(world, folder, &checkpoint) == ZI_ERROR_IO);
}

static int ranks_in_name(const char *program)
{
    const char *place = strrchr(program, '/');
    place = strstr(place ? place : program, "_np");
    return !place ? 1 : atoi(place + 3);
}

static int leave(const char *where, enum zi_dtype type)
{
    snprintf(folder, sizeof folder, "%s", where);
    enum zi_status status = write_checkpoint(1, type, 1);
    comm_destroy(self);
    comm_finish(world);
    return zi_status_exit_code(status);
}

int main(int argc, char **argv)
{
    if (comm_start(&argc, &argv, &world) < 0 || comm_self(&self) < 0) return 1;
    rank = comm_rank(world);
    ranks = comm_size(world);
    signal(SIGXFSZ, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "--leave") == 0) return leave(argv[2], ZI_BF16);
    if (argc == 3 && strcmp(argv[1], "--leave-fp16") == 0) return leave(argv[2], ZI_FP16);
    CHECK(ranks == ranks_in_name(argv[0]));
    if (rank == 0) folder_make(folder, sizeof folder);
    comm_broadcast(world, folder, sizeof folder, 0);
    test_write_and_read();
    test_one_form(ZI_BF16);
    test_one_form(ZI_FP32);
    test_one_form(ZI_FP16);
    CHECK(write_checkpoint(2, ZI_BF16, 0) == ZI_OK);
    test_inspect();
    test_keep();
    test_failing_write(0);
    if (ranks > 1) test_failing_write(ranks - 1);
    test_failing_create();
    test_incomplete();
    test_not_finite();
    test_foreign_names();
    test_names();
    test_damage();
    test_refusals();
    comm_barrier(world);
    if (rank == 0) folder_remove(folder);
    comm_destroy(self);
    comm_finish(world);
    return test_finish("checkpoint_write_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Starting without a launcher, and being started by one that MPI does not understand. MPI starts
 * once per process, so every case is a child with its own environment; its exit code and what it
 * writes to stderr are looked at. */
#include "comm/comm.h"

#include "base/memory.h"
#include "regression/unit/stream_fixture.h"
#include "regression/unit/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char output[16384]; /* of the last child, on stderr */

/* Runs a child with the variables set, in which all that a launcher sets is absent at first. */
static int run_child(int (*body)(void), const char *const variables[][2])
{
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0) return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        static const char *const absent[] = {"PMI_SIZE",      "PMI_RANK",
                                             "PMI_FD",        "PMI_PORT",
                                             "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS",
                                             "SLURM_NTASKS",  "SLURM_PROCID",
                                             "SLURM_JOB_ID",  "OMPI_COMM_WORLD_SIZE"};
        for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
            unsetenv(absent[i]);
        for (int i = 0; variables[i][0]; i++)
            setenv(variables[i][0], variables[i][1], 1);
        dup2(pipe_ends[1], 2);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        _exit(body());
    }
    close(pipe_ends[1]);
    size_t length = 0;
    ssize_t got;
    while (length + 1 < sizeof output &&
           (got = read(pipe_ends[0], output + length, sizeof output - 1 - length)) > 0)
        length += (size_t)got;
    output[length] = '\0';
    close(pipe_ends[0]);
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

static int start_alone(void)
{
    struct comm *world;
    int argc = 0;
    char **argv = NULL;
    enum zi_status status = comm_start(&argc, &argv, &world);
    if (status < 0) return zi_status_exit_code(status);
    stream_fixture_open();
    float full[3] = {1, 2, 3}, shard[3] = {0, 0, 0};
    struct device_ptr full_place = {(uintptr_t)full}, shard_place = {(uintptr_t)shard};
    struct device_ptr nothing = {0};
    int is_good =
        comm_rank(world) == 0 && comm_size(world) == 1 && comm_node_size(world) == 1 &&
        comm_node_rank(world) == 0 && comm_mpi(world) &&
        comm_reduce_scatter(world, stream, full_place, shard_place, 3, ZI_FP32, nothing) == ZI_OK &&
        memcmp(full, shard, sizeof full) == 0 && comm_agree(world, ZI_ERROR_IO) == ZI_ERROR_IO;
    stream_fixture_close();
    comm_finish(world);
    return is_good ? 0 : 100;
}

static int abort_alone(void)
{
    struct comm *world;
    int argc = 0;
    char **argv = NULL;
    void *memory;
    if (comm_start(&argc, &argv, &world) < 0) return 101;
    if (zi_memory_allocate(12345, ZI_TIER_HOST, "a named buffer", &memory) < 0) return 102;
    comm_abort(world, ZI_ERROR_IO);
}

static void test_alone(void)
{
    static const char *const plain[][2] = {{NULL, NULL}};
    static const char *const batch_shell[][2] = {
        {"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}, {NULL, NULL}};
    static const char *const one_task[][2] = {{"SLURM_JOB_ID", "7"},         {"SLURM_NTASKS", "8"},
                                              {"SLURM_PROCID", "0"},         {"SLURM_STEP_ID", "2"},
                                              {"SLURM_STEP_NUM_TASKS", "1"}, {NULL, NULL}};
    CHECK_INT(run_child(start_alone, plain), 0);
    CHECK_INT(run_child(start_alone, batch_shell), 0);
    CHECK_INT(run_child(start_alone, one_task), 0);
}

static void test_refused(void)
{
    static const char *const wrong_mpi[][2] = {
        {"SLURM_JOB_ID", "7"},  {"SLURM_NTASKS", "8"},         {"SLURM_PROCID", "3"},
        {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}, {NULL, NULL}};
    static const char *const older_slurm[][2] = {
        {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "3"}, {"SLURM_STEP_ID", "0"}, {NULL, NULL}};
    static const char *const other_mpi[][2] = {{"OMPI_COMM_WORLD_SIZE", "2"}, {NULL, NULL}};
    CHECK_INT(run_child(start_alone, wrong_mpi), 2);
    CHECK(strstr(output, "4 tasks"));
    CHECK(strstr(output, "srun --mpi=pmi2") && strstr(output, "srun --mpi=list"));
    CHECK(strstr(output, "export SLURM_MPI_TYPE=pmi2"));
    CHECK_INT(run_child(start_alone, older_slurm), 2);
    CHECK(strstr(output, "8 tasks"));
    CHECK_INT(run_child(start_alone, other_mpi), 2);
    CHECK(strstr(output, "Open MPI"));
}

static void test_abort(void)
{
    static const char *const plain[][2] = {{NULL, NULL}};
    char host[64] = "";
    CHECK(gethostname(host, sizeof host - 1) == 0);
    CHECK_INT(run_child(abort_alone, plain), 5);
    CHECK(strstr(output, "rank 0 of 1"));
    CHECK(strstr(output, host));
    CHECK(strstr(output, "a named buffer"));
    CHECK(strstr(output, zi_status_name(ZI_ERROR_IO)));
}

int main(void)
{
    test_alone();
    test_refused();
    test_abort();
    return test_finish("comm_start_test");
}

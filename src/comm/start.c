/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending the MPI library.
 *
 * A process that no launcher started is a world of one (MPI's "singleton"), which is how zinf runs
 * on a laptop. The trouble is a launcher that MPI does not understand: srun with the wrong --mpi,
 * or the mpiexec of another MPI, starts N processes that each believe to be alone, and all N would
 * train the whole model and write the same files. So a world of one is refused when the environment
 * says that several were meant. The signs must be those of the process itself: in the shell of an
 * sbatch or salloc job SLURM_NTASKS may be 8 while `zinf help` rightly runs alone. A task of srun
 * is known by SLURM_STEP_NUM_TASKS beside SLURM_STEP_ID and SLURM_PROCID; the batch script has no
 * step of several tasks. When MPI was told its world by a process manager (PMI_SIZE) of size 1, one
 * is right, whatever Slurm's variables say: mpiexec -n 1 in a job is such a case.
 *
 * A group of one uses the self transport for its collectives and keeps MPI for parallel HDF5. */
#include "comm/library.h"

#include "base/log.h"

#include <limits.h>
#include <stdlib.h>

/* The value of an environment variable as a number; 0 when it is absent or no number. */
static long environment_number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* Refuses a world of one in a process that was started together with others. */
static enum zi_status check_world_of_one(void)
{
    long managed = environment_number("PMI_SIZE");
    if (managed == 1) return ZI_OK;
    if (managed > 1)
        return zi_fail(
            ZI_ERROR_USAGE, "comm",
            "the launcher started %ld processes (PMI_SIZE), but MPI sees one: start zinf "
            "with the launcher of the MPI that it was built with (mpiexec of MPICH, or "
            "srun --mpi=pmi2)",
            managed);
    long tasks = environment_number("SLURM_STEP_NUM_TASKS");
    if (tasks == 0) tasks = environment_number("SLURM_NTASKS");
    if (tasks > 1 && getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID"))
        return zi_fail(ZI_ERROR_USAGE, "comm",
                       "srun started %ld tasks, but MPI sees one: use srun --mpi=pmi2 or export "
                       "SLURM_MPI_TYPE=pmi2 (`srun --mpi=list` says what this Slurm can do; "
                       "what it lists may still not load)",
                       tasks);
    long others = environment_number("OMPI_COMM_WORLD_SIZE");
    if (others > 1)
        return zi_fail(ZI_ERROR_USAGE, "comm",
                       "the launcher of Open MPI started %ld processes, but zinf was built with "
                       "MPICH and sees one: use the mpiexec of MPICH",
                       others);
    return ZI_OK;
}

int comm_launched(void)
{
    long count = environment_number("PMI_SIZE");
    if (count < 1 && getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID"))
        count = environment_number("SLURM_STEP_NUM_TASKS");
    if (count < 1) count = environment_number("OMPI_COMM_WORLD_SIZE");
    return count > 1 && count <= INT_MAX ? (int)count : 1;
}

static enum zi_status start_threads(int *argc, char ***argv)
{
    int provided = MPI_THREAD_SINGLE;
    MPI_TRY(MPI_Init_thread, argc, argv, MPI_THREAD_MULTIPLE, &provided);
    if (provided < MPI_THREAD_MULTIPLE) {
        MPI_Finalize();
        return zi_fail(
            ZI_ERROR_COMM, "comm",
            "this MPI library has no MPI_THREAD_MULTIPLE, which zinf needs to compute "
            "and communicate at once: use an MPICH built with --enable-threads=multiple");
    }
    return ZI_OK;
}

static enum zi_status find_node(struct comm *comm)
{
    MPI_Comm node;
    MPI_TRY(MPI_Comm_split_type, library_of(comm)->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
            &node);
    MPI_TRY(MPI_Comm_rank, node, &comm->node_rank);
    MPI_TRY(MPI_Comm_size, node, &comm->node_size);
    library_of(comm)->one_node = comm->node_size == comm->size;
    ZI_TRY(bells_create(node, comm->rank, &library_of(comm)->bells));
    MPI_TRY(MPI_Comm_free, &node);
    return library_of(comm)->one_node ? direct_start(comm) : ZI_OK;
}

static enum zi_status fill(struct comm *comm, struct mpi_library *library)
{
    MPI_TRY(MPI_Comm_set_errhandler, MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_TRY(MPI_Comm_dup, MPI_COMM_WORLD, &library->comm);
    MPI_TRY(MPI_Comm_set_errhandler, library->comm, MPI_ERRORS_RETURN);
    MPI_TRY(MPI_Comm_rank, library->comm, &comm->rank);
    MPI_TRY(MPI_Comm_size, library->comm, &comm->size);
    zi_log_identify(comm->rank, comm->size);
    if (comm->size == 1) {
        comm->transport = &comm_self_transport;
        return check_world_of_one();
    }
    library->request_limit = 2 * (comm->size - 1);
    size_t limit = (size_t)library->request_limit;
    library->requests[0] = calloc(limit, sizeof(MPI_Request));
    library->requests[1] = calloc(limit, sizeof(MPI_Request));
    library->statuses = calloc(limit, sizeof(MPI_Status));
    if (!library->requests[0] || !library->requests[1] || !library->statuses)
        return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for requests to %d ranks", comm->size);
    return find_node(comm);
}

static void release(struct comm *comm)
{
    struct mpi_library *library = comm->library;
    if (library) {
        direct_stop(library->direct);
        bells_destroy(library->bells);
        if (library->comm != MPI_COMM_NULL) (void)MPI_Comm_free(&library->comm);
        free(library->requests[0]);
        free(library->requests[1]);
        free(library->statuses);
    }
    free(library);
    free(comm);
}

enum zi_status comm_start(int *argc, char ***argv, struct comm **world)
{
    struct comm *comm;
    ZI_TRY(comm_new(&comm_mpi_transport, &comm));
    struct mpi_library *library = calloc(1, sizeof *library);
    if (!library) {
        free(comm);
        return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a group of ranks");
    }
    library->comm = MPI_COMM_NULL;
    comm->library = library;
    enum zi_status status = start_threads(argc, argv);
    if (status < 0) {
        free(library);
        free(comm);
        return status;
    }
    status = fill(comm, library);
    if (status < 0) {
        release(comm);
        MPI_Finalize();
        return status;
    }
    *world = comm;
    return ZI_OK;
}

/* MPI_Finalize polls while it waits for the other ranks, so ranks meet before it, asleep. Where they
 * cannot, it would wait for ever. */
void comm_finish(struct comm *world)
{
    if (!world) return;
    ZI_REQUIRE(world->library && !world->on_device);
    enum zi_status status = comm_barrier(world);
    if (status < 0) comm_abort(world, status);
    release(world);
    int code = MPI_Finalize();
    if (code != MPI_SUCCESS) zi_log(ZI_LOG_WARN, "comm", "MPI_Finalize failed with code %d", code);
}

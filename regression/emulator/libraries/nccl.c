/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation's NCCL: communicators. Processes of one machine meet in shared memory, whose name is
 * the unique id. As in NCCL each rank has a device of its own, and a communicator that is not
 * blocking says ncclInProgress, here at least once after every call, and refuses calls until it has
 * been asked. */
#include "regression/emulator/libraries/nccl_comm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static char last_error[512];
static pthread_mutex_t last_error_mutex = PTHREAD_MUTEX_INITIALIZER;

ncclResult_t nccl_refuse(ncclResult_t result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&last_error_mutex);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    pthread_mutex_unlock(&last_error_mutex);
    va_end(arguments);
    return result;
}

double nccl_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double nccl_timeout(void)
{
    const char *given = getenv("EMULATOR_TIMEOUT");
    double seconds = given ? strtod(given, NULL) : 0;
    return seconds > 0 ? seconds : 60;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){0, 200000}, NULL);
}

ncclResult_t ncclGetVersion(int *version)
{
    if (!version) return nccl_refuse(ncclInvalidArgument, "ncclGetVersion: no place for it");
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static _Atomic int made;
    if (emulator_fails(__func__)) return nccl_refuse(ncclSystemError, "no network found");
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/emulator-nccl-%ld-%d-%.0f", (long)getpid(),
             ++made, nccl_now() * 1e6);
    return ncclSuccess;
}

void nccl_release(struct ncclComm *comm)
{
    if (atomic_fetch_sub(&comm->users, 1) > 1) return;
    if (comm->shared) munmap(comm->shared, comm->shared_bytes);
    free(comm);
}

/* All ranks make the memory; it is zeros at first, and of the same size for all of them. */
static ncclResult_t map_shared(struct ncclComm *comm)
{
    size_t channels = (size_t)comm->ranks * (size_t)comm->ranks;
    comm->shared_bytes = sizeof *comm->shared + channels * sizeof(struct nccl_channel);
    int file = shm_open(comm->name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return nccl_refuse(ncclSystemError, "shm_open: %s", strerror(errno));
    void *memory = MAP_FAILED;
    if (ftruncate(file, (off_t)comm->shared_bytes) == 0)
        memory = mmap(NULL, comm->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return nccl_refuse(ncclSystemError, "mmap: %s", strerror(errno));
    comm->shared = memory;
    return ncclSuccess;
}

/* The others' devices, once all are there. */
static ncclResult_t check_devices(const struct ncclComm *comm)
{
    const struct nccl_member *members = comm->shared->members;
    for (int i = 0; i < comm->ranks; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(members[i].device, members[j].device) == 0)
                return nccl_refuse(ncclInvalidUsage,
                                   "Duplicate GPU detected: rank %d and rank %d both on %s", j, i,
                                   members[i].device);
    return ncclSuccess;
}

int nccl_lost_rank(const struct ncclComm *comm)
{
    for (int r = 0; r < comm->ranks; r++) {
        const struct nccl_member *member = &comm->shared->members[r];
        if (!atomic_load(&member->joined)) continue;
        if (atomic_load(&member->left)) return r;
        if (kill(member->pid, 0) != 0 && errno == ESRCH) return r;
    }
    return -1;
}

/* Waits for the others and looks whether they fit. */
static ncclResult_t join(struct ncclComm *comm)
{
    int ranks = 0;
    ncclResult_t result = map_shared(comm);
    if (result != ncclSuccess) return result;
    struct nccl_member *own = &comm->shared->members[comm->rank];
    if (!atomic_compare_exchange_strong(&comm->shared->ranks, &ranks, comm->ranks) &&
        ranks != comm->ranks)
        return nccl_refuse(ncclInvalidArgument, "rank %d joins a group of %d ranks, others of %d",
                           comm->rank, comm->ranks, ranks);
    own->pid = getpid();
    memcpy(own->device, comm->device, sizeof own->device);
    if (atomic_exchange(&own->joined, 1))
        emulator_fail(EMULATOR_COLLECTIVE, "two processes are rank %d of a communicator",
                      comm->rank);
    double start = nccl_now();
    for (int r = 0; r < comm->ranks;) {
        if (atomic_load(&comm->shared->members[r].joined)) {
            r++;
            continue;
        }
        if (atomic_load(&comm->aborted)) return ncclInternalError;
        if (nccl_now() - start > nccl_timeout()) {
            shm_unlink(comm->name);
            emulator_fail(EMULATOR_COLLECTIVE,
                          "rank %d waits in ncclCommInitRank: rank %d has not come in %.0f s",
                          comm->rank, r, nccl_timeout());
        }
        pause_briefly();
    }
    (void)shm_unlink(comm->name); /* whoever comes first; nobody needs the name any more */
    return check_devices(comm);
}

static void *join_thread(void *argument)
{
    struct ncclComm *comm = argument;
    ncclResult_t result = join(comm);
    atomic_store(&comm->state, (int)result);
    nccl_release(comm);
    return NULL;
}

static ncclResult_t check_config(const ncclConfig_t *config)
{
    const ncclConfig_t right = NCCL_CONFIG_INITIALIZER;
    if (config->size != right.size || config->magic != right.magic ||
        config->version != right.version)
        return nccl_refuse(ncclInvalidArgument, "ncclConfig_t was not initialized by "
                                                "NCCL_CONFIG_INITIALIZER of this version");
    if (config->blocking != NCCL_CONFIG_UNDEF_INT && config->blocking != 0 && config->blocking != 1)
        return nccl_refuse(ncclInvalidArgument, "blocking is neither 0 nor 1");
    return ncclSuccess;
}

/* What tells the device of this process from others of the machine: its name in CUDA_VISIBLE_DEVICES
 * where that is set, otherwise its number. */
static bool name_device(char *name, size_t size)
{
    int device;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    snprintf(name, size, "device %d", device);
    if (!visible) return true;
    for (; device > 0 && *visible; device--) {
        visible += strcspn(visible, ",");
        if (*visible == ',') visible++;
    }
    snprintf(name, size, "device %.*s", (int)strcspn(visible, ","), visible);
    return true;
}

static ncclResult_t comm_new(struct ncclComm **made, int ranks, const ncclUniqueId *id, int rank)
{
    struct ncclComm *comm = calloc(1, sizeof *comm);
    if (!comm) return nccl_refuse(ncclSystemError, "no memory for a communicator");
    comm->rank = rank;
    comm->ranks = ranks;
    comm->blocking = true;
    comm->users = 1;
    memcpy(comm->name, id->internal, sizeof comm->name - 1);
    if (!name_device(comm->device, sizeof comm->device)) {
        free(comm);
        return nccl_refuse(ncclUnhandledCudaError, "no CUDA device");
    }
    *made = comm;
    return ncclSuccess;
}

/* Joins in a thread of its own, which is one more user of the comm. */
static ncclResult_t join_in_thread(struct ncclComm *comm)
{
    pthread_t thread;
    comm->blocking = false;
    comm->state = (int)ncclInProgress;
    comm->users = 2;
    if (pthread_create(&thread, NULL, join_thread, comm) != 0) {
        comm->users = 1;
        return nccl_refuse(ncclSystemError, "no thread for a communicator");
    }
    pthread_detach(thread);
    return ncclInProgress;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *made, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    struct ncclComm *comm = NULL;
    if (emulator_fails(__func__)) return nccl_refuse(ncclSystemError, "no network found");
    *made = NULL;
    if (ranks < 1 || ranks > NCCL_RANKS_MOST || rank < 0 || rank >= ranks)
        return nccl_refuse(ncclInvalidArgument, "rank %d of %d", rank, ranks);
    ncclResult_t result = config ? check_config(config) : ncclSuccess;
    if (result == ncclSuccess) result = comm_new(&comm, ranks, &id, rank);
    if (result != ncclSuccess) return result;
    result = config && config->blocking == 0 ? join_in_thread(comm) : join(comm);
    if (result == ncclSuccess || result == ncclInProgress)
        *made = comm;
    else
        nccl_release(comm);
    return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(comm, ranks, id, rank, NULL);
}

/* Waits for what the comm's streams have been given. */
static void wait_for_pending(const struct ncclComm *comm, const char *function)
{
    double start = nccl_now();
    while (atomic_load(&comm->pending) > 0) {
        if (nccl_now() - start > nccl_timeout())
            emulator_fail(EMULATOR_COLLECTIVE, "rank %d waits in %s for %d operations", comm->rank,
                          function, atomic_load(&comm->pending));
        pause_briefly();
    }
}

static ncclResult_t check_comm(const struct ncclComm *comm, const char *function)
{
    if (!comm) return nccl_refuse(ncclInvalidArgument, "%s: no communicator", function);
    if (emulator_fails(function))
        return nccl_refuse(ncclSystemError, "%s: connection lost", function);
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    ncclResult_t result = check_comm(comm, __func__);
    if (result != ncclSuccess) return result;
    if (atomic_exchange(&comm->finalized, true))
        return nccl_refuse(ncclInvalidArgument, "ncclCommFinalize: it was finalized before");
    wait_for_pending(comm, __func__);
    if (comm->blocking) return ncclSuccess;
    atomic_store(&comm->progress, 1);
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (!comm) return ncclSuccess;
    wait_for_pending(comm, __func__);
    nccl_release(comm);
    return ncclSuccess;
}

/* Frees the streams that wait in this process. The others learn of it as of a lost connection. */
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    if (!comm) return ncclSuccess;
    atomic_store(&comm->aborted, true);
    if (comm->shared) atomic_store(&comm->shared->members[comm->rank].left, 1);
    nccl_release(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    ncclResult_t result = check_comm(comm, __func__);
    if (result != ncclSuccess) return result;
    *error = (ncclResult_t)atomic_load(&comm->state);
    if (*error == ncclSuccess && atomic_load(&comm->progress) > 0) {
        atomic_fetch_sub(&comm->progress, 1);
        *error = ncclInProgress;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    ncclResult_t result = check_comm(comm, __func__);
    if (result == ncclSuccess) *count = comm->ranks;
    return result;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    ncclResult_t result = check_comm(comm, __func__);
    if (result == ncclSuccess) *rank = comm->rank;
    return result;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    bool known = (int)result >= 0 && (size_t)result < sizeof texts / sizeof texts[0];
    return known ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last_error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A writer that is killed leaves the last checkpoint and `latest` whole. A child process writes
 * checkpoints; it is killed at chosen points between create and commit, and then, many times, at
 * moments that fall anywhere in its work, those between the renames of a commit included. The
 * parent reads what `latest` names, compares every element, and verifies the checksums. */
#include "checkpoint_fixture.h"

#include "regression/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[4096];
static struct comm *self;

/* The child's work up to `stop`: 0 after create, 1 after half of the ranges, 2 after all. */
static void write_and_die(int version, int stop)
{
    struct checkpoint *checkpoint;
    struct checkpoint_header header = header_of(version, ZI_BF16);
    if (checkpoint_create(self, folder, &header, tensors, TENSOR_COUNT, &checkpoint) < 0) _exit(1);
    if (stop == 1) write_states(checkpoint, version, ZI_BF16, 2, 0);
    if (stop == 2) write_states(checkpoint, version, ZI_BF16, 1, 0);
    raise(SIGKILL);
}

static void write_for_ever(int version)
{
    for (;; version++) {
        struct checkpoint *checkpoint;
        struct checkpoint_header header = header_of(version, ZI_BF16);
        if (checkpoint_create(self, folder, &header, tensors, TENSOR_COUNT, &checkpoint) < 0)
            _exit(1);
        write_states(checkpoint, version, ZI_BF16, 1, 0);
        if (checkpoint_commit(checkpoint, (struct checkpoint_retention){2, 0}) < 0) _exit(1);
        checkpoint_close(checkpoint);
    }
}

/* Checks the latest checkpoint, whichever it is, and gives its version. */
static int check_latest(void)
{
    struct checkpoint *checkpoint = NULL;
    CHECK(checkpoint_open(self, folder, &checkpoint) == ZI_OK);
    if (!checkpoint) return 0;
    int version = (int)(checkpoint_get_header(checkpoint)->step / 100);
    CHECK(count_wrong_everywhere(checkpoint, version) == 0);
    CHECK(checkpoint_verify(checkpoint) == ZI_OK);
    checkpoint_close(checkpoint);
    return version;
}

/* Every file without .tmp is whole, not only the latest. */
static void check_all_named(void)
{
    DIR *directory = opendir(folder);
    CHECK(directory);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length < 3 || strcmp(entry->d_name + length - 3, ".h5") != 0) continue;
        char path[4600];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct checkpoint *checkpoint = NULL;
        CHECK(checkpoint_open(self, path, &checkpoint) == ZI_OK);
        if (!checkpoint) continue;
        CHECK(checkpoint_verify(checkpoint) == ZI_OK);
        checkpoint_close(checkpoint);
    }
    closedir(directory);
}

static void wait_for(pid_t child)
{
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL);
}

int main(void)
{
    if (comm_self(&self) < 0) return 1;
    folder_make(folder, sizeof folder);
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_header header = header_of(1, ZI_BF16);
    CHECK(checkpoint_create(self, folder, &header, tensors, TENSOR_COUNT, &checkpoint) == ZI_OK);
    if (!checkpoint) return 1;
    write_states(checkpoint, 1, ZI_BF16, 1, 0);
    CHECK(checkpoint_commit(checkpoint, (struct checkpoint_retention){0, 0}) == ZI_OK);
    checkpoint_close(checkpoint);
    for (int stop = 0; stop < 3; stop++) {
        pid_t child = fork();
        if (child == 0) write_and_die(2, stop);
        wait_for(child);
        CHECK(check_latest() == 1);
        check_all_named();
    }
    int version = 1, moved = 0;
    for (int round = 0; round < 25; round++) {
        pid_t child = fork();
        if (child == 0) write_for_ever(version + 1);
        /* 5 to 125 ms: a checkpoint of this size takes about 15 */
        struct timespec pause = {0, 5000000L * (round + 1)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        wait_for(child);
        int found = check_latest();
        check_all_named();
        CHECK(found >= version);
        moved += found > version;
        version = found;
    }
    CHECK(moved > 0); /* or the child was never fast enough to test anything */
    folder_remove(folder);
    comm_destroy(self);
    return test_finish("checkpoint_kill_test");
}

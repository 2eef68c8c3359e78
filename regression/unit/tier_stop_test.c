/* SPDX-License-Identifier: Apache-2.0 */
/* A request to stop ends the making of a store wherever it is: waiting for the lock of a path that
 * others hold, looking through it, measuring speeds, claiming space, laying out. Nothing is left.
 */
#include "tier/private.h"

#include "base/stop.h"
#include "regression/unit/tier_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static void request(void)
{
    CHECK(zi_stop_start() == ZI_OK && kill(getpid(), SIGTERM) == 0);
    while (zi_stop_signal() == 0)
        usleep(1000);
}

/* With a request from before: the first place that looks ends it. */
static int create_stopped(struct deck_list paths)
{
    struct settings_nvme nvme = store_test_settings(paths);
    struct tier_store_options options = store_test_options(&nvme, 1);
    struct tier_array array = {.name = "moment1", .type = ZI_FP32, .bytes = (size_t)1 << 20};
    struct tier_store *store = NULL;
    request();
    CHECK(tier_store_create(&options, &array, 1, &store) == ZI_STOPPED && !store);
    return test_failures() > 0;
}

static int claim_stopped(void)
{
    return create_stopped((struct deck_list){{"free"}, 1});
}

static int measure_stopped(void)
{
    return create_stopped((struct deck_list){{"free", "other"}, 2});
}

/* The parent holds the lock of one path. */
static int wait_stopped(void)
{
    return create_stopped((struct deck_list){{"free", "held"}, 2});
}

static void in_child(int (*work)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(work());
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
}

/* The layout alone, after everything before it has gone well. */
static int layout_stopped(void)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"free"}, 1});
    struct tier_store_options options = store_test_options(&nvme, 1);
    struct tier_array array = {.name = "moment1", .type = ZI_FP32, .bytes = (size_t)1 << 20};
    struct store_folder folder;
    struct stripes stripes;
    int64_t offset;
    CHECK(folder_open(&options, "free", &folder) == ZI_OK);
    CHECK(folder_enter(&options, &folder) == ZI_OK);
    stripes_cut(1, NULL, 0, &stripes);
    struct layout layout = {
        .folder = &folder, .arrays = &array, .count = 1, .stripes = &stripes, .run = "test"};
    CHECK(layout_create(&layout, &offset) == ZI_OK);
    request();
    CHECK(layout_create(&layout, &offset) == ZI_STOPPED);
    folder_leave(&folder, false);
    return test_failures() > 0;
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    CHECK(mkdir("free", 0777) == 0 && mkdir("held", 0777) == 0 && mkdir("other", 0777) == 0);
    int held = open("held", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(held >= 0 && flock(held, LOCK_EX) == 0);
    in_child(claim_stopped);
    in_child(measure_stopped);
    in_child(wait_stopped);
    in_child(layout_stopped);
    CHECK(close(held) == 0);
    CHECK(rmdir("free") == 0 && rmdir("held") == 0 && rmdir("other") == 0);
    store_test_leave(folder);
    return test_finish("tier_stop_test");
}

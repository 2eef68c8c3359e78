/* SPDX-License-Identifier: Apache-2.0 */
/* A request to stop ends a measurement of disks, wherever it is, without a file left; also one that
 * comes while it measures for hours. */
#include "app/bench.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stop.h"
#include "regression/unit/test.h"

static int entries(const char *folder)
{
    DIR *list = opendir(folder);
    int count = 0;
    if (!list) return -1;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

/* Waits until a file of the measurement has been open, then asks for the stop. */
static void *ask(void *context)
{
    char name[64], target[512];
    (void)context;
    for (bool found = false; !found;) {
        for (int file = 0; file < 64 && !found; file++) {
            snprintf(name, sizeof name, "/proc/self/fd/%d", file);
            ssize_t length = readlink(name, target, sizeof target - 1);
            target[length > 0 ? length : 0] = 0;
            found = strstr(target, "zinf-bench-");
        }
        usleep(1000);
    }
    CHECK(kill(getpid(), SIGTERM) == 0);
    return NULL;
}

static enum zi_status measure(struct settings_nvme *nvme)
{
    struct bench_disk bench = {.nvme = nvme, .bytes = 1 << 20, .turns = 99};
    FILE *out = fopen("/dev/null", "w");
    nvme->depth = 4;
    if (!out) return ZI_ERROR_IO;
    enum zi_status status = bench_disk_measure(&bench, out);
    fclose(out);
    return status;
}

int main(void)
{
    char folder[] = "app-bench-XXXXXX";
    pthread_t thread;
    if (!mkdtemp(folder) || chdir(folder) != 0) return 1;
    struct settings_nvme nvme = {.paths = {{"one", "new/two"}, 2},
                                 .engine = ZI_AUTO,
                                 .block = 4096,
                                 .deadline = 60,
                                 .keep = false};
    CHECK(mkdir("one", 0777) == 0 && zi_stop_start() == ZI_OK);
    CHECK(pthread_create(&thread, NULL, ask, NULL) == 0);
    alarm(60);
    /* as often as it takes: a fast disk may be through before the request comes */
    enum zi_status status = ZI_OK;
    while (status == ZI_OK)
        status = measure(&nvme);
    CHECK_INT(status, ZI_STOPPED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_INT(measure(&nvme), ZI_STOPPED);
    CHECK_INT(entries("one"), 0);
    CHECK_INT(entries("new"), 0);
    CHECK(rmdir("one") == 0 && rmdir("new") == 0 && chdir("..") == 0 && rmdir(folder) == 0);
    return test_finish("app_bench_test");
}

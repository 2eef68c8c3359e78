/* SPDX-License-Identifier: Apache-2.0 */
/* Over a network the lock of another machine may not be seen: what was made there is never taken
 * for dead, what was made here is. The kind of the file system is this test's, by the linker. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/lock.h"
#include "regression/unit/test.h"
#include "tier/clean.h"
#include "tier/system.h"

static enum system_kind kind;

enum system_kind __wrap_system_kind(int descriptor, const char **name);
enum system_kind __wrap_system_kind(int descriptor, const char **name)
{
    (void)descriptor;
    *name = "nfs";
    return kind;
}

#define STORE "zinf-a-0123456789abcdef"

static char own[256];

static void write_file(const char *name, const char *before, const char *host, const char *behind)
{
    FILE *file = fopen(name, "w");
    CHECK(file && fprintf(file, "%s%s%s\n", before, host, behind) > 0 && fclose(file) == 0);
}

static enum lock_state look(const char *host)
{
    struct lock_view view;
    int folder = open(".", O_RDONLY | O_DIRECTORY);
    write_file("run.lock", "process 7 on host ", host, " since 2026-01-02T03:04:05Z");
    lock_look(folder, &view);
    CHECK(strstr(view.text, host) && strstr(view.text, "2026-01-02T03:04:05Z"));
    CHECK_INT(view.is.st_size, strlen(view.text) + 1);
    CHECK(close(folder) == 0 && unlink("run.lock") == 0);
    return view.state;
}

static void test_lock(void)
{
    static const enum system_kind kinds[] = {SYSTEM_DISK, SYSTEM_MEMORY, SYSTEM_NETWORK,
                                             SYSTEM_PROGRAM};
    for (int i = 0; i < 4; i++) {
        kind = kinds[i];
        CHECK_INT(look(own), LOCK_FREE);
        CHECK_INT(look("elsewhere"), i < 2 ? LOCK_FREE : LOCK_UNKNOWN);
    }
}

static void copy_remains(void *context, const struct tier_remains *remains)
{
    struct tier_remains *found = context;
    CHECK(strcmp(remains->name, STORE) == 0 && strcmp(remains->run, "a, b") == 0);
    CHECK(remains->bytes > 0 && remains->written > 0);
    *found = *remains;
}

static enum tier_remains_state clean(const char *host)
{
    struct tier_remains found = {.state = TIER_REMAINS_FAILED};
    int folder = open(".", O_RDONLY | O_DIRECTORY);
    CHECK(mkdir(STORE, 0700) == 0);
    write_file(STORE "/zinf-store", "zinf store 1: host ", host, ", run a, b, process 7, 2026");
    write_file(STORE "/rank-0.h5", "states", "", "");
    CHECK_INT(tier_store_clean(".", folder, true, copy_remains, &found), ZI_OK);
    CHECK(close(folder) == 0);
    if (found.state != TIER_REMAINS_REMOVED)
        CHECK(unlink(STORE "/rank-0.h5") == 0 && unlink(STORE "/zinf-store") == 0 &&
              rmdir(STORE) == 0);
    CHECK(access(STORE, F_OK) != 0);
    return found.state;
}

static void test_store(void)
{
    kind = SYSTEM_DISK;
    CHECK_INT(clean("elsewhere"), TIER_REMAINS_REMOVED);
    kind = SYSTEM_NETWORK;
    CHECK_INT(clean(own), TIER_REMAINS_REMOVED);
    CHECK_INT(clean("elsewhere"), TIER_REMAINS_ELSEWHERE);
}

/* While one has the lock, it is held; who finds nothing makes a file, and takes it away again. */
static void test_seize(void)
{
    struct lock_view view;
    int folder = open(".", O_RDONLY | O_DIRECTORY), first, second;
    kind = SYSTEM_DISK;
    lock_look(folder, &view);
    CHECK_INT(view.state, LOCK_NONE);
    CHECK(lock_seize(folder, &first));
    CHECK(!lock_seize(folder, &second) && errno == EAGAIN);
    lock_look(folder, &view);
    CHECK_INT(view.state, LOCK_HELD);
    CHECK(lock_drop(folder, first, false) && access("run.lock", F_OK) != 0);
    write_file("run.lock", "process 7 on host ", own, " since 2026-01-02T03:04:05Z");
    CHECK(lock_seize(folder, &first) && lock_drop(folder, first, false));
    CHECK(access("run.lock", F_OK) == 0);
    CHECK(lock_seize(folder, &first) && lock_drop(folder, first, true));
    CHECK(access("run.lock", F_OK) != 0 && close(folder) == 0);
}

int main(void)
{
    char folder[] = "app_clean_XXXXXX";
    CHECK(gethostname(own, sizeof own - 1) == 0);
    if (!mkdtemp(folder) || chdir(folder) != 0) return 1;
    test_lock();
    test_store();
    test_seize();
    CHECK(chdir("..") == 0 && rmdir(folder) == 0);
    return test_finish("app_clean_test");
}

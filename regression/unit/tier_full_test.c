/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is too small is found when the store is made: with a message that says what is
 * wanted, what is free and what to do, and without a trace left. Needs a small file system of its
 * own, so the privilege to mount one; skipped without. */
#include "tier/store.h"

#include "regression/unit/tier_store.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static size_t free_bytes(const char *path)
{
    struct statvfs system;
    CHECK(statvfs(path, &system) == 0);
    return (size_t)system.f_bavail * system.f_frsize;
}

static void test_full(struct deck_list paths, size_t bytes)
{
    struct settings_nvme nvme = store_test_settings(paths);
    struct tier_store_options options = store_test_options(&nvme, 1);
    struct tier_array arrays[3];
    struct tier_store *store = NULL;
    struct store_test_log log;
    for (int a = 0; a < 3; a++) {
        arrays[a] = (struct tier_array){.type = ZI_FP32, .bytes = bytes};
        snprintf(arrays[a].name, sizeof arrays[a].name, "moment%d", a);
    }
    size_t before = free_bytes("small");
    store_test_log_begin(&log);
    CHECK(tier_store_create(&options, arrays, 3, &store) == ZI_ERROR_IO);
    char *text = store_test_log_end(&log);
    CHECK(!store);
    CHECK(strstr(text, "small/zinf-a_test_1-0000000000000001/rank-0.h5"));
    CHECK(strstr(text, "cannot claim") && strstr(text, "free there"));
    CHECK(strstr(text, "MiB") && strstr(text, "nvme.paths"));
    free(text);
    CHECK_INT(store_test_entries("small", "", NULL, 0), 0);
    if (paths.count > 1) CHECK_INT(store_test_entries("large", "", NULL, 0), 0);
    CHECK(free_bytes("small") == before);
}

/* A store that fits is not refused. */
static void test_fits(size_t bytes)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"small"}, 1});
    struct tier_store_options options = store_test_options(&nvme, 2);
    struct tier_array array = {.name = "moment1", .type = ZI_FP32, .bytes = bytes};
    struct tier_store *store = NULL;
    CHECK(tier_store_create(&options, &array, 1, &store) == ZI_OK);
    tier_store_destroy(store);
    CHECK_INT(store_test_entries("small", "", NULL, 0), 0);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    CHECK(mkdir("small", 0777) == 0);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "small", "tmpfs", 0, "size=16m") != 0) {
        perror("tier_full_test: skipped, cannot mount a small file system");
        CHECK(rmdir("small") == 0);
        store_test_leave(folder);
        return 77;
    }
    test_fits((size_t)14 << 20);
    test_full((struct deck_list){{"small"}, 1}, (size_t)6 << 20);
    test_fits((size_t)14 << 20);
    test_full((struct deck_list){{"large", "small"}, 2}, (size_t)64 << 20);
    CHECK(umount("small") == 0 && rmdir("small") == 0 && rmdir("large") == 0);
    store_test_leave(folder);
    return test_finish("tier_full_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is under nvme.paths is known: memory, networks and programs by their numbers; room on memory
 * is told apart, also for a folder that is not there yet; each such path is said once. Mounts need
 * a name space of the test's own; that part is skipped without. */
#include "tier/system.h"

#include "regression/unit/tier_store.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

static void test_numbers(void)
{
    static const struct {
        unsigned long type;
        enum system_kind kind;
        const char *name;
    } rows[] = {
        {0x01021994, SYSTEM_MEMORY, "tmpfs"},
        {0x858458f6, SYSTEM_MEMORY, "ramfs"},
        {0x6969, SYSTEM_NETWORK, "nfs"},
        {0x0bd00bd0, SYSTEM_NETWORK, "lustre"},
        {0x47504653, SYSTEM_NETWORK, "gpfs"},
        {0x19830326, SYSTEM_NETWORK, "beegfs"},
        {0xff534d42, SYSTEM_NETWORK, "cifs"},
        {0x00c36400, SYSTEM_NETWORK, "ceph"},
        {0x01021997, SYSTEM_NETWORK, "9p"},
        {0x65735546, SYSTEM_PROGRAM, "fuse"},
        {0xef53, SYSTEM_DISK, "ext4"},
        {0x58465342, SYSTEM_DISK, "xfs"},
        {0x9123683e, SYSTEM_DISK, "btrfs"},
        {0x794c7630, SYSTEM_DISK, "overlay"},
        {0x12345678, SYSTEM_DISK, ""},
        {~0xffffffffUL | 0xff534d42, SYSTEM_NETWORK, "cifs"}, /* with the sign of 32 bits */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *name = NULL;
        CHECK_INT(system_kind_of(rows[i].type, &name), rows[i].kind);
        CHECK(strcmp(name, rows[i].name) == 0);
    }
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

static void test_memory(void)
{
    struct settings_nvme both =
        store_test_settings((struct deck_list){{"disk", "memory/new", "memory"}, 3});
    struct settings_nvme one = store_test_settings((struct deck_list){{"disk"}, 1});
    struct tier_room room;
    struct store_test_log log;
    const char *name;
    CHECK(tier_store_room(&both, 2, &room) == ZI_OK);
    CHECK_INT(room.memory_bytes, 4 << 20);
    CHECK(room.bytes > room.memory_bytes);
    CHECK(strcmp(room.memory_path, "memory/new (tmpfs)") == 0);
    CHECK(tier_store_room(&one, 2, &room) == ZI_OK && room.memory_bytes == 0);
    store_test_log_begin(&log);
    tier_store_warn(&both);
    char *text = store_test_log_end(&log);
    CHECK_INT(count_of(text, "is memory (tmpfs), not a disk: states there count as host memory"),
              2);
    CHECK_INT(count_of(text, "warning"), 2);
    free(text);
    int file = open("memory", O_RDONLY | O_DIRECTORY);
    CHECK(file >= 0 && system_kind(file, &name) == SYSTEM_MEMORY && close(file) == 0);
    CHECK(system_kind(-1, &name) == SYSTEM_DISK);
}

/* A disk that cannot be written is refused by what it is. */
static void test_read_only(void)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"memory"}, 1});
    struct tier_store_options options = store_test_options(&nvme, 1);
    struct tier_array array = {.name = "moment1", .type = ZI_FP32, .bytes = 4096};
    struct tier_store *store = NULL;
    struct store_test_log log;
    CHECK(mount("none", "memory", NULL, MS_REMOUNT | MS_RDONLY, "size=8m") == 0);
    store_test_log_begin(&log);
    CHECK(tier_store_create(&options, &array, 1, &store) == ZI_ERROR_IO && !store);
    char *text = store_test_log_end(&log);
    CHECK(strstr(text, "cannot be made: Read-only file system; choose another folder"));
    free(text);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    test_numbers();
    CHECK(mkdir("memory", 0777) == 0 && mkdir("disk", 0777) == 0);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "memory", "tmpfs", 0, "size=8m") != 0) {
        perror("tier_system_test: not all tested, cannot mount a file system in memory");
    } else {
        test_memory();
        test_read_only();
        CHECK(umount("memory") == 0);
    }
    CHECK(rmdir("memory") == 0 && rmdir("disk") == 0);
    store_test_leave(folder);
    return test_finish("tier_system_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Stores on one path do not harm each other: one left by a killed process is reported, and removed
 * on request; one in use, one that was kept and things that are no stores are left alone. */
#include "tier/store.h"

#include "regression/unit/tier_store.h"

#include <signal.h>
#include <sys/wait.h>

static const struct tier_array array = {
    .name = "moment1/embed", .type = ZI_FP32, .bytes = 40 * TIER_STORE_BLOCK};
static struct settings_nvme nvme;

static struct tier_store *create(uint64_t id, bool reclaim, char **text)
{
    struct tier_store_options options = store_test_options(&nvme, id);
    struct tier_store *store = NULL;
    struct store_test_log log;
    options.reclaim = reclaim;
    store_test_log_begin(&log);
    CHECK(tier_store_create(&options, &array, 1, &store) == ZI_OK);
    *text = store_test_log_end(&log);
    if (!store) exit(1);
    return store;
}

/* A process that makes a store and waits to be killed. */
static pid_t start_holder(uint64_t id)
{
    int ready[2];
    if (pipe(ready) != 0) exit(1);
    pid_t child = fork();
    if (child == 0) {
        struct tier_store_options options = store_test_options(&nvme, id);
        struct tier_store *store = NULL;
        options.rank = 3; /* not the node's first: it does not look around */
        options.node_rank = 1;
        options.node_ranks = 2;
        if (tier_store_create(&options, &array, 1, &store) < 0) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(child > 0 && read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void end_holder(pid_t child)
{
    int status;
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
}

static void test_dead_and_alive(void)
{
    char *text;
    pid_t alive = start_holder(0xa1);
    struct tier_store *other = create(0xb, true, &text);
    CHECK(!strstr(text, "a1")); /* in use: nothing to say */
    CHECK_INT(store_test_entries("disk", "zinf-", NULL, 0), 2);
    free(text);
    end_holder(alive);

    struct tier_store *second = create(0xc, false, &text);
    CHECK(strstr(text, "warning") && strstr(text, "00a1 "));
    CHECK(strstr(text, "--reclaim") && strstr(text, "KiB"));
    CHECK(!strstr(text, "00b "));
    CHECK_INT(store_test_entries("disk", "zinf-", NULL, 0), 3);
    free(text);

    struct tier_store *third = create(0xd, true, &text);
    CHECK(strstr(text, "00a1, left by a run that died, is removed"));
    CHECK(!strstr(text, "warning"));
    CHECK_INT(store_test_entries("disk", "zinf-", NULL, 0), 3);
    free(text);
    tier_store_destroy(other);
    tier_store_destroy(third);
    CHECK_INT(store_test_entries("disk", "zinf-", NULL, 0), 1);
    tier_store_destroy(second);
    CHECK_INT(store_test_entries("disk", "", NULL, 0), 0);
}

static void remove_files(const char *folder, const char *const *names, int count)
{
    char name[320];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "disk/%s/%s", folder, names[i]);
        CHECK(unlink(name) == 0);
    }
    snprintf(name, sizeof name, "disk/%s", folder);
    CHECK(rmdir(name) == 0);
}

static void make_file(const char *name)
{
    FILE *file = fopen(name, "wx");
    CHECK(file && fputs("somebody's\n", file) >= 0 && fclose(file) == 0);
}

static void test_kept(void)
{
    static const char *const files[] = {"rank-0.h5", "kept", "zinf-store"};
    char *text, kept[64];
    nvme.keep = true;
    tier_store_destroy(create(0xe, true, &text));
    free(text);
    nvme.keep = false;
    CHECK_INT(store_test_entries("disk", "zinf-", kept, sizeof kept), 1);
    struct tier_store *store = create(0xf, true, &text);
    CHECK(!strstr(text, kept));
    free(text);
    tier_store_destroy(store);
    remove_files(kept, files, 3);
}

/* No name makes a folder a run's: neither said nor removed, and what is in it is not opened. */
static void test_folders_of_others(void)
{
    static const char *const folders[] = {"zinf-mine",
                                          "zinf-0.1",
                                          "zinf-data",
                                          "zinf-run-0123456789abcdef",
                                          "zinf-x-00000000000000AB",
                                          "zinf-early-00000000000000ab"};
    enum { FOLDERS = sizeof folders / sizeof folders[0] };
    static const char *const files[] = {"rank-0.h5", "rank-x.h5", "node", "speed-1"};
    char *text, name[320];
    for (int f = 0; f < FOLDERS; f++) {
        snprintf(name, sizeof name, "disk/%s", folders[f]);
        CHECK(mkdir(name, 0777) == 0);
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "disk/%s/%s", folders[f], files[i]);
            make_file(name);
        }
    }
    /* a marker that is no regular file, and one of somebody else */
    CHECK(mkfifo("disk/zinf-run-0123456789abcdef/zinf-store", 0600) == 0);
    make_file("disk/zinf-early-00000000000000ab/zinf-store");
    /* a link with the name of a folder of a run */
    CHECK(symlink("zinf-mine", "disk/zinf-run-aaaaaaaaaaaaaaaa") == 0);
    alarm(60);
    for (int reclaim = 0; reclaim < 2; reclaim++) {
        struct tier_store *store = create(0x30, reclaim == 1, &text);
        CHECK(text[0] == '\0');
        free(text);
        tier_store_destroy(store);
    }
    alarm(0);
    CHECK(unlink("disk/zinf-run-aaaaaaaaaaaaaaaa") == 0);
    CHECK(unlink("disk/zinf-run-0123456789abcdef/zinf-store") == 0);
    CHECK(unlink("disk/zinf-early-00000000000000ab/zinf-store") == 0);
    for (int f = 0; f < FOLDERS; f++)
        remove_files(folders[f], files, 4);
}

/* In the folder of a dead run only its own files go; a maker that died before its marker leaves an
 * empty folder, which goes as well. */
static void test_files_of_others(void)
{
    static const char folder[] = "zinf-a_test_1-00000000000000a2";
    static const char *const others[] = {"notes.txt", "rank-best.h5", "rank-7.h5", "speed-2"};
    char *text;
    end_holder(start_holder(0xa2));
    make_file("disk/zinf-a_test_1-00000000000000a2/notes.txt");
    make_file("disk/zinf-a_test_1-00000000000000a2/rank-best.h5");
    CHECK(mkfifo("disk/zinf-a_test_1-00000000000000a2/rank-7.h5", 0600) == 0);
    CHECK(symlink("notes.txt", "disk/zinf-a_test_1-00000000000000a2/speed-2") == 0);
    CHECK(mkdir("disk/zinf-a_test_1-00000000000000a3", 0700) == 0);
    alarm(60);
    struct tier_store *store = create(0x31, false, &text);
    CHECK(strstr(text, "00a2 was left by a run that died and holds "));
    free(text);
    tier_store_destroy(store);
    store = create(0x32, true, &text);
    CHECK(strstr(text, "00a2, left by a run that died: its files are removed ("));
    CHECK(strstr(text, "the folder stays, since zinf has not made "));
    CHECK(strstr(text, "00a3, left by a run that died, is removed: "));
    free(text);
    tier_store_destroy(store);
    store = create(0x33, true, &text); /* what is left is not the program's */
    CHECK(text[0] == '\0');
    free(text);
    tier_store_destroy(store);
    alarm(0);
    CHECK_INT(store_test_entries("disk", "", NULL, 0), 1);
    remove_files(folder, others, 4);
}

/* Two stores move data at the same time. */
static void test_two_stores(void)
{
    char *text;
    struct tier_store *stores[2];
    struct tier_channel *channels[2];
    char *buffer = store_test_buffer(array.bytes);
    struct tier_transfer transfer = {.bytes = array.bytes, .buffer = buffer};
    for (int s = 0; s < 2; s++) {
        stores[s] = create(0x20 + (uint64_t)s, true, &text);
        free(text);
        CHECK(tier_channel_open(stores[s], 1, &channels[s]) == ZI_OK);
    }
    for (int write = 1; write >= 0; write--) {
        for (int s = 0; s < 2; s++) {
            transfer.write = write == 1;
            if (write) store_test_fill(buffer, s, 0, array.bytes, 1);
            CHECK(tier_channel_move(channels[s], &transfer) == ZI_OK);
            if (!write) CHECK_INT(store_test_wrong(buffer, s, 0, array.bytes, 1), 0);
        }
    }
    for (int s = 0; s < 2; s++) {
        tier_channel_close(channels[s]);
        tier_store_destroy(stores[s]);
    }
    free(buffer);
}

/* Processes that make, use and end stores on one path, each removing what it takes for dead, never
 * remove one another's. */
static void test_race(void)
{
    enum { PROCESSES = 4, TURNS = 20 };
    pid_t children[PROCESSES];
    for (int c = 0; c < PROCESSES; c++) {
        children[c] = fork();
        if (children[c] != 0) continue;
        char *buffer = store_test_buffer(array.bytes), *text;
        long failures = test_failures();
        for (int turn = 0; turn < TURNS; turn++) {
            struct tier_store *store = create((uint64_t)(1000 * c + turn), true, &text);
            struct tier_channel *channel = NULL;
            struct tier_transfer transfer = {.bytes = array.bytes, .buffer = buffer};
            CHECK(!strstr(text, "is removed"));
            free(text);
            CHECK(tier_channel_open(store, 1, &channel) == ZI_OK);
            store_test_fill(buffer, c, 0, array.bytes, (uint32_t)turn);
            transfer.write = true;
            CHECK(tier_channel_move(channel, &transfer) == ZI_OK);
            CHECK(access(tier_store_place(store), F_OK) == 0);
            tier_channel_close(channel);
            tier_store_destroy(store);
        }
        free(buffer);
        _exit(test_failures() > failures);
    }
    for (int c = 0; c < PROCESSES; c++) {
        int status = -1;
        CHECK(waitpid(children[c], &status, 0) == children[c] && status == 0);
    }
    CHECK_INT(store_test_entries("disk", "", NULL, 0), 0);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    nvme = store_test_settings((struct deck_list){{"disk"}, 1});
    test_dead_and_alive();
    test_kept();
    test_folders_of_others();
    test_files_of_others();
    test_two_stores();
    test_race();
    CHECK(rmdir("disk") == 0);
    store_test_leave(folder);
    return test_finish("tier_stale_test");
}

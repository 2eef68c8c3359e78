/* SPDX-License-Identifier: Apache-2.0 */
/* The run's folder among other things: what has its name and is no folder of a run is refused and
 * left as it is; a path that others move, or a folder that others remove, while a run uses it
 * harms neither the run nor what stands there then; what others put into it is left, and said. */
#include "tier/private.h"

#include "regression/unit/tier_store.h"

#include <fcntl.h>

#define FOLDER "zinf-a_test_1-0000000000000001"

static const struct tier_array array = {
    .name = "moment1/embed", .type = ZI_FP32, .bytes = 40 * TIER_STORE_BLOCK};
static struct settings_nvme nvme;

static enum zi_status create(int rank, int node_ranks, struct tier_store **store, char **text)
{
    struct tier_store_options options = store_test_options(&nvme, 1);
    struct store_test_log log;
    options.rank = options.node_rank = rank;
    options.node_ranks = node_ranks;
    store_test_log_begin(&log);
    enum zi_status status = tier_store_create(&options, &array, 1, store);
    *text = store_test_log_end(&log);
    return status;
}

static char *destroy(struct tier_store *store)
{
    struct store_test_log log;
    store_test_log_begin(&log);
    tier_store_destroy(store);
    return store_test_log_end(&log);
}

static void refused(const char *says)
{
    struct tier_store *store = NULL;
    char *text;
    CHECK(create(0, 1, &store, &text) == ZI_ERROR_IO && !store);
    CHECK(strstr(text, "disk/" FOLDER ": is there already and is no folder that a run has made"));
    if (says) CHECK(strstr(text, says));
    free(text);
}

static void test_names_taken(void)
{
    CHECK(mkdir("disk", 0777) == 0 && mkdir("elsewhere", 0777) == 0);
    CHECK(symlink("../elsewhere", "disk/" FOLDER) == 0);
    refused(NULL);
    CHECK_INT(store_test_entries("elsewhere", "", NULL, 0), 0);
    CHECK(unlink("disk/" FOLDER) == 0 && rmdir("elsewhere") == 0);
    CHECK(mkfifo("disk/" FOLDER, 0600) == 0);
    refused(NULL);
    CHECK(unlink("disk/" FOLDER) == 0);
    CHECK(mkdir("disk/" FOLDER, 0777) == 0);
    refused(NULL);
    CHECK_INT(store_test_entries("disk/" FOLDER, "", NULL, 0), 0);
    CHECK(mkfifo("disk/" FOLDER "/zinf-store", 0600) == 0);
    refused(NULL);
    CHECK(unlink("disk/" FOLDER "/zinf-store") == 0 && rmdir("disk/" FOLDER) == 0);
}

/* One rank is there; what the other one is to make or open has been made into something else. */
static void test_files_taken(void)
{
    struct tier_store *first = NULL, *second = NULL;
    char *text;
    CHECK(create(1, 1, &first, &text) == ZI_OK);
    free(text);
    CHECK(mkfifo("disk/" FOLDER "/rank-0.h5", 0600) == 0);
    CHECK(create(0, 2, &second, &text) == ZI_ERROR_IO && !second);
    CHECK(strstr(text, FOLDER "/rank-0.h5: cannot be created: File exists"));
    free(text);
    CHECK(unlink("disk/" FOLDER "/rank-0.h5") == 0);
    CHECK(mkfifo("disk/" FOLDER "/node", 0600) == 0);
    CHECK(create(0, 2, &second, &text) == ZI_ERROR_IO && !second);
    CHECK(strstr(text, FOLDER "/node, which the ranks of the node share, cannot be made"));
    free(text);
    CHECK(store_test_entries("disk/" FOLDER, "rank-", NULL, 0) == 1);
    text = destroy(first);
    CHECK(strstr(text, FOLDER ": stays, since this run has not made what is in it: node"));
    free(text);
    CHECK(unlink("disk/" FOLDER "/node") == 0 && rmdir("disk/" FOLDER) == 0);
}

static void move_data(struct tier_store *store)
{
    struct tier_channel *channel = NULL;
    char *buffer = store_test_buffer(array.bytes);
    struct tier_transfer transfer = {.bytes = array.bytes, .buffer = buffer, .write = true};
    store_test_fill(buffer, 0, 0, array.bytes, 1);
    CHECK(tier_channel_open(store, 1, &channel) == ZI_OK);
    CHECK(tier_channel_move(channel, &transfer) == ZI_OK);
    memset(buffer, 0, array.bytes);
    transfer.write = false;
    CHECK(tier_channel_move(channel, &transfer) == ZI_OK);
    CHECK_INT(store_test_wrong(buffer, 0, 0, array.bytes, 1), 0);
    tier_channel_close(channel);
    free(buffer);
}

/* The path is moved, and another one has its name when the run ends. */
static void test_path_moved(void)
{
    struct tier_store *store = NULL;
    char *text;
    CHECK(create(0, 1, &store, &text) == ZI_OK);
    free(text);
    CHECK(rename("disk", "moved") == 0);
    move_data(store);
    CHECK(mkdir("disk", 0777) == 0 && mkdir("disk/" FOLDER, 0777) == 0);
    int file = open("disk/" FOLDER "/rank-0.h5", O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && close(file) == 0);
    text = destroy(store);
    CHECK(text[0] == '\0');
    free(text);
    CHECK_INT(store_test_entries("moved", "", NULL, 0), 0);
    CHECK(unlink("disk/" FOLDER "/rank-0.h5") == 0 && rmdir("disk/" FOLDER) == 0);
    CHECK(rmdir("moved") == 0);
}

/* The folder is removed while the run uses it, and so is the path. */
static void test_folder_removed(void)
{
    struct tier_store *store = NULL;
    char *text;
    CHECK(create(0, 1, &store, &text) == ZI_OK);
    free(text);
    CHECK(unlink("disk/" FOLDER "/rank-0.h5") == 0 && unlink("disk/" FOLDER "/zinf-store") == 0);
    CHECK(rmdir("disk/" FOLDER) == 0 && rmdir("disk") == 0);
    move_data(store);
    text = destroy(store);
    CHECK(strstr(text, "rank-0.h5: somebody else has removed or moved it"));
    free(text);
    CHECK(access("disk", F_OK) != 0);
    CHECK(mkdir("disk", 0777) == 0);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    nvme = store_test_settings((struct deck_list){{"disk"}, 1});
    alarm(60); /* an open that waits for the other end of a fifo */
    test_names_taken();
    test_files_taken();
    test_path_moved();
    test_folder_removed();
    CHECK(rmdir("disk") == 0);
    store_test_leave(folder);
    return test_finish("tier_folder_test");
}

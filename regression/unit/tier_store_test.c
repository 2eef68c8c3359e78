/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe store: what is written comes back, for many arrays, offsets and paths; the file is HDF5
 * and can be read by HDF5 while the run goes on; its numbers are where HDF5 says; counts are exact;
 * an I/O error names what it hit. */
#include "tier/store.h"

#include "base/log.h"
#include "base/timing.h"
#include "disk/disk.h"
#include "disk/fault.h"
#include "regression/unit/tier_store.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>

enum { ARRAYS = 40, TRANSFERS = 6 };

static struct tier_array arrays[ARRAYS];

static void name_arrays(void)
{
    static const char *const states[] = {"parameter", "remainder", "moment1", "moment2"};
    static const enum zi_dtype types[] = {ZI_BF16, ZI_INT16, ZI_FP32, ZI_FP16};
    for (int a = 0; a < ARRAYS; a++) {
        snprintf(arrays[a].name, sizeof arrays[a].name, "%s/blocks.%d.mlp", states[a % 4], a / 4);
        arrays[a].type = types[a % 4];
        /* from less than a block to several stripes, most of them no multiple of a block */
        arrays[a].bytes = 4 * (size_t)(1 + (a * a * 1237) % 120000);
    }
    arrays[7].bytes = 0;
}

static size_t padded(int array)
{
    return (arrays[array].bytes + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
}

/* Moves all bytes of all arrays in transfers of different lengths, several at once. */
static void move_all(struct tier_store *store, bool write, uint32_t round)
{
    struct tier_channel *channel = NULL;
    struct tier_transfer transfers[TRANSFERS];
    const size_t most = 30 * STORE_BLOCK;
    int array = 0, open = 0;
    size_t offset = 0, length = 1;
    CHECK(tier_channel_open(store, TRANSFERS, &channel) == ZI_OK);
    if (!channel) return;
    char *buffer = store_test_buffer(TRANSFERS * most);
    bool busy[TRANSFERS] = {false};
    while (array < ARRAYS || open > 0) {
        int t = 0;
        while (t < TRANSFERS && busy[t])
            t++;
        if (array < ARRAYS && offset == padded(array)) {
            array++;
            offset = 0;
        } else if (array < ARRAYS && t < TRANSFERS) {
            size_t bytes = padded(array) - offset;
            length = length % 30 + 1;
            if (bytes > length * STORE_BLOCK) bytes = length * STORE_BLOCK;
            transfers[t] = (struct tier_transfer){
                .array = array, .offset = offset, .bytes = bytes, .write = write, .tag = t};
            transfers[t].buffer = buffer + (size_t)t * most;
            if (write) store_test_fill(transfers[t].buffer, array, offset, bytes, round);
            CHECK(tier_channel_start(channel, &transfers[t]) == ZI_OK);
            busy[t] = true;
            open++;
            offset += bytes;
        } else {
            uint64_t tag = TRANSFERS;
            if (open == TRANSFERS)
                CHECK(tier_channel_start(channel, &transfers[0]) == ZI_IN_PROGRESS);
            CHECK(tier_channel_reap(channel, 60, &tag) == ZI_OK);
            if (tag >= TRANSFERS || !busy[tag]) break;
            const struct tier_transfer *done = &transfers[tag];
            if (!write)
                CHECK_INT(
                    store_test_wrong(done->buffer, done->array, done->offset, done->bytes, round),
                    0);
            busy[tag] = false;
            open--;
        }
    }
    uint64_t tag = 99;
    CHECK_INT(open, 0);
    CHECK(tier_channel_reap(channel, 0, &tag) == ZI_IN_PROGRESS && tag == 99);
    tier_channel_close(channel);
    free(buffer);
}

static int64_t attribute(hid_t dataset, const char *name)
{
    int64_t value = -1;
    hid_t made = H5Aopen(dataset, name, H5P_DEFAULT);
    CHECK(made >= 0 && H5Aread(made, H5T_NATIVE_INT64, &value) >= 0);
    if (made >= 0) H5Aclose(made);
    return value;
}

/* Puts the stripes of one file into whole[]; what HDF5 reads is also what lies at its offset. */
static void join_stripes(hid_t file, const char *file_name, int array, char *whole)
{
    if (H5Lexists(file, arrays[array].name, H5P_DEFAULT) <= 0) return;
    hid_t dataset = H5Dopen2(file, arrays[array].name, H5P_DEFAULT);
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    size_t bytes = (size_t)H5Sget_simple_extent_npoints(space) * H5Tget_size(type);
    CHECK_INT(H5Tget_size(type), zi_dtype_bytes(arrays[array].type));
    CHECK((H5Tget_class(type) == H5T_FLOAT) == (arrays[array].type == ZI_FP32));
    CHECK((H5Aexists(dataset, "dtype") > 0) == zi_dtype_is_half(arrays[array].type));
    CHECK_INT(attribute(dataset, "total_bytes"), arrays[array].bytes);
    char *read = store_test_buffer(bytes), *direct = store_test_buffer(bytes);
    CHECK(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, read) >= 0);
    int descriptor = open(file_name, O_RDONLY);
    CHECK(pread(descriptor, direct, bytes, (off_t)H5Dget_offset(dataset)) == (ssize_t)bytes);
    CHECK(memcmp(read, direct, bytes) == 0);
    close(descriptor);
    size_t first = (size_t)attribute(dataset, "first_byte");
    size_t stripe = (size_t)attribute(dataset, "stripe_bytes");
    size_t period = (size_t)attribute(dataset, "period_bytes");
    for (size_t done = 0, k = 0; done < bytes && stripe > 0; k++) {
        size_t part = bytes - done < stripe ? bytes - done : stripe;
        if (k * period + first + part > padded(array)) break;
        memcpy(whole + k * period + first, read + done, part);
        done += part;
    }
    free(direct);
    free(read);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
}

/* Reads every array from the files, as somebody would who looks at a run from outside. */
static void read_by_hdf5(const char *const *files, int count, uint32_t round)
{
    for (int a = 0; a < ARRAYS; a++) {
        if (arrays[a].bytes == 0) continue;
        char *whole = store_test_buffer(padded(a));
        for (int f = 0; f < count; f++) {
            hid_t file = H5Fopen(files[f], H5F_ACC_RDONLY, H5P_DEFAULT);
            CHECK(file >= 0);
            if (file < 0) continue;
            join_stripes(file, files[f], a, whole);
            CHECK(H5Fclose(file) >= 0);
        }
        CHECK_INT(store_test_wrong(whole, a, 0, padded(a), round), 0);
        free(whole);
    }
}

/* Names of the rank's file on each path. */
static int find_files(const char *const *paths, int count, char names[][128], const char **files)
{
    for (int p = 0; p < count; p++) {
        char folder[64] = "";
        CHECK_INT(store_test_entries(paths[p], "zinf-", folder, sizeof folder), 1);
        snprintf(names[p], sizeof names[p], "%s/%s/rank-0.h5", paths[p], folder);
        struct stat is;
        CHECK(stat(names[p], &is) == 0 && (is.st_mode & 0777) == 0600);
        /* space is claimed: no holes */
        CHECK(is.st_blocks * 512 >= is.st_size);
        files[p] = names[p];
    }
    return count;
}

static void test_round_trip(struct deck_list paths, int64_t engine)
{
    struct settings_nvme nvme = store_test_settings(paths);
    nvme.engine = engine;
    struct tier_store_options options = store_test_options(&nvme, 7);
    struct tier_store *store = NULL;
    double begun_s = zi_time_s();
    CHECK(tier_store_create(&options, arrays, ARRAYS, &store) == ZI_OK);
    if (!store) return;
    static const char *const each[] = {"disk1/deep", "disk2"};
    int count = paths.count;
    char names[2][128];
    const char *files[2];
    find_files(each, count, names, files);
    CHECK(strstr(tier_store_place(store), "disk1/deep/zinf-a_test_1-0000000000000007"));

    move_all(store, true, 1);
    move_all(store, false, 1);
    read_by_hdf5(files, count, 1);
    move_all(store, true, 2);
    read_by_hdf5(files, count, 2);
    move_all(store, false, 2);

    struct tier_store_counts counts;
    uint64_t all = 0;
    for (int a = 0; a < ARRAYS; a++)
        all += padded(a);
    tier_store_count(store, &counts);
    CHECK_INT(counts.read_bytes, 2 * all);
    CHECK_INT(counts.written_bytes, 2 * all);
    CHECK(counts.requests >= 4 * all / (size_t)nvme.block);
    CHECK(counts.busy_s > 0 && counts.busy_s <= zi_time_s() - begun_s);
    tier_store_destroy(store);
    CHECK_INT(store_test_entries("disk1/deep", "", NULL, 0), 0);
    CHECK(rmdir("disk1/deep") == 0 && rmdir("disk1") == 0);
    if (count == 2) CHECK(rmdir("disk2") == 0);
}

/* Reads an array again and again through a channel while HDF5 reads it too. */
static void test_reading_beside(void)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"disk"}, 1});
    struct tier_store_options options = store_test_options(&nvme, 8);
    struct tier_store *store = NULL;
    struct tier_channel *channel = NULL;
    const int array = 5;
    CHECK(tier_store_create(&options, arrays, ARRAYS, &store) == ZI_OK);
    if (!store) return;
    move_all(store, true, 3);
    CHECK(tier_channel_open(store, 2, &channel) == ZI_OK);
    char *buffer = store_test_buffer(2 * padded(array));
    static const char *const each[] = {"disk"};
    char names[1][128];
    const char *files[1];
    find_files(each, 1, names, files);
    for (int turn = 0; turn < 5; turn++) {
        for (int t = 0; t < 2; t++) {
            struct tier_transfer transfer = {.array = array, .bytes = padded(array), .tag = t};
            transfer.buffer = buffer + (size_t)t * padded(array);
            transfer.write = t == 1;
            if (t == 1) store_test_fill(transfer.buffer, array, 0, padded(array), 3);
            CHECK(tier_channel_start(channel, &transfer) == ZI_OK);
        }
        read_by_hdf5(files, 1, 3);
        uint64_t tag;
        for (int t = 0; t < 2; t++)
            CHECK(tier_channel_reap(channel, 60, &tag) == ZI_OK);
        CHECK_INT(store_test_wrong(buffer, array, 0, padded(array), 3), 0);
    }
    free(buffer);
    tier_channel_close(channel);
    tier_store_destroy(store);
    CHECK(rmdir("disk") == 0);
}

static void test_errors(void)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"disk1", "disk2"}, 2});
    struct tier_store_options options = store_test_options(&nvme, 9);
    struct tier_store *store = NULL;
    struct tier_channel *channel = NULL;
    struct store_test_log log;
    CHECK(tier_store_create(&options, arrays, ARRAYS, &store) == ZI_OK);
    if (!store) return;
    struct disk_fault fault = {
        .kind = DISK_FAULT_ERROR, .writes = true, .error = EIO, .first = 3, .times = 1};
    disk_fault_set(&fault);
    CHECK(tier_channel_open(store, 3, &channel) == ZI_OK);
    char *buffer = store_test_buffer(padded(9));
    struct tier_transfer bad = {.array = 9, .bytes = padded(9), .buffer = buffer, .write = true};
    store_test_log_begin(&log);
    CHECK(tier_channel_move(channel, &bad) == ZI_ERROR_IO);
    char *text = store_test_log_end(&log);
    CHECK(strstr(text, "/rank-0.h5") && strstr(text, arrays[9].name));
    CHECK(strstr(text, strerror(EIO)) && strstr(text, " bytes at offset "));
    free(text);
    /* the channel is whole again */
    store_test_fill(buffer, 9, 0, padded(9), 4);
    CHECK(tier_channel_move(channel, &bad) == ZI_OK);
    bad.write = false;
    memset(buffer, 0, padded(9));
    CHECK(tier_channel_move(channel, &bad) == ZI_OK);
    CHECK_INT(store_test_wrong(buffer, 9, 0, padded(9), 4), 0);
    disk_fault_set(NULL);
    tier_channel_close(channel);

    /* what a caller must not ask for */
    CHECK(tier_channel_open(store, 1, &channel) == ZI_OK);
    struct tier_transfer wrong[] = {bad, bad, bad, bad, bad};
    wrong[0].array = ARRAYS;
    wrong[1].offset = STORE_BLOCK;
    wrong[2].bytes = 512;
    wrong[3].buffer = buffer + 8;
    wrong[4].array = -1;
    for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++)
        CHECK(tier_channel_start(channel, &wrong[w]) == ZI_ERROR_BUG);
    tier_channel_close(channel);
    free(buffer);
    tier_store_destroy(store);
    tier_store_destroy(NULL);
    CHECK(rmdir("disk1") == 0 && rmdir("disk2") == 0);
}

static void test_refusals(void)
{
    struct store_test_log log;
    struct tier_store *store = NULL;
    static const struct {
        struct deck_list paths;
        const char *says;
        enum zi_status status;
    } wrong[] = {
        {{{NULL}, 0}, "nvme.paths is empty", ZI_ERROR_USAGE},
        {{{"file"}, 1}, "file: cannot be opened: Not a directory", ZI_ERROR_IO},
        {{{"file/below"}, 1}, "file/below", ZI_ERROR_IO},
        {{{"fifo"}, 1}, "fifo: cannot be opened: Not a directory", ZI_ERROR_IO},
        {{{"same", "same"}, 2}, "same and same are one folder", ZI_ERROR_USAGE},
        {{{"same", "./same/"}, 2}, "same and ./same/ are one folder", ZI_ERROR_USAGE},
        {{{"same", "other", "link"}, 3}, "same and link are one folder", ZI_ERROR_USAGE},
    };
    FILE *file = fopen("file", "w");
    CHECK(file && fclose(file) == 0);
    CHECK(mkfifo("fifo", 0600) == 0 && symlink("same", "link") == 0);
    for (size_t p = 0; p < sizeof wrong / sizeof wrong[0]; p++) {
        struct settings_nvme nvme = store_test_settings(wrong[p].paths);
        struct tier_store_options options = store_test_options(&nvme, 10);
        store_test_log_begin(&log);
        CHECK_INT(tier_store_create(&options, arrays, ARRAYS, &store), wrong[p].status);
        char *text = store_test_log_end(&log);
        CHECK(strstr(text, wrong[p].says));
        free(text);
    }
    CHECK(!store && unlink("file") == 0 && unlink("fifo") == 0 && unlink("link") == 0);
    CHECK(rmdir("same") == 0 && rmdir("other") == 0);
}

static void test_room(void)
{
    struct settings_nvme nvme = store_test_settings((struct deck_list){{"absent/deeper"}, 1});
    struct settings_nvme twice =
        store_test_settings((struct deck_list){{"absent/deeper", "other"}, 2});
    struct tier_room one = {0}, half = {0}, both = {0};
    CHECK(tier_store_room(&nvme, 1, &one) == ZI_OK && one.bytes > 0);
    CHECK(tier_store_room(&nvme, 2, &half) == ZI_OK);
    CHECK(tier_store_room(&twice, 1, &both) == ZI_OK);
    CHECK_NEAR((double)half.bytes / (double)one.bytes, 0.5, 0.1);
    CHECK_NEAR((double)both.bytes / (double)one.bytes, 1, 0.1); /* one disk, counted once */
    CHECK(access("absent", F_OK) != 0);
}

int main(void)
{
    char folder[32];
    store_test_enter(folder);
    name_arrays();
    test_round_trip((struct deck_list){{"disk1/deep"}, 1}, ZI_AUTO);
    test_round_trip((struct deck_list){{"disk1/deep"}, 1}, NVME_THREADS);
    test_round_trip((struct deck_list){{"disk1/deep", "disk2"}, 2}, ZI_AUTO);
    test_reading_beside();
    test_errors();
    test_refusals();
    test_room();
    store_test_leave(folder);
    return test_finish("tier_store_test");
}

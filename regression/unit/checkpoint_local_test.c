/* SPDX-License-Identifier: Apache-2.0 */
/* Local checkpoints, on one rank and on three: what was written is read again, by the rank that has
 * it and, once it was shared, by all; of which step all ranks have whole parts, whatever one of
 * them has lost, and whatever has happened to a byte of one; which steps stand; and that what
 * cannot be written leaves the step before. */
#include "checkpoint_fixture.h"

#include "base/log.h"
#include "base/random.h"
#include "checkpoint/local_file.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct comm *world;
static struct capture capture;
static char folder[PATH_MAX];
static struct local_site site = {folder, 0x1234, 0x5678, -1};
static int ranks, rank;

/* Calls `what` for two pieces of what this rank has of each dataset; the last tensor but one has
 * one element, which the last rank has. */
static void each_own(struct local_checkpoint *local, int version,
                     void (*what)(struct local_checkpoint *local, int version, enum tier_kind state,
                                  int tensor, int64_t first, int64_t count))
{
    enum zi_dtype type = local_header(local)->type;
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!checkpoint_state_is_written(s, type)) continue;
        for (int t = 0; t < TENSOR_COUNT; t++) {
            int64_t elements = tensor_elements(t);
            int64_t first = elements * rank / ranks, end = elements * (rank + 1) / ranks;
            int64_t middle = first + (end - first) / 3;
            what(local, version, s, t, middle, end - middle);
            what(local, version, s, t, first, middle - first);
        }
    }
}

static void write_piece(struct local_checkpoint *local, int version, enum tier_kind state,
                        int tensor, int64_t first, int64_t count)
{
    float *values = test_allocate((size_t)count * 4);
    values_fill(version, state, local_header(local)->type, tensor, first, count, values);
    CHECK(local_write(local, state, tensor, first, count, values) == ZI_OK);
    free(values);
}

static void read_piece(struct local_checkpoint *local, int version, enum tier_kind state,
                       int tensor, int64_t first, int64_t count)
{
    enum zi_dtype type = local_header(local)->type;
    size_t bytes = (size_t)count * state_bytes(state, type);
    char *found = test_allocate(bytes), *expected = test_allocate(bytes);
    values_fill(version, state, type, tensor, first, count, expected);
    CHECK(local_read(local, state, tensor, first, count, found) == ZI_OK);
    CHECK(memcmp(found, expected, bytes) == 0);
    free(found);
    free(expected);
}

/* Changes of what is written, and what becomes of it. */
enum flaw { FLAW_NONE, FLAW_INFINITE, FLAW_TWICE };

static enum zi_status save(int version, enum zi_dtype type, int64_t standing, enum flaw flaw)
{
    struct local_checkpoint *local;
    const struct checkpoint_header header = header_of(version, type);
    const float infinite = INFINITY, one = 1;
    site.standing = standing;
    ZI_TRY(local_create(world, &site, &header, tensors, TENSOR_COUNT, &local));
    each_own(local, version, write_piece);
    if (flaw == FLAW_INFINITE && rank == ranks - 1) {
        local_write(local, TIER_MASTER, 0, 7, 1, &infinite);
        local_dataset(local, TIER_MASTER, 0)->written--; /* in the place of another */
    }
    if (flaw == FLAW_TWICE && rank == 0) local_write(local, TIER_MOMENT2, 3, 5, 1, &one);
    enum zi_status status = local_commit(local);
    local_close(local);
    return status;
}

/* The step that is found, -1: none; what is said goes to *text. */
static int64_t find(enum zi_dtype type, struct local_checkpoint **opened, const char **text)
{
    capture_begin(&capture, stderr);
    enum zi_status status = local_open_newest(world, &site, tensors, TENSOR_COUNT, type, opened);
    *text = capture_end(&capture);
    CHECK(status == ZI_OK);
    return *opened ? local_header(*opened)->step : -1;
}

static int64_t find_step(enum zi_dtype type)
{
    struct local_checkpoint *opened;
    const char *text;
    int64_t step = find(type, &opened, &text);
    local_close(opened);
    return step;
}

static const char *part_of(int of, int64_t step)
{
    static char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/rank-%05d.step-%08lld.local", folder, of, (long long)step);
    return path;
}

static int count_files(void)
{
    int count = 0;
    DIR *list = opendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list));)
        count += entry->d_name[0] != '.';
    if (list) closedir(list);
    return count;
}

/* All that rank has, and after sharing all that there is. */
static void test_values(enum zi_dtype type)
{
    struct local_checkpoint *local = NULL;
    const char *text;
    CHECK(save(1, type, -1, FLAW_NONE) == ZI_OK);
    CHECK_INT(find(type, &local, &text), 100);
    CHECK(!text[0]);
    if (!local) return;
    const struct checkpoint_header *header = local_header(local), expected = header_of(1, type);
    CHECK(header->updates == expected.updates && header->tokens == expected.tokens);
    CHECK(header->seed == expected.seed && strcmp(header->deck, expected.deck) == 0);
    CHECK(strcmp(header->model_text, expected.model_text) == 0);
    each_own(local, 1, read_piece);
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        for (int t = 0; t < TENSOR_COUNT && checkpoint_state_is_written(s, type); t++) {
            int64_t elements = tensor_elements(t);
            for (int root = 0; root < ranks; root++) {
                int64_t first = elements * root / ranks, end = elements * (root + 1) / ranks;
                CHECK(local_share(local, s, t, first, end - first, root) == ZI_OK);
            }
        }
    }
    CHECK(local_share_end(local) == ZI_OK);
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        for (int t = 0; t < TENSOR_COUNT && checkpoint_state_is_written(s, type); t++)
            read_piece(local, 1, s, t, 0, tensor_elements(t));
    }
    local_close(local);
    CHECK(comm_barrier(world) == ZI_OK);
    CHECK_INT(count_files(), ranks);
    CHECK(comm_barrier(world) == ZI_OK);
    local_remove(folder, rank, -1);
}

/* Two steps stand, and a third while it is written has taken the place of the older one. */
static void test_steps(void)
{
    for (int version = 1; version <= 4; version++) {
        CHECK(save(version, ZI_BF16, 100 * (version - 1), FLAW_NONE) == ZI_OK);
        CHECK_INT(find_step(ZI_BF16), 100 * version);
        CHECK_INT(count_files(), ranks * (version > 1 ? 2 : 1));
        CHECK(comm_barrier(world) == ZI_OK);
    }
    /* Of one rank the newest has not come to its name, or is lost. */
    if (rank == ranks - 1) CHECK(unlink(part_of(rank, 400)) == 0);
    CHECK_INT(find_step(ZI_BF16), 300);
    if (rank == 0) CHECK(unlink(part_of(rank, 300)) == 0);
    struct local_checkpoint *local;
    const char *text;
    CHECK_INT(find(ZI_BF16, &local, &text), -1);
    bool lacks = strstr(text, "lacks this rank's part of the local checkpoint of step 300");
    CHECK(lacks == (rank == 0 && ranks > 1));
    local_remove(folder, rank, -1);
    CHECK_INT(find_step(ZI_BF16), -1);
}

/* What must not take the place of a good step, and leaves nothing. */
static void test_refused(void)
{
    struct rlimit before, small = {.rlim_cur = 4096};
    CHECK(save(1, ZI_BF16, -1, FLAW_NONE) == ZI_OK);
    capture_begin(&capture, stderr);
    CHECK(save(2, ZI_BF16, 100, FLAW_INFINITE) == ZI_ERROR_NUMERICS);
    const char *text = capture_end(&capture);
    CHECK(!strstr(text, "not finite") == (rank != 0));
    CHECK_INT(find_step(ZI_BF16), 100);
    capture_begin(&capture, stderr);
    CHECK(save(2, ZI_BF16, 100, FLAW_TWICE) == ZI_ERROR_BUG);
    text = capture_end(&capture);
    CHECK(!strstr(text, "were written") == (rank != 0));
    CHECK_INT(find_step(ZI_BF16), 100);
    /* A file that may not grow, of one rank. */
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small.rlim_max = before.rlim_max;
    if (rank == ranks - 1) CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    capture_begin(&capture, stderr);
    CHECK(save(2, ZI_BF16, 100, FLAW_NONE) == ZI_ERROR_IO);
    text = capture_end(&capture);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(!strstr(text, "cannot begin a local checkpoint") == (rank != ranks - 1));
    CHECK_INT(find_step(ZI_BF16), 100);
    CHECK_INT(count_files(), ranks);
    CHECK(comm_barrier(world) == ZI_OK);
    local_remove(folder, rank, -1);
}

/* Of another run, another layout, another type: passed over with the reason. */
static void test_strangers(void)
{
    const struct {
        struct local_site site;
        enum zi_dtype type;
        const char *said;
    } strangers[] = {
        {{folder, 0x1235, 0x5678, -1}, ZI_BF16, "is of another run"},
        {{folder, 0x1234, 0x5679, -1}, ZI_BF16, "was cut in another way"},
        {{folder, 0x1234, 0x5678, -1}, ZI_FP32, "was cut in another way"},
    };
    const struct local_site own = site;
    CHECK(save(1, ZI_BF16, -1, FLAW_NONE) == ZI_OK);
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct local_checkpoint *local;
        const char *text;
        site = strangers[i].site;
        CHECK_INT(find(strangers[i].type, &local, &text), -1);
        CHECK(strstr(text, strangers[i].said) && strstr(text, "passed over"));
        local_close(local);
    }
    site = own;
    /* The part of another rank under this one's name. */
    if (ranks > 1) {
        CHECK(comm_barrier(world) == ZI_OK);
        char other[PATH_MAX + 64], kept[PATH_MAX + 64];
        snprintf(kept, sizeof kept, "%s/kept", folder);
        snprintf(other, sizeof other, "%s", part_of(1, 100));
        if (rank == 0)
            CHECK(rename(part_of(0, 100), kept) == 0 && link(other, part_of(0, 100)) == 0);
        CHECK_INT(find_step(ZI_BF16), -1);
        if (rank == 0) CHECK(rename(kept, part_of(0, 100)) == 0);
        CHECK_INT(find_step(ZI_BF16), 100);
    }
    local_remove(folder, rank, -1);
}

static void flip(const char *path, off_t at, int bit)
{
    unsigned char byte;
    int file = open(path, O_RDWR);
    CHECK(file >= 0 && pread(file, &byte, 1, at) == 1);
    byte ^= (unsigned char)(1 << bit);
    CHECK(pwrite(file, &byte, 1, at) == 1 && close(file) == 0);
}

/* One bit anywhere in a part of one rank: found, or of no effect on any value. */
static void test_bits(void)
{
    enum { TRIES = 400 };
    int found = 0, harmless = 0;
    struct stat is;
    CHECK(save(1, ZI_BF16, -1, FLAW_NONE) == ZI_OK);
    CHECK(stat(part_of(rank, 100), &is) == 0);
    struct checkpoint_header header = header_of(1, ZI_BF16);
    struct local_checkpoint *plan;
    CHECK(local_describe(world, &site, &header, tensors, TENSOR_COUNT, &plan) == ZI_OK);
    int64_t record_bytes = plan->record_bytes;
    local_close(plan);
    for (int i = 0; i < TRIES; i++) {
        /* a third of them in the record, the same on all ranks */
        uint64_t bits = zi_random_bits(3, 1, (uint64_t)i);
        int64_t at = (int64_t)(bits % (uint64_t)(i % 3 ? is.st_size : record_bytes));
        int who = (int)(bits >> 40) % ranks;
        if (rank == who) flip(part_of(rank, 100), at, i % 8);
        struct local_checkpoint *local;
        const char *text;
        bool whole = find(ZI_BF16, &local, &text) == 100;
        if (whole) each_own(local, 1, read_piece);
        local_close(local);
        found += !whole;
        harmless += whole;
        CHECK(at >= record_bytes || !whole);
        if (rank == who) flip(part_of(rank, 100), at, i % 8);
        CHECK(comm_barrier(world) == ZI_OK);
    }
    CHECK(found > TRIES / 2 && harmless < TRIES / 4);
    for (int64_t bytes = 0; bytes < is.st_size; bytes += is.st_size / 7 - 1) {
        if (rank == 0) CHECK(truncate(part_of(0, 100), bytes) == 0);
        CHECK_INT(find_step(ZI_BF16), -1);
    }
    local_remove(folder, rank, -1);
}

/* Whose a folder is, and what of it is removed. */
static void test_folder(const char *above)
{
    struct local_owner owner = {.identity = 0xabc, .run_directory = "/a run/here"};
    struct local_remains remains;
    char name[PATH_MAX], path[PATH_MAX + 16], deep[PATH_MAX];
    snprintf(deep, sizeof deep, "%s/a/b", above);
    CHECK(local_folder_name(deep, owner.identity, name) == ZI_OK);
    CHECK(local_folder_make(name, &owner) == ZI_OK && local_folder_make(name, &owner) == ZI_OK);
    int directory = open(deep, O_RDONLY | O_DIRECTORY);
    const char *last = strrchr(name, '/') + 1;
    CHECK(local_folder_look(directory, last, &remains));
    CHECK(remains.owner.identity == 0xabc && remains.bytes > 0);
    CHECK(strcmp(remains.owner.run_directory, "/a run/here") == 0);
    CHECK(!local_folder_look(directory, "checkpoints-0000000000000abd", &remains));
    CHECK(!local_folder_look(directory, ".", &remains));
    int held;
    CHECK(!remains.held && local_folder_hold(name, &held) == ZI_OK);
    CHECK(local_folder_look(directory, last, &remains) && remains.held);
    CHECK(local_folder_remove(directory, last) == EBUSY);
    close(held);
    /* Somebody's own file keeps the folder, and is kept. */
    snprintf(path, sizeof path, "%s/mine", name);
    CHECK(close(creat(path, 0600)) == 0);
    CHECK(local_folder_remove(directory, last) != 0);
    CHECK(access(path, F_OK) == 0);
    CHECK(!local_folder_look(directory, last, &remains));
    CHECK(unlink(path) == 0 && local_folder_make(name, &owner) == ZI_OK);
    CHECK(local_folder_remove(directory, last) == 0 && access(name, F_OK) != 0);
    CHECK(local_folder_remove(directory, last) == ENOENT);
    close(directory);
}

int main(int argc, char **argv)
{
    char root[4096] = "";
    if (comm_start(&argc, &argv, &world) < 0) return 1;
    ranks = comm_size(world);
    rank = comm_rank(world);
    zi_log_identify(rank, ranks);
    signal(SIGXFSZ, SIG_IGN);
    if (rank == 0) folder_make(root, sizeof root - 64);
    CHECK(comm_broadcast(world, root, sizeof root, 0) == ZI_OK);
    snprintf(folder, sizeof folder, "%s", root);
    test_values(ZI_BF16);
    test_values(ZI_FP32);
    test_steps();
    test_refused();
    test_strangers();
    test_bits();
    CHECK(comm_barrier(world) == ZI_OK);
    CHECK_INT(count_files(), 0);
    CHECK(comm_barrier(world) == ZI_OK);
    if (rank == 0) test_folder(root);
    if (rank == 0) folder_remove(root);
    int code = test_finish("checkpoint_local_test");
    comm_finish(world);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Round trips through the queue on both engines: many sizes and offsets at once, with blocks that
 * divide nothing; depth and admission are kept to per path, seen by an admission that counts; the
 * waiting rules of reap; and for how long queues that share it are busy. */
#include "disk/busy.h"
#include "disk/disk.h"

#include "regression/unit/disk_fixture.h"
#include "regression/unit/test.h"

#include "base/random.h"
#include "base/timing.h"

#include <sys/wait.h>
#include <time.h>

enum { FILE_BYTES = 8 << 20, REQUESTS = 40, PATHS = 2 };

static void test_round_trip(int64_t engine, int depth, size_t block)
{
    struct disk_queue *queue = disk_queue_of(engine, depth, block, 60);
    struct disk_file *files[2] = {disk_file_of("first", FILE_BYTES),
                                  disk_file_of("second", FILE_BYTES)};
    struct disk_request requests[REQUESTS];
    struct disk_result results[REQUESTS];
    int64_t place = 0;
    uint64_t total = 0;
    CHECK(strcmp(disk_queue_engine(queue), engine == NVME_THREADS ? "threads" : "libaio") == 0);
    for (int i = 0; i < REQUESTS; i++) {
        size_t pages = 1 + zi_random_bits(5, block, (uint64_t)i) % 50;
        size_t bytes = pages * DISK_BLOCK;
        requests[i] = (struct disk_request){.file = files[i % 2],
                                            .offset = place,
                                            .bytes = bytes,
                                            .buffer = disk_buffer(bytes),
                                            .write = true,
                                            .label = "round trip",
                                            .tag = 1000 + (uint64_t)i};
        disk_fill(requests[i].buffer, i, place, bytes);
        place += (int64_t)bytes + (i % 3) * DISK_BLOCK;
        total += bytes;
    }
    CHECK(place <= FILE_BYTES);
    for (int pass = 0; pass < 2; pass++) {
        bool seen[REQUESTS] = {false};
        int count = 0;
        for (int i = 0; i < REQUESTS; i++) {
            int which = pass == 0 ? i : REQUESTS - 1 - i;
            if (pass == 1) memset(requests[which].buffer, 0, requests[which].bytes);
            requests[which].write = pass == 0;
            CHECK(disk_push(queue, &requests[which]) == DISK_QUEUED);
            if (i % 4 == 0) disk_flush(queue);
        }
        while (count < REQUESTS) {
            int got = disk_reap(queue, 1, 7, 60, results);
            CHECK(got >= 1 && got <= 7);
            if (got < 1) break;
            for (int i = 0; i < got; i++, count++) {
                int which = (int)(results[i].tag - 1000);
                CHECK(which >= 0 && which < REQUESTS && !seen[which]);
                seen[which] = true;
                CHECK_INT(results[i].error, 0);
                CHECK_INT(results[i].bytes, requests[which].bytes);
                CHECK(results[i].seconds >= 0 && results[i].seconds < 60);
            }
        }
        CHECK_INT(disk_reap(queue, 0, 7, 0, results), 0);
        if (pass == 0) CHECK(disk_file_sync(files[0]) == ZI_OK);
    }
    for (int i = 0; i < REQUESTS; i++) {
        CHECK(disk_matches(requests[i].buffer, i, requests[i].offset, requests[i].bytes));
        CHECK(disk_guarded(requests[i].buffer, requests[i].bytes));
        disk_buffer_free(requests[i].buffer);
    }
    struct disk_counts counts;
    disk_queue_count(queue, &counts);
    CHECK_INT(counts.read_bytes, total);
    CHECK_INT(counts.written_bytes, total);
    CHECK_INT(counts.requests, 2 * REQUESTS);
    CHECK(counts.blocks >= 2 * total / block);
    disk_queue_close(queue);
    for (int i = 0; i < 2; i++)
        disk_file_close(files[i]);
    unlink(disk_path("first"));
    unlink(disk_path("second"));
}

/* What the queue does is there for others, and what others wrote for the queue. */
static void test_plain_file(int64_t engine)
{
    enum { BYTES = 5 * DISK_BLOCK };
    struct disk_queue *queue = disk_queue_of(engine, 2, 2 * DISK_BLOCK, 60);
    struct disk_file *file = disk_file_of("plain", BYTES);
    unsigned char *buffer = disk_buffer(BYTES), *other = disk_buffer(BYTES);
    disk_fill(buffer, 1, 0, BYTES);
    CHECK_INT(disk_move(queue, file, true, 0, BYTES, buffer).error, 0);
    FILE *plain = fopen(disk_path("plain"), "r+b");
    CHECK(plain && fread(other, 1, BYTES, plain) == BYTES && memcmp(buffer, other, BYTES) == 0);
    disk_fill(other, 2, DISK_BLOCK, BYTES);
    if (plain) {
        fseek(plain, DISK_BLOCK, SEEK_SET);
        CHECK(fwrite(other, 1, DISK_BLOCK, plain) == DISK_BLOCK);
        fclose(plain);
    }
    CHECK_INT(disk_move(queue, file, false, DISK_BLOCK, 2 * DISK_BLOCK, buffer).error, 0);
    CHECK(disk_matches(buffer, 2, DISK_BLOCK, DISK_BLOCK));
    CHECK(disk_matches(buffer + DISK_BLOCK, 1, 2 * DISK_BLOCK, DISK_BLOCK));
    disk_queue_close(queue);
    disk_file_close(file);
    disk_buffer_free(buffer);
    disk_buffer_free(other);
    unlink(disk_path("plain"));
}

struct gate {
    int out[PATHS], most[PATHS], limit[PATHS];
    size_t bytes_out;
    long acquired, released, refused, waits;
};

static bool acquire(void *context, int path, bool write, size_t bytes)
{
    struct gate *gate = context;
    CHECK(path >= 0 && path < PATHS && write && bytes > 0);
    if (gate->out[path] >= gate->limit[path]) {
        gate->refused++;
        return false;
    }
    gate->acquired++;
    gate->bytes_out += bytes;
    if (++gate->out[path] > gate->most[path]) gate->most[path] = gate->out[path];
    return true;
}

static void release(void *context, int path, bool write, size_t bytes)
{
    struct gate *gate = context;
    CHECK(write);
    gate->out[path]--;
    gate->bytes_out -= bytes;
    gate->released++;
}

/* Someone else has left the disk. */
static void wait_for_room(void *context, int path, bool write, double timeout_s)
{
    struct gate *gate = context;
    CHECK(write && timeout_s > 0 && timeout_s <= 1);
    gate->waits++;
    gate->limit[path] = 1;
}

static void test_admission(int64_t engine, int depth, int limit0, int limit1)
{
    enum { BYTES = 33 * DISK_BLOCK, COUNT = 4 };
    struct gate gate = {.limit = {limit0, limit1}};
    struct disk_admission admission = {&gate, acquire, release, wait_for_room};
    struct disk_options options = {.engine = engine,
                                   .depth = depth,
                                   .paths = PATHS,
                                   .requests = COUNT,
                                   .block = 2 * DISK_BLOCK,
                                   .deadline_s = 60,
                                   .admission = &admission};
    struct disk_queue *queue = NULL;
    struct disk_file *files[PATHS] = {NULL, NULL};
    struct disk_result results[COUNT];
    unsigned char *buffer = disk_buffer(BYTES);
    CHECK(disk_queue_open(&options, &queue) == ZI_OK);
    for (int i = 0; i < PATHS; i++) {
        struct disk_file_options file = {.name = disk_path(i == 0 ? "a" : "b"),
                                         .path = i,
                                         .create = true,
                                         .bytes = COUNT * BYTES};
        CHECK(disk_file_open(&file, &files[i]) == ZI_OK);
    }
    disk_fill(buffer, 3, 0, BYTES);
    for (int i = 0; i < COUNT; i++) {
        struct disk_request request = {
            files[i / 2], i * (int64_t)BYTES, BYTES, buffer, true, "gate", 0};
        CHECK(disk_push(queue, &request) == DISK_QUEUED);
        if (i + 1 == COUNT) CHECK(disk_push(queue, &request) == DISK_FULL);
    }
    disk_flush(queue);
    /* the second path is not held up by the first, which is full */
    CHECK_INT(gate.out[0], limit0 < depth ? limit0 : depth);
    CHECK_INT(gate.out[1], limit1 < depth ? limit1 : depth);
    CHECK_INT(disk_reap(queue, COUNT, COUNT, 60, results), COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_INT(results[i].error, 0);
    CHECK_INT(gate.acquired, COUNT * 17);
    CHECK_INT(gate.released, COUNT * 17);
    CHECK_INT(gate.bytes_out, 0);
    int expect0 = limit0 == 0 ? 1 : limit0;
    CHECK_INT(gate.most[0], expect0 < depth ? expect0 : depth);
    CHECK_INT(gate.most[1], limit1 < depth ? limit1 : depth);
    CHECK((gate.refused > 0) == (limit0 < depth || limit1 < depth));
    CHECK((gate.waits > 0) == (limit0 == 0));
    disk_queue_close(queue);
    for (int i = 0; i < PATHS; i++)
        disk_file_close(files[i]);
    disk_buffer_free(buffer);
    unlink(disk_path("a"));
    unlink(disk_path("b"));
}

static void test_reap(int64_t engine)
{
    struct disk_queue *queue = disk_queue_of(engine, 4, 1 << 16, 60);
    struct disk_file *file = disk_file_of("reap", 1 << 20);
    struct disk_result results[4];
    unsigned char *buffer = disk_buffer(1 << 20);
    double start = zi_time_s();
    /* nothing to wait for */
    CHECK_INT(disk_reap(queue, 1, 4, 30, results), 0);
    CHECK(zi_time_s() - start < 20);
    /* of no bytes */
    CHECK_INT(disk_move(queue, file, true, 0, 0, buffer).tag, 77);
    /* more than there are: all of them come, without the time running out */
    struct disk_request request = {file, 0, 1 << 20, buffer, true, "reap", 5};
    CHECK(disk_push(queue, &request) == DISK_QUEUED);
    CHECK_INT(disk_reap(queue, 3, 4, 30, results), 1);
    CHECK_INT(results[0].tag, 5);
    CHECK(zi_time_s() - start < 20);
    /* closed with requests out: the buffer is free afterwards */
    for (int i = 0; i < 3; i++)
        CHECK(disk_push(queue, &request) == DISK_QUEUED);
    disk_flush(queue);
    disk_queue_close(queue);
    disk_queue_close(NULL);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("reap"));
}

static void test_bad_block(void)
{
    struct disk_options options = {.depth = 1, .requests = 1, .block = 6000, .deadline_s = 1};
    struct disk_queue *queue;
    CHECK(disk_queue_open(&options, &queue) == ZI_ERROR_USAGE);
    CHECK(!queue);
}

/* Contexts of libaio that this process has: the kernel maps the events of each. */
static int contexts(void)
{
    char line[1024];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) exit(1);
    while (fgets(line, sizeof line, maps))
        count += !!strstr(line, "/[aio]");
    fclose(maps);
    return count;
}

static bool moves(struct disk_queue *queue, struct disk_file *file)
{
    enum { BYTES = 1 << 18 };
    unsigned char *buffer = disk_buffer(BYTES);
    disk_fill(buffer, 9, 0, BYTES);
    bool right = disk_move(queue, file, true, 0, BYTES, buffer).error == 0;
    memset(buffer, 0, BYTES);
    right = right && disk_move(queue, file, false, 0, BYTES, buffer).error == 0 &&
            disk_matches(buffer, 9, 0, BYTES);
    disk_buffer_free(buffer);
    return right;
}

/* In a child, which has neither the contexts of its parent nor what those lie idle for. */
static int reuse_child(struct disk_queue *of_parent, struct disk_file *file)
{
    struct disk_queue *own = disk_queue_of(NVME_LIBAIO, 3, DISK_BLOCK, 60);
    CHECK(moves(own, file));
    disk_queue_close(of_parent);
    struct disk_queue *second = disk_queue_of(NVME_LIBAIO, 3, DISK_BLOCK, 60);
    CHECK(moves(second, file) && moves(own, file));
    disk_queue_close(second);
    disk_queue_close(own);
    return test_failures() > 0;
}

/* A context stays for the next queue that it has room for; four at most do. */
static void test_reuse(void)
{
    enum { QUEUES = 6, IDLE = 4 };
    struct disk_queue *queues[QUEUES];
    struct disk_file *file = disk_file_of("reuse", 1 << 20);
    for (int i = 0; i < QUEUES; i++)
        queues[i] = disk_queue_of(NVME_LIBAIO, 1 + i, DISK_BLOCK, 60);
    CHECK_INT(contexts(), QUEUES);
    for (int i = 0; i < QUEUES; i++)
        disk_queue_close(queues[i]);
    CHECK_INT(contexts(), IDLE);
    for (int i = 0; i < 3 * QUEUES; i++) {
        struct disk_queue *queue = disk_queue_of(NVME_LIBAIO, 1 + i % QUEUES, DISK_BLOCK, 60);
        CHECK(moves(queue, file));
        disk_queue_close(queue);
    }
    CHECK_INT(contexts(), IDLE);
    /* none of them has room: a new one, for which one goes when it comes back */
    queues[0] = disk_queue_of(NVME_LIBAIO, 2 * QUEUES, DISK_BLOCK, 60);
    CHECK(moves(queues[0], file));
    CHECK_INT(contexts(), IDLE + 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(reuse_child(queues[0], file));
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(moves(queues[0], file));
    disk_queue_close(queues[0]);
    CHECK_INT(contexts(), IDLE);
    disk_file_close(file);
    unlink(disk_path("reuse"));
}

#define MOMENT_S 0.005

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(MOMENT_S * 1e9)}, NULL);
}

/* What two do at once counts once, and what none does not at all. */
static void test_busy(void)
{
    enum { ROUNDS = 4 };
    struct disk_busy busy;
    double begun = zi_time_s(), idle = 0, before;
    disk_busy_start(&busy);
    CHECK(disk_busy_seconds(&busy) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        disk_busy_enter(&busy);
        disk_busy_enter(&busy);
        rest();
        disk_busy_leave(&busy);
        before = disk_busy_seconds(&busy);
        rest();
        CHECK(disk_busy_seconds(&busy) >= before + MOMENT_S);
        disk_busy_leave(&busy);
        before = zi_time_s();
        rest();
        idle += zi_time_s() - before;
    }
    double sum = disk_busy_seconds(&busy);
    CHECK(sum >= 2 * ROUNDS * MOMENT_S && sum <= zi_time_s() - begun - idle);
    CHECK(disk_busy_seconds(&busy) == sum);
    disk_busy_finish(&busy);
}

/* A queue is busy from the first block that it hands over until it has seen the last one back. */
static void test_busy_queue(int64_t engine)
{
    enum { BYTES = 64 * DISK_BLOCK };
    struct disk_busy busy;
    struct disk_queue *queue = NULL;
    struct disk_options options = {.engine = engine,
                                   .depth = 2,
                                   .requests = 2,
                                   .block = DISK_BLOCK,
                                   .deadline_s = 60,
                                   .busy = &busy};
    disk_busy_start(&busy);
    if (disk_queue_open(&options, &queue) < 0) exit(1);
    struct disk_file *file = disk_file_of("busy", BYTES);
    void *buffer = disk_buffer(BYTES);
    double begun = zi_time_s();
    CHECK(disk_busy_seconds(&busy) == 0);
    CHECK_INT(disk_move(queue, file, true, 0, BYTES, buffer).error, 0);
    double sum = disk_busy_seconds(&busy);
    CHECK(sum > 0 && sum <= zi_time_s() - begun);
    rest();
    CHECK(disk_busy_seconds(&busy) == sum);
    disk_queue_close(queue);
    disk_busy_finish(&busy);
    disk_file_close(file);
    disk_buffer_free(buffer);
    unlink(disk_path("busy"));
}

int main(void)
{
    static const int64_t engines[] = {NVME_LIBAIO, NVME_THREADS};
    disk_folder_make();
    test_reuse(); /* first: it counts contexts */
    for (int i = 0; i < 2; i++) {
        test_round_trip(engines[i], 1, DISK_BLOCK);
        test_round_trip(engines[i], 5, 3 * DISK_BLOCK);
        test_round_trip(engines[i], 16, 1 << 20);
        test_plain_file(engines[i]);
        test_admission(engines[i], 3, 100, 100);
        test_admission(engines[i], 8, 2, 100);
        test_admission(engines[i], 8, 0, 3);
        test_reap(engines[i]);
        test_busy_queue(engines[i]);
    }
    test_busy();
    test_bad_block();
    disk_folder_remove();
    return test_finish("disk_queue_test");
}

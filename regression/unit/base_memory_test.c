/* SPDX-License-Identifier: Apache-2.0 */
/* Named memory: every byte has a name, on every tier, from any thread; large buffers are zeroed,
 * present, staggered; what the node does not have is refused before it is touched; limits of
 * control groups are seen in both layouts. */
#include "base/memory.h"
#include "base/node.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct capture capture;

static char *allocate(size_t bytes, enum zi_tier tier, const char *name)
{
    void *memory = NULL;
    if (zi_memory_allocate(bytes, tier, name, &memory) != ZI_OK) exit(1);
    return memory;
}

struct listing {
    char text[1024];
};

static void list_name(void *context, const char *name, enum zi_tier tier, size_t bytes,
                      size_t peak_bytes)
{
    struct listing *listing = context;
    size_t used = strlen(listing->text);
    snprintf(listing->text + used, sizeof listing->text - used, "%s/%s=%zu^%zu ",
             zi_tier_name(tier), name, bytes, peak_bytes);
}

static void test_accounts(void)
{
    struct listing listing = {""};
    char *a = allocate(1000, ZI_TIER_HOST, "slots");
    char *b = allocate(3000, ZI_TIER_HOST, "slots");
    char *c = allocate(100, ZI_TIER_DEVICE, "slots");
    char *d = allocate(5 << 20, ZI_TIER_HOST, "shard");
    CHECK_INT(zi_memory_used(ZI_TIER_HOST), 4000 + (5 << 20));
    CHECK_INT(zi_memory_used(ZI_TIER_DEVICE), 100);
    zi_memory_free(b);
    zi_memory_free(NULL);
    CHECK_INT(zi_memory_used(ZI_TIER_HOST), 1000 + (5 << 20));
    CHECK_INT(zi_memory_peak(ZI_TIER_HOST), 4000 + (5 << 20));
    zi_memory_visit(list_name, &listing);
    CHECK(strcmp(listing.text, "host/shard=5242880^5242880 host/slots=1000^4000 "
                               "device/slots=100^100 ") == 0);
    zi_memory_free(a);
    zi_memory_free(c);
    zi_memory_free(d);
    CHECK_INT(zi_memory_used(ZI_TIER_HOST) + zi_memory_used(ZI_TIER_DEVICE), 0);
    listing.text[0] = 0;
    zi_memory_visit(list_name, &listing);
    CHECK(listing.text[0] == 0);
    CHECK_INT(zi_memory_peak(ZI_TIER_HOST), 4000 + (5 << 20));
}

static bool is_zero(const char *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i]) return false;
    return true;
}

static void test_contents(void)
{
    static const size_t sizes[] = {1, 64, 4097, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 70 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int again = 0; again < 2; again++) {
            char *memory = allocate(sizes[s], ZI_TIER_HOST, "contents");
            CHECK((uintptr_t)memory % 64 == 0);
            CHECK(is_zero(memory, sizes[s]));
            memset(memory, 0xa5, sizes[s]); /* the next one must not see this */
            zi_memory_free(memory);
        }
    }
}

static void test_large(void)
{
    enum { COUNT = 8, BYTES = 4 << 20 };
    char *buffers[COUNT];
    size_t before = zi_memory_resident();
    for (int i = 0; i < COUNT; i++)
        buffers[i] = allocate(BYTES, ZI_TIER_HOST, "large");
    /* Touched: resident without having been used, the process needing less than 1 MiB itself. */
    CHECK(zi_memory_resident() >= before + (size_t)COUNT * BYTES - (1 << 20));
    CHECK(zi_memory_resident_peak() >= zi_memory_resident());
    for (int i = 0; i < COUNT; i++) {
        size_t offset = (uintptr_t)buffers[i] % (2 << 20);
        CHECK(offset % (4096 + 256) == 0 && offset > 0);
        for (int k = 0; k < i; k++)
            CHECK(offset != (uintptr_t)buffers[k] % (2 << 20));
    }
    for (int i = 0; i < COUNT; i++)
        zi_memory_free(buffers[i]);
    /* And given back: a fall of at least half. */
    CHECK(zi_memory_resident() < before + (size_t)COUNT * BYTES / 2);
}

static void test_refusal(void)
{
    static const size_t sizes[] = {(size_t)1 << 50, SIZE_MAX, SIZE_MAX / 2};
    size_t resident = zi_memory_resident();
    for (int s = 0; s < 3; s++) {
        void *memory = &memory;
        capture_begin(&capture, stderr);
        enum zi_status status = zi_memory_allocate(sizes[s], ZI_TIER_HOST, "the moon", &memory);
        const char *text = capture_end(&capture);
        CHECK_INT(status, ZI_ERROR_DEVICE);
        CHECK(!memory);
        /* By zinf, not by the kernel, which grants more than it has to a smaller request. */
        CHECK(strstr(text, "no memory for the moon") && strstr(text, "(more than the node has)"));
    }
    CHECK_INT(zi_memory_used(ZI_TIER_HOST), 0);
    CHECK(zi_memory_resident() < resident + (1 << 20));
}

/* A limit of the process: the cause and its remedy are said, and not that the node has too little. */
static void test_limit(void)
{
    const size_t bytes = (size_t)64 << 20;
    long pages = 0;
    void *memory = &memory;
    struct rlimit before, low;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld", &pages) == 1);
    if (file) fclose(file);
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    low = before;
    low.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes / 4;
    capture_begin(&capture, stderr);
    CHECK(setrlimit(RLIMIT_AS, &low) == 0);
    enum zi_status status = zi_memory_allocate(bytes, ZI_TIER_HOST, "the sea", &memory);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    const char *text = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_DEVICE);
    CHECK(!memory && strstr(text, "(Cannot allocate memory); raise the limit on the memory of a "));
    CHECK(strstr(text, "(ulimit -v)") && !strstr(text, "fewer ranks"));
}

static void *churn(void *argument)
{
    char *kept[8] = {NULL};
    const char *name = argument;
    for (int i = 0; i < 2000; i++) {
        int at = (i * 7) % 8;
        zi_memory_free(kept[at]);
        kept[at] = allocate((size_t)(1 + i % 300), ZI_TIER_HOST, name);
    }
    for (int i = 0; i < 8; i++)
        zi_memory_free(kept[i]);
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[4];
    char names[4][32];
    struct listing listing = {""};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "thread %d", i / 2);
        CHECK(pthread_create(&threads[i], NULL, churn, names[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(zi_memory_used(ZI_TIER_HOST), 0);
    zi_memory_visit(list_name, &listing);
    CHECK(listing.text[0] == 0);
}

static void test_text(void)
{
    static const struct {
        size_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.00 KiB"},
        {1610612736, "1.50 GiB"},
        {1048575, "1.00 MiB"},
        {(size_t)5 << 40, "5.00 TiB"},
        {SIZE_MAX, "16.00 EiB"},
    };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(strcmp(zi_memory_text(cases[i].bytes, text, sizeof text), cases[i].text) == 0);
    CHECK(strcmp(zi_tier_name(ZI_TIER_NVME), "nvme") == 0);
}

static char root[] = "/tmp/zinf-memory-XXXXXX";

/* Writes a file below the root, making its directories. */
static void put(const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) exit(1);
}

static size_t available(const char *proc, const char *cgroup)
{
    char proc_path[256], cgroup_path[256];
    snprintf(proc_path, sizeof proc_path, "%s/%s", root, proc);
    snprintf(cgroup_path, sizeof cgroup_path, "%s/%s", root, cgroup);
    return node_memory_available(proc_path, cgroup_path);
}

static void test_groups(void)
{
    if (!mkdtemp(root)) exit(1);
    put("proc/meminfo", "MemTotal:       8000 kB\nMemFree:  1 kB\nMemAvailable:    5000 kB\n");
    put("proc/self/cgroup", "0::/job/step\n");
    put("none/x", "");
    CHECK_INT(available("proc", "none"), 5000 * 1024);

    /* Version 2: the tightest of the group, its parents and the mount; inactive files are free. */
    put("v2/job/step/memory.max", "max\n");
    put("v2/job/memory.max", "3000000\n");
    put("v2/job/memory.current", "2500000\n");
    put("v2/job/memory.stat", "anon 1\ninactive_file 1000000\n");
    CHECK_INT(available("proc", "v2"), 1500000);
    put("v2/memory.max", "1000\n");
    put("v2/memory.current", "400\n");
    CHECK_INT(available("proc", "v2"), 600);
    put("v2/memory.current", "4000\n");
    CHECK_INT(available("proc", "v2"), 0);

    /* Version 1, with the path of a container that its mount does not show. */
    put("old/meminfo", "MemAvailable:    5000 kB\n");
    put("old/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/container/42\n1:memoryless:/y\n0::/\n");
    put("v1/memory/memory.limit_in_bytes", "2000000\n");
    put("v1/memory/memory.usage_in_bytes", "1500000\n");
    put("v1/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 500000\n");
    CHECK_INT(available("old", "v1"), 1000000);
    put("v1/memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK_INT(available("old", "v1"), 5000 * 1024);

    CHECK(available("absent", "absent") == SIZE_MAX);
    CHECK(zi_memory_node_available() > (1 << 20) && zi_memory_node_available() < SIZE_MAX);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK(system(command) == 0);
}

int main(void)
{
    test_accounts();
    test_contents();
    test_large();
    test_refusal();
    test_limit();
    test_threads();
    test_text();
    test_groups();
    return test_finish("base_memory_test");
}

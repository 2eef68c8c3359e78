/* SPDX-License-Identifier: Apache-2.0 */
/* The apart device of the tests: the host cannot touch its memory, work is done when the schedule
 * says and never later than a wait demands, and what it is asked to do it does as the cpu does. */
#include "device/apart/apart.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/operations.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

enum { BYTES = 10000 };

static struct capture capture;

static struct device *open_device(enum apart_schedule schedule, uint64_t seed)
{
    struct settings_device settings = {.type = DEVICE_CUDA, .threads = 1, .isa = ZI_AUTO};
    struct device *device = NULL;
    apart_device_use(schedule, seed);
    if (device_open(&settings, DEVICE_ALONE, &device) < 0) exit(1);
    apart_device_withdraw();
    return device;
}

static struct device_ptr allocate(struct device *device, enum zi_tier tier)
{
    struct device_ptr memory;
    if (device_allocate(device, tier, BYTES, "test", &memory) < 0) exit(1);
    return memory;
}

/* The signal that ends a child which touches an address; 0: none did. */
static int signal_of_access(struct device_ptr at, bool writes)
{
    volatile char *place = (volatile char *)at.address;
    pid_t child = fork();
    if (child < 0) exit(1);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* libraries of MPI print a report */
        if (writes) *place = 1;
        _exit(*place & 0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) exit(1);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_memory(void)
{
    struct device *device = open_device(APART_EAGER, 0), *host = NULL;
    const struct device_properties *p = device_get_properties(device);
    struct settings_device settings = {.type = DEVICE_CUDA, .threads = 1, .isa = ZI_AUTO};
    CHECK(!p->is_host && !p->unified && p->asynchronous && p->mappable);
    CHECK_INT(device_open_host(device, &settings, DEVICE_ALONE, &host), ZI_OK);
    CHECK(host != device && device_get_properties(host)->is_host);
    struct device_ptr far = allocate(device, ZI_TIER_DEVICE), near = allocate(device, ZI_TIER_HOST);
    CHECK_INT(signal_of_access(near, true), 0);
    CHECK_INT(signal_of_access(far, false), SIGSEGV);
    CHECK_INT(signal_of_access(device_at(far, BYTES - 1), true), SIGSEGV);
    device_free(device, ZI_TIER_DEVICE, far);
    device_free(device, ZI_TIER_HOST, near);
    device_close(host);
    device_close(device);
}

/* Bytes go out by one stream and come back by another, which waits for it. */
static void test_schedule(enum apart_schedule schedule, uint64_t seed)
{
    struct device *device = open_device(schedule, seed);
    struct device_stream *streams[2];
    struct device_event *out, *back;
    struct device_ptr far = allocate(device, ZI_TIER_DEVICE), from = allocate(device, ZI_TIER_HOST),
                      to = allocate(device, ZI_TIER_HOST);
    unsigned char *sent = (unsigned char *)from.address, *got = (unsigned char *)to.address;
    bool done = true;
    double times[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        CHECK_INT(device_stream_create(device, 1, &streams[i]), ZI_OK);
    CHECK_INT(device_event_create(device, &out), ZI_OK);
    CHECK_INT(device_event_create(device, &back), ZI_OK);
    CHECK_INT(device_event_synchronize(out, NULL), ZI_OK); /* never recorded */
    for (int round = 1; round < 50; round++) {
        memset(sent, round, BYTES);
        CHECK_INT(device_copy(streams[0], far, from, BYTES), ZI_OK);
        CHECK_INT(device_event_record(out, streams[0]), ZI_OK);
        CHECK_INT(device_event_wait(streams[1], out), ZI_OK);
        CHECK_INT(device_copy(streams[1], to, far, BYTES), ZI_OK);
        CHECK_INT(device_event_record(back, streams[1]), ZI_OK);
        CHECK_INT(device_event_query(back, &done), ZI_OK);
        if (schedule == APART_LATE) {
            CHECK(!done);
            CHECK_INT(got[0], round - 1); /* nobody has asked for it */
        }
        CHECK_INT(device_event_synchronize(back, &times[1]), ZI_OK);
        CHECK_INT(device_event_synchronize(out, &times[0]), ZI_OK);
        CHECK(times[0] > 0 && times[1] >= times[0]);
        CHECK_INT(device_event_query(back, &done), ZI_OK);
        CHECK(done && got[0] == round && got[BYTES - 1] == round);
    }
    for (int i = 0; i < 2; i++)
        device_stream_destroy(streams[i]);
    device_event_destroy(out);
    device_event_destroy(back);
    device_free(device, ZI_TIER_DEVICE, far);
    device_free(device, ZI_TIER_HOST, from);
    device_free(device, ZI_TIER_HOST, to);
    device_close(device);
}

/* What the schedules are for: without the wait the later copy is done first, and takes old bytes.
 */
static void test_missing_wait(void)
{
    struct device *device = open_device(APART_LATE, 0);
    struct device_stream *streams[2];
    struct device_ptr far = allocate(device, ZI_TIER_DEVICE), from = allocate(device, ZI_TIER_HOST),
                      to = allocate(device, ZI_TIER_HOST);
    for (int i = 0; i < 2; i++)
        CHECK_INT(device_stream_create(device, 1, &streams[i]), ZI_OK);
    memset((void *)from.address, 7, BYTES);
    CHECK_INT(device_copy(streams[1], far, from, BYTES), ZI_OK);
    CHECK_INT(device_copy(streams[0], to, far, BYTES), ZI_OK);
    CHECK_INT(device_stream_synchronize(streams[0]), ZI_OK);
    CHECK_INT(*(const char *)to.address, 0);
    for (int i = 0; i < 2; i++)
        device_stream_destroy(streams[i]);
    device_free(device, ZI_TIER_DEVICE, far);
    device_free(device, ZI_TIER_HOST, from);
    device_free(device, ZI_TIER_HOST, to);
    device_close(device);
}

/* And what is overwritten too early has not been taken away. */
static void test_early_release(void)
{
    struct device *device = open_device(APART_LATE, 0);
    struct device_stream *streams[2];
    struct device_event *made;
    struct device_ptr far = allocate(device, ZI_TIER_DEVICE), to = allocate(device, ZI_TIER_HOST);
    const struct device_operations *operations = device_get_operations(device);
    for (int i = 0; i < 2; i++)
        CHECK_INT(device_stream_create(device, 1, &streams[i]), ZI_OK);
    CHECK_INT(device_event_create(device, &made), ZI_OK);
    CHECK_INT(operations->fill(streams[0], far, BYTES, 1), ZI_OK);
    CHECK_INT(device_event_record(made, streams[0]), ZI_OK);
    CHECK_INT(device_event_wait(streams[1], made), ZI_OK);
    CHECK_INT(device_copy(streams[1], to, far, BYTES), ZI_OK);
    CHECK_INT(operations->fill(streams[0], far, BYTES, 2), ZI_OK);
    CHECK_INT(device_stream_synchronize(streams[1]), ZI_OK);
    CHECK_INT(*(const char *)to.address, 2);
    for (int i = 0; i < 2; i++)
        device_stream_destroy(streams[i]);
    device_event_destroy(made);
    device_free(device, ZI_TIER_DEVICE, far);
    device_free(device, ZI_TIER_HOST, to);
    device_close(device);
}

/* No operation is missing; those on host memory are refused; map shows what streams have made. */
static void test_operations(void)
{
    struct device *device = open_device(APART_LATE, 0);
    const struct device_operations *operations = device_get_operations(device);
    void (*functions[sizeof *operations / sizeof(void (*)(void))])(void);
    memcpy(functions, operations, sizeof functions);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        CHECK(functions[i]);
    struct device_stream *stream;
    struct device_ptr far = allocate(device, ZI_TIER_DEVICE), near = allocate(device, ZI_TIER_HOST);
    CHECK_INT(device_stream_create(device, 1, &stream), ZI_OK);
    CHECK_INT(operations->fill(stream, far, BYTES, 3), ZI_OK);
    capture_begin(&capture, stderr);
    enum zi_status status = operations->fill(stream, near, BYTES, 3);
    const char *text = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_BUG);
    CHECK(strstr(text, "memory of the host"));
    void *host = NULL;
    CHECK_INT(device_map(stream, device_at(far, 5), 10, &host), ZI_OK);
    CHECK_INT(((const char *)host)[9], 3);
    device_unmap(stream, device_at(far, 5));
    CHECK_INT(*(const char *)near.address, 0);
    device_stream_destroy(stream);
    device_free(device, ZI_TIER_DEVICE, far);
    device_free(device, ZI_TIER_HOST, near);
    device_close(device);
}

int main(void)
{
    test_memory();
    test_schedule(APART_EAGER, 0);
    test_schedule(APART_LATE, 0);
    for (uint64_t seed = 0; seed < 4; seed++)
        test_schedule(APART_RANDOM, seed);
    test_missing_wait();
    test_early_release();
    test_operations();
    return test_finish("device_apart_test");
}

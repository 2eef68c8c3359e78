/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products as a program asks for them: of a device that a deck opened, on a result whose old
 * contents do not count (they are NaN here), on rows of 16 bits that lie as far apart as rows of fp32
 * would (the gradient of logits, in place of these), on more threads than cores, and from lanes at
 * the same time, where operands are widened too; and on one thread, with no other.
 * device_matmul_test has forms, sizes and sums.
 *
 * Tolerance: k products and one more term, added in fp32 in any order, are off by at most (k + 1)
 * 2^-24 times the sum of the magnitudes; a result of 16 bits is rounded once more, in bf16 (8
 * significant bits) by 2^-8 of its value at most. */
#include "regression/unit/kernel_fixture.h"

#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>

#include "device/device.h"

enum { DEVICES_MOST = 4 };

/* One for each instruction set that a deck can ask for and that is there, from plain to best. */
static struct device *devices[DEVICES_MOST];
static int device_count;

struct product {
    enum zi_dtype type, type_c;
    int64_t m, n, k;
    bool transpose_a, transpose_b, bias;
    /* Leading dimensions over columns. */
    int stretch;
};

/* A product with its data; what c starts as does not count. */
struct problem {
    struct product p;
    struct device_matmul desc;
    struct buffer a, b, bias, c_start;
    double *expected, *limit;
};

static const float junk = -77.5f; /* between rows of c; exact in 16 bits */

/* rows x columns of normal deviates; the gaps between rows are NaN. */
static struct buffer matrix_create(enum zi_dtype type, const int64_t shape[3], const char *name)
{
    int64_t rows = shape[0], columns = shape[1], ld = shape[2];
    struct buffer b = buffer_random(type, (rows - 1) * ld + columns, name, 1.0f);
    for (int64_t i = 0; i < b.count; i++) {
        if (i % ld >= columns) buffer_set(&b, i, (double)NAN);
    }
    return b;
}

static void problem_define(struct problem *q)
{
    const struct product *p = &q->p;
    const struct device_matmul *d = &q->desc;
    int64_t at = 0;
    q->expected = doubles_create(p->m * p->n);
    q->limit = doubles_create(p->m * p->n);
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++, at++) {
            double sum = p->bias ? buffer_get(&q->bias, j) : 0.0, size = fabs(sum);
            for (int64_t l = 0; l < p->k; l++) {
                double x = buffer_get(&q->a, p->transpose_a ? l * d->lda + i : i * d->lda + l);
                double y = buffer_get(&q->b, p->transpose_b ? j * d->ldb + l : l * d->ldb + j);
                sum += x * y;
                size += fabs(x * y);
            }
            q->expected[at] = sum;
            q->limit[at] = (double)(p->k + 1) * ldexp(size, -24);
            if (p->type_c != ZI_FP32)
                q->limit[at] += (fabs(sum) + q->limit[at]) * kernels_rounding(p->type_c) +
                                kernels_smallest(p->type_c);
        }
    }
}

static struct problem problem_create(const struct product *p)
{
    struct problem q = {.p = *p};
    int64_t a[3] = {p->m, p->k, 0}, b[3] = {p->k, p->n, 0}, ldc = p->n * p->stretch;
    if (p->transpose_a) a[0] = p->k, a[1] = p->m;
    if (p->transpose_b) b[0] = p->n, b[1] = p->k;
    a[2] = a[1] * p->stretch;
    b[2] = b[1] * p->stretch;
    q.a = matrix_create(p->type, a, "a");
    q.b = matrix_create(p->type, b, "b");
    q.bias = buffer_random(p->type, p->n, "bias", 1.0f);
    q.c_start = buffer_create(p->type_c, (p->m - 1) * ldc + p->n);
    for (int64_t i = 0; i < q.c_start.count; i++)
        buffer_set(&q.c_start, i, i % ldc < p->n ? (double)NAN : (double)junk);
    q.desc = (struct device_matmul){
        .type = p->type,
        .type_c = p->type_c,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .lda = a[2],
        .ldb = b[2],
        .ldc = ldc,
        .transpose_a = p->transpose_a,
        .transpose_b = p->transpose_b,
        .a = buffer_at(&q.a, 0),
        .b = buffer_at(&q.b, 0),
    };
    if (p->bias) q.desc.bias = buffer_at(&q.bias, 0);
    problem_define(&q);
    return q;
}

static void problem_destroy(struct problem *q)
{
    free(q->expected);
    free(q->limit);
    struct buffer *buffers[] = {&q->a, &q->b, &q->bias, &q->c_start};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

/* Computes into a copy of c; gives the number of wrong elements, those between rows too, or -1. */
static long problem_errors(const struct problem *q, struct device_stream *stream)
{
    struct device_matmul d = q->desc;
    struct buffer c = buffer_copy(&q->c_start);
    d.c = buffer_at(&c, 0);
    long errors = 0;
    if (device_get_operations(stream->device)->matmul(stream, &d) < 0) errors = -1;
    for (int64_t i = 0; i < c.count && errors >= 0; i++) {
        int64_t row = i / d.ldc, column = i % d.ldc, at = row * d.n + column;
        if (column >= d.n)
            errors += buffer_get(&c, i) != (double)junk;
        else
            errors += !(fabs(buffer_get(&c, i) - q->expected[at]) <= q->limit[at]);
    }
    free(c.bytes);
    return errors;
}

static void test_product(const struct product *p)
{
    static const int threads[] = {1, 2, 5};
    struct problem q = problem_create(p);
    for (int i = 0; i < 3 * device_count; i++) {
        struct device_stream *stream = NULL;
        CHECK_INT(device_stream_create(devices[i / 3], threads[i % 3], &stream), ZI_OK);
        long errors = problem_errors(&q, stream);
        CHECK_INT(errors, 0);
        if (errors != 0)
            fprintf(stderr, "%s, %d threads: %c%c %s to %s, m %ld n %ld k %ld, stretch %d\n",
                    cpu_isa_name(cpu_device_of(stream->device)->isa), stream->threads,
                    p->transpose_a ? 'T' : 'N', p->transpose_b ? 'T' : 'N', zi_dtype_name(p->type),
                    zi_dtype_name(p->type_c), (long)p->m, (long)p->n, (long)p->k, p->stretch);
        device_stream_destroy(stream);
    }
    problem_destroy(&q);
}

/* The forms in use (forward, gradient of the input, gradient of the weight), all types. */
static void test_forms(void)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {17, 1, 5}, {33, 50, 19}, {83, 161, 70}};
    static const bool forms[3][2] = {{false, true}, {false, false}, {true, false}};
    for (int i = 0; i < 4 * 3 * 5 * 2; i++) {
        struct product p = {.stretch = 1 + i / 60, .bias = i % 2};
        p.m = shapes[i % 4][0], p.n = shapes[i % 4][1], p.k = shapes[i % 4][2];
        p.transpose_a = forms[i / 4 % 3][0];
        p.transpose_b = forms[i / 4 % 3][1];
        static const enum zi_dtype types[5][2] = {{ZI_FP32, ZI_FP32},
                                                  {ZI_BF16, ZI_FP32},
                                                  {ZI_BF16, ZI_BF16},
                                                  {ZI_FP16, ZI_FP32},
                                                  {ZI_FP16, ZI_FP16}};
        p.type = types[i / 12 % 5][0];
        p.type_c = types[i / 12 % 5][1];
        test_product(&p);
    }
}

struct lane {
    struct device *device;
    const struct problem *problem;
    long errors;
};

static void *lane_run(void *argument)
{
    struct lane *lane = argument;
    struct device_stream *stream = NULL;
    lane->errors = device_stream_create(lane->device, 2, &stream) < 0;
    for (int round = 0; round < 20 && lane->errors == 0; round++)
        lane->errors = problem_errors(lane->problem, stream);
    device_stream_destroy(stream);
    return NULL;
}

/* Three lanes of one device, each with a stream of its own; two ask for the same shape. */
static void test_lanes(void)
{
    struct product p = {
        .type = ZI_BF16, .type_c = ZI_BF16, .m = 70, .n = 90, .k = 40, .stretch = 1};
    struct problem first = problem_create(&p);
    p.m = 33, p.bias = true, p.transpose_b = true, p.stretch = 2;
    struct problem second = problem_create(&p);
    for (int i = 0; i < device_count; i++) {
        pthread_t threads[3];
        struct lane lanes[3];
        for (int l = 0; l < 3; l++) {
            lanes[l] = (struct lane){devices[i], l < 2 ? &first : &second, 0};
            CHECK_INT(pthread_create(&threads[l], NULL, lane_run, &lanes[l]), 0);
        }
        for (int l = 0; l < 3; l++) {
            CHECK_INT(pthread_join(threads[l], NULL), 0);
            CHECK_INT(lanes[l].errors, 0);
        }
    }
    problem_destroy(&first);
    problem_destroy(&second);
}

/* A product that cannot be done, or of nothing, leaves the result alone. */
static void test_refusals(void)
{
    struct product p = {.type_c = ZI_FP32, .m = 3, .n = 3, .k = 3, .stretch = 1};
    struct problem q = problem_create(&p);
    const struct device_matmul good = q.desc;
    struct device_matmul cases[] = {good, good, good, good, good, good};
    static const enum zi_status expected[] = {ZI_ERROR_DEVICE, ZI_ERROR_DEVICE, ZI_ERROR_DEVICE,
                                              ZI_ERROR_DEVICE, ZI_OK,           ZI_OK};
    struct device_stream *stream = NULL;
    cases[0].type_c = ZI_BF16;
    cases[1].type = ZI_BF16, cases[1].type_c = ZI_INT32;
    cases[2].k = 0;
    cases[3].n = -1;
    cases[4].m = 0;
    cases[5].n = 0;
    CHECK_INT(device_stream_create(devices[0], 1, &stream), ZI_OK);
    for (int i = 0; i < 6; i++) {
        struct buffer c = buffer_copy(&q.c_start);
        cases[i].c = buffer_at(&c, 0);
        CHECK_INT(device_get_operations(devices[0])->matmul(stream, &cases[i]), expected[i]);
        CHECK(memcmp(c.bytes, q.c_start.bytes, (size_t)c.count * sizeof(float)) == 0);
        buffer_destroy(&c);
    }
    device_stream_destroy(stream);
    problem_destroy(&q);
}

static long threads_started;

/* Counts the threads that anything in this program starts, OpenMP and oneDNN included. Sanitizers
 * stand in this place themselves; under them nothing is counted. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!create) *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    ZI_REQUIRE(create);
    threads_started++;
    return create(thread, attributes, start, argument);
}
#endif

/* A product on a stream of one thread starts no other, however many OpenMP would have. In sums
 * oneDNN has a pass of its own over the result. */
static void test_one_thread(void)
{
    threads_started = 0;
    for (int i = 0; i < 24; i++) {
        struct product p = {
            .type = kernels_types[i % 3], .type_c = ZI_FP32, .m = 150, .n = 130, .k = 140};
        p.transpose_a = i / 3 & 1;
        p.transpose_b = i / 3 & 2;
        p.stretch = 1;
        struct problem q = problem_create(&p);
        q.desc.accumulate = i / 3 & 4;
        if (q.desc.accumulate) memset(q.c_start.bytes, 0, (size_t)q.c_start.count * sizeof(float));
        for (int d = 0; d < device_count; d++) {
            struct device_stream *stream = NULL;
            ZI_REQUIRE(device_stream_create(devices[d], 1, &stream) == ZI_OK);
            CHECK_INT(problem_errors(&q, stream), 0);
            CHECK_INT(threads_started, 0);
            device_stream_destroy(stream);
        }
        problem_destroy(&q);
    }
}

int main(void)
{
    static const int isas[DEVICES_MOST] = {ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_AMX};
    static const enum cpu_isa kernels[DEVICES_MOST] = {CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_AMX};
    omp_set_num_threads(4); /* as a machine of four cores would */
    for (int i = 0; i < DEVICES_MOST; i++) {
        struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = isas[i]};
        if (kernels[i] > cpu_isa_best()) continue;
        ZI_REQUIRE(device_open(&settings, DEVICE_ALONE, &devices[device_count]) == ZI_OK);
        device_count++;
    }
    test_one_thread();
    test_forms();
    test_lanes();
    test_refusals();
    for (int i = 0; i < device_count; i++)
        device_close(devices[i]);
    return test_finish("device_product_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of the cpu device against sums in double: odd shapes, shapes that cross panels,
 * every form and epilogue, all type pairs, every instruction set, 1 to 3 threads, two threads at once;
 * products by tiles also with shapes that cross their panels, slabs and groups, with the same bits on any
 * number of threads, and with results that go past the caches; GELU and its gradient as ends; what lies
 * between rows of the result stays; a stream of one thread starts no other. */
#include "regression/unit/kernel_fixture.h"

#include <omp.h>
#include <pthread.h>
#include <time.h>

struct shape {
    /* `gap`: by how much leading dimensions exceed their rows. */
    int64_t m, n, k, gap;
    /* All epilogues, or a few. */
    int thorough;
};

static const struct shape shapes[] = {
    {1, 1, 1, 0, 1},      {1, 5, 3, 1, 1},       {7, 1, 4, 3, 1},      {6, 9, 1, 0, 1},
    {17, 33, 19, 5, 1},   {64, 96, 48, 0, 1},    {70, 131, 65, 64, 1}, {1029, 21, 37, 3, 0},
    {19, 2063, 33, 1, 0}, {35, 40, 1300, 17, 0}, {40, 50, 2049, 0, 0}, {3, 70, 131, 2, 1},
    {11, 133, 300, 0, 0}, {16, 40, 64, 1, 0},
};

/* What a test multiplies, made once for all forms, epilogues, threads and instruction sets. */
struct product {
    struct shape shape;
    /* [m,k] and [k,n] as they are and transposed. */
    struct buffer a[2], b[2];
    /* [m,n] before, [n], and [m,n]. */
    struct buffer c, bias, residual;
    /* a b. */
    double *sums;
    /* |a| |b|: what rounding is relative to. */
    double *sizes;
};

enum residual { NONE, OTHER, OWN, RESIDUALS };

struct variant {
    int transpose_a, transpose_b, accumulate, bias;
    enum residual residual;
    /* Of the product alone; 0: 1. */
    double scale;
    bool once;
};

static void device_make(struct cpu_device *device, enum cpu_isa isa)
{
    *device = (struct cpu_device){.isa = isa, .by_tiles = isa == CPU_AMX};
    device->base.properties.bf16_native = isa >= CPU_AVX512BF16;
    device->passes = cpu_isa_passes(isa);
    cpu_isa_register(isa, &device->base.operations);
    CHECK_INT(cpu_matmul_create(device), ZI_OK);
}

/* A matrix [rows, columns] as it is stored: transposed or not, with gaps full of NaN. */
static struct buffer stored(const struct buffer *from, const int64_t shape[2], int transposed,
                            int64_t gap)
{
    int64_t rows = transposed ? shape[1] : shape[0], columns = transposed ? shape[0] : shape[1];
    struct buffer b = buffer_create(from->type, (rows - 1) * (columns + gap) + columns);
    for (int64_t i = 0; i < b.count; i++)
        buffer_set(&b, i, (double)NAN);
    for (int64_t i = 0; i < shape[0]; i++) {
        for (int64_t j = 0; j < shape[1]; j++) {
            int64_t at = transposed ? j * (columns + gap) + i : i * (columns + gap) + j;
            buffer_set(&b, at, buffer_get(from, i * shape[1] + j));
        }
    }
    return b;
}

static void product_sum(struct product *p, const struct buffer *a, const struct buffer *b)
{
    struct shape s = p->shape;
    double *as = doubles_of(a), *bs = doubles_of(b);
    p->sums = doubles_create(s.m * s.n);
    p->sizes = doubles_create(s.m * s.n);
    for (int64_t i = 0; i < s.m; i++) {
        for (int64_t l = 0; l < s.k; l++) {
            for (int64_t j = 0; j < s.n; j++) {
                double term = as[i * s.k + l] * bs[l * s.n + j];
                p->sums[i * s.n + j] += term;
                p->sizes[i * s.n + j] += fabs(term);
            }
        }
    }
    free(as);
    free(bs);
}

static struct product product_create(enum zi_dtype type, enum zi_dtype type_c, struct shape s)
{
    int64_t count = (s.m - 1) * (s.n + s.gap) + s.n;
    struct product p = {.shape = s,
                        .c = buffer_random(type_c, count, "c", 2.0f),
                        .bias = buffer_random(type, s.n, "bias", 3.0f),
                        .residual = buffer_random(type_c, count, "residual", 4.0f)};
    struct buffer a = buffer_random(type, s.m * s.k, "a", 1.0f);
    struct buffer b = buffer_random(type, s.k * s.n, "b", 1.0f);
    for (int form = 0; form < 2; form++) {
        p.a[form] = stored(&a, (int64_t[]){s.m, s.k}, form, s.gap);
        p.b[form] = stored(&b, (int64_t[]){s.k, s.n}, form, s.gap);
    }
    product_sum(&p, &a, &b);
    buffer_destroy(&a);
    buffer_destroy(&b);
    return p;
}

static void product_destroy(struct product *p)
{
    struct buffer *all[] = {&p->a[0], &p->a[1], &p->b[0], &p->b[1], &p->c, &p->bias, &p->residual};
    for (int i = 0; i < 7; i++)
        buffer_destroy(all[i]);
    free(p->sums);
    free(p->sizes);
}

/* Errors: any order of k products and 3 more additions in fp32 is within (k + 3) 2^-24 of the sum
 * of magnitudes; a result of 16 bits by half of its last place more, with bf16 (8 bits) 2^-8 of
 * itself. */
static void check_result(const struct product *p, const struct variant *v,
                         const struct buffer *found)
{
    struct shape s = p->shape;
    int64_t wrong = 0, ld = s.n + s.gap;
    for (int64_t i = 0; i < found->count; i++) {
        int64_t row = i / ld, column = i % ld;
        double c = buffer_get(found, i), before = buffer_get(&p->c, i);
        if (column >= s.n) {
            wrong += c != before;
            continue;
        }
        double expected = p->sums[row * s.n + column], size = p->sizes[row * s.n + column];
        if (v->scale != 0) {
            expected *= v->scale;
            size *= fabs(v->scale);
        }
        double bias = v->bias ? buffer_get(&p->bias, column) : 0;
        double plus = v->residual == OTHER ? buffer_get(&p->residual, i) : 0;
        double own = v->accumulate || v->residual == OWN ? before : 0;
        expected += bias + plus + own;
        size += fabs(bias) + fabs(plus) + fabs(own);
        double limit = (double)(s.k + 3) * 0x1p-24 * size;
        if (found->type != ZI_FP32)
            limit += (fabs(expected) + limit) * kernels_rounding(found->type) +
                     kernels_smallest(found->type);
        wrong += !(fabs(c - expected) <= limit);
    }
    CHECK_INT(wrong, 0);
    if (wrong)
        fprintf(stderr, "  m %lld n %lld k %lld, A%s B%s, accumulate %d bias %d residual %d, %s\n",
                (long long)s.m, (long long)s.n, (long long)s.k, v->transpose_a ? "^T" : "",
                v->transpose_b ? "^T" : "", v->accumulate, v->bias, v->residual,
                zi_dtype_name(found->type));
}

static void test_variant(struct device_stream *stream, const struct product *p,
                         const struct variant *v)
{
    struct shape s = p->shape;
    struct buffer c = buffer_copy(&p->c), again = buffer_copy(&p->c);
    struct device_matmul d = {
        .type = p->a[0].type,
        .type_c = c.type,
        .m = s.m,
        .n = s.n,
        .k = s.k,
        .lda = (v->transpose_a ? s.m : s.k) + s.gap,
        .ldb = (v->transpose_b ? s.k : s.n) + s.gap,
        .ldc = s.n + s.gap,
        .transpose_a = v->transpose_a,
        .transpose_b = v->transpose_b,
        .accumulate = v->accumulate,
        .scale = (float)v->scale,
        .once = v->once,
        .a = buffer_at(&p->a[v->transpose_a], 0),
        .b = buffer_at(&p->b[v->transpose_b], 0),
        .c = buffer_at(&c, 0),
    };
    if (v->bias) d.bias = buffer_at(&p->bias, 0);
    if (v->residual == OTHER) d.residual = buffer_at(&p->residual, 0);
    if (v->residual == OWN) d.residual = d.c;
    CHECK_INT(cpu_matmul(stream, &d), ZI_OK);
    check_result(p, v, &c);
    d.c = buffer_at(&again, 0);
    if (v->residual == OWN) d.residual = d.c;
    CHECK_INT(cpu_matmul(stream, &d), ZI_OK);
    CHECK(memcmp(c.bytes, again.bytes, (size_t)c.count * zi_dtype_bytes(c.type)) == 0);
    buffer_destroy(&c);
    buffer_destroy(&again);
}

static void test_shape(struct cpu_device *device, const struct product *p)
{
    for (int threads = 1; threads <= 3; threads++) {
        struct device_stream stream = {&device->base, threads};
        for (int i = 0; i < 48; i++) {
            struct variant v = {i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3 & 1, (enum residual)(i / 16),
                                0,     false};
            if (!p->shape.thorough && i % 5 != threads) continue;
            if (p->shape.thorough && threads == 2 && i % 7) continue;
            test_variant(&stream, p, &v);
            v.once = v.transpose_b && p->shape.m <= 20;
            if (v.once) test_variant(&stream, p, &v);
            v.scale = -0.375;
            if (i < 4 && p->c.type == p->a[0].type) test_variant(&stream, p, &v);
        }
    }
}

static void test_all_shapes(void)
{
    static const enum zi_dtype types[][2] = {{ZI_FP32, ZI_FP32},
                                             {ZI_BF16, ZI_FP32},
                                             {ZI_BF16, ZI_BF16},
                                             {ZI_FP16, ZI_FP32},
                                             {ZI_FP16, ZI_FP16}};
    struct cpu_device devices[CPU_ISA_COUNT];
    for (int isa = CPU_GENERIC; isa <= (int)cpu_isa_best(); isa++)
        device_make(&devices[isa], (enum cpu_isa)isa);
    for (int type = 0; type < 5; type++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct product p = product_create(types[type][0], types[type][1], shapes[i]);
            for (int isa = CPU_GENERIC; isa <= (int)cpu_isa_best(); isa++) {
                long failures = test_failures();
                test_shape(&devices[isa], &p);
                if (test_failures() > failures)
                    fprintf(stderr, "  with %s\n", cpu_isa_name((enum cpu_isa)isa));
            }
            product_destroy(&p);
        }
    }
    for (int isa = CPU_GENERIC; isa <= (int)cpu_isa_best(); isa++)
        cpu_matmul_destroy(&devices[isa]);
}

/* Several panels of columns with strips that are kept, several groups; several slabs of depth; several
 * slabs of many strips; several panels of rows. */
static void test_tiles(void)
{
    static const struct shape tile_shapes[] = {
        {150, 530, 40, 3, 0}, {33, 20, 8300, 1, 0}, {33, 520, 2060, 0, 0}, {1100, 40, 65, 0, 0}};
    struct cpu_device device;
    if (cpu_isa_best() < CPU_AMX) return;
    device_make(&device, CPU_AMX);
    for (size_t i = 0; i < sizeof tile_shapes / sizeof *tile_shapes; i++) {
        struct product wide = product_create(ZI_BF16, ZI_FP32, tile_shapes[i]);
        struct product narrow = product_create(ZI_BF16, ZI_BF16, tile_shapes[i]);
        for (int form = 0; form < 4; form++) {
            struct device_stream stream = {&device.base, 1 + form % 2};
            const struct variant v = {.transpose_a = form & 1,
                                      .transpose_b = form >> 1,
                                      .accumulate = form != 2,
                                      .bias = 1,
                                      .residual = form == 3 ? OTHER : NONE};
            test_variant(&stream, form % 3 ? &wide : &narrow, &v);
        }
        product_destroy(&wide);
        product_destroy(&narrow);
    }
    cpu_matmul_destroy(&device);
}

/* The bits of products by tiles do not depend on how many threads there are. */
static void test_tile_threads(void)
{
    enum { M = 165, N = 590, K = 1200 };
    struct cpu_device device;
    if (cpu_isa_best() < CPU_AMX) return;
    device_make(&device, CPU_AMX);
    struct buffer a = buffer_random(ZI_BF16, M * K, "a", 1.0f);
    struct buffer b = buffer_random(ZI_BF16, K * N, "b", 1.0f);
    struct buffer alone = buffer_create(ZI_FP32, M * N), c = buffer_create(ZI_FP32, M * N);
    for (int i = 0; i < 16; i++) {
        struct device_stream stream = {&device.base, i < 4 ? 1 : i / 4 * 2};
        const struct device_matmul d = {.type = ZI_BF16,
                                        .m = M,
                                        .n = N,
                                        .k = K,
                                        .transpose_a = i & 1,
                                        .transpose_b = i >> 1 & 1,
                                        .lda = i & 1 ? M : K,
                                        .ldb = i >> 1 & 1 ? K : N,
                                        .ldc = N,
                                        .a = buffer_at(&a, 0),
                                        .b = buffer_at(&b, 0),
                                        .c = buffer_at(&c, 0)};
        struct device_matmul first = d;
        struct device_stream one = {&device.base, 1};
        first.c = buffer_at(&alone, 0);
        CHECK_INT(cpu_matmul(&one, &first), ZI_OK);
        CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
        CHECK(memcmp(alone.bytes, c.bytes, M * N * sizeof(float)) == 0);
    }
    struct buffer *all[] = {&a, &b, &alone, &c};
    for (int i = 0; i < 4; i++)
        buffer_destroy(all[i]);
    cpu_matmul_destroy(&device);
}

/* A result so large that it goes past the caches has the bits of one that may not, since its rows are no
 * whole lines; what lies between its rows stays. */
static void test_tile_past(void)
{
    enum { M = 600, N = 901, K = 40, LD = 912 };
    struct cpu_device device;
    if (cpu_isa_best() < CPU_AMX) return;
    device_make(&device, CPU_AMX);
    struct device_stream stream = {&device.base, 1};
    struct buffer a = buffer_random(ZI_BF16, M * K, "a", 1.0f);
    struct buffer b = buffer_random(ZI_BF16, K * N, "b", 1.0f);
    struct buffer bias = buffer_random(ZI_BF16, N, "bias", 1.0f);
    struct buffer plain = buffer_create(ZI_FP32, M * N), c = buffer_create(ZI_FP32, M * LD);
    float *past = (float *)(void *)c.bytes;
    for (int64_t i = 0; i < M * LD; i++)
        past[i] = 7;
    struct device_matmul d = {
        .type = ZI_BF16, .m = M, .n = N, .k = K, .lda = K, .ldb = N, .ldc = N};
    d.a = buffer_at(&a, 0);
    d.b = buffer_at(&b, 0);
    d.bias = buffer_at(&bias, 0);
    d.c = buffer_at(&plain, 0);
    CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
    d.c = buffer_at(&c, 0);
    d.ldc = LD;
    CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
    int64_t wrong = 0;
    for (int64_t i = 0; i < M * LD; i++) {
        float expected = i % LD < N ? ((float *)plain.bytes)[i / LD * N + i % LD] : 7;
        wrong += memcmp(&past[i], &expected, sizeof expected) != 0;
    }
    CHECK_INT(wrong, 0);
    struct buffer *all[] = {&a, &b, &bias, &plain, &c};
    for (int i = 0; i < 5; i++)
        buffer_destroy(all[i]);
    cpu_matmul_destroy(&device);
}

/* A product with an end has the bits of the product and of the operation behind it. */
static void test_end(struct cpu_device *device, enum zi_dtype type, enum device_end end)
{
    enum { M = 69, N = 83, K = 50, COUNT = M * N };
    struct device_stream stream = {&device->base, 2};
    const struct device_operations *ops = &device->base.operations;
    struct buffer a = buffer_random(type, M * K, "a", 1.0f);
    struct buffer b = buffer_random(type, K * N, "b", 1.0f);
    struct buffer bias = buffer_random(type, N, "bias", 1.0f);
    struct buffer inner = buffer_random(type, COUNT, "inner", 1.0f), inside = buffer_copy(&inner);
    struct buffer c = buffer_create(type, COUNT), apart = buffer_create(type, COUNT);
    size_t bytes = COUNT * zi_dtype_bytes(type);
    struct device_matmul d = {
        .type = type, .type_c = type, .m = M, .n = N, .k = K, .lda = K, .ldb = N, .ldc = N};
    d.a = buffer_at(&a, 0);
    d.b = buffer_at(&b, 0);
    d.bias = buffer_at(&bias, 0);
    d.c = end == DEVICE_END_GELU ? buffer_at(&inner, 0) : buffer_at(&apart, 0);
    CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
    struct device_ptr to = buffer_at(&apart, 0), x = buffer_at(&inner, 0);
    if (end == DEVICE_END_GELU)
        CHECK_INT(ops->gelu(&stream, type, to, x, COUNT), ZI_OK);
    else
        CHECK_INT(ops->gelu_backward(&stream, type, to, to, x, COUNT), ZI_OK);
    d.end = end;
    d.c = buffer_at(&c, 0);
    d.inner = buffer_at(&inside, 0);
    CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
    CHECK(memcmp(c.bytes, apart.bytes, bytes) == 0);
    CHECK(memcmp(inside.bytes, inner.bytes, bytes) == 0);
    struct buffer *all[] = {&a, &b, &bias, &inner, &inside, &c, &apart};
    for (int i = 0; i < 7; i++)
        buffer_destroy(all[i]);
}

static void test_ends(void)
{
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    for (int isa = CPU_GENERIC; isa <= (int)cpu_isa_best(); isa++) {
        struct cpu_device device;
        device_make(&device, (enum cpu_isa)isa);
        for (int type = 0; type < 3; type++) {
            test_end(&device, types[type], DEVICE_END_GELU);
            test_end(&device, types[type], DEVICE_END_GELU_BACKWARD);
        }
        cpu_matmul_destroy(&device);
    }
}

enum { REPEATS = 20 };

struct worker {
    struct device_stream stream;
    struct device_matmul product;
    struct buffer c;
    enum zi_status status;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    for (int i = 0; i < REPEATS && w->status >= 0; i++)
        w->status = cpu_matmul(&w->stream, &w->product);
    return NULL;
}

/* Lanes of a program multiply at the same time, from threads of their own: with the bits that each
 * has alone. */
static void test_two_lanes(void)
{
    enum { N = 190 };
    struct cpu_device device;
    device_make(&device, cpu_isa_best());
    struct buffer a = buffer_random(ZI_BF16, N * N, "a", 1.0f);
    struct worker workers[2];
    struct buffer alone[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        enum zi_dtype type = i ? ZI_BF16 : ZI_FP32;
        alone[i] = buffer_create(type, N * N);
        workers[i] = (struct worker){.stream = {&device.base, 2}, .c = buffer_create(type, N * N)};
        workers[i].product = (struct device_matmul){.type = ZI_BF16,
                                                    .type_c = type,
                                                    .m = N,
                                                    .n = N,
                                                    .k = N,
                                                    .lda = N,
                                                    .ldb = N,
                                                    .ldc = N,
                                                    .a = buffer_at(&a, 0),
                                                    .b = buffer_at(&a, 0),
                                                    .c = buffer_at(&alone[i], 0)};
        CHECK_INT(cpu_matmul(&workers[i].stream, &workers[i].product), ZI_OK);
        workers[i].product.c = buffer_at(&workers[i].c, 0);
    }
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(workers[i].status, ZI_OK);
    }
    for (int i = 0; i < 2; i++) {
        size_t bytes = N * N * zi_dtype_bytes(alone[i].type);
        CHECK(memcmp(alone[i].bytes, workers[i].c.bytes, bytes) == 0);
        buffer_destroy(&alone[i]);
        buffer_destroy(&workers[i].c);
    }
    buffer_destroy(&a);
    cpu_matmul_destroy(&device);
}

static double clock_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A stream of one thread computes in the calling thread alone, however many threads OpenMP would
 * use by itself. Were they used, the caller would do a quarter of the work. */
static void test_one_thread(void)
{
    enum { N = 400 };
    struct cpu_device device;
    device_make(&device, cpu_isa_best());
    struct device_stream stream = {&device.base, 1};
    omp_set_num_threads(4);
    for (int type = 0; type < 2; type++) {
        enum zi_dtype t = type ? ZI_BF16 : ZI_FP32;
        struct buffer a = buffer_random(t, N * N, "a", 1.0f), c = buffer_create(t, N * N);
        struct device_matmul d = {.type = t,
                                  .type_c = t,
                                  .m = N,
                                  .n = N,
                                  .k = N,
                                  .lda = N,
                                  .ldb = N,
                                  .ldc = N,
                                  .a = buffer_at(&a, 0),
                                  .b = buffer_at(&a, 0),
                                  .c = buffer_at(&c, 0)};
        double all = clock_s(CLOCK_PROCESS_CPUTIME_ID), own = clock_s(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < 50; i++)
            CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
        all = clock_s(CLOCK_PROCESS_CPUTIME_ID) - all;
        own = clock_s(CLOCK_THREAD_CPUTIME_ID) - own;
        CHECK(own > 0.8 * all);
        CHECK_INT(omp_get_max_threads(), 4); /* what the caller has set stays */
        buffer_destroy(&a);
        buffer_destroy(&c);
    }
    cpu_matmul_destroy(&device);
}

static void test_refusals(void)
{
    struct cpu_device device;
    device_make(&device, cpu_isa_best());
    struct device_stream stream = {&device.base, 1};
    struct device_matmul d = {.type = ZI_FP32, .type_c = ZI_BF16, .m = 1, .n = 1, .k = 1};
    CHECK_INT(cpu_matmul(&stream, &d), ZI_ERROR_DEVICE);
    d.type_c = ZI_FP32;
    d.k = 0;
    CHECK_INT(cpu_matmul(&stream, &d), ZI_ERROR_DEVICE);
    d.k = 1;
    d.m = 0;
    CHECK_INT(cpu_matmul(&stream, &d), ZI_OK);
    cpu_matmul_destroy(&device);
}

int main(void)
{
    test_one_thread();
    test_all_shapes();
    test_tiles();
    test_tile_past();
    test_tile_threads();
    test_ends();
    test_two_lanes();
    test_refusals();
    return test_finish("device_matmul_test");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products, by oneDNN.
 *
 * A product is cut into one tile of the result per thread of the stream, and each tile is a product
 * of its own that oneDNN computes in one thread: that loses less than oneDNN's own threading on
 * these shapes, and a stream's thread count means the same for every library underneath. fp32 goes
 * through dnnl_sgemm, the fastest of the library's ways with plain operands; bf16 through matmul
 * primitives, which are made once per shape and kept. Where the processor does not multiply bf16,
 * operands are widened to fp32 first.
 *
 * What oneDNN does not fuse is a pass over the result: bias and residual of fp32 products are
 * written before the product, which then accumulates. */
#include "device/cpu/cpu.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* What a kept primitive is made for; compared as bytes, so it has no gaps. */
struct matmul_shape {
    int64_t m, n, k, lda, ldb, ldc;
    int32_t transpose_a, transpose_b, type_c, sum, bias, binary;
};

/* One primitive with its arguments. `busy` while a thread runs it: another makes its own. */
struct matmul_entry {
    struct matmul_shape shape;
    bool busy;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, bias, residual, scratch;
    void *scratch_memory;
    struct matmul_entry *next;
};

struct matmul_cache {
    pthread_mutex_t mutex;
    dnnl_engine_t engine;
    struct matmul_entry *first;
    float *wide; /* widened operands, where bf16 is not native */
    size_t wide_bytes;
};

static enum zi_status dnnl_failed(dnnl_status_t code, const char *call)
{
    return zi_fail(ZI_ERROR_DEVICE, "device", "%s of oneDNN failed with status %d", call,
                   (int)code);
}

#define DNNL_TRY(call, ...)                                                                        \
    do {                                                                                           \
        dnnl_status_t dnnl_code_ = call(__VA_ARGS__);                                              \
        if (dnnl_code_ != dnnl_success) return dnnl_failed(dnnl_code_, #call);                     \
    } while (0)

enum zi_status cpu_matmul_create(struct device *device)
{
    struct matmul_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for matrix products");
    pthread_mutex_init(&cache->mutex, NULL);
    device->matmuls = cache;
    dnnl_status_t code = dnnl_engine_create(&cache->engine, dnnl_cpu, 0);
    if (code == dnnl_success) return ZI_OK;
    cache->engine = NULL;
    cpu_matmul_destroy(device);
    return dnnl_failed(code, "dnnl_engine_create");
}

static void entry_destroy(struct matmul_entry *entry)
{
    dnnl_memory_t memories[] = {entry->a,    entry->b,        entry->c,
                                entry->bias, entry->residual, entry->scratch};
    for (int i = 0; i < 6; i++) {
        if (memories[i]) dnnl_memory_destroy(memories[i]);
    }
    if (entry->primitive) dnnl_primitive_destroy(entry->primitive);
    free(entry->scratch_memory);
    free(entry);
}

void cpu_matmul_destroy(struct device *device)
{
    struct matmul_cache *cache = device->matmuls;
    if (!cache) return;
    while (cache->first) {
        struct matmul_entry *entry = cache->first;
        cache->first = entry->next;
        entry_destroy(entry);
    }
    if (cache->engine) dnnl_engine_destroy(cache->engine);
    free(cache->wide);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
    device->matmuls = NULL;
}

/* A matrix of `rows` x `columns`, stored by rows of `ld`, or transposed. */
static enum zi_status describe(dnnl_memory_desc_t *desc, enum zi_dtype type, const int64_t shape[2],
                               int64_t ld, bool transposed)
{
    dnnl_dims_t dims = {shape[0], shape[1]};
    dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
    DNNL_TRY(dnnl_memory_desc_init_by_strides, desc, 2, dims,
             type == ZI_BF16 ? dnnl_bf16 : dnnl_f32, strides);
    return ZI_OK;
}

static enum zi_status set_post_ops(const struct matmul_shape *s, const dnnl_memory_desc_t *c,
                                   dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops;
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode, attr, dnnl_scratchpad_mode_user);
    DNNL_TRY(dnnl_post_ops_create, &ops);
    dnnl_status_t code = dnnl_success;
    if (s->sum) code = dnnl_post_ops_append_sum(ops, 1.0f);
    if (code == dnnl_success && s->binary)
        code = dnnl_post_ops_append_binary(ops, dnnl_binary_add, c);
    if (code == dnnl_success) code = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return code == dnnl_success ? ZI_OK : dnnl_failed(code, "dnnl_post_ops");
}

static enum zi_status make_primitive(dnnl_engine_t engine, const struct matmul_shape *s,
                                     const dnnl_memory_desc_t desc[4], struct matmul_entry *entry)
{
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t made;
    DNNL_TRY(dnnl_matmul_desc_init, &matmul, &desc[0], &desc[1], s->bias ? &desc[3] : NULL,
             &desc[2]);
    DNNL_TRY(dnnl_primitive_attr_create, &attr);
    enum zi_status status = set_post_ops(s, &desc[2], attr);
    if (status < 0) {
        dnnl_primitive_attr_destroy(attr);
        return status;
    }
    dnnl_status_t code = dnnl_primitive_desc_create(&made, &matmul, attr, engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    if (code != dnnl_success) return dnnl_failed(code, "dnnl_primitive_desc_create");
    code = dnnl_primitive_create(&entry->primitive, made);
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(made, dnnl_query_scratchpad_md, 0);
    size_t bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    entry->scratch_memory = aligned_alloc(64, (bytes / 64 + 1) * 64);
    if (code == dnnl_success && bytes > 0)
        code = dnnl_memory_create(&entry->scratch, scratch, engine, entry->scratch_memory);
    dnnl_primitive_desc_destroy(made);
    if (!entry->scratch_memory) code = dnnl_out_of_memory;
    return code == dnnl_success ? ZI_OK : dnnl_failed(code, "dnnl_primitive_create");
}

static enum zi_status entry_create(dnnl_engine_t engine, const struct matmul_shape *s,
                                   struct matmul_entry *entry)
{
    dnnl_memory_desc_t desc[4];
    ZI_TRY(describe(&desc[0], ZI_BF16, (int64_t[]){s->m, s->k}, s->lda, s->transpose_a));
    ZI_TRY(describe(&desc[1], ZI_BF16, (int64_t[]){s->k, s->n}, s->ldb, s->transpose_b));
    ZI_TRY(describe(&desc[2], (enum zi_dtype)s->type_c, (int64_t[]){s->m, s->n}, s->ldc, false));
    ZI_TRY(describe(&desc[3], ZI_BF16, (int64_t[]){1, s->n}, s->n, false));
    ZI_TRY(make_primitive(engine, s, desc, entry));
    DNNL_TRY(dnnl_memory_create, &entry->a, &desc[0], engine, DNNL_MEMORY_NONE);
    DNNL_TRY(dnnl_memory_create, &entry->b, &desc[1], engine, DNNL_MEMORY_NONE);
    DNNL_TRY(dnnl_memory_create, &entry->c, &desc[2], engine, DNNL_MEMORY_NONE);
    if (s->bias) DNNL_TRY(dnnl_memory_create, &entry->bias, &desc[3], engine, DNNL_MEMORY_NONE);
    if (s->binary)
        DNNL_TRY(dnnl_memory_create, &entry->residual, &desc[2], engine, DNNL_MEMORY_NONE);
    return ZI_OK;
}

/* Gives a free primitive for the shape, made now when there is none. */
static enum zi_status cache_take(struct matmul_cache *cache, const struct matmul_shape *shape,
                                 struct matmul_entry **taken)
{
    pthread_mutex_lock(&cache->mutex);
    for (struct matmul_entry *entry = cache->first; entry; entry = entry->next) {
        if (entry->busy || memcmp(&entry->shape, shape, sizeof *shape) != 0) continue;
        entry->busy = true;
        pthread_mutex_unlock(&cache->mutex);
        *taken = entry;
        return ZI_OK;
    }
    struct matmul_entry *entry = calloc(1, sizeof *entry);
    enum zi_status status = ZI_OK;
    if (!entry) status = zi_fail(ZI_ERROR_DEVICE, "device", "no memory for a matrix product");
    if (status >= 0) {
        entry->shape = *shape;
        entry->busy = true;
        status = entry_create(cache->engine, shape, entry);
    }
    if (status >= 0) {
        entry->next = cache->first;
        cache->first = entry;
        *taken = entry;
    } else if (entry) {
        entry_destroy(entry);
    }
    pthread_mutex_unlock(&cache->mutex);
    return status;
}

static void cache_give(struct matmul_cache *cache, struct matmul_entry *entry)
{
    pthread_mutex_lock(&cache->mutex);
    entry->busy = false;
    pthread_mutex_unlock(&cache->mutex);
}

static enum zi_status entry_run(dnnl_stream_t stream, struct matmul_entry *entry,
                                const struct device_matmul *d)
{
    dnnl_exec_arg_t arguments[6];
    int count = 0;
    arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_SRC, entry->a};
    arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, entry->b};
    arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_DST, entry->c};
    if (entry->scratch) arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, entry->scratch};
    DNNL_TRY(dnnl_memory_set_data_handle, entry->a, (void *)d->a.address);
    DNNL_TRY(dnnl_memory_set_data_handle, entry->b, (void *)d->b.address);
    DNNL_TRY(dnnl_memory_set_data_handle, entry->c, (void *)d->c.address);
    if (entry->bias) {
        DNNL_TRY(dnnl_memory_set_data_handle, entry->bias, (void *)d->bias.address);
        arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, entry->bias};
    }
    if (entry->residual) {
        DNNL_TRY(dnnl_memory_set_data_handle, entry->residual, (void *)d->residual.address);
        int which = DNNL_ARG_ATTR_MULTIPLE_POST_OP(entry->shape.sum ? 1 : 0) | DNNL_ARG_SRC_1;
        arguments[count++] = (dnnl_exec_arg_t){which, entry->residual};
    }
    DNNL_TRY(dnnl_primitive_execute, entry->primitive, stream, count, arguments);
    return ZI_OK;
}

static enum zi_status tile_bf16(struct device *device, const struct device_matmul *d)
{
    bool residual = !device_is_null(d->residual);
    bool in_place = residual && d->residual.address == d->c.address;
    struct matmul_shape shape = {
        .m = d->m,
        .n = d->n,
        .k = d->k,
        .lda = d->lda,
        .ldb = d->ldb,
        .ldc = d->ldc,
        .transpose_a = d->transpose_a,
        .transpose_b = d->transpose_b,
        .type_c = (int32_t)d->type_c,
        .sum = d->accumulate || in_place,
        .bias = !device_is_null(d->bias),
        .binary = residual && !in_place,
    };
    struct matmul_entry *entry;
    dnnl_stream_t stream;
    ZI_TRY(cache_take(device->matmuls, &shape, &entry));
    dnnl_status_t code = dnnl_stream_create(&stream, device->matmuls->engine, dnnl_stream_in_order);
    enum zi_status status = ZI_OK;
    if (code != dnnl_success) {
        status = dnnl_failed(code, "dnnl_stream_create");
    } else {
        status = entry_run(stream, entry, d);
        dnnl_stream_destroy(stream);
    }
    cache_give(device->matmuls, entry);
    return status;
}

/* Writes bias + residual (or + what c holds) to an fp32 result, so that the product accumulates. */
static bool prepare_fp32(const struct device_matmul *d)
{
    const float *bias = cpu_fp32(d->bias), *residual = cpu_fp32(d->residual);
    bool accumulate = d->accumulate;
    float *c = cpu_fp32(d->c);
    if (residual == c) residual = NULL, accumulate = true;
    if (!bias && !residual) return accumulate;
    for (int64_t i = 0; i < d->m; i++) {
        float *restrict row = c + i * d->ldc;
        const float *plus = residual ? residual + i * d->ldc : NULL;
        for (int64_t j = 0; j < d->n; j++) {
            float value = accumulate ? row[j] : 0.0f;
            if (bias) value += bias[j];
            if (plus) value += plus[j];
            row[j] = value;
        }
    }
    return true;
}

static enum zi_status tile_fp32(const struct device_matmul *d)
{
    float beta = prepare_fp32(d) ? 1.0f : 0.0f;
    DNNL_TRY(dnnl_sgemm, d->transpose_a ? 'T' : 'N', d->transpose_b ? 'T' : 'N', d->m, d->n, d->k,
             1.0f, cpu_fp32(d->a), d->lda, cpu_fp32(d->b), d->ldb, beta, cpu_fp32(d->c), d->ldc);
    return ZI_OK;
}

/* How a result is cut over threads: parts along m and along n, whose product is the thread count.
 */
struct grid {
    int rows, columns;
};

/* Chooses the grid whose tiles read least: a tile reads k (m/rows + n/columns) elements. */
static struct grid choose_grid(int64_t m, int64_t n, int threads)
{
    struct grid best = {1, 1};
    double least = 0;
    for (int parts = threads; parts >= 1 && least == 0; parts--) {
        for (int rows = 1; rows <= parts; rows++) {
            int columns = parts / rows;
            if (rows * columns != parts || m < 16 * (int64_t)rows || n < 16 * (int64_t)columns)
                continue;
            double reads = (double)m / rows + (double)n / columns;
            if (least == 0 || reads < least) {
                least = reads;
                best = (struct grid){rows, columns};
            }
        }
    }
    return best;
}

/* [first, first + count) of part `part` of `parts` of a length, cut at multiples of 16. */
static int64_t cut(int64_t length, int parts, int part, int64_t *first)
{
    int64_t begin = length * part / parts / 16 * 16;
    int64_t end = part + 1 == parts ? length : length * (part + 1) / parts / 16 * 16;
    *first = begin;
    return end - begin;
}

static struct device_matmul tile_of(const struct device_matmul *d, struct grid grid, int part)
{
    struct device_matmul t = *d;
    int64_t row, column;
    size_t type = zi_dtype_bytes(d->type), type_c = zi_dtype_bytes(d->type_c);
    t.m = cut(d->m, grid.rows, part / grid.columns, &row);
    t.n = cut(d->n, grid.columns, part % grid.columns, &column);
    t.a = device_at(d->a, (size_t)(d->transpose_a ? row : row * d->lda) * type);
    t.b = device_at(d->b, (size_t)(d->transpose_b ? column * d->ldb : column) * type);
    t.c = device_at(d->c, (size_t)(row * d->ldc + column) * type_c);
    if (!device_is_null(d->bias)) t.bias = device_at(d->bias, (size_t)column * type);
    if (!device_is_null(d->residual))
        t.residual = device_at(d->residual, (size_t)(row * d->ldc + column) * type_c);
    return t;
}

static enum zi_status run_tiles(struct device_stream *stream, const struct device_matmul *d)
{
    struct grid grid = choose_grid(d->m, d->n, stream->threads);
    int parts = grid.rows * grid.columns, failed = 0;
    /* Inside a region, of one thread if need be, because the thread count that is set here is that
     * of the region's task alone. It has to be set: in a team of one, OpenMP says that nothing is
     * parallel, and oneDNN would start as many threads as the machine has cores. */
#pragma omp parallel for num_threads(parts) schedule(static, 1) reduction(+ : failed)
    for (int part = 0; part < parts; part++) {
        struct device_matmul tile = tile_of(d, grid, part);
        omp_set_num_threads(1);
        enum zi_status status =
            tile.type == ZI_BF16 ? tile_bf16(stream->device, &tile) : tile_fp32(&tile);
        failed += status < 0;
    }
    return failed ? ZI_ERROR_DEVICE : ZI_OK;
}

/* Elements that a stored matrix spans. */
static int64_t span(int64_t rows, int64_t columns, int64_t ld)
{
    return (rows - 1) * ld + columns;
}

/* bf16 without hardware for it: operands widened, and a bf16 result computed in fp32 first. */
static enum zi_status run_widened(struct device_stream *stream, const struct device_matmul *d)
{
    struct matmul_cache *cache = stream->device->matmuls;
    const struct device_operations *ops = &stream->device->operations;
    bool narrow = d->type_c == ZI_BF16, bias = !device_is_null(d->bias);
    int64_t a = d->transpose_a ? span(d->k, d->m, d->lda) : span(d->m, d->k, d->lda);
    int64_t b = d->transpose_b ? span(d->n, d->k, d->ldb) : span(d->k, d->n, d->ldb);
    int64_t c = narrow ? span(d->m, d->n, d->ldc) : 0, n = bias ? d->n : 0;
    size_t bytes = (size_t)(a + b + 2 * c + n + 5 * 16) * sizeof(float);
    pthread_mutex_lock(&cache->mutex);
    if (cache->wide_bytes < bytes) {
        free(cache->wide);
        cache->wide = aligned_alloc(64, bytes / 64 * 64 + 64);
        cache->wide_bytes = cache->wide ? bytes : 0;
    }
    enum zi_status status = ZI_OK;
    if (!cache->wide) {
        status =
            zi_fail(ZI_ERROR_DEVICE, "device", "no memory to widen a product of %zu bytes", bytes);
        goto done;
    }
    struct device_matmul w = *d;
    w.type = w.type_c = ZI_FP32;
    w.a.address = (uintptr_t)cache->wide;
    w.b = device_at(w.a, (size_t)(a + 15) / 16 * 64);
    struct device_ptr free_place = device_at(w.b, (size_t)(b + 15) / 16 * 64);
    ZI_TRY_GOTO(ops->convert(stream, ZI_FP32, w.a, ZI_BF16, d->a, a), done);
    ZI_TRY_GOTO(ops->convert(stream, ZI_FP32, w.b, ZI_BF16, d->b, b), done);
    if (bias) {
        w.bias = free_place;
        free_place = device_at(free_place, (size_t)(n + 15) / 16 * 64);
        ZI_TRY_GOTO(ops->convert(stream, ZI_FP32, w.bias, ZI_BF16, d->bias, n), done);
    }
    if (narrow) {
        bool residual = !device_is_null(d->residual);
        w.c = free_place;
        if (d->accumulate || residual)
            ZI_TRY_GOTO(
                ops->convert(stream, ZI_FP32, w.c, ZI_BF16, residual ? d->residual : d->c, c),
                done);
        w.accumulate = d->accumulate || residual;
        w.residual = (struct device_ptr){0};
    }
    ZI_TRY_GOTO(run_tiles(stream, &w), done);
    for (int64_t row = 0; narrow && row < d->m && status >= 0; row++) {
        status = ops->convert(stream, ZI_BF16, device_at(d->c, (size_t)(row * d->ldc) * 2), ZI_FP32,
                              device_at(w.c, (size_t)(row * d->ldc) * 4), d->n);
    }
done:
    pthread_mutex_unlock(&cache->mutex);
    return status;
}

enum zi_status cpu_matmul(struct device_stream *stream, const struct device_matmul *desc)
{
    bool types = (desc->type == ZI_FP32 && desc->type_c == ZI_FP32) ||
                 (desc->type == ZI_BF16 && desc->type_c != ZI_INT32);
    if (!types || desc->m < 0 || desc->n < 0 || desc->k < 1) {
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "no product of %s operands into %s with m %ld, n %ld, k %ld",
                       zi_dtype_name(desc->type), zi_dtype_name(desc->type_c), (long)desc->m,
                       (long)desc->n, (long)desc->k);
    }
    if (desc->m == 0 || desc->n == 0) return ZI_OK;
    if (desc->type == ZI_BF16 && !stream->device->properties.bf16_native)
        return run_widened(stream, desc);
    return run_tiles(stream, desc);
}

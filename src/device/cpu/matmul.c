/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products, by oneDNN and by own kernels.
 *
 * A product is cut into one part of the result per thread of the stream, and each part is a product
 * of its own that one thread computes: that loses less than oneDNN's own threading on these shapes,
 * and a stream's thread count means the same whatever is underneath.
 *
 * bf16 on a processor with AMX is multiplied by k_tiles.c, with all that is done to the product.
 *
 * fp32 goes through dnnl_sgemm. bf16 by oneDNN goes through matmul primitives whose sizes are given
 * when they run: oneDNN then takes its packing product, which was faster than the one it chooses for
 * known sizes in nearly every case measured, most of all for gradients of weights; and one primitive
 * per form (which operand is transposed, whether the result is added) serves every shape. Where the
 * processor does not multiply bf16, operands are widened to fp32 first; and so are those of fp16
 * everywhere, for which oneDNN 2.6.3 has no product on a cpu (AVX512-FP16 would add up in fp16).
 *
 * Products of a few rows, which generation has, are no work but the reading of their matrix, and are
 * done by k_few.c.
 *
 * Whatever else is to be done to operands or result of oneDNN is done on panels of the part that stay
 * in the caches: bias and residual of an fp32 result are written before the product, which is then
 * added to them; one of 16 bits is summed in an fp32 panel and rounded once, with bias, residual and
 * what c held, and goes through GELU or its gradient there. Panels also bound the memory of a thread,
 * whatever the shape. */
#include "device/cpu/cpu.h"

#include "base/log.h"
#include "base/memory.h"

#include <dnnl.h>

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

/* Panels are at most this many rows, columns, and (widened operands) inner elements, and up to 15
 * more, since cuts are at multiples of 16. */
#define PANEL         1024
#define PANEL_MOST    (PANEL + 15)
#define PANEL_FLOATS  ((size_t)PANEL_MOST * (PANEL_MOST + 1))
#define PANEL_BUFFERS 3

/* What a thread needs for the time of a part. */
struct workspace {
    dnnl_stream_t stream;
    /* The sum, and where operands are widened those; NULL until needed. */
    float *panels;
    /* How many there are. */
    size_t buffers;
    /* Of products by tiles; NULL until needed. */
    void *tiles;
    struct workspace *next;
};

struct matmul_cache {
    /* Guards `idle`. */
    pthread_mutex_t mutex;
    struct workspace *idle;
    dnnl_engine_t engine;
    /* transpose_a, transpose_b, accumulate. */
    dnnl_primitive_t bf16[2][2][2];
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

/* A matrix of `rows` x `columns`, stored by rows of `ld`, or transposed. */
static enum zi_status describe(dnnl_memory_desc_t *desc, dnnl_data_type_t type,
                               const int64_t shape[3] /* rows, columns, ld */, bool transposed)
{
    dnnl_dims_t dims = {shape[0], shape[1]};
    dnnl_dims_t strides = {transposed ? 1 : shape[2], transposed ? shape[2] : 1};
    DNNL_TRY(dnnl_memory_desc_init_by_strides, desc, 2, dims, type, strides);
    return ZI_OK;
}

static dnnl_status_t set_sum(dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops;
    dnnl_status_t code = dnnl_post_ops_create(&ops);
    if (code != dnnl_success) return code;
    code = dnnl_post_ops_append_sum(ops, 1.0f);
    if (code == dnnl_success) code = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return code;
}

/* The product of bf16 operands into fp32, of any shape. */
static enum zi_status make_primitive(dnnl_engine_t engine, const int form[3],
                                     dnnl_primitive_t *primitive)
{
    const int64_t any[3] = {DNNL_RUNTIME_DIM_VAL, DNNL_RUNTIME_DIM_VAL, DNNL_RUNTIME_DIM_VAL};
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t made = NULL;
    ZI_TRY(describe(&a, dnnl_bf16, any, form[0]));
    ZI_TRY(describe(&b, dnnl_bf16, any, form[1]));
    ZI_TRY(describe(&c, dnnl_f32, any, false));
    DNNL_TRY(dnnl_matmul_desc_init, &matmul, &a, &b, NULL, &c);
    DNNL_TRY(dnnl_primitive_attr_create, &attr);
    dnnl_status_t code = form[2] ? set_sum(attr) : dnnl_success;
    if (code == dnnl_success) code = dnnl_primitive_desc_create(&made, &matmul, attr, engine, NULL);
    if (code == dnnl_success) code = dnnl_primitive_create(primitive, made);
    if (made) dnnl_primitive_desc_destroy(made);
    dnnl_primitive_attr_destroy(attr);
    return code == dnnl_success ? ZI_OK : dnnl_failed(code, "dnnl_primitive_create");
}

/* All forms. A primitive keeps the number of threads that OpenMP had when it was made, so the
 * number is set to one as in cpu_matmul. */
static enum zi_status make_primitives(struct matmul_cache *cache)
{
    enum zi_status status = ZI_OK;
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);
        for (int i = 0; i < 8 && status >= 0; i++) {
            const int form[3] = {i >> 2 & 1, i >> 1 & 1, i & 1};
            status = make_primitive(cache->engine, form, &cache->bf16[form[0]][form[1]][form[2]]);
        }
    }
    return status;
}

enum zi_status cpu_matmul_create(struct cpu_device *device)
{
    struct matmul_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for matrix products");
    pthread_mutex_init(&cache->mutex, NULL);
    device->matmuls = cache;
    dnnl_set_verbose(0); /* stdout belongs to the run */
    dnnl_status_t code = dnnl_engine_create(&cache->engine, dnnl_cpu, 0);
    enum zi_status status = code == dnnl_success ? ZI_OK : dnnl_failed(code, "dnnl_engine_create");
    if (status >= 0 && device->base.properties.bf16_native) status = make_primitives(cache);
    if (status < 0) cpu_matmul_destroy(device);
    return status;
}

static void workspace_destroy(struct workspace *w)
{
    if (w->stream) dnnl_stream_destroy(w->stream);
    zi_memory_free(w->panels);
    zi_memory_free(w->tiles);
    free(w);
}

void cpu_matmul_destroy(struct cpu_device *device)
{
    struct matmul_cache *cache = device->matmuls;
    if (!cache) return;
    while (cache->idle) {
        struct workspace *w = cache->idle;
        cache->idle = w->next;
        workspace_destroy(w);
    }
    for (int i = 0; i < 8; i++) {
        dnnl_primitive_t primitive = cache->bf16[i >> 2 & 1][i >> 1 & 1][i & 1];
        if (primitive) dnnl_primitive_destroy(primitive);
    }
    if (cache->engine) dnnl_engine_destroy(cache->engine);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
    device->matmuls = NULL;
}

/* Gives a workspace that no other thread has, made now when all are in use. */
static enum zi_status workspace_take(struct matmul_cache *cache, struct workspace **taken)
{
    pthread_mutex_lock(&cache->mutex);
    struct workspace *w = cache->idle;
    if (w) cache->idle = w->next;
    pthread_mutex_unlock(&cache->mutex);
    *taken = w;
    if (w) return ZI_OK;
    w = calloc(1, sizeof *w);
    if (!w) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for a matrix product");
    dnnl_status_t code = dnnl_stream_create(&w->stream, cache->engine, dnnl_stream_in_order);
    if (code != dnnl_success) {
        free(w);
        return dnnl_failed(code, "dnnl_stream_create");
    }
    *taken = w;
    return ZI_OK;
}

static void workspace_give(struct matmul_cache *cache, struct workspace *w)
{
    pthread_mutex_lock(&cache->mutex);
    w->next = cache->idle;
    cache->idle = w;
    pthread_mutex_unlock(&cache->mutex);
}

/* Whether oneDNN multiplies operands of a type as they are. */
static bool is_native(const struct cpu_device *device, enum zi_dtype type)
{
    return type == ZI_FP32 || (type == ZI_BF16 && device->base.properties.bf16_native);
}

static enum zi_status need_panels(struct workspace *w, size_t buffers)
{
    if (w->buffers >= buffers) return ZI_OK;
    void *memory;
    ZI_TRY(zi_memory_allocate(buffers * PANEL_FLOATS * sizeof(float), ZI_TIER_HOST,
                              "matrix products", &memory));
    zi_memory_free(w->panels);
    w->panels = memory;
    w->buffers = buffers;
    return ZI_OK;
}

static enum zi_status need_tiles(struct workspace *w)
{
    if (w->tiles) return ZI_OK;
    return zi_memory_allocate(CPU_TILES_BYTES, ZI_TIER_HOST, "matrix products", &w->tiles);
}

static struct device_ptr panel_at(const struct workspace *w, int buffer)
{
    return (struct device_ptr){(uintptr_t)(w->panels + (size_t)buffer * PANEL_FLOATS)};
}

static float scale_of(const struct device_matmul *d)
{
    return d->scale != 0 ? d->scale : 1.0f;
}

static enum zi_status product_fp32(const struct device_matmul *d)
{
    DNNL_TRY(dnnl_sgemm, d->transpose_a ? 'T' : 'N', d->transpose_b ? 'T' : 'N', d->m, d->n, d->k,
             scale_of(d), cpu_fp32(d->a), d->lda, cpu_fp32(d->b), d->ldb,
             d->accumulate ? 1.0f : 0.0f, cpu_fp32(d->c), d->ldc);
    return ZI_OK;
}

static enum zi_status product_bf16(const struct matmul_cache *cache, const struct workspace *w,
                                   const struct device_matmul *d)
{
    dnnl_memory_desc_t desc[3];
    dnnl_memory_t memory[3] = {NULL};
    const uintptr_t places[3] = {d->a.address, d->b.address, d->c.address};
    ZI_TRY(describe(&desc[0], dnnl_bf16, (int64_t[]){d->m, d->k, d->lda}, d->transpose_a));
    ZI_TRY(describe(&desc[1], dnnl_bf16, (int64_t[]){d->k, d->n, d->ldb}, d->transpose_b));
    ZI_TRY(describe(&desc[2], dnnl_f32, (int64_t[]){d->m, d->n, d->ldc}, false));
    dnnl_status_t code = dnnl_success;
    for (int i = 0; i < 3 && code == dnnl_success; i++) {
        code = dnnl_memory_create(&memory[i], &desc[i], cache->engine, (void *)places[i]);
    }
    if (code == dnnl_success) {
        const dnnl_exec_arg_t arguments[3] = {
            {DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}};
        dnnl_primitive_t primitive = cache->bf16[d->transpose_a][d->transpose_b][d->accumulate];
        code = dnnl_primitive_execute(primitive, w->stream, 3, arguments);
    }
    for (int i = 0; i < 3; i++) {
        if (memory[i]) dnnl_memory_destroy(memory[i]);
    }
    return code == dnnl_success ? ZI_OK : dnnl_failed(code, "dnnl_primitive_execute");
}

/* Where parts are cut: at multiples of vectors, or of blocks of tiles. */
enum { UNIT = 16, UNIT_TILES = 32 };

/* [first, first + count) of part `part` of `parts` of a length, cut at multiples of `unit`. */
static int64_t cut(int64_t length, int64_t parts, int64_t part, int64_t unit, int64_t *first)
{
    int64_t begin = length * part / parts / unit * unit;
    int64_t end = part + 1 == parts ? length : length * (part + 1) / parts / unit * unit;
    *first = begin;
    return end - begin;
}

static int64_t panels_in(int64_t length)
{
    return (length + PANEL - 1) / PANEL;
}

/* Widens the inner elements [first, first + count) of a panel's operand; gives its ld. Rows that are
 * whole pages apart would lie in the same sets of the first-level cache. */
static int64_t widen_operand(cpu_widen *widen, struct device_ptr to, struct device_ptr from,
                             bool inner_is_rows,
                             const int64_t shape[4] /* outer, ld, first, count */)
{
    int64_t outer = shape[0], ld = shape[1], first = shape[2], count = shape[3];
    int64_t rows = inner_is_rows ? count : outer, columns = inner_is_rows ? outer : count;
    int64_t ld_to = columns % 256 == 0 ? columns + 16 : columns;
    const uint16_t *start = cpu_half(from) + (inner_is_rows ? first * ld : first);
    widen(cpu_fp32(to), ld_to, start, (int64_t[]){rows, columns, ld});
    return ld_to;
}

/* The product of a panel whose operands have 16 bits, in fp32. */
static enum zi_status product_widened(const struct cpu_device *device, const struct workspace *w,
                                      const struct device_matmul *d)
{
    struct device_matmul part = *d;
    int64_t parts = panels_in(d->k), first;
    cpu_widen *widen = device->passes->widen[d->type];
    part.a = panel_at(w, 1);
    part.b = panel_at(w, 2);
    for (int64_t i = 0; i < parts; i++) {
        part.k = cut(d->k, parts, i, UNIT, &first);
        part.lda = widen_operand(widen, part.a, d->a, d->transpose_a,
                                 (int64_t[]){d->m, d->lda, first, part.k});
        part.ldb = widen_operand(widen, part.b, d->b, !d->transpose_b,
                                 (int64_t[]){d->n, d->ldb, first, part.k});
        ZI_TRY(product_fp32(&part));
        part.accumulate = true;
    }
    return ZI_OK;
}

/* Scales a product that oneDNN could not, in fp32. */
static void scale_product(const struct device_matmul *d)
{
    float scale = scale_of(d);
    for (int64_t r = 0; r < d->m && scale != 1; r++) {
        float *row = cpu_fp32(d->c) + r * d->ldc;
        for (int64_t i = 0; i < d->n; i++)
            row[i] *= scale;
    }
}

static enum zi_status product(const struct cpu_device *device, const struct workspace *w,
                              const struct device_matmul *d)
{
    if (d->type == ZI_FP32) return product_fp32(d);
    if (!is_native(device, d->type)) return product_widened(device, w, d);
    ZI_TRY(product_bf16(device->matmuls, w, d));
    scale_product(d);
    return ZI_OK;
}

/* A panel with all that is to be done to it. */
static enum zi_status run_panel(const struct cpu_device *device, struct workspace *w,
                                const struct device_matmul *d)
{
    float wide_bias[PANEL_MOST];
    bool narrow = d->type_c != ZI_FP32, own = d->residual.address == d->c.address;
    bool residual = !device_is_null(d->residual) && !own;
    struct device_matmul inner = *d;
    struct cpu_pass pass = {.type = d->type_c,
                            .rows = d->m,
                            .columns = d->n,
                            .ld = d->ldc,
                            .residual = residual ? (const void *)d->residual.address : NULL,
                            .c = (void *)d->c.address,
                            .scale = 1,
                            .end = d->end,
                            .inner = (void *)d->inner.address,
                            .accumulate = d->accumulate || own};
    if (d->type != ZI_FP32) ZI_TRY(need_panels(w, is_native(device, d->type) ? 1 : PANEL_BUFFERS));
    if (!device_is_null(d->bias)) {
        pass.bias = d->type == ZI_FP32 ? cpu_fp32(d->bias) : wide_bias;
        if (d->type != ZI_FP32)
            device->passes->widen[d->type](wide_bias, d->n, cpu_half(d->bias),
                                           (int64_t[]){1, d->n, d->n});
    }
    if (narrow) {
        inner.c = panel_at(w, 0);
        inner.ldc = d->n;
        pass.sum = cpu_fp32(inner.c);
        pass.ld_sum = d->n;
        inner.accumulate = false;
    } else {
        inner.accumulate = pass.accumulate || pass.bias || pass.residual;
        if (pass.bias || pass.residual) device->passes->begin(&pass);
    }
    ZI_TRY(product(device, w, &inner));
    if (narrow) device->passes->finish(&pass);
    return ZI_OK;
}

/* Rows and columns of a result, as parts of it, and the unit of cuts. */
struct grid {
    int64_t rows, columns, unit;
};

static struct device_matmul part_of(const struct device_matmul *d, struct grid grid, int64_t part)
{
    struct device_matmul t = *d;
    int64_t row, column;
    size_t type = zi_dtype_bytes(d->type), type_c = zi_dtype_bytes(d->type_c);
    t.m = cut(d->m, grid.rows, part / grid.columns, grid.unit, &row);
    t.n = cut(d->n, grid.columns, part % grid.columns, grid.unit, &column);
    t.a = device_at(d->a, (size_t)(d->transpose_a ? row : row * d->lda) * type);
    t.b = device_at(d->b, (size_t)(d->transpose_b ? column * d->ldb : column) * type);
    t.c = device_at(d->c, (size_t)(row * d->ldc + column) * type_c);
    if (!device_is_null(d->bias)) t.bias = device_at(d->bias, (size_t)column * type);
    if (!device_is_null(d->residual))
        t.residual = device_at(d->residual, (size_t)(row * d->ldc + column) * type_c);
    if (!device_is_null(d->inner))
        t.inner = device_at(d->inner, (size_t)(row * d->ldc + column) * type_c);
    return t;
}

/* Most rows of a product whose matrix is read once, as it is stored (k_few.c), and not packed. */
#define FEW_ROWS 16

static bool is_few(const struct device_matmul *d)
{
    return d->once && d->m <= FEW_ROWS && d->transpose_b && !d->transpose_a;
}

/* Whether the tiles of the processor do a product. All bf16 products are theirs, whatever the shape:
 * of all shapes and forms measured none was faster in oneDNN 2.6.3, and a rule gives the same bits on
 * every rank and in every run, which a race against the clock would not. */
static bool is_by_tiles(const struct cpu_device *device, const struct device_matmul *d)
{
    return device->by_tiles && d->type == ZI_BF16 && !is_few(d);
}

/* One thread's part by tiles. */
static enum zi_status run_tiles(struct cpu_device *device, const struct device_matmul *d)
{
    struct workspace *w;
    ZI_TRY(workspace_take(device->matmuls, &w));
    enum zi_status status = need_tiles(w);
    if (status >= 0) device->passes->tiles(d, w->tiles);
    workspace_give(device->matmuls, w);
    return status;
}

/* One thread's part: in one product where nothing else is to be done, else panel by panel. */
static enum zi_status run_part(struct cpu_device *device, const struct device_matmul *d)
{
    struct workspace *w;
    bool plain = is_native(device, d->type) && d->type_c == ZI_FP32 && device_is_null(d->bias) &&
                 (device_is_null(d->residual) || d->residual.address == d->c.address);
    struct grid grid = {panels_in(d->m), panels_in(d->n), UNIT};
    if (is_few(d)) {
        device->passes->few(d);
        return ZI_OK;
    }
    if (is_by_tiles(device, d)) return run_tiles(device, d);
    if (plain) grid = (struct grid){1, 1, UNIT};
    enum zi_status status = workspace_take(device->matmuls, &w);
    for (int64_t i = 0; i < grid.rows * grid.columns && status >= 0; i++) {
        struct device_matmul panel = part_of(d, grid, i);
        if (plain) {
            panel.accumulate = d->accumulate || !device_is_null(d->residual);
            status = product(device, w, &panel);
        } else {
            status = run_panel(device, w, &panel);
        }
    }
    if (w) workspace_give(device->matmuls, w);
    return status;
}

/* Chooses the grid whose parts read least: a part reads k (m/rows + n/columns) elements. */
static struct grid choose_grid(const struct device_matmul *d, int threads, int64_t unit)
{
    struct grid best = {1, 1, unit};
    double least = 0;
    for (int parts = threads; parts >= 1 && least == 0; parts--) {
        for (int rows = 1; rows <= parts; rows++) {
            int columns = parts / rows;
            if (rows * columns != parts || d->m < unit * rows || d->n < unit * columns) continue;
            double reads = (double)d->m / rows + (double)d->n / columns;
            if (least == 0 || reads < least) {
                least = reads;
                best = (struct grid){rows, columns, unit};
            }
        }
    }
    return best;
}

static struct grid grid_of(const struct cpu_device *device, const struct device_matmul *d,
                           int threads)
{
    if (is_few(d)) { /* each thread reads a part of the matrix */
        int64_t most = d->n / 64 > 1 ? d->n / 64 : 1;
        return (struct grid){1, most < threads ? most : threads, UNIT};
    }
    return choose_grid(d, threads, is_by_tiles(device, d) ? UNIT_TILES : UNIT);
}

/* The product alone. */
static enum zi_status multiply(struct device_stream *stream, const struct device_matmul *desc)
{
    bool types =
        (desc->type == ZI_FP32 && desc->type_c == ZI_FP32) ||
        (zi_dtype_is_half(desc->type) && (desc->type_c == ZI_FP32 || desc->type_c == desc->type));
    if (!types || desc->m < 0 || desc->n < 0 || desc->k < 1) {
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "no product of %s operands into %s with m %ld, n %ld, k %ld",
                       zi_dtype_name(desc->type), zi_dtype_name(desc->type_c), (long)desc->m,
                       (long)desc->n, (long)desc->k);
    }
    if (desc->m == 0 || desc->n == 0) return ZI_OK;
    struct cpu_device *device = cpu_device_of(stream->device);
    struct grid grid = grid_of(device, desc, stream->threads);
    int parts = (int)(grid.rows * grid.columns), failed = 0;
    /* Inside a region, of one thread if need be, because the thread count that is set here is that
     * of the region's task alone. It has to be set: in a team of one, OpenMP says that nothing is
     * parallel, and oneDNN would start as many threads as the machine has cores. */
#pragma omp parallel for num_threads(parts) schedule(static, 1) reduction(+ : failed)
    for (int part = 0; part < parts; part++) {
        struct device_matmul own = part_of(desc, grid, part);
        omp_set_num_threads(1);
        failed += run_part(device, &own) < 0;
    }
    return failed ? ZI_ERROR_DEVICE : ZI_OK;
}

enum zi_status cpu_matmul(struct device_stream *stream, const struct device_matmul *desc)
{
    const struct device_operations *ops = &stream->device->operations;
    struct device_matmul product = *desc;
    if (desc->end == DEVICE_END_PLAIN) return multiply(stream, desc);
    ZI_REQUIRE(desc->type_c == desc->type && desc->ldc == desc->n && !desc->accumulate);
    if (desc->type != ZI_FP32 && !is_few(desc)) return multiply(stream, desc);
    product.end = DEVICE_END_PLAIN;
    if (desc->end == DEVICE_END_GELU) product.c = desc->inner;
    ZI_TRY(multiply(stream, &product));
    if (desc->end == DEVICE_END_GELU)
        return ops->gelu(stream, desc->type, desc->c, desc->inner, desc->m * desc->n);
    return ops->gelu_backward(stream, desc->type, desc->c, desc->c, desc->inner, desc->m * desc->n);
}

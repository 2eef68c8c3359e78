/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019), forward and backward.
 *
 * A row is a few kilobytes, so the passes over one row (mean, deviation, result) find it in cache
 * and the memory traffic is that of one pass. Sums over a row are fp32 per lane in two alternating
 * accumulators, then over lanes in a fixed order.
 *
 * Backward: with n = (x - mean) rstd and g = dy weight, where weight has the offset added,
 *     dx += rstd (g - mean(g) - n mean(g n))          (RMSNorm: without the mean(g)),
 *     dweight += sum over rows of dy n,  dbias += sum over rows of dy.
 * The sums over rows are taken in blocks of ROW_BLOCK rows, each into its own lines of the scratch
 * buffer, and the blocks are then added in order: a block is done by one thread, whichever it is,
 * so the result does not depend on the number of threads. */
#include "device/cpu/kernel.h"

#include "base/log.h"
#include "device/cpu/vector.h"

enum { ROW_BLOCK = DEVICE_NORM_ROWS };

/* Buffers of a call as C pointers, and what a row needs. */
struct norm_view {
    int64_t columns, groups, ld, ld_y;
    bool rms, replace;
    float epsilon, offset;
    const void *x, *weight, *bias, *dy;
    void *y, *dx;
    float *mean, *rstd;
};

static struct norm_view norm_view_of(const struct device_norm *desc)
{
    int64_t groups = desc->groups > 0 ? desc->groups : 1;
    return (struct norm_view){
        .columns = desc->columns,
        .groups = groups,
        .ld = desc->ld > 0 ? desc->ld : groups * desc->columns,
        .ld_y = desc->ld_y > 0 ? desc->ld_y : groups * desc->columns,
        .rms = desc->rms,
        .replace = desc->replace,
        .epsilon = desc->epsilon,
        .offset = desc->offset,
        .x = (const void *)desc->x.address,
        .weight = (const void *)desc->weight.address,
        .bias = (const void *)desc->bias.address,
        .dy = (const void *)desc->dy.address,
        .y = (void *)desc->y.address,
        .dx = (void *)desc->dx.address,
        .mean = cpu_fp32(desc->mean),
        .rstd = cpu_fp32(desc->rstd),
    };
}

/* Vectors that are normalised, which the code below calls rows. */
static int64_t norm_rows(const struct device_norm *desc)
{
    return desc->groups > 0 ? desc->rows * desc->groups : desc->rows;
}

/* Element at which a row begins, where rows of groups are ld apart. */
static inline int64_t row_at(const struct norm_view *v, int64_t row, int64_t ld)
{
    return v->groups == 1 ? row * ld : row / v->groups * ld + row % v->groups * v->columns;
}

static enum zi_status norm_check(const struct device_norm *desc)
{
    if (!cpu_type_is_known(desc->type))
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "norm: type %s is not known; use fp32, bf16 or fp16",
                       zi_dtype_name(desc->type));
    return ZI_OK;
}

/* Lanes [c, c + VEC_LANES) of a row that begins with element `at`, those past the last column 0. */
VEC_INLINE vec row_lanes(enum zi_dtype type, const void *base, int64_t at, int64_t c,
                         int64_t columns)
{
    return vec_load_as_part(type, base, at + c, columns - c);
}

/* The same lanes of the weight. */
VEC_INLINE vec weight_lanes(enum zi_dtype type, const struct norm_view *v, int64_t c)
{
    return row_lanes(type, v->weight, 0, c, v->columns) + v->offset;
}

VEC_INLINE float row_mean(enum zi_dtype type, const struct norm_view *v, int64_t at)
{
    vec even = vec_set(0.0f), odd = vec_set(0.0f);
    int64_t c = 0;
    for (; c + 2 * VEC_LANES <= v->columns; c += 2 * VEC_LANES) {
        even += vec_load_as(type, v->x, at + c);
        odd += vec_load_as(type, v->x, at + c + VEC_LANES);
    }
    for (; c < v->columns; c += VEC_LANES)
        even += row_lanes(type, v->x, at, c, v->columns);
    return vec_sum(even + odd) / (float)v->columns;
}

/* Mean of (x - mean)^2. */
VEC_INLINE float row_variance(enum zi_dtype type, const struct norm_view *v, int64_t at, float mean)
{
    vec even = vec_set(0.0f), odd = vec_set(0.0f), m = vec_set(mean);
    int64_t c = 0;
    for (; c + 2 * VEC_LANES <= v->columns; c += 2 * VEC_LANES) {
        vec a = vec_load_as(type, v->x, at + c) - m;
        vec b = vec_load_as(type, v->x, at + c + VEC_LANES) - m;
        even = vec_fma(a, a, even);
        odd = vec_fma(b, b, odd);
    }
    for (; c < v->columns; c += VEC_LANES) {
        vec a =
            vec_first(v->columns - c, row_lanes(type, v->x, at, c, v->columns) - m, vec_set(0.0f));
        even = vec_fma(a, a, even);
    }
    return vec_sum(even + odd) / (float)v->columns;
}

VEC_INLINE void row_forward(enum zi_dtype type, const struct norm_view *v, int64_t row)
{
    int64_t at = row_at(v, row, v->ld), to = row_at(v, row, v->ld_y);
    float mean = v->rms ? 0.0f : row_mean(type, v, at);
    float rstd = 1.0f / sqrtf(row_variance(type, v, at, mean) + v->epsilon);
    if (v->mean) v->mean[row] = mean;
    if (v->rstd) v->rstd[row] = rstd;
    vec m = vec_set(mean), s = vec_set(rstd);
    for (int64_t c = 0; c < v->columns; c += VEC_LANES) {
        int64_t n = v->columns - c;
        vec y = (vec_load_as_part(type, v->x, at + c, n) - m) * s;
        vec w = weight_lanes(type, v, c);
        vec b = v->bias ? vec_load_as_part(type, v->bias, c, n) : vec_set(0.0f);
        vec_store_as_part(type, v->y, to + c, vec_fma(y, w, b), n);
    }
}

static enum zi_status norm(struct device_stream *stream, const struct device_norm *desc)
{
    ZI_TRY(norm_check(desc));
    const struct norm_view v = norm_view_of(desc);
    int64_t rows = norm_rows(desc);
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        KERNEL_BY_TYPE(desc->type, row_forward, &v, row);
    return ZI_OK;
}

/* Sums of g and g n over a row, g = dy weight, n = (x - mean) rstd; divided by the columns. */
VEC_INLINE void row_means(enum zi_dtype type, const struct norm_view *v, int64_t row, float mean,
                          float means[2])
{
    int64_t at = row_at(v, row, v->ld), at_dy = row_at(v, row, v->ld_y);
    vec sum_g = vec_set(0.0f), sum_gn = vec_set(0.0f), m = vec_set(mean);
    for (int64_t c = 0; c < v->columns; c += VEC_LANES) {
        vec g = row_lanes(type, v->dy, at_dy, c, v->columns) * weight_lanes(type, v, c);
        sum_g += g;
        sum_gn = vec_fma(g, row_lanes(type, v->x, at, c, v->columns) - m, sum_gn);
    }
    means[0] = vec_sum(sum_g) / (float)v->columns;
    means[1] = vec_sum(sum_gn) * v->rstd[row] / (float)v->columns;
}

/* Adds a row's share to dx, and to the block's sums dweight and dbias. */
VEC_INLINE void row_backward(enum zi_dtype type, const struct norm_view *v, int64_t row,
                             float *dweight, float *dbias)
{
    int64_t at = row_at(v, row, v->ld), to = row_at(v, row, v->ld_y);
    float means[2], mean = v->rms ? 0.0f : v->mean[row];
    row_means(type, v, row, mean, means);
    vec m = vec_set(mean), s = vec_set(v->rstd[row]);
    vec mean_g = vec_set(v->rms ? 0.0f : means[0]), mean_gn = vec_set(means[1]);
    for (int64_t c = 0; c < v->columns; c += VEC_LANES) {
        int64_t n = v->columns - c;
        vec dy = row_lanes(type, v->dy, to, c, v->columns);
        vec normed = (row_lanes(type, v->x, at, c, v->columns) - m) * s;
        vec g = vec_fma(-normed, mean_gn, dy * weight_lanes(type, v, c) - mean_g);
        vec before = v->replace ? vec_set(0.0f) : row_lanes(type, v->dx, to, c, v->columns);
        vec_store_as_part(type, v->dx, to + c, vec_fma(s, g, before), n);
        if (dweight) {
            vec sum = vec_load_as_part(ZI_FP32, dweight, c, n);
            vec_store_as_part(ZI_FP32, dweight, c, vec_fma(dy, normed, sum), n);
        }
        if (dbias) {
            vec sum = vec_load_as_part(ZI_FP32, dbias, c, n);
            vec_store_as_part(ZI_FP32, dbias, c, sum + dy, n);
        }
    }
}

/* sum[c] += the blocks' sums of column c, in the order of blocks. */
static void blocks_add(struct device_stream *stream, const float *partial, int64_t blocks,
                       int64_t columns, float *sum)
{
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t c = 0; c < columns; c += VEC_LANES) {
        int64_t n = columns - c;
        vec total = vec_set(0.0f);
        for (int64_t block = 0; block < blocks; block++)
            total += vec_load_as_part(ZI_FP32, partial, 2 * block * columns + c, n);
        vec_store_as_part(ZI_FP32, sum, c, vec_load_as_part(ZI_FP32, sum, c, n) + total, n);
    }
}

static enum zi_status norm_backward(struct device_stream *stream, const struct device_norm *desc)
{
    ZI_TRY(norm_check(desc));
    if (desc->rows <= 0) return ZI_OK;
    const struct norm_view v = norm_view_of(desc);
    int64_t rows = norm_rows(desc), columns = desc->columns;
    int64_t blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    float *partial = cpu_fp32(desc->scratch);
    bool has_weight = !device_is_null(desc->dweight), has_bias = !device_is_null(desc->dbias);
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float *dweight = has_weight ? partial + 2 * block * columns : NULL;
        float *dbias = has_bias ? partial + (2 * block + 1) * columns : NULL;
        if (dweight) memset(dweight, 0, (size_t)columns * sizeof *dweight);
        if (dbias) memset(dbias, 0, (size_t)columns * sizeof *dbias);
        int64_t end = (block + 1) * ROW_BLOCK < rows ? (block + 1) * ROW_BLOCK : rows;
        for (int64_t row = block * ROW_BLOCK; row < end; row++)
            KERNEL_BY_TYPE(desc->type, row_backward, &v, row, dweight, dbias);
    }
    if (has_weight) blocks_add(stream, partial, blocks, columns, cpu_fp32(desc->dweight));
    if (has_bias) blocks_add(stream, partial + columns, blocks, columns, cpu_fp32(desc->dbias));
    return ZI_OK;
}

void KERNEL(cpu_norm_register)(struct device_operations *operations)
{
    operations->norm = norm;
    operations->norm_backward = norm_backward;
}

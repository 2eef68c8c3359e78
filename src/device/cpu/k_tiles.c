/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bf16 by tiles, of any shape and form, one thread's part of one.
 *
 * A slab of B, at most COLUMNS by DEPTH, is packed and stays in the second-level cache. Strips of 32
 * rows of A pass over it one after the other, each packed as its turn comes, so that it is found in
 * the first: a part of it of at most INNER in depth stays there while the slab streams past with the
 * hint that it will not be used again soon, without which it would push the strip out. Strips that
 * were packed for one slab are kept for the slabs beside it. Sums are fp32 in a place of their own,
 * from which the end of the product is done 32 rows at a time, while they are in the caches: scale,
 * bias, residual, what c holds, rounding, GELU or its gradient.
 *
 * The order of a sum is that of tiles.h, by depth: bits do not depend on how a product is cut, and so
 * not on the number of threads. */
#include "device/cpu/passes.h"

#include "device/cpu/tiles.h"

#ifdef ZI_TILES

enum {
    ROWS = CPU_TILES_ROWS,
    COLUMNS = CPU_TILES_COLUMNS,
    DEPTH = CPU_TILES_DEPTH,
    INNER = 512,
    LD_SUM = CPU_TILES_LD_SUM
};

/* A panel of a product, at most ROWS by COLUMNS, and its place among the rows and columns. */
struct panel {
    const struct device_matmul *d;
    int64_t row, column, rows, columns;
    /* Packed: strips of A, strips of B. Sums, rows of LD_SUM. */
    uint16_t *a, *b;
    float *sums;
    /* Of the depth, the last part of which may be shorter; multiples of 32. */
    int64_t depth;
    /* The strips of A are those of an earlier panel. */
    bool is_packed;
};

/* The part, a multiple of 32, when a length is cut evenly into as few parts of at most `most` as it
 * takes. */
static int64_t even_part(int64_t length, int64_t most)
{
    int64_t parts = (length + most - 1) / most;
    return tiles_steps((length + parts - 1) / parts) * TILES_BLOCK;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void pack_a(uint16_t *to, const struct device_matmul *d, const int64_t at[3])
{
    const struct tiles_source s = {cpu_half(d->a), d->lda, d->m, d->k};
    if (d->transpose_a)
        tiles_pack(to, &s, true, false, at);
    else
        tiles_pack(to, &s, false, false, at);
}

static void pack_b(uint16_t *to, const struct device_matmul *d, const int64_t at[3])
{
    const struct tiles_source s = {cpu_half(d->b), d->ldb, d->n, d->k};
    if (d->transpose_b)
        tiles_pack(to, &s, false, true, at);
    else
        tiles_pack(to, &s, true, true, at);
}

/* One block of sums; what lies past the panel's edges by half a block or more is left out. */
VEC_INLINE void multiply_block(const struct tiles_block *t, const float *next, const bool add,
                               const int64_t left[2] /* rows, columns */)
{
    if (left[0] > TILES_SIDE && left[1] > TILES_SIDE)
        tiles_multiply_streamed(t, 2, 2, add, next);
    else if (left[0] > TILES_SIDE)
        tiles_multiply_streamed(t, 2, 1, add, next);
    else if (left[1] > TILES_SIDE)
        tiles_multiply_streamed(t, 1, 2, add, next);
    else
        tiles_multiply_streamed(t, 1, 1, add, next);
}

/* sums [32, columns] (+)= a strip of A times the slab of B, both `deep`. */
static void multiply_strip(const struct panel *p, const uint16_t *a, float *sums, bool add,
                           const int64_t left[2] /* rows, deep */)
{
    int64_t steps = tiles_steps(left[1]), inner = even_part(left[1], INNER) / TILES_BLOCK;
    for (int64_t step = 0; step < steps; step += inner) {
        int64_t some = smaller(inner, steps - step);
        for (int64_t column = 0; column < p->columns; column += TILES_BLOCK) {
            const uint16_t *b = p->b + (column / TILES_BLOCK * steps + step) * TILES_STEP;
            struct tiles_block block =
                tiles_block_of(sums + column, LD_SUM, a + step * TILES_STEP, b, some);
            const int64_t there[2] = {left[0], p->columns - column};
            if (add || step > 0)
                multiply_block(&block, sums + column + TILES_BLOCK, true, there);
            else
                multiply_block(&block, NULL, false, there);
        }
    }
}

/* The panel's rows from `row` on, at most 32: what is done to them before they are stored. */
static void finish_strip(const struct panel *p, const float *sums, int64_t row)
{
    const struct device_matmul *d = p->d;
    size_t bytes = zi_dtype_bytes(d->type_c);
    float bias[COLUMNS];
    bool own = d->residual.address == d->c.address;
    size_t place = (size_t)((p->row + row) * d->ldc + p->column) * bytes;
    struct cpu_pass pass = {.type = d->type_c,
                            .rows = smaller(TILES_BLOCK, p->rows - row),
                            .columns = p->columns,
                            .ld = d->ldc,
                            .sum = sums,
                            .ld_sum = LD_SUM,
                            .scale = d->scale != 0 ? d->scale : 1.0f,
                            .end = d->end,
                            .c = (char *)d->c.address + place,
                            .accumulate = d->accumulate || own};
    if (d->end != DEVICE_END_PLAIN) pass.inner = (char *)d->inner.address + place;
    if (!device_is_null(d->residual) && !own)
        pass.residual = (const char *)d->residual.address + place;
    if (!device_is_null(d->bias)) {
        const struct cpu_passes *passes = KERNEL(cpu_passes_get)();
        passes->widen[ZI_BF16](bias, COLUMNS, cpu_half(d->bias) + p->column,
                               (int64_t[]){1, p->columns, p->columns});
        pass.bias = bias;
    }
    KERNEL(cpu_passes_get)()->finish(&pass);
}

static void multiply_panel(const struct panel *p)
{
    const struct device_matmul *d = p->d;
    for (int64_t depth = 0; depth < d->k; depth += p->depth) {
        int64_t deep = smaller(p->depth, d->k - depth), strip = tiles_steps(deep) * TILES_STEP;
        bool last = depth + deep == d->k;
        for (int64_t column = 0; column < p->columns; column += TILES_BLOCK)
            pack_b(p->b + column / TILES_BLOCK * strip, d,
                   (int64_t[]){p->column + column, depth, deep});
        for (int64_t row = 0; row < p->rows; row += TILES_BLOCK) {
            uint16_t *a = p->a + row / TILES_BLOCK * strip;
            float *sums = p->sums + (p->depth < d->k ? row * LD_SUM : 0);
            if (!p->is_packed) pack_a(a, d, (int64_t[]){p->row + row, depth, deep});
            multiply_strip(p, a, sums, depth > 0, (int64_t[]){p->rows - row, deep});
            if (last) finish_strip(p, sums, row);
        }
    }
}

void KERNEL(cpu_tiles)(const struct device_matmul *d, void *room)
{
    struct panel p = {.d = d, .depth = even_part(d->k, DEPTH), .a = room};
    int64_t rows = even_part(d->m, ROWS), columns = even_part(d->n, COLUMNS);
    p.b = p.a + (size_t)ROWS * DEPTH;
    p.sums = (float *)(void *)(p.b + (size_t)COLUMNS * DEPTH);
    tiles_begin();
    for (p.row = 0; p.row < d->m; p.row += rows) {
        p.rows = smaller(rows, d->m - p.row);
        for (p.column = 0; p.column < d->n; p.column += columns) {
            p.columns = smaller(columns, d->n - p.column);
            p.is_packed = p.column > 0 && p.depth >= d->k;
            multiply_panel(&p);
        }
    }
    tiles_end();
}

#endif

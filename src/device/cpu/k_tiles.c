/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bf16 by tiles, of any shape and form, one thread's part of one.
 *
 * A slab of B is packed and stays in the second-level cache. Strips of 32 rows of A pass over it one
 * after the other, a part of at most INNER in depth at a time, which is packed just before, stays in
 * the first-level cache, and is multiplied with all columns of the slab; these stream past it with the
 * hint that they will not be used again soon, without which they would push it out. A slab takes less
 * than half of the second-level cache, through which all else passes: with slabs of 1.1 MiB in 2 MiB
 * products took a tenth longer. Sums are fp32 in a place of their own, from which the end of the product
 * is done 32 rows at a time, while they are in the caches: scale, bias, residual, what c holds,
 * rounding, GELU or its gradient. Nothing else passes over the result.
 *
 * Packing weights for once when they arrive would need a second copy of them, and saves little: of the
 * time of a product of 768 x 768 on one thread, packing B takes 6 % with 1024 rows.
 *
 * The order of a sum is that of tiles.h, by depth: bits do not depend on how a product is cut, and so
 * not on the number of threads. */
#include "device/cpu/passes.h"

#include "device/cpu/tiles.h"

#ifdef ZI_TILES

enum {
    ROWS = CPU_TILES_ROWS,
    COLUMNS = CPU_TILES_COLUMNS,
    INNER = 512,
    /* Strips of A that are packed together where rows of memory are rows of depth, far apart, so that
     * what is read of each is some lines. */
    GROUP = 4,
    /* Numbers of a result that is too large for a cache of the core. */
    PAST = 1 << 19
};

/* A panel of a product, at most ROWS by COLUMNS, and its place among the rows and columns. */
struct panel {
    const struct device_matmul *d;
    int64_t row, column, rows, columns;
    /* Packed: groups of strips of A, strips of B. Sums, rows of CPU_TILES_LD_SUM. */
    uint16_t *a, *b;
    float *sums;
    /* Depth of a slab, of which the last may have less, and strips of a group. */
    int64_t depth, group;
    /* Groups are kept, each in a place of its own; and those of an earlier panel have been. */
    bool keeps, kept;
    /* goes_past(d) */
    bool past;
};

/* Of depth, from `first` on. */
struct slab {
    int64_t first, deep;
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

static void pack_a(uint16_t *to, const struct device_matmul *d, const int64_t at[4])
{
    const struct tiles_source s = {cpu_half(d->a), d->lda, d->m, d->k};
    if (d->transpose_a)
        tiles_pack_strips(to, &s, true, false, at);
    else
        tiles_pack_strips(to, &s, false, false, at);
}

static void pack_b(uint16_t *to, const struct device_matmul *d, const int64_t at[4])
{
    const struct tiles_source s = {cpu_half(d->b), d->ldb, d->n, d->k};
    if (d->transpose_b)
        tiles_pack_strips(to, &s, false, true, at);
    else
        tiles_pack_strips(to, &s, true, true, at);
}

/* One block of sums; what lies past the panel's edges by half a block or more is left out. */
VEC_INLINE void multiply_block(const struct tiles_block *t, const bool add, const float *next,
                               const int64_t left[2] /* rows, columns */)
{
    if (left[0] > TILES_SIDE && left[1] > TILES_SIDE)
        tiles_multiply_as(t, 2, 2, add, true, next);
    else if (left[0] > TILES_SIDE)
        tiles_multiply_as(t, 2, 1, add, true, next);
    else if (left[1] > TILES_SIDE)
        tiles_multiply_as(t, 1, 2, add, true, next);
    else
        tiles_multiply_as(t, 1, 1, add, true, next);
}

/* sums [rows, columns of the panel] (+)= a strip's part of A, `steps` deep, times that part of B. */
static void multiply_part(const struct panel *p, const struct tiles_block *part, int64_t b_strip,
                          bool add, int64_t rows)
{
    struct tiles_block block = *part;
    for (int64_t left = p->columns; left > 0; left -= TILES_BLOCK) {
        float *next = block.c + TILES_BLOCK;
        if (add)
            multiply_block(&block, true, next, (int64_t[]){rows, left});
        else
            multiply_block(&block, false, next, (int64_t[]){rows, left});
        block.c = next;
        block.b += b_strip;
        block.ahead.from += block.ahead.block;
    }
}

/* What is done to the panel's rows from `row` on, at most 32, before they are stored. */
static void finish_strip(const struct panel *p, const float *sums, int64_t row)
{
    const struct device_matmul *d = p->d;
    const struct cpu_passes *passes = KERNEL(cpu_passes_get)();
    size_t bytes = zi_dtype_bytes(d->type_c);
    float bias[COLUMNS];
    bool own = d->residual.address == d->c.address;
    size_t place = (size_t)((p->row + row) * d->ldc + p->column) * bytes;
    struct cpu_pass pass = {.type = d->type_c,
                            .rows = smaller(TILES_BLOCK, p->rows - row),
                            .columns = p->columns,
                            .ld = d->ldc,
                            .sum = sums,
                            .ld_sum = CPU_TILES_LD_SUM,
                            .scale = d->scale != 0 ? d->scale : 1.0f,
                            .end = d->end,
                            .c = (char *)d->c.address + place,
                            .accumulate = d->accumulate || own,
                            .past = p->past};
    if (d->end != DEVICE_END_PLAIN) pass.inner = (char *)d->inner.address + place;
    if (!device_is_null(d->residual) && !own)
        pass.residual = (const char *)d->residual.address + place;
    if (!device_is_null(d->bias)) {
        passes->widen[ZI_BF16](bias, COLUMNS, cpu_half(d->bias) + p->column,
                               (int64_t[]){1, p->columns, p->columns});
        pass.bias = bias;
    }
    passes->finish(&pass);
}

/* Rows of c, of the strip of `row`, which the end of the strip adds to: a block fetches lines of its own
 * columns, the first of two in one part of the depth, the other in the next. */
static struct tiles_ahead sums_ahead(const struct panel *p, const struct tiles_block *part,
                                     int64_t row, int64_t depth)
{
    int64_t ld = p->d->ldc * 4, second = depth / TILES_BLOCK / part->steps % 2;
    const float *c = cpu_fp32(p->d->c) + (p->row + row) * p->d->ldc + p->column;
    return (struct tiles_ahead){(const char *)(c + second * 16), ld, TILES_LINES * ld,
                                TILES_BLOCK * 4};
}

/* What is read behind a part of the strip of `row`, whose depth begins at `depth`, and so arrives while
 * the processor multiplies: of packed strips that are kept the part behind it, else that part of the
 * next strip as it is stored. Where rows of memory are rows of depth this does not pay, but to fetch
 * what c holds does, which such products, the gradients of weights, add to. */
static struct tiles_ahead ahead_of(const struct panel *p, const struct tiles_block *part,
                                   int64_t row, int64_t depth)
{
    const struct device_matmul *d = p->d;
    int64_t next = p->row + row + TILES_BLOCK, ld = d->lda * 2;
    bool ends = depth / p->depth == (d->k - 1) / p->depth; /* of the last slab */
    if (p->kept) {
        const uint16_t *behind = part->a + part->steps * TILES_STEP;
        return (struct tiles_ahead){(const char *)behind, 64, TILES_LINES * 64,
                                    part->steps * TILES_LINES * 64};
    }
    if (d->transpose_a && d->accumulate && d->type_c == ZI_FP32 && ends)
        return sums_ahead(p, part, row, depth);
    if (d->transpose_a || row + TILES_BLOCK >= p->rows)
        return (struct tiles_ahead){(const char *)part->a, 0, 0, 0};
    return (struct tiles_ahead){(const char *)(cpu_half(d->a) + next * d->lda + depth), ld, 64,
                                TILES_LINES * ld};
}

/* The products of the panel's rows from `row` on, at most 32; all but those of the first slab are
 * added to the sums. The first strip of a group packs for all. */
static void multiply_strip(const struct panel *p, const struct slab *slab, int64_t row, float *sums)
{
    int64_t steps = tiles_steps(slab->deep), inner = even_part(slab->deep, INNER) / TILES_BLOCK;
    int64_t index = row / TILES_BLOCK, member = index % p->group, leader = index - member;
    int64_t members = smaller(p->group, tiles_steps(p->rows) - leader);
    uint16_t *group = p->a + (p->keeps ? leader * steps * TILES_STEP : 0);
    for (int64_t step = 0; step < steps; step += inner) {
        int64_t some = smaller(inner, steps - step), depth = step * TILES_BLOCK;
        int64_t deep = smaller(some * TILES_BLOCK, slab->deep - depth);
        uint16_t *a = group + members * step * TILES_STEP;
        if (!p->kept && member == 0)
            pack_a(a, p->d, (int64_t[]){p->row + row, slab->first + depth, deep, members});
        struct tiles_block part = tiles_block_of(
            sums, CPU_TILES_LD_SUM, a + member * some * TILES_STEP, p->b + step * TILES_STEP, some);
        part.ahead = ahead_of(p, &part, row, slab->first + depth);
        multiply_part(p, &part, steps * TILES_STEP, slab->first + step > 0, p->rows - row);
    }
}

static void multiply_panel(const struct panel *p)
{
    int64_t k = p->d->k;
    for (int64_t first = 0; first < k; first += p->depth) {
        const struct slab slab = {first, smaller(p->depth, k - first)};
        pack_b(p->b, p->d, (int64_t[]){p->column, first, slab.deep, tiles_steps(p->columns)});
        for (int64_t row = 0; row < p->rows; row += TILES_BLOCK) {
            float *sums = p->sums + (p->depth < k ? row * CPU_TILES_LD_SUM : 0);
            multiply_strip(p, &slab, row, sums);
            if (first + slab.deep == k) finish_strip(p, sums, row);
        }
    }
}

/* Whether the result goes past the caches: it is too large to be found there by whoever reads it, and
 * a plain store would read each line that it is about to overwrite. */
static bool goes_past(const struct device_matmul *d)
{
    bool reads = d->accumulate || !device_is_null(d->residual);
    return d->type_c == ZI_FP32 && !reads && d->m * d->n >= PAST && d->c.address % 64 == 0 &&
           d->ldc % 16 == 0;
}

void KERNEL(cpu_tiles)(const struct device_matmul *d, void *room)
{
    int64_t rows = even_part(d->m, ROWS), columns = even_part(d->n, COLUMNS);
    struct panel p = {.d = d, .a = room, .group = d->transpose_a ? GROUP : 1};
    p.b = p.a + CPU_TILES_A;
    p.sums = (float *)(void *)(p.b + CPU_TILES_B);
    p.depth = even_part(d->k, smaller(CPU_TILES_B / columns, CPU_TILES_A / (GROUP * TILES_BLOCK)));
    p.keeps = columns < d->n && p.depth >= d->k && rows * p.depth <= CPU_TILES_A;
    p.past = goes_past(d);
    tiles_begin();
    for (p.row = 0; p.row < d->m; p.row += rows) {
        p.rows = smaller(rows, d->m - p.row);
        for (p.column = 0; p.column < d->n; p.column += columns) {
            p.columns = smaller(columns, d->n - p.column);
            p.kept = p.column > 0 && p.keeps;
            multiply_panel(&p);
        }
    }
    tiles_end();
    if (p.past) _mm_sfence(); /* before anything that says the result is there */
}

#endif

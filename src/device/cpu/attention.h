/* SPDX-License-Identifier: Apache-2.0 */
/* Private to k_attention.c and k_attention_backward.c: packed tiles and their products.
 *
 * All products are C[M,N] (+)= A[M,K] B[K,N] with the N direction in vector lanes: a word of A is
 * broadcast to all lanes and multiplied with vectors of B. A tile of TILE_ROWS x TILE_VECTORS
 * vectors of C stays in registers over all of K. Sizes are padded by packing (M to TILE_ROWS, N to
 * lanes), so there are no other tiles.
 *
 * A word is 32 bits: one fp32 number, or, with FORM_PAIRS, two bf16 numbers that are neighbours in
 * the K direction, multiplied by dpbf16ps at twice the rate of fp32. bf16 on processors without
 * that instruction is widened when it is packed, as it is where two multiply-adds of fp32 take less time
 * than one of pairs (form_of_bf16), and so is fp16, whose products no instruction of
 * AVX-512 adds up in fp32. Buffers of words are declared float and only moved. */
#ifndef ZI_DEVICE_CPU_ATTENTION_H
#define ZI_DEVICE_CPU_ATTENTION_H

#include "device/cpu/kernel.h"
#include "device/cpu/vector.h"

enum attention_form { FORM_FP32, FORM_FP16, FORM_WIDENED, FORM_PAIRS };

enum {
#ifdef VEC_AVX512
    TILE_ROWS = 8,
    TILE_VECTORS = 2,
#else
    TILE_ROWS = 4,
    TILE_VECTORS = 2,
#endif
    /* Queries of a span. */
    QUERIES = DEVICE_ATTENTION_QUERIES,
    WIDTH_MAX = 256,
    /* Keys of a block, see block_keys. */
    KEYS_MAX = 128,
    /* Words of a block of keys or values, of a span, of a tile of scores. */
    BLOCK_WORDS = 64 * WIDTH_MAX,
    SPAN_WORDS = QUERIES * WIDTH_MAX,
    TILE_WORDS = KEYS_MAX * QUERIES
};

/* Local. The operation attention_backward, in k_attention_backward.c. */
enum zi_status KERNEL(cpu_attention_backward)(struct device_stream *stream,
                                              const struct device_attention *desc);

/* Whether bf16 is multiplied in pairs: not at all where it is below 0, always above; 0: where that is
 * faster. For tests. */
extern int KERNEL(cpu_attention_pairs);

/* Local. The operation attention of bf16, on tiles: in k_attention_tiles.c, of the instruction set amx
 * alone. */
enum zi_status KERNEL(cpu_attention_tiles)(struct device_stream *stream,
                                           const struct device_attention *desc);

/* Local. In k_attention.c. ZI_ERROR_DEVICE for a type or shape that these kernels cannot do. */
enum zi_status KERNEL(cpu_attention_check)(const struct device_attention *desc);

/* How bf16 is multiplied. On Intel's processors with dpbf16ps it takes as long as four multiply-adds of
 * fp32: attention is 1.5 to 1.7 times as fast widened (a Xeon of model 207). Those of AMD, which do two
 * for one, take pairs. */
static inline enum attention_form form_of_bf16(void)
{
#ifdef __AVX512BF16__
    const int pairs = KERNEL(cpu_attention_pairs);
    if (pairs > 0 || (pairs == 0 && !__builtin_cpu_is("intel"))) return FORM_PAIRS;
#endif
    return FORM_WIDENED;
}

/* Leading dimension of q and k. */
static inline int64_t ld_of_qk(const struct device_attention *desc)
{
    return desc->ld_qk > 0 ? desc->ld_qk : desc->ld;
}

/* Of the products of queries and keys. */
static inline float scale_of(const struct device_attention *desc)
{
    return desc->scale > 0 ? desc->scale : 1.0f / sqrtf((float)desc->width);
}

/* What turns scores, as attention is given them or capped, into exponents of 2. */
static inline float factor_of(const struct device_attention *desc)
{
    const float log2_e = 1.44269504f;
    if (desc->cap > 0) return log2_e;
    return desc->scale > 0 ? log2_e * desc->scale : log2_e / sqrtf((float)desc->width);
}

/* Whether some queries do not see key 0. */
static inline bool is_bounded(const struct device_attention *desc)
{
    return desc->window > 0 || !device_is_null(desc->positions);
}

/* The first key that query `query` of a sequence sees, not before that of any earlier query. Queries
 * past the end see what the last one does. */
static inline int64_t first_key(const struct device_attention *desc, int64_t sequence,
                                int64_t query)
{
    int64_t first = desc->window > 0 && query >= desc->window ? query - desc->window + 1 : 0;
    if (device_is_null(desc->positions)) return first;
    const int32_t *positions = (const int32_t *)desc->positions.address + sequence * desc->tokens;
    int64_t last = query < desc->tokens ? query : desc->tokens - 1;
    int64_t start = last - positions[last];
    return start > first ? start : first;
}

/* How many of the queries query .. query + QUERIES - 1 see a key that lies at or below them, where
 * `seen` do see the one before it. */
static inline int64_t queries_seeing(const struct device_attention *desc, int64_t sequence,
                                     int64_t query, int64_t key, int64_t seen)
{
    while (seen < QUERIES && first_key(desc, sequence, query + seen) <= key)
        seen++;
    return seen;
}

/* Keys of a block for heads of this width: more where they are narrow, so that packing and passing
 * over sums pay off, yet a block stays within BLOCK_WORDS. */
static inline int64_t block_keys(int64_t width)
{
    return width <= 128 ? KEYS_MAX : KEYS_MAX / 2;
}

/* The smallest multiple of `unit` that is not below n. */
static inline int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Words of n numbers that are neighbours in the K direction. */
VEC_INLINE int64_t form_words(enum attention_form form, int64_t n)
{
    return form == FORM_PAIRS ? (n + 1) / 2 : n;
}

/* The type of the activations. */
VEC_INLINE enum zi_dtype form_type(enum attention_form form)
{
    return form == FORM_FP32 ? ZI_FP32 : form == FORM_FP16 ? ZI_FP16 : ZI_BF16;
}

/* c + a b, of words; with FORM_PAIRS the sum of the products of both their halves. */
VEC_INLINE vec word_multiply(enum attention_form form, vec a, vec b, vec c)
{
#ifdef __AVX512BF16__
    if (form == FORM_PAIRS)
        return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)(__m512)a, (__m512bh)(__m512)b);
#endif
    (void)form;
    return vec_fma(a, b, c);
}

#ifdef __AVX512BF16__
/* Rounds to bf16, to nearest even; what is below 2^-126 becomes zero. */
VEC_INLINE __m256i word_halves(vec v)
{
    return (__m256i)_mm512_cvtneps_pbh((__m512)v);
}

/* Words whose lower halves are `low` and upper halves are `high`. */
VEC_INLINE vec word_join(__m256i low, __m256i high)
{
    __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
    return (vec)_mm512_or_si512(_mm512_cvtepu16_epi32(low), upper);
}
#endif

/* One product: element (m, k) of A is word a[m * a_row + k * a_step], and one of the two strides is
 * 1; rows of B and C have the strides b_row and c_row. */
struct product {
    const float *a, *b;
    float *c;
    int64_t a_stride, b_row, c_row;
    /* The depth in words; m a multiple of TILE_ROWS, n of VEC_LANES. */
    int64_t m, n, depth;
};

/* How a product is done; constants at each call. */
struct product_kind {
    enum attention_form form;
    /* A is stored [m][k]; otherwise [k][m]. */
    bool a_by_rows;
    /* The product is added to what C holds. */
    bool add;
};

/* The tile of C at (m, n): TILE_ROWS rows of `vectors` vectors, at most TILE_VECTORS. */
VEC_INLINE void product_tile(struct product_kind kind, const struct product *p, int64_t m,
                             int64_t n, const int vectors)
{
    vec sums[TILE_ROWS][TILE_VECTORS];
    const int64_t a_row = kind.a_by_rows ? p->a_stride : 1;
    const int64_t a_step = kind.a_by_rows ? 1 : p->a_stride;
    const float *a = p->a + m * a_row, *b = p->b + n;
    float *c = p->c + m * p->c_row + n;
    for (int i = 0; i < TILE_ROWS; i++)
        for (int v = 0; v < vectors; v++)
            sums[i][v] = kind.add ? vec_load(c + i * p->c_row + v * VEC_LANES) : vec_set(0.0f);
    for (int64_t k = 0; k < p->depth; k++) {
        vec lanes[TILE_VECTORS];
        for (int v = 0; v < vectors; v++)
            lanes[v] = vec_load(b + k * p->b_row + v * VEC_LANES);
        for (int i = 0; i < TILE_ROWS; i++) {
            vec word = vec_set(a[i * a_row + k * a_step]);
            for (int v = 0; v < vectors; v++)
                sums[i][v] = word_multiply(kind.form, word, lanes[v], sums[i][v]);
        }
    }
    for (int i = 0; i < TILE_ROWS; i++)
        for (int v = 0; v < vectors; v++)
            vec_store(c + i * p->c_row + v * VEC_LANES, sums[i][v]);
}

/* C = A B, or C += A B. */
VEC_INLINE void product(struct product_kind kind, const struct product *p)
{
    int64_t n = 0;
    for (; n + TILE_VECTORS * VEC_LANES <= p->n; n += TILE_VECTORS * VEC_LANES)
        for (int64_t m = 0; m < p->m; m += TILE_ROWS)
            product_tile(kind, p, m, n, TILE_VECTORS);
    for (; n < p->n; n += VEC_LANES)
        for (int64_t m = 0; m < p->m; m += TILE_ROWS)
            product_tile(kind, p, m, n, 1);
}

/* A matrix of activations: rows of `width` numbers, `ld` apart, the first at element `first`; the
 * rows from `rows` on are not there and count as zeros. */
struct pack_source {
    const void *base;
    int64_t first, ld, rows, width;
};

/* Rows of `base` of one head, from a token of a sequence on; rows are ld elements apart. */
static inline struct pack_source rows_from(const struct device_attention *d, struct device_ptr base,
                                           int64_t ld,
                                           const int64_t at[3] /* sequence, token, head */)
{
    return (struct pack_source){.base = (const void *)base.address,
                                .first = (at[0] * d->tokens + at[1]) * ld + at[2] * d->width,
                                .ld = ld,
                                .rows = d->tokens - at[1],
                                .width = d->width};
}

/* Words [w, w + VEC_LANES) of a row whose words run along it; 0 past its end. */
VEC_INLINE vec pack_row_words(enum attention_form form, const struct pack_source *from, int64_t row,
                              int64_t w)
{
    int64_t at = from->first + row * from->ld;
    if (row >= from->rows) return vec_set(0.0f);
    if (form == FORM_PAIRS) {
        int64_t n = from->width - 2 * w;
        float words[VEC_LANES] = {0};
        const uint16_t *p = (const uint16_t *)from->base + at + 2 * w;
        if (n >= 2 * VEC_LANES) {
            vec whole;
            memcpy(&whole, p, sizeof whole);
            return whole;
        }
        if (n > 0) memcpy(words, p, (size_t)n * sizeof *p);
        return vec_load(words);
    }
    if (w >= from->width) return vec_set(0.0f);
    return vec_load_as_part(form_type(form), from->base, at + w, from->width - w);
}

/* to[row][w], rows `to_row` words apart (a multiple of VEC_LANES): words along the width. */
VEC_INLINE void pack_rows(enum attention_form form, const struct pack_source *from, int64_t rows,
                          float *to, int64_t to_row)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t w = 0; w < to_row; w += VEC_LANES)
            vec_store(to + row * to_row + w, pack_row_words(form, from, row, w));
}

/* to[w][row] for QUERIES rows: words along the width, transposed. */
VEC_INLINE void pack_columns(enum attention_form form, const struct pack_source *from, float *to)
{
    for (int64_t row = 0; row < QUERIES; row += VEC_LANES) {
        for (int64_t w = 0; w < form_words(form, from->width); w += VEC_LANES) {
            vec square[VEC_LANES];
            for (int i = 0; i < VEC_LANES; i++)
                square[i] = pack_row_words(form, from, row + i, w);
            vec_transpose(square);
            for (int i = 0; i < VEC_LANES; i++)
                vec_store(to + (w + i) * QUERIES + row, square[i]);
        }
    }
}

/* to[word of rows][column], rows `to_row` words apart: words along the rows, so that with
 * FORM_PAIRS a word holds the same column of two rows. */
VEC_INLINE void pack_across(enum attention_form form, const struct pack_source *from, int64_t rows,
                            float *to, int64_t to_row)
{
#ifdef __AVX512BF16__
    if (form == FORM_PAIRS) {
        for (int64_t row = 0; row < rows; row += 2) {
            for (int64_t c = 0; c < to_row; c += VEC_LANES) {
                vec_bits low = (vec_bits)pack_row_words(FORM_WIDENED, from, row, c);
                vec_bits high = (vec_bits)pack_row_words(FORM_WIDENED, from, row + 1, c);
                vec_store(to + row / 2 * to_row + c, (vec)(low >> 16 | high));
            }
        }
        return;
    }
#endif
    pack_rows(form, from, rows, to, to_row);
}

#endif

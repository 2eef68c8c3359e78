/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the tables of a model from its family's rows.
 *
 * Units are laid out tensor after tensor: joined tensors directly behind each other, all others at
 * multiples of 64 elements, which keeps rows aligned in every element type and lets one layout
 * serve parameters, gradients and optimizer states. Tables are built by walking the rows twice with
 * the same function: once to count, once to fill.
 *
 * Where a layer is cut into tiles, a tensor whose rows or columns have a size that is cut (query
 * and key heads, inner width, vocabulary) has a piece in the unit of every tile, and the others
 * have one in the unit that the tiles share. Names, shapes and order of tensors know nothing of
 * tiles. */
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "base/random.h"
#include "model/adapter.h"
#include "model/packed.h"
#include "model/trainable.h"

#define ALIGNMENT 64

const struct family *family_numbered(int family)
{
    static const struct family *const families[MODEL_FAMILIES] = {
        [MODEL_GPT2] = &family_gpt2,       [MODEL_LLAMA] = &family_llama,
        [MODEL_MISTRAL] = &family_mistral, [MODEL_QWEN2] = &family_qwen2,
        [MODEL_QWEN3] = &family_qwen3,     [MODEL_SMOLLM3] = &family_smollm3,
        [MODEL_OLMO2] = &family_olmo2,     [MODEL_GEMMA2] = &family_gemma2,
        [MODEL_GEMMA3] = &family_gemma3,
    };
    ZI_REQUIRE(family >= 0 && family < MODEL_FAMILIES);
    return families[family];
}

const struct family *family_of(const struct settings_model *settings)
{
    return family_numbered(settings->family);
}

int64_t family_head_width(const struct settings_model *settings)
{
    return settings->head_width > 0 ? settings->head_width : settings->hidden / settings->heads;
}

float family_norm_offset(const struct settings_model *settings)
{
    return family_of(settings)->offset ? 1.0f : 0.0f;
}

float family_embedding_scale(const struct settings_model *settings, enum zi_dtype type)
{
    float scale = sqrtf((float)settings->hidden);
    if (!family_of(settings)->widened) return 1.0f;
    if (!zi_dtype_is_half(type)) return scale;
    return zi_half_to_fp32(type, zi_half_round_even(type, scale));
}

float family_score_scale(const struct settings_model *settings)
{
    int64_t width = settings->score_width;
    if (width <= 0 || width == family_head_width(settings)) return 0.0f;
    return 1.0f / sqrtf((float)width);
}

int64_t family_size(const struct settings_model *s, enum family_size size)
{
    int64_t width = family_head_width(s);
    switch (size) {
    case SIZE_NONE:
        return 1;
    case SIZE_HIDDEN:
        return s->hidden;
    case SIZE_QUERY:
        return s->heads * width;
    case SIZE_KEY:
        return s->key_heads * width;
    case SIZE_HEAD:
        return width;
    case SIZE_INNER:
        return s->inner;
    case SIZE_VOCABULARY:
        return s->vocabulary;
    case SIZE_CONTEXT:
        return s->context;
    case SIZE_RANK:
        return s->adapter.rank;
    }
    return 0;
}

/* Length of the pieces between which a size may be cut; 0 when it is never cut. */
static int64_t group_of(const struct settings_model *s, enum family_size size)
{
    switch (size) {
    case SIZE_QUERY:
        return s->heads / s->key_heads * family_head_width(s);
    case SIZE_KEY:
        return family_head_width(s);
    case SIZE_INNER:
    case SIZE_VOCABULARY:
        return FAMILY_GROUP;
    case SIZE_NONE:
    case SIZE_HIDDEN:
    case SIZE_HEAD:
    case SIZE_CONTEXT:
    case SIZE_RANK:
        break;
    }
    return 0;
}

struct family_cut family_cut(const struct settings_model *settings, enum family_size size,
                             int64_t tile, int64_t tiles)
{
    int64_t elements = family_size(settings, size), group = group_of(settings, size);
    if (group == 0 || tiles == 1) return (struct family_cut){0, elements, true};
    int64_t groups = (elements + group - 1) / group;
    int64_t first = groups * tile / tiles * group, end = groups * (tile + 1) / tiles * group;
    if (end > elements) end = elements;
    return (struct family_cut){first, end - first, false};
}

/* Whether the model has the tensor of a row. */
static bool row_is_cut(const struct model *m, const struct family_row *row, int64_t tiles)
{
    return !family_cut(&m->settings, row->rows, 0, tiles).whole ||
           !family_cut(&m->settings, row->columns, 0, tiles).whole;
}

/* Appends a tensor; its pieces follow with the units. */
static void add_tensor(struct model *m, const char *layer, const struct family_row *row)
{
    const struct settings_model *s = &m->settings;
    if (m->tensors) {
        struct model_tensor *t = &m->tensors[m->tensor_count];
        snprintf(t->name, sizeof t->name, "%s.%s", layer, row->name);
        t->dimensions = row->columns == SIZE_NONE ? 1 : 2;
        t->shape[0] = family_size(s, row->rows);
        t->shape[1] = family_size(s, row->columns);
        t->elements = t->shape[0] * t->shape[1];
        t->kind = row->kind;
        t->init = row->init;
        t->adapts = row->columns == SIZE_RANK || row->rows == SIZE_RANK;
        t->adapter = -1;
        t->deviation = (float)s->init_deviation;
        if (row->scaled) t->deviation /= sqrtf(2.0f * (float)s->layers);
        /* what kaiming_uniform_ of PyTorch makes with a = sqrt(5) */
        if (row->init == MODEL_INIT_UNIFORM) t->deviation = 1.0f / sqrtf((float)t->shape[1]);
        m->parameters += t->elements;
    }
    m->tensor_count++;
}

/* Which tile of how many; tile -1 stands for what all tiles share. The matrices of a layer that is packed
 * are by themselves. */
struct tile {
    int64_t tile, tiles;
    bool packs;
};

/* Whether a row is of the tiles of its layer, and not of what they share. */
static bool row_is_own(const struct model *m, const struct family_row *row, struct tile tile)
{
    if (tile.packs) return row->kind == MODEL_MATRIX;
    return tile.tiles == 1 || row_is_cut(m, row, tile.tiles);
}

static void fill_piece(struct model *m, const struct family_row *row, int tensor, struct tile tile,
                       int64_t *end)
{
    const struct settings_model *s = &m->settings;
    struct model_tensor *t = &m->tensors[tensor];
    struct model_piece *piece = &m->pieces[m->piece_count];
    struct family_cut rows = family_cut(s, row->rows, tile.tile, tile.tiles);
    struct family_cut columns = family_cut(s, row->columns, tile.tile, tile.tiles);
    *piece = (struct model_piece){.tensor = tensor, .unit = m->unit_count};
    piece->first = rows.first * t->shape[1] + columns.first;
    piece->rows = columns.whole ? 1 : rows.count;
    piece->row = columns.whole ? rows.count * columns.count : columns.count;
    piece->stride = columns.whole ? piece->row : t->shape[1];
    piece->offset = row->joined ? *end : (*end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *end = piece->offset + piece->rows * piece->row;
    if (t->piece_count == 1) t->piece_step = m->piece_count - t->first_piece;
    if (t->piece_count++ == 0) t->first_piece = m->piece_count;
}

/* Appends a unit of the tensors from `tensor` on: what the tile has of those that are cut, or all
 * of those that are not. Gives its number. Without tables it only counts. */
static int add_unit(struct model *m, const char *name, const struct family_row *rows, int tensor,
                    struct tile tile)
{
    int64_t end = 0;
    struct model_unit *unit = m->units ? &m->units[m->unit_count] : NULL;
    int first = m->piece_count;
    for (; rows->name; rows++) {
        if (!family_has_row(&m->settings, rows)) continue;
        int of_row = tensor++;
        if (row_is_own(m, rows, tile) != (tile.tile >= 0)) continue;
        if (unit) fill_piece(m, rows, of_row, tile, &end);
        m->piece_count++;
    }
    if (unit) {
        snprintf(unit->name, sizeof unit->name, "%s", name);
        unit->first_piece = first;
        unit->piece_count = m->piece_count - first;
        unit->elements = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        unit->packed = tile.packs && tile.tile >= 0;
    }
    return m->unit_count++;
}

/* Units of a layer: one of all its tensors, or the first of one per tile and, where there is such,
 * one of what all tiles share. */
struct layer_units {
    /* `shared`: -1 when there is none. */
    int tile, shared;
};

static struct layer_units add_units(struct model *m, const char *layer,
                                    const struct family_row *rows, struct tile tile)
{
    char name[64];
    struct layer_units units = {-1, -1};
    int tensor = m->tensor_count;
    bool shares = false;
    for (const struct family_row *row = rows; row->name; row++) {
        if (!family_has_row(&m->settings, row)) continue;
        add_tensor(m, layer, row);
        shares = shares || !row_is_own(m, row, tile);
    }
    if (shares) {
        snprintf(name, sizeof name, "%s.shared", layer);
        tile.tile = -1;
        units.shared = add_unit(m, name, rows, tensor, tile);
    }
    for (tile.tile = 0; tile.tile < tile.tiles; tile.tile++) {
        snprintf(name, sizeof name, "%s.tile.%" PRId64, layer, tile.tile);
        int unit = add_unit(m, tile.tiles > 1 ? name : layer, rows, tensor, tile);
        if (tile.tile == 0) units.tile = unit;
    }
    return units;
}

/* Appends the adapters of a layer whose rows and tensors are given: a unit. Gives its number, or -1
 * where the layer has none. */
static int add_adapter(struct model *m, const char *layer, const struct family_row *rows,
                       int tensor)
{
    struct family_row own[FAMILY_ADAPTER_ROWS];
    char name[64];
    int count = 0, first = m->tensor_count;
    for (; rows->name; rows++) {
        if (!family_has_row(&m->settings, rows)) continue;
        int of_row = tensor++;
        if (!family_adapts(&m->settings, rows, &own[count])) continue;
        if (m->tensors) m->tensors[of_row].adapter = m->tensor_count;
        add_tensor(m, layer, &own[count]);
        add_tensor(m, layer, &own[count + 1]);
        count += 2;
    }
    if (count == 0) return -1;
    own[count].name = NULL;
    snprintf(name, sizeof name, "%s.adapter", layer);
    int unit = add_unit(m, name, own, first, (struct tile){0, 1, false});
    if (m->units) m->units[unit].adapts = true;
    return unit;
}

/* The units of the operations of a layer, -1 for none. */
enum { UNIT_ADAPTER = 2, UNIT_KINDS };

/* Appends the operations of a layer. Operation k uses the k-th unit from units[tiled] on; the other
 * unit, if there is one, is used by all, or by tile 0 only. Tile 0 differentiates it. All use and
 * differentiate the adapters. */
static void add_ops(struct model *m, const struct model_op *like, const int units[UNIT_KINDS],
                    int tiled, bool by_all)
{
    for (int k = 0; k < like->tiles; k++, m->op_count++) {
        if (!m->ops) continue;
        struct model_op *op = &m->ops[m->op_count];
        *op = *like;
        if (like->tiles > 1) snprintf(op->name, sizeof op->name, "%.40s.tile.%d", like->name, k);
        op->tile = k;
        op->layer = m->layer_count;
        for (int i = 0; i < MODEL_MAX_UNITS; i++)
            op->units[i] = -1;
        for (int i = 0; i < UNIT_KINDS; i++) {
            bool own = i == tiled || i == UNIT_ADAPTER;
            if (units[i] < 0 || (!own && k > 0 && !by_all)) continue;
            if (own || k == 0) op->differentiates |= 1u << op->unit_count;
            op->units[op->unit_count++] = units[i] + (i == tiled ? k : 0);
        }
    }
    m->layer_count++;
}

static void add_branch(struct model *m, enum model_op_kind kind, int block)
{
    const struct family *family = family_of(&m->settings);
    bool attention = kind == MODEL_ATTENTION;
    int64_t tiles = attention ? m->tiling.attention : m->tiling.mlp;
    struct model_op op = {.kind = kind, .block = block, .tiles = (int)tiles};
    snprintf(op.name, sizeof op.name, "blocks.%d.%s", block, attention ? "attention" : "mlp");
    const struct family_row *rows = attention ? family->attention : family->mlp;
    int tensor = m->tensor_count;
    struct tile tile = {0, tiles, packed_has(&m->settings, op.name, rows)};
    struct layer_units units = add_units(m, op.name, rows, tile);
    int adapter = add_adapter(m, op.name, rows, tensor);
    add_ops(m, &op, (int[]){units.tile, units.shared, adapter}, 0, true);
}

static void add_all(struct model *m)
{
    const struct family *family = family_of(&m->settings);
    int64_t tiles = m->tiling.vocabulary;
    const struct tile one = {0, 1, false}, cut = {0, tiles, false};
    m->tensor_count = m->piece_count = m->unit_count = m->op_count = m->layer_count = 0;
    m->parameters = 0;
    int token = add_units(m, "embedding.token", family->token, cut).tile, position = -1;
    if (family->position) position = add_units(m, "embedding.position", family->position, one).tile;
    struct model_op embed = {.name = "embedding", .kind = MODEL_EMBED, .block = -1};
    embed.tiles = (int)tiles;
    add_ops(m, &embed, (int[]){token, position, -1}, 0, false);
    for (int b = 0; b < m->settings.layers; b++) {
        add_branch(m, MODEL_ATTENTION, b);
        add_branch(m, MODEL_MLP, b);
    }
    int norm = add_units(m, "norm", family->norm, one).tile;
    int table = m->settings.tied ? token : add_units(m, "head", family->head, cut).tile;
    struct model_op head = {.name = "head", .kind = MODEL_HEAD, .block = -1, .tiles = (int)tiles};
    add_ops(m, &head, (int[]){norm, table, -1}, 1, true);
}

struct settings_tiling model_most_tiles(const struct settings_model *settings)
{
    const struct family *family = family_of(settings);
    bool whole = family->behind; /* a norm is of the sum of all tiles */
    bool attention = !whole && packed_may_tile(settings, family->attention);
    bool mlp = !whole && packed_may_tile(settings, family->mlp);
    return (struct settings_tiling){
        .attention = !attention ? 1 : settings->key_heads,
        .mlp = !mlp ? 1 : (settings->inner + FAMILY_GROUP - 1) / FAMILY_GROUP,
        .vocabulary = (settings->vocabulary + FAMILY_GROUP - 1) / FAMILY_GROUP,
    };
}

/* Tile counts with auto as 1. */
static struct settings_tiling resolve(const struct settings_tiling *tiling,
                                      const struct settings_model *settings)
{
    struct settings_tiling most = model_most_tiles(settings), t = *tiling;
    if (t.attention == ZI_AUTO) t.attention = 1;
    if (t.mlp == ZI_AUTO) t.mlp = 1;
    if (t.vocabulary == ZI_AUTO) t.vocabulary = 1;
    ZI_REQUIRE(t.attention >= 1 && t.attention <= most.attention);
    ZI_REQUIRE(t.mlp >= 1 && t.mlp <= most.mlp);
    ZI_REQUIRE(t.vocabulary >= 1 && t.vocabulary <= most.vocabulary);
    return t;
}

void model_settle_trainable(struct model *model)
{
    for (int u = 0; u < model->unit_count; u++) {
        struct model_unit *unit = &model->units[u];
        unit->trainable = false;
        for (int i = 0; i < unit->piece_count; i++) {
            int tensor = model->pieces[unit->first_piece + i].tensor;
            unit->trainable = unit->trainable || model->tensors[tensor].trainable;
        }
    }
    for (int o = 0; o < model->op_count; o++) {
        struct model_op *op = &model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            if (!model->units[op->units[i]].trainable) op->differentiates &= ~(1u << i);
        }
    }
}

int model_lowest_trainable(const struct model *model)
{
    int op = 0;
    while (op < model->op_count && model->ops[op].differentiates == 0)
        op++;
    return op < model->op_count ? op - model->ops[op].tile : op;
}

enum zi_status model_create(const struct settings_model *settings,
                            const struct settings_tiling *tiling, enum zi_dtype type,
                            struct model **model)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) return zi_fail(ZI_ERROR_DEVICE, "model", "no memory for the model's tables");
    m->settings = *settings;
    m->tiling = resolve(tiling, settings);
    m->type = type;
    add_all(m);
    m->tensors = calloc((size_t)m->tensor_count, sizeof *m->tensors);
    m->pieces = calloc((size_t)m->piece_count, sizeof *m->pieces);
    m->units = calloc((size_t)m->unit_count, sizeof *m->units);
    m->ops = calloc((size_t)m->op_count, sizeof *m->ops);
    if (!m->tensors || !m->pieces || !m->units || !m->ops) {
        int tensors = m->tensor_count;
        model_destroy(m);
        return zi_fail(ZI_ERROR_DEVICE, "model", "no memory for tables of %d tensors", tensors);
    }
    add_all(m);
    for (int t = 0; t < m->tensor_count; t++)
        m->tensors[t].trainable =
            trainable_matches(settings, m->tensors[t].name, m->tensors[t].adapts);
    model_settle_trainable(m);
    *model = m;
    return ZI_OK;
}

void model_destroy(struct model *model)
{
    if (!model) return;
    free(model->tensors);
    free(model->pieces);
    free(model->units);
    free(model->ops);
    free(model);
}

void model_initialize(const struct model_tensor *tensor, uint64_t seed, int64_t first,
                      int64_t count, float *values)
{
    if (tensor->init == MODEL_INIT_NORMAL) {
        zi_random_normal(seed, zi_random_stream(tensor->name), first, count, tensor->deviation,
                         values);
        return;
    }
    if (tensor->init == MODEL_INIT_UNIFORM) {
        zi_random_uniforms(seed, zi_random_stream(tensor->name), first, count, tensor->deviation,
                           values);
        return;
    }
    float value = tensor->init == MODEL_INIT_ONE ? 1.0f : 0.0f;
    for (int64_t i = 0; i < count; i++) {
        values[i] = value;
    }
}

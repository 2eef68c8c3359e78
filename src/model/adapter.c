/* SPDX-License-Identifier: Apache-2.0 */
/* Low-rank adapters (LoRA, Hu et al. 2022) beside the matrices of a linear layer.
 *
 * Of matrices that are one product (query, key and value) each has an adapter of its own: its share of
 * the product's columns. What passes between A and B has as few columns as the rank, so it is not
 * kept for backward but made again, and so is its gradient where both products of backward need it.
 * The scale s goes into these narrow products. What of x is dropped in front of A is not kept either:
 * where it is needed it is the same again.
 *
 * A tile has some rows of a matrix or some columns; of the adapter it uses the same rows of B, or
 * columns of A, and the gradient that it makes of the unit is zero elsewhere. */
#include "model/adapter.h"

#include <math.h>
#include <string.h>

#include "base/random.h"

static const struct target {
    const char *word, *weight, *a, *b;
    /* It ends its layer, which backward does not make again. */
    bool ends;
} targets[] = {
    {"query", "query.weight", "query.lora_a", "query.lora_b", false},
    {"key", "key.weight", "key.lora_a", "key.lora_b", false},
    {"value", "value.weight", "value.lora_a", "value.lora_b", false},
    {"output", "output.weight", "output.lora_a", "output.lora_b", true},
    {"gate", "gate.weight", "gate.lora_a", "gate.lora_b", false},
    {"up", "up.weight", "up.lora_a", "up.lora_b", false},
    {"down", "down.weight", "down.lora_a", "down.lora_b", true},
};
enum { TARGETS = sizeof targets / sizeof *targets };

static bool list_has(const struct deck_list *list, const char *word)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->items[i], word) == 0) return true;
    return false;
}

static bool is_target(const struct settings_adapter *adapter, const struct target *target)
{
    bool usual = strcmp(target->word, "query") == 0 || strcmp(target->word, "value") == 0;
    return list_has(&adapter->targets, target->word) || list_has(&adapter->targets, "all") ||
           (usual && list_has(&adapter->targets, "auto"));
}

bool family_adapts(const struct settings_model *settings, const struct family_row *row,
                   struct family_row adapter[2])
{
    if (settings->adapter.rank <= 0) return false;
    for (int i = 0; i < TARGETS; i++) {
        const struct target *t = &targets[i];
        if (strcmp(t->weight, row->name) != 0 || !is_target(&settings->adapter, t)) continue;
        adapter[0] = (struct family_row){.name = t->a,
                                         .rows = SIZE_RANK,
                                         .columns = row->columns,
                                         .kind = MODEL_MATRIX,
                                         .init = MODEL_INIT_UNIFORM};
        adapter[1] = (struct family_row){.name = t->b,
                                         .rows = row->rows,
                                         .columns = SIZE_RANK,
                                         .kind = MODEL_MATRIX,
                                         .init = MODEL_INIT_ZERO};
        return true;
    }
    return false;
}

/* Whether the layers of a family have the matrix of a target. */
static bool family_has(const struct family *family, const struct target *target)
{
    const struct family_row *const layers[] = {family->attention, family->mlp};
    for (int i = 0; i < 2; i++)
        for (const struct family_row *row = layers[i]; row->name; row++)
            if (strcmp(row->name, target->weight) == 0) return true;
    return false;
}

/* A word of adapter.targets. */
static void check_target(struct deck *deck, const char *word)
{
    const struct family *family = family_of(&deck_settings(deck)->model);
    const char *names[TARGETS + 2] = {"auto", "all"};
    char known[128] = "";
    int count = 2;
    for (int i = 0; i < TARGETS; i++) {
        if (!family_has(family, &targets[i])) continue;
        names[count++] = targets[i].word;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s, ", targets[i].word);
    }
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], word) == 0) return;
    const char *nearest = deck_nearest(word, names, count);
    deck_complain(deck, "adapter", "targets",
                  "model.family: %s has no matrix %s; it has %sor all%s%s", family->name, word,
                  known, nearest ? "; nearest is " : "", nearest ? nearest : "");
}

void adapter_check(struct deck *deck)
{
    const struct settings_model *model = &deck_settings(deck)->model;
    struct settings_adapter *adapter = &deck_settings(deck)->model.adapter;
    int64_t widest = model->hidden < model->inner ? model->hidden : model->inner;
    if (adapter->rank == 0) return;
    if (adapter->alpha == ZI_AUTO) adapter->alpha = adapter->rank;
    if (adapter->dropout >= 1)
        deck_complain(deck, "adapter", "dropout",
                      "of an adapter's inputs all would be dropped; usual are 0.05 to 0.1");
    if (adapter->rank > widest)
        deck_complain(deck, "adapter", "rank",
                      "%lld is more than the matrices have, whose smaller side is %lld; usual are "
                      "8 to 64",
                      (long long)adapter->rank, (long long)widest);
    for (int i = 0; i < adapter->targets.count; i++)
        check_target(deck, adapter->targets.items[i]);
}

/* Which of an operation's units has the adapters; -1: none. */
static int find_unit(const struct model *model, int op)
{
    for (int i = 0; i < model->ops[op].unit_count; i++)
        if (model->units[model->ops[op].units[i]].adapts) return i;
    return -1;
}

bool adapter_exists(const struct model *model, int op)
{
    return find_unit(model, op) >= 0;
}

float model_adapter_scale(const struct settings_model *settings)
{
    const struct settings_adapter *s = &settings->adapter;
    double rank = (double)s->rank;
    return (float)((double)s->alpha / (s->scaling == ADAPTER_RSQRT ? sqrt(rank) : rank));
}

/* What passes between A and B, and the gradient of it. */
static size_t narrow_bytes(const struct model *model, int64_t rows)
{
    struct layer_arena arena = {{0}, 0};
    layer_take(&arena, rows * model->settings.adapter.rank, zi_dtype_bytes(model->type));
    return arena.used;
}

/* The columns of x that a piece of a matrix multiplies with. */
static int64_t inputs_of(const struct model *model, const struct model_piece *piece)
{
    bool columns = piece->stride != piece->row; /* cut in columns, else in rows */
    return columns ? piece->row : model->tensors[piece->tensor].shape[1];
}

/* What dropout makes of x, and of the gradient that goes there, of the widest of an operation's
 * matrices with adapters. */
static size_t dropped_bytes(const struct model *model, int op, int64_t rows)
{
    const struct model_unit *unit = &model->units[model->ops[op].units[0]];
    struct layer_arena arena = {{0}, 0};
    int64_t widest = 0;
    if (model->settings.adapter.dropout <= 0) return 0;
    for (int p = unit->first_piece; p < unit->first_piece + unit->piece_count; p++) {
        const struct model_piece *piece = &model->pieces[p];
        if (model->tensors[piece->tensor].adapter < 0) continue;
        int64_t inputs = inputs_of(model, piece);
        widest = inputs > widest ? inputs : widest;
    }
    layer_take(&arena, rows * widest, sizeof(float));
    return arena.used;
}

size_t adapter_scratch(const struct model *model, int op, int64_t rows)
{
    if (!adapter_exists(model, op)) return 0;
    return 2 * narrow_bytes(model, rows) + dropped_bytes(model, op, rows);
}

/* An adapter beside a part of a linear layer: its matrices and their gradients (null where the
 * operation makes none) from the first element that the tile uses; A has rows of `ld`. The part has
 * `outputs` columns of the product, from `column` on. */
struct part {
    struct device_ptr a, b, d_a, d_b;
    int64_t ld, column, outputs;
    /* For dropout: the seed of A, and the first column of its rows that the tile uses. */
    uint64_t seed;
    int64_t first;
};

static struct part part_of(const struct layer_linear *l, const struct model_piece *piece)
{
    const struct model_tensor *base = &l->model->tensors[piece->tensor];
    int i = find_unit(l->model, l->op), a = l->model->tensors[base->adapter].first_piece;
    int64_t row = piece->first / base->shape[1], column = piece->first % base->shape[1];
    int64_t at_a = column, at_b = row * l->model->settings.adapter.rank;
    size_t bytes = zi_dtype_bytes(l->model->type);
    struct layer_place of_a = {i, a}, of_b = {i, l->model->tensors[base->adapter + 1].first_piece};
    struct device_ptr d_a = layer_gradient(l->model, l->pass, l->op, of_a);
    struct device_ptr d_b = layer_gradient(l->model, l->pass, l->op, of_b);
    return (struct part){
        .a = device_at(layer_weight(l->model, l->pass, of_a), (size_t)at_a * bytes),
        .b = device_at(layer_weight(l->model, l->pass, of_b), (size_t)at_b * bytes),
        .d_a = device_is_null(d_a) ? d_a : device_at(d_a, (size_t)at_a * sizeof(float)),
        .d_b = device_is_null(d_b) ? d_b : device_at(d_b, (size_t)at_b * sizeof(float)),
        .ld = base->shape[1],
        .seed = zi_random_stream(l->model->tensors[base->adapter].name) ^ l->pass->seed,
        .first = column,
    };
}

/* Finds the next of a linear layer's matrices with an adapter, from piece *next on, whose columns of
 * the product begin at part->column; false where there is none. */
static bool next_part(const struct layer_linear *l, int *next, struct part *part)
{
    int64_t column = part->column + part->outputs;
    for (; column < l->outputs; ++*next) {
        const struct model_piece *piece = &l->model->pieces[*next];
        int64_t outputs = piece->rows * piece->row / l->inputs;
        if (l->model->tensors[piece->tensor].adapter >= 0) {
            *part = part_of(l, piece);
            part->column = column;
            part->outputs = outputs;
            ++*next;
            return true;
        }
        column += outputs;
    }
    return false;
}

/* The piece of the first of a linear layer's matrices. */
static int first_piece(const struct layer_linear *l)
{
    return layer_find(l->model, l->op, l->weight).piece;
}

bool adapter_is_beside(const struct layer_linear *l)
{
    struct part part = {.column = 0};
    int next = first_piece(l);
    return adapter_exists(l->model, l->op) && next_part(l, &next, &part);
}

static enum zi_status multiply(const struct layer_linear *l, const struct device_matmul *d)
{
    return l->pass->operations->matmul(l->pass->stream, d);
}

/* Columns of the product, of rows of l->outputs. */
static struct device_ptr columns_of(const struct layer_linear *l, const struct part *part,
                                    struct device_ptr y)
{
    return device_at(y, (size_t)part->column * zi_dtype_bytes(l->model->type));
}

/* Where dropped elements are, in scratch. */
static struct device_ptr dropped_at(const struct layer_linear *l)
{
    return device_at(l->pass->adapter, 2 * narrow_bytes(l->model, l->rows));
}

/* Drops elements of [R,K], numbered as the inputs of the whole matrix in the global batch; with `add` the
 * rest is added. */
static enum zi_status drop(const struct layer_linear *l, const struct part *part,
                           struct device_dropout *d)
{
    d->rows = l->rows;
    d->columns = l->inputs;
    d->seed = part->seed;
    d->stride = part->ld;
    d->first = l->pass->first * l->pass->tokens * part->ld + part->first;
    d->share = l->model->settings.adapter.dropout;
    return l->pass->operations->dropout(l->pass->stream, d);
}

/* Of x what A sees: *x becomes that, in scratch, where elements are dropped. */
static enum zi_status drop_input(const struct layer_linear *l, const struct part *part,
                                 struct device_ptr *x)
{
    struct device_dropout d = {.type = l->model->type, .from = *x, .to = dropped_at(l)};
    if (!l->pass->drops) return ZI_OK;
    *x = d.to;
    return drop(l, part, &d);
}

/* h = s x A^T [R,r], in scratch. */
static enum zi_status narrow(const struct layer_linear *l, const struct part *part,
                             struct device_ptr x, struct device_ptr *h)
{
    const struct model *model = l->model;
    struct device_matmul d = {.type = model->type, .type_c = model->type, .transpose_b = true};
    *h = l->pass->adapter;
    d.scale = model_adapter_scale(&model->settings);
    d.m = l->rows;
    d.n = d.ldc = model->settings.adapter.rank;
    d.k = d.lda = l->inputs;
    d.ldb = part->ld;
    d.a = x;
    d.b = part->a;
    d.c = *h;
    return multiply(l, &d);
}

/* Its gradient, s dy B [R,r], in scratch. */
static enum zi_status narrow_gradient(const struct layer_linear *l, const struct part *part,
                                      struct device_ptr dy, struct device_ptr *dh)
{
    const struct model *model = l->model;
    struct device_matmul d = {.type = model->type, .type_c = model->type};
    *dh = device_at(l->pass->adapter, narrow_bytes(model, l->rows));
    d.scale = model_adapter_scale(&model->settings);
    d.m = l->rows;
    d.n = d.ldb = d.ldc = model->settings.adapter.rank;
    d.k = part->outputs;
    d.lda = l->outputs;
    d.a = columns_of(l, part, dy);
    d.b = part->b;
    d.c = *dh;
    return multiply(l, &d);
}

enum zi_status adapter_forward(const struct layer_linear *l, struct device_ptr x,
                               struct device_ptr y)
{
    struct part part = {.column = 0};
    int next = first_piece(l);
    if (!adapter_exists(l->model, l->op)) return ZI_OK;
    while (next_part(l, &next, &part)) {
        struct device_matmul d = {.type = l->model->type, .type_c = l->model->type};
        struct device_ptr seen = x;
        ZI_TRY(drop_input(l, &part, &seen));
        ZI_TRY(narrow(l, &part, seen, &d.a));
        d.transpose_b = d.accumulate = true;
        d.m = l->rows;
        d.n = part.outputs;
        d.k = d.lda = d.ldb = l->model->settings.adapter.rank;
        d.ldc = l->outputs;
        d.b = part.b;
        d.c = columns_of(l, &part, y);
        ZI_TRY(multiply(l, &d));
    }
    return ZI_OK;
}

enum zi_status adapter_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr dx, enum zi_dtype type)
{
    struct part part = {.column = 0};
    int next = first_piece(l);
    if (!adapter_exists(l->model, l->op)) return ZI_OK;
    while (next_part(l, &next, &part)) {
        bool drops = l->pass->drops;
        struct device_matmul d = {.type = l->model->type, .type_c = type, .accumulate = !drops};
        struct device_dropout kept = {.type = type, .add = true, .from = dropped_at(l), .to = dx};
        ZI_TRY(narrow_gradient(l, &part, dy, &d.a));
        d.m = l->rows;
        d.n = d.ldc = l->inputs;
        d.k = d.lda = l->model->settings.adapter.rank;
        d.ldb = part.ld;
        d.b = part.a;
        d.c = drops ? kept.from : dx;
        ZI_TRY(multiply(l, &d));
        if (drops) ZI_TRY(drop(l, &part, &kept));
    }
    return ZI_OK;
}

/* The gradient of B, dy^T h. */
static enum zi_status differentiate_b(const struct layer_linear *l, const struct part *part,
                                      struct device_ptr dy, struct device_ptr h)
{
    struct device_matmul d = {.type = l->model->type, .type_c = ZI_FP32};
    d.transpose_a = d.accumulate = true;
    d.m = part->outputs;
    d.n = d.ldb = d.ldc = l->model->settings.adapter.rank;
    d.k = l->rows;
    d.lda = l->outputs;
    d.a = columns_of(l, part, dy);
    d.b = h;
    d.c = part->d_b;
    return multiply(l, &d);
}

/* The gradient of A, dh^T x. */
static enum zi_status differentiate_a(const struct layer_linear *l, const struct part *part,
                                      struct device_ptr dh, struct device_ptr x)
{
    struct device_matmul d = {.type = l->model->type, .type_c = ZI_FP32};
    d.transpose_a = d.accumulate = true;
    d.m = d.lda = l->model->settings.adapter.rank;
    d.n = d.ldb = l->inputs;
    d.k = l->rows;
    d.ldc = part->ld;
    d.a = dh;
    d.b = x;
    d.c = part->d_a;
    return multiply(l, &d);
}

enum zi_status adapter_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                       struct device_ptr x)
{
    struct part part = {.column = 0};
    int next = first_piece(l);
    if (!adapter_exists(l->model, l->op)) return ZI_OK;
    while (next_part(l, &next, &part)) {
        struct device_ptr h, dh, seen = x;
        if (device_is_null(part.d_a)) continue; /* not trainable */
        ZI_TRY(drop_input(l, &part, &seen));
        ZI_TRY(narrow(l, &part, seen, &h));
        ZI_TRY(differentiate_b(l, &part, dy, h));
        ZI_TRY(narrow_gradient(l, &part, dy, &dh));
        ZI_TRY(differentiate_a(l, &part, dh, seen));
    }
    return ZI_OK;
}

/* Whether a matrix ends its layer. */
static bool ends_layer(const struct model_tensor *tensor)
{
    size_t length = strlen(tensor->name);
    for (int i = 0; i < TARGETS; i++) {
        size_t own = strlen(targets[i].weight);
        if (targets[i].ends && length > own &&
            strcmp(tensor->name + length - own, targets[i].weight) == 0)
            return true;
    }
    return false;
}

/* Adds the bytes of dropout in front of an adapter of so many inputs: they are read and written, and
 * backward adds their gradient, fp32 where tiles of a layer sum it up, to what it reads as well. */
static void add_dropout(const struct model *model, const struct model_op *op,
                        const struct model_tensor *base, double inputs, struct model_flops *flops)
{
    bool sums = op->tiles > 1 && !ends_layer(base);
    double twice = 2 * inputs * (double)zi_dtype_bytes(model->type);
    if (model->settings.adapter.dropout <= 0) return;
    flops->dropout.forward += twice;
    if (!ends_layer(base)) flops->dropout.recompute += twice;
    flops->dropout.backward += 3 * inputs * (double)zi_dtype_bytes(sums ? ZI_FP32 : model->type);
    if (model->tensors[base->adapter].trainable) flops->dropout.backward += twice;
}

void adapter_flops(const struct model *model, int op, int64_t rows, struct model_flops *flops)
{
    const struct model_op *o = &model->ops[op];
    int adapter = find_unit(model, op);
    double twice = 2.0 * (double)rows * (double)model->settings.adapter.rank;
    if (adapter < 0) return;
    bool trained = o->differentiates >> adapter & 1u;
    for (int p = 0; p < model->units[o->units[0]].piece_count; p++) {
        const struct model_piece *piece = &model->pieces[model->units[o->units[0]].first_piece + p];
        const struct model_tensor *base = &model->tensors[piece->tensor];
        if (base->adapter < 0) continue;
        int64_t inputs = inputs_of(model, piece);
        double in = twice * (double)inputs;
        double out = twice * (double)(piece->rows * piece->row / inputs);
        flops->forward += in + out;
        if (!ends_layer(base)) flops->recompute += in + out;
        flops->backward += in + out;                    /* of the input */
        if (trained) flops->backward += 2 * (in + out); /* h and dh again, and both gradients */
        add_dropout(model, o, base, (double)(rows * inputs), flops);
    }
}

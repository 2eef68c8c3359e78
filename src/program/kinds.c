/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of lanes and kinds.
 *
 * To add a kind: a line in PROGRAM_KINDS (kinds.h), its row here, its run function in execute.c,
 * and the function that emits it. A kind without a row or without a run function does not compile.
 *
 * Rules are functions with the text that says what they do: where an operation runs and what it
 * moves follows from its operands and from the configuration, so that a compiler of programs need
 * not say it and the checker can say it again. */
#include "program/row.h"

static const struct program_lane_row lane_rows[LANE_COUNT] = {
    [LANE_COMPUTE] = {MEDIUM_DEVICE, "#525252"},
    [LANE_COMM] = {MEDIUM_NETWORK, "#2171b5"},
    [LANE_LINK_IN] = {MEDIUM_LINK, "#807dba"},
    [LANE_LINK_OUT] = {MEDIUM_LINK, "#54278f"},
    [LANE_DISK_READ] = {MEDIUM_DISK_READ, "#e6550d"},
    [LANE_DISK_WRITE] = {MEDIUM_DISK_WRITE, "#a63603"},
    [LANE_HOST] = {MEDIUM_MEMORY, "#a50f15"},
    [LANE_FILE] = {MEDIUM_FILE, "#8c510a"},
};

static enum zi_tier tier_of(const struct program *p, const struct program_op *op,
                            enum program_operand operand)
{
    int slot = op->slots[operand];
    return slot >= 0 ? p->slots[slot].tier : ZI_TIER_DEVICE;
}

static const struct partition_unit *unit_of(const struct program *p, const struct program_op *op)
{
    return &p->partition->units[op->unit];
}

/* Lanes. */
static enum program_lane compute_lane(const struct program *p, const struct program_op *op)
{
    (void)p;
    (void)op;
    return LANE_COMPUTE;
}
static const struct lane_rule on_compute = {compute_lane, "compute"};

static enum program_lane comm_lane(const struct program *p, const struct program_op *op)
{
    (void)p;
    (void)op;
    return LANE_COMM;
}
static const struct lane_rule on_comm = {comm_lane, "comm"};

static enum program_lane move_lane(const struct program *p, const struct program_op *op)
{
    enum zi_tier from = tier_of(p, op, OPERAND_FROM), to = tier_of(p, op, OPERAND_TO);
    if (from == ZI_TIER_NVME) return LANE_DISK_READ;
    if (to == ZI_TIER_NVME) return LANE_DISK_WRITE;
    return to == ZI_TIER_DEVICE ? LANE_LINK_IN : LANE_LINK_OUT;
}
static const struct lane_rule on_disk_read = {move_lane, "disk_read"};
static const struct lane_rule on_disk_write = {move_lane, "disk_write"};
static const struct lane_rule on_link_in = {move_lane, "link_in"};
static const struct lane_rule on_link_out = {move_lane, "link_out"};
static const struct lane_rule on_way_out = {move_lane, "link_out, disk_write"};
static const struct lane_rule on_way_in = {move_lane, "link_in, disk_read"};

/* What the host decides from values of all ranks, in its own memory. */
static enum program_lane deciding_lane(const struct program *p, const struct program_op *op)
{
    (void)op;
    return p->config.ranks > 1 ? LANE_COMM : program_lane_near(&p->config, ZI_TIER_HOST);
}
static const struct lane_rule on_deciding = {
    deciding_lane, "compute; comm with several ranks; host where its memory is apart"};

static enum program_lane optimizer_lane(const struct program *p, const struct program_op *op)
{
    (void)op;
    return program_lane_near(&p->config, zero_optimizer_tier(&p->config));
}
static const struct lane_rule on_optimizer = {
    optimizer_lane, "compute; host where it updates states in host memory apart"};

static enum program_lane sum_lane(const struct program *p, const struct program_op *op)
{
    if (p->config.unified && p->config.ranks > 1) return LANE_HOST;
    return program_lane_near(&p->config, tier_of(p, op, OPERAND_CONTRIBUTION));
}
static const struct lane_rule on_sum = {
    sum_lane, "compute; host where gradients are in host memory, or ranks share one memory"};

static enum program_lane host_lane(const struct program *p, const struct program_op *op)
{
    (void)op;
    return program_lane_near(&p->config, ZI_TIER_HOST);
}
static const struct lane_rule on_host = {host_lane, "compute; host where its memory is apart"};

static enum program_lane file_lane(const struct program *p, const struct program_op *op)
{
    (void)p;
    (void)op;
    return LANE_FILE;
}
static const struct lane_rule on_file = {file_lane, "file"};

static enum program_lane clear_lane(const struct program *p, const struct program_op *op)
{
    return program_lane_near(&p->config, tier_of(p, op, OPERAND_TO));
}
static const struct lane_rule on_clear = {clear_lane, "compute; host for what is in host memory"};

/* Costs. */
static void no_cost(const struct program *p, struct program_op *op)
{
    (void)p;
    op->bytes = 0;
    op->flops = 0;
}
static const struct cost_rule costs_nothing = {no_cost, "-", "-"};

static void move_cost(const struct program *p, struct program_op *op)
{
    size_t block = TIER_STORE_BLOCK;
    enum program_lane lane = move_lane(p, op);
    op->bytes = op->length;
    op->flops = 0;
    if (program_lane_is_disk(lane)) op->bytes = (op->length + block - 1) / block * block;
}
static const struct cost_rule costs_move = {move_cost, "what moves; on nvme whole blocks", "-"};

static void unit_cost(const struct program *p, struct program_op *op)
{
    op->bytes = program_state_bytes(p, program_weights(p, op->unit), unit_of(p, op)->padded);
    op->flops = 0;
}
static const struct cost_rule costs_unit = {unit_cost, "the unit, as kept", "-"};

static void unpack_cost(const struct program *p, struct program_op *op)
{
    int64_t count = unit_of(p, op)->padded;
    op->bytes =
        program_state_bytes(p, TIER_PACKED, count) + zi_dtype_size(p->config.compute, count);
    op->flops = 0;
}
static const struct cost_rule costs_unpack = {unpack_cost, "the unit, packed and not", "-"};

static void reduce_cost(const struct program *p, struct program_op *op)
{
    op->bytes = (size_t)unit_of(p, op)->padded * zi_dtype_bytes(p->config.reduce);
    op->flops = 0;
}
static const struct cost_rule costs_reduce = {reduce_cost, "the unit, precision.reduce", "-"};

static void sum_cost(const struct program *p, struct program_op *op)
{
    op->bytes = (size_t)program_elements(p, op->unit, TIER_SUM) * sizeof(float);
    op->flops = 0;
}
static const struct cost_rule costs_sum = {sum_cost, "the contribution, fp32", "-"};

/* Its operands are read, and all but the gradient written. */
static void adam_cost(const struct program *p, struct program_op *op)
{
    size_t bytes = 0;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        if (!zero_has(&p->config, kind, true)) continue;
        bytes += (kind == TIER_GRADIENT ? 1 : 2) * program_state_bytes(p, kind, op->count);
    }
    op->bytes = bytes;
    op->flops = 0;
}
static const struct cost_rule costs_adam = {adam_cost, "states twice, the gradient once", "-"};

/* What an initial value is written to. */
static void draw_cost(const struct program *p, struct program_op *op)
{
    size_t bytes = 0;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        if (op->slots[OPERAND_STATE + k] >= 0)
            bytes += program_state_bytes(p, (enum tier_kind)k, op->count);
    }
    op->bytes = bytes;
    op->flops = 0;
}
static const struct cost_rule costs_draw = {draw_cost, "what is written", "-"};

static size_t saved_bytes(const struct program *p, const struct program_op *op)
{
    struct tier_types types = zero_types(&p->config);
    return zi_dtype_size(tier_type_of(tier_kind_row(op->state)->saved_type, &types), op->count);
}

static void import_cost(const struct program *p, struct program_op *op)
{
    op->bytes = saved_bytes(p, op);
    op->flops = 0;
}
static const struct cost_rule costs_import = {import_cost, "the state, as saved", "-"};

/* Where every rank has all, each writes its share. */
static void export_cost(const struct program *p, struct program_op *op)
{
    op->bytes = saved_bytes(p, op);
    if (!zero_is_sharded(&p->config, op->state)) op->bytes /= (size_t)p->config.ranks;
    op->flops = 0;
}
static const struct cost_rule costs_export = {export_cost, "this rank's part, as saved", "-"};

static struct model_flops model_flops_of(const struct program *p, const struct program_op *op)
{
    struct model_flops flops;
    int64_t tokens = op->tokens > 0 ? op->tokens : p->config.tokens;
    model_op_flops(p->model, op->op, p->config.micro, tokens, &flops);
    return flops;
}

static void forward_cost(const struct program *p, struct program_op *op)
{
    struct model_flops flops = model_flops_of(p, op);
    bool again = op->mode == MODEL_RECOMPUTE;
    double dropped = again ? flops.dropout.recompute : flops.dropout.forward;
    op->bytes = op->drops ? (size_t)dropped : 0;
    op->flops = again ? flops.recompute : flops.forward;
}
static const char dropout_text[] = "what dropout reads and writes";
static const struct cost_rule costs_forward = {forward_cost, dropout_text,
                                               "forward of its products"};
static const struct cost_rule costs_logits = {forward_cost, "-", "forward of its products"};
static const struct cost_rule costs_recompute = {
    forward_cost, dropout_text, "forward; of a segment's last operation what backward needs"};

static void backward_cost(const struct program *p, struct program_op *op)
{
    struct model_flops flops = model_flops_of(p, op);
    op->bytes = op->drops ? (size_t)flops.dropout.backward : 0;
    op->flops = flops.backward;
}
static const struct cost_rule costs_backward = {backward_cost, dropout_text,
                                                "backward of its products"};

/* Rows, in the order of the kinds. */
static const struct kind_row read_row = {
    "parameters of a unit, nvme to memory",
    "#fd8d3c",
    &on_disk_read,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_WEIGHTS, EXTENT_MOVED, IN_STORE},
     {OPERAND_TO, ACCESS_WRITE, TYPE_WEIGHTS, EXTENT_MOVED, IN_MEMORY}},
};
static const struct kind_row push_row = {
    "a unit, a shard, a group's slice, or a small value that enters, host to device",
    "#807dba",
    &on_link_in,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_HOST},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_DEVICE}},
};
static const struct kind_row gather_row = {
    "the shards of all ranks to the whole unit",
    "#4292c6",
    &on_comm,
    &costs_unit,
    {{OPERAND_SHARD, ACCESS_READ, TYPE_WEIGHTS, EXTENT_SHARD, IN_REACH},
     {OPERAND_UNIT, ACCESS_WRITE, TYPE_WEIGHTS, EXTENT_UNIT, IN_REACH}},
};
static const struct kind_row forward_row = {
    "an operation of the model on a micro-batch",
    "#7fc97f",
    &on_compute,
    &costs_forward,
    {{OPERAND_INPUT, ACCESS_READ | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_OUTPUT, ACCESS_ADD | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_SAVED, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_CARRY, ACCESS_ADD | OPTIONAL, TYPE_FP32, EXTENT_SLOT, IN_REACH},
     {OPERAND_TOKENS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_TARGETS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_POSITIONS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_CACHE, ACCESS_CHANGE | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_LOSS, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_REACH},
     {OPERAND_WEIGHT, ACCESS_READ | SEVERAL, TYPE_COMPUTE, EXTENT_UNIT, IN_REACH}},
};
static const struct kind_row keep_row = {
    "an operation's input, device to its tier; inner activations, or its cache, device to host",
    "#b8b5dc",
    &on_way_out,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_MEMORY},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_HOST | IN_STORE}},
};
static const struct kind_row recall_row = {
    "and back, for backward, or the cache for the next tokens",
    "#9e9ac8",
    &on_way_in,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_HOST | IN_STORE},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_MEMORY}},
};
static const struct kind_row recompute_row = {
    "forward again, for what backward needs",
    "#c7e9c0",
    &on_compute,
    &costs_recompute,
    {{OPERAND_INPUT, ACCESS_READ, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_OUTPUT, ACCESS_WRITE | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_SAVED, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_POSITIONS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_WEIGHT, ACCESS_READ | SEVERAL, TYPE_COMPUTE, EXTENT_UNIT, IN_REACH}},
};
static const struct kind_row backward_row = {
    "gradients of an operation's units and of its input",
    "#238b45",
    &on_compute,
    &costs_backward,
    {{OPERAND_INPUT, ACCESS_READ | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_SAVED, ACCESS_CHANGE | OPTIONAL, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_STREAM_GRADIENT, ACCESS_ANY | OPTIONAL, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_CARRY, ACCESS_ADD | OPTIONAL, TYPE_FP32, EXTENT_SLOT, IN_REACH},
     {OPERAND_TOKENS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_TARGETS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_POSITIONS, ACCESS_READ | OPTIONAL, TYPE_INT32, EXTENT_SLOT, IN_REACH},
     {OPERAND_LOSS, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_REACH},
     {OPERAND_WEIGHT, ACCESS_READ | OPTIONAL | SEVERAL, TYPE_COMPUTE, EXTENT_UNIT, IN_REACH},
     {OPERAND_ACCUMULATOR, ACCESS_ADD | OPTIONAL | SEVERAL, TYPE_FP32, EXTENT_UNIT, IN_REACH}},
};
static const struct kind_row reduce_row = {
    "a contribution to a unit's gradient, summed over ranks",
    "#08519c",
    &on_comm,
    &costs_reduce,
    {{OPERAND_CONTRIBUTION, ACCESS_CHANGE, TYPE_FP32, EXTENT_UNIT, IN_REACH},
     {OPERAND_SHARD, ACCESS_WRITE | OPTIONAL, TYPE_FP32, EXTENT_SHARD, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH}},
};
static const struct kind_row pull_row = {
    "a gradient, a parameter, an updated state, or a small value that leaves, device to host",
    "#54278f",
    &on_link_out,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_DEVICE},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_HOST}},
};
static const struct kind_row add_row = {
    "a contribution to the unit's sum; the last makes the kept gradient and its share of the norm",
    "#fcae91",
    &on_sum,
    &costs_sum,
    {{OPERAND_CONTRIBUTION, ACCESS_READ, TYPE_FP32, EXTENT_SUMMED, IN_REACH},
     {OPERAND_SUM, ACCESS_ADD | OPTIONAL, TYPE_STATE, EXTENT_SUMMED, IN_REACH},
     {OPERAND_GRADIENT, ACCESS_WRITE | OPTIONAL, TYPE_STATE, EXTENT_OWN, IN_REACH},
     {OPERAND_NORM, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_REACH}},
};
static const struct kind_row norm_row = {
    "global norm, loss, and the decision to skip",
    "#525252",
    &on_deciding,
    &costs_nothing,
    {{OPERAND_LOSS, ACCESS_READ, TYPE_SUMS, EXTENT_SLOT, IN_HOST},
     {OPERAND_NORM, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_HOST}},
};
static const struct kind_row load_row = {
    "optimizer states, gradients or sums of a group, nvme to memory",
    "#fdbe85",
    &on_disk_read,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_STORE},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_MEMORY}},
};
static const struct kind_row adam_row = {
    "update of a group: a slice of what this rank updates of a unit",
    "#cb181d",
    &on_optimizer,
    &costs_adam,
    {{OPERAND_PARAMETER, ACCESS_CHANGE, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE, ACCESS_CHANGE | STATES, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_GRADIENT, ACCESS_READ, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_CHECKSUM, ACCESS_CHANGE, TYPE_SUMS, EXTENT_SLOT, IN_REACH},
     {OPERAND_NORM, ACCESS_READ | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_HOST}},
};
static const struct kind_row store_row = {
    "changed parameters, states, gradients or sums, memory to nvme",
    "#d94801",
    &on_disk_write,
    &costs_move,
    {{OPERAND_FROM, ACCESS_READ, TYPE_BYTES, EXTENT_MOVED, IN_MEMORY},
     {OPERAND_TO, ACCESS_WRITE, TYPE_BYTES, EXTENT_MOVED, IN_STORE}},
};
static const struct kind_row publish_row = {
    "updated shards to every rank's whole unit (stages 1 and 2)",
    "#9ecae1",
    &on_comm,
    &costs_unit,
    {{OPERAND_UNIT, ACCESS_CHANGE, TYPE_COMPUTE, EXTENT_UNIT, IN_MEMORY}},
};
static const struct kind_row finish_row = {
    "the checksum over ranks",
    "#969696",
    &on_deciding,
    &costs_nothing,
    {{OPERAND_CHECKSUM, ACCESS_CHANGE, TYPE_SUMS, EXTENT_SLOT, IN_HOST}},
};
static const struct kind_row logits_row = {
    "generation: logits of a token of each sequence",
    "#b8de6f",
    &on_compute,
    &costs_logits,
    {{OPERAND_INPUT, ACCESS_READ, TYPE_COMPUTE, EXTENT_SLOT, IN_REACH},
     {OPERAND_SAVED, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_REACH},
     {OPERAND_LOGITS, ACCESS_WRITE, TYPE_FP32, EXTENT_SLOT, IN_REACH},
     {OPERAND_WEIGHT, ACCESS_READ | SEVERAL, TYPE_COMPUTE, EXTENT_UNIT, IN_REACH}},
};
static const struct kind_row clear_row = {
    "zeroes a sum of the step: loss, norm or checksum",
    "#d9d9d9",
    &on_clear,
    &costs_nothing,
    {{OPERAND_TO, ACCESS_WRITE, TYPE_SUMS, EXTENT_SLOT, IN_REACH}},
};

static const struct kind_row draw_row = {
    "initial values of a unit or a group: parameters, remainders of masters",
    "#c994c7",
    &on_host,
    &costs_draw,
    {{OPERAND_PARAMETER, ACCESS_WRITE | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE, ACCESS_WRITE | OPTIONAL | STATES, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE + TIER_PACKED, ACCESS_WRITE | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_HOST},
     {OPERAND_CHECKSUM, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_HOST}},
};
static const struct kind_row import_row = {
    "a state of a unit or a group from a checkpoint; masters are split",
    "#bf812d",
    &on_file,
    &costs_import,
    {{OPERAND_PARAMETER, ACCESS_WRITE | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE, ACCESS_WRITE | OPTIONAL | STATES, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE + TIER_PACKED, ACCESS_WRITE | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_HOST},
     {OPERAND_CHECKSUM, ACCESS_CHANGE | OPTIONAL, TYPE_SUMS, EXTENT_SLOT, IN_HOST}},
};
static const struct kind_row export_row = {
    "a state of a unit or a group to a checkpoint; masters are joined",
    "#8c510a",
    &on_file,
    &costs_export,
    {{OPERAND_PARAMETER, ACCESS_READ | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE, ACCESS_READ | OPTIONAL | STATES, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_STATE + TIER_PACKED, ACCESS_READ | OPTIONAL, TYPE_STATE, EXTENT_GROUP, IN_REACH},
     {OPERAND_SCRATCH, ACCESS_WRITE, TYPE_BYTES, EXTENT_SLOT, IN_HOST}},
};

static const struct kind_row unpack_row = {
    "frozen matrices of a unit, from 8 or 4 bits to the compute type",
    "#b3cde3",
    &on_compute,
    &costs_unpack,
    {{OPERAND_STATE + TIER_PACKED, ACCESS_READ, TYPE_STATE, EXTENT_UNIT, IN_REACH},
     {OPERAND_UNIT, ACCESS_WRITE, TYPE_COMPUTE, EXTENT_UNIT, IN_REACH}},
};

#define ROW(constant, name) [constant] = &name##_row,
static const struct kind_row *const rows[OP_KIND_COUNT] = {PROGRAM_KINDS(ROW)};
#define NAME(constant, name) [constant] = #name,
static const char *const names[OP_KIND_COUNT] = {PROGRAM_KINDS(NAME)};
static const char *const lane_names[LANE_COUNT] = {PROGRAM_LANES(NAME)};
#undef ROW
#undef NAME

static const char *const operand_names[OPERAND_COUNT] = {
    [OPERAND_FROM] = "from",
    [OPERAND_TO] = "to",
    [OPERAND_INPUT] = "input",
    [OPERAND_OUTPUT] = "output",
    [OPERAND_SAVED] = "saved",
    [OPERAND_SCRATCH] = "scratch",
    [OPERAND_STREAM_GRADIENT] = "dx",
    [OPERAND_CARRY] = "carry",
    [OPERAND_TOKENS] = "tokens",
    [OPERAND_TARGETS] = "targets",
    [OPERAND_POSITIONS] = "positions",
    [OPERAND_CACHE] = "cache",
    [OPERAND_LOGITS] = "logits",
    [OPERAND_LOSS] = "loss",
    [OPERAND_NORM] = "norm",
    [OPERAND_CHECKSUM] = "checksum",
    [OPERAND_CONTRIBUTION] = "contribution",
    [OPERAND_SHARD] = "shard",
    [OPERAND_UNIT] = "unit",
    [OPERAND_WEIGHT] = "weight",
    [OPERAND_WEIGHT + 1] = "weight1",
    [OPERAND_WEIGHT + 2] = "weight2",
    [OPERAND_WEIGHT + 3] = "weight3",
    [OPERAND_ACCUMULATOR] = "accumulator",
    [OPERAND_ACCUMULATOR + 1] = "accumulator1",
    [OPERAND_ACCUMULATOR + 2] = "accumulator2",
    [OPERAND_ACCUMULATOR + 3] = "accumulator3",
};

const struct kind_row *program_kind_row(enum program_kind kind)
{
    return rows[kind];
}

const struct program_lane_row *program_lane_row(enum program_lane lane)
{
    return &lane_rows[lane];
}

const char *program_lane_name(enum program_lane lane)
{
    return lane_names[lane];
}

bool program_lane_is_hosts(enum program_lane lane)
{
    return lane == LANE_HOST || lane == LANE_FILE || program_lane_is_disk(lane);
}

bool program_lane_is_disk(enum program_lane lane)
{
    enum program_medium medium = lane_rows[lane].medium;
    return medium == MEDIUM_DISK_READ || medium == MEDIUM_DISK_WRITE;
}

enum program_lane program_lane_near(const struct zero_config *config, enum zi_tier tier)
{
    return config->unified || tier == ZI_TIER_DEVICE ? LANE_COMPUTE : LANE_HOST;
}

const char *program_kind_name(enum program_kind kind)
{
    return names[kind];
}

const char *program_kind_colour(enum program_kind kind)
{
    return rows[kind]->colour;
}

const char *program_operand_name(enum program_operand operand)
{
    int kind = (int)operand - OPERAND_STATE;
    if (kind >= 0 && kind < TIER_KIND_COUNT) return tier_kind_name((enum tier_kind)kind);
    return operand_names[operand];
}

void program_op_complete(const struct program *program, struct program_op *op)
{
    const struct kind_row *row = rows[op->kind];
    op->lane = row->lane->of(program, op);
    row->cost->set(program, op);
}

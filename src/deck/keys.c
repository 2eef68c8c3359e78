/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a deck.
 *
 * One row per field of struct settings, in the order of the reference deck. A row says everything
 * there is to say about a key: how it is read, checked, echoed, explained to people and to editors.
 * To add a key, add a field to struct settings and a row here, then write the generated documents
 * anew.
 *
 * A key is `changeable` when a run may be continued from a checkpoint with another value of it:
 * what the arithmetic of the run is, is fixed; how and where it is done, is not. A key has `uses`
 * when it does nothing under some values of others: whoever gives it there is told (uses.c). What
 * depends on the number of ranks, or on how auto is resolved, is not for these rows. Rules that
 * join several keys are no rows: those of settings alone are in rules.c, the others in the rooms
 * that know the reason. */
#include "deck/table.h"

#include "deck/settings.h"

#include <string.h>

#define KEY(s, k)          .section = #s, .key = #k, .offset = offsetof(struct settings, s.k)
#define KEY_OF_MODEL(s, k) .section = #s, .key = #k, .offset = offsetof(struct settings, model.s.k)
#define END                                                                                        \
    {                                                                                              \
        NULL, 0                                                                                    \
    }

#define COUNT   1e15 /* most steps */
#define LARGEST 1e18 /* most bytes */

static const struct deck_choice families[] = {
    {"gpt2", MODEL_GPT2},       {"llama", MODEL_LLAMA},
    {"mistral", MODEL_MISTRAL}, {"qwen2", MODEL_QWEN2},
    {"qwen3", MODEL_QWEN3},     {"smollm3", MODEL_SMOLLM3},
    {"olmo2", MODEL_OLMO2},     {"gemma2", MODEL_GEMMA2},
    {"gemma3", MODEL_GEMMA3},   END};
static const struct deck_choice scalings[] = {{"none", ROPE_PLAIN},      {"linear", ROPE_LINEAR},
                                              {"dynamic", ROPE_DYNAMIC}, {"llama3", ROPE_LLAMA3},
                                              {"yarn", ROPE_YARN},       END};
static const struct deck_choice adapter_scalings[] = {
    {"plain", ADAPTER_PLAIN}, {"rsqrt", ADAPTER_RSQRT}, END};
static const struct deck_choice formats[] = {{"hdf5", DATA_HDF5},
                                             {"llmc", DATA_LLMC},
                                             {"nanogpt", DATA_NANOGPT},
                                             {"megatron", DATA_MEGATRON},
                                             END};
static const struct deck_choice token_types[] = {{"uint8", DATA_UINT8},   {"uint16", DATA_UINT16},
                                                 {"uint32", DATA_UINT32}, {"int32", DATA_INT32},
                                                 {"int64", DATA_INT64},   END};
static const struct deck_choice packings[] = {
    {"documents", PACKING_DOCUMENTS}, {"none", PACKING_NONE}, END};
static const struct deck_choice optimizers[] = {
    {"adamw", OPTIMIZER_ADAMW}, {"lion", OPTIMIZER_LION}, {"sgd", OPTIMIZER_SGD}, END};
static const struct deck_choice frozen[] = {
    {"compute", FROZEN_COMPUTE}, {"8-bit", FROZEN_BYTES}, {"nf4", FROZEN_NF4}, END};
static const struct deck_choice moments[] = {
    {"fp32", MOMENTS_FP32}, {"8-bit", MOMENTS_BLOCKS}, END};
static const struct deck_choice schedules[] = {{"constant", SCHEDULE_CONSTANT},
                                               {"linear", SCHEDULE_LINEAR},
                                               {"cosine", SCHEDULE_COSINE},
                                               {"wsd", SCHEDULE_WSD},
                                               END};
static const struct deck_choice dtypes[] = {
    {"fp32", ZI_FP32}, {"bf16", ZI_BF16}, {"fp16", ZI_FP16}, END};
static const struct deck_choice sum_orders[] = {
    {"rank", SUM_ORDERED}, {"library", SUM_LIBRARY}, END};
static const struct deck_choice stages[] = {{"0", 0}, {"1", 1}, {"2", 2}, {"3", 3}, END};
static const struct deck_choice orders[] = {
    {"layer-major", ORDER_LAYER_MAJOR}, {"micro-major", ORDER_MICRO_MAJOR}, END};
static const struct deck_choice updates[] = {
    {"immediate", UPDATE_IMMEDIATE}, {"deferred", UPDATE_DEFERRED}, END};
static const struct deck_choice speculations[] = {
    {"off", SPECULATE_OFF}, {"on", SPECULATE_ON}, END};
static const struct deck_choice updaters[] = {
    {"host", ZI_TIER_HOST}, {"device", ZI_TIER_DEVICE}, END};
static const struct deck_choice tiers[] = {
    {"device", ZI_TIER_DEVICE}, {"host", ZI_TIER_HOST}, {"nvme", ZI_TIER_NVME}, END};
static const struct deck_choice recomputes[] = {{"always", RECOMPUTE_ALWAYS},
                                                {"never", RECOMPUTE_NEVER},
                                                {"attention", RECOMPUTE_ATTENTION},
                                                {"mlp", RECOMPUTE_MLP},
                                                END};
static const struct deck_choice offloads[] = {{"none", OFFLOAD_NONE},
                                              {"attention", OFFLOAD_ATTENTION},
                                              {"mlp", OFFLOAD_MLP},
                                              {"all", OFFLOAD_ALL},
                                              END};
static const struct deck_choice devices[] = {{"cpu", DEVICE_CPU}, {"cuda", DEVICE_CUDA}, END};
static const struct deck_choice engines[] = {
    {"libaio", NVME_LIBAIO}, {"threads", NVME_THREADS}, END};
static const struct deck_choice isas[] = {
    {"generic", ISA_GENERIC}, {"avx2", ISA_AVX2}, {"avx512", ISA_AVX512}, {"amx", ISA_AMX}, END};

static const struct deck_choice products[] = {
    {"onednn", PRODUCTS_ONEDNN}, {"tiles", PRODUCTS_TILES}, END};

static const struct deck_choice attentions[] = {{"own", ATTENTION_OWN}, END};

static const struct deck_choice modes[] = {
    {"owner", CHECKPOINT_OWNER}, {"group", CHECKPOINT_GROUP}, {"all", CHECKPOINT_ALL}, END};

#define IF(s, k, relates, to) .section = #s, .key = #k, .relation = relates, .value = to
#define OR(s, k, relates, to) IF(s, k, relates, to), .or_next = true
#define ALL                                                                                        \
    {                                                                                              \
        .key = NULL                                                                                \
    }

/* Where keys are of use. A progress line and a count of skipped steps reach as far as the run. */
static const struct deck_term with_report[] = {{IF(run, report_every, DECK_AT_MOST, "run.steps")},
                                               ALL};
static const struct deck_term with_limit[] = {{IF(run, nonfinite_limit, DECK_AT_MOST, "run.steps")},
                                              ALL};
static const struct deck_term with_third_step[] = {{IF(run, steps, DECK_ABOVE, "2")}, ALL};
static const struct deck_term with_rotary[] = {{IF(model, family, DECK_IS_NOT, "gpt2")}, ALL};
static const struct deck_term with_window[] = {{IF(model, window, DECK_ABOVE, "0")}, ALL};
static const struct deck_term with_scaling[] = {{IF(model, rope_scaling, DECK_IS_NOT, "none")},
                                                ALL};
static const struct deck_term with_llama3[] = {{IF(model, rope_scaling, DECK_IS, "llama3")}, ALL};
static const struct deck_term with_yarn[] = {{IF(model, rope_scaling, DECK_IS, "yarn")}, ALL};
static const struct deck_term with_original[] = {{IF(model, rope_scaling, DECK_IS_NOT, "none")},
                                                 {IF(model, rope_scaling, DECK_IS_NOT, "linear")},
                                                 ALL};
static const struct deck_term with_adapter[] = {{IF(adapter, rank, DECK_ABOVE, "0")}, ALL};
static const struct deck_term with_every[] = {{IF(data, validation_every, DECK_IS_NOT, "never")},
                                              ALL};
static const struct deck_term with_file[] = {{IF(data, validation, DECK_IS_NOT, "")}, ALL};
static const struct deck_term with_validation[] = {
    {IF(data, validation, DECK_IS_NOT, "")},
    {IF(data, validation_every, DECK_IS_NOT, "never")},
    ALL};
static const struct deck_term with_bare_ids[] = {{IF(data, format, DECK_IS, "nanogpt")}, ALL};
static const struct deck_term with_fall[] = {{IF(optimizer, schedule, DECK_IS_NOT, "constant")},
                                             {IF(optimizer, warmup, DECK_BELOW, "run.steps")},
                                             ALL};
static const struct deck_term with_adamw[] = {{IF(optimizer, type, DECK_IS, "adamw")}, ALL};
static const struct deck_term with_beta2[] = {{IF(optimizer, type, DECK_IS_NOT, "sgd")}, ALL};
static const struct deck_term with_moments[] = {
    {OR(optimizer, type, DECK_IS_NOT, "sgd")}, {IF(optimizer, beta1, DECK_ABOVE, "0")}, ALL};
static const struct deck_term with_decay[] = {{IF(optimizer, weight_decay, DECK_ABOVE, "0")}, ALL};
static const struct deck_term with_biases[] = {
    {IF(optimizer, weight_decay, DECK_ABOVE, "0")}, {OR(model, family, DECK_IS, "gpt2")},
    {OR(model, family, DECK_IS, "qwen2")},          {OR(model, attention_bias, DECK_IS, "yes")},
    {IF(model, mlp_bias, DECK_IS, "yes")},          ALL};
static const struct deck_term after_warmup[] = {{IF(optimizer, warmup, DECK_BELOW, "run.steps")},
                                                ALL};
static const struct deck_term with_wsd[] = {{IF(optimizer, schedule, DECK_IS, "wsd")}, ALL};
static const struct deck_term with_fp16[] = {{IF(precision, compute, DECK_IS, "fp16")}, ALL};
static const struct deck_term with_found_scale[] = {
    {IF(precision, compute, DECK_IS, "fp16")}, {IF(precision, loss_scale, DECK_IS, "auto")}, ALL};
static const struct deck_term with_cuda[] = {{IF(device, type, DECK_IS, "cuda")}, ALL};
static const struct deck_term with_micros[] = {{IF(batch, micro, DECK_BELOW, "batch.global")}, ALL};
static const struct deck_term with_moves[] = {{OR(placement, optimizer, DECK_IS, "nvme")},
                                              {OR(placement, gradients, DECK_IS, "nvme")},
                                              {IF(device, type, DECK_IS, "cuda")},
                                              ALL};
static const struct deck_term with_stored_states[] = {{IF(placement, optimizer, DECK_IS, "nvme")},
                                                      {IF(placement, parameters, DECK_IS, "nvme")},
                                                      {IF(zero, update, DECK_IS_NOT, "immediate")},
                                                      ALL};
static const struct deck_term with_states_away[] = {
    {IF(device, type, DECK_IS_NOT, "cpu")}, {IF(placement, optimizer, DECK_IS_NOT, "device")}, ALL};
static const struct deck_term with_recompute[] = {
    {IF(activations, recompute, DECK_IS_NOT, "never")}, ALL};
static const struct deck_term with_kept_apart[] = {
    {IF(device, type, DECK_IS_NOT, "cpu")},
    {IF(activations, recompute, DECK_IS_NOT, "always")},
    ALL};
static const struct deck_term with_disk[] = {{OR(placement, parameters, DECK_IS, "nvme")},
                                             {OR(placement, gradients, DECK_IS, "nvme")},
                                             {OR(placement, optimizer, DECK_IS, "nvme")},
                                             {IF(placement, activations, DECK_IS, "nvme")},
                                             ALL};
static const struct deck_term with_cpu[] = {{IF(device, type, DECK_IS, "cpu")}, ALL};
static const struct deck_term with_checkpoint[] = {
    {OR(checkpoint, every, DECK_AT_MOST, "run.steps")},
    {IF(checkpoint, final, DECK_IS, "yes")},
    ALL};
static const struct deck_term with_several[] = {{IF(checkpoint, every, DECK_IS_NOT, "never")},
                                                {IF(checkpoint, every, DECK_AT_MOST, "run.steps")},
                                                ALL};

static const struct deck_term with_local[] = {
    {IF(checkpoint, local, DECK_IS_NOT, "")},
    {IF(checkpoint, local_every, DECK_AT_MOST, "run.steps")},
    ALL};
static const struct deck_term with_local_every[] = {
    {IF(checkpoint, local_every, DECK_IS_NOT, "never")}, ALL};

static const struct {
    const char *section, *help;
} sections[] = {
    {"run", "the run as a whole: length, seed, where its outputs go"},
    {"model", "the architecture of the transformer"},
    {"adapter", "low-rank adapters: small matrices beside large ones, which then are not trained"},
    {"data", "token files to train and validate on"},
    {"batch", "how many sequences make a step, and how they are passed through the model"},
    {"optimizer", "the update of the weights and its schedule"},
    {"precision", "types of arithmetic, of gradients on the network and of kept gradients"},
    {"zero", "how the training state is split over ranks and when it moves"},
    {"placement",
     "the tier where each kind of state lives between uses; auto takes the fastest that "
     "fits"},
    {"memory", "memory that one rank may use"},
    {"activations", "what is kept of the forward pass for the backward pass"},
    {"tiling", "slices in which blocks and tables are fetched and computed"},
    {"nvme", "where and how states lie on local disks"},
    {"device", "what computes"},
    {"checkpoint", "when the state is saved, and how much of it is kept"},
};

static const struct deck_row rows[] = {
    {KEY(run, name), .type = DECK_TEXT, .fallback = "run", .changeable = true,
     .help = "what the run is called in its outputs"},
    {KEY(run, directory), .type = DECK_PATH, .fallback = "runs/run", .changeable = true,
     .help = "where outputs go; made if absent"},
    {KEY(run, steps), .type = DECK_INTEGER, .unit = "steps", .minimum = 1, .maximum = COUNT,
     .example = "500 steps", .changeable = true, .help = "optimizer steps of the whole run"},
    {KEY(run, seed), .type = DECK_INTEGER, .fallback = "1337", .maximum = 0x1p63,
     .help = "seed of initial weights and of the order of the data"},
    {KEY(run, report_every), .type = DECK_INTEGER, .unit = "steps", .fallback = "1 step",
     .minimum = 1, .maximum = COUNT, .changeable = true, .uses = with_report,
     .help = "steps between progress lines"},
    {KEY(run, nonfinite_limit), .type = DECK_INTEGER, .unit = "steps", .fallback = "10 steps",
     .minimum = 1, .maximum = COUNT, .changeable = true, .uses = with_limit,
     .help = "so many skipped steps in a row, each for a non-finite gradient, end the run; not "
             "counted are those that lower a loss scale"},
    {KEY(run, trace), .type = DECK_INTEGER, .unit = "steps", .fallback = "never",
     .may_be_never = true, .maximum = 1000, .changeable = true, .uses = with_third_step,
     .help = "steps, from the third on, whose operations go to trace.json"},

    {KEY(model, from), .type = DECK_PATH, .fallback = "", .changeable = true,
     .help =
         "weights to begin with, and what the other keys of the section are then: a model folder "
         "of Hugging Face, or a checkpoint of zinf; empty: initial weights are drawn"},
    {KEY(model, family), .type = DECK_CHOICE, .choices = families, .example = "gpt2",
     .help =
         "gpt2: learned positions, LayerNorm, GELU, biases; llama (1 to 3, SmolLM2): rotary "
         "positions, RMSNorm, SwiGLU, no biases unless asked; as llama: mistral: windows; qwen2: "
         "biases of "
         "query, key and value, windows; qwen3: norms of query and key heads, windows; smollm3: "
         "blocks without rotary positions, windows; olmo2: norms of the whole query and key, and "
         "behind attention and MLP instead of before; gemma2: norms before and behind that "
         "multiply "
         "with 1 + weight, GELU as gate, token rows times sqrt(hidden), caps, windows; gemma3: the "
         "same with norms of query and key heads, without a cap on scores"},
    {KEY(model, layers), .type = DECK_INTEGER, .minimum = 1, .maximum = 1e4, .example = "6",
     .help = "transformer blocks"},
    {KEY(model, hidden), .type = DECK_INTEGER, .minimum = 1, .maximum = 1e6, .example = "384",
     .help = "width of the residual stream; a multiple of heads where head_width is auto"},
    {KEY(model, heads), .type = DECK_INTEGER, .minimum = 1, .maximum = 1e5, .example = "6",
     .help = "query heads of attention"},
    {KEY(model, key_heads), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e5,
     .help = "key and value heads (grouped-query attention); a divisor of heads; auto: heads"},
    {KEY(model, head_width), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e4, .help = "width of one head; auto: hidden / heads"},
    {KEY(model, inner), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true, .minimum = 1,
     .maximum = 1e7,
     .help = "width inside the MLP; auto: 4 hidden (gpt2), 8/3 hidden rounded up to a multiple of "
             "64 (others)"},
    {KEY(model, context), .type = DECK_INTEGER, .unit = "tokens", .minimum = 1, .maximum = 1e9,
     .example = "256 tokens", .help = "longest sequence the model can see"},
    {KEY(model, vocabulary), .type = DECK_INTEGER, .unit = "tokens", .minimum = 1,
     .maximum = 2147483647, .example = "256 tokens",
     .help = "number of different tokens: ids are 0 to vocabulary - 1"},
    {KEY(model, tied), .type = DECK_TRISTATE, .fallback = "auto", .may_be_auto = true,
     .help = "whether the head shares the token embedding; auto: yes for gpt2, smollm3, gemma2 and "
             "gemma3, no for others"},
    {KEY(model, norm_epsilon), .type = DECK_REAL, .fallback = "1e-5", .maximum = 1,
     .help = "added to the variance in normalisations"},
    {KEY(model, score_width), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e6,
     .help = "scores of attention are divided by the square root of this (gemma2, gemma3); auto: "
             "head_width"},
    {KEY(model, attention_cap), .type = DECK_REAL, .fallback = "0", .maximum = 1e6,
     .help = "scores s of attention become cap tanh(s / cap) (gemma2); 0: they stay"},
    {KEY(model, logit_cap), .type = DECK_REAL, .fallback = "0", .maximum = 1e6,
     .help = "logits become cap tanh(logit / cap) (gemma2, gemma3); 0: they stay"},
    {KEY(model, attention_bias), .type = DECK_BOOLEAN, .fallback = "no",
     .help =
         "whether query, key, value and output of attention have biases (llama, qwen3, smollm3, "
         "olmo2, gemma2, gemma3; gpt2 and qwen2 have theirs)"},
    {KEY(model, mlp_bias), .type = DECK_BOOLEAN, .fallback = "no",
     .help = "whether the MLP has biases (llama, smollm3; gpt2 has its own)"},
    {KEY(model, window), .type = DECK_INTEGER, .unit = "tokens", .fallback = "0 tokens",
     .maximum = 1e9,
     .help = "tokens that attention sees, the query's own and those before it; 0: all"},
    {KEY(model, window_from), .type = DECK_INTEGER, .fallback = "0", .maximum = 1e4,
     .uses = with_window,
     .help = "number of the first block with the window; those before see all"},
    {KEY(model, full_every), .type = DECK_INTEGER, .fallback = "never", .may_be_never = true,
     .maximum = 1e4, .uses = with_window,
     .help = "n: every n-th block (the n-th, 2n-th ..) sees all tokens in spite of the window"},
    {KEY(model, rope_base), .type = DECK_REAL, .fallback = "10000", .minimum = 1, .maximum = 1e12,
     .uses = with_rotary, .help = "base of the wavelengths of rotary positions"},
    {KEY(model, rope_window_base), .type = DECK_REAL, .fallback = "0", .maximum = 1e12,
     .uses = with_window,
     .help = "base of blocks with the window, which then know no rope_scaling; 0: as all blocks"},
    {KEY(model, unrotated_every), .type = DECK_INTEGER, .fallback = "never", .may_be_never = true,
     .maximum = 1e4, .help = "n: every n-th block (the n-th, 2n-th ..) has no rotary positions"},
    {KEY(model, rope_scaling), .type = DECK_CHOICE, .choices = scalings, .fallback = "none",
     .uses = with_rotary,
     .help = "how rotary positions are stretched to a longer context: linear: all by the factor; "
             "dynamic: by a larger base, as far as a sequence is longer than rope_original; "
             "llama3, yarn: long wavelengths alone"},
    {KEY(model, rope_factor), .type = DECK_REAL, .fallback = "1", .minimum = 1, .maximum = 1e6,
     .uses = with_scaling, .help = "how far rope_scaling stretches"},
    {KEY(model, rope_original), .type = DECK_INTEGER, .unit = "tokens", .fallback = "auto",
     .may_be_auto = true, .minimum = 1, .maximum = 1e9, .uses = with_original,
     .help = "context before the stretch; auto: model.context"},
    {KEY(model, rope_low), .type = DECK_REAL, .fallback = "1", .maximum = 1e9, .uses = with_llama3,
     .help = "wavelengths that fit less often than this into rope_original are stretched in full"},
    {KEY(model, rope_high), .type = DECK_REAL, .fallback = "4", .maximum = 1e9, .uses = with_llama3,
     .help = "wavelengths that fit more often than this into rope_original stay; above rope_low"},
    {KEY(model, rope_fast), .type = DECK_REAL, .fallback = "32", .maximum = 1e9, .uses = with_yarn,
     .help = "as rope_high, of yarn (its beta_fast); above rope_slow"},
    {KEY(model, rope_slow), .type = DECK_REAL, .fallback = "1", .maximum = 1e9, .uses = with_yarn,
     .help = "as rope_low, of yarn (its beta_slow)"},
    {KEY(model, rope_truncate), .type = DECK_BOOLEAN, .fallback = "yes", .uses = with_yarn,
     .help = "whether what lies between the two is rounded outwards to whole pairs"},
    {KEY(model, rope_attention), .type = DECK_REAL, .fallback = "0", .maximum = 1e6,
     .uses = with_yarn,
     .help = "what queries and keys are multiplied with besides (its attention_factor); 0: 1 + "
             "ln(rope_factor) / 10"},
    {KEY(model, init_deviation), .type = DECK_REAL, .fallback = "0.02", .maximum = 10,
     .help = "standard deviation of initial matrices"},
    {KEY(model, trainable), .type = DECK_WORDS, .fallback = "auto",
     .help = "patterns, as of the shell, of the names of tensors that training changes, as in "
             "[blocks.*.mlp.*, norm.*]; others stay as they are and have no optimizer states; "
             "auto: all, or with an adapter its own alone, which are always trained"},
    {KEY(model, frozen), .type = DECK_CHOICE, .choices = frozen, .fallback = "compute",
     .help =
         "how matrices of blocks that training does not change are kept and moved: in the "
         "compute type, or in 8 or 4 bits (nf4, as QLoRA has it), which cuts what is read; norms, "
         "biases, embeddings and the head stay in the compute type"},

    {KEY_OF_MODEL(adapter, from), .type = DECK_PATH, .fallback = "", .changeable = true,
     .help =
         "adapters to begin with, beside the weights of model.from, and what the other keys of "
         "the section are then: a folder of the package PEFT; empty: initial adapters are drawn"},
    {KEY_OF_MODEL(adapter, rank), .type = DECK_INTEGER, .fallback = "0", .maximum = 65536,
     .help = "rank of the low-rank adapters (LoRA) beside the matrices that adapter.targets names; "
             "0: none"},
    {KEY_OF_MODEL(adapter, alpha), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e6, .uses = with_adapter,
     .help = "what the product of an adapter is multiplied with, before adapter.scaling divides; "
             "auto: adapter.rank"},
    {KEY_OF_MODEL(adapter, scaling), .type = DECK_CHOICE, .choices = adapter_scalings,
     .fallback = "plain", .uses = with_adapter,
     .help = "plain: alpha / rank; rsqrt: alpha / sqrt(rank), rank-stabilised"},
    {KEY_OF_MODEL(adapter, dropout), .type = DECK_REAL, .fallback = "0", .maximum = 1,
     .changeable = true, .uses = with_adapter,
     .help =
         "share of an adapter's inputs that a training step drops, by run.seed and the step; the "
         "rest is divided by the share that is kept; below 1"},
    {KEY_OF_MODEL(adapter, targets), .type = DECK_WORDS, .fallback = "auto", .uses = with_adapter,
     .help = "matrices with an adapter: query, key, value, output, gate, up, down, of every block; "
             "all: each that there is; auto: query and value, as the package PEFT has it"},

    {KEY(data, train), .type = DECK_SOURCES, .example = "data/train.h5", .changeable = true,
     .help =
         "token files to train on; an epoch goes through all of them; with weights each path has "
         "epochs of its own, and a share of the sequences: its weight over the sum of weights"},
    {KEY(data, validation), .type = DECK_SOURCES, .fallback = "", .changeable = true,
     .uses = with_every,
     .help = "token files for the validation loss, without weights; empty: none"},
    {KEY(data, format), .type = DECK_CHOICE, .choices = formats, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help = "format of the token files; auto: told by first bytes and name"},
    {KEY(data, type), .type = DECK_CHOICE, .choices = token_types, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_bare_ids,
     .help = "type of the ids in a file without a header (nanogpt); auto: uint16, or refused where "
             "that cannot be right"},
    {KEY(data, packing), .type = DECK_CHOICE, .choices = packings, .fallback = "documents",
     .changeable = true,
     .help = "documents: files that tell documents apart, as those of JSON lines, have them packed "
             "into sequences, and a token sees its own document alone; none: they are one stream"},
    {KEY(data, tokenizer), .type = DECK_PATH, .fallback = "", .changeable = true,
     .help = "folder of the tokenizer for files of JSON lines (*.jsonl), or a file that is one; "
             "empty: that of model.from"},
    {KEY(data, validation_every), .type = DECK_INTEGER, .unit = "steps", .fallback = "auto",
     .may_be_auto = true, .may_be_never = true, .maximum = COUNT, .changeable = true,
     .uses = with_file, .must_be_used = true,
     .help =
         "steps between validations; auto: a tenth of the run where data.validation names files, "
         "else never"},
    {KEY(data, validation_sequences), .type = DECK_INTEGER, .unit = "sequences", .fallback = "auto",
     .may_be_auto = true, .minimum = 1, .maximum = 1e9, .changeable = true, .uses = with_validation,
     .help = "sequences of the validation files that a validation uses, each once, evenly spread; "
             "auto: all, at most 1024"},

    {KEY(batch, global), .type = DECK_INTEGER, .unit = "sequences", .minimum = 1, .maximum = 1e9,
     .example = "32 sequences", .help = "sequences of one step, over all ranks"},
    {KEY(batch, micro), .type = DECK_INTEGER, .unit = "sequences", .fallback = "auto",
     .may_be_auto = true, .minimum = 1, .maximum = 1e9, .changeable = true,
     .help = "sequences that one rank passes at once; auto: its share of the step, at most 8"},
    {KEY(batch, tokens), .type = DECK_INTEGER, .unit = "tokens", .fallback = "auto",
     .may_be_auto = true, .minimum = 1, .maximum = 1e9,
     .help = "length of a sequence; auto: model.context"},

    {KEY(optimizer, type), .type = DECK_CHOICE, .choices = optimizers, .fallback = "adamw",
     .help =
         "adamw: Adam with decoupled weight decay; lion: the sign of a mean, with the same decay; "
         "sgd: momentum beta1, with the decay in the gradient"},
    {KEY(optimizer, moments), .type = DECK_CHOICE, .choices = moments, .fallback = "fp32",
     .changeable = true, .uses = with_moments,
     .help =
         "how the means that the optimizer keeps are stored; 8-bit: blocks of 256 numbers with a "
         "scale, a quarter of the bytes"},
    {KEY(optimizer, learning_rate), .type = DECK_REAL, .maximum = 1000, .example = "1.0e-3",
     .changeable = true, .help = "the largest learning rate of the schedule"},
    {KEY(optimizer, minimum_ratio), .type = DECK_REAL, .fallback = "0.1", .maximum = 1,
     .changeable = true, .uses = with_fall,
     .help = "the schedule ends at minimum_ratio * learning_rate"},
    {KEY(optimizer, beta1), .type = DECK_REAL, .fallback = "0.9", .maximum = 1, .changeable = true,
     .help =
         "decay of the mean of gradients; of lion weight of the mean in a step; of sgd momentum; "
         "below 1"},
    {KEY(optimizer, beta2), .type = DECK_REAL, .fallback = "0.95", .maximum = 1, .changeable = true,
     .uses = with_beta2,
     .help =
         "decay of the mean of squared gradients; of lion that of gradients, 0.99 as published; "
         "below 1"},
    {KEY(optimizer, epsilon), .type = DECK_REAL, .fallback = "1e-8", .maximum = 1,
     .changeable = true, .uses = with_adamw,
     .help = "added to the root of the mean square; above 0"},
    {KEY(optimizer, weight_decay), .type = DECK_REAL, .fallback = "0.1", .maximum = 1000,
     .changeable = true, .help = "decay of matrices, times the learning rate, each step"},
    {KEY(optimizer, decay_embeddings), .type = DECK_BOOLEAN, .fallback = "no", .changeable = true,
     .uses = with_decay, .help = "whether embeddings decay too"},
    {KEY(optimizer, decay_norms), .type = DECK_BOOLEAN, .fallback = "no", .changeable = true,
     .uses = with_decay, .help = "whether scales of normalisations decay too"},
    {KEY(optimizer, decay_biases), .type = DECK_BOOLEAN, .fallback = "no", .changeable = true,
     .uses = with_biases, .help = "whether biases decay too"},
    {KEY(optimizer, clip), .type = DECK_REAL, .fallback = "1.0", .maximum = 1e30,
     .changeable = true,
     .help = "largest norm of the whole gradient, which is scaled down to it; 0: no limit"},
    {KEY(optimizer, schedule), .type = DECK_CHOICE, .choices = schedules, .fallback = "cosine",
     .changeable = true, .uses = after_warmup,
     .help = "learning rate after the warm-up; wsd: constant, then a linear fall over the decay"},
    {KEY(optimizer, warmup), .type = DECK_INTEGER, .unit = "steps", .fallback = "0 steps",
     .maximum = COUNT, .changeable = true, .help = "steps of linear rise at the start"},
    {KEY(optimizer, decay), .type = DECK_INTEGER, .unit = "steps", .fallback = "auto",
     .may_be_auto = true, .maximum = COUNT, .changeable = true, .uses = with_wsd,
     .help = "wsd: steps of the final fall; auto: a fifth of run.steps"},

    {KEY(precision, compute), .type = DECK_CHOICE, .choices = dtypes, .fallback = "fp32",
     .help = "type of parameters and activations; sums and the optimizer are fp32"},
    {KEY(precision, reduce), .type = DECK_CHOICE, .choices = dtypes, .fallback = "fp32",
     .help = "type in which gradients cross the network; they are summed in fp32"},
    {KEY(precision, order), .type = DECK_CHOICE, .choices = sum_orders, .fallback = "rank",
     .uses = with_cuda,
     .help =
         "order of these sums on CUDA devices: rank: that of the ranks, with the same bits as on "
         "the cpu; library: NCCL's own, which moves fewer bytes between many nodes"},
    {KEY(precision, gradient), .type = DECK_CHOICE, .choices = dtypes, .fallback = "auto",
     .may_be_auto = true, .help = "type of the gradient kept until the update; auto: compute"},
    {KEY(precision, loss_scale), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 0x1p24, .changeable = true, .uses = with_fp16,
     .help =
         "what the loss is multiplied with before its gradient, which is divided by it again; a "
         "power of two; auto: halved when a gradient overflows, doubled in between"},
    {KEY(precision, loss_scale_initial), .type = DECK_INTEGER, .fallback = "64 Ki", .minimum = 1,
     .maximum = 0x1p24, .changeable = true, .uses = with_found_scale,
     .help = "the first loss scale of a run that finds its own"},
    {KEY(precision, loss_scale_growth), .type = DECK_INTEGER, .unit = "steps",
     .fallback = "2000 steps", .minimum = 1, .maximum = COUNT, .changeable = true,
     .uses = with_found_scale,
     .help = "finite steps after which such a loss scale is doubled, to 16 Mi at most"},

    {KEY(zero, stage), .type = DECK_CHOICE, .choices = stages, .fallback = "3", .changeable = true,
     .help = "what is split over ranks: 0 nothing, 1 optimizer state, 2 and gradients, 3 and "
             "parameters"},
    {KEY(zero, order), .type = DECK_CHOICE, .choices = orders, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_micros,
     .help = "layer-major: all micro-batches of a block before the next block; micro-major: one "
             "micro-batch through the whole model; auto: layer-major"},
    {KEY(zero, prefetch), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .maximum = 16, .changeable = true,
     .help = "fetches in flight ahead of use; 0: none, strictly serial; auto: what the budget "
             "holds"},
    {KEY(zero, update), .type = DECK_CHOICE, .choices = updates, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help = "when the optimizer runs: at the end of the step, or deferred to the next fetch; "
             "auto: deferred where the optimizer's states are on nvme"},
    {KEY(zero, speculate), .type = DECK_CHOICE, .choices = speculations, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_stored_states,
     .help =
         "with a deferred update of states that are all on nvme: update the last layers in "
         "backward "
         "already, as if the step were not clipped, into a second copy of their states; where the "
         "norm says otherwise the copy is dropped and the update deferred; auto: on where the "
         "disks "
         "have room for it"},
    {KEY(zero, update_on), .type = DECK_CHOICE, .choices = updaters, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_states_away,
     .help =
         "what updates optimizer states that are in host memory or on nvme: the host there, or "
         "the device, to which they stream and from which they return, group by group; auto: "
         "the faster by the rates that `zinf plan --machine FILE` is given; a run knows none and "
         "takes host"},
    {KEY(zero, group), .type = DECK_INTEGER, .fallback = "2 Mi", .minimum = 4096, .maximum = 1e12,
     .changeable = true, .uses = with_moves,
     .help = "elements that the optimizer takes at once where its states move between tiers; a "
             "multiple of 4096"},

    {KEY(placement, parameters), .type = DECK_CHOICE, .choices = tiers, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help = "tier of the parameters; auto: device while everything fits there; of the four states "
             "they leave last for host, second for nvme"},
    {KEY(placement, gradients), .type = DECK_CHOICE, .choices = tiers, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help = "tier of the kept gradients; auto: device while everything fits there; of the four "
             "states they leave second for host, last for nvme"},
    {KEY(placement, optimizer), .type = DECK_CHOICE, .choices = tiers, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help =
         "tier of fp32 master weights and moments; auto: device while everything fits there; of "
         "the four states they leave first for host, and first for nvme"},
    {KEY(placement, activations), .type = DECK_CHOICE, .choices = tiers, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help = "tier of the kept inputs of blocks; auto: device while everything fits there; of the "
             "four states they leave third for host, and third for nvme"},

    {KEY(memory, device), .type = DECK_BYTES, .fallback = "auto", .may_be_auto = true, .minimum = 1,
     .maximum = LARGEST, .changeable = true,
     .help = "device memory per rank; auto: what the device has, less a margin"},
    {KEY(memory, host), .type = DECK_BYTES, .fallback = "auto", .may_be_auto = true, .minimum = 1,
     .maximum = LARGEST, .changeable = true,
     .help = "host memory per rank; auto: its share of what the node has, less a margin"},

    {KEY(activations, recompute), .type = DECK_CHOICE, .choices = recomputes, .fallback = "auto",
     .may_be_auto = true, .changeable = true,
     .help =
         "which inner activations the backward pass computes again: those of all operations, of "
         "none, or of one kind; auto: those that the budget does not hold"},
    {KEY(activations, offload), .type = DECK_CHOICE, .choices = offloads, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_kept_apart,
     .help =
         "which of the inner activations that are not computed again go to host memory and come "
         "back for the backward pass; auto: those that by the rates that `zinf plan --machine "
         "FILE` is given come back sooner than they are computed again, where the device does not "
         "hold them and activations.recompute is auto; a run knows no rates and takes none"},
    {KEY(activations, interval), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 32, .changeable = true, .uses = with_recompute,
     .help =
         "operations (attention and MLP count one each) per kept input; auto: 2, or 1 when they "
         "are tiled, one kind is recomputed, or less is recomputed with 1"},

    {KEY(tiling, attention), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e5, .changeable = true,
     .help = "tiles of an attention unit, each of some key heads; auto: the fewest that fit, "
             "with room to fetch ahead if any have it"},
    {KEY(tiling, mlp), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true, .minimum = 1,
     .maximum = 1e5, .changeable = true,
     .help = "tiles of an MLP unit, each a slice of its inner width; auto: the fewest that fit, "
             "with room to fetch ahead if any have it"},
    {KEY(tiling, vocabulary), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1e5, .changeable = true,
     .help = "tiles of the token embedding and the head, each a range of ids; auto: the fewest "
             "that fit, with room to fetch ahead if any have it"},

    {KEY(nvme, paths), .type = DECK_PATHS, .fallback = "scratch", .changeable = true,
     .uses = with_disk,
     .help =
         "folder on a local disk, or one on each of several disks, which then share the states; "
         "made if absent"},
    {KEY(nvme, engine), .type = DECK_CHOICE, .choices = engines, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_disk,
     .help =
         "libaio: direct asynchronous I/O; threads: blocking I/O in threads; auto: libaio where "
         "it works"},
    {KEY(nvme, depth), .type = DECK_INTEGER, .fallback = "16", .minimum = 1, .maximum = 4096,
     .changeable = true, .uses = with_disk, .help = "blocks in flight per path and direction"},
    {KEY(nvme, block), .type = DECK_BYTES, .fallback = "1 MiB", .minimum = 4096, .maximum = 0x1p30,
     .changeable = true, .uses = with_disk,
     .help = "largest request to the kernel, a multiple of 4 KiB"},
    {KEY(nvme, deadline), .type = DECK_INTEGER, .unit = "seconds", .fallback = "60 seconds",
     .minimum = 1, .maximum = 86400, .changeable = true, .uses = with_disk,
     .help = "time after which a request counts as stalled, which is reported"},
    {KEY(nvme, keep), .type = DECK_BOOLEAN, .fallback = "no", .changeable = true, .uses = with_disk,
     .help = "whether the files stay when the run ends"},
    {KEY(nvme, reclaim), .type = DECK_BOOLEAN, .fallback = "no", .changeable = true,
     .uses = with_disk,
     .help = "whether what runs that died left on the paths is removed, as --reclaim does"},

    {KEY(device, type), .type = DECK_CHOICE, .choices = devices, .fallback = "cpu",
     .changeable = true, .help = "kind of device"},
    {KEY(device, threads), .type = DECK_INTEGER, .fallback = "auto", .may_be_auto = true,
     .minimum = 1, .maximum = 1024, .changeable = true,
     .help =
         "threads per rank; auto: OMP_NUM_THREADS where it is set, else cores of the node divided "
         "by its ranks"},
    {KEY(device, isa), .type = DECK_CHOICE, .choices = isas, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_cpu,
     .help = "best instruction set that cpu kernels may use; auto: the best the processor has"},
    {KEY(device, products), .type = DECK_CHOICE, .choices = products, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_cpu,
     .help =
         "what makes the matrix products of bf16 on a cpu: oneDNN, or zinf's own kernels on the "
         "tiles of AMX; auto: tiles where the instruction set is amx, whatever the shape, else "
         "oneDNN"},
    {KEY(device, attention), .type = DECK_CHOICE, .choices = attentions, .fallback = "auto",
     .may_be_auto = true, .changeable = true, .uses = with_cuda,
     .help = "what computes attention on the device: zinf's own kernels, or auto: cuDNN where zinf "
             "was built with it and it does the shape (no window), else own kernels"},

    {KEY(checkpoint, every), .type = DECK_INTEGER, .unit = "steps", .fallback = "never",
     .may_be_never = true, .maximum = COUNT, .changeable = true, .uses = with_checkpoint,
     .must_be_used = true, .help = "steps between checkpoints"},
    {KEY(checkpoint, keep), .type = DECK_INTEGER, .fallback = "2", .maximum = 1e9,
     .changeable = true, .uses = with_several, .help = "newest checkpoints that are kept; 0: all"},
    {KEY(checkpoint, keep_every), .type = DECK_INTEGER, .unit = "steps", .fallback = "never",
     .may_be_never = true, .maximum = COUNT, .changeable = true, .uses = with_several,
     .help = "checkpoints of steps that are multiples of it are kept for good, besides "
             "checkpoint.keep"},
    {KEY(checkpoint, final), .type = DECK_BOOLEAN, .fallback = "yes", .changeable = true,
     .help = "whether the end of the run writes a checkpoint"},
    {KEY(checkpoint, mode), .type = DECK_CHOICE, .choices = modes, .fallback = "owner",
     .changeable = true,
     .help = "who may read checkpoint files: owner (permissions 0600), group (0640), all (0644)"},
    {KEY(checkpoint, local), .type = DECK_PATH, .fallback = "", .changeable = true,
     .uses = with_local_every, .must_be_used = true,
     .help = "folder on a local disk of each node for more frequent checkpoints, of which the "
             "newest is gone on from where every node still has its part; made if absent; empty: "
             "none"},
    {KEY(checkpoint, local_every), .type = DECK_INTEGER, .unit = "steps", .fallback = "never",
     .may_be_never = true, .maximum = COUNT, .changeable = true, .uses = with_local,
     .must_be_used = true, .help = "steps between checkpoints in checkpoint.local"},
};

const struct deck_row *deck_rows(int *count)
{
    *count = (int)(sizeof rows / sizeof *rows);
    return rows;
}

const char *deck_section_help(const char *section)
{
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strcmp(sections[i].section, section) == 0) return sections[i].help;
    return NULL;
}

const struct deck_row *deck_find(const char *section, const char *key)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].section, section) == 0 && strcmp(rows[i].key, key) == 0) return &rows[i];
    return NULL;
}

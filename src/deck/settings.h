/* SPDX-License-Identifier: Apache-2.0 */
/* The typed form of a deck: a struct per section, a field per key, filled through deck/table.h.
 * They own their texts and lists. ZI_AUTO is `auto`, until the section's room resolves it. */
#ifndef ZI_DECK_SETTINGS_H
#define ZI_DECK_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "deck/list.h"

#define ZI_AUTO (-1)
enum model_family { MODEL_GPT2, MODEL_LLAMA };
enum data_format { DATA_HDF5, DATA_LLMC, DATA_NANOGPT, DATA_MEGATRON };
enum data_type { DATA_UINT8, DATA_UINT16, DATA_UINT32, DATA_INT32, DATA_INT64 };
enum optimizer_schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD };
enum zero_order { ORDER_LAYER_MAJOR, ORDER_MICRO_MAJOR };
enum zero_update { UPDATE_IMMEDIATE, UPDATE_DEFERRED };
enum recompute { RECOMPUTE_ALWAYS, RECOMPUTE_NEVER };
enum device_type { DEVICE_CPU, DEVICE_CUDA, DEVICE_TYPE_COUNT };
enum nvme_engine { NVME_LIBAIO, NVME_THREADS };
enum device_isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512 };
enum checkpoint_mode { CHECKPOINT_OWNER, CHECKPOINT_GROUP, CHECKPOINT_ALL };

struct settings_run {
    /* What the run is called in its outputs. */
    char *name;
    /* Where outputs go; made if absent. */
    char *directory;
    /* Optimizer steps. */
    int64_t steps;
    /* Of initial values and of the sampler. */
    int64_t seed;
    /* Steps between progress lines. */
    int64_t report_every;
    /* So many skipped steps in a row end the run (exit 7). */
    int64_t nonfinite_limit;
    /* Steps whose operations go to trace.json; 0 = none. */
    int64_t trace;
};

struct settings_model {
    /* enum model_family. */
    int family;
    /* Transformer blocks L. */
    int64_t layers;
    /* Width of the residual stream C. */
    int64_t hidden;
    /* Query heads; divide hidden. */
    int64_t heads;
    /* Key and value heads (grouped-query attention); auto: heads. */
    int64_t key_heads;
    /* Width inside the MLP; auto: 4 or 8/3 times hidden. */
    int64_t inner;
    /* Longest sequence: rows of the position table, limit of RoPE. */
    int64_t context;
    /* Token ids are 0 .. vocabulary-1. */
    int64_t vocabulary;
    /* Head shares the token embedding: 0, 1; auto: gpt2 yes, llama no. */
    int64_t tied;
    /* Added to the variance. */
    double norm_epsilon;
    /* Theta of rotary positions (llama). */
    double rope_base;
    /* Standard deviation of initial matrices. */
    double init_deviation;
};

struct settings_data {
    /* Token files; validation: "" for none. */
    char *train, *validation;
    /* enum data_format; auto: told by the file's first bytes and name. */
    int64_t format;
    /* enum data_type of ids in files without a header; auto: uint16. */
    int64_t type;
    /* Steps; 0 = never; auto: a tenth of the run where there is a file. */
    int64_t validation_every;
    /* auto: all, to 1024. */
    int64_t validation_sequences;
};

struct settings_batch {
    /* Sequences per step, over all ranks. */
    int64_t global;
    /* Sequences one rank passes at once; auto: its share, at most 8. */
    int64_t micro;
    /* Per sequence; auto: model.context. */
    int64_t tokens;
};

struct settings_optimizer {
    /* 0 = adamw. */
    int type;
    /* Peak; the schedule ends at their product. */
    double learning_rate, minimum_ratio;
    double beta1, beta2, epsilon, weight_decay;
    /* Matrices always decay. */
    bool decay_embeddings, decay_norms, decay_biases;
    /* Largest global gradient norm; 0 = no clipping. */
    double clip;
    /* enum optimizer_schedule. */
    int schedule;
    /* Steps of linear rise. */
    int64_t warmup;
    /* wsd: steps of the final fall; auto: a fifth of run.steps. */
    int64_t decay;
};

struct settings_precision {
    /* enum zi_dtype of parameters and activations: fp32, bf16. */
    int compute;
    /* enum zi_dtype in which gradients cross the network; sums are fp32. */
    int reduce;
    /* enum zi_dtype of the kept gradient; auto: compute. */
    int64_t gradient;
};

struct settings_zero {
    /* 0, 1, 2, 3. */
    int stage;
    /* enum zero_order; auto: layer-major. */
    int64_t order;
    /* Fetches ahead of use; 0 = strictly serial; auto: from the budget. */
    int64_t prefetch;
    /* enum zero_update; auto: deferred with optimizer states on NVMe. */
    int64_t update;
    /* Elements of a shard that the optimizer takes at once where states move. */
    int64_t group;
};

struct settings_placement {
    /* enum zi_tier. */
    int64_t parameters, gradients, optimizer, activations;
};

struct settings_memory {
    /* Bytes per rank; auto: what the machine has, less a margin. */
    int64_t device, host;
};

struct settings_activations {
    /* enum recompute; auto: keep what the budget holds, recompute the rest. */
    int64_t recompute;
    /* Operations per kept input; auto: 2, or 1 where they are tiled. */
    int64_t interval;
};

struct settings_tiling {
    /* Tiles of an attention unit: groups of key heads; auto: fewest that fit. */
    int64_t attention;
    /* Tiles of an MLP unit: slices of its inner width. */
    int64_t mlp;
    /* Tiles of the embedding and the head: ranges of token ids. */
    int64_t vocabulary;
};

struct settings_nvme {
    /* Folders on local disks; made if absent. */
    struct deck_list paths;
    /* enum nvme_engine; auto: libaio where it works, else threads. */
    int64_t engine;
    /* Blocks in flight per path and direction. */
    int64_t depth;
    /* Bytes of the largest single request to the kernel. */
    int64_t block;
    /* Seconds after which one request counts as stalled. */
    int64_t deadline;
    /* Leave the files when the run ends. */
    bool keep;
    /* Remove what dead runs left on the paths. */
    bool reclaim;
};

struct settings_device {
    /* enum device_type. */
    int type;
    /* Per rank; auto: cores of the node over ranks of the node. */
    int64_t threads;
    /* enum device_isa: best instruction set to use; auto: what the processor has. */
    int64_t isa;
};

struct settings_checkpoint {
    /* Steps; 0 = never but at the end. */
    int64_t every;
    /* Newest checkpoints kept; 0 = all. */
    int64_t keep;
    /* Write one when the run ends. */
    bool final;
    /* enum checkpoint_mode: who may read the files. */
    int mode;
};

struct settings {
    struct settings_run run;
    struct settings_model model;
    struct settings_data data;
    struct settings_batch batch;
    struct settings_optimizer optimizer;
    struct settings_precision precision;
    struct settings_zero zero;
    struct settings_placement placement;
    struct settings_memory memory;
    struct settings_activations activations;
    struct settings_tiling tiling;
    struct settings_nvme nvme;
    struct settings_device device;
    struct settings_checkpoint checkpoint;
};

#endif

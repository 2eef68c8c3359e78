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
    char *name;              /* what the run is called in its outputs */
    char *directory;         /* where outputs go; made if absent */
    int64_t steps;           /* optimizer steps */
    int64_t seed;            /* of initial values and of the sampler */
    int64_t report_every;    /* steps between progress lines */
    int64_t nonfinite_limit; /* so many skipped steps in a row end the run (exit 7) */
    int64_t trace;           /* steps whose operations go to trace.json; 0 = none */
};

struct settings_model {
    int family;            /* enum model_family */
    int64_t layers;        /* transformer blocks L */
    int64_t hidden;        /* width of the residual stream C */
    int64_t heads;         /* query heads; divide hidden */
    int64_t key_heads;     /* key and value heads (grouped-query attention); auto: heads */
    int64_t inner;         /* width inside the MLP; auto: 4 or 8/3 times hidden */
    int64_t context;       /* longest sequence: rows of the position table, limit of RoPE */
    int64_t vocabulary;    /* token ids are 0 .. vocabulary-1 */
    int64_t tied;          /* head shares the token embedding: 0, 1; auto: gpt2 yes, llama no */
    double norm_epsilon;   /* added to the variance */
    double rope_base;      /* theta of rotary positions (llama) */
    double init_deviation; /* standard deviation of initial matrices */
};

struct settings_data {
    char *train, *validation; /* token files; validation: "" for none */
    int64_t format;           /* enum data_format; auto: told by the file's first bytes and name */
    int64_t type;             /* enum data_type of ids in files without a header; auto: uint16 */
    int64_t validation_every; /* steps; 0 = never; auto: a tenth of the run where there is a file */
    int64_t validation_sequences; /* auto: all, to 1024 */
};

struct settings_batch {
    int64_t global; /* sequences per step, over all ranks */
    int64_t micro;  /* sequences one rank passes at once; auto: its share, at most 8 */
    int64_t tokens; /* per sequence; auto: model.context */
};

struct settings_optimizer {
    int type;                            /* 0 = adamw */
    double learning_rate, minimum_ratio; /* peak; the schedule ends at their product */
    double beta1, beta2, epsilon, weight_decay;
    bool decay_embeddings, decay_norms, decay_biases; /* matrices always decay */
    double clip;    /* largest global gradient norm; 0 = no clipping */
    int schedule;   /* enum optimizer_schedule */
    int64_t warmup; /* steps of linear rise */
    int64_t decay;  /* wsd: steps of the final fall; auto: a fifth of run.steps */
};

struct settings_precision {
    int compute;      /* enum zi_dtype of parameters and activations: fp32, bf16 */
    int reduce;       /* enum zi_dtype in which gradients cross the network; sums are fp32 */
    int64_t gradient; /* enum zi_dtype of the kept gradient; auto: compute */
};

struct settings_zero {
    int stage;        /* 0, 1, 2, 3 */
    int64_t order;    /* enum zero_order; auto: layer-major */
    int64_t prefetch; /* fetches ahead of use; 0 = strictly serial; auto: from the budget */
    int64_t update;   /* enum zero_update; auto: deferred with optimizer states on NVMe */
    int64_t group;    /* elements of a shard that the optimizer takes at once where states move */
};

struct settings_placement {
    int64_t parameters, gradients, optimizer, activations; /* enum zi_tier */
};

struct settings_memory {
    int64_t device, host; /* bytes per rank; auto: what the machine has, less a margin */
};

struct settings_activations {
    int64_t recompute; /* enum recompute; auto: keep what the budget holds, recompute the rest */
    int64_t interval;  /* operations per kept input; auto: 2, or 1 where they are tiled */
};

struct settings_tiling {
    int64_t attention;  /* tiles of an attention unit: groups of key heads; auto: fewest that fit */
    int64_t mlp;        /* tiles of an MLP unit: slices of its inner width */
    int64_t vocabulary; /* tiles of the embedding and the head: ranges of token ids */
};

struct settings_nvme {
    struct deck_list paths; /* folders on local disks; made if absent */
    int64_t engine;         /* enum nvme_engine; auto: libaio where it works, else threads */
    int64_t depth;          /* blocks in flight per path and direction */
    int64_t block;          /* bytes of the largest single request to the kernel */
    int64_t deadline;       /* seconds after which one request counts as stalled */
    bool keep;              /* leave the files when the run ends */
    bool reclaim;           /* remove what dead runs left on the paths */
};

struct settings_device {
    int type;        /* enum device_type */
    int64_t threads; /* per rank; auto: cores of the node over ranks of the node */
    int64_t isa; /* enum device_isa: best instruction set to use; auto: what the processor has */
};

struct settings_checkpoint {
    int64_t every; /* steps; 0 = never but at the end */
    int64_t keep;  /* newest checkpoints kept; 0 = all */
    bool final;    /* write one when the run ends */
    int mode;      /* enum checkpoint_mode: who may read the files */
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

/* SPDX-License-Identifier: Apache-2.0 */
/* How the work and the states lie on the machine. Included through deck/settings.h. */
#ifndef ZI_DECK_SETTINGS_MACHINE_H
#define ZI_DECK_SETTINGS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "deck/list.h"

enum zero_order { ORDER_LAYER_MAJOR, ORDER_MICRO_MAJOR };
enum zero_speculate { SPECULATE_OFF, SPECULATE_ON };
enum zero_update { UPDATE_IMMEDIATE, UPDATE_DEFERRED };
enum offload { OFFLOAD_NONE, OFFLOAD_ATTENTION, OFFLOAD_MLP, OFFLOAD_ALL };
enum recompute { RECOMPUTE_ALWAYS, RECOMPUTE_NEVER, RECOMPUTE_ATTENTION, RECOMPUTE_MLP };
enum device_type { DEVICE_CPU, DEVICE_CUDA, DEVICE_TYPE_COUNT };
enum nvme_engine { NVME_LIBAIO, NVME_THREADS };
enum device_isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_AMX };
enum product_choice { PRODUCTS_ONEDNN = 1, PRODUCTS_TILES };
enum attention_choice { ATTENTION_OWN };

struct settings_zero {
    /* 0, 1, 2, 3. */
    int stage;
    /* enum zero_order; auto: layer-major. */
    int64_t order;
    /* Fetches ahead of use; 0 = strictly serial; auto: from the budget. */
    int64_t prefetch;
    /* enum zero_update; auto: deferred with optimizer states on NVMe. */
    int64_t update;
    /* enum zero_speculate; auto: on with parameters and optimizer states on NVMe, where there is room
     * for two generations of them. */
    int64_t speculate;
    /* enum zi_tier, host or device: where states that are not on the device are updated; auto: by the
     * rates of the machine, host where they are not known. */
    int64_t update_on;
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
    /* enum offload. */
    int64_t offload;
    /* Operations per kept input; auto: 2, or 1 where they are tiled, where one kind is recomputed, and
     * where less is recomputed with 1. */
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
    /* enum product_choice, of bf16 on a cpu; auto or 0: tiles where isa is amx, else oneDNN. */
    int64_t products;
    /* enum attention_choice; auto: what the device does best. */
    int64_t attention;
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: an architecture of transformers as rows. What its config.json may say, and what its
 * tensors are called, is all in one file per architecture; a new one is such a file and a line in
 * architectures.c.
 *
 * Every key of a config.json has a row here or among the common ones (architectures.c): it is used, it has to
 * have a value that zinf does, or it is known to change no number. Whatever has none is refused. */
#ifndef ZI_HF_ARCHITECTURE_H
#define ZI_HF_ARCHITECTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "deck/settings.h"
#include "hf/config.h"

enum hf_use {
    /* int64_t of the settings, or double. */
    HF_INTEGER,
    HF_REAL,
    /* double above 0, which is 0 where there is no key. */
    HF_POSITIVE,
    /* double above 0, which is 0 where the file says null. */
    HF_CAP,
    /* bool of the settings. */
    HF_FLAG,
    /* int of the settings, the number of a value of the row. */
    HF_WORD,
    /* One of the values of the row; others ask for what zinf does not do. */
    HF_MUST,
    /* Whether the head shares the token embedding, as far as the file does not tell. */
    HF_TIED,
    /* As HF_INTEGER, the width of a head, and that by whose root scores are divided. */
    HF_WIDTH,
    HF_SCORE_WIDTH,
    /* As HF_INTEGER, window: null for none, and of no use where HF_WINDOWED is false. */
    HF_WINDOW,
    /* Whether there is a window; where a class has no such key there is. */
    HF_WINDOWED,
    /* As HF_INTEGER, window_from, where there is no list of HF_WINDOWS. */
    HF_WINDOW_FROM,
    /* For each block, whether it has the window: "sliding_attention", "full_attention". Where there is
     * no list, window_from says so, or blocks that do not rotate have it if a class has any. */
    HF_WINDOWS,
    /* For each block, whether it rotates: 1, 0. */
    HF_ROTATED,
    /* As HF_INTEGER, unrotated_every, where there is no list of HF_ROTATED. */
    HF_UNROTATED,
    /* A probability of dropping something while training, which zinf does not: said where it is
     * above 0. */
    HF_DROPOUT,
    /* No number depends on it. */
    HF_IDLE
};

#define HF_NEVER     0U
#define HF_ALWAYS    (~0U)
#define HF_LLAMA3    (1U << ROPE_LLAMA3)
#define HF_YARN      (1U << ROPE_YARN)
#define HF_STRETCHED (1U << ROPE_LINEAR | 1U << ROPE_DYNAMIC | HF_LLAMA3 | HF_YARN)
/* Of enum rope_scaling. */
#define HF_ROPE_TYPES "\"default\"|\"linear\"|\"dynamic\"|\"llama3\"|\"yarn\""

struct hf_key {
    /* "rope_parameters.rope_theta" is in an object, and one may be in another; NULL ends the rows. */
    const char *key;
    enum hf_use use;
    /* Of a field of struct settings_model. */
    size_t offset;
    /* JSON texts with | between them. HF_MUST: the one to write first; HF_WORD: in the order of their
     * numbers. */
    const char *values;
    /* 1 << n: it is written where rope_scaling is n, and means nothing elsewhere. HF_NEVER: read only. */
    unsigned written;
};

struct hf_name {
    /* Of zinf and of the file, as the whole causal model has it; {layer} is a number. Tensors of zinf
     * with the same name in the file lie there behind each other, by rows. NULL ends the rows. */
    const char *tensor, *in_file;
    /* [inputs, outputs] in the file. */
    bool transposed;
};

struct hf_architecture {
    /* config.json's model_type. */
    const char *model_type;
    /* Its architectures: with the head, and without. */
    const char *causal, *bare;
    /* What the names of the bare model lack. */
    const char *prefix;
    /* What transformers takes for keys that are not there. */
    struct settings_model fallback;
    const struct hf_key *keys;
    const struct hf_name *names;
    /* Names of buffers that files may have and nothing needs, up to NULL. */
    const char *const *passed;
};

/* Of a fallback: what no config.json of an architecture tells otherwise has the deck's defaults. */
#define HF_DEFAULTS HF_DEFAULTS_SCORED(ZI_AUTO)
#define HF_DEFAULTS_SCORED(width)                                                                  \
    .score_width = (width), .rope_factor = 1, .rope_original = ZI_AUTO, .rope_low = 1,             \
    .rope_high = 4, .rope_fast = 32, .rope_slow = 1, .rope_truncate = true, .init_deviation = 0.02

#define HF_FIELD(field) offsetof(struct settings_model, field)

/* Of the files of their names. */
extern const struct hf_architecture hf_gpt2, hf_llama, hf_mistral, hf_qwen2, hf_qwen3, hf_smollm3,
    hf_olmo2, hf_gemma2, hf_gemma3;

/* Of llama.c, and of all that have its names. */
extern const struct hf_name hf_llama_names[];
extern const char *const hf_llama_passed[];

/* Local. All of them, up to NULL. */
extern const struct hf_architecture *const hf_architectures[];

/* Keys that any config.json may have; ends with NULL. */
extern const struct hf_key hf_common_keys[];

/* Local. Whether a row is of an int64_t of the settings. */
bool hf_is_integer(const struct hf_key *row);

/* Local. Whether it is of a double. */
bool hf_is_real(const struct hf_key *row);

/* Local. The row of a use; NULL where there is none. */
const struct hf_key *hf_key_of(const struct hf_architecture *architecture, enum hf_use use);

/* Local. The architecture that a description names, or the first of its family. */
const struct hf_architecture *hf_architecture_of(const struct hf_description *description);

/* Local. Whether a name is that of a pattern, in which {layer} is a number: that is *layer, else 0.
 */
bool hf_name_matches(const char *pattern, const char *name, int *layer);

enum { HF_NAME = 256 };

/* Local. The name of a pattern for a layer. */
const char *hf_name_write(const char *pattern, int layer, char name[HF_NAME]);

#endif

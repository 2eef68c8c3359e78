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
    /* One of the values of the row; others ask for what zinf does not do. */
    HF_MUST,
    /* Whether the head shares the token embedding, as far as the file does not tell. */
    HF_TIED,
    /* As HF_INTEGER, the width of a head. */
    HF_WIDTH,
    /* A probability of dropping something while training, which zinf does not: said where it is
     * above 0. */
    HF_DROPOUT,
    /* No number depends on it. */
    HF_IDLE
};

struct hf_key {
    /* "rope_parameters.rope_theta" is in an object; NULL ends the rows. */
    const char *key;
    enum hf_use use;
    /* Of a field of struct settings_model. */
    size_t offset;
    /* HF_MUST: JSON texts with | between them, the one to write first. */
    const char *values;
    /* Read only: what earlier versions wrote. */
    bool read_only;
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
#define HF_DEFAULTS                                                                                \
    .rope_factor = 1, .rope_original = ZI_AUTO, .rope_low = 1, .rope_high = 4, .rope_fast = 32,    \
    .rope_slow = 1, .rope_truncate = true, .init_deviation = 0.02

#define HF_FIELD(field) offsetof(struct settings_model, field)

/* Of the files of their names. */
extern const struct hf_architecture hf_gpt2, hf_llama;

/* Local. All of them, up to NULL. */
extern const struct hf_architecture *const hf_architectures[];

/* Keys that any config.json may have; ends with NULL. */
extern const struct hf_key hf_common_keys[];

/* Local. Whether a row is of an int64_t of the settings. */
bool hf_is_integer(const struct hf_key *row);

/* Local. The architecture that a description names, or the first of its family. */
const struct hf_architecture *hf_architecture_of(const struct hf_description *description);

/* Local. Whether a name is that of a pattern, in which {layer} is a number: that is *layer, else 0.
 */
bool hf_name_matches(const char *pattern, const char *name, int *layer);

enum { HF_NAME = 256 };

/* Local. The name of a pattern for a layer. */
const char *hf_name_write(const char *pattern, int layer, char name[HF_NAME]);

#endif

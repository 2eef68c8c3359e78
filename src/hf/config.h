/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of transformers, versions 4 and 5, read to the settings of a model and written from
 * them. All are Local. */
#ifndef ZI_HF_CONFIG_H
#define ZI_HF_CONFIG_H

#include "base/dtype.h"
#include "base/status.h"
#include "deck/settings.h"

struct hf_architecture;

struct hf_config {
    const struct hf_architecture *architecture;
    /* Without auto. `tied` is what the config says; the weights decide (model.h). */
    struct settings_model model;
};

/* Reads a config.json. ZI_ERROR_USAGE when it is of no architecture that zinf has, asks for what zinf
 * does not do, has a key that zinf does not know, or a size that is none, each named; ZI_ERROR_IO.
 * Drop-outs above 0 are said where `says`. */
enum zi_status hf_config_read(const char *path, bool says, struct hf_config *config);

/* What is written of a model. */
struct hf_description {
    /* NULL: the first one that has the family. */
    const struct hf_architecture *architecture;
    const struct settings_model *model;
    /* Of the weights. */
    enum zi_dtype type;
    /* A config.json, whose other keys are kept; NULL: there is none. */
    const char *original;
};

/* ZI_ERROR_USAGE when no config.json can say what the model is, naming it. */
enum zi_status hf_config_check(const struct hf_description *description);

/* Writes a config.json that transformers 4 and 5 read alike. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status hf_config_write(const struct hf_description *description, const char *path);

/* Class of transformers for messages, as "LlamaForCausalLM". */
const char *hf_config_class(const struct hf_config *config);

#endif

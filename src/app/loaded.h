/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a trained model that is loaded to be asked, for `generate` and `evaluate`: from a
 * checkpoint of zinf or a model folder of Hugging Face, into the tiers that --set says. */
#ifndef ZI_APP_LOADED_H
#define ZI_APP_LOADED_H

#include <limits.h>

#include "app/options.h"
#include "app/setup.h"
#include "checkpoint/checkpoint.h"
#include "engine/batch.h"

struct source;

struct loaded {
    /* This process alone. */
    struct comm *comm;
    /* One of both. */
    struct checkpoint *checkpoint;
    struct source *source;
    struct setup setup;
    struct engine *engine;
    /* As the deck of the model says; the most tokens that a sequence may have. */
    int64_t vocabulary, context;
};

/* What it is loaded for. */
struct loading {
    /* A checkpoint file, a folder of checkpoints, a run directory, or a model folder. */
    const char *path;
    /* --set, --threads. */
    const struct options *options;
    /* Sequences that go through it at once. */
    int64_t sequences;
    /* Tokens of each that do, where --set batch.tokens does not say; at most the context. */
    int64_t tokens;
    /* Tokens of each whose keys and values are kept: no more than the context; 0: none are. */
    int64_t cache;
};

/* Local. The tokenizer to ask the model options->words[0] with: that of --tokenizer; else the model
 * folder's own, or that of the folder beside a checkpoint that `zinf import` or a run has made; "" where
 * there is none. Opens the model for the latter, which loaded_open then goes on with. On an error *loaded
 * is to be closed as well. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status loaded_find_tokenizer(struct loaded *loaded, const struct options *options,
                                     char path[PATH_MAX]);

/* Reads what the model is, and checks it against the tensors before anything is allocated by it; then
 * allocates and reads the weights. On an error *loaded is to be closed as well. ZI_ERROR_USAGE,
 * ZI_ERROR_IO, ZI_ERROR_FIT. */
enum zi_status loaded_open(struct loaded *loaded, const struct loading *loading);

/* Of one that is all zero, nothing. */
void loaded_close(struct loaded *loaded);

#endif

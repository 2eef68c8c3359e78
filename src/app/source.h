/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: where a model comes from that is not drawn (model.from, `zinf import`): a model
 * folder of Hugging Face, or a checkpoint of zinf, of which weights alone are taken. All are Local;
 * every rank opens its own and reads what it needs. */
#ifndef ZI_APP_SOURCE_H
#define ZI_APP_SOURCE_H

#include <limits.h>

#include "app/setup.h"
#include "checkpoint/checkpoint.h"
#include "tier/kinds.h"

struct source;

/* Opens a model folder, a checkpoint file, a folder of checkpoints or a run directory. Remarks are
 * made where `says`. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status source_open(const char *path, bool says, struct source **source);

/* NULL does nothing. */
void source_close(struct source *source);

/* The model that it has, without auto. */
const struct settings_model *source_model(const struct source *source);

/* What the model is, as "LlamaForCausalLM", for messages. */
const char *source_class(const struct source *source);

/* The type of the weights. */
enum zi_dtype source_type(const struct source *source);

/* Adapters beside a model that has none, of a folder of PEFT. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status source_add_adapter(struct source *source, const char *folder);

/* Finds all tensors of the model, which stays the caller's; of adapters that the source has none of,
 * and that were not added, initial values are drawn with the seed. ZI_ERROR_USAGE. */
enum zi_status source_match(struct source *source, const struct model *model, uint64_t seed);

/* Reads elements [first, first + count) of a tensor as fp32. ZI_ERROR_IO. */
enum zi_status source_read(struct source *source, int tensor, int64_t first, int64_t count,
                           float *values);

/* Reads them in the type of the source, with all their bits. ZI_ERROR_IO. */
enum zi_status source_read_bits(struct source *source, int tensor, int64_t first, int64_t count,
                                void *values);

/* The same as a state of a model of the type of the model of source_match; moments are zero. `source`
 * is a struct source: an engine_visit. */
enum zi_status source_visit(void *source, enum tier_kind kind, int tensor, int64_t first,
                            int64_t count, void *values);

/* The folder that has tokenizer and config of a checkpoint FILE.h5: FILE.files, or model.files beside
 * it; "" where there is neither. ZI_ERROR_USAGE when the path is too long. */
enum zi_status source_find_files(const char *checkpoint, char folder[PATH_MAX]);

/* Puts the path of such a folder beside a checkpoint that is called FILE.h5. ZI_ERROR_USAGE. */
enum zi_status source_name_files(const char *checkpoint, const char *ending, char path[PATH_MAX]);

/* The folder that has those of a source; "" where there is none. */
enum zi_status source_files(const struct source *source, char folder[PATH_MAX]);

/* Opens the checkpoint that a path stands for: a file, a folder of checkpoints, or a run directory.
 * Errors of checkpoint_open. */
enum zi_status source_open_checkpoint(struct comm *comm, const char *path,
                                      struct checkpoint **checkpoint);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A model folder of transformers (config.json and safetensors) as tensors of zinf, and back. In files
 * matrices may be transposed, and several tensors may be one; here they have zinf's names and
 * shapes, [outputs, inputs]. Memory is that of the files' heads and of some buffers, whatever the
 * model. All are Local. */
#ifndef ZI_HF_MODEL_H
#define ZI_HF_MODEL_H

#include "base/dtype.h"
#include "base/status.h"
#include "hf/config.h"

/* A tensor of zinf. */
struct hf_tensor {
    const char *name;
    int dimensions;
    int64_t shape[2];
};

struct hf_model;

/* Opens a folder: reads config.json and the heads of the weights. Remarks are made where `says`.
 * ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status hf_model_open(const char *folder, bool says, struct hf_model **model);

/* NULL does nothing. */
void hf_model_close(struct hf_model *model);

/* What the config says; whether the head is tied is told by the weights: it is where there is none,
 * or where it has the bits of the token embedding. */
const struct hf_config *hf_model_config(const struct hf_model *model);

/* The type of all weights; fp32 where they have several. */
enum zi_dtype hf_model_type(const struct hf_model *model);

/* Finds the tensors, which stay the caller's, in the files. ZI_ERROR_USAGE naming the tensor that is
 * missing, has another shape, or has no place in the model. */
enum zi_status hf_model_match(struct hf_model *model, const struct hf_tensor *tensors, int count);

/* Reads elements [first, first + count), row-major, of tensor number `tensor` of hf_model_match, as
 * safetensors_read does. ZI_ERROR_IO. */
enum zi_status hf_model_read(const struct hf_model *model, int tensor, int64_t first, int64_t count,
                             enum zi_dtype type, void *values);

/* Gives elements [first, first + count), row-major, of tensor number `tensor`, in the type of the
 * description. */
typedef enum zi_status hf_source(void *context, int tensor, int64_t first, int64_t count,
                                 void *values);

struct hf_writing {
    /* Exists. */
    const char *folder;
    struct hf_description description;
    const struct hf_tensor *tensors;
    int count;
    /* Most bytes of a file of weights. */
    int64_t shard_bytes;
    hf_source *source;
    void *context;
};

/* Writes the weights and then config.json. ZI_ERROR_USAGE for a tensor that the architecture does
 * not have; ZI_ERROR_IO; what the source gives. */
enum zi_status hf_model_write(const struct hf_writing *writing);

/* Copies what a model folder has beside config and weights (tokenizer, generation settings, chat
 * template) and, where `config` says so, config.json, to another folder, which is made where absent;
 * what the first does not have is removed there. ZI_ERROR_IO. */
enum zi_status hf_files_copy(const char *from, const char *to, bool config);

/* Removes from a folder what hf_files_copy puts there, and the folder where it is empty then. */
void hf_files_remove(const char *folder);

#endif

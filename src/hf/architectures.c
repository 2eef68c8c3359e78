/* SPDX-License-Identifier: Apache-2.0 */
/* The architectures, the keys that they share, and names with a number in them. */
#include "hf/architecture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE "{layer}"

const struct hf_architecture *const hf_architectures[] = {
    &hf_gpt2,    &hf_llama, &hf_mistral, &hf_qwen2,  &hf_qwen3,
    &hf_smollm3, &hf_olmo2, &hf_gemma2,  &hf_gemma3, NULL};

#define IDLE(name)                                                                                 \
    {                                                                                              \
        name, HF_IDLE, 0, NULL, HF_NEVER                                                           \
    }
#define NEVER(name, values)                                                                        \
    {                                                                                              \
        name, HF_MUST, 0, values, HF_NEVER                                                         \
    }

const struct hf_key hf_common_keys[] = {
    /* Told by other rows, or by the files themselves. */
    IDLE("model_type"),
    IDLE("architectures"),
    IDLE("dtype"),
    IDLE("torch_dtype"),
    /* Models that zinf does not have. */
    NEVER("is_encoder_decoder", "false"),
    NEVER("add_cross_attention", "false"),
    NEVER("tie_encoder_decoder", "false"),
    NEVER("pruned_heads", "{}"),
    NEVER("output_attentions", "false"),
    NEVER("output_hidden_states", "false"),
    /* How a program runs, and where the model came from. */
    IDLE("_name_or_path"),
    IDLE("name_or_path"),
    IDLE("_attn_implementation_autoset"),
    IDLE("attn_implementation"),
    IDLE("_attn_implementation"),
    IDLE("transformers_version"),
    IDLE("transformers.js_config"),
    IDLE("use_cache"),
    IDLE("cache_implementation"),
    IDLE("use_bfloat16"),
    IDLE("tf_legacy_loss"),
    IDLE("torchscript"),
    IDLE("return_dict"),
    IDLE("return_dict_in_generate"),
    IDLE("chunk_size_feed_forward"),
    IDLE("is_decoder"),
    IDLE("gradient_checkpointing"),
    /* Tokens and labels. */
    IDLE("bos_token_id"),
    IDLE("eos_token_id"),
    IDLE("pad_token_id"),
    IDLE("unk_token_id"),
    IDLE("sep_token_id"),
    IDLE("cls_token_id"),
    IDLE("mask_token_id"),
    IDLE("decoder_start_token_id"),
    IDLE("tokenizer_class"),
    IDLE("prefix"),
    IDLE("id2label"),
    IDLE("label2id"),
    IDLE("num_labels"),
    IDLE("finetuning_task"),
    IDLE("problem_type"),
    IDLE("task_specific_params"),
    /* How text is generated. */
    IDLE("max_length"),
    IDLE("min_length"),
    IDLE("do_sample"),
    IDLE("early_stopping"),
    IDLE("num_beams"),
    IDLE("num_beam_groups"),
    IDLE("diversity_penalty"),
    IDLE("temperature"),
    IDLE("top_k"),
    IDLE("top_p"),
    IDLE("typical_p"),
    IDLE("repetition_penalty"),
    IDLE("length_penalty"),
    IDLE("no_repeat_ngram_size"),
    IDLE("encoder_no_repeat_ngram_size"),
    IDLE("bad_words_ids"),
    IDLE("num_return_sequences"),
    IDLE("output_scores"),
    IDLE("forced_bos_token_id"),
    IDLE("forced_eos_token_id"),
    IDLE("remove_invalid_values"),
    IDLE("exponential_decay_length_penalty"),
    IDLE("suppress_tokens"),
    IDLE("begin_suppress_tokens"),
    {0},
};

bool hf_is_integer(const struct hf_key *row)
{
    switch (row->use) {
    case HF_INTEGER:
    case HF_WIDTH:
    case HF_SCORE_WIDTH:
    case HF_WINDOW:
    case HF_WINDOW_FROM:
    case HF_UNROTATED:
        return true;
    default:
        return false;
    }
}

bool hf_is_real(const struct hf_key *row)
{
    return row->use == HF_REAL || row->use == HF_POSITIVE || row->use == HF_CAP;
}

const struct hf_key *hf_key_of(const struct hf_architecture *architecture, enum hf_use use)
{
    for (const struct hf_key *row = architecture->keys; row->key; row++)
        if (row->use == use) return row;
    return NULL;
}

bool hf_name_matches(const char *pattern, const char *name, int *layer)
{
    const char *place = strstr(pattern, PLACE);
    *layer = 0;
    if (!place) return strcmp(pattern, name) == 0;
    size_t before = (size_t)(place - pattern);
    if (strncmp(pattern, name, before) != 0) return false;
    size_t digits = strspn(name + before, "0123456789");
    if (digits == 0 || digits > 6 || (name[before] == '0' && digits > 1)) return false;
    *layer = atoi(name + before);
    return strcmp(place + strlen(PLACE), name + before + digits) == 0;
}

const char *hf_name_write(const char *pattern, int layer, char name[HF_NAME])
{
    const char *place = strstr(pattern, PLACE);
    if (place)
        snprintf(name, HF_NAME, "%.*s%d%s", (int)(place - pattern), pattern, layer,
                 place + strlen(PLACE));
    else
        snprintf(name, HF_NAME, "%s", pattern);
    return name;
}

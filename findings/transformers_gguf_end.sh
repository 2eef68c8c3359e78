#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# transformers 4.57.1 makes a tokenizer of a GGUF file whose architecture is llama and whose tokenizer is byte-level BPE
# (tokenizer.ggml.model gpt2, as SmolLM2's) with two of its tokens wrong: eos_token is the token that the file calls the
# beginning (tokenizer.ggml.bos_token_id), not that of tokenizer.ggml.eos_token_id, and the beginning is put before every
# text although tokenizer.ggml.add_bos_token says false. Nothing is said. 5.24.0 takes both as the file has them.
#
# Who would meet it: a model that transformers 4 has made a folder of such a file, and that is then fine-tuned: texts end
# with the token that begins a turn, and the model never learns to stop. analysis/gguf_folder.py takes the file's tokens.
#
# Installs torch (without which no GGUF file is read; 6 GB), gguf and both versions, one after the other, in a temporary
# folder; ends with 0 when the behaviour is as stated, 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
cat >"$folder/write.py" <<'END'
import sys
import gguf
import numpy as np
kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [chr(b) for b in kept]
tokens += [chr(256 + i) for i in range(256 - len(kept))] + ["ab", "cd"]
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_block_count(1)
writer.add_context_length(64)
writer.add_embedding_length(32)
writer.add_feed_forward_length(32)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("smollm")
writer.add_token_list(tokens)
writer.add_token_types([3] * 3 + [1] * 258)
writer.add_token_merges(["a b", "c d"])
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_add_bos_token(False)
writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
END
cat >"$folder/read.py" <<'END'
import sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], gguf_file="model.gguf")
print(tokenizer.eos_token, *tokenizer.convert_ids_to_tokens(tokenizer("ab").input_ids))
END
mkdir "$folder/model"
status=0
install() { "$folder/env/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.15.0 gguf==0.19.0
"$folder/env/bin/python" "$folder/write.py" "$folder/model/model.gguf"
while read -r version wanted; do
    install "transformers==$version"
    found=$("$folder/env/bin/python" "$folder/read.py" "$folder/model" 2>/dev/null | tail -n 1)
    echo "transformers $version: end of text, and the tokens of \"ab\": $found"
    [ "$found" = "$wanted" ] || status=1
done <<END
4.57.1 <|im_start|> <|im_start|> ab
5.24.0 <|im_end|> ab
END
exit "$status"

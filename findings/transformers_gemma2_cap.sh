#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# transformers 4.57.1 computes Gemma 2 by sdpa unless told otherwise, and sdpa has no cap on scores: what config.json says
# of attn_logit_softcapping is left out without a remark, and the logits are those of a model without it. With
# attn_implementation="eager" the cap is there. 5.24.0 takes eager for it by itself.
#
# Who would meet it: a Gemma 2 that is trained by a program which has the cap and evaluated by transformers 4, or the
# other way round. zinf has the cap, and its expected logits come from eager.
#
# Installs torch (6 GB) and both versions, one after the other, in a temporary folder; ends with 0 when the behaviour is as
# stated, 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
cat >"$folder/ask.py" <<'END'
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM


def logits(cap, attention=None):
    torch.manual_seed(1)
    config = Gemma2Config(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, initializer_range=0.5,
                          num_attention_heads=4, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=1,
                          attn_logit_softcapping=cap, final_logit_softcapping=None, sliding_window=16)
    if attention:
        config._attn_implementation = attention
    model = Gemma2ForCausalLM(config).eval()
    return model(torch.arange(12)[None]).logits


def same(a, b):
    return (a - b).abs().max().item() < 1e-3


usual, capped, plain = logits(2.0), logits(2.0, "eager"), logits(None, "eager")
assert not same(capped, plain)
print("the cap is", "there" if same(usual, capped) else "left out" if same(usual, plain) else "something else")
END
install() { "$folder/env/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.15.0
status=0
while read -r version wanted; do
    install "transformers==$version"
    found=$("$folder/env/bin/python" "$folder/ask.py" 2>/dev/null | tail -n 1)
    echo "transformers $version, attention of its choice: $found"
    [ "$found" = "$wanted" ] || status=1
done <<END
4.57.1 the cap is left out
5.24.0 the cap is there
END
exit "$status"

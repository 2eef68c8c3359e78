#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zinf and the installed version of transformers on the same small random models (make_hf_goldens.py): zinf gives
its logits, and it loads what zinf exports without a remark, with equal bits and equal logits; and so for models that
zinf drew. Skipped where transformers is not; PYTHON names the interpreter that has it.
"""
import os
import subprocess
import sys
import tempfile

TOP = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
MAKER = os.path.join(TOP, "regression", "goldens", "make_hf_goldens.py")
PROGRAM = os.path.join(BUILD, "regression", "unit", "app_source_test")

if "ZINF_PEERS_PYTHON" in os.environ:
    # A virtual environment's interpreter may be a link to this one.
    python = os.environ.pop("ZINF_PEERS_PYTHON")
    os.execvp(python, [python, *sys.argv])
try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


class Remarks:
    """What a block writes to standard error, beside progress."""

    def __enter__(self):
        sys.stderr.flush()
        self.file, self.saved = tempfile.TemporaryFile(), os.dup(2)
        os.dup2(self.file.fileno(), 2)
        return self

    def __exit__(self, *_):
        sys.stderr.flush()
        os.dup2(self.saved, 2)
        self.file.seek(0)
        self.text = "".join(line for line in self.file.read().decode().replace("\r", "\n").splitlines()
                            if line.strip() and not line.startswith(("Loading weights", "Loading checkpoint")))


def fail(what):
    print(f"failed: {what}")
    sys.exit(1)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def tensors(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("model") and name.endswith(".safetensors"):
            found.update(load_file(os.path.join(folder, name)))
    return found


def load(folder, dtype):
    """The model in that type, nothing missing and nothing left over."""
    with Remarks() as remarks:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    left = {key: value for key, value in info.items() if value}
    if left or remarks.text:
        fail(f"{folder}: {left} {remarks.text}")
    return model.eval()


def round_trip(folder):
    bare = "_bare" in folder
    prefix = "transformer." if "gpt2" in folder else "model."
    run(ZINF, "import", folder, "--output", f"{folder}.h5")
    for words in [], ["--shard-size", "10kB"]:
        out = f"{folder}.out{len(words)}"
        run(ZINF, "export", f"{folder}.h5", "--output", out, *words)
        before = {(prefix if bare else "") + name: value for name, value in tensors(folder).items()}
        after = tensors(out)
        if before.keys() != after.keys():
            fail(f"{folder}: names {before.keys() ^ after.keys()}")
        for name, value in before.items():
            if after[name].dtype != value.dtype or not torch.equal(after[name], value):
                fail(f"{folder}: {name} differs")
        ids = torch.arange(30).remainder(61).unsqueeze(0)
        with torch.no_grad():
            difference = (load(folder, torch.float32)(ids).logits - load(out, torch.float32)(ids).logits).abs().max()
        if difference != 0:
            fail(f"{folder}: logits of what was exported differ by {difference}")
        if load(out, "auto").dtype != next(iter(after.values())).dtype:
            fail(f"{folder}: the config does not tell the type")


SIZES = "layers=3 hidden=24 heads=4 context=64 vocabulary=61 init_deviation=0.3"
STRETCH = "rope_factor=4 rope_original=16 rope_base=500"
# Models that zinf draws: what their decks say beside the sizes.
OWN = {
    "gpt2": "family=gpt2",
    "llama_llama3": f"family=llama key_heads=2 rope_scaling=llama3 {STRETCH}",
    "llama_yarn": f"family=llama head_width=10 rope_scaling=yarn {STRETCH} rope_fast=4 rope_attention=1.5 "
                  "rope_truncate=no",
    "mistral": "family=mistral key_heads=2 window=5 rope_scaling=linear rope_factor=4",
    "mistral_full": "family=mistral",
    "qwen2": "family=qwen2 key_heads=2 window=5 window_from=1",
    "qwen3": "family=qwen3 key_heads=2 window=5 full_every=2 head_width=8",
    "smollm3": "family=smollm3 unrotated_every=2",
    "smollm3_window": "family=smollm3 window=5 full_every=3",
    "olmo2": "family=olmo2 rope_scaling=linear rope_factor=2",
    "llama_biased": "family=llama key_heads=2 attention_bias=yes mlp_bias=yes",
    "gemma2": "family=gemma2 key_heads=2 head_width=8 window=5 full_every=2 score_width=5 attention_cap=2 logit_cap=3",
    "gemma2_full": "family=gemma2",
    "gemma3": "family=gemma3 key_heads=1 window=5 full_every=3 rope_window_base=100 rope_scaling=linear rope_factor=4",
    "gemma3_full": "family=gemma3 rope_window_base=100 logit_cap=3",
}


def drawn(work, name):
    """The folder of a model that zinf drew, trained for a step and exported, with the logits of transformers."""
    run_folder, out, deck = f"{work}/run", f"{work}/drawn_{name}", f"{work}/deck.yaml"
    ids = torch.arange(257).square().remainder(61)
    ids.to(torch.int16).numpy().tofile(f"{work}/train.bin")
    with open(deck, "w", encoding="utf-8") as file:
        file.write(f"run: {{name: t, directory: {run_folder}, steps: 1}}\noptimizer: {{learning_rate: 1.0e-3}}\n"
                   f"data: {{train: {work}/train.bin, format: nanogpt}}\nbatch: {{global: 4, micro: 1, tokens: 32}}\n")
    sets = [word for key in f"{SIZES} {OWN[name]}".split() for word in ("--set", f"model.{key}")]
    run(ZINF, "run", deck, "--overwrite", *sets)
    run(ZINF, "export", run_folder, "--output", out)
    with torch.no_grad():
        logits = load(out, torch.float64)(ids[:32].unsqueeze(0)).logits[0]
    save_file({"tokens": ids[:32].float(), "logits": logits.float().contiguous()}, f"{out}/expected.safetensors")
    return out


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run([sys.executable, MAKER, work], capture_output=True, text=True, check=True)
        folders = [line for line in done.stdout.splitlines() if line.startswith(work)]
        run(PROGRAM, *folders)
        for folder in folders:
            round_trip(folder)
        run(PROGRAM, *[drawn(work, name) for name in OWN])
        print(f"hf_transformers: {len(folders)} + {len(OWN)} models, transformers {transformers.__version__}")

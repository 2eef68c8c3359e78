#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters against the package PEFT, on small random models: it loads what `zinf export --adapter` writes, trains from
there on the same batches to the losses of zinf, and ends with zinf's adapters and logits; a merged export has the
logits of both. With dropout PEFT is given the elements that zinf drops, put down here once more: a function of seed,
step, adapter and place in the global batch, whatever the ranks and micro-batches. Skipped where the packages are not;
PYTHON names the interpreter that has them.
"""
import csv
import json
import os
import re
import subprocess
import sys
import tempfile

BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
LAUNCHER = os.environ.get("MPIEXEC", "mpiexec").split()
STEPS, SEED = 10, 7
TOKENS, SEQUENCES, VOCABULARY = 32, 4, 61

if "ZINF_PEERS_PYTHON" in os.environ:
    # A virtual environment's interpreter may be a link to this one.
    python = os.environ.pop("ZINF_PEERS_PYTHON")
    os.execvp(python, [python, *sys.argv])
try:
    import numpy
    import peft
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SIZES = {"vocab_size": VOCABULARY, "initializer_range": 0.2}
LLAMA = transformers.LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
                                 num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False, **SIZES)
GPT2 = transformers.GPT2Config(n_embd=24, n_layer=3, n_head=4, n_positions=64, resid_pdrop=0, embd_pdrop=0,
                               attn_pdrop=0, **SIZES)
DROPS = "adapter.dropout="
# Config, what the deck says, whether PEFT trains the same numbers (of GPT-2's query, key and value it makes one
# adapter, which begins as zinf's but has no zeros to keep).
CASES = {
    "llama": (LLAMA, ["adapter.rank=4", "adapter.alpha=8", "adapter.targets=all"], True),
    "llama_usual": (LLAMA, ["adapter.rank=3", "adapter.scaling=rsqrt"], True),
    "gpt2": (GPT2, ["adapter.rank=4", "adapter.targets=output,up,down"], True),
    "llama_drops": (LLAMA, ["adapter.rank=4", "adapter.targets=all", DROPS + "0.3"], True),
    "gpt2_drops": (GPT2, ["adapter.rank=4", "adapter.targets=output,up,down", DROPS + "0.1"], True),
    "gpt2_joined": (GPT2, ["adapter.rank=2", "adapter.alpha=6", "adapter.targets=query,value,up"], False),
}
# Matrices by the ends of their names in PEFT's models.
WORDS = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value",
         "o_proj": "attention.output", "gate_proj": "mlp.gate", "up_proj": "mlp.up", "down_proj": "mlp.down",
         "attn.c_proj": "attention.output", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down"}
U64 = numpy.uint64
GOLDEN = 0x9e3779b97f4a7c15


def finalise(x):
    """The finaliser of splitmix64 (Stafford's variant 13) of an array of 64 bits each."""
    x = (x ^ x >> U64(30)) * U64(0xbf58476d1ce4e5b9)
    x = (x ^ x >> U64(27)) * U64(0x94d049bb133111eb)
    return x ^ x >> U64(31)


def stream_of(name):
    """FNV-1a of a name."""
    number = 0xcbf29ce484222325
    for byte in name.encode():
        number = (number ^ byte) * 0x100000001b3 % 2**64
    return numpy.array([number], U64)


def step_seed(step):
    stream, golden = stream_of("adapter.dropout"), numpy.array([GOLDEN], U64)
    first = finalise(finalise(numpy.array([SEED], U64) + golden) + stream)
    second = finalise(first + golden) ^ finalise(stream + U64(0xd1342543de82ef95))
    return finalise(finalise(numpy.array([step], U64) * golden + first) + second)


class Drops(torch.nn.Module):
    """Takes the place of a torch.nn.Dropout of PEFT: drops what zinf does in the step."""
    step = 0

    def __init__(self, name, share):
        super().__init__()
        self.name, self.share = name, share

    def forward(self, x):
        element = numpy.arange(x.numel(), dtype=U64)
        bits = finalise(element // U64(2) * U64(GOLDEN) + (stream_of(self.name) ^ step_seed(Drops.step)))
        half = numpy.where(element % U64(2) == 0, bits & U64(0xffffffff), bits >> U64(32))
        kept = torch.from_numpy(half >= U64(int(self.share * 2**32))).reshape(x.shape)
        return x * kept / (1 - self.share)


def drop_as_zinf(model, share):
    found = 0
    for name, module in list(model.named_modules()):
        if not isinstance(getattr(module, "lora_dropout", None), torch.nn.ModuleDict):
            continue
        end = next(end for end in WORDS if name.endswith(end))
        layer = re.search(r"\.(\d+)\.", name).group(1)
        if module.lora_dropout["default"].p != share:
            fail(f"{name}: PEFT reads another lora_dropout: {module.lora_dropout['default']}")
        module.lora_dropout["default"] = Drops(f"blocks.{layer}.{WORDS[end]}.lora_a", share)
        found += 1
    if found == 0:
        fail("PEFT drops nothing")


def fail(what):
    print(f"failed: {what}")
    sys.exit(1)


def near(what, one, other, tolerance):
    difference = (one - other).abs().max().item() / other.abs().max().item()
    if not difference <= tolerance:
        fail(f"{what} differ by {difference} of the largest")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def zinf_run(work, name, sets, *more, ranks=1):
    """The run directory of a run from the model of that name, and its losses."""
    deck, directory = f"{work}/deck.yaml", f"{work}/run_{name}_{len(more)}"
    with open(deck, "w", encoding="utf-8") as file:
        file.write(f"run: {{name: t, directory: {directory}, steps: {STEPS}, seed: {SEED}}}\n"
                   f"model: {{from: {work}/{name}}}\n"
                   "optimizer: {learning_rate: 1.0e-2, schedule: constant}\n"
                   f"data: {{train: {work}/train.bin, format: nanogpt}}\n"
                   f"batch: {{global: {SEQUENCES}, micro: 2, tokens: {TOKENS}}}\n")
    launch = [*LAUNCHER, "-n", str(ranks)] if ranks > 1 else []
    run(*launch, ZINF, "run", deck, "--overwrite", *[word for each in [*sets, *more] for word in ("--set", each)])
    with open(f"{directory}/steps.csv", encoding="utf-8") as file:
        return directory, [float(row["loss"]) for row in csv.DictReader(file)]


def base_of(work, name):
    return transformers.AutoModelForCausalLM.from_pretrained(f"{work}/{name}", dtype=torch.float32)


def peft_train(model, ids):
    """Ten losses of PEFT, each of all the sequences."""
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    losses = []
    for Drops.step in range(STEPS):
        logits = model(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        losses.append(loss.item())
    return losses


def go_on(work, name, sets, model, ids):
    """zinf begins with the adapters that PEFT has trained and saved."""
    model.save_pretrained(f"{work}/{name}_peft")
    Drops.step = 0
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
    for more in [], sets[:1]:
        found = zinf_run(work, name, more, f"adapter.from={work}/{name}_peft", "run.steps=1")[1][0]
        near(f"{name}: losses of the adapters of PEFT", torch.tensor(found), loss, 2e-5)


def spread(work, name, sets, expected):
    """On other ranks and in other micro-batches the same elements are dropped."""
    for ranks, micro in (1, 1), (1, 4), (2, 1), (2, 2), (4, 1):
        losses = zinf_run(work, name, sets, f"batch.micro={micro}", ranks=ranks)[1]
        near(f"{name}: losses on {ranks} ranks, micro {micro}", torch.tensor(losses), expected, 2e-5)
    losses = zinf_run(work, name, sets, "adapter.dropout=0")[1]
    if (torch.tensor(losses) - expected).abs().max() < 1e-3:
        fail(f"{name}: the losses tell nothing of what is dropped")


def check(work, name, config, sets, same):
    torch.manual_seed(5)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(f"{work}/{name}")
    share = next((float(text[len(DROPS):]) for text in sets if text.startswith(DROPS)), 0)
    stream = torch.randint(0, VOCABULARY, (SEQUENCES * TOKENS + 1,))
    if share > 0:  # the same sequence again: which is which does not matter, and what each drops does
        stream[TOKENS:] = stream[:TOKENS].repeat(SEQUENCES)[:len(stream) - TOKENS]
    stream.to(torch.int16).numpy().tofile(f"{work}/train.bin")
    ids = torch.stack([stream[s * TOKENS:(s + 1) * TOKENS + 1] for s in range(SEQUENCES)])
    begin, _ = zinf_run(work, name, sets, "optimizer.learning_rate=0", "run.steps=1")
    end, losses = zinf_run(work, name, sets)
    run(ZINF, "export", begin, "--adapter", "--output", f"{work}/{name}_begin")
    run(ZINF, "export", end, "--adapter", "--output", f"{work}/{name}_end")
    run(ZINF, "export", end, "--output", f"{work}/{name}_merged")
    if same:
        model = peft.PeftModel.from_pretrained(base_of(work, name), f"{work}/{name}_begin", is_trainable=True)
        model.train()
        if share > 0:
            drop_as_zinf(model, share)
        expected = torch.tensor(peft_train(model, ids))
        near(f"{name}: losses", torch.tensor(losses), expected, 2e-5)
        if share > 0:
            spread(work, name, sets, expected)
        if not losses[-1] < losses[0] - 0.05:
            fail(f"{name}: the losses do not fall: {losses}")
        state = peft.get_peft_model_state_dict(model)
        for key, value in load_file(f"{work}/{name}_end/adapter_model.safetensors").items():
            near(f"{name}: {key}", value, state[key], 5e-3)
        go_on(work, name, sets, model, ids)
    tuned = peft.PeftModel.from_pretrained(base_of(work, name), f"{work}/{name}_end").eval()
    merged = base_of(work, f"{name}_merged").eval()
    with torch.no_grad():
        expected = tuned(ids).logits
        near(f"{name}: logits of the merged export", merged(ids).logits, expected, 1e-5)
        base = base_of(work, name).eval()(ids).logits
        if (base - expected).abs().max() < 0.1:
            fail(f"{name}: the adapters change nothing")
    with open(f"{work}/{name}_end/adapter_config.json", encoding="utf-8") as file:
        written = json.load(file)
    print(f"{name}: {written['target_modules']}, losses {losses[0]:.4f} to {losses[-1]:.4f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        for name, case in CASES.items():
            check(work, name, *case)
        print(f"hf_peft: {len(CASES)} models, peft {peft.__version__}, transformers {transformers.__version__}")

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`zinf import`, `zinf export` and model.from on the model folders of regression/goldens: weights come back with
all their bits, one name a tensor; a run begins with them, sharded or not; what a config.json asks for and zinf
does not do, and weights that do not fit it, are refused by name and leave nothing.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

TOP = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
GOLDENS = os.path.join(TOP, "regression", "goldens")
LAUNCHER = os.environ.get("MPIEXEC", "mpiexec")
passed = 0


def check(condition, what):
    global passed
    if not condition:
        print(f"failed: {what}")
        sys.exit(1)
    passed += 1


def zinf(*words, code=0, says=None, ranks=1):
    """Runs zinf; its exit code and a text of its output must be these."""
    command = [LAUNCHER, "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*command, ZINF, *words], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    said = done.stdout + done.stderr
    check(done.returncode == code, f"exit code {done.returncode}, not {code}: zinf {' '.join(words)}\n{said}")
    check(says is None or says in said, f"zinf {' '.join(words)} does not say {says!r} but:\n{said}")
    return said


def tensors(folder):
    """Name: type, shape, bytes, of all safetensors of a folder but expected.safetensors; the metadata."""
    found, metadata = {}, []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".safetensors") or name.startswith("expected"):
            continue
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        size, = struct.unpack_from("<Q", data)
        head = json.loads(data[8:8 + size])
        metadata.append(head.pop("__metadata__"))
        for key, entry in head.items():
            begin, end = entry["data_offsets"]
            check(key not in found, f"{key} is there twice")
            found[key] = entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + end]
    return found, metadata


def write_tensors(path, found):
    head, at = {}, 0
    for name, (kind, shape, data) in found.items():
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in found.values()))


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def to_bf16(data):
    """fp32 to bf16 by the definition: nearest, ties to even."""
    out = bytearray()
    for bits, in struct.iter_unpack("<I", data):
        out += struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
    return bytes(out)


def holds(value, original):
    """Whether a value of a config is the original's; objects may have got more keys."""
    if isinstance(original, dict):
        return all(value[key] == inner for key, inner in original.items())
    return original is None or value == original


def round_trip(work, case):
    folder, model, out = os.path.join(GOLDENS, case), f"{work}/{case}.h5", f"{work}/{case}.out"
    zinf("import", folder, "--output", model)
    zinf("inspect", model, "--verify", says="all of them hold")
    zinf("export", model, "--output", out)
    before, after = tensors(folder)[0], tensors(out)
    check(before == after[0], f"{case}: tensors differ after a round trip")
    check(after[1] == [{"format": "pt"}], f"{case}: metadata {after[1]}")
    config, original = read_json(out, "config.json"), read_json(folder, "config.json")
    check(all(holds(config[key], value) for key, value in original.items()), f"{case}: config {config}")
    check(config["dtype"] == config["torch_dtype"] == "float32", f"{case}: types of {config}")
    same = [open(os.path.join(place, "generation_config.json"), "rb").read() for place in (folder, out)]
    check(same[0] == same[1], f"{case}: generation_config.json differs")
    check(os.path.exists(f"{out}/README.md"), f"{case}: there is no model card")
    mode = os.stat(f"{out}/model.safetensors").st_mode & 0o777
    check(mode == 0o666 & ~UMASK, f"{case}: permissions {mode:o}")
    check(os.stat(model).st_mode & 0o777 == 0o666 & ~UMASK, f"{case}: permissions of the checkpoint")
    zinf("export", model, "--output", f"{out}.bf16", "--type", "bf16", "--shard-size", "20kB")
    halves = tensors(f"{out}.bf16")[0]
    check(list(halves) != [] and halves == {name: ("BF16", shape, to_bf16(data))
                                            for name, (_, shape, data) in before.items()}, f"{case}: bf16")
    check(read_json(f"{out}.bf16", "config.json")["torch_dtype"] == "bfloat16", f"{case}: type of bf16")
    zinf("import", f"{out}.bf16", "--output", f"{work}/{case}.bf16.h5", says="bf16")
    zinf("export", f"{work}/{case}.bf16.h5", "--output", f"{out}.again")
    check(tensors(f"{out}.again")[0] == halves, f"{case}: bf16 after a round trip")
    zinf("export", model, "--output", out, code=2, says="is not empty")


def steps(run):
    """Loss, norm and checksum of the steps."""
    with open(f"{run}/steps.csv", encoding="utf-8") as file:
        rows = [line.split(",") for line in file.read().splitlines()]
    at = [rows[0].index(name) for name in ("loss", "gradient_norm", "checksum")]
    return [[row[i] for i in at] for row in rows[1:]]


def write_deck(work, source, run):
    deck = f"{work}/deck.yaml"
    with open(f"{work}/train.bin", "wb") as file:
        file.write(struct.pack("<257H", *(i * i % 61 for i in range(257))))
    with open(deck, "w", encoding="utf-8") as file:
        file.write(f"run: {{name: t, directory: {run}, steps: 2}}\nmodel: {{from: \"{source}\"}}\n"
                   f"data: {{train: {work}/train.bin, format: nanogpt}}\nbatch: {{global: 4, micro: 1, tokens: 32}}\n"
                   "optimizer: {learning_rate: 1.0e-3}\ndevice: {threads: 1}\n")
    return deck


def runs(work, case):
    folder, model, run = os.path.join(GOLDENS, case), f"{work}/{case}.h5", f"{work}/{case}.run"
    deck = write_deck(work, folder, run)
    zinf("check", deck)
    zinf("plan", deck, says="largest model that fits")
    zinf("run", deck, says="begins with the weights of")
    first = steps(run)
    config = read_json(f"{run}/checkpoints/model.files/config.json")
    check(config == read_json(folder, "config.json"), f"{case}: config of the run {config}")
    zinf("run", deck, "--overwrite", "--set", f"model.from={model}")
    check(steps(run) == first, f"{case}: another run from the checkpoint: {steps(run)}, {first}")
    zinf("run", f"{run}/used.yaml", "--overwrite")
    check(steps(run) == first, f"{case}: another run from the used deck")
    zinf("check", f"{run}/used.yaml", "--set", "model.from=")
    for stage in "1", "3":
        zinf("run", deck, "--overwrite", "--set", f"zero.stage={stage}", "--set", "precision.compute=bf16", ranks=3)
        check([row[2] for row in steps(run)][0] == first[0][2], f"{case}: bf16 masters on 3 ranks, stage {stage}")
    zinf("export", run, "--output", f"{run}.out")
    trained, before = tensors(f"{run}.out")[0], tensors(folder)[0]
    check(trained.keys() == before.keys(), f"{case}: names after training")
    check(all(kind == "BF16" and shape == before[name][1] for name, (kind, shape, _) in trained.items()),
          f"{case}: types and shapes after training")
    zinf("run", deck, "--overwrite", "--set", f"model.from={run}", "--set", f"run.directory={run}2",
         says="begins with the weights of")
    zinf("run", deck, "--resume", "auto", "--set", "run.steps=3", "--set", "precision.compute=bf16",
         "--set", "zero.stage=3", says="goes on after step 2")


def agreement(work):
    deck = write_deck(work, os.path.join(GOLDENS, "hf_llama"), f"{work}/agree.run")
    zinf("check", deck, "--set", "model.layers=2", "--set", "model.key_heads=auto")
    said = zinf("check", deck, "--set", "model.layers=3", "--set", "model.rope_base=10000", code=2)
    check("model.layers: " in said and "has 2" in said, said)
    check("model.rope_base: " in said and "has 50000.0" in said, said)
    zinf("check", deck, "--set", f"model.from={work}/nothing", code=2, says="is not there")
    zinf("check", deck, "--set", "model.from=", code=2, says="model.family: missing")
    zinf("run", deck, "--overwrite", "--set", f"model.from={work}", code=2)


def untouched(work):
    """A model that was drawn here has a config of its own."""
    deck, run = write_deck(work, "", f"{work}/own.run"), f"{work}/own.run"
    for key in "family=llama", "layers=1", "hidden=24", "heads=4", "key_heads=2", "context=32", "vocabulary=61":
        sets.extend(["--set", f"model.{key}"])
    zinf("run", deck, *sets)
    zinf("export", run, "--output", f"{run}.out", says="no files of a tokenizer")
    config = read_json(f"{run}.out", "config.json")
    wanted = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 24, "num_hidden_layers": 1,
              "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 32,
              "vocab_size": 61, "intermediate_size": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "hidden_act": "silu",
              "tie_word_embeddings": False,
              "eos_token_id": None, "attention_bias": False, "mlp_bias": False, "dtype": "float32"}
    check(all(config[key] == value for key, value in wanted.items()), f"config of an own model: {config}")
    zinf("import", f"{run}.out", "--output", f"{work}/own.h5")
    zinf("run", deck, "--overwrite", *sets, "--set", "model.layers=2", "--set", "model.family=mistral",
         "--set", "model.window=8", "--set", "model.window_from=1")
    zinf("export", run, "--output", f"{run}.unsaid", code=2, says="has no place for a model.window of some")
    check(not os.path.exists(f"{run}.unsaid"), "a folder of a model that transformers does not have")


sets = []

# Changes of config.json, and what is said of them; None takes a key out.
CONFIGS = [
    ("hf_llama", {"hidden_act": "gelu"}, "hidden_act is \"gelu\", which zinf does not do"),
    ("hf_llama", {"rope_parameters": {"rope_theta": 5e4, "rope_type": "longrope", "factor": 4.0}},
     "rope_parameters.rope_type is \"longrope\""),
    ("hf_llama", {"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_scaling.type is \"su\""),
    ("hf_llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type is \"default\""),
    ("hf_llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 32.0}},
     "rope_scaling.beta_fast means nothing"),
    ("hf_llama", {"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 1.0}},
     "does not know what rope_scaling.mscale does"),
    ("hf_llama", {"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 0.5}}, "factor is 0.5"),
    ("hf_llama", {"sliding_window": 4}, "does not know what sliding_window does"),
    ("hf_qwen3", {"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
     "layer_types[1] is chunked_attention"),
    ("hf_qwen3", {"layer_types": ["full_attention"] * 2}, "layer_types has 2 entries"),
    ("hf_qwen3", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}, "and these are others"),
    ("hf_qwen3", {"use_sliding_window": False}, "and the file has no window"),
    ("hf_qwen3", {"sliding_window": 0}, "sliding_window is 0"),
    ("hf_qwen3", {"attention_bias": True}, "has no tensor model.layers.0.self_attn.q_proj.bias"),
    ("hf_qwen3", {"model_type": "smollm3", "architectures": None, "no_rope_layers": [1, 0, 0]},
     "no_rope_layers[2]"),
    ("hf_llama", {"rope_theta": 10000.0}, "make them equal, or remove one"),
    ("hf_llama", {"mlp_bias": True}, "has no tensor model.layers.0.mlp.gate_proj.bias"),
    ("hf_llama", {"head_dim": 8}, "where by config.json it has"),
    ("hf_llama", {"head_dim": 0}, "head_dim is 0"),
    ("hf_llama", {"sliding_window_pattern": 4}, "does not know what sliding_window_pattern does"),
    ("hf_llama", {"quantization_config": {"bits": 4}}, "does not know what quantization_config does"),
    ("hf_llama", {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    ("hf_llama", {"num_hidden_layers": "2"}, "num_hidden_layers is a string"),
    ("hf_llama", {"num_hidden_layers": 3}, "has no tensor model.layers.2"),
    ("hf_llama", {"num_hidden_layers": 1}, "has no place for"),
    ("hf_llama", {"hidden_size": 36, "head_dim": 6}, "where by config.json it has"),
    ("hf_llama", {"num_attention_heads": 5, "head_dim": None}, "do not divide model.hidden"),
    ("hf_llama", {"tie_word_embeddings": True}, "is not the token embedding"),
    ("hf_llama", {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, "is of a MambaForCausalLM"),
    ("hf_llama", {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
     "is of a Gemma3ForConditionalGeneration"),
    ("hf_llama", {"model_type": "gemma3_text", "architectures": None, "attn_logit_softcapping": 50.0},
     "attn_logit_softcapping is 50.0"),
    ("hf_llama", {"architectures": ["LlamaForTokenClassification"]}, "is of a LlamaForTokenClassification"),
    ("hf_llama", {"model_type": None, "architectures": None}, "of no known type"),
    ("hf_gpt2", {"activation_function": "gelu"}, "activation_function is \"gelu\""),
    ("hf_gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true"),
    ("hf_gpt2", {"n_inner": 95}, "where by config.json it has"),
]


def refusals(work):
    for number, (case, changes, says) in enumerate(CONFIGS):
        folder, model = f"{work}/bad{number}", f"{work}/bad.h5"
        shutil.copytree(os.path.join(GOLDENS, case), folder)
        config = read_json(folder, "config.json")
        config.update(changes)
        with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
            json.dump({key: value for key, value in config.items() if value is not None}, file)
        zinf("import", folder, "--output", model, code=2, says=says)
        check(not [name for name in os.listdir(work) if name.startswith("bad.")], f"{says}: something is left")
    with open(f"{work}/mine.yaml", "w", encoding="utf-8") as file:
        file.write("run: {steps: 1}\n")
    zinf("import", os.path.join(GOLDENS, "hf_gpt2"), "--output", f"{work}/mine.h5", code=2,
         says="is no import's, and would be written over")
    with open(f"{work}/mine.yaml", encoding="utf-8") as file:
        check(file.read() == "run: {steps: 1}\n", "a deck was written over")
    zinf("import", os.path.join(GOLDENS, "hf_gpt2"), "--output", f"{work}/twice.h5")
    zinf("import", os.path.join(GOLDENS, "hf_gpt2"), "--output", f"{work}/twice.h5")
    zinf("import", f"{work}/twice.h5", "--output", f"{work}/twice.h5", code=2, says="is what is imported")
    check(os.path.exists(f"{work}/twice.files/config.json"), "files beside an import have gone")
    zinf("export", f"{work}/twice.h5", "--output", f"{work}/twice.out", "--files", work, code=2,
         says="there is no tokenizer")
    zinf("import", os.path.join(GOLDENS, "hf_gpt2"), code=2, says="--output MODEL.h5")
    zinf("import", os.path.join(GOLDENS, "hf_gpt2"), "--output", f"{work}/x", code=2, says="ends in .h5")
    zinf("import", work, "--output", f"{work}/x.h5", code=2)


def weights(work):
    """Weights that a folder may have: other names and types, buffers, a second head, no numbers."""
    folder = f"{work}/weights"
    shutil.copytree(os.path.join(GOLDENS, "hf_gpt2"), folder)
    path, found = f"{folder}/model.safetensors", tensors(folder)[0]
    embedding = found["transformer.wte.weight"]
    again = dict(found, **{"lm_head.weight": embedding, "transformer.h.0.attn.bias": ("BOOL", [1, 1, 2, 2], b"1011"),
                           "transformer.h.1.attn.masked_bias": ("F32", [], b"1234")})
    write_tensors(path, again)
    zinf("import", folder, "--output", f"{work}/w.h5")
    zinf("export", f"{work}/w.h5", "--output", f"{work}/w.out")
    check(tensors(f"{work}/w.out")[0] == found, "buffers or a tied head were exported")
    write_tensors(path, {name.removeprefix("transformer."): value for name, value in again.items()})
    zinf("import", folder, "--output", f"{work}/w.h5")
    zinf("export", f"{work}/w.h5", "--output", f"{work}/w.bare")
    check(tensors(f"{work}/w.bare")[0] == found, "names of a bare model")
    write_tensors(path, dict(found, extra=("F32", [1], b"1234")))
    zinf("import", folder, "--output", f"{work}/w.h5", code=2, says="has 1 tensor that")
    write_tensors(path, dict(found, **{"transformer.wte.weight": ("I32", embedding[1], embedding[2])}))
    zinf("import", folder, "--output", f"{work}/w.h5", code=2, says="has the type I32")
    infinite = struct.pack("<f", float("inf")) + embedding[2][4:]
    write_tensors(path, dict(found, **{"transformer.wte.weight": ("F32", embedding[1], infinite)}))
    zinf("import", folder, "--output", f"{work}/infinite.h5", code=2, says="are not finite")
    check(not os.path.exists(f"{work}/infinite.h5"), "weights that are not finite were imported")
    large = struct.pack("<f", 1e5) + embedding[2][4:]
    write_tensors(path, dict(found, **{"transformer.wte.weight": ("F32", embedding[1], large)}))
    zinf("import", folder, "--output", f"{work}/large.h5")
    zinf("export", f"{work}/large.h5", "--output", f"{work}/l.out", "--type", "fp16", code=2,
         says="which fp16 cannot hold")
    left = [name for name in os.listdir(work) if name.startswith("l.out")]
    check(not left, f"of an export that failed there is {left}")
    os.mkdir(f"{work}/l.out")
    zinf("export", f"{work}/large.h5", "--output", f"{work}/l.out/", "--type", "fp16", code=2, says="is not written")
    check(not os.listdir(f"{work}/l.out"), f"of an export that failed there is {os.listdir(f'{work}/l.out')}")
    zinf("export", f"{work}/large.h5", "--output", f"{work}/l.out", "--type", "fp32")
    check(tensors(f"{work}/l.out")[0].keys() == found.keys(), "an export to an empty folder")
    check(not [name for name in os.listdir(f"{work}/l.out") if name.startswith(".")], "a folder is left within")


UMASK = 0o027

if __name__ == "__main__":
    os.umask(UMASK)
    with tempfile.TemporaryDirectory() as work:
        for case in "hf_gpt2", "hf_llama", "hf_qwen3":
            round_trip(work, case)
            runs(work, case)
        agreement(work)
        untouched(work)
        refusals(work)
        weights(work)
    print(f"hf_commands: {passed} checks passed")

# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of regression/unit/model_golden_test.c with PyTorch.

    python make_goldens.py [DIRECTORY [CASE...]]

needs torch, transformers, numpy and h5py; zinf itself needs none of them. The transformer below is
written from the papers with PyTorch's own operators and shares nothing with zinf but the names of
tensors; it is gpt2 and llama. Other families, and scaled rotary positions, are the models of
transformers, with the configuration that hugging_face() makes of the case.

A file golden_<case>.h5 holds, for one small model of odd sizes:

    attributes             the model's settings, those of the training, and how tolerances come about
    /inputs, /targets      int32 [2 batches, B, T]; a negative target is not counted
    /next                  the targets without exceptions, as a data set gives them
    /parameter/<tensor>    initial values, exactly representable in bf16
    /logits, /loss, /gradient/<tensor>
                           of batch 0; the loss is the mean over counted targets
    /training/<precision>/loss, norm
                           ten steps of AdamW on batches 0, 1, 0, 1, ...: the loss before each
                           update, and the gradient norm before clipping
    /engine/<precision>/loss, norm
                           the same on /next, for a run of zinf's engine, which counts every token

All values come from a float64 run. For bf16 that run too is float64, from parameters rounded to
bf16, because that is what a computation in bf16 approximates; in training, the master stays wide
and its rounding is what the model computes with.

How far a correct program in fp32 or bf16 may be from this is asked of PyTorch itself: attributes
deviation_fp32 and deviation_bf16 of a dataset are the largest difference of an element between
PyTorch's run in that type and the float64 run. Two programs round in different places, so the
largest of a few dozen differences can be small by luck: it is raised to the median, over all
tensors, of the deviation relative to the tensor's largest element. A test multiplies it by the
attribute `factor`.
"""
import contextlib
import functools
import os
import sys

import h5py
import numpy
import torch
import torch.nn.functional as F

SEQUENCES, TOKENS, STEPS = 3, 37, 10
TRAINING = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8,
            "weight_decay": 0.1, "clip": 1.0}
FACTOR = 4.0
REASON = ("a tolerance is factor * deviation: deviation is how far PyTorch's own run in fp32 or bf16 is from "
          "float64; another program rounds as often but adds in another order, and the largest of "
          "thousands of such differences varies by a small factor from draw to draw")
COMMON = {"context": 41, "vocabulary": 131, "norm_epsilon": 1e-5, "rope_base": 10000.0}
PLAIN = ("gpt2", "llama")
CASES = {
    "gpt2": {"family": "gpt2", "layers": 2, "hidden": 30, "heads": 3, "key_heads": 3,
             "inner": 120, "tied": 1},
    "gpt2_untied": {"family": "gpt2", "layers": 3, "hidden": 21, "heads": 3, "key_heads": 1,
                    "inner": 33, "tied": 0},
    "llama": {"family": "llama", "layers": 2, "hidden": 36, "heads": 6, "key_heads": 2,
              "inner": 51, "tied": 0},
    "llama_tied": {"family": "llama", "layers": 3, "hidden": 20, "heads": 2, "key_heads": 2,
                   "inner": 27, "tied": 1},
    "llama_3": {"family": "llama", "layers": 2, "hidden": 32, "heads": 4, "key_heads": 2,
                "inner": 29, "tied": 0, "head_width": 16, "rope_base": 100.0,
                "rope_scaling": "llama3", "rope_factor": 8.0, "rope_original": 16,
                "rope_low": 1.0, "rope_high": 4.0},
    "llama_dynamic": {"family": "llama", "layers": 2, "hidden": 20, "heads": 2, "key_heads": 2,
                      "inner": 27, "tied": 1, "rope_scaling": "dynamic", "rope_factor": 2.0,
                      "rope_original": 16},
    "mistral": {"family": "mistral", "layers": 2, "hidden": 24, "heads": 4, "key_heads": 2,
                "inner": 33, "tied": 0, "window": 9},
    "qwen2": {"family": "qwen2", "layers": 3, "hidden": 30, "heads": 3, "key_heads": 1,
              "inner": 26, "tied": 1, "window": 7, "window_from": 1, "rope_base": 1000.0,
              "rope_scaling": "yarn", "rope_factor": 4.0, "rope_original": 16, "rope_fast": 4.0,
              "rope_slow": 1.0},
    "qwen3": {"family": "qwen3", "layers": 2, "hidden": 28, "heads": 4, "key_heads": 2,
              "inner": 31, "tied": 0, "head_width": 10, "window": 11, "window_from": 1},
    "smollm3": {"family": "smollm3", "layers": 3, "hidden": 24, "heads": 4, "key_heads": 1,
                "inner": 25, "tied": 1, "unrotated_every": 2, "rope_scaling": "linear",
                "rope_factor": 4.0},
    "olmo2": {"family": "olmo2", "layers": 2, "hidden": 24, "heads": 4, "key_heads": 2,
              "inner": 29, "tied": 0},
    "gemma2": {"family": "gemma2", "layers": 2, "hidden": 24, "heads": 4, "key_heads": 2,
               "inner": 29, "tied": 1, "head_width": 10, "window": 9, "full_every": 2,
               "score_width": 5, "attention_cap": 2.0, "logit_cap": 3.0},
    "gemma3": {"family": "gemma3", "layers": 3, "hidden": 24, "heads": 4, "key_heads": 1,
               "inner": 29, "tied": 1, "head_width": 10, "window": 9, "full_every": 2,
               "score_width": 20, "rope_base": 1000.0, "rope_window_base": 100.0,
               "rope_scaling": "linear", "rope_factor": 8.0},
}
BEHIND = ("olmo2", "gemma2", "gemma3")


def shapes_of(c):
    """Name to shape, in zinf's order."""
    hidden, inner = c["hidden"], c["inner"]
    width = c.get("head_width", hidden // c["heads"])
    gpt2 = c["family"] == "gpt2"
    shapes = {"embedding.token.weight": (c["vocabulary"], hidden)}
    if gpt2:
        shapes["embedding.position.weight"] = (c["context"], hidden)

    def norm(name):
        shapes[name + ".weight"] = (hidden,)
        if gpt2:
            shapes[name + ".bias"] = (hidden,)

    def linear(name, outputs, inputs, biased=gpt2):
        shapes[name + ".weight"] = (outputs, inputs)
        if biased:
            shapes[name + ".bias"] = (outputs,)

    for block in range(c["layers"]):
        attention, mlp = f"blocks.{block}.attention", f"blocks.{block}.mlp"
        if c["family"] != "olmo2":
            norm(attention + ".norm")
        biased = gpt2 or c["family"] == "qwen2"
        linear(attention + ".query", c["heads"] * width, hidden, biased)
        linear(attention + ".key", c["key_heads"] * width, hidden, biased)
        linear(attention + ".value", c["key_heads"] * width, hidden, biased)
        if c["family"] in ("qwen3", "gemma3"):
            shapes[attention + ".query_norm.weight"] = (width,)
            shapes[attention + ".key_norm.weight"] = (width,)
        if c["family"] == "olmo2":
            shapes[attention + ".query_norm.weight"] = (c["heads"] * width,)
            shapes[attention + ".key_norm.weight"] = (c["key_heads"] * width,)
        linear(attention + ".output", hidden, c["heads"] * width)
        if c["family"] in BEHIND:
            norm(attention + ".post_norm")
        if c["family"] != "olmo2":
            norm(mlp + ".norm")
        if not gpt2:
            linear(mlp + ".gate", inner, hidden)
        linear(mlp + ".up", inner, hidden)
        linear(mlp + ".down", hidden, inner)
        if c["family"] in BEHIND:
            norm(mlp + ".post_norm")
    norm("norm")
    if not c["tied"]:
        shapes["head.weight"] = (c["vocabulary"], hidden)
    return shapes


def initial(c, generator):
    """Values of a size at which every tensor matters: nothing starts at 0 or 1."""
    values = {}
    for name, shape in shapes_of(c).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("norm.weight"):  # those of heads too
            value = (0 if c["family"].startswith("gemma") else 1) + 0.2 * noise
        elif len(shape) == 1:
            value = 0.2 * noise
        elif name.startswith("embedding"):
            value = 0.5 * noise
        else:
            value = noise / shape[1] ** 0.5
        values[name] = value.to(torch.bfloat16).double()
    return values


def rotate(x, base):
    """Rotary positions, half-split: x is [B, heads, T, D]; angles in float64."""
    half, tokens = x.shape[-1] // 2, x.shape[-2]
    frequency = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * frequency
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    cos, sin = angle.cos().to(wide), angle.sin().to(wide)
    a, b = x.to(wide).split(half, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


@contextlib.contextmanager
def everything_wide():
    """transformers narrows to fp32 here and there; in here what it calls so is fp64."""
    kept = torch.float, torch.float32, torch.Tensor.float
    torch.float = torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float, torch.float32, torch.Tensor.float = kept


def hugging_face(c):
    """The configuration of transformers."""
    import transformers
    every = c.get("full_every", c["layers"] + 1)
    kinds = ["sliding_attention" if c.get("window") and block >= c.get("window_from", 0) and (block + 1) % every
             else "full_attention" for block in range(c["layers"])]
    rope = {"rope_type": c.get("rope_scaling", "default"), "rope_theta": c["rope_base"]}
    for ours, theirs in (("rope_factor", "factor"), ("rope_low", "low_freq_factor"),
                         ("rope_original", "original_max_position_embeddings"),
                         ("rope_high", "high_freq_factor"), ("rope_fast", "beta_fast"),
                         ("rope_slow", "beta_slow")):
        if ours in c:
            rope[theirs] = c[ours]
    context = c["context"]
    if c.get("rope_scaling") == "dynamic":  # its original context is the configuration's
        context = rope.pop("original_max_position_embeddings")
    common = dict(
        hidden_size=c["hidden"], intermediate_size=c["inner"], num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"], num_key_value_heads=c["key_heads"],
        vocab_size=c["vocabulary"], max_position_embeddings=context,
        rms_norm_eps=c["norm_epsilon"], tie_word_embeddings=bool(c["tied"]),
        rope_parameters=rope, attn_implementation="eager", pad_token_id=None,
        bos_token_id=None, eos_token_id=None)
    if "head_width" in c:
        common["head_dim"] = c["head_width"]
    if c["family"] == "llama":
        return transformers.LlamaConfig(**common)
    if c["family"] == "olmo2":
        return transformers.Olmo2Config(**common)
    if c["family"] == "mistral":
        return transformers.MistralConfig(**common, sliding_window=c["window"])
    if c["family"].startswith("gemma"):
        common.update(sliding_window=c["window"], layer_types=kinds, query_pre_attn_scalar=c["score_width"],
                      final_logit_softcapping=c.get("logit_cap"), attn_logit_softcapping=c.get("attention_cap"))
        if c["family"] == "gemma2":
            return transformers.Gemma2Config(**common)
        common["rope_parameters"] = {"full_attention": rope, "sliding_attention": {
            "rope_type": "default", "rope_theta": c["rope_window_base"]}}
        return transformers.Gemma3TextConfig(**common)
    common.update(use_sliding_window="window" in c, sliding_window=c.get("window"),
                  layer_types=kinds)
    if c["family"] == "qwen2":
        return transformers.Qwen2Config(**common)
    if c["family"] == "qwen3":
        return transformers.Qwen3Config(**common)
    rotates = [int((block + 1) % c["unrotated_every"] != 0) for block in range(c["layers"])]
    return transformers.SmolLM3Config(**common, no_rope_layers=rotates)


NAMES = (("embedding.token", "model.embed_tokens"), ("blocks", "model.layers"),
         ("attention.norm", "input_layernorm"), ("attention.query_norm", "self_attn.q_norm"),
         ("attention.key_norm", "self_attn.k_norm"), ("attention.query", "self_attn.q_proj"),
         ("attention.key", "self_attn.k_proj"), ("attention.value", "self_attn.v_proj"),
         ("attention.output", "self_attn.o_proj"),
         ("attention.post_norm", "post_attention_layernorm"),
         ("mlp.post_norm", "post_feedforward_layernorm"), ("mlp.norm", "post_attention_layernorm"),
         ("mlp.gate", "mlp.gate_proj"), ("mlp.up", "mlp.up_proj"), ("mlp.down", "mlp.down_proj"),
         ("head.", "lm_head."))


def foreign(name, family):
    """What transformers calls a tensor."""
    if family.startswith("gemma"):
        name = name.replace("mlp.norm", "pre_feedforward_layernorm")
    if name == "norm.weight":
        return "model.norm.weight"
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return name


@functools.lru_cache(None)
def foreign_model(case, wide):
    """A model of transformers, whose parameters are never used."""
    import transformers
    with everything_wide() if wide else contextlib.nullcontext():
        return transformers.AutoModelForCausalLM.from_config(hugging_face(dict(case)))


def foreign_forward(c, p, inputs):
    wide = p["norm.weight"].dtype == torch.float64
    model = foreign_model(tuple(sorted(c.items())), wide)
    names = {foreign(name, c["family"]): value for name, value in p.items()}
    if c["tied"]:
        names["lm_head.weight"] = names["model.embed_tokens.weight"]
    missing = {name for name, _ in model.named_parameters()} - set(names)
    if missing or set(names) - set(model.state_dict()):
        raise ValueError(f"tensors differ: {missing}, {set(names) - set(model.state_dict())}")
    with everything_wide() if wide else contextlib.nullcontext():
        return torch.func.functional_call(model, names, (), {"input_ids": inputs.long(),
                                                             "use_cache": False}).logits


def forward(c, p, inputs):
    """Logits [B, T, V] in the type of the parameters."""
    if c["family"] not in PLAIN or "rope_scaling" in c or "head_width" in c:
        return foreign_forward(c, p, inputs)
    gpt2, heads, groups = c["family"] == "gpt2", c["heads"], c["key_heads"]
    hidden = c["hidden"]
    batch, tokens = inputs.shape

    def norm(x, name):
        if gpt2:
            return F.layer_norm(x, (hidden,), p[name + ".weight"], p[name + ".bias"],
                                c["norm_epsilon"])
        return F.rms_norm(x, (hidden,), p[name + ".weight"], c["norm_epsilon"])

    def linear(x, name):
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def split(x, count):
        return x.view(batch, tokens, count, hidden // heads).transpose(1, 2)

    x = p["embedding.token.weight"][inputs]
    if gpt2:
        x = x + p["embedding.position.weight"][:tokens]
    for block in range(c["layers"]):
        name = f"blocks.{block}.attention"
        y = norm(x, name + ".norm")
        q = split(linear(y, name + ".query"), heads)
        k = split(linear(y, name + ".key"), groups)
        v = split(linear(y, name + ".value"), groups)
        if not gpt2:
            q, k = rotate(q, c["rope_base"]), rotate(k, c["rope_base"])
        k, v = (t.repeat_interleave(heads // groups, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).reshape(batch, tokens, hidden)
        x = x + linear(y, name + ".output")
        name = f"blocks.{block}.mlp"
        y = norm(x, name + ".norm")
        if gpt2:
            y = F.gelu(linear(y, name + ".up"), approximate="tanh")
        else:
            y = F.silu(linear(y, name + ".gate")) * linear(y, name + ".up")
        x = x + linear(y, name + ".down")
    head = "embedding.token.weight" if c["tied"] else "head.weight"
    return F.linear(norm(x, "norm"), p[head])


def loss_of(logits, targets):
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten().long(), ignore_index=-1)


def differentiate(c, values, dtype, inputs, targets):
    """Logits, loss and gradients, all as float64, of a run in dtype."""
    p = {name: value.detach().to(dtype).requires_grad_() for name, value in values.items()}
    logits = forward(c, p, inputs)
    loss = loss_of(logits, targets)
    loss.backward()
    return (logits.detach().double(), loss.detach().double(),
            {name: value.grad.double() for name, value in p.items()})


def decays(name, value):
    return value.dim() == 2 and not name.startswith("embedding")


def train(c, values, batches, compute, wide, rounded):
    """Ten steps: the model computes in `compute`, master and optimizer are `wide`; `rounded` says
    that the model sees the master rounded to bf16. Gives losses and norms."""
    master = {name: value.to(wide).clone().requires_grad_() for name, value in values.items()}
    groups = [
        {"params": [v for n, v in master.items() if decays(n, v)],
         "weight_decay": TRAINING["weight_decay"]},
        {"params": [v for n, v in master.items() if not decays(n, v)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=TRAINING["learning_rate"], eps=TRAINING["epsilon"],
                                  betas=(TRAINING["beta1"], TRAINING["beta2"]))
    losses, norms = [], []
    for step in range(STEPS):
        seen = {name: value.detach().to(torch.bfloat16) if rounded else value.detach()
                for name, value in master.items()}
        _, loss, gradients = differentiate(c, seen, compute, *batches[step % 2])
        for name, value in master.items():
            value.grad = gradients[name].to(wide)
        norms.append(float(torch.nn.utils.clip_grad_norm_(master.values(), TRAINING["clip"])))
        losses.append(float(loss))
        optimizer.step()
    return numpy.array(losses), numpy.array(norms)


def largest(x):
    return float(abs(x).max())


def deviations(reference, other):
    """Name to deviation, as the text above defines it."""
    raw = {name: largest(other[name] - reference[name]) for name in reference}
    share = numpy.median([raw[name] / largest(reference[name]) for name in reference
                          if not name.endswith("key.bias")])  # their gradient is 0 up to rounding
    return {name: max(raw[name], share * largest(reference[name])) for name in reference}


def write(file, name, value, deviation_fp32=None, deviation_bf16=None):
    value = numpy.asarray(value)
    if value.dtype == numpy.float64:
        value = value.astype(numpy.float32)
    options = {"compression": "gzip", "compression_opts": 9, "shuffle": True,
               "chunks": value.shape} if value.size > 1000 else {}
    dataset = file.create_dataset(name, data=value, **options)
    if deviation_fp32 is not None:
        dataset.attrs["deviation_fp32"] = deviation_fp32
        dataset.attrs["deviation_bf16"] = deviation_bf16


def write_training(file, group, c, values, batches):
    for name, compute, rounded in (("fp32", torch.float32, False), ("bf16", torch.bfloat16, True)):
        reference = train(c, values, batches, torch.float64, torch.float64, rounded)
        own = train(c, values, batches, compute, torch.float32, rounded)
        for what, wanted, found in zip(("loss", "norm"), reference, own):
            dataset = file.create_dataset(f"{group}/{name}/{what}", data=wanted)
            dataset.attrs["deviation"] = largest(found - wanted)
        print(f"  {group} {name} losses {reference[0][0]:.4f} to {reference[0][-1]:.4f}, off by "
              f"{largest(own[0] - reference[0]):.2g}; norms {reference[1].min():.3f} to "
              f"{reference[1].max():.3f}")


def make(directory, case, c):
    generator = torch.Generator().manual_seed(sum(case.encode()))
    values = initial(c, generator)
    tokens = torch.randint(0, c["vocabulary"], (2, SEQUENCES, TOKENS + 1), generator=generator)
    inputs, following = tokens[:, :, :-1].int(), tokens[:, :, 1:].int()
    targets = following.clone()
    targets[:, 1, 5:9] = -1
    targets[:, 2, -1] = -1
    batches = list(zip(inputs, targets))
    runs = {dtype: differentiate(c, values, dtype, *batches[0])
            for dtype in (torch.float64, torch.float32, torch.bfloat16)}
    logits, loss, gradients = runs[torch.float64]
    path = os.path.join(directory, f"golden_{case}.h5")
    with h5py.File(path + ".new", "w", libver=("v110", "v110")) as file:
        for key, value in {**c, **TRAINING, "factor": FACTOR, "tolerance": REASON}.items():
            file.attrs[key] = value
        write(file, "inputs", inputs)
        write(file, "targets", targets)
        write(file, "next", following)
        for name, value in values.items():
            write(file, "parameter/" + name, value)
        both = [runs[t] for t in (torch.float32, torch.bfloat16)]
        write(file, "logits", logits, *(largest(run[0] - logits) for run in both))
        # the loss is one number: its deviation is raised to that of a mean of the logits' errors
        count = int((targets[0] >= 0).sum())
        write(file, "loss", loss, *(max(abs(float(run[1] - loss)),
                                        largest(run[0] - logits) / count ** 0.5) for run in both))
        each = [deviations(gradients, run[2]) for run in both]
        for name, value in gradients.items():
            write(file, "gradient/" + name, value, *(d[name] for d in each))
        write_training(file, "training", c, values, batches)
        write_training(file, "engine", c, values, list(zip(inputs, following)))
    os.replace(path + ".new", path)
    print(f"{path}: {os.path.getsize(path)} bytes, loss {float(loss):.6f}, "
          f"parameters {sum(v.numel() for v in values.values())}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    wanted = sys.argv[2:] or list(CASES)
    print(f"torch {torch.__version__}")
    for case in wanted:
        make(where, case, {**COMMON, **CASES[case]})

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of gpu.py: a plain PyTorch loop of the same GPT-2 on one GPU, as a careful user writes it: bf16 autocast
over fp32 parameters, flash attention (scaled_dot_product_attention), torch.compile, fused AdamW, clipping.

    torch_gpu.py LAYERS HIDDEN HEADS VOCABULARY TOKENS MICRO MICRO_BATCHES STEPS [--device cpu]

Prints one line with "<seconds> s/step", the median of all steps but the first two.
"""
import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        batch, tokens, hidden = x.shape
        q, k, v = self.qkv(self.first(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, hidden))
        return x + self.down(functional.gelu(self.up(self.second(x)), approximate="tanh"))


class Model(nn.Module):
    """GPT-2 with learned positions; the head is the token table."""

    def __init__(self, options):
        super().__init__()
        self.tokens = nn.Embedding(options.vocabulary, options.hidden)
        self.positions = nn.Embedding(options.tokens, options.hidden)
        self.blocks = nn.ModuleList(Block(options.hidden, options.heads) for _ in range(options.layers))
        self.last = nn.LayerNorm(options.hidden)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, inputs, targets):
        x = self.tokens(inputs) + self.positions.weight[:inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.last(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("layers", "hidden", "heads", "vocabulary", "tokens", "micro", "micro_batches", "steps"):
        parser.add_argument(name, type=int)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def train_step(options, model, compiled, optimizer):
    for _ in range(options.micro_batches):
        text = torch.randint(0, options.vocabulary, (options.micro, options.tokens + 1), device=options.device)
        with torch.autocast(options.device, torch.bfloat16):
            loss = compiled(text[:, :-1], text[:, 1:]) / options.micro_batches
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()  # waits for the device


def main():
    options = arguments()
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Model(options).to(options.device)
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    seconds = []
    for step in range(options.steps + 2):
        start = time.perf_counter()
        train_step(options, model, compiled, optimizer)
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    tokens = options.micro * options.tokens * options.micro_batches
    median = statistics.median(seconds)
    memory = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else 0
    print(f"torch {torch.__version__}, compiled, bf16 autocast: {median:.4f} s/step, {tokens / median:.0f} tokens/s, "
          f"{memory:.1f} GiB")


if __name__ == "__main__":
    main()

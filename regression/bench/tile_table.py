#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The largest hidden size of one transformer layer that a fixed device budget holds, at several tile counts: the shape
of figure 6b of the ZeRO-Infinity paper. Nothing is trained: `zinf program` compiles each deck and says whether it fits
(the disk must have room all the same).

    regression/bench/tile_table.py --zinf build/zinf --budget "1 GiB" [--tiles 1 --tiles 4] [--plot tiles.svg]

Heads have --head numbers each, so that the hidden size moves in steps of that; attention and MLP are cut into the same
number of tiles. The vocabulary is small, so that the layer is what takes the memory.
"""
import argparse
import subprocess
import sys

import measure

DOES_NOT_FIT = 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder on a disk with room for the states of the widest layer")
    parser.add_argument("--budget", default="1 GiB", help="memory.device")
    parser.add_argument("--host-memory", default="64 GiB", help="memory.host: not what is measured")
    parser.add_argument("--tiles", action="append", type=int)
    parser.add_argument("--family", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--micro", type=int, default=1)
    parser.add_argument("--head", type=int, default=128, help="width of a head")
    parser.add_argument("--tier", default="nvme", choices=["nvme", "host"], help="where states are")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--plot", help="file for a picture (PNG, SVG, PDF)")
    return parser.parse_args()


def make_deck(options, place, heads, tiles):
    model = {"family": options.family, "layers": 1, "hidden": heads * options.head, "heads": heads,
             "context": options.tokens, "vocabulary": 256}
    return place.deck(model, measure.batch_section(options.micro, options.tokens, 1), 3,
                      zero={"stage": 3, "prefetch": 0},
                      placement={state: options.tier for state in measure.STATES},
                      activations={"recompute": "always"},
                      memory={"device": options.budget, "host": options.host_memory},
                      tiling={"attention": tiles, "mlp": tiles, "vocabulary": 1})


def fits(options, place, heads, tiles):
    command = [options.zinf, "program", place.write_deck(make_deck(options, place, heads, tiles))]
    for value in options.set:
        command += ["--set", value]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, DOES_NOT_FIT):
        sys.exit(f"zinf program ends with exit code {done.returncode}:\n{done.stderr}")
    if done.returncode == DOES_NOT_FIT and "memory.device is" not in done.stderr:
        sys.exit(f"not the device is the limit; name a larger disk by --scratch, or more --host-memory:\n{done.stderr}")
    return done.returncode == 0


def largest_heads(options, place, tiles):
    """The most heads that fit, 0 where not even the fewest do; there is a head for each tile at least."""
    if not fits(options, place, tiles, tiles):
        return 0
    low, high = tiles, 2 * tiles
    while fits(options, place, high, tiles):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if fits(options, place, middle, tiles):
            low = middle
        else:
            high = middle
    return low


def plot(path, tiles, sizes, options):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(5, 3.2))
    axes.bar([str(count) for count in tiles], sizes, color="tab:blue")
    for index, size in enumerate(sizes):
        axes.text(index, size, str(size), ha="center", va="bottom")
    axes.set_xlabel("tiles of attention and of the MLP")
    axes.set_ylabel("largest hidden size")
    axes.set_title(f"one {options.family} layer, {options.budget} of device memory")
    figure.tight_layout()
    figure.savefig(path)


def main():
    options = arguments()
    tiles = options.tiles or [1, 2, 4, 16]
    rows, sizes = [], []
    with measure.Workplace(options.scratch) as place:
        for count in tiles:
            heads = largest_heads(options, place, count)
            sizes.append(heads * options.head)
            model = make_deck(options, place, max(heads, 1), count)["model"]
            rows.append([count, sizes[-1], f"{measure.model_parameters(model) / 1e9:.3f}" if heads else "-",
                         f"{sizes[-1] / sizes[0]:.2f}" if sizes[0] else "-"])
    print(f"one {options.family} layer, {options.micro} x {options.tokens} tokens, {options.budget} of device memory, "
          f"states on {options.tier}, bf16\n")
    print(measure.table(["tiles", "largest hidden size", "parameters (10^9)", "against the first"], rows))
    if options.plot:
        plot(options.plot, tiles, sizes, options)


if __name__ == "__main__":
    main()

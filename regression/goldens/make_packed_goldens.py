#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes golden_packed.h: weights, and what is left of them in 8 bits and in NF4, by numpy alone.

    regression/goldens/make_packed_goldens.py >regression/goldens/golden_packed.h

The 16 numbers of NF4 are those of its paper (Dettmers et al. 2023, "QLoRA", appendix E), here held to its
words (section 3: quantiles of a normal distribution, 8 of one half and 9 of the other, with 0 in both);
8 bits are 127 equal steps on either side. Made with numpy 2.4.6 and scipy 1.17.1."""
import numpy
from scipy.stats import norm

BLOCK, BLOCKS = 64, 4
PUBLISHED = numpy.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])


def nf4():
    # where the paper's quantiles begin and end, as the package bitsandbytes has it
    offset = 0.9677083
    positive = norm.ppf(numpy.linspace(offset, 0.5, 9)[:-1])
    negative = -norm.ppf(numpy.linspace(offset, 0.5, 8)[:-1])
    numbers = numpy.sort(numpy.concatenate([positive, [0.0], negative]))
    assert abs(numbers / numbers.max() - PUBLISHED).max() < 1e-6
    return PUBLISHED.astype(numpy.float32)


def to_bf16(x):
    bits = x.astype(numpy.float32).view(numpy.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & numpy.uint32(0xFFFF0000)
    return bits.view(numpy.float32)


def weights():
    generator = numpy.random.default_rng(8)
    x = generator.standard_normal(BLOCK * BLOCKS).astype(numpy.float32)
    x[BLOCK : 2 * BLOCK] *= numpy.float32(0.02)
    x[2 * BLOCK : 3 * BLOCK] = numpy.arange(-32, 32) / numpy.float32(254)  # middles of 8 bits
    x[3 * BLOCK :] = 0
    return to_bf16(x)


def packed(x, share):
    scale = numpy.abs(x.reshape(-1, BLOCK)).max(1, keepdims=True)
    with numpy.errstate(invalid="ignore"):
        shares = numpy.where(scale > 0, x.reshape(-1, BLOCK) / scale, numpy.float32(0))
    return (share(shares.astype(numpy.float32)) * scale).astype(numpy.float32).ravel()


def share8(shares):
    unit = numpy.float32(1) / numpy.float32(127)
    return numpy.rint(shares * numpy.float32(127)).astype(numpy.float32) * unit


def share4(shares):
    numbers = nf4()
    off = numpy.abs(shares[..., None].astype(numpy.float64) - numbers.astype(numpy.float64))
    return numbers[off.argmin(-1)]


def write(name, values):
    print(f"static const uint32_t {name}[GOLDEN_PACKED_WEIGHTS] = {{")
    bits = values.view(numpy.uint32)
    for first in range(0, len(bits), 8):
        print("    " + " ".join(f"0x{b:08x}," for b in bits[first : first + 8]))
    print("};")


def main():
    x = weights()
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by make_packed_goldens.py: bits of fp32 numbers. */")
    print("#ifndef ZI_REGRESSION_GOLDEN_PACKED_H\n#define ZI_REGRESSION_GOLDEN_PACKED_H\n\n#include <stdint.h>\n")
    print("/* clang-format off */")
    print(f"enum {{ GOLDEN_PACKED_WEIGHTS = {BLOCK * BLOCKS} }};")
    write("golden_weights", x)
    write("golden_weights8", packed(x, share8))
    write("golden_weights4", packed(x, share4))
    print("/* clang-format on */\n\n#endif")


main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a kept NVMe store of one rank, in bf16 or fp16, with the checkpoint of the same step.

    app_nvme_reader.py STORE CHECKPOINT

The store holds units: tensors joined, in an order of its own, with padding between. So the values are compared as
sets with multiplicities, zeros left out: every master, put together from parameter and remainder, and every moment
must be there, bit for bit.
"""
import sys

import h5py
import numpy


def values(file, kind):
    """All values of a state kind as sorted bit patterns, without zeros."""
    found = []
    file[kind].visititems(lambda name, item: found.append(item[()].ravel()) if isinstance(item, h5py.Dataset) else None)
    bits = numpy.concatenate(found).view(numpy.uint32)
    return numpy.sort(bits[(bits & 0x7FFFFFFF) != 0])


def fp32_of_fp16(bits):
    """fp32 bits of masters that have 5 bits of exponent, in excess of 15, and 26 of mantissa."""
    sign, code = bits & 0x80000000, bits & 0x7FFFFFFF
    exponent, mantissa = (code >> 26).astype(numpy.int64), (code & 0x3FFFFFF).astype(numpy.float64)
    size = numpy.where(exponent > 0, numpy.ldexp(2.0**26 + mantissa, exponent - 15 - 26), numpy.ldexp(mantissa, -40))
    return size.astype(numpy.float32).view(numpy.uint32) | sign


def masters(file):
    """As `values`, of parameters and remainders put together: upper half, plus a signed remainder."""
    parts = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            upper = item[()].astype(numpy.int64) << 16
            bits = (upper + file["remainder/" + name][()].astype(numpy.int64)).astype(numpy.uint32)
            dtype = item.attrs["dtype"]
            dtype = dtype.decode() if isinstance(dtype, bytes) else dtype
            parts.append(fp32_of_fp16(bits) if dtype == "fp16" else bits)

    file["parameter"].visititems(visit)
    bits = numpy.concatenate(parts)
    return numpy.sort(bits[(bits & 0x7FFFFFFF) != 0])


def main():
    with h5py.File(sys.argv[1], "r") as store, h5py.File(sys.argv[2], "r") as checkpoint:
        count = sum(item.size for item in checkpoint["master"].values())
        for kind in ("master", "moment1", "moment2"):
            stored = masters(store) if kind == "master" else values(store, kind)
            wanted = values(checkpoint, kind)
            if len(wanted) < count // 2:
                sys.exit(f"{kind}: only {len(wanted)} of {count} values of the checkpoint are not zero")
            if not numpy.array_equal(stored, wanted):
                sys.exit(f"{kind}: the store has other values than the checkpoint")
    print(f"masters of {count} parameters and their moments are those of the checkpoint")


main()

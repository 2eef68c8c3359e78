# SPDX-License-Identifier: Apache-2.0
"""Opens with h5py what the tests of the checkpoint room have written.

    checkpoint_reader.py checkpoint FILE       the checkpoint of checkpoint_write_test --leave or --leave-fp16
    checkpoint_reader.py record FILE ROWS      the record of checkpoint_record_test --hold

Values are computed here from their formula, not read from elsewhere.
"""
import sys

import h5py
import numpy as np

SHAPES = {
    "embedding.token.weight": (257, 31),
    "blocks.0.attention.query.weight": (31, 31),
    "blocks.0.attention.query.bias": (31,),
    "blocks.0.mlp.up.weight": (301, 1003),
    "norm.weight": (1,),
    "head.weight": (3, 5000),
}
STATES = ["parameter", "master", "moment1", "moment2"]


def values(state, tensor, count, version=1):
    """The numbers of value_at in checkpoint_fixture.h."""
    mask = np.uint64(0xFFFFFFFF)
    start = ((tensor * 4 + state) * 0x9E3779B9 + version * 0x85EBCA6B) & 0xFFFFFFFF
    x = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(start)) & mask
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(0x2C1B3C6D)) & mask
    x ^= x >> np.uint64(12)
    return (x.astype(np.float64) / 4294967296.0 - 0.5).astype(np.float32)


def bf16(value):
    """Rounded to 16 bits, half away from zero, as fp32."""
    return ((value.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)


def parameter(value, compute):
    """A parameter as h5py gives it, and its bits. The few ties of fp16 are rounded away from zero, too."""
    if compute == "bf16":
        return bf16(value), bf16(value).view(np.uint32) >> 16
    half = value.astype(np.float16)
    short = np.abs(value.astype(np.float64)) - np.abs(half.astype(np.float64))
    bits = half.view(np.uint16)
    above = (bits + np.uint16(1)).view(np.float16).astype(np.float64)
    tie = (short > 0) & (2 * short == np.abs(above) - np.abs(half.astype(np.float64)))
    bits = bits + tie.astype(np.uint16)
    return bits.view(np.float16), bits


def stream(name):
    """FNV-1a, 64 bit."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    return seed


def checksum(bits, seed):
    """Sum of bits * weight modulo 2^64."""
    index = np.arange(bits.size, dtype=np.uint64) + np.uint64(seed)
    weight = ((index * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)) | np.uint64(1)
    return int(np.sum(bits.astype(np.uint64) * weight, dtype=np.uint64))


def check_checkpoint(path):
    """Names, shapes, types, values, checksums and attributes."""
    with h5py.File(path, "r") as file:
        assert sorted(file) == sorted(STATES), list(file)
        assert file.attrs["format"] == "zinf-checkpoint-3"
        assert file.attrs["step"] == 100 and file.attrs["tokens"] == 2**39
        assert file.attrs["deck"].startswith("run: {name: test}\n")
        compute = file.attrs["type"]
        assert compute in ("bf16", "fp16"), compute
        if compute == "fp16":
            assert file.attrs["loss_scale"] == 2048 and file.attrs["loss_scale_steps"] == 16
        for state, kind in enumerate(STATES):
            assert sorted(file[kind]) == sorted(SHAPES), list(file[kind])
            for tensor, (name, shape) in enumerate(SHAPES.items()):
                dataset = file[kind][name]
                kept = np.float16 if state == 0 and compute == "fp16" else np.float32
                assert dataset.shape == shape and dataset.dtype == kept, dataset
                assert dataset.chunks is None, "not contiguous"
                assert dataset.id.get_type().get_size() == (2 if state == 0 else 4)
                expected = values(state, tensor, int(np.prod(shape)))
                bits = expected.view(np.uint32)
                if state == 0:
                    expected, bits = parameter(expected, compute)
                found = dataset[...].reshape(-1)
                assert found.tobytes() == expected.tobytes(), dataset
                seed = stream(f"{kind}/{name}")
                assert int(dataset.attrs["checksum"]) == checksum(bits, seed), dataset


def check_record(path, rows):
    """All rows, columns and units."""
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == "zinf-record-1" and "started" in file.attrs
        steps = file["steps"]
        row = np.arange(rows)
        assert np.array_equal(steps["step"][...], row)
        assert np.array_equal(steps["loss"][...], 10.0 / (row + 1))
        assert np.array_equal(steps["checksum"][...], 0x7123456789ABCDEF - row)
        assert steps["loss"].attrs["unit"] == "nats per token"
        assert np.array_equal(file["timings"]["forward"][...], 0.25 * row[::2])


if __name__ == "__main__":
    if sys.argv[1] == "checkpoint":
        check_checkpoint(sys.argv[2])
    else:
        check_record(sys.argv[2], int(sys.argv[3]))

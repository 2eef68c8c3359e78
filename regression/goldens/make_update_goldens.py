# SPDX-License-Identifier: Apache-2.0
"""Makes golden_updates.h5, of regression/unit/optimizer_golden_test.c, with PyTorch.

    python make_update_goldens.py [DIRECTORY]

needs torch, numpy and h5py. Ten updates of a vector by each optimizer: SGD and AdamW are torch.optim.SGD and
torch.optim.AdamW; Lion, which PyTorch does not have, is Algorithm 2 of Chen et al. 2023 (arXiv 2302.06675), written
below. Gradients are given and not computed, so nothing but the update is compared. The file holds

    attributes           factor: of tolerances; torch: its version
    /weight              [ELEMENTS] before the first update
    /gradient            [STEPS, ELEMENTS], exactly representable in bf16; those of the first three elements are 0, so
                         that they have no direction
    /learning_rate       [STEPS], another one at each step
    /<case>              attributes: type, beta1, beta2, epsilon, weight_decay, clip
    /<case>/weight       [STEPS, ELEMENTS] after each update
    /<case>/moment1, moment2
                         [ELEMENTS] after the last one, as far as the optimizer has them

All is float64, but betas are those of CASES rounded to float32, which is what zinf works with (src/optimizer/update.c).
`deviation` of a dataset is how far the same run of PyTorch in float32 is from it, at least half a unit
in the last place of its largest element: a program that rounds as often, in another order, is within `factor` of that.
"""
import os
import sys

import h5py
import numpy
import torch

ELEMENTS, STEPS, FACTOR = 131, 10, 4.0
CASES = {
    "sgd": {"type": "sgd", "beta1": 0.9, "weight_decay": 0.1},
    "sgd_clipped": {"type": "sgd", "beta1": 0.5, "weight_decay": 0.02, "clip": 3.0},
    "sgd_plain": {"type": "sgd", "beta1": 0.0, "weight_decay": 0.1},
    "lion": {"type": "lion", "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1},
    "lion_clipped": {"type": "lion", "beta1": 0.95, "beta2": 0.98, "weight_decay": 1.0, "clip": 3.0},
    "adamw": {"type": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip": 3.0},
}
DEFAULTS = {"beta2": 0.0, "epsilon": 1e-8, "clip": 0.0}
# In Lion's direction no element but those without a gradient may be so near to 0 that rounding decides its sign.
LEAST = 1e-6


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of the paper, line by line."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self.least = float("inf")

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for theta in group["params"]:
                state = self.state[theta]
                m = state.setdefault("exp_avg", torch.zeros_like(theta))
                c = beta1 * m + (1 - beta1) * theta.grad
                self.least = min(self.least, c[3:].abs().min().item())
                theta -= group["lr"] * (c.sign() + group["weight_decay"] * theta)
                state["exp_avg"] = beta2 * m + (1 - beta2) * theta.grad


def optimizer(c, weight, rate):
    """That of a case."""
    if c["type"] == "sgd":
        return torch.optim.SGD([weight], lr=rate, momentum=c["beta1"], weight_decay=c["weight_decay"])
    betas = (c["beta1"], c["beta2"])
    if c["type"] == "lion":
        return Lion([weight], rate, betas, c["weight_decay"])
    return torch.optim.AdamW([weight], lr=rate, betas=betas, eps=c["epsilon"], weight_decay=c["weight_decay"])


def run(c, data, dtype):
    """The arrays of a case, from a run in dtype, as float64."""
    weight = torch.nn.Parameter(data["weight"].to(dtype).clone())
    update = optimizer(c, weight, 1.0)
    weights = []
    for gradient, rate in zip(data["gradient"], data["learning_rate"]):
        norm = gradient.norm().item()
        scale = c["clip"] / norm if 0 < c["clip"] < norm else 1.0
        weight.grad = (gradient.to(dtype) * scale).to(dtype)
        update.param_groups[0]["lr"] = rate.item()
        update.step()
        weights.append(weight.detach().double().clone())
    arrays = {"weight": torch.stack(weights)}
    state = update.state[weight]
    names = {"moment1": "momentum_buffer" if c["type"] == "sgd" else "exp_avg", "moment2": "exp_avg_sq"}
    for ours, theirs in names.items():
        if state.get(theirs) is not None:
            arrays[ours] = state[theirs].double()
    if c["type"] == "lion" and update.least < LEAST:
        raise ValueError(f"a direction of {update.least}: take another seed")
    return arrays


def make_data():
    """What is given."""
    generator = torch.Generator().manual_seed(26)
    normal = torch.randn(STEPS + 1, ELEMENTS, generator=generator, dtype=torch.float64)
    gradient = (0.3 * normal[0] + normal[1:]).to(torch.bfloat16).double()
    gradient[:, :3] = 0
    rate = 0.01 * (1 + torch.arange(STEPS, dtype=torch.float64)) / STEPS
    return {"weight": (0.5 * normal[0]).float().double(), "gradient": gradient, "learning_rate": rate}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    data = make_data()
    with h5py.File(os.path.join(folder, "golden_updates.h5"), "w", track_order=False) as file:
        file.attrs["factor"], file.attrs["torch"] = FACTOR, str(torch.__version__)
        for name, values in data.items():
            file.create_dataset(name, data=values.numpy(), track_times=False)
        for case, changes in CASES.items():
            c = {**DEFAULTS, **changes}
            c["beta1"], c["beta2"] = float(numpy.float32(c["beta1"])), float(numpy.float32(c["beta2"]))
            group = file.create_group(case)
            for key, value in c.items():
                group.attrs[key] = value
            narrow = run(c, data, torch.float32)
            for name, values in run(c, data, torch.float64).items():
                last_place = numpy.spacing(numpy.float32(values.abs().max().item()))
                dataset = group.create_dataset(name, data=values.numpy(), track_times=False)
                deviation = max((narrow[name] - values).abs().max().item(), float(last_place) / 2)
                dataset.attrs["deviation"] = deviation
                print(f"{case}/{name}: deviation {deviation:.3g} of {values.abs().max():.3g}")


if __name__ == "__main__":
    main()

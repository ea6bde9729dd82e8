# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the systems cost: parameters, operations per shower, memory, time per epoch; the table docs/systems.md."""

from __future__ import annotations

import dataclasses
import itertools
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddcalogen.errors import InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.checkpoint import build_system
from ddcalogen.training.config import RunConfig, load_config
from ddcalogen.training.data import Showers
from ddcalogen.training.sampler import draw_noise
from ddcalogen.training.stream import ShowerStream
from ddcalogen.training.system import Optimiser, System, find_system
from ddcalogen.training.threads import one_thread

__all__ = ["Cost", "measure_cost", "write_table"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one system.

    parameters, sampler_parameters: of everything that is trained, of the exported network. flops: of one 50 GeV shower
    (or the nearest energy of the domain), matrix products and convolutions, a multiplication and an addition counted
    as two. memory_mb: peak of the process while it trains. epoch_seconds: first stage, on `showers` training showers.
    """

    system: str
    title: str
    parameters: int
    sampler_parameters: int
    flops: float
    memory_mb: float
    epoch_seconds: float | None
    showers: int


class _BareStep:
    """A training step without a loop around it."""

    def __init__(self, stage: str, optimisers: dict[str, Optimiser], training: ShowerStream) -> None:
        self.stage, self.index, self.rng = stage, 0, np.random.default_rng(0)
        self.device = torch.device("cpu")
        self._optimisers, self._training = optimisers, training

    def minimise(self, optimiser: str, loss: Tensor) -> None:
        chosen = self._optimisers[optimiser].optimiser
        chosen.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()

    def forget(self, optimiser: str) -> None:
        self._optimisers[optimiser].optimiser.state.clear()

    def training_showers(self) -> Showers:
        return self._training.all()

    def report(self, text: str) -> None:
        del text


def _operations(system: System[Any]) -> float:
    sampler, domain = system.sampler().eval(), system.domain
    energy = float(np.clip(50.0, *domain.energy_gev))
    batch = 16
    inputs: dict[str, Tensor] = {
        "energy": torch.full((batch, 1), energy),
        "direction": torch.tensor([[0.0, 0.0, 1.0]]).repeat(batch, 1),
        "pdg": torch.full((batch, 1), domain.pdg[0]),
    }
    inputs = {name: inputs[name] for name in sampler.inputs}
    inputs |= draw_noise(sampler, batch, sampler.capacity(energy), torch.Generator().manual_seed(0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        sampler(*inputs.values())
    return float(counter.get_total_flops()) / batch


def measure_cost(config: RunConfig, paths: Sequence[str | os.PathLike[str]], steps: int = 3) -> Cost:
    """Measure one system on one thread.

    Raises
    ------
    InputError
        The files have no showers that the system can be trained on.
    """
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(0)
        system = build_system(config)
        stage = system.stages()[0]
        stream = ShowerStream(paths, system.stack, "train", config.data.selection(), window=config.data.window)
        representation = system.representation(stage.name)
        seconds = None
        if representation is not None:
            batch = stage.batch or config.data.batch
            batches = list(
                itertools.islice(stream.batches(representation, epoch=0, batch=min(batch, stream.size)), steps + 1)
            )
            system.standardise(batches)
            system.begin(stage.name, lambda path: system)
            step = _BareStep(stage.name, system.optimisers(stage.name), stream)
            system.train()
            system.training_step(batches[0], step)
            start = time.perf_counter()
            for tensors in batches[1:] or batches:
                system.training_step(tensors, step)
            each = (time.perf_counter() - start) / max(1, len(batches) - 1)
            seconds = each * stream.batches_per_epoch(batch)
        return Cost(
            config.system,
            find_system(config.system).title,
            sum(p.numel() for p in system.parameters()),
            sum(p.numel() for p in system.sampler().parameters()),
            _operations(system),
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            seconds,
            stream.size,
        )


def measure_all(names: Sequence[str], paths: Sequence[str | os.PathLike[str]], smoke: bool) -> list[Cost]:
    """Measure systems, leaving out those that the files have no showers for."""
    costs = []
    for name in names:
        try:
            costs.append(measure_cost(load_config(name, smoke=smoke), paths))
        except InputError:
            continue
    return costs


def write_table(costs: Sequence[Cost], path: Path) -> None:
    """Write the table of systems.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    lines = [
        "# What the systems cost",
        "",
        "Written by `ddcalogen bench systems`; do not edit. One CPU thread; sizes are those of the package's",
        "configurations. Operations: matrix products and convolutions of one 50 GeV shower (or the nearest energy",
        "of the domain), untrained network, a multiplication and an addition counted as two. Memory: peak of the",
        "measuring process so far. Epoch: first stage of the training.",
        "",
        "| system | what | parameters, trained | parameters, exported | GFLOP per shower | memory, MB "
        "| s per epoch (showers) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in costs:
        epoch = "closed form" if c.epoch_seconds is None else f"{c.epoch_seconds:.0f} ({c.showers})"
        lines.append(
            f"| {c.system} | {c.title} | {c.parameters:,} | {c.sampler_parameters:,} | {c.flops / 1e9:.3g} | "
            f"{c.memory_mb:.0f} | {epoch} |"
        )
    with replace_when_complete(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")

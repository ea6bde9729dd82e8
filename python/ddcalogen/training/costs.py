# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the systems cost: parameters, operations per shower, memory, time per epoch; the table docs/systems.md."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.resources
import multiprocessing
import os
import platform
import re
import resource
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddcalogen.card import SpotsOutput
from ddcalogen.errors import DDCaloGenError, InferenceError, InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.checkpoint import build_system
from ddcalogen.training.config import RunConfig, load_config
from ddcalogen.training.data import ShowerFile, Showers
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import draw_noise
from ddcalogen.training.stream import ShowerStream
from ddcalogen.training.system import Optimiser, Stage, System, find_system, system_names
from ddcalogen.training.threads import one_thread

__all__ = ["Cost", "StageCost", "configurations", "measure_apart", "measure_cost", "write_table"]

_STEPS, _LEAST_STEPS = 10, 5
_SECONDS = 60.0
"""A stage is timed over 10 steps after a first one (two rounds of five critic steps), or 5 when these take longer."""
_SMALL_BATCHES = (4, 16)
"""Showers per step where steps of the configuration's size take too long."""
_STANDARDISED = 4
"""Batches that the standardisation is fitted to."""


@dataclasses.dataclass(frozen=True)
class StageCost:
    """Of a stage of the training.

    batch, batch_timed: showers per step, in the configuration and when it was timed. step_seconds, epoch_seconds:
    processor time of a timed step (making the batch included), and of an epoch, from the time per shower.
    """

    name: str
    batch: int
    batch_timed: int
    steps_timed: int
    step_seconds: float
    epoch_seconds: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one system in one configuration.

    parameters, sampler_parameters: of everything that is trained, of the exported network. flops: of one 50 GeV shower
    (or the nearest energy of the domain), matrix products and convolutions, a multiplication and an addition counted
    as two. memory_mb: peak of a process of its own that trains; bare_mb: of it before the system was made. stages:
    those that train by gradients. showers: in an epoch.
    """

    system: str
    configuration: str
    title: str
    parameters: int
    sampler_parameters: int
    flops: float
    memory_mb: float
    bare_mb: float
    stages: tuple[StageCost, ...]
    showers: int


class _BareStep:
    """A training step without a loop around it."""

    def __init__(self, stage: Stage, optimisers: dict[str, Optimiser], training: ShowerStream) -> None:
        self.stage, self.index, self.rng = stage.name, 0, np.random.default_rng(0)
        self.device = torch.device("cpu")
        self._optimisers, self._training = optimisers, training

    def minimise(self, optimiser: str, loss: Tensor) -> None:
        chosen = self._optimisers[optimiser].optimiser
        chosen.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()

    def forget(self, optimiser: str) -> None:
        self._optimisers[optimiser].optimiser.state.clear()

    @property
    def mirror(self) -> tuple[Literal["x", "y"], ...]:
        return ()

    def training_showers(self) -> Showers:
        return self._training.all()

    def report(self, text: str) -> None:
        del text


def _operations(system: System[Any]) -> float:
    """Operations of the sampler for one shower."""
    sampler, domain = system.sampler().eval(), system.domain
    energy = float(np.clip(50.0, *domain.energy_gev))
    # the number of spots varies from shower to shower
    batch = 16 if isinstance(sampler.output, SpotsOutput) else 1
    inputs: dict[str, Tensor] = {
        "energy": torch.full((batch, 1), energy),
        "direction": torch.tensor([[0.0, 0.0, 1.0]]).repeat(batch, 1),
        "pdg": torch.full((batch, 1), domain.pdg[0]),
    }
    inputs = {name: inputs[name] for name in sampler.inputs}
    inputs |= draw_noise(sampler, batch, sampler.capacity(energy), torch.Generator().manual_seed(0))
    learned = [p for p in sampler.parameters() if p.requires_grad]
    # the counter wants the gradient function of a view of a parameter, which without gradients there is not
    for parameter in learned:
        parameter.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        sampler(*inputs.values())
    for parameter in learned:
        parameter.requires_grad_(True)
    return float(counter.get_total_flops()) / batch


def _endless(stream: ShowerStream, system: System[Any], stage: Stage, batch: int) -> Iterator[Batch]:
    """Batches for ever; empty ones for a stage that sees all training showers at once."""
    representation, epoch = system.representation(stage.name), 0
    while representation is None:
        yield {}
    while True:
        yield from stream.batches(representation, epoch=epoch, batch=batch)
        epoch += 1


def _time_stage(system: System[Any], stage: Stage, stream: ShowerStream, batch: int, seconds: float) -> StageCost:
    step = _BareStep(stage, system.optimisers(stage.name), stream)
    # from the middle of the stage on: what happens once at its ends is not typical; the last of five ends a round
    step.index = stage.steps // 20 * 10 + _STEPS - _LEAST_STEPS
    sizes = [batch] if system.representation(stage.name) is None else [min(batch, n) for n in (*_SMALL_BATCHES, batch)]

    def timed() -> float:
        start = time.process_time()
        system.training_step(next(batches), step)
        step.index += 1
        return time.process_time() - start

    used, times = sizes[0], [0.0]
    for size in dict.fromkeys(sizes):
        if times[0] * size / used * _LEAST_STEPS > seconds:
            break
        step.index -= size != sizes[0]
        used, batches = size, _endless(stream, system, stage, size)
        times = [timed()]
    while len(times) <= _STEPS and (len(times) < _LEAST_STEPS or sum(times) < seconds):
        times.append(timed())
    if len(times) > _LEAST_STEPS:
        del times[0]
    each = float(np.mean(times))
    return StageCost(stage.name, batch, used, len(times), each, each / used * stream.size)


def _fitting(paths: Sequence[str | os.PathLike[str]], config: RunConfig) -> list[str | os.PathLike[str]]:
    """The files with showers in the calorimeter of a configuration."""
    fitting = []
    for path in paths:
        try:
            ShowerFile(path, config.data.calorimeter.lower())
        except InputError:
            continue
        fitting.append(path)
    return fitting


def measure_cost(
    config: RunConfig,
    paths: Sequence[str | os.PathLike[str]],
    *,
    configuration: str = "",
    seconds: float = _SECONDS,
) -> Cost:
    """Measure one system on one thread, untrained. Memory is that of this process: see `measure_apart`.

    Parameters
    ----------
    paths
        Shower files; those without the calorimeter of the configuration are left out.
    configuration
        What the configuration is called.
    seconds
        For each stage, at most (five steps in any case).

    Raises
    ------
    InputError
        The files have no showers that the system can be trained on.
    """
    bare = _peak_mb()
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(0)
        system = build_system(config)
        selection, window = config.data.selection(), config.data.window
        stream = ShowerStream(_fitting(paths, config), system.stack, "train", selection, window=window)
        stages = []
        for number, stage in enumerate(system.stages()):
            trained = bool(system.optimisers(stage.name))
            if system.representation(stage.name) is None and not trained:
                continue  # closed form
            batch = min(stage.batch or config.data.batch, stream.size)
            batches = _endless(stream, system, stage, min(batch, _SMALL_BATCHES[-1]))
            if number == 0 and system.representation(stage.name) is not None:
                system.standardise([next(batches) for _ in range(_STANDARDISED)])
            system.begin(stage.name, lambda path: system)
            system.train()
            if trained:
                stages.append(_time_stage(system, stage, stream, batch, seconds))
            else:  # it prepares a later stage
                system.training_step(next(batches), _BareStep(stage, {}, stream))
        memory = _peak_mb()
        return Cost(
            config.system,
            configuration,
            find_system(config.system).title,
            sum(p.numel() for p in system.parameters()),
            sum(p.numel() for p in system.sampler().parameters()),
            _operations(system),
            memory,
            bare,
            tuple(stages),
            stream.size,
        )


def _peak_mb() -> float:
    """Peak of the memory of this process; on Linux without what it had before it became this program."""
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ------------------------------------------------------------------------------------------------------- all of them


def configurations(names: Sequence[str] = ()) -> list[tuple[str, str, Path | None]]:
    """Return system, name and file of all configurations in the package; the name of a system's own one is "".

    A file belongs to the system of the longest name that it begins with.
    """
    systems = system_names()
    folder = Path(str(importlib.resources.files("ddcalogen.training") / "configs"))
    found: list[tuple[str, str, Path | None]] = [(name, "", None) for name in systems]
    for path in sorted(folder.glob("*.yaml")):
        owners = [name for name in systems if path.stem.startswith(f"{name}_")]
        if path.stem not in systems and owners:
            owner = max(owners, key=len)
            found.append((owner, path.stem[len(owner) + 1 :], path))
    return sorted((f for f in found if not names or f[0] in names), key=lambda f: f[:2])


def _child(
    sender: Connection, system: str, name: str, path: Path | None, paths: Sequence[Path], smoke: bool, seconds: float
) -> None:
    try:
        config = load_config(system, path, smoke=smoke)
        sender.send(measure_cost(config, paths, configuration=name, seconds=seconds))
    except DDCaloGenError as error:
        sender.send(error)


def measure_apart(
    system: str,
    name: str,
    path: Path | None,
    paths: Sequence[Path],
    *,
    smoke: bool = False,
    seconds: float = _SECONDS,
) -> Cost:
    """Measure one configuration in a process of its own, so that its memory is its own.

    Parameters
    ----------
    system, name, path
        As `configurations` gives them.
    paths, seconds
        As for `measure_cost`.
    smoke
        With the section ``smoke``.

    Raises
    ------
    InputError
        The files have no showers that the system can be trained on.
    InferenceError
        The process was killed, for want of memory as a rule.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, system, name, path, paths, smoke, seconds))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise InferenceError(
            f"the process that measured '{system}' ended without an answer",
            found=f"exit status {process.exitcode}",
            remedy="Make memory free, or measure fewer systems.",
        ) from None
    finally:
        process.join()
    if isinstance(answer, DDCaloGenError):
        raise answer
    assert isinstance(answer, Cost)
    return answer


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


_ROW = re.compile(r"\| [^|]* \| `(\w+)` \|")


def _rows_of(path: Path, machine: str) -> dict[str, str]:
    """Rows of a table that was measured on the same machine, by configuration."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {found[1]: line for line in lines if (found := _ROW.match(line))} if machine in lines else {}


def write_table(costs: Sequence[Cost], path: Path) -> None:
    """Write the table of systems; rows of other configurations stay if they were measured on the same machine.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    machine = f"One thread of {_processor()}, PyTorch {torch.__version__}."
    bare = max((c.bare_mb for c in costs), default=0.0)

    def epoch(stage: StageCost) -> str:
        of = "" if stage.batch_timed == stage.batch else f"{stage.batch_timed} of "
        return f"{stage.name} {stage.epoch_seconds:.3g} ({of}{stage.batch})"

    lines = [
        "# What the systems cost",
        "",
        "Written by `ddcalogen bench systems`; do not edit.",
        machine,
        "",
        "- Configuration: `NAME` is `configs/NAME.yaml` of the package, of the published size where there is one.",
        "- Operations: matrix products and convolutions of one 50 GeV shower (or the nearest energy of the domain) in",
        "  the untrained sampler, a multiplication and an addition counted as two; no element-wise operations.",
        f"- Memory: peak of a process of its own that trains; {bare:.0f} MB of it are Python and PyTorch.",
        "- Epoch: processor time of each stage that trains by gradients, over the showers given, making the batches",
        f"  included; from {_LEAST_STEPS} to {_STEPS} steps, with fewer showers each where steps of the configuration",
        f"  take too long (`{_SMALL_BATCHES[-1]} of BATCH`; memory is that of the smaller steps).",
        "",
        "| system | configuration | parameters, trained | exported | GFLOP per shower | memory, MB "
        "| s per epoch (batch) | showers |",
        "| --- | --- | --: | --: | --: | --: | --- | --: |",
    ]
    rows = _rows_of(path, machine)
    for c in costs:
        epochs = ", ".join(map(epoch, c.stages)) or "closed form"
        configuration = f"{c.system}_{c.configuration}" if c.configuration else c.system
        rows[configuration] = (
            f"| {c.title} | `{configuration}` | {c.parameters:,} | {c.sampler_parameters:,} | {c.flops / 1e9:.3g} | "
            f"{c.memory_mb:.0f} | {epochs} | {c.showers:,} |"
        )
    lines += [rows[name] for name in sorted(rows)]
    with replace_when_complete(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")

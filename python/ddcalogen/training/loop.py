# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop of all systems: deterministic by seed, taken up again to the same result, best by fidelity.

Lightning Fabric launches processes, places tensors and sets the precision. Nothing of a step depends on the state of a
random generator left by the steps before: all randomness is keyed on (seed, stage, step, process). So a run that was
killed at any moment and is taken up from its last checkpoint ends with the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ddcalogen.card import Dataset
from ddcalogen.errors import ConfigurationError, ModelError, OutputError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.checkpoint import Checkpoint, build_system, load_checkpoint, load_system, save_checkpoint
from ddcalogen.training.config import RunConfig
from ddcalogen.training.data import Showers, describe_dataset
from ddcalogen.training.fidelity import fidelity
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import generate
from ddcalogen.training.stream import ShowerStream, key_seed
from ddcalogen.training.system import Optimiser, Stage, System

__all__ = ["BEST", "LAST", "Observer", "train"]

BEST, LAST, LOG, CONFIG = "best.ckpt", "last.ckpt", "log.csv", "config.yaml"


class Observer(Protocol):
    """What a run tells about itself."""

    def stage(self, name: str, done: int, steps: int) -> None:
        """A stage starts, or is taken up again after `done` steps."""

    def step(self, text: str) -> None:
        """A step is done; `text` says how it stands, or is empty."""

    def say(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Observer that keeps quiet."""

    def stage(self, name: str, done: int, steps: int) -> None:
        """Nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class _Log:
    """Numbers by step, in a CSV file: step, stage, name, value. Rows after the step that a run goes on from are cut."""

    def __init__(self, path: Path, after: int) -> None:
        self.path = path
        rows: list[list[str]] = []
        if path.exists() and after:
            for row in csv.reader(path.read_text(errors="replace").splitlines()):
                if len(row) == 4 and row[0].isdigit() and int(row[0]) <= after:
                    rows.append(row)
        with replace_when_complete(path) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "stage", "name", "value"])
            writer.writerows(rows)

    def write(self, step: int, stage: str, numbers: Mapping[str, float]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows([step, stage, name, f"{value:.8g}"] for name, value in numbers.items())


@dataclasses.dataclass
class _Step:
    """See `ddcalogen.training.system.Step`."""

    fabric: Fabric
    optimisers: dict[str, Optimiser]
    training: ShowerStream
    observer: Observer
    stage: str
    index: int = 0
    rng: np.random.Generator = dataclasses.field(default_factory=np.random.default_rng)

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def mirror(self) -> tuple[Literal["x", "y"], ...]:
        return self.training.mirror

    def minimise(self, optimiser: str, loss: Tensor) -> None:
        if not torch.isfinite(loss.detach()):
            raise ModelError(
                "the training diverged",
                found=f"loss of '{optimiser}' {float(loss.detach())} in step {self.index} of stage '{self.stage}'",
                remedy="Lower the learning rate or clip gradients; go on from an earlier checkpoint.",
            )
        chosen = self.optimisers[optimiser]
        parameters = [p for group in chosen.optimiser.param_groups for p in group["params"]]
        chosen.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.fabric.world_size > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            flat = torch.cat([g.reshape(-1) for g in gradients])
            flat = self.fabric.all_reduce(flat, reduce_op="mean")  # type: ignore[assignment]
            for g, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                g.copy_(part.view_as(g))
        if chosen.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, chosen.clip_norm)
        chosen.optimiser.step()
        if chosen.schedule is not None:
            chosen.schedule.step()

    def forget(self, optimiser: str) -> None:
        self.optimisers[optimiser].optimiser.state.clear()

    def training_showers(self) -> Showers:
        return self.training.all()

    def report(self, text: str) -> None:
        self.observer.say(f"{self.stage}: {text}")


def _averaged(system: System[Any], decay: float) -> AveragedModel:
    def move(averages: Sequence[Tensor], values: Sequence[Tensor], number: Tensor | int) -> None:
        n = float(number)
        torch._foreach_lerp_(list(averages), list(values), 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    return AveragedModel(system, multi_avg_fn=move)


@contextlib.contextmanager
def _settled(threads: int) -> Iterator[None]:
    """Threads and algorithms under which the same numbers come out again; restored afterwards."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.filterwarnings("ignore", message=".*deterministic.*")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)


class _Run:
    """One run in its folder."""

    def __init__(
        self,
        config: RunConfig,
        paths: Sequence[str | os.PathLike[str]],
        folder: Path,
        fabric: Fabric,
        observer: Observer,
    ) -> None:
        self.config, self.folder, self.fabric, self.observer = config, folder, fabric, observer
        data, settings = config.data, config.training
        torch.manual_seed(key_seed(settings.seed, "weights"))
        self.system = build_system(config)
        stack, selection = self.system.stack, data.selection()
        self.training = ShowerStream(
            paths, stack, "train", selection, window=data.window, seed=settings.seed, mirror=data.mirror
        )
        self.validation = ShowerStream(paths, stack, "validation", selection, window=data.window, seed=settings.seed)
        self.dataset: Dataset = describe_dataset(paths, data.name, stack.name.lower())
        self.stages = self.system.stages()
        self.stage, self.index, self.done = 0, 0, 0
        self.best: dict[str, float] = {}
        self.optimisers: dict[str, Optimiser] = {}
        self.average: AveragedModel | None = None
        self._truth: Showers | None = None

    # ------------------------------------------------------------------------------------------------- state

    def save(self) -> None:
        """Write the last checkpoint, from which the run can go on."""
        self._write(
            LAST,
            self.system,
            {
                "stage": self.stage,
                "index": self.index,
                "done": self.done,
                "best": dict(self.best),
                "average": self.average.state_dict() if self.average is not None else {},
                "optimisers": {name: o.optimiser.state_dict() for name, o in self.optimisers.items()},
                "schedules": {n: o.schedule.state_dict() for n, o in self.optimisers.items() if o.schedule is not None},
            },
            {"steps": self.done},
        )

    def _write(self, name: str, system: System[Any], resume: dict[str, Any], results: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            state = {k: v.detach().cpu() for k, v in system.state_dict().items()}
            save_checkpoint(
                self.folder / name,
                Checkpoint(config=self.config, state=state, dataset=self.dataset, results=results, resume=resume),
            )

    def resume(self) -> None:
        """Take up the run of this folder."""
        checkpoint = load_checkpoint(self.folder / LAST)
        if checkpoint.config != self.config or checkpoint.dataset != self.dataset:
            raise ConfigurationError(
                "the run in this folder is another one",
                found="another configuration" if checkpoint.config != self.config else "other data",
                expected=f"those of {self.folder / CONFIG}",
                remedy="Give the same system, configuration and data, or another folder.",
            )
        try:
            self.system.load_state_dict(checkpoint.state)
            saved = checkpoint.resume
            self.stage, self.index, self.done = int(saved["stage"]), int(saved["index"]), int(saved["done"])
            self.best = {str(k): float(v) for k, v in saved["best"].items()}
            if self.stage < len(self.stages) and self.index:
                self._start(self.stages[self.stage])
                if self.average is not None:
                    self.average.load_state_dict(saved["average"])
                for name, optimiser in self.optimisers.items():
                    optimiser.optimiser.load_state_dict(saved["optimisers"][name])
                    if optimiser.schedule is not None:
                        optimiser.schedule.load_state_dict(saved["schedules"][name])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ModelError(
                "the run cannot be taken up from its checkpoint",
                found=f"{self.folder / LAST}: {error}",
                remedy="Start it again in another folder.",
            ) from error

    # ------------------------------------------------------------------------------------------------- stages

    def _start(self, stage: Stage) -> None:
        """Optimisers and averages of a stage, fresh."""
        self.optimisers = {
            name: dataclasses.replace(o, optimiser=cast(Optimizer, self.fabric.setup_optimizers(o.optimiser)))
            for name, o in self.system.optimisers(stage.name).items()
        }
        decay = self.config.training.ema_decay
        self.average = _averaged(self.system, decay) if decay and stage.average else None

    def _prepare(self, stage: Stage) -> None:
        """What happens once when a stage begins."""
        settings = self.config.training
        if self.stage == 0:
            representation = self.system.representation(stage.name)
            if representation is not None:
                batch = min(self.config.data.batch, settings.standardisation_showers)
                number = max(1, settings.standardisation_showers // batch)
                stream = self.training.batches(representation, epoch=0, batch=batch)
                self.system.standardise(b for b, _ in zip(stream, range(number), strict=False))
        torch.manual_seed(key_seed(settings.seed, stage.name, "begin"))
        self.system.begin(stage.name, lambda path: load_system(load_checkpoint(path)))
        self.system.to(self.fabric.device)
        self._start(stage)

    def _batches(self, stage: Stage) -> Iterator[Batch]:
        """Batches from where the stage stands, for ever."""
        representation = self.system.representation(stage.name)
        if representation is None:
            while True:
                yield {}
        batch = stage.batch or self.config.data.batch
        length = self.training.batches_per_epoch(batch)
        epoch, start = divmod(self.index, length)
        while True:
            for tensors in self.training.batches(
                representation,
                epoch=epoch,
                batch=batch,
                start=start,
                rank=self.fabric.global_rank,
                ranks=self.fabric.world_size,
            ):
                yield {name: t.to(self.fabric.device, non_blocking=True) for name, t in tensors.items()}
            epoch, start = epoch + 1, 0

    def go(self) -> None:
        """Train all stages that are left."""
        settings = self.config.training
        log = _Log(self.folder / LOG, self.done) if self.fabric.is_global_zero else None
        while self.stage < len(self.stages):
            stage = self.stages[self.stage]
            if not self.index:
                self._prepare(stage)
            self.observer.stage(stage.name, self.index, stage.steps)
            step = _Step(self.fabric, self.optimisers, self.training, self.observer, stage.name)
            batches = self._batches(stage)
            while self.index < stage.steps:
                batch = next(batches)
                key = key_seed(settings.seed, stage.name, self.index, self.fabric.global_rank)
                torch.manual_seed(key)
                step.index, step.rng = self.index, np.random.default_rng(key)
                self.system.train()
                with self.fabric.autocast():
                    numbers = self.system.training_step(batch, step)
                if self.average is not None:
                    self.average.update_parameters(self.system)
                self.index += 1
                self.done += 1
                text = ""
                last = self.index == stage.steps
                if self.index % settings.log_every == 0 or last:
                    values = {k: float(v.detach()) if isinstance(v, Tensor) else float(v) for k, v in numbers.items()}
                    if log is not None:
                        log.write(self.done, stage.name, values)
                    text = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
                if stage.validate and (self.index % settings.validate_every == 0 or last):
                    figures = self._validate(stage)
                    if log is not None:
                        log.write(self.done, stage.name, figures)
                if last and self.average is not None:
                    self.system.load_state_dict(self.average.module.state_dict())
                if last:
                    self.stage, self.index, self.optimisers, self.average = self.stage + 1, 0, {}, None
                if last or self.index % settings.checkpoint_every == 0:
                    self.save()
                self.observer.step(text)
                if last:
                    break
        if "fidelity" not in self.best:
            self._write(BEST, self.system, {}, {"steps": self.done})
        self.fabric.barrier()

    def _validate(self, stage: Stage) -> dict[str, float]:
        """Measure the sampler on the validation split; keep the weights if they are the best so far."""
        settings = self.config.training
        figures: dict[str, float] = {}
        if self.fabric.is_global_zero:
            if self._truth is None:
                self._truth = self.validation.sample(settings.validation_showers)
            system = cast("System[Any]", self.average.module) if self.average is not None else self.system
            was_training = system.training
            system.eval()
            try:
                made = generate(
                    system.sampler(),
                    self._truth,
                    np.array(self.system.stack.layer_depth_mm),
                    seed=key_seed(settings.seed, "validation"),
                    device=self.fabric.device,
                )
                figures = fidelity(made, self._truth, self.system.stack)
            except ModelError as error:
                self.observer.say(f"{stage.name}, step {self.index}: {error}")
                figures = {"fidelity": float("inf")}
            system.train(was_training)
            better = figures["fidelity"] < self.best.get("fidelity", float("inf"))
            self.observer.say(
                f"{stage.name}, step {self.index}: fidelity (mean W1 x 100) {figures['fidelity']:.3g}"
                + (", best so far" if better else "")
            )
            if better:
                self.best = {"steps": float(self.done), **figures}
                self._write(BEST, system, {}, {"steps": self.done, **figures})
        self.fabric.barrier()
        return figures


def train(
    config: RunConfig,
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    threads: int = 1,
    observer: Observer | None = None,
    on_run: Callable[[Fabric], None] = lambda _: None,
) -> Path:
    """Train a system, or take its training up again; return the path of the best checkpoint.

    Writes into the folder: ``config.yaml``, ``log.csv``, ``last.ckpt`` (to go on from) and ``best.ckpt`` (the result:
    the weights whose showers were closest to the validation split, see `ddcalogen.training.fidelity`).

    Parameters
    ----------
    paths
        Shower files (slab or ``showerdata``).
    resume
        True: go on from ``last.ckpt`` of the folder if there is one.
    accelerator, devices
        Where to train; more than one device: one process each (distributed data parallel).
    threads
        Threads of PyTorch per process; another number may change the last digits.

    Raises
    ------
    InputError, ConfigurationError, ModelError, OutputError
    """
    out = Path(folder)
    watch = observer or Silent()
    for name in ("lightning_fabric", "lightning.fabric", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("there is no CUDA device", remedy="Choose --accelerator cpu.")
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=config.training.precision,
    )
    fabric.launch()
    on_run(fabric)
    if fabric.is_global_zero:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if (out / LAST).exists() and not resume:
                raise ConfigurationError(
                    "there is a run in this folder already",
                    found=str(out / LAST),
                    remedy="Go on with it (--resume), or choose another folder.",
                )
            for stale in out.glob(".*.partial"):  # of a run that was killed while it wrote
                stale.unlink()
            if not (out / LAST).exists():
                with replace_when_complete(out / CONFIG) as partial:
                    partial.write_text(_as_yaml(config))
        except OSError as error:
            raise OutputError("the folder of the run cannot be used", found=f"{out}: {error.strerror}") from error
    fabric.barrier()
    with _settled(threads):
        run = _Run(config, paths, out, fabric, watch)
        if resume and (out / LAST).exists():
            run.system.to(fabric.device)
            run.resume()
        run.go()
    return out / BEST


def _as_yaml(config: RunConfig) -> str:
    """The configuration as a file that --config takes."""
    content = config.model_dump(mode="json")
    return f"# {config.system}\n" + yaml.safe_dump(
        {"data": content["data"], "training": content["training"], "system": content["settings"]}, sort_keys=False
    )

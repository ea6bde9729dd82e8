# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen train` and `ddcalogen export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from ddcalogen.cli.console import console, error_console, progress_bar
from ddcalogen.errors import ConfigurationError, InputError

__all__ = ["Watch", "check_packages", "register"]


class Accelerator(str, Enum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Weights(str, Enum):
    """How weights are stored."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train)
    app.command("export")(export)


class Watch:
    """Shows a run: a bar on the terminal, lines for what is worth one."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def stage(self, name: str, done: int, steps: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.name = name
        self.task = self.bar.add_task(name, total=steps, completed=done)
        error_console.print(f"stage {name}, {steps} steps" + (f", from {done} on" if done else ""), markup=False)

    def step(self, text: str) -> None:
        assert self.task is not None
        self.bar.advance(self.task)
        if text:
            self.bar.update(self.task, description=f"{self.name}: {text}"[:120])

    def say(self, text: str) -> None:
        error_console.print(text, markup=False)


def check_packages() -> None:
    """Raise ConfigurationError if the extra `train` is not installed."""
    try:
        import lightning_fabric  # noqa: F401
        import torch  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "training needs packages that are missing", found=str(error), remedy="Install the extra 'train'."
        ) from error


def train(
    system: Annotated[str, typer.Argument(help="Generative system; an unknown name lists those there are.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Geant4 showers, slab or showerdata file; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = Path("run"),
    config: Annotated[Path | None, typer.Option(help="YAML file; only what differs from the system's own.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE; may be repeated.", show_default=False)
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="A run of seconds that shows that everything works.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this folder.")] = False,
    accelerator: Annotated[Accelerator, typer.Option(help="Where to train.")] = Accelerator.auto,
    devices: Annotated[int, typer.Option(min=1, help="Devices, one process each.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch per process.")] = 1,
) -> None:
    """Train a generative system on Geant4 showers.

    The folder gets config.yaml, log.csv, last.ckpt (to go on from) and best.ckpt (the result: weights whose showers are
    closest to Geant4's in the validation split). A run that was interrupted or killed goes on with --resume, to the
    same result.

    Examples:

      ddcalogen train parametrised --data photon_ecal_slab.h5 -o runs/parametrised

      ddcalogen train parametrised --data photon_ecal_slab.h5 -o runs/parametrised --resume
    """
    check_packages()
    from ddcalogen.training.config import load_config
    from ddcalogen.training.loop import train as run

    chosen = load_config(system, config, settings or [], smoke=smoke)
    if not data:
        raise ConfigurationError("no showers to train on", found="no --data", remedy="Name a file with --data.")
    for path in data:
        if not path.is_file():
            raise InputError("there is no such file", found=str(path), remedy="Check the path.")
    with progress_bar() as bar:
        best = run(
            chosen,
            data,
            output,
            resume=resume,
            accelerator=accelerator.value,
            devices=devices,
            threads=threads,
            observer=Watch(bar),
        )
    console.print(f"wrote {best}", soft_wrap=True)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, folder of a run, or YAML card of a foreign model.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the model. [default: that of the file]")] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1.0.0",
    weights: Annotated[
        Weights, typer.Option(help="How weights are stored; the loss goes into the card.")
    ] = Weights.fp32,
) -> None:
    """Write a trained system to one ONNX file with its card, after checking it against PyTorch.

    Examples:

      ddcalogen export runs/parametrised -o models/my_model.onnx

      ddcalogen export foreign.yaml -o models/foreign.onnx
    """
    check_packages()
    if checkpoint.suffix in (".yaml", ".yml"):
        from ddcalogen.training.foreign import wrap_model

        card = wrap_model(checkpoint, output)
        console.print(f"wrote {output}: {card.name} {card.version}, wrapped", soft_wrap=True)
        return
    from ddcalogen.training.export import export_model

    card = export_model(checkpoint, output, name=name, version=version, precision=weights.value)
    console.print(f"wrote {output}: {card.name} {card.version}, {output.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    for figure in card.figures:
        console.print(f"  {figure.name}: {figure.value:.4g} ({figure.conditions})", markup=False)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen amplify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddcalogen.cli.console import console, progress_bar
from ddcalogen.cli.simulate import DEFAULT_DETECTOR
from ddcalogen.cli.train import Watch, check_packages
from ddcalogen.models import find_model

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("amplify")(amplify)


def amplify(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the study.")] = Path("amplification"),
    truth_model: Annotated[
        str, typer.Option(help="Model that stands in for the truth: ONNX file or name of a shipped one.")
    ] = "ild_ecal_em_parametrised",
    energy: Annotated[float, typer.Option(min=0.1, help="Energy of the photons, GeV.")] = 50.0,
    truth: Annotated[int, typer.Option(min=1000, help="Truth showers.")] = 218_000,
    training: Annotated[int, typer.Option(min=20, help="Showers to train on.")] = 1000,
    generated: Annotated[int, typer.Option(min=1000, help="Showers to generate.")] = 400_000,
    checkpoint: Annotated[
        Path | None, typer.Option(help="VAE-GAN trained on the showers of this study; without it, it is trained.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE of the training; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
) -> None:
    """Amplification study (2202.07352): how many showers are those of a network trained on few of them worth?

    Truth showers, training of the VAE-GAN ensemble, quantile method and report in one go; a study that was stopped goes
    on where it was when started again.

    Example: ddcalogen amplify -o amplification
    """
    from ddcalogen.engine import Generator
    from ddcalogen.geometry import load_snapshot
    from ddcalogen.validation.amplification_study import run_study

    check_packages()
    generator = Generator(find_model(truth_model), load_snapshot(DEFAULT_DETECTOR), seed=seed)
    with progress_bar() as bar:
        page = run_study(
            generator,
            output,
            energy_gev=energy,
            truth_showers=truth,
            trained_on=training,
            generated=generated,
            checkpoint=checkpoint,
            settings=settings or [],
            observer=Watch(bar),
        )
    console.print(f"wrote {page}")

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Command line: ``python -m ddcalogen.training parametrised fit|export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ddcalogen.errors import ConfigurationError, DDCaloGenError

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train and export shower models.")
parametrised = typer.Typer(no_args_is_help=True, help="The parametrised electromagnetic shower.")
app.add_typer(parametrised, name="parametrised")

Files = Annotated[list[Path], typer.Option("--data", help="Shower file (slab or showerdata); may be repeated.")]


@parametrised.command()
def fit(
    data: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")],
    config: Annotated[Path | None, typer.Option(help="JSON file with the configuration of the fit.")] = None,
    name: Annotated[str, typer.Option(help="Name of the data set, for the card.")] = "photon_ecal_slab",
) -> None:
    """Fit to the training split of shower files and write a checkpoint."""
    from ddcalogen.training.fit_parametrised import FitConfig, fit_parametrised

    settings = FitConfig()
    if config:
        try:
            settings = FitConfig.model_validate_json(config.read_text())
        except (OSError, ValueError) as error:
            raise ConfigurationError("the configuration cannot be used", found=f"{config}: {error}") from error
    fit_parametrised(data, output, settings, dataset_name=name, report=typer.echo)


@parametrised.command()
def export(
    checkpoint: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1.0.0",
) -> None:
    """Export a checkpoint to one ONNX file with its card, checked against PyTorch."""
    from ddcalogen.training.export import export_model

    card = export_model(checkpoint, output, name=output.stem, version=version)
    typer.echo(f"{output}: {card.name} {card.version}, weights {card.weights_sha256[:12]}")


def main() -> None:
    """Run the command line; errors of this package end it with one line and exit status 1."""
    try:
        app()
    except DDCaloGenError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

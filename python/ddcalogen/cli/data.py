# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen data`: shower files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ddcalogen.cli.console import console
from ddcalogen.cli.data_convert import convert, join
from ddcalogen.cli.data_write import cloud, grid

__all__ = ["group", "register"]

group = typer.Typer(no_args_is_help=True, help="Make shower files, and look at them.")


def register(app: typer.Typer) -> None:
    """Add the command group to the program."""
    app.add_typer(group, name="data")


group.command("convert")(convert)
group.command("join")(join)
group.command("grid")(grid)
group.command("cloud")(cloud)


@group.command("info")
def info(
    files: Annotated[list[Path], typer.Argument(help="Slab or showerdata files.", show_default=False)],
    calorimeter: Annotated[str, typer.Option(help="Group of slab files: ecal, hcal, or ecal+hcal for both.")] = "ecal",
) -> None:
    """What is in shower files: particles, energies, angles, points, splits."""
    from ddcalogen.training.data import SPLITS, ShowerFile

    for path in files:
        file = ShowerFile(path, calorimeter)
        theta = np.degrees(np.arccos(np.clip(file.direction[:, 2], -1.0, 1.0)))
        points = sum(len(chunk.layer) for chunk in file.chunks())
        table = Table(title=str(path), title_justify="left", show_header=False)
        table.add_row("layout", file.layout)
        table.add_row("showers", str(len(file)))
        table.add_row("PDG codes", ", ".join(f"{p} ({int((file.pdg == p).sum())})" for p in np.unique(file.pdg)))
        table.add_row("incident energy", f"{file.energy_gev.min():.4g} to {file.energy_gev.max():.4g} GeV")
        table.add_row("angle to the normal", f"{theta.min():.4g} to {theta.max():.4g} deg")
        table.add_row("points per shower", f"{points / max(len(file), 1):.1f}")
        splits = np.bincount(file.splits, minlength=len(SPLITS))
        table.add_row("splits", ", ".join(f"{name} {n}" for name, n in zip(SPLITS, splits, strict=True)))
        console.print(table)

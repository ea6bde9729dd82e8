# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen data convert` and `ddcalogen data join`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ddcalogen.cli.console import console
from ddcalogen.errors import ConfigurationError

__all__ = ["convert", "join"]

Output = Annotated[Path, typer.Option("-o", "--output", help="Shower file to write.", show_default=False)]


def convert(
    files: Annotated[list[Path], typer.Argument(help="EDM4hep files of ddsim, in order.", show_default=False)],
    output: Output,
    calorimeter: Annotated[
        list[str] | None, typer.Option(help="ecal or hcal; may be repeated, in this order. [default: ecal]")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="slab (packed, small) or showerdata (of the package of that name).")
    ] = "slab",
    collection: Annotated[
        list[str] | None,
        typer.Option(
            help="Hit collection of each calorimeter, in their order. [default: those of steering/compact]",
            rich_help_panel="Input",
        ),
    ] = None,
    pitch_mm: Annotated[
        list[float] | None,
        typer.Option(
            min=1e-3,
            help="Pitch of the sub-cells of each calorimeter, in their order. [default: a fifth of an ECAL cell, a "
            "third of an HCAL tile of ILD]",
            rich_help_panel="Input",
        ),
    ] = None,
    rotation_deg: Annotated[
        float, typer.Option(help="Angle of the stack's axes in the shower frame.", rich_help_panel="Input")
    ] = 22.5,
    face_z_mm: Annotated[float, typer.Option(help="Place of the front face.", rich_help_panel="Input")] = 0.0,
    steps: Annotated[
        bool,
        typer.Option(
            "--steps", help="Use positions of steps (SIM.enableDetailedShowerMode), not cells.", rich_help_panel="Input"
        ),
    ] = False,
    source: Annotated[str, typer.Option(help="How the showers were made; kept in the file.")] = "",
) -> None:
    """Convert full simulation of single particles in a stack of planes to training data.

    The files are those of steering/ddsim_produce_ecal_slab.py and ddsim_produce_hcal_slab.py. Deposits are collected in
    sub-cells of the planes.

    Example:

      ddcalogen data convert photons_1.edm4hep.root photons_2.edm4hep.root -o photons.h5
    """
    from ddcalogen.training import convert as conversion

    known = {"ecal": conversion.ECAL, "hcal": conversion.HCAL}
    names = calorimeter or ["ecal"]
    unknown = sorted(set(names) - set(known))
    if unknown or len(set(names)) != len(names):
        raise ConfigurationError("unknown or repeated calorimeter", found=", ".join(names), expected="ecal, hcal")
    if layout not in ("slab", "showerdata"):
        raise ConfigurationError("unknown layout of shower files", found=layout, expected="slab or showerdata")
    stacks = [known[name] for name in names]
    if collection:
        _check_number("--collection", collection, names)
        stacks = [s._replace(collection=c) for s, c in zip(stacks, collection, strict=True)]
    if pitch_mm:
        _check_number("--pitch-mm", pitch_mm, names)
        stacks = [s._replace(pitch_mm=p) for s, p in zip(stacks, pitch_mm, strict=True)]
    number = conversion.convert(
        files,
        output,
        layout="slab" if layout == "slab" else "showerdata",
        stacks=stacks,
        grid_rotation_rad=math.radians(rotation_deg),
        face_z_mm=face_z_mm,
        steps=steps,
        source=source,
    )
    console.print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {number} showers)")


def _check_number(option: str, values: Sequence[object], names: Sequence[str]) -> None:
    if len(values) != len(names):
        raise ConfigurationError(
            f"{option} does not fit the calorimeters",
            found=f"{len(values)} given",
            expected=f"{len(names)}, one for each of {', '.join(names)}",
        )


def join(
    files: Annotated[list[Path], typer.Argument(help="Slab files of one kind, in order.", show_default=False)],
    output: Output,
) -> None:
    """Join packed slab files."""
    from ddcalogen.training.convert import join as join_files

    number = join_files(files, output)
    console.print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {number} showers)")

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen data grid` and `ddcalogen data cloud`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ddcalogen.cli.console import console, progress_bar

__all__ = ["cloud", "grid"]


class WhichSplit(str, Enum):
    """Showers to write."""

    train = "train"
    validation = "validation"
    test = "test"
    all = "all"


class Preset(str, Enum):
    """Grids of the published data sets, `ddcalogen.training.shower_files.GRID_PRESETS`."""

    ecal = "ecal"
    ecal_angles = "ecal-angles"
    hcal_core = "hcal-core"
    hcal = "hcal"


class Level(str, Enum):
    """Squares into which points are merged."""

    subcell = "subcell"
    cell = "cell"


class Which(str, Enum):
    """Calorimeter."""

    ecal = "ecal"
    hcal = "hcal"
    both = "ecal+hcal"


Files = Annotated[list[Path], typer.Argument(help="Slab or showerdata files.", show_default=False)]
Output = Annotated[Path, typer.Option("-o", "--output", help="HDF5 file to write.", show_default=False)]
SplitOption = Annotated[WhichSplit, typer.Option("--split", help="Which showers, by the hash of their particle.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the places of points and squares.")]


@contextmanager
def _watched(files: Sequence[Path], calorimeter: str, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar over all showers of the files."""
    from ddcalogen.training.data import ShowerFile

    total = sum(len(ShowerFile(path, calorimeter)) for path in files)
    with progress_bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda showers: bar.advance(task, showers)


def grid(
    files: Files,
    output: Output,
    preset: Annotated[
        Preset,
        typer.Option(help="ecal: 30x30x30; ecal-angles: 30x60x60; hcal-core: 48x25x25; hcal: 48x48x48 (layers, x, y)."),
    ] = Preset.ecal,
    cells: Annotated[
        tuple[int, int] | None, typer.Option(help="Cells along x and y. [default: the preset's]", show_default=False)
    ] = None,
    cell_mm: Annotated[
        float | None, typer.Option(help="Side of a cell. [default: of the calorimeter's cells]", show_default=False)
    ] = None,
    follow_axis: Annotated[
        bool, typer.Option("--follow-axis", help="Centre each layer on the shower axis, not on the entry point.")
    ] = False,
    split: SplitOption = WhichSplit.all,
    seed: Seed = 1,
) -> None:
    """Write showers as regular grids, in the layouts of the published data sets.

    Example:

      ddcalogen data grid photon_ecal_slab_perpendicular.h5 --split train -o train.h5
    """
    from ddcalogen.cli.train import check_packages

    check_packages()
    from ddcalogen.training.shower_files import GRID_PRESETS, write_grids

    chosen = GRID_PRESETS[preset.value]
    with _watched(files, chosen.calorimeter.lower(), "filling grids") as advance:
        report = write_grids(
            files,
            output,
            chosen,
            cells=cells,
            cell_mm=cell_mm,
            follows_axis=follow_axis,
            split=split.value,
            seed=seed,
            advance=advance,
        )
    lost = 100 * report.beyond_gev / max(report.visible_gev, 1e-12)
    console.print(
        f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {report.showers} showers, group '{chosen.group}')\n"
        f"visible energy {report.visible_gev:.6g} GeV, beyond the edges of the grid {report.beyond_gev:.4g} GeV "
        f"({lost:.3g} %)",
        soft_wrap=True,
    )


def cloud(
    files: Files,
    output: Output,
    calorimeter: Annotated[Which, typer.Option(help="Group of slab files; ecal+hcal: both in a row.")] = Which.ecal,
    level: Annotated[
        Level, typer.Option(help="Squares of a fifth of a readout cell, or readout cells.")
    ] = Level.subcell,
    split: SplitOption = WhichSplit.all,
    seed: Seed = 1,
) -> None:
    """Write showers as clustered point clouds, a showerdata file.

    Example:

      ddcalogen data cloud pions.h5 --calorimeter ecal+hcal --level cell -o clouds.h5
    """
    from ddcalogen.cli.train import check_packages

    check_packages()
    from ddcalogen.training.shower_files import write_clouds

    with _watched(files, calorimeter.value, "clustering showers") as advance:
        showers, before, after = write_clouds(
            files,
            output,
            calorimeter.value.upper(),
            level=level.value,
            split=split.value,
            seed=seed,
            advance=advance,
        )
    console.print(
        f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {showers} showers)\n"
        f"points per shower {before / max(showers, 1):.1f}, merged {after / max(showers, 1):.1f}",
        soft_wrap=True,
    )

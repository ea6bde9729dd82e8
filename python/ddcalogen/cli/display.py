# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen display`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ddcalogen.cli.console import console
from ddcalogen.edm4hep import Event
from ddcalogen.errors import InputError
from ddcalogen.geometry import Geometry

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("display")(display)


def display(
    file: Annotated[Path, typer.Argument(help="EDM4hep file.", show_default=False)],
    event: Annotated[int, typer.Option("--event", "-k", min=0, help="Which event of the file, from 0.")] = 0,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")] = Path("display.html"),
    detector: Annotated[
        str | None,
        typer.Option(
            "-d",
            "--detector",
            help="Shipped geometry, or a snapshot file; 'none' for cells without it. "
            "[default: as the file says, else the one with these cells]",
        ),
    ] = None,
) -> None:
    """Draw one event in three dimensions, to turn and zoom in any browser, offline.

    Cells have their real shape and place. Works on files of this program, of ddsim, and other EDM4hep files.

    Example: ddcalogen display zh.edm4hep.root --event 3 -o zh.html
    """
    from ddcalogen.display import write_display
    from ddcalogen.edm4hep import Reader
    from ddcalogen.geometry import available_snapshots, load_snapshot

    with Reader(file) as reader:
        if event >= len(reader):
            raise InputError(
                "the file has no such event", found=f"event {event} of {len(reader)}", expected=f"below {len(reader)}"
            )
        content = next(iter(reader.events(event, event + 1)))
        named = {**reader.run_parameters, **reader.metadata}.get("detectorName") if detector is None else detector
    if detector is None and named not in available_snapshots():
        geometry = next((g for g in map(load_snapshot, available_snapshots()) if _holds(g, content)), None)
        what = "cells are drawn as cubes" if geometry is None else f"its cells are those of {geometry.name}"
        console.print(f"the file names no detector that is shipped here: {what}")
    else:
        geometry = None if named == "none" else load_snapshot(str(named))
    write_display(content, geometry, output, file.name)
    cells = sum(len(h) for h in content.calorimeter_hits.values())
    console.print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {cells} cells)")


def _holds(geometry: Geometry, event: Event) -> bool:
    """Whether nearly all cells of an event are cells of a detector, and where they should be."""
    hits = [h for h in event.calorimeter_hits.values() if len(h)]
    if not hits:
        return False
    position = np.concatenate([h.position_mm for h in hits])
    centre = np.asarray(geometry.surfaces.cell_centres(np.concatenate([h.cell_id for h in hits])))
    return float((np.abs(centre - position).max(axis=1) < 0.1).mean()) > 0.9

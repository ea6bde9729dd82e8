# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen geometry`: list, show, locate, export."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import typer
from rich.table import Table

from ddcalogen.cli.console import console
from ddcalogen.cli.simulate import DEFAULT_DETECTOR
from ddcalogen.errors import GeometryError, InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.geometry import Geometry, available_snapshots, load_snapshot

__all__ = ["register"]

Detector = Annotated[str, typer.Option("-d", "--detector", help="Shipped geometry, or a snapshot file.")]


def register(app: typer.Typer) -> None:
    """Add the command group to the program."""
    group = typer.Typer(no_args_is_help=True, help="Look at, query and export detector geometries.")
    group.command("list")(list_snapshots)
    group.command("show")(show)
    group.command("locate")(locate)
    group.command("export")(export)
    app.add_typer(group, name="geometry")


def list_snapshots() -> None:
    """List the shipped geometries."""
    for name in available_snapshots():
        console.print(name)


def show(detector: Detector = DEFAULT_DETECTOR) -> None:
    """Show the detectors, readouts, hit collections, faces and field of a geometry."""
    geometry = load_snapshot(detector)
    console.print(f"{geometry.name}: {geometry.source}")
    field = geometry.field
    console.print(
        f"field {field.b_inside_tesla:g} T for r < {field.r_mm:g} mm, |z| < {field.half_z_mm:g} mm; "
        f"{field.b_outside_tesla:g} T outside; sha256 {geometry.sha256}"
    )
    table = Table("detector", "readout", "volumes", "planes", "technologies", "hit collections", "face, mm")
    planes = geometry.surfaces.planes
    faces = {f.detector: f for f in geometry.faces}
    for number, d in enumerate(geometry.surfaces.detectors):
        mine = [p for p in planes if p.detector == number]
        technologies = Counter(p.technology for p in mine)
        face = faces.get(d.name)
        table.add_row(
            d.name,
            f"{d.readout}\n{d.encoding}",
            str(sum(p.volume_count for p in mine)),
            str(len(mine)),
            ", ".join(str(t) for t in sorted(technologies)),
            "\n".join(f"{c.name} ({c.technology})" for c in d.hit_collections),
            "" if face is None else f"{face.kind} {face.distance_mm:g}",
        )
    console.print(table)


def locate(
    point: Annotated[
        tuple[float, float, float] | None,
        typer.Argument(help="X Y Z in mm, global frame. Put -- before negative numbers."),
    ] = None,
    detector: Detector = DEFAULT_DETECTOR,
    readout: Annotated[
        str | None,
        typer.Option(
            help="Detector or readout of interest, e.g. EcalBarrel or EcalBarrelCollection: the summary says how many "
            "points lie in it. A point in a cell of another detector keeps that cell, as in DD4hep's converter."
        ),
    ] = None,
    points: Annotated[Path | None, typer.Option(help="HDF5 file with dataset position_mm, float64 [N,3], mm.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="HDF5 file to write: cell_id uint64 [N], cell_centre_mm float64 [N,3]."),
    ] = None,
) -> None:
    """Find the cells that contain points: cellID (0 in dead material) and cell centre, exactly as DD4hep.

    Examples:

      ddcalogen geometry locate 1811.6 10 25

      ddcalogen geometry locate --readout EcalBarrel --points in.h5 -o out.h5
    """
    if (point is None) == (points is None):
        raise InputError("give either a point or a file of points", expected="X Y Z, or --points FILE")
    geometry = load_snapshot(detector)
    wanted = None if readout is None else _detector_index(geometry, readout)
    if point is not None:
        cell = geometry.surfaces.locate(np.array([point]))
        _print_cell(geometry, int(cell[0]))
        return
    assert points is not None
    if output is None:
        raise InputError("no output file was named", expected="-o FILE")
    position = _read_points(points)
    cells = geometry.surfaces.locate(position)
    centres = geometry.surfaces.cell_centres(cells)
    with replace_when_complete(output) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("cell_id", data=cells, compression="gzip")
        file.create_dataset("cell_centre_mm", data=centres, compression="gzip")
        file.attrs["detector"] = geometry.name
        file.attrs["geometry_sha256"] = geometry.sha256
    found = f"{int((cells != 0).sum())} of {len(cells)} points lie in a cell"
    if wanted is not None:
        found += f", {int((geometry.surfaces.detector_of(cells) == wanted).sum())} of them in {readout}"
    console.print(f"wrote {output}: {found}")


def _detector_index(geometry: Geometry, readout: str) -> int:
    for number, d in enumerate(geometry.surfaces.detectors):
        if readout in (d.name, d.readout):
            return number
    raise GeometryError(
        "the geometry has no such detector or readout",
        found=readout,
        expected=", ".join(f"{d.name} ({d.readout})" for d in geometry.surfaces.detectors),
    )


def _read_points(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    try:
        with h5py.File(path) as file:
            position = np.asarray(file["position_mm"], dtype=np.float64)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"cannot read the points of {path}",
            found=str(error),
            expected="an HDF5 file with dataset position_mm, float64 [N,3]",
        ) from error
    if position.ndim != 2 or position.shape[1] != 3:
        raise InputError("position_mm has the wrong shape", found=str(position.shape), expected="(N, 3)")
    return position


def _print_cell(geometry: Geometry, cell: int) -> None:
    if cell == 0:
        console.print("no sensitive volume there (cellID 0)")
        return
    surfaces = geometry.surfaces
    cells = np.array([cell], np.uint64)
    info = surfaces.detectors[int(surfaces.detector_of(cells)[0])]
    collection = int(surfaces.collection_of(cells)[0])
    centre = surfaces.cell_centres(cells)[0]
    console.print(f"cellID      {cell} (0x{cell:016x})")
    console.print("            " + ", ".join(f"{k} {v}" for k, v in info.encoding.decode(cell).items()))
    console.print(f"detector    {info.name}, readout {info.readout}")
    if collection >= 0:
        console.print(f"collection  {info.hit_collections[collection].name}")
    console.print(f"centre      {centre[0]:.6f} {centre[1]:.6f} {centre[2]:.6f} mm")


def export(
    compact: Annotated[list[Path], typer.Argument(help="DD4hep compact file(s).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Snapshot to write (HDF5).")],
) -> None:
    """Write the snapshot of any DD4hep detector of planar layers; needs the dd4hep Python bindings."""
    from ddcalogen.geometry import export_dd4hep, save_snapshot

    geometry = export_dd4hep([str(c) for c in compact])
    save_snapshot(geometry, output)
    console.print(
        f"wrote {output}: {geometry.name}, {geometry.surfaces.volume_count} sensitive volumes, "
        f"{geometry.surfaces.plane_count} planes, sha256 {geometry.sha256}"
    )

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of ddsim side by side: python steering/compare_runs.py full.edm4hep.root fast.edm4hep.root ...

Per event: visible energy of the ECAL and its share of the generated energy, hits, energy-weighted mean layer, distance
to the axis (of events with one generated particle) and time; and whether cells exist and contributions resolve.
With --plot profiles.png also a picture: energy by layer and by distance to the axis, and the spectrum of the cells.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from ddcalogen.edm4hep import Event, Reader
from ddcalogen.geometry import Geometry, load_snapshot


def ecal(event: Event, pattern: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cells, energies (GeV) and positions (mm) of the hits of the collections with such names."""
    mine = [hits for name, hits in event.calorimeter_hits.items() if re.search(pattern, name)]
    return (
        np.concatenate([h.cell_id for h in mine]),
        np.concatenate([h.energy_gev.astype(np.float64) for h in mine]),
        np.concatenate([h.position_mm.astype(np.float64) for h in mine]),
    )


LAYER_EDGES = np.arange(-0.5, 30.0)
RADIUS_EDGES_MM = np.linspace(0.0, 100.0, 21)
CELL_EDGES_MEV = np.logspace(-2.0, 2.0, 41)


def layer_and_radius(
    event: Event, geometry: Geometry, cell: npt.NDArray[np.uint64], position: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
    """Layer of each cell, and its distance (mm) to the axis of the generated particle where there is just one."""
    planes = geometry.surfaces.planes
    layer = np.array([planes[p].layer if p >= 0 else -1 for p in geometry.surfaces.plane_of(cell)], np.int64)
    first = np.flatnonzero(event.particles.generator_status == 1)
    if len(first) != 1:
        return layer, None
    momentum = event.particles.momentum_gev[first[0]]
    axis = momentum / np.linalg.norm(momentum)
    away = position - event.particles.vertex_mm[first[0]]
    return layer, np.linalg.norm(away - (away @ axis)[:, None] * axis, axis=1)


def profiles(event: Event, geometry: Geometry, pattern: str) -> tuple[npt.NDArray[np.float64], ...]:
    """Of one event: MeV by layer, MeV by distance to the axis, number of cells by energy."""
    cell, energy, position = ecal(event, pattern)
    layer, radius = layer_and_radius(event, geometry, cell, position)
    mev = 1e3 * energy
    return (
        np.histogram(layer, LAYER_EDGES, weights=mev)[0],
        np.histogram([] if radius is None else radius, RADIUS_EDGES_MM, weights=[] if radius is None else mev)[0],
        np.histogram(mev, CELL_EDGES_MEV)[0].astype(np.float64),
    )


def draw(found: dict[str, list[tuple[npt.NDArray[np.float64], ...]]], path: str) -> None:
    """Draw the mean profiles of all runs over each other, with the errors of the means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    edges = (LAYER_EDGES, RADIUS_EDGES_MM, CELL_EDGES_MEV)
    names = ("layer", "distance to the axis, mm", "energy of a cell, MeV")
    for k, (axes, edge, name) in enumerate(zip(figure.subplots(1, 3), edges, names, strict=True)):
        for label, events in found.items():
            values = np.array([e[k] for e in events])
            mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))
            axes.stairs(mean, edge, label=label)
            centre = np.sqrt(edge[1:] * edge[:-1]) if k == 2 else (edge[1:] + edge[:-1]) / 2
            axes.errorbar(centre, mean, error, fmt="none", color=axes.patches[-1].get_edgecolor())
        axes.set(xlabel=name, ylabel="cells per event" if k == 2 else "MeV per event")
        if k:
            axes.set_yscale("log")
        if k == 2:
            axes.set_xscale("log")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def measure(event: Event, geometry: Geometry, pattern: str) -> dict[str, float]:
    """Numbers of one event."""
    cell, energy, position = ecal(event, pattern)
    first = np.flatnonzero(event.particles.generator_status == 1)
    generated = float(event.particles.energy_gev[first].sum())
    visible = float(energy.sum())
    times = [
        (c.energy_gev.astype(np.float64) * c.time_ns).sum()
        for n, h in event.calorimeter_hits.items()
        if re.search(pattern, n)
        for c in [h.contributions]
    ]
    found = {"visible energy, MeV": 1e3 * visible, "visible / generated, %": 100 * visible / generated}
    found["hits"] = float(len(cell))
    if visible == 0.0:
        return found
    layer, radius = layer_and_radius(event, geometry, cell, position)
    found["mean layer"] = float((energy * layer).sum() / visible)
    found["mean time, ns"] = float(sum(times) / visible)
    if radius is not None:
        found["mean distance to axis, mm"] = float((energy * radius).sum() / visible)
    return found


def check(event: Event, geometry: Geometry, pattern: str) -> dict[str, int]:
    """Counts of what must not be."""
    cell, _, position = ecal(event, pattern)
    known = geometry.surfaces.exists(cell)
    away = np.linalg.norm(position[known] - geometry.surfaces.cell_centres(cell[known]), axis=1)
    links = [h.contributions.particle for n, h in event.calorimeter_hits.items() if re.search(pattern, n)]
    return {
        "hits": len(cell),
        "cells that do not exist": int((~known).sum()),
        "hits off the centre of their cell": int((away > 0.01).sum()),
        "contributions": sum(map(len, links)),
        "contributions without particle": int(sum((link < 0).sum() for link in links)),
    }


def main() -> None:
    """Print both tables, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--detector", default="ILD_l5_o1_v02")
    parser.add_argument("--collections", default="ECal.*Si|EcalEndcapRing", help="pattern of their names")
    parser.add_argument("--plot", help="picture of the profiles to write (needs matplotlib)")
    options = parser.parse_args()
    geometry = load_snapshot(options.detector)
    columns: list[dict[str, str]] = []
    shapes: dict[str, list[tuple[npt.NDArray[np.float64], ...]]] = {}
    for path in options.files:
        rows: dict[str, list[float]] = {}
        counts: dict[str, int] = {"events": 0}
        for event in Reader(path):
            counts["events"] += 1
            if options.plot:
                shapes.setdefault(path, []).append(profiles(event, geometry, options.collections))
            for name, value in measure(event, geometry, options.collections).items():
                rows.setdefault(name, []).append(value)
            for name, number in check(event, geometry, options.collections).items():
                counts[name] = counts.get(name, 0) + number
        column = {name: str(number) for name, number in counts.items()}
        column |= {f"{name} (mean per event)": _mean(values) for name, values in rows.items()}
        columns.append(column)
    if options.plot:
        draw(shapes, options.plot)
    width = max(len(name) for column in columns for name in column)
    print(" " * width, *(f"{path[-34:]:>34}" for path in options.files))
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"{name:{width}}", *(f"{column.get(name, ''):>34}" for column in columns))


def _mean(values: list[float]) -> str:
    array = np.array(values)
    spread: Callable[[npt.NDArray[np.float64]], float] = lambda a: float(a.std(ddof=1) if len(a) > 1 else 0.0)  # noqa: E731
    return f"{array.mean():.4g} ± {spread(array) / np.sqrt(len(array)):.2g} (width {spread(array):.3g})"


if __name__ == "__main__":
    main()

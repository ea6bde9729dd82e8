# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the ways to bring a regular grid into real cells do to Geant4 showers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator
from ddcalogen.training.data import Showers
from ddcalogen.validation import report
from ddcalogen.validation.metrics import separation_power
from ddcalogen.validation.placed import EventCells, barrel_entries, cells_of_showers, mean_of, spots_of, spread_points

__all__ = ["compare_back_projection"]

Doubles = NDArray[np.float64]
_SHOWERS = 150


def compare_back_projection(
    generator: Generator, showers: Showers, seed: int = 1
) -> tuple[report.Section, list[dict[str, Any]]]:
    """What nearest, random and overlap do to Geant4 showers that went through a grid of 1 or 3 × 3 bins per cell."""
    rng = np.random.default_rng([seed, 5])
    showers = showers.select(np.arange(min(len(showers), _SHOWERS)))
    cell = generator.card.calorimeter.cell_size_mm[0]
    particles = barrel_entries(generator, showers, rng)
    exact = spread_points(showers, rng)
    n = len(particles)

    def measured(content: Showers) -> tuple[EventCells, Doubles, Doubles]:
        placed = generator.place(particles, *spots_of(content))
        cells = cells_of_showers(generator.geometry, placed, np.arange(n), n)
        total = np.maximum(cells.sums(cells.energy_gev), 1e-12)
        centre = (
            np.stack([cells.sums(cells.energy_gev * cells.position_mm[:, k]) for k in range(3)], 1) / total[:, None]
        )
        return cells, total, centre

    truth, truth_total, truth_centre = measured(exact)
    edges = np.logspace(-4, -1, 31)
    spectrum = np.histogram(truth.energy_gev, edges)[0].astype(float)
    rows, numbers = [], []
    for bins in (1, 3):
        width = cell / bins
        low = [np.floor(v / width) * width for v in (exact.x_mm, exact.y_mm)]
        for method, parts in (("nearest", 0), ("random", 1), ("overlap", 5)):
            content = _through_grid(exact, low, width, parts, rng)
            cells, total, centre = measured(content)
            mine = np.histogram(cells.energy_gev, edges)[0].astype(float)
            shift = np.linalg.norm(centre - truth_centre, axis=1)
            entry = {
                "grid_mm": width,
                "method": method,
                "hits_ratio": mean_of(cells.hits / np.maximum(truth.hits, 1)),
                "visible_ratio": mean_of(total / truth_total),
                "shift_mm": mean_of(shift),
                "spectrum_separation": separation_power(mine, spectrum),
            }
            numbers.append(entry)
            rows.append([f"{width:.2f}", method, *(str(entry[k]) for k in ("hits_ratio", "visible_ratio", "shift_mm")),
                         f"{entry['spectrum_separation']:.5f}"])  # fmt: skip
    section = report.Section(
        "From a grid into real cells",
        f"{n} Geant4 showers were summed into a regular grid and brought back into real cells: everything at the cell "
        "centre (nearest), at one random point (random), or shared by area (overlap, here as 5 × 5 equal parts). "
        "Compared "
        "with placing the points themselves: cells above threshold, visible energy, shift of the centre of gravity, "
        "separation power of the cell spectrum. Where a ratio is off one, the grid leaves its print on the showers.",
        [
            report.table(
                [
                    "grid (mm)",
                    "method",
                    "cells, ratio",
                    "visible energy, ratio",
                    "shift (mm)",
                    "separation of spectrum",
                ],
                rows,
            )
        ],
    )
    return section, numbers


def _through_grid(showers: Showers, low: list[Doubles], width: float, parts: int, rng: np.random.Generator) -> Showers:
    """Showers as points of a grid: cell centres (parts 0), one random point per grid cell (1), parts × parts
    equal ones."""
    reach = 1 << 12
    row, layer = showers.shower_of_point, showers.layer.astype(np.int64)
    ix, iy = (np.round(v / width).astype(np.int64) + reach // 2 for v in low)
    key, inverse = np.unique(((row * 64 + layer) * reach + ix) * reach + iy, return_inverse=True)
    energy = np.bincount(inverse, showers.point_energy_gev, len(key))
    slot, place = np.divmod(key, reach * reach)
    shower, depth = np.divmod(slot, 64)
    corner = np.stack([place // reach, place % reach], axis=1) - reach // 2
    if parts == 0:
        inner = np.full((len(key), 1, 2), 0.5)
    elif parts == 1:
        inner = rng.uniform(0, 1, (len(key), 1, 2))
    else:
        ticks = (np.arange(parts) + 0.5) / parts
        inner = np.broadcast_to(np.stack(np.meshgrid(ticks, ticks), -1).reshape(1, -1, 2), (len(key), parts**2, 2))
    each = inner.shape[1]
    position = (corner[:, None, :] + inner).reshape(-1, 2) * width
    return dataclasses.replace(
        showers,
        offsets=np.concatenate(([0], np.cumsum(np.bincount(shower, minlength=len(showers)) * each))),
        x_mm=position[:, 0].astype(np.float32),
        y_mm=position[:, 1].astype(np.float32),
        layer=np.repeat(depth, each).astype(np.int16),
        point_energy_gev=np.repeat(energy / each, each).astype(np.float32),
    )

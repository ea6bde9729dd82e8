# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Points in the shower frame -> readout cells -> observables of each shower.

Cells are squares in each layer, on a grid that is shifted at random per shower, as the entry points of particles are in
a detector. Points that were merged on a finer grid (Geant4 files) are never cut by a cell border: the cell grid then
follows the merging grid. Positions are given relative to where the shower axis meets the layer, `along` and `across`
the inclination (the shower frame's x and y for perpendicular showers), so that showers of all angles can be compared.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import InputError
from ddcalogen.training.data import Showers

__all__ = [
    "CELL_MM",
    "GRID_ROTATION_RAD",
    "RADIAL_BINS",
    "SCALARS",
    "SPECTRUM_EDGES_GEV",
    "START_GEV",
    "THRESHOLD_GEV",
    "Cells",
    "Observables",
    "make_cells",
    "measure",
]

Doubles = NDArray[np.float64]

CELL_MM = 5.088333
"""Side of a cell of the ILD ECAL."""
GRID_ROTATION_RAD = math.pi / 8
"""Turn of the cell grid against the shower frame for points that bring no grid of their own."""
THRESHOLD_GEV = {"ecal": 1e-4, "hcal": 2.5e-4}
"""Half a minimum-ionising particle in ILD's silicon and scintillator: cells below are cut (2005.05334, 2112.09709)."""
START_GEV = {"ecal": 1e-3, "hcal": 2.5e-3}
"""Visible energy in a layer from which a shower counts as started: about five minimum-ionising particles."""
RADIAL_BINS = 24
"""Radial profile: bins of one cell width each (2005.05334)."""
SPECTRUM_EDGES_GEV: Doubles = np.logspace(-5.5, 0.0, 111)
"""Edges of the cell energy spectrum, 20 per decade, from below the cut so that the bump of single particles is seen."""

SCALARS: dict[str, tuple[str, str]] = {
    "visible_gev": ("visible energy", "GeV"),
    "response": ("visible / incident energy", ""),
    "hits": ("cells above threshold", ""),
    "cog_along_mm": ("centre of gravity along the inclination", "mm"),
    "cog_across_mm": ("centre of gravity across the inclination", "mm"),
    "cog_layer": ("centre of gravity in depth", "layer"),
    "rms_along_mm": ("width along the inclination", "mm"),
    "rms_across_mm": ("width across the inclination", "mm"),
    "rms_layer": ("width in depth", "layer"),
    "start_layer": ("first layer of the shower", "layer"),
    "third_1": ("energy fraction, first third of the layers", ""),
    "third_2": ("energy fraction, second third of the layers", ""),
    "third_3": ("energy fraction, last third of the layers", ""),
    "radius_mm": ("mean radius", "mm"),
    "within_2_cells": ("energy fraction within two cell widths of the axis", ""),
    "within_6_cells": ("energy fraction within six cell widths of the axis", ""),
    "cell_mean_gev": ("mean energy of a cell", "GeV"),
    "cell_rms_gev": ("width of the cell energies", "GeV"),
}
"""Observables of one shower: name -> (what it is, unit)."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells with energy of N showers, C in all, sorted by shower and layer.

    Attributes
    ----------
    showers, layers
        N, and the number of layers of the calorimeter.
    shower, layer
        int64 [C].
    energy_gev
        float64 [C], visible energy, nothing cut.
    along_mm, across_mm
        float64 [C], cell centre relative to the shower axis in the layer's plane.
    of_point
        int64 [P], cell of each point; -1 where it was cut.
    """

    showers: int
    layers: int
    shower: NDArray[np.int64]
    layer: NDArray[np.int64]
    energy_gev: Doubles
    along_mm: Doubles
    across_mm: Doubles
    of_point: NDArray[np.int64]

    def above(self, threshold_gev: float) -> Cells:
        """Return the cells above a threshold."""
        keep = self.energy_gev > threshold_gev
        columns = ("shower", "layer", "energy_gev", "along_mm", "across_mm")
        number = np.concatenate([np.where(keep, np.cumsum(keep) - 1, -1), [-1]])  # the last stands for "cut before"
        return dataclasses.replace(
            self, of_point=number[self.of_point], **{name: getattr(self, name)[keep] for name in columns}
        )

    @property
    def radius_mm(self) -> Doubles:
        """Distance from the shower axis in the layer's plane, float64 [C]."""
        radius: Doubles = np.hypot(self.along_mm, self.across_mm)
        return radius


def make_cells(
    showers: Showers,
    depth_mm: Doubles,
    *,
    cell_mm: float,
    rotation_rad: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Cells:
    """Sum points into cells.

    Parameters
    ----------
    showers
        Points in the shower frame.
    depth_mm
        float64 [layers], depth of the layers' mid-planes behind the face.
    cell_mm
        Side of a cell.
    rotation_rad
        Turn of the cell grid against the shower frame; that of the merging grid where there is one.
    rng
        Shifts the grid at random for each shower; None: a cell border runs through the entry point of every shower
        (through the border of a merging cell next to it).

    Raises
    ------
    InputError
        The layers were merged on different grids.
    """
    n, layers = len(showers), len(depth_mm)
    row, layer = showers.shower_of_point, showers.layer.astype(np.int64)
    cos, sin = np.cos(rotation_rad), np.sin(rotation_rad)
    u = showers.x_mm * cos + showers.y_mm * sin
    v = -showers.x_mm * sin + showers.y_mm * cos
    if np.ndim(showers.pitch_mm):
        raise InputError(
            "layers merged on different grids do not make cells of one size",
            found=f"pitches {', '.join(f'{p:.4g} mm' for p in np.unique(showers.pitch_mm))}",
            remedy="Take the layers of one calorimeter (Showers.of_layers).",
        )
    pitch = float(showers.pitch_mm)
    if pitch:  # the centres of merging cells lie on multiples of the pitch
        steps = round(cell_mm / pitch)
        shift = (np.zeros((n, 2)) if rng is None else rng.integers(0, steps, (n, 2)).astype(float)) * pitch - pitch / 2
    else:
        shift = np.zeros((n, 2)) if rng is None else rng.uniform(0.0, cell_mm, (n, 2))
    reach = 1 << 12
    iu = np.clip(np.floor((u - shift[row, 0]) / cell_mm).astype(np.int64) + reach // 2, 0, reach - 1)
    iv = np.clip(np.floor((v - shift[row, 1]) / cell_mm).astype(np.int64) + reach // 2, 0, reach - 1)
    key, inverse = np.unique(((row * layers + layer) * reach + iu) * reach + iv, return_inverse=True)
    energy = np.bincount(inverse, showers.point_energy_gev, len(key)).astype(np.float64)
    slot, place = np.divmod(key, reach * reach)
    shower, cell_layer = np.divmod(slot, layers)
    centre_u = (place // reach - reach // 2 + 0.5) * cell_mm + shift[shower, 0]
    centre_v = (place % reach - reach // 2 + 0.5) * cell_mm + shift[shower, 1]
    direction = showers.direction.astype(np.float64)
    tangent = direction[:, :2] / direction[:, 2:3]
    dx = centre_u * cos - centre_v * sin - tangent[shower, 0] * depth_mm[cell_layer]
    dy = centre_u * sin + centre_v * cos - tangent[shower, 1] * depth_mm[cell_layer]
    slope = np.hypot(tangent[:, 0], tangent[:, 1])
    inclined = slope > 1e-3
    e_x = np.where(inclined, tangent[:, 0] / np.where(inclined, slope, 1.0), 1.0)[shower]
    e_y = np.where(inclined, tangent[:, 1] / np.where(inclined, slope, 1.0), 0.0)[shower]
    return Cells(n, layers, shower, cell_layer, energy, dx * e_x + dy * e_y, dy * e_x - dx * e_y, inverse)


@dataclasses.dataclass(frozen=True)
class Observables:
    """What is measured on N showers.

    Attributes
    ----------
    energy_gev, theta_deg
        float64 [N], incident energy and angle to the layer normal.
    scalars
        float64 [N] by name, see `SCALARS`.
    layer_gev
        float64 [N, layers], visible energy in each layer.
    radial_gev
        float64 [N, 24], visible energy in rings of one cell width around the axis.
    spectrum
        int64 [N, 110], number of cells in each bin of `SPECTRUM_EDGES_GEV`, before the cut.
    hit_gev, hit_offsets
        float64 [H], energies of the cells above threshold, those of shower i at hit_offsets[i]:hit_offsets[i + 1].
    cell_mm
        Side of a cell.
    """

    energy_gev: Doubles
    theta_deg: Doubles
    scalars: dict[str, Doubles]
    layer_gev: Doubles
    radial_gev: Doubles
    spectrum: NDArray[np.int64]
    hit_gev: Doubles
    hit_offsets: NDArray[np.int64]
    cell_mm: float

    def __len__(self) -> int:
        return len(self.energy_gev)

    def select(self, keep: NDArray[np.bool_]) -> Observables:
        """Return the showers of a mask."""
        counts = np.diff(self.hit_offsets)
        return Observables(
            self.energy_gev[keep],
            self.theta_deg[keep],
            {name: values[keep] for name, values in self.scalars.items()},
            self.layer_gev[keep],
            self.radial_gev[keep],
            self.spectrum[keep],
            self.hit_gev[np.repeat(keep, counts)],
            np.concatenate(([0], np.cumsum(counts[keep]))),
            self.cell_mm,
        )


def measure(showers: Showers, cells: Cells, *, cell_mm: float, calorimeter: str = "ecal") -> Observables:
    """Measure all observables.

    Parameters
    ----------
    showers
        The showers, for their incident particles.
    cells
        Their cells, from `make_cells`, nothing cut.
    cell_mm
        Side of a cell.
    calorimeter
        "ecal" or "hcal": sets the thresholds.
    """
    n, layers = cells.showers, cells.layers
    hit = cells.above(THRESHOLD_GEV[calorimeter])
    row, gev, depth = hit.shower, hit.energy_gev, hit.layer.astype(np.float64)
    incident = showers.energy_gev.astype(np.float64)

    visible: Doubles = np.bincount(row, gev, n).astype(np.float64)
    safe = np.where(visible > 0, visible, 1.0)
    hits = np.bincount(row, minlength=n).astype(np.float64)
    some = np.maximum(hits, 1.0)

    def mean(values: Doubles) -> Doubles:
        return np.asarray(np.bincount(row, gev * values, n) / safe, np.float64)

    def moments(values: Doubles) -> tuple[Doubles, Doubles]:
        first = mean(values)
        return first, np.sqrt(mean((values - first[row]) ** 2))

    along, along_rms = moments(hit.along_mm)
    across, across_rms = moments(hit.across_mm)
    layer, layer_rms = moments(depth)
    layer_gev: Doubles = np.bincount(row * layers + hit.layer, gev, n * layers).astype(np.float64).reshape(n, layers)
    radius = hit.radius_mm
    ring = np.floor(radius / cell_mm).astype(np.int64)
    inside = ring < RADIAL_BINS
    radial: Doubles = np.bincount(row[inside] * RADIAL_BINS + ring[inside], gev[inside], n * RADIAL_BINS).astype(float)
    started = layer_gev > START_GEV[calorimeter]
    cell_mean = visible / some
    bins = len(SPECTRUM_EDGES_GEV) - 1
    slot = np.digitize(cells.energy_gev, SPECTRUM_EDGES_GEV) - 1
    seen = (slot >= 0) & (slot < bins)
    thirds = [part.sum(axis=1) / safe for part in np.array_split(layer_gev, 3, axis=1)]
    return Observables(
        incident,
        np.degrees(np.arccos(np.clip(showers.direction[:, 2].astype(np.float64), -1, 1))),
        {
            "visible_gev": visible,
            "response": visible / incident,
            "hits": hits,
            "cog_along_mm": along,
            "cog_across_mm": across,
            "cog_layer": layer,
            "rms_along_mm": along_rms,
            "rms_across_mm": across_rms,
            "rms_layer": layer_rms,
            "start_layer": np.where(started.any(axis=1), started.argmax(axis=1), layers).astype(np.float64),
            "third_1": thirds[0],
            "third_2": thirds[1],
            "third_3": thirds[2],
            "radius_mm": mean(radius),
            "within_2_cells": mean((radius < 2 * cell_mm).astype(np.float64)),
            "within_6_cells": mean((radius < 6 * cell_mm).astype(np.float64)),
            "cell_mean_gev": cell_mean,
            "cell_rms_gev": np.sqrt(np.bincount(row, (gev - cell_mean[row]) ** 2, n) / some),
        },
        layer_gev,
        radial.reshape(n, RADIAL_BINS),
        np.bincount(cells.shower[seen] * bins + slot[seen], minlength=n * bins).reshape(n, bins),
        gev,
        np.concatenate(([0], np.cumsum(hits.astype(np.int64)))),
        cell_mm,
    )

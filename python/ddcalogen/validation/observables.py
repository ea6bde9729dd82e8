# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Points in the shower frame -> readout cells -> observables of each shower.

Cells are squares in each layer, on a grid that is shifted at random per shower, as the entry points of particles are in
a detector. A readout is one calorimeter, or several behind each other, each with cells and thresholds of its own.
Points that were merged on a finer grid (Geant4 files) are never cut by a cell border: the cell grid then follows the
merging grid. Positions are given relative to where the shower axis meets the layer, `along` and `across`
the inclination (the shower frame's x and y for perpendicular showers), so that showers of all angles can be compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen.card import Calorimeter
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import find_stack

__all__ = [
    "CELL_MM",
    "GRID_ROTATION_RAD",
    "LAST_LAYERS",
    "RADIAL_BINS",
    "SCALARS",
    "SPECTRUM_EDGES_GEV",
    "START_GEV",
    "THICK_FROM",
    "THRESHOLD_GEV",
    "Cells",
    "Observables",
    "Part",
    "Readout",
    "make_cells",
    "measure",
    "readout_cells",
    "readout_of",
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
"""Radial profile: bins of one cell width each (2005.05334); two cells in an ECAL before an HCAL, where hadrons are
wide."""
LAST_LAYERS = 4
"""Layers at the back whose energy tells that a shower leaks."""
THICK_FROM = 20
"""First ECAL layer behind thick absorbers."""
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
    "depth_from_start": ("centre of gravity behind the first layer of the shower", "layers"),
    "last_layers": (f"energy fraction in the last {LAST_LAYERS} layers", ""),
    "single_hcal_gev": ("mean energy of HCAL cells below 1 MeV", "GeV"),
    "single_ecal_gev": ("mean energy of ECAL cells below 0.4 MeV", "GeV"),
    "ecal_fraction": ("energy fraction in the ECAL", ""),
}
"""Observables of one shower: name -> (what it is, unit). The last five belong to hadrons, the last two to an ECAL
before an HCAL; there, visible energies are multiplied by calibration constants before they are added."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Layers of one calorimeter in a readout.

    name: "ecal" or "hcal"; layers: where they are in the readout; cell_mm: side of a cell; ring_mm: width of a bin of
    the radial profile.
    """

    name: str
    layers: slice
    cell_mm: float
    ring_mm: float

    @property
    def threshold_gev(self) -> float:
        """Cells below are cut."""
        return THRESHOLD_GEV[self.name]


@dataclasses.dataclass(frozen=True)
class Readout:
    """Layers and cells of a calorimeter, or of several behind each other.

    depth_mm float64 [layers], depth of the mid-planes behind the face; parts: in order.
    """

    depth_mm: Doubles
    parts: tuple[Part, ...]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.depth_mm)

    @property
    def hadronic(self) -> bool:
        """Whether there is an HCAL: what is measured, and where a shower starts, is that of hadrons."""
        return any(part.name == "hcal" for part in self.parts)

    @property
    def combined(self) -> bool:
        """Whether there are several calorimeters, so that visible energies only add up when weighted."""
        return len(self.parts) > 1

    def of_layers(self, values: Sequence[float]) -> Doubles:
        """One value for each part -> float64 [layers]."""
        result = np.empty(self.layers)
        for part, value in zip(self.parts, values, strict=True):
            result[part.layers] = value
        return result

    @property
    def scalars(self) -> dict[str, tuple[str, str]]:
        """Observables of this readout: name -> (what it is, unit)."""
        left_out = set() if self.hadronic else {"depth_from_start", "last_layers", "single_hcal_gev"}
        if not self.combined:
            left_out |= {"single_ecal_gev", "ecal_fraction"}
        named = {n: t for n, t in SCALARS.items() if n not in left_out}
        if not self.combined:
            return named
        return {
            **named,
            "visible_gev": ("calibrated energy", "GeV"),
            "response": ("calibrated / incident energy", ""),
            "cell_mean_gev": ("mean calibrated energy of a cell", "GeV"),
            "cell_rms_gev": ("width of the calibrated cell energies", "GeV"),
        }

    @staticmethod
    def single(name: str, depth_mm: Sequence[float] | Doubles, cell_mm: float) -> Readout:
        """Readout of one calorimeter, "ecal" or "hcal"."""
        depth = np.asarray(depth_mm, np.float64)
        return Readout(depth, (Part(name, slice(0, len(depth)), cell_mm, cell_mm),))


def readout_of(calorimeter: Calorimeter) -> Readout:
    """Return the readout of the calorimeter that a card or a stack describes.

    Raises
    ------
    ConfigurationError
        Its thresholds are not known, or it has not the layers that its name promises.
    """
    names = calorimeter.name.lower().split("+")
    depth = np.array(calorimeter.layer_depth_mm)
    unknown = [name for name in names if name not in THRESHOLD_GEV]
    if unknown:
        raise ConfigurationError(
            "showers of this calorimeter cannot be measured",
            found=calorimeter.name,
            expected=" or ".join(name.upper() for name in THRESHOLD_GEV) + ", or several joined by +",
        )
    if len(names) == 1:
        return Readout.single(names[0], depth, calorimeter.cell_size_mm[0])
    stack = find_stack(calorimeter.name)
    if stack.layers != len(depth):
        raise ConfigurationError(
            "the calorimeter has not the layers of the known one of its name",
            found=f"{len(depth)} layers of {calorimeter.name}",
            expected=str(stack.layers),
        )
    parts = []
    for name, layers in stack.parts.items():
        cell = stack.cell_mm[layers.start]
        parts.append(Part(name, layers, cell, 2 * cell if name == "ecal" else cell))
    return Readout(depth, tuple(parts))


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

    def above(self, threshold_gev: float | Doubles) -> Cells:
        """Return the cells above a threshold, the same in all layers or float64 [layers]."""
        limit = np.asarray(threshold_gev, np.float64)
        keep = self.energy_gev > (limit[self.layer] if limit.ndim else limit)
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


def readout_cells(
    showers: Showers, readout: Readout, *, rotation_rad: float = 0.0, rng: np.random.Generator | None = None
) -> Cells:
    """Sum points into the cells of a readout; see `make_cells`."""
    made = []
    for part in readout.parts:
        mine = showers.of_layers(part.layers) if readout.combined else showers
        depth = readout.depth_mm[part.layers]
        made.append(make_cells(mine, depth, cell_mm=part.cell_mm, rotation_rad=rotation_rad, rng=rng))
    if len(made) == 1:
        return made[0]
    of_point, first = np.empty(len(showers.layer), np.int64), 0
    for part, cells in zip(readout.parts, made, strict=True):
        inside = (showers.layer >= part.layers.start) & (showers.layer < part.layers.stop)
        of_point[inside] = cells.of_point + first
        first += len(cells.energy_gev)
    layer = np.concatenate([c.layer + p.layers.start for p, c in zip(readout.parts, made, strict=True)])
    shower = np.concatenate([c.shower for c in made])
    order = np.argsort(shower, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))

    def column(name: str) -> Doubles:
        return np.concatenate([getattr(c, name) for c in made])[order]

    return Cells(
        len(showers), readout.layers, shower[order], layer[order], column("energy_gev"), column("along_mm"),
        column("across_mm"), place[of_point],
    )  # fmt: skip


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
        float64 [N, parts, 24], visible energy in rings around the axis, for each calorimeter.
    spectrum
        int64 [N, parts, 110], number of cells in each bin of `SPECTRUM_EDGES_GEV`, before the cut.
    hit_gev, hit_part, hit_offsets
        float64 [H], int64 [H]: energies of the cells above threshold and the part they are in; those of shower i at
        hit_offsets[i]:hit_offsets[i + 1].
    readout
        What was measured.
    weights
        float64 [layers], what visible energies were multiplied by in the scalars: 1, or the calibration.
    """

    energy_gev: Doubles
    theta_deg: Doubles
    scalars: dict[str, Doubles]
    layer_gev: Doubles
    radial_gev: Doubles
    spectrum: NDArray[np.int64]
    hit_gev: Doubles
    hit_part: NDArray[np.int64]
    hit_offsets: NDArray[np.int64]
    readout: Readout
    weights: Doubles

    def __len__(self) -> int:
        return len(self.energy_gev)

    @staticmethod
    def join(parts: Sequence[Observables]) -> Observables:
        """Return the showers of several, one after the other; readout and weights are those of the first."""

        def joined(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts])

        counts = np.concatenate([np.diff(part.hit_offsets) for part in parts])
        return Observables(
            joined("energy_gev"),
            joined("theta_deg"),
            {name: np.concatenate([part.scalars[name] for part in parts]) for name in parts[0].scalars},
            joined("layer_gev"),
            joined("radial_gev"),
            joined("spectrum"),
            joined("hit_gev"),
            joined("hit_part"),
            np.concatenate(([0], np.cumsum(counts))),
            parts[0].readout,
            parts[0].weights,
        )

    def select(self, keep: NDArray[np.bool_]) -> Observables:
        """Return the showers of a mask."""
        counts = np.diff(self.hit_offsets)
        hits = np.repeat(keep, counts)
        return Observables(
            self.energy_gev[keep],
            self.theta_deg[keep],
            {name: values[keep] for name, values in self.scalars.items()},
            self.layer_gev[keep],
            self.radial_gev[keep],
            self.spectrum[keep],
            self.hit_gev[hits],
            self.hit_part[hits],
            np.concatenate(([0], np.cumsum(counts[keep]))),
            self.readout,
            self.weights,
        )


def measure(showers: Showers, cells: Cells, readout: Readout, weights: Doubles | None = None) -> Observables:
    """Measure all observables.

    Parameters
    ----------
    showers
        The showers, for their incident particles.
    cells
        Their cells, from `readout_cells`, nothing cut.
    readout
        The calorimeter.
    weights
        float64 [layers], what visible energies are multiplied by where those of different layers are added: calibration
        constants for several calorimeters. None: 1.
    """
    n, layers = cells.showers, cells.layers
    weight = np.ones(layers) if weights is None else weights
    hit = cells.above(readout.of_layers([p.threshold_gev for p in readout.parts]))
    row, depth = hit.shower, hit.layer.astype(np.float64)
    part_of_layer = readout.of_layers(list(range(len(readout.parts)))).astype(np.int64)
    gev = hit.energy_gev * weight[hit.layer]
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
    seen: Doubles = np.bincount(row * layers + hit.layer, hit.energy_gev, n * layers).astype(np.float64)
    layer_gev = seen.reshape(n, layers)
    radius, part = hit.radius_mm, part_of_layer[hit.layer]
    ring = np.floor(radius / np.array([p.ring_mm for p in readout.parts])[part]).astype(np.int64)
    inside = ring < RADIAL_BINS
    parts = len(readout.parts)
    slot = (row * parts + part) * RADIAL_BINS + ring
    radial = np.bincount(slot[inside], hit.energy_gev[inside], n * parts * RADIAL_BINS).astype(np.float64)
    start = _start_layer(layer_gev, readout)
    cell_mean = visible / some
    cell = readout.of_layers([p.cell_mm for p in readout.parts])[hit.layer]
    bins = len(SPECTRUM_EDGES_GEV) - 1
    bin_of = np.digitize(cells.energy_gev, SPECTRUM_EDGES_GEV) - 1
    known = (bin_of >= 0) & (bin_of < bins)
    slot = (cells.shower * parts + part_of_layer[cells.layer]) * bins + bin_of
    weighted = layer_gev * weight
    thirds = [third.sum(axis=1) / safe for third in np.array_split(weighted, 3, axis=1)]
    values = {
        "visible_gev": visible,
        "response": visible / incident,
        "hits": hits,
        "cog_along_mm": along,
        "cog_across_mm": across,
        "cog_layer": layer,
        "rms_along_mm": along_rms,
        "rms_across_mm": across_rms,
        "rms_layer": layer_rms,
        "start_layer": start,
        "third_1": thirds[0],
        "third_2": thirds[1],
        "third_3": thirds[2],
        "radius_mm": mean(radius),
        "within_2_cells": mean((radius < 2 * cell).astype(np.float64)),
        "within_6_cells": mean((radius < 6 * cell).astype(np.float64)),
        "cell_mean_gev": cell_mean,
        "cell_rms_gev": np.sqrt(np.bincount(row, (gev - cell_mean[row]) ** 2, n) / some),
        "depth_from_start": np.where(start < layers, layer - start, 0.0),
        "last_layers": weighted[:, -LAST_LAYERS:].sum(axis=1) / safe,
        "ecal_fraction": weighted[:, readout.parts[0].layers].sum(axis=1) / safe,
        **{f"single_{p.name}_gev": _single_particles(hit, p) for p in readout.parts},
    }
    return Observables(
        incident,
        np.degrees(np.arccos(np.clip(showers.direction[:, 2].astype(np.float64), -1, 1))),
        {name: values[name] for name in readout.scalars},
        layer_gev,
        radial.reshape(n, parts, RADIAL_BINS),
        np.bincount(slot[known], minlength=n * parts * bins).reshape(n, parts, bins),
        hit.energy_gev,
        part,
        np.concatenate(([0], np.cumsum(hits.astype(np.int64)))),
        readout,
        weight,
    )


def _single_particles(hit: Cells, part: Part) -> Doubles:
    """Mean energy of the cells up to four thresholds, mostly of one particle; the threshold if there are none."""
    inside = (hit.layer >= part.layers.start) & (hit.layer < part.layers.stop)
    few = inside & (hit.energy_gev < 4 * part.threshold_gev)
    number = np.bincount(hit.shower[few], minlength=hit.showers)
    total = np.bincount(hit.shower[few], hit.energy_gev[few], hit.showers)
    return np.where(number > 0, total / np.maximum(number, 1), part.threshold_gev)


def _start_layer(layer_gev: Doubles, readout: Readout) -> Doubles:
    """First layer of each shower, float64 [N]; the number of layers where it does not start.

    Hadrons pass layers as single particles before they interact, with fluctuating losses: their showers start at the
    first of two layers in a row with more than `START_GEV`.
    """
    started = layer_gev > readout.of_layers([START_GEV[p.name] for p in readout.parts])
    if readout.hadronic:
        started[:, :-1] &= started[:, 1:]
        started[:, -1] = False
    start: Doubles = np.where(started.any(axis=1), started.argmax(axis=1), layer_gev.shape[1]).astype(np.float64)
    return start

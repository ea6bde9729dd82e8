# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers as networks see them: regular grids and point clouds, made from packed points on the fly.

A batch is a dictionary of tensors. It always has ``energy`` float32 [B, 1] GeV, ``direction`` float32 [B, 3] and
``pdg`` int64 [B, 1]; a representation adds its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcalogen.card import GridOutput
from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack

__all__ = [
    "Batch",
    "Clouds",
    "Grids",
    "Representation",
    "axis_drift_mm",
    "cluster",
    "mirrored",
]

Batch = dict[str, Tensor]
Doubles = NDArray[np.float64]


class Representation(Protocol):
    """Turns showers into the tensors of a batch."""

    def __call__(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> Batch:
        """Return the tensors of a representation; `rng` places grids at random."""


def mirrored(showers: Showers, axes: Sequence[Literal["x", "y"]]) -> Showers:
    """Return showers with x or y (or both) and that component of the direction turned round.

    With a magnetic field along x, x -> -x is an exact symmetry, for charged particles too, since a field is an axial
    vector. y -> -y turns the field round: exact together with the exchange of particles and antiparticles. So it holds
    for photons except for what electrons and positrons of a shower do differently (there are more electrons), and not
    for charged particles.
    """
    sign = {axis: -1.0 if axis in axes else 1.0 for axis in ("x", "y")}
    return dataclasses.replace(
        showers,
        direction=showers.direction * np.array([sign["x"], sign["y"], 1.0], np.float32),
        x_mm=showers.x_mm * np.float32(sign["x"]),
        y_mm=showers.y_mm * np.float32(sign["y"]),
        grid_rotation_rad=showers.grid_rotation_rad * sign["x"] * sign["y"],
    )


def axis_drift_mm(showers: Showers, stack: Stack) -> tuple[Doubles, Doubles]:
    """x and y of the shower axis in each point's layer, float64 [P] each, mm."""
    direction = showers.direction.astype(np.float64)
    depth = np.array(stack.layer_depth_mm)[showers.layer]
    row = showers.shower_of_point
    slope_x, slope_y = direction[:, 0] / direction[:, 2], direction[:, 1] / direction[:, 2]
    return slope_x[row] * depth, slope_y[row] * depth


def _spread(showers: Showers, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """x and y of the points, each at a random place in its merging cell, mm."""
    x, y = showers.x_mm.astype(np.float64), showers.y_mm.astype(np.float64)
    if not showers.on_grid:
        return x, y
    width = showers.point_pitch_mm
    u, v = (rng.uniform(-0.5, 0.5, len(x)) * width for _ in range(2))
    cos, sin = np.cos(showers.grid_rotation_rad), np.sin(showers.grid_rotation_rad)
    return x + u * cos - v * sin, y + u * sin + v * cos


@dataclasses.dataclass(frozen=True)
class Grids:
    """Regular grids: ``grid`` float32 [B, layers, nx, ny], visible energy in GeV.

    Attributes
    ----------
    nx, ny
        Cells per layer; 30 x 30 in the ECAL, 25 x 25 or 48 x 48 in the HCAL of the founding work, more for angles.
    cell_mm
        Side of a cell.
    follows_axis
        True: each layer's grid is centred on the shower axis; False: on the entry point.
    lower_mm
        x and y of the lower edge; None: the grid is centred.
    random_offset
        Shifts the grid of each shower by up to half a cell either way, as entry points fall in a detector. False: the
        shower's entry is always at the same place of the grid, as in the founding work.
    """

    nx: int = 30
    ny: int = 30
    cell_mm: float = 5.088333
    follows_axis: bool = True
    lower_mm: tuple[float, float] | None = None
    random_offset: bool = False

    @property
    def lower_edge_mm(self) -> tuple[float, float]:
        """x and y of the lower edge of the first cell."""
        return self.lower_mm or (-0.5 * self.nx * self.cell_mm, -0.5 * self.ny * self.cell_mm)

    def output(self, layers: int) -> GridOutput:
        """Return the output of a model that makes these grids, for its card."""
        return GridOutput(
            kind="grid",
            shape=(layers, self.nx, self.ny),
            cell_mm=(self.cell_mm, self.cell_mm),
            lower_edge_mm=self.lower_edge_mm,
            follows_axis=self.follows_axis,
        )

    def fill(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> NDArray[np.float32]:
        """Sum points into the grid, float32 [N, layers, nx, ny] in GeV; energy beyond its edges is lost."""
        x, y = _spread(showers, rng)
        if self.follows_axis:
            drift_x, drift_y = axis_drift_mm(showers, stack)
            x, y = x - drift_x, y - drift_y
        row = showers.shower_of_point
        shift = rng.uniform(-0.5, 0.5, (len(showers), 2)) if self.random_offset else np.zeros((len(showers), 2))
        low = self.lower_edge_mm
        ix = np.floor((x - low[0]) / self.cell_mm + shift[row, 0]).astype(np.int64)
        iy = np.floor((y - low[1]) / self.cell_mm + shift[row, 1]).astype(np.int64)
        inside = (ix >= 0) & (ix < self.nx) & (iy >= 0) & (iy < self.ny)
        cell = ((row * stack.layers + showers.layer) * self.nx + ix) * self.ny + iy
        size = len(showers) * stack.layers * self.nx * self.ny
        grid = np.bincount(cell[inside], showers.point_energy_gev[inside], size).astype(np.float32)
        return grid.reshape(len(showers), stack.layers, self.nx, self.ny)

    def __call__(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> Batch:
        """Sum points into the grid."""
        return {"grid": torch.from_numpy(self.fill(showers, stack, rng))}


def cluster(
    showers: Showers, stack: Stack, rng: np.random.Generator, *, pitch_mm: Doubles, relative: bool = True
) -> Showers:
    """Merge points that lie in the same square of a layer, on squares at a random offset for each shower.

    Parameters
    ----------
    pitch_mm
        float64 [layers], side of the squares; 0 or no larger than the pitch the points were already merged on: those
        layers stay as they are, each point at a random place in its merging cell.
    relative
        True: positions relative to the shower axis in the layer.

    Returns
    -------
    showers
        Same particles; points sorted by shower and layer, at the energy-weighted mean of what was merged.
    """
    x, y = _spread(showers, rng)
    if relative:
        drift_x, drift_y = axis_drift_mm(showers, stack)
        x, y = x - drift_x, y - drift_y
    row, layer = showers.shower_of_point, showers.layer.astype(np.int64)
    width = pitch_mm[layer]
    done = width <= showers.point_pitch_mm + 1e-6
    safe = np.where(done, 1.0, width)
    shift = rng.uniform(0.0, 1.0, (len(showers), 2))
    reach = 1 << 13
    u = np.clip(np.floor(x / safe + shift[row, 0]).astype(np.int64) + reach // 2, 0, reach - 1)
    v = np.clip(np.floor(y / safe + shift[row, 1]).astype(np.int64) + reach // 2, 0, reach - 1)
    key = ((row * stack.layers + layer) * reach + u) * reach + v
    # layers that stay as they are: every point a square of its own
    place = np.where(done, np.arange(len(row)) + 1, 0)
    order = np.lexsort((place, key))
    first = np.ones(len(order), np.bool_)
    first[1:] = (key[order][1:] != key[order][:-1]) | (place[order][1:] != place[order][:-1])
    group = np.cumsum(first) - 1
    gev = showers.point_energy_gev[order].astype(np.float64)
    number = int(group[-1]) + 1 if len(group) else 0
    energy = np.bincount(group, gev, number)
    weight = np.where(gev > 0, gev, 1e-30)
    total = np.bincount(group, weight, number)
    head = order[first]
    return dataclasses.replace(
        showers,
        offsets=np.concatenate(([0], np.cumsum(np.bincount(row[head], minlength=len(showers))))).astype(np.int64),
        x_mm=(np.bincount(group, weight * x[order], number) / total).astype(np.float32),
        y_mm=(np.bincount(group, weight * y[order], number) / total).astype(np.float32),
        layer=showers.layer[head],
        point_energy_gev=energy.astype(np.float32),
        pitch_mm=0.0,
        grid_rotation_rad=0.0,
    )


@dataclasses.dataclass(frozen=True)
class Clouds:
    """Point clouds: ``points`` float32 [B, N, 4] (x mm, y mm, layer, GeV), zero behind the last; ``counts`` int64 [B];
    also ``layer_counts`` and ``layer_energy`` float32 [B, layers] (GeV).

    Attributes
    ----------
    level
        "subcell": squares of a fifth of a cell (the merging grid of the slab files); "cell": squares of a readout cell.
    relative
        True: positions relative to the shower axis in the layer.
    maximum
        Points of a shower at most; the ones of least energy are left out.
    threshold_gev
        Points below are left out.
    """

    level: Literal["subcell", "cell"] = "subcell"
    relative: bool = True
    maximum: int = 30_000
    threshold_gev: float = 0.0

    def merge(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> Showers:
        """Cluster the points of showers."""
        cell = np.array(stack.cell_mm)
        return cluster(
            showers, stack, rng, pitch_mm=cell / 5.0 if self.level == "subcell" else cell, relative=self.relative
        )

    def __call__(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> Batch:
        """Cluster, cut and pad."""
        merged = self.merge(showers, stack, rng)
        row, energy = merged.shower_of_point, merged.point_energy_gev
        keep = energy >= self.threshold_gev if self.threshold_gev > 0 else np.ones(len(row), np.bool_)
        counts = np.bincount(row[keep], minlength=len(showers))
        for shower in np.flatnonzero(counts > self.maximum):
            inside = np.flatnonzero(keep & (row == shower))
            keep[inside[np.argsort(-energy[inside], kind="stable")[self.maximum :]]] = False
        row = row[keep]
        counts = np.bincount(row, minlength=len(showers))
        place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        points = np.zeros((len(showers), max(1, int(counts.max(initial=0))), 4), np.float32)
        layer = merged.layer[keep].astype(np.int64)
        points[row, place] = np.stack(
            [merged.x_mm[keep], merged.y_mm[keep], layer.astype(np.float32), energy[keep]], axis=1
        )
        slot = row * stack.layers + layer
        shape = (len(showers), stack.layers)
        number = np.bincount(slot, minlength=shape[0] * shape[1]).reshape(shape)
        gev = np.bincount(slot, energy[keep], shape[0] * shape[1]).reshape(shape)
        return {
            "points": torch.from_numpy(points),
            "counts": torch.from_numpy(counts.astype(np.int64)),
            "layer_counts": torch.from_numpy(number.astype(np.float32)),
            "layer_energy": torch.from_numpy(gev.astype(np.float32)),
        }

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the layered shower is trained on: deposits merged to spots, and the numbers that characterise a shower."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ddcalogen.errors import InputError
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch, axis_drift_mm
from ddcalogen.training.stacks import Stack

__all__ = [
    "LATENTS",
    "RADIUS_OFFSET_MM",
    "RINGS",
    "RING_EDGES_MM",
    "SpotSummaries",
    "Spots",
    "across_axis",
    "merge_deposits",
    "shape_latents",
    "stretch",
]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

RING_EDGES_MM = (5.0, 10.0, 15.0, 25.0, 45.0, 90.0)
"""Edges of the rings around the shower axis, in the plane of a layer."""
RINGS = len(RING_EDGES_MM) + 1
LATENTS = RINGS - 1 + 2
"""Numbers that shape a shower across: energies in rings (one less than rings), dipole along and across."""
RADIUS_OFFSET_MM = 1.5
"""Radii are learned as ln(r + this)."""
LEAST_MEV = 1e-3
"""Spots of less energy are taken as this."""
_SUBCELLS, _LEAST_SUBCELLS = 5, 3
_RING_FLOOR_MEV = 0.02
_ROUND_MM = 250.0


@dataclasses.dataclass(frozen=True)
class Spots:
    """Merged deposits of N showers, P in all.

    Attributes
    ----------
    shower, layer
        int64 [P].
    along_mm, across_mm
        float64 [P], relative to where the shower axis meets the layer, along and across the inclination (x and y for
        perpendicular showers).
    mev
        float64 [P], visible energy.
    """

    shower: Integers
    layer: Integers
    along_mm: Doubles
    across_mm: Doubles
    mev: Doubles


def merge_deposits(showers: Showers, stack: Stack, rng: np.random.Generator, *, below_mev: float | Doubles) -> Spots:
    """Merge small deposits into neighbours, so that a spot is about one particle or a part of the core.

    Deposits lie on a grid of a fifth of a readout cell (a third in the HCAL). One of less than `below_mev` joins the
    most energetic of its eight neighbours in the layer, if that has more energy and lies in the same readout cell.
    Readout cells lie at a random offset for each shower: spots that come of a particle at the border of two cells stay
    two, so that spots placed one by one give the right spectrum of cell energies.

    Parameters
    ----------
    below_mev
        Of all layers, or float64 [layers].

    Raises
    ------
    InputError
        The deposits lie on a grid that is coarser than a third of a cell.
    """
    x, y = showers.x_mm.astype(np.float64), showers.y_mm.astype(np.float64)
    row, layer = showers.shower_of_point, showers.layer.astype(np.int64)
    merged_on = np.broadcast_to(np.asarray(showers.pitch_mm, np.float64), stack.layers)
    cell_mm = np.array(stack.cell_mm)
    if np.any(merged_on > 1.01 * cell_mm / _LEAST_SUBCELLS):
        raise InputError(
            "the deposits lie on too coarse a grid for this system",
            found=f"{merged_on.max():.4g} mm",
            expected=f"at most {cell_mm[int(merged_on.argmax())] / _LEAST_SUBCELLS:.4g} mm",
        )
    subcells = np.where(merged_on > 0, np.round(cell_mm / np.where(merged_on > 0, merged_on, 1.0)), _SUBCELLS)
    subcells = subcells.astype(np.int64)[layer]
    if merged_on.any():  # centres of merging cells lie on multiples of the pitch
        pitch = merged_on[layer]
        cos, sin = np.cos(showers.grid_rotation_rad), np.sin(showers.grid_rotation_rad)
        iu, iv = np.round((x * cos + y * sin) / pitch), np.round((y * cos - x * sin) / pitch)
    else:
        pitch = cell_mm[layer] / _SUBCELLS
        place = rng.uniform(0.0, 1.0, (len(showers), 2))
        iu, iv = np.floor(x / pitch + place[row, 0]), np.floor(y / pitch + place[row, 1])
    reach = 1 << 12
    u, v = (np.clip(i.astype(np.int64) + reach // 2, 1, reach - 2) for i in (iu, iv))
    shift = rng.integers(0, 1 << 20, (len(showers), 2))[row]
    cell = (u + shift[:, 0] % subcells) // subcells * reach + (v + shift[:, 1] % subcells) // subcells
    mev = showers.point_energy_gev.astype(np.float64) * 1e3
    key = ((row * stack.layers + layer) * reach + u) * reach + v
    order = np.argsort(key, kind="stable")
    key, cell, sorted_mev = key[order], cell[order], mev[order]
    target, best = np.arange(len(key)), sorted_mev.copy()
    limit = np.broadcast_to(np.asarray(below_mev, np.float64), stack.layers)[layer[order]]
    small = np.flatnonzero(sorted_mev < limit)
    here = key[small]
    for du in (-1, 0, 1):  # the three neighbours in a row of the grid follow one another in order of the key
        near = np.searchsorted(key, here + (du * reach - 1)) if du else np.maximum(small - 1, 0)
        for _ in range(3):
            near = np.minimum(near, len(key) - 1)
            better = (np.abs(key[near] - here - du * reach) <= 1) & (sorted_mev[near] > best[small])
            better &= cell[near] == cell[small]
            best[small[better]] = sorted_mev[near[better]]
            target[small[better]] = near[better]
            near = near + 1
    while not np.array_equal(target, target[target]):
        target = target[target]
    root, spot = np.unique(target, return_inverse=True)
    weight = np.maximum(sorted_mev, 1e-9)
    total = np.bincount(spot, weight, len(root))
    drift_x, drift_y = axis_drift_mm(showers, stack)
    dx = np.bincount(spot, weight * (x - drift_x)[order], len(root)) / total
    dy = np.bincount(spot, weight * (y - drift_y)[order], len(root)) / total
    shower = row[order][root]
    direction = showers.direction.astype(np.float64)
    sin_theta = np.hypot(direction[:, 0], direction[:, 1])
    inclined = sin_theta >= 1e-3
    safe = np.where(inclined, sin_theta, 1.0)
    e_x = np.where(inclined, direction[:, 0] / safe, 1.0)[shower]
    e_y = np.where(inclined, direction[:, 1] / safe, 0.0)[shower]
    return Spots(
        shower,
        layer[order][root],
        dx * e_x + dy * e_y,
        dy * e_x - dx * e_y,
        np.bincount(spot, sorted_mev, len(root)).astype(np.float64),
    )


Numbers = TypeVar("Numbers", Doubles, torch.Tensor)


def stretch(radius_mm: Numbers, secant: Numbers) -> Numbers:
    """How much longer a shower is along the inclination than across in the plane of a layer, at a radius across.

    That of a cylinder around the axis, but far out, where particles come from all sides, nothing.
    """
    far = radius_mm * (1.0 / _ROUND_MM)
    far = far * far
    return 1.0 + (secant - 1.0) / (1.0 + far * far)


def across_axis(along_mm: Doubles, across_mm: Doubles, secant: Doubles) -> tuple[Doubles, Doubles]:
    """Return distances along the inclination without the stretch, and radii: the inverse of what the sampler does."""
    radius = np.hypot(along_mm / secant, across_mm)
    for _ in range(6):
        along = along_mm / stretch(radius, secant)
        radius = np.hypot(along, across_mm)
    return along, radius


def shape_latents(
    spots: Spots, showers: int, rng: np.random.Generator, edges_mm: Sequence[float] = RING_EDGES_MM
) -> Doubles:
    """Logits of the energy in each ring as a share of what lies in it and outside; dipole: float64 [N, LATENTS]."""
    radius = np.hypot(spots.along_mm, spots.across_mm)
    ring = np.searchsorted(np.array(edges_mm), radius, side="right")
    table = np.bincount(spots.shower * RINGS + ring, spots.mev, showers * RINGS).reshape(showers, RINGS)
    columns = []
    for k in range(RINGS - 1):
        here = table[:, k] + _RING_FLOOR_MEV * rng.uniform(0.3, 1.0, showers)
        share = np.clip(here / (table[:, k:].sum(1) + 2.0 * _RING_FLOOR_MEV), 1e-3, 1.0 - 1e-4)
        columns.append(np.log(share / (1.0 - share)))
    weight = np.maximum(np.bincount(spots.shower, spots.mev * radius, showers), 1e-9)
    columns.append(np.bincount(spots.shower, spots.mev * spots.along_mm, showers) / weight)
    columns.append(np.bincount(spots.shower, spots.mev * spots.across_mm, showers) / weight)
    return np.stack(columns, 1)


@dataclasses.dataclass(frozen=True)
class SpotSummaries:
    """Batches of the layered shower.

    ``layer_mev``, ``layer_counts`` float32 [B, layers]: visible energy and spots; ``latents`` float32 [B, LATENTS];
    and of `spots` spots drawn from each shower, float32 or int64 [B, spots]: ``spot_layer``, ``spot_rank`` (place of
    its radius among those of its layer, in (0, 1)), ``spot_radius`` (ln(r / mm + RADIUS_OFFSET_MM), r across the axis),
    ``spot_turn`` (azimuth against the inclination, in turns), ``spot_log_mev``.

    Attributes
    ----------
    spots
        Drawn from each shower; 0: none.
    below_mev
        See `merge_deposits`.
    """

    spots: int
    below_mev: float

    def __call__(self, showers: Showers, stack: Stack, rng: np.random.Generator) -> Batch:
        """Merge, sum up and draw."""
        number = len(showers)
        spots = merge_deposits(showers, stack, rng, below_mev=self.below_mev)
        slot = spots.shower * stack.layers + spots.layer
        counts = np.bincount(slot, minlength=number * stack.layers)
        energy = np.bincount(slot, spots.mev, number * stack.layers)
        batch: Batch = {
            "layer_mev": torch.from_numpy(energy.reshape(number, -1).astype(np.float32)),
            "layer_counts": torch.from_numpy(counts.reshape(number, -1).astype(np.float32)),
            "latents": torch.from_numpy(shape_latents(spots, number, rng).astype(np.float32)),
        }
        if not self.spots:
            return batch
        cos = showers.direction[:, 2].astype(np.float64)[spots.shower]
        along, radius = across_axis(spots.along_mm, spots.across_mm, 1.0 / cos)
        order = np.lexsort((radius, slot))
        rank = np.empty(len(slot))
        rank[order] = np.arange(len(slot)) - (np.cumsum(counts) - counts)[slot[order]]
        each = np.bincount(spots.shower, minlength=number)
        first = np.cumsum(each) - each
        # a shower without spots, which there should not be, would show those of another
        drawn = (first[:, None] + rng.random((number, self.spots)) * each[:, None]).astype(np.int64)
        drawn = np.minimum(drawn, len(slot) - 1)
        columns = {
            "spot_rank": (rank + rng.random(len(slot))) / counts[slot],
            "spot_radius": np.log(radius + RADIUS_OFFSET_MM),
            "spot_turn": np.arctan2(spots.across_mm, along) / (2.0 * np.pi) % 1.0,
            "spot_log_mev": np.log(np.maximum(spots.mev, LEAST_MEV)),
        }
        batch |= {name: torch.from_numpy(values[drawn].astype(np.float32)) for name, values in columns.items()}
        return batch | {"spot_layer": torch.from_numpy(spots.layer[drawn])}

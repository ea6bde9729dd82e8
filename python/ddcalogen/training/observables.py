# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Shower observables at the level of readout cells, and distances between their distributions.

Cells are squares of `cell_mm` in each layer. The cell grid is turned and shifted at random per shower against the
shower, as it is in a detector; on merged points (see `Showers.pitch_mm`) it follows the borders of the merging grid, so
that no point is cut.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from ddcalogen.training.data import Showers

__all__ = [
    "CELL_MM",
    "GRID_ROTATION_RAD",
    "Cells",
    "classifier_auc",
    "make_cells",
    "shower_observables",
    "wasserstein_percent",
]

Doubles = NDArray[np.float64]

CELL_MM = 5.088333
"""Size of a readout cell of the ILD ECAL, mm."""

GRID_ROTATION_RAD = math.pi / 8
"""Turn of the cell grid against the shower frame when the points bring none of their own."""

HIT_THRESHOLD_GEV = 1e-4
"""Half a minimum-ionising particle in the silicon of the ILD ECAL: the usual cut on cells."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells with energy: shower index int64 [C], layer int64 [C], energy float64 [C] GeV, distance from axis [C] mm."""

    shower: NDArray[np.int64]
    layer: NDArray[np.int64]
    energy_gev: Doubles
    radius_mm: Doubles
    """Distance of the cell centre from where the shower axis meets the layer."""
    of_point: NDArray[np.int64]
    """Index of the cell of each point, [P]."""


def make_cells(
    showers: Showers, depth_mm: Doubles, rng: np.random.Generator, *, cell_mm: float, rotation_rad: float
) -> Cells:
    """Sum points into cells of `cell_mm`, on a grid turned by `rotation_rad` (that of a merging grid, if any)."""
    n, row, layer = len(showers), showers.shower_of_point, showers.layer.astype(np.int64)
    cos, sin = np.cos(rotation_rad), np.sin(rotation_rad)
    u = showers.x_mm * cos + showers.y_mm * sin
    v = -showers.x_mm * sin + showers.y_mm * cos
    if showers.pitch_mm:  # a cell is a whole number of merging cells, whose centres lie on multiples of the pitch
        shift = (rng.integers(0, round(cell_mm / showers.pitch_mm), (n, 2)) - 0.5) * showers.pitch_mm
    else:
        shift = rng.uniform(0.0, cell_mm, (n, 2))
    iu = np.floor((u - shift[row, 0]) / cell_mm).astype(np.int64)
    iv = np.floor((v - shift[row, 1]) / cell_mm).astype(np.int64)
    reach = 1 << 12
    key = ((row * len(depth_mm) + layer) * reach + np.clip(iu + reach // 2, 0, reach - 1)) * reach
    key += np.clip(iv + reach // 2, 0, reach - 1)
    unique, inverse = np.unique(key, return_inverse=True)
    energy = np.bincount(inverse, showers.point_energy_gev, len(unique))
    slot, place = np.divmod(unique, reach * reach)
    shower, cell_layer = np.divmod(slot, len(depth_mm))
    centre_u = (place // reach - reach // 2 + 0.5) * cell_mm + shift[shower, 0]
    centre_v = (place % reach - reach // 2 + 0.5) * cell_mm + shift[shower, 1]
    tangent = (showers.direction[:, :2] / showers.direction[:, 2:3])[shower]
    x = centre_u * cos - centre_v * sin - tangent[:, 0] * depth_mm[cell_layer]
    y = centre_u * sin + centre_v * cos - tangent[:, 1] * depth_mm[cell_layer]
    return Cells(shower, cell_layer, energy.astype(np.float64), np.hypot(x, y), inverse)


def shower_observables(showers: Showers, cells: Cells, depth_mm: Doubles) -> dict[str, Doubles]:
    """Return observables per shower, each float64 [N]; cells below half a MIP are cut where hits are meant.

    ``visible_mev_per_gev``, ``hits`` (cells above threshold), ``depth_mean_layer`` and ``depth_rms_layers`` (energy-
    weighted layer index), ``fraction_0_9``, ``fraction_10_19``, ``fraction_20_29`` (of the visible energy),
    ``cog_along_mm`` and ``cog_across_mm`` (centre of gravity relative to the axis, along and across the inclination),
    ``radius_mean_mm``, ``fraction_10mm``, ``fraction_30mm`` (energy within a distance from the axis), ``cell_mean_mev``
    (mean energy of hits), ``cell_rms_mev``.
    """
    n, row, layer = len(showers), showers.shower_of_point, showers.layer.astype(np.int64)
    gev = showers.point_energy_gev.astype(np.float64)
    visible = np.bincount(row, gev, n)
    safe = visible.clip(1e-9)

    def mean(value: Doubles) -> Doubles:
        return np.asarray(np.bincount(row, gev * value, n) / safe, np.float64)

    level = layer.astype(np.float64)
    depth = mean(level)
    spread = np.sqrt((mean(level * level) - depth * depth).clip(0))
    direction = showers.direction.astype(np.float64)
    tangent = direction[:, :2] / direction[:, 2:3]
    across = np.hypot(direction[:, 0], direction[:, 1])
    e_x, e_y = (np.where(across > 1e-3, direction[:, i] / across.clip(1e-9), float(i == 0)) for i in (0, 1))
    dx = showers.x_mm - (tangent[row, 0] * depth_mm[layer])
    dy = showers.y_mm - (tangent[row, 1] * depth_mm[layer])
    radius = np.hypot(dx, dy)
    hit = cells.energy_gev > HIT_THRESHOLD_GEV
    hits = np.bincount(cells.shower[hit], minlength=n).astype(np.float64)
    mev = cells.energy_gev[hit] * 1e3
    cell_mean = np.bincount(cells.shower[hit], mev, n) / hits.clip(1)
    cell_square = np.bincount(cells.shower[hit], mev * mev, n) / hits.clip(1)
    return {
        "visible_mev_per_gev": visible * 1e3 / showers.energy_gev,
        "hits": hits,
        "depth_mean_layer": depth,
        "depth_rms_layers": spread,
        "fraction_0_9": mean((level < 10).astype(np.float64)),
        "fraction_10_19": mean(((level >= 10) & (level < 20)).astype(np.float64)),
        "fraction_20_29": mean((level >= 20).astype(np.float64)),
        "cog_along_mm": mean(dx * e_x[row] + dy * e_y[row]),
        "cog_across_mm": mean(-dx * e_y[row] + dy * e_x[row]),
        "radius_mean_mm": mean(radius),
        "fraction_10mm": mean((radius < 10.0).astype(np.float64)),
        "fraction_30mm": mean((radius < 30.0).astype(np.float64)),
        "cell_mean_mev": cell_mean,
        "cell_rms_mev": np.sqrt((cell_square - cell_mean * cell_mean).clip(0)),
    }


def wasserstein_percent(sample: Doubles, reference: Doubles) -> float:
    """Return 100 times the first Wasserstein distance after standardising both by the reference's mean and width."""
    width = float(reference.std()) or 1.0
    levels = (np.arange(2000) + 0.5) / 2000
    distance = np.abs(np.quantile(sample, levels) - np.quantile(reference, levels)).mean()
    return float(100.0 * distance / width)


def classifier_auc(
    sample: Doubles, reference: Doubles, *, folds: int = 5, hidden: int = 32, steps: int = 400, seed: int = 0
) -> tuple[float, float]:
    """Return area under the ROC curve, and its spread over the folds, of a small network told to separate two samples.

    Two hidden layers, Adam, cross-validation; features [N, F] standardised by the training folds. 0.5: cannot be told
    apart, 1: always told apart.
    """
    import torch

    from ddcalogen.training.threads import one_thread

    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.concatenate([sample, reference]).astype(np.float32))
    y = torch.cat([torch.ones(len(sample)), torch.zeros(len(reference))])
    fold = torch.randperm(len(x), generator=generator) % folds
    areas = []
    with one_thread():
        for held in range(folds):
            train, test = fold != held, fold == held
            centre, width = x[train].mean(0), x[train].std(0).clamp_min(1e-9)
            z = ((x - centre) / width).clamp(-8, 8)
            with torch.random.fork_rng():
                torch.manual_seed(seed + held)
                network = torch.nn.Sequential(
                    torch.nn.Linear(x.shape[1], hidden),
                    torch.nn.LeakyReLU(0.2),
                    torch.nn.Linear(hidden, hidden),
                    torch.nn.LeakyReLU(0.2),
                    torch.nn.Linear(hidden, 1),
                )
            optimiser = torch.optim.Adam(network.parameters(), 3e-3, weight_decay=1e-3)
            for _ in range(steps):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(network(z[train])[:, 0], y[train])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                score = network(z[test])[:, 0].numpy()
            truth = y[test].numpy() > 0.5
            rank = score.argsort().argsort() + 1.0
            ones = truth.sum()
            areas.append((rank[truth].sum() - ones * (ones + 1) / 2) / (ones * (~truth).sum()))
    return float(np.mean(areas)), float(np.std(areas))

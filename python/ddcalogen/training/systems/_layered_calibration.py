# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Last corrections of the layered shower, fitted to the training split: what placing spots one by one gets wrong.

Spots are placed independently of one another, Geant4's deposits are not: a few more or fewer share a readout cell. So
energy spectrum and distances of readout cells are compared between showers of the sampler and of Geant4 for the same
incident particles, and the differences put into the spots: as shifts of the logarithms of their energies and of their
radii. What is off in the mean energy and the mean number of cells of a layer is corrected, too. (The number of cells of
a shower is corrected in `_layered_showers`.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.observables import make_cells
from ddcalogen.validation.samples import merge_as

__all__ = ["CellSample", "cells_of", "layer_shifts", "radius_shift", "slope_shifts", "spectrum_shift"]

Doubles = NDArray[np.float64]

_SPECTRUM_RANGE_MEV = (0.015, 25.0)
_SPECTRUM_FADES_MEV = ((12.0, 20.0), (4.0, 8.0), (2.5, 5.0))
"""Where the correction ends, for each zone of radii: beyond there are too few cells."""
_RADIUS_FADES_MM = ((3.0, 6.0), (300.0, 500.0))
_MOST = 0.25
"""Largest shift of a logarithm in one round."""
_ENERGY_BINS = 8
_LAYER_PRIOR = (0.03, 0.02)
"""Corrections of layers that are expected (standard deviation), and their change with the logarithm of energy."""


@dataclasses.dataclass(frozen=True)
class CellSample:
    """Readout cells of N showers.

    Attributes
    ----------
    log_mev, cell_radius_mm
        float64 [C], of all cells: logarithm of the energy, distance from the axis.
    radius_mm
        float64 [H], distance of the cells above threshold from the axis.
    shower
        int64 [H], the shower of each of these.
    layer_mev, layer_hits
        float64 [N, layers], energy and number of the cells above threshold.
    """

    log_mev: Doubles
    cell_radius_mm: Doubles
    radius_mm: Doubles
    shower: NDArray[np.int64]
    layer_mev: Doubles
    layer_hits: Doubles


def cells_of(showers: Showers, like: Showers, stack: Stack, seed: int, layers: slice | None = None) -> CellSample:
    """Sum showers into readout cells, after merging them as others were; of several calorimeters, layers of one."""
    merged, depth_mm = merge_as(showers, like), np.array(stack.layer_depth_mm)
    first = 0
    if layers is not None:
        merged, depth_mm, first = merged.of_layers(layers), depth_mm[layers], layers.start
    cells = make_cells(
        merged,
        depth_mm,
        cell_mm=stack.cell_mm[first],
        rotation_rad=like.grid_rotation_rad,
        rng=np.random.default_rng(seed),
    )
    hit = cells.above(stack.threshold_gev[first])
    number = len(depth_mm)
    slot, slots = hit.shower.astype(np.int64) * number + hit.layer, len(showers) * number
    return CellSample(
        np.log(np.maximum(cells.energy_gev * 1e3, 1e-6)),
        cells.radius_mm,
        hit.radius_mm,
        hit.shower.astype(np.int64),
        np.bincount(slot, hit.energy_gev * 1e3, slots).astype(np.float64).reshape(len(showers), -1),
        np.bincount(slot, minlength=slots).astype(np.float64).reshape(len(showers), -1),
    )


def layer_shifts(made: CellSample, truth: CellSample, log_energy: Doubles) -> Doubles:
    """Shifts of the logarithms of layer energies and of the numbers of spots in layers, float64 [3, layers].

    Rows: the shift of the energy, its change with `log_energy`, the shift of the number.
    Energies are compared as shares of each shower, in bins of `log_energy`; the less sure a difference is, the less of
    it is taken. Numbers are compared relative to energies.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy.
    """
    order = np.array_split(np.argsort(log_energy, kind="stable"), _ENERGY_BINS)
    at = np.array([log_energy[rows].mean() for rows in order if len(rows)])
    powers = np.stack([np.ones_like(at), at], 1)

    def shares(values: Doubles) -> Doubles:
        return np.asarray(values / np.maximum(values.sum(1, keepdims=True), 1e-9), np.float64)

    ratios, weights = [], []
    for rows in (r for r in order if len(r)):
        mine, theirs = (shares(s.layer_mev[rows]) for s in (made, truth))
        a, b = (np.maximum(x.mean(0), 1e-9) for x in (mine, theirs))
        variance = (mine.var(0) / a**2 + theirs.var(0) / b**2) / len(rows)
        ratios.append(np.log(b / a))
        weights.append(1.0 / (variance + 1e-6))
    result = np.zeros((3, truth.layer_mev.shape[1]))
    prior = np.diag(np.array(_LAYER_PRIOR) ** -2.0)
    for layer, (ratio, weight) in enumerate(zip(np.array(ratios).T, np.array(weights).T, strict=True)):
        known = powers.T @ (weight[:, None] * powers) + prior
        result[:2, layer] = np.linalg.solve(known, powers.T @ (weight * ratio))
    off = []
    for s in (made, truth):
        hits, mev = (shares(v).mean(0) for v in (s.layer_hits, s.layer_mev))
        off.append(np.log(np.maximum(hits, 1e-9) / np.maximum(mev, 1e-9)))
    result[2] = off[1] - off[0]
    return np.asarray(np.clip(result, -_MOST, _MOST), np.float64)


def spectrum_shift(
    made: CellSample,
    truth: CellSample,
    log_mev: Doubles,
    edges_mm: Sequence[float],
    *,
    range_mev: tuple[float, float] = _SPECTRUM_RANGE_MEV,
    fades_mev: Sequence[tuple[float, float]] = _SPECTRUM_FADES_MEV,
) -> Doubles:
    """Shift of the logarithm of an energy that brings the spectrum of the model's cells to Geant4's.

    Parameters
    ----------
    log_mev
        float64 [zones, K], increasing: where the shift is wanted.
    edges_mm
        Radii between zones.
    range_mev
        Energies of the cells that are compared.
    fades_mev
        For each zone, where the correction begins to fade and where it ends.
    """
    low, high = np.log(range_mev)
    grid = np.linspace(low, high, 400)
    zone_of = [np.searchsorted(np.array(edges_mm), s.cell_radius_mm, side="right") for s in (made, truth)]
    shifts = []
    for zone, (at, fades) in enumerate(zip(log_mev, fades_mev, strict=True)):
        mine, theirs = (s.log_mev[z == zone] for s, z in zip((made, truth), zone_of, strict=True))
        start, end = np.log(fades)
        shift = _quantile_shift(mine, theirs, grid) * np.clip((end - grid) / (end - start), 0.0, 1.0)
        shifts.append(np.interp(at, grid, shift))
    return np.stack(shifts)


def radius_shift(
    made: CellSample, truth: CellSample, log_energy: Doubles, radius_mm: Doubles, offset_mm: float
) -> Doubles:
    """Shift of ln(r + offset) that brings the distances of the model's cells to Geant4's, and its change with energy.

    Inside a cell's width and far out, where there are few cells, there is none. Fitted as a straight line in
    `log_energy` to the shifts of three groups of showers.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy.
    radius_mm
        float64 [K], increasing: where the shift is wanted.

    Returns
    -------
    Doubles
        float64 [2, K].
    """
    grid = np.geomspace(2.0, 520.0, 80)
    at = np.log(grid + offset_mm)
    near, far = _RADIUS_FADES_MM
    fade = np.clip((grid - near[0]) / (near[1] - near[0]), 0.0, 1.0)
    fade *= np.clip((far[1] - grid) / (far[1] - far[0]), 0.0, 1.0)
    groups = [g for g in np.array_split(np.argsort(log_energy, kind="stable"), 3) if len(g)]
    shifts = []
    for group in groups:
        chosen = np.zeros(len(log_energy), bool)
        chosen[group] = True
        mine, theirs = (np.log(s.radius_mm[chosen[s.shower]] + offset_mm) for s in (made, truth))
        shifts.append(fade * _quantile_shift(mine, theirs, at))
    x = np.array([log_energy[group].mean() for group in groups])
    lines = np.linalg.lstsq(np.stack([np.ones_like(x), x], 1), np.array(shifts), rcond=None)[0]
    return np.stack([np.interp(radius_mm, grid, line, left=0.0, right=0.0) for line in lines])


def slope_shifts(
    made: CellSample, truth: CellSample, log_energy: Doubles, features: tuple[Doubles, Doubles]
) -> Doubles:
    """Shift of how the logarithm of the number of cells depends on features of a shower, float64 [F].

    Parameters
    ----------
    log_energy
        float64 [N]: only showers of about the same energy are compared.
    features
        Of the showers made and of the true ones, float64 [N, F] each.
    """
    bins = np.array_split(np.argsort(log_energy, kind="stable"), 4 * _ENERGY_BINS)
    slopes = []
    for s, x in zip((made, truth), features, strict=True):
        y = np.log(np.maximum(s.layer_hits.sum(1), 1.0))
        off = [(x[rows] - x[rows].mean(0), y[rows] - y[rows].mean()) for rows in bins if len(rows)]
        a, b = (np.concatenate(columns) for columns in zip(*off, strict=True))
        slopes.append(np.linalg.lstsq(a, b, rcond=None)[0])
    return np.asarray(slopes[1] - slopes[0], np.float64)


def _quantile_shift(made: Doubles, truth: Doubles, at: Doubles) -> Doubles:
    """Truth's quantile at the level of each value in what was made, less the value; within the span of the values."""
    a, b = (np.sort(values[(values >= at[0]) & (values <= at[-1])]) for values in (made, truth))
    if min(len(a), len(b)) < 100:
        return np.zeros_like(at)
    level = np.searchsorted(a, at) / len(a)
    shift = np.quantile(b, level) - at
    # a running mean: steps of the size of the bins are noise
    kernel = np.ones(5) / 5.0
    smooth = np.convolve(np.pad(shift, 2, mode="edge"), kernel, mode="valid")
    return np.asarray(np.clip(smooth, -_MOST, _MOST), np.float64)

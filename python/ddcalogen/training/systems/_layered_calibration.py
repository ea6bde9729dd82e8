# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Last corrections of the layered shower, fitted to the training split: what placing spots one by one gets wrong.

Spots are placed independently of one another, Geant4's deposits are not: a few more or fewer share a readout cell. So
energy spectrum and distances of readout cells are compared between showers of the sampler and of Geant4 for the same
incident particles, and the differences put into the spots: as shifts of the logarithms of their energies and of their
radii. (The number of cells is corrected in `_layered_showers`.)
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.observables import make_cells
from ddcalogen.validation.samples import merge_as

__all__ = ["CellSample", "cells_of", "radius_shift", "spectrum_shift"]

Doubles = NDArray[np.float64]

_SPECTRUM_RANGE_MEV = (0.015, 4.0)
_SPECTRUM_FADES_MEV = (1.0, 3.0)
_RADIUS_FADES_MM = ((3.0, 6.0), (90.0, 140.0))
_MOST = 0.25
"""Largest shift of a logarithm in one round."""


@dataclasses.dataclass(frozen=True)
class CellSample:
    """Readout cells of N showers.

    Attributes
    ----------
    log_mev
        float64 [C], logarithm of the energy of all cells.
    radius_mm
        float64 [H], distance of the cells above threshold from the axis.
    """

    log_mev: Doubles
    radius_mm: Doubles


def cells_of(showers: Showers, like: Showers, stack: Stack, seed: int) -> CellSample:
    """Sum showers into readout cells, after merging them as others were."""
    cells = make_cells(
        merge_as(showers, like),
        np.array(stack.layer_depth_mm),
        cell_mm=stack.cell_mm[0],
        rotation_rad=like.grid_rotation_rad,
        rng=np.random.default_rng(seed),
    )
    hit = cells.above(stack.threshold_gev[0])
    return CellSample(
        np.log(np.maximum(cells.energy_gev * 1e3, 1e-6)),
        hit.radius_mm,
    )


def spectrum_shift(made: CellSample, truth: CellSample, log_mev: Doubles, scale: float = 1.0) -> Doubles:
    """Shift of the logarithm of an energy that brings the model's cell spectrum to Geant4's, where cells are one spot.

    Parameters
    ----------
    log_mev
        float64 [K], increasing: where the shift is wanted.
    scale
        Energy of a single particle relative to that in a silicon pad.
    """
    low, high = np.log(_SPECTRUM_RANGE_MEV) + np.log(scale)
    grid = np.linspace(low, high, 160)
    shift = _quantile_shift(made.log_mev, truth.log_mev, grid)
    fade = np.log(_SPECTRUM_FADES_MEV) + np.log(scale)
    shift *= np.clip((fade[1] - grid) / (fade[1] - fade[0]), 0.0, 1.0)
    return np.asarray(np.interp(log_mev, grid, shift), np.float64)


def radius_shift(made: CellSample, truth: CellSample, radius_mm: Doubles, offset_mm: float) -> Doubles:
    """Shift of ln(r + offset) that brings the distances of the model's cells to Geant4's.

    Inside a cell's width and far out, where there are few cells, there is none.

    Parameters
    ----------
    radius_mm
        float64 [K], increasing: where the shift is wanted.
    """
    grid = np.geomspace(2.0, 150.0, 60)
    at = np.log(grid + offset_mm)
    mine, theirs = (np.log(s.radius_mm + offset_mm) for s in (made, truth))
    shift = _quantile_shift(mine, theirs, at)
    near, far = _RADIUS_FADES_MM
    shift *= np.clip((grid - near[0]) / (near[1] - near[0]), 0.0, 1.0)
    shift *= np.clip((far[1] - grid) / (far[1] - far[0]), 0.0, 1.0)
    return np.asarray(np.interp(radius_mm, grid, shift, left=0.0, right=0.0), np.float64)


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

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""How close a sampler's showers are to Geant4's, quickly: what the best weights of a training are chosen by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.metrics import wasserstein
from ddcalogen.validation.observables import Readout, measure, readout_cells

__all__ = ["OBSERVABLES", "fidelity"]

Doubles = NDArray[np.float64]

OBSERVABLES = (
    "response",
    "hits",
    "cog_layer",
    "rms_layer",
    "radius_mm",
    "cell_mean_gev",
    "cell_rms_gev",
    "rms_along_mm",
)
"""Observables that are compared."""


def fidelity(made: Showers, truth: Showers, stack: Stack, *, seed: int = 0) -> dict[str, float]:
    """Return 100 x W1 of each observable (standardised by the truth) and ``fidelity``, their mean: less is better.

    Of several calorimeters in a row each is measured in its own cells, and how they share the energy in both together.

    Parameters
    ----------
    made, truth
        Showers of the same incident particles.
    """
    parts = stack.parts
    result: dict[str, float] = {}
    for calorimeter, layers in parts.items():
        columns = [_measure(s, stack, calorimeter, layers, seed + n) for n, s in enumerate((made, truth))]
        prefix = f"w1_{calorimeter}_" if len(parts) > 1 else "w1_"
        result |= {f"{prefix}{name}": wasserstein(columns[0][name], columns[1][name]) for name in OBSERVABLES}
    if len(parts) > 1:
        sums = [_whole(showers, stack) for showers in (made, truth)]
        result |= {f"w1_{name}": wasserstein(sums[0][name], sums[1][name]) for name in sums[0]}
    result["fidelity"] = float(np.mean(list(result.values())))
    return result


def _measure(showers: Showers, stack: Stack, calorimeter: str, layers: slice, seed: int) -> dict[str, Doubles]:
    cell_mm = stack.cell_mm[layers.start]
    mine = showers.of_layers(layers) if len(stack.parts) > 1 else showers
    readout = Readout.single(calorimeter, stack.layer_depth_mm[layers], cell_mm)
    rng = np.random.default_rng(seed)
    cells = readout_cells(mine, readout, rotation_rad=showers.grid_rotation_rad, rng=rng)
    scalars = measure(mine, cells, readout).scalars
    # per incident energy, so that the distance is not that of the energies drawn
    return {n: scalars[n] / (showers.energy_gev if n == "hits" else 1.0) for n in OBSERVABLES}


def _whole(showers: Showers, stack: Stack) -> dict[str, Doubles]:
    """Visible per incident energy, and mean depth in mm, of all calorimeters together."""
    energy = showers.layer_energy_gev(stack.layers)
    visible = energy.sum(axis=1)
    depth = energy @ np.array(stack.layer_depth_mm) / np.maximum(visible, 1e-12)
    return {"response": visible / showers.energy_gev, "cog_depth_mm": depth}

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""How close a sampler's showers are to Geant4's, quickly: what the best weights of a training are chosen by."""

from __future__ import annotations

import numpy as np

from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.metrics import wasserstein
from ddcalogen.validation.observables import make_cells, measure

__all__ = ["OBSERVABLES", "fidelity"]

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

    Parameters
    ----------
    made, truth
        Showers of the same incident particles.
    """
    calorimeter = stack.name.lower().split("+")[0]
    columns = []
    for number, showers in enumerate((made, truth)):
        cells = make_cells(
            showers,
            np.array(stack.layer_depth_mm),
            cell_mm=stack.cell_mm[0],
            rotation_rad=showers.grid_rotation_rad,
            rng=np.random.default_rng(seed + number),
        )
        scalars = measure(showers, cells, cell_mm=stack.cell_mm[0], calorimeter=calorimeter).scalars
        # per incident energy, so that the distance is not that of the energies drawn
        columns.append({n: scalars[n] / (showers.energy_gev if n == "hits" else 1.0) for n in OBSERVABLES})
    result = {}
    for name in OBSERVABLES:
        result[f"w1_{name}"] = wasserstein(columns[0][name], columns[1][name])
    result["fidelity"] = float(np.mean(list(result.values())))
    return result

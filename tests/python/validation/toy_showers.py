# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers with known properties."""

from __future__ import annotations

import numpy as np
from ddcalogen.training.data import Showers
from ddcalogen.validation.observables import Readout
from numpy.typing import NDArray

DEPTH_MM: NDArray[np.float64] = np.arange(30, dtype=np.float64) * 7.0 + 6.8
CELL_MM = 5.088333


def ecal(cell_mm: float) -> Readout:
    """The toy's layers with cells of any size."""
    return Readout.single("ecal", DEPTH_MM, cell_mm)


def toy_showers(number: int, seed: int = 0, *, theta_deg: float = 60.0, scale: float = 1.0) -> Showers:
    """Photon-like showers, 200 points each, of 10 to 100 GeV; `scale` multiplies their visible energy."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10.0, 100.0, number)
    theta, phi = np.radians(rng.uniform(0, theta_deg, number)), rng.uniform(-np.pi, np.pi, number)
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    points = 200
    row = np.repeat(np.arange(number), points)
    layer = np.clip(rng.gamma(6.0, 2.0, number * points), 0, 29).astype(np.int16)
    tangent = direction[:, :2] / direction[:, 2:]
    axis = tangent[row] * DEPTH_MM[layer][:, None]
    place = axis + rng.normal(0, 8.0, (number * points, 2))
    response = scale * 0.024 * (1 + 0.15 / np.sqrt(energy) * rng.normal(size=number))
    share = rng.exponential(1.0, number * points).reshape(number, points)
    share *= (energy * response)[:, None] / share.sum(axis=1, keepdims=True)
    return Showers(
        energy.astype(np.float32),
        direction.astype(np.float32),
        np.full(number, 22, np.int32),
        np.arange(number + 1, dtype=np.int64) * points,
        place[:, 0].astype(np.float32),
        place[:, 1].astype(np.float32),
        layer,
        share.ravel().astype(np.float32),
    )

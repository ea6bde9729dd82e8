# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from ddcalogen.errors import InputError
from ddcalogen.reco import find_photons


def shower(direction: np.ndarray, energy: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """250 cells along a line through the origin, from 1810 to 1990 mm."""
    rng = np.random.default_rng(seed)
    direction = direction / np.linalg.norm(direction)
    way = 1810 + 180 * rng.beta(2, 3, 250)
    position = way[:, None] * direction + rng.normal(0, 4.0, (250, 3))
    share = rng.exponential(1.0, 250) * np.exp(-np.linalg.norm(position - way[:, None] * direction, axis=1) / 5)
    return position, energy * share / share.sum()


def test_one_photon() -> None:
    direction = np.array([0.6, 0.0, 0.8])
    position, energy = shower(direction, 20.0)
    photons = find_photons(position, energy)
    assert len(photons) == 1
    assert photons.energy_gev[0] == pytest.approx(20.0, rel=0.03)
    assert np.degrees(np.arccos(photons.direction[0] @ direction)) < 0.05
    assert np.degrees(np.arccos(photons.axis[0] @ direction)) < 3


@pytest.mark.parametrize(("distance_mm", "expected"), [(0.0, 1), (40.0, 2), (200.0, 2)])
def test_two_photons(distance_mm: float, expected: int) -> None:
    a, b = shower(np.array([1.0, 0, 0]), 20.0, 1), shower(np.array([1.0, distance_mm / 1850, 0]), 10.0, 2)
    photons = find_photons(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))
    assert len(photons) == expected
    assert photons.energy_gev.sum() == pytest.approx(30.0, rel=0.05)
    assert list(photons.energy_gev) == sorted(photons.energy_gev, reverse=True)
    assert np.array_equal(np.bincount(photons.label[photons.label >= 0]), photons.hits)


def test_cells_in_any_order_give_the_same_photons() -> None:
    position, energy = shower(np.array([0.2, 0.9, 0.1]), 5.0)
    order = np.random.default_rng(0).permutation(len(energy))
    a, b = find_photons(position, energy), find_photons(position[order], energy[order])
    assert np.allclose(a.energy_gev, b.energy_gev)
    assert np.array_equal(a.label[order], b.label)


def test_nothing_and_noise() -> None:
    assert len(find_photons(np.zeros((0, 3)), np.zeros(0))) == 0
    far = np.array([[1800.0, 0, 0], [0, 1800.0, 0], [0, 0, 2400.0]])
    photons = find_photons(far, np.full(3, 0.01))
    assert len(photons) == 0
    assert (photons.label == -1).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="pair up"):
        find_photons(np.zeros((3, 3)), np.zeros(2))
    with pytest.raises(InputError, match="finite"):
        find_photons(np.full((2, 3), np.nan), np.ones(2))

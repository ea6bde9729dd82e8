# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Cells, observables and distances on showers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from ddcalogen.training.data import Showers
from ddcalogen.training.observables import make_cells, shower_observables, wasserstein_percent

DEPTH = np.array([5.0, 10.0, 20.0])


def one_shower(points: list[tuple[float, float, int, float]], direction: tuple[float, float, float]) -> Showers:
    x, y, layer, energy = (np.array(c) for c in zip(*points, strict=True))
    return Showers(
        np.array([2.0], np.float32),
        np.array([direction], np.float32),
        np.array([22], np.int32),
        np.array([0, len(points)]),
        x.astype(np.float32),
        y.astype(np.float32),
        layer.astype(np.int16),
        energy.astype(np.float32),
    )


@pytest.mark.parametrize("rotation", [0.0, 0.4])
def test_cells_keep_energy_and_separate_layers(rotation: float) -> None:
    rng = np.random.default_rng(0)
    points = [(*rng.normal(0, 30, 2), int(rng.integers(0, 3)), float(rng.exponential(2e-4))) for _ in range(500)]
    showers = one_shower(points, (0.0, 0.0, 1.0))
    cells = make_cells(showers, DEPTH, rng, cell_mm=5.0, rotation_rad=rotation)
    for layer in range(3):
        np.testing.assert_allclose(
            cells.energy_gev[cells.layer == layer].sum(),
            showers.point_energy_gev[showers.layer == layer].sum(),
            rtol=1e-6,
        )
    # a cell's centre is never farther from a point in it than half the diagonal
    radius = np.hypot(showers.x_mm, showers.y_mm)
    assert np.all(np.abs(radius - cells.radius_mm[cells.of_point]) < 5.0 / np.sqrt(2) + 1e-3)


def test_merging_cells_are_not_cut() -> None:
    """Points of one 5 x 5 block of the merging grid fall together for one of 25 offsets, else in 2 or 4 cells."""
    points = [(float(i), float(j), 0, 1e-3) for i in range(5) for j in range(5)]
    showers = one_shower(points, (0.0, 0.0, 1.0))
    showers = Showers(**{**showers.__dict__, "pitch_mm": 1.0})
    rng = np.random.default_rng(0)
    sizes = [len(make_cells(showers, DEPTH, rng, cell_mm=5.0, rotation_rad=0.0).energy_gev) for _ in range(400)]
    assert set(sizes) == {1, 2, 4}
    assert sizes.count(1) / 400 == pytest.approx(1 / 25, abs=0.03)
    assert sizes.count(4) / 400 == pytest.approx(16 / 25, abs=0.1)


def test_observables_of_a_known_shower() -> None:
    # direction inclined by 45 degrees along x: the axis meets the layers at x = 5, 10, 20
    slope = np.sqrt(0.5)
    points = [(5.0, 0.0, 0, 1e-3), (10.0, 3.0, 1, 2e-3), (24.0, 0.0, 2, 1e-3)]
    showers = one_shower(points, (slope, 0.0, slope))
    cells = make_cells(showers, DEPTH, np.random.default_rng(0), cell_mm=1e-3, rotation_rad=0.0)
    o = {k: float(v[0]) for k, v in shower_observables(showers, cells, DEPTH).items()}
    assert o["visible_mev_per_gev"] == pytest.approx(2.0)
    assert o["hits"] == 3
    assert o["depth_mean_layer"] == pytest.approx(1.0)
    assert o["depth_rms_layers"] == pytest.approx(np.sqrt(0.5))
    assert o["cog_along_mm"] == pytest.approx(1.0, abs=1e-5)
    assert o["cog_across_mm"] == pytest.approx(1.5, abs=1e-5)
    assert o["radius_mean_mm"] == pytest.approx((2 * 3 + 4) / 4, abs=1e-5)
    assert o["fraction_10mm"] == pytest.approx(1.0)
    assert o["fraction_0_9"] == pytest.approx(1.0)
    assert o["cell_mean_mev"] == pytest.approx(4 / 3, rel=1e-5)


def test_threshold_is_half_a_mip() -> None:
    showers = one_shower([(0.0, 0.0, 0, 0.99e-4), (50.0, 0.0, 0, 1.01e-4)], (0.0, 0.0, 1.0))
    cells = make_cells(showers, DEPTH, np.random.default_rng(0), cell_mm=5.0, rotation_rad=0.0)
    assert shower_observables(showers, cells, DEPTH)["hits"].tolist() == [1.0]


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(3.0, 2.0, 20_000)
    assert wasserstein_percent(a + 1.0, a) == pytest.approx(50.0, rel=0.02)
    assert wasserstein_percent(a, a) == 0.0
    assert wasserstein_percent(rng.normal(3.0, 2.0, 20_000), a) < 3.0


def test_classifier_tells_what_differs() -> None:
    pytest.importorskip("torch")
    from ddcalogen.training.observables import classifier_auc

    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 1500, 4))
    same, _ = classifier_auc(a, b)
    assert same == pytest.approx(0.5, abs=0.05)
    c[:, 2] += 1.0  # separated by one width: area Phi(1 / sqrt 2) = 0.760
    shifted, _ = classifier_auc(c, b)
    assert shifted == pytest.approx(0.760, abs=0.03)

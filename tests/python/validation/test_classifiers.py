# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ddcalogen.validation import classifiers  # noqa: E402
from ddcalogen.validation.observables import make_cells, measure  # noqa: E402
from toy_showers import CELL_MM, DEPTH_MM, ecal, toy_showers  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_area_under_the_curve() -> None:
    truth = np.array([False, False, True, True])
    assert classifiers.area_under_curve(np.array([0.1, 0.2, 0.3, 0.4]), truth) == 1
    assert classifiers.area_under_curve(np.array([0.4, 0.3, 0.2, 0.1]), truth) == 0
    assert classifiers.area_under_curve(np.ones(4), truth) == 0.5


def test_equal_samples_cannot_be_separated_and_a_shift_can() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(800, 6)), rng.normal(size=(800, 6))
    same = classifiers.separate_features(a, b, (32, 16), folds=5, batch=64)
    assert abs(same.auc.value - 0.5) < 4 * same.auc.error
    moved = a.copy()
    moved[:, 2] += 1.0  # optimal AUC 0.76
    found = classifiers.separate_features(moved, b, (32, 16), folds=5, batch=64)
    assert found.auc.value == pytest.approx(0.76, abs=0.06)
    assert found.accuracy.value == pytest.approx(0.69, abs=0.06)
    assert 0 < found.jsd.value < 0.4


def test_results_repeat() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    first, second = (classifiers.separate_features(a, b, (8,), folds=3, epochs=3, seed=4) for _ in range(2))
    assert first == second


def test_features_and_images_of_showers() -> None:
    showers = toy_showers(20, theta_deg=5)
    cells = make_cells(showers, DEPTH_MM, cell_mm=CELL_MM)
    o = measure(showers, cells, ecal(CELL_MM))
    features = classifiers.caloclouds_features(o, o)
    assert features.shape == (20, 25)
    np.testing.assert_allclose(features[:, 5:15].sum(axis=1), 1)  # longitudinal bins hold all the energy
    assert classifiers.convl2l_features(o).shape == (20, 10)
    assert classifiers.physics_features(o).shape == (20, 19)
    images = classifiers.shower_images(cells, ecal(CELL_MM))
    assert images.shape == (20, 30, classifiers.IMAGE_PIXELS, classifiers.IMAGE_PIXELS)
    energy = (10.0 ** images.astype(float) - 1) * 1e-4
    assert np.allclose(energy.sum(axis=(1, 2, 3)), o.scalars["visible_gev"], rtol=0.02)


def test_the_network_on_cells_learns_a_coarse_difference() -> None:
    energy = np.full(60, 10.0)
    image = np.zeros((60, 30, classifiers.IMAGE_PIXELS, classifiers.IMAGE_PIXELS), np.float32)
    other = image.copy()
    image[:, 5, 9, 9], other[:, 20, 9, 9] = 2.0, 2.0
    found = classifiers.separate_images((image, energy), (other, energy), used_folds=1, epochs=6)
    assert found.auc.value == 1

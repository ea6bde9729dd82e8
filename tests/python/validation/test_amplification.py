# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The quantile method on samples whose worth is known: the truth's own distribution, and distorted ones."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ddcalogen.errors import InputError
from ddcalogen.validation.amplification import (
    DEVIATIONS,
    OBSERVABLES,
    Regions,
    amplification,
    deviation,
    equivalent_size,
    expected_deviation,
    image_observables,
    project,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_showers import CELL_MM, DEPTH_MM, toy_showers


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), depth=st.integers(0, 6), columns=st.integers(1, 4))
def test_regions_hold_equal_parts_of_the_truth(seed: int, depth: int, columns: int) -> None:
    truth = np.random.default_rng(seed).normal(size=(10 * 2**depth + 7, columns))
    regions = Regions.of(truth, depth)
    assert regions.truth_counts.sum() == len(truth)
    assert regions.truth_counts.max() - regions.truth_counts.min() <= 1
    assert np.array_equal(regions.counts(truth), regions.truth_counts)


def test_regions_of_one_column_are_its_quantiles() -> None:
    truth = np.random.default_rng(0).normal(size=(8000, 1))
    cuts = np.sort(np.concatenate(Regions.of(truth, 3).medians))
    assert cuts == pytest.approx(np.quantile(truth, np.arange(1, 8) / 8), abs=2e-3)


def test_too_fine_regions_are_refused() -> None:
    with pytest.raises(InputError, match="at least 10"):
        Regions.of(np.zeros((79, 1)), 3)


def test_deviations_of_known_shares() -> None:
    counts, truth = np.array([3, 1]), np.array([50, 50])
    assert deviation(counts, truth) == pytest.approx(0.25)
    assert deviation(counts, truth, "absolute") == pytest.approx(0.5)
    assert deviation(counts, truth, "chi2") == pytest.approx(0.25)
    assert all(deviation(truth, truth, kind) == 0 for kind in DEVIATIONS)


@pytest.mark.parametrize("kind", list(DEVIATIONS))
def test_a_sample_of_the_truth_is_worth_its_size(kind: str) -> None:
    rng = np.random.default_rng(1)
    regions = Regions.of(rng.normal(size=(100_000, 2)), 7)
    worth = [equivalent_size(regions.counts(rng.normal(size=(3000, 2))), regions.truth_counts, rng, kind=kind)
             for _ in range(8)]  # fmt: skip
    sizes = np.array([w.size.value for w in worth])
    assert np.exp(np.log(sizes).mean()) == pytest.approx(3000, rel=0.15)
    assert np.mean([w.size.error for w in worth]) == pytest.approx(sizes.std(ddof=1), rel=0.7)
    assert not any(w.is_limit for w in worth)


def test_a_distorted_sample_is_worth_what_its_distortion_allows_however_large_it_is() -> None:
    """A normal distribution moved by d: for fine quantiles Σ(p-q)²/p = exp(d²) - 1, as of (N - 1) / (e^d² - 1)."""
    rng, move, depth = np.random.default_rng(2), 0.1, 6
    regions = Regions.of(rng.normal(size=(400_000, 1)), depth)
    worth = equivalent_size(regions.counts(rng.normal(move, 1.0, (400_000, 1))), regions.truth_counts, rng)
    assert worth.size.value == pytest.approx((2**depth - 1) / math.expm1(move**2), rel=0.15)
    assert abs(worth.size.value - (2**depth - 1) / math.expm1(move**2)) < 5 * worth.size.error


def test_the_limit_of_the_truth_is_told() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(2000, 1))
    regions = Regions.of(truth, 3)
    worth = equivalent_size(regions.counts(truth), regions.truth_counts, rng)
    assert worth.is_limit
    assert worth.size.value == pytest.approx(2000)


def test_expected_deviation_of_independent_samples() -> None:
    rng = np.random.default_rng(4)
    regions = Regions.of(rng.normal(size=(50_000, 1)), 5)
    drawn = [deviation(regions.counts(rng.normal(size=(500, 1))), regions.truth_counts) for _ in range(100)]
    expected = expected_deviation(500, regions.truth_counts, rng, draws=100)
    assert expected.value == pytest.approx(np.mean(drawn), rel=0.05)
    assert expected.error == pytest.approx(np.std(drawn), rel=0.35)


def test_projection_of_known_points() -> None:
    showers = toy_showers(3, theta_deg=0.0)
    points = len(showers.x_mm)
    # all energy into one cell of layer 4, right of and below the axis
    here = dataclasses.replace(
        showers,
        x_mm=np.full(points, 2.0, np.float32),
        y_mm=np.full(points, -7.0, np.float32),
        layer=np.full(points, 4, np.int16),
    )
    images = project(here, DEPTH_MM, cell_mm=CELL_MM)
    assert images.shape == (3, 10, 10)
    assert images[:, 5, 3] == pytest.approx(1e3 * here.point_energy_gev.reshape(3, -1).sum(axis=1), rel=1e-5)
    assert images.sum() == pytest.approx(images[:, 5, 3].sum())
    table = image_observables(images, np.random.default_rng(0))
    assert table.shape == (3, len(OBSERVABLES))
    assert table[:, 0] == pytest.approx(images[:, 5, 3])
    assert np.all(np.abs(table[:, 1] - 1) <= 0.5)
    assert table[:, 2] == pytest.approx([0.5] * 3)
    assert table[:, 3] == pytest.approx([-1.5] * 3)


def test_cells_below_the_cut_are_not_projected() -> None:
    showers = toy_showers(2, theta_deg=0.0)
    soft = dataclasses.replace(showers, point_energy_gev=np.full(len(showers.x_mm), 1e-7, np.float32))
    assert project(soft, DEPTH_MM, cell_mm=0.5).sum() == 0


def test_a_smooth_estimate_amplifies_and_the_training_sample_does_not() -> None:
    """A normal distribution fitted to 200 values is worth more than the 200 values: the effect itself."""
    rng = np.random.default_rng(5)
    truth, training = rng.normal(size=(100_000, 5)), rng.normal(size=(200, 5))
    fitted = training.mean(axis=0) + training.std(axis=0) * rng.normal(size=(100_000, 5))
    result = amplification(truth, training, {"fit": fitted}, (4, 6, 14), rng)
    assert set(result) == {*OBSERVABLES, "all"}
    fine = result["visible"][1]
    assert [row["regions"] for row in result["visible"]] == [16, 64]  # 2^14 regions would hold 6 showers each
    samples = fine["samples"]
    assert isinstance(samples, dict)
    assert samples["fit"]["factor"].value > 4
    assert samples["training"]["factor"].value == pytest.approx(1, abs=0.5)

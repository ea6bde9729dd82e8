# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from ddcalogen.validation import metrics
from ddcalogen.validation.metrics import Value
from ddcalogen.validation.observables import make_cells, measure
from hypothesis import given
from hypothesis import strategies as st
from toy_showers import CELL_MM, DEPTH_MM, ecal, toy_showers


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_wasserstein_of_a_shift_is_the_shift_in_widths(rng: np.random.Generator) -> None:
    reference = rng.normal(3.0, 2.0, 20000)
    shifted = reference + 0.5
    assert metrics.wasserstein(shifted, reference) == pytest.approx(100 * 0.5 / reference.std())
    assert metrics.wasserstein(reference, reference) == 0


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=20))
def test_binned_distances_are_zero_for_equal_and_one_for_disjoint_histograms(counts: list[int]) -> None:
    h = np.array(counts, float)
    nothing = np.zeros_like(h)
    assert metrics.divergence(h, 3 * h) == pytest.approx(0, abs=1e-12)
    assert metrics.separation_power(h, 3 * h) == pytest.approx(0, abs=1e-12)
    left, right = np.concatenate([h, nothing]), np.concatenate([nothing, h])
    assert metrics.divergence(left, right) == pytest.approx(1)
    assert metrics.separation_power(left, right) == pytest.approx(1)


def test_narrowest_interval_of_a_normal_distribution(rng: np.random.Generator) -> None:
    # rms of a standard normal distribution cut at its central 90 %: 0.7889
    mu, sigma = metrics.mu90_sigma90(rng.normal(7.0, 1.0, 200000))
    assert mu.value == pytest.approx(7.0, abs=0.02)
    assert sigma.value == pytest.approx(0.789, abs=0.006)
    assert sigma.error == pytest.approx(sigma.value / math.sqrt(2 * 180000), rel=0.01)
    assert math.isnan(metrics.mu90_sigma90(np.zeros(3))[0].value)


def test_outliers_do_not_move_it(rng: np.random.Generator) -> None:
    values = np.concatenate([rng.normal(1.0, 0.05, 950), np.full(50, 100.0)])
    assert metrics.mu90_sigma90(values)[0].value == pytest.approx(1.0, abs=0.01)


def test_bootstrap_finds_the_error_of_a_mean(rng: np.random.Generator) -> None:
    values = rng.normal(0, 2.0, 400)
    found = metrics.bootstrap(lambda i: float(values[i].mean()), 400, rng, 400)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std() / 20, rel=0.2)


def test_frechet_distance_of_shifted_normal_samples(rng: np.random.Generator) -> None:
    a, b = rng.normal(0, 1.0, (3000, 4)), rng.normal(0, 1.0, (3000, 4))
    same = metrics.frechet_physics_distance(a, b, rng)
    assert abs(same.value) < 0.01
    scale = np.abs(b).max(axis=0)
    moved = metrics.frechet_physics_distance(a + scale * 0.3, b, rng)  # 0.3 in each of four scaled features
    assert moved.value == pytest.approx(4 * 0.09, rel=0.1)


def test_kernel_distance_sees_a_shift_and_not_nothing(rng: np.random.Generator) -> None:
    a, b = rng.normal(0, 1.0, (2000, 5)), rng.normal(0, 1.0, (2000, 5))
    same, moved = metrics.kernel_physics_distance(a, b, rng), metrics.kernel_physics_distance(a + 1.0, b, rng)
    assert abs(same.value) < 3 * same.error + 1e-3
    assert moved.value > 10 * abs(same.value)


def test_single_particle_peak_is_found_where_it_was_put() -> None:
    showers = toy_showers(400)
    rng = np.random.default_rng(0)
    energy = np.exp(rng.normal(np.log(2e-4), 0.2, len(showers.x_mm))).astype(np.float32)
    import dataclasses

    showers = dataclasses.replace(showers, point_energy_gev=energy)
    o = measure(showers, make_cells(showers, DEPTH_MM, cell_mm=0.2), ecal(0.2))
    position, width = metrics.mip_peak(o.spectrum[:, 0], 1e-4, rng, 20)
    mode = 0.2 * math.exp(-(0.2**2))  # of dN/dE for a log-normal distribution
    assert position.value == pytest.approx(mode, rel=0.04)
    assert 0.2 < width.value < 0.45  # at 3/4 of the height: 2 x 0.76 x 0.2 = 0.30


def test_correlations_and_distances_tell_different_samples_from_equal_ones() -> None:
    parts = [toy_showers(300, 1), toy_showers(300, 2), toy_showers(300, 3, scale=1.2)]
    a, b, c = (measure(s, make_cells(s, DEPTH_MM, cell_mm=CELL_MM), ecal(CELL_MM)) for s in parts)
    equal, louder = metrics.wasserstein_set(b, a), metrics.wasserstein_set(c, a)
    assert set(equal) == {
        "occupancy", "sampling fraction", "hits", "E long", "E rad", "CoG along", "CoG across", "CoG depth"
    }  # fmt: skip
    assert louder["sampling fraction"].value > 5 * equal["sampling fraction"].value
    mean, largest = metrics.correlation_difference(b, a, np.random.default_rng(0), 10)
    assert 0 <= mean.value <= largest.value <= 2
    same = metrics.correlation_difference(a, a, np.random.default_rng(0), 10)
    assert same[1].value == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(1.23456, 0.012), "1.235 ± 0.012"),
        (Value(123.4, 5.0), "123.4 ± 5.0"),
        (Value(0.94412, float("nan")), "0.9441"),
    ],
)
def test_values_are_rounded_to_their_error(value: Value, text: str) -> None:
    assert str(value) == text

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Particle gun: distributions, keys of the random numbers, options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError
from ddcalogen.sources import Box, Choice, Fixed, GunConfig, LogUniform, ParticleGun, Uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

MANY = 20_000


def gun(seed: int = 1, **options: Any) -> ParticleGun:
    return ParticleGun(GunConfig.parse(**{"energy_gev": 10.0, **options}), seed=seed)


def many(**options: Any) -> Any:
    """The particles of one event with many of them."""
    return gun(multiplicity=MANY, **options).event(0).particles


def columns(particles: Any) -> list[Any]:
    return [particles.momentum_gev, particles.vertex_mm, particles.time_ns, particles.pdg]


def uniform_p(values: Any, low: float, high: float) -> float:
    return float(stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**64 - 1), number=st.integers(0, 2**64 - 1))
def test_event_depends_on_seed_and_number_alone(seed: int, number: int) -> None:
    options = {"energy_gev": "log 1:100", "position_mm": "-1:1,-1:1,-5:5", "time_ns": "0:1", "multiplicity": 3}
    fresh, used = gun(seed, **options), gun(seed, **options)
    list(used.events(3, first=max(0, number - 3)))
    first, second = fresh.event(number), used.event(number)
    assert first.event_number == number
    for a, b in zip(columns(first.particles), columns(second.particles), strict=True):
        np.testing.assert_array_equal(a, b)
    others = [gun(seed ^ 1, **options).event(number), fresh.event(number ^ 1)]
    for other in others:
        assert not np.any(other.particles.momentum_gev == first.particles.momentum_gev)


def test_events_are_numbered() -> None:
    assert [event.event_number for event in gun().events(3, first=5)] == [5, 6, 7]
    assert list(gun().events(0)) == []


def test_quantities_have_streams_of_their_own() -> None:
    """A changed energy distribution leaves directions and positions as they were."""
    a = gun(energy_gev=1.0, position_mm="-1:1,-1:1,-1:1", multiplicity=5).event(3).particles
    b = gun(energy_gev="log 1:100", position_mm="-1:1,-1:1,-1:1", multiplicity=5).event(3).particles
    unit = [p.momentum_gev / np.linalg.norm(p.momentum_gev, axis=1, keepdims=True) for p in (a, b)]
    np.testing.assert_allclose(unit[0], unit[1], atol=1e-14)
    np.testing.assert_array_equal(a.vertex_mm, b.vertex_mm)


def test_first_event_is_what_it_was() -> None:
    """A fixed seed must give the same particles in every version of the package."""
    momentum = gun(seed=42, energy_gev="log 1:100").event(7).particles.momentum_gev
    np.testing.assert_allclose(momentum, [[3.5493570935776035, 2.134549282371003, 19.463612390906928]], rtol=1e-12)


def test_isotropic_by_default() -> None:
    p = many().momentum_gev
    np.testing.assert_allclose(np.linalg.norm(p, axis=1), 10.0)
    assert uniform_p(p[:, 2] / 10.0, -1.0, 1.0) > 1e-3
    assert uniform_p(np.degrees(np.arctan2(p[:, 1], p[:, 0])) % 360.0, 0.0, 360.0) > 1e-3


def test_distributions_of_energy() -> None:
    def energies(given: Any) -> Any:
        return np.linalg.norm(many(energy_gev=given).momentum_gev, axis=1)  # photons

    assert uniform_p(energies("5:20"), 5.0, 20.0) > 1e-3
    assert uniform_p(np.log(energies(LogUniform(low=1.0, high=100.0))), 0.0, math.log(100.0)) > 1e-3
    values, counts = np.unique(energies([1.0, 10.0, 100.0]).round(9), return_counts=True)
    assert list(values) == [1.0, 10.0, 100.0]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_angles() -> None:
    p = many(theta_deg="30:60", phi_deg=90).momentum_gev
    assert uniform_p(np.degrees(np.arccos(p[:, 2] / 10.0)), 30.0, 60.0) > 1e-3
    np.testing.assert_allclose(p[:, 0], 0.0, atol=1e-12)
    p = many(cos_theta="0.5:0.9").momentum_gev
    assert uniform_p(p[:, 2] / 10.0, 0.5, 0.9) > 1e-3
    np.testing.assert_allclose(gun(theta_deg=0).event(0).particles.momentum_gev, [[0.0, 0.0, 10.0]], atol=1e-12)


def test_energy_is_kinetic_and_momentum_is_momentum() -> None:
    proton = gun(particle="p", energy_gev=1.0).event(0).particles
    assert proton.energy_gev[0] == pytest.approx(1.0 + 0.93827209, abs=1e-6)
    pion = gun(particle="pi-", energy_gev=None, momentum_gev=3.0).event(0).particles
    assert np.linalg.norm(pion.momentum_gev) == pytest.approx(3.0)
    assert (pion.pdg[0], pion.charge[0], pion.generator_status[0]) == (-211, -1.0, 1)


def test_position_and_time() -> None:
    particles = many(position_mm=Box(low_mm=(-1.0, 2.0, -100.0), high_mm=(1.0, 2.0, 100.0)), time_ns="0:3")
    assert uniform_p(particles.vertex_mm[:, 0], -1.0, 1.0) > 1e-3
    assert set(particles.vertex_mm[:, 1]) == {2.0}
    assert uniform_p(particles.vertex_mm[:, 2], -100.0, 100.0) > 1e-3
    assert uniform_p(particles.time_ns, 0.0, 3.0) > 1e-3
    np.testing.assert_array_equal(gun(position_mm="1,2,3").event(0).particles.vertex_mm, [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("name", "pdg"),
    [("gamma", 22), ("photon", 22), ("e-", 11), ("e+", -11), ("K(L)0", 130), ("K_L0", 130), ("neutron", 2112),
     ("n", 2112), (" mu+ ", -13), ("22", 22), (-211, -211), (1000020040, 1000020040)],
)  # fmt: skip
def test_names_of_particles(name: str | int, pdg: int) -> None:
    assert gun(particle=name).pdg == pdg


@pytest.mark.parametrize("name", ["", "elektron", "0", 0, 99999999, 9999999999999999999, "1e3"])
def test_unknown_particles(name: str | int) -> None:
    with pytest.raises(InputError, match="unknown particle"):
        gun(particle=name)


def test_short_forms() -> None:
    config = GunConfig.parse(energy_gev="log(1:10)", theta_deg="90", phi_deg="0, 45", time_ns=[1, 2])
    assert config.energy_gev == LogUniform(low=1.0, high=10.0)
    assert config.theta_deg == Fixed(value=90.0)
    assert config.phi_deg == Choice(values=(0.0, 45.0))
    assert config.time_ns == Choice(values=(1.0, 2.0))
    assert GunConfig.parse(energy_gev=" 1 : 2 ").energy_gev == Uniform(low=1.0, high=2.0)
    assert GunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of energy_gev and momentum_gev"),
        ({"energy_gev": 1.0, "momentum_gev": 1.0}, "one of energy_gev and momentum_gev"),
        ({"energy_gev": 0.0}, "energy_gev must be above 0"),
        ({"energy_gev": -1.0}, "energy_gev goes from -1"),
        ({"energy_gev": math.nan}, "finite"),
        ({"energy_gev": "inf"}, "finite"),
        ({"energy_gev": "10:1"}, "low 10.0 is above high 1.0"),
        ({"energy_gev": "log 0:1"}, "not above 0"),
        ({"energy_gev": "1:2:3"}, "energy_gev"),
        ({"energy_gev": "lots"}, "energy_gev"),
        ({"energy_gev": []}, "at least 1"),
        ({"energy_gev": None, "momentum_gev": True}, "momentum_gev"),
        ({"energy_gev": 1.0, "theta_deg": "0:181"}, "theta_deg goes from 0 to 181"),
        ({"energy_gev": 1.0, "cos_theta": -1.5}, "cos_theta goes from -1.5"),
        ({"energy_gev": 1.0, "cos_theta": 0.0, "theta_deg": 90.0}, "one of theta_deg and cos_theta"),
        ({"energy_gev": 1.0, "multiplicity": 0}, "multiplicity"),
        ({"energy_gev": 1.0, "multiplicity": 10**9}, "multiplicity"),
        ({"energy_gev": 1.0, "position_mm": "1,2"}, "x,y,z"),
        ({"energy_gev": 1.0, "position_mm": "0,0,9:1"}, "above high corner"),
        ({"energy_gev": 1.0, "position_mm": "0,0,inf"}, "finite"),
        ({"energy_gev": 1.0, "colour": "red"}, "colour"),
        ({"energy_gev": {"kind": "gauss", "mean": 1.0}}, "gauss"),
        ({"energy_gev": {"kind": "fixed", "value": 1.0, "width": 1.0}}, "width"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match="options of the particle gun") as caught:
        GunConfig.parse(**options)
    assert message in str(caught.value)


@settings(deadline=None)
@given(text=st.text(max_size=12))
def test_any_text_is_a_distribution_or_a_typed_error(text: str) -> None:
    try:
        config = GunConfig.parse(energy_gev=text)
    except DDCaloGenError:
        return
    assert config.energy_gev is not None
    assert 0.0 < config.energy_gev.bounds[0] <= config.energy_gev.bounds[1] < math.inf


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(InputError, match="seed of the particle gun"):
        gun(seed=seed)
    with pytest.raises(InputError, match="event number"):
        gun().event(seed)

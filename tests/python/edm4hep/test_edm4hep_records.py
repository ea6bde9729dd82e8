# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Records refuse what does not fit together and keep what does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from ddcalogen.edm4hep import CalorimeterHits, Event, MCParticles, Ragged, SimulatorStatus
from ddcalogen.errors import InputError
from edm4hep_samples import random_event
from hypothesis import given
from hypothesis import strategies as st

lists = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=10)


@given(lists)
def test_ragged_keeps_its_lists(entries: list[list[int]]) -> None:
    ragged = Ragged.of(entries)
    assert [list(entry) for entry in ragged] == entries
    assert ragged.indices.dtype == np.int32


@given(lists)
def test_transposed_relation_has_the_same_pairs(entries: list[list[int]]) -> None:
    pairs = sorted((source, target) for source, targets in enumerate(entries) for target in targets)
    inverse = Ragged.of(entries).transposed(10)
    assert len(inverse) == 10
    assert sorted((int(source), target) for target in range(10) for source in inverse[target]) == pairs
    assert all(list(entry) == sorted(entry) for entry in inverse)


def test_ragged_index_from_the_end_and_beyond() -> None:
    ragged = Ragged.of([[1], [2, 3]])
    assert list(ragged[-1]) == [2, 3]
    with pytest.raises(IndexError):
        ragged[2]


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [1, 3], [0, 2], [-1, 3], []])
def test_ragged_refuses_offsets_that_do_not_rise_to_the_end(offsets: list[int]) -> None:
    with pytest.raises(InputError):
        Ragged(np.array(offsets, np.int64), np.arange(3, dtype=np.int32))


def test_created_particles_have_edm4hep_defaults() -> None:
    particles = MCParticles.create(pdg=[22, 11], momentum_gev=[[0, 0, 3], [4, 0, 0]], mass_gev=[0, 3])
    assert len(particles) == 2
    np.testing.assert_allclose(particles.energy_gev, [3, 5])
    assert list(particles.helicity) == [9, 9]
    assert list(particles.generator_status) == [1, 1]
    assert particles.momentum_gev.dtype == np.float64


def test_daughters_follow_from_parents() -> None:
    particles = MCParticles.create(pdg=[23, 11, -11], momentum_gev=np.ones((3, 3)), parents=Ragged.of([[], [0], [0]]))
    assert [list(entry) for entry in particles.daughters] == [[1, 2], [], []]


def test_status_bits_are_those_of_edm4hep() -> None:
    particles = MCParticles.create(
        pdg=[22, 22], momentum_gev=np.ones((2, 3)), simulator_status=[1 << 22 | 1 << 24, 1 << 24]
    )
    assert list(particles.has_status(SimulatorStatus.HANDLED_BY_FAST_SIM)) == [True, False]
    assert list(particles.has_status(SimulatorStatus.STOPPED)) == [True, True]
    assert SimulatorStatus.CREATED_IN_SIMULATION == 1 << 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum_gev": np.ones((2, 2))}, "wrong shape"),
        ({"momentum_gev": np.ones((3, 3))}, "wrong shape"),
        ({"pdg": [22.5, 11.0]}, "pdg"),
        ({"pdg": [2**31, 11]}, "pdg"),
        ({"time_ns": ["a", "b"]}, "time_ns"),
        ({"parents": Ragged.of([[0]])}, "wrong length"),
        ({"parents": Ragged.of([[2], []])}, "not in the event"),
        ({"parents": Ragged.of([[-1], []])}, "not in the event"),
    ],
)
def test_particles_refuse_misfits(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MCParticles.create(**{"pdg": [22, 11], "momentum_gev": np.ones((2, 3)), **change})


def test_hits_refuse_offsets_beyond_their_contributions() -> None:
    hits = random_event(np.random.default_rng(1), 0).calorimeter_hits["ECalBarrelSiHitsEven"]
    wrong = hits.contribution_offsets.copy()
    wrong[-1] += 1
    with pytest.raises(InputError, match="offsets"):
        dataclasses.replace(hits, contribution_offsets=wrong)


def test_cell_ids_use_all_64_bits() -> None:
    hits = dataclasses.replace(
        CalorimeterHits.empty(),
        cell_id=[2**64 - 1],  # type: ignore[arg-type]
        energy_gev=[1.0],  # type: ignore[arg-type]
        position_mm=[[1, 2, 3]],  # type: ignore[arg-type]
        contribution_offsets=[0, 0],  # type: ignore[arg-type]
    )
    assert int(hits.cell_id[0]) == 2**64 - 1
    with pytest.raises(InputError, match="cell_id"):
        dataclasses.replace(hits, cell_id=np.array([-1]))


def test_event_refuses_links_to_missing_particles() -> None:
    event = random_event(np.random.default_rng(2), 0)
    with pytest.raises(InputError, match="not in the event"):
        dataclasses.replace(event, particles=MCParticles.empty())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["weight", "weights", "momentum_gev", "energy_gev", "time_ns", "position_mm"])
def test_numbers_that_are_not_finite_are_named(place: str, value: float) -> None:
    event = random_event(np.random.default_rng(3), 2)
    event.check_finite()
    hits = event.calorimeter_hits["ECalBarrelSiHitsEven"]
    if place == "weight":
        event = dataclasses.replace(event, weight=value)
    else:
        owner: Any = {
            "weights": event,
            "momentum_gev": event.particles,
            "energy_gev": hits,
            "time_ns": hits.contributions,
            "position_mm": event.tracker_hits["CaloEntries"],
        }[place]
        getattr(owner, place)[1] = value
    with pytest.raises(InputError, match=place):
        event.check_finite()


def test_too_large_for_float32_is_not_finite() -> None:
    particles = MCParticles.create(pdg=[22], momentum_gev=[[0, 0, 1]], time_ns=[1e60])
    with pytest.raises(InputError, match="time_ns"):
        Event(event_number=0, particles=particles).check_finite()

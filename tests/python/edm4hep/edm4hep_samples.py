# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Events and files for the tests of ddcalogen.edm4hep."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from ddcalogen.edm4hep import (
    CalorimeterHits,
    Contributions,
    Event,
    LayoutName,
    MCParticles,
    Ragged,
    SimulatorStatus,
    TrackerHits,
    Writer,
)

SHARED_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
CALORIMETERS = {
    "ECalBarrelSiHitsEven": "system:0:5,module:5:3,stave:8:4,tower:12:4,layer:16:6,wafer:22:6,slice:28:4,"
    "cellX:32:-16,cellY:48:-16",
    "HcalBarrelRegCollection": "system:0:5,module:5:3,stave:8:4,tower:12:5,layer:17:6,slice:23:4,x:32:-16,y:48:-16",
}
TRACKERS = {"CaloEntries": "system:0:5"}
RUN_PARAMETERS: dict[str, Any] = {
    "runNumber": 3,
    "seed": 2**63 + 1,
    "showers_per_s": 12.5,
    "from_numpy": np.int64(-4),
    "model": "name, version",
    "counts": [1, -2, 3],
    "fractions": [0.25, 0.5],
    "reasons": ["out of range", "", "ünïcode"],
    "nothing": [],
}


def random_event(rng: np.random.Generator, number: int, *, particles: int = 7, hits: int = 40) -> Event:
    """An event with every field filled, links of all kinds, and hits without contributions among others."""
    sizes = rng.integers(0, 4, hits)
    total = int(sizes.sum())
    parents = Ragged.of([rng.integers(0, particles, rng.integers(0, 3)) for _ in range(particles)])
    mc = MCParticles.create(
        pdg=rng.choice([22, 11, -11, 211, 1000010020], particles),
        generator_status=rng.integers(0, 3, particles),
        simulator_status=rng.choice([0, SimulatorStatus.HANDLED_BY_FAST_SIM, SimulatorStatus.STOPPED], particles),
        charge=rng.choice([-1.0, 0.0, 1 / 3], particles),
        time_ns=rng.random(particles),
        mass_gev=rng.random(particles),
        vertex_mm=rng.normal(size=(particles, 3)),
        endpoint_mm=rng.normal(size=(particles, 3)) * 1000,
        momentum_gev=rng.normal(size=(particles, 3)),
        momentum_at_endpoint_gev=rng.normal(size=(particles, 3)),
        helicity=rng.choice([-1, 1, 9], particles),
        parents=parents,
    )
    contributions = Contributions(
        particle=rng.integers(-1, particles, total).astype(np.int32),
        pdg=rng.choice([22, 11], total).astype(np.int32),
        energy_gev=rng.random(total).astype(np.float32),
        time_ns=rng.random(total).astype(np.float32),
        step_position_mm=rng.normal(size=(total, 3)).astype(np.float32),
        step_length_mm=np.full(total, -1, np.float32),
    )
    calorimeter = CalorimeterHits(
        cell_id=rng.integers(0, 2**64, hits, dtype=np.uint64),
        energy_gev=rng.random(hits).astype(np.float32),
        position_mm=rng.normal(size=(hits, 3)).astype(np.float32),
        contribution_offsets=np.concatenate(([0], np.cumsum(sizes))),
        contributions=contributions,
    )
    entries = TrackerHits(
        cell_id=rng.integers(0, 2**64, 3, dtype=np.uint64),
        energy_gev=rng.random(3).astype(np.float32),
        time_ns=rng.random(3).astype(np.float32),
        path_length_mm=rng.random(3).astype(np.float32),
        quality=rng.integers(-5, 5, 3).astype(np.int32),
        position_mm=rng.normal(size=(3, 3)),
        momentum_gev=rng.normal(size=(3, 3)).astype(np.float32),
        particle=rng.integers(-1, particles, 3).astype(np.int32),
    )
    return Event(
        event_number=number,
        run_number=3,
        weight=float(rng.normal()),
        weights=rng.normal(size=number % 3),
        time_stamp=number,
        particles=mc,
        calorimeter_hits={"ECalBarrelSiHitsEven": calorimeter, "HcalBarrelRegCollection": CalorimeterHits.empty()},
        tracker_hits={"CaloEntries": entries},
        parameters={"accounting": [1.5, float(number)], "note": "x", "tries": number},
    )


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Equality of records, bit by bit."""
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        np.testing.assert_array_equal(left, right, err_msg=where)
    elif dataclasses.is_dataclass(left):
        assert type(left) is type(right)
        for item in dataclasses.fields(left):
            assert_same(getattr(left, item.name), getattr(right, item.name), f"{where}.{item.name}")
    elif isinstance(left, dict):
        assert set(left) == set(right), where
        for key in left:
            assert_same(left[key], right[key], f"{where}[{key}]")
    else:
        assert left == right, where


def as_stored(event: Event, layout: LayoutName) -> Event:
    """What a layout keeps of an event: "1.2" has no step lengths and knows helicities as a spin only."""
    if layout == "current":
        return event
    helicity = np.where(np.abs(event.particles.helicity) == 1, event.particles.helicity, 9)
    calorimeters = {}
    for name, hits in event.calorimeter_hits.items():
        lengths = np.zeros_like(hits.contributions.step_length_mm)
        contributions = dataclasses.replace(hits.contributions, step_length_mm=lengths)
        calorimeters[name] = dataclasses.replace(hits, contributions=contributions)
    return dataclasses.replace(
        event, particles=dataclasses.replace(event.particles, helicity=helicity), calorimeter_hits=calorimeters
    )


def write(path: Path, events: list[Event], **options: Any) -> Path:
    """Write events with the collections of these tests."""
    with Writer(path, CALORIMETERS, tracker_collections=TRACKERS, backend="root", **options) as writer:
        for event in events:
            writer.write(event)
    return path

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What is written is what is read, in both layouts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import uproot
from ddcalogen.edm4hep import (
    CalorimeterHits,
    Contributions,
    Event,
    LayoutName,
    MCParticles,
    ParameterValue,
    Ragged,
    Reader,
    TrackerHits,
    Writer,
)
from edm4hep_samples import CALORIMETERS, RUN_PARAMETERS, TRACKERS, as_stored, assert_same, random_event, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def test_events_come_back(written: Path, layout: LayoutName, events: list[Event]) -> None:
    with Reader(written) as reader:
        assert len(reader) == len(events)
        for event, back in zip(events, reader, strict=True):
            complete = as_stored(event, layout)
            # every event has every collection
            assert set(back.calorimeter_hits) == set(CALORIMETERS)
            assert set(back.tracker_hits) == set(TRACKERS)
            if event.calorimeter_hits:
                assert_same(complete, back)
            else:
                assert_same(complete.particles, back.particles)
                assert all(len(hits) == 0 for hits in back.calorimeter_hits.values())


def test_metadata_comes_back(written: Path, layout: LayoutName) -> None:
    with Reader(written) as reader:
        assert reader.encodings == {**CALORIMETERS, **TRACKERS}
        assert reader.metadata["generator"] == "test"
        expected = {**RUN_PARAMETERS, "seed": str(2**63 + 1)}  # podio has 32-bit integers only
        assert reader.run_parameters == expected
        assert reader.schema == (4 if layout == "current" else 2)
        assert reader.podio_version == ((1, 3, 0) if layout == "current" else (1, 2, 0))
        assert reader.calorimeter_collections == sorted(CALORIMETERS, key=str.lower)
        assert reader.tracker_collections == list(TRACKERS)
        assert reader.collections["ECalBarrelSiHitsEvenContributions"] == "edm4hep::CaloHitContribution"


def test_slices_and_selected_collections(written: Path) -> None:
    with Reader(written, collections=["CaloEntries"]) as reader:
        assert [event.event_number for event in reader.events(1, 3)] == [1, 2]
        assert [event.event_number for event in reader.events(4, 99)] == [4, 5]
        event = next(reader.events())
        assert not event.calorimeter_hits
        assert list(event.tracker_hits) == ["CaloEntries"]


def test_fast_simulation_marks_survive(written: Path, layout: LayoutName) -> None:
    with Reader(written) as reader:
        event = next(iter(reader))
    lengths = event.calorimeter_hits["ECalBarrelSiHitsEven"].contributions.step_length_mm
    assert set(lengths) == ({-1.0} if layout == "current" else {0.0})


def test_chunks_do_not_matter(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reader(written) as reader:
        whole = list(reader)
    monkeypatch.setattr("ddcalogen.edm4hep.reader._CHUNK_BYTES", 1)
    with Reader(written) as reader:
        for event, again in zip(whole, reader, strict=True):
            assert_same(event, again)


def test_run_parameters_may_be_set_until_the_end(tmp_path: Path, root: None) -> None:
    path = tmp_path / "late.edm4hep.root"
    with Writer(path, CALORIMETERS, backend="root") as writer:
        writer.write(Event(event_number=0))
        writer.run_parameters["showers"] = 12
        writer.metadata["model"] = "m"
        assert not path.exists()
    assert writer.events_written == 1
    with Reader(path) as reader:
        assert reader.run_parameters == {"showers": 12}
        assert reader.metadata["model"] == "m"


def test_a_file_without_events_can_be_read(tmp_path: Path, root: None) -> None:
    with Reader(write(tmp_path / "none.edm4hep.root", [], run_parameters={"a": 1})) as reader:
        assert len(reader) == 0
        assert list(reader) == []
        assert reader.run_parameters == {"a": 1}
        assert "ECalBarrelSiHitsEven" in reader.collections


def test_large_events_and_many_of_them(tmp_path: Path, root: None) -> None:
    rng = np.random.default_rng(4)
    events = [random_event(rng, 0, particles=2000, hits=30_000), *(random_event(rng, 1 + i) for i in range(700))]
    with Reader(write(tmp_path / "many.edm4hep.root", events)) as reader:
        count = 0
        for event, back in zip(events, reader, strict=True):
            assert_same(event, back)
            count += 1
    assert count == 701


def test_uproot_alone_sees_the_numbers(written: Path, events: list[Event]) -> None:
    """Without our reader: branches as any other program finds them."""
    with uproot.open(written) as file:
        tree = file["events"]
        energies = tree["ECalBarrelSiHitsEven/ECalBarrelSiHitsEven.energy"].array(library="np")
        begin = tree["ECalBarrelSiHitsEven/ECalBarrelSiHitsEven.contributions_begin"].array(library="np")
        particle = tree["_ECalBarrelSiHitsEvenContributions_particle"]
        index = particle["_ECalBarrelSiHitsEvenContributions_particle.index"].array(library="np")
        owner = particle["_ECalBarrelSiHitsEvenContributions_particle.collectionID"].array(library="np")
    for number, event in enumerate(events[:-1]):
        hits = event.calorimeter_hits["ECalBarrelSiHitsEven"]
        np.testing.assert_array_equal(energies[number], hits.energy_gev)
        np.testing.assert_array_equal(begin[number], hits.contribution_offsets[:-1])
        linked = hits.contributions.particle >= 0
        np.testing.assert_array_equal(index[number][linked], hits.contributions.particle[linked])
        assert set(index[number][~linked]) <= {-2}
        assert set(owner[number][~linked]) <= {0}
        assert set(owner[number][linked]) == {2714477136}  # the id of MCParticles in files of real ddsim


def floats(width: Literal[32, 64]) -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, width=width)


def column(dtype: type[np.generic], *shape: int) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype)
    elements = floats(32 if kind.itemsize == 4 else 64) if kind.kind == "f" else None
    return hnp.arrays(kind, shape, elements=elements)


@st.composite
def particle_records(draw: st.DrawFn) -> MCParticles:
    count = draw(st.integers(0, 5))
    links = st.lists(st.integers(0, max(0, count - 1)), max_size=3 if count else 0)
    names: dict[str, type[np.generic]] = {
        "pdg": np.int32, "generator_status": np.int32, "simulator_status": np.int32, "charge": np.float32,
        "time_ns": np.float32, "mass_gev": np.float64,
    }  # fmt: skip
    vectors = ("vertex_mm", "endpoint_mm", "momentum_gev", "momentum_at_endpoint_gev")
    return MCParticles(
        **{name: draw(column(dtype, count)) for name, dtype in names.items()},
        **{name: draw(column(np.float64, count, 3)) for name in vectors},
        helicity=draw(hnp.arrays(np.int32, count, elements=st.sampled_from([-1, 1, 9]))),
        parents=Ragged.of(draw(st.lists(links, min_size=count, max_size=count))),
        daughters=Ragged.of(draw(st.lists(links, min_size=count, max_size=count))),
    )


@st.composite
def hit_records(draw: st.DrawFn, particles: int) -> CalorimeterHits:
    sizes = draw(st.lists(st.integers(0, 3), max_size=5))
    total = sum(sizes)
    return CalorimeterHits(
        cell_id=draw(column(np.uint64, len(sizes))),
        energy_gev=draw(column(np.float32, len(sizes))),
        position_mm=draw(column(np.float32, len(sizes), 3)),
        contribution_offsets=np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))),
        contributions=Contributions(
            particle=draw(hnp.arrays(np.int32, total, elements=st.integers(-1, particles - 1))),
            pdg=draw(column(np.int32, total)),
            energy_gev=draw(column(np.float32, total)),
            time_ns=draw(column(np.float32, total)),
            step_position_mm=draw(column(np.float32, total, 3)),
            step_length_mm=draw(column(np.float32, total)),
        ),
    )


@st.composite
def tracker_records(draw: st.DrawFn, particles: int) -> TrackerHits:
    count = draw(st.integers(0, 4))
    return TrackerHits(
        cell_id=draw(column(np.uint64, count)),
        energy_gev=draw(column(np.float32, count)),
        time_ns=draw(column(np.float32, count)),
        path_length_mm=draw(column(np.float32, count)),
        quality=draw(column(np.int32, count)),
        position_mm=draw(column(np.float64, count, 3)),
        momentum_gev=draw(column(np.float32, count, 3)),
        particle=draw(hnp.arrays(np.int32, count, elements=st.integers(-1, particles - 1))),
    )


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
parameter_values: st.SearchStrategy[ParameterValue] = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    floats(64),
    texts,
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=4),
    st.lists(floats(64), min_size=2, max_size=4),
    st.lists(texts, min_size=2, max_size=4),
)


@st.composite
def any_events(draw: st.DrawFn) -> Event:
    particles = draw(particle_records())
    return Event(
        event_number=draw(st.integers(0, 2**31 - 1)),
        run_number=draw(st.integers(0, 2**31 - 1)),
        weight=draw(floats(64)),
        weights=np.array(draw(st.lists(floats(64), max_size=3)), np.float64),
        time_stamp=draw(st.integers(0, 2**64 - 1)),
        particles=particles,
        calorimeter_hits={name: draw(hit_records(len(particles))) for name in CALORIMETERS},
        tracker_hits={name: draw(tracker_records(len(particles))) for name in TRACKERS},
        parameters=draw(st.dictionaries(texts.filter(bool), parameter_values, max_size=4)),
    )


# A file takes seconds to open (ROOT starts), an event next to nothing: few examples of many events each.
@pytest.mark.parametrize("target", ["current", "1.2"])
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(any_events(), min_size=1, max_size=40))
def test_any_event_comes_back(root: None, target: LayoutName, batch: list[Event]) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        Reader(write(Path(directory) / "any.edm4hep.root", batch, layout=target)) as reader,
    ):
        for event, back in zip(batch, reader, strict=True):
            assert_same(as_stored(event, target), back)


def test_event_numbers_beyond_32_bits_need_the_current_layout(tmp_path: Path, root: None) -> None:
    event = Event(event_number=2**64 - 1, run_number=2**31 - 1)
    with Reader(write(tmp_path / "big.edm4hep.root", [event])) as reader:
        assert next(iter(reader)).event_number == 2**64 - 1

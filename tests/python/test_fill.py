# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers for recorded calorimeter entries, without DD4hep: the records are written with our own writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.edm4hep import (
    CalorimeterHits,
    Contributions,
    Event,
    MCParticles,
    Reader,
    SimulatorStatus,
    TrackerHits,
    Writer,
)
from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.entries import ENTRIES_COLLECTION, ENTRIES_ENCODING, cells_hashes, entries_of, incident_particles
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.fill import ShowersFromFile, check_geometry, fill_events, open_record, recorded_seed
from ddcalogen.geometry import Geometry
from ddcalogen.models import find_model
from ddcalogen.simulate import Simulator, add_hits, collections_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import MODEL, failed, run
from toys import photons

pytest.importorskip("ROOT", reason="EDM4hep files are written with ROOT")

SEED = 9
EVENTS = 12
ECAL = "ECalBarrelSiHitsEven"


def hits_of(cells: list[tuple[int, list[tuple[int, float]]]]) -> CalorimeterHits:
    """Hits from (cellID, [(particle, energy)])."""
    parts = [c for _, contributions in cells for c in contributions]
    number = len(parts)
    return CalorimeterHits(
        cell_id=np.array([c for c, _ in cells], np.uint64),
        energy_gev=np.array([sum(e for _, e in contributions) for _, contributions in cells], np.float32),
        position_mm=np.array([[c % 1000, 1.0, 2.0] for c, _ in cells], np.float32).reshape(-1, 3),
        contribution_offsets=np.cumsum([0, *(len(contributions) for _, contributions in cells)]),
        contributions=Contributions(
            particle=np.array([p for p, _ in parts], np.int32),
            pdg=np.full(number, 11, np.int32),
            energy_gev=np.array([e for _, e in parts], np.float32),
            time_ns=np.arange(number, dtype=np.float32),
            step_position_mm=np.zeros((number, 3), np.float32),
            step_length_mm=np.full(number, 0.3, np.float32),
        ),
    )


def record_events(ild: Geometry) -> list[Event]:
    """Events of one to three recorded photons, a charged pion with hits of its own, and one event without entries."""
    rng = np.random.default_rng(4)
    cells = np.array([v.volume_id for v in (ild.surfaces.volume(i) for i in (0, 40, 900))], np.uint64)
    events = []
    for number in range(EVENTS):
        count = 0 if number == 5 else 1 + number % 3
        particles = photons(count, seed=100 + number, energy_gev=(1.0, 40.0))
        momentum = particles.direction * particles.energy_gev[:, None]
        # track numbers are no indices; the last particle of an event stands for nobody
        identity = rng.permutation(np.arange(2, 400))[:count].astype(np.uint32)
        event_number = 1000 + number
        particles = replace(particles, event=np.full(count, event_number, np.uint64), particle=identity)
        link = np.arange(1, count + 1, dtype=np.int32)
        if count == 3:
            link[-1] = -1
        entries = entries_of(particles, momentum, link)
        tracks = TrackerHits(
            cell_id=np.array([7, 8], np.uint64), energy_gev=np.array([1e-6, 2e-6]), time_ns=np.array([0.1, 0.2]),
            path_length_mm=np.ones(2), quality=np.array([1 << 30, 0], np.int32), position_mm=rng.normal(size=(2, 3)),
            momentum_gev=rng.normal(size=(2, 3)), particle=np.array([0, -1], np.int32),
        )  # fmt: skip
        events.append(
            Event(
                event_number=event_number,
                run_number=3,
                weight=0.5,
                particles=MCParticles.create(
                    pdg=np.array([211] + [22] * count, np.int32),
                    momentum_gev=np.concatenate([[[1.0, 2.0, 3.0]], momentum]),
                    mass_gev=np.array([0.13957] + [0.0] * count),
                    generator_status=np.ones(1 + count, np.int32),
                    simulator_status=np.full(1 + count, int(SimulatorStatus.STOPPED), np.int32),
                ),
                calorimeter_hits={
                    ECAL: hits_of([(int(c), [(0, 1e-4), (0, 2e-4)]) for c in cells]),
                    "YokeBarrelCollection": hits_of([(5, [(0, 1e-3)])]),
                },
                tracker_hits={ENTRIES_COLLECTION: entries, "VXDCollection": tracks},
                parameters={"process": "test", "alphaQCD": 0.1},
            )
        )
    return events


def write_record(path: Path, ild: Geometry, events: list[Event], **parameters: Any) -> Path:
    collections = {**collections_of(ild, ["ECAL"]), "YokeBarrelCollection": "system:5,layer:8"}
    trackers = {ENTRIES_COLLECTION: ENTRIES_ENCODING, "VXDCollection": "system:5,side:-2"}
    run_parameters = {
        "DDCaloGenMode": "record", "DDCaloGenSeed": str(SEED), "DDCaloGenModelName": MODEL, "detectorName": ild.name,
        "GEANT4Version": "11.4", **parameters,
    }  # fmt: skip
    with Writer(path, collections, tracker_collections=trackers, run_parameters=run_parameters) as writer:
        for event in events:
            writer.write(event)
    return path


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, ild: Geometry) -> Path:
    return write_record(tmp_path_factory.mktemp("record") / "record.edm4hep.root", ild, record_events(ild))


def assert_same_record(a: Any, b: Any) -> None:
    for column in fields(a):
        x, y = getattr(a, column.name), getattr(b, column.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg=column.name)


def cells_by_particle(event: Event) -> dict[int, dict[int, float]]:
    """Energy of generated contributions: particle -> cell -> GeV."""
    found: dict[int, dict[int, float]] = {}
    for hits in event.calorimeter_hits.values():
        owner = np.repeat(hits.cell_id, np.diff(hits.contribution_offsets))
        generated = hits.contributions.step_length_mm == -1
        c = hits.contributions
        for cell, particle, energy in zip(
            owner[generated], c.particle[generated], c.energy_gev[generated], strict=True
        ):
            found.setdefault(int(particle), {})[int(cell)] = float(energy)
    return found


def test_entries_survive_the_file(record: Path, ild: Geometry) -> None:
    for written, read in zip(record_events(ild), Reader(record), strict=True):
        original = written.tracker_hits[ENTRIES_COLLECTION]
        assert_same_record(original, read.tracker_hits[ENTRIES_COLLECTION])
        particles = incident_particles(original, written.event_number)
        assert set(particles.pdg.tolist()) <= {22}
        np.testing.assert_allclose(np.linalg.norm(particles.direction, axis=1), 1.0, atol=1e-12)


keys = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(keys, unique_by=lambda key: key[1], max_size=8))
def test_identity_and_kind_fit_into_an_entry(keys: list[tuple[int, int]]) -> None:
    number = len(keys)
    particles = IncidentParticles(
        pdg=np.array([k[0] for k in keys], np.int32), energy_gev=np.ones(number), position_mm=np.zeros((number, 3)),
        direction=np.tile([0.0, 0.0, 1.0], (number, 1)), time_ns=np.zeros(number), event=np.full(number, 2, np.uint64),
        particle=np.array([k[1] for k in keys], np.uint32),
    )  # fmt: skip
    back = incident_particles(entries_of(particles, particles.direction.copy(), np.zeros(number, np.int32)), 2)
    np.testing.assert_array_equal(back.pdg, particles.pdg)
    np.testing.assert_array_equal(back.particle, particles.particle)


def test_fill_adds_cells_and_keeps_everything_else(record: Path, tmp_path: Path, ild: Geometry) -> None:
    out = tmp_path / "filled.edm4hep.root"
    result = run("fill", record, "-o", out)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    generator = Generator(find_model(MODEL), ild, seed=SEED, batch=7)
    before, after = Reader(record), Reader(out)
    assert after.run_parameters["DDCaloGenMode"] == "fill"
    assert after.run_parameters["GEANT4Version"] == "11.4"
    assert after.encodings == before.encodings
    placed = 0.0
    for old, new in zip(before, after, strict=True):
        for name in ("event_number", "run_number", "weight", "parameters"):
            assert getattr(new, name) == getattr(old, name)
        for name, hits in old.tracker_hits.items():
            assert_same_record(hits, new.tracker_hits[name])
        entries = old.tracker_hits[ENTRIES_COLLECTION]
        showers = generator.simulate(incident_particles(entries, old.event_number))
        assert showers.simulated.all()
        placed += showers.account().placed_gev
        expected = {
            int(entries.particle[i]): dict(
                zip(showers.cell_id[a:b].tolist(), showers.energy_gev[a:b].astype(float).tolist(), strict=True)
            )
            for i, (a, b) in enumerate(zip(showers.offsets[:-1].tolist(), showers.offsets[1:].tolist(), strict=True))
        }
        assert cells_by_particle(new) == expected
        # what was there before is still there, in the same order
        for name, hits in old.calorimeter_hits.items():
            now = new.calorimeter_hits[name]
            n = len(hits)
            np.testing.assert_array_equal(now.cell_id[:n], hits.cell_id)
            assert (now.energy_gev[:n] >= hits.energy_gev).all()
            mine = now.contributions.step_length_mm != -1
            for column in fields(Contributions):
                np.testing.assert_array_equal(
                    getattr(now.contributions, column.name)[mine], getattr(hits.contributions, column.name)
                )
        handled = new.particles.has_status(SimulatorStatus.HANDLED_BY_FAST_SIM)
        assert set(np.flatnonzero(handled).tolist()) == set(entries.particle.tolist()) - {-1}
        kept = new.particles.simulator_status & ~int(SimulatorStatus.HANDLED_BY_FAST_SIM)
        np.testing.assert_array_equal(kept, old.particles.simulator_status)
        np.testing.assert_array_equal(new.particles.endpoint_mm, old.particles.endpoint_mm)
    assert float(str(after.run_parameters["DDCaloGenEnergyPlaced_GeV"])) == pytest.approx(placed, rel=1e-9)
    failed(run("fill", out, "-o", tmp_path / "twice.root"), "has its showers already")
    assert not (tmp_path / "twice.root").exists()


@pytest.mark.parametrize(("batch", "threads", "chunk"), [(1, 1, 1), (5, 2, 4), (64, 1, 2048)])
def test_same_cells_whatever_the_batch(record: Path, ild: Geometry, batch: int, threads: int, chunk: int) -> None:
    def filled(batch: int, threads: int, chunk: int) -> list[Event]:
        generator = Generator(find_model(MODEL), ild, seed=SEED, batch=batch, threads=threads)
        return list(fill_events(Reader(record), Simulator([generator], chunk_particles=chunk)))

    for a, b in zip(filled(16, 1, 10), filled(batch, threads, chunk), strict=True):
        assert a.event_number == b.event_number
        for name, hits in a.calorimeter_hits.items():
            assert_same_record(hits, b.calorimeter_hits[name])
            assert_same_record(hits.contributions, b.calorimeter_hits[name].contributions)


def test_simulate_starts_from_recorded_entries(record: Path, tmp_path: Path, ild: Geometry) -> None:
    out = tmp_path / "simulated.edm4hep.root"
    result = run("simulate", record, "-o", out, "--seed", SEED)
    assert result.returncode == 0, result.stderr
    simulator = Simulator([Generator(find_model(MODEL), ild, seed=SEED)])
    for filled, simulated in zip(fill_events(Reader(record), simulator), Reader(out), strict=True):
        assert cells_by_particle(simulated) == cells_by_particle(filled)


def test_other_seed_other_showers(record: Path, ild: Geometry) -> None:
    a, b = (
        next(iter(fill_events(Reader(record), Simulator([Generator(find_model(MODEL), ild, seed=seed)]))))
        for seed in (SEED, SEED + 1)
    )
    assert cells_by_particle(a) != cells_by_particle(b)


def test_seed_of_the_record(record: Path) -> None:
    assert recorded_seed(Reader(record)) == SEED


def test_records_that_cannot_be_filled(tmp_path: Path, ild: Geometry) -> None:
    event = record_events(ild)[1]
    plain = tmp_path / "plain.root"
    with Writer(plain, collections_of(ild, ["ECAL"])) as writer:
        writer.write(Event(event_number=1))
    with pytest.raises(InputError, match="no recorded calorimeter entries"):
        open_record(plain)
    entries = event.tracker_hits[ENTRIES_COLLECTION]
    assert len(entries) > 1
    twice = replace(entries, cell_id=np.full(len(entries), entries.cell_id[0]))
    simulator = Simulator([Generator(find_model(MODEL), ild)])
    with pytest.raises(InputError, match="same identity"):
        list(fill_events([replace(event, tracker_hits={ENTRIES_COLLECTION: twice})], simulator))
    still = replace(entries, momentum_gev=np.zeros((len(entries), 3), np.float32))
    list(fill_events([replace(event, tracker_hits={ENTRIES_COLLECTION: still})], simulator))
    assert simulator.summary.fates["not simulated: bad kinematics"] == len(entries)


def test_other_cells_are_refused(tmp_path: Path, ild: Geometry) -> None:
    same = cells_hashes(ild, ["EcalBarrel", "EcalEndcap"])
    events = record_events(ild)[:1]
    generator = Generator(find_model(MODEL), ild)
    good = write_record(tmp_path / "good.root", ild, events, DDCaloGenCells=[*same, "HcalBarrel:0123456789abcdef"])
    check_geometry(Reader(good), Simulator([generator]))
    bad = write_record(tmp_path / "bad.root", ild, events, DDCaloGenCells=[same[0], "EcalEndcap:0123456789abcdef"])
    with pytest.raises(ConfigurationError, match="other cells") as caught:
        check_geometry(Reader(bad), Simulator([generator]))
    assert "EcalEndcap" in str(caught.value)
    assert "EcalBarrel" not in str(caught.value)


def test_particles_without_a_shower_are_told(tmp_path: Path, ild: Geometry, toy_model: Callable[..., Path]) -> None:
    path = write_record(tmp_path / "record.root", ild, record_events(ild)[:3], DDCaloGenModelHash="0" * 64)
    model = toy_model(card={"domain": {"pdg": [211], "energy_gev": [1.0, 100.0], "theta_deg": [0.0, 60.0]}})
    result = run("fill", path, "-o", tmp_path / "out.root", "--model", model)
    assert result.returncode == 0
    assert "not the model that the entries were recorded for" in " ".join(result.stderr.split())
    assert "6 recorded particles" in " ".join(result.stderr.split())


class TestShowersFromFile:
    """Closure: showers of a file come out where they were put in."""

    @staticmethod
    def slab(path: Path, energy_gev: list[float], pdg: int = 22) -> Path:
        """Three points per shower, in layers 0, 5 and 10."""
        number = len(energy_gev)
        with h5py.File(path, "w") as file:
            file["incident_energy_gev"] = np.array(energy_gev, np.float32)
            file["direction"] = np.tile(np.array([0, 0, 1], np.float32), (number, 1))
            file["pdg"] = np.full(number, pdg, np.int32)
            group = file.create_group("ecal")
            group.attrs["pitch_mm"], group.attrs["grid_rotation_rad"] = 1.0, 0.0
            group["offsets"] = np.arange(number + 1) * 3
            group["ix"] = np.tile(np.array([2, -12, 30], np.int16), number)
            group["iy"] = np.tile(np.array([1, 7, -3], np.int16), number)
            group["layer"] = np.tile(np.array([0, 5, 10], np.uint8), number)
            group["energy_mev"] = np.concatenate([np.array([1, 2, 4], np.float16) * (i + 1) for i in range(number)])
        return path

    @staticmethod
    def event(energy_gev: list[float]) -> Event:
        """Photons straight onto the stave at phi = 0, at different z."""
        number = len(energy_gev)
        particles = IncidentParticles(
            pdg=np.full(number, 22, np.int32), energy_gev=np.array(energy_gev),
            position_mm=np.array([[1804.8, 40.0 * i - 100.0, 150.0 + 30.0 * i] for i in range(number)]),
            direction=np.tile([1.0, 0.0, 0.0], (number, 1)), time_ns=np.full(number, 6.0),
            event=np.full(number, 1, np.uint64), particle=np.arange(10, 10 + number, dtype=np.uint32),
        )  # fmt: skip
        momentum = particles.direction * particles.energy_gev[:, None]
        entries = entries_of(particles, momentum, np.arange(number, dtype=np.int32))
        return Event(
            event_number=1,
            particles=MCParticles.create(pdg=particles.pdg, momentum_gev=momentum),
            tracker_hits={ENTRIES_COLLECTION: entries},
        )

    def test_points_land_in_their_cells(self, tmp_path: Path, ild: Geometry) -> None:
        energy = [10.0, 20.0, 50.0]
        source = ShowersFromFile(self.slab(tmp_path / "slab.h5", energy), find_model(MODEL), ild)
        event = self.event(energy)
        entries = event.tracker_hits[ENTRIES_COLLECTION]
        (filled,) = fill_events([event], Simulator([source]))
        found = cells_by_particle(filled)
        depth = source.card.calorimeter.layer_depth_mm
        for i in range(3):
            expected: dict[int, float] = {}
            for x, y, layer, mev in ((2, 1, 0, 1.0), (-12, 7, 5, 2.0), (30, -3, 10, 4.0)):
                # the stave at phi = 0: local x is -z, local y is y
                point = entries.position_mm[i] + np.array([depth[layer], y, -x])
                cell = int(ild.surfaces.locate(point[None])[0])
                if cell:
                    expected[cell] = expected.get(cell, 0.0) + mev * (i + 1) * 1e-3
            assert found[i] == pytest.approx(expected)
            assert len(expected) >= 2

    def test_showers_must_belong_to_the_entries(self, tmp_path: Path, ild: Geometry) -> None:
        def attempt(showers: list[float], entries: list[float], pdg: int = 22) -> None:
            slab = self.slab(tmp_path / "slab.h5", showers, pdg)
            list(fill_events([self.event(entries)], Simulator([ShowersFromFile(slab, find_model(MODEL), ild)])))

        with pytest.raises(InputError, match="too few showers"):
            attempt([10.0], [10.0, 20.0])
        with pytest.raises(InputError, match="does not belong to entry 1"):
            attempt([10.0, 21.0], [10.0, 20.0])
        with pytest.raises(InputError, match="does not belong to entry 0"):
            attempt([10.0], [10.0], pdg=11)

    def test_on_the_command_line(self, tmp_path: Path, ild: Geometry) -> None:
        energy = [10.0, 20.0]
        slab = self.slab(tmp_path / "slab.h5", energy)
        path = write_record(tmp_path / "record.root", ild, [self.event(energy)])
        out = tmp_path / "out.root"
        result = run("fill", path, "-o", out, "--showers", slab)
        assert result.returncode == 0, result.stderr
        (event,) = Reader(out)
        assert len(cells_by_particle(event)[0]) >= 2
        failed(run("fill", path, "-o", out, "--showers", tmp_path / "none.h5"), "shower file cannot be read")


contribution = st.tuples(st.integers(0, 3), st.sampled_from([0.25, 0.5, 1.0]))
hit = st.tuples(st.integers(1, 12), st.lists(contribution, min_size=1, max_size=3))
some_hits = st.lists(hit, unique_by=lambda h: h[0], max_size=8).map(hits_of)


@settings(max_examples=60)
@given(some_hits, some_hits)
def test_adding_hits(old: CalorimeterHits, new: CalorimeterHits) -> None:
    def by_cell(hits: CalorimeterHits) -> dict[int, list[tuple[int, float]]]:
        c = hits.contributions
        pairs = list(zip(c.particle.tolist(), c.energy_gev.tolist(), strict=True))
        edges = hits.contribution_offsets.tolist()
        return {int(cell): pairs[edges[i] : edges[i + 1]] for i, cell in enumerate(hits.cell_id)}

    both = add_hits(old, new)
    a, b, found = by_cell(old), by_cell(new), by_cell(both)
    assert found == {cell: a.get(cell, []) + b.get(cell, []) for cell in [*a, *(c for c in b if c not in a)]}
    assert both.cell_id.tolist()[: len(old)] == old.cell_id.tolist()
    for i, cell in enumerate(both.cell_id.tolist()):
        assert float(both.energy_gev[i]) == sum(e for _, e in found[cell])  # powers of two: exact
    assert add_hits(None, new) is new

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs of ddsim with the plugin, in the real ILD. Particles fly without physics, so Geant4 needs no data files."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ddcalogen import _core
from ddcalogen.edm4hep import Event, Reader, SimulatorStatus
from ddcalogen.entries import ENTRIES_COLLECTION, ENTRIES_ENCODING, incident_particles
from ddcalogen.geometry import Geometry
from test_cli import MODEL, run
from toys import LAYER_DEPTH_MM

EVENTS = 6
SEED = 2026

STEERING = """
import ddcalogen.ddsim

def particles_only(kernel):
    from DDG4 import PhysicsList
    particles = PhysicsList(kernel, "Geant4PhysicsList/Particles")
    for constructor in ("G4BosonConstructor", "G4LeptonConstructor"):
        particles.addParticleConstructor(constructor)
    kernel.physicsList().adopt(particles)

SIM.physics.list = ""
SIM.physics.setupUserPhysics(particles_only)
SIM.physics.setupUserPhysics(ddcalogen.ddsim.setup({options}))
SIM.enableDetailedShowerMode = True
SIM.random.seed = {seed}
SIM.random.enableEventSeed = True
SIM.enableGun = True
SIM.gun.distribution = "uniform"
SIM.gun.particle = "{particle}"
SIM.gun.multiplicity = 3
SIM.gun.momentumMin = {low} * 1000
SIM.gun.momentumMax = {high} * 1000
"""


def _reason_to_skip() -> str | None:
    if not _core.has_ddg4_plugin:
        return "this build has no plugin: DD4hep with DDG4 was not found"
    if shutil.which("ddsim") is None:
        return "ddsim is not in PATH"
    if not _compact().is_file():
        return "k4geo is not here: K4GEO does not name a folder with ILD in it"
    return None


def _compact(name: str = "ILD_l5_o1_v02") -> Path:
    return Path(os.environ.get("K4GEO", "")) / "ILD" / "compact" / name / f"{name}.xml"


_REASON = _reason_to_skip()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")


@dataclass
class Run:
    path: Path
    log: str
    code: int

    @property
    def events(self) -> list[Event]:
        return list(Reader(self.path))


def simulate(
    folder: Path,
    options: str = "",
    *,
    name: str = "out",
    events: int = EVENTS,
    particle: str = "gamma",
    energy_gev: tuple[float, float] = (5.0, 40.0),
    seed: int = SEED,
    more: str = "",
) -> Run:
    steering = folder / f"{name}.py"
    low, high = energy_gev
    text = STEERING.format(options=options, seed=seed, particle=particle, low=low, high=high)
    steering.write_text(text + more)
    output = folder / f"{name}.edm4hep.root"
    result = subprocess.run(
        [
            "ddsim", "--steeringFile", str(steering), "--compactFile", str(_compact()), "--numberOfEvents", str(events),
            "--outputFile", str(output),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=folder,
    )  # fmt: skip
    return Run(output, result.stdout + result.stderr, result.returncode)


def good(result: Run) -> Run:
    assert result.code == 0, result.log[-3000:]
    return result


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("generate")
    return good(simulate(folder, 'detector="ILD", check_cells=True, batch_cap=4', name="generate"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return good(simulate(tmp_path_factory.mktemp("record"), 'detector="ILD", mode="record"', name="record"))


def cells(event: Event) -> dict[tuple[str, int], list[tuple[int, float, float]]]:
    """(collection, cell) -> contributions as (particle, energy, time)."""
    found = {}
    for name, hits in event.calorimeter_hits.items():
        c = hits.contributions
        rows = list(zip(c.particle.tolist(), c.energy_gev.tolist(), c.time_ns.tolist(), strict=True))
        for i, cell in enumerate(hits.cell_id.tolist()):
            a, b = hits.contribution_offsets[i : i + 2]
            found[name, cell] = sorted(rows[a:b])
    return found


class TestGenerate:
    def test_hits_are_in_real_cells_of_the_right_collections(self, generated: Run, ild: Geometry) -> None:
        surfaces = ild.surfaces
        names = [[c.name for c in d.hit_collections] for d in surfaces.detectors]
        total = 0
        for event in generated.events:
            for name, hits in event.calorimeter_hits.items():
                total += len(hits)
                assert surfaces.exists(hits.cell_id).all()
                assert len(np.unique(hits.cell_id)) == len(hits)
                detector, collection = surfaces.detector_of(hits.cell_id), surfaces.collection_of(hits.cell_id)
                assert all(names[d][c] == name for d, c in zip(detector, collection, strict=True))
                np.testing.assert_allclose(hits.position_mm, surfaces.cell_centres(hits.cell_id), atol=1e-2)
                sums = (
                    np.add.reduceat(hits.contributions.energy_gev, hits.contribution_offsets[:-1]) if len(hits) else []
                )
                np.testing.assert_allclose(hits.energy_gev, sums, rtol=1e-5)
        assert total > 1000

    def test_navigator_finds_the_same_cells(self, generated: Run) -> None:
        line = next(text for text in generated.log.splitlines() if "looked up again with Geant4's navigator" in text)
        words = line.split("+++", 1)[1].split()
        looked_up, different = int(words[0]), int(words[words.index("differ;") - 1])
        assert looked_up > 1000
        assert different <= looked_up // 10_000  # a mean position, in single precision, on the edge of a cell

    def test_contributions_belong_to_the_photons(self, generated: Run, ild: Geometry) -> None:
        for event in generated.events:
            particles = event.particles
            for hits in event.calorimeter_hits.values():
                c = hits.contributions
                assert (particles.pdg[c.particle] == 22).all()
                assert (c.pdg == 22).all()
                # at the cell, not before light can be there, and not all at the same time
                distance = np.linalg.norm(c.step_position_mm, axis=1)
                assert (c.time_ns > 0.99 * distance / 299.792458).all()
            assert (particles.simulator_status & int(SimulatorStatus.STOPPED)).astype(bool).any()

    def test_photons_shower_where_they_point(self, generated: Run) -> None:
        found = 0
        for event in generated.events:
            energy = dict.fromkeys(range(len(event.particles)), 0.0)
            centre = {i: np.zeros(3) for i in energy}
            for hits in event.calorimeter_hits.values():
                owner = np.repeat(np.arange(len(hits)), np.diff(hits.contribution_offsets))
                for i in np.unique(hits.contributions.particle):
                    mine = hits.contributions.particle == i
                    energy[int(i)] += float(hits.contributions.energy_gev[mine].sum())
                    weights = hits.contributions.energy_gev[mine, None].astype(float)
                    centre[int(i)] += (hits.position_mm[owner[mine]] * weights).sum(axis=0)
            for i, visible in energy.items():
                if visible == 0.0:
                    continue
                found += 1
                axis = event.particles.momentum_gev[i] / np.linalg.norm(event.particles.momentum_gev[i])
                place = centre[i] / visible
                assert np.linalg.norm(place - (place @ axis) * axis) < 30.0
                # a silicon-tungsten ECAL sees about 2 % of the energy
                assert 0.008 < visible / np.linalg.norm(event.particles.momentum_gev[i]) < 0.04
        assert found > EVENTS

    def test_metadata_and_summary(self, generated: Run) -> None:
        reader = Reader(generated.path)
        p = reader.run_parameters
        assert p["DDCaloGenMode"] == "generate"
        assert p["DDCaloGenSeed"] == str(SEED)  # ddsim's own
        assert p["DDCaloGenModelName"] == MODEL
        assert len(str(p["DDCaloGenModelHash"])) == 64
        placed = sum(float(h.energy_gev.astype(float).sum()) for e in reader for h in e.calorimeter_hits.values())
        assert placed == pytest.approx(float(str(p["DDCaloGenEnergyPlaced_GeV"])), rel=1e-5)
        booked = sum(float(str(p[f"DDCaloGenEnergy{k}_GeV"])) for k in ("Placed", "Dead", "Outside"))
        assert booked == pytest.approx(float(str(p["DDCaloGenEnergyGenerated_GeV"])), rel=1e-9)
        fates = dict(zip(np.atleast_1d(p["DDCaloGenFateNames"]), np.atleast_1d(p["DDCaloGenFateCounts"]), strict=True))
        assert fates[f"shower by {MODEL}"] == p["DDCaloGenShowers"]
        assert f"shower by {MODEL}" in generated.log
        assert "visible energy: generated" in generated.log

    def test_other_batches_same_cells(self, generated: Run, tmp_path: Path) -> None:
        other = good(simulate(tmp_path, "batch_cap=1"))
        for a, b in zip(generated.events, other.events, strict=True):
            assert cells(a) == cells(b)

    def test_seed_of_the_showers_alone(self, generated: Run, tmp_path: Path) -> None:
        other = good(simulate(tmp_path, "seed=7"))
        for a, b in zip(generated.events, other.events, strict=True):
            np.testing.assert_array_equal(a.particles.momentum_gev, b.particles.momentum_gev)
        assert [cells(e) for e in generated.events] != [cells(e) for e in other.events]


class TestRecord:
    def test_entries(self, recorded: Run, ild: Geometry) -> None:
        reader = Reader(recorded.path)
        assert reader.encodings[ENTRIES_COLLECTION] == ENTRIES_ENCODING
        assert reader.run_parameters["DDCaloGenMode"] == "record"
        count = 0
        for event in reader:
            assert sum(len(h) for h in event.calorimeter_hits.values()) == 0
            entries = event.tracker_hits[ENTRIES_COLLECTION]
            particles = incident_particles(entries, event.event_number)
            count += len(particles)
            linked = event.particles.momentum_gev[entries.particle]
            np.testing.assert_array_equal(event.particles.pdg[entries.particle], particles.pdg)
            np.testing.assert_allclose(entries.momentum_gev, linked, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(particles.energy_gev, np.linalg.norm(linked, axis=1), rtol=1e-5)
            np.testing.assert_allclose(event.particles.endpoint_mm[entries.particle], entries.position_mm, atol=1e-3)
            np.testing.assert_allclose(
                particles.time_ns, np.linalg.norm(entries.position_mm, axis=1) / 299.792458, rtol=1e-5
            )
        assert count > EVENTS
        assert len(LAYER_DEPTH_MM) == 30

    def test_filled_record_has_the_cells_of_generate(self, recorded: Run, generated: Run, tmp_path: Path) -> None:
        out = tmp_path / "filled.edm4hep.root"
        result = run("fill", recorded.path, "-o", out)
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr
        self.same(generated.events, list(Reader(out)))

    def test_simulate_started_from_the_entries_too(self, recorded: Run, generated: Run, tmp_path: Path) -> None:
        out = tmp_path / "simulated.edm4hep.root"
        result = run("simulate", recorded.path, "-o", out, "--seed", SEED)
        assert result.returncode == 0, result.stderr
        self.same(generated.events, list(Reader(out)))

    @staticmethod
    def same(generated: list[Event], other: list[Event]) -> None:
        for a, b in zip(generated, other, strict=True):
            assert a.event_number == b.event_number
            x, y = cells(a), cells(b)
            assert x.keys() == y.keys()
            for key, contributions in x.items():
                assert [c[0] for c in contributions] == [c[0] for c in y[key]]
                # bit for bit
                assert [c[1] for c in contributions] == [c[1] for c in y[key]]


class TestGuard:
    def test_what_the_model_does_not_cover_is_left_to_geant4(self, tmp_path: Path) -> None:
        # above the range of the model, and a neutrino, which the model has never heard of
        high = good(simulate(tmp_path, name="high", events=2, energy_gev=(140.0, 150.0)))
        assert "not simulated: energy above range" in high.log
        assert sum(len(h) for e in high.events for h in e.calorimeter_hits.values()) == 0
        low = good(simulate(tmp_path, name="low", events=2, energy_gev=(0.2, 0.4)))
        assert "not simulated: energy below range" in low.log
        other = good(simulate(tmp_path, name="other", events=2, particle="nu_e"))
        assert sum(len(h) for e in other.events for h in e.calorimeter_hits.values()) == 0

    def test_late_entries(self, tmp_path: Path) -> None:
        result = good(simulate(tmp_path, "max_entry_depth_mm=-0.5", events=2))
        assert "not simulated: entry too deep" in result.log


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "more", "words"),
        [
            ('detector="CLD"', "", ("not the one that the steering file is for", "ILD_l5_o1_v02")),
            ('regions={"EcalBarrel": "Nowhere"}', "", ("there is no region 'Nowhere'", "EcalBarrelRegion")),
            (
                "",
                'SIM.action.mapActions["ecalbarrel"] = "Geant4TrackerAction"\n',
                ("does not support fast simulation", "Geant4ScintillatorCalorimeterAction"),
            ),
            (
                "",
                'SIM.action.mapActions["ecalbarrel"] = "Geant4VoidSensitiveAction"\n',
                ("EcalBarrel", "Geant4ScintillatorCalorimeterAction"),
            ),
        ],
    )
    def test_are_told(self, tmp_path: Path, options: str, more: str, words: tuple[str, ...]) -> None:
        result = simulate(tmp_path, options, events=1, more=more)
        assert result.code != 0
        for word in words:
            assert word in result.log

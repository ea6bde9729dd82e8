# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Two reconstructed samples side by side, and their hits where nothing was reconstructed."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from ddcalogen.cli import app
from ddcalogen.edm4hep import Event, MCParticles
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.geometry import Geometry
from ddcalogen.models import find_model
from ddcalogen.simulate import Simulator, output_writer
from ddcalogen.validation.reconstructed import compare_reconstructed, read_truth
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("mplhep")

EVENTS = 80


def photon_events(number: int, seed: int = 0) -> list[Event]:
    """Photons of 20 or 40 GeV into the barrel, with a soft neutrino that nothing should see."""
    rng = np.random.default_rng(seed)
    events = []
    for i in range(number):
        energy, theta, phi = (20.0, 40.0)[i % 2], np.pi / 2 + rng.uniform(-0.2, 0.2), rng.uniform(0.05, 0.15)
        direction = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
        momentum = np.array([np.array(direction) * energy, [0, 0, 90.0], [1.0, 0, 0]])
        particles = MCParticles.create(
            pdg=np.array([22, 12, 22]), momentum_gev=momentum, generator_status=np.array([1, 1, 2])
        )
        events.append(Event(event_number=i, particles=particles))
    return events


def reconstructed(path: Path, scale: float, number: int, seed: int, *, tilt_mrad: float = 0.0) -> Path:
    """Clusters and particles of `scale` x the true energy, one event in ten split in two halves; podio's branches."""
    rng = np.random.default_rng([seed, 1])
    rows: dict[str, list[list[float]]] = {name: [] for name in ("energy", "x", "y", "z")}
    for i, event in enumerate(photon_events(number)):
        p = event.particles.momentum_gev[0].astype(float)
        energy = scale * np.linalg.norm(p) * (1 + 0.03 * rng.normal())
        direction = p / np.linalg.norm(p) + np.array([0, 0, 1e-3 * tilt_mrad])
        parts = 2 if i % 10 == 0 else 1
        rows["energy"].append([energy / parts] * parts)
        for k, axis in enumerate("xyz"):
            rows[axis].append([float(direction[k])] * parts)
    energy = ak.values_astype(ak.Array(rows["energy"]), np.float32)
    columns = {}
    for name, vector, size in (("PandoraClusters", "position", 1850.0), ("PandoraPFOs", "momentum", 1.0)):
        columns[f"{name}.energy"] = energy
        for axis in "xyz":
            columns[f"{name}.{vector}.{axis}"] = ak.values_astype(size * ak.Array(rows[axis]), np.float32)
    columns["PandoraPFOs.PDG"] = ak.values_astype(ak.full_like(energy, 22), np.int32)
    with uproot.recreate(path) as out:
        out.mktree("events", {name: f"var * {ak.type(c).content.content}" for name, c in columns.items()})
        out["events"].extend(columns)
    return path


@pytest.fixture(scope="module")
def sample(ild: Geometry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photons with their showers in the ECAL, as `ddcalogen simulate` writes them."""
    path = tmp_path_factory.mktemp("sample") / "sample.edm4hep.root"
    simulator = Simulator([Generator(find_model("ild_ecal_em_parametrised"), ild, seed=1)])
    with output_writer(simulator, path) as writer:
        simulator.write(photon_events(EVENTS), writer)
    return path


def test_truth_is_what_a_detector_can_see(sample: Path) -> None:
    truth = read_truth(sample)
    assert truth.total_gev == pytest.approx([20, 40] * (EVENTS // 2))
    assert truth.leading_gev == pytest.approx(truth.total_gev)
    assert set(truth.pdg.tolist()) == {22}
    assert set(truth.particles.tolist()) == {1}
    assert np.linalg.norm(truth.direction, axis=1) == pytest.approx(1)


def test_what_the_reconstruction_wrote(
    sample: Path, ild: Geometry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = read_truth(sample)
    full = reconstructed(tmp_path / "full.root", 1.0, EVENTS, 1)
    fast = reconstructed(tmp_path / "fast.root", 0.9, EVENTS, 2, tilt_mrad=4.0)
    # no writer of clusters is at hand that also writes MC truth
    monkeypatch.setattr("ddcalogen.validation.reconstructed.read_truth", lambda _: truth)
    sections, numbers = compare_reconstructed([full], [fast], tmp_path, ild)
    assert [s.title for s in sections] == ["After reconstruction: particles", "After reconstruction: clusters"]
    found = numbers["reconstructed"]
    for kind in ("particles", "clusters"):
        figures = found[kind]["figures"]
        assert figures["full"]["objects per event"].value == pytest.approx(1.1)
        assert figures["full"]["sum of energies / true sum, μ90"].value == pytest.approx(1.0, abs=0.01)
        assert figures["fast"]["sum of energies / true sum, μ90"].value == pytest.approx(0.9, abs=0.01)
        assert figures["full"]["sum of energies / true sum, σ90/μ90"].value == pytest.approx(0.024, abs=0.009)
        assert figures["full"]["angle to the true direction, median (mrad)"].value < 0.1
        assert figures["fast"]["angle to the true direction, median (mrad)"].value == pytest.approx(4.0, abs=0.2)
        assert [round(b["low_gev"]) for b in found[kind]["by_energy"]] == [20, 40]
    assert found["particles"]["figures"]["fast"]["photons per event"].value == pytest.approx(1.1)
    distance = found["clusters"]["figures"]["fast"]["distance from the true line, median (mm)"]
    assert distance.value == pytest.approx(1850 * 4e-3, rel=0.05)
    assert "of the same particles" in sections[0].text
    names = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert {"reco_clusters_energy", "reco_clusters_distance", "reco_particles_ratio", "reco_particles_number"} <= names


def test_hits_are_clustered_where_nothing_was_reconstructed(sample: Path, tmp_path: Path) -> None:
    arguments = ["validate", "--reco-full", str(sample), "--reco-fast", str(sample), "-o", str(tmp_path / "report")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads((tmp_path / "report" / "validation.json").read_text())["reconstructed"]["light clusters"]
    full = found["figures"]["full"]
    assert full == found["figures"]["fast"]
    assert full["sum of energies / true sum, μ90"]["value"] == pytest.approx(1, abs=0.03)
    assert full["distance from the true line, median (mm)"]["value"] < 3
    assert full["objects per event"]["value"] == pytest.approx(1, abs=0.1)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "find_photons" in page
    assert 'src="http' not in page


def test_wrong_use_is_told(sample: Path, ild: Geometry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["validate", "--reco-full", str(sample)])
    assert isinstance(result.exception, ConfigurationError)
    monkeypatch.setattr("ddcalogen.validation.reconstructed.filled_collections", lambda *_: ["None"])
    with pytest.raises(InputError, match="neither reconstructed objects nor ECAL hits"):
        compare_reconstructed([sample], [sample], tmp_path, ild)

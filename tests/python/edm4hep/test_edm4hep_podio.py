# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""With the real podio and EDM4hep: they read our files, and our writer writes with them.

podio is used in processes of its own: its dictionaries and the declarations of the pip-only writer exclude each other.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from ddcalogen.edm4hep import Event, LayoutName, Reader, Writer
from edm4hep_samples import CALORIMETERS, RUN_PARAMETERS, TRACKERS, as_stored, assert_same, write

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("podio") is None or importlib.util.find_spec("edm4hep") is None,
    reason="podio and EDM4hep are not installed",
)

READ_WITH_PODIO = """
import json, os, sys
import ROOT
ROOT.gSystem.Load("libedm4hepDict")
from podio.root_io import Reader
reader = Reader(sys.argv[1])
found = {"categories": sorted(str(c) for c in reader.categories), "events": []}
run = next(iter(reader.get("runs")))
found["run"] = {str(k): run.get_parameter(str(k)) for k in run.parameters if len(run.get_param_info(str(k))) == 1}
metadata = next(iter(reader.get("metadata")))
found["metadata"] = {str(k): str(metadata.get_parameter(str(k))) for k in metadata.parameters}
for frame in reader.get("events"):
    header = frame.get("EventHeader")[0]
    particles = frame.get("MCParticles")
    event = {
        "number": int(header.getEventNumber()), "run": int(header.getRunNumber()), "weight": float(header.getWeight()),
        "weights": [float(w) for w in header.getWeights()],
        "pdg": [int(p.getPDG()) for p in particles],
        "momentum": [[p.getMomentum().x, p.getMomentum().y, p.getMomentum().z] for p in particles],
        "status": [int(p.getSimulatorStatus()) for p in particles],
        "parents": [[int(q.getObjectID().index) for q in p.getParents()] for p in particles],
        "daughters": [[int(q.getObjectID().index) for q in p.getDaughters()] for p in particles],
        "collections": sorted(str(c) for c in frame.getAvailableCollections()),
        "hits": {}, "entries": {},
    }
    for name in event["collections"]:
        collection = frame.get(name)
        kind = str(collection.getValueTypeName().data())
        if kind == "edm4hep::SimCalorimeterHit":
            event["hits"][name] = [
                {"cell": int(h.getCellID()), "energy": float(h.getEnergy()),
                 "contributions": [
                     [float(c.getEnergy()), float(c.getTime()), int(c.getPDG()), float(c.getStepPosition().y),
                      int(c.getParticle().getObjectID().index) if c.getParticle().isAvailable() else -1]
                     for c in h.getContributions()]}
                for h in collection]
        elif kind == "edm4hep::SimTrackerHit":
            event["entries"][name] = [
                [int(h.getCellID()), float(h.getEDep()), float(h.getPosition().z), float(h.getMomentum().x),
                 int(h.getParticle().getObjectID().index) if h.getParticle().isAvailable() else -1]
                for h in collection]
    found["events"].append(event)
with open(sys.argv[2], "w") as out:
    json.dump(found, out, default=lambda value: str(value) if "string" == type(value).__name__ else list(value))
out.close()
os._exit(0)
"""


def read_with_podio(path: Path) -> dict[str, Any]:
    answer = path.with_suffix(".json")
    result = subprocess.run(
        [sys.executable, "-c", READ_WITH_PODIO, str(path), str(answer)], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def installed_layout(path: Path) -> LayoutName:
    """The layout of the installed podio, found by writing with it."""
    with Writer(path, {}, backend="podio") as writer:
        name: LayoutName = writer.description["layout"]
    return name


def check(found: dict[str, Any], events: list[Event]) -> None:
    """What podio read against what was written."""
    assert found["categories"] == ["events", "meta", "metadata", "runs"]
    assert found["run"]["runNumber"] == 3
    assert found["run"]["counts"] == [1, -2, 3]
    assert found["run"]["reasons"] == RUN_PARAMETERS["reasons"]
    assert found["metadata"]["ECalBarrelSiHitsEven__CellIDEncoding"] == CALORIMETERS["ECalBarrelSiHitsEven"]
    assert len(found["events"]) == len(events)
    for event, back in zip(events, found["events"], strict=True):
        particles = event.particles
        assert back["number"] == event.event_number
        assert back["weight"] == event.weight
        assert back["weights"] == event.weights.tolist()
        assert back["pdg"] == particles.pdg.tolist()
        assert back["status"] == particles.simulator_status.tolist()
        assert back["momentum"] == particles.momentum_gev.tolist()
        assert back["parents"] == [entry.tolist() for entry in particles.parents]
        assert back["daughters"] == [entry.tolist() for entry in particles.daughters]
        names = [*CALORIMETERS, *(name + "Contributions" for name in CALORIMETERS), *TRACKERS]
        assert back["collections"] == sorted(["EventHeader", "MCParticles", *names])
        for name, hits in event.calorimeter_hits.items():
            assert [hit["cell"] for hit in back["hits"][name]] == hits.cell_id.tolist()
            assert [hit["energy"] for hit in back["hits"][name]] == hits.energy_gev.tolist()
            c = hits.contributions
            rows = list(
                zip(
                    c.energy_gev.tolist(),
                    c.time_ns.tolist(),
                    c.pdg.tolist(),
                    c.step_position_mm[:, 1].tolist(),
                    c.particle.tolist(),
                    strict=True,
                )
            )
            for index, hit in enumerate(back["hits"][name]):
                begin, end = hits.contribution_offsets[index : index + 2]
                assert [tuple(row) for row in hit["contributions"]] == rows[begin:end]
        for name, entries in event.tracker_hits.items():
            expected = zip(
                entries.cell_id.tolist(),
                entries.energy_gev.tolist(),
                entries.position_mm[:, 2].tolist(),
                entries.momentum_gev[:, 0].tolist(),
                entries.particle.tolist(),
                strict=True,
            )
            assert [tuple(row) for row in back["entries"][name]] == list(expected)


def test_podio_reads_what_root_alone_wrote(tmp_path: Path, events: list[Event]) -> None:
    layout = installed_layout(tmp_path / "probe.edm4hep.root")
    path = write(tmp_path / "root.edm4hep.root", events, layout=layout, run_parameters=RUN_PARAMETERS)
    check(read_with_podio(path), events)


def test_the_old_layout_is_read_by_every_podio(tmp_path: Path, events: list[Event]) -> None:
    path = write(tmp_path / "old.edm4hep.root", events, layout="1.2", run_parameters=RUN_PARAMETERS)
    check(read_with_podio(path), events)


def write_with_podio(path: Path, events: list[Event]) -> LayoutName:
    with Writer(path, CALORIMETERS, tracker_collections=TRACKERS, run_parameters=RUN_PARAMETERS) as writer:
        for event in events:
            writer.write(event)
        assert writer.description["backend"] == "podio"
        layout: LayoutName = writer.description["layout"]
    return layout


def test_the_podio_backend_is_chosen_and_writes_the_same(tmp_path: Path, events: list[Event]) -> None:
    """Both backends: same trees, branches, types and titles, and the same events."""
    layout = write_with_podio(tmp_path / "podio.edm4hep.root", events)
    check(read_with_podio(tmp_path / "podio.edm4hep.root"), events)
    ours = write(tmp_path / "root.edm4hep.root", events, layout=layout, run_parameters=RUN_PARAMETERS)
    with Reader(tmp_path / "podio.edm4hep.root") as reader:
        assert reader.encodings == {**CALORIMETERS, **TRACKERS}
        for event, back in zip(events, reader, strict=True):
            if event.calorimeter_hits:
                assert_same(as_stored(event, layout), back)
    with uproot.open(tmp_path / "podio.edm4hep.root") as real, uproot.open(ours) as found:
        assert sorted(found.keys()) == sorted(real.keys())
        for tree in ("events", "runs", "metadata"):
            assert [(b.name, b.title, b.typename) for b in found[tree].branches] == [
                (b.name, b.title, b.typename) for b in real[tree].branches
            ]
        for name in ("MCParticles/MCParticles.momentum.z", "_MCParticles_parents/_MCParticles_parents.index"):
            for left, right in zip(
                found["events"][name].array(library="np"), real["events"][name].array(library="np"), strict=True
            ):
                np.testing.assert_array_equal(left, right)


def test_podio_dump_shows_the_file(tmp_path: Path, events: list[Event]) -> None:
    dump = shutil.which("podio-dump")
    if dump is None:
        pytest.skip("podio-dump is not on the path")
    path = write(tmp_path / "old.edm4hep.root", events, layout="1.2", run_parameters=RUN_PARAMETERS)
    for options in ([], ["--entries", "0:2", "--detailed"], ["--category", "runs"], ["--dump-edm", "edm4hep"]):
        result = subprocess.run(
            [sys.executable, dump, *options, str(path)], capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert ("schema_version: 2" if "--dump-edm" in options else "edm4hep (0.99.1)") in result.stdout
    result = subprocess.run([sys.executable, dump, str(path)], capture_output=True, text=True, timeout=600)
    assert re.search(r"ECalBarrelSiHitsEvenContributions +edm4hep::CaloHitContribution", result.stdout)


def test_the_other_layout_is_refused_by_the_podio_backend(tmp_path: Path) -> None:
    from ddcalogen.errors import ConfigurationError

    other: LayoutName = "current" if installed_layout(tmp_path / "probe.edm4hep.root") == "1.2" else "1.2"
    writer = Writer(tmp_path / "a.edm4hep.root", {}, layout=other, backend="podio")
    with pytest.raises(ConfigurationError, match="podio"):
        writer.write(Event(event_number=0))

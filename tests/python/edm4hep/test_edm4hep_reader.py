# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reader: files of real ddsim, and files that are damaged, foreign or forged."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from ddcalogen.edm4hep import Event, Reader, SimulatorStatus
from ddcalogen.errors import InputError
from edm4hep_samples import random_event, write


def read_all(path: Path) -> list[Event]:
    with Reader(path) as reader:
        return list(reader)


def test_real_ddsim_events_agree_with_their_branches(ddsim: Reader, ddsim_file: Path) -> None:
    """Sums over the resolved records equal sums over the raw branches."""
    events = list(ddsim)
    assert len(events) == len(ddsim) == 20
    with uproot.open(ddsim_file) as file:
        tree = file["events"]
        for name in ddsim.calorimeter_collections:
            for branch, values in (
                (f"{name}/{name}.energy", [event.calorimeter_hits[name].energy_gev for event in events]),
                (
                    f"{name}Contributions/{name}Contributions.time",
                    [event.calorimeter_hits[name].contributions.time_ns for event in events],
                ),
            ):
                raw = np.concatenate(list(tree[branch].array(library="np")))
                assert len(raw) == sum(map(len, values))
                np.testing.assert_allclose(np.concatenate(values).sum(), raw.sum(), rtol=1e-5)


def test_real_ddsim_events_make_sense(ddsim: Reader, ddsim_file: Path) -> None:
    energy_gev = 10 if "10GeV" in ddsim_file.name else 50
    assert ddsim.podio_version == (1, 2, 0)
    assert ddsim.edm4hep_version == (0, 99, 1)
    assert ddsim.schema == 2
    assert ddsim.run_parameters["detectorName"] == "ILD_l5_v02"
    assert ddsim.encodings["ECalBarrelSiHitsEven"].startswith("system:0:5,module:5:3,stave:8:4,tower:12:4,layer:16:6")
    for number, event in enumerate(ddsim):
        assert event.event_number == number
        particles = event.particles
        assert particles.pdg[0] == 22
        np.testing.assert_allclose(particles.energy_gev[0], energy_gev, rtol=1e-6)
        assert list(particles.parents[0]) == []
        for index, parents in enumerate(particles.parents):
            assert all(index in particles.daughters[parent] for parent in parents)
        assert not particles.has_status(SimulatorStatus.HANDLED_BY_FAST_SIM).any()
        linked = 0
        for hits in event.calorimeter_hits.values():
            # a hit's energy is the sum of its contributions
            owner = np.repeat(np.arange(len(hits)), np.diff(hits.contribution_offsets))
            sums = np.bincount(owner, weights=hits.contributions.energy_gev, minlength=len(hits))
            np.testing.assert_allclose(sums, hits.energy_gev, rtol=1e-4, atol=1e-9)
            linked += int((hits.contributions.particle >= 0).sum())
        assert linked > 100


def test_only_what_is_asked_for_is_read(ddsim: Reader, ddsim_file: Path) -> None:
    with Reader(ddsim_file, collections=[]) as particles_only:
        for event, whole in zip(particles_only, ddsim, strict=True):
            assert not event.calorimeter_hits
            np.testing.assert_array_equal(event.particles.momentum_gev, whole.particles.momentum_gev)
    with pytest.raises(InputError, match="NoSuchCollection"):
        Reader(ddsim_file, collections=["NoSuchCollection"])
    with pytest.raises(InputError, match="Others"):
        Reader(ddsim_file, particles="Others")


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Reader(tmp_path / "none.root")
    with pytest.raises(InputError, match="directory"):
        Reader(tmp_path)
    for content in (b"", b"root", b"HepMC::Version 3.02\n" * 10, b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path = tmp_path / "foreign.root"
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a ROOT file"):
            Reader(path)


def test_other_root_files(tmp_path: Path) -> None:
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mktree("events", {"x": np.int64}).extend({"x": np.arange(3)})
    with pytest.raises(InputError, match="not an EDM4hep file"):
        Reader(path)
    with uproot.recreate(path) as file:
        for name in ("podio_metadata", "events"):
            file.mktree(name, {"x": np.int64}).extend({"x": np.arange(3)})
    with pytest.raises(InputError, match="CollectionTypeInfo"):
        Reader(path)
    with uproot.recreate(path) as file:
        file["podio_metadata"] = "text"
    with pytest.raises(InputError, match="not an EDM4hep file"):
        Reader(path)
    with uproot.recreate(path) as file:
        file.mkrntuple("podio_metadata", {"x": np.int64}).extend({"x": np.arange(3)})
    with pytest.raises(InputError, match=r"RNTuples.*useRNTuple"):
        Reader(path)


def test_every_truncation_is_told(written: Path, tmp_path: Path) -> None:
    data = written.read_bytes()
    path = tmp_path / "short.edm4hep.root"
    for size in [*range(0, 400, 7), *range(400, len(data), len(data) // 50), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"truncated|not a ROOT file"):
            Reader(path)


def test_an_unfinished_file_is_told(written: Path, tmp_path: Path) -> None:
    """As a killed job leaves it: the header written at the start, and zeros where the directory should be."""
    data = bytearray(written.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path = tmp_path / "unfinished.edm4hep.root"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_all(path)


@pytest.mark.parametrize("part", ["anywhere", "header", "end"])
def test_damaged_bytes_never_crash(written: Path, tmp_path: Path, part: str) -> None:
    """Damage is an InputError, or it hit bytes that do not matter; nothing else may come out."""
    data = written.read_bytes()
    rng = random.Random(part)
    path = tmp_path / "damaged.edm4hep.root"
    outcomes = {"refused": 0, "read": 0}
    for _ in range(25):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 3, 10])):
            place = {
                "anywhere": rng.randrange(len(data)),
                "header": rng.randrange(200),
                "end": len(data) - 1 - rng.randrange(30_000),
            }[part]
            damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read_all(path)
        except InputError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
    assert outcomes["refused"] > 0


def hits_of(event: Event) -> Any:
    return event.calorimeter_hits["ECalBarrelSiHitsEven"]


def set_nan(event: Event) -> None:
    hits_of(event).energy_gev[3] = np.nan


def set_infinite_momentum(event: Event) -> None:
    event.particles.momentum_gev[0, 0] = np.inf


def set_particle_beyond_the_end(event: Event) -> None:
    hits_of(event).contributions.particle[:] = 1000


def set_parent_beyond_the_end(event: Event) -> None:
    event.particles.parents.indices[:] = 1000


def set_offsets_backwards(event: Event) -> None:
    hits_of(event).contribution_offsets[1:] = hits_of(event).contribution_offsets[:-1][::-1]


def set_offsets_beyond_the_end(event: Event) -> None:
    hits_of(event).contribution_offsets[-1] += 10**6


FORGERIES: list[tuple[Callable[[Event], None], str]] = [
    (set_nan, "ECalBarrelSiHitsEven.energy_gev"),
    (set_infinite_momentum, "momentum_gev"),
    (set_particle_beyond_the_end, "not in the event"),
    (set_parent_beyond_the_end, "not in the event"),
    (set_offsets_backwards, "contributions"),
    (set_offsets_beyond_the_end, "contributions"),
]


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory, root: None) -> Path:
    """A file of events that no honest writer would write, and a good one at its end."""
    events = [random_event(np.random.default_rng(5), number) for number in range(len(FORGERIES) + 1)]
    for event, (change, _) in zip(events, FORGERIES, strict=False):
        change(event)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Event, "check_finite", lambda self: None)
        return write(tmp_path_factory.mktemp("forged") / "forged.edm4hep.root", events)


@pytest.mark.parametrize("number", range(len(FORGERIES)))
def test_forged_content_is_refused(forged: Path, number: int) -> None:
    with Reader(forged) as reader, pytest.raises(InputError, match=FORGERIES[number][1]) as caught:
        next(reader.events(number))
    assert str(forged) in str(caught.value)
    assert f"event {number}" in str(caught.value)


def test_good_events_beside_forged_ones_are_read(forged: Path) -> None:
    with Reader(forged) as reader:
        assert next(reader.events(len(FORGERIES))).event_number == len(FORGERIES)


REMOVED_BRANCHES = ("_MCParticles_parents", "MCParticles", "GPIntKeys", "_CaloEntries_particle")


@pytest.fixture(scope="module")
def without_a_branch(tmp_path_factory: pytest.TempPathFactory, root: None) -> dict[str, Path]:
    """Files that lack one branch each, made by ROOT."""
    directory = tmp_path_factory.mktemp("removed")
    source = write(directory / "whole.edm4hep.root", [random_event(np.random.default_rng(6), 0)])
    files = {branch: directory / f"{branch}.edm4hep.root" for branch in REMOVED_BRANCHES}
    code = f"""
import os, ROOT
for branch, path in {[(branch, str(path)) for branch, path in files.items()]!r}:
    source = ROOT.TFile.Open({str(source)!r}); target = ROOT.TFile.Open(path, "RECREATE")
    events = source.Get("events")
    events.SetBranchStatus(branch, 0); events.SetBranchStatus(branch + ".*", 0)
    events.CloneTree(-1, "fast").Write()
    for name in ("runs", "metadata", "podio_metadata"): source.Get(name).CloneTree(-1, "fast").Write()
    target.Close()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)
    return files


@pytest.mark.parametrize("branch", sorted(set(REMOVED_BRANCHES) - {"MCParticles"}))
def test_missing_branches_are_named(without_a_branch: dict[str, Path], branch: str) -> None:
    with pytest.raises(InputError, match=branch):
        read_all(without_a_branch[branch])


def test_files_without_particles_are_read(without_a_branch: dict[str, Path]) -> None:
    """A collection less is no damage; links to it lead nowhere."""
    with Reader(without_a_branch["MCParticles"]) as reader:
        assert "MCParticles" not in reader.collections
        event = next(iter(reader))
    assert len(event.particles) == 0
    assert set(hits_of(event).contributions.particle) == {-1}

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reading of reconstructed objects from files with the branches of EDM4hep."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from ddcalogen.errors import InputError
from ddcalogen.reco.edm4hep import read_clusters, read_particles


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three events with two, no and one object, in podio's naming of branches."""
    energy = ak.values_astype(ak.Array([[3.0, 5.0], [], [7.0]]), np.float32)
    path = tmp_path / "reco.root"
    columns = {}
    for name, vector in (("PandoraClusters", "position"), ("PandoraPFOs", "momentum")):
        columns[f"{name}.energy"] = energy
        for k, axis in enumerate("xyz"):
            columns[f"{name}.{vector}.{axis}"] = energy * (k == 1)
    columns["PandoraPFOs.PDG"] = ak.values_astype(ak.Array([[22, 211], [], [22]]), np.int32)
    with uproot.recreate(path) as out:
        out.mktree("events", {name: f"var * {ak.type(c).content.content}" for name, c in columns.items()})
        out["events"].extend(columns)
    return path


def test_objects_keep_their_events(file: Path) -> None:
    clusters, particles = read_clusters(file), read_particles(file)
    for found in (clusters, particles):
        assert len(found) == 3
        assert found.offsets.tolist() == [0, 2, 2, 3]
        assert found.energy_gev.tolist() == [3, 5, 7]
        assert found.direction.tolist() == [[0, 1, 0]] * 3
        largest, number = found.leading()
        assert largest.tolist() == [5, 0, 7]
        assert number.tolist() == [2, 0, 1]
    assert particles.pdg.tolist() == [22, 211, 22]
    assert clusters.pdg.tolist() == [0, 0, 0]


def test_what_is_not_there_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such collection"):
        read_clusters(file, "ArborClusters")
    broken = tmp_path / "broken.root"
    broken.write_bytes(b"root" + bytes(100))
    with pytest.raises(InputError, match="cannot be read"):
        read_particles(broken)

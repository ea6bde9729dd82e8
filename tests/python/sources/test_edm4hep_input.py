# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""EDM4hep files as source of events."""

from __future__ import annotations

from pathlib import Path

import pytest
from ddcalogen.errors import InputError
from ddcalogen.geometry import Geometry
from ddcalogen.sources import STABLE, read_edm4hep, transport


@pytest.fixture(scope="session")
def simulated(shared_data: Path) -> Path:
    return shared_data / "ddsim_ild_l5_v02_gamma_10GeV.edm4hep.root"


def test_particles_of_a_simulated_file(simulated: Path, ecal: Geometry) -> None:
    events = list(read_edm4hep(simulated))
    assert len(events) == 20
    for event in events:
        stable = event.particles.generator_status == STABLE
        assert stable.sum() == 1  # the gun's photon; what Geant4 made has status 0
        assert event.particles.energy_gev[stable][0] == pytest.approx(10.0, rel=1e-6)
        assert not event.calorimeter_hits
        assert not event.tracker_hits
        assert len(transport(event, ecal)) == 1
    assert any(len(event.particles) > 1 for event in events)


def test_collection_name(simulated: Path) -> None:
    with pytest.raises(InputError, match="MCParticlesOfMine"):
        list(read_edm4hep(simulated, particles="MCParticlesOfMine"))


def test_bad_files(tmp_path: Path, simulated: Path) -> None:
    for content in (b"", b"root", simulated.read_bytes()[:300_000]):
        path = tmp_path / "bad.edm4hep.root"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.edm4hep\.root"):
            list(read_edm4hep(path))
    with pytest.raises(InputError, match="missing"):
        list(read_edm4hep(tmp_path / "missing.edm4hep.root"))

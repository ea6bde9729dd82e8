# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ddcalogen.cli import app
from ddcalogen.display import event_scene, write_display
from ddcalogen.edm4hep import CalorimeterHits, Contributions, Event, MCParticles
from ddcalogen.geometry import Geometry
from typer.testing import CliRunner


def unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.float32)


def number(scene: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(scene["cell_id"]), "<u8").astype(np.uint64)


def event_at(ild: Geometry, points: list[list[float]]) -> Event:
    cell = np.asarray(ild.surfaces.locate(np.array(points)))
    assert (cell != 0).all()
    n = len(cell)
    hits = CalorimeterHits(
        cell_id=cell,
        energy_gev=np.linspace(1e-3, 2e-3, n).astype(np.float32),
        position_mm=np.asarray(ild.surfaces.cell_centres(cell)).astype(np.float32),
        contribution_offsets=np.zeros(n + 1, np.int64),
        contributions=Contributions.empty(),
    )
    particles = MCParticles.create(
        pdg=[22, 211],
        momentum_gev=[[0.0, 5.0, 0.0], [2.0, 0.0, 1.0]],
        mass_gev=[0.0, 0.13957],
        charge=[0, 1],
        endpoint_mm=[[0.0, 1810.0, 0.0], [1400.0, -300.0, 750.0]],
    )
    return Event(event_number=7, particles=particles, calorimeter_hits={"ECalBarrelSiHitsEven": hits})


def barrel_point(ild: Geometry) -> list[float]:
    plane = next(p for p in ild.surfaces.planes if abs(p.normal[1] - 1) < 1e-9 and p.technology in (4, 10))
    return [20.0, float(plane.offset_mm), 30.0]


def test_scene_has_cells_in_their_real_shape(ild: Geometry) -> None:
    scene = event_scene(event_at(ild, [barrel_point(ild)]), ild)
    half, axes = unpack(scene["half"]), unpack(scene["axes"])
    assert half[:2] == pytest.approx([5.0883 / 2] * 2, abs=0.01)
    assert np.cross(axes[:3], axes[3:])[1] == pytest.approx(1, abs=1e-6)  # normal along +y
    assert unpack(scene["energy"]) == pytest.approx([1.0])  # MeV
    assert unpack(scene["layer"])[0] == ild.surfaces.planes[int(ild.surfaces.plane_of(cell := number(scene))[0])].layer
    assert np.asarray(ild.surfaces.exists(cell)).all()
    assert {line["kind"] for line in scene["outline"]} == {"ecal", "hcal"}


def test_tracks_end_at_the_end_point_and_charged_ones_bend(ild: Geometry) -> None:
    photon, pion = event_scene(event_at(ild, [barrel_point(ild)]), ild)["tracks"]
    assert photon["points"] == [[0, 0, 0], [0, 1810, 0]]
    points = np.array(pion["points"])
    assert len(points) > 10
    assert points[0] == pytest.approx([0, 0, 0])
    # the picture bends a helix of the right radius; a vertex and end point made up by hand agree with it to its chord
    assert np.hypot(*points[-1, :2]) == pytest.approx(np.hypot(1400, 300), abs=1)
    assert points[-1, 2] == pytest.approx(750)
    assert points[-1, 1] < 0  # a positive charge turns clockwise in a field along +z


def test_page_is_whole_and_needs_nothing_else(ild: Geometry, tmp_path: Path) -> None:
    page = tmp_path / "event.html"
    write_display(event_at(ild, [barrel_point(ild)]), ild, page, "a </script> file")
    text = page.read_text()
    assert not re.search(r"(src|href)=|https?://|@import|@[A-Z]+@", text)
    assert "a </script> file" not in text
    data: dict[str, Any] = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert data["cells"] == 1
    assert data["collections"] == ["ECalBarrelSiHitsEven"]


def test_cells_without_geometry_and_events_without_cells(ild: Geometry, tmp_path: Path) -> None:
    event = event_at(ild, [barrel_point(ild)])
    scene = event_scene(event, None)
    assert scene["cells"] == 1
    assert scene["outline"] == []
    write_display(Event(event_number=1), ild, tmp_path / "empty.html")
    assert '"cells":0' in (tmp_path / "empty.html").read_text()


def test_command_on_a_real_file(shared_data: Path, tmp_path: Path) -> None:
    page = tmp_path / "photon.html"
    source = shared_data / "ddsim_ild_l5_v02_gamma_10GeV.edm4hep.root"
    result = CliRunner().invoke(app, ["display", str(source), "--event", "1", "-o", str(page)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "ECalBarrelSiHits" in page.read_text()
    assert '"detector":"ILD_l5_o1_v02"' in page.read_text()  # known by its cells
    result = CliRunner().invoke(app, ["display", str(source), "--event", "100000", "-o", str(page)])
    assert result.exit_code != 0
    assert "no such event" in str(result.exception)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Places in the detector, and hadron showers placed there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.engine import Generator
from ddcalogen.geometry import Geometry
from ddcalogen.training.stacks import find_stack
from ddcalogen.validation.entries import REGIONS, entries_in
from test_hadrons import toy_hadrons


def generator(ild: Geometry, toy_model: Callable[..., Path], name: str) -> Generator:
    card = {
        "domain": {"pdg": [211], "energy_gev": [5.0, 200.0], "theta_deg": [0.0, 10.0]},
        "calorimeter": find_stack(name).calorimeter().model_dump(mode="json"),
    }
    return Generator(toy_model(row=(0.0, 0.0, 40.0 if "+" in name else 10.0, 0.5), count=5, card=card), ild)


def layers_seen(ild: Geometry, particles: object, depth: np.ndarray) -> np.ndarray:
    points = particles.position_mm[:, None] + depth[None, :, None] * particles.direction[:, None]  # type: ignore[attr-defined]
    return (np.asarray(ild.surfaces.locate(points.reshape(-1, 3))) != 0).reshape(len(points), -1).mean(axis=1)


@pytest.mark.parametrize("name", ["ECAL", "HCAL", "ECAL+HCAL"])
def test_places_are_what_they_are_called(ild: Geometry, toy_model: Callable[..., Path], name: str) -> None:
    model, showers = generator(ild, toy_model, name), toy_hadrons(200)
    seen = {}
    for region in REGIONS:
        particles = entries_in(region, model, showers, np.random.default_rng(3))
        assert particles is not None
        entries = [
            model.stacks.find_entry(p.tolist(), d.tolist())
            for p, d in zip(particles.position_mm, particles.direction, strict=True)
        ]
        assert {e["decision"] for e in entries} == {"accepted"}
        # the direction in the stack's frame is that of the shower: straight in
        assert all(e["direction"][2] == pytest.approx(1) for e in entries)
        assert (np.abs(particles.position_mm[:, 2]) > 2300).all() == (region == "endcap")
        depth = np.array(model.stacks.frame(entries[0]["stack"])["depth_mm"])
        seen[region] = layers_seen(ild, particles, depth)
    assert np.median(seen["barrel"]) > 0.99
    assert np.median(seen["endcap"]) > 0.99
    assert (seen["module gap"] < 0.9).mean() > 0.2 > (seen["endcap"] < 0.9).mean()
    assert seen["stave corner"].mean() < seen["barrel"].mean()


def test_hadrons_in_cells(ild: Geometry, tmp_path: Path, toy_model: Callable[..., Path]) -> None:
    pytest.importorskip("mplhep")
    pytest.importorskip("torch")
    from ddcalogen.validation.placed_hadrons import compare_placed_hadrons

    showers = toy_hadrons(60)
    sections, numbers = compare_placed_hadrons(generator(ild, toy_model, "ECAL+HCAL"), showers, tmp_path)
    assert len(sections) == 1
    found = numbers["placed_hadrons"]
    # the toy's visible energy is the incident energy / 48 and / 56
    assert found["calibration"] == pytest.approx([48, 56], rel=0.1)
    barrel = found["barrel"]["Geant4"]
    assert barrel["μ90 of the response"].value == pytest.approx(1)
    assert found["barrel"]["model"]["cells, HCAL"].value == pytest.approx(1, abs=0.2)  # all spots in one cell
    assert found["barrel"]["model"]["cells, ECAL"].value == 0
    lost = {region: found[region]["Geant4"]["energy fraction that no cell got"].value for region in REGIONS}
    assert lost["module gap"] > lost["barrel"]
    pictures = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert {"placed_regions", "placed_spectrum_ecal", "placed_spectrum_hcal"} <= pictures

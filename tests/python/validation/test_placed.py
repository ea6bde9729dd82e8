# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen.engine import Generator
from ddcalogen.errors import InputError
from ddcalogen.geometry import Geometry
from ddcalogen.validation import placed
from toy_showers import toy_showers


@pytest.fixture(scope="module")
def full_simulation(shared_data: Path) -> Path:
    return shared_data / "ild_fullsim_gamma_all_angles.h5"


def test_full_simulation_in_the_cells_of_the_snapshot(ild: Geometry, full_simulation: Path) -> None:
    pdg, momentum, cells = placed.read_full_simulation(full_simulation, ild, "ECAL")
    assert len(cells) == len(pdg) == 200
    energy = np.linalg.norm(momentum, axis=1)
    response = cells.sums(cells.energy_gev) / energy
    # 22.7 MeV / GeV behind nothing; a little more for converted photons and inclined showers
    assert np.median(response) == pytest.approx(0.0235, abs=0.0015)
    assert (cells.energy_gev > 1e-4).all()
    assert cells.layer.min() == 0
    assert cells.layer.max() == 29
    with h5py.File(full_simulation) as file:
        name = "ECalBarrelSiHitsEven"
        cell, position = file[name]["cell_id"][:200], file[name]["position_mm"][:200]
    np.testing.assert_allclose(ild.surfaces.cell_centres(cell), position, atol=2e-3)


def test_photons_reach_the_face_and_regions_are_found(
    ild: Geometry, full_simulation: Path, toy_model: Callable[..., Path]
) -> None:
    generator = Generator(toy_model(), ild)
    directions = np.array([[1.0, 0.02, 0.02], [1.0, np.tan(np.pi / 8), 0.1], [0.2, 0.1, 1.0]])
    particles, index = placed.incident_from_origin(generator, np.full(3, 22, np.int32), 10 * directions)
    assert index.tolist() == [0, 1, 2]
    assert particles.position_mm[0, 0] == pytest.approx(1804.8, abs=0.2)
    assert placed.region_of(generator, particles).tolist() == ["barrel", "barrel: gap or corner", "endcap"]


def test_calibration_recovers_known_factors() -> None:
    rng = np.random.default_rng(0)
    thin, thick = rng.uniform(0.2, 1.0, 50), rng.uniform(0.0, 0.3, 50)
    offsets = np.arange(51) * 2
    cells = placed.EventCells(
        offsets, np.zeros((100, 3)), np.stack([thin, thick], axis=1).ravel(), np.tile([5, 25], 50)
    )
    assert placed.calibrate(cells, 30 * thin + 60 * thick) == pytest.approx((30, 60))


def test_all_studies_run_on_a_toy(
    ild: Geometry, full_simulation: Path, tmp_path: Path, toy_model: Callable[..., Path]
) -> None:
    pytest.importorskip("mplhep")
    pytest.importorskip("torch")
    generator = Generator(toy_model(row=(0.0, 0.0, 3.0, 0.5), count=5), ild)
    showers = toy_showers(60, theta_deg=20)
    sections, numbers = placed.compare_placed(
        generator, showers, tmp_path, full_simulation=full_simulation, copies=1, seed=3
    )
    assert [s.title for s in sections] == [
        "In the detector: particles from the origin",
        "After placement and clustering",
    ]
    barrel = numbers["from_origin"][0]
    assert barrel["region"] == "barrel"
    assert barrel["hits"]["model"].value == pytest.approx(1, abs=0.2)  # all spots of the toy in one cell
    assert all(
        (tmp_path / "plots" / f"{name}.png").stat().st_size > 5000
        for name in ("response_origin", "photon_pairs", "clustered_regions")
    )


def test_a_file_of_another_detector_is_refused(ild: Geometry, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["pdg"], file["momentum_gev"] = np.array([22], np.int32), np.array([[1.0, 0, 0]])
        group = file.create_group("ECalBarrelSiHitsEven")
        group["offsets"], group["cell_id"] = np.array([0, 1]), np.array([12345], np.uint64)
        group["energy_gev"] = np.array([1e-3], np.float32)
    with pytest.raises(InputError, match="does not have"):
        placed.read_full_simulation(path, ild, "ECAL")
    with pytest.raises(InputError, match="cannot be read"):
        placed.read_full_simulation(tmp_path / "none.h5", ild, "ECAL")

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The command from files to report, with a toy model that is nothing like a shower."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen.card import GridOutput, read_card
from ddcalogen.cli import app
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.geometry import Geometry
from ddcalogen.training.data import SPLITS, ShowerFile, Showers
from ddcalogen.training.stacks import find_stack
from ddcalogen.validation.samples import distort, geant4_samples, generate, through_grid
from ddcalogen.validation.study import Figure
from ddcalogen.validation.zoo import fitting_models
from toy_showers import DEPTH_MM, toy_showers
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("mplhep")


def write_showerdata(path: Path, showers: Showers) -> Path:
    table = np.column_stack([showers.x_mm, showers.y_mm, showers.layer, showers.point_energy_gev]).astype(np.float32)
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("showers", (len(showers),), h5py.vlen_dtype(np.float32))
        for i in range(len(showers)):
            rows[i] = table[showers.offsets[i] : showers.offsets[i + 1]].ravel()
        file["energies"] = showers.energy_gev[:, None]
        file["directions"] = showers.direction
        file["pdg"] = showers.pdg
        file["shape"] = np.array([len(showers), int(np.diff(showers.offsets).max()), 4], np.int32)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_showerdata(tmp_path_factory.mktemp("showers") / "toy.h5", toy_showers(400, 7))


def test_reference_is_the_test_split_and_samples_do_not_overlap(data: Path, toy_model: Callable[..., Path]) -> None:
    card = read_card(toy_model())
    a, b = geant4_samples([data], card, calorimeter="ecal", most=1000, rng=np.random.default_rng(0))
    file = ShowerFile(data)
    test = set(file.energy_gev[file.splits == SPLITS.index("test")].tolist())
    assert len(a) == len(b) >= 50
    assert set(a.energy_gev.tolist()) <= test
    assert not set(b.energy_gev.tolist()) & test


def test_too_few_showers_are_an_error(tmp_path: Path, toy_model: Callable[..., Path]) -> None:
    few = write_showerdata(tmp_path / "few.h5", toy_showers(60))
    with pytest.raises(InputError, match="too few Geant4 showers"):
        geant4_samples([few], read_card(toy_model()), calorimeter="ecal", most=100, rng=np.random.default_rng(0))


def test_generated_showers_pair_with_their_incident_particles(ild: Geometry, toy_model: Callable[..., Path]) -> None:
    generator = Generator(toy_model(row=(1.0, -2.0, 3.0, 0.25), count=2), ild)
    incident = toy_showers(70)
    showers, seconds = generate(generator, incident, rng=np.random.default_rng(0))
    assert np.array_equal(showers.energy_gev, incident.energy_gev)
    assert np.array_equal(np.diff(showers.offsets), np.full(70, 2))
    assert set(zip(showers.x_mm.tolist(), showers.y_mm.tolist(), showers.layer.tolist(), strict=True)) == {(1, -2, 3)}
    assert seconds > 0


def test_distortion_of_the_width_leaves_energies_alone() -> None:
    showers = toy_showers(3)
    assert np.array_equal(distort(showers, DEPTH_MM, width=1.5).point_energy_gev, showers.point_energy_gev)


def test_showers_on_a_grid_have_one_point_per_cell_and_nothing_beyond_its_edges() -> None:
    showers, stack = toy_showers(5, theta_deg=0.0), find_stack("ECAL")
    grid = GridOutput(
        kind="grid", shape=(30, 4, 4), cell_mm=(5.0, 5.0), lower_edge_mm=(-10.0, -10.0), follows_axis=True
    )
    on_grid = through_grid(showers, grid, stack, np.array(stack.layer_depth_mm), np.random.default_rng(1))
    near = (np.abs(showers.x_mm) < 10.0) & (np.abs(showers.y_mm) < 10.0)
    kept = np.bincount(showers.shower_of_point[near], showers.point_energy_gev[near], len(showers))
    found = np.bincount(on_grid.shower_of_point, on_grid.point_energy_gev, len(showers))
    assert found == pytest.approx(kept, rel=1e-5)
    assert np.abs(np.stack([on_grid.x_mm, on_grid.y_mm])).max() <= 10.0

    def cells(some: Showers) -> set[tuple[int, ...]]:
        place = (some.shower_of_point, some.layer, np.floor(some.x_mm / 5.0), np.floor(some.y_mm / 5.0))
        return set(zip(*(p.astype(int).tolist() for p in place), strict=True))

    assert cells(on_grid) == {c for c in cells(showers) if -2 <= c[2] < 2 and -2 <= c[3] < 2}
    assert len(on_grid.x_mm) == len(cells(on_grid))


def test_report_numbers_and_card(data: Path, tmp_path: Path, toy_model: Callable[..., Path]) -> None:
    model, folder = toy_model(), tmp_path / "report"
    arguments = ["validate", "-m", str(model), "--data", str(data), "-o", str(folder), "--folds", "3"]
    result = CliRunner().invoke(app, [*arguments, "--no-low-level", "--no-placed", "--write-card"])
    assert result.exit_code == 0, (result.output, result.exception)
    numbers = json.loads((folder / "validation.json").read_text())
    figures = {(f["group"], f["name"]): f["values"] for f in numbers["figures"]}
    auc = figures["classifier 25 features (CaloClouds II)", "AUC"]
    assert auc["model"]["value"] > 0.95
    assert abs(auc["geant4"]["value"] - 0.5) < 5 * auc["geant4"]["error"]
    # 5 % of energy is 2 to 3 widths of the toy's response
    response = figures["means", "mean visible / incident energy"]
    assert response["energy_5_percent"]["value"] == pytest.approx(1.05 * response["geant4"]["value"], rel=2e-3)
    assert auc["energy_5_percent"]["value"] > 0.7
    assert numbers["showers_per_sample"] >= 50
    page = (folder / "report.html").read_text()
    assert "Geant4 again" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert page.count("data:image/png;base64,") == len(list((folder / "plots").glob("*.png"))) > 10
    card = read_card(model)
    assert {f.name for f in card.figures} >= {"classifier 25 features (CaloClouds II): AUC"}
    again = CliRunner().invoke(app, [*arguments, "--no-low-level", "--no-placed", "--write-card"])
    assert again.exit_code == 0
    assert len(read_card(model).figures) == len(card.figures)  # replaced, not added


def test_wrong_use_is_told(data: Path, tmp_path: Path) -> None:
    run = CliRunner()
    result = run.invoke(app, ["validate"])
    assert isinstance(result.exception, ConfigurationError)
    result = run.invoke(app, ["validate", "--data", str(tmp_path / "none.h5")])
    assert isinstance(result.exception, InputError)
    result = run.invoke(app, ["validate", "--all", "-m", "x", "--data", str(data)])
    assert isinstance(result.exception, ConfigurationError)
    for extra in (["--in-grid"], ["--zoo", str(tmp_path / "zoo.md")]):  # not ignored in silence
        result = run.invoke(app, ["validate", "--against", "x", "--data", str(data), *extra])
        assert isinstance(result.exception, ConfigurationError)
        assert extra[0] in str(result.exception)


def test_models_that_fit_the_data(
    data: Path, tmp_path: Path, toy_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy_model()
    monkeypatch.setenv("DDCALOGEN_MODEL_PATH", str(model.parent))
    assert model in fitting_models([data])
    kaons = toy_showers(5)
    kaons.pdg[:] = 321
    with pytest.raises(InputError, match="no shipped model fits"):
        fitting_models([write_showerdata(tmp_path / "kaons.h5", kaons)])


def test_pulls() -> None:
    from ddcalogen.validation.metrics import Value

    figure = Figure("g", "n", "", "distance", {"model": Value(5.0, 0.3), "geant4": Value(1.0, 0.4)})
    assert figure.pull("model") == pytest.approx(8.0)
    assert figure.pull("geant4") == 0

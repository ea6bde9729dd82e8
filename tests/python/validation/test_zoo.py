# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The table of models, from validation through records to the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen.card import embed_card, save_model
from ddcalogen.cli import app
from ddcalogen.edm4hep import Reader
from ddcalogen.engine import Generator
from ddcalogen.errors import InputError, OutputError
from ddcalogen.geometry import Geometry
from ddcalogen.models import find_model, packaged_models, shipped_models
from ddcalogen.validation.one_shower import place_one
from ddcalogen.validation.zoo import Record, fitting_models, read_records, write_record, write_zoo
from test_validate import write_showerdata
from toy_showers import toy_showers
from toys import card_for, constant_spots
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("mplhep")


def test_one_shower_is_placed_and_written(ild: Geometry, toy_model: Callable[..., Path], tmp_path: Path) -> None:
    generator = Generator(toy_model(row=(1.0, -2.0, 3.0, 0.25), count=2), ild)
    shower = place_one(generator, tmp_path / "new" / "shower.edm4hep.root")
    assert shower.generated_gev == pytest.approx(0.5)
    assert shower.generated_gev == pytest.approx(shower.placed_gev + shower.dead_gev + shower.outside_gev, abs=1e-12)
    assert sum(shower.collections_gev.values()) == pytest.approx(shower.placed_gev)
    with Reader(tmp_path / "new" / "shower.edm4hep.root") as reader:
        (event,) = list(reader)
    written = sum(float(hits.energy_gev.sum()) for hits in event.calorimeter_hits.values())
    assert written == pytest.approx(shower.placed_gev, rel=1e-6)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of one model that is not shipped, made by the command."""
    folder = tmp_path_factory.mktemp("zoo")
    data = write_showerdata(folder / "toy.h5", toy_showers(400, 7))
    graph = constant_spots()
    model = folder / "models" / "toy.onnx"
    model.parent.mkdir()
    embed_card(graph, card_for(graph))
    save_model(graph, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddcalogen.models._package_folders", list)
        patch.setenv("DDCALOGEN_MODEL_PATH", str(model.parent))
        assert not packaged_models()
        assert list(shipped_models().values()) == [model]
        options = ["--folds", "3", "--no-low-level", "--no-placed", "--zoo", str(folder / "zoo.md")]
        result = CliRunner().invoke(
            app,
            ["validate", "--all", "--data", str(data), "-o", str(folder / "reports"), *options],
        )
    assert result.exit_code == 0, (result.output, result.exception)
    return folder


def test_command_writes_record_and_table(zoo: Path) -> None:
    (record,) = read_records(zoo / "zoo")
    assert not record.packaged
    assert record.training_command is None  # a toy was not trained
    assert {f.name for f in record.figures} >= {"classifier 25 features (CaloClouds II): AUC"}
    assert set(record.milliseconds) == {1, 10, 100}
    page = (zoo / "zoo.md").read_text()
    assert f"**{record.name}** {record.version} (not shipped)" in page
    assert "--data toy.h5" in page
    assert (zoo / "reports" / record.name / "shower.edm4hep.root").is_file()


def _columns(page: str) -> int:
    rows = [line.replace("\\|", "") for line in page.splitlines() if line.startswith("|")]
    widths = [row.count("|") for row in rows]
    assert all(w > 2 for w in widths)
    return len(rows)


def test_table_of_many_models_keeps_conditions_apart_and_names_published_figures(zoo: Path, tmp_path: Path) -> None:
    (record,) = read_records(zoo / "zoo")
    write_record(record, tmp_path)
    write_record(record.model_copy(update={"name": "flow", "system": "l2lflows", "packaged": True}), tmp_path)
    write_record(record.model_copy(update={"name": "pion", "calorimeter": "HCAL", "conditions": "PDG 211"}), tmp_path)
    records = read_records(tmp_path)
    assert [r.name for r in records] == ["flow", "pion", record.name]
    write_zoo(records, tmp_path / "zoo.md")
    page = (tmp_path / "zoo.md").read_text()
    assert page.count("### ") == 2
    assert f"| figure | Geant4 | flow | {record.name} |" in page
    assert "0.71 (Buss" in page
    assert _columns(page) > 30


def test_damaged_record_is_told(zoo: Path, tmp_path: Path) -> None:
    (record,) = read_records(zoo / "zoo")
    path = write_record(record, tmp_path)
    path.write_text(path.read_text().replace('"version"', '"vers"'))
    with pytest.raises(InputError, match="record of the table"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="no records"):
        write_zoo([], tmp_path / "zoo.md")


def test_folder_that_cannot_be_made_is_told(zoo: Path, tmp_path: Path) -> None:
    (record,) = read_records(zoo / "zoo")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_record(record, tmp_path / "file" / "zoo")


def test_record_survives_its_file(zoo: Path) -> None:
    (record,) = read_records(zoo / "zoo")
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_models_of_the_hcal_alone_do_not_fit_showers_that_come_through_an_ecal(tmp_path: Path) -> None:
    particles = {"incident_energy_gev": [50.0], "direction": [[0.0, 0.0, 1.0]], "pdg": [211]}
    for name, groups in (("hcal.h5", ("hcal",)), ("both.h5", ("ecal", "hcal"))):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in particles.items():
                file[key] = np.array(value, np.int32 if key == "pdg" else np.float32)
            for group in groups:
                points = file.create_group(group)
                points.attrs.update({"pitch_mm": 10.0, "grid_rotation_rad": 0.0})
                points["offsets"] = np.array([0, 1])
                for column in ("ix", "iy", "layer", "energy_mev"):
                    points[column] = np.array([1])
    assert find_model("ild_hcal_pion_pointcloud") in fitting_models([tmp_path / "hcal.h5"])
    assert fitting_models([tmp_path / "both.h5"]) == [find_model("ild_ecal_hcal_pion_pointcloud")]

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The program as a user runs it: a process, its exit code, its files and its messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen import _core
from ddcalogen.edm4hep import Reader, SimulatorStatus
from ddcalogen.geometry import Geometry
from toys import ZH_EVENTS

MODEL = "ild_ecal_em_layered"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ddcalogen", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


def failed(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [[], ["simulate"], ["inspect"], ["geometry"], ["geometry", "locate"], ["bench"]])
def test_help_teaches(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_wrong_usage_has_its_own_code() -> None:
    assert run("simulate", "--nonsense").returncode == 2


class TestSimulate:
    def test_zh_events(self, tmp_path: Path, ild: Geometry) -> None:
        out = tmp_path / "zh.edm4hep.root"
        picture = tmp_path / "zh.png"
        result = run("simulate", ZH_EVENTS, "-n", 5, "--seed", 3, "-o", out, "--plot", picture)
        assert result.returncode == 0, result.stderr
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        reader = Reader(out)
        events = list(reader)
        assert len(events) == 5
        total = 0.0
        for event in events:
            handled = event.particles.has_status(SimulatorStatus.HANDLED_BY_FAST_SIM)
            showering = set()
            for hits in event.calorimeter_hits.values():
                assert ild.surfaces.exists(hits.cell_id).all()
                centre = ild.surfaces.cell_centres(hits.cell_id)
                np.testing.assert_allclose(hits.position_mm, centre, atol=1e-3)
                assert len(np.unique(hits.cell_id)) == len(hits.cell_id)
                showering |= set(hits.contributions.particle.tolist())
                total += float(hits.energy_gev.astype(float).sum())
                assert (hits.contributions.step_length_mm == -1).all()
            assert showering <= set(np.flatnonzero(handled).tolist())
            assert set(np.abs(event.particles.pdg[handled]).tolist()) <= {11, 22}
        parameters = reader.run_parameters
        placed = float(np.ravel(parameters["DDCaloGenEnergyPlaced_GeV"])[0])
        assert total == pytest.approx(placed, rel=1e-5)
        assert total > 0
        assert np.ravel(parameters["DDCaloGenSeed"])[0] == "3"
        assert MODEL in np.ravel(parameters["DDCaloGenModelName"])

    def test_same_seed_same_bits(self, tmp_path: Path) -> None:
        gun = ["simulate", "--particle", "e-", "--energy", "1:30", "--multiplicity", 3, "-n", 4]
        for name, options in {"a": [], "b": ["--batch", 1], "c": ["--threads", 4], "d": ["--seed", 2]}.items():
            assert run(*gun, *options, "-o", tmp_path / f"{name}.root").returncode == 0
        events = {name: list(Reader(tmp_path / f"{name}.root")) for name in "abcd"}
        differs = False
        for i in range(4):
            for collection, hits in events["a"][i].calorimeter_hits.items():
                for other in "bc":
                    np.testing.assert_array_equal(hits.cell_id, events[other][i].calorimeter_hits[collection].cell_id)
                    np.testing.assert_array_equal(
                        hits.energy_gev, events[other][i].calorimeter_hits[collection].energy_gev
                    )
                differs |= not np.array_equal(hits.cell_id, events["d"][i].calorimeter_hits[collection].cell_id)
        assert differs

    def test_skip_gives_the_same_events(self, tmp_path: Path) -> None:
        assert run("simulate", "-n", 4, "--theta", "90", "-o", tmp_path / "all.root").returncode == 0
        assert run("simulate", "-n", 1, "--skip", 3, "--theta", "90", "-o", tmp_path / "one.root").returncode == 0
        last = list(Reader(tmp_path / "all.root"))[3].calorimeter_hits
        one = next(iter(Reader(tmp_path / "one.root"))).calorimeter_hits
        for name, hits in last.items():
            np.testing.assert_array_equal(hits.cell_id, one[name].cell_id)

    def test_output_of_one_run_is_input_of_the_next(self, tmp_path: Path) -> None:
        assert run("simulate", ZH_EVENTS, "-n", 2, "-o", tmp_path / "a.root").returncode == 0
        assert run("simulate", tmp_path / "a.root", "-o", tmp_path / "b.root").returncode == 0
        for a, b in zip(Reader(tmp_path / "a.root"), Reader(tmp_path / "b.root"), strict=True):
            for name, hits in a.calorimeter_hits.items():
                np.testing.assert_array_equal(hits.cell_id, b.calorimeter_hits[name].cell_id)

    def test_joined_files_need_new_numbers(self, tmp_path: Path) -> None:
        import gzip

        with gzip.open(ZH_EVENTS, "rt") as file:
            lines = []
            for line in file:
                if line.startswith("E 1 "):
                    break
                lines.append(line)
        first = next(i for i, line in enumerate(lines) if line.startswith("E "))
        joined = tmp_path / "joined.hepmc3"
        joined.write_text("".join(lines + lines[first:]) + "HepMC::Asciiv3-END_EVENT_LISTING\n")
        out = tmp_path / "out.root"
        failed(run("simulate", joined, "-o", out), "same number", "--renumber")
        assert not out.exists()
        assert run("simulate", joined, "--renumber", "-o", out).returncode == 0
        a, b = Reader(out)
        assert (a.event_number, b.event_number) == (0, 1)
        assert any(
            not np.array_equal(hits.energy_gev, b.calorimeter_hits[name].energy_gev)
            for name, hits in a.calorimeter_hits.items()
        )

    def test_no_events(self, tmp_path: Path) -> None:
        result = run("simulate", "-n", 0, "-o", tmp_path / "none.root")
        assert result.returncode == 0, result.stderr
        assert list(Reader(tmp_path / "none.root")) == []

    def test_rejected_showers_are_reported(self, tmp_path: Path, toy_model: Callable[..., Path]) -> None:
        bad = toy_model(row=(0.0, 0.0, 3.0, -1.0))
        result = run("simulate", "-m", bad, "--theta", "90", "-n", 3, "-o", tmp_path / "x.root")
        assert result.returncode == 0
        assert "shower rejected: negative energy" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["nowhere.hepmc"], ["no such input file"]),
            (["-m", "nowhere"], ["there is no model", MODEL]),
            (["-d", "nowhere"], ["GeometryError"]),
            (["--particle", "snark"], ["unknown particle"]),
            (["--energy", "many"], ["particle gun"]),
            (["--energy", "-5"], ["particle gun"]),
            (["--position", "1,2"], ["position"]),
            (["--provider", "abacus"], ["provider"]),
            (["--edm4hep-layout", "0.1"], ["layout"]),
            (["--plot", "x.bmp"], ["picture format"]),
        ],
    )
    def test_bad_options(self, arguments: list[str], words: list[str], tmp_path: Path) -> None:
        out = tmp_path / "out.root"
        failed(run("simulate", *arguments, "-n", 1, "-o", out), *words)
        assert list(tmp_path.iterdir()) == []

    def test_bad_files(self, tmp_path: Path, toy_model: Callable[..., Path]) -> None:
        out = tmp_path / "out" / "out.root"
        out.parent.mkdir()
        text = tmp_path / "text.hepmc"
        text.write_text("this is no event\n")
        failed(run("simulate", text, "-o", out), "InputError")
        root = tmp_path / "cut.root"
        root.write_bytes(b"root" + bytes(1000))
        failed(run("simulate", root, "-o", out), "InputError")
        model = tmp_path / "foreign.onnx"
        model.write_bytes(toy_model().read_bytes()[:-300])
        failed(run("simulate", "-m", model, "-n", 1, "-o", out), "CardError")
        failed(
            run("simulate", "-m", toy_model(count=3, declared=1), "--theta", 90, "-n", 1, "-o", out), "InferenceError"
        )
        assert list(out.parent.iterdir()) == []
        failed(run("simulate", "-n", 1, "-o", tmp_path / "missing" / "out.root"), "OutputError")
        failed(run("simulate", "-n", 1, "-o", tmp_path), "OutputError")
        points = tmp_path / "in.h5"
        with h5py.File(points, "w") as file:
            file["position_mm"] = np.zeros((1, 3))
        failed(run("geometry", "locate", "--points", points, "-o", points / "out.h5"), "OutputError")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
    def test_full_disk(self) -> None:
        failed(run("simulate", "-n", 1, "-o", "/dev/full/out.root"), "OutputError")


class TestInspect:
    def test_list_and_card(self) -> None:
        assert MODEL[:12] in run("inspect").stdout
        shown = run("inspect", MODEL)
        assert shown.returncode == 0
        assert "130 GeV" in shown.stdout
        card = json.loads(run("inspect", MODEL, "--json").stdout)
        assert card["name"] == MODEL

    def test_errors(self, tmp_path: Path) -> None:
        failed(run("inspect", "nowhere"), "there is no model")
        (tmp_path / "x.onnx").write_text("no model")
        failed(run("inspect", tmp_path / "x.onnx"), "CardError")


class TestGeometry:
    def test_show_and_list(self) -> None:
        assert "ILD_l5_o1_v02" in run("geometry", "list").stdout
        assert "ECalBarrelSiHitsEven" in run("geometry", "show").stdout

    def test_locate_a_point(self) -> None:
        assert "slice 4" in run("geometry", "locate", 1811.6, 10, 25).stdout
        assert "cellID 0" in run("geometry", "locate", 0, 0, 0).stdout

    def test_locate_many(self, tmp_path: Path, ild: Geometry) -> None:
        points = np.random.default_rng(1).uniform(-3000, 3000, (500, 3))
        points[0] = (1811.6, 10, 25)
        with h5py.File(tmp_path / "in.h5", "w") as file:
            file["position_mm"] = points
        result = run(
            "geometry", "locate", "--detector", "ILD_l5_o1_v02", "--readout", "EcalBarrel",
            "--points", tmp_path / "in.h5", "-o", tmp_path / "out.h5",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / "out.h5") as file:
            assert file["cell_id"].dtype == np.uint64
            np.testing.assert_array_equal(file["cell_id"], ild.surfaces.locate(points))
            assert file["cell_centre_mm"].shape == (500, 3)
            assert file["cell_id"][0] != 0

    def test_locate_errors(self, tmp_path: Path) -> None:
        failed(run("geometry", "locate"), "InputError")
        failed(run("geometry", "locate", "--points", tmp_path / "no.h5", "-o", tmp_path / "o.h5"), "cannot read")
        with h5py.File(tmp_path / "in.h5", "w") as file:
            file["position_mm"] = np.zeros((3, 2))
        failed(run("geometry", "locate", "--points", tmp_path / "in.h5", "-o", tmp_path / "o.h5"), "(N, 3)")
        failed(run("geometry", "locate", 1, 2, 3, "--readout", "Nowhere"), "no such detector")
        assert not (tmp_path / "o.h5").exists()


@pytest.mark.skipif(not _core.has_onnxruntime_session, reason="this build has no C++ onnxruntime session")
def test_cpp_runtime_without_a_library_is_an_error(tmp_path: Path) -> None:
    result = run(
        "simulate", "--runtime", "c++", "-n", 1, "-o", tmp_path / "o.root", DDCALOGEN_ONNXRUNTIME_LIBRARY="/nowhere.so"
    )
    failed(result, "onnxruntime library cannot be opened")

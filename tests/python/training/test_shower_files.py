# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Grids and point clouds as files: energies against the showers they were made of, splits, hostile input, memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.errors import ConfigurationError, InputError, OutputError
from ddcalogen.training.data import SPLITS, ShowerFile, load_split
from ddcalogen.training.stacks import find_stack
from test_cli import failed, run
from test_ecal_hcal import write_slab as write_pions

pytest.importorskip("torch")
pytest.importorskip("showerdata")

from ddcalogen.training.representations import Grids
from ddcalogen.training.shower_files import GRID_PRESETS, write_clouds, write_grids
from ddcalogen.training.stream import Selection, ShowerStream


def write_photons(path: Path, showers: int = 200, seed: int = 0, points: int = 40, theta: float = 0.0) -> Path:
    """Photons on the axis (or inclined along x): points within 15 mm of the axis, in a slab file."""
    rng = np.random.default_rng(seed)
    pitch, depth = 1.0176666, np.array(find_stack("ECAL").layer_depth_mm)
    n = showers * points
    layer = rng.integers(0, 30, n)
    with h5py.File(path, "w") as file:
        file.attrs["source"] = "made for a test"
        file["incident_energy_gev"] = rng.uniform(10, 100, showers).astype(np.float32)
        direction = np.array([np.sin(theta), 0.0, np.cos(theta)], np.float32)
        file["direction"] = np.tile(direction, (showers, 1))
        file["pdg"] = np.full(showers, 22, np.int32)
        group = file.create_group("ecal")
        x = rng.uniform(-15, 15, n) + np.tan(theta) * depth[layer]
        group["ix"] = np.round(x / pitch).astype(np.int16)
        group["iy"] = np.round(rng.uniform(-15, 15, n) / pitch).astype(np.int16)
        group["layer"] = layer.astype(np.uint8)
        group["energy_mev"] = (0.05 + rng.exponential(0.3, n)).astype(np.float16)
        group["offsets"] = np.arange(showers + 1, dtype=np.int64) * points
        group.attrs["pitch_mm"], group.attrs["grid_rotation_rad"] = pitch, 0.0
    return path


# --------------------------------------------------------------------------------------------------------------- grids


@pytest.mark.parametrize(
    ("preset", "shape"), [("ecal", (30, 30, 30)), ("ecal-angles", (30, 60, 60)), ("hcal-core", (48, 25, 25))]
)
def test_grids_hold_the_energy_of_the_showers(preset: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    chosen = GRID_PRESETS[preset]
    path = (write_pions if chosen.calorimeter == "HCAL" else write_photons)(tmp_path / "in.h5", 90)
    out = tmp_path / "grid.h5"
    report = write_grids([path], out, chosen)
    file = ShowerFile(path, chosen.calorimeter.lower())
    truth = file.read(0, len(file))
    with h5py.File(out) as grids:
        group = grids[chosen.group]
        layers = group["layers"][:]
        assert layers.shape == (90, *shape)
        assert layers.dtype == np.float32
        np.testing.assert_array_equal(group["energy"][:, 0], truth.energy_gev)
        np.testing.assert_array_equal(grids["direction"][:], truth.direction)
        np.testing.assert_array_equal(grids["pdg"][:], truth.pdg)
        assert group.attrs["energy_beyond_the_edges"] == pytest.approx(report.beyond_gev / report.visible_gev)
        if chosen.angles:  # perpendicular
            np.testing.assert_allclose(group["theta"][:], np.pi / 2, atol=1e-6)
    assert report.beyond_gev == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(layers.sum((2, 3)), 1e3 * truth.layer_energy_gev(shape[0]), rtol=1e-4, atol=1e-4)


def test_energy_beyond_the_edges_is_counted(tmp_path: Path) -> None:
    path = write_photons(tmp_path / "in.h5", 60, theta=0.9)
    truth = ShowerFile(path).read(0, 60)
    narrow = write_grids([path], tmp_path / "narrow.h5", GRID_PRESETS["ecal"])
    assert narrow.visible_gev == pytest.approx(truth.point_energy_gev.sum(), rel=1e-5)
    # beyond half the grid, give or take the random place in the merging cell
    half, slack = 15 * 5.088333, 0.6
    low, high = (truth.point_energy_gev[truth.x_mm > half + s].sum() for s in (slack, -slack))
    assert 0.1 * narrow.visible_gev < low <= narrow.beyond_gev <= high
    with h5py.File(tmp_path / "narrow.h5") as file:
        inside = file["30x30/layers"][:].sum(dtype=float) / 1e3
    assert inside + narrow.beyond_gev == pytest.approx(narrow.visible_gev, rel=1e-5)
    along = write_grids([path], tmp_path / "axis.h5", GRID_PRESETS["ecal"], follows_axis=True)
    assert along.beyond_gev == pytest.approx(0.0, abs=1e-5)
    wide = write_grids([path], tmp_path / "wide.h5", GRID_PRESETS["ecal-angles"], cells=(120, 30))
    assert wide.beyond_gev == pytest.approx(0.0, abs=1e-5)
    with h5py.File(tmp_path / "wide.h5") as file:
        np.testing.assert_allclose(file["ecal/theta"][:], np.pi / 2 - 0.9, atol=1e-4)
        np.testing.assert_allclose(file["ecal/phi"][:], 0.0, atol=1e-4)
        where = file["ecal/layers"][:].sum((0, 3))  # by layer and x
    x = (np.arange(120) - 59.5) * 5.088333
    mean = (where * x).sum(1) / where.sum(1)
    np.testing.assert_allclose(mean, np.tan(0.9) * np.array(find_stack("ECAL").layer_depth_mm), atol=4.0)


@pytest.mark.parametrize("follows_axis", [False, True])
@pytest.mark.parametrize("preset", ["ecal", "ecal-angles", "hcal-core"])
def test_grids_are_read_again(preset: str, follows_axis: bool, tmp_path: Path) -> None:
    chosen = GRID_PRESETS[preset]
    calorimeter, out = chosen.calorimeter.lower(), tmp_path / "grid.h5"
    if calorimeter == "ecal":
        path = write_photons(tmp_path / "in.h5", 70, theta=0.3)
    else:
        path = write_pions(tmp_path / "in.h5", 70)
    write_grids([path], out, chosen, follows_axis=follows_axis)
    file, again = ShowerFile(path, calorimeter), ShowerFile(out, calorimeter)
    assert again.layout == "grid"
    np.testing.assert_array_equal(again.splits, file.splits)
    np.testing.assert_array_equal(again.pdg, file.pdg)
    showers, stack = again.read(0, 70), find_stack(chosen.calorimeter)
    np.testing.assert_array_equal(again.points_per_shower(), np.diff(showers.offsets))
    same = Grids(*chosen.cells, stack.cell_mm[0], follows_axis=follows_axis)
    with h5py.File(out) as grids:
        written = grids[chosen.group]["layers"][:]
    np.testing.assert_allclose(1e3 * same.fill(showers, stack, np.random.default_rng(3)), written, rtol=1e-5)
    assert len(load_split([out], "train", calorimeter)) == (file.splits == 0).sum()


def test_grids_that_say_nothing_of_themselves(tmp_path: Path) -> None:
    """As the published ones: a group with layers and energy, for angles theta from the plane."""
    rng = np.random.default_rng(1)
    layers = rng.exponential(1.0, (40, 30, 30, 30)).astype(np.float32) * (rng.uniform(size=(40, 30, 30, 30)) < 0.1)
    path = tmp_path / "published.h5"
    with h5py.File(path, "w") as file:
        file["30x30/layers"], file["30x30/energy"] = layers, rng.uniform(10, 100, (40, 1)).astype(np.float32)
    showers = ShowerFile(path).read(0, 40)
    assert (showers.pdg == 22).all()
    np.testing.assert_array_equal(showers.direction, np.tile(np.array([0, 0, 1], np.float32), (40, 1)))
    np.testing.assert_allclose(showers.layer_energy_gev(30), layers.sum((2, 3)) * 1e-3, rtol=1e-5)
    assert np.abs(showers.x_mm).max() == pytest.approx(14.5 * 5.088333)
    with h5py.File(path, "r+") as file:
        file["30x30/theta"] = np.full((40, 1), np.pi / 3, np.float32)
    np.testing.assert_allclose(ShowerFile(path).direction[0], [0.5, 0, np.sqrt(0.75)], atol=1e-6)
    with pytest.raises(InputError, match="do not fit the calorimeter"):
        ShowerFile(path, "hcal")
    for damage, message in ((-1.0, "damaged"), (np.nan, "damaged"), (np.inf, "damaged")):
        with h5py.File(path, "r+") as file:
            file["30x30/layers"][3, 4, 5, 6] = damage
        with pytest.raises(InputError, match=message):
            ShowerFile(path).read(0, 40)
    for name, value in (("energy", np.ones((39, 1))), ("theta", np.ones((3, 1)))):
        with h5py.File(path, "r+") as file:
            del file["30x30"][name]
            file["30x30"][name] = value
        with pytest.raises(InputError, match=r"number|make no sense|cannot be read"):
            ShowerFile(path)


# -------------------------------------------------------------------------------------------------------- point clouds


@pytest.mark.parametrize("level", ["subcell", "cell"])
def test_clouds_are_read_again(level: Any, tmp_path: Path) -> None:
    paths = [write_pions(tmp_path / f"{i}.h5", 70, i) for i in range(2)]
    out = tmp_path / "cloud.h5"
    showers, before, after = write_clouds(paths, out, "ECAL+HCAL", level=level)
    files = [ShowerFile(path, "ecal+hcal") for path in paths]
    truth = np.concatenate([file.read(0, 70).layer_energy_gev(78) for file in files])
    again = ShowerFile(out, "ecal+hcal")
    made = again.read(0, len(again))
    assert showers == len(again) == 140
    np.testing.assert_allclose(made.layer_energy_gev(78), truth, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(again.splits, np.concatenate([file.splits for file in files]))
    assert before == sum(len(file.read(0, 70).layer) for file in files)
    assert after == len(made.layer) == again.points_per_shower().sum()
    assert after < before if level == "cell" else after == before
    with h5py.File(out) as file:
        assert file["shape"][:].tolist() == [140, int(again.points_per_shower().max()), 4]
        np.testing.assert_array_equal(file["shower_ids"][:], np.arange(140))


def test_the_package_reads_the_clouds(tmp_path: Path) -> None:
    import showerdata

    path = write_photons(tmp_path / "in.h5", 30)
    write_clouds([path], tmp_path / "cloud.h5", "ECAL", level="cell")
    loaded = showerdata.load(tmp_path / "cloud.h5")
    truth = ShowerFile(path).read(0, 30)
    np.testing.assert_allclose(loaded.points[..., 3].sum(1), truth.layer_energy_gev(30).sum(1), rtol=1e-5)


@pytest.mark.parametrize("split", SPLITS)
def test_splits(split: Any, tmp_path: Path) -> None:
    path = write_photons(tmp_path / "in.h5", 300)
    truth = load_split([path], split)
    showers, _, _ = write_clouds([path], tmp_path / "cloud.h5", "ECAL", split=split)
    report = write_grids([path], tmp_path / "grid.h5", GRID_PRESETS["ecal"], split=split)
    assert showers == report.showers == len(truth)
    made = ShowerFile(tmp_path / "cloud.h5")
    np.testing.assert_array_equal(made.energy_gev, truth.energy_gev)
    assert (made.splits == SPLITS.index(split)).all()
    with h5py.File(tmp_path / "grid.h5") as file:
        np.testing.assert_array_equal(file["30x30/energy"][:, 0], truth.energy_gev)


# ------------------------------------------------------------------------------------------------------------- command


def test_commands(tmp_path: Path) -> None:
    path = write_photons(tmp_path / "in.h5", 50, theta=0.9)
    done = run("data", "grid", path, "-o", tmp_path / "g.h5", "--cells", 40, 20, "--cell-mm", 10)
    assert done.returncode == 0, done.stderr
    assert "50 showers" in done.stdout
    assert "beyond the edges" in done.stdout
    with h5py.File(tmp_path / "g.h5") as file:
        assert file["30x30/layers"].shape == (50, 30, 40, 20)
        assert file["30x30"].attrs["lower_edge_mm"].tolist() == [-200.0, -100.0]
    pions = write_pions(tmp_path / "p.h5")
    done = run("data", "cloud", pions, "--calorimeter", "ecal+hcal", "--level", "cell", "-o", tmp_path / "c.h5")
    assert done.returncode == 0, done.stderr
    assert len(ShowerFile(tmp_path / "c.h5")) == len(ShowerFile(pions))
    failed(run("data", "grid", pions, "--cells", 0, 3, "-o", tmp_path / "x.h5"), "makes no sense")
    assert not (tmp_path / "x.h5").exists()


def test_hostile_files_leave_no_output(tmp_path: Path) -> None:
    good, bad = write_photons(tmp_path / "good.h5", 100), write_photons(tmp_path / "bad.h5", 100, 1)
    with h5py.File(bad, "r+") as file:
        file["ecal/layer"][-1] = 200
    before = sorted(p.name for p in tmp_path.iterdir())
    for write in (
        lambda out: write_grids([good, bad], out, GRID_PRESETS["ecal"]),
        lambda out: write_clouds([good, bad], out, "ECAL"),
    ):
        with pytest.raises(InputError, match="do not fit the calorimeter"):
            write(tmp_path / "out.h5")
        with pytest.raises(OutputError):
            write(tmp_path / "none" / "out.h5")
    for arguments in ([], [good]):
        with pytest.raises((ConfigurationError, InputError)):
            write_clouds(arguments, tmp_path / "out.h5", "HCAL")
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    # showerdata files that lie about their points
    write_clouds([good], tmp_path / "cloud.h5", "ECAL")
    for lie, message in ((1, "more points than"), (-1, "no sense"), (1 << 30, "no sense")):
        with h5py.File(tmp_path / "cloud.h5", "r+") as file:
            file["num_points"][:] = lie
        with pytest.raises(InputError, match=message):
            write_clouds([tmp_path / "cloud.h5"], tmp_path / "out.h5", "ECAL")
    with h5py.File(tmp_path / "cloud.h5", "r+") as file:
        del file["num_points"]
    with pytest.raises(InputError, match="cannot be read"):
        write_clouds([tmp_path / "cloud.h5"], tmp_path / "out.h5", "ECAL")
    assert not (tmp_path / "out.h5").exists()


# -------------------------------------------------------------------------------------------------------------- memory


def peak_bytes(action: Any) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_window(tmp_path: Path) -> None:
    """Four times the showers, the same window: the same memory; all in the window: more of it."""
    small, large = (write_photons(tmp_path / f"{n}.h5", n, points=400) for n in (2000, 8000))
    photons = Selection((22,), (1.0, 200.0), (0.0, 60.0))

    def epoch(path: Path, window: int) -> int:
        stream = ShowerStream([path], find_stack("ECAL"), "train", photons, window=window)

        def go() -> None:
            seen = sum(len(showers) for showers in stream.showers(0, 32))
            assert seen > 0.95 * stream.size

        return peak_bytes(go)

    one, four = epoch(small, 512), epoch(large, 512)
    assert four < 1.3 * one
    assert epoch(large, 1_000_000) > 2.0 * four


def test_memory_of_the_writers_is_bounded(tmp_path: Path) -> None:
    small, large = (write_photons(tmp_path / f"{n}.h5", n, points=300) for n in (256, 1024))

    def cloud(path: Path) -> int:
        return peak_bytes(lambda: write_clouds([path], tmp_path / "c.h5", "ECAL", level="cell"))

    def grid(path: Path) -> int:
        return peak_bytes(lambda: write_grids([path], tmp_path / "g.h5", GRID_PRESETS["ecal"], cells=(10, 10)))

    for write in (cloud, grid):
        assert write(large) < 1.3 * write(small)

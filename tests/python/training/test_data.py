# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Shower files of both layouts: reading, splitting, hostile content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.errors import InputError
from ddcalogen.training import data
from ddcalogen.training.data import ShowerFile, Showers, load_split, shower_ids, split_of
from ddcalogen.training.representations import Grids, mirrored
from ddcalogen.training.stacks import find_stack
from ddcalogen.training.stream import Selection, ShowerStream
from hypothesis import given, settings
from hypothesis import strategies as st

TURN = 0.3
PITCH = 1.0


def write_slab(path: Path, showers: int = 40, seed: int = 0, **attributes: float) -> Path:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, showers)
    n = int(counts.sum())
    direction = rng.normal(size=(showers, 3))
    direction[:, 2] = np.abs(direction[:, 2]) + 1.0
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    with h5py.File(path, "w") as file:
        file.attrs["source"] = "made for a test"
        file["incident_energy_gev"] = rng.uniform(1, 100, showers).astype(np.float32)
        file["direction"] = direction.astype(np.float32)
        file["pdg"] = np.full(showers, 22, np.int32)
        group = file.create_group("ecal")
        group["ix"] = rng.integers(-50, 50, n).astype(np.int16)
        group["iy"] = rng.integers(-50, 50, n).astype(np.int16)
        group["layer"] = rng.integers(0, 30, n).astype(np.uint8)
        group["energy_mev"] = rng.exponential(0.3, n).astype(np.float16)
        group["offsets"] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        group.attrs["pitch_mm"] = attributes.get("pitch_mm", PITCH)
        group.attrs["grid_rotation_rad"] = TURN
    return path


def write_showerdata(path: Path, showers: Showers) -> Path:
    showerdata = pytest.importorskip("showerdata")
    counts = np.diff(showers.offsets)
    padded = np.zeros((len(showers), int(counts.max()), 4), np.float32)
    points = np.stack([showers.x_mm, showers.y_mm, showers.layer.astype(np.float32), showers.point_energy_gev], 1)
    padded[np.arange(padded.shape[1])[None, :] < counts[:, None]] = points
    showerdata.save(
        showerdata.Showers(
            points=padded,
            energies=showers.energy_gev.reshape(-1, 1),
            directions=showers.direction,
            pdg=showers.pdg,
        ),
        path,
    )
    return path


def test_slab_points_are_in_the_shower_frame(tmp_path: Path) -> None:
    path = write_slab(tmp_path / "slab.h5")
    showers = ShowerFile(path).read(3, 7)
    with h5py.File(path) as file:
        first, last = file["ecal/offsets"][3], file["ecal/offsets"][7]
        u, v = file["ecal/ix"][first:last] * PITCH, file["ecal/iy"][first:last] * PITCH
        energy = file["ecal/energy_mev"][first:last].astype(float) * 1e-3
    assert showers.offsets[0] == 0
    assert showers.offsets[-1] == last - first == len(showers.x_mm)
    np.testing.assert_allclose(showers.x_mm, u * np.cos(TURN) - v * np.sin(TURN), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(showers.y_mm, u * np.sin(TURN) + v * np.cos(TURN), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(showers.point_energy_gev, energy, rtol=1e-6)
    np.testing.assert_allclose(showers.layer_energy_gev(30).sum(), energy.sum(), rtol=1e-6)


def test_both_layouts_give_the_same_showers_and_splits(tmp_path: Path) -> None:
    slab = ShowerFile(write_slab(tmp_path / "slab.h5"))
    whole = slab.read(0, len(slab))
    converted = ShowerFile(write_showerdata(tmp_path / "showers.h5", whole))
    assert converted.layout == "showerdata"
    again = converted.read(0, len(converted))
    for name in ("energy_gev", "direction", "pdg", "offsets", "x_mm", "y_mm", "layer", "point_energy_gev"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(converted.splits, slab.splits)


def test_chunks_and_selection_are_the_whole(tmp_path: Path) -> None:
    file = ShowerFile(write_slab(tmp_path / "slab.h5"))
    whole, joined = file.read(0, len(file)), Showers.join(list(file.chunks(7)))
    np.testing.assert_array_equal(joined.offsets, whole.offsets)
    np.testing.assert_array_equal(joined.x_mm, whole.x_mm)
    order = np.random.default_rng(0).permutation(len(whole))
    mixed = whole.select(order)
    for new, old in enumerate(order):
        a = slice(mixed.offsets[new], mixed.offsets[new + 1])
        b = slice(whole.offsets[old], whole.offsets[old + 1])
        np.testing.assert_array_equal(mixed.point_energy_gev[a], whole.point_energy_gev[b])
    back = mixed.select(np.argsort(order))
    np.testing.assert_array_equal(back.layer, whole.layer)


def test_splits_are_disjoint_complete_and_of_the_stated_size(tmp_path: Path) -> None:
    paths = [write_slab(tmp_path / f"{i}.h5", 400, i) for i in range(3)]
    parts = [load_split(paths, split) for split in data.SPLITS]
    assert sum(map(len, parts)) == 1200
    ids = [set(shower_ids(p.energy_gev, p.direction, p.pdg).tolist()) for p in parts]
    assert len(ids[0] | ids[1] | ids[2]) == sum(map(len, ids)) == 1200
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) / 1200 - share) < 4 * np.sqrt(share * (1 - share) / 1200)


@settings(deadline=None)
@given(st.lists(st.floats(0.5, 130.0, width=32), min_size=1, max_size=20, unique=True))
def test_a_shower_keeps_its_id_wherever_it_stands(energies: list[float]) -> None:
    energy = np.array(energies, np.float32)
    direction = np.tile(np.array([[0.0, 0.6, 0.8]], np.float32), (len(energy), 1))
    pdg = np.full(len(energy), 22, np.int32)
    ids = shower_ids(energy, direction, pdg)
    assert len(set(ids.tolist())) == len(energy)
    np.testing.assert_array_equal(shower_ids(energy[::-1], direction, pdg)[::-1], ids)
    assert set(split_of(ids).tolist()) <= {0, 1, 2}


def test_id_is_fixed_for_ever() -> None:
    ids = shower_ids(np.array([50.0], np.float32), np.array([[0.0, 0.0, 1.0]], np.float32), np.array([22], np.int32))
    assert ids.tolist() == [2026681148441648598]


def test_description_names_files_and_counts(tmp_path: Path) -> None:
    paths = [write_slab(tmp_path / f"{i}.h5", 100, i) for i in range(2)]
    description = data.describe_dataset(paths, "test")
    assert description.showers == 200
    assert description.training_showers == len(load_split(paths, "train"))
    assert [f.sha256 for f in description.files] == [data.file_sha256(p) for p in paths]
    assert description.sha256 == data.describe_dataset(paths[::-1], "test").sha256
    assert description.description == "made for a test"


def spoil(path: Path, change: Any) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_hostile_files(tmp_path: Path) -> None:
    def replace(file: h5py.File, name: str, value: Any) -> None:
        del file[name]
        file[name] = value

    with pytest.raises(InputError, match="cannot be read"):
        ShowerFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(InputError, match="cannot be read"):
        ShowerFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["other"] = [1]
    with pytest.raises(InputError, match="no known shower layout"):
        ShowerFile(tmp_path / "other.h5")
    with pytest.raises(InputError, match="no known shower layout"):
        ShowerFile(write_slab(tmp_path / "a.h5"), calorimeter="hcal")

    cases: list[tuple[str, Any]] = [
        ("incident_energy_gev", np.full(40, np.nan, np.float32)),
        ("incident_energy_gev", np.full(40, -1.0, np.float32)),
        ("direction", np.zeros((40, 3), np.float32)),
        ("direction", np.zeros((40, 2), np.float32)),
        ("pdg", np.full(39, 22, np.int32)),
        ("ecal/offsets", np.arange(41)[::-1].astype(np.int64)),
        ("ecal/offsets", np.arange(40).astype(np.int64)),
    ]
    for number, (name, value) in enumerate(cases):
        path = spoil(write_slab(tmp_path / f"bad{number}.h5"), lambda f, n=name, v=value: replace(f, n, v))
        with pytest.raises(InputError, match="make no sense"):
            ShowerFile(path)
    short = spoil(write_slab(tmp_path / "short.h5"), lambda f: replace(f, "ecal/energy_mev", np.zeros(3, np.float16)))
    with pytest.raises(InputError, match="damaged"):
        ShowerFile(short).read(0, 40)
    truncated = write_slab(tmp_path / "truncated.h5")
    truncated.write_bytes(truncated.read_bytes()[:-2000])
    with pytest.raises(InputError):
        ShowerFile(truncated).read(0, 40)


@pytest.mark.parametrize(
    ("column", "value"), [(0, np.nan), (1, np.inf), (2, np.nan), (2, 65536.0), (3, np.nan), (3, -1.0)]
)
def test_damaged_points(column: int, value: float, tmp_path: Path) -> None:
    whole = ShowerFile(write_slab(tmp_path / "slab.h5"))
    path = write_showerdata(tmp_path / "showers.h5", whole.read(0, len(whole)))
    with h5py.File(path, "r+") as file:
        row = int(np.argmax(np.diff(whole.read(0, len(whole)).offsets)))
        points = file["showers"][row]
        points[4 + column] = value
        file["showers"][row] = points
    with pytest.raises(InputError, match="damaged"):
        ShowerFile(path).read(0, len(whole))


def test_joining_different_grids_is_refused(tmp_path: Path) -> None:
    parts = [ShowerFile(write_slab(tmp_path / f"{p}.h5", pitch_mm=p)).read(0, 5) for p in (1.0, 2.0)]
    with pytest.raises(InputError, match="different grids"):
        Showers.join(parts)
    with pytest.raises(InputError, match="no showers"):
        Showers.join([])


def test_pitches_that_differ_by_rounding_are_one_grid(tmp_path: Path) -> None:
    pitches = (1.0176666259765625, float(np.float32(91.59 / 18 / 5)))  # a fifth of a cell, by two programs
    parts = [ShowerFile(write_slab(tmp_path / f"{p}.h5", pitch_mm=p)).read(0, 5) for p in pitches]
    assert len(Showers.join(parts)) == 10


@pytest.mark.parametrize("axes", [[], ["x"], ["y"], ["x", "y"]])
def test_mirrored_showers_lie_on_the_mirrored_grid(tmp_path: Path, axes: list[Any]) -> None:
    showers = ShowerFile(write_slab(tmp_path / "a.h5")).read(0, 40)
    turned = mirrored(showers, axes)
    sx, sy = (-1.0 if axis in axes else 1.0 for axis in "xy")
    assert np.array_equal(turned.direction, showers.direction * np.float32([sx, sy, 1]))
    assert np.array_equal(turned.x_mm, sx * showers.x_mm)
    assert np.array_equal(turned.y_mm, sy * showers.y_mm)
    cos, sin = np.cos(turned.grid_rotation_rad), np.sin(turned.grid_rotation_rad)
    u, v = turned.x_mm * cos + turned.y_mm * sin, -turned.x_mm * sin + turned.y_mm * cos
    assert np.allclose(u, np.round(u), atol=1e-4)
    assert np.allclose(v, np.round(v), atol=1e-4)


def test_a_stream_mirrors_batches_only_where_it_is_told(tmp_path: Path) -> None:
    path = write_slab(tmp_path / "a.h5", showers=400)
    stack = find_stack("ECAL")

    def directions(mirror: tuple[Any, ...]) -> Any:
        stream = ShowerStream([path], stack, "train", Selection((22,), (0.0, 200.0), (0.0, 90.0)), mirror=mirror)
        return np.concatenate([b["direction"].numpy() for b in stream.batches(Grids(), epoch=0, batch=10)])

    plain, turned = directions(()), directions(("x",))
    assert np.array_equal(np.abs(plain), np.abs(turned))
    assert np.array_equal(plain[:, 1:], turned[:, 1:])
    sign = (plain[:, 0] * turned[:, 0] > 0).reshape(-1, 10)
    assert np.all(sign.all(1) | ~sign.any(1))
    assert 0.2 < sign.mean() < 0.8
    assert np.array_equal(turned, directions(("x",)))

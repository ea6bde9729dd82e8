# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Snapshots: what is shipped, round trip, and files that are broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.errors import GeometryError, OutputError
from ddcalogen.geometry import (
    SCHEMA_VERSION,
    CalorimeterFace,
    Geometry,
    available_snapshots,
    load_snapshot,
    save_snapshot,
)


@pytest.fixture(scope="module")
def cld() -> Geometry:
    return load_snapshot("CLD_o2_v07")


@pytest.fixture
def snapshot(cld: Geometry, tmp_path: Path) -> Path:
    return save_snapshot(cld, tmp_path / "cld.h5")


def test_what_is_shipped(ild: Geometry) -> None:
    assert {"ILD_l5_o1_v02", "CLD_o2_v07"} <= set(available_snapshots())
    names = ["EcalBarrel", "EcalEndcap", "EcalPlug", "HcalBarrel", "HcalEndcap", "HcalRing"]
    assert [d.name for d in ild.detectors][:6] == names
    assert [face.detector for face in ild.faces] == names
    assert "DD4hep" in ild.source
    assert sum(len(d.volume_id) for d in ild.detectors) == ild.surfaces.volume_count


def test_ild_faces_and_field(ild: Geometry) -> None:
    barrel = ild.face("EcalBarrel")
    assert (barrel.kind, barrel.symmetry, barrel.phi0_rad) == ("barrel", 8, 0.0)
    assert (barrel.distance_mm, barrel.r_outer_mm, barrel.z_max_mm) == pytest.approx((1804.8, 2028.0, 2350.0), abs=1e-3)
    endcap = ild.face("EcalEndcap")
    assert (endcap.kind, endcap.symmetry, endcap.hole_symmetry) == ("endcap", 8, 4)
    assert (endcap.distance_mm, endcap.r_inner_mm, endcap.r_outer_mm) == pytest.approx((2411.8, 400.0, 2095.84))
    plug = ild.face("EcalPlug")
    assert (plug.r_inner_mm, plug.r_outer_mm, plug.hole_symmetry) == (250.0, 390.0, 0)
    assert plug.hole_centre_mm == pytest.approx((17.664, 0.0), abs=1e-3)
    assert ild.face("HcalBarrel").distance_mm == pytest.approx(2058.0)
    assert ild.face("HcalEndcap").distance_mm == pytest.approx(2650.0)
    assert (ild.face("HcalRing").r_inner_mm, ild.face("HcalRing").hole_symmetry) == (pytest.approx(2145.84), 8)
    field = ild.field
    assert (field.b_inside_tesla, field.b_outside_tesla) == (3.5, -1.5)
    assert (field.r_mm, field.half_z_mm) == pytest.approx((3425.044, 3872.0), abs=1e-3)


def test_ild_hit_collections(ild: Geometry) -> None:
    assert {name: (low, high) for name, _, low, high in ild.detector("EcalBarrel").hit_collections} == {
        "ECalBarrelSiHitsEven": (4, 4), "ECalBarrelSiHitsOdd": (10, 10),
        "ECalBarrelScHitsEven": (3, 3), "ECalBarrelScHitsOdd": (11, 11),
    }  # fmt: skip
    assert [c[0] for c in ild.detector("HcalBarrel").hit_collections] == [
        "HCalBarrelRPCHits",
        "HcalBarrelRegCollection",
    ]
    assert [c[0] for c in ild.detector("EcalPlug").hit_collections] == ["EcalEndcapRingCollection"]
    assert ild.detector_of_readout("HcalEndcapRingReadout").name == "HcalRing"


def test_every_sensitive_volume_of_ild(ild: Geometry, shared_data: Path) -> None:
    """Against the table walked out of DD4hep by other means."""
    with h5py.File(shared_data / "ild_l5_o1_v02_sensitive_planes.h5") as file:
        for name, group in file.items():
            detector = ild.detector(name)
            order = np.argsort(group["volume_id"][()])
            mine = np.argsort(detector.volume_id)
            assert np.array_equal(group["volume_id"][()][order], detector.volume_id[mine])
            assert np.abs(group["translation_mm"][()][order] - detector.translation_mm[mine]).max() < 1e-9
            rotations = detector.rotations[detector.rotation[mine]]
            assert np.abs(group["rotation"][()][order] - rotations).max() < 1e-12
            if group["is_box"][()].all():
                half = np.array([solid["half_mm"] for solid in detector.solids])[detector.solid[mine]]
                assert np.abs(group["half_length_mm"][()][order] - half).max() < 1e-9


def test_round_trip(cld: Geometry, snapshot: Path, tmp_path: Path) -> None:
    again = load_snapshot(snapshot)
    assert again.sha256 == cld.sha256
    assert again.faces == cld.faces
    assert again.field == cld.field
    assert again.source == cld.source
    for a, b in zip(again.detectors, cld.detectors, strict=True):
        assert a.json_part() == b.json_part()
        assert all(np.array_equal(x, y) for x, y in zip(a.arrays().values(), b.arrays().values(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["cld.h5"]


def test_hash_sees_every_change(cld: Geometry) -> None:
    first = cld.detectors[0]
    moved = first.translation_mm.copy()
    moved[0, 0] += 1e-9
    changed: list[dict[str, Any]] = [
        {"detectors": (replace(first, translation_mm=moved), *cld.detectors[1:])},
        {"detectors": (replace(first, encoding=first.encoding + " "), *cld.detectors[1:])},
        {"detectors": cld.detectors[::-1]},
        {"faces": cld.faces[1:]},
        {"field": replace(cld.field, b_inside_tesla=2.1)},
        {"name": "other"},
    ]
    hashes = {replace(cld, **change).sha256 for change in changed}
    assert len(hashes) == len(changed)
    assert cld.sha256 not in hashes
    assert replace(cld, source="elsewhere").sha256 == cld.sha256


def test_unknown_names(ild: Geometry, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"no such detector snapshot.*ILD_l5_o1_v02"):
        load_snapshot("ILD_l9")
    with pytest.raises(GeometryError):
        load_snapshot(tmp_path)
    with pytest.raises(GeometryError):
        load_snapshot("../data/ILD_l5_o1_v02")
    with pytest.raises(GeometryError, match="EcalBarrel"):
        ild.detector("Muon")
    with pytest.raises(GeometryError, match="HcalEndcapRingReadout"):
        ild.detector_of_readout("MuonHits")
    with pytest.raises(GeometryError):
        ild.face("Muon")
    with pytest.raises(GeometryError, match="barrel or endcap"):
        replace(ild.faces[0], kind="dome")
    assert isinstance(ild.faces[0], CalorimeterFace)


@pytest.mark.parametrize("keep", [0, 1, 100, 1000, 10000, 0.5, 0.9, 0.999])
def test_truncated(snapshot: Path, keep: float) -> None:
    content = snapshot.read_bytes()
    snapshot.write_bytes(content[: int(keep if keep >= 1 or keep == 0 else keep * len(content))])
    with pytest.raises(GeometryError, match=r"cannot be read|not a geometry snapshot"):
        load_snapshot(snapshot)


def test_flipped_bytes(snapshot: Path) -> None:
    """Whatever byte is damaged: the same geometry, or an error that is ours."""
    content = bytearray(snapshot.read_bytes())
    expected = load_snapshot(snapshot).sha256
    generator = np.random.default_rng(1)
    errors = 0
    for position in generator.choice(len(content), 150, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(generator.integers(8))
        snapshot.write_bytes(damaged)
        try:
            assert load_snapshot(snapshot).sha256 == expected
        except GeometryError:
            errors += 1
    assert errors > 20


def test_foreign_files(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["position_mm"] = np.zeros((2, 3))
    with pytest.raises(GeometryError, match="not a geometry snapshot"):
        load_snapshot(foreign)
    foreign.write_text("not HDF5 at all")
    with pytest.raises(GeometryError, match="cannot be read"):
        load_snapshot(foreign)


def edit(path: Path, change: Any) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def test_newer_schema(snapshot: Path) -> None:
    edit(snapshot, lambda f: f.attrs.modify("schema_version", SCHEMA_VERSION + 1))
    with pytest.raises(GeometryError, match=r"schema.*Update DDCaloGen"):
        load_snapshot(snapshot)


def set_json(file: h5py.File, name: str, change: Any) -> None:
    content = json.loads(file[name][()])
    change(content)
    del file[name]
    file[name] = json.dumps(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.attrs.__delitem__("schema_version"),
        lambda f: f.attrs.__delitem__("sha256"),
        lambda f: f.attrs.__setitem__("schema_version", "one"),
        lambda f: f.__delitem__("detectors"),
        lambda f: f.__delitem__("field"),
        lambda f: f["detectors/ECalBarrel"].__delitem__("volume_id"),
        lambda f: f["detectors/ECalBarrel"].__delitem__("description"),
        lambda f: f["detectors/ECalBarrel/volume_id"].write_direct(np.zeros(480, np.uint64)),
        lambda f: set_json(f, "field", lambda c: c.update(b_inside_tesla=4.0)),
        lambda f: set_json(f, "field", lambda c: c.update(colour="red")),
        lambda f: set_json(f, "faces", lambda c: c[0].update(kind="dome")),
        lambda f: set_json(f, "faces", lambda c: c[0].pop("detector")),
        lambda f: set_json(f, "detectors/ECalBarrel/description", lambda c: c.update(readout="Other")),
    ],
)
def test_edited(snapshot: Path, change: Any) -> None:
    edit(snapshot, change)
    with pytest.raises(GeometryError):
        load_snapshot(snapshot)


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "HexGrid", "field_x": "x", "field_y": "y"},
        {"type": "CartesianGridXY"},
        {"type": "CartesianGridXY", "field_x": "x", "field_y": "y", "size_x_mm": "wide", "size_y_mm": 1.0,
         "offset_x_mm": 0.0, "offset_y_mm": 0.0},
        {"type": "MultiSegmentation", "key_field": "slice"},
        {},
    ],
)  # fmt: skip
def test_malformed_segmentation(cld: Geometry, spec: dict[str, Any]) -> None:
    broken = replace(cld, detectors=(replace(cld.detectors[0], segmentation=spec),))
    with pytest.raises(GeometryError, match="HexGrid" if spec.get("type") == "HexGrid" else "malformed"):
        _ = broken.surfaces


@pytest.mark.parametrize(
    "spec", [{"type": "sphere"}, {"type": "box"}, {"type": "box", "half_mm": [1.0, -1.0, 1.0]}, {"half_mm": [1, 1, 1]}]
)
def test_malformed_solid(cld: Geometry, spec: dict[str, Any]) -> None:
    broken = replace(cld, detectors=(replace(cld.detectors[0], solids=[spec]),))
    with pytest.raises(GeometryError):
        _ = broken.surfaces


def test_unwritable(cld: Geometry, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        save_snapshot(cld, tmp_path / "missing" / "cld.h5")
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OutputError):
        save_snapshot(cld, target)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Points whose cells the real DD4hep library gave: every cellID identical, every centre within 1e-3 mm."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen.geometry import CellIDEncoding, Geometry, load_snapshot

DATA = Path(__file__).resolve().parents[2] / "data"
ILD_DETECTORS = ["EcalBarrel", "EcalEndcap", "EcalPlug", "HcalBarrel", "HcalEndcap", "HcalRing"]
CLD_DETECTORS = ["ECalBarrel", "ECalEndcap", "HCalBarrel", "HCalEndcap", "HCalRing"]


def check(geometry: Geometry, file: Path, detector: str) -> int:
    with h5py.File(file) as f:
        position = f[detector]["position_mm"][()]
        expected = f[detector]["cell_id"][()]
        centre = f[detector]["cell_centre_mm"][()]
    surfaces = geometry.surfaces
    cell = surfaces.locate(position)
    assert np.count_nonzero(cell != expected) == 0
    hit = expected != 0
    assert np.abs(surfaces.cell_centres(expected[hit]) - centre[hit]).max() < 1e-3
    assert surfaces.exists(expected[hit]).all()
    assert not surfaces.exists(expected[~hit]).any()
    # With a detector named, the same cells or nothing.
    mine = surfaces.detector_of(expected) == surfaces.detector_index(detector)
    assert np.array_equal(surfaces.locate(position, detector), np.where(mine, expected, 0))
    return int(mine.sum())


@pytest.mark.parametrize("detector", ILD_DETECTORS)
def test_ild_subset(ild: Geometry, detector: str) -> None:
    assert check(ild, DATA / "golden_ild.h5", detector) > 50


@pytest.mark.parametrize("detector", CLD_DETECTORS)
def test_cld(detector: str) -> None:
    assert check(load_snapshot("CLD_o2_v07"), DATA / "golden_cld.h5", detector) > 50


@pytest.mark.parametrize("detector", ILD_DETECTORS)
def test_ild_all_points(ild: Geometry, shared_data: Path, detector: str) -> None:
    assert check(ild, shared_data / "ild_l5_o1_v02_golden_points.h5", detector) > 1000


def test_subset_holds_every_readout_technology_and_trap(ild: Geometry) -> None:
    surfaces = ild.surfaces
    with h5py.File(DATA / "golden_ild.h5") as file:
        cells = np.concatenate([group["cell_id"][()] for group in file.values()])
        assert (cells == 0).sum() > 300
    cells = cells[cells != 0]
    by_detector = {d.name: cells[surfaces.detector_of(cells) == i] for i, d in enumerate(surfaces.detectors)}
    for i, d in enumerate(surfaces.detectors):
        mine = cells[surfaces.detector_of(cells) == i]
        assert set(surfaces.collection_of(mine)) == set(range(len(d.hit_collections))), d.name

    encoding = CellIDEncoding(ild.detector("EcalBarrel").encoding)

    def field(detector: str, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return CellIDEncoding(ild.detector(detector).encoding).get_array(by_detector[detector], name)

    for detector in ("EcalBarrel", "EcalEndcap"):
        rectangles = [surfaces.cell_rectangle(int(cell)) for cell in by_detector[detector]]
        sides = np.array([sorted((r[2] - r[1], r[4] - r[3])) for r in rectangles if r is not None])
        silicon = np.isin(encoding.get_array(by_detector[detector], "slice"), (4, 10))
        half = silicon & (np.abs(sides[:, 0] - 5.0883333 / 2) < 1e-3)
        assert half.any(), "half cells at the ends of magic wafers"
        volumes = [
            surfaces.volume(surfaces.volumes_in(r[0], *(2 * [(r[1] + r[2]) / 2]), *(2 * [(r[3] + r[4]) / 2]))[0])
            for r in rectangles
            if r is not None
        ]
        width = np.array([min(v.u_high_mm - v.u_low_mm, v.v_high_mm - v.v_low_mm) for v in volumes])
        for technology in (3, 4, 10, 11):
            assert ((width < 91.0) & (field(detector, "slice") == technology)).any(), "magic wafers"
    special = ild.detector("EcalEndcap").segmentation["entries"][3]["grid"]["special"]
    special_wafers = {(row[0], row[1]) for row in special}
    endcap = zip(*(field("EcalEndcap", n) for n in ("slice", "layer", "wafer", "tower")), strict=True)
    assert any(s == 11 and (layer, wafer) in special_wafers and tower == 0 for s, layer, wafer, tower in endcap), (
        "normal wafers that the tile of another tower is applied to"
    )
    assert set(field("HcalBarrel", "tower")) == {1, 31}
    assert (field("HcalBarrel", "layer") > 40).any()
    assert {0, 6} == set(field("HcalEndcap", "module"))
    assert set(range(1, 5)) == set(field("HcalRing", "stave"))


def test_traps_as_documented(ild: Geometry) -> None:
    """Three of the traps written out, so that they can be read."""
    surfaces = ild.surfaces
    barrel = surfaces.detectors[surfaces.detector_index("EcalBarrel")].encoding
    hcal = surfaces.detectors[surfaces.detector_index("HcalBarrel")].encoding
    # The first magic wafer of layer 0 has 17 standard cells and 18 indices: two half cells at its ends.
    first = {"system": 20, "module": 3, "stave": 1, "tower": 2, "layer": 0, "wafer": 37, "slice": 4}
    columns = [
        x for x in range(-1, 19) if surfaces.exists(np.array([barrel.encode({**first, "cellX": x})], np.uint64))[0]
    ]
    assert columns == list(range(18))
    widths = []
    for x in (0, 1, 17):
        rectangle = surfaces.cell_rectangle(barrel.encode({**first, "cellX": x}))
        assert rectangle is not None
        widths.append(rectangle[4] - rectangle[3])
    assert widths == pytest.approx([5.088333 / 2, 5.088333, 5.088333 / 2], abs=1e-5)
    # Tower -1 of the HCAL barrel is stored as 31 in an unsigned field.
    below = {"system": 22, "module": 1, "stave": 1, "tower": 31, "layer": 1, "slice": 3}
    above = {**below, "tower": 1}
    assert surfaces.exists(np.array([hcal.encode(below), hcal.encode(above)], np.uint64)).all()
    # Layer 1: 846.736 mm long, 29 tiles: 27 of 30 mm and two edge tiles of 18.368 mm with corrected centres.
    centres = surfaces.cell_centres(np.array([hcal.encode({**above, "x": x}) for x in (-14, -13, 13, 14)], np.uint64))
    along = np.diff(np.linalg.norm(centres[:, :2] - centres[0, :2], axis=1))
    edge = (846.736 - 27 * 30.0) / 2
    assert along == pytest.approx([15 + edge / 2, 26 * 30.0, 15 + edge / 2], abs=1e-3)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Properties of the compiled surfaces of the shipped detectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from ddcalogen.errors import GeometryError, InputError
from ddcalogen.geometry import Geometry, bench_locate, load_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

POINTS = 20000


@pytest.fixture(scope="module", params=["ILD_l5_o1_v02", "CLD_o2_v07"])
def geometry(request: pytest.FixtureRequest) -> Geometry:
    return load_snapshot(request.param)


def plane_points(geometry: Geometry, seed: int, n: int = POINTS) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Random planes, (u, v) in them, and the same points in space."""
    generator = np.random.default_rng(seed)
    planes = geometry.surfaces.planes
    pick = generator.integers(len(planes), size=n).astype(np.uint32)

    def of(get: Callable[[Any], Any]) -> NDArray[np.float64]:
        return np.array([get(p) for p in planes])[pick]

    low = of(lambda p: (p.u_min_mm, p.v_min_mm))
    high = of(lambda p: (p.u_max_mm, p.v_max_mm))
    uv = generator.uniform(low - 1, high + 1)
    points = (
        uv[:, :1] * of(lambda p: p.u_axis)
        + uv[:, 1:] * of(lambda p: p.v_axis)
        + of(lambda p: p.offset_mm)[:, None] * of(lambda p: p.normal)
    )
    return pick, uv, points


def test_planes_are_right_handed_and_outward(geometry: Geometry) -> None:
    for plane in geometry.surfaces.planes:
        u, v, n = (np.array(a) for a in (plane.u_axis, plane.v_axis, plane.normal))
        assert np.allclose(np.cross(u, v), n, atol=1e-12)
        assert plane.offset_mm > 0
        if abs(n[2]) < 1e-9:
            assert u[2] == pytest.approx(-1.0), "barrel: u = -z, v = phi, as in the shower frame"
        elif abs(n[2]) > 1 - 1e-9:
            assert abs(v[1]) == pytest.approx(1.0, abs=1e-9) or plane.volume_count
            assert u[0] * n[2] > 0.7


def test_locate_in_plane_agrees_with_locate(geometry: Geometry) -> None:
    plane, uv, points = plane_points(geometry, 1)
    surfaces = geometry.surfaces
    cells = surfaces.locate_in_plane(plane, uv)
    located = surfaces.locate(points)
    hit = cells != 0
    assert hit.mean() > 0.3
    assert np.array_equal(cells[hit], located[hit])
    # Outside the volumes of a plane there may be those of another detector, not of this one.
    own = np.array([p.detector for p in surfaces.planes])[plane]
    assert (surfaces.detector_of(located[~hit]) != own[~hit]).all()


def test_centre_is_in_its_cell(geometry: Geometry) -> None:
    plane, uv, _ = plane_points(geometry, 2)
    surfaces = geometry.surfaces
    cells = surfaces.locate_in_plane(plane, uv)
    plane, cells = plane[cells != 0], cells[cells != 0]
    assert surfaces.exists(cells).all()
    assert np.array_equal(surfaces.plane_of(cells), plane)
    again = surfaces.locate(surfaces.cell_centres(cells))
    different = np.flatnonzero(again != cells)
    for i in different:
        # Only cells that their volume cuts: the nominal centre then lies on or beyond the edge of the volume.
        rectangle = surfaces.cell_rectangle(int(cells[i]))
        assert rectangle is not None
        _, u_low, u_high, v_low, v_high = rectangle
        p = surfaces.plane(int(plane[i]))
        centre = surfaces.cell_centres(cells[i : i + 1])[0]
        u, v = centre @ np.array(p.u_axis), centre @ np.array(p.v_axis)
        volume = surfaces.volumes_in(int(plane[i]), *(2 * [(u_low + u_high) / 2]), *(2 * [(v_low + v_high) / 2]))[0]
        cut = not (u_low + 1e-6 < u < u_high - 1e-6 and v_low + 1e-6 < v < v_high - 1e-6)
        assert cut or not surfaces.volume(volume).is_box
    assert len(different) < 0.05 * len(cells)


def test_rectangles_enclose_their_points_and_tile_the_volume(geometry: Geometry) -> None:
    surfaces = geometry.surfaces
    generator = np.random.default_rng(3)
    for i in generator.choice(surfaces.plane_count, 40):
        p = surfaces.plane(int(i))
        uv = generator.uniform((p.u_min_mm, p.v_min_mm), (p.u_max_mm, p.v_max_mm), (500, 2))
        cells, edges = surfaces.rectangles_in_plane(int(i), uv)
        hit = cells != 0
        inside = (edges[:, 0] <= uv[:, 0]) & (uv[:, 0] <= edges[:, 1])
        inside &= (edges[:, 2] <= uv[:, 1]) & (uv[:, 1] <= edges[:, 3])
        assert inside[hit].all()
        assert np.array_equal(cells, surfaces.locate_in_plane(np.full(len(uv), i, np.uint32), uv))


def test_neighbours_share_an_edge(geometry: Geometry) -> None:
    surfaces = geometry.surfaces
    forward = [i for i, d in enumerate(surfaces.detectors) if d.name == "Lcal"]
    plane, uv, _ = plane_points(geometry, 4, 1000)
    for cell in surfaces.locate_in_plane(plane, uv):
        if cell == 0 or surfaces.detector_of(np.array([cell], np.uint64))[0] in forward:
            continue
        mine = surfaces.cell_rectangle(int(cell))
        assert mine is not None
        for other in surfaces.neighbours(int(cell)):
            theirs = surfaces.cell_rectangle(other)
            assert theirs is not None
            assert theirs[0] == mine[0]
            gap_u = max(theirs[1] - mine[2], mine[1] - theirs[2])
            gap_v = max(theirs[3] - mine[4], mine[3] - theirs[4])
            assert max(gap_u, gap_v) == pytest.approx(0.0, abs=1e-6)
            assert int(cell) in surfaces.neighbours(other)


def test_technologies_have_their_collections(ild: Geometry) -> None:
    surfaces = ild.surfaces
    plane, uv, _ = plane_points(ild, 5)
    cells = surfaces.locate_in_plane(plane, uv)
    for cell in np.unique(cells[cells != 0])[:2000]:
        array = np.array([cell], np.uint64)
        info = surfaces.detectors[int(surfaces.detector_of(array)[0])]
        collection = info.hit_collections[int(surfaces.collection_of(array)[0])]
        technology = surfaces.plane(int(surfaces.plane_of(array)[0])).technology
        assert collection.technology == technology
        if info.technology_field:
            assert info.encoding.get(int(cell), info.technology_field) == technology


def test_ild_layers_are_where_the_design_says(ild: Geometry) -> None:
    surfaces = ild.surfaces
    ecal, hcal = surfaces.detector_index("EcalBarrel"), surfaces.detector_index("HcalBarrel")
    silicon = sorted({round(p.offset_mm, 6) for p in surfaces.planes if p.detector == ecal and p.technology in (4, 10)})
    assert len(silicon) == 30
    assert silicon[0] == pytest.approx(1811.6025)
    assert silicon[-1] == pytest.approx(2010.045 + 0.2625)
    tiles = sorted({round(p.offset_mm, 6) for p in surfaces.planes if p.detector == hcal and p.technology == 3})
    assert tiles == pytest.approx([2082.5 + 26.5 * i for i in range(48)])
    azimuths = {round(math.degrees(math.atan2(p.normal[1], p.normal[0]))) % 360 for p in surfaces.planes
                if p.detector == ecal}  # fmt: skip
    assert azimuths == set(range(0, 360, 45))


def test_a_point_has_at_most_one_stave(ild: Geometry) -> None:
    """Windmill corners: whichever stave claims a point, no other does."""
    surfaces = ild.surfaces
    ecal = surfaces.detector_index("EcalBarrel")
    generator = np.random.default_rng(6)
    phi = generator.uniform(-math.pi, math.pi, POINTS)
    r = generator.uniform(1804.8, 2200.0, POINTS)
    points = np.column_stack([r * np.cos(phi), r * np.sin(phi), generator.uniform(-2350, 2350, POINTS)])
    cells = surfaces.locate(points, "EcalBarrel")
    claims = np.zeros(POINTS, int)
    for i, p in enumerate(surfaces.planes):
        if p.detector != ecal:
            continue
        near = np.abs(points @ np.array(p.normal) - p.offset_mm) <= p.half_thickness_mm
        uv = points[near] @ np.array([p.u_axis, p.v_axis]).T
        claims[near] += surfaces.locate_in_plane(np.full(int(near.sum()), i, np.uint32), uv) != 0
    assert claims.max() == 1
    assert np.array_equal(claims == 1, cells != 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*(3 * [st.floats(allow_nan=True, allow_infinity=True)])), min_size=1, max_size=20))
def test_any_float_is_a_position(positions: list[tuple[float, float, float]]) -> None:
    surfaces = load_snapshot_once().surfaces
    cells = surfaces.locate(np.array(positions))
    assert cells.dtype == np.uint64
    assert surfaces.exists(cells[cells != 0]).all()
    uv = np.array(positions)[:, :2].copy()
    surfaces.locate_in_plane(np.zeros(len(uv), np.uint32), uv)
    surfaces.rectangles_in_plane(0, uv)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_any_integer_is_a_question(cell: int) -> None:
    surfaces = load_snapshot_once().surfaces
    array = np.array([cell], np.uint64)
    exists = bool(surfaces.exists(array)[0])
    assert exists == (surfaces.cell_rectangle(cell) is not None)
    assert not exists or np.isfinite(surfaces.cell_centres(array)).all()
    assert (surfaces.detector_of(array)[0] >= 0) == np.isfinite(surfaces.cell_centres(array)).all()


_GEOMETRY: list[Geometry] = []


def load_snapshot_once() -> Geometry:
    if not _GEOMETRY:
        _GEOMETRY.append(load_snapshot("CLD_o2_v07"))
    return _GEOMETRY[0]


def test_hostile_arguments(ild: Geometry) -> None:
    surfaces = ild.surfaces
    assert surfaces.locate(np.empty((0, 3))).shape == (0,)
    with pytest.raises(InputError, match="position_mm"):
        surfaces.locate(np.zeros(3))
    with pytest.raises(InputError, match="position_mm"):
        surfaces.locate(np.zeros((4, 2)))
    with pytest.raises(InputError, match="different length"):
        surfaces.locate_in_plane(np.zeros(3, np.uint32), np.zeros((2, 2)))
    with pytest.raises(GeometryError, match="unknown detector"):
        surfaces.locate(np.zeros((1, 3)), "Muon")
    with pytest.raises(GeometryError, match="plane index"):
        surfaces.locate_in_plane(np.array([surfaces.plane_count], np.uint32), np.zeros((1, 2)))
    with pytest.raises(GeometryError, match="plane index"):
        surfaces.plane(surfaces.plane_count)
    with pytest.raises(GeometryError, match="volume index"):
        surfaces.volume(surfaces.volume_count)
    with pytest.raises((GeometryError, TypeError)):
        surfaces.locate(np.zeros((1, 3)), 3)


def test_threads_agree(ild: Geometry) -> None:
    _, _, points = plane_points(ild, 7)
    expected = ild.surfaces.locate(points)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: ild.surfaces.locate(points), range(8)):
            assert np.array_equal(result, expected)


def test_memory_is_modest(ild: Geometry) -> None:
    assert ild.surfaces.memory_bytes < 150e6


def test_bench(ild: Geometry) -> None:
    result = bench_locate(ild, 10000)
    assert result.found_fraction > 0.9
    assert result.shower_ns > 0
    assert result.random_ns > 0
    with pytest.raises(GeometryError, match="unknown detector"):
        bench_locate(ild, 100, detector="Muon")

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ddcalogen.training.data import Showers
from ddcalogen.validation.observables import Observables, make_cells, measure
from ddcalogen.validation.samples import distort
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_showers import CELL_MM, DEPTH_MM, ecal, toy_showers


def one_shower(points: list[tuple[float, float, int, float]], direction: tuple[float, float, float]) -> Showers:
    table = np.array(points, np.float32).reshape(-1, 4)
    return Showers(
        np.array([10.0], np.float32),
        np.array([direction], np.float32),
        np.array([22], np.int32),
        np.array([0, len(table)]),
        table[:, 0],
        table[:, 1],
        table[:, 2].astype(np.int16),
        table[:, 3],
    )


def test_points_of_one_cell_add_up_and_others_do_not() -> None:
    shower = one_shower([(1, 1, 3, 1e-3), (4, 4, 3, 2e-3), (6, 1, 3, 4e-3), (1, 1, 4, 8e-3)], (0, 0, 1))
    cells = make_cells(shower, DEPTH_MM, cell_mm=5.0)
    assert sorted(np.round(cells.energy_gev * 1e3, 3)) == [3, 4, 8]
    o = measure(shower, cells, ecal(5.0))
    assert o.scalars["hits"][0] == 3
    assert o.scalars["visible_gev"][0] == pytest.approx(15e-3)
    assert o.scalars["response"][0] == pytest.approx(1.5e-3)
    assert o.scalars["cog_layer"][0] == pytest.approx((3 * 7 + 4 * 8) / 15)
    assert o.scalars["cog_along_mm"][0] == pytest.approx((2.5 * 11 + 7.5 * 4) / 15)
    assert o.scalars["start_layer"][0] == 3
    assert o.layer_gev[0, 3] == pytest.approx(7e-3)


def test_cells_below_half_a_minimum_ionising_particle_count_in_the_spectrum_only() -> None:
    shower = one_shower([(1, 1, 0, 0.9e-4), (11, 1, 0, 1.1e-4)], (0, 0, 1))
    o = measure(shower, make_cells(shower, DEPTH_MM, cell_mm=5.0), ecal(5.0))
    assert o.scalars["hits"][0] == 1
    assert o.scalars["visible_gev"][0] == pytest.approx(1.1e-4)
    assert o.spectrum.sum() == 2


def test_positions_are_relative_to_the_inclined_axis() -> None:
    direction = np.array([0.5, 0.5, np.sqrt(0.5)])
    on_axis = [(*(direction[:2] / direction[2] * DEPTH_MM[layer]), layer, 1e-3) for layer in range(30)]
    shower = one_shower(on_axis, tuple(direction))
    o = measure(shower, make_cells(shower, DEPTH_MM, cell_mm=0.5), ecal(0.5))
    assert abs(o.scalars["cog_along_mm"][0]) < 0.5
    assert abs(o.scalars["cog_across_mm"][0]) < 0.5
    moved = dataclasses.replace(
        shower, x_mm=shower.x_mm + np.float32(np.sqrt(50)), y_mm=shower.y_mm + np.float32(np.sqrt(50))
    )
    o = measure(moved, make_cells(moved, DEPTH_MM, cell_mm=0.5), ecal(0.5))
    assert o.scalars["cog_along_mm"][0] == pytest.approx(10, abs=0.5)
    assert abs(o.scalars["cog_across_mm"][0]) < 0.5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(1, 6), cell=st.floats(1.0, 40.0))
def test_energy_is_conserved_and_grids_may_lie_anywhere(seed: int, number: int, cell: float) -> None:
    showers = toy_showers(number, seed)
    cells = make_cells(showers, DEPTH_MM, cell_mm=cell, rotation_rad=0.2, rng=np.random.default_rng(seed))
    per_shower = np.bincount(cells.shower, cells.energy_gev, number)
    np.testing.assert_allclose(
        per_shower, np.bincount(showers.shower_of_point, showers.point_energy_gev, number), rtol=1e-6
    )
    o = measure(showers, cells, ecal(cell))
    assert set(o.scalars) == set(ecal(cell).scalars)
    assert all(np.isfinite(values).all() for values in o.scalars.values())
    assert np.allclose(sum(o.scalars[f"third_{k}"] for k in (1, 2, 3)), 1)
    assert len(o.hit_gev) == o.hit_offsets[-1]


def test_selection_keeps_showers_whole() -> None:
    showers = toy_showers(5)
    o = measure(showers, make_cells(showers, DEPTH_MM, cell_mm=CELL_MM), ecal(CELL_MM))
    some = o.select(np.array([False, True, False, True, True]))
    assert len(some) == 3
    assert np.array_equal(some.hit_gev[: some.hit_offsets[1]], o.hit_gev[o.hit_offsets[1] : o.hit_offsets[2]])
    assert np.array_equal(some.scalars["hits"], np.diff(some.hit_offsets))


def test_parts_join_to_what_they_were_cut_from() -> None:
    showers = toy_showers(7)
    o = measure(showers, make_cells(showers, DEPTH_MM, cell_mm=CELL_MM), ecal(CELL_MM))
    first = np.arange(7) < 3
    joined = Observables.join([o.select(first), o.select(~first)])
    for field in dataclasses.fields(Observables):
        if field.name == "scalars":
            assert all(np.array_equal(joined.scalars[k], o.scalars[k]) for k in o.scalars)
        elif field.name != "readout":
            np.testing.assert_array_equal(getattr(joined, field.name), getattr(o, field.name))


def test_merging_cells_are_never_cut(shared_data) -> None:  # type: ignore[no-untyped-def]
    from ddcalogen.training.data import ShowerFile

    chunk = ShowerFile(shared_data / "photon_ecal_slab_perpendicular.h5").read(0, 5)
    cells = make_cells(
        chunk,
        DEPTH_MM,
        cell_mm=CELL_MM,
        rotation_rad=chunk.grid_rotation_rad,
        rng=np.random.default_rng(1),
    )
    # 25 merging cells fit into one cell, none is shared: no cell border lies on a merging cell
    cos, sin = np.cos(chunk.grid_rotation_rad), np.sin(chunk.grid_rotation_rad)
    u = (chunk.x_mm * cos + chunk.y_mm * sin) / chunk.pitch_mm
    assert np.allclose(u, np.round(u), atol=2e-2)
    cu = (cells.along_mm * cos + cells.across_mm * sin) / chunk.pitch_mm
    assert np.allclose(cu, np.round(cu), atol=2e-2)  # 5 pitches a side: centres fall on the centre of a merging cell


def test_known_errors_do_what_they_say() -> None:
    showers = toy_showers(30)
    louder, wider = distort(showers, DEPTH_MM, energy=1.05), distort(showers, DEPTH_MM, width=1.1)
    before, loud, wide = (
        measure(s, make_cells(s, DEPTH_MM, cell_mm=1.0), ecal(1.0)).scalars for s in (showers, louder, wider)
    )
    assert loud["visible_gev"].mean() == pytest.approx(1.05 * before["visible_gev"].mean(), rel=0.01)
    assert wide["rms_across_mm"].mean() == pytest.approx(1.1 * before["rms_across_mm"].mean(), rel=0.01)
    assert wide["cog_layer"] == pytest.approx(before["cog_layer"], rel=0.02)

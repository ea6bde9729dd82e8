# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Grids of one or a few bins with known energy at known places: what comes out is arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.engine import Generator, GridMethod, IncidentParticles
from ddcalogen.engine import Showers as CellShowers
from ddcalogen.geometry import Geometry
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Grids
from ddcalogen.validation import backprojection
from ddcalogen.validation.backprojection import METHODS, compare_back_projection, place_grids
from toy_showers import toy_showers

CELL_MM = 5.088333
LAYER = 4


@pytest.fixture
def generator(ild: Geometry, toy_model: Callable[..., Path]) -> Generator:
    return Generator(toy_model(), ild)


def particles_beside_a_cell_centre(generator: Generator, away_mm: np.ndarray) -> IncidentParticles:
    """Perpendicular photons at a distance, along x of the shower frame, from the centre of one cell of layer 4."""
    frame = next(f for i in range(len(generator.stacks)) if abs((f := generator.stacks.frame(i))["normal"][2]) < 0.5)
    x_axis, y_axis, normal = (np.array(frame[k]) for k in ("x_axis", "y_axis", "normal"))
    depth = frame["depth_mm"][LAYER]
    surfaces = generator.geometry.surfaces
    row = np.arange(100, 200, CELL_MM / 2)[:, None] * x_axis + 30 * y_axis + (frame["face_mm"] + depth) * normal
    centres = np.asarray(surfaces.cell_centres(np.asarray(surfaces.locate(row))))
    inner = next(  # not at the edge of a wafer
        c for c in centres if np.asarray(surfaces.locate(c + np.outer([-1, 0, 1], CELL_MM * x_axis))).all()
    )
    centre = inner - depth * normal
    n = len(away_mm)
    return IncidentParticles(
        pdg=np.full(n, 22, np.int32),
        energy_gev=np.full(n, 10.0),
        position_mm=centre + away_mm[:, None] * x_axis,
        direction=np.tile(normal, (n, 1)),
        time_ns=np.zeros(n),
        event=np.arange(n, dtype=np.uint64),
        particle=np.zeros(n, np.uint32),
    )


def one_bin(generator: Generator, away_mm: np.ndarray, method: GridMethod, seed: int = 0) -> CellShowers:
    """One bin of the size of a cell, centred on the entry, with 1 GeV in layer 4."""
    form = Grids(nx=1, ny=1, cell_mm=CELL_MM, lower_mm=(-CELL_MM / 2, -CELL_MM / 2))

    def grids(index: np.ndarray) -> np.ndarray:
        values = np.zeros((len(index), 30, 1, 1), np.float32)
        values[:, LAYER] = 1.0
        return values

    return place_grids(generator, particles_beside_a_cell_centre(generator, away_mm), grids, form, method, seed)


def shares(showers: CellShowers, cell: int) -> np.ndarray:
    """Energy of one cell in every shower."""
    row = np.repeat(np.arange(len(showers)), showers.cells_per_shower)
    mine = showers.cell_id == cell
    return np.bincount(row[mine], showers.energy_gev[mine], len(showers))


AWAY = np.linspace(-0.45, 0.45, 7) * CELL_MM


def test_overlap_shares_linearly_with_the_offset(generator: Generator) -> None:
    showers = one_bin(generator, AWAY, "overlap")
    own = int(one_bin(generator, np.zeros(1), "nearest").cell_id[0])
    assert shares(showers, own) == pytest.approx(1 - np.abs(AWAY) / CELL_MM, abs=1e-5)
    assert showers.placed_gev == pytest.approx(np.ones(len(AWAY)))
    assert (showers.cells_per_shower[np.abs(AWAY) > 1e-6] == 2).all()


def test_nearest_is_a_step(generator: Generator) -> None:
    own = int(one_bin(generator, np.zeros(1), "nearest").cell_id[0])
    assert shares(one_bin(generator, AWAY, "nearest"), own) == pytest.approx(np.ones(len(AWAY)))
    beyond = np.array([-0.51, 0.51]) * CELL_MM
    assert shares(one_bin(generator, beyond, "nearest"), own) == pytest.approx([0, 0])


def test_a_random_point_falls_into_a_cell_as_often_as_the_area_says(generator: Generator) -> None:
    own = int(one_bin(generator, np.zeros(1), "nearest").cell_id[0])
    hit = shares(one_bin(generator, np.full(4000, 0.3 * CELL_MM), "random"), own)
    assert set(np.unique(hit)) == {0.0, 1.0}  # never shared
    assert hit.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 4000))


def test_grids_go_to_their_own_particles(generator: Generator) -> None:
    form = Grids(nx=1, ny=1, cell_mm=CELL_MM, lower_mm=(-CELL_MM / 2, -CELL_MM / 2))

    def grids(index: np.ndarray) -> np.ndarray:
        values = np.zeros((len(index), 30, 1, 1), np.float32)
        values[:, LAYER, 0, 0] = 1.0 + index
        return values

    particles = particles_beside_a_cell_centre(generator, np.zeros(70))
    particles.direction[5] *= -1  # refused by the guard: the others must not move up
    showers = place_grids(generator, particles, grids, form, "nearest", batch=16)
    expected = 1.0 + np.arange(70)
    expected[5] = 0
    assert showers.generated_gev == pytest.approx(expected)


def needles(number: int) -> Showers:
    """Perpendicular showers whose points all lie on the axis."""
    showers = toy_showers(number, theta_deg=0.0)
    return dataclasses.replace(showers, x_mm=np.zeros_like(showers.x_mm), y_mm=np.zeros_like(showers.y_mm))


def test_study_of_needles(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All points on the axis: positions are those of one cell (truth, nearest) or of the axis (overlap)."""
    pytest.importorskip("mplhep")
    monkeypatch.setattr(backprojection, "ARRANGEMENTS", backprojection.ARRANGEMENTS[:3])
    section, numbers = compare_back_projection(generator, needles(40), tmp_path)
    assert section.title == "From a grid into real cells"
    figures = {(n["grid"], n["method"]): n for n in numbers}
    middle = "cell, middle"
    truth = figures["no grid", "truth"]
    full = CELL_MM / np.pi  # first harmonic of a saw tooth
    for found in (truth, figures[middle, "nearest"]):
        assert found["s_curve_mm"].value == pytest.approx(full, abs=4 * found["s_curve_mm"].error)
    saw = [v.value for v in truth["position_against_entry_mm"]]
    assert saw == pytest.approx(-(np.arange(10) - 4.5) / 10 * CELL_MM, abs=0.2)
    shared = figures[middle, "overlap"]
    assert abs(shared["s_curve_mm"].value) < 0.1
    assert shared["hits_ratio"].value > 3.0  # four cells for each
    assert figures[middle, "nearest"]["hits_ratio"].value == pytest.approx(1, abs=1e-6)
    pictures = sorted(p.name for p in (tmp_path / "plots").glob("*.png"))
    assert pictures == ["back_projection_position_0deg.png", "back_projection_spectrum_0deg.png"]


def test_too_few_showers_of_an_angle_are_left_out(generator: Generator, tmp_path: Path) -> None:
    section, numbers = compare_back_projection(generator, needles(backprojection._LEAST_SHOWERS - 1), tmp_path)
    assert not numbers
    assert "perpendicular: 19 showers" in section.tables[0]


def test_methods_are_those_of_the_placement() -> None:
    from ddcalogen import _core

    assert set(METHODS) == set(_core.GridMethod.__members__)

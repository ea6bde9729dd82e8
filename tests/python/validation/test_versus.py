# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Two models beside each other: a known error is found, equal models are not told apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.cli import app
from ddcalogen.training.data import Showers
from ddcalogen.validation.observables import Observables, make_cells, measure
from ddcalogen.validation.samples import distort, merge_as
from test_validate import write_showerdata
from toy_showers import CELL_MM, DEPTH_MM, ecal, toy_showers
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("scipy")

from ddcalogen.validation.metrics import Value
from ddcalogen.validation.versus import Comparison, Contest, Summary, compare_observables

GRID = ("pitch_mm", "grid_rotation_rad")


def observe(showers: Showers, seed: int) -> Observables:
    cells = make_cells(showers, DEPTH_MM, cell_mm=CELL_MM, rng=np.random.default_rng(seed))
    return measure(showers, cells, ecal(CELL_MM))


@pytest.fixture(scope="module")
def truth() -> Showers:
    return toy_showers(150, 3)


def contest(truth: Showers, first: list[Showers], second: list[Showers]) -> dict[tuple[str, str], Comparison]:
    """Figures of two models, given as copies."""
    made = [observe(Showers.join(parts), k) for k, parts in enumerate((first, second))]
    rng = np.random.default_rng(0)
    found, _ = compare_observables(*made, observe(truth, 7), replicas=30, rng=rng)
    return {(c.group, c.name): c for c in found}


def test_the_model_with_an_error_is_the_one_farther_away(truth: Showers) -> None:
    found = contest(truth, [truth, truth], [distort(truth, DEPTH_MM, energy=1.05)] * 2)
    response = found["means", "mean visible / incident energy"]
    assert response.verdict == "first"
    assert response.gain.value == pytest.approx(0.05 * response.geant4, rel=0.05)
    assert found["JSD", "visible / incident energy"].verdict == "first"
    assert found["W1 × 100", "sampling fraction"].verdict == "first"
    assert found["means", "mean radius"].verdict == "undecided"
    wide = contest(truth, [distort(truth, DEPTH_MM, width=1.2)], [truth])
    assert wide["means", "mean radius"].verdict == "second"
    assert wide["W1 × 100", "E rad"].verdict == "second"


def test_errors_that_cancel_over_all_energies_are_found(truth: Showers) -> None:
    """Of the second model's showers those of low energy have 10 % too much, the others too little."""
    factor = np.where(truth.energy_gev < np.median(truth.energy_gev), 1.1, 0.9)[truth.shower_of_point]
    wrong = dataclasses.replace(truth, point_energy_gev=(truth.point_energy_gev * factor).astype(np.float32))
    found = contest(truth, [truth], [wrong])
    together, apart = (
        found["means", "mean visible / incident energy"],
        found["means by energy and angle", "visible / incident energy"],
    )
    assert apart.verdict == "first"
    assert apart.second > 5.0 * apart.first
    assert apart.gain.value / apart.gain.error > 2.0 * abs(together.gain.value) / together.gain.error


def test_a_pairing_resolves_what_the_spread_of_showers_hides(truth: Showers) -> None:
    """0.3 % more energy: a tenth of the spread over showers divided by the root of their number."""
    found = contest(truth, [truth], [distort(truth, DEPTH_MM, energy=1.003)])
    response = found["means", "mean visible / incident energy"]
    spread = observe(truth, 0).scalars["response"].std() / np.sqrt(len(truth))
    assert response.gain.error < 0.5 * spread
    assert response.verdict == "first"


def test_equal_models_are_not_told_apart(truth: Showers) -> None:
    same, summed = compare_observables(
        observe(truth, 1), observe(truth, 1), observe(truth, 2), replicas=5, rng=np.random.default_rng(0)
    )
    assert {c.verdict for c in same} == {"undecided"}
    assert all(c.gain.value == 0.0 for c in same)
    assert {s.verdict for s in summed} == {"undecided"}


def test_an_observable_is_decided_by_all_its_figures(truth: Showers) -> None:
    made = [
        observe(Showers.join(parts), k)
        for k, parts in enumerate(([truth] * 2, [distort(truth, DEPTH_MM, energy=1.05)] * 2))
    ]
    figures, summed = compare_observables(*made, observe(truth, 7), replicas=30, rng=np.random.default_rng(0))
    of = {s.observable: s for s in summed}
    assert sum(s.figures for s in summed) == len(figures)
    assert of["visible / incident energy"].verdict == "first"
    assert of["visible / incident energy"].figures == 5
    assert of["centre of gravity in depth"].verdict == "undecided"


def test_the_floor_is_where_another_sample_of_the_truth_is_found() -> None:
    """Two samples of the same generator, against the floor of the first; a wrong one is above it."""
    reference, like, wrong = observe(toy_showers(300, 3), 0), observe(toy_showers(300, 4), 1), toy_showers(300, 4)
    wide = observe(distort(wrong, DEPTH_MM, width=1.3), 1)
    figures, _ = compare_observables(like, wide, reference, replicas=3, rng=np.random.default_rng(0))
    of = {(c.group, c.name): c for c in figures}
    radius = [c for c in figures if "radius" in c.name and c.group in ("means", "JSD", "W1 × 100")]
    assert radius
    assert all(c.at_floor == (True, False) for c in radius)
    assert np.mean([c.at_floor[0] for c in of.values()]) > 0.7


def test_the_answer_is_of_observables_in_which_a_model_differs_from_geant4() -> None:
    def summary(name: str, gain: float, *at_floor: bool) -> Summary:
        return Summary(name, 1, Value(gain, 1.0), (at_floor[0], at_floor[1]))

    summaries = [
        summary("width", 5.0, True, False),
        summary("depth", -4.0, False, False),
        summary("cells", 1.0, False, False),
        summary("energy", 4.0, True, True),
    ]
    contest = Contest("mine 1", "other 2", 100, 4, 1, {}, [], summaries)
    assert [s.observable for s in contest.differing("first")] == ["depth", "cells"]
    of_other, of_mine = contest.answers()
    assert of_other == (
        "other 2 measurably differs from Geant4 in 3 of 4 observables; "
        "in these mine 1 is closer in 1, farther in 1 (depth), not decided in 1 (cells)"
    )
    assert of_mine == (
        "mine 1 measurably differs from Geant4 in 2 of 4 observables; "
        "in these other 2 is closer in 1, farther in 0, not decided in 1 (cells)"
    )


def test_points_move_to_the_grid_of_others_and_no_farther_than_half_its_pitch() -> None:
    showers = toy_showers(4)
    like = Showers(*(getattr(showers, n) for n in Showers.__dataclass_fields__ if n not in GRID), 1.0177, 0.39)
    moved = merge_as(showers, like)
    assert (moved.pitch_mm, moved.grid_rotation_rad) == (1.0177, 0.39)
    u = (moved.x_mm * np.cos(0.39) + moved.y_mm * np.sin(0.39)) / 1.0177
    np.testing.assert_allclose(u, np.round(u), atol=1e-3)
    assert np.hypot(moved.x_mm - showers.x_mm, moved.y_mm - showers.y_mm).max() <= 1.0177 / np.sqrt(2.0) + 1e-3
    assert merge_as(showers, showers) is showers


def test_the_command_writes_all_figures(tmp_path: Path, toy_model: Callable[..., Path]) -> None:
    showers = toy_showers(320, 5)
    data = write_showerdata(tmp_path / "toy.h5", showers)
    model = str(toy_model())
    arguments = ["validate", "-m", model, "--data", str(data), "-o", str(tmp_path / "out"), "--folds", "3"]
    result = CliRunner().invoke(app, [*arguments, "--against", model])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out/versus.json").read_text())
    names = {(c["group"], c["name"]) for c in written["comparisons"]}
    assert ("cell spectrum", "MIP peak position") in names
    assert ("classifier 25 features (CaloClouds II)", "AUC") in names
    assert sum(s["figures"] for s in written["summaries"]) == len(names)
    assert len(written["answers"]) == 2
    assert "measurably differs from Geant4" in " ".join(result.output.split())
    assert CliRunner().invoke(app, [*arguments, "--against", model, "--all"]).exit_code != 0

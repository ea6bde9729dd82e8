# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers of hadrons in the HCAL and in ECAL and HCAL together."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import find_stack
from ddcalogen.validation.hadrons import hadron_figures, hadron_pictures, start_length
from ddcalogen.validation.metrics import calibration_factors
from ddcalogen.validation.observables import Readout, measure, readout_cells, readout_of
from ddcalogen.validation.samples import Sample, distort, make_sample, merge_as

BOTH = readout_of(find_stack("ECAL+HCAL").calorimeter())


def toy_hadrons(
    number: int, seed: int = 0, *, length: float = 20.0, ecal: float = 1 / 48, hcal: float = 1 / 56
) -> Showers:
    """Pion-like showers: a single particle up to the start, then 150 points; visible = `ecal` or `hcal` x energy."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10.0, 100.0, number)
    start = np.minimum(rng.exponential(length, number), 70).astype(int)
    points, layers, spread = [], [], []
    for i in range(number):
        track = np.arange(start[i])
        shower = np.clip(start[i] + rng.gamma(2.0, 5.0, 150), 0, 77).astype(int)
        shower[:2] = start[i], start[i] + 1
        share = np.full(150, energy[i] / 150) * np.where(
            shower < 20, ecal, np.where(shower < 30, ecal / 2, hcal)
        )  # fmt: skip
        share[:2] = np.maximum(share[:2], 3e-3)
        layers.append(np.concatenate([track, shower]))
        points.append(np.concatenate([np.where(track < 30, 1.6e-4, 5e-4), share]))
        spread.append(np.concatenate([np.zeros(len(track)), np.full(150, 30.0)]))
    layer = np.concatenate(layers)
    place = rng.normal(0, 1, (len(layer), 2)) * np.concatenate(spread)[:, None]
    return Showers(
        energy.astype(np.float32),
        np.tile(np.array([0, 0, 1], np.float32), (number, 1)),
        np.full(number, 211, np.int32),
        np.concatenate(([0], np.cumsum([len(x) for x in layers]))),
        place[:, 0].astype(np.float32),
        place[:, 1].astype(np.float32),
        layer.astype(np.int16),
        np.concatenate(points).astype(np.float32),
    )


def sample(name: str, showers: Showers, readout: Readout = BOTH, weights: np.ndarray | None = None) -> Sample:
    return make_sample(name, showers, readout, rotation_rad=0.3, rng=np.random.default_rng(1), weights=weights)


def test_every_calorimeter_has_its_own_cells_and_threshold() -> None:
    def point(x: float, layer: int, gev: float) -> tuple[float, float, int, float]:
        return x, 1.0, layer, gev

    # in each calorimeter: two points 6 mm apart, one below its threshold
    table = np.array(
        [point(1, 5, 2e-4), point(7, 5, 2e-4), point(1, 6, 0.9e-4), point(1, 40, 2e-4), point(7, 40, 2e-4),
         point(1, 41, 2e-4)], np.float32,
    )  # fmt: skip
    showers = Showers(
        np.array([10], np.float32), np.array([[0, 0, 1]], np.float32), np.array([211], np.int32), np.array([0, 6]),
        table[:, 0], table[:, 1], table[:, 2].astype(np.int16), table[:, 3],
    )  # fmt: skip
    cells = readout_cells(showers, BOTH)
    o = measure(showers, cells, BOTH)
    assert o.scalars["hits"][0] == 3  # two of 5 mm and one of 30 mm
    assert o.hit_part.tolist() == [0, 0, 1]
    assert o.spectrum.sum(axis=2).tolist() == [[3, 2]]
    assert o.scalars["ecal_fraction"][0] == pytest.approx(0.5)
    weighted = measure(showers, cells, BOTH, BOTH.of_layers([3.0, 1.0]))
    assert weighted.scalars["visible_gev"][0] == pytest.approx(3 * 4e-4 + 4e-4)
    assert weighted.layer_gev == pytest.approx(o.layer_gev)
    assert np.array_equal(np.bincount(cells.of_point, showers.point_energy_gev), cells.energy_gev)


def test_calibration_finds_the_constants() -> None:
    made = sample("reference", toy_hadrons(400))
    weights = made.observables.weights
    assert weights[[0, 19, 20, 29, 30, 77]] == pytest.approx([48, 48, 96, 96, 56, 56], rel=0.03)
    response = made.observables.scalars["response"]
    assert response.mean() == pytest.approx(1, abs=0.02)
    louder = sample("geant4", distort(toy_hadrons(400, 1), BOTH.depth_mm, energy=1.05), weights=weights)
    assert louder.observables.scalars["response"].mean() == pytest.approx(1.05, abs=0.02)


def test_calibration_is_not_biased_by_fluctuations() -> None:
    rng = np.random.default_rng(0)
    energy = rng.uniform(10, 100, 3000)
    visible = (energy * (1 + 0.2 * rng.normal(size=3000)))[:, None] / 50
    factor = calibration_factors(visible, energy)[0]
    assert factor == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize("length", [3.0, 9.0, 40.0])
def test_interaction_length_from_a_cut_off_fall(length: float) -> None:
    start = np.floor(np.random.default_rng(2).exponential(length, 40_000))
    assert start_length(start, 1, 32) == pytest.approx(length, rel=0.05)
    assert np.isnan(start_length(start[:5], 1, 32))


def test_start_leakage_and_containment_against_truth() -> None:
    reference, other = sample("reference", toy_hadrons(300)), sample("geant4", toy_hadrons(300, 5, length=10.0))
    figures = {f.name: f.values for f in hadron_figures({"geant4": other}, reference)}
    in_ecal = figures["showers that start in the ECAL"]
    assert in_ecal["reference"].value == pytest.approx(1 - np.exp(-30 / 20), abs=0.09)
    assert in_ecal["geant4"].value == pytest.approx(1 - np.exp(-30 / 10), abs=0.06)
    assert reference.observables.scalars["start_layer"].max() <= BOTH.layers
    leaking = figures["showers with over 5 % in the last 4 layers"]
    assert leaking["reference"].value > leaking["geant4"].value


def test_pictures_of_hadrons(tmp_path: Path) -> None:
    pytest.importorskip("mplhep")
    pytest.importorskip("torch")
    import matplotlib.pyplot as plt
    from ddcalogen.validation import plots

    plots.check_plotting()
    reference, other = sample("reference", toy_hadrons(150)), sample("model", toy_hadrons(150, 5))
    names = set()
    for picture in itertools.chain(
        plots.plot_samples(reference, other, "model"), hadron_pictures(reference, other, "model")
    ):
        names.add(picture.name)
        if picture.section in ("Cells", "Hadron showers"):
            assert plots.save(picture, tmp_path).stat().st_size > 5000
        else:
            plt.close(picture.figure)
    assert {"cell_spectrum_ecal", "radial_hcal", "ecal_fraction", "from_start", "sharing"} <= names


def test_features_of_hadrons() -> None:
    pytest.importorskip("torch")
    from ddcalogen.validation import classifiers

    o = sample("reference", toy_hadrons(30))
    features = classifiers.hadron_features(o.observables, o.observables)
    assert features.shape == (30, 32)
    np.testing.assert_allclose(features[:, 5:15].sum(axis=1), 1, atol=1e-6)
    inside = features[:, 15:25].sum(axis=1)
    assert ((inside > 0.7) & (inside < 1.3)).all()  # rings of both calorimeters, one mean constant each
    assert inside.mean() == pytest.approx(1, abs=0.05)
    images = classifiers.shower_images(o.cells, BOTH)
    assert images.shape == (30, 78, classifiers.IMAGE_PIXELS, classifiers.IMAGE_PIXELS)


def test_unknown_calorimeters_are_refused() -> None:
    calorimeter = find_stack("ECAL+HCAL").calorimeter()
    with pytest.raises(ConfigurationError, match="layers"):
        readout_of(calorimeter.model_copy(update={"layer_depth_mm": calorimeter.layer_depth_mm[:70]}))
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        readout_of(calorimeter.model_copy(update={"name": "muon"}))


def test_hcal_alone_starts_where_two_layers_in_a_row_light_up() -> None:
    readout = readout_of(find_stack("HCAL").calorimeter())
    both = toy_hadrons(50, length=15.0)
    inside = both.layer >= 30
    counts = np.bincount(both.shower_of_point[inside], minlength=50)
    showers = dataclasses.replace(
        both,
        offsets=np.concatenate(([0], np.cumsum(counts))),
        x_mm=both.x_mm[inside],
        y_mm=both.y_mm[inside],
        layer=(both.layer[inside] - 30).astype(np.int16),
        point_energy_gev=both.point_energy_gev[inside],
    )
    o = sample("reference", showers, readout).observables
    assert "ecal_fraction" not in o.scalars
    assert (o.weights == 1).all()
    start = o.scalars["start_layer"].astype(int)
    for i in np.flatnonzero(start < 47):
        assert (o.layer_gev[i, start[i] : start[i] + 2] > 2.5e-3).all()


def test_points_move_onto_the_grid_of_their_layer() -> None:
    showers = toy_hadrons(5)
    pitch = BOTH.of_layers([1.0177, 10.0])
    like = dataclasses.replace(showers, pitch_mm=pitch, grid_rotation_rad=0.4)
    moved = merge_as(showers, like)
    u = moved.x_mm * np.cos(0.4) + moved.y_mm * np.sin(0.4)
    assert np.allclose(u / pitch[moved.layer], np.round(u / pitch[moved.layer]), atol=1e-3)
    away = np.hypot(moved.x_mm - showers.x_mm, moved.y_mm - showers.y_mm)
    assert (away <= 0.71 * pitch[moved.layer] + 1e-3).all()
    assert merge_as(showers, showers) is showers


def test_two_models_of_both_calorimeters_beside_each_other() -> None:
    """5 % more energy is found in both calorimeters, by the model that has it being the farther one."""
    pytest.importorskip("torch")
    pytest.importorskip("scipy")
    from ddcalogen.validation.versus import compare_observables

    showers = toy_hadrons(80)
    reference = sample("reference", showers).observables
    wrong = distort(showers, BOTH.depth_mm, energy=1.05)
    first, second = (sample("model", s, weights=reference.weights).observables for s in (showers, wrong))
    comparisons, _ = compare_observables(first, second, reference, replicas=20, rng=np.random.default_rng(0))
    found = {c.name: c for c in comparisons}
    response = found[f"mean {BOTH.scalars['response'][0]}"]
    assert response.verdict == "first"
    assert response.gain.value == pytest.approx(0.05, rel=0.1)
    for calorimeter, mev in (("ECAL", 0.16), ("HCAL", 0.5)):
        peak = found[f"MIP peak position, {calorimeter}"]
        assert peak.geant4 == pytest.approx(mev, rel=0.1)
        assert found[f"hits, {calorimeter}"].verdict == "first"
        assert f"E rad, {calorimeter}" in found

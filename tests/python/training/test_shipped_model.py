# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped models of electromagnetic showers: determinism, independence of the batch, edges, physics of Geant4.

Needs onnxruntime only, neither PyTorch nor the training data: the Geant4 numbers are in tests/data.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from ddcalogen.card import ModelCard, read_card
from ddcalogen.training.data import Showers
from ddcalogen.validation.observables import CELL_MM, GRID_ROTATION_RAD, Readout, make_cells, measure
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

ROOT = Path(__file__).parents[3]
MODELS = ("ild_ecal_em_layered", "ild_ecal_em_parametrised")
REFERENCE = json.loads((ROOT / "tests/data/geant4_ecal_photons.json").read_text())

Inputs = dict[str, NDArray[Any]]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Path:
    return ROOT / "models" / f"{request.param}.onnx"


@pytest.fixture(scope="module")
def card(model: Path) -> ModelCard:
    return read_card(model)


def make_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def session(model: Path) -> onnxruntime.InferenceSession:
    return make_session(model, 1)


def make_inputs(
    card: ModelCard,
    energy_gev: NDArray[Any],
    theta_deg: NDArray[Any],
    *,
    pdg: int = 22,
    seed: int = 0,
    padding: int = 0,
    noise: float | None = None,
) -> Inputs:
    """Incident particles with noise; the noise of row b does not depend on the batch, as the contract has it."""
    batch = len(energy_gev)
    theta = np.radians(theta_deg)
    phi = np.random.default_rng(seed).uniform(0, 2 * np.pi, batch)
    inputs: Inputs = {
        "energy": np.asarray(energy_gev, np.float32).reshape(-1, 1),
        "direction": np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1).astype(
            np.float32
        ),
        "pdg": np.full((batch, 1), pdg, np.int64),
    }
    assert card.output.kind == "spots"
    spots = max(card.output.capacity.spots(float(e)) for e in inputs["energy"][:, 0]) + padding
    for number, entry in enumerate(card.noise):
        shape = [spots if n == "spots" else int(n) for n in entry.shape]
        rows = []
        for row in range(batch):
            rng = np.random.default_rng([seed, number, row])
            values = (
                rng.standard_normal(shape) if entry.distribution == "normal" else rng.uniform(1e-7, 1 - 1e-7, shape)
            )
            rows.append(np.full(shape, noise) if noise is not None else values)
        inputs[entry.name] = np.stack(rows).astype(np.float32)
    return inputs


def run(session: onnxruntime.InferenceSession, inputs: Inputs) -> list[NDArray[np.float32]]:
    """Spots of each shower."""
    spots, counts = session.run(["spots", "counts"], inputs)
    assert spots.dtype == np.float32
    assert counts.dtype == np.int64
    assert counts.sum() == len(spots)
    return np.split(spots, np.cumsum(counts)[:-1])


def row_of(inputs: Inputs, row: int, spots: int | None = None) -> Inputs:
    alone = {k: v[row : row + 1] for k, v in inputs.items()}
    alone["u_spot"] = alone["u_spot"][:, :spots]
    return alone


def test_showers_keep_to_the_contract(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    rng = np.random.default_rng(1)
    energy = np.geomspace(*card.domain.energy_gev, 48)
    inputs = make_inputs(card, energy, rng.uniform(*card.domain.theta_deg, 48))
    assert card.output.kind == "spots"
    for e, spots in zip(energy, run(session, inputs), strict=True):
        assert 0 < len(spots) <= card.output.capacity.spots(float(e))
        assert np.all(np.isfinite(spots))
        assert np.all(spots[:, 3] >= 0)
        assert np.all(spots[:, 2] == np.round(spots[:, 2]))
        assert spots[:, 2].min() >= 0
        assert spots[:, 2].max() < len(card.calorimeter.layer_depth_mm)


def test_capacity_does_not_cut(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    """No shower comes near its capacity: the limit never costs energy."""
    assert card.output.kind == "spots"
    for energy in (0.5, 2.0, 10.0, 130.0):
        inputs = make_inputs(card, np.full(64, energy), np.linspace(0, 60, 64), seed=int(energy))
        most = max(map(len, run(session, inputs)))
        assert most < 0.97 * card.output.capacity.spots(energy), energy


def test_same_noise_same_shower(card: ModelCard, session: onnxruntime.InferenceSession, model: Path) -> None:
    inputs = make_inputs(card, np.array([0.7, 20.0, 90.0]), np.array([0.0, 30.0, 55.0]))
    first, again = run(session, inputs), run(make_session(model, 1), inputs)
    other = run(session, make_inputs(card, np.array([0.7, 20.0, 90.0]), np.array([0.0, 30.0, 55.0]), seed=1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape != c.shape or not np.array_equal(a, c)


@pytest.mark.parametrize("batch", [2, 7, 33, 256])
def test_row_is_bit_identical_alone_and_in_a_batch(
    card: ModelCard, session: onnxruntime.InferenceSession, model: Path, batch: int
) -> None:
    rng = np.random.default_rng(batch)
    energy = rng.uniform(0.5, 20.0, batch) if batch > 100 else np.geomspace(0.5, 130.0, batch)
    inputs = make_inputs(card, energy, rng.uniform(0, 60, batch), seed=batch, padding=137)
    together = run(session, inputs)
    for threads in (2, 4):
        for a, b in zip(together, run(make_session(model, threads), inputs), strict=True):
            np.testing.assert_array_equal(a, b)
    assert card.output.kind == "spots"
    for row in sorted({0, 1, batch // 2, batch - 1}):
        enough = card.output.capacity.spots(float(inputs["energy"][row, 0]))
        np.testing.assert_array_equal(run(session, row_of(inputs, row, enough))[0], together[row])
    order = rng.permutation(batch)
    mixed = run(session, {k: v[order] for k, v in inputs.items()})
    for new, old in enumerate(order):
        np.testing.assert_array_equal(mixed[new], together[old])


def test_noise_beyond_a_shower_is_not_read(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    inputs = make_inputs(card, np.array([3.0, 30.0]), np.array([10.0, 40.0]))
    expected = run(session, inputs)
    assert card.output.kind == "spots"
    for row in range(2):
        enough = card.output.capacity.spots(float(inputs["energy"][row, 0]))
        inputs["u_spot"][row, enough:] = np.nan
    for a, b in zip(expected, run(session, inputs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("energy", [0.5, 130.0])
@pytest.mark.parametrize("theta", [0.0, 60.0])
@pytest.mark.parametrize("pdg", [22, 11, -11])
def test_edges_of_the_domain(
    card: ModelCard, session: onnxruntime.InferenceSession, energy: float, theta: float, pdg: int
) -> None:
    inputs = make_inputs(card, np.full(16, energy), np.full(16, theta), pdg=pdg)
    visible = [s[:, 3].sum(dtype=float) / energy * 1e3 for s in run(session, inputs)]
    assert 19.0 < np.mean(visible) < 30.0


@settings(max_examples=60, deadline=None)
@given(
    energy=st.floats(0.5, 130.0, width=32),
    theta=st.floats(0.0, 60.0),
    noise=st.sampled_from([-5.5, -1.0, 0.0, 1.0, 5.5]),
    uniform=st.sampled_from([2.0**-25, 1e-4, 0.5, 0.9999, 1.0 - 2.0**-24]),
    pdg=st.sampled_from([22, 11, -11]),
)
def test_extreme_noise_gives_finite_showers(
    card: ModelCard,
    session: onnxruntime.InferenceSession,
    energy: float,
    theta: float,
    noise: float,
    uniform: float,
    pdg: int,
) -> None:
    inputs = make_inputs(card, np.array([energy]), np.array([theta]), pdg=pdg, noise=noise)
    for entry in card.noise:
        if entry.distribution == "uniform":
            inputs[entry.name][:] = uniform
    (spots,) = run(session, inputs)
    assert card.output.kind == "spots"
    assert len(spots) <= card.output.capacity.spots(energy)
    assert np.all(np.isfinite(spots))
    assert np.all(spots[:, 3] >= 0)
    assert np.all((spots[:, 2] >= 0) & (spots[:, 2] < len(card.calorimeter.layer_depth_mm)))


def test_electrons_start_earlier(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    """In front of photons by part of a radiation length, of which a thin layer has 0.64 on average.

    PDG review: t_max = ln y + 0.5 for photons, ln y - 0.5 for electrons. Geant4 in these layers (1000 showers): mean
    depths differ by 0.5 to 1.0 radiation lengths between 0.5 and 100 GeV.
    """
    mean = {}
    for pdg in (22, 11, -11):
        inputs = make_inputs(card, np.full(512, 10.0), np.zeros(512), pdg=pdg)
        spots = np.concatenate(run(session, inputs))
        mean[pdg] = np.average(spots[:, 2].astype(float), weights=spots[:, 3].astype(float))
    assert abs(mean[11] - mean[-11]) < 0.2
    assert 0.35 < (mean[22] - mean[11]) * 0.64 < 1.3


def simulate(card: ModelCard, session: onnxruntime.InferenceSession, group: dict[str, Any], copies: int) -> Showers:
    energy = np.tile(np.array(group["energy_gev"]), copies)
    theta = np.tile(np.array(group["theta_deg"]), copies)
    made: list[NDArray[np.float32]] = []
    directions = []
    for start in range(0, len(energy), 16):
        part = slice(start, start + 16)
        inputs = make_inputs(card, energy[part], theta[part], seed=start + 1000)
        directions.append(inputs["direction"])
        made += run(session, inputs)
    spots = np.concatenate(made)
    return Showers(
        energy.astype(np.float32),
        np.concatenate(directions),
        np.full(len(energy), 22, np.int32),
        np.concatenate(([0], np.cumsum([len(m) for m in made]))),
        spots[:, 0].copy(),
        spots[:, 1].copy(),
        spots[:, 2].astype(np.int16),
        spots[:, 3].copy(),
    )


@pytest.mark.parametrize("name", list(REFERENCE["groups"]))
def test_physics_against_geant4(card: ModelCard, session: onnxruntime.InferenceSession, name: str) -> None:
    """Means within a few per cent beyond their statistical uncertainty, widths within 25 %, profile layer by layer."""
    group = REFERENCE["groups"][name]
    showers = simulate(card, session, group, 2)
    depth = np.array(card.calorimeter.layer_depth_mm)
    cells = make_cells(showers, depth, cell_mm=CELL_MM, rotation_rad=GRID_ROTATION_RAD, rng=np.random.default_rng(0))
    observables = measure(showers, cells, Readout.single("ecal", depth, CELL_MM)).scalars
    n, true_n = len(showers), len(group["energy_gev"])

    allowed = {  # relative to the mean, beyond three standard errors
        "response": 0.02,
        "hits": 0.05,
        "cog_layer": 0.05,
        "rms_layer": 0.04,
        "radius_mm": 0.05,
        "within_2_cells": 0.03,
        "within_6_cells": 0.02,
        "cell_mean_gev": 0.05,
    }
    for key, tolerance in allowed.items():
        mean, width = group["observables"][key]
        # the reference is the mean over all showers of the group, the model runs on some of them
        error = math.hypot(observables[key].std() / math.sqrt(n), width / math.sqrt(true_n))
        assert abs(observables[key].mean() - mean) < tolerance * mean + 3 * error, key
    for key in ("response", "cog_layer", "rms_layer"):
        _, width = group["observables"][key]
        # heavy tails: the uncertainty of a width is larger than that of a normal distribution
        assert observables[key].std() == pytest.approx(width, rel=0.25 + 2.0 / math.sqrt(true_n)), key

    profile = showers.layer_energy_gev(len(depth)) * 1e3 / showers.energy_gev[:, None]
    expected, true_error = np.array(group["layer_mev_per_gev"]), np.array(group["layer_mev_per_gev_error"])
    error = np.sqrt(profile.var(0) / n + true_error**2 * group["showers"] / true_n)
    assert np.all(np.abs(profile.mean(0) - expected) < 0.15 * expected + 0.02 + 4 * error)
    # the zigzag of even and odd layers
    ratio = profile.mean(0)[5:19:2].sum() / profile.mean(0)[4:18:2].sum()
    true_ratio = expected[5:19:2].sum() / expected[4:18:2].sum()
    assert ratio == pytest.approx(true_ratio, rel=0.06)


def test_single_particle_peak_in_the_cell_spectrum(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    """Cells beside the axis peak at one minimum-ionising particle, about 0.2 MeV (edge bins 0.16 to 0.25)."""
    group = REFERENCE["groups"]["10-40 GeV, 0-15 deg"]
    showers = simulate(card, session, group, 2)
    depth = np.array(card.calorimeter.layer_depth_mm)
    cells = make_cells(showers, depth, cell_mm=CELL_MM, rotation_rad=GRID_ROTATION_RAD, rng=np.random.default_rng(0))
    mev = cells.energy_gev[cells.radius_mm > 20] * 1e3
    edges = np.geomspace(0.02, 2.0, 21)
    density = np.histogram(mev, edges)[0] / np.diff(np.log(edges))
    assert 0.15 < edges[density.argmax()] < 0.26


def test_rotation_symmetry_but_for_the_field(card: ModelCard, session: onnxruntime.InferenceSession) -> None:
    """Showers drift along their direction and are wider in y (field along x) by the same share at every azimuth."""
    inputs = make_inputs(card, np.full(128, 40.0), np.zeros(128))
    spots = np.concatenate(run(session, inputs))
    quantiles = [np.quantile(np.abs(spots[:, i]), 0.5) for i in (0, 1)]
    assert 1.05 < quantiles[1] / quantiles[0] < 1.3
    inputs = make_inputs(card, np.full(64, 40.0), np.full(64, 45.0))
    depth = np.array(card.calorimeter.layer_depth_mm)
    for row, spots in enumerate(run(session, inputs)):
        direction = inputs["direction"][row]
        expected = depth[spots[:, 2].astype(int)][:, None] * direction[:2] / direction[2]
        offset = np.average(spots[:, :2] - expected, axis=0, weights=spots[:, 3])
        assert np.hypot(*offset) < 8.0

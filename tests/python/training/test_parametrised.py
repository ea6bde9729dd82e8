# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The parametrised shower in PyTorch: its building blocks, its fit, its checkpoint and its export."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen.errors import InputError, ModelError
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ddcalogen.training import fit_parametrised as fits  # noqa: E402
from ddcalogen.training.data import ShowerFile, Showers, load_split  # noqa: E402
from ddcalogen.training.operators import natural_log  # noqa: E402
from ddcalogen.training.parametrised_shower import LAYERS, ParametrisedShower  # noqa: E402
from ddcalogen.training.sampler import draw_noise, incident  # noqa: E402
from ddcalogen.training.stacks import ILD_ECAL_LAYER_DEPTH_MM  # noqa: E402
from ddcalogen.training.threads import one_thread  # noqa: E402


@pytest.fixture(autouse=True)
def _single_thread() -> object:
    with one_thread():
        yield


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def incident_at(energy_gev: list[float], theta_deg: list[float]) -> Showers:
    n = len(energy_gev)
    theta = np.radians(theta_deg)
    direction = np.stack([np.sin(theta), np.zeros(n), np.cos(theta)], 1)
    empty = np.zeros(0, np.float32)
    return Showers(
        np.array(energy_gev, np.float32),
        direction.astype(np.float32),
        np.full(n, 22, np.int32),
        np.zeros(n + 1, np.int64),
        empty,
        empty,
        np.zeros(0, np.int16),
        empty,
    )


# ------------------------------------------------------------------------------------------------------------ blocks


@settings(deadline=None)
@given(st.floats(2.0**-30, 2.0**30, width=32))
def test_natural_log(value: float) -> None:
    x = torch.tensor([value])
    assert float(natural_log(x)) == pytest.approx(math.log(float(x)), rel=3e-6, abs=3e-6)


def test_gamma_function_of_the_graph_is_that_of_the_library() -> None:
    x = torch.linspace(1.05, 25.0, 400)
    ours = ParametrisedShower()._log_gamma(x)
    torch.testing.assert_close(ours, torch.lgamma(x), atol=3e-5, rtol=3e-6)


def test_gamma_density_is_normalised_and_peaks_where_it_should() -> None:
    t = torch.linspace(1e-3, 80.0, 80_000)
    for t_max, shape in ((3.0, 1.5), (7.0, 3.0), (9.0, 5.0)):
        density = ParametrisedShower()._gamma_density(t, torch.tensor(t_max), torch.tensor(shape)).detach()
        assert float(torch.trapezoid(density, t)) == pytest.approx(1.0, abs=2e-3)
        assert float(t[density.argmax()]) == pytest.approx(t_max, abs=5e-3)


@pytest.mark.parametrize("mean", [0.0, 0.03, 0.5, 2.0, 7.9, 8.1, 30.0, 400.0])
def test_poisson_numbers(mean: float) -> None:
    n = 100_000
    with torch.no_grad():
        drawn = (
            ParametrisedShower()
            ._poisson(torch.full((n, 1), mean), torch.randn(n, 1, generator=generator()))
            .to(torch.float64)
        )
    assert float(drawn.min()) >= 0
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * math.sqrt(mean / n) + 0.003 * mean + 1e-9)
    assert float(drawn.var()) == pytest.approx(mean, rel=0.04, abs=1e-9)
    zero = float((drawn == 0).double().mean())
    assert zero == pytest.approx(math.exp(-mean), abs=5 * math.sqrt(math.exp(-mean) / n) + 5e-4)


def test_layers_own_the_depth_in_order() -> None:
    model = ParametrisedShower()
    table = model.layer_at_depth.numpy()
    assert np.all(np.diff(table) >= 0)
    assert set(table.astype(int)) == set(range(LAYERS))
    # every silicon plane lies in the interval of its own layer
    start, length = model.layer_start_mm.numpy(), model.layer_length_mm.numpy()
    planes = np.array(ILD_ECAL_LAYER_DEPTH_MM)
    assert np.all((start < planes) & (planes < start + length))
    np.testing.assert_allclose(start[1:], (start + length)[:-1], atol=1e-4)


def test_perpendicular_spots_keep_the_layer_they_were_drawn_for() -> None:
    """Without inclination a spot beside the axis is no deeper than the axis: the profile is untouched."""
    model = ParametrisedShower()
    like = incident_at([50.0] * 32, [0.0] * 32)
    energy, direction, pdg = incident(like).values()
    drawn = draw_noise(model, 32, model.capacity(50.0), generator())
    with torch.no_grad():
        spots, counts = model(energy, direction, pdg, **drawn)
    rows = np.repeat(np.arange(32), counts.numpy())
    layer = spots[:, 2].numpy().astype(int)
    assert np.all(np.diff(rows * LAYERS + layer) >= 0)


def test_radial_profile_is_the_one_that_is_drawn() -> None:
    """Share of energy within a radius, drawn against the formula, in one layer at known depth."""
    model = ParametrisedShower()
    with torch.no_grad():
        model.field.zero_()
        model.sigma_axis_mm.zero_()
        model.sigma_width.zero_()
        model.log_sigma_t_max[:] = -20.0
        model.log_sigma_shape[:] = -20.0
    n = 64
    like = incident_at([60.0] * n, [0.0] * n)
    energy, direction, pdg = incident(like).values()
    drawn = draw_noise(model, n, model.capacity(60.0), generator())
    drawn["u_conversion"][:] = 0.5
    with torch.no_grad():
        spots, _ = model(energy, direction, pdg, **drawn)
        profile = model.longitudinal(
            energy, direction[:, 2:3], torch.ones(n, 1), drawn["z_shower"], drawn["u_conversion"], drawn["z_layer"]
        )
        core, tail, share, power = model.radial(profile.tau, profile.slope)
    layer = 12
    here = spots[spots[:, 2] == layer].numpy()
    r = np.hypot(here[:, 0], here[:, 1])
    for radius in (1.0, 3.0, 10.0, 40.0):
        free = radius / (1.0 - radius / 300.0)
        c, t, p, k = (float(v[0, layer]) for v in (core, tail, share, power))
        expected = p * free**2 / (free**2 + c**2) + (1 - p) * (1 - (1 + free**2 / t**2) ** -k)
        found = here[r < radius, 3].sum() / here[:, 3].sum()
        assert found == pytest.approx(expected, abs=0.02), radius


def test_energy_and_spots_scale(tmp_path: Path) -> None:
    model = ParametrisedShower()
    made = fits.simulate_showers(model, incident_at([5.0] * 40 + [50.0] * 40, [20.0] * 80), generator())
    visible = np.bincount(made.shower_of_point, made.point_energy_gev, 80)
    assert visible[40:].mean() / visible[:40].mean() == pytest.approx(9.3, rel=0.1)
    assert np.diff(made.offsets)[40:].mean() > 7 * np.diff(made.offsets)[:40].mean()


# --------------------------------------------------------------------------------------------------------------- fit


@pytest.fixture(scope="module")
def shower_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small slab file of showers made by the model itself."""
    rng = np.random.default_rng(0)
    energy = np.concatenate([rng.uniform(1, 10, 45), rng.uniform(10, 20, 45)])
    theta = np.where(rng.random(90) < 0.5, rng.uniform(0, 10, 90), rng.uniform(40, 60, 90))
    with one_thread():
        made = fits.simulate_showers(ParametrisedShower(), incident_at(energy.tolist(), theta.tolist()), generator(3))
    path = tmp_path_factory.mktemp("showers") / "made.h5"
    with h5py.File(path, "w") as file:
        file["incident_energy_gev"], file["direction"], file["pdg"] = made.energy_gev, made.direction, made.pdg
        group = file.create_group("ecal")
        group["ix"] = np.round(made.x_mm).astype(np.int16)
        group["iy"] = np.round(made.y_mm).astype(np.int16)
        group["layer"] = made.layer.astype(np.uint8)
        group["energy_mev"] = (made.point_energy_gev * 1e3).astype(np.float16)
        group["offsets"] = made.offsets
        group.attrs["pitch_mm"], group.attrs["grid_rotation_rad"] = 1.0, 0.0
    return path


def test_fit_improves_what_it_fits(shower_file: Path) -> None:
    train = load_split([shower_file], "train")
    model = ParametrisedShower()
    with torch.no_grad():
        model.core[0] += 0.8
        model.tail[0] -= 0.5
    torch.manual_seed(0)  # the loss is that of a random sample of points
    before = fits.fit_radial(model, train, points=20000, steps=1, report=lambda _: None)
    after = fits.fit_radial(model, train, points=20000, steps=300, report=lambda _: None)
    assert after < before - 0.02

    broken = ParametrisedShower()
    with torch.no_grad():
        broken.log_weight += 0.4  # 50 % too much visible energy
    torch.manual_seed(0)
    scores = fits.fit_longitudinal(broken, train, steps=300, batch=32, copies=3, report=lambda _: None)
    assert scores[-1] < scores[0]
    assert float(broken.log_weight.mean().detach()) < float((ParametrisedShower().log_weight.mean() + 0.3).detach())


def test_fit_on_too_narrow_data_says_so(shower_file: Path) -> None:
    file = ShowerFile(shower_file)
    showers = file.read(0, len(file))
    narrow = showers.select(showers.direction[:, 2] > 0.9)
    with pytest.raises(InputError, match="do not cover the domain"):
        fits.fit_moments(ParametrisedShower(), narrow, report=lambda _: None)


def test_divergence_is_an_error(shower_file: Path) -> None:
    model = ParametrisedShower()
    with torch.no_grad():
        model.front_x0.fill_(math.nan)
    with pytest.raises(ModelError, match="diverged"):
        fits.fit_longitudinal(model, load_split([shower_file], "train"), steps=2, batch=8, copies=2, report=print)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Cell heads and calibrations of the grid systems, on toy showers whose truth is known."""

import numpy as np
import pytest
import torch
from ddcalogen.card import Domain
from ddcalogen.training.systems._grid import (
    Calibration,
    CalibrationConfig,
    CellHead,
    CellsConfig,
    VisibleMap,
    annealed,
)

SIZE = (3, 6, 6)
DOMAIN = Domain(pdg=(22,), energy_gev=(10.0, 100.0), theta_deg=(0.0, 1.0))


def toy(number, seed, *, scale=1.0, spread=0.1, share=0.5):
    """Energies [N, 1] GeV and cells [N, 3, 6, 6] GeV: fewer hit cells off the middle layer, energies like sqrt(E)."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10, 100, (number, 1, 1, 1))
    occupancy = share * np.array([0.3, 1.0, 0.6])[None, :, None, None] * (energy / 100.0) ** 0.3
    cells = (
        1e-3
        * rng.gamma(2.0, 0.5, (number, *SIZE))
        * np.sqrt(energy)
        * (1 + spread * rng.normal(size=(number, 1, 1, 1)))
    )
    cells = np.abs(cells) * scale * (rng.random((number, *SIZE)) < occupancy)
    return torch.tensor(energy[:, :, 0, 0], dtype=torch.float32), torch.tensor(cells, dtype=torch.float32)


def test_a_plain_head_only_cuts_below_zero():
    x = torch.randn(2, 1, *SIZE)
    head = CellHead(SIZE, CellsConfig())
    head.fit(torch.ones(2, 1), torch.ones(2, *SIZE))
    assert torch.equal(head(x, torch.ones(2, 1)), torch.relu(x))
    assert not list(head.parameters())


def test_a_standardised_head_starts_with_occupancy_and_energies_of_the_showers():
    energy, grid = toy(4000, 1)
    head = CellHead(SIZE, CellsConfig(standardise=True, noise=True))
    head.fit(energy, grid * 1e3)
    with torch.no_grad():
        made = head(torch.zeros(4000, 1, *SIZE), energy, torch.randn(4000, *SIZE))[:, 0] * 1e-3
    for low, high in ((10, 40), (40, 70), (70, 100)):
        rows = (energy[:, 0] > low) & (energy[:, 0] <= high)
        for layer in range(3):
            a, b = made[rows, layer], grid[rows, layer]
            assert float((a > 0).float().mean()) == pytest.approx(float((b > 0).float().mean()), rel=0.12)
            assert float(a.sum()) == pytest.approx(float(b.sum()), rel=0.12)


def test_noise_of_the_cells_has_a_weight_that_is_trained():
    head = CellHead(SIZE, CellsConfig(noise=True))
    head(torch.zeros(2, 1, *SIZE), torch.ones(2, 1), torch.ones(2, *SIZE)).sum().backward()
    assert torch.all(head.width.grad == 2.0)


def test_the_expected_cells_are_the_mean_over_the_noise():
    energy, grid = toy(1000, 1)
    head = CellHead(SIZE, CellsConfig(standardise=True, noise=True))
    head.fit(energy, grid * 1e3)
    with torch.no_grad():
        head.width.copy_(torch.linspace(-1.5, 1.5, head.width.numel()).reshape(SIZE))
        x = torch.randn(1, 1, *SIZE).expand(20_000, -1, -1, -1, -1)
        at = torch.full((20_000, 1), 60.0)
        mean = head(x, at, torch.randn(20_000, *SIZE)).mean(0)
        expected = head.expected(x[:1], at[:1])[0]
    assert torch.allclose(expected, mean, atol=0.05 * float(mean.mean()), rtol=0.05)
    plain = CellHead(SIZE, CellsConfig(standardise=True))
    plain.fit(energy, grid * 1e3)
    assert torch.equal(plain.expected(x[:1], at[:1]), plain(x[:1], at[:1]))


def fractions(energy, grid):
    return (grid.sum((1, 2, 3)) / energy[:, 0]).numpy()


def test_calibration_turns_wrong_showers_into_right_ones_on_average():
    energy, true = toy(3000, 1)
    wrong = {"scale": 0.6, "spread": 0.3, "share": 0.6}
    made_energy, made = toy(3000, 2, **wrong)
    config = CalibrationConfig(layers=True, spectrum=True, visible=True)
    calibration = Calibration(config, DOMAIN, SIZE, 0.01)
    # fitted to showers of the same incident energies, as a system does it
    order, again = energy[:, 0].argsort(), made_energy[:, 0].argsort()
    calibration.fit(energy[order], made[again], true[order])
    test_energy, test = toy(3000, 3, **wrong)
    after = calibration(test, test_energy)
    assert torch.isfinite(after).all()
    assert float(after.min()) >= 0.0
    for low, high in ((10, 30), (30, 60), (60, 100)):
        a = (energy[:, 0] > low) & (energy[:, 0] <= high)
        b = (test_energy[:, 0] > low) & (test_energy[:, 0] <= high)
        wanted, found = fractions(energy[a], true[a]), fractions(test_energy[b], after[b])
        before = fractions(test_energy[b], test[b])
        assert found.mean() == pytest.approx(wanted.mean(), rel=0.03)
        assert found.std() == pytest.approx(wanted.std(), rel=0.15)
        assert abs(before.mean() / wanted.mean() - 1) > 0.2
    hits, hits_true = ((v > 1e-3).float().sum() for v in (after, true))
    assert float(hits) == pytest.approx(float(hits_true), rel=0.04)
    # the map is monotone: the order of cells within a layer stays
    one = calibration.map_cells(test[:1])
    left = one > 0
    assert torch.equal(one[left].argsort(), test[:1][left].argsort())


def test_calibration_of_right_showers_changes_little():
    energy, true = toy(3000, 1)
    _, again = toy(3000, 1)
    calibration = Calibration(CalibrationConfig(layers=True, spectrum=True, visible=True), DOMAIN, SIZE, 0.01)
    calibration.fit(energy, again, true)
    after = calibration(true, energy)
    filled = true > 2e-4
    assert float((after[filled] / true[filled] - 1).abs().median()) < 0.01


def test_calibration_puts_the_energy_of_the_rings_right():
    energy, true = toy(3000, 1)
    _, made = toy(3000, 1)
    x = torch.arange(6) - 2.5
    radius = torch.hypot(x[:, None], x[None, :])
    made = made * torch.where(radius < 2.0, 1.3, 0.6) * torch.tensor([0.8, 1.0, 1.2])[:, None, None]
    calibration = Calibration(CalibrationConfig(layers=True, spectrum=True, visible=True), DOMAIN, SIZE, 0.01)
    calibration.fit(energy, made, true)
    after = calibration(made, energy)
    for low, high in ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 9.0)):
        ring = (radius >= low) & (radius < high)
        assert float(after[:, :, ring].sum() / true[:, :, ring].sum()) == pytest.approx(1.0, abs=0.03)
    for layer in range(3):
        assert float(after[:, layer].sum() / true[:, layer].sum()) == pytest.approx(1.0, abs=0.03)


def visible(number, seed, *, skewed):
    """Energies [N, 1] and visible fractions [N, 1]: a tail to low fractions that grows with the energy, or none."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10.0, 100.0, (number, 1))
    if skewed:
        fraction = 0.023 - 2e-5 * energy - 0.002 * rng.exponential(size=(number, 1)) * (energy / 100.0)
    else:
        fraction = 0.020 + 1e-5 * energy + 0.003 * rng.normal(size=(number, 1)) * (10.0 / energy) ** 0.5
    return (torch.tensor(v, dtype=torch.float32) for v in (energy, fraction + 1e-4 * rng.normal(size=(number, 1))))


def test_the_map_of_the_visible_energy_gives_the_right_distribution_at_every_energy():
    visible_map = VisibleMap(DOMAIN)
    energy, true = visible(6000, 1, skewed=True)
    made_energy, made = visible(6000, 2, skewed=False)
    order, again = energy[:, 0].argsort(), made_energy[:, 0].argsort()
    visible_map.fit(energy[order], made[again], true[order])
    test_energy, test = visible(6000, 3, skewed=False)
    after = visible_map(test, test_energy)
    for low, high in ((10, 30), (30, 50), (50, 70), (70, 100)):
        a, b = ((v[:, 0] > low) & (v[:, 0] <= high) for v in (energy, test_energy))
        wanted, found = (np.quantile(v.numpy(), [0.05, 0.25, 0.5, 0.75, 0.95]) for v in (true[a], after[b]))
        width = wanted[-1] - wanted[0]
        assert np.allclose(found, wanted, atol=0.1 * width), (low, found, wanted)
    before = np.quantile(test[b].numpy(), [0.05, 0.25, 0.5, 0.75, 0.95])
    assert np.abs(before - wanted).max() > 0.3 * width


def test_the_map_of_the_visible_energy_is_monotone_and_the_same_in_every_batch():
    energy, true = visible(2000, 1, skewed=True)
    _, made = visible(2000, 2, skewed=False)
    visible_map = VisibleMap(DOMAIN)
    x = torch.linspace(0.0, 0.05, 400)[:, None]
    at = torch.full_like(x, 40.0)
    assert torch.allclose(visible_map(x, at), x, atol=1e-5)  # not fitted yet
    visible_map.fit(energy, made, true)
    for gev in (10.0, 33.0, 100.0):
        at = torch.full_like(x, gev)
        after = visible_map(x, at)
        assert torch.all(after.diff(dim=0) >= 0)
        assert torch.equal(visible_map(x[7:8], at[7:8]), after[7:8])


def test_learning_rates_fall_to_zero_in_the_last_share_of_the_steps():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 2.0)
    schedule = annealed(optimiser, 10, 0.5)
    rates = []
    for _ in range(10):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([2.0] * 6 + [1.6, 1.2, 0.8, 0.4])
    assert annealed(optimiser, 10, 0.0) is None

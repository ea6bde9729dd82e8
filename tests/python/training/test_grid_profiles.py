# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of showers as critics see them, and the head that gives a generator a way to layers and rings."""

import numpy as np
import pytest
import torch
from ddcalogen.training.grid_profiles import PROFILE_UNIT_MEV, RINGS, ProfileHead, Profiles, ProfileView

SIZE = (6, 9, 9)
LAYERS, RING_NUMBERS = SIZE[0], len(RINGS) + 1


def parts(profile):
    """Profile [B, features] as a dictionary, of order 1."""
    names = {"energy": LAYERS, "ring": RING_NUMBERS, "total": 1, "x": LAYERS, "y": LAYERS}
    names |= {
        "x_thirds": 3,
        "y_thirds": 3,
        "r2": LAYERS,
        "not_started": LAYERS,
        "hits": LAYERS,
        "ring_hits": RING_NUMBERS,
    }
    return dict(zip(names, torch.split(profile / PROFILE_UNIT_MEV, list(names.values()), 1), strict=True))


def test_profiles_are_sums_of_layers_and_rings():
    torch.manual_seed(1)
    cells = torch.rand(3, 1, *SIZE) * 5.0 * (torch.rand(3, 1, *SIZE) < 0.2)
    profiles = Profiles(SIZE, 1.0, 1)
    profile = profiles(cells)
    assert profile.shape == (3, profiles.features)
    found = parts(profile)
    grid = cells[:, 0].numpy()
    x = np.arange(9) - 4.0
    ring = np.searchsorted(RINGS, np.hypot(x[:, None], x[None, :]), side="right")
    energies = [grid[:, :, ring == r].sum((1, 2)) for r in range(RING_NUMBERS)]
    for name, wanted in (
        ("energy", grid.sum((2, 3))),
        ("ring", np.stack(energies, 1)),
        ("total", grid.sum((1, 2, 3))[:, None]),
    ):
        assert np.allclose(found[name].numpy(), 0.5 * np.log(1 + 5 * wanted), atol=1e-4), name
    moment, energy = (grid * x[:, None]).sum((2, 3)), grid.sum((2, 3))
    assert np.allclose(found["x"].numpy(), 0.5 * moment / (energy + 4.0), atol=1e-4)
    thirds = (v.reshape(3, 3, 2).sum(2) for v in (moment, energy))
    centre = next(thirds) / (next(thirds) + 4.0)
    assert np.allclose(found["x_thirds"].numpy(), 1.5 * centre, atol=1e-4)
    assert profiles.smooth == profiles.features - LAYERS - RING_NUMBERS


@pytest.mark.parametrize(("in_a_row", "start"), [(1, 1), (2, 3)])
def test_profiles_tell_where_a_shower_starts(in_a_row, start):
    """A single layer above the limit, then two in a row; a hadron's shower starts with the second."""
    cells = torch.zeros(1, 1, *SIZE)
    cells[0, 0, :, 4, 4] = torch.tensor([0.1, 10.0, 0.1, 10.0, 10.0, 0.1])
    found = parts(Profiles(SIZE, 1.0, in_a_row)(cells))["not_started"][0]
    assert torch.all(found[:start] > 0.9)
    assert torch.all(found[start:] < 0.1)


def test_profiles_have_a_slope_where_a_shower_is_empty():
    cells = torch.zeros(2, 1, *SIZE, requires_grad=True)
    Profiles(SIZE, 1.0, 2)(cells).sum().backward()
    assert torch.isfinite(cells.grad).all()
    assert bool((cells.grad != 0).any())


def test_the_profile_head_does_nothing_at_the_start_and_moves_layers_when_trained():
    torch.manual_seed(2)
    head = ProfileHead(3, SIZE, 8)
    latent = torch.randn(4, 3)
    assert torch.equal(head(latent), torch.zeros(4, 1, *SIZE))
    # wanted: layer 2 more on the side of large x, the others untouched
    x = torch.arange(9.0) - 4.0
    radius = torch.hypot(x[:, None], x[None, :]).clamp(min=1e-6)
    wanted = torch.zeros(4, 1, *SIZE)
    wanted[:, :, 2] = x[:, None] / radius
    optimiser = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(150):
        loss = (head(latent) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made = head(latent).detach()
    assert float((made - wanted)[:, :, 2].abs().max()) < 0.1
    assert float(made[:, :, [0, 1, 3, 4, 5]].abs().max()) < 0.1


@pytest.mark.parametrize("order", [1, 2])
def test_profiles_of_order_2_tell_a_stretched_shower_from_a_round_one(order):
    x = torch.arange(9.0) - 4.0
    u, v = (x[:, None] + x[None, :]) / 2**0.5, (x[:, None] - x[None, :]) / 2**0.5
    a, b = (10.0 * torch.exp(-0.5 * (f * u) ** 2 - 0.5 * (g * v) ** 2) for f, g in ((0.5, 1.0), (1.0, 0.5)))
    profiles = Profiles(SIZE, 1.0, 1, order)
    along, across = (profiles(c.expand(1, 1, *SIZE)) for c in (a, b))
    assert along.shape == (1, profiles.features)
    assert torch.allclose(along, across, atol=0.1) is (order == 1)


def test_the_profile_head_of_order_2_can_stretch_a_layer():
    head = ProfileHead(3, SIZE, 8, 2)
    x = torch.arange(9.0) - 4.0
    radius2 = (x[:, None] ** 2 + x[None, :] ** 2).clamp(min=1e-6)
    wanted = 2.0 * x[:, None] * x[None, :] / radius2  # the sine of twice the azimuth
    with torch.no_grad():
        numbers = head.end.bias.reshape(LAYERS, 5, RING_NUMBERS)
        numbers[1, 4] = 1.0
    made = head(torch.zeros(1, 3))[0, 0].detach()
    assert torch.allclose(made[1], wanted, atol=1e-5)
    assert torch.all(made[[0, 2, 3, 4, 5]] == 0)


def test_the_view_of_profiles_is_told_the_condition():
    view = ProfileView(5, 2, 4)
    profile = torch.randn(3, 5)
    a, b = view(profile, torch.zeros(3, 2)), view(profile, torch.ones(3, 2))
    assert a.shape == (3, 4)
    assert not torch.equal(a, b)

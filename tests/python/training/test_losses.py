# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from ddcalogen.training.losses import gaussian_mmd, gradient_penalty, kl_to_normal, slope_penalty, sorted_kernel_mmd
from hypothesis import given, settings
from hypothesis import strategies as st


def naive_sorted_kernel_mmd(real, made, alpha, window, stride, highest):
    """Pair by pair, in plain Python."""
    total, number = 0.0, 0
    for a, b in zip(real, made, strict=True):
        a, b = sorted(a, reverse=True), sorted(b, reverse=True)
        for start in range(0, min(highest, len(a)), stride):
            x, y = a[start : start + window], b[start : start + window]

            def mean_kernel(u, v):
                return sum(math.exp(-alpha * (p - q) ** 2) for p in u for q in v) / (len(u) * len(v))

            total += mean_kernel(x, x) + mean_kernel(y, y) - 2.0 * mean_kernel(x, y)
            number += 1
    return total / number


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    cells=st.integers(5, 40),
    window=st.integers(1, 12),
    stride=st.integers(1, 9),
    highest=st.integers(1, 50),
)
def test_sorted_kernel_mmd_is_what_the_definition_says(seed, cells, window, stride, highest):
    rng = np.random.default_rng(seed)
    real, made = rng.exponential(1.0, (2, 3, cells))
    found = sorted_kernel_mmd(
        torch.tensor(real), torch.tensor(made), alpha=2.5, window=window, stride=stride, highest=highest
    )
    assert float(found) == pytest.approx(naive_sorted_kernel_mmd(real, made, 2.5, window, stride, highest), abs=1e-9)


def test_sorted_kernel_mmd_does_not_see_where_a_cell_is():
    cells = torch.rand(2, 64)
    moved = cells[:, torch.randperm(64)].reshape(2, 1, 4, 4, 4)
    assert abs(float(sorted_kernel_mmd(cells, moved, alpha=200.0, window=16, stride=4, highest=64))) < 1e-6


def test_gradient_penalty_of_a_linear_critic_is_known():
    slope = torch.tensor([[3.0], [4.0]])

    def critic(x, offset):
        return x @ slope + offset

    penalty = gradient_penalty(critic, (torch.randn(8, 2),), (torch.randn(8, 2),), torch.randn(8, 1))
    assert float(penalty) == pytest.approx((5.0 - 1.0) ** 2, rel=1e-5)


def test_gradient_penalty_is_by_all_views_together():
    def critic(x, profile):
        return 3.0 * x[:, :1] + 4.0 * profile.sum((1, 2))[:, None]

    views = (torch.randn(8, 2), torch.randn(8, 1, 1))
    assert float(gradient_penalty(critic, views, views)) == pytest.approx((5.0 - 1.0) ** 2, rel=1e-5)


def test_slope_penalty_is_the_squared_slope_at_the_showers():
    def discriminator(x, energy):
        return x.square().sum(1, keepdim=True) + energy

    x = torch.randn(8, 3)
    penalty = slope_penalty(discriminator, (x,), torch.ones(8, 1))
    assert float(penalty) == pytest.approx(float((4.0 * x.square()).sum(1).mean()), rel=1e-5)


def test_gradient_penalty_trains_a_critic_to_unit_slope():
    torch.manual_seed(1)
    critic = torch.nn.Linear(4, 1)
    optimiser = torch.optim.Adam(critic.parameters(), 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        gradient_penalty(critic, (torch.randn(16, 4),), (torch.randn(16, 4),)).backward()
        optimiser.step()
    assert float(critic.weight.detach().norm()) == pytest.approx(1.0, abs=1e-2)


def test_gradient_penalty_of_a_flat_critic_is_finite():
    x = torch.zeros(4, 3, requires_grad=True)
    weight = torch.zeros(3, 1, requires_grad=True)
    penalty = gradient_penalty(lambda v: v @ weight, (x,), (x + 1.0,))
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(1.0, abs=1e-4)
    assert torch.isfinite(weight.grad).all()


def test_gaussian_mmd_is_what_the_definition_says():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))

    def mean_kernel(a, b, alpha):
        return np.mean([[math.exp(-alpha * float(((p - q) ** 2).sum())) for q in b] for p in a])

    expected = sum(mean_kernel(x, x, a) + mean_kernel(y, y, a) - 2 * mean_kernel(x, y, a) for a in (1.0, 0.01))
    assert float(gaussian_mmd(torch.tensor(x), torch.tensor(y), (1.0, 0.01))) == pytest.approx(expected, rel=1e-9)


def test_kl_to_normal_agrees_with_torch_distributions():
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, torch.exp(0.5 * log_variance)), normal(0.0, 1.0))
    assert float(kl_to_normal(mean, log_variance)) == pytest.approx(float(expected.sum(1).mean()), rel=1e-5)

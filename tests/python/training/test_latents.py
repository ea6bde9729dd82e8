# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from ddcalogen.errors import ModelError
from ddcalogen.training.latents import ConditionalFlow, ConditionalKde
from ddcalogen.training.splines import parameters_needed, rational_quadratic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

DATA = 60
"""Kernels of the density estimate under test."""


def made_up_data(seed=5):
    """A condition and one variable that depends on it in a way no Gaussian has."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(0.1, 1.0, DATA)
    z = np.where(rng.uniform(size=DATA) < 0.4, 2.0 + 3.0 * c, -1.0) + 0.2 * rng.normal(size=DATA)
    return c, z


def fitted_kde(bandwidth):
    c, z = made_up_data()
    kde = ConditionalKde(DATA, 1, 1)
    kde.fit(torch.tensor(c)[:, None], torch.tensor(z)[:, None], bandwidth)
    return kde, stats.gaussian_kde(np.stack([c, z]), bandwidth or "scott")


@pytest.mark.parametrize("bandwidth", [None, 0.15])
@pytest.mark.parametrize("at", [0.3, 0.9])
def test_samples_have_the_conditional_density_that_scipy_gives(bandwidth, at):
    kde, reference = fitted_kde(bandwidth)
    generator = torch.Generator().manual_seed(7)
    number = 20_000
    sample = kde(
        torch.full((number, 1), at),
        torch.rand(number, 1, generator=generator),
        torch.randn(number, 1, generator=generator),
    )
    # scipy's joint density along z at this condition, as a cumulative distribution
    z = np.linspace(-8.0, 12.0, 8001)
    density = reference(np.stack([np.full_like(z, at), z]))
    cumulative = np.cumsum(density) / density.sum()
    test = stats.kstest(sample[:, 0].numpy(), lambda v: np.interp(v, z, cumulative))
    assert test.pvalue > 1e-3


def test_many_variables_keep_their_covariance():
    rng = np.random.default_rng(11)
    mix = rng.normal(size=(5, 5))
    joint = rng.normal(size=(2000, 5)) @ mix
    kde = ConditionalKde(2000, 1, 4)
    kde.fit(torch.tensor(joint[:, :1]), torch.tensor(joint[:, 1:]), 0.3)
    # over the whole density: conditions drawn from its own kernels
    again = joint[rng.integers(0, 2000, 20_000), :1] + 0.3 * joint[:, :1].std() * rng.normal(size=(20_000, 1))
    sample = kde(torch.tensor(again).float(), torch.rand(20_000, 1), torch.randn(20_000, 4)).numpy()
    expected = np.cov(joint[:, 1:].T) * (1.0 + 0.3**2)
    assert np.abs(np.cov(sample.T) - expected).max() < 0.06 * np.abs(expected).max()


def test_far_from_the_data_the_nearest_kernel_answers():
    kde, _ = fitted_kde(0.05)
    sample = kde(torch.tensor([[50.0]]), torch.tensor([[0.5]]), torch.zeros(1, 1))
    assert torch.isfinite(sample).all()


def test_more_and_fewer_rows_than_kernels():
    c, z = (torch.tensor(v)[:, None] for v in made_up_data())
    for centres in (DATA // 3, DATA, 3 * DATA):
        kde = ConditionalKde(centres, 1, 1)
        kde.fit(c, z, 0.2)
        middle = kde(torch.full((400, 1), 0.5), torch.rand(400, 1), torch.randn(400, 1))
        assert -3.0 < float(middle.mean()) < 5.0


def test_values_that_are_not_finite_are_refused():
    c, z = (torch.tensor(v)[:, None] for v in made_up_data())
    z[3] = float("nan")
    with pytest.raises(ModelError, match="1 values not finite"):
        ConditionalKde(DATA, 1, 1).fit(c, z)


# ------------------------------------------------------------------------------------------------------------- splines


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), bins=st.integers(2, 12), bound=st.floats(0.5, 10.0))
def test_spline_is_undone_by_its_inverse_and_has_the_slope_it_says(seed, bins, bound):
    generator = torch.Generator().manual_seed(seed)
    free = 2.0 * torch.randn(50, parameters_needed(bins), generator=generator, dtype=torch.float64)
    x = (2.4 * torch.rand(50, generator=generator, dtype=torch.float64) - 1.2) * bound
    x.requires_grad_(True)
    y, log_slope = rational_quadratic(x, free, bound=bound)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(torch.log(slope), log_slope, atol=1e-7)
    back, log_back = rational_quadratic(y, free, bound=bound, inverse=True)
    assert torch.allclose(back, x, atol=1e-6 * bound)
    assert torch.allclose(log_back, -log_slope, atol=1e-4)
    assert torch.all(slope > 0)


def test_spline_with_zeros_is_the_identity():
    x = torch.linspace(-5.0, 5.0, 101)
    y, log_slope = rational_quadratic(x, torch.zeros(101, parameters_needed(8)), bound=3.0)
    assert torch.allclose(y, x, atol=1e-5)
    assert torch.allclose(log_slope, torch.zeros(101), atol=1e-5)


def randomised_flow(size=3, given=2):
    torch.manual_seed(2)
    flow = ConditionalFlow(size, given, blocks=2, hidden=16)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow.double()


def test_flow_density_is_that_of_its_samples():
    flow = randomised_flow()
    noise, given_ = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    x = flow(noise, given_)
    for row in range(6):
        jacobian = torch.autograd.functional.jacobian(lambda n, r=row: flow(n[None], given_[r : r + 1])[0], noise[row])
        expected = (
            0.5 * noise[row].square().sum() + 1.5 * np.log(2 * np.pi) + torch.log(torch.linalg.det(jacobian).abs())
        )
        found = flow.negative_log_density(x[row : row + 1], given_[row : row + 1])
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_flow_learns_a_conditional_distribution():
    torch.manual_seed(3)
    flow = ConditionalFlow(2, 1, blocks=1, hidden=32)
    optimiser = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(300):
        c = torch.rand(256, 1)
        x = torch.cat([c + 0.1 * torch.randn(256, 1), -2.0 * c + 0.5 * torch.randn(256, 1)], 1)
        optimiser.zero_grad()
        flow.negative_log_density(x, c).backward()
        optimiser.step()
    with torch.no_grad():
        made = flow(torch.randn(4000, 2), torch.full((4000, 1), 0.8))
    assert made.mean(0).tolist() == pytest.approx([0.8, -1.6], abs=0.08)
    assert made.std(0).tolist() == pytest.approx([0.1, 0.5], rel=0.2)

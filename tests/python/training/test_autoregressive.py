# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Stacks of autoregressive flows against an independent library, numerical Jacobians and integrals."""

import numpy as np
import pytest
import torch
import zuko
from ddcalogen.training.autoregressive import AutoregressiveStack, negative_log_normal
from ddcalogen.training.export import onnx_session
from ddcalogen.training.operators import matrix_product
from ddcalogen.training.splines import rational_quadratic
from ddcalogen.training.systems.l2lflows_student import distillation_loss


def stack(layers=3, size=6, given=2, groups=6, reverse_first=False, blocks=3, seed=1):
    torch.manual_seed(seed)
    made = AutoregressiveStack(
        layers,
        size,
        given,
        blocks=blocks,
        hidden=24,
        bins=4,
        bound=4.0,
        groups=groups,
        reverse_first=reverse_first,
    )
    with torch.no_grad():
        made.w_out.mul_(30.0)  # far from the identity
    return made.double()


def of_layer(weights, layer):
    return tuple(w[layer] for w in weights)


def test_the_spline_is_monotone_and_its_slope_that_of_zukos_derivative():
    torch.manual_seed(0)
    x = torch.linspace(-3.9, 3.9, 101, dtype=torch.double)
    free = torch.randn(11, dtype=torch.double).expand(101, 11)
    y, log_slope = rational_quadratic(x, free, bound=4.0)
    assert torch.all(y.diff() > 0)
    # the same knots and slopes in zuko's transformation
    width, height, slope = free[0].split([4, 4, 3])
    edge = torch.tensor([-4.0], dtype=torch.double)
    horizontal, vertical = (
        torch.cat([edge, 8.0 * torch.cumsum(1e-3 + (1.0 - 4e-3) * torch.softmax(v, -1), -1) - 4.0])
        for v in (width, height)
    )
    transform = zuko.transforms.MonotonicRQSTransform(width, height, slope, bound=4.0)
    transform.horizontal, transform.vertical = horizontal, vertical
    inner = 1e-3 + (1.0 - 1e-3) * 0.5 * (slope + torch.sqrt(slope * slope + 4.0))
    one = torch.ones(1, dtype=torch.double)
    transform.derivatives = torch.cat([one, inner, one])
    expected, expected_slope = transform.call_and_ladj(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(log_slope, expected_slope)


@pytest.mark.parametrize("reverse_first", [False, True])
@pytest.mark.parametrize("groups", [6, 3])
def test_slow_undoes_quick(groups, reverse_first):
    flow = stack(groups=groups, reverse_first=reverse_first)
    x, given = torch.randn(3, 5, 6).double(), torch.randn(3, 5, 2).double()
    with torch.no_grad():
        y, _, _ = flow.quick(x, given)
        assert float((y - x).abs().max()) > 0.3
        for layer in range(3):
            own = of_layer(flow.weights(), layer)
            torch.testing.assert_close(flow.quick(x[layer], given[layer], own)[0], y[layer])
            torch.testing.assert_close(flow.slow(y[layer], given[layer], own), x[layer], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("reverse_first", [False, True])
@pytest.mark.parametrize("groups", [6, 2])
def test_the_determinant_is_that_of_the_jacobian(groups, reverse_first):
    flow = stack(groups=groups, reverse_first=reverse_first)
    x, given = torch.randn(6).double(), torch.randn(1, 2).double()
    own = of_layer(flow.weights(), 1)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.quick(v[None], given, own)[0][0], x)
    _, log_slope, _ = flow.quick(x[None], given, own)
    assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(log_slope.detach()), abs=1e-9)


def test_a_variable_depends_on_those_before_only():
    flow = stack(blocks=1, groups=3)
    given = torch.randn(1, 2).double()
    own = of_layer(flow.weights(), 0)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: flow.quick(v[None], given, own)[0][0].flip(-1), torch.randn(6).double()
    )
    group = np.arange(6) // 2
    other = ~np.eye(6, dtype=bool)
    assert torch.all(jacobian[torch.from_numpy((group[:, None] <= group[None]) & other)] == 0)
    assert torch.all(jacobian[torch.from_numpy(group[:, None] > group[None])] != 0)


def test_the_density_is_normalised():
    flow = stack(layers=1, size=2, groups=2)
    axis = torch.linspace(-9.0, 9.0, 601).double()
    points = torch.cartesian_prod(axis, axis)
    given = torch.tensor([[0.3, -0.7]]).double().expand(len(points), 2)
    with torch.no_grad():
        z, log_slope, _ = flow.quick(points, given, of_layer(flow.weights(), 0))
        density = torch.exp(log_slope - negative_log_normal(z))
    assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1.0, abs=2e-3)


def test_a_student_begins_as_the_inverse_where_splines_depend_on_the_condition_only():
    teacher, student = stack(groups=1), stack(groups=1, reverse_first=True, seed=2)
    x, given = torch.randn(3, 5, 6, dtype=torch.double), torch.randn(3, 5, 2, dtype=torch.double)
    with torch.no_grad():
        teacher.w_out.mul_(0.2)
        student.start_as_inverse(teacher)
        y, log_slope, _ = teacher.quick(x, given)
        back, log_back, _ = student.quick(y, given)
    assert float((y - x).abs().max()) > 0.1
    # the least size and slope of a bin are not quite the same the other way round
    torch.testing.assert_close(back, x, atol=5e-3, rtol=0.0)
    torch.testing.assert_close(log_back, -log_slope, atol=5e-2, rtol=0.0)


def test_distillation_brings_the_students_density_to_that_of_its_teacher():
    teacher = stack(layers=1, size=2, given=1, groups=2, blocks=1)
    with torch.no_grad():
        teacher.w_out.mul_(3.0)
        teacher.b_out.normal_()
    student = AutoregressiveStack(
        1, 2, 1, blocks=1, hidden=48, bins=8, bound=4.0, groups=2, reverse_first=True
    ).double()
    optimiser = torch.optim.Adam(student.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 400)
    torch.manual_seed(3)
    given = torch.zeros(1, 256, 1).double()

    def divergence():
        # of the student from the teacher, on the student's own samples: the student's density is known there
        torch.manual_seed(4)
        z = torch.randn(1, 2000, 2).double()
        zero = torch.zeros(1, 2000, 1).double()
        with torch.no_grad():
            x, log_slope, _ = student.quick(z, zero)
            back, teacher_slope, _ = teacher.quick(x, zero)
        of_student = -negative_log_normal(z) - log_slope
        of_teacher = teacher_slope - negative_log_normal(back)
        return (of_student - of_teacher)[0]

    before = divergence()
    for _ in range(400):
        with torch.no_grad():
            x = teacher.slow(torch.randn(256, 2).double(), given[0], of_layer(teacher.weights(), 0))
        x_loss, z_loss = distillation_loss(teacher, student, x[None], given)
        optimiser.zero_grad()
        (x_loss + z_loss).backward()
        optimiser.step()
        schedule.step()
    after = divergence()
    # Kullback-Leibler divergence, nats; 0.02 after four times as many steps
    assert float(before.mean()) > 3.0
    assert -0.02 < float(after.mean()) < 0.2
    assert all(p.grad is None for p in teacher.parameters())


def test_a_product_of_long_rows_has_the_same_bits_whatever_the_number_of_threads(tmp_path):
    class Product(torch.nn.Module):
        def forward(self, x, weights):
            return matrix_product(x, weights)

    generator = torch.Generator().manual_seed(1)
    x, weights = torch.randn(16, 505, generator=generator), torch.randn(505, 48, generator=generator)
    torch.testing.assert_close(matrix_product(x, weights), x @ weights, atol=1e-4, rtol=1e-4)
    path = tmp_path / "product.onnx"
    # weights that are no constants, as in a loop over layers: the ones of the next layer each time
    torch.onnx.export(Product(), (x, weights), path, dynamo=True, opset_version=18, verbose=False, external_data=False)
    first, *others = (
        onnx_session(path, threads).run(None, {"x": x.numpy(), "weights": weights.numpy()})[0] for threads in (1, 2, 3)
    )
    assert all(np.array_equal(first, other) for other in others)

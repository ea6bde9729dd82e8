# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from ddcalogen.training.grid_networks import (
    Layer,
    MinibatchDiscrimination,
    PostProcessor,
    VolumeStack,
    cut_and_convert,
)
from ddcalogen.training.losses import sorted_kernel_mmd


@pytest.mark.parametrize(
    "layer",
    [
        Layer(2, 4, 2, 2),
        Layer(3, (10, 2, 2), (1, 2, 2), (0, 1, 1)),
        Layer(2, 3, 3, 1, transposed=True, extra=2),
        Layer(2, (4, 2, 2), 2, 1, transposed=True),
    ],
)
def test_sizes_are_those_of_torch(layer):
    size = (12, 9, 11)
    made = layer.build(1)(torch.zeros(1, 1, *size))
    assert tuple(made.shape[1:]) == (layer.channels, *layer.size_after(size))


def test_stack_knows_what_comes_out():
    stack = VolumeStack(1, (8, 8, 8), [Layer(2, 3, 2, 1), Layer(4, 3, 1, 1)])
    assert stack(torch.randn(3, 1, 8, 8, 8)).flatten(1).shape == (3, stack.features)


def test_minibatch_discrimination_is_what_the_definition_says():
    torch.manual_seed(4)
    layer = MinibatchDiscrimination(6, 3, 2)
    x = torch.randn(5, 6)
    m = (x @ layer.project.weight.T).reshape(5, 3, 2).detach().numpy()
    expected = [
        [sum(np.exp(-np.abs(m[i, k] - m[j, k]).sum()) for j in range(5) if j != i) for k in range(3)] for i in range(5)
    ]
    assert np.allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_minibatch_discrimination_tells_a_collapsed_batch():
    layer = MinibatchDiscrimination(6, 3, 2)
    same = layer(torch.ones(5, 6))
    assert torch.allclose(same, torch.full((5, 3), 4.0))
    assert torch.all(layer(10.0 * torch.randn(5, 6)).sum(1) < 12.0)


def test_cells_below_the_threshold_are_zero():
    image = torch.tensor([-1.0, 0.0, 0.09, 0.1, 3.0]).reshape(1, 1, 1, 1, 5)
    assert cut_and_convert(image, 0.1).flatten().tolist() == pytest.approx([0, 0, 0, 1e-4, 3e-3])


def spectrum_peak(cells):
    """Share of cells above 0.1 MeV that lie within 0.15 to 0.25 MeV: the peak of minimum-ionising particles."""
    cells = cells[cells > 0.1]
    return float(((cells > 0.15) & (cells < 0.25)).float().mean())


def test_post_processor_brings_the_mip_peak_back():
    """A toy: showers with a peak at 0.2 MeV over an exponential tail, and the same after an autoencoder smeared it."""
    torch.manual_seed(6)
    size = (6, 6, 6)
    cells = 216

    def showers(number):
        mip = 0.2 + 0.015 * torch.randn(number, cells)
        tail = 0.3 + 0.8 * torch.rand(number, cells)
        return torch.where(torch.rand(number, cells) < 0.5, mip, tail).clamp(min=0.0).reshape(number, 1, *size)

    def smeared(real):
        return (real + 0.1 * torch.rand_like(real) - 0.05).clamp(min=0.0)

    post = PostProcessor(size, 1, width=16, layers=5, norm=False)
    optimiser = torch.optim.Adam(post.parameters(), 3e-3)
    condition = torch.ones(8, 1)
    for step in range(500):
        real = showers(8)
        made = smeared(real)
        changed = post(made, condition)
        loss = torch.nn.functional.mse_loss(changed, made)
        if step >= 150:
            loss = loss + 5.0 * sorted_kernel_mmd(real, changed, alpha=200.0, window=40, stride=20, highest=cells)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real = showers(8)
    made = smeared(real)
    with torch.no_grad():
        changed = post(made, condition)
    wanted, without, with_ = (spectrum_peak(v) for v in (real, made, changed))
    width = [float(v[(v > 0.1) & (v < 0.28)].std()) for v in (real, made, changed)]
    assert wanted == pytest.approx(0.5, abs=0.06)
    # the peak is narrower than what went in, and closer to Geant4's
    assert width[2] < 0.75 * width[1], width
    assert abs(width[2] - width[0]) < 0.5 * abs(width[1] - width[0])
    assert abs(with_ - wanted) < abs(without - wanted)


def test_residual_post_processor_starts_with_no_change_and_leaves_empty_cells_empty():
    torch.manual_seed(3)
    post = PostProcessor((4, 5, 5), 1, width=8, layers=5, norm=False, residual=True)
    image = torch.rand(3, 1, 4, 5, 5) * (torch.rand(3, 1, 4, 5, 5) < 0.3)
    assert torch.equal(post(image, torch.ones(3, 1)), image)
    with torch.no_grad():
        post.end[-1].weight.fill_(0.3)
        changed = post(image, torch.ones(3, 1))
    assert not torch.allclose(changed[image > 0], image[image > 0])
    assert torch.all(changed[image == 0] == 0)


@pytest.mark.parametrize("kernel", [3, (4, 3, 5)])
def test_transposed_convolutions_of_stride_1_are_the_same_functions_as_those_of_torch(kernel):
    layer = Layer(2, kernel, 1, 1, transposed=True)
    made = layer.build(3)
    theirs = torch.nn.ConvTranspose3d(3, 2, kernel, 1, 1, bias=False)
    with torch.no_grad():
        theirs.weight.copy_(made.weight.flip(2, 3, 4).transpose(0, 1))
        x = torch.randn(2, 3, 6, 7, 8)
        assert torch.allclose(made(x), theirs(x), atol=1e-5)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of the generative systems of the founding work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["gaussian_mmd", "gradient_penalty", "kl_to_normal", "slope_penalty", "sorted_kernel_mmd"]


def gradient_penalty(
    critic: Callable[..., Tensor], real: Sequence[Tensor], made: Sequence[Tensor], *context: Tensor
) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 at random points between real and made (arXiv:1704.00028, eq. 3).

    Parameters
    ----------
    critic
        Takes what is in `real` and the context; returns one number a row.
    real, made
        What the critic sees of showers, one tensor [B, ...] for each view; detached here. The gradient is that by all
        views together.
    context
        Further arguments of the critic, not interpolated.

    Returns
    -------
    penalty
        A number, without the usual factor 10.
    """
    share = torch.rand(len(real[0]), 1, device=real[0].device)
    between = []
    for a, b in zip(real, made, strict=True):
        part = share.reshape(-1, *(1,) * (a.dim() - 1))
        between.append((part * a.detach() + (1.0 - part) * b.detach()).requires_grad_(True))
    # the small number keeps the gradient of the norm finite where the critic is flat
    return ((_squared_slope(critic, between, *context) + 1e-12).sqrt() - 1.0).square().mean()


def slope_penalty(critic: Callable[..., Tensor], real: Sequence[Tensor], *context: Tensor) -> Tensor:
    """Mean of the squared gradient of a discriminator at real showers (R1, arXiv:1801.04406), without factor 1/2.

    Parameters are those of `gradient_penalty`.
    """
    return _squared_slope(critic, [a.detach().requires_grad_(True) for a in real], *context).mean()


def _squared_slope(critic: Callable[..., Tensor], at: Sequence[Tensor], *context: Tensor) -> Tensor:
    """Squared gradient of the critic by all views, [B]."""
    slopes = torch.autograd.grad(critic(*at, *context).sum(), list(at), create_graph=True)
    return torch.stack([slope.flatten(1).square().sum(1) for slope in slopes]).sum(0)


def gaussian_mmd(x: Tensor, y: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Squared maximum mean discrepancy of two samples [N, D], [M, D], summed over kernels exp(-alpha |x - y|^2).

    The pairs of a point with itself are counted, as in the code of arXiv:2005.05334.
    """
    total = x.new_zeros(())
    squares = [torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y))]
    for alpha in alphas:
        xx, yy, xy = (torch.exp(-alpha * s).mean() for s in squares)
        total = total + xx + yy - 2.0 * xy
    return total


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, variance) from N(0, 1), summed over the D of [B, D], mean over B."""
    return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


def sorted_kernel_mmd(real: Tensor, made: Tensor, *, alpha: float, window: int, stride: int, highest: int) -> Tensor:
    """Sorted-kernel MMD between the cell energies of two showers (arXiv:2005.05334, section 4.3).

    The cells of each shower are sorted by energy; windows slide over the highest, and within each window the cells of
    the two showers are compared as samples with the kernel exp(-alpha (x - y)^2). It sees the shape of the cell
    spectrum without regard to where a cell is, at a cost that grows with the window, not with the number of cells.

    Parameters
    ----------
    real, made
        Cell energies in MeV, [B, cells] each; row b of one is compared with row b of the other.
    alpha
        Of the kernel, 1/MeV^2.
    window, stride, highest
        Cells in a window, between the starts of windows, and below which windows start. Windows end with the cells.

    Returns
    -------
    mmd
        Mean over windows and rows.
    """
    cells = real.flatten(1).shape[1]
    starts = range(0, min(highest, cells), stride)
    seen = min(cells, starts[-1] + window)
    a, b = (torch.topk(v.flatten(1), seen, dim=1).values for v in (real, made))
    total = a.new_zeros(len(a))
    whole = [s for s in starts if s + window <= cells]
    if whole:
        last = whole[-1] + window
        total = total + _windows_mmd(
            a[:, :last].unfold(1, window, stride), b[:, :last].unfold(1, window, stride), alpha
        )
    for start in starts:
        if start + window > cells:
            total = total + _windows_mmd(a[:, None, start:], b[:, None, start:], alpha)
    return total.mean() / len(starts)


def _windows_mmd(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Sum over windows of the MMD of [B, windows, n] cells each, [B]."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(-alpha * (x[..., :, None] - y[..., None, :]).square()).mean((-1, -2))

    return (kernel(a, a) + kernel(b, b) - 2.0 * kernel(a, b)).sum(1)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Monotonic rational-quadratic splines (arXiv:1906.04032) from operators that ONNX has, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["parameters_needed", "rational_quadratic"]

_SMALLEST = 1e-3
"""Smallest width and height of a bin (share of the whole) and smallest slope."""


def parameters_needed(bins: int) -> int:
    """Free parameters of a spline: widths, heights, and slopes at the inner knots."""
    return 3 * bins - 1


def rational_quadratic(x: Tensor, free: Tensor, *, bound: float, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Map numbers by monotonic splines: bins within (-bound, bound), identity (slope 1) outside.

    Parameters
    ----------
    x
        [...].
    free
        [..., 3 * bins - 1] unbounded parameters: widths, heights, slopes; zeros give the identity.
    bound
        End of the spline.
    inverse
        True: the inverse map of the same parameters, in closed form.

    Returns
    -------
    y, log_slope
        [...] each; the logarithm of dy/dx.
    """
    bins = (free.shape[-1] + 1) // 3
    # bins on the last axis but one: operators then run along neighbouring numbers, several times as fast
    width, height, slope = torch.split(free.transpose(-1, -2), [bins, bins, bins - 1], dim=-2)
    width, height = _shares(width, bins), _shares(height, bins)

    inside = (x > -bound) & (x < bound)
    point = x.clamp(-bound, bound)
    knots = (torch.cumsum(height if inverse else width, -2)[..., :-1, :] * 2.0 - 1.0) * bound
    # the bins below that of the point, and the one-hot of its own: at or above its lower knot, below its upper one
    above = (point.unsqueeze(-2) >= knots).to(x.dtype)
    chosen = torch.nn.functional.pad(above, (0, 0, 1, 0), value=1.0) - torch.nn.functional.pad(above, (0, 0, 0, 1))

    def lower(share: Tensor) -> Tensor:
        return ((share[..., :-1, :] * above).sum(-2) * 2.0 - 1.0) * bound

    def size(share: Tensor) -> Tensor:
        return (share * chosen).sum(-2) * (2.0 * bound)

    x0, y0, dx, dy = lower(width), lower(height), size(width), size(height)
    # slope 1, free parameter 0, at both ends
    s0 = _slope((slope * chosen[..., 1:, :]).sum(-2))
    s1 = _slope((slope * chosen[..., :-1, :]).sum(-2))
    mean = dy / dx
    if inverse:
        rest = point - y0
        extra = s0 + s1 - 2.0 * mean
        a = dy * (mean - s0) + rest * extra
        b = dy * s0 - rest * extra
        c = -mean * rest
        share = 2.0 * c / (-b - torch.sqrt((b * b - 4.0 * a * c).clamp(min=0.0)))
        y = x0 + share * dx
    else:
        share = (point - x0) / dx
        y = y0 + dy * (mean * share * share + s0 * share * (1.0 - share)) / (
            mean + (s0 + s1 - 2.0 * mean) * share * (1.0 - share)
        )
    both = share * (1.0 - share)
    below = mean + (s0 + s1 - 2.0 * mean) * both
    grown = mean * mean * (s1 * share * share + 2.0 * mean * both + s0 * (1.0 - share) * (1.0 - share))
    log_slope = torch.log(grown) - 2.0 * torch.log(below)
    if inverse:
        log_slope = -log_slope
    return torch.where(inside, y, x), torch.where(inside, log_slope, torch.zeros_like(log_slope))


def _shares(free: Tensor, bins: int) -> Tensor:
    """Sizes of the bins, as shares of the whole, from unbounded parameters [..., bins, :]."""
    return _SMALLEST + (1.0 - _SMALLEST * bins) * torch.softmax(free, -2)


def _slope(free: Tensor) -> Tensor:
    """Slope at a knot: positive, 1 at 0; unlike softplus, its bits do not depend on the place in the tensor
    (docs/model_contract.md)."""
    return _SMALLEST + (1.0 - _SMALLEST) * 0.5 * (free + torch.sqrt(free * free + 4.0))

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
    width, height, slope = torch.split(free, [bins, bins, bins - 1], dim=-1)
    knots = [_knots(v, bound, bins) for v in (width, height)]
    # positive, 1 at 0; unlike softplus, its bits do not depend on the place in the tensor (docs/model_contract.md)
    inner = _SMALLEST + (1.0 - _SMALLEST) * 0.5 * (slope + torch.sqrt(slope * slope + 4.0))
    one = torch.ones_like(inner[..., :1])
    slope = torch.cat([one, inner, one], -1)

    inside = (x > -bound) & (x < bound)
    point = x.clamp(-bound, bound)
    source, target = (knots[1], knots[0]) if inverse else (knots[0], knots[1])
    # one-hot of the bin: at or above its lower knot, below its upper one
    above = (point[..., None] >= source[..., 1:-1]).to(x.dtype)
    first = torch.ones_like(above[..., :1])
    chosen = torch.cat([first, above], -1) - torch.cat([above, torch.zeros_like(first)], -1)

    def pick(v: Tensor) -> Tensor:
        return (v * chosen).sum(-1)

    x0, y0 = pick(source[..., :-1]), pick(target[..., :-1])
    dx, dy = pick(source[..., 1:]) - x0, pick(target[..., 1:]) - y0
    s0, s1 = pick(slope[..., :-1]), pick(slope[..., 1:])
    if inverse:
        mean = dx / dy  # height over width, whichever way the map goes
        rest = point - x0
        extra = s0 + s1 - 2.0 * mean
        a = dx * (mean - s0) + rest * extra
        b = dx * s0 - rest * extra
        c = -mean * rest
        share = 2.0 * c / (-b - torch.sqrt((b * b - 4.0 * a * c).clamp(min=0.0)))
        y = y0 + share * dy
    else:
        mean = dy / dx
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


def _knots(free: Tensor, bound: float, bins: int) -> Tensor:
    """Positions of the bins + 1 knots from unbounded parameters."""
    share = _SMALLEST + (1.0 - _SMALLEST * bins) * torch.softmax(free, -1)
    inner = torch.cumsum(share, -1)[..., :-1]
    edge = torch.zeros_like(inner[..., :1])
    return (torch.cat([edge, inner, edge + 1.0], -1) * 2.0 - 1.0) * bound

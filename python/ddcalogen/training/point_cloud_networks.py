# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the point-cloud systems: coordinates of points, noise levels, and the network that denoises points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "HIGHEST",
    "LOWEST",
    "SIGMA_DATA",
    "PointNetwork",
    "Swish",
    "compress",
    "expand",
    "fourier",
    "log_normal",
    "noise_levels",
    "precondition",
    "scalars",
]

TIME = 8
"""Features of the noise level."""

SIGMA_DATA = 0.5
"""Width of the scaled coordinates of points."""


# ------------------------------------------------------------------------------------------------------ coordinates


def compress(offset_mm: Tensor, scale_mm: Tensor) -> Tensor:
    """Offset from the axis [..., 2] to network coordinates: distances r become ln(1 + r / scale)."""
    r = torch.sqrt((offset_mm * offset_mm).sum(-1, keepdim=True) + 1e-12)
    return offset_mm / r * torch.log1p(r / scale_mm[..., None])


def expand(a: Tensor, b: Tensor, scale_mm: Tensor, reach: float = 5.3) -> tuple[Tensor, Tensor]:
    """Inverse of `compress`, [P] each; distances beyond scale exp(reach) are cut."""
    rho = torch.sqrt(a * a + b * b) + 1e-6
    stretch = scale_mm * (torch.exp(torch.clamp(rho, max=reach)) - 1.0) / rho
    return a * stretch, b * stretch


# ----------------------------------------------------------------------------------------------------- noise levels


LOWEST, HIGHEST = 0.005, 20.0
"""Noise levels, in the units of SIGMA_DATA."""


def noise_levels(number: int) -> list[float]:
    """Noise levels from high to low in equal ratios."""
    return [HIGHEST * (LOWEST / HIGHEST) ** (i / (number - 1)) for i in range(number)]


def fourier(sigma: Tensor) -> Tensor:
    """Features of noise levels: c_noise = ln(sigma) / 4 and its harmonics, [..., 8]."""
    level = torch.log(sigma)[..., None] / 4.0
    waves = [f(k * level) for k in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]
    return torch.cat([level, level * level, *waves], -1)


def log_normal(number: int, device: torch.device) -> Tensor:
    """Noise levels of the training: ln sigma ~ N(-1, 1.6)."""
    return torch.exp(-1.0 + 1.6 * torch.randn(number, device=device))


def precondition(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in of EDM (2206.00364, table 1)."""
    total = sigma * sigma + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / torch.sqrt(total), 1.0 / torch.sqrt(total)


def scalars(sigma: float) -> tuple[float, float, float]:
    """The same as numbers."""
    total = sigma * sigma + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / math.sqrt(total), 1.0 / math.sqrt(total)


# ----------------------------------------------------------------------------------------------------------- points


class Swish(nn.Module):
    """x sigmoid(x), written with tanh: as fused kernels for the plain form depend on the place."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        half = 0.5 * x
        return half + half * torch.tanh(half)


class PointNetwork(nn.Module):
    """Denoiser of points (across the layer, energy), given what is known of their layer and shower.

    What depends on layer and shower is computed once for each layer, not for each point; noise levels act as shift and
    stretch of the hidden units.
    """

    def __init__(self, features: int, slot_hidden: Sequence[int], hidden: int, depth: int) -> None:
        super().__init__()
        sizes = [features, *slot_hidden, hidden]
        slot: list[nn.Module] = []
        for i, o in itertools.pairwise(sizes):
            slot += [nn.Linear(i, o), Swish()]
        self.slot = nn.Sequential(*slot[:-1])
        self.time = nn.Sequential(nn.Linear(TIME, hidden), Swish(), nn.Linear(hidden, 2 * hidden))
        self.point = nn.Linear(3, hidden, bias=False)
        self.body = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.out = nn.Linear(hidden, 3)
        self.act = Swish()
        nn.init.normal_(self.out.weight, std=1e-2)

    def slots(self, features: Tensor) -> Tensor:
        """Known part of each layer: [B, F, layers] to [B * layers, hidden]."""
        known: Tensor = self.slot(features.transpose(1, 2))
        return known.reshape(-1, known.shape[2])

    def forward(self, noisy: Tensor, time: Tensor, known: Tensor) -> Tensor:
        """[P, 3] points, [P, 8] or [8] time features, [P, hidden] known part, to [P, 3]."""
        shift, stretch = torch.chunk(self.time(time), 2, -1)
        h = self.point(noisy) + shift + known * (1.0 + stretch)
        for layer in self.body:
            h = h + layer(self.act(h))
        result: Tensor = self.out(self.act(h))
        return result

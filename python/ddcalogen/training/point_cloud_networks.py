# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the point-cloud systems: features of a shower, their flow, and the network that places the points.

A shower is described in two steps. `ShowerFeatures` are numbers of the whole shower, made by a normalising flow
(`ShowerFlow`): points and energy of every layer, their sums, centre of gravity, mean radius. `PointNetwork` then makes
the points of the layers independently of each other, given these numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import torch
import zuko
from torch import Tensor, nn

from ddcalogen.training.representations import Batch

__all__ = [
    "CONTEXT",
    "LayerContext",
    "PointNetwork",
    "ShowerFeatures",
    "ShowerFlow",
    "compress",
    "context",
    "expand",
    "fourier",
    "karras",
]

CONTEXT = 5
"""Numbers that describe the incident particle."""

RADIUS_MM = 3.0
"""Scale of the compression of distances from the axis: about the width of the core."""

TIME = 8
"""Features of the noise level."""


def context(energy: Tensor, direction: Tensor) -> Tensor:
    """Incident particle as the networks see it, [B, 5]: ln E and its square, direction; numbers of order one."""
    # a power series, exact enough and the same in every place: ln E = 64 (E^(1/64) - E^(-1/64)) / 2
    power = torch.pow(torch.clamp(energy, min=1e-3), 1.0 / 64.0)
    level = (32.0 * (power - 1.0 / power) - 2.5) / 1.5
    return torch.cat([level, 0.5 * level * level, direction[:, :2], 4.0 * (direction[:, 2:3] - 0.75)], 1)


# ------------------------------------------------------------------------------------------------------ coordinates


def compress(offset_mm: Tensor, direction: Tensor) -> Tensor:
    """Offset from the axis in the layer's plane [..., 2] to network coordinates.

    The stretch 1 / cos(theta) along the inclination is taken out, and distances r become ln(1 + r / 3 mm).
    """
    along = (offset_mm * direction[..., :2]).sum(-1, keepdim=True)
    flat = offset_mm - along * direction[..., :2] / (1.0 + direction[..., 2:3])
    r = torch.sqrt((flat * flat).sum(-1, keepdim=True) + 1e-12)
    return flat / r * torch.log1p(r / RADIUS_MM)


def expand(coordinates: Tensor, direction: Tensor, reach: float = 5.3) -> Tensor:
    """Inverse of `compress`; distances beyond 3 mm exp(reach) (0.6 m) are cut."""
    rho = torch.sqrt(coordinates[..., 0:1] * coordinates[..., 0:1] + coordinates[..., 1:2] * coordinates[..., 1:2])
    rho = rho + 1e-6
    flat = coordinates / rho * (RADIUS_MM * (torch.exp(torch.clamp(rho, max=reach)) - 1.0))
    along = flat[..., 0:1] * direction[..., 0:1] + flat[..., 1:2] * direction[..., 1:2]
    return flat + along * direction[..., :2] / (direction[..., 2:3] * (1.0 + direction[..., 2:3]))


# ---------------------------------------------------------------------------------------------------------- showers


@dataclasses.dataclass(frozen=True)
class LayerContext:
    """What the flow says about the layers, in physical units.

    counts: float [B, layers], whole numbers; energy_gev [B, layers], 0 where there are no points; shift_mm [B, 2],
    centre of gravity relative to the axis; features [B, layers, LayerContext.WIDTH] for the point network.
    """

    WIDTH = 6

    counts: Tensor
    energy_gev: Tensor
    shift_mm: Tensor
    features: Tensor


class ShowerFeatures(nn.Module):
    """The numbers of a shower that the flow makes, standardised; [B, 2 * layers + 5].

    For each layer ln(1 + points), dequantised, and ln of the mean energy of its points (MeV); then ln of all points and
    of the visible energy per incident energy, centre of gravity along x and y (per mm), ln of the mean radius. The mean
    of each is taken out by a polynomial in the context, fitted to the training split.
    """

    weights: Tensor
    width: Tensor
    low: Tensor
    high: Tensor
    empty: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers, self.size = layers, 2 * layers + 5
        self.register_buffer("weights", torch.zeros(8, self.size))
        self.register_buffer("width", torch.ones(self.size))
        self.register_buffer("low", torch.full((self.size,), -8.0))
        self.register_buffer("high", torch.full((self.size,), 8.0))
        self.register_buffer("empty", torch.full((layers,), -1.0))

    @staticmethod
    def _basis(ctx: Tensor) -> Tensor:
        level, slant = ctx[:, 0:1], ctx[:, 4:5]
        one = torch.ones_like(level)
        terms = [one, level, level * level, level * level * level, slant, slant * slant, level * slant]
        return torch.cat([*terms, level * level * slant], 1)

    def raw(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Numbers of real showers before standardisation."""
        counts, energy = batch["layer_counts"], batch["layer_energy"]
        drawn = torch.rand(counts.shape, generator=generator).to(counts.device)
        there = counts > 0
        mean = torch.log((1e3 * energy / counts.clamp(min=1.0)).clamp(min=1e-6))
        noise = 0.3 * torch.randn(counts.shape, generator=generator).to(counts.device)
        mean = torch.where(there, mean, self.empty.to(counts.device) + noise)
        points = batch["points"]
        gev = points[..., 3]
        total = gev.sum(1, keepdim=True).clamp(min=1e-9)
        cog = (points[..., :2] * gev[..., None]).sum(1) / total
        radius = (torch.linalg.vector_norm(points[..., :2], dim=-1) * gev).sum(1, keepdim=True) / total
        number = counts.sum(1, keepdim=True).clamp(min=1.0)
        sums = torch.cat([torch.log(number / batch["energy"]), torch.log(1e3 * total / batch["energy"])], 1)
        return torch.cat([torch.log1p(counts + drawn), mean, sums, cog, torch.log(radius.clamp(min=0.1))], 1)

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Fit polynomials, widths and limits to batches."""
        held = [(context(b["energy"], b["direction"]), b) for b in batches]
        generator = torch.Generator().manual_seed(0)
        counts = torch.cat([b["layer_counts"] for _, b in held])
        energy = torch.cat([b["layer_energy"] for _, b in held])
        mean = torch.log((1e3 * energy / counts.clamp(min=1.0)).clamp(min=1e-6))
        there = (counts > 0).to(mean.dtype)
        self.empty.copy_((mean * there).sum(0) / there.sum(0).clamp(min=1.0))
        basis = torch.cat([self._basis(c) for c, _ in held]).double()
        values = torch.cat([self.raw(b, generator) for _, b in held]).double()
        eye = 1e-3 * torch.eye(basis.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(basis.T @ basis + eye, basis.T @ values)
        left = values - basis @ weights
        self.weights.copy_(weights)
        self.width.copy_(left.std(0).clamp(min=1e-3))
        scaled = left / self.width
        self.low.copy_(scaled.amin(0) - 0.2)
        self.high.copy_(scaled.amax(0) + 0.2)

    def standardise(self, raw: Tensor, ctx: Tensor) -> Tensor:
        """From numbers to what the flow is trained on."""
        return (raw - self._basis(ctx) @ self.weights) / self.width

    def layers_of(self, standard: Tensor, ctx: Tensor, energy: Tensor) -> LayerContext:
        """From what the flow makes (or real, standardised numbers) to layers."""
        standard = torch.minimum(torch.maximum(standard, self.low), self.high)
        raw = standard * self.width + self._basis(ctx) @ self.weights
        n = self.layers
        wanted = torch.clamp(torch.exp(torch.clamp(raw[:, :n], max=9.0)) - 1.5, min=0.0)
        # all layers together have as many points as the flow says of the whole shower
        number = torch.exp(raw[:, 2 * n : 2 * n + 1]) * energy
        counts = torch.floor(wanted * (number / (wanted.sum(1, keepdim=True) + 1e-3)) + 0.5)
        mean = torch.exp(torch.clamp(raw[:, n : 2 * n], max=4.0))
        mev = counts * mean
        total = torch.exp(raw[:, 2 * n + 1 : 2 * n + 2]) * energy
        gev = mev * (1e-3 * total / (mev.sum(1, keepdim=True) + 1e-9))
        return LayerContext(counts, gev, raw[:, 2 * n + 2 : 2 * n + 4], self.point_features(standard))

    def point_features(self, standard: Tensor) -> Tensor:
        """Standardised numbers as the point network sees them: of the layer, its neighbours in depth, the shower."""
        n = self.layers
        number, mean = standard[:, :n], standard[:, n : 2 * n]
        shower = standard[:, 2 * n :]
        whole = [shower[:, i : i + 1].expand(-1, n) for i in (0, 1, 4)]
        # front against back; a matrix product, as the bits of a mean over a part of the columns depend on the row
        side = torch.where(torch.arange(n, device=standard.device) < n // 2, 2.0 / n, -2.0 / n)
        depth = number @ side[:, None]
        return torch.clamp(torch.stack([number, mean, *whole, depth.expand(-1, n)], 2), -4.0, 4.0)


class ShowerFlow(nn.Module):
    """Neural spline flow over `ShowerFeatures` (zuko; couplings, so sampling takes one pass through each)."""

    def __init__(self, size: int, hidden: int, transforms: int, bins: int) -> None:
        super().__init__()
        self.flow = zuko.flows.NSF(
            features=size, context=CONTEXT, transforms=transforms, bins=bins, hidden_features=(hidden, hidden), passes=2
        )

    def loss(self, standard: Tensor, ctx: Tensor) -> Tensor:
        """Negative log-likelihood per dimension."""
        likelihood: Tensor = self.flow(ctx).log_prob(standard)
        return -likelihood.mean() / standard.shape[1]

    def forward(self, z: Tensor, ctx: Tensor) -> Tensor:
        """From standard normal noise [B, size] to standardised numbers."""
        made: Tensor = self.flow(ctx).transform.inv(z)
        return made


# ----------------------------------------------------------------------------------------------------------- points


def karras(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> list[float]:
    """Noise levels from high to low (Karras et al. 2206.00364, eq. 5)."""
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [(a + i / (steps - 1) * (b - a)) ** rho for i in range(steps)] if steps > 1 else [high]


def fourier(sigma: Tensor) -> Tensor:
    """Features of noise levels: c_noise = ln(sigma) / 4 and its harmonics, [..., 8]."""
    level = torch.log(sigma)[..., None] / 4.0
    waves = [f(k * level) for k in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]
    return torch.cat([level, level * level, *waves], -1)


class Swish(nn.Module):
    """x sigmoid(x), written with tanh: as fused kernels for the plain form depend on the place."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        half = 0.5 * x
        return half + half * torch.tanh(half)


class PointNetwork(nn.Module):
    """Denoiser of points (x, y, ln E), given what is known of their layer and shower.

    The part of the first layer that depends on layer and shower is computed once for each layer, not for each point.
    """

    def __init__(self, layers: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = layers
        self.layer = nn.Parameter(0.3 * torch.randn(layers, 8))
        self.slot = nn.Sequential(
            nn.Linear(CONTEXT + LayerContext.WIDTH + 8, hidden), Swish(), nn.Linear(hidden, hidden)
        )
        self.time = nn.Linear(TIME, hidden)
        self.point = nn.Linear(3, hidden, bias=False)
        body: list[nn.Module] = []
        for _ in range(depth):
            body += [Swish(), nn.Linear(hidden, hidden)]
        self.body = nn.Sequential(*body)
        self.out = nn.Sequential(Swish(), nn.Linear(hidden, 3))

    def slots(self, ctx: Tensor, features: Tensor) -> Tensor:
        """Known part for each layer: [B, CONTEXT], [B, layers, WIDTH] to [B, layers, hidden]."""
        n = self.layers
        whole = torch.cat(
            [
                ctx[:, None, :].expand(-1, n, CONTEXT),
                features,
                self.layer[None].expand(ctx.shape[0], n, self.layer.shape[1]),
            ],
            2,
        )
        known: Tensor = self.slot(whole)
        return known

    def forward(self, noisy: Tensor, time: Tensor, known: Tensor) -> Tensor:
        """[P, 3] points, [P, 8] or [8] time features, [P, hidden] known part, to [P, 3]."""
        h = self.point(noisy) + self.time(time) + known
        h = h + self.body(h)
        result: Tensor = self.out(h)
        return result


def log_normal(number: int, device: torch.device) -> Tensor:
    """Noise levels of the training: ln sigma ~ N(-1.2, 1.2)."""
    return torch.exp(-1.2 + 1.2 * torch.randn(number, device=device))


SIGMA_DATA = 0.5


def precondition(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in of EDM (2206.00364, table 1)."""
    total = sigma * sigma + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / torch.sqrt(total), 1.0 / torch.sqrt(total)


def scalars(sigma: float) -> tuple[float, float, float]:
    """The same as numbers."""
    total = sigma * sigma + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / math.sqrt(total), 1.0 / math.sqrt(total)

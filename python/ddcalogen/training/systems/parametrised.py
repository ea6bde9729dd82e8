# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Parametrised electromagnetic shower in a sampling calorimeter (after Grindhammer and Peters, hep-ex/0001020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ILD_ECAL_LAYER_DEPTH_MM", "ILD_ECAL_LAYER_DEPTH_X0", "ParametrisedShower", "natural_log"]

ILD_ECAL_LAYER_DEPTH_MM = tuple(
    round(lower + 0.2625 - 1804.8, 4)
    for lower in (
        *(1811.340, 1814.465, 1823.810, 1826.935, 1836.280, 1839.405, 1848.750, 1851.875, 1861.220, 1864.345),
        *(1873.690, 1876.815, 1886.160, 1889.285, 1898.630, 1901.755, 1911.100, 1914.225, 1923.570, 1926.695),
        *(1938.140, 1943.365, 1954.810, 1960.035, 1971.480, 1976.705, 1988.150, 1993.375, 2004.820, 2010.045),
    )
)
"""Depth of the silicon mid-planes of the ILD ECAL behind its face, mm."""

LAYERS = len(ILD_ECAL_LAYER_DEPTH_MM)


def _depth_x0() -> tuple[float, ...]:
    """Radiation lengths in front of each silicon layer: tungsten, and the copper and boards between slabs."""
    depth, total = [], 0.0
    for layer in range(LAYERS):
        total += (2.1 if layer < 20 else 4.2) / 3.504  # tungsten plate in front of the layer
        total += 0.070 if layer % 2 == 0 and layer else 0.010  # boards, copper, air between slabs; carbon fibre
        depth.append(round(total, 4))
    return tuple(depth)


ILD_ECAL_LAYER_DEPTH_X0 = _depth_x0()


def natural_log(x: Tensor) -> Tensor:
    """Natural logarithm from operators whose result does not depend on an element's place in the tensor.

    The vectorised Log of onnxruntime's CPU provider rounds differently in the tail of a buffer, which would make a
    shower depend on its place in the batch. x > 0; accurate to float rounding between 1e-9 and 1e9.
    """
    p = torch.pow(x, 1.0 / 64.0)
    y = 32.0 * (p - 1.0 / p)
    for _ in range(2):  # Halley's iteration
        e = torch.exp(y)
        y = y + 2.0 * (x - e) / (x + e)
    return y


class ParametrisedShower(nn.Module):
    """First version with parameters near the published ones; replaced by the fit."""

    energy_gev = (0.5, 130.0)
    capacity_base, capacity_per_gev, capacity_maximum = 300.0, 150.0, 20000

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("depth_mm", torch.tensor(ILD_ECAL_LAYER_DEPTH_MM))
        self.register_buffer("depth_x0", torch.tensor(ILD_ECAL_LAYER_DEPTH_X0))
        zigzag = [1.0 + 0.08 * (-1) ** (layer + 1) for layer in range(LAYERS)]
        self.weight = nn.Parameter(torch.tensor(zigzag) * 0.0152)
        self.register_buffer("poisson_k", torch.arange(16, dtype=torch.float32))
        self.register_buffer(
            "poisson_log_factorial", torch.tensor([math.lgamma(k + 1.0) for k in range(16)], dtype=torch.float32)
        )
        # spot energy (MeV) at equidistant probabilities: a Landau-like peak at one MIP, a low tail
        quantile = (torch.arange(257, dtype=torch.float64) / 256).clamp(1e-4, 0.9995)
        landau = 0.17 - 0.035 * torch.log(-torch.log(quantile))
        self.register_buffer("spot_quantiles_mev", landau.clamp_min(0.005).to(torch.float32))

    def forward(
        self,
        energy: Tensor,
        direction: Tensor,
        pdg: Tensor,
        z_shower: Tensor,
        u_conversion: Tensor,
        z_layer_energy: Tensor,
        z_layer_count: Tensor,
        u_spot: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return packed spots [P, 4] (x mm, y mm, layer, GeV) and counts [B]."""
        energy = torch.clamp(energy, self.energy_gev[0], self.energy_gev[1])
        cos = torch.clamp(direction[:, 2:3], min=0.2)
        tan_x, tan_y = direction[:, 0:1] / cos, direction[:, 1:2] / cos
        photon = (pdg == 22).to(torch.float32)
        log_y = natural_log(energy / 0.0095)
        start = photon * (-9.0 / 7.0) * natural_log(u_conversion) + (1.0 - photon) * 0.286
        t_max = torch.exp(natural_log(log_y - 0.6) + 0.12 * z_shower[:, 0:1])
        alpha = 1.0 + torch.exp(
            natural_log(0.4 + 0.5 * log_y) + 0.15 * (0.7 * z_shower[:, 0:1] + 0.7 * z_shower[:, 1:2])
        )
        beta = (alpha - 1.0) / t_max
        t = torch.clamp(self.depth_x0 / cos - start, min=1e-3)
        log_gamma = (
            (alpha + 2.5) * natural_log(alpha + 3.0)
            - (alpha + 3.0)
            + 0.918938533
            + 1.0 / (12.0 * (alpha + 3.0))
            - natural_log(alpha * (alpha + 1.0) * (alpha + 2.0))
        )
        density = torch.exp((alpha - 1.0) * natural_log(beta * t) - beta * t - log_gamma) * beta
        mean_mev = 1000.0 * energy * self.weight * density / cos
        spot_mev = 0.2
        mu = mean_mev / spot_mev
        spread = torch.sqrt(0.5 / (mu + 0.5))
        mu = mu * torch.clamp(1.0 - spread * spread / 9.0 + spread * z_layer_energy / 3.0, min=0.0) ** 3
        small = torch.clamp(mu, min=1e-6, max=6.0)[:, :, None]
        pmf = torch.exp(self.poisson_k * natural_log(small) - small - self.poisson_log_factorial)
        below = torch.cumsum(pmf, 2) < 0.5 * (1.0 + torch.erf(z_layer_count * math.sqrt(0.5)))[:, :, None]
        n_small = below.to(torch.int64).sum(2)
        z = z_layer_count
        n_large = torch.floor(torch.clamp(mu + torch.sqrt(mu) * z + (z * z - 1.0) / 6.0 + 0.5, min=0.0)).to(torch.int64)
        n = torch.where(mu < 6.0, n_small, n_large)
        limit = torch.clamp(
            torch.floor(self.capacity_base - 1.0 + self.capacity_per_gev * energy), max=float(self.capacity_maximum)
        ).to(torch.int64)
        ends = torch.minimum(torch.cumsum(n, 1), limit)
        n = torch.diff(ends, dim=1, prepend=torch.zeros_like(limit))
        counts = ends[:, -1]

        # packed spots
        cell_ends = torch.cumsum(n.reshape(-1), 0)
        total = int(cell_ends[-1].item())
        torch._check(total >= 0)
        first = torch.scatter_add(
            torch.zeros(total + 1, dtype=torch.int64), 0, cell_ends[:-1], torch.ones_like(cell_ends[:-1])
        )
        cell = torch.cumsum(first, 0)[:-1]
        rows = torch.arange(energy.shape[0])[:, None]
        skip = (rows * u_spot.shape[1] - (torch.cumsum(counts, 0) - counts)[:, None]).expand(-1, LAYERS).reshape(-1)
        noise = torch.index_select(u_spot.reshape(-1, 4), 0, torch.arange(total) + torch.index_select(skip, 0, cell))
        depth = self.depth_x0 / cos / (t_max + start)
        table = torch.stack(
            [
                self.depth_mm * tan_x,
                self.depth_mm * tan_y,
                torch.arange(LAYERS, dtype=torch.float32).expand(energy.shape[0], -1),
                1.5 + 3.0 * depth,
                12.0 + 8.0 * depth,
                torch.clamp(0.85 - 0.15 * depth, 0.3, 0.9),
            ],
            2,
        ).reshape(-1, 6)
        x0, y0, layer, core, tail, p = torch.index_select(table, 0, cell).unbind(1)
        u_r, u_phi, u_e, _ = noise.unbind(1)
        in_core = u_r < p
        u = torch.where(in_core, u_r / p, (u_r - p) / (1.0 - p))
        u = torch.clamp(u, max=0.9985)
        r = torch.where(in_core, core, tail) * torch.sqrt(u / (1.0 - u))
        v = 2.0 * u_phi - 1.0
        w = v * v
        s = v * (1.5707963 + w * (-0.6459641 + w * (0.0796926 + w * (-0.0046818 + w * 0.00016044))))
        s = torch.clamp(s, -1.0, 1.0)
        c = torch.sqrt(1.0 - s * s)
        place = u_e * 256.0
        node = torch.clamp(torch.floor(place), max=255.0)
        index = node.to(torch.int64)
        low = torch.index_select(self.spot_quantiles_mev, 0, index)
        high = torch.index_select(self.spot_quantiles_mev, 0, index + 1)
        e = (low + (place - node) * (high - low)) * 1e-3
        spots = torch.stack([x0 + r * (1.0 - 2.0 * s * s), y0 + r * 2.0 * s * c, layer, e], 1)
        return spots, counts

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of showers on a grid: what critics see of them, and numbers for layers and rings of a generator.

Networks of convolutions that average over the volume hardly know at what depth something is, and a few thousand steps
do not teach a stack of convolutions where a shower starts. `Profiles` shows critics (and encoders) each layer and each
ring around the axis as a whole; `ProfileHead` gives a generator a direct way to them. Neither is in the sources of the
grid systems; both are off by default.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddcalogen.training.grid_networks import Size, dense

__all__ = ["PROFILE_UNIT_MEV", "RINGS", "ProfileHead", "ProfileView", "Profiles", "ring_of_cells"]

RINGS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0)
"""Outer edges of the rings around the axis, cells; one more is the rest."""
PROFILE_UNIT_MEV = 10.0
"""What a profile's number of 1 counts like in gradient penalties, beside cells in MeV."""
FEW = 4.0
"""Energy of a layer, in those from which a shower starts, at which its centre of gravity is halved."""
SHARPNESS = 4.0
"""How steeply a layer counts as started, per unit of the logarithm of its energy."""


def ring_of_cells(size: Size) -> NDArray[np.float32]:
    """Which ring a cell of a layer is in: float32 [nx * ny, rings], 1 there and 0 elsewhere."""
    x, y = _places(size)
    ring = np.searchsorted(RINGS, np.hypot(x, y), side="right")
    return np.eye(len(RINGS) + 1, dtype=np.float32)[ring]


def _places(size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the cells of a layer from the axis, in cells, float64 [nx * ny] each."""
    x, y = (np.arange(n) - 0.5 * (n - 1) for n in size[1:])
    return np.repeat(x, len(y)), np.tile(y, len(x))


class Profiles(nn.Module):
    """Cells to profiles of the shower, all of order `PROFILE_UNIT_MEV`.

    Of each layer: logarithm of its energy, logarithm of its number of hits (a cell of 0.1 MeV counts half), centre of
    gravity in x and y and logarithm of the mean squared radius (each drawn to 0 where there is little energy), and the
    smooth probability that the shower has not started there or before. Of each ring: logarithms of energy and hits. Of
    each third of the layers: centre of gravity, in a finer unit. Of all: logarithm of the energy. What depends on the
    number of hits is last: the first `smooth` numbers also make sense for a mean of several showers.

    Of order 2 there are second moments of each layer instead of the radius: logarithms of the mean squares of x and y,
    and the mean of x y over that of the squared radius. So a stretched shower shows, as at an angle.

    Parameters
    ----------
    size
        Layers, nx, ny.
    start_mev
        Energy of a layer from which a shower counts as started.
    in_a_row
        Layers in a row that must be above it: 1, or 2 for hadrons.
    order
        1 or 2.
    """

    def __init__(self, size: Size, start_mev: float, in_a_row: int, order: int = 1) -> None:
        super().__init__()
        self.start_mev, self.in_a_row, self.order = start_mev, in_a_row, order
        of_layer = 3 if order == 1 else 5  # smooth numbers of a layer besides energy and start
        self.features = (of_layer + 3) * size[0] + 2 * (len(RINGS) + 1) + 7
        self.smooth = (of_layer + 2) * size[0] + len(RINGS) + 8
        x, y = (torch.from_numpy(v.astype(np.float32)) for v in _places(size))
        self.ring: Tensor
        self.place: Tensor
        self.register_buffer("ring", torch.from_numpy(ring_of_cells(size)), persistent=False)
        second = [x * x + y * y] if order == 1 else [x * x, y * y, x * y]
        self.register_buffer("place", torch.stack([x, y, *second]), persistent=False)

    def forward(self, image_mev: Tensor) -> Tensor:
        """Cells [B, 1, layers, nx, ny] in MeV, none negative, to [B, features]."""
        with torch.autocast(image_mev.device.type, enabled=False):
            cells = image_mev.float()[:, 0].flatten(2)
            energy = cells.sum(2)
            hits = cells / (cells + 0.1)
            moments = [(cells * of_cell).sum(2) for of_cell in self.place]
            x, y, *second = (v / (energy + FEW * self.start_mev) for v in moments)
            if self.order == 2:
                tilt = second.pop() / (second[0] + second[1] + 1.0)
            thirds = [_thirds(v) for v in (*moments[:2], energy)]
            rings, ring_hits = (v.sum(1) @ self.ring for v in (cells, hits))
            sums, numbers = [energy, rings, energy.sum(1, keepdim=True)], [hits.sum(2), ring_hits]
            profile = torch.cat(
                [
                    *(0.5 * torch.log(1.0 + 5.0 * v) for v in sums),
                    *(0.5 * v for v in (x, y)),
                    *(1.5 * v / (thirds[2] + FEW * self.start_mev) for v in thirds[:2]),
                    *(0.5 * torch.log(1.0 + v) for v in second),
                    *([2.0 * tilt] if self.order == 2 else []),
                    self.not_started(energy),
                    *(0.5 * torch.log(1.0 + v) for v in numbers),
                ],
                1,
            )
            return profile * PROFILE_UNIT_MEV

    def not_started(self, energy_mev: Tensor) -> Tensor:
        """Smooth probability that the shower has not started in a layer or before, [B, layers]."""
        above = torch.sigmoid(SHARPNESS * (torch.log(energy_mev + 1e-3) - math.log(self.start_mev)))
        if self.in_a_row == 2:
            above = above * torch.cat([above[:, 1:], torch.zeros_like(above[:, :1])], 1)
        return torch.exp(torch.cumsum(torch.log(1.0 - 0.999 * above), 1))


def _thirds(of_layers: Tensor) -> Tensor:
    """Sums over thirds of the layers, [B, layers] to [B, 3]."""
    return torch.stack([part.sum(1) for part in torch.tensor_split(of_layers, 3, 1)], 1)


class ProfileView(nn.Module):
    """How a critic sees profiles: a dense network of profiles and condition.

    Parameters
    ----------
    profiles
        Numbers of a profile.
    condition
        Numbers of the condition.
    width
        Of the layers, and numbers that come out.
    """

    def __init__(self, profiles: int, condition: int, width: int) -> None:
        super().__init__()
        self.body = dense([profiles + condition, width, width], finish=True)

    def forward(self, profile: Tensor, condition: Tensor) -> Tensor:
        """[B, profiles] and [B, condition] to [B, width]."""
        result: Tensor = self.body(torch.cat([profile * (1.0 / PROFILE_UNIT_MEV), condition], 1))
        return result


class ProfileHead(nn.Module):
    """Latent variables to a number for each cell by way of layers and rings.

    In each layer, each ring has a number, and one that goes with the cosine and one with the sine of the azimuth, by
    which a layer can move to a side; of order 2 also those with twice the azimuth, by which it can be stretched. They
    are nothing at the start.

    Parameters
    ----------
    inputs
        Latent variables, condition included.
    size
        Layers, nx, ny.
    width
        Of the two hidden layers.
    order
        1 or 2.
    """

    def __init__(self, inputs: int, size: Size, width: int, order: int = 1) -> None:
        super().__init__()
        self.size = size
        x, y = _places(size)
        radius, ring = np.maximum(np.hypot(x, y), 1e-6), ring_of_cells(size)
        cos, sin = x / radius, y / radius
        waves = [cos, sin] if order == 1 else [cos, sin, cos * cos - sin * sin, 2.0 * cos * sin]
        shape = np.concatenate([ring, *(ring * wave[:, None] for wave in waves)], 1)
        self.shape: Tensor
        self.register_buffer("shape", torch.from_numpy(shape.T.astype(np.float32).copy()), persistent=False)
        self.body = dense([inputs, width, width], finish=True)
        self.end = nn.Linear(width, size[0] * len(self.shape))
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, latent: Tensor) -> Tensor:
        """[B, inputs] to [B, 1, layers, nx, ny]."""
        numbers = self.end(self.body(latent)).float().reshape(-1, self.size[0], len(self.shape))
        with torch.autocast(latent.device.type, enabled=False):
            return torch.matmul(numbers, self.shape).reshape(-1, 1, *self.size)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on regular grids [B, channels, layers, nx, ny], shared by the grid systems."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ddcalogen.training.representations import Batch

__all__ = [
    "MEV_PER_GEV",
    "Layer",
    "MinibatchDiscrimination",
    "PostProcessor",
    "Size",
    "VolumeStack",
    "cut_and_convert",
    "dense",
    "images_mev",
    "small_weights",
    "with_logarithm",
]

MEV_PER_GEV = 1e3
Size = tuple[int, int, int]


def images_mev(batch: Batch) -> Tensor:
    """Cell energies of a batch in MeV, float32 [B, 1, layers, nx, ny]."""
    return batch["grid"][:, None] * MEV_PER_GEV


def with_logarithm(image_mev: Tensor) -> Tensor:
    """Two channels of cells in MeV [B, 1, ...], for critics: linear and logarithmic, of order 1, [B, 2, ...].

    The linear one alone hardly shows cells near the energy of a minimum-ionising particle beside those of the core.
    """
    return torch.cat([image_mev * 0.02, 0.5 * torch.log(1.0 + 10.0 * image_mev)], 1)


def cut_and_convert(image_mev: Tensor, threshold_mev: float) -> Tensor:
    """Cells in MeV [B, 1, layers, nx, ny], any sign, to a grid in GeV [B, layers, nx, ny]: 0 below the threshold."""
    image = image_mev[:, 0]
    return torch.where(image >= threshold_mev, image, torch.zeros_like(image)) * (1.0 / MEV_PER_GEV)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution: channels out, kernel, stride, padding (a number: the same along all axes).

    `extra` is what a transposed one adds at the upper ends ("output padding").
    """

    channels: int
    kernel: int | Size
    stride: int | Size = 1
    padding: int | Size = 0
    transposed: bool = False
    extra: int = 0

    def size_after(self, size: Size) -> Size:
        """Size of the volume behind it."""
        after = []
        for n, k, s, p in zip(size, _three(self.kernel), _three(self.stride), _three(self.padding), strict=True):
            after.append((n - 1) * s - 2 * p + k + self.extra if self.transposed else (n + 2 * p - k) // s + 1)
        return (after[0], after[1], after[2])

    def build(self, channels: int) -> nn.Module:
        """Return the convolution, without bias."""
        kernel, stride, padding = (_three(v) for v in (self.kernel, self.stride, self.padding))
        if self.transposed and stride == (1, 1, 1) and not self.extra:
            # the same as a convolution with the kernel turned round, which is much faster on CPUs
            around = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1], kernel[2] - 1 - padding[2])
            made: nn.Module = nn.Conv3d(channels, self.channels, kernel, 1, around, bias=False)
        elif self.transposed:
            made = nn.ConvTranspose3d(channels, self.channels, kernel, stride, padding, self.extra, bias=False)
        else:
            made = nn.Conv3d(channels, self.channels, kernel, stride, padding, bias=False)
        # the same numbers, laid out so that training on CPUs is up to four times as fast
        return made.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def _three(value: int | Size) -> Size:
    return (value, value, value) if isinstance(value, int) else value


class VolumeStack(nn.Sequential):
    """Convolutions with normalisation and leaky ReLU behind each; the last may be bare.

    Parameters
    ----------
    channels, size
        Of what comes in.
    layers
        The convolutions.
    norm
        "layer": over the volume of each channel, with a factor and offset for each cell, as the founding work has it;
        "batch", "instance" or None.
    slope
        Of the leaky ReLU below 0.
    norm_first
        False: no normalisation behind the first convolution.
    finish
        Normalisation and activation behind the last convolution, too.

    Attributes
    ----------
    channels, size
        Of what comes out.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        layers: Sequence[Layer],
        *,
        norm: Literal["layer", "batch", "instance"] | None = "layer",
        slope: float = 0.2,
        norm_first: bool = True,
        finish: bool = True,
    ) -> None:
        parts: list[nn.Module] = []
        for number, layer in enumerate(layers):
            parts.append(layer.build(channels))
            channels, size = layer.channels, layer.size_after(size)
            if number == len(layers) - 1 and not finish:
                break
            if number or norm_first:
                if norm == "layer":
                    parts.append(nn.LayerNorm(size))
                elif norm == "batch":
                    parts.append(nn.BatchNorm3d(channels))
                elif norm == "instance":
                    parts.append(nn.InstanceNorm3d(channels))
            parts.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
        super().__init__(*parts)
        self.channels, self.size = channels, size

    @property
    def features(self) -> int:
        """Numbers that come out for each shower."""
        return self.channels * self.size[0] * self.size[1] * self.size[2]


def dense(sizes: Sequence[int], slope: float = 0.2, *, finish: bool = False) -> nn.Sequential:
    """Linear layers of these sizes with leaky ReLU between them (and behind the last, if `finish`)."""
    parts: list[nn.Module] = []
    for number, (a, b) in enumerate(itertools.pairwise(sizes)):
        parts.append(nn.Linear(a, b))
        if finish or number < len(sizes) - 2:
            parts.append(nn.LeakyReLU(slope))
    return nn.Sequential(*parts)


def small_weights(module: nn.Module) -> None:
    """Start weights as N(0, 0.02) and factors of normalisations as N(1, 0.02), as DCGAN does (arXiv:1511.06434)."""
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm3d, nn.LayerNorm)) and part.weight is not None:
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


class MinibatchDiscrimination(nn.Module):
    """How close a shower is to the others of its batch, as further features of a discriminator (arXiv:1606.03498, 3.2).

    o(x_i)_k = sum over j != i of exp(-|M_i,k - M_j,k|_1), M = f(x) T: a generator that always makes the same shower
    gives itself away.

    Parameters
    ----------
    features
        Numbers for each shower that are compared.
    kernels, size
        Numbers k of comparisons, and of components of each.
    """

    def __init__(self, features: int, kernels: int, size: int) -> None:
        super().__init__()
        self.kernels, self.size = kernels, size
        self.project = nn.Linear(features, kernels * size, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, features] to [B, kernels]."""
        m = self.project(features).reshape(-1, self.kernels, self.size)
        distance = (m[:, None] - m[None]).abs().sum(-1)
        return torch.exp(-distance).sum(1) - 1.0


class PostProcessor(nn.Module):
    """Post-processor network of the BIB-AE (arXiv:2005.05334, section 4.3): changes cell energies, moves nothing.

    Convolutions with kernel 1 see each cell alone, together with an embedding of the condition and the shower's visible
    energy.

    Parameters
    ----------
    size
        Layers, nx, ny.
    condition
        Numbers in the condition.
    width, layers
        Channels; convolutions in all.
    norm
        Layer normalisation over the volume, as in the photon and pion BIB-AE; False: none, as in the one with angles.
    residual
        True: the network also sees the logarithm of the cells and gives the change, which is nothing at the start and
        nothing where a cell is empty.
    """

    def __init__(
        self, size: Size, condition: int, *, width: int, layers: int, norm: bool = True, residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        half = max(1, width // 2)
        self.embed = dense([condition + 1, half, half, half], 0.01, finish=True)
        first = [Layer(width, 1)]
        self.first = VolumeStack(2 if residual else 1, size, first, norm="layer" if norm else None, slope=0.01)
        self.body = VolumeStack(
            width + half,
            size,
            [Layer(width, 1)] * (layers - 3),
            norm="layer" if norm else None,
            slope=0.01,
        )
        self.end = nn.Sequential(nn.Conv3d(width, width, 1), nn.LeakyReLU(0.01), nn.Conv3d(width, 1, 1, bias=False))
        if residual:
            nn.init.zeros_(self.end[-1].weight)  # type: ignore[arg-type]

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """[B, 1, layers, nx, ny] in MeV and [B, condition] to [B, 1, layers, nx, ny] in MeV, of any sign."""
        total = image.flatten(1).sum(1, keepdim=True) * _ENERGY_SUM_UNIT
        about = self.embed(torch.cat([total, condition], 1))
        cells = self.first(with_logarithm(image) if self.residual else image)
        about = about[:, :, None, None, None].expand(-1, -1, *cells.shape[2:])
        cells = self.body(torch.cat([cells, about], 1))
        result: Tensor = self.end(cells)
        return image + result * (image > 0).to(image.dtype) if self.residual else result


_ENERGY_SUM_UNIT = 1e-3
"""Visible energies enter networks in GeV."""

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Outline of a hadron shower, drawn before its layers: where it starts, energies of blocks of layers.

A hadron passes layers as a single particle until it interacts; where it does so decides how much leaks, how much each
calorimeter sees and how a layer looks. So the start is drawn first, from a hazard in each layer (discrete survival
model: a logistic regression on the energy and the kind of the layer), then the energy of the shower given the start,
then how it is shared among blocks of layers, the last block first: those at the back hold what is about to leak.

Energies are weighted by layer so that their sum is the calibrated energy of several calorimeters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddcalogen.errors import ConfigurationError
from ddcalogen.training.data import Showers
from ddcalogen.training.operators import natural_log
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.metrics import calibration_factors
from ddcalogen.validation.observables import START_GEV, THICK_FROM

if TYPE_CHECKING:
    from ddcalogen.training.systems._layered_networks import Incident, Mixture

__all__ = [
    "BLOCK_FEATURES",
    "HAZARD_FEATURES",
    "START_FEATURES",
    "STEP_FEATURES",
    "Outline",
    "calibrated",
    "start_layers",
    "start_mev",
]

Doubles = NDArray[np.float64]

HAZARD_FEATURES, START_FEATURES, STEP_FEATURES, BLOCK_FEATURES = 9, 7, 7, 5
"""Features of: the hazard of a layer; a shower, of its start; a layer, of the start; a layer, of its block."""
SHARE_FLOOR = 3e-4
"""Shares of blocks are learned above this; what is drawn below is none."""
_LIT, _QUIET = 1.05, 0.98
"""Least energy of the two layers at the start and most of layers before it, in units of `START_GEV`."""
_HAZARD_PRIOR = 1.0
"""Standard deviation expected of the hazard's weights."""
_ANY = 10.0
"""Beyond any ln(1 + E / unit) of a layer."""
_SINGLE = 0.6
"""Particles in a layer up to which its energy is that of single particles, in units of `START_GEV`."""


def start_mev(stack: Stack) -> Doubles:
    """Energy of two layers in a row from which a shower counts as started, MeV, float64 [layers]."""
    limits = np.empty(stack.layers)
    for name, layers in stack.parts.items():
        limits[layers] = 1e3 * START_GEV[name]
    return limits


def start_layers(layer_mev: Doubles, limits_mev: Doubles) -> NDArray[np.int64]:
    """First of two layers in a row above the limits, int64 [N]; the number of layers if there are none."""
    above = layer_mev > limits_mev
    above[:, :-1] &= above[:, 1:]
    above[:, -1] = False
    return np.asarray(np.where(above.any(1), above.argmax(1), layer_mev.shape[1]), np.int64)


def calibrated(showers: Showers, stack: Stack) -> Doubles:
    """Factor of each layer to energies whose sum is calibrated, relative to the last layer's: float64 [layers].

    One for each calorimeter, by least squares (see `calibration_factors`), twice that behind an ECAL's thick absorbers.
    """
    if len(stack.parts) == 1:
        return np.ones(stack.layers)
    factors = np.ones(stack.layers)
    if "ecal" in stack.parts:
        factors[stack.parts["ecal"].start + THICK_FROM : stack.parts["ecal"].stop] = 2.0
    energy = showers.layer_energy_gev(stack.layers) * factors
    sums = np.stack([energy[:, layers].sum(1) for layers in stack.parts.values()], 1)
    fitted = calibration_factors(sums, showers.energy_gev.astype(np.float64))
    if not np.all(np.isfinite(fitted)) or fitted.min() <= 0.0:  # too few showers to tell
        fitted = np.ones(len(fitted))
    for factor, layers in zip(fitted, stack.parts.values(), strict=True):
        factors[layers] *= factor / fitted[-1]
    return factors


class Outline(nn.Module):
    """Start of a shower and energies of blocks of layers, with the features of other networks that come of them.

    Parameters
    ----------
    blocks
        First layers of the blocks but the first one, which starts with layer 0.
    depth, kind, second
        See `Scales`.
    shares
        Of the blocks but the first.

    Raises
    ------
    ConfigurationError
        The blocks are not in order within the stack.
    """

    factor: Tensor
    hazard: Tensor
    limit_mev: Tensor
    single_mev: Tensor
    start_table: Tensor
    hazard_levels: Tensor
    depth: Tensor
    index: Tensor
    upto: Tensor
    size: Tensor
    behind: Tensor

    def __init__(
        self,
        stack: Stack,
        blocks: Sequence[int],
        depth: Sequence[float],
        kind: Sequence[float],
        second: Sequence[float],
        shares: Sequence[Mixture],
    ) -> None:
        super().__init__()
        layers = self.layers = stack.layers
        self.edges = [0, *blocks, layers]
        if any(a >= b for a, b in itertools.pairwise(self.edges)):
            raise ConfigurationError(
                "system.blocks are not in order within the calorimeter",
                found=", ".join(map(str, blocks)),
                expected=f"increasing, from 1 to {layers - 1}",
            )
        self.share = nn.ModuleList(shares)
        self.register_buffer("factor", torch.ones(layers))
        self.register_buffer("hazard", torch.zeros(1, HAZARD_FEATURES))
        self.register_buffer("limit_mev", torch.from_numpy(start_mev(stack)).float(), persistent=False)
        self.register_buffer("single_mev", torch.from_numpy(_SINGLE * start_mev(stack)).float())
        deep, last = [*depth, depth[-1]], depth[-1]
        first_part = next(iter(stack.parts.values())).stop if len(stack.parts) > 1 else 0
        table = torch.tensor(
            [
                [x / 12.0 - 1.0 for x in deep],
                [math.exp(-0.15 * (last - x)) for x in deep],
                [0.0] * layers + [1.0],
                [1.0] + [0.0] * layers,
                [float(n < first_part) for n in range(layers)] + [0.0],
                [float(k > 0.5 and n < first_part) for n, k in enumerate(kind)] + [0.0],
                [math.exp(-(first_part - n) / 3.0) if n < first_part else 0.0 for n in range(layers + 1)],
            ]
        )
        number = torch.arange(layers).to(torch.float32)
        kinds, edge = torch.tensor(kind), torch.tensor([p.start for p in stack.parts.values() if p.start])
        # what lies in front of a layer, not how deep it is: nuclei know no depth
        levels = [torch.ones(layers), number == 0, number == 1]
        levels += [torch.isin(number, edge), torch.tensor(second), kinds > 0.5, kinds < -0.5]
        size, behind = torch.zeros(layers), torch.zeros(layers)
        for a, b in itertools.pairwise(self.edges):
            size[a:b], behind[a:b] = b - a, torch.arange(b - a, 0, -1).to(torch.float32)
        for name, value in (
            ("start_table", table),
            ("hazard_levels", torch.stack([level.to(torch.float32) for level in levels])),
            ("depth", torch.tensor(deep)[:, None]),
            ("index", number),
            ("upto", torch.triu(torch.ones(layers, layers))),
            ("size", size),
            ("behind", behind),
        ):
            self.register_buffer(name, value, persistent=False)

    @property
    def shares(self) -> list[Mixture]:
        """Mixtures of the blocks' shares, last block first."""
        return cast("list[Mixture]", list(self.share))

    @property
    def draws(self) -> int:
        """Numbers of noise it needs."""
        return 1 + len(self.share)

    # ----------------------------------------------------------------------------------------------------- start

    def _hazard_features(self, p: Incident) -> Tensor:
        """Of each layer, [B, HAZARD_FEATURES, layers]."""
        levels = self.hazard_levels[None].expand(p.energy.shape[0], -1, -1)
        energy = p.log_energy[:, :, None] * torch.ones_like(levels[:, :1])
        return torch.cat([levels, energy, energy * levels[:, 1:2]], 1)

    def _hazard(self, p: Incident) -> Tensor:
        """Logit of the probability that a shower starts in a layer if it has not before, [B, 1, layers]."""
        return torch.clamp(torch.matmul(self.hazard, self._hazard_features(p)), -12.0, 12.0)

    def start_nll(self, p: Incident, start: Tensor) -> Tensor:
        """Negative log-likelihood of starts [B, 1] (float32), [B]."""
        logit = self._hazard(p)[:, 0, :-1]  # one layer alone never counts as a start
        seen = (self.index[:-1] <= start).to(torch.float32)
        here = (self.index[:-1] == start).to(torch.float32)
        loss = nn.functional.binary_cross_entropy_with_logits(logit, here, reduction="none")
        return (loss * seen).sum(1)

    def draw_start(self, p: Incident, u: Tensor) -> Tensor:
        """Draw the layer where the shower starts with uniform u [B, 1]: float32 [B, 1]."""
        spared = natural_log(torch.clamp(torch.sigmoid(-self._hazard(p)), min=1e-6))
        survival = torch.exp(torch.matmul(spared, self.upto))[:, 0, :-1]
        start = torch.matmul((survival > u).to(torch.float32)[:, None], torch.ones(self.layers - 1, 1))[:, :, 0]
        return start + (start > self.layers - 1.5).to(torch.float32)

    def bounds(self, start: Tensor, unit_mev: float) -> tuple[Tensor, Tensor, Tensor]:
        """What the energies of layers must keep to so that a shower starts where it was drawn to, [B, layers] each.

        As ln(1 + E / unit): the least, the most, and the most in a layer behind one above the limit.
        """
        past = self.index - start
        limit = natural_log(1.0 + self.limit_mev * self.factor * (_QUIET / unit_mev))
        least = natural_log(1.0 + self.limit_mev * self.factor * (_LIT / unit_mev))
        lit = (torch.abs(past - 0.5) < 0.9).to(torch.float32)
        quiet = limit + _ANY * (past > -0.5).to(torch.float32)
        return lit * least, limit + _ANY * (torch.abs(past + 1.0) > 0.5).to(torch.float32), quiet

    def _row(self, start: Tensor) -> Tensor:
        """One at the start, [B, layers + 1, 1]."""
        every = torch.arange(self.layers + 1).to(torch.float32)
        return (torch.abs(every - start) < 0.5).to(torch.float32)[:, :, None]

    def start_features(self, start: Tensor) -> Tensor:
        """What networks of the whole shower see of the start, [B, START_FEATURES, 1]."""
        return torch.matmul(self.start_table, self._row(start))

    def step_features(self, start: Tensor) -> Tensor:
        """What networks of a layer see of the start, [B, STEP_FEATURES, layers]."""
        past = self.index - start
        after = (past > -0.5).to(torch.float32)
        behind = torch.relu(past)
        depth = self.depth[:-1, 0] - torch.matmul(self.depth[:, 0][None, None], self._row(start))[:, :, 0]
        columns = [
            *(1.0 - after, *((torch.abs(past - k) < 0.5).to(torch.float32) for k in (-1.0, 0.0, 1.0))),
            *(after * torch.exp(behind * (-1.0 / 3.0)), after * torch.exp(behind * -0.1)),
            torch.clamp(0.1 * depth, -1.0, 2.0),
        ]
        return torch.stack(columns, 1)

    # ---------------------------------------------------------------------------------------------------- blocks

    def sums(self, layer_mev: Tensor) -> list[Tensor]:
        """Energies of the blocks, [B, 1] each, first block first."""
        return [layer_mev[:, a:b].sum(1, keepdim=True) for a, b in itertools.pairwise(self.edges)]

    def shares_nll(self, features: Tensor, layer_mev: Tensor) -> Tensor:
        """Negative log-likelihood of the blocks' shares given features [B, F, 1], [B]."""
        loss = torch.zeros(len(layer_mev))
        left, known = layer_mev.sum(1, keepdim=True), features
        for mixture, block in zip(self.shares, reversed(self.sums(layer_mev)[1:]), strict=True):
            share = block / torch.clamp(left, min=1e-6) + SHARE_FLOOR * (0.3 + 0.7 * torch.rand_like(block))
            place = torch.logit(torch.clamp(share, max=1.0 - SHARE_FLOOR * (0.3 + 0.7 * torch.rand_like(share))))
            loss = loss + mixture.nll(known.permute(1, 0, 2).reshape(1, known.shape[1], -1), place.reshape(1, -1))[0]
            known = torch.cat([known, 0.3 * place[:, None]], 1)
            left = left - block
        return loss

    def fit_hazard(self, p: Incident, start: Tensor) -> None:
        """Fit the hazard to starts [B, 1] (float32): logistic regression by Newton's method."""
        features = self._hazard_features(p)[:, :, :-1].double()
        seen = self.index[:-1] <= start
        here = (self.index[:-1] == start)[seen].double()
        x = features.permute(0, 2, 1)[seen]
        # all but the constant are expected to be small
        prior = torch.eye(HAZARD_FEATURES).double() / _HAZARD_PRIOR**2
        prior[0, 0] = 1e-3
        weights = torch.zeros(HAZARD_FEATURES).double()
        weights[0] = -2.0
        for _ in range(30):
            chance = torch.sigmoid(x @ weights)
            slope = x.T @ (here - chance) - prior @ weights
            curvature = (x * (chance * (1.0 - chance))[:, None]).T @ x + prior
            weights = weights + torch.clamp(torch.linalg.solve(curvature, slope), -1.0, 1.0)
        self.hazard.copy_(weights[None])

    def standardise(self, layer_mev: Tensor) -> None:
        """Take centres and scales from examples."""
        left = layer_mev.sum(1, keepdim=True)
        for mixture, block in zip(self.shares, reversed(self.sums(layer_mev)[1:]), strict=True):
            share = torch.clamp(block / torch.clamp(left, min=1e-6), SHARE_FLOOR, 1.0 - SHARE_FLOOR)
            mixture.standardise(torch.logit(share))
            left = left - block

    def draw_blocks(self, features: Tensor, total: Tensor, u: Tensor, z: Tensor) -> list[Tensor]:
        """Draw energies of the blocks in MeV, [B, 1] each, first block first; u, z [B, 1, blocks - 1]."""
        left, known, blocks = total, features, []
        for k, mixture in enumerate(self.shares):
            place = torch.clamp(mixture.draw(known, u[:, :, k : k + 1], z[:, :, k : k + 1]), -12.0, 12.0)
            share = torch.sigmoid(place[:, :, 0])
            block = left * torch.clamp(share - SHARE_FLOOR, min=0.0)
            known = torch.cat([known, 0.3 * place], 1)
            left = left - block
            blocks.append(block)
        return [left, *reversed(blocks)]

    def block_features(self, blocks: Sequence[Tensor], layer_mev: Tensor, start: Tensor, unit_mev: float) -> Tensor:
        """What all layers of given showers see of their blocks, [B, BLOCK_FEATURES, layers]."""
        columns, seen = [], self.seen(blocks, start)
        for k, (a, b) in enumerate(itertools.pairwise(self.edges)):
            inside = layer_mev[:, a:b]
            before, after = torch.cumsum(inside, 1) - inside, self.following(blocks, k, unit_mev)
            columns.append(self.block_state(seen[k], before, after, self.behind[a:b], b - a, unit_mev))
        return torch.cat(columns, 2)

    def seen(self, blocks: Sequence[Tensor], start: Tensor) -> list[Tensor]:
        """Energies of blocks as their layers see them, [B, 1] each: none of a block in front of the start [B, 1].

        There layers are single particles, whatever was drawn for the block.
        """
        return [
            block * (start < end - 0.5).to(torch.float32) for block, end in zip(blocks, self.edges[1:], strict=True)
        ]

    def following(self, blocks: Sequence[Tensor], block: int, unit_mev: float) -> Tensor:
        """Feature of the mean energy of a layer of the block behind one, [B, 1]."""
        if block + 1 == len(blocks):
            return torch.zeros_like(blocks[block])
        size = self.edges[block + 2] - self.edges[block + 1]
        return natural_log(1.0 + blocks[block + 1] / size / unit_mev) * (1.0 / 3.5)

    @staticmethod
    def block_state(
        block: Tensor, before: Tensor, following: Tensor, behind: Tensor, size: int, unit_mev: float
    ) -> Tensor:
        """Features of layers of one block, [B, BLOCK_FEATURES, M].

        Parameters
        ----------
        block, before
            Energy of the block [B, 1], and what of it lies before the layer [B, M], MeV.
        following
            See `following`, [B, 1].
        behind
            Layers from this one to the block's last, [M].
        """
        left = torch.relu(block - before)
        rest = torch.clamp(left / (block + 1e-3), max=1.0)
        one = torch.ones_like(left)
        columns = (
            *(rest, torch.sqrt(rest)),
            natural_log(1.0 + left / (behind * unit_mev)) * (1.0 / 3.5),
            following,
            behind * (1.0 / size),
        )
        return torch.stack([c * one for c in columns], 1)

    # ------------------------------------------------------------------------------------------------ corrections

    @staticmethod
    def weight(mev: Tensor, single_mev: Tensor) -> Tensor:
        """How much an energy gives way when a sum is corrected: that of single particles hardly."""
        ratio = mev / single_mev
        power = ratio * ratio
        power = power * power
        return mev * (power / (1.0 + power))

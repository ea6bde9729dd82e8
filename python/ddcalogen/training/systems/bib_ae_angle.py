# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded information bottleneck autoencoder for photons, told energy and angle, with a latent flow.

BIB-AE of "New Angles on Fast Calorimeter Shower Simulation" (Diefenbacher et al., arXiv:2303.18150): encoder, decoder,
batch-statistics critics (the second starts anew every epoch) and post-processor (six layers, no normalisation) are told
energy and direction. A normalising flow under these conditions makes the 24 encoded latent variables and the shower's
visible energy; the decoded shower is scaled to that energy.

Differs from the source: the direction is any within the domain (the two-angle extension), told as x and y of the unit
vector, and the grid of 30 x 30 x 30 cells follows the shower axis (source: one angle, 30 x 30 x 60 cells fixed in
space); layers behind the twentieth are not weighted; the flow's variables are standardised with the training data's
means and deviations; there is no separate angular constrainer network (weight 0.1 in the source), the critics judge the
angle; the gradient penalty is on the judged image only; cells below a threshold are set to zero in the exported graph.
Options, off by default: a short decoder, a residual post-processor, a loss of cells and of profiles; and those of
`systems._grid`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.grid_networks import Layer, cut_and_convert
from ddcalogen.training.latents import ConditionalFlow
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, SystemConfig
from ddcalogen.training.systems._bib_ae import (
    ENERGY_UNIT_GEV,
    BatchStatisticsCritic,
    BibAe,
    BibAeConfig,
    Coder,
    condition_of,
)
from ddcalogen.training.systems._grid import GridSampler

__all__ = ["SYSTEM", "AngularBibAe", "AngularBibAeConfig", "FlowConfig"]

SIZE = (30, 30, 30)


class FlowConfig(SystemConfig):
    """The flow over latent variables and visible energy."""

    blocks: int = Field(default=8, ge=1)
    hidden: int = Field(default=250, ge=1, description="width of the networks' two hidden layers")
    bins: int = Field(default=8, ge=2, description="bins of the splines")
    steps: int = Field(default=49_000, ge=1)
    batch: int = Field(default=2048, ge=1)
    rate: float = Field(default=1e-4, gt=0, description="learning rate")


class AngularBibAeConfig(BibAeConfig):
    """Sizes and schedule."""

    flow: FlowConfig = FlowConfig()


class FlowSampler(GridSampler):
    """Energy, direction and noise to the grid by way of the flow."""

    def __init__(self, system: AngularBibAe) -> None:
        c = system.config
        super().__init__(
            system,
            (
                NoiseInput(name="latent", distribution="normal", shape=(c.encoded + 1,)),
                NoiseInput(name="filler", distribution="normal", shape=(c.filler,)),
            ),
        )
        self.coder, self.post, self.flow = system.coder, system.post, system.flow
        self.register_buffer("centre", system.centre)
        self.register_buffer("scale", system.scale)
        self.centre: Tensor
        self.scale: Tensor

    def forward(
        self, energy: Tensor, direction: Tensor, latent: Tensor, filler: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        condition = condition_of(energy, direction, True)
        drawn = self.flow(latent, condition) * self.scale + self.centre
        # what the flow knows is visible per incident energy
        wanted_gev = drawn[:, :1].clamp(min=0.0) * energy
        image = self.head(self.coder.decode(drawn[:, 1:], filler, condition), energy, cells)
        grid = cut_and_convert(self.post(image, condition), self.threshold)
        total = grid.flatten(1).sum(1, keepdim=True).clamp(min=1e-6)
        return self.calibrated(grid * (wanted_gev / total)[:, :, None, None], energy)


class AngularBibAe(BibAe[AngularBibAeConfig]):
    __doc__ = __doc__
    Config = AngularBibAeConfig
    title = "BIB-AE with angles and latent flow"
    angular = True

    def __init__(self, config: AngularBibAeConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)
        f = config.flow
        self.flow = ConditionalFlow(config.encoded + 1, self.conditions, blocks=f.blocks, hidden=f.hidden, bins=f.bins)
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(config.encoded + 1))
        self.register_buffer("scale", torch.ones(config.encoded + 1))

    def _make_coder(self) -> Coder:
        c = self.config
        w = c.width
        down = [Layer(w, 2), Layer(2 * w, 2, 2), Layer(4 * w, 4, 2, 1), Layer(4 * w, 4, 1, 1)]
        up = [
            Layer(w, 5, 2, 1, transposed=True),
            Layer(w, 4, 2, 1, transposed=True),
            *(Layer(n * w, 3, 1, 1) for n in ((2,) if c.short else (1, 1, 1, 2, 4, 2))),
            Layer(1, 3, 1, 1),
        ]
        return Coder(SIZE, down, (7, 7, 7), up, self.conditions, c, self.profile_features)

    def _make_critic(self) -> nn.Module:
        w = self.config.critic_width
        first = Layer(w, 4, 2) if self.config.short else Layer(w, 2)
        down = [first, Layer(w, 2, 2), Layer(w, 4, 2, 1)]
        return BatchStatisticsCritic(
            SIZE, down, self.conditions, w, profiles=self.profile_features, view=self.config.critic_profile
        )

    def _latent_stages(self) -> tuple[Stage, ...]:
        return self.encode_stage, Stage("flow", self.config.flow.steps)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        if stage == "flow":
            self.coder.requires_grad_(False)
            return {"flow": Optimiser(torch.optim.Adam(self.flow.parameters(), self.config.flow.rate), clip_norm=10.0)}
        return super().optimisers(stage)

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        if step.stage != "flow":
            return super().training_step(batch, step)
        latent, condition, visible_mev = self.collected_latents()
        fraction = visible_mev / (condition[:, :1] * (ENERGY_UNIT_GEV * 1e3))
        values = torch.cat([fraction, latent], 1)
        if step.index == 0:
            self.centre.copy_(values.mean(0))
            self.scale.copy_(values.std(0).clamp(min=1e-6))
        chosen = torch.randint(0, len(values), (min(self.config.flow.batch, len(values)),), device=values.device)
        x = (values[chosen] - self.centre) / self.scale
        loss = self.flow.negative_log_density(x, condition[chosen])
        step.minimise("flow", loss)
        return {"negative_log_density": loss}

    def sampler(self) -> FlowSampler:
        return FlowSampler(self)


SYSTEM = AngularBibAe

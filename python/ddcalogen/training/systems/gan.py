# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generative adversarial network for photons, with minibatch discrimination.

Vanilla GAN of "Getting High" (Buhmann et al., arXiv:2005.05334, section 4.1), which is the baseline of the founding
work: a convolutional generator whose noise is multiplied by the incident energy, a convolutional discriminator that is
told the energy, binary cross entropy. The later work added minibatch discrimination (Salimans et al.,
arXiv:1606.03498), which is on here.

Differs from the source: each layer's grid follows the shower axis, so that the domain may hold angles (the network is
not told them); cells below a threshold are set to zero in the exported graph. Sizes of the minibatch discrimination are
not published and are own choices. Options, off by default: the discriminator may also see the logarithm of the cells;
R1 penalty of the discriminator (Mescheder et al., arXiv:1801.04406; at every so many steps as in arXiv:1912.04958) and
one-sided label smoothing (arXiv:1606.03498, 3.4), for few training showers; and those of `systems._grid`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.grid_networks import (
    Layer,
    MinibatchDiscrimination,
    VolumeStack,
    dense,
    images_mev,
    small_weights,
    with_logarithm,
)
from ddcalogen.training.grid_profiles import ProfileHead, ProfileView
from ddcalogen.training.losses import slope_penalty
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step
from ddcalogen.training.systems._grid import GridConfig, GridSampler, GridSystem, annealed

__all__ = ["SYSTEM", "Gan", "GanConfig"]

SIZE = (30, 30, 30)


class GanConfig(GridConfig):
    """Sizes and schedule; the defaults are the published ones where there are any."""

    noise: int = Field(default=100, ge=1, description="noise variables, uniform in -1 to 1")
    generator_width: int = Field(default=32, ge=1, description="channels of the generator's last hidden volume")
    discriminator_width: int = Field(default=32, ge=1, description="channels of the discriminator's first volume")
    minibatch_kernels: int = Field(default=32, ge=0, description="features of the minibatch discrimination; 0: none")
    minibatch_size: int = Field(default=8, ge=1, description="components of each")
    steps: int = Field(default=125_000, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    logarithm: bool = Field(default=False, description="the discriminator also sees the logarithm of the cells")
    discriminator_rate: float | None = Field(
        default=None, gt=0, description="learning rate of the discriminator; null: that of the generator"
    )
    slope: float = Field(default=0.0, ge=0, description="weight of the discriminator's R1 penalty; 0: none")
    slope_every: int = Field(default=1, ge=1, description="steps from one R1 penalty to the next, whose weight grows")
    smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="what Geant4 showers' label is short of 1")


class Generator(nn.Module):
    """Noise times energy to a number for each of 30 x 30 x 30 cells."""

    def __init__(self, noise: int, width: int) -> None:
        super().__init__()
        up = [Layer(width * n, 4, 2, 1, transposed=True) for n in (4, 2, 1)]
        self.first = nn.ConvTranspose3d(noise, width * 8, 4, bias=False)
        self.body = VolumeStack(width * 8, (4, 4, 4), up, norm="batch", slope=0.0)
        self.last = Layer(1, 3, 1, 2, transposed=True).build(width)

    def forward(self, energy: Tensor, noise: Tensor) -> Tensor:
        x = self.first((noise * energy)[:, :, None, None, None])
        number: Tensor = self.last(self.body(x))
        return number


class Discriminator(nn.Module):
    """Cells, their profiles (if it sees `profiles` numbers of them) and energy to the logit of "this is Geant4"."""

    def __init__(self, config: GanConfig, profiles: int = 0) -> None:
        super().__init__()
        width = config.discriminator_width
        down = [
            Layer(width, 3, 2, 3),
            *(Layer(width * n, 3, 2, 1) for n in (2, 4, 8)),
            Layer(width * 8, 3, 2),
        ]
        self.logarithm = config.logarithm
        self.body = VolumeStack(2 if self.logarithm else 1, SIZE, down, norm="batch", norm_first=False, finish=False)
        features = self.body.features
        self.view = ProfileView(profiles, 1, config.critic_profile) if profiles else None
        kernels = config.minibatch_kernels
        self.minibatch = MinibatchDiscrimination(features, kernels, config.minibatch_size) if kernels else None
        self.end = dense([features + kernels + 1 + (config.critic_profile if profiles else 0), width * 4, 1])

    def channels(self, image: Tensor) -> Tensor:
        """Cells in MeV as the convolutions see them."""
        return with_logarithm(image) if self.logarithm else image

    def judge(self, channels: Tensor, *rest: Tensor) -> Tensor:
        """Logit from channels, profiles (if it sees any) and energy."""
        energy = rest[-1]
        features = self.body(channels).flatten(1)
        parts = [features, energy] + ([self.minibatch(features)] if self.minibatch is not None else [])
        if self.view is not None:
            parts.append(self.view(rest[0], energy * 0.01))
        logit: Tensor = self.end(torch.cat(parts, 1))
        return logit

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        return self.judge(self.channels(image), *rest)


class GanSampler(GridSampler):
    """Energy and noise to the grid."""

    def __init__(self, system: Gan) -> None:
        super().__init__(system, (NoiseInput(name="noise", distribution="uniform", shape=(system.config.noise,)),))
        self.generator, self.direct = system.generator, system.direct

    def forward(self, energy: Tensor, direction: Tensor, noise: Tensor, cells: Tensor | None = None) -> Tensor:
        number = _numbers(self.generator, self.direct, energy, 2.0 * noise - 1.0)
        return self.finish(self.head(number, energy, cells), energy)


def _numbers(generator: Generator, direct: ProfileHead | None, energy: Tensor, noise: Tensor) -> Tensor:
    """Energy and noise from -1 to 1 to a number for each cell."""
    number: Tensor = generator(energy, noise)
    return number if direct is None else number + direct(torch.cat([noise, energy * 0.01], 1))


class Gan(GridSystem[GanConfig]):
    __doc__ = __doc__
    Config = GanConfig
    title = "GAN with minibatch discrimination"

    def __init__(self, config: GanConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)
        self.generator = Generator(config.noise, config.generator_width)
        self.discriminator = Discriminator(config, self.profile_features)
        small_weights(self)
        self.direct = self.profile_head(config.noise + 1)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("adversarial", self.config.steps), *self.calibration_stages)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        if stage != "adversarial":
            return {}
        c = self.config
        made: dict[str, Optimiser] = {}
        for name, parameters in (
            (
                "generator",
                [
                    *self.generator.parameters(),
                    *self.head.parameters(),
                    *(self.direct.parameters() if self.direct is not None else ()),
                ],
            ),
            ("discriminator", [*self.discriminator.parameters()]),
        ):
            rate = c.discriminator_rate if name == "discriminator" and c.discriminator_rate else c.learning_rate
            adam = torch.optim.Adam(parameters, rate, (0.5, 0.999))
            made[name] = Optimiser(adam, annealed(adam, c.steps, c.anneal))
        return made

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        if step.stage != "adversarial":
            return self.calibrate(step)
        real, energy = images_mev(batch), batch["energy"]
        noise = torch.rand(len(real), self.config.noise, device=real.device) * 2.0 - 1.0
        low, high = self.domain.energy_gev
        wanted = low + (high - low) * torch.rand_like(energy)
        number = _numbers(self.generator, self.direct, wanted, noise)
        made = self.head(number, wanted, self.cell_noise(wanted))

        c, seen = self.config, self.views(real)
        is_real = self.discriminator(*seen, energy)
        is_made = self.discriminator(*self.views(made.detach()), wanted)
        loss = _cross_entropy(is_real, 1.0 - c.smoothing) + _cross_entropy(is_made, 0.0)
        numbers: dict[str, float | Tensor] = {"discriminator": loss, "says_real": torch.sigmoid(is_real).mean()}
        if c.slope and (step.index + 1) % c.slope_every == 0:
            d = self.discriminator
            penalty = slope_penalty(d.judge, (d.channels(real), *seen[1:]), energy)
            loss = loss + 0.5 * c.slope * c.slope_every * penalty
            numbers["squared_slope"] = penalty
        step.minimise("discriminator", loss)

        fooled = _cross_entropy(self.discriminator(*self.views(made), wanted), 1.0)
        step.minimise("generator", fooled)
        return {**numbers, "generator": fooled}

    def sampler(self) -> GanSampler:
        return GanSampler(self)


def _cross_entropy(logit: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logit, torch.full_like(logit, target))


SYSTEM = Gan

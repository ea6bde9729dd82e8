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
standardised cells with noise and a calibration stage (`systems._grid`).
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
    """Cells and energy to the logit of "this is Geant4"."""

    def __init__(self, config: GanConfig) -> None:
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
        kernels = config.minibatch_kernels
        self.minibatch = MinibatchDiscrimination(features, kernels, config.minibatch_size) if kernels else None
        self.end = dense([features + kernels + 1, width * 4, 1])

    def forward(self, image: Tensor, energy: Tensor) -> Tensor:
        features = self.body(with_logarithm(image) if self.logarithm else image).flatten(1)
        parts = [features, energy] + ([self.minibatch(features)] if self.minibatch is not None else [])
        logit: Tensor = self.end(torch.cat(parts, 1))
        return logit


class GanSampler(GridSampler):
    """Energy and noise to the grid."""

    def __init__(self, system: Gan) -> None:
        super().__init__(system, (NoiseInput(name="noise", distribution="uniform", shape=(system.config.noise,)),))
        self.generator = system.generator

    def forward(self, energy: Tensor, direction: Tensor, noise: Tensor, cells: Tensor | None = None) -> Tensor:
        return self.finish(self.head(self.generator(energy, 2.0 * noise - 1.0), energy, cells), energy)


class Gan(GridSystem[GanConfig]):
    __doc__ = __doc__
    Config = GanConfig
    title = "GAN with minibatch discrimination"

    def __init__(self, config: GanConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)
        self.generator = Generator(config.noise, config.generator_width)
        self.discriminator = Discriminator(config)
        small_weights(self)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("adversarial", self.config.steps), *self.calibration_stages)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        if stage != "adversarial":
            return {}
        c = self.config
        made: dict[str, Optimiser] = {}
        for name, parameters in (
            ("generator", [*self.generator.parameters(), *self.head.parameters()]),
            ("discriminator", [*self.discriminator.parameters()]),
        ):
            adam = torch.optim.Adam(parameters, c.learning_rate, (0.5, 0.999))
            made[name] = Optimiser(adam, annealed(adam, c.steps, c.anneal))
        return made

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        if step.stage != "adversarial":
            return self.calibrate(step)
        real, energy = images_mev(batch), batch["energy"]
        noise = torch.rand(len(real), self.config.noise, device=real.device) * 2.0 - 1.0
        low, high = self.domain.energy_gev
        wanted = low + (high - low) * torch.rand_like(energy)
        made = self.head(self.generator(wanted, noise), wanted, self.cell_noise(wanted))

        is_real, is_made = self.discriminator(real, energy), self.discriminator(made.detach(), wanted)
        loss = _cross_entropy(is_real, 1.0) + _cross_entropy(is_made, 0.0)
        step.minimise("discriminator", loss)

        fooled = _cross_entropy(self.discriminator(made, wanted), 1.0)
        step.minimise("generator", fooled)
        return {"discriminator": loss, "generator": fooled, "says_real": torch.sigmoid(is_real).mean()}

    def sampler(self) -> GanSampler:
        return GanSampler(self)


def _cross_entropy(logit: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logit, torch.full_like(logit, target))


SYSTEM = Gan

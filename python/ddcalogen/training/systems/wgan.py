# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Wasserstein GAN with gradient penalty and energy constrainer for photons.

WGAN of "Getting High" (Buhmann et al., arXiv:2005.05334, section 4.2; gradient penalty: Gulrajani et al.,
arXiv:1704.00028; constrainer as in Erdmann et al., arXiv:1802.03325). The constrainer regresses the incident energy
from the cells; it is trained beside the critic and frozen after a while. The generator minimises

    -E[critic] + kappa E|(a(made) - E)^2 - (a(real) - E)^2|.

Differs from the source: energies enter networks in units of 100 GeV (the constrainer's loss is in GeV), each layer's
grid follows the shower axis, cells below a threshold are set to zero in the exported graph. Options, off by default:
critic and constrainer may also see the logarithm of the cells; and those of `systems._grid`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.grid_networks import (
    Layer,
    VolumeStack,
    dense,
    images_mev,
    small_weights,
    with_logarithm,
)
from ddcalogen.training.grid_profiles import ProfileHead, ProfileView
from ddcalogen.training.losses import gradient_penalty
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step
from ddcalogen.training.systems._grid import GridConfig, GridSampler, GridSystem, annealed

__all__ = ["SYSTEM", "Wgan", "WganConfig"]

ENERGY_UNIT_GEV = 100.0
SIZE = (30, 30, 30)


class WganConfig(GridConfig):
    """Sizes and schedule; the defaults are the published ones."""

    noise: int = Field(default=100, ge=1, description="noise variables, normal")
    generator_width: int = Field(default=32, ge=1, description="channels of the generator's last hidden volume")
    critic_width: int = Field(default=32, ge=1, description="channels of the critic's first volume")
    constrainer_width: int = Field(default=16, ge=1, description="channels of the constrainer's first volume")
    steps: int = Field(default=655_000, ge=1, description="critic steps")
    critic_steps: int = Field(default=5, ge=1, description="critic steps for each generator step")
    penalty: float = Field(default=5.0, ge=0, description="weight lambda of the gradient penalty")
    kappa: float = Field(default=0.01, ge=0, description="weight of the constrainer, 1/GeV^2")
    generator_rate: float = Field(default=1e-4, gt=0)
    generator_milestones: tuple[int, ...] = Field(
        default=(50_000, 100_000),
        description="generator steps after which its learning rate is divided by 10 (not used with anneal)",
    )
    critic_rate: float = Field(default=1e-5, gt=0)
    constrainer_rate: float = Field(default=1e-5, gt=0)
    constrainer_steps: int = Field(default=150_000, ge=0, description="steps until the constrainer is frozen")
    logarithm: bool = Field(default=False, description="critic and constrainer also see the logarithm of the cells")


class Generator(nn.Module):
    """Noise and energy, each through a transposed convolution, joined, to a number for each of 30 x 30 x 30 cells."""

    def __init__(self, noise: int, width: int) -> None:
        super().__init__()
        self.from_energy = nn.ConvTranspose3d(1, width * 4, 4, bias=False)
        self.from_noise = nn.ConvTranspose3d(noise, width * 4, 4, bias=False)
        up = [Layer(width * n, 4, 2, 1, transposed=True) for n in (4, 2, 1)]
        self.body = VolumeStack(width * 8, (4, 4, 4), up, slope=0.0)
        self.last = Layer(1, 3, 1, 2, transposed=True).build(width)

    def forward(self, energy: Tensor, noise: Tensor) -> Tensor:
        about = self.from_energy((energy / ENERGY_UNIT_GEV)[:, :, None, None, None])
        x = torch.cat([about, self.from_noise(noise[:, :, None, None, None])], 1)
        number: Tensor = self.last(self.body(x))
        return number


class Critic(nn.Module):
    """Cells (and `profiles` numbers of profiles) and energy to a number: long kernels along the layers."""

    def __init__(self, width: int, *, logarithm: bool = False, profiles: int = 0, view: int = 0) -> None:
        super().__init__()
        self.view = ProfileView(profiles, 1, view) if profiles else None
        self.logarithm = logarithm
        down = [
            Layer(width, (10, 2, 2), (1, 2, 2), (0, 1, 1)),
            Layer(width * 2, (6, 2, 2), (1, 2, 2)),
            Layer(width * 4, (4, 2, 2), (1, 2, 2)),
            Layer(1, (4, 2, 2)),
        ]
        self.body = VolumeStack(2 if logarithm else 1, SIZE, down, finish=False)
        self.end = dense([self.body.features + 1 + (view if profiles else 0), 100, 200, 100, 75, 1])

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        energy = rest[-1] / ENERGY_UNIT_GEV
        parts = [self.body(with_logarithm(image) if self.logarithm else image).flatten(1), energy]
        if self.view is not None:
            parts.append(self.view(rest[0], energy))
        score: Tensor = self.end(torch.cat(parts, 1))
        return score


class Constrainer(nn.Module):
    """Cells to incident energy, GeV."""

    def __init__(self, width: int, *, logarithm: bool = False) -> None:
        super().__init__()
        self.logarithm = logarithm
        down = [Layer(width, 3, 2), Layer(width * 2, 3, 2), Layer(width, 2)]
        self.body = VolumeStack(2 if logarithm else 1, SIZE, down, finish=False)
        self.end = dense([self.body.features, 100, 1])

    def forward(self, image: Tensor) -> Tensor:
        return (
            torch.relu(self.end(self.body(with_logarithm(image) if self.logarithm else image).flatten(1)))
            * ENERGY_UNIT_GEV
        )


class WganSampler(GridSampler):
    """Energy and noise to the grid."""

    def __init__(self, system: Wgan) -> None:
        super().__init__(system, (NoiseInput(name="noise", distribution="normal", shape=(system.config.noise,)),))
        self.generator, self.direct = system.generator, system.direct

    def forward(self, energy: Tensor, direction: Tensor, noise: Tensor, cells: Tensor | None = None) -> Tensor:
        return self.finish(self.head(_numbers(self.generator, self.direct, energy, noise), energy, cells), energy)


def _numbers(generator: Generator, direct: ProfileHead | None, energy: Tensor, noise: Tensor) -> Tensor:
    """Energy and noise to a number for each cell."""
    number: Tensor = generator(energy, noise)
    return number if direct is None else number + direct(torch.cat([noise, energy / ENERGY_UNIT_GEV], 1))


class Wgan(GridSystem[WganConfig]):
    __doc__ = __doc__
    Config = WganConfig
    title = "WGAN with energy constrainer"

    def __init__(self, config: WganConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, SIZE)
        self.generator = Generator(config.noise, config.generator_width)
        self.critic = Critic(
            config.critic_width,
            logarithm=config.logarithm,
            profiles=self.profile_features,
            view=config.critic_profile,
        )
        self.constrainer = Constrainer(config.constrainer_width, logarithm=config.logarithm)
        small_weights(self.generator)
        small_weights(self.critic)
        self.direct = self.profile_head(config.noise + 1)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("adversarial", self.config.steps), *self.calibration_stages)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        c = self.config
        if stage != "adversarial":
            return {}
        parameters = [*self.generator.parameters(), *self.head.parameters()]
        if self.direct is not None:
            parameters += self.direct.parameters()
        generator = torch.optim.Adam(parameters, c.generator_rate, (0.5, 0.9))
        critic = torch.optim.Adam(self.critic.parameters(), c.critic_rate, (0.5, 0.9))
        falling = annealed(generator, c.steps // c.critic_steps, c.anneal)
        return {
            "generator": Optimiser(generator, falling or MultiStepLR(generator, list(c.generator_milestones), 0.1)),
            "critic": Optimiser(critic, annealed(critic, c.steps, c.anneal)),
            "constrainer": Optimiser(torch.optim.SGD(self.constrainer.parameters(), c.constrainer_rate)),
        }

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        c = self.config
        if step.stage != "adversarial":
            return self.calibrate(step)
        real, energy = images_mev(batch), batch["energy"]
        with torch.no_grad():
            made = self._make(energy)
        seen, seen_made = self.views(real), self.views(made)
        distance = self.critic(*seen, energy).mean() - self.critic(*seen_made, energy).mean()
        step.minimise("critic", c.penalty * gradient_penalty(self.critic, seen, seen_made, energy) - distance)
        numbers: dict[str, float | Tensor] = {"critic_distance": distance}
        if step.index < c.constrainer_steps:
            loss = (self.constrainer(real) - energy).abs().mean()
            step.minimise("constrainer", loss)
            numbers["constrainer_gev"] = loss
        if (step.index + 1) % c.critic_steps == 0:
            made = self._make(energy)
            off_made, off_real = ((self.constrainer(x) - energy).square() for x in (made, real))
            adversarial = -self.critic(*self.views(made), energy).mean()
            constrained = (off_made - off_real).abs().mean()
            step.minimise("generator", adversarial + c.kappa * constrained)
            numbers["generator"], numbers["energy_off_gev2"] = adversarial, constrained
        return numbers

    def _make(self, energy: Tensor) -> Tensor:
        """Showers of these energies, cells in MeV."""
        noise = torch.randn(len(energy), self.config.noise, device=energy.device)
        number = _numbers(self.generator, self.direct, energy, noise)
        image: Tensor = self.head(number, energy, self.cell_noise(energy))
        return image

    def sampler(self) -> WganSampler:
        return WganSampler(self)


SYSTEM = Wgan

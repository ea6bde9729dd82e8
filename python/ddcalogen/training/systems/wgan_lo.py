# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Wasserstein GAN with latent optimisation and a frozen energy regressor for pions in the hadronic calorimeter.

WGAN of "Hadrons, Better, Faster, Stronger" (Buhmann et al., arXiv:2112.09709): generator to 48 x 25 x 25 cells, 3D
ResNet critic with instance normalisation and gradient penalty, dense regressor of the incident energy that is trained
first and then frozen. Latent optimisation as in LOGAN (Wu et al., arXiv:1905.06723): before a generator and critic see
a latent vector, it takes a step up the critic's slope,

    z' = clamp(z + alpha g / (beta + |g| / norm), -1, 1),  g = gradient of the critic at G(z) by z,

in training only. The generator minimises -E[critic] + kappa E|(a(made) - E)^2 - (a(real) - E)^2|. Optionally, for
data with angles, generator and critic are told the direction and a second regressor, of the direction's x and y,
constrains it in the same way (the angular constrainer of the later work of the group).

Differs from the source: readout cells of 30 mm centred on the shower axis (source: 30.5 mm, crop off centre); energies
enter networks in units of 100 GeV; the gradient is not propagated through the latent step; cells below a threshold are
set to zero in the exported graph. Options, off by default: critic and regressor may also see the logarithm of the
cells; and those of `systems._grid`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.grid_networks import (
    Layer,
    VolumeStack,
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

__all__ = ["SYSTEM", "WganLo", "WganLoConfig", "optimise_latent"]

ENERGY_UNIT_GEV = 100.0
NX = NY = 25


class WganLoConfig(GridConfig):
    """Sizes and schedule; the defaults are the published ones where there are any."""

    noise: int = Field(default=100, ge=1, description="noise variables, uniform in -1 to 1")
    generator_width: int = Field(default=32, ge=1, description="channels of the generator's third volume")
    critic_width: int = Field(default=64, ge=1, description="channels of the critic's first stage")
    critic_blocks: tuple[int, int] = Field(default=(3, 4), description="residual blocks of the critic's two stages")
    regressor_sizes: tuple[int, int, int] = Field(default=(5000, 1000, 100), description="hidden layers")
    regressor_steps: int = Field(default=123_000, ge=1)
    regressor_rate: float = Field(default=1e-5, gt=0)
    steps: int = Field(default=2_000_000, ge=1, description="critic steps")
    critic_steps: int = Field(default=10, ge=1, description="critic steps for each generator step")
    rate: float = Field(default=1e-5, gt=0, description="learning rate of generator and critic")
    penalty: float = Field(default=25.0, ge=0, description="weight lambda of the gradient penalty")
    kappa: float = Field(default=1.0, ge=0, description="weight of the energy regressor, 1/(100 GeV)^2")
    latent_alpha: float = Field(default=500.0, ge=0, description="latent optimisation; 0: none")
    latent_beta: float = Field(default=0.1, gt=0)
    latent_norm: float = Field(default=1000.0, gt=0)
    angular: bool = Field(default=False, description="tell the networks the direction and constrain it")
    angular_kappa: float = Field(default=1.0, ge=0, description="weight of the angular constrainer")
    logarithm: bool = Field(default=False, description="critic and regressor also see the logarithm of the cells")
    short: bool = Field(default=False, description="smaller kernel of the generator's last convolution")


class Generator(nn.Module):
    """Noise and condition, each through a transposed convolution, joined, to numbers for 48 x 25 x 25 cells."""

    def __init__(self, noise: int, condition: int, width: int, *, short: bool = False) -> None:
        super().__init__()
        self.from_condition = nn.ConvTranspose3d(condition, width * 4, 4, bias=False)
        self.from_noise = nn.ConvTranspose3d(noise, width * 4, 4, bias=False)
        up = [
            Layer(width * 4, (4, 2, 2), 2, 1, transposed=True),
            Layer(width * 2, (4, 2, 2), 2, 1, transposed=True),
            Layer(width, 4, (2, 1, 1), 1, transposed=True),
            Layer(10, (10, 4, 4), 1, 1, transposed=True),
            Layer(5, (8, 3, 3), (1, 2, 2), 1, transposed=True),
        ]
        self.body = VolumeStack(width * 8, (4, 4, 4), up, slope=0.0)
        last = Layer(1, (5, 3, 3), transposed=True) if short else Layer(1, (7, 5, 5), 1, 1, transposed=True)
        self.last = last.build(5)

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        about, drawn = (v[:, :, None, None, None] for v in (condition, noise))
        x = torch.cat([self.from_condition(about), self.from_noise(drawn)], 1)
        number: Tensor = self.last(self.body(x))
        return number


class _Residual(nn.Module):
    """Two convolutions with instance normalisation, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels, width, 3, stride, 1, bias=False),
            nn.InstanceNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm3d(width),
        )
        same = stride == 1 and channels == width
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv3d(channels, width, 1, stride, bias=False), nn.InstanceNorm3d(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Critic(nn.Module):
    """3D ResNet: cells (and `profiles` numbers of profiles) and condition to a number."""

    def __init__(
        self,
        condition: int,
        width: int,
        blocks: tuple[int, int],
        *,
        logarithm: bool = False,
        profiles: int = 0,
        view: int = 0,
    ) -> None:
        super().__init__()
        self.logarithm = logarithm
        self.view = ProfileView(profiles, condition, view) if profiles else None
        parts: list[nn.Module] = [
            nn.Conv3d(2 if logarithm else 1, width, (4, 5, 5), (1, 2, 2), (2, 3, 3), bias=False),
            nn.InstanceNorm3d(width),
            nn.ReLU(),
            nn.MaxPool3d(3, 2, 1),
        ]
        channels = width
        for stage, (out, number) in enumerate(zip((width, 2 * width), blocks, strict=True)):
            for block in range(number):
                parts.append(_Residual(channels, out, 2 if stage and not block else 1))
                channels = out
        self.body = nn.Sequential(*parts)
        self.end = nn.Linear(channels + condition + (view if profiles else 0), 1)
        self.body.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for part in self.modules():
            if isinstance(part, nn.Conv3d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        condition = rest[-1]
        parts = [self.body(with_logarithm(image) if self.logarithm else image).mean((2, 3, 4)), condition]
        if self.view is not None:
            parts.append(self.view(rest[0], condition))
        score: Tensor = self.end(torch.cat(parts, 1))
        return score


class Regressor(nn.Sequential):
    """Dense network from cells to a few numbers."""

    def __init__(self, cells: int, sizes: tuple[int, int, int], outputs: int, *, logarithm: bool = False) -> None:
        a, b, c = sizes
        cells = 2 * cells if logarithm else cells
        super().__init__(
            nn.Flatten(),
            *(nn.Linear(cells, a), nn.BatchNorm1d(a), nn.LeakyReLU(0.2), nn.Dropout(0.2)),
            *(nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(0.2), nn.Dropout(0.1)),
            *(nn.Linear(b, c), nn.LeakyReLU(0.2), nn.Linear(c, outputs)),
        )
        self.logarithm = logarithm

    def forward(self, image: Tensor) -> Tensor:
        x = with_logarithm(image) if self.logarithm else image
        for part in self:
            x = part(x)
        return x


def optimise_latent(
    generator: Callable[[Tensor, Tensor], Tensor],
    critic: Callable[[Tensor, Tensor], Tensor],
    condition: Tensor,
    noise: Tensor,
    *,
    alpha: float,
    beta: float,
    norm: float,
) -> Tensor:
    """Move latent vectors [B, N] up the critic's slope, at most to -1 and 1 (LOGAN, arXiv:1905.06723)."""
    with torch.enable_grad():
        z = noise.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(generator(condition, z), condition).sum(), z)
    length = slope.square().sum(1, keepdim=True).sqrt()
    moved: Tensor = noise + alpha * slope / (beta + length / norm)
    return moved.clamp(-1.0, 1.0).detach()


def _condition(energy: Tensor, direction: Tensor, angular: bool) -> Tensor:
    parts = [energy / ENERGY_UNIT_GEV]
    if angular:
        parts.append(direction[:, :2])
    return torch.cat(parts, 1)


def _numbers(generator: Generator, direct: ProfileHead | None, condition: Tensor, noise: Tensor) -> Tensor:
    """Condition and noise from -1 to 1 to a number for each cell."""
    number: Tensor = generator(condition, noise)
    return number if direct is None else number + direct(torch.cat([noise, condition], 1))


class WganLoSampler(GridSampler):
    """Energy (and direction) and noise to the grid."""

    def __init__(self, system: WganLo) -> None:
        super().__init__(system, (NoiseInput(name="noise", distribution="uniform", shape=(system.config.noise,)),))
        self.generator, self.direct, self.angular = system.generator, system.direct, system.config.angular

    def forward(self, energy: Tensor, direction: Tensor, noise: Tensor, cells: Tensor | None = None) -> Tensor:
        condition = _condition(energy, direction, self.angular)
        number = _numbers(self.generator, self.direct, condition, 2.0 * noise - 1.0)
        return self.finish(self.head(number, energy, cells), energy)


class WganLo(GridSystem[WganLoConfig]):
    __doc__ = __doc__
    Config = WganLoConfig
    title = "WGAN with latent optimisation"

    def __init__(self, config: WganLoConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, (stack.layers, NX, NY))
        condition = 3 if config.angular else 1
        self.generator = Generator(config.noise, condition, config.generator_width, short=config.short)
        self.critic = Critic(
            condition,
            config.critic_width,
            config.critic_blocks,
            logarithm=config.logarithm,
            profiles=self.profile_features,
            view=config.critic_profile,
        )
        self.regressor = Regressor(
            stack.layers * NX * NY, config.regressor_sizes, condition, logarithm=config.logarithm
        )
        small_weights(self.generator)
        self.direct = self.profile_head(config.noise + condition)

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("regressor", self.config.regressor_steps, validate=False, average=False),
            Stage("adversarial", self.config.steps),
            *self.calibration_stages,
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        c = self.config
        self.regressor.requires_grad_(stage == "regressor")
        if stage == "regressor":
            return {"regressor": Optimiser(torch.optim.Adam(self.regressor.parameters(), c.regressor_rate))}
        if stage != "adversarial":
            return {}
        made: dict[str, Optimiser] = {}
        for name, parameters, steps in (
            (
                "generator",
                [
                    *self.generator.parameters(),
                    *self.head.parameters(),
                    *(self.direct.parameters() if self.direct is not None else ()),
                ],
                c.steps // c.critic_steps,
            ),
            ("critic", [*self.critic.parameters()], c.steps),
        ):
            adam = torch.optim.Adam(parameters, c.rate, (0.5, 0.9))
            made[name] = Optimiser(adam, annealed(adam, steps, c.anneal))
        return made

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        c = self.config
        if step.stage not in ("regressor", "adversarial"):
            return self.calibrate(step)
        real = images_mev(batch)
        condition = _condition(batch["energy"], batch["direction"], c.angular)
        if step.stage == "regressor":
            off = (self.regressor(real) - condition).abs().mean(0)
            step.minimise("regressor", off.sum())
            return {"energy_off_gev": off[0] * ENERGY_UNIT_GEV}
        self.regressor.eval()
        noise = self._latent(condition)
        with torch.no_grad():
            made = self._make(condition, noise)
        seen, seen_made = self.views(real), self.views(made)
        distance = self.critic(*seen, condition).mean() - self.critic(*seen_made, condition).mean()
        step.minimise("critic", c.penalty * gradient_penalty(self.critic, seen, seen_made, condition) - distance)
        numbers: dict[str, float | Tensor] = {"critic_distance": distance}
        if (step.index + 1) % c.critic_steps == 0:
            made = self._make(condition, self._latent(condition))
            off_made, off_real = ((self.regressor(x) - condition).square() for x in (made, real))
            off = (off_made - off_real).abs().mean(0)
            adversarial = -self._score(made, condition).mean()
            constrained = c.kappa * off[0] + c.angular_kappa * off[1:].sum()
            step.minimise("generator", adversarial + constrained)
            numbers["generator"], numbers["constrained"] = adversarial, constrained
        return numbers

    def _make(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Showers of these conditions and latent vectors, cells in MeV."""
        energy = condition[:, :1] * ENERGY_UNIT_GEV
        number = _numbers(self.generator, self.direct, condition, noise)
        image: Tensor = self.head(number, energy, self.cell_noise(noise))
        return image

    def _score(self, image: Tensor, condition: Tensor) -> Tensor:
        """What the critic says of cells in MeV."""
        score: Tensor = self.critic(*self.views(image), condition)
        return score

    def _latent(self, condition: Tensor) -> Tensor:
        """Latent vectors for a training step, optimised."""
        c = self.config
        noise = torch.rand(len(condition), c.noise, device=condition.device) * 2.0 - 1.0
        if not c.latent_alpha:
            return noise
        return optimise_latent(
            self._make,
            self._score,
            condition,
            noise,
            alpha=c.latent_alpha,
            beta=c.latent_beta,
            norm=c.latent_norm,
        )

    def sampler(self) -> WganLoSampler:
        return WganLoSampler(self)


SYSTEM = WganLo

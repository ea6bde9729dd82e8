# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""VAE-GAN of Calomplification (Bieringer et al., 2202.07352), for the amplification study.

A shower of perpendicular photons of one energy is seen as a 10 × 10 projection: cells above half a minimum-ionising
particle, summed over the layers. A variational autoencoder whose decoder is also the generator of a GAN (Larsen et al.,
1512.09300) is trained on 1000 such images: locally connected layers, one-sided label smoothing, minibatch
discrimination (Salimans et al., 1606.03498), an ensemble of three networks that differ in their random numbers, and of
each the weights of the moment when five kinematic observables agree best with the training images.

Known from the source are these ingredients; sizes of layers, weights of losses and the choice of the five observables
are this project's own. Three quantities of the image (visible energy, pixels with energy, energy of the brightest
pixel) are shown to the discriminator beside the pixels. The sampler spreads the projection over the layers by the mean
longitudinal profile of the training showers, so that it can be placed like any other grid; the sum over the layers is
the projection. For other incident energies the energies are scaled in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch, Grids, Representation
from ddcalogen.training.sampler import Sampler
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig
from ddcalogen.validation.amplification import PIXELS, image_observables
from ddcalogen.validation.metrics import wasserstein

__all__ = ["SYSTEM", "Decoder", "Discriminator", "Encoder", "LocallyConnected", "VaeGan", "VaeGanConfig"]

SCALE_MEV = 0.1
"""Pixels are seen as ln(1 + E / 0.1 MeV)."""


class VaeGanConfig(SystemConfig):
    """Sizes of layers, weights of losses, schedule."""

    members: int = Field(default=3, ge=1, description="networks of the ensemble")
    latent: int = Field(default=16, ge=1)
    channels: int = Field(default=8, ge=1, description="of the locally connected layers")
    width: int = Field(default=128, ge=1, description="of the dense layers")
    steps: int = Field(default=12_000, ge=1)
    batch: int = Field(default=100, ge=2, description="images per step")
    rate: float = Field(default=3e-4, gt=0)
    real_label: float = Field(default=0.9, gt=0.5, le=1.0, description="label of real images (label smoothing)")
    kl_weight: float = Field(default=0.02, ge=0)
    feature_weight: float = Field(
        default=1.0, ge=0, description="of the reconstruction in the discriminator's features"
    )
    pixel_weight: float = Field(default=1.0, ge=0, description="of the reconstruction of pixels")
    adversarial_weight: float = Field(default=0.5, ge=0)
    select_every: int = Field(default=200, ge=1, description="steps between looks at the five observables")
    select_images: int = Field(default=4000, ge=10, description="images made for such a look")


class LocallyConnected(nn.Module):
    """A convolution of 3 × 3 pixels with weights of its own for every pixel: [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, channels_in: int, channels_out: int, size: int = PIXELS) -> None:
        super().__init__()
        self.size = size
        bound = 1.0 / math.sqrt(9 * channels_in)
        self.weight = nn.Parameter(torch.empty(size * size, 9 * channels_in, channels_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(size * size, 1, channels_out))

    def forward(self, x: Tensor) -> Tensor:
        # pixels first: the product of each pixel's matrices then finds its numbers next to each other
        padded = functional.pad(x.permute(2, 3, 0, 1), (0, 0, 0, 0, 1, 1, 1, 1))
        near = [padded[i : i + self.size, j : j + self.size] for i in range(3) for j in range(3)]
        columns = torch.cat(near, 3).flatten(0, 1)
        out = torch.bmm(columns, self.weight) + self.bias
        return out.reshape(self.size, self.size, len(x), -1).permute(2, 3, 0, 1)


class Encoder(nn.Module):
    """Image to mean and log-variance of the latent."""

    def __init__(self, config: VaeGanConfig) -> None:
        super().__init__()
        c = config.channels
        self.body = nn.Sequential(
            LocallyConnected(1, c), nn.LeakyReLU(0.2), LocallyConnected(c, c), nn.LeakyReLU(0.2), nn.Flatten(),
            nn.Linear(c * PIXELS * PIXELS, config.width), nn.LeakyReLU(0.2), nn.Linear(config.width, 2 * config.latent),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.body(x).chunk(2, 1)
        return mean, log_variance.clamp(-10.0, 4.0)


class Decoder(nn.Module):
    """Latent [B, latent] and noise [B, 100] to image: ln(1 + E / 0.1 MeV), [B, 1, 10, 10], >= 0, none below the cut."""

    mean: Tensor
    width: Tensor

    def __init__(self, config: VaeGanConfig) -> None:
        super().__init__()
        c = config.channels
        self.channels = c
        self.dense = nn.Sequential(
            nn.Linear(config.latent, config.width), nn.LeakyReLU(0.2), nn.Linear(config.width, c * PIXELS * PIXELS),
            nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.first = LocallyConnected(c + 1, c)
        self.last = LocallyConnected(c, 1)
        self.register_buffer("mean", torch.zeros(1, PIXELS, PIXELS))
        self.register_buffer("width", torch.ones(1, PIXELS, PIXELS))

    def forward(self, z: Tensor, pixel_noise: Tensor) -> Tensor:
        x = self.dense(z).reshape(-1, self.channels, PIXELS, PIXELS)
        x = torch.cat([x, pixel_noise.reshape(-1, 1, PIXELS, PIXELS)], 1)
        x = self.last(functional.leaky_relu(self.first(x), 0.2))
        image: Tensor = self.mean + self.width * x
        return image

    def images_mev(self, z: Tensor, pixel_noise: Tensor) -> Tensor:
        """Images in MeV, none below the cut, [B, 10, 10]."""
        return SCALE_MEV * torch.expm1(cut(self(z, pixel_noise))[:, 0])


def cut(x: Tensor) -> Tensor:
    """Set pixels below the cut (one scale unit: half a minimum-ionising particle) to zero."""
    return torch.where(x > math.log(2.0), x, torch.zeros_like(x))


class MinibatchDiscrimination(nn.Module):
    """How close each row is to the others of its batch, in several learned directions (1606.03498, section 3.2)."""

    def __init__(self, width: int, kernels: int = 12, size: int = 6) -> None:
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(width, kernels * size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.project(x).reshape(len(x), self.kernels, -1)
        distance = (rows[:, None] - rows[None]).abs().sum(3)
        return torch.cat([x, torch.exp(-distance).mean(1)], 1)


class Discriminator(nn.Module):
    """Image to logit of being real, and the features in which reconstructions are compared."""

    mean: Tensor
    width: Tensor
    summary_mean: Tensor
    summary_width: Tensor

    def __init__(self, config: VaeGanConfig) -> None:
        super().__init__()
        c = config.channels
        self.body = nn.Sequential(
            LocallyConnected(1, c), nn.LeakyReLU(0.2), LocallyConnected(c, c), nn.LeakyReLU(0.2), nn.Flatten()
        )
        self.dense = nn.Sequential(nn.Linear(c * PIXELS * PIXELS + 5, config.width), nn.LeakyReLU(0.2))
        self.minibatch = MinibatchDiscrimination(config.width)
        self.top = nn.Sequential(nn.Linear(config.width + 12, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        self.register_buffer("mean", torch.zeros(1, PIXELS, PIXELS))
        self.register_buffer("width", torch.ones(1, PIXELS, PIXELS))
        self.register_buffer("summary_mean", torch.zeros(5))
        self.register_buffer("summary_width", torch.ones(5))

    @staticmethod
    def summary(x: Tensor) -> Tensor:
        """Visible energy, soft number of pixels with energy, centres of gravity, brightest pixel: [B, 5]."""
        energy = torch.expm1(x[:, 0])
        total = energy.sum((1, 2)).clamp_min(1e-3)
        place = torch.arange(PIXELS, device=x.device) - (PIXELS - 1) / 2
        hits = torch.sigmoid(8.0 * (x[:, 0] - math.log(2.0))).sum((1, 2))
        cog_x = (energy.sum(2) * place).sum(1) / total
        cog_y = (energy.sum(1) * place).sum(1) / total
        return torch.stack([total, hits, cog_x, cog_y, energy.amax((1, 2))], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body((x - self.mean) / self.width)
        summary = ((self.summary(x) - self.summary_mean) / self.summary_width).clamp(-8.0, 8.0)
        features = self.dense(torch.cat([seen, summary], 1))
        return self.top(self.minibatch(features)), features


def _kept(x: Tensor) -> Tensor:
    """The cut, with the gradient of no cut."""
    return x + (cut(x) - x).detach()


class Member(nn.Module):
    """One network of the ensemble, and its best weights so far."""

    best: Tensor
    score: Tensor

    def __init__(self, config: VaeGanConfig) -> None:
        super().__init__()
        self.encoder, self.decoder, self.discriminator = Encoder(config), Decoder(config), Discriminator(config)
        self.register_buffer("best", torch.cat([p.detach().flatten() for p in self.decoder.parameters()]).clone())
        self.register_buffer("score", torch.tensor(math.inf))

    def keep(self) -> None:
        """Take the decoder's weights as the best."""
        self.best.copy_(torch.cat([p.detach().flatten() for p in self.decoder.parameters()]))

    def recall(self) -> None:
        """Put the best weights into the decoder."""
        start = 0
        with torch.no_grad():
            for p in self.decoder.parameters():
                p.copy_(self.best[start : start + p.numel()].view_as(p))
                start += p.numel()


class VaeGanSampler(Sampler):
    """Picks one member of the ensemble for each shower and spreads its image over the layers."""

    bit_identical = False

    def __init__(self, system: VaeGan) -> None:
        latent, members = system.config.latent, system.config.members
        super().__init__(
            noise=(
                NoiseInput(name="z", distribution="normal", shape=(latent,)),
                NoiseInput(name="z_pixel", distribution="normal", shape=(PIXELS * PIXELS,)),
                NoiseInput(name="u_member", distribution="uniform", shape=(1,)),
            ),
            output=system.grids.output(system.stack.layers),
        )
        self.decoders = nn.ModuleList(m.decoder for m in system.members if isinstance(m, Member))
        self.profile: Tensor
        self.energy_gev: Tensor
        self.register_buffer("profile", system.profile, persistent=False)
        self.register_buffer("energy_gev", system.energy_gev, persistent=False)
        self.count = members

    def images_mev(self, z: Tensor, z_pixel: Tensor, u_member: Tensor) -> Tensor:
        """Return projections [B, 10, 10] in MeV."""
        chosen = torch.floor(u_member * self.count).clamp(0, self.count - 1)
        images = torch.zeros_like(z_pixel).reshape(-1, PIXELS, PIXELS)
        for number, decoder in enumerate(self.decoders):
            assert isinstance(decoder, Decoder)
            images = torch.where((chosen == number)[:, :, None], decoder.images_mev(z, z_pixel), images)
        return images

    def forward(
        self, energy: Tensor, direction: Tensor, z: Tensor, z_pixel: Tensor, u_member: Tensor
    ) -> tuple[Tensor, Tensor] | Tensor:
        scale = energy / self.energy_gev + 0.0 * direction[:, :1]
        images = 1e-3 * self.images_mev(z, z_pixel, u_member) * scale[:, :, None]
        return images[:, None] * self.profile[None, :, None, None]


class VaeGan(System[VaeGanConfig]):
    """VAE-GAN of Calomplification (2202.07352): projections of perpendicular photon showers of one energy, learned from
    few images by an ensemble of networks with locally connected layers, label smoothing and minibatch discrimination.
    Made for the study of amplification, not for production: 10 x 10 cells only, the same mean longitudinal profile for
    every shower."""

    Config: ClassVar[type[SystemConfig]] = VaeGanConfig
    title = "VAE-GAN (amplification)"

    profile: Tensor
    energy_gev: Tensor

    def __init__(self, config: VaeGanConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        self.grids = Grids(nx=PIXELS, ny=PIXELS, cell_mm=stack.cell_mm[0], follows_axis=True)
        self.members = nn.ModuleList(Member(config) for _ in range(config.members))
        self.register_buffer("profile", torch.full((stack.layers,), 1.0 / stack.layers))
        self.register_buffer("energy_gev", torch.tensor(50.0))
        self._images: Tensor | None = None

    def representation(self, stage: str) -> Representation | None:
        """None: the images of all training showers are in memory."""
        del stage
        return None

    def stages(self) -> tuple[Stage, ...]:
        """One stage; the best weights are chosen by this system itself, so that only the last are validated."""
        return (Stage("train", self.config.steps, batch=self.config.batch, average=False),)

    def see(self, showers: Showers) -> Tensor:
        """Return the training images ln(1 + E / 0.1 MeV), float32 [N, 1, 10, 10], and set the standardisation."""
        grid = self.grids(showers, self.stack, np.random.default_rng(0))["grid"]
        grid = torch.where(grid >= self.stack.threshold_gev[0], grid, torch.zeros_like(grid))
        x = torch.log1p(grid.sum(1, keepdim=True) * (1e3 / SCALE_MEV))
        with torch.no_grad():
            self.profile.copy_(grid.sum((0, 2, 3)) / grid.sum())
            self.energy_gev.fill_(float(showers.energy_gev.mean()))
        mean, width = x.mean(0), x.std(0).clamp_min(0.05)
        summary = Discriminator.summary(x)
        for member in self.members:
            assert isinstance(member, Member)
            for part in (member.decoder, member.discriminator):
                part.mean.copy_(mean)
                part.width.copy_(width)
            member.discriminator.summary_mean.copy_(summary.mean(0))
            member.discriminator.summary_width.copy_(summary.std(0).clamp_min(1e-3))
        return x

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Encoder, decoder and discriminator of each member."""
        del stage
        made = {}
        for number, member in enumerate(self.members):
            assert isinstance(member, Member)
            for name in ("encoder", "decoder", "discriminator"):
                parameters = list(getattr(member, name).parameters())
                adam = torch.optim.Adam(parameters, self.config.rate, betas=(0.5, 0.9))
                schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.config.steps, self.config.rate / 20)
                made[f"{name}{number}"] = Optimiser(adam, schedule, clip_norm=5.0)
        return made

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """One step of every member, each on images of its own choice."""
        del batch
        if self._images is None:
            self._images = self.see(step.training_showers()).to(step.device)
        numbers: dict[str, float | Tensor] = {}
        for number, member in enumerate(self.members):
            assert isinstance(member, Member)
            rows = step.rng.choice(len(self._images), min(self.config.batch, len(self._images)), replace=False)
            numbers |= self._member_step(number, member, self._images[torch.from_numpy(rows)], step)
            if step.index % self.config.select_every == 0 or step.index == self.config.steps - 1:
                numbers[f"score{number}"] = self._select(member)
        if step.index == self.config.steps - 1:
            for member in self.members:
                assert isinstance(member, Member)
                member.recall()
            step.report("agreement of the five observables, mean W1 x 100: " + ", ".join(
                f"{float(m.score):.2f}" for m in self.members if isinstance(m, Member)))  # fmt: skip
        return numbers

    def _member_step(self, number: int, member: Member, real: Tensor, step: Step) -> dict[str, Tensor]:
        config, size = self.config, len(real)
        noise = [torch.randn(size, PIXELS * PIXELS, device=real.device) for _ in range(2)]
        standardised = (real - member.decoder.mean) / member.decoder.width
        mean, log_variance = member.encoder(standardised)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        rebuilt, made = member.decoder(z, noise[0]), member.decoder(torch.randn_like(mean), noise[1])

        ones, zeros = torch.full((size, 1), config.real_label, device=real.device), torch.zeros(size, 1).to(real)
        bce = functional.binary_cross_entropy_with_logits
        judged = [member.discriminator(x)[0] for x in (real, _kept(made).detach(), _kept(rebuilt).detach())]
        loss = bce(judged[0], ones) + 0.5 * (bce(judged[1], zeros) + bce(judged[2], zeros))
        step.minimise(f"discriminator{number}", loss)

        with torch.no_grad():
            _, wanted = member.discriminator(real)
        said, features = member.discriminator(_kept(rebuilt))
        said_made, _ = member.discriminator(_kept(made))
        likeness = config.feature_weight * functional.mse_loss(features, wanted)
        likeness = likeness + config.pixel_weight * functional.mse_loss(
            (rebuilt - member.decoder.mean) / member.decoder.width, standardised
        )
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
        truth = torch.ones_like(said)
        adversarial = bce(said, truth) + bce(said_made, truth)
        # one backward pass serves encoder and decoder: the encoder's share first, its graph is needed again
        encoder = list(member.encoder.parameters())
        total = likeness + config.kl_weight * kl
        gradients = torch.autograd.grad(total, encoder, retain_graph=True)
        surrogate = sum((p * g).sum() for p, g in zip(encoder, gradients, strict=True))
        step.minimise(f"decoder{number}", likeness + config.adversarial_weight * adversarial)
        assert isinstance(surrogate, Tensor)
        step.minimise(f"encoder{number}", surrogate)
        return {f"discriminator{number}": loss, f"likeness{number}": likeness, f"kl{number}": kl}

    def _select(self, member: Member) -> float:
        """Compare the five observables with those of the training images; keep the weights if they agree best."""
        assert self._images is not None
        count, device = self.config.select_images, self._images.device
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            noise = [torch.randn(count, n, generator=generator).to(device) for n in (self.config.latent, PIXELS**2)]
            made = member.decoder.images_mev(*noise)
            real = SCALE_MEV * torch.expm1(self._images[:, 0])
        tables = [image_observables(x.cpu().numpy(), np.random.default_rng(0)) for x in (made, real)]
        score = float(np.mean([wasserstein(a, b) for a, b in zip(tables[0].T, tables[1].T, strict=True)]))
        if score < float(member.score):
            member.score.fill_(score)
            member.keep()
        return score

    def sampler(self) -> VaeGanSampler:
        """Return the ensemble."""
        return VaeGanSampler(self)

    def begin(self, stage: str, teacher: Callable[[Path], System[Any]]) -> None:
        """Nothing is taken over."""
        del stage, teacher


SYSTEM = VaeGan

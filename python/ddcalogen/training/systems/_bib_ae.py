# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the BIB-AEs share: encoder, decoder, critics, losses, post-processor, and the model of the encoded latents.

Bounded information bottleneck autoencoder (Voloshynovskiy et al., arXiv:1912.00830) as used for showers in
arXiv:2005.05334, arXiv:2112.09709 and arXiv:2303.18150. Stages: ``autoencoder``; ``post_mse`` (the post-processor
learns to change nothing) and ``post`` (it learns the cell spectrum); ``encode`` (latent variables of training showers
are collected); then a model of these: ``latents`` (kernel density estimate) or ``flow``.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import StepLR

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.grid_networks import (
    Layer,
    PostProcessor,
    Size,
    VolumeStack,
    dense,
    images_mev,
)
from ddcalogen.training.grid_profiles import PROFILE_UNIT_MEV, ProfileHead, ProfileView
from ddcalogen.training.latents import ConditionalKde
from ddcalogen.training.losses import gaussian_mmd, gradient_penalty, kl_to_normal, sorted_kernel_mmd
from ddcalogen.training.representations import Batch, Grids
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, SystemConfig
from ddcalogen.training.systems._grid import CALIBRATE, GridConfig, GridSampler, GridSystem

__all__ = [
    "BatchStatisticsCritic",
    "BibAe",
    "BibAeConfig",
    "Coder",
    "KdeBibAe",
    "KdeBibAeConfig",
    "PostConfig",
    "StreamCritic",
    "condition_of",
    "reset_weights",
]

ENERGY_UNIT_GEV = 100.0


class SpectrumConfig(SystemConfig):
    """A sorted-kernel MMD of the post-processor."""

    weight: float = Field(default=5.0, ge=0)
    alpha: float = Field(default=200.0, gt=0, description="of the kernel exp(-alpha d^2), 1/MeV^2")


class PostConfig(SystemConfig):
    """The post-processor."""

    width: int = Field(default=128, ge=1, description="channels")
    layers: int = Field(default=6, ge=4, description="convolutions with kernel 1")
    norm: bool = Field(default=True, description="layer normalisation")
    residual: bool = Field(
        default=False,
        description="it also sees the logarithm of the cells and gives their change; empty cells stay empty",
    )
    mse_steps: int = Field(default=120_000, ge=1, description="steps in which it learns to change nothing")
    steps: int = Field(default=360_000, ge=1, description="steps with all losses")
    rate: float = Field(default=5e-4, gt=0, description="learning rate")
    spectrum: tuple[SpectrumConfig, ...] = Field(default=(SpectrumConfig(),), description="sorted-kernel MMDs")
    window: int = Field(default=100, ge=1, description="cells in a window")
    stride: int = Field(default=25, ge=1, description="cells from window to window")
    highest: int = Field(default=2000, ge=1, description="windows start among so many cells of highest energy")
    mse: float = Field(default=1.0, ge=0, description="weight of the squared difference to what comes in, MeV^2")
    sorted_mse: float = Field(default=0.0, ge=0, description="weight of the squared difference of sorted cells")
    sorted_mae: float = Field(default=0.0, ge=0, description="the same, absolute difference")
    batch_compare: float = Field(default=0.0, ge=0, description="weight of the squared difference of batch sums")


class BibAeConfig(GridConfig):
    """Sizes and schedule; the defaults are those of the photon BIB-AE."""

    encoded: int = Field(default=24, ge=1, description="latent variables that are encoded")
    filler: int = Field(default=488, ge=1, description="latent variables that are only noise")
    width: int = Field(default=8, ge=1, description="channels of the first volume")
    short: bool = Field(
        default=False,
        description="fewer convolutions in the decoder, none on more cells than the grid has; critics "
        "of batch statistics with a larger first stride",
    )
    dense_width: int = Field(default=4000, ge=1)
    code_width: int = Field(default=768, ge=1)
    critic_width: int = Field(default=128, ge=2)
    steps: int = Field(default=20_000_000, ge=1, description="critic steps of the autoencoder")
    critic_steps: int = Field(default=5, ge=1, description="critic steps for each step of the autoencoder")
    rate: float = Field(default=5e-4, gt=0, description="learning rate of autoencoder and image critic")
    latent_rate: float = Field(default=2e-3, gt=0, description="learning rate of the latent critic")
    decay: float = Field(default=0.95, gt=0, le=1, description="factor on the learning rates")
    decay_every: int = Field(default=119_000, ge=1, description="autoencoder steps between such factors (an epoch)")
    reset_every: int = Field(default=0, ge=0, description="critic steps of a second critic's life; 0: none")
    penalty: float = Field(default=10.0, ge=0, description="weight of the gradient penalties")
    adversarial: float = Field(default=1.0, ge=0, description="weight of the image critics")
    latent_adversarial: float = Field(default=100.0, ge=0, description="weight of the latent critic")
    kl: float = Field(default=0.05, ge=0, description="weight of the Kullback-Leibler divergence")
    latent_mmd: float = Field(default=100.0, ge=0, description="weight of the MMD of the latent variables")
    reconstruction: float = Field(default=0.0, ge=0, description="weight of the mean squared cell difference, MeV^2")
    profile_reconstruction: float = Field(
        default=0.0, ge=0, description="weight of the mean squared difference of profiles; needs critic_profile"
    )
    post: PostConfig = PostConfig()
    encoded_showers: int = Field(default=4000, ge=64, description="showers whose latent variables are collected")


class KdeConfig(SystemConfig):
    """How latent variables are sampled."""

    kind: Literal["kde", "normal"] = Field(default="kde", description="normal: N(0, 1), whatever was encoded")
    bandwidth: float | None = Field(
        default=None, gt=0, description="of the kernels, in standard deviations; null: Scott's rule"
    )


class Coder(nn.Module):
    """Encoder and decoder of one grid.

    Parameters
    ----------
    size
        Layers, nx, ny.
    down
        Convolutions of the encoder.
    start, up
        Volume the dense part of the decoder makes (with as many channels as the first convolution), and what is behind.
    condition
        Numbers in the condition.
    profiles
        Numbers of profiles that the encoder sees.
    """

    def __init__(
        self,
        size: Size,
        down: list[Layer],
        start: Size,
        up: list[Layer],
        condition: int,
        c: BibAeConfig,
        profiles: int = 0,
    ):
        super().__init__()
        self.view = ProfileView(profiles, condition, c.critic_profile) if profiles else None
        seen = c.critic_profile if profiles else 0
        self.down = VolumeStack(1, size, down)
        self.encode_dense = dense([self.down.features + condition + seen, c.dense_width, c.code_width], finish=True)
        self.mean, self.log_variance = (nn.Linear(c.code_width, c.encoded) for _ in range(2))
        self.start = (c.width, *start)
        self.decode_dense = dense(
            [c.encoded + c.filler + condition, c.code_width, c.dense_width, math.prod(self.start)], finish=True
        )
        self.up = VolumeStack(c.width, start, up, finish=False)
        self.direct: ProfileHead | None = None
        if c.profile:
            self.direct = ProfileHead(c.encoded + c.filler + condition, size, c.profile, c.profile_order)

    def encode(self, views: Sequence[Tensor], condition: Tensor) -> tuple[Tensor, Tensor]:
        """Views (cells in MeV and perhaps profiles) to mean and log variance of the latents, [B, encoded] each."""
        parts = [self.down(views[0]).flatten(1), condition]
        if self.view is not None:
            parts.append(self.view(views[1], condition))
        x = self.encode_dense(torch.cat(parts, 1))
        return self.mean(x), self.log_variance(x).clamp(-12.0, 6.0)

    def decode(self, latent: Tensor, filler: Tensor, condition: Tensor) -> Tensor:
        """Latents [B, encoded] and noise [B, filler] to a number for each cell [B, 1, layers, nx, ny]."""
        drawn = torch.cat([latent, filler, condition], 1)
        number: Tensor = self.up(self.decode_dense(drawn).reshape(-1, *self.start))
        return number if self.direct is None else number + self.direct(drawn)


class StreamCritic(nn.Module):
    """Critic of the photon BIB-AE: cells, logarithm of cells, difference to the shower that was encoded, condition."""

    def __init__(self, size: Size, condition: int, width: int, *, profiles: int = 0, view: int = 0) -> None:
        super().__init__()
        half = width // 2
        self.view = ProfileView(2 * profiles, condition, view) if profiles else None
        down = [Layer(width, 3, 2), Layer(width, 3, 2), Layer(width, 3)]
        self.linear, self.logarithm = (self._stream(size, down, half) for _ in range(2))
        self.difference = dense([math.prod(size), half], finish=True)
        self.about = dense([condition, half], finish=True)
        self.end = dense([4 * half + (view if profiles else 0), 2 * width, 2 * width, 2 * width, 1])

    @staticmethod
    def _stream(size: Size, down: list[Layer], half: int) -> nn.Sequential:
        body = VolumeStack(1, size, down[:-1])
        last = VolumeStack(body.channels, body.size, down[-1:], norm=None)
        return nn.Sequential(body, last, nn.Flatten(), *dense([last.features, half], finish=True))

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        """[B, 1]; image (judged), its profile; the encoded shower, its profile; condition. Profiles if it sees them."""
        encoded, condition = rest[-2 if self.view is None else -3], rest[-1]
        parts = [
            self.linear(image),
            self.logarithm(torch.log(image + 1.0)),
            self.difference((image - encoded).flatten(1)),
            self.about(condition),
        ]
        if self.view is not None:
            parts.append(self.view(torch.cat([rest[0], rest[0] - rest[2]], 1), condition))
        score: Tensor = self.end(torch.cat(parts, 1))
        return score


class BatchStatisticsCritic(nn.Module):
    """Critic of the pion BIB-AE: as above with a difference of logarithms, and statistics of the batch.

    Of each shower it sees how sum and spread of its cells (and of their logarithms) differ from those of the others of
    the batch: an embedding of each pair's difference, its mean and spread over the batch.
    """

    def __init__(
        self, size: Size, down: list[Layer], condition: int, width: int, *, profiles: int = 0, view: int = 0
    ) -> None:
        super().__init__()
        half = width
        self.view = ProfileView(2 * profiles, condition, view) if profiles else None
        self.linear, self.logarithm = (StreamCritic._stream(size, down, half) for _ in range(2))
        cells = math.prod(size)
        self.difference, self.log_difference = (dense([cells, half], finish=True) for _ in range(2))
        # shared by the linear and the logarithmic statistics, as in the source
        self.of_spread, self.of_sum = (dense([1, half, half, 16], 0.01, finish=True) for _ in range(2))
        self.statistics, self.log_statistics = (dense([64, half], finish=True) for _ in range(2))
        self.about = dense([condition, half], finish=True)
        self.end = dense([7 * half + (view if profiles else 0), 256, 256, 1])

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        """[B, 1]; arguments as those of `StreamCritic`."""
        encoded, condition = rest[-2 if self.view is None else -3], rest[-1]
        log_image, log_encoded = (torch.log(v + math.exp(-5.0)) + 5.0 for v in (image, encoded))
        parts = [
            self.statistics(self._of_batch(image)),
            self.log_statistics(self._of_batch(log_image)),
            self.difference((image - encoded).flatten(1)),
            self.log_difference((log_image - log_encoded).flatten(1)),
            self.linear(image * 0.001),
            self.logarithm(log_image),
            self.about(condition),
        ]
        if self.view is not None:
            parts.append(self.view(torch.cat([rest[0], rest[0] - rest[2]], 1), condition))
        score: Tensor = self.end(torch.cat(parts, 1))
        return score

    def _of_batch(self, image: Tensor) -> Tensor:
        cells = image.flatten(1)
        features = []
        for network, value in ((self.of_spread, _spread(cells)), (self.of_sum, cells.sum(1))):
            pairs = network((value[:, None] - value[None, :])[:, :, None])
            features += [_spread(pairs.transpose(1, 2)), pairs.mean(1)]
        return torch.cat(features, 1)


def _spread(x: Tensor) -> Tensor:
    """Standard deviation along the last axis, with a finite slope where all are equal."""
    return (x.var(-1, unbiased=False) + 1e-8).sqrt()


def reset_weights(module: nn.Module) -> None:
    """Draw all weights anew."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv3d, nn.LayerNorm)):
            part.reset_parameters()


def condition_of(energy: Tensor, direction: Tensor, angular: bool) -> Tensor:
    """What networks are told of the incident particle: energy in 100 GeV, and x and y of the direction, [B, 1 or 3]."""
    scaled = energy * (1.0 / ENERGY_UNIT_GEV)
    return torch.cat([scaled, direction[:, :2]], 1) if angular else scaled


BibAeConfigT = TypeVar("BibAeConfigT", bound=BibAeConfig)


class BibAe(GridSystem[BibAeConfigT]):
    """Base of the BIB-AEs; see the module."""

    angular = False
    """Whether networks are told the direction."""

    def __init__(self, config: BibAeConfigT, stack: Stack, domain: Domain, size: Size) -> None:
        super().__init__(config, stack, domain, size)
        self.conditions = 3 if self.angular else 1
        if config.profile_reconstruction and not config.critic_profile:
            raise ConfigurationError(
                "profiles cannot be compared",
                found=f"profile_reconstruction {config.profile_reconstruction:g}, critic_profile 0",
                expected="critic_profile of 1 or more",
                remedy="Set system.critic_profile, which says how wide the networks are that see profiles.",
            )
        self.coder = self._make_coder()
        self.critic = self._make_critic()
        self.second_critic = self._make_critic() if config.reset_every else None
        self.latent_critic = dense([1, 50, 100, 50, 1], 0.01)
        post = config.post
        self.post = PostProcessor(
            size, self.conditions, width=post.width, layers=post.layers, norm=post.norm, residual=post.residual
        )
        self.collected: Tensor
        self.collected_rows: Tensor
        # mean, log variance, condition and visible energy (MeV) of showers
        self.register_buffer("collected", torch.zeros(config.encoded_showers, 2 * config.encoded + self.conditions + 1))
        self.register_buffer("collected_rows", torch.zeros((), dtype=torch.int64))

    @abc.abstractmethod
    def _make_coder(self) -> Coder:
        """Return encoder and decoder."""

    @abc.abstractmethod
    def _make_critic(self) -> nn.Module:
        """Return a critic of images."""

    @abc.abstractmethod
    def _latent_stages(self) -> tuple[Stage, ...]:
        """Stages that make the model of the latent variables."""

    def representation(self, stage: str) -> Grids | None:
        return None if stage in ("latents", "flow") else super().representation(stage)

    def stages(self) -> tuple[Stage, ...]:
        c = self.config
        return (
            Stage("autoencoder", c.steps, validate=False),
            Stage("post_mse", c.post.mse_steps, validate=False, average=False),
            Stage("post", c.post.steps, validate=False, average=False),
            *self._latent_stages(),
            *self.calibration_stages,
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        c = self.config
        # what a stage does not train is only passed through: encoder and decoder behind the first stage
        self.coder.requires_grad_(stage == "autoencoder")
        self.head.requires_grad_(stage == "autoencoder")
        if stage in ("post_mse", "post"):
            return {"post": Optimiser(torch.optim.Adam(self.post.parameters(), c.post.rate, (0.5, 0.9)))}
        if stage != "autoencoder":
            return {}
        made: dict[str, Optimiser] = {}
        for name, part, rate, every in (
            ("autoencoder", self.coder, c.rate, c.decay_every),
            ("critic", self.critic, c.rate, c.decay_every * c.critic_steps),
            ("second_critic", self.second_critic, c.rate, c.decay_every * c.critic_steps),
            ("latent_critic", self.latent_critic, c.latent_rate, c.decay_every * c.critic_steps),
        ):
            if part is not None:
                parameters = [*part.parameters(), *(self.head.parameters() if part is self.coder else ())]
                optimiser = torch.optim.Adam(parameters, rate, (0.5, 0.9))
                made[name] = Optimiser(optimiser, StepLR(optimiser, every, c.decay))
        return made

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        if step.stage == CALIBRATE:
            return self.calibrate(step)
        image, condition = images_mev(batch), condition_of(batch["energy"], batch["direction"], self.angular)
        if step.stage == "autoencoder":
            return self._autoencoder_step(image, condition, step)
        if step.stage == "encode":
            return self._collect(image, condition, step)
        return self._post_step(image, condition, step)

    # ------------------------------------------------------------------------------------------------- autoencoder

    def _through(self, image: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Encode and decode: image, the decoder's numbers, latents, mean, logarithm of the variance."""
        mean, log_variance = self.coder.encode(self.views(image), condition)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        filler = torch.randn(len(image), self.config.filler, device=image.device)
        number = self.coder.decode(latent, filler, condition)
        image = self.head(number, condition[:, :1] * ENERGY_UNIT_GEV, self.cell_noise(image))
        return image, number, latent, mean, log_variance

    def _autoencoder_step(self, image: Tensor, condition: Tensor, step: Step) -> Mapping[str, float | Tensor]:
        c = self.config
        if self.second_critic is not None and step.index and step.index % c.reset_every == 0:
            reset_weights(self.second_critic)
            step.forget("second_critic")
        with torch.no_grad():
            made, _, latent, _, _ = self._through(image, condition)
        numbers: dict[str, float | Tensor] = {}
        seen, seen_made = self.views(image), self.views(made)
        for name, critic in (("critic", self.critic), ("second_critic", self.second_critic)):
            if critic is not None:
                distance = critic(*seen, *seen, condition).mean() - critic(*seen_made, *seen, condition).mean()
                penalty = gradient_penalty(critic, seen, seen_made, *seen, condition)
                step.minimise(name, c.penalty * penalty - distance)
                numbers[f"{name}_distance"] = distance
        normal = torch.randn_like(latent)
        distance = self._latent_score(normal).mean() - self._latent_score(latent).mean()
        penalty = gradient_penalty(self._latent_score, (normal,), (latent,))
        step.minimise("latent_critic", c.penalty * penalty - distance)
        numbers["latent_distance"] = distance
        if (step.index + 1) % c.critic_steps == 0:
            made, number, latent, mean, log_variance = self._through(image, condition)
            seen_made = self.views(made)
            loss = -c.adversarial * self.critic(*seen_made, *seen, condition).mean()
            if self.second_critic is not None:
                loss = loss - c.adversarial * self.second_critic(*seen_made, *seen, condition).mean()
            loss = loss - c.latent_adversarial * self._latent_score(latent).mean()
            kl = kl_to_normal(mean, log_variance)
            mmd = gaussian_mmd(latent, torch.randn_like(latent), (1.0, 0.01))
            # of the mean over cell noise: of the noise itself it would leave nothing
            expected = self.head.expected(number, condition[:, :1] * ENERGY_UNIT_GEV)
            difference = functional.mse_loss(expected, image)
            numbers |= {"autoencoder": loss, "kl": kl, "latent_mmd": mmd, "difference_mev2": difference}
            loss = loss + c.kl * kl + c.latent_mmd * mmd + c.reconstruction * difference
            if self.profiles is not None and c.profile_reconstruction:
                n = self.profiles.smooth
                off = functional.mse_loss(self.profiles(expected)[:, :n], seen[1][:, :n]) * PROFILE_UNIT_MEV**-2
                loss = loss + c.profile_reconstruction * off
                numbers["profile_difference"] = off
            step.minimise("autoencoder", loss)
        return numbers

    def _latent_score(self, latent: Tensor) -> Tensor:
        """The latent critic looks at each variable alone: [B, N] to [B, N]."""
        score: Tensor = self.latent_critic(latent[:, :, None])[:, :, 0]
        return score

    # ---------------------------------------------------------------------------------------------- post-processor

    def _post_step(self, image: Tensor, condition: Tensor, step: Step) -> Mapping[str, float | Tensor]:
        p = self.config.post
        with torch.no_grad():
            made, *_ = self._through(image, condition)
        changed = self.post(made, condition)
        mse = functional.mse_loss(changed, made)
        if step.stage == "post_mse":
            step.minimise("post", mse)
            return {"mse_mev2": mse}
        numbers: dict[str, float | Tensor] = {"mse_mev2": mse}
        loss = p.mse * mse
        for number, term in enumerate(p.spectrum):
            mmd = sorted_kernel_mmd(
                image, changed, alpha=term.alpha, window=p.window, stride=p.stride, highest=p.highest
            )
            numbers[f"spectrum_{number}"] = mmd
            loss = loss + term.weight * mmd
        if p.sorted_mse or p.sorted_mae:
            a, b = (torch.sort(v.flatten(1), 1).values for v in (image, changed))
            loss = loss + p.sorted_mse * functional.mse_loss(b, a) + p.sorted_mae * functional.l1_loss(b, a)
        if p.batch_compare:
            loss = loss + p.batch_compare * (image.sum(0) - changed.sum(0)).square().mean()
        step.minimise("post", loss)
        return numbers

    # ----------------------------------------------------------------------------------------------------- latents

    @property
    def encode_stage(self) -> Stage:
        """Stage that collects the latent variables of `encoded_showers` showers."""
        batch = min(64, self.config.encoded_showers)
        return Stage("encode", -(-self.config.encoded_showers // batch), batch=batch, validate=False, average=False)

    @torch.no_grad()
    def _collect(self, image: Tensor, condition: Tensor, step: Step) -> Mapping[str, float | Tensor]:
        mean, log_variance = self.coder.encode(self.views(image), condition)
        rows = torch.cat([mean, log_variance, condition, image.flatten(1).sum(1, keepdim=True)], 1)
        start = 0 if step.index == 0 else int(self.collected_rows)
        rows = rows[: len(self.collected) - start]
        self.collected[start : start + len(rows)] = rows
        self.collected_rows.fill_(start + len(rows))
        return {"latent_mean_rms": mean.square().mean().sqrt()}

    def collected_latents(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (drawn from what was encoded) [N, encoded], conditions [N, conditions], visible energy [N, 1] MeV."""
        n = self.config.encoded
        rows = self.collected[: int(self.collected_rows)]
        mean, log_variance, condition, visible = torch.split(rows, [n, n, self.conditions, 1], 1)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean), condition, visible


class KdeBibAeConfig(BibAeConfig):
    """A BIB-AE whose latent variables are sampled by kernel density estimation."""

    latents: KdeConfig = KdeConfig()


class KdeSampler(GridSampler):
    """Energy and noise to the grid by way of the kernel density estimate."""

    def __init__(self, system: KdeBibAe) -> None:
        c = system.config
        super().__init__(
            system,
            (
                NoiseInput(name="kernel", distribution="uniform", shape=(1,)),
                NoiseInput(name="latent", distribution="normal", shape=(c.encoded,)),
                NoiseInput(name="filler", distribution="normal", shape=(c.filler,)),
            ),
        )
        self.coder, self.post = system.coder, system.post
        self.kde = system.kde if c.latents.kind == "kde" else None
        self.angular = system.angular

    def forward(
        self,
        energy: Tensor,
        direction: Tensor,
        kernel: Tensor,
        latent: Tensor,
        filler: Tensor,
        cells: Tensor | None = None,
    ) -> Tensor:
        condition = condition_of(energy, direction, self.angular)
        if self.kde is not None:
            latent = self.kde(condition, kernel, latent)
        image = self.head(self.coder.decode(latent, filler, condition), energy, cells)
        return self.finish(self.post(image, condition), energy)


class KdeBibAe(BibAe[KdeBibAeConfig]):
    """A BIB-AE whose latent variables are sampled by kernel density estimation."""

    Config = KdeBibAeConfig

    def __init__(self, config: KdeBibAeConfig, stack: Stack, domain: Domain, size: Size) -> None:
        super().__init__(config, stack, domain, size)
        self.kde = ConditionalKde(config.encoded_showers, self.conditions, config.encoded)

    def _latent_stages(self) -> tuple[Stage, ...]:
        return self.encode_stage, Stage("latents", 1, average=False)

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        if step.stage != "latents":
            return super().training_step(batch, step)
        latent, condition, _ = self.collected_latents()
        return {"bandwidth": self.kde.fit(condition, latent, self.config.latents.bandwidth)}

    def sampler(self) -> KdeSampler:
        return KdeSampler(self)

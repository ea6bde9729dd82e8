# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Point cloud in one step: `point_cloud` distilled to a consistency model (2303.01469; CaloClouds II CM, 2309.05704).

The student starts from the teacher's weights and learns to give, from any noise level, what it gives (as a slow average
of itself) after one Heun step of the teacher to the next lower level. The exported sampler is the shower model, one
evaluation at the highest noise level, and the same calibration as the teacher's; the number of points is fitted anew.

The teacher comes from a checkpoint of `point_cloud` (``system.teacher``); without one its stages are trained first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ddcalogen.card import Domain
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.point_cloud_networks import HIGHEST, LOWEST, SIGMA_DATA, PointNetwork, fourier, noise_levels
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig
from ddcalogen.training.systems.point_cloud import PointCloud, PointCloudConfig, PointCloudSampler, denoise

__all__ = ["SYSTEM", "PointCloudDistilled", "PointCloudDistilledConfig"]


class PointCloudDistilledConfig(PointCloudConfig):
    """Settings of the teacher (those of its checkpoint are taken instead, if there is one) and of the distillation."""

    teacher: Path | None = Field(default=None, description="checkpoint of a point_cloud")
    distillation_steps: int = Field(default=10_000, ge=1)
    distillation_rate: float = Field(default=3e-4, gt=0)
    levels: int = Field(default=32, ge=2, description="noise levels of the distillation")
    target_decay: float = Field(default=0.95, ge=0, lt=1)


def consistent(network: PointNetwork, noisy: Tensor, sigma: Tensor, known: Tensor) -> Tensor:
    """Consistency function: the identity at the lowest noise level (2303.01469, eq. 5 and appendix C)."""
    above = sigma - LOWEST
    skip = SIGMA_DATA**2 / (above * above + SIGMA_DATA**2)
    total = torch.sqrt(sigma * sigma + SIGMA_DATA**2)
    raw: Tensor = network(noisy / total[:, None], fourier(sigma), known)
    return skip[:, None] * noisy + (SIGMA_DATA * above / total)[:, None] * raw


class PointCloudDistilled(PointCloud):
    """Teacher, student, and the student's moving average."""

    Config: ClassVar[type[SystemConfig]] = PointCloudDistilledConfig
    title: ClassVar[str] = "point cloud, distilled to one step"
    placed_by: ClassVar[str] = (
        "an EDM diffusion network, distilled to a consistency model of one step (2303.01469), places the points"
    )
    config: PointCloudDistilledConfig

    def __init__(self, config: PointCloudDistilledConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        self.student = self.new_network()
        self.target = self.new_network()

    def stages(self) -> tuple[Stage, ...]:
        """The teacher's stages if it is not there yet, then distillation and calibration."""
        *before, calibration = super().stages()
        taught = () if self.config.teacher else tuple(dataclasses.replace(s, validate=False) for s in before)
        return (
            *taught,
            Stage("distillation", self.config.distillation_steps, batch=self.config.point_batch),
            calibration,
        )

    def begin(self, stage: str, teacher: Callable[[Path], System[Any]]) -> None:
        """Take the teacher's weights."""
        if stage != "distillation":
            return
        if self.config.teacher:
            loaded = teacher(self.config.teacher)
            if not isinstance(loaded, PointCloud):
                raise ConfigurationError("the teacher is no point cloud", found=type(loaded).__name__)
            own = self.state_dict()
            theirs = {k: v for k, v in loaded.state_dict().items() if k in own}
            if wrong := [k for k, v in theirs.items() if own[k].shape != v.shape]:
                raise ConfigurationError(
                    "the teacher's networks have another size",
                    found=", ".join(wrong[:3]),
                    remedy="Set the sizes of the networks to those of the teacher.",
                )
            self.load_state_dict({**own, **theirs})
        self.student.load_state_dict(self.network.state_dict())
        self.target.load_state_dict(self.network.state_dict())

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """The student's, beside the teacher's."""
        if stage != "distillation":
            return super().optimisers(stage)
        c = self.config
        student = torch.optim.AdamW(self.student.parameters(), c.distillation_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            student, c.distillation_rate, c.distillation_steps + 1, pct_start=0.1
        )
        return {"student": Optimiser(student, schedule, clip_norm=1.0)}

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """One step of the distillation."""
        if step.stage != "distillation":
            return super().training_step(batch, step)
        clean, features, slot = self.example(step)
        levels = torch.tensor(noise_levels(self.config.levels), device=step.device)
        place = torch.randint(0, len(levels) - 1, (len(clean),), device=step.device)
        high, low = levels[place], levels[place + 1]
        noisy = clean + high[:, None] * torch.randn_like(clean)

        def known(network: PointNetwork) -> Tensor:
            return torch.index_select(network.slots(features), 0, slot)

        with torch.no_grad():
            taught = known(self.network)
            slope = (noisy - denoise(self.network, noisy, high, taught)) / high[:, None]
            lower = noisy + (low - high)[:, None] * slope
            second = (lower - denoise(self.network, lower, low, taught)) / low[:, None]
            lower = noisy + 0.5 * (low - high)[:, None] * (slope + second)
            aim = consistent(self.target, lower, low, known(self.target))
        found = consistent(self.student, noisy, high, known(self.student))
        # pseudo-Huber distance (2310.14189)
        c = 0.03
        loss = (torch.sqrt(((found - aim) ** 2).sum(1) + c * c) - c).mean()
        step.minimise("student", loss)
        with torch.no_grad():
            for average, value in zip(self.target.parameters(), self.student.parameters(), strict=True):
                average.lerp_(value, 1.0 - self.config.target_decay)
        return {"loss": loss}

    def sampler(self) -> PointCloudSampler:
        """Shower and one step."""
        return OneStepSampler(self, [HIGHEST])


class OneStepSampler(PointCloudSampler):
    """The student, once, at the highest noise level."""

    def __init__(self, system: PointCloudDistilled, sigmas: list[float]) -> None:
        super().__init__(system, sigmas)
        self.network = system.student

    def points(self, noise: Tensor, known: Tensor) -> Tensor:
        """Standard normal noise [P, 3] to scaled points."""
        sigma = self.sigmas[0]
        total = (sigma * sigma + SIGMA_DATA**2) ** 0.5
        above = sigma - LOWEST
        skip, out = SIGMA_DATA**2 / (above * above + SIGMA_DATA**2), SIGMA_DATA * above / total
        raw: Tensor = self.network(noise * (sigma / total), self.time[0], known)
        result: Tensor = skip * sigma * noise + out * raw
        return result


SYSTEM = PointCloudDistilled

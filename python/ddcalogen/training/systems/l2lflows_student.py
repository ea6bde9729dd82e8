# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""L2LFlows with inverse autoregressive students: a layer is one pass instead of one for each cell and block.

The teacher is `l2lflows`. Each of its flows gets a mirror image that is quick from noise to data (IAF) and is trained
by probability density distillation without a Kullback-Leibler divergence, as in CaloFlow II (Krause and Shih,
arXiv:2110.11377): noise goes through the student, what comes out through the teacher, which should give the noise back
(z loss); showers go through the teacher, what comes out through the student, which should give the showers back (x
loss); what comes out of each block is compared, too. Summary networks are the teacher's.

Differs from the source: parameters of the splines are not compared, only what they make; layers before a layer are
those of Geant4 during distillation; a student does not begin with random weights but with the teacher's, each spline
turned round (`AutoregressiveStack.start_as_inverse`), which is right up to what a spline has of the variables before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ddcalogen.card import Domain
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.autoregressive import AutoregressiveStack, Weights, scan
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig
from ddcalogen.training.systems.l2lflows import L2lFlows, L2lFlowsConfig, LayerSampler

__all__ = ["SYSTEM", "L2lFlowsStudent", "L2lFlowsStudentConfig", "StudentSampler", "distillation_loss"]


class L2lFlowsStudentConfig(L2lFlowsConfig):
    """Sizes and schedule; those of the flows are those of the teacher."""

    teacher: str | None = Field(
        default=None, description="checkpoint of a trained l2lflows of the same sizes; null: it is trained first"
    )
    distillation_steps: int = Field(default=90_000, ge=1)


def distillation_loss(
    teacher: AutoregressiveStack, student: AutoregressiveStack, x: Tensor, given: Tensor
) -> tuple[Tensor, Tensor]:
    """Return x loss and z loss of a student, mean squares per variable and block; gradients reach the student only.

    Parameters
    ----------
    teacher, student
        From data to noise; its mirror image.
    x, given
        [layers, B, size] and [layers, B, given].
    """
    frozen = tuple(w.detach() for w in teacher.weights())

    def through_teacher(value: Tensor) -> tuple[Tensor, list[Tensor]]:
        y, _, between = teacher.quick_with(value, given, frozen)
        return y, [value, *between]

    with torch.no_grad():
        z, way = through_teacher(x)
    _, _, back = student.quick(z, given)
    x_loss = torch.stack([(a - b).square().mean() for a, b in zip(back, reversed(way[:-1]), strict=True)]).mean()
    noise = torch.randn_like(x)
    made, _, way = student.quick(noise, given)
    _, back = through_teacher(made)
    steps = [noise, *way]
    z_loss = torch.stack([(a - b).square().mean() for a, b in zip(back, reversed(steps), strict=True)][1:]).mean()
    return x_loss, z_loss


class StudentSampler(LayerSampler):
    """One pass for the layer energies, one for each layer."""

    system: L2lFlowsStudent

    def layer_energies(self, noise: Tensor, condition: Tensor) -> Tensor:
        """See `LayerSampler`."""
        flow = self.system.energy_student
        return flow.quick(noise, condition, tuple(w[0] for w in flow.weights()))[0]

    def logarithms(self, noise: Tensor, condition: Tensor, energies: Tensor) -> Tensor:
        """See `LayerSampler`; one loop over layers."""
        system, flow, cells = self.system, self.system.shape_student, self.cells
        padded = torch.nn.functional.pad(energies, (1, 0)).T

        def body(carry: Weights, row: Weights) -> tuple[Weights, Tensor]:
            (before,) = carry
            z, last, own, *weights = row
            known = torch.cat([before, last[:, None], own[:, None], condition], 1)
            x, _, _ = flow.quick(z, system.summarise(weights[:4], known), tuple(weights[4:]))
            return (torch.cat([before[:, cells:], x], 1),), x * 1.0

        rows = (noise, padded[:-1], padded[1:], *system.summary_weights(), *flow.weights())
        before = torch.zeros_like(noise[0]).repeat(1, self.history)
        return scan(body, (before,), rows)[1]


class L2lFlowsStudent(L2lFlows):
    __doc__ = __doc__
    Config: ClassVar[type[SystemConfig]] = L2lFlowsStudentConfig
    title: ClassVar[str] = "L2LFlows, inverse autoregressive student"
    config: L2lFlowsStudentConfig

    def __init__(self, config: L2lFlowsStudentConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        c = config
        self.energy_student = self._flow(c.energies, 1, stack.layers, 3, mirrored=True)
        self.shape_student = self._flow(c.shapes, stack.layers, c.cells**2, c.summary, mirrored=True)

    def stages(self) -> tuple[Stage, ...]:
        """Teacher unless there is one, distillation, spectrum function."""
        c = self.config
        first = () if c.teacher else (Stage("flows", c.steps, validate=False),)
        return (*first, Stage("distillation", c.distillation_steps), Stage("spectrum", 1, average=False))

    def begin(self, stage: str, teacher: Callable[[Path], System[Any]]) -> None:
        """Take over the teacher, and begin with its splines turned round."""
        if stage != "distillation":
            return
        if self.config.teacher:
            self._take_over(teacher(Path(self.config.teacher)))
        self.energy_student.start_as_inverse(self.energies)
        self.shape_student.start_as_inverse(self.shapes)

    def _take_over(self, loaded: System[Any]) -> None:
        own = {k: v for k, v in self.state_dict().items() if not k.startswith(("energy_student", "shape_student"))}
        given = loaded.state_dict()
        if type(loaded) is not L2lFlows or {k: v.shape for k, v in own.items()} != {
            k: v.shape for k, v in given.items()
        }:
            raise ConfigurationError(
                "the teacher does not fit the student",
                found=f"{self.config.teacher}: {type(loaded).__name__} of other sizes, or another system",
                expected="a checkpoint of l2lflows with the same configuration",
            )
        self.load_state_dict(given, strict=False)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Those of the teacher; or one for each student."""
        steps = self.config.distillation_steps
        if stage != "distillation":
            return super().optimisers(stage)
        return {
            "energies": self._optimiser(self.energy_student.parameters(), steps),
            "shapes": self._optimiser(self.shape_student.parameters(), steps),
        }

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Likelihood, distillation, or the fit of the spectrum function."""
        if step.stage != "distillation":
            return super().training_step(batch, step)
        with torch.no_grad():
            condition, energies, cells, known = self.variables(batch)
            given = self.summarise(self.summary_weights(), known)
        numbers: dict[str, float | Tensor] = {}
        for name, teacher, student, x, told in (
            ("energies", self.energies, self.energy_student, energies[None], condition[None]),
            ("shapes", self.shapes, self.shape_student, cells, given),
        ):
            x_loss, z_loss = distillation_loss(teacher, student, x, told)
            step.minimise(name, 0.5 * (x_loss + z_loss))
            numbers |= {f"{name}_x": x_loss, f"{name}_z": z_loss}
        return numbers

    def sampler(self) -> StudentSampler:
        """Noise to showers by the students."""
        return StudentSampler(self)


SYSTEM = L2lFlowsStudent

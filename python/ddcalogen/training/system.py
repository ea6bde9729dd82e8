# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The door between a generative system and everything else: what a system must say, and what it is given.

A system is one module ``ddcalogen/training/systems/NAME.py`` that defines ``SYSTEM``, a subclass of `System`, and one
file ``ddcalogen/training/configs/NAME.yaml``. Nothing else names it: loop, export, tests and tables find it by itself.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ddcalogen.card import Domain
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch, Representation
from ddcalogen.training.sampler import Sampler
from ddcalogen.training.stacks import Stack

__all__ = ["Optimiser", "Stage", "Step", "System", "SystemConfig", "find_system", "system_names"]


class SystemConfig(BaseModel):
    """Base of the configurations of systems: typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training with its own optimisers.

    Attributes
    ----------
    name
        For the log.
    steps
        Number of training steps.
    batch
        Showers per step; None: that of the configuration.
    validate
        Whether the sampler makes sense in this stage, so that its fidelity is measured and the best weights are kept.
    average
        Whether weights are averaged (`training.ema_decay`); the averages become the weights when the stage ends.
    """

    name: str
    steps: int
    batch: int | None = None
    validate: bool = True
    average: bool = True


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """An optimiser of some of the system's parameters, and its learning-rate schedule (one step per `minimise`)."""

    optimiser: Optimizer
    schedule: LRScheduler | None = None
    clip_norm: float | None = None


class Step(Protocol):
    """What a training step is given besides its batch. Its randomness (torch and `rng`) is keyed on seed and step.

    Attributes
    ----------
    stage, index
        Name of the stage; number of the step within it, from 0.
    rng
        NumPy generator of this step.
    mirror
        Axes along which training showers may be mirrored at random (of the configuration): batches are already, what
        comes of `training_showers` is not.
    """

    stage: str
    index: int
    rng: np.random.Generator

    @property
    def mirror(self) -> tuple[Literal["x", "y"], ...]:
        """See above."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""

    def minimise(self, optimiser: str, loss: Tensor) -> None:
        """One step of an optimiser down the gradient of a loss.

        Zeroes the optimiser's gradients, goes backward, averages gradients over processes, clips, steps, moves the
        schedule on. Gradients that reach parameters of other optimisers are dropped when these are next used.
        """

    def forget(self, optimiser: str) -> None:
        """Clear what an optimiser remembers (moments), as if it were new; its schedule goes on."""

    def training_showers(self) -> Showers:
        """Return all showers of the training split, in memory: for fits that need them at once."""

    def report(self, text: str) -> None:
        """Tell the user something."""


C = TypeVar("C", bound=SystemConfig)


class System(nn.Module, abc.ABC, Generic[C]):
    """A generative system: networks, how they are trained, and the sampler that comes out.

    All state is in parameters and buffers (`state_dict`), so checkpoints hold weights only. Standardisation constants
    are buffers, too.

    Class attributes
    ----------------
    Config
        Type of its configuration.
    title
        A few words, for tables.
    description
        For the card: what it is, where it comes from, what it leaves out. Default: the docstring.
    calorimeters
        Names of the stacks that it can be made for; empty: that of its configuration in the package only.

    Parameters
    ----------
    config
        Its configuration.
    stack
        The calorimeter.
    domain
        Particles of the training data.
    """

    Config: ClassVar[type[SystemConfig]]
    title: ClassVar[str]
    description: ClassVar[str] = ""
    calorimeters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: C, stack: Stack, domain: Domain) -> None:
        super().__init__()
        self.config, self.stack, self.trained_on = config, stack, domain

    @property
    def domain(self) -> Domain:
        """Particles the model is for, as the card will say; by default those it is trained on."""
        return self.trained_on

    def describe(self) -> str:
        """Return the description for the card."""
        return " ".join((self.description or type(self).__doc__ or self.title).split())

    @abc.abstractmethod
    def representation(self, stage: str) -> Representation | None:
        """Return how showers are turned into batches in a stage; None: the stage needs no batches."""

    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set the buffers of the standardisation from batches of the training split (first stage's representation)."""
        del batches

    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages, in order."""

    def begin(self, stage: str, teacher: Callable[[Path], System[Any]]) -> None:
        """Prepare a stage: called when it starts, not when a run is taken up again within it.

        Parameters
        ----------
        teacher
            Loads a trained system from a checkpoint. What is wanted of it is to be copied into own modules (made in
            ``__init__``), so that it is part of the checkpoints.
        """
        del stage, teacher

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Return fresh optimisers of a stage by name; none for closed-form fits.

        Also called when a run is taken up again, so this is the place to freeze parameters.
        """
        del stage
        return {}

    @abc.abstractmethod
    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Do one step; return numbers for the log (scalars)."""

    @abc.abstractmethod
    def sampler(self) -> Sampler:
        """Return the network from physics in to physics out; it may share parameters and buffers with the system."""


def _modules() -> Iterator[str]:
    from ddcalogen.training import systems

    for module in pkgutil.iter_modules(systems.__path__):
        if not module.name.startswith("_"):
            yield module.name


def system_names() -> tuple[str, ...]:
    """Names of all systems."""
    return tuple(sorted(_modules()))


def find_system(name: str) -> type[System[Any]]:
    """Return a system by its name.

    Raises
    ------
    ConfigurationError
        There is none of that name, or a package it needs is missing.
    """
    if name not in system_names():
        raise ConfigurationError("no such system", found=name, expected=", ".join(system_names()))
    try:
        module = importlib.import_module(f"ddcalogen.training.systems.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"the system '{name}' needs a package that is missing",
            found=str(error),
            remedy="Install the extra 'train'.",
        ) from error
    system: type[System[Any]] = module.SYSTEM
    return system

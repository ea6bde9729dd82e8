# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Particle gun: single particles drawn from given distributions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from ddcalogen.edm4hep.records import MCParticles
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.sources.events import GeneratorEvent, find_pdg, particle_properties

__all__ = ["Box", "Choice", "Distribution", "Fixed", "GunConfig", "LogUniform", "ParticleGun", "Uniform"]

Floats = npt.NDArray[np.float64]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fixed(_Model):
    """Always `value`."""

    kind: Literal["fixed"] = "fixed"
    value: FiniteFloat

    @property
    def bounds(self) -> tuple[float, float]:
        return self.value, self.value

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return np.full(count, self.value)


class _Range(_Model):
    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _ordered(self) -> Any:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high


class Uniform(_Range):
    """Uniform from `low` to `high`."""

    kind: Literal["uniform"] = "uniform"

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.uniform(self.low, self.high, count)


class LogUniform(_Range):
    """Uniform in the logarithm from `low` > 0 to `high`."""

    kind: Literal["log-uniform"] = "log-uniform"

    @model_validator(mode="after")
    def _positive(self) -> LogUniform:
        if self.low <= 0.0:
            raise ValueError(f"low {self.low} is not above 0, as a logarithm needs")
        return self

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        drawn = np.exp(rng.uniform(math.log(self.low), math.log(self.high), count))
        return np.clip(drawn, self.low, self.high)  # exp(log(x)) may miss x by a rounding


class Choice(_Model):
    """One of `values` at random, each with the same probability."""

    kind: Literal["choice"] = "choice"
    values: tuple[FiniteFloat, ...] = Field(min_length=1)

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.choice(np.array(self.values), count)


_TEXT = re.compile(r"(?:(?P<log>log)\s*\(?)?\s*(?P<low>[^\s,:()]+)\s*:\s*(?P<high>[^\s,:()]+?)\s*\)?")


def _short_form(given: Any) -> Any:
    """10 -> Fixed, [1, 10] or "1,10" -> Choice, "1:10" -> Uniform, "log 1:10" -> LogUniform."""
    if isinstance(given, str):
        if match := _TEXT.fullmatch(given.strip()):
            kind = "log-uniform" if match["log"] else "uniform"
            return {"kind": kind, "low": match["low"], "high": match["high"]}
        values = [value.strip() for value in given.split(",")]
        return {"kind": "fixed", "value": values[0]} if len(values) == 1 else {"kind": "choice", "values": values}
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return {"kind": "fixed", "value": given}
    if isinstance(given, (list, tuple)):
        return {"kind": "choice", "values": given}
    return given


Distribution: TypeAlias = Annotated[
    Annotated[Fixed | Uniform | LogUniform | Choice, Field(discriminator="kind")], BeforeValidator(_short_form)
]
"""A distribution, or its short form: 10, [1, 10, 100], "10", "1,10,100", "1:100" (uniform), "log 1:100"."""

Point: TypeAlias = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Box(_Model):
    """Uniform in the box between two corners, mm."""

    low_mm: Point
    high_mm: Point

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if any(low > high for low, high in zip(self.low_mm, self.high_mm, strict=True)):
            raise ValueError(f"low corner {self.low_mm} is above high corner {self.high_mm}")
        return self


def _short_position(given: Any) -> Any:
    """ "0,0,10" -> point; "0,0,-5:5" -> Box."""
    if not isinstance(given, str):
        return given
    try:
        axes = [[float(value) for value in axis.split(":")] for axis in given.split(",")]
    except ValueError:
        axes = []
    if len(axes) != 3 or any(len(axis) > 2 for axis in axes):
        raise ValueError(f"{given!r} is not x,y,z, each a number or low:high")
    if all(len(axis) == 1 for axis in axes):
        return tuple(axis[0] for axis in axes)
    return Box(low_mm=_corner(axes, 0), high_mm=_corner(axes, -1))


def _corner(axes: list[list[float]], end: int) -> tuple[float, float, float]:
    x, y, z = (axis[end] for axis in axes)
    return x, y, z


class GunConfig(_Model):
    """Options of the particle gun.

    particle: name or PDG code; energy_gev (kinetic, as ddsim's gun.energy) or momentum_gev;
    theta_deg or cos_theta (polar angle to the z axis; isotropic if both are left out); phi_deg;
    position_mm: a point or a `Box`, or "0,0,10", "0,0,-5:5"; time_ns;
    multiplicity: particles per event, each drawn for itself.
    """

    particle: str | int = "gamma"
    energy_gev: Distribution | None = None
    momentum_gev: Distribution | None = None
    theta_deg: Distribution | None = None
    cos_theta: Distribution | None = None
    phi_deg: Distribution = Uniform(low=0.0, high=360.0)
    position_mm: Annotated[Point | Box, BeforeValidator(_short_position)] = (0.0, 0.0, 0.0)
    time_ns: Distribution = Fixed(value=0.0)
    multiplicity: int = Field(default=1, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _consistent(self) -> GunConfig:
        if (self.energy_gev is None) == (self.momentum_gev is None):
            raise ValueError("give one of energy_gev and momentum_gev")
        if self.theta_deg is not None and self.cos_theta is not None:
            raise ValueError("give one of theta_deg and cos_theta")
        for name, low, high in (
            ("energy_gev", 0.0, math.inf),
            ("momentum_gev", 0.0, math.inf),
            ("theta_deg", 0.0, 180.0),
            ("cos_theta", -1.0, 1.0),
        ):
            distribution = getattr(self, name)
            if distribution is not None and not low <= distribution.bounds[0] <= distribution.bounds[1] <= high:
                raise ValueError(
                    f"{name} goes from {distribution.bounds[0]:g} to {distribution.bounds[1]:g}, "
                    f"outside of {low:g} to {high:g}"
                )
        for name in ("energy_gev", "momentum_gev"):
            distribution = getattr(self, name)
            if distribution is not None and distribution.bounds[0] == 0.0:
                raise ValueError(f"{name} must be above 0")
        return self

    @classmethod
    def parse(cls, **options: Any) -> GunConfig:
        """Options as given by a user.

        Raises
        ------
        ConfigurationError
            An option is unknown, malformed or out of range; the message names all of them.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            found = "; ".join(
                ".".join(str(part) for part in entry["loc"])
                + (": " if entry["loc"] else "")
                + entry["msg"].removeprefix("Value error, ")
                for entry in error.errors()
            )
            raise ConfigurationError(
                "the options of the particle gun cannot be used",
                found=found,
                remedy='A distribution is "10", "1,10,100" (one of these), "1:100" (uniform) or "log 1:100".',
            ) from error


class ParticleGun:
    """Seeded source of events.

    Event k depends on the options, the seed and k alone, and every quantity has its own stream of random numbers
    (Philox, key = seed and event number, counter = quantity), so that a change of one distribution leaves the others
    as they were.

    Raises
    ------
    InputError
        The particle is unknown or has no mass in the particle table; seed or event number not in 0 .. 2^64-1.
    """

    def __init__(self, config: GunConfig, *, seed: int = 0) -> None:
        self.config = config
        self.seed = _word(seed, "seed")
        self.pdg = find_pdg(config.particle)
        self.properties = particle_properties(self.pdg)

    def event(self, number: int) -> GeneratorEvent:
        """Event `number`, whatever was asked for before."""
        config, count = self.config, self.config.multiplicity
        key = np.array([self.seed, _word(number, "event number")], np.uint64)

        def stream(quantity: int) -> np.random.Generator:
            return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, quantity]))

        mass = self.properties.mass_gev
        if config.momentum_gev is not None:
            momentum = config.momentum_gev.draw(stream(0), count)
        else:
            assert config.energy_gev is not None  # GunConfig sees to it
            kinetic = config.energy_gev.draw(stream(0), count)
            momentum = np.sqrt(kinetic * (kinetic + 2.0 * mass))
        if config.theta_deg is not None:
            theta = np.radians(config.theta_deg.draw(stream(1), count))
            cosine, sine = np.cos(theta), np.sin(theta)
        else:
            cosine = (config.cos_theta or Uniform(low=-1.0, high=1.0)).draw(stream(1), count)
            sine = np.sqrt((1.0 - cosine) * (1.0 + cosine))
        phi = np.radians(config.phi_deg.draw(stream(2), count))
        if isinstance(config.position_mm, Box):
            vertex = stream(3).uniform(config.position_mm.low_mm, config.position_mm.high_mm, (count, 3))
        else:
            vertex = np.tile(config.position_mm, (count, 1))
        return GeneratorEvent(
            event_number=number,
            particles=MCParticles.create(
                pdg=np.full(count, self.pdg, np.int32),
                mass_gev=np.full(count, mass),
                charge=np.full(count, self.properties.charge),
                vertex_mm=vertex,
                time_ns=config.time_ns.draw(stream(4), count),
                momentum_gev=momentum[:, None] * np.column_stack((sine * np.cos(phi), sine * np.sin(phi), cosine)),
            ),
        )

    def events(self, count: int, *, first: int = 0) -> Iterator[GeneratorEvent]:
        """Events `first` to `first + count - 1`."""
        for number in range(first, first + count):
            yield self.event(number)


def _word(value: int, name: str) -> int:
    if not 0 <= value < 2**64:
        raise InputError(f"the {name} of the particle gun is out of range", found=str(value), expected="0 to 2^64 - 1")
    return value

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of a training run: YAML with the sections data, training, system and smoke."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ddcalogen.card import Domain
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.stream import Selection
from ddcalogen.training.system import SystemConfig, find_system

__all__ = ["DataConfig", "RunConfig", "TrainingConfig", "load_config"]

_MAX_BYTES = 1 << 20


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """Which showers, and how many at once."""

    name: str = Field(default="showers", min_length=1, description="name of the data set, for the card")
    calorimeter: Literal["ECAL", "HCAL", "ECAL+HCAL"] = "ECAL"
    pdg: tuple[int, ...] = Field(default=(22,), min_length=1)
    energy_gev: tuple[float, float] = (0.5, 130.0)
    theta_deg: tuple[float, float] = (0.0, 60.0)
    batch: int = Field(default=64, ge=1, description="showers per step, over all processes")
    window: int = Field(default=8192, ge=1, description="showers in memory, among which the order is mixed")
    mirror: tuple[Literal["x", "y"], ...] = Field(
        default=(), description="axes along which training batches are mirrored at random, where that is a symmetry"
    )

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        self.domain()
        return self

    def domain(self) -> Domain:
        """Return the particles as a card says them."""
        return Domain(pdg=self.pdg, energy_gev=self.energy_gev, theta_deg=self.theta_deg)

    def selection(self) -> Selection:
        """Return the selection of showers."""
        return Selection(self.pdg, self.energy_gev, self.theta_deg)


class TrainingConfig(_Section):
    """How the loop runs."""

    seed: int = Field(default=1, ge=0)
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0, description="of averaged weights; 0: none")
    checkpoint_every: int = Field(default=500, ge=1, description="steps")
    validate_every: int = Field(default=1000, ge=1, description="steps")
    validation_showers: int = Field(default=500, ge=8)
    standardisation_showers: int = Field(default=20_000, ge=8, description="training showers that are looked at")
    log_every: int = Field(default=50, ge=1, description="steps")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class RunConfig(_Section):
    """Everything a run depends on, besides its data."""

    system: str
    data: DataConfig
    training: TrainingConfig
    settings: dict[str, Any] = Field(description="the system's own configuration")

    def system_config(self) -> SystemConfig:
        """Return the system's own configuration, typed."""
        return find_system(self.system).Config.model_validate(self.settings)

    def calorimeters(self) -> tuple[str, ...]:
        """Return the names of the stacks that the system can be made for."""
        shipped = DataConfig.model_validate(_shipped(self.system).get("data", {}))
        return find_system(self.system).calorimeters or (shipped.calorimeter,)


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _read(text: str, where: str) -> dict[str, Any]:
    if len(text) > _MAX_BYTES:
        raise ConfigurationError(
            "the configuration is too large", found=f"{where}, {len(text)} B", expected=f"at most {_MAX_BYTES} B"
        )
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError("the configuration is not YAML", found=f"{where}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(v, dict) or v is None for v in content.values()):
        raise ConfigurationError("the configuration is not made of sections", found=where, expected=_SECTIONS)
    if unknown := set(content) - {"data", "training", "system", "smoke"}:
        raise ConfigurationError(
            "unknown sections in the configuration",
            found=f"{where}: {', '.join(map(str, sorted(unknown, key=str)))}",
            expected=_SECTIONS,
        )
    return {str(k): v or {} for k, v in content.items()}


def _shipped(system: str) -> dict[str, Any]:
    """Return the sections of the package's configuration of a system."""
    path = importlib.resources.files("ddcalogen.training") / "configs" / f"{system}.yaml"
    return _read(path.read_text(), f"{system}.yaml")


_SECTIONS = "the sections data, training, system, smoke, each with keys"


def _setting(text: str) -> dict[str, Any]:
    """Turn ``system.steps=10`` into nested dictionaries."""
    path, equal, value = text.partition("=")
    keys = path.strip().split(".")
    if not equal or len(keys) < 2 or not all(keys):
        raise ConfigurationError("a setting cannot be read", found=text, expected="SECTION.KEY=VALUE")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError("the value of a setting is not YAML", found=f"{text}: {error}") from error
    for key in reversed(keys):
        nested = {key: nested}
    return _read(yaml.safe_dump(nested), text)


def load_config(
    system: str, path: Path | None = None, settings: Sequence[str] = (), *, smoke: bool = False
) -> RunConfig:
    """Return the configuration of a run: the package's file of the system, changed by a file, by --set and by --smoke.

    Parameters
    ----------
    path
        YAML file with sections; only what differs from the package's need be there.
    settings
        ``section.key=value``, value in YAML.
    smoke
        Apply the section ``smoke``, whose keys are again sections: a run of seconds that shows that all works.

    Raises
    ------
    ConfigurationError
        Unknown system, file that cannot be read, unknown keys, values of the wrong type or out of range.
    """
    kind = find_system(system)
    content = _shipped(system)
    if path is not None:
        try:
            content = _merge(content, _read(path.read_text(), str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("the configuration cannot be read", found=f"{path}: {error}") from error
    small = content.pop("smoke", {})
    if smoke:
        content = _merge(content, _read(yaml.safe_dump(small), "smoke"))
    for text in settings:
        content = _merge(content, _setting(text))
    try:
        own = kind.Config.model_validate(content.get("system", {}))
        return RunConfig(
            system=system,
            data=DataConfig.model_validate(content.get("data", {})),
            training=TrainingConfig.model_validate(content.get("training", {})),
            settings=own.model_dump(mode="json"),
        )
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors(include_url=False)]
        raise ConfigurationError(
            f"the configuration of '{system}' is not valid ({error.title})", found="; ".join(problems[:5])
        ) from error

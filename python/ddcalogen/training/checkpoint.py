# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: weights and plain data only, so that loading one never runs code; written atomically."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ddcalogen.card import Dataset
from ddcalogen.errors import ConfigurationError, ModelError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.config import RunConfig
from ddcalogen.training.stacks import find_stack
from ddcalogen.training.system import System, find_system

__all__ = ["FORMAT", "Checkpoint", "build_system", "load_checkpoint", "load_system", "save_checkpoint"]

FORMAT = 2
"""Version of the checkpoint's layout."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A system at some point of its training.

    Attributes
    ----------
    config
        Configuration of the run; names the system.
    state
        Weights and buffers by name.
    dataset
        What it was trained on.
    results
        Plain JSON data: steps done, figures of fidelity.
    resume
        What else the loop needs to go on (state of optimisers, schedules, averages; counters); empty in a checkpoint
        that is only a result.
    """

    config: RunConfig
    state: dict[str, Tensor]
    dataset: Dataset | None = None
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    resume: dict[str, Any] = dataclasses.field(default_factory=dict)


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint under a temporary name and rename it when complete.

    Raises
    ------
    OutputError
        The file cannot be written; nothing is left under the final name.
    """
    content = {
        "format": FORMAT,
        "config": checkpoint.config.model_dump_json(),
        "state": checkpoint.state,
        "dataset": checkpoint.dataset.model_dump_json() if checkpoint.dataset else "",
        "results": json.dumps(checkpoint.results),
        "resume": checkpoint.resume,
    }
    with replace_when_complete(path) as partial, partial.open("wb") as file:
        torch.save(content, file)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModelError
        The file cannot be read, is no checkpoint, or of another layout.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError("the checkpoint cannot be read", found=f"{path}: {error.strerror or error}") from error
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise whatever they meet in a damaged file
        raise ModelError("the file is not a checkpoint, or is damaged", found=f"{path}: {error}") from error
    try:
        version = content["format"]
        if version != FORMAT:
            raise ModelError(
                "the checkpoint is of another layout", found=f"format {version!r}", expected=f"format {FORMAT}"
            )
        return Checkpoint(
            config=RunConfig.model_validate_json(content["config"]),
            state={str(k): v for k, v in content["state"].items()},
            dataset=Dataset.model_validate_json(content["dataset"]) if content["dataset"] else None,
            results=json.loads(content["results"]),
            resume={str(k): v for k, v in content["resume"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        raise ModelError("the file is not a checkpoint, or is damaged", found=f"{path}: {error}") from error


def build_system(config: RunConfig) -> System[Any]:
    """Return a fresh system of a configuration.

    Raises
    ------
    ConfigurationError
        Unknown system, or settings or a calorimeter that it does not take.
    """
    try:
        own = config.system_config()
    except ValidationError as error:
        raise ConfigurationError(f"the configuration of '{config.system}' is not valid", found=str(error)) from error
    if config.data.calorimeter not in (able := config.calorimeters()):
        raise ConfigurationError(
            f"'{config.system}' cannot be made for the calorimeter",
            found=config.data.calorimeter,
            expected=" or ".join(able),
        )
    return find_system(config.system)(own, find_stack(config.data.calorimeter), config.data.domain())


def load_system(checkpoint: Checkpoint) -> System[Any]:
    """Return the trained system of a checkpoint.

    Raises
    ------
    ModelError
        The weights do not fit the system.
    ConfigurationError
        The system is unknown, or does not take its configuration.
    """
    system = build_system(checkpoint.config)
    try:
        system.load_state_dict(checkpoint.state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            "the weights of the checkpoint do not fit the system",
            found=str(error).splitlines()[0] + " " + " ".join(str(error).splitlines()[1:3]).strip(),
            expected=f"the weights of '{checkpoint.config.system}'",
        ) from error
    return system.eval()

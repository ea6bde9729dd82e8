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
from ddcalogen.errors import ModelError
from ddcalogen.files import replace_when_complete

__all__ = ["FORMAT", "Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
"""Version of the checkpoint's layout."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A trained system.

    Attributes
    ----------
    system
        Name of the generative system, for example "parametrised".
    state
        Its weights by name.
    training
        Configuration and results of the training, for the card (plain JSON data).
    dataset
        What it was trained on.
    """

    system: str
    state: dict[str, Tensor]
    training: dict[str, Any]
    dataset: Dataset | None


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint under a temporary name and rename it when complete.

    Raises
    ------
    OutputError
        The file cannot be written; nothing is left under the final name.
    """
    content = {
        "format": FORMAT,
        "system": checkpoint.system,
        "state": checkpoint.state,
        "training": json.dumps(checkpoint.training),
        "dataset": checkpoint.dataset.model_dump_json() if checkpoint.dataset else "",
    }
    with replace_when_complete(path) as partial, partial.open("wb") as file:
        torch.save(content, file)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModelError
        The file cannot be read, is no checkpoint, or of a newer layout.
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
            system=str(content["system"]),
            state={str(k): v for k, v in content["state"].items()},
            training=json.loads(content["training"]),
            dataset=Dataset.model_validate_json(content["dataset"]) if content["dataset"] else None,
        )
    except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        raise ModelError("the file is not a checkpoint, or is damaged", found=f"{path}: {error}") from error

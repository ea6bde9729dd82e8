# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The command that trains a model again, from what its card says of its training."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ddcalogen.card import ModelCard
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.config import load_config
from ddcalogen.training.system import system_names

__all__ = ["training_command", "training_configuration"]

_MOST_SETTINGS = 6
"""With more differences than these, a configuration file says it better than options do."""


def training_configuration(card: ModelCard) -> str:
    """Return the configuration a model was trained with, as the YAML that ``ddcalogen train --config`` takes.

    Raises
    ------
    ConfigurationError
        The model was not trained by this package.
    """
    config = card.provenance.training.get("config")
    known = card.system in system_names()
    if not known or not isinstance(config, dict) or not {"data", "training", "settings"} <= set(config):
        raise ConfigurationError(
            "the model's card holds no configuration of a training",
            found=f"{card.name}, system '{card.system}'",
            expected="a model that 'ddcalogen train' and 'ddcalogen export' made",
        )
    sections = {"data": config["data"], "training": config["training"], "system": config["settings"]}
    return str(yaml.safe_dump(sections, sort_keys=False, default_flow_style=None))


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, value


def _as_trained(system: str, text: str | None) -> dict[str, Any]:
    """Leaves of a configuration of the package: `system.yaml`, changed by the content of another of its files."""
    config = load_config(system, None, [] if text is None else _settings(text)).model_dump(mode="json")
    return dict(_leaves({"data": config["data"], "training": config["training"], "system": config["settings"]}))


def _settings(text: str) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in _leaves(yaml.safe_load(text) or {})]


def training_command(card: ModelCard) -> str | None:
    """Return the command line that trains the model again; None if this package cannot.

    It names the configuration of the package that is nearest to the one on the card, and what differs as ``--set``.
    Checkpoints of teachers are left to be named.
    """
    try:
        text = training_configuration(card)
    except ConfigurationError:
        return None
    wanted = dict(_leaves(yaml.safe_load(text)))
    folder = importlib.resources.files("ddcalogen.training") / "configs"
    choices: dict[str | None, str | None] = {None: None}
    for entry in folder.iterdir():
        if entry.name.startswith(f"{card.system}_") and entry.name.endswith(".yaml"):
            owner = max((s for s in system_names() if entry.name.startswith(s)), key=len)
            if owner == card.system:
                choices[entry.name] = entry.read_text()
    best: tuple[int, str | None, dict[str, Any]] | None = None
    for name in sorted(choices, key=lambda n: n or ""):
        there = _as_trained(card.system, choices[name])
        changes = {k: v for k, v in wanted.items() if there.get(k) != v and k != "system.teacher"}
        if best is None or len(changes) < best[0]:
            best = (len(changes), name, changes)
    assert best is not None
    _, name, changes = best
    parts = [f"ddcalogen train {card.system}"]
    if len(changes) > _MOST_SETTINGS:
        parts = [f"ddcalogen inspect {card.name} --training > run.yaml && {parts[0]}", "--config run.yaml"]
    else:
        if name is not None:
            parts.append(f"--config python/ddcalogen/training/configs/{name}")
        parts += [f"--set '{key}={json.dumps(value)}'" for key, value in changes.items()]
    if wanted.get("system.teacher") is not None:
        parts.append("--set system.teacher=TEACHER/best.ckpt")
    if card.provenance.dataset is not None:
        parts += [f"--data {file.name}" for file in card.provenance.dataset.files]
    return " ".join([*parts, f"-o runs/{card.name}"])

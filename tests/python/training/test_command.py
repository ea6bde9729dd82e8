# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training commands out of cards: what they say gives the configuration that the card has."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from ddcalogen.card import ModelCard, read_card
from ddcalogen.cli import app
from ddcalogen.errors import ConfigurationError
from ddcalogen.models import find_model
from ddcalogen.training.command import training_command, training_configuration
from ddcalogen.training.config import RunConfig, load_config
from typer.testing import CliRunner

pytest.importorskip("torch")

CONFIGS = Path(__file__).parents[3] / "python" / "ddcalogen" / "training" / "configs"


def card_of(config: RunConfig) -> ModelCard:
    card = read_card(find_model("ild_ecal_em_layered"))
    provenance = card.provenance.model_copy(update={"training": {"config": config.model_dump(mode="json")}})
    return card.model_copy(update={"system": config.system, "provenance": provenance})


def run_config(command: str, tmp_path: Path, card: ModelCard) -> RunConfig:
    """The configuration that a command line asks for."""
    words = shlex.split(command.split("&& ")[-1])
    assert words[:2] == ["ddcalogen", "train"]
    settings = [words[i + 1] for i, w in enumerate(words) if w == "--set"]
    path = next((Path(words[i + 1]) for i, w in enumerate(words) if w == "--config"), None)
    if path is not None and path.name == "run.yaml":
        path = tmp_path / "run.yaml"
        path.write_text(training_configuration(card))
    elif path is not None:
        path = CONFIGS / path.name
    return load_config(words[2], path, settings)


@pytest.mark.parametrize(
    ("system", "file", "settings"),
    [
        ("layered", None, []),
        ("gan", "gan_small.yaml", []),
        ("bib_ae", "bib_ae_small.yaml", ["training.seed=7"]),
        ("wgan", None, ["system.steps=10", "data.theta_deg=[0.0, 20.0]"]),
        ("l2lflows", None, [f"training.{k}_every=3" for k in ("checkpoint", "validate", "log")]
         + ["training.seed=9", "system.cells=12", "system.history=2", "system.summary=8"]),
    ],
)  # fmt: skip
def test_command_gives_the_configuration_of_the_card(
    system: str, file: str | None, settings: list[str], tmp_path: Path
) -> None:
    config = load_config(system, None if file is None else CONFIGS / file, settings)
    card = card_of(config)
    command = training_command(card)
    assert command is not None
    assert run_config(command, tmp_path, card) == config
    assert command.count("--data") == len(card.provenance.dataset.files)  # type: ignore[union-attr]


def test_teacher_is_left_to_be_named() -> None:
    config = load_config("l2lflows_student", None, ["system.teacher=/somewhere/best.ckpt"])
    command = training_command(card_of(config))
    assert command is not None
    assert "TEACHER/best.ckpt" in command
    assert "somewhere" not in command


def test_models_not_trained_here_have_none() -> None:
    card = read_card(find_model("ild_ecal_em_layered"))
    for training in ({}, {"config": {"steps": 3}}):
        other: dict[str, Any] = {"provenance": card.provenance.model_copy(update={"training": training})}
        assert training_command(card.model_copy(update=other)) is None
    with pytest.raises(ConfigurationError, match="no configuration"):
        training_configuration(card.model_copy(update=other))


def test_inspect_prints_what_train_takes(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", "ild_ecal_em_layered", "--training"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("# ddcalogen train layered")
    path = tmp_path / "run.yaml"
    path.write_text(result.output)
    card = read_card(find_model("ild_ecal_em_layered"))
    found = load_config("layered", path).model_dump(mode="json")
    assert found == card.provenance.training["config"]

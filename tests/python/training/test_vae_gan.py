# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The VAE-GAN of the amplification study, and the study itself on a few showers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("mplhep")

from ddcalogen.cli import app  # noqa: E402
from ddcalogen.training.data import SPLITS, shower_ids, split_of  # noqa: E402
from ddcalogen.training.export import export_model  # noqa: E402
from ddcalogen.training.systems.vae_gan import (  # noqa: E402
    LocallyConnected,
    MinibatchDiscrimination,
    cut,
)
from ddcalogen.validation.amplification_study import training_particles  # noqa: E402
from typer.testing import CliRunner  # noqa: E402


def test_a_locally_connected_layer_is_a_convolution_when_all_pixels_share_weights() -> None:
    torch.manual_seed(0)
    layer, same = LocallyConnected(3, 4), torch.nn.Conv2d(3, 4, 3, padding=1)
    weight = same.weight.detach().permute(2, 3, 1, 0).reshape(27, 4)  # (row, column, channel in), channel out
    with torch.no_grad():
        layer.weight.copy_(weight.expand(100, 27, 4))
        layer.bias.copy_(same.bias.expand(100, 1, 4))
    x = torch.randn(5, 3, 10, 10)
    torch.testing.assert_close(layer(x), same(x))
    with torch.no_grad():
        layer.weight[0].zero_()  # the weights of one pixel are its own
    changed = (layer(x) - same(x)).abs().amax((0, 1)) > 1e-6
    assert changed[0, 0]
    assert changed.sum() == 1


def test_minibatch_discrimination_sees_copies() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(8)
    different, equal = torch.randn(20, 8) * 5, torch.randn(1, 8).expand(20, 8)
    assert torch.allclose(layer(equal)[:, 8:], torch.ones(20, 12))
    assert layer(different)[:, 8:].mean() < 0.5


def test_the_cut_is_half_a_minimum_ionising_particle() -> None:
    x = torch.log1p(torch.tensor([0.0, 0.099, 0.101, 50.0]) / 0.1)
    assert (cut(x) > 0).tolist() == [False, False, True, True]


def test_training_particles_are_as_many_as_asked_for_and_of_one_energy() -> None:
    some = training_particles(300, 50.0)
    split = split_of(shower_ids(some.energy_gev, some.direction, some.pdg))
    assert (split == SPLITS.index("train")).sum() == 300
    assert (split == SPLITS.index("validation")).any()
    assert len(np.unique(some.energy_gev)) == len(some)
    assert np.all(np.abs(some.energy_gev / 50.0 - 1) < 1e-3)


def test_the_whole_study_on_a_few_showers(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    sizes = ["--truth", "1000", "--training", "100", "--generated", "3000", "--energy", "2"]
    small = ["steps=4", "members=2", "select_every=2", "select_images=20"]
    options = [word for text in small for word in ("--set", f"system.{text}")]
    arguments = ["amplify", "-o", str(folder), *sizes, *options, "--set", "training.validation_showers=8"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    numbers = json.loads((folder / "amplification.json").read_text())
    assert numbers["trained_on"] == 100
    assert numbers["regions"] == [8, 16, 32, 64]
    # nobody has learned anything in four steps: worth less than the training showers, which are worth themselves
    finest = numbers["result"]["visible"][-1]["samples"]
    assert finest["training"]["factor"]["value"] == pytest.approx(1, abs=0.5)
    assert finest["ensemble"]["factor"]["value"] < 0.7
    page = (folder / "amplification.html").read_text()
    assert "stands in for Geant4" in page
    assert "data:image/png;base64," in page
    card = export_model(folder / "run", tmp_path / "vae_gan.onnx")
    assert card.system == "vae_gan"
    assert card.output.kind == "grid"
    assert card.output.shape == (30, 10, 10)

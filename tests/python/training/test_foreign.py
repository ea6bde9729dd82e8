# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""A foreign model is wrapped: as the VAE of Geant4's example Par04 (latent 10, E / 1024, theta / 90 deg, one-hot,
18 x 50 x 45 cells in r, phi, z there; here x, y, layer), whose output is a fraction of the energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from ddcalogen.card import read_card
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError, ModelError
from ddcalogen.training.foreign import wrap_model
from onnx import TensorProto, helper, numpy_helper
from toys import LAYER_DEPTH_MM, photons

NX, NY, LAYERS = 18, 10, 30


def make_foreign(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """One dense layer with softmax: fractions that sum to one, x slowest, then y, then layer; weights and biases."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.3, (14, NX * NY * LAYERS)).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["z", "e_cond", "angle_cond", "geo_cond"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["cells"], axis=1),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "par04",
        [
            helper.make_tensor_value_info(n, floats, ["batch", s])
            for n, s in (("z", 10), ("e_cond", 1), ("angle_cond", 1), ("geo_cond", 2))
        ],
        [helper.make_tensor_value_info("cells", floats, ["batch", NX * NY * LAYERS])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weights, rng.normal(0, 1, (16, 10)).astype(np.float32)


def description() -> dict[str, Any]:
    return {
        "model": "vae.onnx",
        "card": {
            "name": "par04_vae", "version": "1.0.0", "description": "VAE of Par04", "license": "Apache-2.0",
            "domain": {"pdg": [22], "energy_gev": [1.0, 1024.0], "theta_deg": [0.0, 60.0]},
            "calorimeter": {
                "name": "ECAL", "detector": "ILD_l5_o1_v02", "layer_depth_mm": LAYER_DEPTH_MM,
                "cell_size_mm": [5.088333, 5.088333],
            },
        },
        "inputs": {
            "z": {"noise": "normal", "size": 10},
            "e_cond": {"quantity": "energy_gev", "scale": 1 / 1024},
            "angle_cond": {"quantity": "theta_deg", "scale": 1 / 90},
            "geo_cond": {"constant": [0.0, 1.0]},
        },
        "output": {
            "name": "cells", "order": ["x", "y", "layer"], "unit": "fraction", "scale": 0.025,
            "shape": [NX, NY, LAYERS], "cell_mm": [2.325, 3.4], "follows_axis": True,
        },
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(description()))
    return tmp_path


def test_wrapped_model_gives_what_the_foreign_one_means(folder: Path, ild: Any) -> None:
    weights, z = make_foreign(folder / "vae.onnx")
    card = wrap_model(folder / "card.yaml", folder / "wrapped.onnx")
    assert card == read_card(folder / "wrapped.onnx")
    assert card.output.kind == "grid"
    assert card.output.shape == (LAYERS, NX, NY)
    theta = np.linspace(0, 55, 16)
    energy = np.geomspace(1, 1000, 16).astype(np.float32)
    direction = np.stack([np.sin(np.radians(theta)), 0 * theta, np.cos(np.radians(theta))], 1).astype(np.float32)
    session = onnxruntime.InferenceSession(str(folder / "wrapped.onnx"))
    grid = session.run(["grid"], {"energy": energy[:, None], "direction": direction, "noise_z": z})[0]
    inputs = np.column_stack([z, energy / 1024, theta / 90, np.zeros(16), np.ones(16)])
    logits = inputs @ weights.astype(float)
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    expected = 0.025 * energy[:, None, None, None] * share.reshape(16, NX, NY, LAYERS).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(grid, expected, rtol=2e-4, atol=1e-9)

    result = Generator(folder / "wrapped.onnx", ild, seed=1, batch=16).simulate(photons(16, energy_gev=(5.0, 50.0)))
    assert result.simulated.any()
    account = result.account()
    assert abs(account.imbalance_gev) < 1e-6 * account.generated_gev
    # Unless told otherwise a grid cell is not shared: shared cells would have no peak of single particles.
    shared = Generator(folder / "wrapped.onnx", ild, seed=1, batch=16, grid_method="overlap")
    more = shared.simulate(photons(16, energy_gev=(5.0, 50.0)))
    assert (result.cells_per_shower <= (grid > 0).sum((1, 2, 3))).all()
    assert more.cells_per_shower.sum() > result.cells_per_shower.sum()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"inputs": {"z": {"noise": "normal", "size": 10}}}, ModelError, "inputs of the foreign model"),
        ({"output": {**description()["output"], "name": "no"}}, ModelError, "no such output"),
        (
            {"output": {**description()["output"], "shape": [2, 2, 2]}},
            ModelError,
            "layers|does not run|valid",
        ),
        ({"output": {**description()["output"], "order": ["x", "x", "y"]}}, ConfigurationError, "order must name"),
        ({"output": {**description()["output"], "unit": "eV"}}, ConfigurationError, "not valid"),
        ({"more": 1}, ConfigurationError, "not valid"),
        ({"model": "missing.onnx"}, ModelError, "cannot be read"),
    ],
)
def test_wrong_descriptions(folder: Path, change: dict[str, Any], error: type[Exception], message: str) -> None:
    make_foreign(folder / "vae.onnx")
    (folder / "card.yaml").write_text(yaml.safe_dump({**description(), **change}))
    with pytest.raises((error, ValueError), match=message):
        wrap_model(folder / "card.yaml", folder / "out.onnx")
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize("text", ["", "- 1", "{", "a: !!python/object:os.system {}", "\x00"])
def test_hostile_descriptions(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        wrap_model(tmp_path / "card.yaml", tmp_path / "out.onnx")

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Toy models, particles and places shared by the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ddcalogen.card import ModelCard, graph_sha256, weights_sha256
from onnx import TensorProto, helper

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
ZH_EVENTS = REPOSITORY / "events" / "zh_250GeV_100.hepmc3.gz"
# the mid-planes of the silicon behind the face of ILD's ECAL barrel, mm
LAYER_DEPTH_MM = [
    6.8025, 9.9275, 19.2725, 22.3975, 31.7425, 34.8675, 44.2125, 47.3375, 56.6825, 59.8075, 69.1525, 72.2775, 81.6225,
    84.7475, 94.0925, 97.2175, 106.5625, 109.6875, 119.0325, 122.1575, 133.6025, 138.8275, 150.2725, 155.4975, 166.9425,
    172.1675, 183.6125, 188.8375, 200.2825, 205.5075,
]  # fmt: skip


def card_for(model: onnx.ModelProto, **changes: Any) -> ModelCard:
    """A valid card of a toy model of spots."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "toy",
        "version": "1.0.0",
        "description": "a constant spot",
        "license": "Apache-2.0",
        "system": "toy",
        "domain": {"pdg": [22], "energy_gev": [1.0, 100.0], "theta_deg": [0.0, 60.0]},
        "calorimeter": {
            "name": "ECAL",
            "detector": "ILD_l5_o1_v02",
            "layer_depth_mm": LAYER_DEPTH_MM,
            "cell_size_mm": [5.088333, 5.088333],
        },
        "inputs": ["energy", "direction"],
        "noise": [],
        "output": {
            "kind": "spots",
            "columns": ["x_mm", "y_mm", "layer", "energy_gev"],
            "capacity": {"base": 10.0, "per_gev": 0.0, "maximum": 10},
        },
        "provenance": {
            "dataset": None, "software": {"onnx": onnx.__version__}, "training": {}, "created": "2026-01-01T00:00:00Z",
        },
        "weights_sha256": weights_sha256(model),
        "graph_sha256": graph_sha256(model),
    }  # fmt: skip
    content.update(changes)
    return ModelCard.model_validate_json(json.dumps(content))


def constant_spots(
    row: tuple[float, float, float, float] = (0.0, 0.0, 3.0, 0.5), count: int = 2, declared: int | None = None
) -> onnx.ModelProto:
    """A graph that gives every shower `count` equal spots and declares `declared` of them."""
    i64 = TensorProto.INT64
    constants = [
        helper.make_tensor("row", TensorProto.FLOAT, [1, 4], list(row)),
        helper.make_tensor("count", i64, [1], [count if declared is None else declared]),
        helper.make_tensor("real_count", i64, [1], [count]),
        helper.make_tensor("four", i64, [1], [4]),
        helper.make_tensor("zero", i64, [1], [0]),
        helper.make_tensor("one", i64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Shape", ["energy"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
        helper.make_node("Expand", ["count", "rows"], ["counts"]),
        helper.make_node("Mul", ["rows", "real_count"], ["total"]),
        helper.make_node("Concat", ["total", "four"], ["size"], axis=0),
        helper.make_node("Expand", ["row", "size"], ["spots"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["B", 1]),
            helper.make_tensor_value_info("direction", TensorProto.FLOAT, ["B", 3]),
        ],
        [
            helper.make_tensor_value_info("spots", TensorProto.FLOAT, ["P", 4]),
            helper.make_tensor_value_info("counts", i64, ["B"]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def photons(number: int, seed: int = 3, energy_gev: tuple[float, float] = (1.0, 100.0)) -> Any:
    """Photons from the origin over the ECAL barrel face."""
    from ddcalogen.cli.bench import barrel_particles

    particles = barrel_particles(number, seed, energy_gev)
    assert np.isfinite(particles.position_mm).all()
    return particles


def covered_particles(card: Any, number: int, energy_gev: tuple[float, float] = (10.0, 60.0)) -> Any:
    """Particles a model is for over its calorimeter's barrel face: from the origin if it takes angles, else normal."""
    from dataclasses import replace

    from ddcalogen.cli.bench import barrel_particles

    particles = barrel_particles(number, 3, energy_gev, face_mm=2058.0 if card.calorimeter.name == "HCAL" else 1804.8)
    direction = particles.direction
    if card.domain.theta_deg[1] < 10.0:
        sector = np.round(np.arctan2(direction[:, 1], direction[:, 0]) / (np.pi / 4)) * np.pi / 4
        direction = np.stack([np.cos(sector), np.sin(sector), np.zeros(number)], axis=1)
    return replace(particles, pdg=np.full(number, card.domain.pdg[0], np.int32), direction=direction)

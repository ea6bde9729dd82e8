# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Models that others exported to ONNX, made to obey the model contract by graph surgery.

A YAML file says what the foreign graph's inputs and output are; nodes in front turn energy and direction into what it
takes, nodes behind turn its grid into GeV in the order of the contract. Nothing of the foreign graph itself changes.

.. code-block:: yaml

    model: vae.onnx                 # beside this file
    card: {name: ..., version: ..., description: ..., license: ..., domain: {...}, calorimeter: {...}}
    inputs:                         # each input of the foreign graph, by name
      z: {noise: normal, size: 10}
      e: {quantity: energy_gev, scale: 0.0009765625}      # E / 1024
      theta: {quantity: theta_deg, scale: 0.0111111}      # theta / 90 deg
      geo: {constant: [0.0, 1.0]}                         # one-hot
    output: {name: cells, order: [layer, x, y], unit: fraction, cell_mm: [3.4, 3.4], follows_axis: true}
"""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import yaml
from onnx import TensorProto, compose, helper, numpy_helper
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ddcalogen.card import (
    Calorimeter,
    Domain,
    GridOutput,
    ModelCard,
    NoiseInput,
    Provenance,
    embed_card,
    load_model,
    read_card,
    save_model,
)
from ddcalogen.errors import ConfigurationError, ModelError

__all__ = ["ForeignModel", "read_description", "wrap_model"]

Quantity = Literal["energy_gev", "log10_energy_gev", "theta_deg", "theta_rad", "phi_deg", "phi_rad", "direction"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ForeignNoise(_Part):
    """Noise of some size."""

    noise: Literal["normal", "uniform"]
    size: int = Field(ge=1)
    scale: float = 1.0
    shift: float = 0.0


class ForeignQuantity(_Part):
    """A quantity of the incident particle: quantity * scale + shift. Angles are those of the shower frame."""

    quantity: Quantity
    scale: float = 1.0
    shift: float = 0.0


class ForeignConstant(_Part):
    """The same numbers for every shower."""

    constant: tuple[float, ...] = Field(min_length=1)


class ForeignOutput(_Part):
    """The grid that comes out."""

    name: str
    order: tuple[Literal["layer", "x", "y"], ...]
    flip: tuple[Literal["layer", "x", "y"], ...] = ()
    unit: Literal["GeV", "MeV", "fraction"] = Field(description="fraction: of the incident energy")
    scale: float = Field(default=1.0, gt=0)
    threshold_gev: float = Field(default=0.0, ge=0, description="cells below become zero")
    shape: tuple[int, int, int] = Field(description="as it comes, without the batch")
    cell_mm: tuple[float, float]
    lower_edge_mm: tuple[float, float] | None = None
    follows_axis: bool

    @field_validator("order")
    @classmethod
    def _each_once(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        if sorted(order) != ["layer", "x", "y"]:
            raise ValueError("order must name layer, x and y once each")
        return order


class ForeignCard(_Part):
    """What the card says that the graph cannot."""

    name: str
    version: str
    description: str
    license: str
    system: str = "foreign"
    domain: Domain
    calorimeter: Calorimeter


class ForeignModel(_Part):
    """A foreign model."""

    model: str
    card: ForeignCard
    inputs: dict[Annotated[str, Field(min_length=1)], ForeignNoise | ForeignQuantity | ForeignConstant]
    output: ForeignOutput


def read_description(path: str | os.PathLike[str]) -> ForeignModel:
    """Read the YAML description of a foreign model.

    Raises
    ------
    ConfigurationError
        It cannot be read, is not YAML, or not a valid description.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
        # cards are strict about types: lists become tuples on the way through JSON only
        return ForeignModel.model_validate_json(yaml_to_json(content))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(
            "the description of the foreign model cannot be read", found=f"{path}: {error}"
        ) from error
    except (ValidationError, TypeError, ValueError) as error:
        raise ConfigurationError(
            "the description of the foreign model is not valid", found=f"{path}: {str(error)[:600]}"
        ) from error


def yaml_to_json(content: Any) -> str:
    """Plain YAML content as JSON text."""
    import json

    return json.dumps(content, allow_nan=False)


class _Builder:
    """Nodes and constants of a graph under construction."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.number = 0

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        self.number += 1
        name = f"{self.prefix}_constant_{self.number}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        self.number += 1
        name = out or f"{self.prefix}_value_{self.number}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def column(self, index: int) -> str:
        return self.op("Gather", "direction", self.constant([index], np.int64), axis=1)

    def linear(self, value: str, scale: float, shift: float, out: str) -> None:
        scaled = self.op("Mul", value, self.constant(scale))
        self.op("Add", scaled, self.constant(shift), out=out)

    def quantity(self, kind: Quantity) -> str:
        if kind == "energy_gev":
            return "energy"
        if kind == "direction":
            return "direction"
        if kind == "log10_energy_gev":
            return self.op("Mul", self.op("Log", "energy"), self.constant(1.0 / math.log(10.0)))
        name, unit = kind.split("_")
        if name == "theta":
            angle = self.op("Acos", self.op("Clip", self.column(2), self.constant(-1.0), self.constant(1.0)))
        else:  # phi = 2 atan(y / (rho + x)), and pi where that is 0 / 0
            x, y = self.column(0), self.column(1)
            rho = self.op("Sqrt", self.op("Add", self.op("Mul", x, x), self.op("Mul", y, y)))
            below = self.op("Max", self.op("Add", rho, x), self.constant(1e-12))
            angle = self.op("Mul", self.op("Atan", self.op("Div", y, below)), self.constant(2.0))
        return self.op("Mul", angle, self.constant(180.0 / math.pi)) if unit == "deg" else angle


def _before(description: ForeignModel, opset: int) -> tuple[onnx.ModelProto, tuple[NoiseInput, ...]]:
    """Graph from the contract's inputs to the foreign ones."""
    b, noise, inputs, outputs = _Builder("before"), [], [], []
    inputs.append(helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["B", 1]))
    inputs.append(helper.make_tensor_value_info("direction", TensorProto.FLOAT, ["B", 3]))
    for number, (name, entry) in enumerate(description.inputs.items()):
        out = f"to_{number}"
        if isinstance(entry, ForeignNoise):
            size = entry.size
            key = "noise_" + re.sub(r"\W", "_", name)
            noise.append(NoiseInput(name=key, distribution=entry.noise, shape=(size,)))
            inputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, ["B", size]))
            b.linear(key, entry.scale, entry.shift, out)
        elif isinstance(entry, ForeignConstant):
            size = len(entry.constant)
            zero = b.op("Mul", "energy", b.constant(0.0))
            b.op("Add", zero, b.constant([entry.constant]), out=out)
        else:
            size = 3 if entry.quantity == "direction" else 1
            b.linear(b.quantity(entry.quantity), entry.scale, entry.shift, out)
        outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, ["B", size]))
    # every input is used, energy behind the network, too
    b.op("Identity", "energy", out="incident_energy")
    b.op("Identity", "direction", out="incident_direction")
    outputs.append(helper.make_tensor_value_info("incident_energy", TensorProto.FLOAT, ["B", 1]))
    graph = helper.make_graph(b.nodes, "before", inputs, outputs, b.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), tuple(noise)


def _after(output: ForeignOutput, opset: int) -> onnx.ModelProto:
    """Graph from the foreign output and the incident energy to the contract's grid."""
    b = _Builder("after")
    grid = b.op("Reshape", "cells", b.constant([-1, *output.shape], np.int64))
    grid = b.op("Transpose", grid, perm=[0, *(1 + output.order.index(a) for a in ("layer", "x", "y"))])
    for axis, name in enumerate(("layer", "x", "y"), start=1):
        if name in output.flip:
            ends = [b.constant([v], np.int64) for v in (-1, -(1 << 40), axis, -1)]
            grid = b.op("Slice", grid, *ends)
    scale = output.scale * (1e-3 if output.unit == "MeV" else 1.0)
    grid = b.op("Mul", grid, b.constant(scale))
    if output.unit == "fraction":
        shape = b.constant([-1, 1, 1, 1], np.int64)
        grid = b.op("Mul", grid, b.op("Reshape", "gev", shape))
    keep = b.op("Cast", b.op("Greater", grid, b.constant(output.threshold_gev)), to=TensorProto.FLOAT)
    b.op("Mul", b.op("Max", grid, b.constant(0.0)), keep, out="grid")
    sizes = [output.shape[output.order.index(a)] for a in ("layer", "x", "y")]
    graph = helper.make_graph(
        b.nodes,
        "after",
        [
            helper.make_tensor_value_info("cells", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("gev", TensorProto.FLOAT, ["B", 1]),
        ],
        [helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["B", *sizes])],
        b.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _check_tensors(foreign: onnx.ModelProto, description: ForeignModel) -> None:
    weights = {t.name for t in foreign.graph.initializer}
    inputs = {v.name for v in foreign.graph.input} - weights
    if inputs != set(description.inputs):
        raise ModelError(
            "the inputs of the foreign model are not those described",
            found=", ".join(sorted(inputs)) or "none",
            expected=", ".join(sorted(description.inputs)),
        )
    outputs = [v.name for v in foreign.graph.output]
    if description.output.name not in outputs:
        raise ModelError(
            "the foreign model has no such output", found=", ".join(outputs), expected=description.output.name
        )


def wrap_model(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> ModelCard:
    """Wrap a foreign model; return the card as written.

    Parameters
    ----------
    path
        YAML description (see the module); the ONNX file it names lies beside it.
    out
        ONNX file to write, atomically.

    Raises
    ------
    ConfigurationError
        The description is not valid.
    ModelError, CardError
        The foreign model is not as described, or the result does not obey the contract.
    OutputError
        The file cannot be written.
    """
    from ddcalogen.training.export import onnx_session

    description = read_description(path)
    foreign = load_model(Path(path).parent / description.model)
    opset = max((o.version for o in foreign.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not 17 <= opset <= 20:
        try:
            foreign = onnx.version_converter.convert_version(foreign, 18)
        except Exception as error:  # onnx raises whatever it meets
            raise ModelError("the foreign model's operators cannot be converted", found=f"opset {opset}") from error
        opset = 18
    _check_tensors(foreign, description)
    o = description.output
    before, noise = _before(description, opset)
    try:
        foreign = compose.add_prefix(foreign, "foreign_")
        before.ir_version = foreign.ir_version = 9
        links = [(f"to_{i}", f"foreign_{name}") for i, name in enumerate(description.inputs)]
        merged = compose.merge_models(
            before, foreign, links, outputs=["incident_energy", f"foreign_{o.name}"], producer_name="ddcalogen"
        )
        after = _after(o, opset)
        after.ir_version = 9
        merged = compose.merge_models(
            merged, after, [(f"foreign_{o.name}", "cells"), ("incident_energy", "gev")], producer_name="ddcalogen"
        )
    except Exception as error:  # onnx raises whatever it meets
        raise ModelError("the foreign model cannot be wrapped", found=str(error)) from error
    merged.graph.name = "shower"
    sizes = tuple(o.shape[o.order.index(a)] for a in ("layer", "x", "y"))
    card = ModelCard(
        schema_version=1,
        **{k: getattr(description.card, k) for k in ForeignCard.model_fields},
        inputs=("energy", "direction"),
        noise=noise,
        output=GridOutput(
            kind="grid",
            shape=(sizes[0], sizes[1], sizes[2]),
            cell_mm=o.cell_mm,
            lower_edge_mm=o.lower_edge_mm or (-0.5 * sizes[1] * o.cell_mm[0], -0.5 * sizes[2] * o.cell_mm[1]),
            follows_axis=o.follows_axis,
        ),
        provenance=Provenance(
            dataset=None,
            software={"onnx": importlib.metadata.version("onnx")},
            training={"wrapped": description.model, "description": description.model_dump(mode="json")},
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
        weights_sha256="0" * 64,
        graph_sha256="0" * 64,
    )
    embed_card(merged, card)
    feeds = {
        "energy": np.full((16, 1), card.domain.energy_gev[0], np.float32),
        "direction": np.eye(3, dtype=np.float32)[[2] * 16],
    }
    feeds |= {n.name: np.full((16, int(n.shape[0])), 0.5, np.float32) for n in noise}
    try:
        grid = onnx_session(merged.SerializeToString()).run(["grid"], feeds)[0]
    except Exception as error:  # onnxruntime raises several unrelated types
        raise ModelError("the wrapped model does not run", found=str(error).splitlines()[0]) from error
    if grid.shape != (16, *sizes) or not np.all(np.isfinite(grid)):
        raise ModelError(
            "the wrapped model gives no valid grids", found=f"shape {grid.shape}", expected=f"(16, {sizes})"
        )
    save_model(merged, out)
    return read_card(out)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The model card: the validated description that every ONNX model carries in itself.

One ONNX file is one model. Its metadata property ``ddcalogen_card`` holds the card as JSON. The card says which
particles the model was made for, what its tensors mean and where it comes from; the runtime takes everything it needs
from the card and from nowhere else. docs/model_contract.md describes the contract in words.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from ddcalogen.errors import CardError, ModelError
from ddcalogen.files import replace_when_complete

__all__ = [
    "CARD_KEY",
    "OPSET_RANGE",
    "SCHEMA_VERSION",
    "Calorimeter",
    "Capacity",
    "Dataset",
    "DatasetFile",
    "Domain",
    "Figure",
    "GridOutput",
    "ModelCard",
    "NoiseInput",
    "Provenance",
    "SpotsOutput",
    "card_json_schema",
    "check_graph",
    "embed_card",
    "graph_sha256",
    "load_model",
    "model_hash",
    "parse_card",
    "read_card",
    "save_model",
    "weights_sha256",
    "write_card",
]

CARD_KEY = "ddcalogen_card"
"""Key of the ONNX metadata property that holds the card."""

SCHEMA_VERSION = 1
"""Newest card layout this program writes; all layouts up to it are read."""

OPSET_RANGE = (17, 20)
"""Lowest and highest version of the standard ONNX operator set a model may use."""

MAX_CARD_BYTES = 4 << 20
"""A card larger than this is refused before it is parsed (a real one has a few kB)."""

RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

SPOT_COLUMNS = ("x_mm", "y_mm", "layer", "energy_gev")
SPOT_COLUMNS_TIMED = (*SPOT_COLUMNS, "time_ns")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    """Immutable; no unknown keys, no NaN or infinity, no silent conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Domain(_Strict):
    """The incident particles the model was made for; the runtime refuses all others."""

    pdg: tuple[int, ...] = Field(min_length=1, description="PDG codes of the incident particles")
    energy_gev: tuple[Positive, Positive] = Field(description="lowest and highest incident kinetic energy, GeV")
    theta_deg: tuple[float, float] = Field(
        description="smallest and largest angle between the direction and the normal of the layers, degrees"
    )

    @model_validator(mode="after")
    def _check(self) -> Domain:
        if len(set(self.pdg)) != len(self.pdg):
            raise ValueError("a PDG code is listed twice")
        if self.energy_gev[0] >= self.energy_gev[1]:
            raise ValueError("energy_gev must be [low, high] with low < high")
        if not 0 <= self.theta_deg[0] < self.theta_deg[1] < 90:
            raise ValueError("theta_deg must be [low, high] with 0 <= low < high < 90")
        return self


class Calorimeter(_Strict):
    """The calorimeter the model was made for."""

    name: Text = Field(description="calorimeter, for example ECAL")
    detector: Text = Field(description="detector model, for example ILD_l5_o1_v02")
    layer_depth_mm: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=1, description="depth of the mid-plane of each sensitive layer behind the calorimeter face, mm"
    )
    cell_size_mm: tuple[Positive, Positive] = Field(description="size of a readout cell along x and y, mm")

    @field_validator("layer_depth_mm")
    @classmethod
    def _ordered(cls, depth: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in itertools.pairwise(depth)):
            raise ValueError("layer_depth_mm must increase from layer to layer")
        return depth


class NoiseInput(_Strict):
    """One noise input. The runtime fills it; the graph itself has no random operator."""

    name: Identifier = Field(description="name of the graph input")
    distribution: Literal["normal", "uniform"] = Field(
        description="normal: mean 0, standard deviation 1; uniform: open interval (0, 1)"
    )
    shape: tuple[PositiveInt | Literal["spots"], ...] = Field(
        min_length=1,
        description="shape behind the batch axis; 'spots' (first place only) is the largest capacity of a batch",
    )

    @field_validator("shape")
    @classmethod
    def _spots_first(cls, shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if "spots" in shape[1:]:
            raise ValueError("'spots' may only stand in first place")
        return shape


class Capacity(_Strict):
    """Upper limit of the number of spots: min(maximum, ceil(base + per_gev * E))."""

    base: float = Field(ge=0, description="spots at zero energy")
    per_gev: float = Field(ge=0, description="spots per GeV of incident energy, 1/GeV")
    maximum: PositiveInt = Field(description="spots at most")

    def spots(self, energy_gev: float) -> int:
        """Return the largest number of spots for an incident energy in GeV."""
        return min(self.maximum, math.ceil(self.base + self.per_gev * energy_gev))


class SpotsOutput(_Strict):
    """Packed points: ``spots`` float32 [P, columns] and ``counts`` int64 [B], rows of one shower contiguous."""

    kind: Literal["spots"] = Field(description="packed points")
    columns: tuple[str, ...] = Field(description="meaning of the columns; coordinates in the layer's plane")
    capacity: Capacity = Field(description="upper limit of the number of spots of a shower")

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if columns not in (SPOT_COLUMNS, SPOT_COLUMNS_TIMED):
            raise ValueError(f"columns must be {list(SPOT_COLUMNS)}, or these and 'time_ns'")
        return columns


class GridOutput(_Strict):
    """A regular grid: ``grid`` float32 [B, layers, nx, ny], visible energy in GeV."""

    kind: Literal["grid"] = Field(description="regular grid")
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="layers, nx, ny")
    cell_mm: tuple[Positive, Positive] = Field(description="size of a grid cell along x and y, mm")
    lower_edge_mm: tuple[float, float] = Field(description="x and y of the lower edge of the first grid cell, mm")
    follows_axis: bool = Field(
        description="true: each layer's grid is shifted to where the shower axis meets that layer; "
        "false: fixed in the shower frame"
    )


class DatasetFile(_Strict):
    """One file of the training data."""

    name: Text = Field(description="name of the file")
    sha256: Sha256 = Field(description="sha256 of the file")
    showers: Annotated[int, Field(ge=0)] = Field(description="showers in the file")


class Dataset(_Strict):
    """The data the model was fitted to."""

    name: Text = Field(description="name of the data set")
    sha256: Sha256 = Field(description="sha256 over the sorted sha256 values (hexadecimal, one per line) of the files")
    showers: Annotated[int, Field(ge=0)] = Field(description="showers in all files")
    training_showers: Annotated[int, Field(ge=0)] = Field(description="showers the model was fitted to")
    test_showers: Annotated[int, Field(ge=0)] = Field(description="held-back showers the figures were measured on")
    description: str = Field(default="", description="how the data were made")
    files: tuple[DatasetFile, ...] = Field(default=(), description="files of the data set")


class Provenance(_Strict):
    """Where the model comes from."""

    dataset: Dataset | None = Field(description="training data; null: not fitted to data, numbers from the literature")
    software: dict[str, str] = Field(description="package name to version")
    training: dict[str, JsonValue] = Field(description="configuration of the training")
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")] = Field(description="UTC, ISO 8601")


class Figure(_Strict):
    """One measured figure of merit."""

    name: Text = Field(description="what was measured, with its unit")
    value: float = Field(description="measured value, in the unit given by the name")
    uncertainty: float | None = Field(default=None, description="one standard deviation")
    reference: str | None = Field(
        default=None, description="what it is to be compared with, for example Geant4's value"
    )
    conditions: str = Field(description="particle, energies, angles, data set, cuts")


class ModelCard(_Strict):
    """Description of a model, layout version 1."""

    schema_version: Literal[1] = Field(description="version of this layout")
    name: Identifier = Field(description="name of the model, as that of its file")
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(description="version of the model")
    description: Text = Field(description="what it simulates, how, what it leaves out")
    license: Text = Field(description="SPDX identifier")
    system: Identifier = Field(description="kind of generative system, for example parametrised")
    domain: Domain = Field(description="incident particles the model was made for")
    calorimeter: Calorimeter = Field(description="calorimeter the model was made for")
    inputs: tuple[Literal["energy", "direction", "pdg"], ...] = Field(
        description="physics inputs of the graph: energy float32 [B,1] GeV; direction float32 [B,3] unit vector in the "
        "shower frame (z > 0); pdg int64 [B,1]"
    )
    noise: tuple[NoiseInput, ...] = Field(description="noise inputs of the graph")
    output: Annotated[SpotsOutput | GridOutput, Field(discriminator="kind")] = Field(description="outputs of the graph")
    provenance: Provenance = Field(description="where the model comes from")
    figures: tuple[Figure, ...] = Field(default=(), description="measured figures of merit")
    weights_sha256: Sha256 = Field(description="see ddcalogen.card.weights_sha256")
    graph_sha256: Sha256 = Field(description="see ddcalogen.card.graph_sha256")

    @model_validator(mode="after")
    def _check(self) -> ModelCard:
        if self.inputs not in (("energy", "direction"), ("energy", "direction", "pdg")):
            raise ValueError("inputs must be ['energy', 'direction'] or ['energy', 'direction', 'pdg']")
        names = [*self.inputs, *(n.name for n in self.noise)]
        if len(set(names)) != len(names):
            raise ValueError("two inputs have the same name")
        if isinstance(self.output, GridOutput):
            if self.output.shape[0] != len(self.calorimeter.layer_depth_mm):
                raise ValueError("output.shape and calorimeter.layer_depth_mm differ in the number of layers")
            if any(n.shape[0] == "spots" for n in self.noise):
                raise ValueError("a noise shape with 'spots' needs an output of kind 'spots'")
        return self


def card_json_schema() -> dict[str, Any]:
    """Return the JSON schema of the newest card layout (committed as docs/model_card.schema.json)."""
    schema = ModelCard.model_json_schema()
    schema["title"] = f"DDCaloGen model card, schema version {SCHEMA_VERSION}"
    return schema


# -------------------------------------------------------------------------------------------------------- hashes


def _initializer_bytes(tensor: onnx.TensorProto) -> bytes:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise CardError(
            "the model keeps weights outside its file",
            found=f"external data for '{tensor.name}'",
            expected="all weights inside the ONNX file",
            remedy="Save the model as one file.",
        )
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises whatever its parser meets
        raise CardError("a weight tensor is damaged", found=f"'{tensor.name}': {error}") from error
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def weights_sha256(model: onnx.ModelProto) -> str:
    """Return the sha256 (hexadecimal) over all initializers of the main graph.

    In order of name, each contributes: length of the name (uint32), name (UTF-8), ONNX data type (uint32), number of
    dimensions (uint32), dimensions (uint64 each), number of value bytes (uint64), values (C order); all little-endian.

    Raises
    ------
    CardError
        A tensor is damaged or kept outside the file.
    """
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        name, values = tensor.name.encode(), _initializer_bytes(tensor)
        digest.update(struct.pack("<I", len(name)) + name)
        digest.update(struct.pack("<II", tensor.data_type, len(tensor.dims)))
        digest.update(struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims))
        digest.update(struct.pack("<Q", len(values)) + values)
    return digest.hexdigest()


def graph_sha256(model: onnx.ModelProto) -> str:
    """Return the sha256 (hexadecimal) of what the model computes, apart from its initializers.

    Taken over the operator-set versions and the protobuf form of graph inputs, outputs and nodes (and model-local
    functions), without documentation strings, node names and metadata.
    """
    bare = onnx.ModelProto()
    for opset in sorted(model.opset_import, key=lambda o: o.domain):
        bare.opset_import.add().CopyFrom(opset)
    bare.functions.extend(model.functions)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(model.graph.output)
    bare.graph.node.extend(model.graph.node)
    for node in bare.graph.node:
        node.name = ""
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*bare.graph.input, *bare.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def model_hash(source: str | os.PathLike[str] | ModelCard) -> str:
    """Return the hash (64 hexadecimal digits) that identifies the showers a model makes.

    sha256 over the JSON (sorted keys, no spaces) of: ``weights_sha256``, ``graph_sha256``, ``inputs``, ``noise`` and
    ``output`` of the card. Two models with equal hash make equal showers from equal keys; name, description,
    provenance and figures have no part in it. The runtime keys its noise on the first 16 digits as an unsigned 64-bit
    number (most significant digit first).

    Parameters
    ----------
    source
        A card, or the path of a model (then read and checked by `read_card`).
    """
    card = source if isinstance(source, ModelCard) else read_card(source)
    content = card.model_dump(mode="json", include={"weights_sha256", "graph_sha256", "inputs", "noise", "output"})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------- graph against card


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)


def _describe(value: onnx.ValueInfoProto) -> tuple[str, list[int | str]]:
    """Return element type and dimensions; a symbolic or unknown dimension is its name or '?'."""
    if not value.type.HasField("tensor_type"):
        return "no tensor", []
    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dims: list[int | str] = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim]
    return {"float": "float32", "double": "float64"}.get(dtype, dtype), dims


def _text(dtype: str, dims: Iterable[int | str | None]) -> str:
    return f"{dtype} [{', '.join('any' if d is None else str(d) for d in dims)}]"


def _check_values(
    what: str, found: dict[str, onnx.ValueInfoProto], expected: dict[str, tuple[str, list[int | None]]]
) -> None:
    """Compare graph inputs or outputs with what the card implies; None stands for a dimension that must be free."""
    if set(found) != set(expected):
        raise CardError(
            f"the graph's {what}s are not those of its card",
            found=", ".join(sorted(found)) or "none",
            expected=", ".join(sorted(expected)),
            remedy="Export the model again, or correct the card.",
        )
    for name, (dtype, dims) in expected.items():
        has_dtype, has_dims = _describe(found[name])
        wrong = has_dtype != dtype or len(has_dims) != len(dims)
        if not wrong:
            for has, want in zip(has_dims, dims, strict=True):
                # a fixed size where the runtime needs a free one is wrong; an unknown size where one is declared is not
                wrong = wrong or (isinstance(has, int) and has != want)
        if wrong:
            raise CardError(
                f"{what} '{name}' of the graph does not match the card",
                found=_text(has_dtype, has_dims),
                expected=_text(dtype, dims),
                remedy="Export the model again, or correct the card.",
            )


def check_graph(model: onnx.ModelProto, card: ModelCard) -> None:
    """Check that a graph is what its card says.

    Names, element types, ranks and fixed sizes of inputs and outputs; operator set within `OPSET_RANGE` and no other
    operator domain; no random operators.

    Raises
    ------
    CardError
        The graph does not match.
    """
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            raise CardError(
                "the model uses operators outside the ONNX standard",
                found=f"operator domain '{opset.domain}'",
                expected="the standard domain only",
                remedy="Export with plain ONNX operators.",
            )
        if not OPSET_RANGE[0] <= opset.version <= OPSET_RANGE[1]:
            raise CardError(
                "the model's operator set is not supported",
                found=f"opset {opset.version}",
                expected=f"opset {OPSET_RANGE[0]} to {OPSET_RANGE[1]}",
                remedy="Export with another opset.",
            )
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    if random := {n.op_type for n in _all_nodes(nodes)} & RANDOM_OPERATORS:
        raise CardError(
            "the graph draws random numbers itself",
            found=", ".join(sorted(random)),
            expected="noise as declared inputs",
            remedy="Move the noise to inputs, so that showers are reproducible.",
        )

    expected: dict[str, tuple[str, list[int | None]]] = {
        "energy": ("float32", [None, 1]),
        "direction": ("float32", [None, 3]),
    }
    if "pdg" in card.inputs:
        expected["pdg"] = ("int64", [None, 1])
    for noise in card.noise:
        expected[noise.name] = ("float32", [None, *(None if n == "spots" else int(n) for n in noise.shape)])
    weights = {t.name for t in model.graph.initializer}
    _check_values("input", {v.name: v for v in model.graph.input if v.name not in weights}, expected)
    if isinstance(card.output, SpotsOutput):
        outputs: dict[str, tuple[str, list[int | None]]] = {
            "spots": ("float32", [None, len(card.output.columns)]),
            "counts": ("int64", [None]),
        }
    else:
        outputs = {"grid": ("float32", [None, *card.output.shape])}
    _check_values("output", {v.name: v for v in model.graph.output}, outputs)


# -------------------------------------------------------------------------------------------------- read and write


def parse_card(text: str | bytes) -> ModelCard:
    """Parse and validate the JSON of a card of any supported layout version.

    Raises
    ------
    CardError
        Not JSON, a newer layout, unknown keys, missing or malformed values.
    """
    if len(text) > MAX_CARD_BYTES:
        raise CardError("the model card is too large", found=f"{len(text)} B", expected=f"at most {MAX_CARD_BYTES} B")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CardError("the model card is not JSON", found=str(error), remedy="Export the model again.") from error
    if not isinstance(content, dict):
        raise CardError("the model card is not a JSON object", found=type(content).__name__)
    version = content.get("schema_version")
    supported = "1" if SCHEMA_VERSION == 1 else f"1 to {SCHEMA_VERSION}"
    if type(version) is not int or version < 1:
        raise CardError(
            "the model card has no valid schema_version", found=repr(version), expected=f"a whole number, {supported}"
        )
    if version > SCHEMA_VERSION:
        raise CardError(
            "the model card is of a newer schema than this program knows",
            found=f"schema_version {version}",
            expected=f"schema_version {supported}",
            remedy="Update ddcalogen, or export the model with this version.",
        )
    try:
        # when layouts change, older ones are turned into the newest here, step by step
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors(include_url=False)]
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CardError(
            "the model card is not valid",
            found="; ".join(problems[:5]) + more,
            expected=f"a card of schema version {version} (docs/model_card.schema.json)",
        ) from error


def load_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Load an ONNX file without looking at its card.

    Raises
    ------
    ModelError
        The file cannot be read.
    CardError
        It is not an ONNX model, or a damaged one.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            "the model file cannot be read", found=f"{path}: {error.strerror or error}", remedy="Check the path."
        ) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # google.protobuf.message.DecodeError, without importing protobuf for its name
        raise CardError(
            "the file is not an ONNX model, or is damaged",
            found=f"{path} ({len(data)} B): {error}",
            expected="an ONNX model exported by ddcalogen",
        ) from error
    if model.ir_version <= 0 or not model.graph.node:
        raise CardError(
            "the file is not an ONNX model, or is damaged",
            found=f"{path} ({len(data)} B) without a graph",
            expected="an ONNX model exported by ddcalogen",
        )
    return model


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read the card of a model and check the model against it.

    Raises
    ------
    ModelError
        The file cannot be read.
    CardError
        The file is not an ONNX model or is damaged; it has no card (a foreign model); the card is of a newer schema,
        has unknown keys or invalid values; weights or graph are not those the card was written for; inputs or outputs
        of the graph do not match the card.
    """
    model = load_model(path)
    cards = [p.value for p in model.metadata_props if p.key == CARD_KEY]
    if len(cards) != 1:
        raise CardError(
            "the model has no card" if not cards else "the model has more than one card",
            found=f"{path}, producer '{model.producer_name}'",
            expected=f"one metadata property '{CARD_KEY}'",
            remedy="Export the model with ddcalogen, or wrap a foreign model with a card.",
        )
    card = parse_card(cards[0])
    try:
        for what, stated, computed in (
            ("weights", card.weights_sha256, weights_sha256(model)),
            ("graph", card.graph_sha256, graph_sha256(model)),
        ):
            if stated != computed:
                raise CardError(
                    f"the {what} of the model are not those its card was written for",
                    found=f"sha256 {computed}",
                    expected=f"sha256 {stated}",
                    remedy="The file was changed or damaged after export: export it again.",
                )
        check_graph(model, card)
    except CardError:
        raise
    except Exception as error:  # a damaged file can hold anything, such as bytes where a name should be
        raise CardError("the file is not an ONNX model, or is damaged", found=f"{path}: {error}") from error
    return card


def embed_card(model: onnx.ModelProto, card: ModelCard) -> ModelCard:
    """Put a card into a model in memory, with its two hashes set from the model; return the card as written.

    Raises
    ------
    CardError
        The graph does not match the card.
    """
    card = card.model_copy(update={"weights_sha256": weights_sha256(model), "graph_sha256": graph_sha256(model)})
    check_graph(model, card)
    kept = [(p.key, p.value) for p in model.metadata_props if p.key != CARD_KEY]
    del model.metadata_props[:]
    for key, value in (*kept, (CARD_KEY, card.model_dump_json())):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return card


def save_model(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a model to a file under a temporary name and rename it when complete.

    Raises
    ------
    OutputError
        The file cannot be written; nothing is left under the final name.
    """
    with replace_when_complete(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))


def write_card(onnx_model: str | os.PathLike[str], card: ModelCard) -> ModelCard:
    """Put a card into an existing model file (atomically), with its two hashes set; return the card as written.

    Raises
    ------
    ModelError, CardError, OutputError
        The file is no ONNX model, does not match the card, or cannot be written.
    """
    model = load_model(onnx_model)
    card = embed_card(model, card)
    save_model(model, onnx_model)
    return card

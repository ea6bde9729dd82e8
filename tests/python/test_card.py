# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Model cards: round trip, hashes, agreement with the graph, hostile files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ddcalogen import card as cards
from ddcalogen.card import ModelCard
from ddcalogen.errors import CardError, ModelError, OutputError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]
V1 = ROOT / "tests/data/model_card_v1.onnx"


def card_content(**changes: Any) -> dict[str, Any]:
    """A valid card as plain data."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "tiny",
        "version": "1.0.0",
        "description": "One spot per shower on its axis",
        "license": "Apache-2.0",
        "system": "test",
        "domain": {"pdg": [22], "energy_gev": [1.0, 100.0], "theta_deg": [0.0, 60.0]},
        "calorimeter": {
            "name": "ECAL",
            "detector": "ILD_l5_o1_v02",
            "layer_depth_mm": [6.8025, 9.9275],
            "cell_size_mm": [5.088333, 5.088333],
        },
        "inputs": ["energy", "direction"],
        "noise": [{"name": "z", "distribution": "normal", "shape": ["spots", 2]}],
        "output": {
            "kind": "spots",
            "columns": ["x_mm", "y_mm", "layer", "energy_gev"],
            "capacity": {"base": 1.0, "per_gev": 0.5, "maximum": 20},
        },
        "provenance": {
            "dataset": None,
            "software": {"onnx": "1.16"},
            "training": {},
            "created": "2026-01-01T00:00:00Z",
        },
        "figures": [],
        "weights_sha256": "0" * 64,
        "graph_sha256": "0" * 64,
    }
    return content | changes


def make_card(**changes: Any) -> ModelCard:
    return cards.parse_card(json.dumps(card_content(**changes)))


def tiny_model(*, opset: int = 18, node: str = "Mul", energy_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """spots = energy * w[1, 4]; counts = ones [B]."""
    batch = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["energy"], ["e"], to=TensorProto.FLOAT),
            helper.make_node(node, ["e", "w"], ["spots"]),
            helper.make_node("Shape", ["energy"], ["shape"], start=0, end=1),
            helper.make_node("Expand", ["one", "shape"], ["counts"]),
        ],
        "tiny",
        [
            batch("energy", energy_type, ["B", 1]),
            batch("direction", TensorProto.FLOAT, ["B", 3]),
            batch("z", TensorProto.FLOAT, ["B", "N", 2]),
        ],
        [batch("spots", TensorProto.FLOAT, ["P", 4]), batch("counts", TensorProto.INT64, ["B"])],
        [
            numpy_helper.from_array(np.array([[0.0, 0.0, 1.0, 0.02]], np.float32), "w"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test")
    model.ir_version = 8
    return model


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    model = tiny_model()
    cards.embed_card(model, make_card())
    path = tmp_path / "tiny.onnx"
    cards.save_model(model, path)
    return path


def rewrite_card(path: Path, text: str) -> None:
    model = onnx.load(path)
    model.metadata_props[0].value = text
    onnx.save(model, path)


def change_card(path: Path, **changes: Any) -> None:
    content = json.loads(onnx.load(path).metadata_props[0].value)
    rewrite_card(path, json.dumps(content | changes))


# -------------------------------------------------------------------------------------------------------- good files


def test_round_trip(model_file: Path) -> None:
    card = cards.read_card(model_file)
    assert card.name == "tiny"
    assert card.weights_sha256 == cards.weights_sha256(onnx.load(model_file))
    assert card == cards.parse_card(card.model_dump_json())


def test_first_schema_stays_readable() -> None:
    card = cards.read_card(V1)
    assert (card.schema_version, card.name, card.version) == (1, "tiny_v1", "1.0.0")
    assert card.output.kind == "spots"
    assert card.output.capacity.spots(3.0) == 3
    assert cards.model_hash(card) == "16ec6b8f308f3cd9c8e28264a4b6b8f5c34cd41b9fee48a49e2cc1d442999ddf"


def test_shipped_models_are_valid() -> None:
    models = sorted((ROOT / "models").glob("*.onnx"))
    assert models
    for path in models:
        card = cards.read_card(path)
        assert card.name == path.stem
        assert card.figures
        assert path.stat().st_size < 20e6


def test_schema_file_is_current() -> None:
    committed = json.loads((ROOT / "docs/model_card.schema.json").read_text())
    assert committed == cards.card_json_schema()


def test_every_field_is_described() -> None:
    schema = cards.card_json_schema()
    for name, part in {"ModelCard": schema, **schema["$defs"]}.items():
        for field, content in part.get("properties", {}).items():
            assert content.get("description"), (name, field)


@pytest.mark.parametrize(("energy", "spots"), [(0.0, 1), (0.1, 2), (2.0, 2), (2.1, 3), (38.0, 20), (1e9, 20)])
def test_capacity(energy: float, spots: int) -> None:
    output = make_card().output
    assert output.kind == "spots"
    assert output.capacity.spots(energy) == spots


def test_card_cannot_be_changed() -> None:
    card = make_card()
    with pytest.raises(ValueError, match="frozen"):
        card.name = "other"  # type: ignore[misc]


def test_grid_card() -> None:
    output = {
        "kind": "grid",
        "shape": [2, 30, 30],
        "cell_mm": [5.0, 5.0],
        "lower_edge_mm": [-75.0, -75.0],
        "follows_axis": True,
    }
    noise = [{"name": "z", "distribution": "uniform", "shape": [24]}]
    card = make_card(output=output, noise=noise)
    assert card.output.kind == "grid"
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["z"], ["grid"])],
            "g",
            [
                helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["B", 1]),
                helper.make_tensor_value_info("direction", TensorProto.FLOAT, ["B", 3]),
                helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B", 24]),
            ],
            [helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["B", 2, 30, 30])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    cards.check_graph(model, card)
    with pytest.raises(CardError, match="layers"):
        make_card(output=output | {"shape": [3, 30, 30]}, noise=noise)
    with pytest.raises(CardError, match="spots"):
        make_card(output=output)


# ------------------------------------------------------------------------------------------------------------ hashes


def test_hash_follows_what_makes_the_showers() -> None:
    model = tiny_model()
    card = cards.embed_card(model, make_card())
    start = cards.model_hash(card)
    assert len(start) == 64
    assert cards.model_hash(card.model_copy(update={"description": "other", "version": "2.0.0"})) == start
    assert cards.model_hash(card.model_copy(update={"inputs": ("energy",)})) != start

    weights = tiny_model()
    weights.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([[0, 0, 1, 0.03]], np.float32), "w"))
    assert cards.model_hash(cards.embed_card(weights, make_card())) != start
    graph = tiny_model(node="Add")
    assert cards.weights_sha256(graph) == cards.weights_sha256(model)
    assert cards.model_hash(cards.embed_card(graph, make_card())) != start


def test_hashes_ignore_names_of_nodes_and_order_of_weights() -> None:
    model, other = tiny_model(), tiny_model()
    other.graph.node[0].name = "renamed"
    other.graph.node[0].doc_string = "text"
    tensors = list(other.graph.initializer)
    del other.graph.initializer[:]
    other.graph.initializer.extend(reversed(tensors))
    assert cards.weights_sha256(other) == cards.weights_sha256(model)
    assert cards.graph_sha256(other) == cards.graph_sha256(model)


def test_weights_hash_separates_names_types_and_shapes() -> None:
    def digest(*arrays: tuple[str, Any]) -> str:
        model = tiny_model()
        del model.graph.initializer[:]
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays)
        return cards.weights_sha256(model)

    a = np.arange(4, dtype=np.float32)
    digests = [
        digest(("a", a)),
        digest(("b", a)),
        digest(("a", a.reshape(2, 2))),
        digest(("a", a.view(np.int32))),
        digest(("a", a[:2]), ("b", a[2:])),
        digest(("a", a[:3]), ("b", a[3:])),
    ]
    assert len(set(digests)) == len(digests)
    # the same values in a typed field and as raw bytes are the same weights
    typed, raw = tiny_model(), tiny_model()
    typed.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [1, 4], [0.0, 0.0, 1.0, 0.02]))
    assert cards.weights_sha256(typed) == cards.weights_sha256(raw)


# ----------------------------------------------------------------------------------------------------- hostile files


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        cards.read_card(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        cards.read_card(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a model\n" * 50, b"\x89HDF\r\n\x1a\n" + b"\1" * 400])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(CardError, match="not an ONNX model"):
        cards.read_card(path)


def test_truncated_anywhere(model_file: Path) -> None:
    data = model_file.read_bytes()
    for length in range(0, len(data), 7):
        model_file.write_bytes(data[:length])
        with pytest.raises(CardError):
            cards.read_card(model_file)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0), value=st.integers(0, 255))
def test_one_damaged_byte_never_escapes_as_another_error(model_file: Path, position: int, value: int) -> None:
    data = bytearray(V1.read_bytes())
    data[position % len(data)] = value
    path = model_file.with_name("damaged.onnx")
    path.write_bytes(data)
    try:
        card = cards.read_card(path)
    except CardError:
        return
    # what still reads is a change of the card's free text or of a name that is not hashed, never of the computation
    assert cards.weights_sha256(onnx.load(path)) == card.weights_sha256
    assert cards.graph_sha256(onnx.load(path)) == card.graph_sha256


def test_foreign_model(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(tiny_model(), path)
    with pytest.raises(CardError, match="has no card") as caught:
        cards.read_card(path)
    assert "producer 'test'" in str(caught.value)


def test_two_cards(model_file: Path) -> None:
    model = onnx.load(model_file)
    model.metadata_props.add().CopyFrom(model.metadata_props[0])
    onnx.save(model, model_file)
    with pytest.raises(CardError, match="more than one card"):
        cards.read_card(model_file)


def test_newer_schema_says_what_was_got_and_what_is_supported(model_file: Path) -> None:
    change_card(model_file, schema_version=cards.SCHEMA_VERSION + 1, something_new={"a": 1})
    with pytest.raises(CardError, match="newer schema") as caught:
        cards.read_card(model_file)
    assert f"schema_version {cards.SCHEMA_VERSION + 1}" in str(caught.value)
    assert f"schema_version {cards.SCHEMA_VERSION}" in str(caught.value)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", None, True])
def test_malformed_schema_version(model_file: Path, version: object) -> None:
    change_card(model_file, schema_version=version)
    with pytest.raises(CardError, match="schema_version"):
        cards.read_card(model_file)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 100_000, '{"schema_version": 1}', "\ud7ff"])
def test_malformed_json(model_file: Path, text: str) -> None:
    rewrite_card(model_file, text)
    with pytest.raises(CardError):
        cards.read_card(model_file)


def test_unknown_keys_are_refused_at_every_level() -> None:
    def refuse(content: dict[str, Any]) -> None:
        with pytest.raises(CardError, match=r"(?i)extra inputs are not permitted"):
            cards.parse_card(json.dumps(content))

    refuse(card_content(surprise=1))
    for key in ("domain", "calorimeter", "output", "provenance"):
        content = card_content()
        content[key]["surprise"] = 1
        refuse(content)
    content = card_content()
    content["noise"][0]["surprise"] = 1
    refuse(content)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("domain", "pdg"), []),
        (("domain", "pdg"), [22, 22]),
        (("domain", "pdg"), [22.5]),
        (("domain", "energy_gev"), [10.0, 1.0]),
        (("domain", "energy_gev"), [0.0, 1.0]),
        (("domain", "energy_gev"), [1.0, float("nan")]),
        (("domain", "energy_gev"), [1.0, float("inf")]),
        (("domain", "energy_gev"), [1.0]),
        (("domain", "theta_deg"), [0.0, 90.0]),
        (("domain", "theta_deg"), [-1.0, 60.0]),
        (("calorimeter", "layer_depth_mm"), []),
        (("calorimeter", "layer_depth_mm"), [2.0, 2.0]),
        (("calorimeter", "cell_size_mm"), [5.0, 0.0]),
        (("output", "columns"), ["x_mm", "y_mm", "energy_gev", "layer"]),
        (("output", "kind"), "voxels"),
        (("output", "capacity"), {"base": -1.0, "per_gev": 1.0, "maximum": 10}),
        (("output", "capacity"), {"base": 1.0, "per_gev": 1.0, "maximum": 0}),
        (("provenance", "created"), "yesterday"),
        (("inputs",), ["direction", "energy"]),
        (("inputs",), ["energy", "direction", "mass"]),
        (("noise",), [{"name": "z", "distribution": "poisson", "shape": [3]}]),
        (("noise",), [{"name": "z", "distribution": "normal", "shape": [3, "spots"]}]),
        (("noise",), [{"name": "z", "distribution": "normal", "shape": []}]),
        (("noise",), [{"name": "z", "distribution": "normal", "shape": [-3]}]),
        (("noise",), [{"name": "energy", "distribution": "normal", "shape": [3]}]),
        (("noise",), [{"name": "a b", "distribution": "normal", "shape": [3]}]),
        (("weights_sha256",), "0" * 63),
        (("version",), "1"),
        (("license",), ""),
    ],
)
def test_invalid_values(where: tuple[str, ...], value: object) -> None:
    content = card_content()
    part = content
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    with pytest.raises(CardError, match="not valid"):
        cards.parse_card(json.dumps(content))


def test_huge_card_is_refused_unparsed() -> None:
    with pytest.raises(CardError, match="too large"):
        cards.parse_card(" " * (cards.MAX_CARD_BYTES + 1))


def test_changed_weights_and_graph_are_noticed(model_file: Path) -> None:
    model = onnx.load(model_file)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([[0, 0, 1, 0.9]], np.float32), "w"))
    onnx.save(model, model_file)
    with pytest.raises(CardError, match="weights of the model are not those"):
        cards.read_card(model_file)
    model = tiny_model()
    cards.embed_card(model, make_card())
    model.graph.node[1].op_type = "Add"
    onnx.save(model, model_file)
    with pytest.raises(CardError, match="graph of the model are not those"):
        cards.read_card(model_file)


def refuse_graph(model: onnx.ModelProto, match: str, **changes: Any) -> None:
    with pytest.raises(CardError, match=match):
        cards.embed_card(model, make_card(**changes))


def test_graph_that_does_not_match() -> None:
    refuse_graph(tiny_model(energy_type=TensorProto.DOUBLE), r"input 'energy'.*float64 \[B, 1\].*float32 \[any, 1\]")
    refuse_graph(tiny_model(opset=16), "opset 16")
    refuse_graph(tiny_model(opset=21), "opset 21")
    refuse_graph(tiny_model(), "inputs are not those", noise=[])
    refuse_graph(tiny_model(), "inputs are not those", inputs=["energy", "direction", "pdg"])
    shape = [{"name": "z", "distribution": "normal", "shape": ["spots", 3]}]
    refuse_graph(tiny_model(), "input 'z'", noise=shape)
    rank = [{"name": "z", "distribution": "normal", "shape": ["spots", 2, 1]}]
    refuse_graph(tiny_model(), "input 'z'", noise=rank)
    timed = card_content()["output"] | {"columns": ["x_mm", "y_mm", "layer", "energy_gev", "time_ns"]}
    refuse_graph(tiny_model(), "output 'spots'", output=timed)

    fixed_batch = tiny_model()
    fixed_batch.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    refuse_graph(fixed_batch, "input 'energy'")
    counts = tiny_model()
    counts.graph.output[1].type.tensor_type.elem_type = TensorProto.INT32
    refuse_graph(counts, "output 'counts'")
    missing = tiny_model()
    del missing.graph.output[1]
    refuse_graph(missing, "outputs are not those")
    foreign = tiny_model()
    foreign.opset_import.add(domain="com.microsoft", version=1)
    refuse_graph(foreign, "outside the ONNX standard")


def test_random_operators_are_refused_even_in_a_branch() -> None:
    branch = helper.make_graph(
        [helper.make_node("RandomNormal", [], ["r"], shape=[1])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, [1])],
    )
    model = tiny_model()
    model.graph.node.append(helper.make_node("If", ["condition"], ["r"], then_branch=branch, else_branch=branch))
    refuse_graph(model, "random numbers")


def test_weights_outside_the_file_are_refused() -> None:
    model = tiny_model()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    refuse_graph(model, "outside its file")


def test_damaged_weight_tensor() -> None:
    model = tiny_model()
    model.graph.initializer[0].raw_data = b"\0\0\0"
    refuse_graph(model, "damaged")


# ------------------------------------------------------------------------------------------------------------ writing


def test_write_card_replaces_the_old_one_and_keeps_other_metadata(model_file: Path) -> None:
    model = onnx.load(model_file)
    model.metadata_props.add(key="author", value="somebody")
    onnx.save(model, model_file)
    written = cards.write_card(model_file, make_card(description="Another text"))
    assert cards.read_card(model_file) == written
    assert written.description == "Another text"
    assert {p.key for p in onnx.load(model_file).metadata_props} == {"author", cards.CARD_KEY}


def test_write_card_leaves_the_file_alone_when_refused(model_file: Path) -> None:
    before = model_file.read_bytes()
    with pytest.raises(CardError):
        cards.write_card(model_file, make_card(noise=[]))
    assert model_file.read_bytes() == before
    assert [p.name for p in model_file.parent.iterdir()] == [model_file.name]


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="needs /proc to refuse root")
def test_unwritable_target_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "model.onnx"
    with pytest.raises(OutputError, match="cannot write"):
        cards.save_model(tiny_model(), target)
    assert not any(tmp_path.iterdir())
    with pytest.raises(OutputError, match="cannot write"):
        cards.save_model(tiny_model(), Path("/proc/model.onnx"))

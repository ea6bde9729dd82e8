# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a trained system to one ONNX file with its card, checked on the spot."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import io
import logging
import os
import platform
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcalogen.card import (
    Calorimeter,
    Capacity,
    Domain,
    Figure,
    ModelCard,
    NoiseInput,
    Provenance,
    SpotsOutput,
    embed_card,
    read_card,
    save_model,
)
from ddcalogen.errors import ModelError
from ddcalogen.training.checkpoint import load_checkpoint
from ddcalogen.training.fit_parametrised import noise
from ddcalogen.training.systems.parametrised import ILD_ECAL_LAYER_DEPTH_MM, ParametrisedShower
from ddcalogen.training.threads import one_thread
from ddcalogen.validation.observables import CELL_MM

__all__ = ["Agreement", "Tolerance", "compare_with_torch", "export_model", "onnx_session", "to_onnx"]

OPSET = 18

PHYSICS_INPUTS = ("energy", "direction", "pdg")

DESCRIPTION = (
    "Parametrised electromagnetic shower in the ILD silicon-tungsten ECAL after Grindhammer and Peters "
    "(hep-ex/0001020), fitted to Geant4 photon showers in the gap-free ECAL layer stack: fluctuating correlated gamma "
    "profile behind a drawn conversion depth, two-component radial profile, spots of about one shower particle each. "
    "Photons are fitted. Electrons and positrons are NOT fitted (no such showers in the training data): they start "
    "without conversion depth, so that their maximum lies one radiation length before that of photons, as the PDG "
    "review's t_max = ln y + 0.5 (photons), ln y - 0.5 (electrons). Field: 3.5 T along -x of the shower frame, as in a "
    "barrel stave; its widening of showers in y (about 15 % against x) is part of the model and is not right where the "
    "field points elsewhere (endcaps). Outside its domain, and for other particles, it must not be used."
)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far PyTorch and onnxruntime may differ on the same noise.

    Library functions of the two differ in the last bits, which now and then moves a number across a border: a count
    from n to n + 1, a spot from core to tail or into the next layer. So borders may be crossed, but rarely; everything
    else agrees to rounding.
    """

    showers_with_other_count: float = 0.02
    spots_off: float = 0.001
    position_mm: float = 0.02
    energy_relative: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Result of a comparison: shares of showers with another count and, in the others, of spots that differ."""

    showers_with_other_count: float
    spots_off: float
    showers: int
    spots: int


def onnx_session(model: bytes | str | os.PathLike[str], threads: int = 1) -> onnxruntime.InferenceSession:
    """Return a quiet onnxruntime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else os.fspath(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _example(batch: int, seed: int, energy_gev: tuple[float, float]) -> dict[str, Tensor]:
    """Incident particles over the whole domain, with noise."""
    generator = torch.Generator().manual_seed(seed)
    low, high = energy_gev
    energy = low * (high / low) ** torch.rand(batch, 1, generator=generator)
    cos = 0.5 + 0.5 * torch.rand(batch, 1, generator=generator)
    phi = 2.0 * torch.pi * torch.rand(batch, 1, generator=generator)
    sin = torch.sqrt(1.0 - cos * cos)
    direction = torch.cat([sin * torch.cos(phi), sin * torch.sin(phi), cos], 1)
    if batch > 1:
        direction[0] = torch.tensor([0.0, 0.0, 1.0])
        energy[0], energy[1] = low, high
    pdg = torch.tensor([22, 11, -11])[torch.randint(0, 3, (batch, 1), generator=generator)]
    capacity = ParametrisedShower().capacity(float(energy.max()))
    return {"energy": energy, "direction": direction, "pdg": pdg} | noise(batch, capacity, generator)


def to_onnx(model: ParametrisedShower) -> onnx.ModelProto:
    """Translate a system to ONNX: one graph, no metadata of the machine it was made on.

    Raises
    ------
    ModelError
        The translation failed.
    """
    example = _example(3, 0, model.energy_gev)
    shapes = {name: {0: "B", 1: "N"} if name == "u_spot" else {0: "B"} for name in example}
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            program = torch.onnx.export(
                model.eval(),
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(example),
                output_names=["spots", "counts"],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        raise ModelError("the system cannot be exported to ONNX", found=str(error)) from error
    finally:
        logging.disable(logging.NOTSET)
    if program is None:
        raise ModelError("the system cannot be exported to ONNX")
    proto = program.model_proto
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = "ddcalogen", importlib.metadata.version("torch")
    proto.graph.name = "shower"
    proto.ir_version = min(proto.ir_version, 9)  # what onnxruntime 1.17 reads
    return proto


def _run(
    session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    spots, counts = session.run(["spots", "counts"], {k: v.numpy() for k, v in inputs.items()})
    return spots, counts


def compare_with_torch(
    model: ParametrisedShower,
    proto: onnx.ModelProto,
    tolerance: Tolerance | None = None,
    *,
    batches: Sequence[int] = (1, 7, 64, 256),
) -> Agreement:
    """Run both on the same noise, and onnxruntime on rows alone and in batches.

    Raises
    ------
    ModelError
        They differ by more than the tolerance; counts and spots do not fit each other or exceed the capacity; or a row
        is not bit-identical alone, in a batch, with other padding and with more threads.
    """
    tolerance = tolerance or Tolerance()
    data = proto.SerializeToString()
    session, threaded = onnx_session(data), onnx_session(data, threads=2)
    other = off = showers = total = 0
    for seed, batch in enumerate(batches):
        inputs = _example(batch, 1000 + seed, model.energy_gev)
        with one_thread(), torch.no_grad():
            expected_spots, expected_counts = (t.numpy() for t in model(*inputs.values()))
        spots, counts = _run(session, inputs)
        limit = [model.capacity(float(e)) for e in inputs["energy"][:, 0]]
        if counts.sum() != len(spots) or np.any(counts < 0) or np.any(counts > limit):
            raise ModelError(
                "counts and spots of the exported model do not fit each other",
                found=f"{len(spots)} spots, counts {counts.min()} to {counts.max()}, sum {counts.sum()}",
                expected="the sum of the counts, none above its capacity",
            )
        if not np.all(np.isfinite(spots)) or np.any(spots[:, 3] < 0):
            raise ModelError("the exported model returns spots that are not finite or negative in energy")
        start = np.concatenate(([0], np.cumsum(counts)))
        expected_start = np.concatenate(([0], np.cumsum(expected_counts)))
        showers += batch
        for row in range(batch):
            if counts[row] != expected_counts[row]:
                other += 1
                continue
            a = spots[start[row] : start[row + 1]]
            b = expected_spots[expected_start[row] : expected_start[row + 1]]
            wrong = (
                (np.abs(a[:, :2] - b[:, :2]).max(1, initial=0.0) > tolerance.position_mm)
                | (a[:, 2] != b[:, 2])
                | (np.abs(a[:, 3] - b[:, 3]) > tolerance.energy_relative * np.abs(b[:, 3]) + 1e-9)
            )
            off += int(wrong.sum())
            total += len(a)
        again, again_counts = _run(threaded, inputs)
        if not (np.array_equal(spots, again) and np.array_equal(counts, again_counts)):
            raise ModelError("the exported model's showers depend on the number of threads")
        for row in {0, batch // 2, batch - 1}:
            alone = {k: v[row : row + 1] for k, v in inputs.items()}
            alone["u_spot"] = alone["u_spot"][:, : model.capacity(float(alone["energy"]))]
            single, single_count = _run(session, alone)
            if single_count[0] != counts[row] or not np.array_equal(single, spots[start[row] : start[row + 1]]):
                raise ModelError(
                    "a shower of the exported model depends on the other showers of its batch",
                    found=f"row {row} of {batch} differs from the same shower alone",
                    expected="identical bits",
                    remedy="Use only operators whose result does not depend on the place in the tensor.",
                )
    result = Agreement(other / showers, off / max(total, 1), showers, total)
    if result.showers_with_other_count > tolerance.showers_with_other_count or result.spots_off > tolerance.spots_off:
        raise ModelError(
            "PyTorch and onnxruntime differ on the same noise",
            found=f"{result.showers_with_other_count:.2%} of showers with another count, "
            f"{result.spots_off:.3%} of spots off",
            expected=f"at most {tolerance.showers_with_other_count:.2%} and {tolerance.spots_off:.3%} "
            f"(beyond {tolerance.position_mm} mm or {tolerance.energy_relative:g} of the energy)",
        )
    return result


def export_model(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str = "ild_ecal_em_parametrised",
    version: str = "1.0.0",
    figures: Sequence[Figure] = (),
    tolerance: Tolerance | None = None,
    created: datetime.datetime | None = None,
) -> ModelCard:
    """Export a checkpoint to one ONNX file with its card; return the card.

    The file is written, atomically, only when PyTorch and onnxruntime agree on the same noise and every shower is
    independent of its batch (`compare_with_torch`).

    Raises
    ------
    ModelError
        The checkpoint cannot be used, or the exported model fails a check; nothing is written.
    OutputError
        The file cannot be written.
    """
    loaded = load_checkpoint(checkpoint)
    if loaded.system != "parametrised":
        raise ModelError("the checkpoint is of an unknown system", found=loaded.system, expected="parametrised")
    model = ParametrisedShower()
    try:
        model.load_state_dict(loaded.state)
    except RuntimeError as error:
        raise ModelError("the checkpoint's weights do not fit the system", found=str(error)) from error
    tolerance = tolerance or Tolerance()
    proto = to_onnx(model)
    agreement = compare_with_torch(model, proto, tolerance)
    when = (created or datetime.datetime.now(datetime.timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ")
    example = _example(1, 0, model.energy_gev)
    card = ModelCard(
        schema_version=1,
        name=name,
        version=version,
        description=DESCRIPTION,
        license="Apache-2.0",
        system=loaded.system,
        domain=Domain(pdg=(22, 11, -11), energy_gev=model.energy_gev, theta_deg=(0.0, 60.0)),
        calorimeter=Calorimeter(
            name="ECAL",
            detector="ILD_l5_o1_v02",
            layer_depth_mm=ILD_ECAL_LAYER_DEPTH_MM,
            cell_size_mm=(CELL_MM, CELL_MM),
        ),
        inputs=("energy", "direction", "pdg"),
        noise=tuple(
            NoiseInput(
                name=key,
                distribution="uniform" if key.startswith("u_") else "normal",
                shape=("spots", *value.shape[2:]) if key == "u_spot" else tuple(value.shape[1:]),
            )
            for key, value in example.items()
            if key not in PHYSICS_INPUTS
        ),
        output=SpotsOutput(
            kind="spots",
            columns=("x_mm", "y_mm", "layer", "energy_gev"),
            capacity=Capacity(base=model.capacity_base, per_gev=model.capacity_per_gev, maximum=model.capacity_maximum),
        ),
        provenance=Provenance(
            dataset=loaded.dataset,
            software={"python": platform.python_version()}
            | {p: importlib.metadata.version(p) for p in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")},
            training=loaded.training,
            created=when,
        ),
        figures=(
            *figures,
            Figure(
                name="showers whose number of spots differs between PyTorch and onnxruntime",
                value=agreement.showers_with_other_count,
                conditions=f"same noise, {agreement.showers} showers over the whole domain; "
                f"limit {tolerance.showers_with_other_count:g}",
            ),
            Figure(
                name="spots that differ between PyTorch and onnxruntime",
                value=agreement.spots_off,
                conditions=f"same noise, {agreement.spots} spots, beyond {tolerance.position_mm} mm or "
                f"{tolerance.energy_relative:g} of the energy; limit {tolerance.spots_off:g}",
            ),
        ),
        weights_sha256="0" * 64,
        graph_sha256="0" * 64,
    )
    embed_card(proto, card)
    save_model(proto, out)
    return read_card(out)

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
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcalogen.card import (
    Domain,
    Figure,
    GridOutput,
    ModelCard,
    Provenance,
    embed_card,
    read_card,
    save_model,
)
from ddcalogen.errors import ModelError
from ddcalogen.training.checkpoint import Checkpoint, load_checkpoint, load_system
from ddcalogen.training.precision import Precision, store_weights
from ddcalogen.training.sampler import Sampler, example_inputs
from ddcalogen.training.threads import one_thread

__all__ = ["Agreement", "Tolerance", "compare_with_torch", "export_model", "onnx_session", "to_onnx"]

OPSET = 18
ROW_QUANTUM, SPOT_QUANTUM = 16, 64
"""The runtime fills batches up to whole multiples of these (cpp/inference/ShowerGenerator.h)."""

Arrays = dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far PyTorch and onnxruntime may differ on the same noise.

    Library functions of the two differ in the last bits, which now and then moves a number across a border: a count
    from n to n + 1, a spot from one component or layer to the next, a cell across the threshold. So borders may be
    crossed, but rarely; everything else agrees to rounding.

    Attributes
    ----------
    showers_with_other_count
        Share of showers with another number of spots.
    spots_off
        Share of spots (of cells) that differ by more than the following.
    position_mm, energy_relative, energy_gev
        Distance in x and y; difference in energy: relative part plus absolute part.
    """

    showers_with_other_count: float = 0.02
    spots_off: float = 0.001
    position_mm: float = 0.02
    energy_relative: float = 1e-4
    energy_gev: float = 1e-9


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Result of a comparison.

    showers_with_other_count, spots_off: shares. bits_off: showers whose bits differ alone and in a batch, of
    showers_alone. showers, spots: how many were compared.
    """

    showers_with_other_count: float
    spots_off: float
    bits_off: int
    showers_alone: int
    showers: int
    spots: int


def onnx_session(model: bytes | str | os.PathLike[str], threads: int = 1) -> onnxruntime.InferenceSession:
    """Return a quiet onnxruntime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else os.fspath(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def to_onnx(sampler: Sampler, domain: Domain) -> onnx.ModelProto:
    """Translate a sampler to ONNX: one graph, no metadata of the machine it was made on.

    Raises
    ------
    ModelError
        The translation failed.
    """
    example = example_inputs(sampler, domain, 3, 0)
    per_spot = {n.name for n in sampler.noise if n.shape[0] == "spots"}
    shapes = {name: {0: "B", 1: "N"} if name in per_spot else {0: "B"} for name in example}
    quiet = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
            torch.no_grad(),  # loops (Scan) cannot be translated with gradients
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            program = torch.onnx.export(
                sampler.eval(),
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(example),
                output_names=["grid"] if isinstance(sampler.output, GridOutput) else ["spots", "counts"],
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


# ---------------------------------------------------------------------------------------------------------- comparison


def _as_runtime(sampler: Sampler, domain: Domain, inputs: dict[str, Tensor], rows: slice) -> Arrays:
    """Some rows as the runtime would hand them over: filled up with cheap showers, no noise beyond the capacity."""
    number = len(inputs["energy"][rows])
    size = -(-number // ROW_QUANTUM) * ROW_QUANTUM
    energy = np.full((size, 1), domain.energy_gev[0], np.float32)
    energy[:number] = inputs["energy"][rows].numpy()
    direction = np.zeros((size, 3), np.float32)
    direction[:, 2] = 1.0
    direction[:number] = inputs["direction"][rows].numpy()
    arrays: Arrays = {"energy": energy, "direction": direction}
    if "pdg" in inputs:
        arrays["pdg"] = np.full((size, 1), domain.pdg[0], np.int64)
        arrays["pdg"][:number] = inputs["pdg"][rows].numpy()
    capacities = [sampler.capacity(float(e)) for e in energy[:, 0]]
    spots = -(-max(capacities) // SPOT_QUANTUM) * SPOT_QUANTUM
    for entry in sampler.noise:
        values = inputs[entry.name][rows].numpy()
        filler = 0.5 if entry.distribution == "uniform" else 0.0
        if entry.shape[0] == "spots":
            table = np.full((size, spots, *values.shape[2:]), filler, np.float32)
            for row in range(number):
                table[row, : capacities[row]] = values[row, : capacities[row]]
        else:
            table = np.full((size, *values.shape[1:]), filler, np.float32)
            table[:number] = values
        arrays[entry.name] = table
    return {name: arrays[name] for name in inputs}


def _output_names(sampler: Sampler) -> list[str]:
    return ["grid"] if isinstance(sampler.output, GridOutput) else ["spots", "counts"]


def _showers(sampler: Sampler, outputs: Sequence[NDArray[Any]], number: int) -> list[NDArray[np.float32]]:
    """Outputs shower by shower: spots [n, columns], or cells [layers * nx * ny, 1]."""
    if isinstance(sampler.output, GridOutput):
        return [grid.reshape(-1, 1) for grid in outputs[0][:number]]
    spots, counts = outputs
    if counts.sum() != len(spots) or np.any(counts < 0):
        raise ModelError(
            "counts and spots of the exported model do not fit each other",
            found=f"{len(spots)} spots, counts {counts.min()} to {counts.max()}, sum {counts.sum()}",
            expected="the sum of the counts, none above its capacity",
        )
    return np.split(spots, np.cumsum(counts))[:number]


def _energies(shower: NDArray[np.float32]) -> NDArray[np.float32]:
    return shower[:, 0 if shower.shape[1] == 1 else 3]


def _check_showers(sampler: Sampler, showers: list[NDArray[np.float32]], energy: Tensor, layers: int) -> None:
    for shower, gev in zip(showers, energy[:, 0], strict=True):
        if not np.all(np.isfinite(shower)) or np.any(_energies(shower) < 0):
            raise ModelError("the exported model returns showers that are not finite or negative in energy")
        if isinstance(sampler.output, GridOutput):
            continue
        if len(shower) > sampler.capacity(float(gev)):
            raise ModelError(
                "counts and spots of the exported model do not fit each other",
                found=f"{len(shower)} spots at {float(gev):.4g} GeV",
                expected=f"at most {sampler.capacity(float(gev))}",
            )
        level = shower[:, 2]
        if np.any((level < 0) | (level >= layers) | (level != np.floor(level))):
            raise ModelError(
                "the exported model returns layers that there are not",
                found=f"{level.min()} to {level.max()}",
                expected=f"whole numbers 0 to {layers - 1}",
            )


def _spots_off(a: NDArray[np.float32], b: NDArray[np.float32], tolerance: Tolerance) -> int:
    """Number of spots or cells of a shower that differ."""
    limit = tolerance.energy_relative * np.abs(_energies(b)) + tolerance.energy_gev
    wrong = np.abs(_energies(a) - _energies(b)) > limit
    if a.shape[1] > 1:
        wrong |= (np.abs(a[:, :2] - b[:, :2]).max(1, initial=0.0) > tolerance.position_mm) | (a[:, 2] != b[:, 2])
    return int(wrong.sum())


def compare_with_torch(
    sampler: Sampler,
    proto: onnx.ModelProto,
    domain: Domain,
    layers: int,
    tolerance: Tolerance | None = None,
    *,
    batches: Sequence[int] = (1, 7, 64),
    same_as_torch: bool = True,
) -> Agreement:
    """Run both on the same noise, and onnxruntime on rows alone and in batches, filled up as the runtime does.

    Parameters
    ----------
    layers
        Layers of the calorimeter.
    same_as_torch
        False: only that the showers are valid, and the same alone and in a batch.

    Raises
    ------
    ModelError
        They differ by more than the tolerance; counts and spots do not fit each other or exceed the capacity; a shower
        depends on the number of threads or on its batch, although the sampler promises identical bits.
    """
    tolerance = tolerance or Tolerance()
    data = proto.SerializeToString()
    session, threaded = onnx_session(data), onnx_session(data, threads=2)
    names = _output_names(sampler)
    other = off = showers = total = changed = alone = 0
    for seed, batch in enumerate(batches):
        inputs = example_inputs(sampler, domain, batch, 1000 + seed)
        arrays = _as_runtime(sampler, domain, inputs, slice(None))
        found = _showers(sampler, session.run(names, arrays), batch)
        _check_showers(sampler, found, inputs["energy"], layers)
        if same_as_torch:
            with one_thread(), torch.no_grad():
                result = sampler(*inputs.values())
            tensors = [result] if isinstance(result, Tensor) else list(result)
            for a, b in zip(found, _showers(sampler, [t.numpy() for t in tensors], batch), strict=True):
                showers += 1
                if len(a) != len(b):
                    other += 1
                    continue
                off += _spots_off(a, b, tolerance)
                total += len(a)
        again = _showers(sampler, threaded.run(names, arrays), batch)
        if sampler.bit_identical and not all(np.array_equal(a, b) for a, b in zip(found, again, strict=True)):
            raise ModelError("the exported model's showers depend on the number of threads")
        for row in sorted({0, batch // 2, batch - 1}):
            arrays = _as_runtime(sampler, domain, inputs, slice(row, row + 1))
            single = _showers(sampler, session.run(names, arrays), 1)[0]
            alone += 1
            if not np.array_equal(single, found[row]):
                changed += 1
                if sampler.bit_identical:
                    raise ModelError(
                        "a shower of the exported model depends on the other showers of its batch",
                        found=f"row {row} of {batch} differs from the same shower alone",
                        expected="identical bits",
                        remedy="Use only operators whose result does not depend on the place in the tensor.",
                    )
    agreement = Agreement(other / max(showers, 1), off / max(total, 1), changed, alone, showers, total)
    if (
        agreement.showers_with_other_count > tolerance.showers_with_other_count
        or agreement.spots_off > tolerance.spots_off
    ):
        raise ModelError(
            "PyTorch and onnxruntime differ on the same noise",
            found=f"{agreement.showers_with_other_count:.2%} of showers with another count, "
            f"{agreement.spots_off:.3%} of spots or cells off",
            expected=f"at most {tolerance.showers_with_other_count:.2%} and {tolerance.spots_off:.3%} "
            f"(beyond {tolerance.position_mm} mm or {tolerance.energy_relative:g} of the energy)",
            remedy="Look for operators in which the two differ.",
        )
    return agreement


def _agreement_figures(agreement: Agreement, tolerance: Tolerance, sampler: Sampler) -> tuple[Figure, ...]:
    grid = isinstance(sampler.output, GridOutput)
    what = "cells" if grid else "spots"
    beyond = "" if grid else f"{tolerance.position_mm} mm or "
    figures = []
    if not grid:
        figures.append(
            Figure(
                name="showers whose number of spots differs between PyTorch and onnxruntime",
                value=agreement.showers_with_other_count,
                conditions=f"same noise, {agreement.showers} showers over the whole domain; "
                f"limit {tolerance.showers_with_other_count:g}",
            )
        )
    figures.append(
        Figure(
            name=f"{what} that differ between PyTorch and onnxruntime",
            value=agreement.spots_off,
            conditions=f"same noise, {agreement.spots} {what}, beyond {beyond}{tolerance.energy_relative:g} of the "
            f"energy; limit {tolerance.spots_off:g}",
        )
    )
    if not sampler.bit_identical:
        figures.append(
            Figure(
                name="showers whose bits differ alone and in a batch",
                value=agreement.bits_off / agreement.showers_alone,
                conditions=f"{agreement.showers_alone} showers, CPU provider; bit identity is not promised",
            )
        )
    return tuple(figures)


# -------------------------------------------------------------------------------------------------------------- export


def _precision_figures(
    sampler: Sampler, domain: Domain, full: onnx.ModelProto, small: onnx.ModelProto, precision: Precision
) -> tuple[Figure, ...]:
    """What storing the weights in less than float32 costs, on the same noise."""
    arrays = _as_runtime(sampler, domain, example_inputs(sampler, domain, 64, 2000), slice(None))
    sums = []
    for proto in (full, small):
        outputs = onnx_session(proto.SerializeToString()).run(_output_names(sampler), arrays)
        energies = [_energies(s) for s in _showers(sampler, outputs, 64)]
        sums.append(np.array([(e.sum(dtype=float), float((e > 1e-4).sum())) for e in energies]))
    change = np.abs(sums[1] / sums[0].clip(1e-12) - 1.0).mean(0)
    conditions = f"weights stored as {precision}, against float32 on the same noise, 64 showers over the whole domain"
    numbers = {
        "mean relative change of a shower's visible energy": change[0],
        "relative change of the mean visible energy": sums[1][:, 0].sum() / max(sums[0][:, 0].sum(), 1e-12) - 1.0,
        "mean relative change of a shower's spots or cells above 0.1 MeV": change[1],
    }
    return tuple(Figure(name=n, value=float(v), conditions=conditions) for n, v in numbers.items())


def _selection_figures(checkpoint: Checkpoint) -> tuple[Figure, ...]:
    """The figure the weights were chosen by."""
    value = checkpoint.results.get("fidelity")
    if not isinstance(value, float) or not np.isfinite(value):
        return ()
    return (
        Figure(
            name="W1 × 100, mean of the observables on the validation split",
            value=value,
            conditions=f"chosen among the checks of the training, {checkpoint.config.training.validation_showers} "
            "showers at most",
        ),
    )


def _provenance(checkpoint: Checkpoint, created: str) -> Provenance:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "lightning-fabric", "zuko")
    software = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            software[package] = importlib.metadata.version(package)
    results = {k: v for k, v in checkpoint.results.items() if not isinstance(v, float) or np.isfinite(v)}
    return Provenance(
        dataset=checkpoint.dataset,
        software=software,
        training={"config": checkpoint.config.model_dump(mode="json"), **results},
        created=created,
    )


def export_model(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: str = "1.0.0",
    license: str = "Apache-2.0",
    precision: Precision = "fp32",
    figures: Sequence[Figure] = (),
    tolerance: Tolerance | None = None,
    created: str | None = None,
) -> ModelCard:
    """Export a checkpoint to one ONNX file with its card, after checking it against PyTorch.

    Parameters
    ----------
    checkpoint
        Checkpoint, or the folder of a run (then its best one).
    out
        ONNX file to write, atomically.
    name, version, license
        For the card; the name is by default that of the file.
    precision
        How weights are stored: "fp32", "fp16", or "int8" per channel. The network computes in float32 in any case.
    figures
        Further figures for the card.
    created
        Time for the card (ISO 8601, UTC); now by default.

    Raises
    ------
    ModelError
        The checkpoint cannot be used, or the exported model is not the same as in PyTorch.
    OutputError
        The file cannot be written; nothing is left under its name.
    """
    source = Path(checkpoint)
    loaded = load_checkpoint(source / "best.ckpt" if source.is_dir() else source)
    system = load_system(loaded)
    sampler, domain, stack = system.sampler().eval(), system.domain, system.stack
    tolerance = tolerance or Tolerance()
    proto = to_onnx(sampler, domain)
    agreement = compare_with_torch(sampler, proto, domain, stack.layers, tolerance)
    measured = (*_agreement_figures(agreement, tolerance, sampler), *_selection_figures(loaded))
    if precision != "fp32":
        small = store_weights(proto, precision)
        compare_with_torch(sampler, small, domain, stack.layers, tolerance, same_as_torch=False)
        measured += _precision_figures(sampler, domain, proto, small, precision)
        proto = small
    card = ModelCard(
        schema_version=1,
        name=name or Path(out).stem,
        version=version,
        description=system.describe(),
        license=license,
        system=loaded.config.system,
        domain=domain,
        calorimeter=stack.calorimeter(),
        inputs=sampler.inputs,
        noise=sampler.noise,
        output=sampler.output,
        provenance=_provenance(
            loaded, created or datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        ),
        figures=(*figures, *measured),
        weights_sha256="0" * 64,
        graph_sha256="0" * 64,
    )
    embed_card(proto, card)
    save_model(proto, out)
    return read_card(out)

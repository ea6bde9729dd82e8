# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The table of all models, docs/zoo.md, made from one record per model in docs/zoo/.

A record holds everything the table says of a model: figures beside Geant4's, times, how it was trained, what the export
found, one shower of it in the detector. So the table can be made again when the model file, or the data of another
calorimeter, is not at hand; each record has its date.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import onnx
from pydantic import BaseModel, ConfigDict, ValidationError

from ddcalogen import __version__
from ddcalogen.card import ModelCard, read_card
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.files import make_folder, replace_when_complete
from ddcalogen.models import packaged_models, shipped_models
from ddcalogen.training.command import training_command
from ddcalogen.training.data import ShowerFile
from ddcalogen.training.system import find_system
from ddcalogen.validation.metrics import Value
from ddcalogen.validation.one_shower import PlacedShower, place_one
from ddcalogen.validation.published import MEASURED_TIMES, PUBLISHED, PUBLISHED_OF_SYSTEM, PUBLISHED_TIMES
from ddcalogen.validation.run import Result, headline

__all__ = ["Record", "fitting_models", "read_records", "record_of", "write_record", "write_zoo"]

_CHECKS = {
    "showers whose number of spots differs between PyTorch and onnxruntime": "counts",
    "spots that differ between PyTorch and onnxruntime": "spots",
    "cells that differ between PyTorch and onnxruntime": "cells",
    "showers whose bits differ alone and in a batch": "bits",
}
"""Figures of the export on the card, and what the table calls them."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ZooFigure(_Strict):
    """A figure of the model, and of Geant4 under the same conditions; errors are None where they are not known."""

    name: str
    model: float
    model_error: float | None
    geant4: float
    geant4_error: float | None


class Record(_Strict):
    """What the table says of a model. Energies in GeV, angles in degrees, times in ms of CPU time of one thread."""

    name: str
    version: str
    hash: str
    system: str
    title: str
    description: str
    calorimeter: str
    pdg: tuple[int, ...]
    file_mb: float
    weights: int
    packaged: bool
    date: str
    program: str
    conditions: str
    settings: dict[str, int | bool]
    data: dict[str, str]
    figures: tuple[ZooFigure, ...]
    milliseconds: dict[int, float]
    training_showers: int
    training_command: str | None
    seed: int | None
    checks: dict[str, float]
    placed: PlacedShower


def _behind_ecal(path: str | os.PathLike[str]) -> bool:
    """Whether the particles of a file come to its HCAL through an ECAL."""
    with contextlib.suppress(OSError), h5py.File(path) as file:
        return "ecal" in file
    return False


def fitting_models(files: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Models on the search path that are made for a particle of the files, and for the calorimeter these have.

    Raises
    ------
    InputError
        A file cannot be read, or no model fits.
    """
    fitting = []
    for path in shipped_models().values():
        card = read_card(path)
        calorimeter = card.calorimeter.name.lower()
        if calorimeter == "hcal" and any(_behind_ecal(f) for f in files):
            continue
        try:
            particles = {int(p) for f in files for p in ShowerFile(f, calorimeter).pdg}
        except InputError:
            continue
        if particles & set(card.domain.pdg):
            fitting.append(path)
    if not fitting:
        raise InputError(
            "no shipped model fits the data",
            found=", ".join(map(str, files)),
            expected="showers of a particle and calorimeter of: " + (", ".join(shipped_models()) or "no models found"),
        )
    return fitting


def _title(card: ModelCard) -> str:
    try:
        return find_system(card.system).title
    except ConfigurationError:  # made by others
        return card.system


def _seed(card: ModelCard) -> int | None:
    config = card.provenance.training.get("config")
    training = config.get("training") if isinstance(config, dict) else None
    seed = training.get("seed") if isinstance(training, dict) else None
    return seed if isinstance(seed, int) else None


def record_of(result: Result, folder: Path) -> Record:
    """Return the record of a validated model; one shower of it is placed and written to ``folder/shower.edm4hep.root``.

    Raises
    ------
    InferenceError, OutputError
        The shower cannot be made or written.
    """
    generator = result.generator
    card = generator.card

    def finite(value: float) -> float | None:
        return value if value == value and abs(value) != float("inf") else None

    weights = sum(
        int(onnx.numpy_helper.to_array(t).size) for t in onnx.load(os.fspath(generator.path)).graph.initializer
    )
    return Record(
        name=card.name,
        version=card.version,
        hash=generator.hash[:12],
        system=card.system,
        title=_title(card),
        description=card.description,
        calorimeter=card.calorimeter.name,
        pdg=card.domain.pdg,
        file_mb=generator.path.stat().st_size / 1e6,
        weights=weights,
        packaged=card.name in packaged_models(),
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        program=f"ddcalogen {__version__}",
        conditions=result.conditions,
        settings={
            "showers": result.settings.showers,
            "seed": result.settings.seed,
            "folds": result.settings.folds,
            "low_level": result.settings.low_level,
            "in_grid": result.settings.in_grid,
        },
        data=result.files,
        figures=tuple(
            ZooFigure(
                name=name,
                model=mine.value,
                model_error=finite(mine.error),
                geant4=geant4.value,
                geant4_error=finite(geant4.error),
            )
            for name, mine, geant4 in headline(result)
            if finite(mine.value) is not None and finite(geant4.value) is not None
        ),
        milliseconds=result.milliseconds,
        training_showers=card.provenance.dataset.training_showers if card.provenance.dataset else 0,
        training_command=training_command(card),
        seed=_seed(card),
        checks={short: f.value for f in card.figures for name, short in _CHECKS.items() if f.name == name},
        placed=place_one(generator, folder / "shower.edm4hep.root"),
    )


def write_record(record: Record, folder: Path) -> Path:
    """Write a record as ``folder/NAME.json``, in place of an older one of the model.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    make_folder(folder)
    path = folder / f"{record.name}.json"
    with replace_when_complete(path) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def read_records(folder: Path) -> list[Record]:
    """Return all records of a folder: packaged models first, then by name.

    Raises
    ------
    InputError
        A record cannot be read.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(Record.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise InputError(
                "a record of the table of models cannot be read",
                found=f"{path}: {error}",
                remedy="Remove it and validate its model again.",
            ) from error
    return sorted(records, key=lambda r: (not r.packaged, r.name))


# --------------------------------------------------------------------------------------------------------------- table


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += [
        "| " + " | ".join(cell.replace("|Δ", "\\|Δ").replace("n|", "n\\|") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def _value(value: float, error: float | None) -> str:
    return str(Value(value, float("nan") if error is None else error))


def _figures(records: Sequence[Record]) -> str:
    """Table of models that were measured under the same conditions."""
    names = list(dict.fromkeys(f.name for r in records for f in r.figures))
    rows = []
    for name in names:
        found = [next((f for f in r.figures if f.name == name), None) for r in records]
        anchor = next(f for f in found if f is not None)
        cells = []
        for record, figure in zip(records, found, strict=True):
            published = PUBLISHED_OF_SYSTEM.get((record.calorimeter, record.system), {}).get(name)
            cells.append(
                ("" if figure is None else _value(figure.model, figure.model_error))
                + (f"<br>published {published}" if published else "")
            )
        rows.append([name, _value(anchor.geant4, anchor.geant4_error), *cells])
    return _markdown(["figure", "Geant4", *(r.name for r in records)], rows)


def _made(records: Sequence[Record]) -> str:
    rows = []
    for r in records:
        rows.append(
            [
                f"**{r.name}** {r.version}" + ("" if r.packaged else " (not shipped)"),
                r.title,
                f"{r.weights:,}",
                f"{r.file_mb:.1f}",
                f"{r.training_showers:,}" if r.training_showers else "none",
                "" if r.seed is None else str(r.seed),
                f"`{r.training_command}`" if r.training_command else "",
            ]
        )
    return _markdown(["model", "system", "weights", "MB", "showers of the training split", "seed", "command"], rows)


def _proved(records: Sequence[Record]) -> str:
    rows = []
    for r in records:
        off = r.checks.get("spots", r.checks.get("cells"))
        bits = r.checks.get("bits")
        p = r.placed
        rows.append(
            [
                r.name,
                "" if off is None else f"{off:.1e} of {'spots' if 'spots' in r.checks else 'cells'} off",
                "same" if bits is None else f"{bits:.0%} of showers differ in last bits",
                f"{p.particle}, {p.energy_gev:g} GeV",
                f"{p.cells}",
                f"{p.generated_gev:.4f} = {p.placed_gev:.4f} + {p.dead_gev:.4f} + {p.outside_gev:.4f}",
            ]
        )
    head = [
        "model",
        "PyTorch against onnxruntime",
        "alone against in a batch",
        "particle into the barrel",
        "cells",
        "visible GeV: generated = in cells + dead + outside",
    ]
    return _markdown(head, rows)


def _times(records: Sequence[Record]) -> str:
    batches = sorted({b for r in records for b in r.milliseconds})
    rows = [[r.name, *(f"{r.milliseconds[b]:.2f}" if b in r.milliseconds else "" for b in batches)] for r in records]
    text = _markdown(["model", *(f"batch {b}" for b in batches)], rows)
    others = _markdown(["system", "machine", "ms per shower", "source"], [*MEASURED_TIMES, *PUBLISHED_TIMES])
    return f"{text}\n\n{others}"


def _command(record: Record) -> str:
    """The command that measured a record, and those of its group."""
    s = record.settings
    which = "--model NAME.onnx --zoo docs/zoo.md" if s.get("in_grid") else "--all"
    words = [f"ddcalogen validate {which}", *(f"--data {name}" for name in record.data), "--no-placed"]
    words += [f"--{key} {s[key]}" for key in ("showers", "seed", "folds")]
    words += ([] if s["low_level"] else ["--no-low-level"]) + (["--in-grid"] if s.get("in_grid") else [])
    return " ".join(words)


def _group(record: Record) -> tuple[str, str]:
    return record.calorimeter, record.conditions


def write_zoo(records: Sequence[Record], path: Path) -> None:
    """Write the table of models beside Geant4 and the published figures.

    Raises
    ------
    InputError
        There are no records.
    OutputError
        The file cannot be written.
    """
    if not records:
        raise InputError("no records to make the table of models from", remedy="Validate a model with --all.")
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: (not r.packaged, r.calorimeter)):
        groups.setdefault(_group(record), []).append(record)
    parts = []
    for (calorimeter, conditions), members in groups.items():
        members = sorted(members, key=lambda r: (not r.packaged, r.name))
        parts.append(
            f"### {calorimeter}: {conditions}\n\n`{_command(members[0])}`, "
            f"{' and '.join(sorted({r.date for r in members}))}.\n\n{_figures(members)}"
        )
    everything = list(records)
    text = f"""# Models and how good they are

Written by `ddcalogen validate --all` from the records in [zoo/](zoo); do not edit. Models that are not shipped are
found through `DDCALOGEN_MODEL_PATH`. What the systems are: [training](training.md).

## How good

Distances (AUC, W1, correlations, FPD) compare with Geant4 showers of the test split, that no model was fitted to; the
column Geant4 is what a second Geant4 sample of the same size gets. Means and peaks are compared with Geant4's own.
Methods: [validation](validation.md). Published figures are those of the same kind of system, with other Geant4 samples,
sizes and cells: for orientation only.

{(chr(10) * 2).join(parts)}

## How they were made

{_made(everything)}

Then `ddcalogen export runs/NAME -o NAME.onnx`.

## Export, and one shower in ILD

PyTorch and onnxruntime on the same noise: share of spots or cells that differ by more than rounding. One shower each,
at normal incidence on the barrel, placed in the cells of ILD_l5_o1_v02 and written to EDM4hep.

{_proved(everything)}

## Time

CPU milliseconds per shower over the energies of the tables above, noise and network, one thread of one x86-64 machine
without accelerator. A call is filled up to 16 showers, so that batch 1 costs most models as much as 16 showers.

{_times(everything)}

## Published figures

{_markdown(["model", "figure", "value", "source"], PUBLISHED)}
"""
    with replace_when_complete(path) as partial:
        partial.write_text(text, encoding="utf-8")

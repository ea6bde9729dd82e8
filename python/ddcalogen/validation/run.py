# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""One validation from files to report."""

from __future__ import annotations

import dataclasses
import datetime
import html
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ddcalogen import __version__
from ddcalogen.card import Figure as CardFigure
from ddcalogen.card import GridOutput, write_card
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError
from ddcalogen.files import make_folder
from ddcalogen.training.data import Showers, file_sha256
from ddcalogen.training.stacks import find_stack
from ddcalogen.validation import plots, report
from ddcalogen.validation.hadrons import LEAK_FRACTION, calibration_text, hadron_figures, hadron_pictures
from ddcalogen.validation.metrics import Value
from ddcalogen.validation.observables import readout_of
from ddcalogen.validation.published import PUBLISHED, PUBLISHED_TIMES
from ddcalogen.validation.samples import (
    Sample,
    cpu_milliseconds,
    distort,
    geant4_samples,
    generate,
    make_sample,
    through_grid,
)
from ddcalogen.validation.study import (
    CONTROL_NAMES,
    CONTROLS,
    Bin,
    Figure,
    classifier_figures,
    compare,
    response_bins,
)

__all__ = ["Result", "Settings", "card_figures", "headline", "update_card", "validate", "write_report"]

_ON_CARD = (
    ("classifier 25 features (CaloClouds II)", "AUC"),
    ("classifier 10 features (ConvL2LFlows)", "AUC"),
    ("classifier 25 features and those of hadrons", "AUC"),
    ("classifier cells (3-D convolutions)", "AUC"),
    ("W1 × 100", "occupancy"),
    ("W1 × 100", "sampling fraction"),
    ("W1 × 100", "hits"),
    ("W1 × 100", "E long"),
    ("W1 × 100", "E rad"),
    ("W1 × 100", "hits, ECAL"),
    ("W1 × 100", "hits, HCAL"),
    ("W1 × 100", "E rad, ECAL"),
    ("W1 × 100", "E rad, HCAL"),
    ("correlations", "mean |Δ correlation|"),
    ("cell spectrum", "MIP peak position"),
    ("cell spectrum", "MIP peak position, ECAL"),
    ("cell spectrum", "MIP peak position, HCAL"),
    ("physics distances", "FPD"),
    ("means", "mean visible / incident energy"),
    ("means", "mean calibrated / incident energy"),
    ("means", "mean cells above threshold"),
    ("means", "mean first layer of the shower"),
    ("means", "mean energy fraction in the ECAL"),
)


class Progress(Protocol):
    """What the work tells about itself."""

    def __call__(self, step: str, done: int = 1) -> None: ...


def _silent(step: str, done: int = 1) -> None:
    del step, done


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to validate.

    showers: at most, per sample. folds: of the cross-validation. low_level: also train the classifier on cells.
    in_grid: bring Geant4 showers onto the model's grid first.
    """

    showers: int = 2000
    seed: int = 1
    subsets: int = 5
    folds: int = 10
    low_level: bool = True
    in_grid: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything that was measured."""

    generator: Generator
    settings: Settings
    files: dict[str, str]
    showers: int
    milliseconds: dict[int, float]
    """CPU time per shower by batch size."""
    reference: Sample
    samples: dict[str, Sample]
    figures: list[Figure]
    by_energy: list[Bin]
    by_angle: list[Bin]

    @property
    def conditions(self) -> str:
        """Particles and data in one line."""
        energy, theta = self.reference.observables.energy_gev, self.reference.observables.theta_deg
        pdg = ", ".join(str(p) for p in np.unique(self.reference.showers.pdg))
        grid = ""
        if self.settings.in_grid and isinstance(output := self.generator.card.output, GridOutput):
            layers, nx, ny = output.shape
            grid = f", on the model's grid of {layers} layers of {nx} × {ny} cells"
        return (
            f"PDG {pdg}, {energy.min():.3g} to {energy.max():.3g} GeV, {theta.min():.0f} to {theta.max():.0f} deg to "
            f"the normal, {self.showers} showers per sample of {', '.join(self.files)}{grid}"
        )


def validate(
    generator: Generator,
    files: Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    progress: Progress = _silent,
) -> Result:
    """Compare a model with Geant4 in the shower frame.

    Parameters
    ----------
    generator
        The model.
    files
        Geant4 showers of the calorimeter the model is made for, slab or showerdata layout.
    progress
        Told what is being done, and how many of its parts are done.

    Raises
    ------
    ConfigurationError
        A package is missing, or showers of the model's calorimeter cannot be measured.
    InputError, InferenceError
        The files, or the model's showers, cannot be used.
    """
    settings = settings or Settings()
    plots.check_plotting()
    card = generator.card
    readout = readout_of(card.calorimeter)
    calorimeter = card.calorimeter.name.lower()
    rng = np.random.default_rng(settings.seed)

    def read(n: int) -> None:
        progress("reading Geant4 showers", n)

    def made(n: int) -> None:
        progress("generating showers", n)

    truth, others = geant4_samples(files, card, calorimeter=calorimeter, most=settings.showers, rng=rng, advance=read)
    showers, _ = generate(generator, others, rng=rng, advance=made)
    if settings.in_grid:
        if not isinstance(card.output, GridOutput):
            raise ConfigurationError(
                "the model does not make grids", found=card.name, remedy="Compare whole showers, without --in-grid."
            )
        stack = find_stack(card.calorimeter.name)
        truth, others = (through_grid(s, card.output, stack, readout.depth_mm, rng) for s in (truth, others))

    def sample(name: str, content: Showers, weights: NDArray[np.float64] | None) -> Sample:
        progress("measuring observables")
        return make_sample(name, content, readout, rotation_rad=truth.grid_rotation_rad, rng=rng, weights=weights)

    reference = sample("reference", truth, None)
    weights = reference.observables.weights
    samples = {"model": sample("model", showers, weights), "geant4": sample("geant4", others, weights)}
    for name, error in CONTROLS.items():
        samples[name] = sample(name, distort(others, readout.depth_mm, **error), weights)
    figures = compare(samples, reference, subsets=settings.subsets, seed=settings.seed, advance=progress)
    if readout.hadronic:
        progress("hadron figures")
        figures += hadron_figures(samples, reference, seed=settings.seed)
    figures += classifier_figures(
        samples, reference, seed=settings.seed, folds=settings.folds, low_level=settings.low_level,
        advance=progress,
    )  # fmt: skip
    everything = {**samples, "reference": reference}
    return Result(
        generator,
        settings,
        {Path(f).name: file_sha256(f) for f in files},
        len(reference),
        cpu_milliseconds(generator.path, generator, others),
        reference,
        samples,
        figures,
        response_bins(everything, "energy"),
        response_bins(everything, "angle"),
    )


def card_figures(result: Result) -> tuple[CardFigure, ...]:
    """The figures that go onto the model's card."""
    found = {(f.group, f.name): f for f in result.figures}
    entries = []
    for key in _ON_CARD:
        if key not in found:
            continue
        f = found[key]
        mine, anchor = f.values["model"], f.values["geant4" if f.kind == "distance" else "reference"]
        if not np.isfinite(mine.value):
            continue
        name = f"{f.group}: {f.name}" if f.kind == "distance" else f.name
        entries.append(
            CardFigure(
                name=name + (f" ({f.unit})" if f.unit else ""),
                value=mine.value,
                uncertainty=mine.error if np.isfinite(mine.error) else None,
                reference=f"Geant4: {anchor}",
                conditions=f"{result.conditions}; ddcalogen {__version__} validate, seed {result.settings.seed}",
            )
        )
    return tuple(entries)


def update_card(path: Path, result: Result) -> None:
    """Write the figures into the card of a model file, in place of those that validation wrote before.

    Raises
    ------
    CardError, ModelError, OutputError
    """
    new = card_figures(result)
    names = {f.name for f in new}
    kept = tuple(f for f in result.generator.card.figures if f.name not in names)
    write_card(path, result.generator.card.model_copy(update={"figures": kept + new}))


def _summary(result: Result) -> dict[str, Any]:
    generator = result.generator
    return {
        "model": {**generator.describe(), "file": generator.path.name},
        "ddcalogen": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": platform.machine(),
        "settings": result.settings,
        "data": result.files,
        "conditions": result.conditions,
        "showers_per_sample": result.showers,
        "cpu_milliseconds_per_shower": result.milliseconds,
        "figures": [f.as_json() for f in result.figures],
        "response_by_energy": result.by_energy,
        "response_by_angle": result.by_angle,
    }


def _classifier_controls(result: Result) -> tuple[str, list[list[Any]]]:
    rows: list[list[Any]] = []
    for f in result.figures:
        if f.name != "AUC":
            continue
        same = f.values["geant4"]
        row: list[Any] = [f.group.removeprefix("classifier ")]
        row.append((str(same), "good" if abs(same.value - 0.5) < 3 * same.error else "bad"))
        for name in CONTROLS:
            v = f.values[name]
            seen = v.value > max(0.5, same.value) + 3 * v.error
            row.append((f"{v} ({'found' if seen else 'not found'})", "good" if seen else "fair"))
        row.append((str(f.values["model"]), ""))
        rows.append(row)
    means = [f for f in result.figures if f.group == "means" and f.name.endswith("incident energy")]
    for f in (*means, *(f for f in result.figures if f.name.startswith("MIP peak position"))):
        row = [f.name + (f" ({f.unit})" if f.unit else ""), (str(f.values["geant4"]), "")]
        for name in CONTROLS:
            seen = abs(f.pull(name)) > 3 and abs(f.pull("geant4")) < 3
            row.append((f"{f.values[name]} ({'found' if seen else 'not found'})", "good" if seen else "fair"))
        rows.append([*row, (str(f.values["model"]), "")])
    text = (
        "Can the classifiers learn, and do they stay calm where there is nothing to learn? Geant4 against Geant4 must "
        "give "
        "0.50 within its error. The same Geant4 showers with a known error must be told apart; where an error is not "
        "found, the classifier, or the size of the sample, is too weak for it, and its verdict on the model is a lower "
        "limit. Below: what simple means see of the same errors, found where they lie more than 3 standard deviations "
        "from the reference."
    )
    return text, rows


def write_report(
    result: Result, folder: Path, extra: Sequence[report.Section] = (), extra_numbers: dict[str, Any] | None = None
) -> Path:
    """Write `validation.json`, `report.html` and the plots (PNG) into a folder; return the path of the HTML file.

    Parameters
    ----------
    extra, extra_numbers
        Further sections and numbers, for example of the comparison after placement.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    make_folder(folder / "plots")
    sections: dict[str, report.Section] = {}

    def add(picture: plots.Picture) -> None:
        section = sections.setdefault(picture.section, report.Section(picture.section))
        section.pictures.append((plots.save(picture, folder / "plots"), picture.caption))

    card = result.generator.card
    for picture in plots.plot_samples(result.reference, result.samples["model"], "model"):
        add(picture)
    combined = result.reference.observables.readout.combined
    lines = [
        ("reference", "Geant4", plots.GEANT4),
        ("geant4", "Geant4 again", plots.AGAIN),
        ("model", "model", plots.MODEL),
        ("energy_5_percent", "Geant4 + 5 %", plots.SHIFTED),
    ]
    for along, bins in (("energy", result.by_energy), ("angle", result.by_angle)):
        if len(bins) > 1:
            add(plots.plot_response(bins, along, lines, section="Linearity and resolution", calibrated=combined))
    columns = [("model", "model"), ("geant4", "Geant4 again"), *CONTROL_NAMES.items()]
    if result.reference.observables.readout.hadronic:
        section = sections.setdefault("Hadron showers", report.Section("Hadron showers"))
        section.text = (
            "A shower starts in the first of two layers in a row with more than five minimum-ionising particles; the "
            "number of layers until then follows from the exponential fall of the start layers. Showers with over "
            f"{100 * LEAK_FRACTION:.0f} % of their energy in the last layers count as leaking. "
            + calibration_text(result.reference)
        )
        section.tables.append(report.figures_table([f for f in result.figures if f.group == "hadrons"], columns))
        for picture in hadron_pictures(result.reference, result.samples["model"], "model"):
            add(picture)
    quantities = [f for f in result.figures if f.kind == "quantity" and f.group != "hadrons"]
    key_groups = ("classifier", "W1", "correlations", "physics distances")
    key = [f for f in result.figures if f.kind == "distance" and f.group.startswith(key_groups)]
    key = [dataclasses.replace(f, name=f"{f.group.removeprefix('classifier ')}: {f.name}") for f in key]
    rest = [f for f in result.figures if f.kind == "distance" and not f.group.startswith(key_groups)]
    rest = [dataclasses.replace(f, name=f"{f.group}: {f.name}") for f in rest]
    text, rows = _classifier_controls(result)
    head = [
        report.Section(
            "Figures of merit",
            f"Distances between distributions, zero (AUC and accuracy: 0.5) for equal samples of endless size. A "
            f"perfect "
            f"model would get the column <em>Geant4 again</em>. ✓: within 2 standard deviations of that, ≈: "
            f"within 5, ✗: beyond. Bold: a known error is found by more than 3. W1 after CaloClouds II (2309.05704), "
            "with "
            f"{result.settings.subsets} subsets of {result.showers // result.settings.subsets} showers instead of 10 "
            f"of "
            "50,000; FPD and KPD after 2211.10295 with as many showers as there are; so compare with published values "
            "only through the Geant4 column.",
            [report.figures_table(key, columns)],
        ),
        report.Section("Controls", text, [report.table(
            ["AUC of the classifiers, means", "Geant4 again", *CONTROL_NAMES.values(), "model"], rows)]),
        report.Section(
            "Means and peaks",
            "Coordinates are relative to the shower axis, along and across its inclination. Cells are those of the "
            "detector, above half a minimum-ionising particle, at a random place relative to the shower.",
            [report.figures_table(quantities, columns)],
        ),
        report.Section("Distances per observable", "", [report.figures_table(rest, columns)]),
    ]  # fmt: skip
    tail = [
        report.Section(
            "Time",
            f"This model here ({html.escape(platform.machine())}), CPU time of noise and network, one thread: "
            + ", ".join(f"{ms:.2f} ms per shower at batch {b}" for b, ms in result.milliseconds.items())
            + ". Published, in ms per photon shower:",
            [report.table(["system", "machine", "ms", "source"], PUBLISHED_TIMES)],
        ),
        report.Section(
            "Published figures",
            "Other models of ILD's calorimeters, with other samples, sizes and cells.",
            [report.table(["model", "figure", "value", "source"], PUBLISHED)],
        ),
        report.Section(
            "How this was made",
            f"<code>ddcalogen validate --model {html.escape(result.generator.path.name)} "
            + " ".join(f"--data {html.escape(name)}" for name in result.files)
            + f" --showers {result.settings.showers} --seed {result.settings.seed}</code>",
            [report.table(["file", "sha256"], result.files.items())],
        ),
    ]
    lead = (
        f"{html.escape(card.name)} {html.escape(card.version)} against Geant4. {html.escape(result.conditions)}. The "
        "reference is the test split, which no model was fitted to; the model gets the incident particles of an "
        "independent Geant4 sample of the same size."
    )
    path = folder / "report.html"
    report.write_html(f"Validation of {card.name}", lead, [*head, *sections.values(), *extra, *tail], path)
    report.write_json({**_summary(result), **(extra_numbers or {})}, folder / "validation.json")
    return path


def headline(result: Result) -> list[tuple[str, Value, Value]]:
    """The figures of the card: name, model, and Geant4."""
    found = {(f.group, f.name): f for f in result.figures}
    rows = []
    for key in _ON_CARD:
        if key in found:
            f = found[key]
            anchor = f.values["geant4" if f.kind == "distance" else "reference"]
            rows.append((f"{f.group}: {f.name}", f.values["model"], anchor))
    return rows

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen validate`."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ddcalogen.cli.console import console, progress_bar
from ddcalogen.cli.simulate import DEFAULT_DETECTOR
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.models import DEFAULT_MODEL, find_model

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("validate")(validate)


def validate(
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help=f"ONNX file or name of a shipped model. [default: {DEFAULT_MODEL}]"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Geant4 showers, slab or showerdata file; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.")] = Path("report"),
    against: Annotated[
        str | None,
        typer.Option(help="Another model: tell for every figure which of the two is closer to Geant4, and how surely."),
    ] = None,
    full_simulation: Annotated[
        Path | None,
        typer.Option(
            help="Full simulation of single particles from the origin (HDF5), to compare with in the real detector."
        ),
    ] = None,
    reco_full: Annotated[
        list[Path] | None,
        typer.Option(
            help="EDM4hep file of full simulation, best with reconstructed particles and clusters; may be repeated.",
            show_default=False,
        ),
    ] = None,
    reco_fast: Annotated[
        list[Path] | None,
        typer.Option(help="The same of fast simulation, to compare with --reco-full.", show_default=False),
    ] = None,
    detector: Annotated[
        str, typer.Option("-d", "--detector", help="Shipped geometry, or a snapshot file.")
    ] = DEFAULT_DETECTOR,
    showers: Annotated[int, typer.Option(min=50, help="Showers per sample, at most.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
    folds: Annotated[int, typer.Option(min=3, help="Folds of the cross-validation.")] = 10,
    low_level: Annotated[bool, typer.Option(help="Train the classifier on cells, too.")] = True,
    placed: Annotated[
        bool, typer.Option(help="Compare in the detector's real cells and after clustering, too.")
    ] = True,
    in_grid: Annotated[
        bool,
        typer.Option(
            "--in-grid",
            help="Bring Geant4 showers onto the model's grid first, as the founding work compares: neither the grid's "
            "cells nor what lies beyond its edges count then.",
        ),
    ] = False,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the main figures into the model's card.")
    ] = False,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Validate every model that fits the data (shipped or on DDCALOGEN_MODEL_PATH); write the zoo table.",
        ),
    ] = False,
    zoo: Annotated[
        Path | None,
        typer.Option(
            help="Table of models to write, with the records of its models in a folder of its name; with --model: add "
            "this one. [default with --all: docs/zoo.md]"
        ),
    ] = None,
) -> None:
    """Compare a model with Geant4: numbers with uncertainties, plots, and a report that opens offline.

    Beside every figure stand its value for Geant4 against Geant4, which a perfect model would get, and for Geant4
    showers with a known error, which tells whether the figure would see one.

    Examples:

      ddcalogen validate --model ild_ecal_em_layered --data photon_ecal_slab.h5 -o report

      ddcalogen validate --all --data photon_ecal_slab.h5 -o reports

      ddcalogen validate --model mine.onnx --against ild_ecal_em_layered --data photon_ecal_slab.h5

      ddcalogen validate --reco-full full_rec.edm4hep.root --reco-fast fast_rec.edm4hep.root -o report
    """
    files, full, fast = data or [], reco_full or [], reco_fast or []
    if bool(full) != bool(fast):
        raise ConfigurationError(
            "reconstructed events need a partner to be compared with",
            found="--reco-full alone" if full else "--reco-fast alone",
            expected="both --reco-full and --reco-fast",
        )
    if not files and not full:
        raise ConfigurationError(
            "no Geant4 showers to compare with",
            found="no --data",
            expected="at least one slab or showerdata file",
            remedy="Name a file with --data.",
        )
    for path in [*files, *full, *fast, *([full_simulation] if full_simulation else [])]:
        if not path.is_file():
            raise InputError("there is no such file", found=str(path), remedy="Check the path.")
    from ddcalogen.geometry import load_snapshot
    from ddcalogen.validation import report
    from ddcalogen.validation.backprojection import compare_back_projection
    from ddcalogen.validation.placed import compare_placed
    from ddcalogen.validation.placed_hadrons import compare_placed_hadrons
    from ddcalogen.validation.reconstructed import compare_reconstructed
    from ddcalogen.validation.run import Settings, headline, update_card, write_report
    from ddcalogen.validation.run import validate as run
    from ddcalogen.validation.zoo import fitting_models, read_records, record_of, write_record, write_zoo

    if every and model is not None:
        raise ConfigurationError("--all and --model exclude each other", remedy="Leave one of them out.")
    if not files:
        _only_reconstructed(full, fast, output, detector, seed)
        return
    if against is not None:
        others = {
            "--all": every,
            "--write-card": write_card,
            "--zoo": zoo is not None,
            "--in-grid": in_grid,
            "--full-simulation": full_simulation is not None,
            "--reco-full": bool(full),
        }
        if any(others.values()):
            raise ConfigurationError(
                "--against compares two models in the shower frame and nothing else",
                found=", ".join(name for name, given in others.items() if given),
                remedy="Leave these options out, or --against.",
            )
        _compare(model or DEFAULT_MODEL, against, files, output, detector, showers=showers, folds=folds, seed=seed)
        return
    if every and zoo is None:
        zoo = Path("docs/zoo.md")
    paths = fitting_models(files) if every else [find_model(model or DEFAULT_MODEL)]
    geometry = load_snapshot(detector)
    settings = Settings(showers=showers, seed=seed, folds=folds, low_level=low_level, in_grid=in_grid)
    for path in paths:
        generator = Generator(path, geometry, seed=seed)
        folder = output / path.stem if every else output
        with progress_bar() as bar:
            task = bar.add_task("starting", total=None)

            def tell(step: str, done: int = 1, task: object = task) -> None:
                bar.update(task, description=step, advance=done)  # type: ignore[arg-type]

            result = run(generator, files, settings, tell)
            sections: list[report.Section] = []
            numbers: dict[str, Any] = {}
            truth = result.reference.showers
            if placed and result.reference.observables.readout.hadronic:
                sections, numbers = compare_placed_hadrons(generator, truth, folder, seed=seed, progress=tell)
            elif placed:
                sections, numbers = compare_placed(
                    generator, truth, folder, full_simulation=full_simulation, seed=seed, progress=tell
                )
                section, numbers["back_projection"] = compare_back_projection(
                    generator, truth, folder, seed=seed, progress=tell
                )
                sections.append(section)
            if full:
                more, found = compare_reconstructed(full, fast, folder, geometry, seed=seed, progress=tell)
                sections, numbers = [*sections, *more], {**numbers, **found}
            tell("drawing")
            page = write_report(result, folder, sections, numbers)
        table = Table("figure", "model", "Geant4", title=f"{generator.card.name} {generator.card.version}")
        table.title_justify = "left"
        for name, mine, geant4 in headline(result):
            table.add_row(name, str(mine), str(geant4))
        console.print(table)
        if write_card:
            update_card(path, result)
            console.print(f"wrote the figures into the card of {path}")
        console.print(f"wrote {page}")
        if zoo is not None:
            record = write_record(record_of(result, folder), zoo.with_suffix(""))
            console.print(f"wrote {record}")
            write_zoo(read_records(zoo.with_suffix("")), zoo)
    if zoo is not None:
        console.print(f"wrote {zoo}")


def _compare(
    first: str, second: str, files: list[Path], output: Path, detector: str, *, showers: int, folds: int, seed: int
) -> None:
    """Two models beside each other."""
    from ddcalogen.geometry import load_snapshot
    from ddcalogen.validation.metrics import Value
    from ddcalogen.validation.versus import compare_models, write_contest

    geometry = load_snapshot(detector)
    mine, other = (Generator(find_model(name), geometry, seed=seed) for name in (first, second))
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        contest = compare_models(
            mine, other, files, showers=showers, folds=folds, seed=seed,
            progress=lambda step: bar.update(task, description=step, advance=1),
        )  # fmt: skip
    table = Table(
        "figure", contest.first, contest.second, "Geant4", "floor", "closer by", "closer",
        title=f"{contest.showers} Geant4 showers, {contest.copies} times as many of each model",
    )  # fmt: skip
    table.title_justify = "left"
    closer = {"first": contest.first, "second": contest.second, "undecided": ""}
    for c in contest.comparisons:
        name = f"{c.group}: {c.name}" + (f" ({c.unit})" if c.unit else "")
        numbers = [str(Value(x, float("nan"))) if x == x else "" for x in (c.first, c.second, c.geant4)]
        floor = "" if math.isnan(c.floor.value) else str(Value(c.floor.value, math.nan))
        table.add_row(name, *numbers, floor, str(c.gain), closer[c.verdict])
    console.print(table)
    table = Table("observable", "figures", "closer by (standard deviations)", "closer", title="By observable")
    table.title_justify = "left"
    for s in contest.summaries:
        sure = s.gain.value / s.gain.error if s.gain.error > 0 else 0.0
        both = "both at the floor" if s.verdict == "undecided" and all(s.at_floor) else closer[s.verdict]
        table.add_row(s.observable, str(s.figures), f"{sure:.1f}", both)
    console.print(table)
    for name, verdict in ((contest.first, "first"), (contest.second, "second")):
        console.print(f"{name} is closer by more than two standard deviations: {contest.count(verdict)}")
    undecided = [c for c in contest.comparisons if c.verdict == "undecided"]
    as_geant4 = sum(all(c.at_floor) for c in undecided)
    console.print(f"not decided: {len(undecided)}, in {as_geant4} of them both are as close as Geant4 itself would be")
    for name, verdict in ((contest.first, "first"), (contest.second, "second")):
        better = sum(s.verdict == verdict for s in contest.summaries)
        console.print(f"observables in which {name} is closer: {better} of {len(contest.summaries)}")
    for line in contest.answers():
        console.print(line)
    console.print(f"wrote {write_contest(contest, output)}")


def _only_reconstructed(full: list[Path], fast: list[Path], folder: Path, detector: str, seed: int) -> None:
    from ddcalogen.geometry import load_snapshot
    from ddcalogen.validation import report
    from ddcalogen.validation.reconstructed import compare_reconstructed

    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        sections, numbers = compare_reconstructed(
            full, fast, folder, load_snapshot(detector), seed=seed,
            progress=lambda step: bar.update(task, description=step, advance=1),
        )  # fmt: skip
    names = [", ".join(path.name for path in files) for files in (full, fast)]
    lead = html.escape(f"Full simulation: {names[0]}. Fast simulation: {names[1]}.")
    page = folder / "report.html"
    report.write_html("Full and fast simulation after reconstruction", lead, sections, page)
    report.write_json(numbers, folder / "validation.json")
    console.print(f"wrote {page}")

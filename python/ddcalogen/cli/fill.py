# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen fill`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ddcalogen.cli.console import console, error_console, progress_bar
from ddcalogen.cli.simulate import choices, generators_from_options, summary_table
from ddcalogen.edm4hep.schema import LayoutName
from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError
from ddcalogen.models import find_model

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("fill")(fill)


def fill(
    record: Annotated[Path, typer.Argument(help="EDM4hep file that ddsim wrote in record mode.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="EDM4hep file to write.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="ONNX file or name of a shipped model; may be repeated. [default: the models named in the file]",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("-d", "--detector", help="Shipped geometry, or a snapshot file. [default: named in the file]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the showers. [default: that of the record, for the same cells as ddsim]"),
    ] = None,
    showers: Annotated[
        Path | None,
        typer.Option(help="Take the showers from this showerdata file, in order, instead of generating them."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Collection that may be lost because it cannot be copied; may be repeated.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Showers per network call.", rich_help_panel="Running")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="Network calls at once.", rich_help_panel="Running")] = 1,
    provider: Annotated[
        str, typer.Option(help="Where the network runs: cpu or cuda.", rich_help_panel="Running")
    ] = "cpu",
    runtime: Annotated[
        str,
        typer.Option(
            help="onnxruntime of Python (python) or of the compiled session (c++).", rich_help_panel="Running"
        ),
    ] = "python",
    grid_method: Annotated[
        str,
        typer.Option(
            help="For models that make grids: one random point (random), by area (overlap), centre (nearest).",
            rich_help_panel="Running",
        ),
    ] = "random",
    layout: Annotated[
        str | None,
        typer.Option(
            "--edm4hep-layout",
            help="File layout: current, or 1.2 for podio 1.0 to 1.2. [default: that of the record]",
            rich_help_panel="Output",
        ),
    ] = None,
) -> None:
    """Add the showers to a file in which ddsim recorded calorimeter entries.

    With the same model and seed this gives the same cells as ddsim in generate mode. The networks run on batches
    across events, on a GPU with --provider cuda. Hits that the file has already are kept.

    Example:

      ddcalogen fill record.edm4hep.root -o full.edm4hep.root --provider cuda --batch 512
    """
    from ddcalogen.fill import (
        ShowersFromFile,
        check_geometry,
        fill_events,
        fill_parameters,
        fill_writer,
        open_record,
        recorded_seed,
    )

    begin = time.perf_counter()
    options = choices(provider=provider, runtime=runtime, grid_method=grid_method, layout=layout)
    with open_record(record, drop=drop or ()) as reader:
        parameters = reader.run_parameters
        if not model:
            named = parameters.get("DDCaloGenModelName")
            if named is None:
                raise ConfigurationError(f"{record} names no model", remedy="Name one with --model.")
            model = [named] if isinstance(named, str) else [str(n) for n in named]  # type: ignore[union-attr]
        if seed is None:
            seed = recorded_seed(reader)
            if seed is None:
                raise ConfigurationError(f"{record} tells no seed", remedy="Give one with --seed.")
        where = detector or str(parameters.get("detectorName", ""))
        if not where:
            raise ConfigurationError(f"{record} names no detector", remedy="Name one with --detector.")
        common = {
            "seed": seed,
            "batch": batch,
            "threads": threads,
            "provider": options["provider"],
            "runtime": options["runtime"],
            "grid_method": options["grid_method"],
        }
        generators: list[Generator]
        if showers is None:
            generators = generators_from_options(model, where, **common)  # type: ignore[arg-type]
        else:
            from ddcalogen.geometry import load_snapshot

            if len(model) != 1:
                raise ConfigurationError(
                    "--showers needs one model, whose layers the showers are in", found=", ".join(model)
                )
            generators = [ShowersFromFile(showers, find_model(model[0]), load_snapshot(where), **common)]
        _tell_other_models(parameters.get("DDCaloGenModelHash"), generators)

        from ddcalogen.simulate import Simulator

        simulator = Simulator(generators)
        check_geometry(reader, simulator)
        chosen: dict[str, LayoutName] = {} if options["layout"] is None else {"layout": options["layout"]}  # type: ignore[dict-item]
        with fill_writer(reader, simulator, output, **chosen) as writer, progress_bar() as bar:
            task = bar.add_task("filling events", total=len(reader))
            for event in fill_events(reader, simulator):
                start = time.perf_counter()
                writer.write(event)
                simulator.summary.spend("write", time.perf_counter() - start)
                bar.advance(task)
            writer.run_parameters.update(fill_parameters(simulator))
            bar.update(task, description="closing the file")
    console.print(summary_table(simulator.summary, time.perf_counter() - begin))
    console.print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {simulator.summary.events} events)")
    lost = {f: n for f, n in simulator.summary.fates.items() if not f.startswith("shower by ")}
    if lost:
        energy = sum(simulator.summary.fate_energy_gev[f] for f in lost)
        error_console.print(
            f"[bold yellow]warning[/]: {sum(lost.values())} recorded particles ({energy:.2f} GeV) got no shower, "
            "their energy is missing: " + ", ".join(f"{n} {f}" for f, n in lost.items())
        )


def _tell_other_models(recorded: object, generators: list[Generator]) -> None:
    """Say so when the models are not those that decided which particles to record."""
    known = [recorded] if isinstance(recorded, str) else list(recorded or ())  # type: ignore[call-overload]
    other = [g.card.name for g in generators if g.hash not in known]
    if known and other:
        error_console.print(
            f"[bold yellow]note[/]: {', '.join(other)}: not the model that the entries were recorded for; "
            "particles that it does not cover will be missing."
        )

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen simulate`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddcalogen.cli.console import console, progress_bar
from ddcalogen.edm4hep.schema import LayoutName
from ddcalogen.engine import Generator, GridMethod, Provider, Runtime
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.models import DEFAULT_MODEL, find_model
from ddcalogen.simulate import RunSummary, Simulator, output_writer
from ddcalogen.sources import GeneratorEvent

__all__ = ["choices", "generators_from_options", "register", "summary_table"]

DEFAULT_DETECTOR = "ILD_l5_o1_v02"
_GUN_EVENTS = 10


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("simulate")(simulate)


def generators_from_options(
    models: list[str],
    detector: str,
    *,
    seed: int,
    batch: int,
    threads: int,
    provider: Provider,
    runtime: Runtime,
    grid_method: GridMethod,
) -> list[Generator]:
    """One `Generator` for each model, sharing one geometry."""
    from ddcalogen.geometry import load_snapshot

    geometry = load_snapshot(detector)
    return [
        Generator(
            find_model(model),
            geometry,
            seed=seed,
            batch=batch,
            threads=threads,
            provider=provider,
            runtime=runtime,
            grid_method=grid_method,
        )
        for model in models
    ]


def _events(path: Path, skip: int, number: int | None, renumber: bool) -> Iterator[GeneratorEvent]:
    from ddcalogen.sources import read_edm4hep, read_hepmc3

    if not path.is_file():
        raise InputError(
            "there is no such input file",
            found=str(path),
            expected="a HepMC3 or EDM4hep file",
            remedy="Check the path, or leave it out to use the particle gun (--particle, --energy).",
        )
    events: Iterator[GeneratorEvent] = iter(read_edm4hep(path) if path.suffix == ".root" else read_hepmc3(path))
    if renumber:
        events = (replace(event, event_number=place) for place, event in enumerate(events))
    stop = None if number is None else skip + number
    return itertools.islice(events, skip, stop)


def simulate(
    events: Annotated[
        Path | None,
        typer.Argument(
            help="Events to simulate: HepMC3 (.hepmc, .hepmc3, also .gz) or EDM4hep (.root). Without it, the particle "
            "gun makes them.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="EDM4hep file to write.")] = Path(
        "showers.edm4hep.root"
    ),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", help=f"ONNX file or name of a shipped model; may be repeated. [default: {DEFAULT_MODEL}]"
        ),
    ] = None,
    detector: Annotated[
        str, typer.Option("-d", "--detector", help="Shipped geometry, or a snapshot file.")
    ] = DEFAULT_DETECTOR,
    number: Annotated[
        int | None,
        typer.Option("-n", "--events", min=0, help="Events to simulate. [default: all of the file; gun: 10]"),
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Events of the file to leave out first.")] = 0,
    renumber: Annotated[
        bool, typer.Option("--renumber", help="Number events by their place in the file, from 0 (joined files).")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Run seed. The same seed gives the same cells, bit for bit.")] = 1,
    particle: Annotated[str, typer.Option(help="Gun: particle name or PDG code.", rich_help_panel="Gun")] = "gamma",
    energy: Annotated[
        str,
        typer.Option(
            help="Gun: kinetic energy in GeV: 10, 1:100 (uniform), 'log 1:100', or 1,10,100 (one of these).",
            rich_help_panel="Gun",
        ),
    ] = "10",
    theta: Annotated[
        str | None,
        typer.Option(help="Gun: polar angle in degrees, as --energy. [default: isotropic]", rich_help_panel="Gun"),
    ] = None,
    cos_theta: Annotated[
        str | None, typer.Option(help="Gun: its cosine instead, as --energy.", rich_help_panel="Gun")
    ] = None,
    phi: Annotated[str, typer.Option(help="Gun: azimuth in degrees, as --energy.", rich_help_panel="Gun")] = "0:360",
    position: Annotated[
        str, typer.Option(help="Gun: origin x,y,z in mm; LOW:HIGH for a box.", rich_help_panel="Gun")
    ] = "0,0,0",
    multiplicity: Annotated[int, typer.Option(min=1, help="Gun: particles per event.", rich_help_panel="Gun")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Showers per network call.", rich_help_panel="Running")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="Network calls at once.", rich_help_panel="Running")] = 1,
    provider: Annotated[
        str, typer.Option(help="Where the network runs: cpu or cuda.", rich_help_panel="Running")
    ] = "cpu",
    runtime: Annotated[
        str,
        typer.Option(
            help="onnxruntime of the Python package (python) or of the compiled session (c++).",
            rich_help_panel="Running",
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
            help="File layout: current, or 1.2 for podio 1.0 to 1.2. [default: as the installed podio, else current]",
            rich_help_panel="Output",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write a picture (PNG, PDF, SVG) of the event with most energy.", rich_help_panel="Output"),
    ] = None,
) -> None:
    """Simulate the calorimeter showers of events, without Geant4.

    Stable particles fly as helices in the solenoid field to the calorimeter face. Those that a model covers are
    replaced by generated showers in the real cells; the others are written as MC truth and counted as not simulated.

    Examples:

      ddcalogen simulate events/zh_250GeV_100.hepmc3.gz -o zh.edm4hep.root --plot zh.png

      ddcalogen simulate --particle gamma --energy 10:100 --theta 85:95 -n 1000 -o photons.edm4hep.root
    """
    begin = time.perf_counter()
    options = choices(provider=provider, runtime=runtime, grid_method=grid_method, layout=layout)
    generators = generators_from_options(
        model or [DEFAULT_MODEL],
        detector,
        seed=seed,
        batch=batch,
        threads=threads,
        provider=options["provider"],  # type: ignore[arg-type]
        runtime=options["runtime"],  # type: ignore[arg-type]
        grid_method=options["grid_method"],  # type: ignore[arg-type]
    )
    if events is not None:
        source = _events(events, skip, number, renumber)
        total = number
    else:
        from ddcalogen.sources import GunConfig, ParticleGun

        total = _GUN_EVENTS if number is None else number
        config = GunConfig.parse(
            particle=particle,
            energy_gev=energy,
            theta_deg=theta,
            cos_theta=cos_theta,
            phi_deg=phi,
            position_mm=position,
            multiplicity=multiplicity,
        )
        source = ParticleGun(config, seed=seed).events(total, first=skip)
    if plot is not None:
        from ddcalogen.plots import check_picture_name

        check_picture_name(plot)
    simulator = Simulator(generators)
    chosen: LayoutName | None = options["layout"]  # type: ignore[assignment]
    best = None
    with output_writer(simulator, output, layout=chosen) as writer, progress_bar() as bar:
        task = bar.add_task("simulating events", total=total)
        for event in simulator.simulate(source):
            start = time.perf_counter()
            writer.write(event)
            simulator.summary.spend("write", time.perf_counter() - start)
            if plot is not None:
                visible = sum(float(h.energy_gev.sum()) for h in event.calorimeter_hits.values())
                if best is None or visible > best[0]:
                    best = (visible, event)
            bar.advance(task)
        writer.run_parameters.update(simulator.run_parameters())
        bar.update(task, description="closing the file")
    console.print(summary_table(simulator.summary, time.perf_counter() - begin))
    console.print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB, {simulator.summary.events} events)")
    if plot is not None and best is not None:
        from ddcalogen.plots import plot_event

        plot_event(best[1], simulator.geometry, plot)
        console.print(f"wrote {plot} (event {best[1].event_number})")


def choices(**values: str | None) -> dict[str, str | None]:
    """Check options that take one of a few words."""
    allowed = {
        "provider": ("cpu", "cuda"),
        "runtime": ("python", "c++"),
        "grid_method": ("random", "overlap", "nearest"),
        "layout": ("current", "1.2", None),
    }
    for name, value in values.items():
        if value not in allowed[name]:
            raise ConfigurationError(
                f"option --{name.replace('_', '-')} has an unknown value",
                found=repr(value),
                expected=", ".join(str(a) for a in allowed[name] if a),
            )
    return values


def summary_table(summary: RunSummary, wall_seconds: float) -> Table:
    """End-of-run table: what became of the particles, where the energy and the time went."""
    table = Table(
        title=f"{summary.events} events, {summary.showers} showers, {summary.hits} hits", title_justify="left"
    )
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("energy", justify="right")
    table.add_row(f"[bold]stable particles[/] ({summary.particles})", "", "kinetic, GeV")
    for fate, count in sorted(summary.fates.items(), key=lambda item: -item[1]):
        table.add_row(f"  {fate}", str(count), f"{summary.fate_energy_gev[fate]:.2f}")
    a = summary.account
    table.add_section()
    table.add_row("[bold]visible energy of the showers[/]", "spots", "GeV")
    table.add_row("  generated", str(a.spots), f"{a.generated_gev:.6f}")
    table.add_row("  in cells", str(a.spots - a.spots_dead - a.spots_outside), f"{a.placed_gev:.6f}")
    table.add_row("  on dead material", str(a.spots_dead), f"{a.dead_gev:.6f}")
    table.add_row("  outside the calorimeter", str(a.spots_outside), f"{a.outside_gev:.6f}")
    table.add_row("  not accounted for", "", f"{a.imbalance_gev:.1e}")
    table.add_section()
    table.add_row("[bold]hit collections[/]", "", "GeV")
    for name, energy in sorted(summary.collection_gev.items()):
        table.add_row(f"  {name}", "", f"{energy:.6f}")
    table.add_section()
    table.add_row("[bold]time[/]", "s", "")
    parts = {k: v for k, v in summary.seconds.items() if k != "showers"}
    for what, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        table.add_row(f"  {what}", f"{seconds:.2f}", "")
    rest = wall_seconds - sum(summary.seconds.get(k, 0.0) for k in ("read", "transport", "showers", "collect", "write"))
    table.add_row("  start-up and closing", f"{rest:.2f}", "")
    busy = summary.seconds.get("showers", 0.0)
    if busy > 0:
        table.add_row("  showers per second (noise + network + placement)", f"{summary.showers / busy:.0f}", "")
    return table

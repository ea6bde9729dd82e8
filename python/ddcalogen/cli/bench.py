# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen bench`: how fast the parts are on this machine. Times are printed, never asserted."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ddcalogen.cli.console import console, error_console, progress_bar
from ddcalogen.cli.geometry import Detector
from ddcalogen.cli.simulate import DEFAULT_DETECTOR
from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.errors import InputError
from ddcalogen.geometry import bench_locate, load_snapshot
from ddcalogen.models import DEFAULT_MODEL, find_model

__all__ = ["barrel_particles", "register"]

_SPOTS = 3000


def register(app: typer.Typer) -> None:
    """Add the command group to the program."""
    group = typer.Typer(no_args_is_help=True, help="Time the parts of the chain on this machine, one core each.")
    group.command("placement")(placement)
    group.command("locate")(locate)
    group.command("generate")(generate)
    group.command("systems")(systems)
    app.add_typer(group, name="bench")


def barrel_particles(
    number: int, seed: int, energy_gev: tuple[float, float] = (50.0, 50.0), face_mm: float = 1804.8
) -> IncidentParticles:
    """Photons from the origin, evenly over the ILD ECAL barrel face (an octagon of apothem `face_mm`)."""
    rng = np.random.default_rng(seed)
    phi = rng.uniform(-np.pi, np.pi, number)
    z = rng.uniform(-2000.0, 2000.0, number)
    sector = np.round(phi / (np.pi / 4)) * np.pi / 4
    r = face_mm / np.cos(phi - sector)
    position = np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)
    distance = np.linalg.norm(position, axis=1)
    return IncidentParticles(
        pdg=np.full(number, 22, np.int32),
        energy_gev=rng.uniform(*energy_gev, number),
        position_mm=position,
        direction=position / distance[:, None],
        time_ns=distance / 299.792458,
        event=np.arange(number, dtype=np.uint64),
        particle=np.zeros(number, np.uint32),
    )


def _generator(model: str, detector: str, batch: int = 64) -> Generator:
    return Generator(find_model(model), load_snapshot(detector), seed=1, batch=batch)


def placement(
    showers: Annotated[int, typer.Option(min=1, help="Showers to place.")] = 5000,
    detector: Detector = DEFAULT_DETECTOR,
    model: Annotated[str, typer.Option(help="Model whose layers the spots use.")] = DEFAULT_MODEL,
) -> None:
    """Spots into cells: ready-made shower-like spots all over the ECAL barrel, one thread."""
    generator = _generator(model, detector)
    layers = len(generator.card.calorimeter.layer_depth_mm)
    rng = np.random.default_rng(2)
    chunk = 250
    # the shape of a 50 GeV photon: about 3000 spots, radius of tens of mm, maximum in the middle layers
    radius = rng.exponential(9.0, (chunk, _SPOTS)) + 0.5 * rng.exponential(25.0, (chunk, _SPOTS))
    angle = rng.uniform(0, 2 * np.pi, (chunk, _SPOTS))
    layer = np.clip(np.round(rng.gamma(6.5, layers * 0.07, (chunk, _SPOTS))), 0, layers - 1)
    energy = rng.exponential(3.5e-4, (chunk, _SPOTS))
    spots = np.stack([radius * np.cos(angle), radius * np.sin(angle), layer, energy], axis=2).astype(np.float32)
    flat = spots.reshape(-1, 4)
    counts = np.full(chunk, _SPOTS, np.int64)

    seconds = cpu = 0.0
    done = placed = cells = 0
    memory = []
    wall = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("placing showers", total=showers)
        while done < showers:
            particles = barrel_particles(chunk, 10 + done)
            start = time.process_time()
            result = generator.place(particles, flat, counts)
            cpu += time.process_time() - start
            seconds += result.placement_seconds
            placed += int(result.spots.sum())
            cells += len(result.cell_id)
            done += chunk
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            bar.advance(task, chunk)
    wall = time.perf_counter() - wall
    table = Table(title=f"placement in {generator.geometry.name}", title_justify="left", show_header=False)
    table.add_row("showers, spots", f"{done}, {placed}")
    table.add_row("spots per second of one core", f"{placed / cpu / 1e6:.2f} million")
    table.add_row("spots per second by the clock", f"{placed / seconds / 1e6:.2f} million (less on a busy machine)")
    table.add_row("core time per spot", f"{cpu / placed * 1e9:.1f} ns")
    table.add_row("time per shower of 3000 spots", f"{cpu / done * 1e3:.3f} ms")
    table.add_row("cells per shower", f"{cells / done:.0f}")
    table.add_row("peak memory after the first and the last chunk", f"{memory[0]:.0f} MB, {memory[-1]:.0f} MB")
    table.add_row("wall time, making particles included", f"{wall:.1f} s")
    console.print(table)


def locate(
    points: Annotated[int, typer.Option(min=1, help="Points to look up.")] = 1_000_000,
    detector: Detector = DEFAULT_DETECTOR,
) -> None:
    """Point to cellID: the geometry's look-up alone, one thread."""
    geometry = load_snapshot(detector)
    table = Table("detector", "in showers, ns", "all over the detector, ns", "in a cell")
    for d in geometry.surfaces.detectors:
        b = bench_locate(geometry, points, detector=d.name)
        table.add_row(b.detector, f"{b.shower_ns:.1f}", f"{b.random_ns:.1f}", f"{100 * b.found_fraction:.1f} %")
    console.print(table)


def generate(
    model: Annotated[str, typer.Option("-m", "--model", help="ONNX file or name of a shipped model.")] = DEFAULT_MODEL,
    detector: Detector = DEFAULT_DETECTOR,
    energy: Annotated[float, typer.Option(help="Kinetic energy of the photons, GeV.")] = 50.0,
    showers: Annotated[int, typer.Option(min=1, help="Showers at each batch size.")] = 512,
) -> None:
    """Whole chain (noise, network, placement) at several batch sizes, one thread."""
    table = Table("batch", "noise, ms", "network, ms", "placement, ms", "sum, ms per shower", "showers per second")
    sizes = (1, 10, 64, 100, 256)
    with progress_bar() as bar:
        task = bar.add_task("generating showers", total=len(sizes))
        for batch in sizes:
            generator = _generator(model, detector, batch)
            number = min(showers, 32 * batch)
            generator.simulate(barrel_particles(min(number, batch), 1, (energy, energy)))  # warm-up
            result = generator.simulate(barrel_particles(number, 2, (energy, energy)))
            good = max(1, int(result.simulated.sum()))
            parts = [result.noise_seconds, result.network_seconds, result.placement_seconds]
            total = sum(parts)
            table.add_row(
                str(batch),
                *(f"{1e3 * p / good:.3f}" for p in parts),
                f"{1e3 * total / good:.3f}",
                f"{good / total:.0f}",
            )
            bar.advance(task)
    console.print(f"{model}, photons of {energy:g} GeV in the ECAL barrel of {detector}")
    console.print(table)


def systems(
    data: Annotated[list[Path], typer.Option("--data", help="Shower files; may be repeated.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table to write.")] = Path("docs/systems.md"),
    system: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="For timing a stage, at most (five steps in any case).")] = 60,
    smoke: Annotated[bool, typer.Option("--smoke", help="The small networks of --smoke runs.")] = False,
) -> None:
    """What training and generating costs with each system: parameters, operations, memory, time per epoch.

    Every configuration of the package is measured in a process of its own.
    """
    from ddcalogen.cli.train import check_packages

    check_packages()
    from ddcalogen.training.costs import configurations, measure_apart, write_table
    from ddcalogen.training.system import find_system

    for name in system or []:
        find_system(name)
    chosen = [c for c in configurations(system or []) if not (smoke and c[1])]
    costs = []
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(chosen))
        for name, configuration, path in chosen:
            label = f"{name}_{configuration}" if configuration else name
            bar.update(task, description=f"measuring {label}")
            try:
                costs.append(measure_apart(name, configuration, path, data, smoke=smoke, seconds=seconds))
            except InputError as error:
                error_console.print(f"{label} is left out: {error}", markup=False, soft_wrap=True)
            bar.advance(task)
    write_table(costs, output)
    console.print(f"wrote {output}: {len(costs)} of {len(chosen)} configurations", soft_wrap=True)

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`ddcalogen inspect`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from ddcalogen.card import ModelCard, SpotsOutput, model_hash, read_card
from ddcalogen.cli.console import console
from ddcalogen.models import find_model, shipped_models

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("inspect")(inspect)


def inspect(
    model: Annotated[
        str | None,
        typer.Argument(help="ONNX file or name of a shipped model; without it, the shipped models are listed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
    training: Annotated[
        bool,
        typer.Option("--training", help="Print the configuration it was trained with, for 'train --config'."),
    ] = False,
) -> None:
    """Show a model's card: what it simulates, its inputs and outputs, where it comes from, how good it is."""
    if model is None:
        table = Table("name", "simulates", "energy, GeV", "description")
        for name, path in shipped_models().items():
            card = read_card(path)
            table.add_row(name, _particles(card), _range(card.domain.energy_gev), card.description)
        console.print(table)
        return
    path = find_model(model)
    card = read_card(path)
    if as_json:
        typer.echo(json.dumps(card.model_dump(mode="json"), indent=2))
        return
    if training:
        from ddcalogen.cli.train import check_packages

        check_packages()
        from ddcalogen.training.command import training_command, training_configuration

        typer.echo(f"# {training_command(card)}\n{training_configuration(card)}", nl=False)
        return
    table = Table(title=f"{card.name} {card.version}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in _rows(card, path.stat().st_size):
        table.add_row(label, text)
    console.print(table)
    if card.figures:
        figures = Table("figure", "value", "compare with", "conditions", title="figures of merit", title_justify="left")
        for f in card.figures:
            value = f"{f.value:.4g}" + (f" ± {f.uncertainty:.2g}" if f.uncertainty is not None else "")
            figures.add_row(f.name, value, f.reference or "", f.conditions)
        console.print(figures)


def _particles(card: ModelCard) -> str:
    from particle import Particle, ParticleNotFound

    names = []
    for code in card.domain.pdg:
        try:
            names.append(Particle.from_pdgid(code).name)
        except ParticleNotFound:
            names.append(str(code))
    return ", ".join(names)


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} .. {limits[1]:g}"


def _rows(card: ModelCard, size: int) -> list[tuple[str, str]]:
    if isinstance(card.output, SpotsOutput):
        c = card.output.capacity
        limit = f"min({c.maximum}, {c.base:g} + {c.per_gev:g} E/GeV)"
        output = f"spots ({', '.join(card.output.columns)}), at most {limit} per shower"
    else:
        o = card.output
        output = (
            f"grid {o.shape[0]} x {o.shape[1]} x {o.shape[2]} (layers, x, y), "
            f"cells {o.cell_mm[0]:g} x {o.cell_mm[1]:g} mm"
        )
    data = card.provenance.dataset
    depth = card.calorimeter.layer_depth_mm
    return [
        ("description", card.description),
        ("licence", card.license),
        ("simulates", f"{_particles(card)} (PDG {', '.join(map(str, card.domain.pdg))})"),
        ("kinetic energy", f"{_range(card.domain.energy_gev)} GeV"),
        ("angle to the layer normal", f"{_range(card.domain.theta_deg)} degrees"),
        (
            "calorimeter",
            f"{card.calorimeter.name} of {card.calorimeter.detector}, {len(depth)} layers at "
            f"{depth[0]:.2f} .. {depth[-1]:.2f} mm behind the face",
        ),
        ("inputs", ", ".join(card.inputs)),
        (
            "noise",
            "; ".join(f"{n.name} {n.distribution} [{', '.join(map(str, n.shape))}]" for n in card.noise) or "none",
        ),
        ("output", output),
        (
            "reproducibility",
            "CPU: same seed, same cells, whatever the batch size and number of threads. CUDA: kernels may add in "
            "another order, so the last digits of spot energies can differ between batch sizes and from the CPU.",
        ),
        ("system", card.system),
        (
            "made",
            f"{card.provenance.created} with " + ", ".join(f"{k} {v}" for k, v in card.provenance.software.items()),
        ),
        (
            "data",
            "none: numbers from the literature"
            if data is None
            else f"{data.name}: {data.training_showers} of {data.showers} showers (sha256 {data.sha256[:16]}…)",
        ),
        ("file", f"{size / 1e6:.2f} MB, card schema {card.schema_version}"),
        ("hash", model_hash(card)),
    ]

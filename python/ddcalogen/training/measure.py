# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Measurement of a shower model against held-back simulated showers: figures for its card, a page and plots."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ddcalogen.card import Figure, ModelCard
from ddcalogen.errors import ConfigurationError
from ddcalogen.files import replace_when_complete
from ddcalogen.training.data import Showers, load_split
from ddcalogen.training.export import onnx_session
from ddcalogen.training.fit_parametrised import incident, noise, simulated_showers
from ddcalogen.training.observables import (
    CELL_MM,
    GRID_ROTATION_RAD,
    HIT_THRESHOLD_GEV,
    Cells,
    classifier_auc,
    make_cells,
    shower_observables,
    wasserstein_percent,
)

__all__ = ["Measurement", "measure", "plot_measurement", "write_page"]

Doubles = NDArray[np.float64]

ENERGY_EDGES_GEV = (0.5, 2.0, 5.0, 10.0, 30.0, 60.0, 100.0, 130.0)
THETA_EDGES_DEG = (0.0, 15.0, 30.0, 45.0, 60.0)
RING_EDGES_MM = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 300.0)
SPECTRUM_EDGES_MEV = np.geomspace(0.01, 100.0, 61)
COPIES = 3
"""Showers made by the model for each simulated one."""

DISTANCES = (
    *("visible_mev_per_gev", "hits", "depth_mean_layer", "depth_rms_layers", "fraction_0_9", "fraction_10_19"),
    *("fraction_20_29", "cog_along_mm", "cog_across_mm", "radius_mean_mm", "fraction_10mm", "fraction_30mm"),
    *("cell_mean_mev", "cell_rms_mev"),
)
"""Observables whose distributions are compared."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Showers with their cells and observables."""

    showers: Showers
    cells: Cells
    observables: dict[str, Doubles]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model's showers beside simulated ones of the same incident particles, and the figures drawn from them."""

    model: Sample
    truth: Sample
    figures: tuple[Figure, ...]
    depth_mm: Doubles


def _generate(model: os.PathLike[str] | str, card: ModelCard, like: Showers, seed: int, batch: int = 16) -> Showers:
    if card.system != "parametrised":
        raise ConfigurationError("only parametrised models can be measured", found=card.system)
    session, generator = onnx_session(os.fspath(model)), torch.Generator().manual_seed(seed)
    energy, direction, pdg = incident(like)
    made, counts = [], []
    for start in range(0, len(like), batch):
        rows = slice(start, start + batch)
        capacity = max(card.output.capacity.spots(float(e)) for e in energy[rows, 0])  # type: ignore[union-attr]
        inputs = {"energy": energy[rows], "direction": direction[rows], "pdg": pdg[rows]}
        inputs |= noise(len(inputs["energy"]), capacity, generator)
        spots, count = session.run(["spots", "counts"], {k: v.numpy() for k, v in inputs.items()})
        made.append(spots)
        counts.append(count)
    return simulated_showers(like, np.concatenate(made), np.concatenate(counts))


def _sample(showers: Showers, depth_mm: Doubles, seed: int) -> Sample:
    rotation = showers.grid_rotation_rad if showers.pitch_mm else GRID_ROTATION_RAD
    cell_mm = 5.0 * showers.pitch_mm if showers.pitch_mm else CELL_MM
    cells = make_cells(showers, depth_mm, np.random.default_rng(seed), cell_mm=cell_mm, rotation_rad=rotation)
    return Sample(showers, cells, shower_observables(showers, cells, depth_mm))


def _theta_deg(showers: Showers) -> Doubles:
    return np.degrees(np.arccos(np.clip(showers.direction[:, 2].astype(np.float64), 0.0, 1.0)))


def _groups(showers: Showers) -> list[tuple[str, NDArray[np.bool_]]]:
    energy, theta = showers.energy_gev, _theta_deg(showers)
    groups = [
        (f"{low:g}-{high:g} GeV, all angles", (energy >= low) & (energy < high))
        for low, high in itertools.pairwise(ENERGY_EDGES_GEV)
    ]
    hard = (energy >= 10.0) & (energy < 100.0)
    return groups + [
        (f"10-100 GeV, theta {low:g}-{high:g} deg", hard & (theta >= low) & (theta < high))
        for low, high in itertools.pairwise(THETA_EDGES_DEG)
    ]


def _width(values: Doubles) -> tuple[float, float]:
    """Return standard deviation and its statistical uncertainty."""
    width, centred = float(values.std()), values - values.mean()
    kurtosis = float((centred**4).mean()) / max(width**4, 1e-30)
    return width, width * float(np.sqrt(max(kurtosis - 1.0, 0.0) / (4.0 * len(values))))


def mip_peak_mev(cells: Cells, *, beyond_mm: float = 20.0) -> float:
    """Most probable cell energy in MeV between 0.12 and 0.5 MeV, of cells well beside the axis.

    Maximum of a parabola through the three highest bins of a histogram with 5 % wide bins (energy per unit of energy).
    """
    mev = cells.energy_gev[cells.radius_mm > beyond_mm] * 1e3
    edges = np.geomspace(0.12, 0.5, 30)
    density = np.histogram(mev, edges)[0] / np.diff(edges)
    density = np.convolve(density, np.ones(3) / 3.0, mode="same")
    top = int(np.clip(density[1:-1].argmax() + 1, 1, len(density) - 2))
    a, b, c = density[top - 1 : top + 2]
    offset = 0.5 * (a - c) / (a - 2.0 * b + c) if a - 2.0 * b + c < 0 else 0.0
    step = np.log(edges[1] / edges[0])
    return float(np.exp(np.log(np.sqrt(edges[top] * edges[top + 1])) + offset * step))


def _features(sample: Sample) -> Doubles:
    """Features for the classifier: incident energy and angle, and all observables, the hits per GeV."""
    energy = sample.showers.energy_gev.astype(np.float64)
    columns = [np.log(energy), sample.showers.direction[:, 2].astype(np.float64)]
    columns += [sample.observables[n] / (energy if n == "hits" else 1.0) for n in DISTANCES]
    return np.stack(columns, 1)


def _longitudinal_chi2(model: Showers, truth: Showers, layers: int) -> float:
    """Chi-square per layer between the mean layer energies per GeV, with the uncertainty of both means."""
    a, b = (s.layer_energy_gev(layers) / s.energy_gev[:, None] for s in (model, truth))
    variance = a.var(0) / len(a) + b.var(0) / len(b)
    return float(((a.mean(0) - b.mean(0)) ** 2 / variance.clip(1e-30)).mean())


def measure(
    model: str | os.PathLike[str], card: ModelCard, paths: Sequence[str | os.PathLike[str]], *, seed: int = 7
) -> Measurement:
    """Measure an exported model against the test split of shower files.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    depth_mm = np.array(card.calorimeter.layer_depth_mm)
    layers = len(depth_mm)
    truth = _sample(load_split(paths, "test"), depth_mm, seed)
    copies = np.tile(np.arange(len(truth.showers)), COPIES)
    made = _sample(_generate(model, card, truth.showers.select(copies), seed), depth_mm, seed + 1)
    # a second sample of the simulation, as large, to show what the comparison gives for equal distributions
    other = load_split(paths, "train")
    other = other.select(np.random.default_rng(seed).permutation(len(other))[: len(truth.showers)])
    second = _sample(other, depth_mm, seed + 2)

    figures: list[Figure] = []

    def add(name: str, value: float, uncertainty: float | None, reference: str, conditions: str) -> None:
        figures.append(
            Figure(name=name, value=value, uncertainty=uncertainty, reference=reference, conditions=conditions)
        )

    for label, chosen in _groups(truth.showers):
        there = np.tile(chosen, COPIES)
        conditions = f"photons, {label}, test split, {int(chosen.sum())} Geant4 showers"
        for name, text in (
            ("visible_mev_per_gev", "visible energy per incident energy [MeV/GeV]"),
            ("hits", "cells above 0.1 MeV"),
            ("depth_mean_layer", "energy-weighted layer"),
            ("radius_mean_mm", "energy-weighted distance from the axis [mm]"),
        ):
            a, b = made.observables[name][there], truth.observables[name][chosen]
            add(
                f"{text}, mean",
                float(a.mean()),
                float(a.std() / np.sqrt(len(a))),
                f"Geant4 {b.mean():.4g} +- {b.std() / np.sqrt(len(b)):.2g}",
                conditions,
            )
            if name in ("visible_mev_per_gev", "depth_mean_layer"):
                width, error = _width(a)
                true_width, true_error = _width(b)
                add(f"{text}, width", width, error, f"Geant4 {true_width:.4g} +- {true_error:.2g}", conditions)
        chi2 = _longitudinal_chi2(made.showers.select(there), truth.showers.select(chosen), layers)
        control = next(c for n, c in _groups(second.showers) if n == label)
        control_chi2 = _longitudinal_chi2(second.showers.select(control), truth.showers.select(chosen), layers)
        add(
            "chi-square per layer of the mean longitudinal profile",
            chi2,
            None,
            f"Geant4 against Geant4 {control_chi2:.3g}",
            conditions,
        )

    everything = f"photons, 0.5-130 GeV, 0-60 deg, test split, {len(truth.showers)} Geant4 showers"
    add(
        "most probable cell energy beyond 20 mm [MeV]",
        mip_peak_mev(made.cells),
        None,
        f"Geant4 {mip_peak_mev(truth.cells):.4g}",
        everything,
    )
    for low, high in itertools.pairwise(RING_EDGES_MM):
        values = []
        for sample in (made, truth):
            inside = (sample.cells.radius_mm >= low) & (sample.cells.radius_mm < high)
            inside &= sample.cells.energy_gev > HIT_THRESHOLD_GEV
            n = len(sample.showers)
            values += [inside.sum() / n, sample.cells.energy_gev[inside].sum() / n * 1e3]
        conditions = f"{everything}, cells {low:g}-{high:g} mm from the axis"
        add("cells above 0.1 MeV", values[0], None, f"Geant4 {values[2]:.4g}", conditions)
        add("energy in cells above 0.1 MeV [MeV]", values[1], None, f"Geant4 {values[3]:.4g}", conditions)
    for name in DISTANCES:
        # relative to the incident energy, so that the distance is not one of the energies drawn
        scale = [s.showers.energy_gev if name == "hits" else 1.0 for s in (made, truth, second)]
        a, b, c = (s.observables[name] / w for s, w in zip((made, truth, second), scale, strict=True))
        add(
            f"Wasserstein distance x 100 of {name}{'_per_gev' if name == 'hits' else ''}, standardised",
            wasserstein_percent(a, b),
            None,
            f"Geant4 against Geant4 {wasserstein_percent(c, b):.3g}",
            everything,
        )
    one = {k: v[: len(truth.showers)] for k, v in made.observables.items()}
    single = Sample(made.showers.select(np.arange(len(truth.showers))), made.cells, one)
    auc, spread = classifier_auc(_features(single), _features(truth))
    control_auc, control_spread = classifier_auc(_features(second), _features(truth))
    add(
        "area under the ROC curve of a classifier on 16 observables",
        auc,
        spread,
        f"Geant4 against Geant4 {control_auc:.3f} +- {control_spread:.3f}; 0.5: cannot be told apart",
        f"{everything}, two hidden layers of 32, 5-fold cross-validation",
    )
    return Measurement(made, truth, tuple(figures), depth_mm)


# ------------------------------------------------------------------------------------------------------ plots and page


def plot_measurement(measurement: Measurement, path: str | os.PathLike[str]) -> None:
    """Draw profiles, spectra and distributions of model and simulation into a file.

    Raises
    ------
    ConfigurationError
        matplotlib is missing.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ConfigurationError(
            "plots need matplotlib", found=str(error), remedy="Install the extra 'plot'."
        ) from error
    figure, axes = pyplot.subplots(3, 3, figsize=(15, 12.5))
    styles = ((measurement.truth, "Geant4", "black"), (measurement.model, "model", "tab:red"))
    layers = len(measurement.depth_mm)

    def pick(sample: Sample, energy: tuple[float, float], theta: tuple[float, float]) -> NDArray[np.bool_]:
        e, t = sample.showers.energy_gev, _theta_deg(sample.showers)
        return np.asarray((e >= energy[0]) & (e < energy[1]) & (t >= theta[0]) & (t < theta[1]), np.bool_)

    for axis, theta in ((axes[0, 0], (0.0, 15.0)), (axes[0, 1], (45.0, 60.0))):
        for sample, label, colour in styles:
            for energy, dash in (((5.0, 10.0), ":"), ((60.0, 100.0), "-")):
                chosen = sample.showers.select(pick(sample, energy, theta))
                profile = (chosen.layer_energy_gev(layers) * 1e3 / chosen.energy_gev[:, None]).mean(0)
                text = f"{label}, {energy[0]:g}-{energy[1]:g} GeV"
                axis.stairs(profile, np.arange(layers + 1), color=colour, ls=dash, label=text)
        axis.set(
            xlabel="layer", ylabel="visible energy per layer [MeV/GeV]", title=f"theta {theta[0]:g}-{theta[1]:g} deg"
        )
        axis.legend(fontsize=8)
    edges = np.concatenate([np.arange(0, 60, 5), np.arange(60, 201, 20)]).astype(float)
    for sample, label, colour in styles:
        for theta, dash in (((0.0, 15.0), "-"), ((45.0, 60.0), ":")):
            wanted = pick(sample, (10.0, 100.0), theta)
            inside = wanted[sample.cells.shower]
            energy_mev = np.histogram(
                sample.cells.radius_mm[inside], edges, weights=sample.cells.energy_gev[inside] * 1e3
            )[0]
            area = np.pi * np.diff(edges**2) * wanted.sum()
            text = f"{label}, theta {theta[0]:g}-{theta[1]:g}"
            axes[0, 2].stairs(energy_mev / area, edges, color=colour, ls=dash, label=text)
    axes[0, 2].set(
        xlabel="distance of the cell from the axis [mm]",
        ylabel="visible energy [MeV/mm$^2$]",
        yscale="log",
        title="10-100 GeV",
    )
    axes[0, 2].legend(fontsize=8)
    for axis, beyond in ((axes[1, 0], 0.0), (axes[1, 1], 20.0)):
        for sample, label, colour in styles:
            mev = sample.cells.energy_gev[sample.cells.radius_mm >= beyond] * 1e3
            number = np.histogram(mev, SPECTRUM_EDGES_MEV)[0] / len(sample.showers)
            axis.stairs(number, SPECTRUM_EDGES_MEV, color=colour, label=label)
        axis.axvline(HIT_THRESHOLD_GEV * 1e3, color="grey", lw=0.8)
        axis.set(xscale="log", xlabel="cell energy [MeV]", ylabel="cells per shower and bin")
        axis.set_title("all cells" if not beyond else f"cells beyond {beyond:g} mm")
        axis.legend()
    for axis, name, text in (
        (axes[1, 2], "hits", "cells above 0.1 MeV"),
        (axes[2, 0], "visible_mev_per_gev", "visible energy [MeV/GeV]"),
        (axes[2, 1], "depth_mean_layer", "energy-weighted layer"),
        (axes[2, 2], "radius_mean_mm", "energy-weighted distance from the axis [mm]"),
    ):
        both = np.concatenate([s.observables[name] for s, _, _ in styles])
        low, high = np.quantile(both, [0.002, 0.998])
        bins = np.linspace(float(low), float(high), 41)
        for sample, label, colour in styles:
            density = np.histogram(sample.observables[name], bins)[0] / len(sample.showers)
            axis.stairs(density, bins, color=colour, label=label)
        axis.set(xlabel=text, ylabel="share of showers", title="all energies and angles")
        axis.legend()
    figure.tight_layout()
    with replace_when_complete(path) as partial:
        figure.savefig(partial, dpi=90, format="png")
    pyplot.close(figure)


def write_page(card: ModelCard, plot: str, path: str | os.PathLike[str]) -> None:
    """Write the page of a model: its description, origin and all figures of its card as a table."""
    data = card.provenance.dataset
    lines = [
        f"# {card.name} {card.version}",
        "",
        "Written by `python -m ddcalogen.training parametrised measure`; do not edit.",
        "",
        card.description,
        "",
        f"- domain: PDG {', '.join(map(str, card.domain.pdg))}; {card.domain.energy_gev[0]:g} to "
        f"{card.domain.energy_gev[1]:g} GeV; {card.domain.theta_deg[0]:g} to {card.domain.theta_deg[1]:g} degrees to "
        "the layer normal",
        f"- weights sha256: `{card.weights_sha256}`",
    ]
    if data:
        lines.append(
            f"- data: {data.name}, {data.showers} showers, fitted on {data.training_showers}, measured on "
            f"{data.test_showers} held back; sha256 `{data.sha256}`"
        )
    lines += [
        "",
        f"![model against Geant4]({plot})",
        "",
        "Made in a few minutes on one core by `python -m ddcalogen.training parametrised fit --data FILE... -o CKPT`, "
        "`... export CKPT -o MODEL`, `... measure MODEL --data FILE... --page PAGE`.",
        "",
        "Uncertainties are statistical. Cells: squares of 5.09 mm, grid turned by 22.5 degrees and placed at random.",
        "",
        "| figure | model | reference | conditions |",
        "|---|---|---|---|",
    ]
    for f in card.figures:
        value = f"{f.value:.4g}" + (f" +- {f.uncertainty:.2g}" if f.uncertainty is not None else "")
        lines.append(f"| {f.name} | {value} | {f.reference or ''} | {f.conditions} |")
    with replace_when_complete(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")

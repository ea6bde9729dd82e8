# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Hadron showers in the real cells of the detector: Geant4's of the shower frame and the model's, placed alike."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.files import make_folder
from ddcalogen.training.data import Showers
from ddcalogen.validation import plots, report
from ddcalogen.validation.entries import REGIONS, Region, entries_in, region_text
from ddcalogen.validation.metrics import Value, bootstrap, calibration_factors, relative_width
from ddcalogen.validation.observables import (
    LAST_LAYERS,
    SPECTRUM_EDGES_GEV,
    THICK_FROM,
    THRESHOLD_GEV,
    Readout,
    readout_of,
)
from ddcalogen.validation.placed import EventCells, cells_of_showers, mean_of, spots_of, spread_points
from ddcalogen.validation.samples import generate
from ddcalogen.validation.study import Bin

__all__ = ["compare_placed_hadrons"]

Doubles = NDArray[np.float64]

_ENERGY_EDGES_GEV = (10.0, 25.0, 40.0, 55.0, 70.0, 85.0, 100.0)
_LEAST = 20


@dataclasses.dataclass(frozen=True)
class _Placed:
    """Showers in cells: the cells, and the part of the energy that no cell got, float64 [N]."""

    cells: EventCells
    lost: Doubles


def _place(generator: Generator, particles: IncidentParticles, showers: Showers, readout: Readout) -> _Placed:
    placed = generator.place(particles, *spots_of(showers))
    n, hcal = len(particles), readout.parts[-1].layers.start
    cells = cells_of_showers(generator.geometry, placed, np.arange(n), n, hcal)
    generated = np.maximum(placed.generated_gev, 1e-12)
    return _Placed(cells, np.asarray((placed.dead_gev + placed.outside_gev) / generated, np.float64))


def _sums(cells: EventCells, readout: Readout) -> Doubles:
    """Visible energy in each calorimeter, float64 [N, parts]; twice that behind thick ECAL absorbers."""
    columns = []
    for part in readout.parts:
        inside = (cells.layer >= part.layers.start) & (cells.layer < part.layers.stop)
        thick = (cells.layer - part.layers.start >= THICK_FROM) & (part.name == "ecal")
        columns.append(cells.sums(cells.energy_gev * inside * np.where(thick, 2.0, 1.0)))
    return np.stack(columns, axis=1)


def _figures(
    placed: _Placed, particles: IncidentParticles, readout: Readout, factors: Doubles, seed: int
) -> dict[str, tuple[str, Value]]:
    """Name -> (unit, value) for the showers of one region."""
    cells, sums = placed.cells, _sums(placed.cells, readout)
    response = sums @ factors / particles.energy_gev
    total = np.maximum(sums @ factors, 1e-12)
    scale = 1.0 if readout.combined else 1e3
    mu, width = relative_width(scale * response)
    found = {
        "μ90 of the response": ("" if readout.combined else "MeV / GeV", mu),
        "σ90/μ90 of the response": ("", width),
    }
    for part in readout.parts:
        inside = (cells.layer >= part.layers.start) & (cells.layer < part.layers.stop)
        found[f"cells, {part.name.upper()}"] = ("", mean_of(cells.sums(inside.astype(float))))
    weight = np.ones(len(cells.layer))
    for part, factor in zip(readout.parts, factors, strict=True):
        inside = (cells.layer >= part.layers.start) & (cells.layer < part.layers.stop)
        thick = inside & (cells.layer - part.layers.start >= THICK_FROM) & (part.name == "ecal")
        weight[inside] = factor
        weight[thick] = 2 * factor
    energy = weight * cells.energy_gev
    row = np.repeat(np.arange(len(cells)), cells.hits)
    away = cells.position_mm - particles.position_mm[row]
    along = np.einsum("ij,ij->i", away, particles.direction[row])
    radius = np.linalg.norm(away - along[:, None] * particles.direction[row], axis=1)
    found["mean layer"] = ("layer", mean_of(cells.sums(energy * cells.layer) / total))
    found["mean radius"] = ("mm", mean_of(cells.sums(energy * radius) / total))
    last = cells.sums(energy * (cells.layer >= readout.layers - LAST_LAYERS)) / total
    found[f"energy fraction in the last {LAST_LAYERS} layers"] = ("", mean_of(last))
    found["energy fraction that no cell got"] = ("", mean_of(placed.lost))
    low = response < 0.5 * np.median(response)
    found["showers with less than half the usual response"] = (
        "", bootstrap(lambda i: float(low[i].mean()), len(low), np.random.default_rng(seed)),
    )  # fmt: skip
    return found


def _bins(particles: IncidentParticles, placed: dict[str, _Placed], readout: Readout, factors: Doubles) -> list[Bin]:
    energy = particles.energy_gev
    response = {key: _sums(p.cells, readout) @ factors / energy for key, p in placed.items()}
    result = []
    for low, high in itertools.pairwise(_ENERGY_EDGES_GEV):
        use = (energy >= low) & (energy < high)
        if use.sum() >= _LEAST:
            both = {("reference" if k == "Geant4" else k): relative_width(r[use]) for k, r in response.items()}
            result.append(
                Bin(low, high, dict.fromkeys(both, int(use.sum())), {k: v[0] for k, v in both.items()},
                    {k: v[1] for k, v in both.items()})
            )  # fmt: skip
    return result


def _spectrum(placed: dict[str, _Placed], readout: Readout, part: int, showers: int) -> plots.Picture:
    p = readout.parts[part]
    use = np.flatnonzero(0.99 * THRESHOLD_GEV[p.name] <= SPECTRUM_EDGES_GEV)
    edges = SPECTRUM_EDGES_GEV[use]
    heights = []
    for key in ("Geant4", "model"):
        c = placed[key].cells
        inside = (c.layer >= p.layers.start) & (c.layer < p.layers.stop)
        n = np.histogram(c.energy_gev[inside], edges)[0].astype(float)
        heights.append((n / showers, np.sqrt(n) / showers))
    last = int(np.flatnonzero(heights[0][0] + heights[1][0])[-1]) + 1 if (heights[0][0] + heights[1][0]).any() else 1
    return plots.Picture(
        f"placed_spectrum_{p.name}",
        f"Energies of the barrel's {p.name.upper()} cells above threshold; errors count cells as independent.",
        "",
        plots.histogram_panels(
            1e3 * edges[: last + 1], (heights[0][0][:last], heights[0][1][:last]),
            (heights[1][0][:last], heights[1][1][:last]), x_label=f"{p.name.upper()} cell energy (MeV)",
            y_label="cells per shower and bin", log_x=True, log_y=True,
        ),
    )  # fmt: skip


def compare_placed_hadrons(
    generator: Generator,
    showers: Showers,
    folder: Path,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[report.Section], dict[str, Any]]:
    """Put Geant4 showers and the model's for the same particles into parts of the detector and compare their cells.

    Parameters
    ----------
    generator
        A model of hadrons in HCAL or ECAL and HCAL.
    showers
        Geant4 showers in the shower frame.
    folder
        Of the report; pictures go to its folder plots.

    Returns
    -------
    sections, numbers
        For the report, and for its JSON file.

    Raises
    ------
    ConfigurationError, InferenceError, OutputError
    """
    make_folder(folder / "plots")
    plots.check_plotting()
    readout = readout_of(generator.card.calorimeter)
    rng = np.random.default_rng([seed, 6])
    progress("generating showers to place")
    model, _ = generate(generator, showers, rng=rng, first_event=1 << 20)
    content = {"Geant4": spread_points(showers, rng), "model": model}
    factors = np.ones(len(readout.parts))
    rows: list[list[Any]] = []
    numbers: dict[str, Any] = {}
    by_region: dict[Region, dict[str, dict[str, tuple[str, Value]]]] = {}
    pictures: list[plots.Picture] = []
    for region in REGIONS:
        progress(f"placing showers: {region}")
        particles = entries_in(region, generator, showers, rng)
        if particles is None:
            continue
        placed = {key: _place(generator, particles, s, readout) for key, s in content.items()}
        if region == "barrel":
            if readout.combined:
                factors = calibration_factors(_sums(placed["Geant4"].cells, readout), particles.energy_gev)
            bins = _bins(particles, placed, readout, factors)
            lines = [("reference", "Geant4", plots.GEANT4), ("model", "model", plots.MODEL)]
            if len(bins) > 1:
                picture = plots.plot_response(bins, "energy", lines, section="", calibrated=readout.combined)
                pictures.append(dataclasses.replace(picture, name="placed_response", caption=picture.caption.replace(
                    "visible energy", "energy in the cells of the barrel")))  # fmt: skip
            numbers["response_by_energy"] = bins
            pictures += [_spectrum(placed, readout, k, len(particles)) for k in range(len(readout.parts))]
        found = {key: _figures(p, particles, readout, factors, seed) for key, p in placed.items()}
        by_region[region] = found
        for name, (unit, truth) in found["Geant4"].items():
            mine = found["model"][name][1]
            error = math.hypot(mine.error, truth.error)
            pull = abs(mine.value - truth.value) / error if error > 0 else math.nan
            kind = "good" if pull < 2 else "fair" if pull < 5 else "bad" if math.isfinite(pull) else ""
            rows.append([region, name + (f" ({unit})" if unit else ""), truth, (str(mine), kind)])
        numbers[region] = {key: {n: v for n, (_, v) in f.items()} for key, f in found.items()}
    cells = [f"cells, {p.name.upper()}" for p in readout.parts]
    panel_names = ["μ90 of the response", "σ90/μ90 of the response", *cells, "energy fraction that no cell got"]
    first = next(iter(by_region.values()))["Geant4"]
    panels = {
        name + (f" ({first[name][0]})" if first[name][0] else ""): {
            str(region): {key: f[name][1] for key, f in found.items()} for region, found in by_region.items()
        }
        for name in panel_names
    }
    pictures.insert(0, plots.plot_regions(
        panels, "placed_regions", "Showers in the cells of the parts of the detector, all energies."))  # fmt: skip
    numbers["calibration"] = factors.tolist()
    said = (
        "Energies are calibrated with one constant for each calorimeter, "
        + ", ".join(f"{f:.2f} ({p.name.upper()})" for f, p in zip(factors, readout.parts, strict=True))
        + ", twice that behind thick ECAL absorbers, from the Geant4 showers in the barrel. "
        if readout.combined
        else ""
    )
    section = report.Section(
        "In the detector: hadrons after placement",
        f"{len(showers)} Geant4 showers of the gap-free stack, and the model's for the same particles, brought into "
        "the real cells by the same placement; cells above threshold. "
        + "; ".join(f"<em>{region}</em>: {region_text(generator, region)}" for region in by_region)
        + f". {said}There is no full simulation of hadrons in the whole detector to compare with: this tests the model "
        "in real cells, not what the placement itself does to a shower at gaps and corners, the same for both. "
        "✓: within 2 standard deviations of Geant4, ≈: within 5, ✗: beyond.",
        [report.table(["region", "figure", "Geant4", "model"], rows)],
        [(plots.save(picture, folder / "plots"), picture.caption) for picture in pictures],
    )
    return [section], {"placed_hadrons": numbers}

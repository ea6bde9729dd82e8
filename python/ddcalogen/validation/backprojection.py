# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the ways to bring a regular grid into real cells do to showers.

Geant4 showers are summed into a regular grid, as a grid model makes them, and brought into the cells of the detector
by the program's own placement: at the grid cell's centre (nearest), at one random point of it (random sub-cell point),
or shared by area (overlap). Beside them, the same showers at the same places with every point put where Geant4 has it.
What differs is what the grid and its back-projection leave on a shower.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen import _core
from ddcalogen.engine import Generator, GridMethod, IncidentParticles
from ddcalogen.engine import Showers as CellShowers
from ddcalogen.files import make_folder
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Grids
from ddcalogen.training.stacks import Stack
from ddcalogen.validation import plots, report
from ddcalogen.validation.entries import barrel_entries
from ddcalogen.validation.metrics import Value, mip_peak, mu90_sigma90, separation_power
from ddcalogen.validation.observables import SPECTRUM_EDGES_GEV, THRESHOLD_GEV
from ddcalogen.validation.placed import spots_of, spread_points

__all__ = ["METHODS", "Arrangement", "Imprint", "compare_back_projection", "place_grids"]

Doubles = NDArray[np.float64]
METHODS: tuple[GridMethod, ...] = ("nearest", "random", "overlap")
"""The ways of the placement, in the order of the report."""

_LEAST_GEV = 10.0
_PLACES = 8
"""Random places in the detector for each shower."""
_SHOWERS = 50
"""Showers of one angle, at most."""
_LEAST_SHOWERS = 20
_PHASES = 10
"""Bins of the entry point inside a cell."""
_REPLICAS = 100
_ANGLES = ((0.0, 0.5, "perpendicular"), (35.0, 45.0, "35° to 45°"))
_CUT_GEV = THRESHOLD_GEV["ecal"]


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """Where the grid lies: its name, bins per cell of the detector, and how it lies around the entry point.

    "middle", "corner": the shower enters in the middle of a bin, or where four meet. "known": it enters anywhere in a
    bin, and the grid is brought back to where it was. "forgotten": it enters anywhere, and the grid is brought back as
    if it were in the middle, as with a model that was trained on showers at random places and is not told them.
    """

    name: str
    bins: int
    entry: Literal["middle", "corner", "known", "forgotten"]


ARRANGEMENTS = (
    Arrangement("cell, middle", 1, "middle"),
    Arrangement("cell, corner", 1, "corner"),
    Arrangement("cell, random", 1, "known"),
    Arrangement("cell, forgotten", 1, "forgotten"),
    Arrangement("⅓ cell, middle", 3, "middle"),
)
"""What is compared. 30 × 30 bins of cell size in every layer are those of the founding work."""


def place_grids(
    generator: Generator,
    particles: IncidentParticles,
    grids: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    form: Grids,
    method: GridMethod,
    seed: int = 0,
    batch: int = 32,
) -> CellShowers:
    """Place given grids instead of generated ones, with the placement that grid models get.

    Parameters
    ----------
    generator
        Whose calorimeter is filled; its network is not used.
    particles
        N particles.
    grids
        Returns the grids float32 [K, layers, nx, ny] (GeV) of the particles named by an index int64 [K].
    form
        Their form and place.
    method
        How they reach real cells.
    seed
        Of the random points of "random".
    batch
        Grids in memory at once.
    """
    card = generator.card
    layers = len(card.calorimeter.layer_depth_mm)
    numbers = np.arange(1, len(particles) + 1)

    def run(outputs: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        del outputs
        wanted = np.rint(feeds["energy"][:, 0]).astype(np.int64) - 1
        some = wanted >= 0  # rows that only fill the batch up ask for the lowest energy
        values = np.zeros((len(wanted), layers, form.nx, form.ny), np.float32)
        values[some] = grids(wanted[some])
        return [values]

    model = _core.Model(
        name="given grids",
        version="1.0.0",
        hash="0" * 64,
        key=0,
        pdg=[22],
        # placement does not look at the energy: here it carries the number of the particle
        energy_gev=(0.25, len(particles) + 1.0),
        theta_deg=(0.0, 90.0),
        layer_depth_mm=list(card.calorimeter.layer_depth_mm),
        takes_pdg=False,
        noise=[],
        grid=_core.GridOutput(layers, form.nx, form.ny, (form.cell_mm,) * 2, form.lower_edge_mm, form.follows_axis),
    )
    simulation = _core.Simulation(
        generator.stacks,
        model,
        _core.PythonSession(run, "cpu"),
        seed=seed,
        batch=batch,
        threads=1,
        grid_method=_core.GridMethod.__members__[method],
        max_entry_depth_mm=1.0,
    )
    numbered = dataclasses.replace(
        particles,
        energy_gev=numbers.astype(np.float64),
        pdg=np.full(len(particles), 22, np.int32),
        event=numbers.astype(np.uint64),
    )
    return CellShowers(**simulation.simulate(**numbered.columns()))


@dataclasses.dataclass(frozen=True)
class Imprint:
    """What one way made of N showers at P places each; the first index of every array is the shower.

    hits (cells above threshold), visible_gev, shift_mm (centre of gravity of the cells less that of the points, along
    x of the shower frame), width_mm (rms of the cells along x), lost (share of the energy in dead areas or outside):
    float64 [N, P]. spectrum int64 [N, 110]: cells of all places in the bins of `SPECTRUM_EDGES_GEV`, nothing cut.
    """

    hits: Doubles
    visible_gev: Doubles
    shift_mm: Doubles
    width_mm: Doubles
    lost: Doubles
    spectrum: NDArray[np.int64]


def _axes(generator: Generator) -> Doubles:
    """Axes x, y and normal of the barrel stave that `barrel_entries` uses, rows of float64 [3, 3]."""
    frames = (generator.stacks.frame(i) for i in range(len(generator.stacks)))
    frame = next(f for f in frames if abs(f["normal"][2]) < 0.5)
    return np.array([frame["x_axis"], frame["y_axis"], frame["normal"]])


def _along(
    weight: Doubles, x_mm: Doubles, depth_mm: Doubles, row: NDArray[np.int64], slope: Doubles
) -> tuple[Doubles, Doubles]:
    """Weighted mean and rms of the distance from the axis along x, float64 [N]; NaN where there is no weight."""
    n = len(slope)
    total = np.bincount(row, weight, n)
    away = x_mm - slope[row] * depth_mm
    with np.errstate(invalid="ignore"):
        mean = np.bincount(row, weight * away, n) / total
        square = np.bincount(row, weight * (away - mean[row]) ** 2, n) / total
    return np.asarray(mean, np.float64), np.sqrt(square)


def _imprint(
    generator: Generator, placed: CellShowers, particles: IncidentParticles, slope: Doubles, centre_mm: Doubles
) -> Imprint:
    """Measure placed showers; `centre_mm` float64 [N]: where the centre of gravity of the points lies."""
    n = len(particles)
    row = np.repeat(np.arange(n), placed.cells_per_shower)
    energy = placed.energy_gev.astype(np.float64)
    centre = np.asarray(generator.geometry.surfaces.cell_centres(placed.cell_id)) - particles.position_mm[row]
    local = centre @ _axes(generator).T
    hit = energy > _CUT_GEV
    mean, rms = _along(energy[hit], local[hit, 0], local[hit, 2], row[hit], slope)
    bins = len(SPECTRUM_EDGES_GEV) - 1
    slot = np.digitize(energy, SPECTRUM_EDGES_GEV) - 1
    seen = (slot >= 0) & (slot < bins)
    shower = row // _PLACES
    spectrum = np.bincount(shower[seen] * bins + slot[seen], minlength=n // _PLACES * bins).reshape(-1, bins)
    with np.errstate(invalid="ignore"):
        lost = (placed.dead_gev + placed.outside_gev) / placed.generated_gev

    def table(values: NDArray[Any]) -> Doubles:
        return values.astype(np.float64).reshape(-1, _PLACES)

    return Imprint(
        table(np.bincount(row[hit], minlength=n)),
        table(np.bincount(row[hit], energy[hit], n)),
        table(mean - centre_mm),
        table(rms),
        table(lost),
        spectrum,
    )


def _phases(generator: Generator, particles: IncidentParticles) -> Doubles:
    """Place of the entry points between the borders of a cell of the first layer along x, -0.5 to 0.5; NaN in gaps.

    Along x, which is the direction of the beam, the cells of all layers of a barrel stave lie in line.
    """
    surfaces = generator.geometry.surfaces
    frames = (generator.stacks.frame(i) for i in range(len(generator.stacks)))
    frame = next(f for f in frames if abs(f["normal"][2]) < 0.5)
    axes = _axes(generator)
    at = particles.position_mm + frame["depth_mm"][0] * axes[2]
    cell = np.asarray(surfaces.locate(at))
    phase = np.full(len(at), math.nan)
    plane = np.asarray(surfaces.plane_of(cell))
    for number in np.unique(plane[cell != 0]):
        mine = np.flatnonzero((plane == number) & (cell != 0))
        p = surfaces.planes[int(number)]
        u_axis, v_axis = np.array(p.u_axis), np.array(p.v_axis)
        uv = np.stack([at[mine] @ u_axis, at[mine] @ v_axis], axis=1)
        _, rectangle = surfaces.rectangles_in_plane(int(number), uv)
        column = 0 if abs(axes[0] @ u_axis) > 0.5 else 1
        low, high = rectangle[:, 2 * column], rectangle[:, 2 * column + 1]
        sign = np.sign(axes[0] @ (u_axis, v_axis)[column])
        phase[mine] = sign * ((uv[:, column] - low) / (high - low) - 0.5)
    return phase


@dataclasses.dataclass(frozen=True)
class _Study:
    """Everything that one angle has in common: showers, `_PLACES` places of each, their points and the truth."""

    generator: Generator
    stack: Stack
    showers: Showers
    """Each shower `_PLACES` times, points spread over their merging cells, those beyond the grid left out."""
    particles: IncidentParticles
    slope: Doubles
    """Of the shower axis along x, float64 [N]."""
    centre_mm: Doubles
    phase: Doubles
    """float64 [showers, places]."""
    beyond: float
    """Share of the energy beyond the grid."""
    truth: Imprint

    def imprint(self, placed: CellShowers) -> Imprint:
        return _imprint(self.generator, placed, self.particles, self.slope, self.centre_mm)

    def through(self, arrangement: Arrangement, method: GridMethod, rng: np.random.Generator) -> Imprint:
        """Sum into a grid and bring it back."""
        n, width = len(self.particles), self.stack.cell_mm[0] / arrangement.bins
        offset = np.zeros((n, 2))
        if arrangement.entry in ("known", "forgotten"):
            offset = rng.uniform(-0.5, 0.5, (n, 2)) * width
        form = _form(self.stack, arrangement)
        row = self.showers.shower_of_point
        moved = dataclasses.replace(
            self.showers,
            x_mm=(self.showers.x_mm + offset[row, 0]).astype(np.float32),
            y_mm=(self.showers.y_mm + offset[row, 1]).astype(np.float32),
        )
        particles = self.particles
        if arrangement.entry == "known":  # the grid lies elsewhere: so do its frame and the points in it
            shift = offset @ _axes(self.generator)[:2]
            particles = dataclasses.replace(particles, position_mm=particles.position_mm - shift)

        def grids(index: NDArray[np.int64]) -> NDArray[np.float32]:
            values: NDArray[np.float32] = form(moved.select(index), self.stack, rng)["grid"].numpy()
            return values

        return self.imprint(place_grids(self.generator, particles, grids, form, method))


def _form(stack: Stack, arrangement: Arrangement) -> Grids:
    number, width = 30 * arrangement.bins, stack.cell_mm[0] / arrangement.bins
    edge = -0.5 * number * width - (0.0 if arrangement.entry == "corner" else 0.5 * width)
    return Grids(nx=number, ny=number, cell_mm=width, follows_axis=True, lower_mm=(edge, edge))


def _study(generator: Generator, showers: Showers, rng: np.random.Generator) -> _Study:
    calorimeter = generator.card.calorimeter
    depth = calorimeter.layer_depth_mm
    stack = Stack(
        calorimeter.name,
        calorimeter.detector,
        depth,
        (calorimeter.cell_size_mm[0],) * len(depth),
        (_CUT_GEV,) * len(depth),
    )
    many = spread_points(showers.select(np.repeat(np.arange(len(showers)), _PLACES)), rng)
    direction = many.direction.astype(np.float64)
    slope = direction[:, :2] / direction[:, 2:]
    row, level = many.shower_of_point, np.array(depth)[many.layer]
    away = np.stack([many.x_mm, many.y_mm], axis=1) - slope[row] * level[:, None]
    form = _form(stack, ARRANGEMENTS[0])
    low = form.lower_edge_mm[0]
    inside = ((away > low) & (away < low + form.nx * form.cell_mm)).all(axis=1)
    beyond = float(many.point_energy_gev[~inside].sum() / many.point_energy_gev.sum())
    many = dataclasses.replace(
        many,
        offsets=np.concatenate(([0], np.cumsum(np.bincount(row[inside], minlength=len(many))))),
        **{k: getattr(many, k)[inside] for k in ("x_mm", "y_mm", "layer", "point_energy_gev")},
    )
    particles = barrel_entries(generator, many, rng)
    weight = many.point_energy_gev.astype(np.float64)
    centre, _ = _along(weight, many.x_mm.astype(np.float64), level[inside], row[inside], slope[:, 0])
    truth = _imprint(generator, generator.place(particles, *spots_of(many)), particles, slope[:, 0], centre)
    phase = _phases(generator, particles).reshape(-1, _PLACES)
    return _Study(generator, stack, many, particles, slope[:, 0], centre, phase, beyond, truth)


# ---------------------------------------------------------------------------------------------------------- figures


@dataclasses.dataclass(frozen=True)
class _Resampled:
    """Bootstrap over showers: index int64 [replicas, N], the first row all of them as they are."""

    index: NDArray[np.int64]

    @classmethod
    def of(cls, size: int, rng: np.random.Generator) -> _Resampled:
        return cls(np.concatenate([np.arange(size)[None], rng.integers(0, size, (_REPLICAS, size))]))

    def value(self, statistic: Callable[[NDArray[np.int64]], float]) -> Value:
        found = [statistic(index) for index in self.index]
        return Value(found[0], float(np.std(found[1:], ddof=1)))

    def mean(self, table: Doubles) -> Value:
        """Mean of all finite values of float64 [N, P]."""
        return self.value(lambda index: float(np.nanmean(table[index])))


def _s_curve(phase: Doubles, values: Doubles, sample: _Resampled) -> list[Value]:
    """Mean of values float64 [N, P] in bins of the entry point inside the cell."""
    slot = np.floor((phase + 0.5) * _PHASES)
    result = []
    for k in range(_PHASES):
        mine = np.where(slot == k, values, math.nan)
        result.append(sample.mean(mine))
    return result


def _figures(imprint: Imprint, study: _Study, sample: _Resampled, rng: np.random.Generator) -> dict[str, Value]:
    truth = study.truth
    hits = np.where(truth.hits > 0, truth.hits, math.nan)  # nothing to compare with in the middle of a gap
    visible = np.where(truth.hits > 0, truth.visible_gev, math.nan)
    wave = -2.0 * np.sin(2.0 * np.pi * study.phase)

    def spread(index: NDArray[np.int64]) -> float:
        shift = imprint.shift_mm[index][np.isfinite(study.phase[index])]
        return mu90_sigma90(shift[np.isfinite(shift)])[1].value

    peak, width = mip_peak(imprint.spectrum, _CUT_GEV, rng)
    return {
        "hits_ratio": sample.mean(imprint.hits / hits),
        "visible_ratio": sample.mean(imprint.visible_gev / visible),
        "mip_peak_mev": peak,
        "mip_width": width,
        "spectrum_separation": sample.value(
            lambda index: separation_power(
                imprint.spectrum[index].sum(axis=0).astype(float), truth.spectrum[index].sum(axis=0).astype(float)
            )
        ),
        "s_curve_mm": sample.mean(imprint.shift_mm * wave),
        "shift_sigma90_mm": sample.value(spread),
        "width_ratio": sample.mean(imprint.width_mm / truth.width_mm),
        "lost_percent": sample.mean(100.0 * imprint.lost),
    }


_COLUMNS = {
    "hits_ratio": "cells",
    "visible_ratio": "visible energy",
    "mip_peak_mev": "MIP peak (MeV)",
    "s_curve_mm": "S-curve (mm)",
    "shift_sigma90_mm": "σ90 (mm)",
    "width_ratio": "width",
    "lost_percent": "lost (%)",
}


def compare_back_projection(
    generator: Generator,
    showers: Showers,
    folder: Path,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[report.Section, list[dict[str, Any]]]:
    """Measure what back-projection does to Geant4 showers, perpendicular and at about 40°.

    Parameters
    ----------
    generator
        Names the calorimeter and its detector; its network is not used.
    showers
        Geant4 showers in the shower frame, of at least 10 GeV to be used; angles with fewer than 20 are left out.
    folder
        Of the report; pictures go to its folder plots.
    seed
        Of places, offsets and resampling.
    progress
        Told what comes next.

    Returns
    -------
    section, numbers
        For the report, and one entry for each angle, arrangement and method for its JSON file.

    Raises
    ------
    OutputError
        A picture cannot be written.
    """
    make_folder(folder / "plots")
    theta = np.degrees(np.arccos(np.clip(showers.direction[:, 2].astype(np.float64), -1, 1)))
    section = report.Section("From a grid into real cells", _TEXT)
    numbers: list[dict[str, Any]] = []
    for low, high, title in _ANGLES:
        chosen = np.flatnonzero((theta >= low) & (theta <= high) & (showers.energy_gev >= _LEAST_GEV))[:_SHOWERS]
        if len(chosen) < _LEAST_SHOWERS:
            section.tables.append(f"<p>{title}: {len(chosen)} showers, fewer than {_LEAST_SHOWERS}; left out.</p>")
            continue
        rng = np.random.default_rng([seed, 5, int(low)])
        study = _study(generator, showers.select(chosen), rng)
        sample = _Resampled.of(len(chosen), rng)
        results: dict[tuple[str, str], Imprint] = {}
        head = ["grid", "method", *_COLUMNS.values()]
        rows = []
        for name, method, imprint in _all(study, rng, progress):
            results[name, method] = imprint
            found = _figures(imprint, study, sample, np.random.default_rng([seed, 6]))
            curve = _s_curve(study.phase, imprint.shift_mm, sample)
            numbers.append({
                "angle": title, "showers": len(chosen), "places": _PLACES, "beyond_grid": study.beyond, "grid": name,
                "method": method, **found, "position_against_entry_mm": curve,
            })  # fmt: skip
            rows.append([name, method, *(found[key] for key in _COLUMNS)])
        section.tables.append(
            f"<h3>{title}: {len(chosen)} showers at {_PLACES} places each, "
            f"{100 * study.beyond:.1f} % of the energy beyond the grid</h3>" + report.table(head, rows)
        )
        for picture in _pictures(study, results, sample, title):
            section.pictures.append((plots.save(picture, folder / "plots"), picture.caption))
    return section, numbers


def _all(
    study: _Study, rng: np.random.Generator, progress: Callable[[str], None]
) -> Iterator[tuple[str, str, Imprint]]:
    yield "no grid", "truth", study.truth
    for arrangement in ARRANGEMENTS:
        for method in METHODS:
            progress("grids into cells")
            yield arrangement.name, method, study.through(arrangement, method, rng)


_TEXT = (
    "Geant4 showers above 10 GeV were summed into a regular grid around the shower axis, as grid models make them "
    "(30 × 30 bins of cell size in every layer, or 90 × 90 of a third), and brought into the cells of a barrel "
    "stave by the program's placement: everything at the centre of the bin (<em>nearest</em>), at one random "
    "point of it (<em>random</em>), or shared by area (<em>overlap</em>). <em>Truth</em>: Geant4's points "
    "themselves in the same cells; energy beyond the grid is left out of both. The shower enters in the "
    "<em>middle</em> of a bin, at the <em>corner</em> where four meet, anywhere (<em>random</em>), or anywhere "
    "and is brought back as if it had entered in the middle (<em>forgotten</em>). Ratios to the truth: "
    "<em>cells</em> above 0.1 MeV, <em>visible energy</em> in them, and <em>width</em>, their rms along the beam, "
    "where the cells of all layers lie in line. <em>S-curve</em>: position in the same direction, the centre of "
    "gravity of the cells less that of the points, over the entry point inside a cell: amplitude of the first "
    "harmonic; a position that is always the cell's centre has 1.62 mm. <em>σ90</em>: rms of the narrowest 90 % "
    "of the position. <em>Lost</em>: energy in dead areas or outside. –: there is no MIP peak. Errors: bootstrap "
    "over showers."
)


def _pictures(
    study: _Study, results: dict[tuple[str, str], Imprint], sample: _Resampled, title: str
) -> Iterator[plots.Picture]:
    short = "0deg" if title == _ANGLES[0][2] else "40deg"
    cell = study.stack.cell_mm[0]
    edges = np.linspace(-0.5, 0.5, _PHASES + 1) * cell
    shown = [("no grid", "truth"), *((a.name, m) for a in ARRANGEMENTS[:3] for m in METHODS)]
    curves = {key: _s_curve(study.phase, results[key].shift_mm, sample) for key in shown}
    ratio = {key: _s_curve(study.phase, results[key].hits / np.maximum(study.truth.hits, 1.0), sample) for key in shown}
    panels = [(a.name, {m: (a.name, m) for m in METHODS}) for a in ARRANGEMENTS[:3]]
    yield plots.Picture(
        f"back_projection_position_{short}",
        f"Position of the shower against the entry point inside a cell, {title}: centre of gravity of the cells less "
        "that of Geant4's points, and number of cells above threshold relative to the truth.",
        "",
        plots.plot_position_curves(
            edges,
            [(name, {"truth": curves[shown[0]], **{m: curves[k] for m, k in keys.items()}}) for name, keys in panels],
            [{m: ratio[k] for m, k in keys.items()} for _, keys in panels],
        ),
    )
    spectra: dict[str, Imprint] = {"truth": study.truth, **{m: results[ARRANGEMENTS[0].name, m] for m in METHODS}}
    yield plots.Picture(
        f"back_projection_spectrum_{short}",
        f"Energies of all cells, {title}, bins of cell size, entry in the middle of one. Sharing by area "
        "makes cells below the cut (dashed).",
        "",
        plots.plot_spectra({k: i.spectrum / _PLACES for k, i in spectra.items()}, SPECTRUM_EDGES_GEV, 1e3 * _CUT_GEV),
    )

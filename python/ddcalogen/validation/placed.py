# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison in the real cells of the detector, before and after clustering.

Two studies: the model against full simulation of particles from the origin (gaps, corners, endcaps, and conversions
in the tracker, which only full simulation has); and the model against Geant4 showers that are put into the same
detector with the same placement (resolutions, two photons).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ddcalogen.calorimeters import find_calorimeter
from ddcalogen.edm4hep import Event, MCParticles
from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.engine import Showers as CellShowers
from ddcalogen.errors import InputError
from ddcalogen.files import make_folder
from ddcalogen.geometry import Geometry
from ddcalogen.reco import find_photons
from ddcalogen.sources import transport
from ddcalogen.training.data import Showers
from ddcalogen.validation import plots, report
from ddcalogen.validation.entries import REGIONS, barrel_entries, entries_in, region_text
from ddcalogen.validation.metrics import Value, relative_width
from ddcalogen.validation.observables import THICK_FROM, THRESHOLD_GEV
from ddcalogen.validation.samples import generate
from ddcalogen.validation.study import Bin

__all__ = [
    "EventCells",
    "barrel_entries",
    "calibrate",
    "cells_of_showers",
    "compare_placed",
    "event_cells",
    "filled_collections",
    "incident_from_origin",
    "mean_of",
    "read_full_simulation",
    "region_of",
    "spots_of",
    "spread_points",
]

Doubles = NDArray[np.float64]
_CLUSTERED = 400
"""Showers that are clustered, at most."""
_FLIGHT_MM = 1800.0
"""Where photons in the barrel study come from: this far before the calorimeter face."""


@dataclasses.dataclass(frozen=True)
class EventCells:
    """Cells above threshold of N events (CSR).

    offsets int64 [N+1]; position_mm float64 [M,3]; energy_gev float64 [M]; layer int64 [M], from 0.
    """

    offsets: NDArray[np.int64]
    position_mm: Doubles
    energy_gev: Doubles
    layer: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sums(self, values: Doubles) -> Doubles:
        """Sum of a value over the cells of each event, float64 [N]."""
        row = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return np.bincount(row, values, len(self)).astype(np.float64)

    @property
    def hits(self) -> NDArray[np.int64]:
        """Number of cells of each event, int64 [N]."""
        return np.diff(self.offsets)


def event_cells(
    geometry: Geometry,
    event: NDArray[Any],
    cell_id: NDArray[np.uint64],
    energy: NDArray[Any],
    events: int,
    hcal_layer: int = 0,
) -> EventCells:
    """Sum deposits of the same event and cell, cut, and look the cells up; layers of an HCAL begin at `hcal_layer`."""
    order = np.lexsort((cell_id, event))
    event, cell_id, energy = event[order], cell_id[order], energy[order].astype(np.float64)
    first = np.ones(len(event), bool)
    first[1:] = (event[1:] != event[:-1]) | (cell_id[1:] != cell_id[:-1])
    total = np.add.reduceat(energy, np.flatnonzero(first)) if len(event) else energy
    event, cell_id = event[first], cell_id[first]
    surfaces = geometry.surfaces
    planes = surfaces.planes
    plane = np.asarray(surfaces.plane_of(cell_id))
    in_hcal = np.array([d.name.lower().startswith("hcal") for d in surfaces.detectors])
    lowest: dict[int, int] = {}
    for p in planes:
        lowest[p.detector] = min(p.layer, lowest.get(p.detector, p.layer))
    of_plane = in_hcal[np.array([p.detector for p in planes])]
    hadronic = of_plane[plane]
    keep = total > np.where(hadronic, THRESHOLD_GEV["hcal"], THRESHOLD_GEV["ecal"])
    layer_of = np.array([p.layer - lowest[p.detector] for p in planes]) + np.where(of_plane, hcal_layer, 0)
    event, cell_id, total, plane = event[keep], cell_id[keep], total[keep], plane[keep]
    counts = np.bincount(event, minlength=events)
    return EventCells(
        np.concatenate(([0], np.cumsum(counts))),
        np.asarray(surfaces.cell_centres(cell_id), np.float64),
        total,
        layer_of[plane],
    )


def cells_of_showers(
    geometry: Geometry, showers: CellShowers, event: NDArray[np.int64], events: int, hcal_layer: int = 0
) -> EventCells:
    """Cells of events out of placed showers.

    event int64 [N] names the event of each shower; hcal_layer: number of the first HCAL layer, behind those of an ECAL.
    """
    row = np.repeat(event, showers.cells_per_shower)
    return event_cells(geometry, row, showers.cell_id, showers.energy_gev, events, hcal_layer)


def filled_collections(geometry: Geometry, calorimeter: str) -> list[str]:
    """Names of the hit collections of a calorimeter's technologies; others of the same readouts are left out."""
    present = {d.name: d for d in geometry.surfaces.detectors}
    return [
        collection.name
        for group in find_calorimeter(geometry.name, calorimeter, present).groups
        for member in group
        for collection in present[member.detector].hit_collections
        if not member.technologies or collection.technology in member.technologies
    ]


def read_full_simulation(
    path: Path, geometry: Geometry, calorimeter: str
) -> tuple[NDArray[np.int32], Doubles, EventCells]:
    """Read a full simulation of single particles from the origin.

    Returns
    -------
    pdg, momentum_gev, cells
        int32 [N], float64 [N,3], and the cells of the collections that the calorimeter's models fill.

    Raises
    ------
    InputError
        The file cannot be read, or has none of the collections.
    """
    wanted = filled_collections(geometry, calorimeter)
    try:
        with h5py.File(path) as file:
            pdg, momentum = file["pdg"][:].astype(np.int32), file["momentum_gev"][:].astype(np.float64)
            parts = []
            for name in wanted:
                if name not in file:
                    continue
                group = file[name]
                offsets = group["offsets"][:].astype(np.int64)
                if len(offsets) != len(pdg) + 1:
                    raise InputError("the collections of the file differ in their number of events", found=name)
                event = np.repeat(np.arange(len(pdg)), np.diff(offsets))
                parts.append((event, group["cell_id"][:].astype(np.uint64), group["energy_gev"][:]))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            "the full simulation cannot be read",
            found=f"{path}: {error}",
            expected="HDF5 with pdg, momentum_gev and groups of hits",
        ) from error
    if not parts:
        raise InputError("the file has no hits of the calorimeter", found=str(path), expected=", ".join(wanted))
    event, cell, energy = (np.concatenate([p[i] for p in parts]) for i in range(3))
    known = np.asarray(geometry.surfaces.exists(cell))
    if not known.all():
        raise InputError(
            "the file has cells that the detector does not have",
            found=f"{int((~known).sum())} of {len(known)} cells unknown to {geometry.name}",
            remedy="Choose the detector that the file was made with.",
        )
    return pdg, momentum, event_cells(geometry, event, cell, energy, len(pdg))


def incident_from_origin(
    generator: Generator, pdg: NDArray[np.int32], momentum_gev: Doubles
) -> tuple[IncidentParticles, NDArray[np.int64]]:
    """Fly particles from the origin to the calorimeter; returns those that arrive, and their indices int64 [K]."""
    groups = find_calorimeter(generator.geometry.name, generator.card.calorimeter.name).groups
    event = Event(event_number=0, particles=MCParticles.create(pdg=pdg, momentum_gev=momentum_gev))
    entries = transport(event, generator.geometry, detectors={group[0].detector for group in groups})
    entered = entries.entered
    index = entries.particle[entered].astype(np.int64)
    return (
        IncidentParticles(
            pdg=entries.pdg[entered],
            energy_gev=entries.kinetic_energy_gev[entered],
            position_mm=entries.position_mm[entered],
            direction=entries.direction[entered],
            time_ns=entries.time_ns[entered],
            event=index.astype(np.uint64),
            particle=np.zeros(len(index), np.uint32),
        ),
        index,
    )


def region_of(generator: Generator, particles: IncidentParticles) -> NDArray[np.str_]:
    """Part of the calorimeter on the straight way of each particle, [N].

    "barrel" or "endcap" where at least 28 of 30 layers (the same part of others) have a cell on the way; "barrel: gap
    or corner" and "endcap: gap or edge" where fewer have.
    """
    names = []
    surfaces = generator.geometry.surfaces
    for position, direction in zip(particles.position_mm, particles.direction, strict=True):
        entry = generator.stacks.find_entry(position.tolist(), direction.tolist())
        if entry["decision"] != "accepted":
            names.append("not at the calorimeter")
            continue
        frame = generator.stacks.frame(entry["stack"])
        normal = np.array(frame["normal"])
        depth = frame["face_mm"] + np.array(frame["depth_mm"])
        way = (depth - position @ normal) / (direction @ normal)
        seen = np.asarray(surfaces.locate(position + way[:, None] * direction)) != 0
        whole = seen.sum() >= 28 / 30 * len(depth)
        barrel = abs(normal[2]) < 0.5
        names.append(("barrel" if whole else "barrel: gap or corner") if barrel else
                     ("endcap" if whole else "endcap: gap or edge"))  # fmt: skip
    return np.array(names)


def calibrate(cells: EventCells, energy_gev: Doubles, thick_from: int = THICK_FROM) -> tuple[float, float]:
    """Return factors from visible to incident energy for thin and thick layers: least squares of relative errors."""
    thin = cells.sums(cells.energy_gev * (cells.layer < thick_from))
    thick = cells.sums(cells.energy_gev * (cells.layer >= thick_from))
    matrix = np.stack([thin, thick], axis=1) / energy_gev[:, None]
    a, b = np.linalg.lstsq(matrix, np.ones(len(matrix)), rcond=None)[0]
    return float(a), float(b)


# --------------------------------------------------------------------------------------------------- two studies


def mean_of(values: Doubles) -> Value:
    """Mean and its standard error."""
    return Value(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))


def _from_origin(
    generator: Generator, path: Path, folder: Path, copies: int
) -> tuple[report.Section, list[dict[str, Any]], tuple[float, float]]:
    geometry = generator.geometry
    pdg, momentum, full = read_full_simulation(path, geometry, generator.card.calorimeter.name)
    particles, index = incident_from_origin(generator, pdg, momentum)
    inside = np.isin(particles.pdg, generator.card.domain.pdg)
    particles, index = particles.take(inside), index[inside]
    region = region_of(generator, particles)
    n = len(particles)
    many = IncidentParticles.concatenate([
        dataclasses.replace(particles, event=particles.event + np.uint64(k * len(pdg))) for k in range(copies)
    ])  # fmt: skip
    showers = generator.simulate(many)
    model = cells_of_showers(geometry, showers, np.arange(len(many)), len(many))
    done = showers.simulated
    energy = particles.energy_gev
    truth_response = full.sums(full.energy_gev)[index] / energy
    truth_hits = full.hits[index]
    response = (model.sums(model.energy_gev) / many.energy_gev).reshape(copies, n)
    hits = model.hits.reshape(copies, n)
    accepted = np.asarray(done.reshape(copies, n).all(axis=0), bool)
    good = accepted & (region == "barrel") & (truth_response > 0)
    pick = np.flatnonzero(good)
    factors = calibrate(_take(full, index[pick]), energy[pick]) if len(pick) >= 10 else (1 / 0.0227, 2 / 0.0227)
    rows, numbers = [], []
    for name in ("barrel", "barrel: gap or corner", "endcap", "endcap: gap or edge", "not at the calorimeter"):
        mine = region == name
        used = mine & accepted
        if used.sum() < 5:
            if mine.any():
                rows.append([name, f"{int(used.sum())} of {int(mine.sum())}", *[""] * 6])
            continue
        g_mu, g_width = relative_width(truth_response[used])
        m_mu, m_width = relative_width(response[:, used].ravel())
        entry: dict[str, Any] = {
            "region": name,
            "particles": int(mine.sum()),
            "simulated": int(used.sum()),
            "response": {"full": g_mu, "model": m_mu},
            "width": {"full": g_width, "model": m_width},
            "hits": {"full": mean_of(truth_hits[used]), "model": mean_of(hits[:, used].mean(axis=0))},
        }
        numbers.append(entry)
        rows.append([name, f"{int(used.sum())} of {int(mine.sum())}", str(g_mu), str(m_mu), str(g_width), str(m_width),
                     str(entry["hits"]["full"]), str(entry["hits"]["model"])])  # fmt: skip
    section = report.Section(
        "In the detector: particles from the origin",
        f"The same particles ({n} of {len(pdg)} reach the calorimeter) in full simulation and from the model, {copies} "
        "showers each, in the real cells. Full simulation includes conversions in the tracker, which the model, by "
        "design, does not. Region: by the number of layers that have a cell on the straight way.",
        [
            report.table(
                [
                    "region",
                    "simulated",
                    "μ90, full",
                    "μ90, model",
                    "σ90/μ90, full",
                    "σ90/μ90, model",
                    "cells, full",
                    "cells, model",
                ],
                rows,
            )
        ],
    )
    picture = _scatter(particles, region, truth_response, response.mean(axis=0), accepted)
    section.pictures.append((plots.save(picture, folder / "plots"), picture.caption))
    return section, numbers, factors


def _take(cells: EventCells, events: NDArray[np.int64]) -> EventCells:
    """The cells of some events."""
    counts = np.diff(cells.offsets)[events]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = np.repeat(cells.offsets[:-1][events] - offsets[:-1], counts) + np.arange(offsets[-1])
    return EventCells(offsets, cells.position_mm[rows], cells.energy_gev[rows], cells.layer[rows])


def _scatter(
    particles: IncidentParticles, region: NDArray[np.str_], truth: Doubles, model: Doubles, accepted: NDArray[np.bool_]
) -> plots.Picture:
    import matplotlib.pyplot as plt

    with plots.style():
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
    theta = np.degrees(np.arccos(particles.direction[:, 2]))
    phi = np.degrees(np.arctan2(particles.direction[:, 1], particles.direction[:, 0]))
    phi = np.mod(phi + 22.5, 45.0) - 22.5
    barrel = np.char.startswith(region, "barrel")
    for axis, x, use, label in (
        (axes[0], theta, np.ones(len(theta), bool), "polar angle (°)"),
        (axes[1], phi, barrel, "azimuth from the middle of the stave (°), barrel"),
    ):
        axis.plot(x[use], 1e3 * truth[use], "o", ms=4, mfc="none", color=plots.GEANT4, label="full simulation")
        both = use & accepted
        axis.plot(x[both], 1e3 * model[both], ".", ms=5, color=plots.MODEL, label="model (mean of its showers)")
        axis.set(xlabel=label)
    axes[0].set(ylabel="visible / incident energy (MeV / GeV)")
    axes[0].set_ylim(0, 1.25e3 * max(np.nanmax(truth), np.nanmax(model)))
    axes[0].legend(fontsize=10, loc="lower right", frameon=False)
    return plots.Picture("response_origin", "Response to each particle; gaps and corners pull it down.", "", figure)


def spots_of(showers: Showers) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points as the placement takes them: float32 [P,4] (x mm, y mm, layer, GeV) and int64 [N] points per shower."""
    table = np.column_stack([showers.x_mm, showers.y_mm, showers.layer, showers.point_energy_gev])
    return table.astype(np.float32), np.diff(showers.offsets)


def spread_points(showers: Showers, rng: np.random.Generator) -> Showers:
    """Points anywhere in their merging cell, so that real cell borders cut merging cells as they should."""
    if not showers.on_grid:
        return showers
    u, v = rng.uniform(-0.5, 0.5, (2, len(showers.x_mm))) * showers.point_pitch_mm
    cos, sin = np.cos(showers.grid_rotation_rad), np.sin(showers.grid_rotation_rad)
    return dataclasses.replace(
        showers,
        x_mm=(showers.x_mm + u * cos - v * sin).astype(np.float32),
        y_mm=(showers.y_mm + u * sin + v * cos).astype(np.float32),
        pitch_mm=0.0,
    )


def _reconstruct(
    generator: Generator, showers: Showers, particles: IncidentParticles, factors: tuple[float, float]
) -> dict[str, Doubles]:
    """Energy ratio, distance at the face (mm) and pointing error (degrees) of the strongest cluster of each shower."""
    placed = generator.place(particles, *spots_of(showers))
    cells = cells_of_showers(generator.geometry, placed, np.arange(len(particles)), len(particles))
    scale = np.where(cells.layer < THICK_FROM, *factors)
    energy, across, pointing, number = [], [], [], []
    for i in range(len(cells)):
        part = slice(cells.offsets[i], cells.offsets[i + 1])
        vertex = particles.position_mm[i] - _FLIGHT_MM * particles.direction[i]
        photons = find_photons(cells.position_mm[part], cells.energy_gev[part] * scale[part], origin_mm=vertex)
        number.append(len(photons))
        if len(photons) == 0:
            energy.append(0.0)
            across.append(math.nan)
            pointing.append(math.nan)
            continue
        direction, entry = particles.direction[i], particles.position_mm[i]
        away = photons.centre_mm[0] - entry
        energy.append(photons.energy_gev.sum() / particles.energy_gev[i])
        across.append(float(np.linalg.norm(away - (away @ direction) * direction)))
        pointing.append(float(np.degrees(np.arccos(np.clip(photons.axis[0] @ direction, -1, 1)))))
    return {
        "energy": np.array(energy), "across_mm": np.array(across), "pointing_deg": np.array(pointing),
        "photons": np.array(number, float),
    }  # fmt: skip


def _two_photons(
    generator: Generator, showers: Showers, factors: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, Value]]:
    """Mean number of photons found for two showers at a distance: (mm, value)."""
    pairs = len(showers) // 2
    showers = showers.select(np.arange(2 * pairs))
    result = []
    place = barrel_entries(generator, showers, rng)
    place.direction[1::2] = place.direction[::2]
    vertex = (place.position_mm - _FLIGHT_MM * place.direction)[::2]
    angle = rng.uniform(0, 2 * np.pi, pairs)
    frame = next(
        f for f in (generator.stacks.frame(i) for i in range(len(generator.stacks))) if abs(f["normal"][2]) < 0.5
    )
    step = np.cos(angle)[:, None] * np.array(frame["x_axis"]) + np.sin(angle)[:, None] * np.array(frame["y_axis"])
    for distance in (10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0):
        position = place.position_mm.copy()
        position[1::2] = position[::2] + distance * step
        particles = dataclasses.replace(place, position_mm=position)
        placed = generator.place(particles, *spots_of(showers))
        cells = cells_of_showers(generator.geometry, placed, np.arange(2 * pairs) // 2, pairs)
        scale = np.where(cells.layer < THICK_FROM, *factors)
        found = []
        for i in range(pairs):
            part = slice(cells.offsets[i], cells.offsets[i + 1])
            photons = find_photons(cells.position_mm[part], cells.energy_gev[part] * scale[part], origin_mm=vertex[i])
            found.append(len(photons))
        result.append((distance, mean_of(np.array(found, float))))
    return result


def _after_placement(
    generator: Generator, showers: Showers, folder: Path, factors: tuple[float, float], rng: np.random.Generator
) -> tuple[report.Section, dict[str, Any]]:
    """Resolutions and photon pairs, Geant4 and model, placed alike."""
    straight = np.flatnonzero(showers.energy_gev > 5)[:_CLUSTERED]
    showers = showers.select(straight)
    model, _ = generate(generator, showers, rng=rng)
    geant4 = spread_points(showers, rng)
    middle, rows, numbers, by_region, bins = 1.0, [], [], {}, []
    for region in REGIONS:
        edges = (5, 15, 35, 65, 131) if region == "barrel" else (5, 35, 131)
        few = slice(None) if region == "barrel" else slice(_CLUSTERED // 2)
        content = {
            "Geant4": geant4.select(np.arange(len(showers))[few]),
            "model": model.select(np.arange(len(showers))[few]),
        }
        particles = entries_in(region, generator, content["Geant4"], rng)
        if particles is None:
            continue
        found = {key: _reconstruct(generator, s, particles, factors) for key, s in content.items()}
        if region == "barrel":
            # one common factor, so that Geant4's energies come out right and the model's show its own scale
            middle = float(np.median(found["Geant4"]["energy"])) or 1.0
        everything = np.ones(len(particles), bool)
        by_region[region] = {key: _cluster_figures(v, everything, middle, rng) for key, v in found.items()}
        energy = particles.energy_gev
        for low, high in itertools.pairwise(edges):
            use = (energy >= low) & (energy < high)
            if use.sum() < 20:
                continue
            mine = {key: _cluster_figures(v, use, middle, rng) for key, v in found.items()}
            numbers.append({"region": region, "low_gev": low, "high_gev": high, "showers": int(use.sum()), **mine})
            columns = ("mu90", "width", "across_mm", "pointing_deg")
            label = f"{low} to {high} GeV ({int(use.sum())})"
            rows.append([region, label, *(str(mine[key][name]) for key in mine for name in columns)])
            if region == "barrel":
                bins.append(_bin(low, high, int(use.sum()), mine["Geant4"], mine["model"]))
    section = report.Section(
        "After placement and clustering",
        "Geant4 showers and the model's, for the same particles, brought into the real cells by the same placement, "
        "then clustered; "
        + "; ".join(f"<em>{region}</em>: {region_text(generator, region)}" for region in by_region)
        + ". Energies relative to the incident one, with one calibration for everything, that of Geant4 in the barrel; "
        "distance of the cluster's centre from the true line, and angle between its axis and the true direction: "
        "medians.",
        [
            report.table(
                [
                    "region",
                    "energy",
                    *(
                        f"{what}, {who}"
                        for who in ("Geant4", "model")
                        for what in ("μ90", "σ90/μ90", "distance (mm)", "angle (°)")
                    ),
                ],
                rows,
            )
        ],
    )
    pictures = []
    if len(bins) > 1:
        lines = [("reference", "Geant4", plots.GEANT4), ("model", "model", plots.MODEL)]
        picture = plots.plot_response(bins, "energy", lines, section="", calibrated=True)
        pictures.append(dataclasses.replace(
            picture, name="clustered_energy",
            caption="Clusters in the barrel: linearity and resolution (mean and rms of the narrowest 90 %).",
        ))  # fmt: skip
    labels = {"mu90": "μ90 / E", "width": "σ90 / μ90", "across_mm": "distance (mm)", "pointing_deg": "angle (°)"}
    panels = {
        label: {str(region): {key: v[name] for key, v in found.items()} for region, found in by_region.items()}
        for name, label in labels.items()
    }
    pictures.append(
        plots.plot_regions(panels, "clustered_regions", "Clusters in the parts of the detector, above 5 GeV.")
    )
    section.pictures += [(plots.save(picture, folder / "plots"), picture.caption) for picture in pictures]
    pairs = {}
    strong = np.flatnonzero((showers.energy_gev > 15) & (showers.direction[:, 2] > 0.9))[:100]
    if len(strong) >= 20:
        seed = int(rng.integers(1 << 31))
        for key, sample in (("Geant4", geant4), ("model", model)):
            pairs[key] = _two_photons(generator, sample.select(strong), factors, np.random.default_rng(seed))
        section.tables.append(
            report.table(
                ["distance of two photons (mm)", *(f"photons found, {who}" for who in pairs)],
                [[f"{d:.0f}", *(str(points[k][1]) for points in pairs.values())]
                 for k, (d, _) in enumerate(pairs["Geant4"])],
            )
        )  # fmt: skip
        picture = _pair_picture(pairs, len(strong) // 2)
        section.pictures.append((plots.save(picture, folder / "plots"), picture.caption))
    return section, {"clusters": numbers, "photon_pairs": pairs}


def _cluster_figures(
    values: dict[str, Doubles], use: NDArray[np.bool_], middle: float, rng: np.random.Generator
) -> dict[str, Value]:
    mu, width = relative_width(values["energy"][use] / middle)
    return {
        "mu90": mu,
        "width": width,
        "across_mm": _median(values["across_mm"][use], rng),
        "pointing_deg": _median(values["pointing_deg"][use], rng),
        "photons": mean_of(values["photons"][use]),
    }


def _bin(low: float, high: float, showers: int, geant4: dict[str, Value], model: dict[str, Value]) -> Bin:
    both = {"reference": geant4, "model": model}
    return Bin(
        low,
        high,
        dict.fromkeys(both, showers),
        {key: v["mu90"] for key, v in both.items()},
        {key: v["width"] for key, v in both.items()},
    )


def _median(values: Doubles, rng: np.random.Generator) -> Value:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Value(math.nan, math.nan)
    spread = [np.median(rng.choice(values, len(values))) for _ in range(100)]
    return Value(float(np.median(values)), float(np.std(spread, ddof=1)))


def _pair_picture(pairs: dict[str, list[tuple[float, Value]]], number: int) -> plots.Picture:
    import matplotlib.pyplot as plt

    with plots.style():
        figure, axis = plt.subplots(figsize=(5.2, 4.0), layout="constrained")
    for (key, points), colour, marker in zip(pairs.items(), (plots.GEANT4, plots.MODEL), "so", strict=True):
        axis.errorbar([d for d, _ in points], [v.value for _, v in points], [v.error for _, v in points], label=key,
                      color=colour, marker=marker, ms=5, capsize=2)  # fmt: skip
    for level in (1, 2):
        axis.axhline(level, color="0.8", lw=0.8, zorder=0)
    axis.set(xlabel="distance of the two photons (mm)", ylabel="photons found", ylim=(0.8, 2.5))
    axis.legend(frameon=False)
    return plots.Picture(
        "photon_pairs",
        f"Two photons above 15 GeV in the barrel, {number} pairs: how many are found.",
        "After placement",
        figure,
    )


def compare_placed(
    generator: Generator,
    showers: Showers,
    folder: Path,
    *,
    full_simulation: Path | None = None,
    seed: int = 1,
    copies: int = 5,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[report.Section], dict[str, Any]]:
    """Run the studies of photons in the ECAL that the input allows.

    Parameters
    ----------
    generator
        The model in its detector.
    showers
        Geant4 showers in the shower frame, of the model's particles.
    folder
        Of the report; pictures go to its folder plots.
    full_simulation
        Single particles from the origin, in full simulation.
    copies
        Showers of the model for each particle of the full simulation.
    progress
        Told what comes next.

    Returns
    -------
    sections, numbers
        For the report, and for its JSON file.

    Raises
    ------
    InputError, InferenceError, OutputError
    """
    make_folder(folder / "plots")
    plots.check_plotting()
    rng = np.random.default_rng([seed, 4])
    sections: list[report.Section] = []
    numbers: dict[str, Any] = {}
    if full_simulation is not None:
        progress("particles from the origin")
        section, numbers["from_origin"], factors = _from_origin(generator, full_simulation, folder, copies)
        sections.append(section)
    else:
        factors = (1.0, 2.0)
        response = float(
            np.bincount(showers.shower_of_point, showers.point_energy_gev).sum() / showers.energy_gev.sum()
        )
        factors = (factors[0] / response, factors[1] / response)
    progress("clustering placed showers")
    section, numbers["after_placement"] = _after_placement(generator, showers, folder, factors, rng)
    sections.append(section)
    return sections, numbers

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The samples that are compared: Geant4 showers nobody fitted to, more of them as a yardstick, and the model's.

The reference is the test split of the Geant4 files. Each other sample, among them the model's, has the incident
particles of *another* set of Geant4 showers of the same size, so that the Geant4-against-Geant4 value of a figure is
what a perfect model would get.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ddcalogen.card import GridOutput, ModelCard
from ddcalogen.engine import Generator
from ddcalogen.errors import InferenceError, InputError
from ddcalogen.training.data import SPLITS, ShowerFile, Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.validation.metrics import calibration_factors
from ddcalogen.validation.observables import THICK_FROM, Cells, Observables, Readout, measure, readout_cells

__all__ = [
    "Sample",
    "calibrate",
    "cpu_milliseconds",
    "distort",
    "geant4_samples",
    "generate",
    "grid_points",
    "in_domain",
    "make_sample",
    "merge_as",
    "through_grid",
]

_LEAST = 50
_TEST = SPLITS.index("test")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Showers of one origin with their cells and observables."""

    name: str
    showers: Showers
    cells: Cells
    observables: Observables

    def __len__(self) -> int:
        return len(self.showers)


def make_sample(
    name: str,
    showers: Showers,
    readout: Readout,
    *,
    rotation_rad: float,
    rng: np.random.Generator,
    weights: NDArray[np.float64] | None = None,
) -> Sample:
    """Measure showers in the cells of a readout.

    weights: calibration constants for several calorimeters, those of another sample; None: their own (`calibrate`).
    """
    cells = readout_cells(showers, readout, rotation_rad=rotation_rad, rng=rng)
    if weights is None:
        weights = calibrate(cells, showers.energy_gev, readout) if readout.combined else np.ones(readout.layers)
    return Sample(name, showers, cells, measure(showers, cells, readout, weights))


def calibrate(cells: Cells, energy_gev: NDArray[np.floating], readout: Readout) -> NDArray[np.float64]:
    """Return the factor from visible to incident energy of each layer, float64 [layers].

    One factor for each calorimeter, that of an ECAL twice as large behind its thick absorbers, by
    `metrics.calibration_factors`. Cells below threshold do not count.
    """
    hit = cells.above(readout.of_layers([p.threshold_gev for p in readout.parts]))
    thick = np.ones(readout.layers)
    for part in readout.parts:
        if part.name == "ecal":
            thick[part.layers.start + THICK_FROM : part.layers.stop] = 2.0
    sums = np.zeros((cells.showers, len(readout.parts)))
    for k, part in enumerate(readout.parts):
        inside = (hit.layer >= part.layers.start) & (hit.layer < part.layers.stop)
        sums[:, k] = np.bincount(hit.shower[inside], hit.energy_gev[inside] * thick[hit.layer[inside]], cells.showers)
    return thick * readout.of_layers(calibration_factors(sums, np.asarray(energy_gev, np.float64)).tolist())


def in_domain(file: ShowerFile | Showers, card: ModelCard) -> NDArray[np.bool_]:
    """Return which incident particles a model is made for, bool [N]."""
    theta = np.degrees(np.arccos(np.clip(file.direction[:, 2], -1, 1)))
    domain = card.domain
    inside: NDArray[np.bool_] = (
        np.isin(file.pdg, domain.pdg)
        & (file.energy_gev >= domain.energy_gev[0])
        & (file.energy_gev <= domain.energy_gev[1])
        & (theta >= domain.theta_deg[0] - 1e-3)
        & (theta <= domain.theta_deg[1] + 1e-3)
    )
    return inside


def geant4_samples(
    files: Sequence[str | os.PathLike[str]],
    card: ModelCard,
    *,
    calorimeter: str,
    most: int,
    rng: np.random.Generator,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Showers, Showers]:
    """Read two independent Geant4 samples of equal size: the test split, and others.

    Parameters
    ----------
    files
        Slab or showerdata files.
    card
        Of the model: only showers in its domain are used.
    calorimeter
        Group of slab files.
    most
        Showers per sample at most.
    advance
        Called with the number of showers looked at.

    Raises
    ------
    InputError
        A file cannot be read, its layers do not fit the card, or fewer than 50 showers of the test split are left.
    """
    opened = [ShowerFile(path, calorimeter) for path in files]
    choices = [(in_domain(file, card), file.splits == _TEST) for file in opened]
    wanted: list[list[NDArray[np.int64]]] = []
    size = min(most, *(sum(int((inside & (test == kind)).sum()) for inside, test in choices) for kind in (True, False)))
    if size < _LEAST:
        raise InputError(
            "too few Geant4 showers for a comparison",
            found=f"{size} showers of the test split or of the others inside the model's domain, in "
            + ", ".join(map(str, files)),
            expected=f"at least {_LEAST} of each; {card.domain}",
            remedy="Give more files of the particles, energies and angles the model is made for.",
        )
    for kind in (True, False):
        pool = [np.flatnonzero(inside & (test == kind)) for inside, test in choices]
        flat = np.concatenate([np.stack([np.full(len(p), k), p], axis=1) for k, p in enumerate(pool)])
        taken = flat[np.sort(rng.choice(len(flat), size, replace=False))]
        wanted.append([taken[taken[:, 0] == k, 1] for k in range(len(opened))])
    parts: tuple[list[Showers], list[Showers]] = ([], [])
    for k, file in enumerate(opened):
        for start in range(0, len(file), 256):
            stop = min(start + 256, len(file))
            chosen = [w[k][(w[k] >= start) & (w[k] < stop)] - start for w in wanted]
            if any(len(c) for c in chosen):
                chunk = file.read(start, stop)
                layers = len(card.calorimeter.layer_depth_mm)
                if len(chunk.layer) and not (chunk.layer.min() >= 0 and chunk.layer.max() < layers):
                    raise InputError(
                        "the layers of the shower file do not fit the model",
                        found=f"{file.path}, layers {chunk.layer.min()}..{chunk.layer.max()}",
                        expected=f"0..{layers - 1}",
                        remedy="Compare with showers in the calorimeter the model was made for.",
                    )
                for c, part in zip(chosen, parts, strict=True):
                    if len(c):
                        part.append(chunk.select(c))
            advance(stop - start)
    return Showers.join(parts[0]), Showers.join(parts[1])


def generate(
    generator: Generator,
    incident: Showers,
    *,
    rng: np.random.Generator,
    advance: Callable[[int], None] = lambda _: None,
    first_event: int = 0,
) -> tuple[Showers, float]:
    """Let the model make showers of given incident particles.

    Parameters
    ----------
    generator, incident
        The model and the particles.
    rng
        For the place of points in grid cells.
    advance
        Told how many showers were made.
    first_event
        Number of the first shower, on which its noise is keyed.

    Returns
    -------
    showers
        In the same order. A grid cell becomes one point at a random place in it, as in placement with "random".
    seconds
        Time of noise and network per shower.

    Raises
    ------
    InferenceError
        The network fails, or more than 1 % of its showers are not good. Showers that are not good have no points.
    """
    output = generator.card.output
    depth = np.array(generator.card.calorimeter.layer_depth_mm)
    counts, points, bad, seconds = [], [], 0, 0.0
    order = np.argsort(incident.energy_gev, kind="stable")  # showers of like energy travel together: least padding
    inverse = np.argsort(order)
    for part in np.array_split(order, max(1, math.ceil(len(order) / 256))):
        made = generator.generate(
            incident.energy_gev[part].astype(float),
            incident.direction[part].astype(float),
            incident.pdg[part],
            part.astype(np.uint64) + np.uint64(first_event),
        )
        bad += int((made.status != 0).sum())
        seconds += made.noise_seconds + made.network_seconds
        if isinstance(output, GridOutput):
            values, n = grid_points(output, made.counts, made.values, incident.direction[part], depth, rng)
        else:
            values, n = made.values[:, :4], made.counts
        counts.append(n)
        points.append(values)
        advance(len(part))
    if bad > 0.01 * len(incident):
        raise InferenceError(
            "the model makes showers that cannot be used",
            found=f"{bad} of {len(incident)} showers not finite, negative, empty or out of range",
            expected="at most 1 %",
            remedy="Check the model with 'ddcalogen inspect' and its training.",
        )
    table = np.concatenate(points)
    each = np.concatenate(counts).astype(np.int64)
    showers = Showers(
        incident.energy_gev[order],
        incident.direction[order],
        incident.pdg[order],
        np.concatenate(([0], np.cumsum(each))),
        table[:, 0],
        table[:, 1],
        table[:, 2].astype(np.int16),
        table[:, 3],
    )
    return showers.select(inverse), seconds / max(len(incident), 1)


def cpu_milliseconds(path: str | os.PathLike[str], generator: Generator, incident: Showers) -> dict[int, float]:
    """Return the CPU time per shower in ms (noise and network, one thread) at batch sizes 1, 10 and 100.

    CPU time, not wall time, so that other work on the machine does not count; the showers are the first of `incident`.
    """
    times = {}
    for batch in (1, 10, 100):
        fresh = Generator(path, generator.geometry, seed=generator.seed, batch=batch)
        number = min(len(incident), max(30, 2 * batch))
        columns = [a[:number] for a in (incident.energy_gev, incident.direction, incident.pdg)]
        energy, direction, pdg = columns[0].astype(float), columns[1].astype(float), columns[2]
        event = np.arange(number, dtype=np.uint64)
        fresh.generate(energy[:batch], direction[:batch], pdg[:batch], event[:batch])  # the first run allocates
        start = time.process_time()
        fresh.generate(energy, direction, pdg, event)
        times[batch] = 1e3 * (time.process_time() - start) / number
    return times


def grid_points(
    grid: GridOutput,
    counts: NDArray[np.int64],
    values: NDArray[np.float32],
    direction: NDArray[np.float32],
    depth_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cells with energy as points: float32 [P, 4], and how many each shower has."""
    layers, nx, ny = grid.shape
    good = np.flatnonzero(counts)
    energy = values.reshape(len(good), layers, nx, ny)
    shower, layer, ix, iy = np.nonzero(energy > 0)
    position = np.stack([ix, iy], axis=1) + rng.uniform(0.0, 1.0, (len(ix), 2))
    position = position * np.array(grid.cell_mm) + np.array(grid.lower_edge_mm)
    if grid.follows_axis:
        tangent = (direction[:, :2] / direction[:, 2:3])[good]
        position += tangent[shower] * depth_mm[layer][:, None]
    table = np.column_stack([position, layer, energy[shower, layer, ix, iy]]).astype(np.float32)
    return table, np.bincount(good[shower], minlength=len(counts)).astype(np.int64)


def through_grid(
    showers: Showers, grid: GridOutput, stack: Stack, depth_mm: NDArray[np.float64], rng: np.random.Generator
) -> Showers:
    """Return showers as a perfect model with this grid would make them: cells of the grid, nothing beyond its edges."""
    from ddcalogen.training.representations import Grids  # PyTorch

    nx, ny = grid.shape[1:]
    made = Grids(nx, ny, grid.cell_mm[0], grid.follows_axis, grid.lower_edge_mm)
    parts = []
    for start in range(0, len(showers), 256):
        part = showers.select(np.arange(start, min(start + 256, len(showers))))
        cells = made(part, stack, rng)["grid"].numpy()
        counts = np.count_nonzero(cells.reshape(len(part), -1), axis=1)
        values = cells[counts > 0].reshape(-1, 1)
        table, counts = grid_points(grid, counts, values, part.direction, depth_mm, rng)
        parts.append(
            dataclasses.replace(
                part,
                offsets=np.concatenate(([0], np.cumsum(counts))),
                x_mm=table[:, 0],
                y_mm=table[:, 1],
                layer=table[:, 2].astype(np.int16),
                point_energy_gev=table[:, 3],
                pitch_mm=0.0,
                grid_rotation_rad=0.0,
            )
        )
    return Showers.join(parts)


def merge_as(showers: Showers, like: Showers) -> Showers:
    """Move points onto the grid on which other showers were merged, so that both are summed into cells alike.

    Where there is none, the showers stay as they are.
    """
    if not like.on_grid:
        return showers
    pitches = np.asarray(like.pitch_mm, np.float64)
    pitch = pitches[showers.layer] if pitches.ndim else pitches
    cos, sin = math.cos(like.grid_rotation_rad), math.sin(like.grid_rotation_rad)
    u = np.round((showers.x_mm * cos + showers.y_mm * sin) / pitch) * pitch
    v = np.round((showers.y_mm * cos - showers.x_mm * sin) / pitch) * pitch
    return dataclasses.replace(
        showers,
        x_mm=(u * cos - v * sin).astype(np.float32),
        y_mm=(u * sin + v * cos).astype(np.float32),
        pitch_mm=like.pitch_mm,
        grid_rotation_rad=like.grid_rotation_rad,
    )


def distort(showers: Showers, depth_mm: NDArray[np.float64], *, energy: float = 1.0, width: float = 1.0) -> Showers:
    """Return showers with all visible energies, or all distances from the shower axis, multiplied by a factor.

    Known errors, to see which figures find them. A change of width takes the points off their merging grid: they are
    spread evenly over the merging cell first.
    """
    if width == 1.0:
        return dataclasses.replace(showers, point_energy_gev=showers.point_energy_gev * np.float32(energy))
    row, layer = showers.shower_of_point, showers.layer.astype(np.int64)
    tangent = (showers.direction[:, :2] / showers.direction[:, 2:3]).astype(np.float64)
    axis_x, axis_y = tangent[row, 0] * depth_mm[layer], tangent[row, 1] * depth_mm[layer]
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, (2, len(row))) * showers.point_pitch_mm
    cos, sin = np.cos(showers.grid_rotation_rad), np.sin(showers.grid_rotation_rad)
    x = showers.x_mm + spread[0] * cos - spread[1] * sin
    y = showers.y_mm + spread[0] * sin + spread[1] * cos
    return dataclasses.replace(
        showers,
        x_mm=(axis_x + width * (x - axis_x)).astype(np.float32),
        y_mm=(axis_y + width * (y - axis_y)).astype(np.float32),
        point_energy_gev=showers.point_energy_gev * np.float32(energy),
        pitch_mm=0.0,
    )

# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructed events of full and of fast simulation side by side, against MC truth.

What Marlin or k4run wrote is taken as it is: particles and clusters of EDM4hep files. Where both samples have neither,
the package's own light clustering runs on the ECAL hits of both.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen.edm4hep import Event, Reader
from ddcalogen.errors import InputError
from ddcalogen.files import make_folder
from ddcalogen.geometry import Geometry
from ddcalogen.reco import find_photons
from ddcalogen.reco.edm4hep import Reconstructed, find_collections, read_clusters, read_particles
from ddcalogen.validation import plots, report
from ddcalogen.validation.metrics import Value, bootstrap, calibration_factors, relative_width
from ddcalogen.validation.observables import THICK_FROM
from ddcalogen.validation.placed import EventCells, event_cells, filled_collections
from ddcalogen.validation.study import Bin

__all__ = ["Truth", "compare_reconstructed", "read_truth"]

Doubles = NDArray[np.float64]
Kind = Literal["particles", "clusters", "light clusters"]

_NEUTRINOS = (12, 14, 16)
_STABLE = 1
_PREFERRED = {"particles": "PandoraPFOs", "clusters": "PandoraClusters"}
_LEAST = 20
"""Events a bin of the true energy must have."""
_TAILED = ("angle", "distance")
_SPECIES = {22: "photons", 11: "electrons", 13: "muons", 211: "charged hadrons", 2112: "neutral hadrons"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """Stable generator particles of N events, neutrinos left out.

    total_gev, leading_gev: energy of all and of the most energetic, float64 [N]; direction, vertex_mm: of the most
    energetic, float64 [N,3]; charged: whether it is; pdg: its type, int64 [N]; particles: how many, int64 [N].
    """

    total_gev: Doubles
    leading_gev: Doubles
    direction: Doubles
    vertex_mm: Doubles
    charged: NDArray[np.bool_]
    pdg: NDArray[np.int64]
    particles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.total_gev)

    @staticmethod
    def join(parts: Sequence[Truth]) -> Truth:
        """Put events of several files behind each other."""
        return Truth(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(Truth)))


def _truth_of(event: Event) -> tuple[Any, ...]:
    p = event.particles
    seen = np.flatnonzero((p.generator_status == _STABLE) & ~np.isin(np.abs(p.pdg), _NEUTRINOS))
    if not len(seen):
        return 0.0, 0.0, np.zeros(3), np.zeros(3), False, 0, 0
    momentum = p.momentum_gev[seen].astype(np.float64)
    energy = np.sqrt((momentum**2).sum(axis=1) + p.mass_gev[seen].astype(np.float64) ** 2)
    first = int(energy.argmax())
    direction = momentum[first] / max(float(np.linalg.norm(momentum[first])), 1e-12)
    k = seen[first]
    return (
        float(energy.sum()), float(energy[first]), direction, p.vertex_mm[k].astype(np.float64), bool(p.charge[k] != 0),
        int(p.pdg[k]), len(seen),
    )  # fmt: skip


def read_truth(path: Path) -> Truth:
    """Read the generator particles of an EDM4hep file.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    with Reader(path, collections=()) as reader:
        rows = [_truth_of(event) for event in reader]

    def column(k: int, kind: type) -> NDArray[Any]:
        return np.array([row[k] for row in rows], kind)

    return Truth(
        column(0, float), column(1, float), column(2, float).reshape(-1, 3), column(3, float).reshape(-1, 3),
        column(4, bool), column(5, np.int64), column(6, np.int64),
    )  # fmt: skip


def _collections(paths: Sequence[Path]) -> dict[Kind, str]:
    """Reconstructed collections that all files have: the usual one of a kind, or the first."""
    found = [find_collections(path) for path in paths]
    chosen: dict[Kind, str] = {}
    kinds: tuple[Literal["particles", "clusters"], ...] = ("particles", "clusters")
    for kind in kinds:
        names = [name for name in found[0][kind] if all(name in f[kind] for f in found)]
        if names:
            chosen[kind] = _PREFERRED[kind] if _PREFERRED[kind] in names else names[0]
    return chosen


# ------------------------------------------------------------------------------------------------ light clustering


def _hits(path: Path, geometry: Geometry) -> EventCells:
    wanted = filled_collections(geometry, "ECAL")
    with Reader(path, collections=()) as reader:
        names = [name for name in wanted if name in reader.calorimeter_collections]
    if not names:
        raise InputError(
            "the file has neither reconstructed objects nor ECAL hits",
            found=str(path),
            expected=f"edm4hep::ReconstructedParticle, edm4hep::Cluster, or hits in {', '.join(wanted)}",
        )
    event: list[NDArray[np.int64]] = []
    cell: list[NDArray[np.uint64]] = []
    energy: list[NDArray[np.float32]] = []
    number = 0
    with Reader(path, collections=names) as reader:
        for number, content in enumerate(reader, 1):
            for hits in content.calorimeter_hits.values():
                event.append(np.full(len(hits), number - 1))
                cell.append(hits.cell_id)
                energy.append(hits.energy_gev)
    if not event:
        raise InputError("the file has no events", found=str(path))
    ids = np.concatenate(cell)
    unknown = ~np.asarray(geometry.surfaces.exists(ids))
    if unknown.any():
        raise InputError(
            "the file has cells that the detector does not have",
            found=f"{int(unknown.sum())} of {len(ids)} cells of {path} unknown to {geometry.name}",
            remedy="Choose the detector that the file was made with.",
        )
    return event_cells(geometry, np.concatenate(event), ids, np.concatenate(energy), number)


def _join_cells(parts: Sequence[EventCells]) -> EventCells:
    counts = np.concatenate([p.hits for p in parts])
    return EventCells(
        np.concatenate(([0], np.cumsum(counts))),
        np.concatenate([p.position_mm for p in parts]),
        np.concatenate([p.energy_gev for p in parts]),
        np.concatenate([p.layer for p in parts]),
    )


def _thick(cells: EventCells) -> Doubles:
    return np.where(cells.layer < THICK_FROM, 1.0, 2.0)


def _light_clusters(cells: EventCells, factor: float) -> Reconstructed:
    offsets, energy, centre = [0], [], []
    scale = factor * _thick(cells)
    for i in range(len(cells)):
        part = slice(cells.offsets[i], cells.offsets[i + 1])
        photons = find_photons(cells.position_mm[part], cells.energy_gev[part] * scale[part])
        energy.append(photons.energy_gev)
        centre.append(photons.centre_mm)
        offsets.append(offsets[-1] + len(photons))
    return Reconstructed(
        np.array(offsets, np.int64), np.concatenate(energy), np.concatenate(centre).reshape(-1, 3),
        np.zeros(offsets[-1], np.int32),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- comparison


@dataclasses.dataclass(frozen=True)
class _PerEvent:
    """Objects of one sample against truth, float64 [N] each; NaN where an event has no object."""

    ratio: Doubles
    leading: Doubles
    number: Doubles
    angle_mrad: Doubles
    distance_mm: Doubles | None
    energy_gev: Doubles


def _per_event(objects: Reconstructed, truth: Truth, kind: Kind) -> _PerEvent:
    n = len(truth)
    event = np.repeat(np.arange(n), np.diff(objects.offsets))
    total = np.bincount(event, objects.energy_gev, n)
    leading, number = objects.leading()
    order = np.lexsort((-objects.energy_gev, event))
    first = np.full(n, -1)
    some = number > 0
    first[some] = order[objects.offsets[:-1][some]]
    angle, distance = np.full(n, np.nan), np.full(n, np.nan)
    vector = objects.vector[first[some]]
    if kind == "particles":
        seen = vector
    else:
        seen = vector - truth.vertex_mm[some]
        along = np.einsum("ij,ij->i", seen, truth.direction[some])
        distance[some] = np.linalg.norm(seen - along[:, None] * truth.direction[some], axis=1)
    norm = np.maximum(np.linalg.norm(seen, axis=1), 1e-12)
    cosine = np.einsum("ij,ij->i", seen, truth.direction[some]) / norm
    angle[some] = 1e3 * np.arccos(np.clip(cosine, -1.0, 1.0))
    good = truth.total_gev > 0
    safe = np.where(good, truth.total_gev, np.nan)
    return _PerEvent(
        total / safe, np.where(some, leading, np.nan) / np.where(good, truth.leading_gev, np.nan),
        number.astype(np.float64), angle, None if kind == "particles" else distance, truth.leading_gev,
    )  # fmt: skip


def _statistic(values: Doubles, what: Callable[[Doubles], float], seed: int) -> Value:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Value(math.nan, math.nan)
    return bootstrap(lambda i: what(values[i]), len(values), np.random.default_rng(seed))


def _figures(p: _PerEvent, objects: Reconstructed, seed: int) -> dict[str, Value]:
    def mean(x: Doubles) -> float:
        return float(x.mean())

    def median(x: Doubles) -> float:
        return float(np.median(x))

    mu, width = relative_width(p.ratio[np.isfinite(p.ratio)])
    lead_mu, lead_width = relative_width(p.leading[np.isfinite(p.leading)])
    found = {
        "objects per event": _statistic(p.number, mean, seed),
        "events without object": _statistic((p.number == 0).astype(float), mean, seed),
        "sum of energies / true sum, μ90": mu,
        "sum of energies / true sum, σ90/μ90": width,
        "highest energy / highest true energy, μ90": lead_mu,
        "highest energy / highest true energy, σ90/μ90": lead_width,
        "angle to the true direction, median (mrad)": _statistic(p.angle_mrad, median, seed),
    }
    if p.distance_mm is not None:
        found["distance from the true line, median (mm)"] = _statistic(p.distance_mm, median, seed)
    kinds = Counter(np.abs(objects.pdg[objects.pdg != 0]).tolist())
    rows = np.repeat(np.arange(len(objects)), np.diff(objects.offsets))
    for pdg, name in _SPECIES.items():
        if kinds.get(pdg):
            per_event = np.bincount(rows[np.abs(objects.pdg) == pdg], minlength=len(objects)).astype(np.float64)
            found[f"{name} per event"] = _statistic(per_event, mean, seed)
    return found


def _energy_bins(energy: Doubles) -> list[tuple[float, float]]:
    """Bins of the true energy: a bin for each of few fixed energies, else at most six with enough events each."""
    fixed = np.unique(np.round(energy, 2))
    if len(fixed) <= 6:
        return [(float(e) - 0.02, float(e) + 0.02) for e in fixed]
    parts = int(np.clip(len(energy) // (2 * _LEAST), 1, 6))
    edges = np.unique(np.quantile(energy, np.linspace(0, 1, parts + 1)))
    edges[-1] *= 1 + 1e-6
    return [(float(a), float(b)) for a, b in itertools.pairwise(edges)]


def _pictures(kind: Kind, full: _PerEvent, fast: _PerEvent) -> list[plots.Picture]:
    names = ("full simulation", "fast simulation")
    what = {"particles": "reconstructed particles", "clusters": "clusters", "light clusters": "clusters"}[kind]
    name = kind.replace(" ", "_")
    wanted = [
        ("ratio", full.ratio, fast.ratio, f"sum of energies of the {what} / true energy"),
        ("number", full.number, fast.number, f"{what} per event"),
        ("angle", full.angle_mrad, fast.angle_mrad, "angle to the true direction (mrad)"),
    ]
    if full.distance_mm is not None and fast.distance_mm is not None:
        wanted.append(("distance", full.distance_mm, fast.distance_mm, "distance from the true line (mm)"))
    made = []
    for key, a, b, label in wanted:
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if min(len(a), len(b)) < 2:
            continue
        bins = int(np.clip(min(len(a), len(b)) // 5, 6, 30))
        if key in _TAILED:
            edges = np.linspace(0.0, 5.0 * max(float(np.median(a)), 1e-9), bins + 1)
            note = "; what is beyond five times the median is in the last bin"
        else:
            edges, note = plots.shared_edges(a, b, bins, whole=key == "number"), ""
        made.append(plots.Picture(
            f"reco_{name}_{key}", f"{label[:1].upper()}{label[1:]}{note}.", "",
            plots.histogram_panels(
                edges, plots.fractions(a, edges), plots.fractions(b, edges), x_label=label,
                y_label="fraction of events", names=names,
            ),
        ))  # fmt: skip
    return made


def _by_energy(kind: Kind, full: _PerEvent, fast: _PerEvent) -> tuple[plots.Picture | None, list[dict[str, Any]]]:
    """Linearity and resolution in bins of the highest true energy."""
    bins, numbers = [], []
    for low, high in _energy_bins(full.energy_gev):
        found = {}
        for key, p in (("reference", full), ("model", fast)):
            use = (p.energy_gev >= low) & (p.energy_gev < high) & np.isfinite(p.ratio)
            if use.sum() >= _LEAST:
                found[key] = (int(use.sum()), *relative_width(p.ratio[use]))
        if len(found) == 2:
            bins.append(Bin(
                low, high, {k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()},
                {k: v[2] for k, v in found.items()},
            ))  # fmt: skip
            numbers.append({"low_gev": low, "high_gev": high, **found})
    if len(bins) < 2:
        return None, numbers
    lines = [("reference", "full simulation", plots.GEANT4), ("model", "fast simulation", plots.MODEL)]
    picture = plots.plot_response(bins, "energy", lines, section="", calibrated=True)
    return dataclasses.replace(
        picture,
        name=f"reco_{kind.replace(' ', '_')}_energy",
        caption="Linearity and resolution against the highest true energy of the event (narrowest 90 %).",
    ), numbers


def compare_reconstructed(
    full: Sequence[Path],
    fast: Sequence[Path],
    folder: Path,
    geometry: Geometry,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[report.Section], dict[str, Any]]:
    """Compare reconstructed objects of two samples, each against its own MC truth.

    Parameters
    ----------
    full, fast
        EDM4hep files of full and fast simulation, best of the same particles.
    folder
        Of the report; pictures go to its folder plots.
    geometry
        The detector, for the light clustering.

    Returns
    -------
    sections, numbers
        For the report, and for its JSON file.

    Raises
    ------
    InputError
        A file cannot be read, or has nothing to compare.
    """
    make_folder(folder / "plots")
    plots.check_plotting()
    progress("reading MC truth")
    truth = {"full": Truth.join([read_truth(p) for p in full]), "fast": Truth.join([read_truth(p) for p in fast])}
    for key, t in truth.items():
        if not len(t) or not (t.total_gev > 0).any():
            raise InputError(
                "the files have no MC truth to compare with", found=f"{len(t)} events of {key} simulation",
                expected="MCParticles with generatorStatus 1",
            )  # fmt: skip
    same = len(truth["full"]) == len(truth["fast"]) and np.allclose(
        truth["full"].leading_gev, truth["fast"].leading_gev, rtol=1e-4
    )
    paths = {"full": full, "fast": fast}
    chosen = _collections([*full, *fast])
    objects: dict[Kind, dict[str, Reconstructed]] = {}
    said: dict[Kind, str] = {}
    for kind, name in chosen.items():
        progress(f"reading {name}")
        read = read_particles if kind == "particles" else read_clusters
        objects[kind] = {key: Reconstructed.join([read(p, name) for p in files]) for key, files in paths.items()}
        said[kind] = f"Collection {name}, as the reconstruction wrote it."
    if not chosen:
        progress("clustering hits")
        cells = {key: _join_cells([_hits(p, geometry) for p in files]) for key, files in paths.items()}
        t = truth["full"]
        use = (t.particles == 1) & (t.total_gev > 0)
        if not use.any():
            use = t.total_gev > 0
        visible = cells["full"].sums(cells["full"].energy_gev * _thick(cells["full"]))[use]
        factor = float(calibration_factors(visible[:, None], t.total_gev[use])[0])
        objects["light clusters"] = {key: _light_clusters(c, factor) for key, c in cells.items()}
        said["light clusters"] = (
            "The files hold no reconstructed objects that both samples have: the light clustering of this package "
            "(<code>find_photons</code>) ran on the ECAL hits of both, made for photons only. One constant, "
            f"{factor:.2f} (twice that behind thick absorbers), from the full simulation, calibrates both."
        )
    sections, numbers = [], dict[str, Any]()
    for kind, pair in objects.items():
        for key, found in pair.items():
            if len(found) != len(truth[key]):
                raise InputError(
                    "reconstructed objects and MC truth differ in their number of events",
                    found=f"{len(found)} and {len(truth[key])} in {', '.join(map(str, paths[key]))}",
                )
        measured = {key: _per_event(o, truth[key], kind) for key, o in pair.items()}
        values = {key: _figures(measured[key], o, seed) for key, o in pair.items()}
        rows: list[list[Any]] = []
        for name, first in values["full"].items():
            second = values["fast"].get(name, Value(math.nan, math.nan))
            error = math.hypot(first.error, second.error)
            pull = abs(second.value - first.value) / error if error > 0 else math.nan
            shade = "good" if pull < 2 else "fair" if pull < 5 else "bad" if math.isfinite(pull) else ""
            rows.append([name, first, (str(second), shade)])
        pictures = _pictures(kind, measured["full"], measured["fast"])
        picture, bins = _by_energy(kind, measured["full"], measured["fast"])
        section = report.Section(
            f"After reconstruction: {kind}",
            f"{len(truth['full'])} events of full and {len(truth['fast'])} of fast simulation"
            + (", of the same particles. " if same else ", of different particles. ")
            + said[kind]
            + " Each sample is compared with its own stable generator particles (without neutrinos); the object of "
            "highest energy with the particle of highest energy; an angle to a charged particle's direction contains "
            "its bending. ✓: within 2 standard deviations of full simulation, ≈: within 5, ✗: beyond.",
            [report.table(["figure", "full simulation", "fast simulation"], rows)],
            [(plots.save(p, folder / "plots"), p.caption) for p in ([picture] if picture else []) + pictures],
        )
        sections.append(section)
        numbers[kind] = {"figures": values, "by_energy": bins, "events": {k: len(t) for k, t in truth.items()}}
    return sections, {"reconstructed": numbers}

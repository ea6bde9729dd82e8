# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Which of two models is closer to Geant4? Differences that a comparison of each alone with Geant4 does not resolve.

Both models make several showers of each incident particle of the reference, so that nearly all noise is that of the
reference and common to both. Every figure is recomputed on resampled incident particles, the same for both models and
the reference; the spread of the *difference* of the two distances from Geant4 is its error.

Several figures look at one observable (its mean, distances between its distributions). They are summed up: the mean of
their differences, each in units of its error, with the error that this mean has in the same resamplings. Beside each
figure stands its floor, the distance at which a model that is Geant4 itself would be found: a model at the floor cannot
be beaten. The answer that the program gives in words is of the observables in which a model is not at the floor.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.files import make_folder
from ddcalogen.training.data import Showers, file_sha256, load_split
from ddcalogen.validation.classifiers import caloclouds_features, convl2l_features, physics_features, separate_features
from ddcalogen.validation.metrics import (
    Value,
    correlation_matrix,
    divergence,
    frechet,
    separation_power,
    spectrum_peak,
    wasserstein,
)
from ddcalogen.validation.observables import Observables, readout_of
from ddcalogen.validation.report import write_json
from ddcalogen.validation.samples import generate, in_domain, make_sample, merge_as

__all__ = ["Comparison", "Contest", "Summary", "compare_models", "compare_observables", "write_contest"]

Doubles = NDArray[np.float64]
Index = NDArray[np.int64]
Statistic = Callable[[Observables, Index, Observables, Index], float]
Verdict = Literal["first", "second", "undecided"]

_LEAST = 50
_BINS = 20
_ENERGY_BINS = 400
_SIGMAS = 2.0
_HALVINGS = 20
_CLASSES = 12
"""Of incident particles, in which means are compared: deviations at low and high energy may cancel in all together."""
_SQUARES = ("JSD", "separation power", "physics distances")
"""Groups of figures that fall with the number of showers, not with its root."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One figure of two models.

    Attributes
    ----------
    observable
        What the figure looks at.
    first, second
        Of the models: a quantity, or a distance from Geant4.
    geant4
        Of the reference, for quantities; NaN for distances.
    gain
        Distance of the second model from Geant4 less that of the first: positive where the first is closer.
    floor
        Distance from Geant4 of another sample of Geant4 as large as a model's, and its spread.
    """

    observable: str
    group: str
    name: str
    unit: str
    first: float
    second: float
    geant4: float
    gain: Value
    floor: Value

    @property
    def verdict(self) -> Verdict:
        """Which model is closer, by more than two standard deviations of the difference."""
        return _verdict(self.gain)

    @property
    def distances(self) -> tuple[float, float]:
        """Distances of the two models from Geant4."""
        if self.group.startswith("classifier"):
            return abs(self.first - 0.5), abs(self.second - 0.5)
        anchor = 0.0 if math.isnan(self.geant4) else self.geant4
        return abs(self.first - anchor), abs(self.second - anchor)

    @property
    def at_floor(self) -> tuple[bool, bool]:
        """Whether each model is as close to Geant4 as Geant4 itself would be, within two standard deviations."""
        most = self.floor.value + _SIGMAS * self.floor.error
        first, second = self.distances
        return first <= most, second <= most


@dataclasses.dataclass(frozen=True)
class Summary:
    """All figures of one observable.

    Attributes
    ----------
    figures
        How many figures there are.
    gain
        Mean of the figures' gains in units of their errors, and its error.
    at_floor
        Whether each model is at the floor in every figure.
    """

    observable: str
    figures: int
    gain: Value
    at_floor: tuple[bool, bool]

    @property
    def verdict(self) -> Verdict:
        """Which model is closer, by more than two standard deviations."""
        return _verdict(self.gain)


def _verdict(gain: Value) -> Verdict:
    if abs(gain.value) <= _SIGMAS * gain.error or not math.isfinite(gain.error):
        return "undecided"
    return "first" if gain.value > 0 else "second"


@dataclasses.dataclass(frozen=True)
class Contest:
    """All figures of two models, and what they were measured on."""

    first: str
    second: str
    showers: int
    copies: int
    seed: int
    data: dict[str, str]
    comparisons: list[Comparison]
    summaries: list[Summary]

    def count(self, verdict: str) -> int:
        """Number of figures with a verdict."""
        return sum(c.verdict == verdict for c in self.comparisons)

    def differing(self, model: Literal["first", "second"]) -> list[Summary]:
        """Observables in which a model measurably differs from Geant4: not at the floor in one figure at least."""
        return [s for s in self.summaries if not s.at_floor[model == "second"]]

    def answers(self) -> list[str]:
        """For each model, the second first: where it differs from Geant4, and whether the other is closer there."""
        lines = []
        names = {"first": self.first, "second": self.second}
        pairs: list[tuple[Literal["first", "second"], str]] = [("second", "first"), ("first", "second")]
        for mine, other in pairs:
            found = self.differing(mine)
            of = {
                verdict: [s.observable for s in found if s.verdict == verdict] for verdict in (other, mine, "undecided")
            }
            parts = [f"{names[other]} is closer in {len(of[other])}"]
            for text, verdict in (("farther", mine), ("not decided", "undecided")):
                parts.append(f"{text} in {len(of[verdict])}" + (f" ({', '.join(of[verdict])})" if of[verdict] else ""))
            start = f"{names[mine]} measurably differs from Geant4 in {len(found)} of {len(self.summaries)} observables"
            lines.append(f"{start}; in these {', '.join(parts)}")
        return lines


def _figures(reference: Observables) -> Iterator[tuple[str, str, str, str, bool, Statistic]]:
    """Observable, group, name, unit, is it a quantity, and statistic of (sample, rows of it, reference, its rows)."""
    for name, (title, unit) in reference.readout.scalars.items():
        if name == "visible_gev":
            continue  # the response tells the same without the spread of the incident energies

        def mean(o: Observables, i: Index, r: Observables, j: Index, name: str = name) -> float:
            return float(o.scalars[name][i].mean())

        yield title, "means", f"mean {title.removeprefix('mean ')}", unit, True, mean
    for group, distance in (("JSD", divergence), ("separation power", separation_power)):
        for name, (title, _) in reference.readout.scalars.items():
            low, high = np.quantile(reference.scalars[name], [0.005, 0.995])
            edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)

            def binned(
                o: Observables,
                i: Index,
                r: Observables,
                j: Index,
                name: str = name,
                edges: Doubles = edges,
                distance: Callable[[Doubles, Doubles], float] = distance,
            ) -> float:
                p, q = (
                    np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0].astype(float)
                    for x in (o.scalars[name][i], r.scalars[name][j])
                )
                return distance(p, q)

            yield title, group, title, "", False, binned
    classes = _classes(reference)
    for name, (title, _) in reference.readout.scalars.items():
        values = reference.scalars[name]
        widths = np.array([values[classes == k].std() for k in range(_CLASSES)])

        def by_class(
            o: Observables, i: Index, r: Observables, j: Index, name: str = name, widths: Doubles = widths
        ) -> float:
            of, off = np.tile(classes, len(o) // len(reference)), []
            for rows, side, sample in ((i, of, o), (j, classes, r)):
                number = np.bincount(side[rows], minlength=_CLASSES)
                off.append(np.bincount(side[rows], sample.scalars[name][rows], _CLASSES) / np.maximum(number, 1))
            return float(np.sqrt(np.mean(((off[0] - off[1]) / np.maximum(widths, 1e-12)) ** 2)))

        yield title, "means by energy and angle", title, "", False, by_class
    scalars = (
        ("occupancy", "hits"),
        ("sampling fraction", "response"),
        ("CoG along", "cog_along_mm"),
        ("CoG across", "cog_across_mm"),
        ("CoG depth", "cog_layer"),
    )
    for title, name in scalars:

        def direct(o: Observables, i: Index, r: Observables, j: Index, name: str = name) -> float:
            return wasserstein(o.scalars[name][i], r.scalars[name][j])

        yield reference.readout.scalars[name][0], "W1 × 100", title, "", False, direct
    middles: list[Doubles] = []
    tables: dict[tuple[int, int], Doubles] = {}

    def hits(o: Observables, part: int) -> Doubles:
        if (id(o), part) not in tables:
            row = np.repeat(np.arange(len(o)), np.diff(o.hit_offsets))
            inside = o.hit_part == part
            slot = np.searchsorted(spectra[part], o.hit_gev[inside], side="right") - 1
            slot = row[inside] * _ENERGY_BINS + np.clip(slot, 0, _ENERGY_BINS - 1)
            table = np.bincount(slot, minlength=len(o) * _ENERGY_BINS)
            tables[id(o), part] = table.reshape(len(o), _ENERGY_BINS).astype(float)
        return tables[id(o), part]

    def rings(o: Observables, part: int) -> Doubles:
        return o.radial_gev[:, part]

    spectra: list[Doubles] = []
    weighted: list[tuple[str, str, Callable[[Observables], Doubles], Doubles | None]] = []
    titles = [f", {part.name.upper()}" if reference.readout.combined else "" for part in reference.readout.parts]
    for part, of in enumerate(titles):
        mine = reference.hit_gev[reference.hit_part == part]
        low, high = (float(mine.min()), float(mine.max())) if len(mine) else (1e-4, 1.0)
        spectra.append(np.geomspace(low, 1.0001 * high, _ENERGY_BINS + 1))
        middles.append(np.sqrt(spectra[-1][:-1] * spectra[-1][1:]))
        weighted += [
            (f"energy spectrum of the cells{of}", f"hits{of}", functools.partial(hits, part=part), middles[-1]),
            (f"mean energy at each radius{of}", f"E rad{of}", functools.partial(rings, part=part), None),
        ]
    weighted.append(("mean energy of each layer", "E long", lambda o: o.layer_gev * o.weights, None))
    for observable, title, columns, at in weighted:

        def profile(
            o: Observables,
            i: Index,
            r: Observables,
            j: Index,
            columns: Callable[[Observables], Doubles] = columns,
            at: Doubles | None = at,
        ) -> float:
            p, q = (np.bincount(k, minlength=len(x)).astype(float) @ columns(x) for x, k in ((o, i), (r, j)))
            place = np.arange(len(p), dtype=float) if at is None else at
            return wasserstein(place, place, p, q)

        yield observable, "W1 × 100", title, "", False, profile
    for title, reduce in (("mean |Δ correlation|", np.mean), ("max |Δ correlation|", np.max)):

        def correlations(
            o: Observables, i: Index, r: Observables, j: Index, reduce: Callable[[Doubles], float] = reduce
        ) -> float:
            off = np.abs(correlation_matrix(o, i) - correlation_matrix(r, j))
            return float(reduce(off[np.triu_indices(len(off), k=1)]))

        yield "correlations", "correlations", title, "", False, correlations
    for (part, of), (k, title, unit) in itertools.product(
        enumerate(titles),
        ((0, "MIP peak position", "MeV"), (1, "MIP peak width at 3/4 of its height / position", "")),
    ):

        def peak(o: Observables, i: Index, r: Observables, j: Index, part: int = part, k: int = k) -> float:
            spectrum = np.bincount(i, minlength=len(o)).astype(float) @ o.spectrum[:, part].astype(float)
            return spectrum_peak(spectrum, o.readout.parts[part].threshold_gev)[k]

        yield f"single-particle peak{of}", "cell spectrum", title + of, unit, True, peak
    scale = np.maximum(np.abs(physics_features(reference)).max(axis=0), 1e-12)

    def distance_of_moments(o: Observables, i: Index, r: Observables, j: Index) -> float:
        return frechet(physics_features(o)[i] / scale, physics_features(r)[j] / scale)

    yield "means and covariances together", "physics distances", "Fréchet distance", "", False, distance_of_moments


def _classes(reference: Observables) -> Index:
    """Class of each incident particle, int64 [N]: quarters of the energies, and thirds of the angles in each."""
    result = np.zeros(len(reference), np.int64)
    for k, rows in enumerate(np.array_split(np.argsort(reference.energy_gev, kind="stable"), _CLASSES // 3)):
        for m, some in enumerate(np.array_split(rows[np.argsort(reference.theta_deg[rows], kind="stable")], 3)):
            result[some] = 3 * k + m
    return result


def _classified(
    first: Observables, second: Observables, reference: Observables, *, folds: int, seed: int
) -> Iterator[Comparison]:
    """AUC of the two classifiers on features; the error takes the two models' as independent, so it is too large."""
    n = len(reference)
    models = [o.select(np.arange(len(o)) < n) for o in (first, second)]
    for title, wide in (("25 features (CaloClouds II)", False), ("10 features (ConvL2LFlows)", True)):
        auc = []
        for o in models:
            if wide:
                found = separate_features(
                    convl2l_features(o), convl2l_features(reference), (512, 512, 128, 32),
                    rate=1e-4, batch=256, epochs=30, folds=folds, seed=seed,
                )  # fmt: skip
            else:
                mine, theirs = (caloclouds_features(x, reference) for x in (o, reference))
                found = separate_features(mine, theirs, (32, 16), folds=folds, seed=seed)
            auc.append(found.auc)
        off = [abs(a.value - 0.5) for a in auc]
        gain = Value(off[1] - off[0], math.hypot(auc[0].error, auc[1].error))
        name = f"classifier {title}"
        # another sample of Geant4 has an AUC of 0.5 within the error
        floor = Value(0.0, max(a.error for a in auc))
        yield Comparison(name, name, "AUC", "", auc[0].value, auc[1].value, math.nan, gain, floor)


def _floor(
    reference: Observables, statistic: Statistic, halves: Sequence[tuple[Index, Index]], *, copies: int, power: float
) -> Value:
    """Distance of Geant4 from Geant4, brought from halves of the reference to all of it and a model's showers.

    Of two halves of N / 2 showers the variance of a difference is 4 / N in units of that of one shower, of N and
    c * N it is (1 + 1 / c) / N.
    """
    scale = (0.25 * (1.0 + 1.0 / copies)) ** power
    found = np.array([abs(statistic(reference, a, reference, b)) for a, b in halves])
    return Value(float(scale * found.mean()), float(scale * found.std(ddof=1)))


def _halves(reference: Observables, rng: np.random.Generator) -> list[tuple[Index, Index]]:
    """Halves at random, of neighbours in energy one in each: both have the same incident particles, nearly."""
    order = np.argsort(reference.energy_gev, kind="stable")
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    halves = []
    for _ in range(_HALVINGS):
        side = rng.integers(0, 2, len(pairs))
        row = np.arange(len(pairs))
        halves.append((np.sort(pairs[row, side]), np.sort(pairs[row, 1 - side])))
    return halves


def _summaries(comparisons: Sequence[Comparison], replicas: Sequence[Doubles]) -> list[Summary]:
    """Sum up by observable; `replicas`: gains of each figure in the resamplings."""
    result = []
    for observable in dict.fromkeys(c.observable for c in comparisons):
        mine = [(c, r) for c, r in zip(comparisons, replicas, strict=True) if c.observable == observable]
        known = [(c, r) for c, r in mine if c.gain.error > 0]
        gain = Value(0.0, math.nan)
        if known:
            pull = float(np.mean([c.gain.value / c.gain.error for c, _ in known]))
            spread = np.mean([r / c.gain.error for c, r in known], axis=0)
            gain = Value(pull, float(np.std(spread, ddof=1)))
        at_floor = tuple(all(c.at_floor[k] for c, _ in mine) for k in range(2))
        result.append(Summary(observable, len(mine), gain, (at_floor[0], at_floor[1])))
    return result


def compare_observables(
    first: Observables,
    second: Observables,
    reference: Observables,
    *,
    replicas: int,
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Comparison], list[Summary]]:
    """Compare two models that made the same number of showers of each incident particle of the reference.

    Parameters
    ----------
    first, second
        Observables of c x N showers: all incident particles of the reference, c times in its order.
    reference
        Geant4, N showers.

    Returns
    -------
    tuple[list[Comparison], list[Summary]]
        All figures, and what they say of each observable.
    """
    n = len(reference)
    copies = len(first) // n
    starts = n * np.arange(copies)[:, None]
    draws = [np.arange(n), *(np.sort(rng.integers(0, n, n)) for _ in range(replicas))]
    halves = _halves(reference, rng)
    comparisons, gains = [], []
    for observable, group, name, unit, quantity, statistic in _figures(reference):
        progress(f"{group}: {name}")

        def distance(
            o: Observables,
            i: Index,
            r: Observables,
            j: Index,
            statistic: Statistic = statistic,
            quantity: bool = quantity,
        ) -> float:
            return statistic(o, i, r, j) - (statistic(r, j, r, j) if quantity else 0.0)

        rows = []
        for index in draws:
            of_copies = (index + starts).ravel()
            values = [statistic(o, of_copies, reference, index) for o in (first, second)]
            anchor = statistic(reference, index, reference, index) if quantity else 0.0
            rows.append((*values, anchor, abs(values[1] - anchor) - abs(values[0] - anchor)))
        table = np.array(rows)
        gain = Value(float(table[0, 3]), float(table[1:, 3].std(ddof=1)))
        geant4 = float(table[0, 2]) if quantity else math.nan
        floor = _floor(reference, distance, halves, copies=copies, power=1.0 if group in _SQUARES else 0.5)
        of_models = float(table[0, 0]), float(table[0, 1])
        comparisons.append(Comparison(observable, group, name, unit, *of_models, geant4, gain, floor))
        gains.append(table[1:, 3])
    return comparisons, _summaries(comparisons, gains)


def compare_models(
    first: Generator,
    second: Generator,
    files: Sequence[str | os.PathLike[str]],
    *,
    showers: int = 2000,
    copies: int = 4,
    replicas: int = 100,
    folds: int = 10,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Contest:
    """Compare two models with the Geant4 showers of the test split, and with each other.

    Parameters
    ----------
    first, second
        Models of the same calorimeter.
    files
        Geant4 showers; those of the test split in the domain of both models are used.
    showers
        Geant4 showers at most.
    copies
        Showers that each model makes of each incident particle.
    replicas, folds
        Resamplings for the errors; folds of the classifiers' cross-validation (0: no classifiers).
    progress
        Told what comes next.

    Raises
    ------
    ConfigurationError
        The models are for different calorimeters.
    InputError, InferenceError
        Fewer than 50 showers are left, or files or a model's showers cannot be used.
    """
    cards = (first.card, second.card)
    if cards[0].calorimeter.layer_depth_mm != cards[1].calorimeter.layer_depth_mm:
        raise ConfigurationError(
            "the models are for different calorimeters",
            found=" and ".join(c.calorimeter.name for c in cards),
            expected="the same layers",
            remedy="Compare models of one calorimeter.",
        )
    readout, calorimeter = readout_of(cards[0].calorimeter), cards[0].calorimeter.name.lower()
    rng = np.random.default_rng(seed)
    progress("reading Geant4 showers")
    truth = load_split(files, "test", calorimeter)
    usable = np.flatnonzero(in_domain(truth, cards[0]) & in_domain(truth, cards[1]))
    if len(usable) < _LEAST:
        raise InputError(
            "too few Geant4 showers for a comparison",
            found=f"{len(usable)} showers of the test split in the domain of both models",
            expected=f"at least {_LEAST}",
            remedy="Give more files of the particles, energies and angles both models are made for.",
        )
    truth = truth.select(np.sort(rng.permutation(usable)[:showers]))
    n = len(truth)

    def measured(name: str, content: Showers, weights: Doubles | None) -> Observables:
        progress("measuring observables")
        rotation = truth.grid_rotation_rad
        return make_sample(name, content, readout, rotation_rad=rotation, rng=rng, weights=weights).observables

    reference = measured("reference", truth, None)
    models = []
    for generator in (first, second):
        made = []
        for copy in range(copies):
            progress(f"{generator.card.name}, showers {copy + 1} of {copies}")
            # measured one by one: points take many times the memory of what is measured on them
            content = merge_as(generate(generator, truth, rng=rng, first_event=copy * n)[0], truth)
            made.append(measured(generator.card.name, content, reference.weights))
        models.append(Observables.join(made))

    comparisons, summaries = compare_observables(
        models[0], models[1], reference, replicas=replicas, rng=rng, progress=progress
    )
    if folds:
        progress("classifiers")
        for c in _classified(models[0], models[1], reference, folds=folds, seed=seed):
            comparisons.append(c)
            pull = Value(c.gain.value / c.gain.error, 1.0) if c.gain.error > 0 else Value(0.0, math.nan)
            summaries.append(Summary(c.observable, 1, pull, c.at_floor))
    names = [f"{c.name} {c.version}" for c in cards]
    digests = {Path(f).name: file_sha256(f) for f in files}
    return Contest(names[0], names[1], n, copies, seed, digests, comparisons, summaries)


def write_contest(contest: Contest, folder: Path) -> Path:
    """Write ``versus.json`` into a folder and return its path.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    make_folder(folder)
    path = folder / "versus.json"
    rows = [{**dataclasses.asdict(c), "verdict": c.verdict, "at_floor": c.at_floor} for c in contest.comparisons]
    summed = [{**dataclasses.asdict(s), "verdict": s.verdict} for s in contest.summaries]
    written = {"comparisons": rows, "summaries": summed, "answers": contest.answers()}
    write_json({**dataclasses.asdict(contest), **written}, path)
    return path

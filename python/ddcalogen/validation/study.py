# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison in the shower frame: every figure of merit for the model, for Geant4 itself and for known errors."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen.validation.metrics import (
    Value,
    bootstrap,
    correlation_difference,
    frechet_physics_distance,
    histogram_distances,
    kernel_physics_distance,
    mip_peak,
    relative_width,
    wasserstein_set,
)
from ddcalogen.validation.observables import Observables
from ddcalogen.validation.samples import Sample

__all__ = ["CONTROLS", "CONTROL_NAMES", "Bin", "Figure", "bins_of", "classifier_figures", "compare", "response_bins"]

CONTROLS: dict[str, dict[str, float]] = {"energy_5_percent": {"energy": 1.05}, "width_10_percent": {"width": 1.10}}
"""Known errors put into Geant4 showers: name -> arguments of `samples.distort`."""
CONTROL_NAMES = {"energy_5_percent": "Geant4, energy + 5 %", "width_10_percent": "Geant4, width + 10 %"}

_ENERGY_EDGES_GEV = (0.5, 2.0, 5.0, 10.0, 25.0, 40.0, 55.0, 70.0, 85.0, 100.0, 131.0)
_THETA_EDGES_DEG = (0.0, 15.0, 30.0, 45.0, 60.5)
_LEAST_IN_BIN = 20

Kind = Literal["distance", "quantity"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of merit for every sample.

    kind "distance": the sample against the reference, smaller is better, `values["geant4"]` is what a perfect model
    would get. kind "quantity": a property of the sample, to be compared with that of `values["reference"]`.
    """

    group: str
    name: str
    unit: str
    kind: Kind
    values: dict[str, Value]

    def pull(self, sample: str) -> float:
        """How many standard deviations the sample lies from where Geant4 lies; NaN where that has no meaning."""
        anchor = self.values["geant4" if self.kind == "distance" else "reference"]
        mine = self.values[sample]
        error = math.hypot(mine.error, anchor.error)
        return (mine.value - anchor.value) / error if error > 0 else math.nan

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)


def compare(
    samples: dict[str, Sample],
    reference: Sample,
    *,
    subsets: int = 5,
    seed: int = 0,
    advance: Callable[[str], None] = lambda _: None,
) -> list[Figure]:
    """Return all figures that need no training.

    Parameters
    ----------
    samples
        By name; "geant4" (Geant4 again) must be among them.
    reference
        Geant4.
    advance
        Called with what comes next.
    """
    figures: list[Figure] = []
    ref = reference.observables
    scalars = ref.readout.scalars
    observed = {name: s.observables for name, s in samples.items()}

    def rng() -> np.random.Generator:
        return np.random.default_rng([seed, 77])  # the same resampling for every sample

    def add(group: str, name: str, unit: str, kind: Kind, value_of: Callable[[Observables], Value]) -> None:
        values = {key: value_of(o) for key, o in observed.items()}
        if kind == "quantity":
            values["reference"] = value_of(ref)
        figures.append(Figure(group, name, unit, kind, values))

    advance("distributions")
    for name, (title, unit) in scalars.items():
        if name in ("visible_gev",):
            continue  # the response tells the same without the spread of the incident energies

        def mean_of(o: Observables, name: str = name) -> Value:
            values = o.scalars[name]
            return bootstrap(lambda index: float(values[index].mean()), len(values), rng())

        add("means", f"mean {title.removeprefix('mean ')}", unit, "quantity", mean_of)
    both = {
        name: {key: histogram_distances(o.scalars[name], ref.scalars[name], rng()) for key, o in observed.items()}
        for name in scalars
    }
    for name, (title, _) in scalars.items():
        figures.append(Figure("JSD", title, "", "distance", {k: v[0] for k, v in both[name].items()}))
    for name, (title, _) in scalars.items():
        figures.append(Figure("separation power", title, "", "distance", {k: v[1] for k, v in both[name].items()}))

    advance("Wasserstein distances")
    distances = {key: wasserstein_set(o, ref, subsets) for key, o in observed.items()}
    for name in distances["geant4"]:
        figures.append(Figure("W1 × 100", name, "", "distance", {k: v[name] for k, v in distances.items()}))

    advance("correlations")
    correlations = {key: correlation_difference(o, ref, rng()) for key, o in observed.items()}
    for i, name in enumerate(("mean |Δ correlation|", "max |Δ correlation|")):
        figures.append(Figure("correlations", name, "", "distance", {k: v[i] for k, v in correlations.items()}))

    advance("single-particle peak")
    for k, part in enumerate(ref.readout.parts):
        peaks = {
            key: mip_peak(o.spectrum[:, k], part.threshold_gev, rng())
            for key, o in (*observed.items(), ("reference", ref))
        }
        of = f", {part.name.upper()}" if ref.readout.combined else ""
        for i, (name, unit) in enumerate(
            (("MIP peak position", "MeV"), ("MIP peak width at 3/4 of its height / position", ""))
        ):
            figures.append(Figure("cell spectrum", name + of, unit, "quantity", {k: v[i] for k, v in peaks.items()}))

    advance("Fréchet and kernel distances")
    from ddcalogen.validation.classifiers import physics_features

    features = physics_features(ref)
    mine = {key: physics_features(o) for key, o in observed.items()}
    frechet = {key: frechet_physics_distance(f, features, rng()) for key, f in mine.items()}
    kernel = {key: kernel_physics_distance(f, features, rng()) for key, f in mine.items()}
    figures.append(Figure("physics distances", "FPD", "", "distance", frechet))
    figures.append(Figure("physics distances", "KPD", "", "distance", kernel))
    return figures


def classifier_figures(
    samples: dict[str, Sample],
    reference: Sample,
    *,
    seed: int = 0,
    folds: int = 10,
    low_level: bool = True,
    advance: Callable[[str], None] = lambda _: None,
) -> list[Figure]:
    """Return AUC, accuracy and JSD of the classifiers for every sample against the reference.

    Parameters
    ----------
    samples, reference
        As for `compare`.
    low_level
        Also train the one on cells, which takes most of the time.
    """
    from ddcalogen.validation.classifiers import (
        Separation,
        caloclouds_features,
        convl2l_features,
        hadron_features,
        separate_features,
        separate_images,
        shower_images,
    )

    ref = reference.observables

    def images(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        o = sample.observables
        return shower_images(sample.cells, o.readout), o.energy_gev

    found: dict[str, dict[str, Separation]] = {}
    for key, sample in samples.items():
        o = sample.observables
        advance(f"25 features: {key}")
        found.setdefault("25 features (CaloClouds II)", {})[key] = separate_features(
            caloclouds_features(o, ref), caloclouds_features(ref, ref), (32, 16), folds=folds, seed=seed
        )
        advance(f"10 features: {key}")
        found.setdefault("10 features (ConvL2LFlows)", {})[key] = separate_features(
            convl2l_features(o),
            convl2l_features(ref),
            (512, 512, 128, 32),
            rate=1e-4,
            batch=256,
            epochs=30,
            folds=folds,
            seed=seed,
        )
        if ref.readout.hadronic:
            advance(f"hadron features: {key}")
            found.setdefault("25 features and those of hadrons", {})[key] = separate_features(
                hadron_features(o, ref), hadron_features(ref, ref), (32, 16), folds=folds, seed=seed
            )
        if low_level:
            advance(f"cells: {key}")
            found.setdefault("cells (3-D convolutions)", {})[key] = separate_images(
                images(sample), images(reference), seed=seed
            )
    return [
        Figure(f"classifier {what}", label, "", "distance", {key: getattr(s, field) for key, s in by_sample.items()})
        for what, by_sample in found.items()
        for field, label in (("auc", "AUC"), ("accuracy", "accuracy"), ("jsd", "JSD"))
    ]


@dataclasses.dataclass(frozen=True)
class Bin:
    """Response in one bin: mu90 and sigma90/mu90 of visible / incident energy by sample, and how many showers."""

    low: float
    high: float
    showers: dict[str, int]
    mu90: dict[str, Value]
    resolution: dict[str, Value]


def bins_of(values: NDArray[np.float64], edges: Sequence[float]) -> list[tuple[float, float, NDArray[np.bool_]]]:
    """Bins with at least 20 showers: (low, high, mask)."""
    masks = [(low, high, (values >= low) & (values < high)) for low, high in itertools.pairwise(edges)]
    return [(low, high, mask) for low, high, mask in masks if mask.sum() >= _LEAST_IN_BIN]


def response_bins(samples: dict[str, Sample], along: Literal["energy", "angle"]) -> list[Bin]:
    """Return linearity and width of the response in bins of the incident energy or angle (from 10 GeV on)."""
    edges = _ENERGY_EDGES_GEV if along == "energy" else _THETA_EDGES_DEG

    def values_of(s: Sample) -> NDArray[np.float64]:
        o = s.observables
        return o.energy_gev if along == "energy" else np.where(o.energy_gev >= 10.0, o.theta_deg, math.nan)

    masks = {key: {(lo, hi): m for lo, hi, m in bins_of(values_of(s), edges)} for key, s in samples.items()}
    shared = set.intersection(*(set(m) for m in masks.values()))
    result = []
    for low, high in sorted(shared):
        mu, resolution, showers = {}, {}, {}
        for key, s in samples.items():
            response = s.observables.scalars["response"][masks[key][low, high]]
            mu[key], resolution[key] = relative_width(response)
            showers[key] = len(response)
        result.append(Bin(low, high, showers, mu, resolution))
    return result

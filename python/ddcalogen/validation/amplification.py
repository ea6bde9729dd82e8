# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Amplification: how many simulated showers is a generated sample worth? Method of Calomplification (2202.07352).

A large truth sample is cut into regions of equal probability: quantiles of one observable, or, in several dimensions,
regions of repeated halving at the median. The shares q of a smaller sample in the N regions deviate from the true
shares p = 1/N, the more the smaller the sample is. The size of a simulated sample that deviates as much as a generated
one is what the latter is worth; divided by the number of showers the generative model was trained on it is the
amplification factor. The more quantiles, the finer the structure that is asked for.

The shower is seen as in the paper: perpendicular photons of one energy, cells above half a minimum-ionising particle,
all layers added up, 10 × 10 cells around the axis.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import InputError
from ddcalogen.training.data import Showers
from ddcalogen.validation.metrics import Value, divergence
from ddcalogen.validation.observables import THRESHOLD_GEV

__all__ = [
    "DEVIATIONS",
    "LEAST_PER_REGION",
    "OBSERVABLES",
    "PIXELS",
    "Equivalent",
    "Regions",
    "amplification",
    "deviation",
    "equivalent_size",
    "expected_deviation",
    "image_observables",
    "project",
]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

PIXELS = 10
"""Cells along x and y of the projection."""
_BLOCK = 512
"""Showers projected at once."""
LEAST_PER_REGION = 10
"""Truth showers that a region must hold (2202.07352)."""
OBSERVABLES = {
    "visible": "visible energy",
    "hits": "pixels with energy",
    "cog_x": "centre of gravity in x",
    "cog_y": "centre of gravity in y",
    "brightest": "energy of the brightest pixel",
}
"""The five kinematic observables: the sources name their number, not all of them; these are this project's choice."""
DEVIATIONS = {
    "mse_root": "√(Σ p (q − p)²)",
    "absolute": "Σ |q − p|",
    "chi2": "Σ (q − p)² / p",
    "jsd": "Jensen-Shannon divergence / ln 2",
}
"""Measures of the deviation of shares q from true shares p."""


def project(showers: Showers, depth_mm: Doubles, *, cell_mm: float, calorimeter: str = "ecal") -> Floats:
    """Return the sum over the layers of the cells above threshold, float32 [N, 10, 10], MeV.

    The grid lies around the shower axis (in each layer), with a corner of four cells on it; points count where they
    are, so those of a merging grid must be spread over its cells before.
    """
    layers, threshold = len(depth_mm), THRESHOLD_GEV[calorimeter]
    images = np.zeros((len(showers), PIXELS, PIXELS), np.float32)
    for start in range(0, len(showers), _BLOCK):
        part = showers.select(np.arange(start, min(start + _BLOCK, len(showers))))
        row, layer = part.shower_of_point, part.layer.astype(np.int64)
        direction = part.direction.astype(np.float64)
        drift = direction[row, :2] / direction[row, 2:] * depth_mm[layer, None]
        ix = np.floor((part.x_mm - drift[:, 0]) / cell_mm + PIXELS / 2).astype(np.int64)
        iy = np.floor((part.y_mm - drift[:, 1]) / cell_mm + PIXELS / 2).astype(np.int64)
        inside = (ix >= 0) & (ix < PIXELS) & (iy >= 0) & (iy < PIXELS)
        cell = ((row * layers + layer) * PIXELS + ix) * PIXELS + iy
        size = len(part) * layers * PIXELS * PIXELS
        gev = np.bincount(cell[inside], part.point_energy_gev[inside], size).reshape(-1, layers, PIXELS, PIXELS)
        images[start : start + len(part)] = 1e3 * np.where(gev >= threshold, gev, 0.0).sum(axis=1)
    return images


def image_observables(images_mev: Floats, rng: np.random.Generator) -> Doubles:
    """Return the five `OBSERVABLES` of projections [N, 10, 10], float64 [N, 5].

    Whole numbers (hits) get a uniform random part between -½ and ½, so that quantiles of them exist.
    """
    images = images_mev.astype(np.float64)
    visible = images.sum(axis=(1, 2))
    safe = np.where(visible > 0, visible, 1.0)
    centre = np.arange(PIXELS) - (PIXELS - 1) / 2
    hits = (images > 0).sum(axis=(1, 2)) + rng.uniform(-0.5, 0.5, len(images))
    cog_x = images.sum(axis=2) @ centre / safe
    cog_y = images.sum(axis=1) @ centre / safe
    return np.stack([visible, hits, cog_x, cog_y, images.max(axis=(1, 2))], axis=1)


@dataclasses.dataclass(frozen=True)
class Regions:
    """A cut of space into 2^depth regions that hold equal parts of the truth sample.

    Level k halves every region at the median of column k mod D. One column gives quantiles.

    Attributes
    ----------
    medians
        For level k: float64 [2^k], the cuts of its regions.
    columns
        Number of columns D.
    truth_counts
        int64 [2^depth], truth showers in each region.
    """

    medians: tuple[Doubles, ...]
    columns: int
    truth_counts: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Doubles, depth: int) -> Regions:
        """Cut by a truth sample [T, D].

        Raises
        ------
        InputError
            Fewer than 10 truth showers would be left in a region.
        """
        if len(truth) < LEAST_PER_REGION * 2**depth:
            raise InputError(
                "too few truth showers for so many regions",
                found=f"{len(truth)} showers for {2**depth} regions",
                expected=f"at least {LEAST_PER_REGION} in each",
                remedy="Make more truth showers, or ask for fewer regions.",
            )
        index, medians = np.zeros(len(truth), np.int64), []
        for level in range(depth):
            values = truth[:, level % truth.shape[1]]
            order = np.lexsort((values, index))
            starts = np.searchsorted(index[order], np.arange(2**level + 1))
            middle = (starts[:-1] + starts[1:]) // 2
            cuts = 0.5 * (values[order[middle - 1]] + values[order[middle]])
            medians.append(cuts)
            index = 2 * index + (values > cuts[index])
        return cls(tuple(medians), truth.shape[1], np.bincount(index, minlength=2**depth))

    def __len__(self) -> int:
        return len(self.truth_counts)

    def counts(self, sample: Doubles) -> NDArray[np.int64]:
        """Return how many showers of a sample [N, D] fall into each region, int64 [2^depth]."""
        index = np.zeros(len(sample), np.int64)
        for level, cuts in enumerate(self.medians):
            index = 2 * index + (sample[:, level % self.columns] > cuts[index])
        return np.bincount(index, minlength=len(self))


def deviation(counts: NDArray[np.int64], truth_counts: NDArray[np.int64], kind: str = "mse_root") -> float:
    """Return one of `DEVIATIONS` between the shares of a sample and of the truth."""
    q, p = counts / counts.sum(), truth_counts / truth_counts.sum()
    if kind == "mse_root":
        return float(np.sqrt((p * (q - p) ** 2).sum()))
    if kind == "absolute":
        return float(np.abs(q - p).sum())
    if kind == "chi2":
        return float(((q - p) ** 2 / p).sum())
    return divergence(counts.astype(float), truth_counts.astype(float))


def expected_deviation(
    size: int, truth_counts: NDArray[np.int64], rng: np.random.Generator, *, kind: str = "mse_root", draws: int = 40
) -> Value:
    """Return mean and spread of the deviation of an independent sample of the truth with `size` showers.

    By multinomial draws, in which the limited size of the truth sample is part: its own shares fluctuate, too.
    """
    total = int(truth_counts.sum())
    share = truth_counts / total
    values = [
        deviation(rng.multinomial(size, rng.multinomial(total, share) / total), truth_counts, kind)
        for _ in range(draws)
    ]
    return Value(float(np.mean(values)), float(np.std(values, ddof=1)))


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """What a sample is worth.

    size: showers of the truth's kind with the same deviation, with its statistical error; is_limit: the deviation is so
    small that `size` is the largest size that the truth sample can resolve, a lower limit.
    """

    deviation: float
    size: Value
    is_limit: bool


def equivalent_size(
    counts: NDArray[np.int64],
    truth_counts: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    kind: str = "mse_root",
    replicas: int = 50,
) -> Equivalent:
    """Return the size of a truth-like sample that deviates from the truth as much as this one.

    Parameters
    ----------
    counts, truth_counts
        Showers per region.
    kind
        One of `DEVIATIONS`.
    replicas
        Bootstrap draws of sample and truth, for the error.
    """
    truth, total = int(truth_counts.sum()), int(counts.sum())
    sizes = np.unique(np.geomspace(20, truth, 60).astype(int))
    p = truth_counts / truth
    # the mean of the squared deviations is known in closed form: variance (1/n + 1/truth); the others are drawn
    closed = {"mse_root": float((p * p * (1 - p)).sum()), "chi2": float((1 - p).sum())}.get(kind)
    power = 2 if kind == "mse_root" else 1
    if closed is not None:
        curve = closed * (1.0 / sizes + 1.0 / truth)
    else:
        drawn = [expected_deviation(int(n), truth_counts, rng, kind=kind, draws=20).value for n in sizes]
        curve = np.minimum.accumulate(np.array(drawn))

    def size_of(value: float) -> float:
        return float(np.exp(np.interp(-math.log(max(value, 1e-300)), -np.log(curve), np.log(sizes))))

    found = deviation(counts, truth_counts, kind)
    # A draw from the shares found would add noise to noise. So the shares are first drawn towards the truth, until
    # what is left of their distance is what exceeds the noise that is in it; draws then deviate as much as was found.
    q, share = counts / total, np.maximum(truth_counts, 1) / np.maximum(truth_counts, 1).sum()
    squared, noise = float(((q - share) ** 2).sum()), float((share * (1 - share)).sum()) * (1 / total + 1 / truth)
    left = math.sqrt(max(squared - noise, 0.0) / squared) if squared > 0 else 0.0
    centre = share + left * (q - share)
    spread = []
    for _ in range(replicas):
        reference = np.maximum(rng.multinomial(truth, share), 1)
        spread.append(size_of(deviation(rng.multinomial(total, centre), reference, kind) ** power))
    return Equivalent(
        found, Value(size_of(found**power), float(np.std(spread, ddof=1))), bool(found**power <= curve[-1])
    )


def amplification(
    truth: Doubles,
    training: Doubles,
    generated: Mapping[str, Doubles],
    depths: Sequence[int],
    rng: np.random.Generator,
    *,
    kind: str = "mse_root",
) -> dict[str, list[dict[str, Any]]]:
    """Return, for each observable and for all together, what the samples are worth at each number of regions.

    Parameters
    ----------
    truth, training
        Observables [T, 5], [N, 5] of the truth and of the training sample.
    generated
        By name: observables [M, 5] of samples of models trained on `training`.
    depths
        Regions: 2^depth.

    Returns
    -------
    dict
        By observable ("all" for the five together): for each number of regions a dict with `regions`, `truth` (number
        of truth showers), `truth_limit` (deviation of a sample as large as the truth), `expected` (deviation of a
        truth-like sample of the size of the training sample, a `Value`), and `samples`: by name `deviation`,
        `equivalent` and `factor` (`Value`s) and `is_limit`.
    """
    result: dict[str, list[dict[str, Any]]] = {}
    columns: dict[str, slice] = {name: slice(i, i + 1) for i, name in enumerate(OBSERVABLES)}
    columns["all"] = slice(0, len(OBSERVABLES))
    for name, column in columns.items():
        rows: list[dict[str, Any]] = []
        for depth in depths:
            if len(truth) < LEAST_PER_REGION * 2**depth:
                continue
            regions = Regions.of(truth[:, column], depth)
            samples: dict[str, Any] = {}
            for key, sample in {"training": training, **generated}.items():
                worth = equivalent_size(regions.counts(sample[:, column]), regions.truth_counts, rng, kind=kind)
                samples[key] = {
                    "deviation": worth.deviation,
                    "equivalent": worth.size,
                    "factor": Value(worth.size.value / len(training), worth.size.error / len(training)),
                    "is_limit": worth.is_limit,
                }
            rows.append(
                {
                    "regions": len(regions),
                    "truth": len(truth),
                    "expected": expected_deviation(len(training), regions.truth_counts, rng, kind=kind),
                    "truth_limit": expected_deviation(len(truth), regions.truth_counts, rng, kind=kind),
                    "samples": samples,
                }
            )
        result[name] = rows
    return result

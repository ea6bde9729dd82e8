# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Distances between samples, each with an uncertainty.

Every figure is a `Value`; bootstrap uncertainties are standard deviations over resampled showers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ddcalogen.validation.observables import SPECTRUM_EDGES_GEV, Observables

__all__ = [
    "CORRELATED",
    "Value",
    "bootstrap",
    "calibration_factors",
    "correlation_difference",
    "correlation_matrix",
    "divergence",
    "frechet",
    "frechet_physics_distance",
    "histogram_distances",
    "kernel_physics_distance",
    "mip_peak",
    "mu90_sigma90",
    "relative_width",
    "separation_power",
    "spectrum_peak",
    "wasserstein",
    "wasserstein_set",
]

Doubles = NDArray[np.float64]

CORRELATED = (
    "cog_along_mm", "cog_across_mm", "cog_layer", "rms_along_mm", "rms_across_mm", "rms_layer",
    "visible_gev", "hits", "third_1", "third_2", "third_3",
)  # fmt: skip
"""Observables of the correlation matrix of 2005.05334, which adds the incident energy."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A number and its standard deviation; NaN where that is not known."""

    value: float
    error: float

    def __str__(self) -> str:
        if not math.isfinite(self.error):
            return f"{self.value:.4g}"
        digits = max(0, 1 - math.floor(math.log10(self.error))) if self.error > 0 else 3
        return f"{self.value:.{min(digits, 8)}f} ± {self.error:.{min(digits, 8)}f}"


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], size: int, rng: np.random.Generator, replicas: int = 100
) -> Value:
    """Return the statistic of all showers and its spread over resampled showers.

    Parameters
    ----------
    statistic
        Takes indices of showers, int64 [size].
    size
        Number of showers.
    """
    spread = [statistic(rng.integers(0, size, size)) for _ in range(replicas)]
    return Value(float(statistic(np.arange(size))), float(np.std(spread, ddof=1)))


# ------------------------------------------------------------------------------------------------- Wasserstein-1


def wasserstein(
    sample: Doubles, reference: Doubles, sample_weight: Doubles | None = None, reference_weight: Doubles | None = None
) -> float:
    """Return 100 times the first Wasserstein distance, both samples standardised by the (weighted) reference."""
    from scipy.stats import wasserstein_distance

    mean = float(np.average(reference, weights=reference_weight))
    width = math.sqrt(float(np.average((reference - mean) ** 2, weights=reference_weight))) or 1.0
    return 100.0 * float(
        wasserstein_distance((sample - mean) / width, (reference - mean) / width, sample_weight, reference_weight)
    )


def _w1_inputs(o: Observables) -> dict[str, tuple[Doubles, Doubles | None]]:
    s = o.scalars
    layers, rings = np.arange(o.layer_gev.shape[1], dtype=float), np.arange(o.radial_gev.shape[2], dtype=float)
    several = o.readout.combined
    result: dict[str, tuple[Doubles, Doubles | None]] = {
        "occupancy": (s["hits"], None),
        "sampling fraction": (s["response"], None),
    }
    for k, part in enumerate(o.readout.parts):
        of = f", {part.name.upper()}" if several else ""
        result[f"hits{of}"] = (o.hit_gev[o.hit_part == k], None)
        result[f"E rad{of}"] = (rings, o.radial_gev[:, k].sum(axis=0))
    return {
        **result,
        "E long": (layers, o.layer_gev.sum(axis=0) * o.weights),
        "CoG along": (s["cog_along_mm"], None),
        "CoG across": (s["cog_across_mm"], None),
        "CoG depth": (s["cog_layer"], None),
    }


def wasserstein_set(sample: Observables, reference: Observables, subsets: int = 5) -> dict[str, Value]:
    """Return W1 × 100 of the eight distributions of CaloClouds II (2309.05704).

    Mean and standard deviation over disjoint subsets, as published, where ten subsets of 50,000 showers were used. The
    value of two equal samples is not zero and falls with the size of a subset, so it only means something beside the
    Geant4-against-Geant4 value of the same sizes. "hits" is the energy of the cells above threshold; "E long" and "E
    rad" are the energy-weighted distributions of layer and radius. Of several calorimeters each has its own "hits" and
    "E rad".
    """
    parts: list[dict[str, float]] = []
    for k in range(subsets):
        a = _w1_inputs(sample.select(np.arange(len(sample)) % subsets == k))
        b = _w1_inputs(reference.select(np.arange(len(reference)) % subsets == k))
        parts.append({name: wasserstein(a[name][0], b[name][0], a[name][1], b[name][1]) for name in a})
    return {
        name: Value(float(np.mean([p[name] for p in parts])), float(np.std([p[name] for p in parts], ddof=1)))
        for name in parts[0]
    }


# ------------------------------------------------------------------------------------------------ binned distances


def divergence(p: Doubles, q: Doubles) -> float:
    """Return the Jensen-Shannon divergence of two histograms in units of ln 2: 0 equal, 1 disjoint."""
    p, q = p / p.sum(), q / q.sum()
    m = 0.5 * (p + q)

    def kl(a: Doubles) -> float:
        some = a > 0
        return float((a[some] * np.log(a[some] / m[some])).sum())

    return 0.5 * (kl(p) + kl(q)) / math.log(2.0)


def separation_power(p: Doubles, q: Doubles) -> float:
    """Return ½ Σ (p−q)²/(p+q) of two histograms scaled to unit sum (CaloChallenge): 0 equal, 1 disjoint."""
    p, q = p / p.sum(), q / q.sum()
    both = p + q > 0
    return 0.5 * float(((p - q)[both] ** 2 / (p + q)[both]).sum())


def histogram_distances(
    sample: Doubles, reference: Doubles, rng: np.random.Generator, *, bins: int = 20, replicas: int = 100
) -> tuple[Value, Value]:
    """Return Jensen-Shannon divergence and separation power of two samples [N], [M].

    Bins of equal width over the central 99 % of the reference, everything beyond in the outermost bins.
    """
    low, high = np.quantile(reference, [0.005, 0.995])
    if not high > low:
        high = low + 1.0
    edges = np.linspace(low, high, bins + 1)
    p, q = (np.histogram(np.clip(x, low, high), edges)[0].astype(float) for x in (sample, reference))
    spread = []
    for _ in range(replicas):
        a = rng.multinomial(len(sample), p / p.sum()).astype(float)
        b = rng.multinomial(len(reference), q / q.sum()).astype(float)
        spread.append((divergence(a, b), separation_power(a, b)))
    jsd, separation = np.std(spread, axis=0, ddof=1)
    return Value(divergence(p, q), float(jsd)), Value(separation_power(p, q), float(separation))


def correlation_matrix(o: Observables, index: NDArray[np.int64] | None = None) -> Doubles:
    """Return the matrix of linear correlations of `CORRELATED` and the incident energy, float64 [12, 12]."""
    rows = np.stack([o.energy_gev, *(o.scalars[name] for name in CORRELATED)])
    if index is not None:
        rows = rows[:, index]
    matrix: Doubles = np.corrcoef(rows)
    return np.nan_to_num(matrix)


def correlation_difference(
    sample: Observables, reference: Observables, rng: np.random.Generator, replicas: int = 100
) -> tuple[Value, Value]:
    """Return mean and largest |difference| of the correlation coefficients of two samples (2005.05334)."""
    above = np.triu_indices(len(CORRELATED) + 1, k=1)

    def difference(i: NDArray[np.int64], j: NDArray[np.int64]) -> Doubles:
        return np.abs(correlation_matrix(sample, i) - correlation_matrix(reference, j))[above]

    n, m = len(sample), len(reference)
    whole = difference(np.arange(n), np.arange(m))
    spread = [difference(rng.integers(0, n, n), rng.integers(0, m, m)) for _ in range(replicas)]
    return (
        Value(float(whole.mean()), float(np.std([d.mean() for d in spread], ddof=1))),
        Value(float(whole.max()), float(np.std([d.max() for d in spread], ddof=1))),
    )


# --------------------------------------------------------------------------------------------------- peaks, widths


def mu90_sigma90(values: Doubles) -> tuple[Value, Value]:
    """Return mean and rms inside the shortest interval that holds 90 % of the values, with rms/√n and rms/√(2n).

    Method of 2005.05334 (`fit90`). Fewer than 5 values give NaN.
    """
    n = len(values)
    if n < 5:
        return Value(math.nan, math.nan), Value(math.nan, math.nan)
    x = np.sort(values)
    inside = math.ceil(0.9 * n)
    first = int(np.argmin(x[inside - 1 :] - x[: n - inside + 1]))
    core = x[first : first + inside]
    rms = float(core.std())
    return Value(float(core.mean()), rms / math.sqrt(inside)), Value(rms, rms / math.sqrt(2 * inside))


def relative_width(values: Doubles) -> tuple[Value, Value]:
    """Return mu90 and sigma90/mu90 of `mu90_sigma90`; NaN for the width where the mean is zero."""
    mu, sigma = mu90_sigma90(values)
    if not abs(mu.value) > 0:
        return mu, Value(math.nan, math.nan)
    return mu, Value(sigma.value / mu.value, sigma.error / mu.value)


def spectrum_peak(spectrum: Doubles, threshold_gev: float) -> tuple[float, float]:
    """Return position (MeV) and relative width of the peak of a cell spectrum, see `mip_peak`; NaN where there is none.

    Parameters
    ----------
    spectrum
        float64 [bins], number of cells in each bin of `SPECTRUM_EDGES_GEV`.
    """
    low = threshold_gev
    use = np.flatnonzero((SPECTRUM_EDGES_GEV[:-1] >= 0.99 * low) & (SPECTRUM_EDGES_GEV[1:] <= 10.1 * low))
    centre = np.log10(np.sqrt(SPECTRUM_EDGES_GEV[use] * SPECTRUM_EDGES_GEV[use + 1]))
    h = spectrum[use] / np.diff(SPECTRUM_EDGES_GEV)[use]
    if h.sum() <= 0:
        return math.nan, math.nan
    k = int(h.argmax())
    if k in (0, len(h) - 1):
        return math.nan, math.nan
    a, b, c = h[k - 1 : k + 2]
    bend = a - 2 * b + c
    shift = float(np.clip(0.5 * (a - c) / bend, -1, 1)) if bend < 0 else 0.0
    top = b - 0.25 * (a - c) * shift
    position = centre[k] + shift * (centre[1] - centre[0])
    level, sides = 0.75 * top, []
    for step, end in ((-1, 0), (1, len(h) - 1)):
        i = k
        while i != end and h[i] > level:
            i += step
        j = i - step
        if h[i] <= level < h[j]:
            sides.append(centre[i] + (centre[j] - centre[i]) * (level - h[i]) / (h[j] - h[i]))
        else:
            sides.append(centre[i])
    mev = 1e3 * 10.0**position
    return mev, 1e3 * (10.0 ** sides[1] - 10.0 ** sides[0]) / mev


def mip_peak(
    spectrum: NDArray[np.int64], threshold_gev: float, rng: np.random.Generator, replicas: int = 100
) -> tuple[Value, Value]:
    """Return position (MeV) and relative width of the single-particle peak in a cell spectrum dN/dE.

    `spectrum` int64 [N, 110]: cells of each shower in the bins of `SPECTRUM_EDGES_GEV`. The peak is looked for from
    the threshold, half its usual place, to ten times that (ECAL: 0.1 to 1 MeV). Position: a parabola (in log E)
    through the three highest bins. Width: between the points at three quarters of the height, divided by the position;
    half the height is not reached below the peak, where soft energies pile up. NaN where the highest bin is the first
    or the last: there is no peak.
    """

    def peak(index: NDArray[np.int64]) -> tuple[float, float]:
        return spectrum_peak(np.bincount(index, minlength=n).astype(float) @ spectrum, threshold_gev)

    n = len(spectrum)
    whole = peak(np.arange(n))
    spread = np.array([peak(rng.integers(0, n, n)) for _ in range(replicas)])
    error = np.std(spread, axis=0, ddof=1)  # NaN where a resampling has no peak
    return Value(whole[0], float(error[0])), Value(whole[1], float(error[1]))


def calibration_factors(visible_gev: Doubles, energy_gev: Doubles) -> Doubles:
    """Return factors from visible to incident energy, float64 [K].

    Least squares of (E - sum of factor x visible energy)² / E over the showers, then all scaled so that μ90 of the
    ratio is 1: the least squares alone gives less, as energies fluctuate.

    Parameters
    ----------
    visible_gev
        float64 [N, K], visible energy of each shower in each of K regions.
    energy_gev
        float64 [N], incident energies.
    """
    root = np.sqrt(energy_gev)
    factors = np.linalg.lstsq(visible_gev / root[:, None], root, rcond=None)[0]
    middle = mu90_sigma90(visible_gev @ factors / energy_gev)[0].value
    return np.asarray(factors / middle if middle > 0 else factors, np.float64)


# ------------------------------------------------------------------------------------- FPD and KPD (2211.10295)


def frechet(a: Doubles, b: Doubles) -> float:
    """Return the squared Fréchet distance of two sets of features [N, F], [M, F], taken as normally distributed."""
    from scipy.linalg import sqrtm

    mean = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    tiny = 1e-10 * np.eye(len(cov_a))
    root = np.real(sqrtm((cov_a + tiny) @ (cov_b + tiny)))
    return float(mean @ mean + np.trace(cov_a + cov_b - 2.0 * root))


def frechet_physics_distance(
    sample: Doubles, reference: Doubles, rng: np.random.Generator, *, points: int = 8, batches: int = 10
) -> Value:
    """Return the Fréchet physics distance of features [N, F], [M, F] (Kansal et al., 2211.10295).

    Features are scaled by the largest absolute value of the reference. The distance of random batches is fitted as
    a + b/n over the batch size n, and a, the value for infinitely many showers, returned. Published figures use n from
    20,000 to 50,000; here n runs from a third to all of the smaller sample, so only the Geant4-against-Geant4 value of
    the same sizes is a fair comparison.
    """
    scale = np.abs(reference).max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    a, b = sample / scale, reference / scale
    most = min(len(a), len(b))
    sizes = np.unique((1.0 / np.linspace(1.0 / most, 3.0 / most, points)).astype(int))
    sizes = sizes[sizes > a.shape[1] + 1]
    if len(sizes) < 3:
        return Value(math.nan, math.nan)
    values = [
        float(np.mean([frechet(a[rng.choice(len(a), n)], b[rng.choice(len(b), n)]) for _ in range(batches)]))
        for n in sizes
    ]
    fit, covariance = np.polyfit(1.0 / sizes, values, 1, cov=True)
    return Value(float(fit[1]), float(math.sqrt(covariance[1, 1])))


def kernel_physics_distance(
    sample: Doubles, reference: Doubles, rng: np.random.Generator, *, batches: int = 10, size: int = 5000
) -> Value:
    """Return the kernel physics distance of features [N, F], [M, F] (Kansal et al., 2211.10295).

    Unbiased squared maximum mean discrepancy with the kernel (x·y/F + 1)⁴: median over random batches, and half the
    range from the 16th to the 84th percentile as its error. Batches have 5000 showers, or half of the smaller sample.
    """
    scale = np.abs(reference).max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    a, b = sample / scale, reference / scale
    n = min(size, len(a) // 2, len(b) // 2)
    if n < 2:
        return Value(math.nan, math.nan)
    features = a.shape[1]
    values = []
    for _ in range(batches):
        x, y = a[rng.choice(len(a), n, replace=False)], b[rng.choice(len(b), n, replace=False)]
        xx, yy, xy = ((u @ v.T / features + 1.0) ** 4 for u, v in ((x, x), (y, y), (x, y)))
        pairs = n * (n - 1)
        values.append((xx.sum() - np.trace(xx)) / pairs + (yy.sum() - np.trace(yy)) / pairs - 2.0 * xy.mean())
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
    return Value(float(middle), float((high - low) / 2))
